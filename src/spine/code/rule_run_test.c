/*
 * Match rules as the kernel runs them: generated code against libpcap's verdicts, the verifier's work, and
 * what a packet costs. Needs the right to load programs.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/test.h"
#include "spine/code/layout.h"
#include "spine/code/rule_lab.h"
#include "spine/code/rule_model.h"

#define ARENA_BYTES (64u << 20)
#define INSNS_MAX   60000u

static bool allowed(void)
{
	static const char reason[] = "# skipped: programs cannot be loaded here (not root?)\n";
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "rules_probe", 4, 4, 1, &opts);

	if (fd < 0) {
		fputs(reason, stderr);
		return false;
	}
	close(fd);
	return true;
}

/* ---- a program around the rules ---- */

struct bench {
	int stats_fd, prog_fd;
	struct spine_cpu_stats *stats;
	uint32_t insns, verified;
	size_t chain_max;
};

static void bench_init(struct bench *b)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);

	b->stats_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "rules_stats", 4, sizeof(*b->stats), 1, &opts);
	ck_assert_int_ge(b->stats_fd, 0);
	b->stats = mmap(NULL, sizeof(*b->stats), PROT_READ | PROT_WRITE, MAP_SHARED, b->stats_fd, 0);
	ck_assert(b->stats != MAP_FAILED);
	b->prog_fd = -1;
}

static void bench_done(struct bench *b)
{
	munmap(b->stats, sizeof(*b->stats));
	close(b->stats_fd);
	if (b->prog_fd >= 0)
		close(b->prog_fd);
}

/* Generate and load; the descriptor or a negative errno. */
static int load(struct bench *b, const struct rule_use *uses, size_t count, const struct rule_sets *sets,
		struct errmsg *why)
{
	static char log[1 << 20];
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .log_buf = log, .log_size = sizeof(log), .log_level = 1);
	struct bpf_prog_info info = { 0 };
	uint32_t info_bytes = sizeof(info);
	struct rule_exits exits = { .rest = true };
	struct program *p;
	int err;

	ck_assert_int_eq(program_new(INSNS_MAX, &p), 0);
	p_mov(p, 6, 1);
	p_map_value(p, 7, b->stats_fd, 0);
	exits.nobody = p_label(p);
	for (size_t slot = 0; slot < SPINE_SLOTS_MAX; slot++)
		exits.alone[slot] = p_label(p);
	for (unsigned w = 0; w < SPINE_SLOTS_MAX / 32; w++)
		p_store_imm(p, BPF_W, 7, (int16_t)(offsetof(struct spine_cpu_stats, match) + 4 * w), 0);
	if (count > 0)
		err = rule_emit(p, uses, count, sets, &exits, &b->chain_max, why);
	else
		err = 0;
	p_set(p, exits.nobody);
	for (size_t slot = 0; slot < SPINE_SLOTS_MAX; slot++)
		p_set(p, exits.alone[slot]);
	p_mov_imm(p, 0, 2);
	p_exit(p);
	if (err == 0)
		err = program_seal(p, why);
	if (err == 0) {
		const struct bpf_insn *insns = program_insns(p, &b->insns);

		log[0] = '\0';
		b->prog_fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "rules", "Dual MIT/GPL", insns, b->insns, &opts);
		err = b->prog_fd < 0 ? -errno : 0;
		if (err != 0) {
			size_t bytes = strlen(log);

			errmsg_say(why, err, "%s", log + (bytes > 450 ? bytes - 450 : 0));
		}
	}
	program_free(p);
	if (err == 0 && bpf_obj_get_info_by_fd(b->prog_fd, &info, &info_bytes) == 0)
		b->verified = info.verified_insns;
	return err;
}

static void run(struct bench *b, const uint8_t *frame, size_t bytes)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (uint32_t)bytes, .repeat = 1);

	memset(b->stats->key, 0xa5, sizeof(b->stats->key));	/* of another packet */
	ck_assert_int_eq(bpf_prog_test_run_opts(b->prog_fd, &opts), 0);
	ck_assert_uint_eq(opts.retval, 2);
}

