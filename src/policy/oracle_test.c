/*
 * Another judge: the policy as CIL, compiled by secilc, decided by SELinux's libsepol, against our rights. Both must say the same on each decision
 * that is drawn; a policy with a broken `never` must be refused by both.
 *
 * ORACLE_SEED, ORACLE_DECISIONS: another run, a longer one (bench/policy/oracle).
 */
#include <errno.h>
#include <fcntl.h>
#include <sepol/policydb/policydb.h>
#include <sepol/policydb/services.h>
#include <sepol/policydb/sidtab.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#undef MIN /* <sys/param.h>, which libsepol includes, has them too */
#undef MAX
#include "base/cleanup.h"
#include "base/test.h"
#include "policy/analysis/cil.h"
#include "policy/analysis/generate_test.h"
#include "policy/table/compile.h"

/* There under ASan alone. */
void __lsan_ignore_object(const void *p) __attribute__((weak));

#define SECILC "/usr/bin/secilc"

extern char **environ;

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t n;

	return text != NULL && slice_u64(slice_str(text), UINT64_MAX, &n) ? n : otherwise;
}

/* ---- secilc ---- */

struct oracle {
	char directory[64], cil[80], binary[80];
	policydb_t db;
	sidtab_t sids;
	sepol_security_id_t *subjects, *objects;
	sepol_security_class_t class[POLICY_CLASS_COUNT];
	sepol_access_vector_t bit[POLICY_CLASS_COUNT][32];
};

