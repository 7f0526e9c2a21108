#include "policy/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/test.h"
#include "policy/store_private.h"

/* Two policies that differ by a right each way and one that stays. */
#define COMMON "module web domain app = program \"/usr/bin/app\" label file data = tree \"/srv/data\" label file other = tree \"/srv/other\" "
#define OLD COMMON "allow app read, write data"
#define NEW COMMON "allow app read data allow app read other"

static struct {
	char directory[64], old[96], new[96], store[96];
} rig;

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_ne(f, NULL);
	fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	return remove(path);
}

static void rig_done(void)
{
	nftw(rig.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void rig_open(void)
{
	snprintf(rig.directory, sizeof(rig.directory), "/tmp/prickle-policy.XXXXXX");
	ck_assert_ptr_ne(mkdtemp(rig.directory), NULL);
	snprintf(rig.old, sizeof(rig.old), "%s/old.policy", rig.directory);
	snprintf(rig.new, sizeof(rig.new), "%s/new.policy", rig.directory);
	snprintf(rig.store, sizeof(rig.store), "%s/store", rig.directory);
	write_file(rig.old, OLD);
	write_file(rig.new, NEW);
}

static struct policy_store *store_open(uint32_t flags)
{
	struct policy_store *s;
	struct errmsg why = { 0 };

	ck_assert_msg(policy_store_open(rig.store, flags, &s, &why) == 0, "%s", why.text);
	return s;
}

static int apply_how(struct policy_store *s, struct policy_apply how, uint64_t *epoch)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	struct errmsg why = { 0 };

	how.who = "test";
	return policy_store_apply(s, &how, epoch, &errors, &why);
}

static uint64_t apply_file(struct policy_store *s, const char *file)
{
	uint64_t epoch = 0;

	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = file }, &epoch), 0);
	return epoch;
}

/* Which of the three rights the table gives: write data 1, read other 2, read data 4. */
static unsigned rights(const struct policy_store *s)
{
	const struct policy_table *t = policy_store_table(s);
	uint32_t app = policy_subject_program(t, SLICE("/usr/bin/app"));
	uint32_t data = policy_object_path(t, SLICE("/srv/data/x")), other = policy_object_path(t, SLICE("/srv/other/x"));

	return (policy_check(t, app, data, POLICY_FILE_WRITE) == POLICY_ALLOWED ? 1u : 0) |
	       (policy_check(t, app, other, POLICY_FILE_READ) == POLICY_ALLOWED ? 2u : 0) |
	       (policy_check(t, app, data, POLICY_FILE_READ) == POLICY_ALLOWED ? 4u : 0);
}
#define RIGHTS_OLD  5u
#define RIGHTS_NEW  6u
#define RIGHTS_BOTH 4u

START_TEST(without_an_epoch_the_shipped_policy_is_in_force)
{
	struct policy_store *s;
	struct errmsg why;

	rig_open();
	ck_assert_int_eq(policy_store_open(rig.store, 0, &s, &why), -ENOENT);
	s = store_open(POLICY_STORE_WRITE);
	ck_assert_uint_eq(policy_store_epoch(s), 0);
	ck_assert_uint_ne(policy_subject_named(policy_store_table(s), SLICE("mail.user")), 0);
	policy_store_close(s);
	policy_store_close(store_open(0));
	rig_done();
}
END_TEST

START_TEST(who_has_the_table_mapped_sees_an_apply_at_once)
{
	struct policy_store *reader, *s;
	uint32_t before, app;

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	reader = store_open(0);
	ck_assert_uint_eq(apply_file(s, rig.old), 1);
	ck_assert_uint_eq(rights(reader), RIGHTS_OLD);
	before = policy_object_path(policy_store_table(reader), SLICE("/srv/data/x"));
	ck_assert_uint_eq(apply_file(s, rig.new), 2);
	ck_assert_uint_eq(rights(reader), RIGHTS_NEW);
	ck_assert_uint_eq(policy_store_epoch(reader), 2);
	/* Labels keep their numbers. */
	app = policy_subject_program(policy_store_table(reader), SLICE("/usr/bin/app"));
	ck_assert_int_eq(policy_check(policy_store_table(reader), app, before, POLICY_FILE_READ), POLICY_ALLOWED);
	policy_store_close(reader);
	policy_store_close(s);
	rig_done();
}
END_TEST