static bool hit(const struct bench *b, size_t slot)
{
	return (b->stats->match[slot / 32] >> (slot % 32) & 1) != 0;
}

static const struct rule *parse(struct arena *arena, const char *text)
{
	const struct rule *r = NULL;
	struct errmsg why = { 0 };

	ck_assert_msg(rule_parse(arena, slice_str(text), &r, &why) == 0, "'%s': %s", text, why.text);
	return r;
}

/* ---- the same verdicts as libpcap ---- */

/* Simple rules differ from libpcap on truncated frames only; guards never. */
static bool expected(const struct rule *r, const struct lab_filter *f, const uint8_t *frame, size_t bytes, bool whole)
{
	u128 fields[FIELD_COUNT];

	if (whole || rule_is_guard(r, NULL))
		return lab_filter_matches(f, frame, bytes);
	model_fields(frame, bytes, fields);
	return model_matches(r, fields);
}

static void compare(uint64_t *seed, bool guards, size_t count, unsigned frames, unsigned *hits)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct lab_filter *filters[SPINE_SLOTS_MAX];
	struct rule_use uses[SPINE_SLOTS_MAX];
	struct errmsg why = { 0 };
	struct bench b;

	bench_init(&b);
	for (size_t i = 0; i < count;) {
		char text[400];

		lab_rule(seed, guards, text, sizeof(text));
		uses[i].slot = (uint16_t)((i * 37) % SPINE_SLOTS_MAX);
		if (rule_parse(&arena, slice_str(text), &uses[i].rule, &why) != 0)
			continue;
		filters[i] = lab_filter_new(text, rule_is_guard(uses[i].rule, NULL));
		ck_assert_ptr_nonnull(filters[i]);
		i++;
	}
	ck_assert_msg(load(&b, uses, count, NULL, &why) == 0, "%s", why.text);
	for (unsigned n = 0; n < frames; n++) {
		bool whole = n % 2 == 0;
		uint8_t frame[LAB_FRAME_MAX];
		size_t bytes = lab_frame(seed, whole, frame), chain = 0;

		run(&b, frame, bytes);
		for (size_t i = 0; i < count; i++) {
			bool want = expected(uses[i].rule, filters[i], frame, bytes, whole);

			ck_assert_msg(hit(&b, uses[i].slot) == want, "'%s': frame of %zu bytes, type %02x%02x, want %d",
				      rule_text(uses[i].rule), bytes, frame[12], frame[13], want);
			*hits += want;
			chain += want;
		}
		ck_assert_uint_le(chain, b.chain_max);
	}
	for (size_t i = 0; i < count; i++)
		lab_filter_free(filters[i]);
	bench_done(&b);
}

START_TEST(generated_code_selects_what_libpcap_selects)
{
	uint64_t seed = 2026;
	unsigned hits = 0;

	if (!allowed())
		return;
	for (unsigned round = 0; round < 90; round++)
		compare(&seed, round % 3 == 2, 1 + lab_below(&seed, 40), 150, &hits);
	ck_assert_uint_gt(hits, 8000);
}
END_TEST

START_TEST(a_full_device_of_mixed_rules_loads_and_is_right)
{
	uint64_t seed = 99;
	unsigned hits = 0;

	if (!allowed())
		return;
	compare(&seed, false, SPINE_SLOTS_MAX, 300, &hits);
	compare(&seed, true, SPINE_SLOTS_MAX, 300, &hits);
	ck_assert_uint_gt(hits, 1000);
}
END_TEST

/* ---- sets ---- */

static int set_fd(void *arg, const char *name)
{
	const int *fds = arg;

	return strcmp(name, "a") == 0 ? fds[0] : strcmp(name, "b") == 0 ? fds[1] : -ENOENT;
}

