/*
 * Ends in the middle: a change that is killed at any of its steps leaves the old settings in force or the new ones, whole, and the
 * next command goes on from there; nothing is left after a removal. In a network namespace of our own.
 */
#include "base/test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/bpf/object.h"
#include "nat64/instance_private.h"
#include "nat64/tc.h"
#include "spine/attach.h"
#include "spine/host.h"
#include "spine/pins.h"

#define ARENA_BYTES (64u << 20)

#define BEGIN "name: crash\nmode: nat64\ninterfaces: [lo]\npref64: [\"2001:db8:64::/96\"]\n" \
	      "tables:\n  sessions: 1024\n  mappings: 1024\n  subscribers: 64\n  pool-addresses: 8\n"
static const char old_xdp[] = BEGIN "attach: xdp\npool4: [192.0.2.1-192.0.2.2]\n";
static const char old_tc[] = BEGIN "attach: tc\npool4: [192.0.2.1, 192.0.2.2]\n";
static const char new_tc[] = BEGIN "attach: tc\npool4: [192.0.2.2, 192.0.2.3]\nlowest-ipv6-mtu: 1400\n";

struct shared {
	bool committed;
	char last[64];
};

struct killer {
	struct shared *shared;
	int steps_left;
};

static void count_down(void *arg, const char *name)
{
	struct killer *k = arg;

	k->shared->committed |= strcmp(name, "committed") == 0;
	(void)snprintf(k->shared->last, sizeof(k->shared->last), "%s", name);
	if (k->steps_left-- == 0)
		(void)raise(SIGKILL);
}

static struct nat64_settings *parse(struct arena *arena, const char *text)
{
	AUTO_BUF struct buf errors = BUF_INIT(65536);
	struct nat64_settings *s;

	ck_assert_msg(nat64_settings_parse(arena, slice_str(text), "test.yaml", &s, &errors) == 0, "%s", buf_cstr(&errors));
	return s;
}

static int apply_and_hear(const char *text, struct killer *k, struct buf *notice, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct nat64_where where = { .step = k != NULL ? count_down : NULL, .step_arg = k };
	struct nat64 *n;
	int err = nat64_apply(&where, parse(&arena, text), &n, notice, why);

	if (err == 0)
		nat64_close(n);
	return err;
}

static int apply(const char *text, struct killer *k, struct errmsg *why)
{
	AUTO_BUF struct buf notice = BUF_INIT(65536);

	return apply_and_hear(text, k, &notice, why);
}

static void whole(const char *text)
{
	struct errmsg why;

	ck_assert_msg(apply(text, NULL, &why) == 0, "%s", why.text);
}

static int remove_it(struct killer *k, struct errmsg *why)
{
	struct nat64_where where = { .name = "crash", .step = k != NULL ? count_down : NULL, .step_arg = k };

	return nat64_remove(&where, why);
}

static uint32_t lo(void)
{
	return if_nametoindex("lo");
}

static bool tc_runs(void)
{
	struct errmsg why;
	uint32_t id;

	return nat64_tc_query("crash", lo(), NAT64_TC_IN, &id, &why) == 0;
}

static bool xdp_runs(void)
{
	struct attachment a;
	struct errmsg why;

	ck_assert_int_eq(attach_query(lo(), false, &a, &why), 0);
	return a.kind != ATTACH_NONE;
}

static void nothing_left(void)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct nat64_found *found;
	char device[IFNAMSIZ], cookie[24];
	struct errmsg why;
	size_t count;

	ck_assert(!tc_runs());
	ck_assert(!xdp_runs());
	device_name("crash", device);
	ck_assert_uint_eq(if_nametoindex(device), 0);
	ck_assert_int_eq(nat64_scan(&arena, false, &found, &count, &why), 0);
	ck_assert_uint_eq(count, 0);
	(void)snprintf(cookie, sizeof(cookie), "%llu", (unsigned long long)host_netns_cookie());
	AUTO_FD int root = host_bpffs_part("nat64", false, &why);
	ck_assert(root == -ENOENT || pin_dir(root, cookie, false) == -ENOENT);
}

/*
 * The settings in force: 0 none, 1 old, 2 new. What packets look at, the text and the pool's tables belong together.
 */