START_TEST(previous_goes_back_and_forth)
{
	struct policy_store *s;
	uint64_t epoch;

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .previous = true }, &epoch), -ENOENT);
	apply_file(s, rig.old);
	apply_file(s, rig.new);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .previous = true }, &epoch), 0);
	ck_assert_uint_eq(epoch, 3);
	ck_assert_uint_eq(rights(s), RIGHTS_OLD);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .previous = true }, &epoch), 0);
	ck_assert_uint_eq(rights(s), RIGHTS_NEW);
	policy_store_close(s);
	rig_done();
}
END_TEST

START_TEST(a_policy_with_a_mistake_or_a_broken_never_changes_nothing)
{
	static const char *const bad[] = {
		"this is no policy",
		NEW " never app read other",
		NEW " expect deny app read other",
		NEW " expect allow app write data",
		"import \"../x.policy\"",
		"import \"not-there.policy\"",
		COMMON "allow app read nothing",
	};
	struct policy_store *s;
	uint64_t epoch;

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	apply_file(s, rig.old);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		write_file(rig.new, bad[i]);
		ck_assert_msg(apply_how(s, (struct policy_apply){ .file = rig.new }, &epoch) == -EINVAL, "%s", bad[i]);
		ck_assert_uint_eq(rights(s), RIGHTS_OLD);
	}
	/* What is in force already is no new epoch; the next one is the second. */
	ck_assert_uint_eq(apply_file(s, rig.old), 1);
	write_file(rig.new, NEW);
	ck_assert_uint_eq(apply_file(s, rig.new), 2);
	policy_store_close(s);
	rig_done();
}
END_TEST

static bool no(void *arg, const struct policy *before, const struct policy *after)
{
	return false;
}

START_TEST(a_dry_run_and_a_no_change_nothing)
{
	struct policy_store *s;
	uint64_t epoch;

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	apply_file(s, rig.old);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new, .dry_run = true }, &epoch), 0);
	ck_assert_uint_eq(epoch, 2);
	ck_assert_uint_eq(rights(s), RIGHTS_OLD);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new, .confirm = no }, &epoch), -ECANCELED);
	ck_assert_uint_eq(rights(s), RIGHTS_OLD);
	ck_assert_uint_eq(apply_file(s, rig.new), 2);
	policy_store_close(s);
	rig_done();
}
END_TEST

START_TEST(imports_are_kept_with_the_epoch)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct policy *p;
	struct policy_store *s;
	struct errmsg why = { 0 };
	char path[160];

	rig_open();
	snprintf(path, sizeof(path), "%s/sub", rig.directory);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/sub/rules.policy", rig.directory);
	write_file(path, "import \"more.policy\"");
	snprintf(path, sizeof(path), "%s/sub/more.policy", rig.directory);
	write_file(path, OLD);
	write_file(rig.new, "import \"sub/rules.policy\"");
	s = store_open(POLICY_STORE_WRITE);
	apply_file(s, rig.new);
	ck_assert_uint_eq(rights(s), RIGHTS_OLD);
	write_file(path, NEW);
	policy_store_close(s);
	s = store_open(POLICY_STORE_WRITE);
	ck_assert_uint_eq(rights(s), RIGHTS_OLD);
	ck_assert_msg(policy_store_policy(s, &arena, 0, &p, &why) == 0, "%s", why.text);
	ck_assert_uint_eq(p->source_count, 3);
	policy_store_close(s);
	rig_done();
}
END_TEST

