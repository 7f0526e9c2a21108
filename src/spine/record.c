/*
 * Records of extensions, as maps of one entry in bpffs, and their slots in the device's shared memory.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/device_private.h"
#include "spine/pins.h"
#include "spine/spine_limits.h"

/* Faults of one kind in a window that eject an extension. A stall ejects sooner (spine/code/layout.h). */

int record_check_name(const char *name, struct errmsg *why)
{
	size_t n = strlen(name);
	bool good = n > 0 && n < SPINE_NAME_BYTES && name[0] != '-';

	for (size_t i = 0; good && i < n; i++)
		good = ascii_digit((uint8_t)name[i]) || name[i] == '-' || (name[i] >= 'a' && name[i] <= 'z');
	return good ? 0 : errmsg_say(why, -EINVAL, "'%.40s' cannot name an extension: lower-case letters, digits and "
				     "'-', at most %d", name, SPINE_NAME_BYTES - 1);
}

bool entry_text_ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

int entry_read(int dir, const char *pin, void *out, size_t bytes)
{
	AUTO_FD int fd = pin_get(dir, pin);
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info), key = 0;

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0 || info.value_size != bytes)
		return -EBADMSG;
	return bpf_map_lookup_elem(fd, &key, out) == 0 ? 0 : -errno;
}

int entry_write(int dir, const char *pin, const char *map_name, const void *value, size_t bytes)
{
	AUTO_FD int fd = pin_get(dir, pin);
	uint32_t key = 0;
	bool made = fd == -ENOENT;

	if (made)
		fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, map_name, sizeof(key), (uint32_t)bytes, 1, NULL);
	if (fd < 0)
		return made ? -errno : fd;
	if (bpf_map_update_elem(fd, &key, value, BPF_ANY) != 0)
		return -errno;
	return made ? pin_set(dir, pin, fd) : 0;
}

int record_read(int dir, struct spine_record *out)
{
	struct errmsg why;
	int err = entry_read(dir, "record", out, sizeof(*out));

	if (err != 0)
		return err;
	if (out->abi != SPINE_RECORD_ABI || out->slot >= SPINE_SLOTS_MAX || !entry_text_ends(out->name, sizeof(out->name)) ||
	    !entry_text_ends(out->version, sizeof(out->version)) || !entry_text_ends(out->match, sizeof(out->match)) ||
	    record_check_name(out->name, &why) != 0)
		return -EBADMSG;
	return 0;
}

uint64_t record_now_s(void)
{
	struct timespec t;

	return clock_gettime(CLOCK_REALTIME, &t) == 0 ? (uint64_t)t.tv_sec : 0;
}

int record_write(int dir, const struct spine_record *r, struct errmsg *why)
{
	int err = entry_write(dir, "record", "spine_record", r, sizeof(*r));

	return err == 0 ? 0 : errmsg_set(why, err, "write the record of extension '%s'", r->name);
}

int object_write(int dir, struct slice object, struct errmsg *why)
{
	AUTO_FD int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "spine_object", sizeof(uint32_t), (uint32_t)object.len, 1, NULL);
	uint32_t key = 0;
	int err = 0;

	if (fd < 0 || bpf_map_update_elem(fd, &key, object.ptr, BPF_ANY) != 0)
		err = -errno;
	if (err == 0)
		err = pin_set(dir, "object", fd);
	return err == 0 ? 0 : errmsg_set(why, err, "keep the object file, %zu bytes, in a map", object.len);
}

int spine_device_object(const struct spine_device *d, const char *name, struct buf *out, struct errmsg *why)
{
	char path[SPINE_NAME_BYTES + 16];
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info), key = 0;
	uint8_t *room;

	(void)snprintf(path, sizeof(path), "ext/%s", name);
	AUTO_FD int dir = pin_dir(d->dir, path, false);
	AUTO_FD int fd = dir < 0 ? dir : pin_get(dir, "object");
	if (fd < 0)
		return errmsg_set(why, fd, "open the object file of '%.40s'", name);
	if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0)
		return errmsg_set(why, -errno, "read the object file of '%.40s'", name);
	room = buf_room(out, (info.value_size + 7u) & ~7u);
	if (room == NULL)
		return errmsg_set(why, -ENOMEM, "read the object file of '%.40s'", name);
	if (bpf_map_lookup_elem(fd, &key, room) != 0)
		return errmsg_set(why, -errno, "read the object file of '%.40s'", name);
	buf_commit(out, info.value_size);
	return 0;
}