/* Compile; true when secilc takes it. What it says goes to the file "said". */
static bool secilc(struct oracle *o, struct slice text, bool quiet)
{
	char said[80];
	posix_spawn_file_actions_t files;
	char *const argv[] = { (char[]){ SECILC }, (char[]){ "-o" }, o->binary, (char[]){ "-f" }, (char[]){ "/dev/null" }, o->cil, NULL };
	pid_t pid;
	int status;

	(void)snprintf(o->directory, sizeof(o->directory), "/tmp/prickle-oracle-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(o->directory));
	(void)snprintf(o->cil, sizeof(o->cil), "%s/policy.cil", o->directory);
	(void)snprintf(o->binary, sizeof(o->binary), "%s/policy.bin", o->directory);
	(void)snprintf(said, sizeof(said), "%s/said", o->directory);
	AUTO_FD int fd = open(o->cil, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, text.ptr, text.len), (ssize_t)text.len);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 1, said, O_WRONLY | O_CREAT, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	ck_assert_int_eq(posix_spawn(&pid, SECILC, &files, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&files);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	bool taken = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (!taken && !quiet) {
		AUTO_FD int log = open(said, O_RDONLY | O_CLOEXEC);
		char text_of[2000] = "";
		(void)!read(log, text_of, sizeof(text_of) - 1);
		ck_abort_msg("secilc refuses the policy: %s", text_of);
	}
	(void)unlink(said);
	(void)unlink(o->cil);
	if (!taken) {
		(void)unlink(o->binary);
		(void)rmdir(o->directory);
	}
	return taken;
}

/* ---- libsepol ---- */

static sepol_security_id_t sid_of(const struct policy *p, bool object, uint16_t index)
{
	AUTO_BUF struct buf context = BUF_INIT(1024);
	sepol_security_id_t sid;

	buf_adds(&context, ANALYSIS_CIL_CONTEXT);
	analysis_cil_type(&context, p, object, index);
	const char *text = buf_cstr(&context);
	ck_assert_msg(sepol_context_to_sid(text, context.len + 1, &sid) == 0, "no type for %s", text);
	return sid;
}

static void oracle_load(struct oracle *o, const struct policy *p)
{
	struct policy_file file;

	policy_file_init(&file);
	file.type = PF_USE_STDIO;
	file.fp = fopen(o->binary, "re");
	ck_assert_ptr_nonnull(file.fp);
	ck_assert_int_eq(policydb_init(&o->db), 0);
	ck_assert_int_eq(policydb_read(&o->db, &file, 0), 0);
	fclose(file.fp);
	(void)unlink(o->binary);
	(void)rmdir(o->directory);
	ck_assert_int_eq(sepol_set_policydb(&o->db), 0);
	ck_assert_int_eq(sepol_sidtab_init(&o->sids), 0);
	if (__lsan_ignore_object != NULL)
		__lsan_ignore_object(o->sids.htable); /* libsepol 3.4 forgets it in sepol_sidtab_destroy() */
	ck_assert_int_eq(policydb_load_isids(&o->db, &o->sids), 0);
	ck_assert_int_eq(sepol_set_sidtab(&o->sids), 0);
	o->subjects = calloc(p->subject_count, sizeof(*o->subjects));
	o->objects = calloc(p->object_count, sizeof(*o->objects));
	for (uint16_t i = 0; i < p->subject_count; i++)
		o->subjects[i] = sid_of(p, false, i);
	for (uint16_t i = 0; i < p->object_count; i++)
		o->objects[i] = sid_of(p, true, i);
	for (unsigned c = 1; c < POLICY_CLASS_COUNT; c++) {
		ck_assert_int_eq(sepol_string_to_security_class(policy_class_name(c), &o->class[c]), 0);
		for (uint32_t left = policy_class_permissions(c); left != 0; left &= left - 1)
			ck_assert_int_eq(sepol_string_to_av_perm(o->class[c], policy_permission_name(c, left & -left), &o->bit[c][__builtin_ctz(left)]), 0);
	}
}

static void oracle_unload(struct oracle *o)
{
	free(o->subjects);
	free(o->objects);
	sepol_sidtab_destroy(&o->sids);
	policydb_destroy(&o->db);
}

/* One permission of a pair: what libsepol says of it. */
struct opinion {
	bool allowed, recorded;
};

static struct opinion oracle_ask(const struct oracle *o, uint16_t subject, uint16_t object, enum policy_class class, unsigned bit)
{
	struct sepol_av_decision d;

	ck_assert_int_eq(sepol_compute_av(o->subjects[subject], o->objects[object], o->class[class], o->bit[class][bit], &d), 0);
	return (struct opinion){ (d.allowed & o->bit[class][bit]) != 0, (d.auditallow & o->bit[class][bit]) != 0 };
}

/* ---- the compiled table ---- */

struct compiled {
	void *image;
	struct policy_table table;
	uint16_t *subjects, *objects;	/* numbers in it */
};

static void compiled_init(struct compiled *c, struct arena *arena, const struct policy *p)
{
	static const uint8_t boot[16];
	AUTO_BUF struct buf bank = BUF_INIT(1u << 28);
	static const uint32_t subjects = 1024, objects = 1024, rest = 1u << 24;
	struct errmsg why = { 0 };
	const char *wrong = "";

	size_t bytes = policy_image_bytes(subjects, objects, rest);
	c->image = aligned_alloc(4096, bytes);
	memset(c->image, 0, sizeof(struct policy_head));	/* the rest is not read before it was written */
	policy_image_format(c->image, subjects, objects, rest, boot);
	const struct policy_head *head = c->image;
	ck_assert_msg(policy_compile(arena, p, 1, head, (struct slice){ 0 }, &bank, &why) == 0, "%s", why.text);
	ck_assert_msg(policy_image_flip(c->image, buf_slice(&bank), &wrong) == 0, "%s", wrong);
	ck_assert_msg(policy_table_init(&c->table, c->image, bytes, &wrong) == 0, "%s", wrong);
	c->subjects = calloc(p->subject_count, sizeof(*c->subjects));
	c->objects = calloc(p->object_count, sizeof(*c->objects));
	for (uint16_t i = 1; i < p->subject_count; i++)
		c->subjects[i] = (uint16_t)policy_number_of(buf_slice(&bank), p, false, i);
	for (uint16_t i = 1; i < p->object_count; i++)
		c->objects[i] = (uint16_t)policy_number_of(buf_slice(&bank), p, true, i);
}

static void compiled_done(struct compiled *c)
{
	free(c->image);
	free(c->subjects);
	free(c->objects);
}

/* ---- comparing ---- */

static uint64_t compare(const struct policy *p, struct generate *g, uint64_t decisions, const char *name)
{
	struct arena arena = ARENA_INIT(1u << 28);
	AUTO_BUF struct buf text = BUF_INIT(1u << 28);
	struct oracle oracle;
	struct compiled compiled;
	const struct analysis *a;
	uint64_t allowed = 0;

	ck_assert_int_eq(analysis_new(&arena, p, &a), 0);
	analysis_cil(&text, a);
	ck_assert_int_eq(text.err, 0);
	secilc(&oracle, buf_slice(&text), false);
	oracle_load(&oracle, p);
	compiled_init(&compiled, &arena, p);
	for (uint64_t i = 0; i < decisions; i++) {
		uint16_t s = (uint16_t)generate_below(g, (uint32_t)p->subject_count), o = (uint16_t)generate_below(g, (uint32_t)p->object_count);
		enum policy_class class = o == 0 ? 1 + generate_below(g, POLICY_CLASS_COUNT - 1) : p->objects[o].class;
		unsigned bit = generate_below(g, (uint32_t)__builtin_popcount(policy_class_permissions(class)));
		struct analysis_right ours = analysis_right(a, s, o);
		struct opinion theirs = oracle_ask(&oracle, s, o, class, bit);
		bool may = ((ours.allow | ours.conditional) >> bit & 1) != 0;
		ck_assert_msg(may == theirs.allowed, "%s: %s %s %s: we say %s", name, p->subjects[s].name, policy_permission_name(class, 1u << bit),
			      p->objects[o].name, may ? "allow" : "deny");
		ck_assert_msg(!may || theirs.recorded == ((ours.audit >> bit & 1) != 0), "%s: %s %s %s: recorded differs", name, p->subjects[s].name,
			      policy_permission_name(class, 1u << bit), p->objects[o].name);
		bool table_may = policy_check(&compiled.table, compiled.subjects[s], compiled.objects[o], 1u << bit) != POLICY_DENIED;
		ck_assert_msg(may == table_may, "%s: %s %s %s: the table says %s", name, p->subjects[s].name, policy_permission_name(class, 1u << bit),
			      p->objects[o].name, table_may ? "allow" : "deny");
		allowed += may;
	}
	oracle_unload(&oracle);
	compiled_done(&compiled);
	arena_done(&arena);
	return allowed;
}

static const struct {
	uint32_t subjects, objects, rules, enters, nevers, list_max;
	unsigned policies;
	uint32_t share;			/* of a thousand decisions */
} sizes[] = {
	{ 3, 2, 8, 2, 4, 3, 12, 300 },
	{ 12, 20, 80, 10, 20, 5, 12, 400 },
	{ 60, 200, 1000, 60, 60, 8, 4, 200 },
	{ 400, 600, 20000, 300, 100, 6, 1, 100 },
};

START_TEST(libsepol_says_the_same_of_generated_policies)
{
	uint64_t seed = from_environment("ORACLE_SEED", 20261123), decisions = from_environment("ORACLE_DECISIONS", TEST_SANITIZED ? 55000 : 1100000), drawn = 0, allowed = 0;
	struct generate g = { .seed = seed };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (unsigned k = 0; k < sizes[i].policies; k++) {
			struct arena arena = ARENA_INIT(1u << 28);
			char name[64];
			(void)snprintf(name, sizeof(name), "seed %llu, size %zu, policy %u", (unsigned long long)seed, i, k);
			g = (struct generate){ g.seed, sizes[i].subjects, sizes[i].objects, sizes[i].rules, sizes[i].enters, sizes[i].nevers, sizes[i].list_max,
					       false };
			const struct policy *p = generate_policy(&arena, &g);
			uint64_t n = decisions / 1000 * sizes[i].share / sizes[i].policies;
			allowed += compare(p, &g, n, name);
			drawn += n;
			arena_done(&arena);
		}
	}
	fprintf(stderr, "# seed %llu: %llu decisions, %llu allowed, 0 differ\n", (unsigned long long)seed, (unsigned long long)drawn,
	       (unsigned long long)allowed);
	/* Both answers must come up often, or the comparison says little. */
	ck_assert_uint_gt(allowed, drawn / 20);
	ck_assert_uint_lt(allowed, drawn / 20 * 19);
}
END_TEST