START_TEST(an_epoch_that_was_changed_on_the_disk_is_refused_until_one_is_applied)
{
	struct policy_store *s;
	struct errmsg why;
	char path[160];

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	apply_file(s, rig.old);
	policy_store_close(s);
	snprintf(path, sizeof(path), "%s/epochs/1/policy.text", rig.store);
	FILE *f = fopen(path, "ae");
	fputs(" ", f);
	fclose(f);
	ck_assert_int_eq(policy_store_open(rig.store, POLICY_STORE_WRITE, &s, &why), -EBADMSG);
	s = store_open(POLICY_STORE_WRITE | POLICY_STORE_REPAIR);
	apply_file(s, rig.new);
	policy_store_close(s);
	s = store_open(POLICY_STORE_WRITE);
	ck_assert_uint_eq(rights(s), RIGHTS_NEW);
	policy_store_close(s);
	rig_done();
}
END_TEST

START_TEST(a_policy_of_any_size_is_put_in_force_where_a_small_one_was)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 22);
	struct policy_store *reader, *s;
	struct stat table;
	char path[160];
	uint32_t who, what;

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	reader = store_open(0);
	apply_file(s, rig.old);
	buf_adds(&text, OLD " ");
	for (unsigned i = 0; i < 1000; i++)
		buf_printf(&text, "role r%u = principal in group \"g%u\"\n", i, i);
	for (unsigned i = 0; i < 5000; i++)
		buf_printf(&text, "label file f%u = tree \"/srv/t%u\" allow r%u read f%u\n", i, i, i % 1000, i);
	write_file(rig.new, buf_cstr(&text));
	ck_assert_uint_eq(apply_file(s, rig.new), 2);
	/* Who had it mapped reads on, in longer rows. */
	ck_assert_uint_eq(rights(reader), RIGHTS_OLD);
	who = policy_subject_group(policy_store_table(reader), SLICE("g999"));
	what = policy_object_path(policy_store_table(reader), SLICE("/srv/t4999/x"));
	ck_assert_int_eq(policy_check(policy_store_table(reader), who, what, POLICY_FILE_READ), POLICY_ALLOWED);
	ck_assert_int_eq(policy_check(policy_store_table(reader), who - 1, what, POLICY_FILE_READ), POLICY_DENIED);
	ck_assert_uint_eq(apply_file(s, rig.old), 3);
	ck_assert_uint_eq(rights(reader), RIGHTS_OLD);
	ck_assert_uint_eq(policy_subject_group(policy_store_table(reader), SLICE("g999")), 0);
	ck_assert_int_eq(policy_check(policy_store_table(reader), who, what, POLICY_FILE_READ), POLICY_DENIED);
	policy_store_close(reader);
	policy_store_close(s);
	rig_done();

	/* A small one takes some pages, whatever room the file has. */
	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	apply_file(s, rig.new);
	snprintf(path, sizeof(path), "%s/run/table", rig.store);
	ck_assert_int_eq(stat(path, &table), 0);
	ck_assert_int_gt(table.st_size, 1 << 24);
	ck_assert_int_lt(table.st_blocks * 512, 1 << 18);
	policy_store_close(s);
	rig_done();
}
END_TEST

START_TEST(after_a_restart_of_the_machine_the_table_is_made_anew)
{
	struct policy_store *s;
	struct errmsg why;
	char path[160];
	uint8_t other[16] = { 1 };
	int fd;

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	apply_file(s, rig.new);
	policy_store_close(s);
	snprintf(path, sizeof(path), "%s/run/table", rig.store);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(pwrite(fd, other, 16, offsetof(struct policy_head, boot)), 16);
	close(fd);
	ck_assert_int_eq(policy_store_open(rig.store, 0, &s, &why), -ENOENT);
	policy_store_close(store_open(POLICY_STORE_WRITE));
	s = store_open(0);
	ck_assert_uint_eq(rights(s), RIGHTS_NEW);
	ck_assert_uint_eq(policy_store_epoch(s), 1);
	policy_store_close(s);
	/* So it is after an upgrade of the program. */
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(pwrite(fd, &(uint32_t){ 1 }, 4, offsetof(struct policy_head, abi)), 4);
	close(fd);
	ck_assert_int_eq(policy_store_open(rig.store, 0, &s, &why), -ENOENT);
	policy_store_close(store_open(POLICY_STORE_WRITE));
	s = store_open(0);
	ck_assert_uint_eq(rights(s), RIGHTS_NEW);
	policy_store_close(s);
	rig_done();
}
END_TEST