static int in_force(void)
{
	static const uint32_t first[] = { 0, 0xc0000201, 0xc0000202 };
	struct nat64_where where = { .name = "crash" };
	const struct xlat_config *c;
	struct errmsg why;
	struct nat64 *n;
	int err = nat64_open(&where, NAT64_LOOK, &n, &why), which;

	if (err == -ENOENT)
		return 0;
	ck_assert_msg(err == 0, "%s", why.text);
	c = nat64_config(n);
	if (c->serial == 0) {
		nat64_close(n);
		return 0;
	}
	which = c->lowest_mtu6 == 1400 ? 2 : 1;
	ck_assert((slice_find(nat64_settings_text(n), SLICE("lowest-ipv6-mtu: 1400")) != SLICE_NPOS) == (which == 2));
	ck_assert_uint_ge(c->pool_count, 1);
	ck_assert_uint_eq(c->pool[0].first, first[which]);
	for (uint32_t i = 0; i < c->pool_count; i++)
		for (uint32_t k = 0; k < c->pool[i].count; k++) {
			uint32_t slot = c->pool[i].slot + k, id = 0;

			ck_assert_int_eq(bpf_map_lookup_elem(nat64_map(n, "pool"), &slot, &id), 0);
			ck_assert_uint_ne(id, 0);
			/* 192.0.2.2 is in both, and keeps its ports: its slot. */
			if (c->pool[i].first + k == 0xc0000202)
				ck_assert_uint_eq(slot, 1);
		}
	nat64_close(n);
	return which;
}

enum op { APPLY, REMOVE };

static bool killed_at(int step, enum op op, const char *text, struct shared *shared)
{
	int status;
	pid_t child;

	*shared = (struct shared){ 0 };
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct killer k = { shared, step };
		struct errmsg why;
		int err = op == APPLY ? apply(text, &k, &why) : remove_it(&k, &why);

		if (err != 0)
			fprintf(stderr, "# %s\n", why.text);
		_exit(err == 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0), "after '%s'", shared->last);
	return WIFSIGNALED(status);
}

static struct shared *shared_new(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static void gone(void)
{
	struct errmsg why;
	int err = remove_it(NULL, &why);

	ck_assert_msg(err == 0 || err == -ENOENT, "%s", why.text);
	nothing_left();
}

/* Loading programs takes a second, so not each step is tried, unless NAT64_FULL=1 asks for it. */
static int stride(int usual)
{
	return getenv("NAT64_FULL") != NULL ? 1 : usual;
}

static void begin_killed_everywhere(const char *text, bool (*runs)(void), int by)
{
	struct shared *shared = shared_new();
	int step = 0;

	for (; killed_at(step, APPLY, text, shared); step += by) {
		int now = in_force();

		ck_assert_msg(now == (shared->committed ? 1 : 0), "killed after '%s': %d", shared->last, now);
		/* Every third time the next command is a removal; else it is the same again. */
		if (step % 3 == 0) {
			gone();
			continue;
		}
		whole(text);
		ck_assert_int_eq(in_force(), 1);
		ck_assert(runs());
		gone();
	}
	ck_assert_int_ge(step, 8);
	ck_assert_int_eq(in_force(), 1);
	ck_assert(runs());
}

START_TEST(a_begin_on_tc_that_is_killed_anywhere_can_be_repeated)
{
	begin_killed_everywhere(old_tc, tc_runs, stride(4));
	gone();
}
END_TEST

START_TEST(a_begin_on_xdp_that_is_killed_anywhere_can_be_repeated)
{
	begin_killed_everywhere(old_xdp, xdp_runs, stride(7));
	gone();
}
END_TEST

START_TEST(a_change_that_is_killed_anywhere_leaves_old_or_new_settings)
{
	struct shared *shared = shared_new();
	int step = 0;

	whole(old_tc);
	for (; killed_at(step, APPLY, new_tc, shared); step += stride(3)) {
		int now = in_force();

		ck_assert_msg(now == (shared->committed ? 2 : 1), "killed after '%s': %d", shared->last, now);
		ck_assert(tc_runs());
		whole(step % 2 == 0 ? old_tc : new_tc);
		ck_assert_int_eq(in_force(), step % 2 == 0 ? 1 : 2);
		whole(old_tc);
		ck_assert_int_eq(in_force(), 1);
	}
	ck_assert_int_ge(step, 8);
	ck_assert_int_eq(in_force(), 2);
	gone();
}
END_TEST

START_TEST(a_removal_that_is_killed_anywhere_can_be_repeated)
{
	struct shared *shared = shared_new();
	int step = 0;

	whole(old_tc);
	for (; killed_at(step, REMOVE, NULL, shared); step++) {
		gone();
		whole(old_tc);
	}
	ck_assert_int_ge(step, 2);
	nothing_left();
}
END_TEST

START_TEST(from_tc_to_xdp_and_back_by_apply)
{
	whole(old_tc);
	ck_assert(tc_runs() && !xdp_runs());
	whole(old_xdp);
	ck_assert(!tc_runs() && xdp_runs());
	whole(old_tc);
	ck_assert(tc_runs() && !xdp_runs());
	gone();
}
END_TEST

START_TEST(the_key_and_sizes_stay_and_what_cannot_change_is_refused)
{
	struct nat64_where where = { .name = "crash" };
	struct errmsg why;
	struct nat64 *n;
	uint64_t key;

	whole(old_tc);
	ck_assert_int_eq(nat64_open(&where, NAT64_LOOK, &n, &why), 0);
	key = nat64_config(n)->key[0];
	ck_assert_uint_ne(key, 0);
	whole(new_tc);
	ck_assert_uint_eq(nat64_config(n)->key[0], key);
	ck_assert_uint_eq(nat64_config(n)->serial, 3);	/* one more for the address that went */
	nat64_close(n);
	ck_assert_int_eq(apply("name: crash\nmode: nat64\ninterfaces: [lo]\npref64: [\"2001:db8:64::/96\"]\nattach: tc\n"
			       "pool4: [192.0.2.2, 192.0.2.3]\n", NULL, &why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "tables.sessions"));
	ck_assert_int_eq(in_force(), 2);
	gone();
}
END_TEST

START_TEST(two_that_want_the_same_packets_are_told_of)
{
	static const char second[] = "name: second\nmode: nat64\ninterfaces: [lo]\nattach: tc\ntables: {sessions: 1024, mappings: 1024}\n";
	struct nat64_where where = { .name = "second" };
	AUTO_BUF struct buf text = BUF_INIT(4096), notice = BUF_INIT(65536), quiet = BUF_INIT(65536), pool = BUF_INIT(65536);
	struct errmsg why;

	whole(old_tc);
	buf_printf(&text, "%spref64: 2001:db8:64::/96\npool4: 198.51.100.1\n", second);
	ck_assert_int_eq(apply_and_hear(buf_cstr(&text), NULL, &notice, &why), 0);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&notice), "translator 'crash' has 2001:db8:64::/96 as well"));
	ck_assert_int_eq(nat64_remove(&where, &why), 0);
	buf_reset(&text);
	buf_printf(&text, "%spref64: 2001:db8:65::/96\npool4: 198.51.100.1\n", second);
	ck_assert_int_eq(apply_and_hear(buf_cstr(&text), NULL, &quiet, &why), 0);
	ck_assert_ptr_null(strstr(buf_cstr(&quiet), "as well"));
	buf_reset(&text);
	buf_printf(&text, "%spref64: 2001:db8:65::/96\npool4: [198.51.100.1, 192.0.2.2]\n", second);
	ck_assert_int_eq(apply_and_hear(buf_cstr(&text), NULL, &pool, &why), 0);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&pool), "translator 'crash' has 192.0.2.2"));
	ck_assert_int_eq(nat64_remove(&where, &why), 0);
	gone();
}
END_TEST

