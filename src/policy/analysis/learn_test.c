#include "base/test.h"
#include "policy/analysis/cover.h"
#include "policy/analysis/generate_test.h"
#include "policy/analysis/learn.h"

static const char text[] =
	"module web\n"
	"  domain web   = program \"/usr/bin/web\"\n"
	"  domain cron  = program \"/usr/bin/cron\"\n"
	"  domain shell = program \"/bin/sh\"\n"
	"  label file appdata = tree \"/srv/app\"\n"
	"  label file keys    = tree \"/srv/app/keys\"\n"
	"  label file logs    = tree \"/var/log/app\"\n"
	"  allow web read appdata\n"
	"  allow web read keys, logs\n"
	"  enter shell -> cron\n"
	"  never web write keys because \"keys are made elsewhere\"\n"
	"  never shell delete file by any path\n"
	"module mail\n"
	"  role user = principal mapped by directory\n"
	"  role recovery = principal by ticket\n"
	"  role mailadm = principal in group \"admins\"\n"
	"  allow user read mailbox where owner is subject\n"
	"  allow recovery read mailbox\n"
	"  enter mailadm -> recovery with ticket\n";

static struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);

static const struct analysis *analyse(void)
{
	AUTO_BUF struct buf errors = BUF_INIT(1 << 16);
	const struct policy *p;
	const struct analysis *a;

	ck_assert_msg(policy_parse(&arena, "a.policy", slice_str(text), NULL, NULL, &p, &errors) == 0, "%s", buf_cstr(&errors));
	ck_assert_int_eq(analysis_new(&arena, p, &a), 0);
	return a;
}

static struct analysis_observation saw(const struct analysis *a, const char *subject, const char *object, uint32_t permission, uint32_t holds)
{
	const struct policy *p = analysis_policy(a);

	return (struct analysis_observation){ policy_subject_find(p, slice_str(subject)), policy_object_find(p, slice_str(object)), permission, holds, 1 };
}

static bool says(const struct analysis_texts *t, const char *sentence)
{
	for (size_t i = 0; i < t->count; i++)
		if (strstr(t->lines[i], sentence) != NULL)
			return true;
	return false;
}

/* ---- covers ---- */

/* Can this many boxes cover it? Every box is tried: for tables of a few cells. */
static bool covers(const struct cover_table *t, uint32_t *left, size_t boxes)
{
	size_t first = 0, cells = t->subjects * t->objects;

	while (first < cells && left[first] == 0)
		first++;
	if (first == cells)
		return true;
	if (boxes == 0)
		return false;
	uint32_t bit = left[first] & -left[first];
	for (uint32_t s = 1; s < 1u << t->subjects; s++) {
		for (uint32_t o = 1; o < 1u << t->objects; o++) {
			uint32_t common = UINT32_MAX, had[16];
			if ((s >> (first / t->objects) & 1) == 0 || (o >> (first % t->objects) & 1) == 0)
				continue;
			for (size_t i = 0; i < cells; i++)
				if ((s >> (i / t->objects) & 1) != 0 && (o >> (i % t->objects) & 1) != 0)
					common &= t->may[i];
			if ((common & bit) == 0)
				continue;
			memcpy(had, left, cells * sizeof(*left));
			for (size_t i = 0; i < cells; i++)
				if ((s >> (i / t->objects) & 1) != 0 && (o >> (i % t->objects) & 1) != 0)
					left[i] &= ~common;
			bool done = covers(t, left, boxes - 1);
			memcpy(left, had, cells * sizeof(*left));
			if (done)
				return true;
		}
	}
	return false;
}

START_TEST(a_cover_is_as_small_as_trying_all_finds)
{
	struct generate g = { .seed = 99 };

	for (unsigned round = 0; round < 300; round++) {
		uint32_t want[9], may[9], left[9];
		struct cover_table t = { 3, 3, want, may };
		const struct cover_box *boxes;
		size_t count;
		bool smallest;
		for (size_t i = 0; i < 9; i++) {
			want[i] = generate_below(&g, 8) & generate_below(&g, 8);
			may[i] = want[i] | (generate_below(&g, 3) == 0 ? generate_below(&g, 8) : 0);
		}
		arena_reset(&arena);
		ck_assert_int_eq(cover_find(&arena, &t, &boxes, &count, &smallest), 0);
		ck_assert(smallest);
		memcpy(left, want, sizeof(left));
		for (size_t b = 0; b < count; b++) {
			for (size_t s = 0; s < boxes[b].subject_count; s++) {
				for (size_t o = 0; o < boxes[b].object_count; o++) {
					size_t at = boxes[b].subjects[s] * 3u + boxes[b].objects[o];
					ck_assert_uint_eq(boxes[b].permissions & ~may[at], 0);
					left[at] &= ~boxes[b].permissions;
				}
			}
		}
		for (size_t i = 0; i < 9; i++)
			ck_assert_uint_eq(left[i], 0);
		memcpy(left, want, sizeof(left));
		ck_assert(count == 0 || !covers(&t, left, count - 1));
	}
}
END_TEST