START_TEST(a_directory_that_others_may_write_to_is_refused)
{
	struct policy_store *s;
	struct errmsg why;

	rig_open();
	policy_store_close(store_open(POLICY_STORE_WRITE));
	ck_assert_int_eq(chmod(rig.store, 0777), 0);
	ck_assert_int_eq(policy_store_open(rig.store, POLICY_STORE_WRITE, &s, &why), -EPERM);
	ck_assert_int_eq(policy_store_open(rig.store, 0, &s, &why), -EPERM);
	rig_done();
}
END_TEST

/* --- signatures ----------------------------------------------------------------------------- */

START_TEST(with_keys_only_what_they_signed_is_taken)
{
	uint8_t public[32], secret[64], other[64], stranger[32], bytes[POLICY_SIGNED_BYTES], signature[96];
	AUTO_BUF struct buf errors = BUF_INIT(65536);
	struct policy_store *s;
	struct errmsg why;
	uint64_t epoch;

	rig_open();
	crypto_sign_keypair(public, secret);
	crypto_sign_keypair(stranger, other);
	s = store_open(POLICY_STORE_WRITE);
	apply_file(s, rig.old);
	ck_assert_int_eq(policy_store_key_add(s, "ops", public, &why), 0);
	ck_assert_int_eq(policy_store_key_add(s, "ops", public, &why), -EEXIST);
	ck_assert_int_eq(policy_store_key_add(s, "../x", public, &why), -EINVAL);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new }, &epoch), -EPERM);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new, .secret_key = other }, &epoch), -EPERM);
	ck_assert_uint_eq(rights(s), RIGHTS_OLD);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new, .secret_key = secret }, &epoch), 0);
	ck_assert_uint_eq(rights(s), RIGHTS_NEW);
	/* Epoch 1 has no signature. */
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .previous = true }, &epoch), -EPERM);

	ck_assert_int_eq(policy_file_signed_bytes(rig.old, bytes, &errors, &why), 0);
	memcpy(signature, public, 32);
	crypto_sign_detached(signature + 32, NULL, bytes, sizeof(bytes), secret);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new, .signature = slice_of(signature, 96) }, &epoch), -EPERM);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.old, .signature = slice_of(signature, 96) }, &epoch), 0);
	ck_assert_uint_eq(rights(s), RIGHTS_OLD);
	/* The one before is signed. */
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .previous = true }, &epoch), 0);
	ck_assert_uint_eq(rights(s), RIGHTS_NEW);
	ck_assert_int_eq(policy_store_key_remove(s, "ops", &why), 0);
	ck_assert_int_eq(policy_store_key_remove(s, "ops", &why), -ENOENT);
	apply_file(s, rig.old);
	policy_store_close(s);
	rig_done();
}
END_TEST

/* --- copies --------------------------------------------------------------------------------- */

struct copy { unsigned calls; const char *order[4]; int fail_at; unsigned seen[4]; struct policy_store *s; };

static int copy_update(void *arg, const struct policy *p, const struct policy_table *t, bool widen, struct errmsg *why)
{
	struct copy *c = arg;

	if (c->calls < 4) {
		c->order[c->calls] = widen ? "widen" : "narrow";
		c->seen[c->calls] = rights(c->s);
	}
	c->calls++;
	return (int)c->calls == c->fail_at ? errmsg_say(why, -EIO, "the copy fails") : 0;
}