START_TEST(a_missing_interface_changes_nothing)
{
	struct errmsg why;

	ck_assert_int_eq(apply("name: crash\nmode: siit\ninterfaces: [nowhere]\npref64: [\"2001:db8:64::/96\"]\n"
			       "mappings: [\"192.0.2.1/32 2001:db8::1/128\"]\n", NULL, &why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "nowhere"));
	nothing_left();
}
END_TEST

/* Slots of the pool in force, by address from 192.0.2.0 on; -1: not there. */
static void slots_of(int out[16])
{
	struct nat64_where where = { .name = "crash" };
	const struct xlat_config *c;
	struct errmsg why;
	struct nat64 *n;

	ck_assert_int_eq(nat64_open(&where, NAT64_LOOK, &n, &why), 0);
	c = nat64_config(n);
	for (int i = 0; i < 16; i++)
		out[i] = -1;
	for (uint32_t i = 0; i < c->pool_count; i++)
		for (uint32_t k = 0; k < c->pool[i].count; k++)
			out[(c->pool[i].first + k) & 15] = (int)(c->pool[i].slot + k);
	nat64_close(n);
}

START_TEST(pool_addresses_keep_their_slots_when_rows_grow_move_and_part)
{
	struct errmsg why;
	int before[16], after[16];

	whole(BEGIN "attach: tc\npool4: [192.0.2.2-192.0.2.3]\n");
	slots_of(before);
	whole(BEGIN "attach: tc\npool4: [192.0.2.5, 192.0.2.1-192.0.2.4]\n");
	slots_of(after);
	ck_assert_int_eq(after[2], before[2]);
	ck_assert_int_eq(after[3], before[3]);
	ck_assert_int_ge(after[5], 0);
	whole(BEGIN "attach: tc\npool4: [192.0.2.3-192.0.2.6, 192.0.2.8, 192.0.2.9]\n");
	slots_of(before);
	ck_assert_int_eq(before[3], after[3]);
	ck_assert_int_eq(before[4], after[4]);
	ck_assert_int_eq(before[5], after[5]);
	ck_assert_int_eq(before[2], -1);
	for (int i = 3; i < 16; i++)
		for (int k = i + 1; k < 16; k++)
			ck_assert(before[i] < 0 || before[i] != before[k]);
	/* Eight slots: six are in use, and those that go hold theirs until the change is made. */
	ck_assert_int_eq(apply(BEGIN "attach: tc\npool4: [192.0.2.10-192.0.2.12]\n", NULL, &why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "pool4"));
	slots_of(after);
	ck_assert_mem_eq(before, after, sizeof(before));
	gone();
}
END_TEST

