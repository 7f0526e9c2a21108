/*
 * Ends in the middle: a change that is killed at any of its steps leaves the old state or the new one, and the
 * next command goes on from there. On the loopback interface of a network namespace of our own.
 */
#include "base/test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
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
#include "spine/attach.h"
#include "spine/device.h"
#include "spine/pins.h"

#define LO 1u

static const struct spine_where where = { .device = "lo" };

/* What the killed process tells us. */
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

	k->shared->committed |= strcmp(name, "committed") == 0 || strcmp(name, "given back") == 0;
	(void)snprintf(k->shared->last, sizeof(k->shared->last), "%s", name);
	if (k->steps_left-- == 0)
		(void)raise(SIGKILL);
}

static int load(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_XDP);

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "device_test", "Dual MIT/GPL", insns, 2, &opts);
}

enum op { ADD, REMOVE };

static int change(struct spine_device *d, enum op op, const char *name, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct spine_change c = { .arena = &arena };
	AUTO_FD int prog = op == ADD ? load() : -1;
	struct adopt_request r = { .prog_fd = prog, .name = name, .match = "udp port 9", .order = -1 };
	int err = op == ADD ? spine_adopt(d, &r, &c) : spine_remove(d, name, why);

	if (op == ADD)
		*why = c.why;
	return err;
}

static void whole(enum op op, const char *name)
{
	struct spine_device *d;
	struct errmsg why;

	ck_assert_msg(spine_device_open(&where, SPINE_CHANGE, &d, &why) == 0, "%s", why.text);
	ck_assert_msg(change(d, op, name, &why) == 0, "%s", why.text);
	spine_device_close(d);
}

/* Number of extensions, and that the interface runs a program exactly when there are some. */
static size_t state(void)
{
	const struct spine_record *const *records;
	struct spine_device *d;
	struct attachment a;
	struct errmsg why;
	size_t count = 0;
	int err = spine_device_open(&where, SPINE_LOOK, &d, &why);

	ck_assert_msg(err == 0 || err == -ENOENT, "%s", why.text);
	if (err == 0) {
		count = spine_device_records(d, &records);
		spine_device_close(d);
	}
	ck_assert_int_eq(attach_query(LO, false, &a, &why), 0);
	ck_assert_int_eq(a.kind != ATTACH_NONE, count > 0);
	return count;
}

/* True when it was killed at this step; false: it has fewer. */
static bool killed_at(int step, enum op op, const char *name, struct shared *shared)
{
	int status;
	pid_t child;

	*shared = (struct shared){ 0 };
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct killer k = { shared, step };
		struct spine_device *d;
		struct errmsg why;

		if (spine_device_open(&where, SPINE_CHANGE, &d, &why) != 0)
			_exit(1);
		spine_device_on_step(d, count_down, &k);
		int err = change(d, op, name, &why);
		spine_device_on_step(d, NULL, NULL);
		spine_device_close(d);
		_exit(err == 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	return WIFSIGNALED(status);
}

static void killed_everywhere(enum op op, const char *name, size_t before)
{
	struct shared *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t after = op == ADD ? before + 1 : before - 1;
	int step = 0;

	ck_assert_ptr_ne(shared, MAP_FAILED);
	for (; killed_at(step, op, name, shared); step++) {
		size_t now = state();

		ck_assert_msg(now == (shared->committed ? after : before), "killed after '%s': %zu extensions", shared->last, now);
		/* The next command finds its way, whatever was left. */
		if (now == after)
			whole(op == ADD ? REMOVE : ADD, name);
		ck_assert_uint_eq(state(), before);
	}
	ck_assert_int_ge(step, 2);
	ck_assert_uint_eq(state(), after);
	munmap(shared, 4096);
}

START_TEST(a_change_that_is_killed_at_any_step_leaves_the_old_state_or_the_new_one)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	killed_everywhere(ADD, "a", 0);
	killed_everywhere(ADD, "b", 1);
	killed_everywhere(REMOVE, "b", 2);
	killed_everywhere(REMOVE, "a", 1);
}
END_TEST

START_TEST(a_second_command_waits_for_the_first)
{
	struct spine_device *d;
	struct errmsg why;
	int status, go[2];
	char byte = 0;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	whole(ADD, "a");
	ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
	/* Made before the lock is taken, since a child would share it. */
	pid_t child = fork();
	if (child == 0) {
		ck_assert_int_eq(read(go[0], &byte, 1), 1);
		whole(ADD, "b");
		_exit(0);
	}
	ck_assert_int_eq(spine_device_open(&where, SPINE_CHANGE, &d, &why), 0);
	ck_assert_int_eq(write(go[1], &byte, 1), 1);
	/* It cannot have come in: what we hold is what there is. */
	ck_assert_msg(change(d, ADD, "c", &why) == 0, "%s", why.text);
	spine_device_close(d);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_uint_eq(state(), 3);
	whole(REMOVE, "a");
	whole(REMOVE, "b");
	whole(REMOVE, "c");
	ck_assert_uint_eq(state(), 0);
}
END_TEST

static void bring_up(void)
{
	struct ifreq r = { .ifr_name = "lo" };
	AUTO_FD int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(ioctl(s, SIOCGIFFLAGS, &r), 0);
	r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
	ck_assert_int_eq(ioctl(s, SIOCSIFFLAGS, &r), 0);
}