START_TEST(copies_are_narrowed_between_the_two_flips_and_widened_after)
{
	struct copy c = { 0 };
	struct policy_copy copies = { copy_update, &c };
	struct policy_store *s;
	uint64_t epoch;

	rig_open();
	c.s = s = store_open(POLICY_STORE_WRITE);
	apply_file(s, rig.old);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new, .copies = &copies, .copy_count = 1 }, &epoch), 0);
	ck_assert_uint_eq(c.calls, 2);
	ck_assert_str_eq(c.order[0], "narrow");
	ck_assert_uint_eq(c.seen[0], RIGHTS_BOTH);
	ck_assert_str_eq(c.order[1], "widen");
	ck_assert_uint_eq(c.seen[1], RIGHTS_NEW);
	/* One that cannot be narrowed stops the apply. */
	c = (struct copy){ .fail_at = 1, .s = s };
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.old, .copies = &copies, .copy_count = 1 }, &epoch), -EIO);
	ck_assert_uint_eq(rights(s), RIGHTS_NEW);
	policy_store_close(s);
	s = store_open(POLICY_STORE_WRITE);
	ck_assert_uint_eq(rights(s), RIGHTS_NEW);
	policy_store_close(s);
	rig_done();
}
END_TEST

START_TEST(copies_are_told_once_of_what_no_apply_told_them)
{
	struct copy c = { 0 };
	struct policy_copy copies = { copy_update, &c };
	struct errmsg why = { 0 };
	struct policy_store *s;
	char current[512];
	uint64_t epoch;

	rig_open();
	ck_assert_int_eq(policy_store_tell(rig.store, &copies, 1, &why), 0);
	ck_assert_uint_eq(c.calls, 0);
	c.s = s = store_open(POLICY_STORE_WRITE);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.old, .copies = &copies, .copy_count = 1 }, &epoch), 0);
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new, .copies = &copies, .copy_count = 1 }, &epoch), 0);
	c.calls = 0;
	ck_assert_int_eq(policy_store_tell(rig.store, &copies, 1, &why), 0);
	ck_assert_uint_eq(c.calls, 0);
	/* As a crash leaves it, before any copy was told. */
	snprintf(current, sizeof(current), "%s/current", rig.store);
	ck_assert_int_eq(unlink(current), 0);
	ck_assert_int_eq(symlink("epochs/1", current), 0);
	c.fail_at = 1;
	ck_assert_int_eq(policy_store_tell(rig.store, &copies, 1, &why), -EIO);
	c = (struct copy){ .s = s };
	ck_assert_int_eq(policy_store_tell(rig.store, &copies, 1, &why), 0);
	ck_assert_uint_eq(c.calls, 1);
	ck_assert_str_eq(c.order[0], "widen");
	ck_assert_uint_eq(c.seen[0], RIGHTS_OLD);
	ck_assert_int_eq(policy_store_tell(rig.store, &copies, 1, &why), 0);
	ck_assert_uint_eq(c.calls, 1);
	/* A copy that could not be widened is told later. */
	c = (struct copy){ .s = s, .fail_at = 2 };
	ck_assert_int_eq(apply_how(s, (struct policy_apply){ .file = rig.new, .copies = &copies, .copy_count = 1 }, &epoch), 0);
	ck_assert_int_eq(policy_store_tell(rig.store, &copies, 1, &why), 0);
	ck_assert_uint_eq(c.calls, 3);
	policy_store_close(s);
	rig_done();
}
END_TEST

/* --- crashes -------------------------------------------------------------------------------- */

static void die_at(void *arg, unsigned step)
{
	if (step == *(unsigned *)arg)
		raise(SIGKILL);
}

/* In a process of its own, which is killed after that step. True: it was. */
static bool apply_and_die(unsigned step)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		AUTO_BUF struct buf errors = BUF_INIT(65536);
		struct policy_apply how = { .file = rig.new, .step = die_at, .step_arg = &step };
		struct policy_store *s;
		struct errmsg why;
		uint64_t epoch;

		if (policy_store_open(rig.store, POLICY_STORE_WRITE, &s, &why) != 0)
			_exit(9);
		_exit(policy_store_apply(s, &how, &epoch, &errors, &why) == 0 ? 0 : 8);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status);
}