/* The sanitizers make a search of so many steps take minutes. */
#define LARGE (TEST_SANITIZED ? 24u : 60u)

START_TEST(a_large_cover_is_a_cover)
{
	struct generate g = { .seed = 5 };
	static uint32_t want[LARGE * LARGE];
	struct cover_table t = { LARGE, LARGE, want, want };
	const struct cover_box *boxes;
	size_t count, covered = 0, wanted = 0;
	static uint32_t left[LARGE * LARGE];
	bool smallest;

	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		wanted += want[i] = generate_below(&g, 4) == 0;
	ck_assert_int_eq(cover_find(&arena, &t, &boxes, &count, &smallest), 0);
	for (size_t b = 0; b < count; b++)
		for (size_t s = 0; s < boxes[b].subject_count; s++)
			for (size_t o = 0; o < boxes[b].object_count; o++)
				left[boxes[b].subjects[s] * LARGE + boxes[b].objects[o]] = 1;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		ck_assert_uint_eq(left[i], want[i]);
		covered += left[i];
	}
	ck_assert_uint_eq(covered, wanted);
	ck_assert_uint_le(count, LARGE);
}
END_TEST

/* ---- learn ---- */

START_TEST(what_was_seen_becomes_one_line_where_one_is_enough)
{
	const struct analysis *a = analyse();
	struct analysis_observation seen[] = {
		saw(a, "web", "appdata", POLICY_FILE_WRITE, 0), saw(a, "web", "logs", POLICY_FILE_WRITE, 0), saw(a, "web", "logs", POLICY_FILE_CREATE, 0),
		saw(a, "web", "appdata", POLICY_FILE_CREATE, 0), saw(a, "web", "appdata", POLICY_FILE_WRITE, 0), saw(a, "web", "logs", POLICY_FILE_READ, 0),
	};
	struct analysis_lesson l;

	ck_assert_int_eq(analysis_learn(&arena, a, seen, ARRAY_LEN(seen), &l), 0);
	ck_assert_uint_eq(l.rule_count, 1);
	ck_assert_str_eq(l.rules[0].line, "allow web.web write, create web.appdata, web.logs");
	ck_assert_uint_eq(l.rules[0].covers, 5);
	ck_assert_uint_eq(l.already, 1);
	ck_assert(l.smallest);
	ck_assert(says(&l.rules[0].opens, "web.appdata is all below /srv/app, but not what has a label of its own: /srv/app/keys"));
}
END_TEST

START_TEST(a_never_is_not_learnt_away)
{
	const struct analysis *a = analyse();
	struct analysis_observation seen[] = {
		saw(a, "web", "keys", POLICY_FILE_WRITE, 0),
		saw(a, "cron", "logs", POLICY_FILE_DELETE, 0),	/* which the shell can become */
		saw(a, "web", "logs", POLICY_FILE_DELETE, 0),
	};
	struct analysis_lesson l;

	ck_assert_int_eq(analysis_learn(&arena, a, seen, ARRAY_LEN(seen), &l), 0);
	ck_assert_uint_eq(l.rule_count, 1);
	ck_assert_str_eq(l.rules[0].line, "allow web.web delete web.logs");
	ck_assert_uint_eq(l.refused_count, 2);
	ck_assert_str_eq(l.refused[1].never->because, "keys are made elsewhere");
}
END_TEST