/* As in the design of the language. */
static const char written[] =
	"module router\n"
	"  domain router  = ebpf object\n"
	"  label  port lan = nic \"eth0\"        label port wan = nic \"eth1\"\n"
	"  allow  router use helper redirect_map, ktime\n"
	"  allow  router forward lan, wan\n"
	"  never  router forward port except lan, wan\n"
	"  never  router use helper trace_printk\n"
	"module web\n"
	"  domain web     = program \"/usr/bin/web\"\n"
	"  label  file appdata = tree \"/srv/app\"  label file keys = file \"/srv/app/keys\"\n"
	"  label  endpoint db  = host \"db\" port 5432\n"
	"  allow  web read appdata                      allow web connect db\n"
	"  never  web write, exec file                  never web native, define code\n"
	"  never  web read keys by any path\n"
	"module mail\n"
	"  role   user    = principal mapped by directory\n"
	"  role   mailadm = principal in group \"mail-admins\"\n"
	"  role   recovery = principal by ticket\n"
	"  allow  user    list, read, append, expunge mailbox where owner is subject\n"
	"  allow  mailadm create, destroy, quota mailbox   audit always\n"
	"  never  mailadm read mailbox                     because \"admins do not read mail\"\n"
	"  enter  mailadm -> recovery with ticket for 30m  audit always\n"
	"  allow  recovery read mailbox\n";

