/*
 * Loading against the running kernel: tiers, memory, upgrades, channels, and objects that lie. Needs root
 * and the objects of testdata/ (clang); skips without.
 */
#include "base/test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "base/cleanup.h"
#include "spine/load_private.h"

#define MUTATIONS 400

struct loaded_file {
	struct arena arena;
	struct buf bytes;
	const struct object *parsed;
	struct spine_policy_view policy;
	struct load_request request;
	struct inspect_report report;
	struct errmsg why;
	struct loaded *l;
};

static void read_object(struct loaded_file *f, const char *name)
{
	char path[512];
	struct stat st;

	arena_init(&f->arena, 256u << 20);
	buf_init(&f->bytes, 16u << 20);
	snprintf(path, sizeof(path), "%s/%s.o", TEST_OBJECTS, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_msg(fd >= 0 && fstat(fd, &st) == 0, "%s", path);
	uint8_t *to = buf_room(&f->bytes, (size_t)st.st_size);
	ck_assert_int_eq(read(fd, to, (size_t)st.st_size), st.st_size);
	buf_commit(&f->bytes, (size_t)st.st_size);
	close(fd);
}

#define SHIPPED "import default\n"
/* What a domain of its own needs to be what the shipped policy lets everybody be. */
#define ALLOWS(name)                                                                                                                     \
	" allow " name " use helper default\n allow " name " use map-type default\n allow " name " use program-type xdp, syscall\n"      \
	" allow " name " offer handler\n"
#define OWN(name) SHIPPED "module t\n domain " name " = ebpf object\n" ALLOWS(name)
#define ALL_VERDICTS(name) " allow " name " attach, pass, drop, reflect port\n"

static void set_policy(struct loaded_file *f, const char *text)
{
	AUTO_BUF struct buf errors = BUF_INIT(100000);

	f->policy = (struct spine_policy_view){ .directory = NULL };
	ck_assert_msg(policy_parse(&f->arena, "test.policy", slice_str(text), NULL, NULL, &f->policy.policy, &errors) == 0, "%s",
		      buf_cstr(&errors));
}

static void prepare(struct loaded_file *f, const char *object, const char *name, const char *policy)
{
	*f = (struct loaded_file){ 0 };
	read_object(f, object);
	set_policy(f, policy);
	int err = object_parse(&f->arena, buf_slice(&f->bytes), &f->parsed, &f->why);
	ck_assert_msg(err == 0, "%s: %s", object, f->why.text);
	f->request = (struct load_request){
		.object = buf_slice(&f->bytes), .parsed = f->parsed, .policy = &f->policy, .device = "lo", .name = name,
		.class = { .attach_type = BPF_XDP }, .old_maps_dir = -1,
	};
}

static int load(struct loaded_file *f)
{
	return spine_load(&f->arena, &f->request, &f->l, &f->report, &f->why);
}

static void load_good(struct loaded_file *f)
{
	int err = load(f);

	for (size_t i = 0; err != 0 && i < f->report.finding_count; i++)
		printf("# %s: %s\n", f->report.findings[i].rule, f->report.findings[i].sentence);
	ck_assert_msg(err == 0, "%d: %s", err, f->why.text);
}

static void done(struct loaded_file *f)
{
	loaded_free(f->l);
	buf_done(&f->bytes);
	arena_done(&f->arena);
}

static uint32_t verdict(const struct loaded *l)
{
	uint8_t frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	ck_assert_int_eq(bpf_prog_test_run_opts(l->entry_fd, &opts), 0);
	return opts.retval;
}

static int map_of(const struct loaded *l, const char *name, uint32_t channel)
{
	for (size_t i = 0; i < l->map_count; i++) {
		if (strcmp(l->maps[i].name, name) == 0 && l->maps[i].channel == channel)
			return l->maps[i].fd;
	}
	return -1;
}

static void sign(struct loaded_file *f, uint8_t signature[SPINE_SIGNATURE_BYTES], char policy[1000])
{
	static const uint8_t seed[32] = "another seed of 32 bytes........";
	uint8_t public[32], secret[64];
	char hex[65];

	ck_assert_int_ge(sodium_init(), 0);
	ck_assert_int_eq(crypto_sign_seed_keypair(public, secret, seed), 0);
	ck_assert_int_eq(spine_sign(f->request.object, secret, signature), 0);
	sodium_bin2hex(hex, sizeof(hex), public, sizeof(public));
	snprintf(policy, 1000, SHIPPED "module t\n key k = ed25519 %s\n domain x = ebpf object \"%s\" signed-by k\n" ALLOWS("x")
		 ALL_VERDICTS("x") " limit x tail-calls\n", hex, f->request.name);
	f->request.signature = slice_of(signature, SPINE_SIGNATURE_BYTES);
}

/* Sign it with a key that its domain names. */
static void trust(struct loaded_file *f, uint8_t signature[SPINE_SIGNATURE_BYTES])
{
	char policy[1000];

	sign(f, signature, policy);
	set_policy(f, policy);
}

/* ---- tiers ---- */

START_TEST(an_unsigned_extension_loads_and_runs)
{
	struct loaded_file f;

	prepare(&f, "counter-1", "counter", SHIPPED);
	load_good(&f);
	ck_assert_int_eq(f.l->tier, TIER_UNTRUSTED);
	ck_assert_uint_eq(verdict(f.l), XDP_PASS);
	ck_assert_uint_gt(f.l->memory_bytes, 0);
	ck_assert_uint_lt(f.l->memory_bytes, 1u << 20);
	uint32_t zero = 0;
	uint64_t packets = 0;
	ck_assert_int_eq(bpf_map_lookup_elem(map_of(f.l, "counts", 0), &zero, &packets), 0);
	ck_assert_uint_eq(packets, 1);
	ck_assert_int_ge(map_of(f.l, ".bss", 0), 0);
	ck_assert_int_ge(map_of(f.l, ".rodata", 0), 0);
	done(&f);
}
END_TEST

START_TEST(both_classes_are_served)
{
	struct loaded_file f;

	prepare(&f, "counter-1", "counter", SHIPPED);
	f.request.class = (struct spine_class){ 0 };
	load_good(&f);
	done(&f);
	prepare(&f, "counter-1", "counter", SHIPPED);
	f.request.class.frags = true;
	ck_assert_int_eq(load(&f), -EPERM);
	ck_assert_str_eq(f.report.findings[0].rule, "class");
	done(&f);
	prepare(&f, "frags-1", "frags", SHIPPED);
	f.request.class.frags = true;
	load_good(&f);
	done(&f);
	/* The section says frags, the device is not: the kernel would refuse it in the slot. */
	prepare(&f, "frags-1", "frags", SHIPPED);
	load_good(&f);
	done(&f);
}
END_TEST

START_TEST(what_needs_perfmon_loads_when_it_is_signed_only)
{
	struct loaded_file f;
	uint8_t signature[SPINE_SIGNATURE_BYTES];
	char policy[1000];

	prepare(&f, "leak-1", "leak", SHIPPED);
	ck_assert_int_eq(load(&f), -EINVAL);
	ck_assert_msg(strstr(f.why.text, "leak.bpf.c:21") != NULL && strstr(f.why.text, "prickle spine sign") != NULL &&
		      strstr(f.why.text, "signed-by") != NULL, "%s", f.why.text);
	done(&f);

	prepare(&f, "leak-1", "leak", SHIPPED);
	sign(&f, signature, policy);
	ck_assert_int_eq(load(&f), -EINVAL);	/* signed by a key that nobody trusts */
	set_policy(&f, policy);
	load_good(&f);
	ck_assert_int_eq(f.l->tier, TIER_VETTED);
	ck_assert_mem_eq(f.l->signer, signature, 32);
	done(&f);
}
END_TEST

START_TEST(a_signature_of_other_bytes_is_refused)
{
	struct loaded_file f;
	uint8_t signature[SPINE_SIGNATURE_BYTES];
	char policy[1000];

	prepare(&f, "counter-1", "counter", SHIPPED);
	sign(&f, signature, policy);
	signature[40] ^= 1;
	ck_assert_int_eq(load(&f), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(f.why.text, "sign it again"));
	done(&f);
}
END_TEST

START_TEST(a_refusal_of_the_kernel_names_the_line)
{
	struct loaded_file f;
	AUTO_BUF struct buf log = BUF_INIT(1u << 20);

	prepare(&f, "broken-1", "broken", SHIPPED);
	f.request.log = &log;
	ck_assert_int_eq(load(&f), -EINVAL);
	ck_assert_msg(strstr(f.why.text, "broken.bpf.c:12") != NULL &&
		      strstr(f.why.text, "invalid access to packet") != NULL &&
		      strstr(f.why.text, "the line that is refused") != NULL, "%s", f.why.text);
	ck_assert_ptr_null(strstr(f.why.text, "prickle spine sign"));
	ck_assert_uint_gt(log.len, 100);
	done(&f);
}
END_TEST

START_TEST(a_wish_beyond_the_policy_names_the_line_that_allows_it)
{
	struct loaded_file f;

	prepare(&f, "counter-1", "counter", OWN("counter") " allow counter attach, drop port\n limit counter memory 1 MiB\n");
	ck_assert_int_eq(load(&f), -EPERM);
	ck_assert_uint_ge(f.report.finding_count, 2);
	ck_assert_str_eq(f.report.findings[0].rule, "verdict pass");
	ck_assert_msg(strstr(f.report.findings[0].sentence, "`allow counter pass spine.every` in module t (test.policy:3:") != NULL, "%s",
		      f.report.findings[0].sentence);
	ck_assert_str_eq(f.report.findings[1].rule, "memory");
	ck_assert_ptr_nonnull(strstr(f.why.text, "the first:"));
	done(&f);
}
END_TEST

/* ---- memory ---- */

START_TEST(a_map_above_the_memory_is_refused)
{
	struct loaded_file f;

	prepare(&f, "hog-1", "hog", SHIPPED);
	ck_assert_int_eq(load(&f), -EPERM);
	done(&f);
}
END_TEST

START_TEST(memory_taken_later_is_bounded_by_the_kernel)
{
	struct loaded_file f;
	static uint8_t value[8192];
	uint32_t i;

	prepare(&f, "hog-2", "hog", OWN("hog") ALL_VERDICTS("hog") " limit hog memory 4 MiB\n");
	load_good(&f);
	if (f.l->memory_limited) {
		for (i = 0; i < 400; i++) {
			if (bpf_map_update_elem(map_of(f.l, "much", 0), &i, value, BPF_ANY) != 0)
				break;
		}
		ck_assert_uint_gt(i, 100);
		ck_assert_msg(i < 400, "all elements went in");
	}
	done(&f);
}
END_TEST

/* ---- upgrades ---- */

/* A directory in a bpffs, as a device has one for its extension's pins. */
static int pin_directory(void)
{
	char path[64];
	struct statfs fs;

	if (statfs("/sys/fs/bpf", &fs) != 0 || fs.f_type != BPF_FS_MAGIC)
		ck_assert_int_eq(mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL), 0);
	snprintf(path, sizeof(path), "/sys/fs/bpf/load-test-%06u", (unsigned)getpid() % 1000000u);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void remove_pins(int dir)
{
	static const char *const files[] = {
		"prog", "call-0", "call-1", "call-2", "drain-0", "drain-1", "drain-2", "maps/counts", "maps/section-bss",
		"maps/section-rodata", "maps/section-data-policy", "maps/spine_inbox", "maps/spine_inbox-1", "maps/spine_inbox-2", "maps/spine_channel",
		"maps/spine_channel-1", "maps/spine_channel-2", "maps/spine_outbox", "maps/spine_doorbell",
	};
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		(void)unlinkat(dir, files[i], 0);
	ck_assert_int_eq(unlinkat(dir, "maps", AT_REMOVEDIR), 0);
	snprintf(path, sizeof(path), "/sys/fs/bpf/load-test-%06u", (unsigned)getpid() % 1000000u);
	ck_assert_int_eq(rmdir(path), 0);
	close(dir);
}

/* Load version 1, count three packets, pin it; then load another version on top. */
static void upgrade(struct loaded_file *f, const char *object, uint64_t want, bool kept, bool dropped)
{
	struct loaded_file old;
	struct errmsg why = { 0 };
	uint64_t packets[2] = { 0 };
	uint32_t zero = 0;
	int dir = pin_directory();

	prepare(&old, "counter-1", "counter", SHIPPED);
	load_good(&old);
	for (int i = 0; i < 3; i++)
		verdict(old.l);
	ck_assert_msg(loaded_pin(old.l, dir, &why) == 0, "%s", why.text);
	prepare(f, object, "counter", SHIPPED);
	f->request.old_maps_dir = openat(dir, "maps", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f->request.old_state_id = 1;
	load_good(f);
	close(f->request.old_maps_dir);
	ck_assert_int_eq(f->l->state_kept, kept);
	ck_assert_int_eq(f->l->state_dropped, dropped);
	ck_assert_int_eq(bpf_map_lookup_elem(map_of(f->l, "counts", 0), &zero, packets), 0);
	ck_assert_uint_eq(packets[0], want);
	done(&old);
	remove_pins(dir);
}

START_TEST(an_upgrade_keeps_maps_of_the_same_layout)
{
	struct loaded_file f;
	uint64_t packets = 0;
	uint32_t zero = 0;

	upgrade(&f, "counter-2", 3, true, false);
	verdict(f.l);
	ck_assert_int_eq(bpf_map_lookup_elem(map_of(f.l, "counts", 0), &zero, &packets), 0);
	ck_assert_uint_eq(packets, 5);	/* constants are the new version's: steps of 2 */
	ck_assert_int_eq(bpf_map_lookup_elem(map_of(f.l, ".bss", 0), &zero, &packets), 0);
	ck_assert_uint_eq(packets, 4);
	done(&f);
}
END_TEST

START_TEST(a_migration_carries_state_into_another_layout)
{
	struct loaded_file f;

	upgrade(&f, "counter-3", 3, true, false);
	ck_assert_int_eq(map_of(f.l, "old_counts", 0), -1);
	done(&f);
}
END_TEST

START_TEST(without_a_migration_the_new_version_starts_empty_and_says_so)
{
	struct loaded_file f;

	upgrade(&f, "counter-4", 0, false, true);
	done(&f);
}
END_TEST

START_TEST(a_first_version_with_a_migration_loads_without_old_maps)
{
	struct loaded_file f;

	prepare(&f, "counter-3", "counter", SHIPPED);
	load_good(&f);
	ck_assert_int_eq(f.l->migrate_fd, -1);
	ck_assert_uint_eq(verdict(f.l), XDP_PASS);
	done(&f);
}
END_TEST

START_TEST(maps_pinned_by_name_are_not_shared)
{
	struct loaded_file a, b;
	uint64_t packets = 7;
	uint32_t zero = 0;

	prepare(&a, "counter-1", "counter", SHIPPED);
	prepare(&b, "counter-1", "counter", SHIPPED);
	load_good(&a);
	load_good(&b);
	verdict(a.l);
	ck_assert_int_eq(bpf_map_lookup_elem(map_of(b.l, "counts", 0), &zero, &packets), 0);
	ck_assert_uint_eq(packets, 0);
	ck_assert_int_eq(access("/sys/fs/bpf/counts", F_OK), -1);
	done(&a);
	done(&b);
}
END_TEST

/* ---- channels ---- */

struct add {
	uint64_t number, sum, sender;
};

static struct add call(const struct loaded *l, size_t channel, uint64_t number)
{
	struct spine_message m = { .handler = 1, .kind = SPINE_MESSAGE_CALL, .length = sizeof(struct add) };
	struct add a = { .number = number };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &m, .ctx_size_in = sizeof(m));

	memcpy(m.args, &a, sizeof(a));
	ck_assert_int_eq(bpf_prog_test_run_opts(l->call_fd[channel], &opts), 0);
	ck_assert_int_eq(m.kind, SPINE_MESSAGE_REPLY);
	memcpy(&a, m.args, sizeof(a));
	return a;
}

START_TEST(each_channel_has_a_label_and_an_inbox_and_shares_the_rest)
{
	struct loaded_file f;
	struct errmsg why = { 0 };
	uint8_t signature[SPINE_SIGNATURE_BYTES];

	prepare(&f, "talker-1", "talker", SHIPPED);
	trust(&f, signature);
	load_good(&f);
	ck_assert_uint_eq(f.l->channel_count, 3);
	for (uint64_t i = 0; i < 3; i++) {
		struct add a = call(f.l, i, 10);
		ck_assert_uint_eq(a.sender, i + 1);
		ck_assert_uint_eq(a.sum, (i + 1) * 10);
		ck_assert_int_ge(map_of(f.l, SPINE_MAP_INBOX, (uint32_t)i), 0);
	}
	ck_assert_int_eq(f.l->call_fd[3], -1);
	ck_assert_uint_eq(verdict(f.l), XDP_PASS);

	int dir = pin_directory();
	ck_assert_msg(loaded_pin(f.l, dir, &why) == 0, "%s", why.text);
	ck_assert_int_eq(faccessat(dir, "maps/spine_inbox-2", F_OK, 0), 0);
	ck_assert_int_eq(faccessat(dir, "call-2", F_OK, 0), 0);
	ck_assert_int_eq(faccessat(dir, "maps/spine_outbox-1", F_OK, 0), -1);
	remove_pins(dir);
	done(&f);
}
END_TEST

/* ---- lies ---- */

/* One xorshift step: the same mutations everywhere. */
static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void try_bytes(struct slice bytes, bool vetted, unsigned *loaded, unsigned *refused)
{
	uint8_t signature[SPINE_SIGNATURE_BYTES];
	struct loaded_file f = { 0 };

	arena_init(&f.arena, 256u << 20);
	set_policy(&f, SHIPPED);
	int err = object_parse(&f.arena, bytes, &f.parsed, &f.why);
	if (err == 0) {
		f.request = (struct load_request){ .object = bytes, .parsed = f.parsed, .policy = &f.policy, .device = "lo",
						   .name = "mutant", .class = { .attach_type = BPF_XDP },
						   .old_maps_dir = -1 };
		if (vetted)
			trust(&f, signature);
		err = load(&f);
	}
	ck_assert_msg(err == 0 || f.why.text[0] != '\0', "an error without a sentence: %d", err);
	*(err == 0 ? loaded : refused) += 1;
	loaded_free(f.l);
	arena_done(&f.arena);
}

START_TEST(mutated_objects_give_a_sentence)
{
	static const char *const objects[] = { "counter-1", "talker-1" };
	struct loaded_file f = { 0 };
	uint64_t seed = 0x5350494e45u + (unsigned)_i;
	unsigned loaded = 0, refused = 0;

	read_object(&f, objects[_i]);
	for (int i = 0; i < MUTATIONS / 2; i++) {
		AUTO_FREE uint8_t *copy = malloc(f.bytes.len);
		memcpy(copy, f.bytes.ptr, f.bytes.len);
		for (uint64_t n = 1 + next_random(&seed) % 4; n > 0; n--) {
			/* Headers and small sections are where lies hurt; the rest is debug information. */
			size_t at = next_random(&seed) % (i % 2 == 0 ? MIN(f.bytes.len, (size_t)4096) : f.bytes.len);
			copy[at] = (uint8_t)next_random(&seed);
		}
		size_t len = i % 8 == 0 ? next_random(&seed) % f.bytes.len : f.bytes.len;
		try_bytes(slice_of(copy, len), _i == 1, &loaded, &refused);
	}
	printf("# %s: %u loaded, %u refused\n", objects[_i], loaded, refused);
	ck_assert_uint_gt(loaded, 0);
	ck_assert_uint_gt(refused, 0);
	done(&f);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		an_unsigned_extension_loads_and_runs,
		both_classes_are_served,
		what_needs_perfmon_loads_when_it_is_signed_only,
		a_signature_of_other_bytes_is_refused,
		a_refusal_of_the_kernel_names_the_line,
		a_wish_beyond_the_policy_names_the_line_that_allows_it,
		a_map_above_the_memory_is_refused,
		memory_taken_later_is_bounded_by_the_kernel,
		an_upgrade_keeps_maps_of_the_same_layout,
		a_migration_carries_state_into_another_layout,
		without_a_migration_the_new_version_starts_empty_and_says_so,
		a_first_version_with_a_migration_loads_without_old_maps,
		maps_pinned_by_name_are_not_shared,
		each_channel_has_a_label_and_an_inbox_and_shares_the_rest,
	};
	struct bpf_insn insns[] = { { .code = 0xb7 }, { .code = 0x95 } };
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "probe", "MIT", insns, 2, NULL);

	if (fd < 0 || access(TEST_OBJECTS "/counter-1.o", R_OK) != 0) {
		printf("1..0 # SKIP %s\n", fd < 0 ? "needs root and BPF" : "the test objects were not compiled: no clang");
		return EXIT_SUCCESS;
	}
	close(fd);
	Suite *suite = suite_create("spine/load");
	TCase *tcase = tcase_create("spine/load");
	tcase_set_timeout(tcase, 60);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tcase, tests[i]);
	tcase_add_loop_test(tcase, mutated_objects_give_a_sentence, 0, 2);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
