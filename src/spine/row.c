#include "spine/row.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* __u64 is another type than uint64_t. */
#define ROW_WORD(row, field) ((uint64_t *)(void *)((char *)(row) + offsetof(struct spine_policy_row, field)))

/* The array's memory, or NULL with *err. */
static struct spine_policy_row *row_map(int map, size_t *bytes, int *err)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *at;

	*err = 0;
	if (bpf_obj_get_info_by_fd(map, &info, &size) != 0)
		*err = -errno;
	else if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != sizeof(struct spine_policy_row) || info.max_entries != 1 ||
		 (info.map_flags & BPF_F_MMAPABLE) == 0)
		*err = -EBADMSG;
	if (*err != 0)
		return NULL;
	*bytes = (sizeof(struct spine_policy_row) + page - 1) / page * page;
	at = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (at == MAP_FAILED) {
		*err = -errno;
		return NULL;
	}
	return at;
}

/* What the trial's end is on the clock that the checks read; 0: no trial, or it is over. */
static uint64_t trial_end_ns(const struct spine_rights *r)
{
	struct timespec wall, boot;

	if (r->trial_until == 0 || clock_gettime(CLOCK_REALTIME, &wall) != 0 || clock_gettime(CLOCK_BOOTTIME, &boot) != 0 ||
	    r->trial_until <= wall.tv_sec)
		return 0;
	return (uint64_t)(boot.tv_sec + (r->trial_until - wall.tv_sec)) * UINT64_C(1000000000);
}

/* On trial all others are let through, and told. Of two in one slot the first. */
static void trial_ports(uint64_t *words)
{
	struct if_nameindex *all = if_nameindex();

	for (const struct if_nameindex *i = all; i != NULL && i->if_index != 0; i++) {
		uint64_t *word = &words[i->if_index % SPINE_POLICY_PORTS];

		if (*word == 0)
			*word = (uint64_t)SPINE_POLICY_FORWARD_TRIAL << 32 | i->if_index;
	}
	if_freenameindex(all);
}

/* The words of the ports as the rights have them. */
static int wanted_ports(const struct spine_rights *r, uint64_t *words, struct errmsg *why)
{
	uint32_t ports[RIGHTS_PORTS_MAX];
	size_t count = 0;
	int err = r->redirect ? spine_rights_ports(r, ports, &count, why) : 0;

	for (size_t i = 0; err == 0 && r->redirect && i < count; i++) {
		uint64_t *word = &words[ports[i] % SPINE_POLICY_PORTS];

		if (*word != 0)
			return errmsg_say(why, -E2BIG, "'%s' may forward to the interfaces %u and %u, which have one place in its row: "
					  "take one of them out of its rules, or make the interface anew", r->name,
					  (uint32_t)*word, ports[i]);
		*word = (uint64_t)SPINE_POLICY_FORWARD << 32 | ports[i];
	}
	if (err == 0 && r->trial_until != 0)
		trial_ports(words);
	return err;
}

static void write_word(uint64_t *at, uint64_t value)
{
	if (__atomic_load_n(at, __ATOMIC_RELAXED) != value)
		__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

static void write_helpers(uint32_t *at, const uint64_t *wanted, bool narrow)
{
	for (size_t i = 0; i < 2 * INSPECT_HELPER_WORDS; i++) {
		uint32_t word = (uint32_t)(wanted[i / 2] >> (i % 2 * 32)), now = __atomic_load_n(&at[i], __ATOMIC_RELAXED);

		__atomic_store_n(&at[i], narrow ? now & word : word, __ATOMIC_RELEASE);
	}
}

/* Helpers that are refused and let through for the length of a trial: all that it may come to call. */
static void trial_helpers(const struct spine_rights *r, uint64_t out[INSPECT_HELPER_WORDS])
{
	for (size_t i = 0; i < INSPECT_HELPER_WORDS; i++)
		out[i] = r->trial_until != 0 ? ~r->helpers[i] : 0;
}

int spine_row_write(int map, const struct spine_rights *r, uint64_t epoch, enum row_write how, struct errmsg *why)
{
	static uint64_t ports[SPINE_POLICY_PORTS];	/* commands have one thread; 8 KiB are too much for the stack */
	uint64_t trial[INSPECT_HELPER_WORDS];
	bool narrow = how == ROW_NARROW;
	size_t bytes;
	int err;

	memset(ports, 0, sizeof(ports));
	err = wanted_ports(r, ports, why);
	if (err != 0)
		return err;
	struct spine_policy_row *row = row_map(map, &bytes, &err);
	if (row == NULL)
		return err == -EBADMSG ? errmsg_say(why, err, "'%s' has no row of rights that we know: build it anew with this version's "
						    "<prickle/spine.h>", r->name) :
					 errmsg_set(why, err, "write the rights of '%s'", r->name);
	trial_helpers(r, trial);
	write_helpers(row->helpers, r->helpers, narrow);
	write_helpers(row->helpers_trial, trial, narrow);
	for (size_t i = 0; i < SPINE_POLICY_PORTS; i++)
		if (!narrow || __atomic_load_n(&row->ports[i], __ATOMIC_RELAXED) != ports[i])
			write_word(ROW_WORD(row, ports) + i, narrow ? 0 : ports[i]);
	if (!narrow) {
		row->abi = SPINE_POLICY_ABI;
		row->subject = r->number;
		write_word(ROW_WORD(row, trial_until_ns), trial_end_ns(r));
		write_word(ROW_WORD(row, epoch), epoch);
	}
	munmap(row, bytes);
	return 0;
}

int spine_row_refusals(int map, struct row_refusal out[SPINE_POLICY_RECORDS], size_t *count, uint64_t *ever)
{
	size_t bytes, n = 0;
	int err;
	struct spine_policy_row *row = row_map(map, &bytes, &err);

	if (row == NULL)
		return err;
	*ever = __atomic_load_n(ROW_WORD(row, next), __ATOMIC_ACQUIRE);
	for (uint64_t k = *ever > SPINE_POLICY_RECORDS ? *ever - SPINE_POLICY_RECORDS : 0; k < *ever; k++) {
		const volatile struct spine_policy_record *from = &row->records[k % SPINE_POLICY_RECORDS];
		struct row_refusal *to = &out[n];

		to->sequence = from->sequence;
		to->time_ns = from->time_ns;
		to->function = from->insn >> SPINE_POLICY_INSN_BITS;
		to->insn = from->insn & ((1u << SPINE_POLICY_INSN_BITS) - 1);
		to->helper = from->helper;
		to->object = from->object;
		to->trial = from->result == 3;
		n += to->sequence != 0 && from->sequence == to->sequence;
	}
	munmap(row, bytes);
	*count = n;
	return 0;
}