static const struct policy *parsed(struct arena *arena, const char *name, struct slice text)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	const struct policy *p;

	ck_assert_msg(policy_parse(arena, name, text, NULL, NULL, &p, &errors) == 0, "%s", buf_cstr(&errors));
	return p;
}

START_TEST(libsepol_says_the_same_of_written_policies)
{
	struct generate g = { .seed = from_environment("ORACLE_SEED", 20261123) };
	const struct {
		const char *name;
		struct slice text;
	} policies[] = { { "default", policy_default_text() }, { "written", slice_str(written) } };

	for (size_t i = 0; i < ARRAY_LEN(policies); i++) {
		struct arena arena = ARENA_INIT(1u << 28);
		ck_assert_uint_gt(compare(parsed(&arena, policies[i].name, policies[i].text), &g, 100000, policies[i].name), 1000);
		arena_done(&arena);
	}
}
END_TEST

START_TEST(a_written_never_is_refused_by_both)
{
	static const char *const more[] = { "never mail.mailadm read mailbox by any path", "allow web.web read web.keys",
					    "allow router.router use helper trace_printk", "never mail.recovery read mailbox" };

	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		struct arena arena = ARENA_INIT(1u << 28);
		AUTO_BUF struct buf text = BUF_INIT(1u << 20), errors = BUF_INIT(1u << 20), warnings = BUF_INIT(1u << 20);
		const struct analysis *a;
		struct oracle oracle;
		/* Names of other modules are written whole. */
		buf_adds(&text, written);
		buf_printf(&text, "module more\n%s\n", more[i]);
		const struct policy *p = parsed(&arena, "more", buf_slice(&text));
		ck_assert_int_eq(analysis_new(&arena, p, &a), 0);
		ck_assert_msg(analysis_check(a, &errors, &warnings) == 1, "%s: %s", more[i], buf_cstr(&errors));
		buf_reset(&text);
		analysis_cil(&text, a);
		ck_assert_msg(!secilc(&oracle, buf_slice(&text), true), "%s", more[i]);
		arena_done(&arena);
	}
}
END_TEST

START_TEST(a_broken_never_is_refused_by_both)
{
	struct generate g = { .seed = from_environment("ORACLE_SEED", 20261123) };

	for (unsigned i = 0; i < 40; i++) {
		struct arena arena = ARENA_INIT(1u << 26);
		AUTO_BUF struct buf text = BUF_INIT(1u << 26), errors = BUF_INIT(1u << 20), warnings = BUF_INIT(1u << 20);
		const struct analysis *a;
		struct oracle oracle;
		g = (struct generate){ g.seed, 6, 8, 40, 6, 8, 3, i % 2 == 0 };
		const struct policy *p = generate_policy(&arena, &g);
		ck_assert_int_eq(analysis_new(&arena, p, &a), 0);
		bool ours = analysis_check(a, &errors, &warnings) == 0;
		analysis_cil(&text, a);
		bool theirs = secilc(&oracle, buf_slice(&text), true);
		ck_assert_msg(ours == (i % 2 != 0) && theirs == ours, "policy %u: we %s, secilc %s", i, ours ? "take it" : "refuse it",
			      theirs ? "takes it" : "refuses it");
		if (theirs) {
			(void)unlink(oracle.binary);
			(void)rmdir(oracle.directory);
		}
		arena_done(&arena);
	}
}
END_TEST

TEST_MAIN_SLOW(7200, "policy/oracle", libsepol_says_the_same_of_written_policies,
	       libsepol_says_the_same_of_generated_policies, a_written_never_is_refused_by_both, a_broken_never_is_refused_by_both)