/* That this extension runs, its slot and all. */
static void is_active(const char *name)
{
	const char *reason = "it is not there";
	const struct spine_record *r;
	struct spine_device *d;
	struct errmsg why;

	ck_assert_msg(spine_device_open(&where, SPINE_LOOK, &d, &why) == 0, "%s", why.text);
	r = spine_device_find(d, name);
	ck_assert_msg(r != NULL && strcmp(spine_device_state(d, r, &reason), "active") == 0, "%s: %s", name, reason);
	spine_device_close(d);
}

START_TEST(a_command_without_descriptors_removes_nothing)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	bring_up();
	whole(ADD, "a");
	for (rlim_t most = 3; most < 48; most++) {
		int status;
		pid_t child = fork();

		ck_assert_int_ge(child, 0);
		if (child == 0) {
			AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
			struct rlimit limit = { most, most };
			struct spine_found *found;
			struct spine_device *d;
			struct errmsg why;
			size_t count;

			ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
			(void)!spine_device_scan(&arena, &found, &count, &why);
			if (spine_device_open(&where, SPINE_CHANGE, &d, &why) == 0) {
				(void)!change(d, ADD, "b", &why);
				(void)!change(d, REMOVE, "b", &why);
				spine_device_close(d);
			}
			_exit(0);
		}
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert(WIFEXITED(status));
		is_active("a");
	}
	whole(REMOVE, "a");
	ck_assert_uint_eq(state(), 0);
}
END_TEST

START_TEST(a_damaged_record_stops_changes_and_loses_no_slot)
{
	struct spine_device *d;
	struct errmsg why;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	bring_up();
	whole(ADD, "a");
	whole(ADD, "b");
	ck_assert_int_eq(spine_device_open(&where, SPINE_LOOK, &d, &why), 0);
	AUTO_FD int dir = openat(spine_device_dir(d), "ext/b", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FD int good = pin_get(dir, "record");
	AUTO_FD int bad = bpf_map_create(BPF_MAP_TYPE_ARRAY, "device_test", 4, 8, 1, NULL);
	spine_device_close(d);
	ck_assert_int_ge(good, 0);
	ck_assert_int_eq(pin_remove(dir, "record"), 0);
	ck_assert_int_eq(pin_set(dir, "record", bad), 0);
	ck_assert_int_eq(spine_device_open(&where, SPINE_CHANGE, &d, &why), -EPROTO);
	ck_assert_int_eq(pin_remove(dir, "record"), 0);
	ck_assert_int_eq(pin_set(dir, "record", good), 0);
	is_active("a");
	is_active("b");
	whole(REMOVE, "b");
	whole(REMOVE, "a");
	ck_assert_uint_eq(state(), 0);
}
END_TEST

START_TEST(the_name_of_the_program_that_was_there_is_taken)
{
	struct spine_device *d;
	struct attachment a;
	struct errmsg why;

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	bring_up();
	AUTO_FD int there = load();
	ck_assert_int_eq(attach_netlink(LO, there, -1, ATTACH_GENERIC, &why), 0);
	ck_assert_int_eq(spine_device_open(&where, SPINE_CHANGE, &d, &why), 0);
	ck_assert_int_eq(change(d, ADD, "device-test", &why), -EEXIST);
	spine_device_close(d);
	ck_assert_int_eq(attach_query(LO, false, &a, &why), 0);
	ck_assert_uint_eq(a.prog_id, pin_prog_id(there));
	whole(ADD, "b");
	is_active("device-test");
	whole(REMOVE, "b");
	ck_assert_int_eq(attach_query(LO, false, &a, &why), 0);
	ck_assert_uint_eq(a.prog_id, pin_prog_id(there));
}
END_TEST

START_TEST(a_link_of_another_namespace_with_the_same_number_is_left_alone)
{
	uint32_t prog, index;
	enum attach_mode used;
	struct attachment a;
	struct errmsg why;
	AUTO_FD int there = load();

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	AUTO_FD int link = attach_link(LO, there, ATTACH_GENERIC, &used, &why);
	ck_assert_msg(link >= 0, "%s", why.text);
	AUTO_FD int other = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);	/* it must live on */
	ck_assert_int_ge(other, 0);
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	bring_up();
	ck_assert_int_eq(attach_netlink(LO, there, -1, ATTACH_GENERIC, &why), 0);
	whole(ADD, "b");
	is_active("b");
	is_active("device-test");
	ck_assert_int_eq(attach_link_info(link, &prog, &index), 0);
	ck_assert_uint_eq(prog, pin_prog_id(there));
	whole(REMOVE, "b");
	ck_assert_int_eq(attach_query(LO, false, &a, &why), 0);
	ck_assert_uint_eq(a.prog_id, pin_prog_id(there));
}
END_TEST

int main(void)
{
	AUTO_FD int fd = load();

	if (geteuid() != 0 || fd < 0) {
		printf("1..0 # SKIP needs root and BPF\n");
		return 0;
	}
	Suite *suite = suite_create("spine/device");
	TCase *tcase = tcase_create("spine/device");
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, a_change_that_is_killed_at_any_step_leaves_the_old_state_or_the_new_one);
	tcase_add_test(tcase, a_second_command_waits_for_the_first);
	tcase_add_test(tcase, a_command_without_descriptors_removes_nothing);
	tcase_add_test(tcase, a_damaged_record_stops_changes_and_loses_no_slot);
	tcase_add_test(tcase, the_name_of_the_program_that_was_there_is_taken);
	tcase_add_test(tcase, a_link_of_another_namespace_with_the_same_number_is_left_alone);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
