/*
 * Random histories of random policies: each decision, edge, number and path of the table is what the statements say, and each intersection is
 * what both say. MODEL_SEED and MODEL_STEPS change where it begins and how far it goes.
 */
#include <inttypes.h>

#include "base/test.h"
#include "policy/table/naive_test.h"
#include "policy/table/random_test.h"

#define HISTORIES 100
#define EPOCHS	  12
#define SUBJECTS  128
#define OBJECTS	  128

/* To whom a number was ever given. */
struct given {
	char name[32], definition[64];
};
struct history {
	struct rig_image image;
	struct given subjects[SUBJECTS], objects[OBJECTS];
	uint64_t seed;
	uint32_t epoch;
};

static uint64_t decisions;

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t n;

	return text != NULL && slice_u64(slice_str(text), UINT64_MAX, &n) ? n : otherwise;
}

/* (ck_assert tells its parent of each success: a system call a decision.) */
#define SAME(condition)                                                                                                         \
	do {                                                                                                                     \
		if (!(condition))                                                                                                \
			ck_abort_msg("%s, line %d: MODEL_SEED=%" PRIu64 ", epoch %u", #condition, __LINE__, h->seed, h->epoch);   \
	} while (0)

static void numbers_are_kept(struct history *h, const struct rig *r, bool object)
{
	for (uint16_t i = 1; i < (object ? r->p.object_count : r->p.subject_count); i++) {
		const char *name = object ? r->p.objects[i].name : r->p.subjects[i].name, *text = object ? r->p.objects[i].text : r->p.subjects[i].text;
		uint32_t number = rig_number(&h->image, object, name);
		struct given now = { 0 }, *g = object ? h->objects : h->subjects;
		snprintf(now.name, sizeof(now.name), "%s", name);
		snprintf(now.definition, sizeof(now.definition), "%d %s", object ? (int)r->p.objects[i].kind : (int)r->p.subjects[i].kind,
			 text == NULL ? "" : text);
		SAME(number != 0);
		SAME(g[number].name[0] == '\0' || memcmp(&g[number], &now, sizeof(now)) == 0);
		g[number] = now;
	}
}

/* What the table says now, in the naive evaluator's words. */
static struct naive table_ask(const struct history *h, uint32_t subject, uint32_t object, uint32_t permission)
{
	struct policy_full f = policy_cell_full(&h->image.table, subject, object, permission);
	enum policy_verdict verdict = policy_check(&h->image.table, subject, object, permission);
	struct naive n = { .allowed = verdict == POLICY_ALLOWED || verdict == POLICY_ALLOWED_AUDITED, .recorded = (f.cell.audit & permission) != 0,
			   .on_trial = (f.cell.trial & permission) != 0, .by_owner = (f.predicates & POLICY_OWNER_IS_SUBJECT) != 0,
			   .by_acl = (f.predicates & POLICY_ACL_GRANTS_SUBJECT) != 0 };

	SAME((verdict == POLICY_ALLOWED_AUDITED) == (n.allowed && n.recorded));
	SAME((verdict == POLICY_CONDITIONAL) == (f.predicates != 0));
	SAME((verdict == POLICY_TRIAL) == (n.on_trial && f.predicates == 0));
	decisions++;
	return n;
}

static bool naive_same(struct naive a, struct naive b)
{
	return a.allowed == b.allowed && a.by_owner == b.by_owner && a.by_acl == b.by_acl && a.on_trial == b.on_trial && a.recorded == b.recorded;
}

static void decisions_are_the_statements(struct history *h, const struct rig *r)
{
	for (uint16_t s = 0; s < r->p.subject_count; s++)
		for (uint16_t o = 0; o < r->p.object_count; o++) {
			uint32_t subject = s == 0 ? 0 : rig_number(&h->image, false, r->p.subjects[s].name);
			uint32_t object = o == 0 ? 0 : rig_number(&h->image, true, r->p.objects[o].name);
			for (uint32_t bit = 0; bit < 32; bit++) {
				uint32_t permission = 1u << bit;
				bool has = (policy_class_permissions(r->p.objects[o].class) & permission) != 0;
				struct naive want = has ? naive_ask(&r->p, s, o, permission) : (struct naive){ 0 };
				SAME(naive_same(table_ask(h, subject, object, permission), want));
			}
		}
	/* Numbers of nobody, gone ones included. */
	for (uint32_t s = 0; s < SUBJECTS + 2; s++) {
		char name[32];
		policy_label_name(&h->image.table, false, s, name, sizeof(name));
		if (rig_number(&h->image, false, name) == s)
			continue;
		for (uint32_t o = 0; o < OBJECTS + 2; o++)
			SAME(policy_check(&h->image.table, s, o, UINT32_MAX) == POLICY_DENIED);
	}
}

static void edges_are_the_statements(struct history *h, const struct rig *r)
{
	for (uint16_t a = 1; a < r->p.subject_count; a++)
		for (uint16_t b = 1; b < r->p.subject_count; b++) {
			struct policy_edge e;
			bool any = false, free = false, audit = false, exact = false;
			bool found = policy_edge_find(&h->image.table, rig_number(&h->image, false, r->p.subjects[a].name),
						      rig_number(&h->image, false, r->p.subjects[b].name), &e);
			for (size_t i = 0; i < r->p.enter_count; i++)
				if (r->p.enters[i].from == a && r->p.enters[i].to == b) {
					any = true;
					free = free || !r->p.enters[i].ticket;
					audit = audit || r->p.enters[i].audit;
				}
			SAME(found == any);
			for (size_t i = 0; found && i < r->p.enter_count; i++)
				if (r->p.enters[i].from == a && r->p.enters[i].to == b)
					exact = exact || (r->p.enters[i].ticket == (e.ticket != 0) && r->p.enters[i].seconds == e.seconds);
			SAME(!found || (exact && (e.ticket == 0) == free && (e.audit != 0) == audit));
		}
}

static void paths_are_the_labels(struct history *h, const struct rig *r, struct chance *c)
{
	static const char *const segments[] = { "a", "b", "c", "ab", "bb", "a", "b", "c", ".", "..", "" };

	for (int i = 0; i < 60; i++) {
		char path[64] = "";
		size_t at = 0;
		for (uint32_t n = chance_below(c, 5); n > 0; n--)
			at += (size_t)snprintf(path + at, sizeof(path) - at, "/%s", segments[chance_below(c, ARRAY_LEN(segments))]);
		if (at == 0)
			snprintf(path, sizeof(path), "%s", chance_one_in(c, 3) ? "" : "/");
		uint16_t want = naive_path(&r->p, path);
		SAME(policy_object_path(&h->image.table, slice_str(path)) == (want == 0 ? 0 : rig_number(&h->image, true, r->p.objects[want].name)));
	}
}

/* The intersection against both: exactly by compile.h's words, and never more than either in any world. */
static void both_allow(struct history *h, const struct rig *older, const struct rig *newer)
{
	for (uint16_t s = 1; s < newer->p.subject_count; s++)
		for (uint16_t o = 1; o < newer->p.object_count; o++) {
			uint16_t before_s = 0, before_o = 0;
			for (uint16_t i = 1; i < older->p.subject_count; i++)
				if (strcmp(older->p.subjects[i].name, newer->p.subjects[s].name) == 0 &&
				    naive_text_same(older->p.subjects[i].text, newer->p.subjects[s].text))
					before_s = i;
			for (uint16_t i = 1; i < older->p.object_count; i++)
				if (strcmp(older->p.objects[i].name, newer->p.objects[o].name) == 0 && older->p.objects[i].kind == newer->p.objects[o].kind &&
				    naive_text_same(older->p.objects[i].text, newer->p.objects[o].text))
					before_o = i;
			for (uint32_t left = policy_class_permissions(newer->p.objects[o].class); left != 0; left &= left - 1) {
				uint32_t permission = left & -left;
				struct naive a = naive_ask(&older->p, before_s, before_o, permission), b = naive_ask(&newer->p, s, o, permission);
				struct naive got = table_ask(h, rig_number(&h->image, false, newer->p.subjects[s].name),
							     rig_number(&h->image, true, newer->p.objects[o].name), permission);
				struct naive want = { .allowed = a.allowed && b.allowed, .by_owner = (a.allowed || a.by_owner) && (b.allowed || b.by_owner),
						      .by_acl = (a.allowed || a.by_acl) && (b.allowed || b.by_acl) };
				if (want.allowed)
					want.by_owner = want.by_acl = false;
				want.on_trial = !want.allowed && (a.on_trial || a.allowed) && (b.on_trial || b.allowed);
				want.recorded = (a.recorded || b.recorded) && (want.allowed || want.by_owner || want.by_acl);
				SAME(naive_same(got, want));
				for (int world = 0; world < 8; world++)
					SAME(!naive_passes(got, world & 1, world & 2, world & 4) ||
					     (naive_passes(a, world & 1, world & 2, world & 4) && naive_passes(b, world & 1, world & 2, world & 4)));
			}
		}
}

static void history(uint64_t seed)
{
	struct history state = { .image = rig_image_of(SUBJECTS, OBJECTS, 65536), .seed = seed }, *h = &state;
	struct chance c = { seed * 2 + 1 };
	struct rig rigs[2] = { 0 };

	for (uint32_t i = 0; i < 20; i++)
		chance_below(&c, 2);
	rig_init(&rigs[0]);
	rig_apply(&rigs[0], &h->image, 0);
	for (h->epoch = 1; h->epoch <= EPOCHS; h->epoch++) {
		struct rig *older = &rigs[(h->epoch + 1) % 2], *newer = &rigs[h->epoch % 2];
		AUTO_BUF struct buf bank = BUF_INIT(h->image.head->bank_bytes), both = BUF_INIT(h->image.head->bank_bytes);
		struct errmsg why = { 0 };
		const char *text = "";
		rig_done(newer);
		chance_policy(&c, newer);
		SAME(rig_compile(newer, &h->image, h->epoch, &bank, &why) == 0);
		SAME(policy_intersect(h->image.head, policy_bank_in_force(&h->image.table), buf_slice(&bank), &both, &why) == 0);
		SAME(policy_image_flip(h->image.head, buf_slice(&both), &text) == 0);
		both_allow(h, older, newer);
		if (chance_one_in(&c, 5)) {
			/* Back: what the newer one gave stays given. */
			numbers_are_kept(h, newer, false);
			numbers_are_kept(h, newer, true);
			rig_apply(older, &h->image, h->epoch);
			decisions_are_the_statements(h, older);
			rig_apply(newer, &h->image, h->epoch);
		} else {
			SAME(policy_image_flip(h->image.head, buf_slice(&bank), &text) == 0);
		}
		numbers_are_kept(h, newer, false);
		numbers_are_kept(h, newer, true);
		decisions_are_the_statements(h, newer);
		edges_are_the_statements(h, newer);
		paths_are_the_labels(h, newer, &c);
	}
	free(h->image.head);
	rig_done(&rigs[0]);
	rig_done(&rigs[1]);
}

START_TEST(random_histories_decide_as_their_statements_say)
{
	uint64_t seed = from_environment("MODEL_SEED", 1), steps = from_environment("MODEL_STEPS", HISTORIES);

	for (uint64_t i = 0; i < steps; i++)
		history(seed + i);
	ck_assert_uint_gt(decisions, steps * 1000);
}
END_TEST

TEST_MAIN_SLOW(120, "policy/model", random_histories_decide_as_their_statements_say)