static int set_new(const char *prefix, uint32_t bits)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	struct spine_set_key key = { .prefix_bits = bits };
	int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "rules_set", sizeof(key), 4, 16, &opts);
	uint32_t value = 1;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(inet_pton(AF_INET6, prefix, key.address), 1);
	ck_assert_int_eq(bpf_map_update_elem(fd, &key, &value, 0), 0);
	return fd;
}

START_TEST(sets_are_looked_up_for_every_kind_of_address)
{
	static const struct {
		const char *with_set, *without;
	} cases[] = {
		{ "src set a", "src net 10.0.0.0/8" },
		{ "dst set a and udp", "dst net 10.0.0.0/8 and udp" },
		{ "set a", "net 10.0.0.0/8" },
		{ "src and dst set a", "src and dst net 10.0.0.0/8" },
		{ "ip set a", "ip net 10.0.0.0/8" },
		{ "arp src set a or tcp port 80", "arp src net 10.0.0.0/8 or tcp port 80" },
		{ "set b", "net 2001:db8::/32" },
		{ "src set b and dst set not_b", NULL },
		{ "src set b or dst set a", "src net 2001:db8::/32 or dst net 10.0.0.0/8" },
		{ "ip6 dst set b and dst port 53", "ip6 dst net 2001:db8::/32 and dst port 53" },
	};
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct rule_use uses[ARRAY_LEN(cases)];
	struct lab_filter *filters[ARRAY_LEN(cases)];
	struct errmsg why = { 0 };
	unsigned hits = 0;
	uint64_t seed = 4;
	size_t count = 0;
	struct bench b;
	int fds[2];

	if (!allowed())
		return;
	fds[0] = set_new("::ffff:10.0.0.0", 96 + 8);
	fds[1] = set_new("2001:db8::", 32);
	bench_init(&b);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (cases[i].without == NULL) {
			uses[count] = (struct rule_use){ parse(&arena, cases[i].with_set), 99 };
			ck_assert_int_eq(load(&b, uses + count, 1, &(struct rule_sets){ set_fd, fds }, &why), -ENOENT);
			ck_assert_ptr_nonnull(strstr(why.text, "'not_b'"));
			continue;
		}
		uses[count] = (struct rule_use){ parse(&arena, cases[i].with_set), (uint16_t)count };
		filters[count] = lab_filter_new(cases[i].without, false);
		ck_assert_ptr_nonnull(filters[count++]);
	}
	ck_assert_msg(load(&b, uses, count, &(struct rule_sets){ set_fd, fds }, &why) == 0, "%s", why.text);
	for (unsigned n = 0; n < 3000; n++) {
		uint8_t frame[LAB_FRAME_MAX];
		size_t bytes = lab_frame(&seed, true, frame);

		run(&b, frame, bytes);
		for (size_t i = 0; i < count; i++) {
			bool want = lab_filter_matches(filters[i], frame, bytes);

			ck_assert_msg(hit(&b, i) == want, "'%s' want %d", rule_text(uses[i].rule), want);
			hits += want;
		}
	}
	ck_assert_uint_gt(hits, 3000);
	for (size_t i = 0; i < count; i++)
		lab_filter_free(filters[i]);
	close(fds[0]);
	close(fds[1]);
	bench_done(&b);
}
END_TEST

/* ---- what it costs ---- */

static void rule_at(unsigned kind, unsigned i, char *out, size_t size)
{
	switch (kind) {
	case 0:
		snprintf(out, size, "udp dst port %u", 1000 + 7 * i);
		break;
	case 1:
		snprintf(out, size, "src net 10.%u.0.0/16", i);
		break;
	case 2:
		snprintf(out, size, "ip6 and dst net 2001:db8:%x::/48 and tcp", i);
		break;
	case 3:	/* overlapping ranges of every field: a tree would multiply them */
		snprintf(out, size, "dst portrange %u-%u and src portrange %u-%u and dst net %u.0.0.0/%u", i * 10, i * 17 + 500,
			 i * 5, 60000 - i * 13, (i & 0x3f) << 2, 6 + i % 2);
		break;
	case 4:
		if (i % 3 == 0)
			snprintf(out, size, "tcp dst port %u and dst net 10.0.%u.0/24", i, i);
		else if (i % 3 == 1)
			snprintf(out, size, "host 192.0.2.%u or net 2001:db8:%x::/48 or port %u", i, i, i);
		else
			snprintf(out, size, "udp and src port %u and (dst net 10.%u.0.0/16 or dst port 53)", i, i);
		break;
	default:
		snprintf(out, size, "not udp port %u and len > %u", i, 60 + i);
		break;
	}
}