START_TEST(an_apply_that_is_killed_leaves_old_new_or_both_and_the_next_open_ends_it)
{
	bool was_old = false, was_new = false, was_between = false;
	unsigned step = 0, killed = 0;

	for (bool more = true; more; step++) {
		struct policy_store *reader, *s;
		unsigned left;
		uint64_t epoch;

		rig_open();
		s = store_open(POLICY_STORE_WRITE);
		apply_file(s, rig.old);
		policy_store_close(s);
		reader = store_open(0);
		more = apply_and_die(step);
		killed += more;
		left = rights(reader);
		ck_assert_msg(left == RIGHTS_OLD || left == RIGHTS_NEW || left == RIGHTS_BOTH, "after step %u: rights %u", step, left);
		was_between |= left == RIGHTS_BOTH;
		s = store_open(POLICY_STORE_WRITE);
		left = rights(reader);
		epoch = policy_store_epoch(reader);
		ck_assert_msg((left == RIGHTS_OLD && epoch == 1) || (left == RIGHTS_NEW && epoch == 2), "opened after step %u: rights %u, epoch %llu", step,
			      left, (unsigned long long)epoch);
		ck_assert_uint_eq(rights(s), left);
		was_old |= left == RIGHTS_OLD;
		was_new |= left == RIGHTS_NEW;
		/* And goes on from there. */
		apply_file(s, rig.old);
		ck_assert_uint_eq(rights(reader), RIGHTS_OLD);
		policy_store_close(s);
		policy_store_close(reader);
		rig_done();
	}
	ck_assert_uint_eq(killed, POLICY_APPLY_STEPS);
	ck_assert(was_old && was_new && was_between);
}
END_TEST

/* --- rings ---------------------------------------------------------------------------------- */

static void note(struct policy_store *s, const char *ring, uint64_t time_us, const char *who)
{
	struct policy_record r = { .time_us = time_us, .class = POLICY_MAILBOX, .permission = POLICY_MAILBOX_READ, .result = POLICY_RESULT_DENIED,
				   .subject = policy_subject_named(policy_store_table(s), SLICE("mail.user")) };
	struct policy_ring_writer w;
	struct errmsg why;
	int fd = policy_store_ring_fd(s, ring, &why);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(policy_ring_attach(&w, fd, &why), 0);
	policy_ring_write(&w, &r, slice_str(who), SLICE(""), SLICE(""));
	policy_ring_detach(&w);
	close(fd);
}

struct seen { char who[256], ring[32]; uint64_t last; int count; };

static bool see(void *arg, const struct policy_seen *seen)
{
	struct seen *s = arg;
	size_t at = strlen(s->who);

	snprintf(s->who + at, sizeof(s->who) - at, "%s ", policy_record_texts(seen->record).who);
	ck_assert_str_eq(seen->entry->subject, "mail.user");
	snprintf(s->ring, sizeof(s->ring), "%s", seen->ring);
	s->last = seen->id;
	s->count++;
	return true;
}

START_TEST(records_of_all_rings_come_by_time_and_are_found_by_their_id)
{
	struct policy_entry *e = malloc(sizeof(*e));
	struct policy_store *s;
	struct errmsg why = { 0 };
	struct seen seen = { 0 };

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	ck_assert_int_eq(policy_store_records(s, INT64_MIN, false, see, &seen, &why), 0);
	note(s, "front 0", 10, "one");
	note(s, "auth", 30, "three");
	note(s, "front 1", 20, "two");
	note(s, "front 0", 40, "four");
	ck_assert_int_eq(policy_store_records(s, INT64_MIN, false, see, &seen, &why), 0);
	ck_assert_str_eq(seen.who, "one two three four ");
	ck_assert_int_eq(policy_store_record(s, seen.last, e, &why), 0);
	ck_assert_str_eq(policy_record_texts(&e->record).who, "four");
	ck_assert_str_eq(e->ring, "front 0");
	ck_assert_int_eq(policy_store_record(s, seen.last + 1, e, &why), -ENOENT);
	seen = (struct seen){ 0 };
	ck_assert_int_eq(policy_store_records(s, 25, false, see, &seen, &why), 0);
	ck_assert_str_eq(seen.who, "three four ");
	ck_assert_int_eq(policy_store_ring_fd(s, "", &why), -EINVAL);
	ck_assert_int_eq(policy_store_ring_fd(s, "../../etc/passwd of a name that is too long", &why), -EINVAL);
	policy_store_close(s);
	free(e);
	rig_done();
}
END_TEST