START_TEST(a_predicate_that_held_makes_the_line_narrower)
{
	const struct analysis *a = analyse();
	struct analysis_observation seen[] = {
		saw(a, "user", "mailbox", POLICY_MAILBOX_APPEND, POLICY_OWNER_IS_SUBJECT), saw(a, "user", "mailbox", POLICY_MAILBOX_READ, POLICY_OWNER_IS_SUBJECT),
		saw(a, "user", "mailbox", POLICY_MAILBOX_LIST, POLICY_OWNER_IS_SUBJECT), saw(a, "user", "mailbox", POLICY_MAILBOX_LIST, 0),
		saw(a, "nobody", "mailbox", POLICY_MAILBOX_LIST, 0),
	};
	struct analysis_lesson l;

	ck_assert_int_eq(analysis_learn(&arena, a, seen, ARRAY_LEN(seen), &l), 0);
	ck_assert_uint_eq(l.rule_count, 2);
	ck_assert_str_eq(l.rules[0].line, "allow mail.user list mailbox");
	ck_assert_str_eq(l.rules[1].line, "allow mail.user append mailbox where owner is subject");
	ck_assert(says(&l.rules[0].opens, "mail.user is every user of the directory"));
	ck_assert(says(&l.rules[0].opens, "mailbox is every one, whoever owns it"));
	ck_assert_uint_eq(l.already, 1);
	ck_assert_uint_eq(l.unlabelled, 1);
}
END_TEST

/* ---- explain ---- */

START_TEST(a_refusal_is_explained_by_what_is_near)
{
	const struct analysis *a = analyse();
	const struct policy *p = analysis_policy(a);
	AUTO_BUF struct buf out = BUF_INIT(1 << 16);
	struct analysis_explanation e;
	uint16_t web = policy_subject_find(p, SLICE("web")), logs = policy_object_find(p, SLICE("logs")), keys = policy_object_find(p, SLICE("keys"));

	ck_assert_int_eq(analysis_explain(&arena, a, web, POLICY_FILE, logs, POLICY_FILE_WRITE, &e), 0);
	ck_assert_ptr_null(e.rule);
	ck_assert_int_eq(e.near, ANALYSIS_NEAR_PERMISSION);
	ck_assert_str_eq(e.line, "allow web.web write web.logs");
	ck_assert_ptr_null(e.never);
	ck_assert(says(&e.opens, "web.logs is all below /var/log/app"));
	ck_assert_int_eq(analysis_explain(&arena, a, web, POLICY_FILE, keys, POLICY_FILE_WRITE, &e), 0);
	ck_assert_ptr_nonnull(e.never);
	ck_assert_int_eq(analysis_explain(&arena, a, web, POLICY_FILE, 0, POLICY_FILE_WRITE, &e), 0);
	ck_assert_ptr_null(e.line);
	uint16_t mailadm = policy_subject_find(p, SLICE("mailadm")), mailbox = policy_object_find(p, SLICE("mailbox"));
	ck_assert_int_eq(analysis_explain(&arena, a, mailadm, POLICY_MAILBOX, mailbox, POLICY_MAILBOX_READ, &e), 0);
	ck_assert_int_eq(e.near, ANALYSIS_NEAR_SUBJECT);
	ck_assert_uint_eq(e.path_count, 2);
	ck_assert(e.ticket);
	analysis_explain_text(&out, a, &e);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "  way       mailadm -> recovery, with a ticket\n"));
}
END_TEST

START_TEST(a_condition_and_who_enters_are_told)
{
	const struct analysis *a = analyse();
	const struct policy *p = analysis_policy(a);
	uint16_t user = policy_subject_find(p, SLICE("user")), mailbox = policy_object_find(p, SLICE("mailbox"));
	uint16_t recovery = policy_subject_find(p, SLICE("recovery"));
	struct analysis_explanation e;

	ck_assert_int_eq(analysis_explain(&arena, a, user, POLICY_MAILBOX, mailbox, POLICY_MAILBOX_READ, &e), 0);
	ck_assert_ptr_nonnull(e.rule);
	ck_assert_uint_eq(e.predicates, POLICY_OWNER_IS_SUBJECT);
	ck_assert_str_eq(e.line, "allow mail.user read mailbox");
	ck_assert_int_eq(analysis_explain(&arena, a, recovery, POLICY_MAILBOX, mailbox, POLICY_MAILBOX_APPEND, &e), 0);
	ck_assert(says(&e.opens, "mail.mailadm can do it, too: mailadm -> recovery (with ticket)"));
	ck_assert_int_eq(analysis_explain(&arena, a, recovery, POLICY_MAILBOX, mailbox, POLICY_MAILBOX_READ, &e), 0);
	ck_assert_ptr_null(e.line);
}
END_TEST

TEST_MAIN_SLOW(60, "policy/learn", a_cover_is_as_small_as_trying_all_finds, a_large_cover_is_a_cover,
	       what_was_seen_becomes_one_line_where_one_is_enough, a_never_is_not_learnt_away, a_predicate_that_held_makes_the_line_narrower,
	       a_refusal_is_explained_by_what_is_near, a_condition_and_who_enters_are_told)