/* --- slots --------------------------------------------------------------------------------- */

uint32_t device_slot_prog(const struct spine_device *d, uint32_t slot)
{
	uint32_t id = 0;

	return bpf_map_lookup_elem(d->slots_fd, &slot, &id) == 0 ? id : 0;
}

int device_free_slot(const struct spine_device *d, int also, struct errmsg *why)
{
	bool taken[SPINE_SLOTS_MAX] = { 0 };

	for (size_t i = 0; i < d->count; i++)
		taken[d->records[i]->slot] = true;
	if (also >= 0)
		taken[also] = true;
	for (int i = 0; i < (int)SPINE_SLOTS_MAX; i++)
		if (!taken[i])
			return i;
	return errmsg_say(why, -ENOSPC, "%s has %u extensions, which is the most; remove one first", d->name,
			  SPINE_SLOTS_MAX);
}

int device_fill_slot(struct spine_device *d, const struct spine_record *r, int prog_fd, struct errmsg *why)
{
	struct spine_slot_control *c = &d->control->slot[r->slot];

	for (uint32_t cpu = 0; cpu < d->cpus; cpu++)
		memset(&d->stats[cpu].slot[r->slot], 0, sizeof(d->stats[cpu].slot[r->slot]));
	*c = (struct spine_slot_control){
		.verdicts = (uint8_t)r->verdicts, .continues = (uint8_t)r->continues,
		.fail_closed = r->fail_closed != 0,
		.budget_ns = (uint64_t)r->cpu_permille * 1000 * 1000,
		/* What ran alone before us goes on as it did: only stalls throw it out. */
		.faults_max = r->source == SOURCE_TAKEN_OVER || r->patient != 0 ? 0 : SLOT_FAULTS_MAX,
		.patient = r->patient,
		.state = SPINE_SLOT_ACTIVE,
	};
	if (bpf_map_update_elem(d->slots_fd, &r->slot, &prog_fd, BPF_ANY) == 0)
		return 0;
	return errmsg_set(why, -errno, "put '%s' into slot %u", r->name, r->slot);
}

/* --- the class ------------------------------------------------------------------------------- */

const char *class_text(struct spine_class c)
{
	return c.frags ? (c.attach_type == BPF_XDP ? "frags, attach type xdp" : "frags, no attach type") :
			 (c.attach_type == BPF_XDP ? "one buffer a packet (no frags), attach type xdp" :
						     "one buffer a packet (no frags), no attach type");
}

/*
 * The kernel compares a program with the first that used a prog array, and tells nobody what it compares:
 * so we make an array, use it from a program of a class that we know, and try.
 */
static bool fits(int prog_fd, struct spine_class c)
{
	AUTO_FD int array = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "spine_class", 4, 4, 1, NULL);
	struct bpf_insn insns[] = {
		{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_FD, .imm = array },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_tail_call },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = (enum bpf_attach_type)c.attach_type,
		    .prog_flags = c.frags ? BPF_F_XDP_HAS_FRAGS : 0);
	uint32_t key = 0;

	if (array < 0)
		return false;
	AUTO_FD int user = bpf_prog_load(BPF_PROG_TYPE_XDP, "spine_class", "Dual MIT/GPL", insns, ARRAY_LEN(insns), &opts);
	return user >= 0 && bpf_map_update_elem(array, &key, &prog_fd, BPF_ANY) == 0;
}

int class_of_program(int prog_fd, struct spine_class *out, struct errmsg *why)
{
	static const struct spine_class known[] = { { false, BPF_XDP }, { true, BPF_XDP }, { false, 0 }, { true, 0 } };

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (fits(prog_fd, known[i])) {
			*out = known[i];
			return 0;
		}
	}
	return errmsg_say(why, -EPERM, "the kernel lets no dispatcher call this program: it is bound to a device, or "
			  "of another kind than XDP programs for interfaces");
}