static void copy_file(const char *from, const char *to)
{
	AUTO_FD int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	ck_assert_int_eq(fstat(in, &st), 0);
	ck_assert_int_eq(sendfile(out, in, NULL, (size_t)st.st_size), st.st_size);
}

/* A process lies in its own ring: id and name of another's. */
START_TEST(a_ring_is_whose_its_file_says)
{
	static const uint16_t id = 7;
	struct policy_store *s;
	struct errmsg why = { 0 };
	struct seen seen = { 0 };
	char path[512], copy[512];
	int fd;

	rig_open();
	s = store_open(POLICY_STORE_WRITE);
	note(s, "front 0", 10, "one");
	note(s, "auth", 20, "two");
	fd = policy_store_ring_fd(s, "auth", &why);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, &id, sizeof(id), offsetof(struct policy_ring, id)), sizeof(id));
	ck_assert_int_eq(pwrite(fd, "front 0", 8, offsetof(struct policy_ring, name)), 8);
	ck_assert_int_eq(policy_store_records(s, INT64_MIN, false, see, &seen, &why), 0);
	ck_assert_str_eq(seen.who, "one two ");
	ck_assert_uint_eq(seen.last >> 48, 2);
	ck_assert_str_eq(seen.ring, "auth");
	/* A ring whose writer would give out wrong ids is made anew, in its place. */
	note(s, "auth", 30, "three");
	seen = (struct seen){ 0 };
	ck_assert_int_eq(policy_store_records(s, INT64_MIN, false, see, &seen, &why), 0);
	ck_assert_str_eq(seen.who, "one three ");
	ck_assert_uint_eq(seen.last >> 48, 2);
	close(fd);
	/* Files of one number, of another spelling, or of none are no rings. */
	snprintf(path, sizeof(path), "%s/run/audit/0002.auth.ring", rig.store);
	for (size_t i = 0; i < 4; i++) {
		snprintf(copy, sizeof(copy), "%s/run/audit/%s", rig.store,
			 (const char *const[]){ "0002.zzz.ring", "2.auth.ring", "000A.front-0.ring", "front-0.ring" }[i]);
		copy_file(path, copy);
	}
	seen = (struct seen){ 0 };
	ck_assert_int_eq(policy_store_records(s, INT64_MIN, false, see, &seen, &why), 0);
	ck_assert_int_eq(seen.count, 2);
	policy_store_close(s);
	rig_done();
}
END_TEST

TEST_MAIN_SLOW(60, "policy/store", without_an_epoch_the_shipped_policy_is_in_force, who_has_the_table_mapped_sees_an_apply_at_once,
	  previous_goes_back_and_forth, a_policy_with_a_mistake_or_a_broken_never_changes_nothing, a_dry_run_and_a_no_change_nothing,
	  imports_are_kept_with_the_epoch, an_epoch_that_was_changed_on_the_disk_is_refused_until_one_is_applied,
	  a_policy_of_any_size_is_put_in_force_where_a_small_one_was, after_a_restart_of_the_machine_the_table_is_made_anew, a_directory_that_others_may_write_to_is_refused,
	  with_keys_only_what_they_signed_is_taken, copies_are_narrowed_between_the_two_flips_and_widened_after,
	  copies_are_told_once_of_what_no_apply_told_them,
	  an_apply_that_is_killed_leaves_old_new_or_both_and_the_next_open_ends_it,
	  records_of_all_rings_come_by_time_and_are_found_by_their_id, a_ring_is_whose_its_file_says)