static unsigned round_ns(const struct bench *b, const uint8_t *frame, size_t bytes)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (uint32_t)bytes, .repeat = 100000);

	ck_assert_int_eq(bpf_prog_test_run_opts(b->prog_fd, &opts), 0);
	return opts.duration;
}

/*
 * ns a packet above an empty program: the best of a few rounds of each, in turns. A round with repetitions waits for
 * an RCU grace period, so there are not many.
 */
static int cost(const struct bench *b, const struct bench *empty, const uint8_t *frame, size_t bytes)
{
	unsigned best = UINT32_MAX, base = UINT32_MAX;

	for (int round = 0; round < 4; round++) {
		base = MIN(base, round_ns(empty, frame, bytes));
		best = MIN(best, round_ns(b, frame, bytes));
	}
	return (int)best - (int)base;
}

START_TEST(code_and_verifier_work_grow_with_the_rules_and_not_faster)
{
	static const unsigned counts[] = { 1, 8, 64, 128 };
	static const char *const names[] = { "udp dst port N", "src net 10.N.0.0/16", "IPv6 prefix and tcp",
					     "overlapping ranges", "mixed", "guards" };
	/* UDP from 10.8.0.1:5000 to port 1000 + 7 * 5 */
	uint8_t frame[64] = { [12] = 0x08, [14] = 0x45, [23] = 17, [26] = 10, [27] = 8, [29] = 1, [30] = 10,
			      [34] = 0x13, [35] = 0x88, [36] = 0x04, [37] = 0x0b };
	struct bench b, empty;
	struct errmsg why = { 0 };

	if (!allowed())
		return;
	bench_init(&empty);
	ck_assert_int_eq(load(&empty, NULL, 0, NULL, &why), 0);
	for (unsigned kind = 0; kind < ARRAY_LEN(names); kind++) {
		for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
			AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
			struct rule_use uses[SPINE_SLOTS_MAX];

			for (unsigned i = 0; i < counts[c]; i++) {
				char text[200];

				rule_at(kind, i, text, sizeof(text));
				uses[i] = (struct rule_use){ parse(&arena, text), (uint16_t)i };
			}
			bench_init(&b);
			ck_assert_msg(load(&b, uses, counts[c], NULL, &why) == 0, "%s: %s", names[kind], why.text);
			fprintf(stderr, "# %-22s %3u rules: %5u instructions, verifier looked at %6u, chain <= %3zu",
			       names[kind], counts[c], b.insns, b.verified, b.chain_max);
			if (counts[c] == 8 || counts[c] == 64)
				fprintf(stderr, ", %d ns a packet", cost(&b, &empty, frame, sizeof(frame)));
			fputs("\n", stderr);
			ck_assert_msg(b.verified <= 1000 + 4 * b.insns, "%s: %u", names[kind], b.verified);
			ck_assert_msg(b.insns <= 300 * counts[c] + 200, "%s: %u", names[kind], b.insns);
			bench_done(&b);
		}
	}
	bench_done(&empty);
}
END_TEST

TEST_MAIN_SLOW(100, "spine/rule_run", generated_code_selects_what_libpcap_selects,
	       a_full_device_of_mixed_rules_loads_and_is_right, sets_are_looked_up_for_every_kind_of_address,
	       code_and_verifier_work_grow_with_the_rules_and_not_faster)
