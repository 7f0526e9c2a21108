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
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/attach.h"
#include "spine/device.h"

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
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "/dev/stdout");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