/* The interface goes at the moment when it is to be attached. */
static void remove_interface(void *arg, const char *name)
{
	int *noted = arg;

	if (strcmp(name, "attachment is noted") == 0 && ++*noted == 2) {
		struct errmsg why;

		ck_assert_int_eq(device_remove_tap("other", &why), 0);
	}
}

START_TEST(a_change_that_fails_half_way_takes_back_what_it_attached)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	AUTO_BUF struct buf notice = BUF_INIT(65536);
	struct errmsg why;
	struct nat64 *n;
	uint32_t ifindex;
	int noted = 0;
	struct nat64_where where = { .step = remove_interface, .step_arg = &noted };

	/* Any TAP does. */
	ck_assert_int_eq(device_make_tap("other", &ifindex, &why), 0);
	ck_assert_int_eq(nat64_apply(&where, parse(&arena, "name: crash\nmode: siit\ninterfaces: [lo, nat64-other]\nattach: tc\n"
							   "pref64: [\"2001:db8:64::/96\"]\nmappings: [\"192.0.2.1/32 2001:db8::1/128\"]\n"),
				     &n, &notice, &why), -ENODEV);
	nothing_left();
	/* The same of one that runs: it stays as it was. */
	whole("name: crash\nmode: siit\ninterfaces: [lo]\nattach: tc\npref64: [\"2001:db8:64::/96\"]\nmappings: [\"192.0.2.1/32 2001:db8::1/128\"]\n");
	ck_assert(tc_runs());
	noted = 0;
	ck_assert_int_eq(device_make_tap("other", &ifindex, &why), 0);
	ck_assert_int_eq(nat64_apply(&where, parse(&arena, "name: crash\nmode: siit\ninterfaces: [lo, nat64-other]\nattach: tc\n"
							   "pref64: [\"2001:db8:64::/96\"]\nmappings: [\"192.0.2.2/32 2001:db8::2/128\"]\n"),
				     &n, &notice, &why), -ENODEV);
	ck_assert(tc_runs());
	where = (struct nat64_where){ .name = "crash" };
	ck_assert_int_eq(nat64_open(&where, NAT64_LOOK, &n, &why), 0);
	ck_assert(slice_find(nat64_settings_text(n), SLICE("192.0.2.1/32")) != SLICE_NPOS);
	nat64_close(n);
	gone();
}
END_TEST

static int begin_test(void)
{
	struct rlimit memory = { RLIM_INFINITY, RLIM_INFINITY };
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int s;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 || nat64_object().len == 0)
		return -1;
	(void)setrlimit(RLIMIT_MEMLOCK, &memory);
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &up) != 0)
		return -1;
	close(s);
	return access("/dev/net/tun", F_OK);
}

int main(void)
{
	Suite *suite = suite_create("nat64/instance");
	TCase *tc = tcase_create("nat64/instance");

	if (begin_test() != 0) {
		puts("1..0 # SKIP needs root, network namespaces, /dev/net/tun and programs for the kernel");
		return 0;
	}
	tcase_add_test(tc, a_begin_on_tc_that_is_killed_anywhere_can_be_repeated);
	tcase_add_test(tc, a_begin_on_xdp_that_is_killed_anywhere_can_be_repeated);
	tcase_add_test(tc, a_change_that_is_killed_anywhere_leaves_old_or_new_settings);
	tcase_add_test(tc, a_removal_that_is_killed_anywhere_can_be_repeated);
	tcase_add_test(tc, from_tc_to_xdp_and_back_by_apply);
	tcase_add_test(tc, the_key_and_sizes_stay_and_what_cannot_change_is_refused);
	tcase_add_test(tc, two_that_want_the_same_packets_are_told_of);
	tcase_add_test(tc, a_missing_interface_changes_nothing);
	tcase_add_test(tc, pool_addresses_keep_their_slots_when_rows_grow_move_and_part);
	tcase_add_test(tc, a_change_that_fails_half_way_takes_back_what_it_attached);
	tcase_set_timeout(tc, 300);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
