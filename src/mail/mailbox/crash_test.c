/*
 * Power cuts under the mailbox layer: random work on the real engine over a simulated disk. After
 * each cut the account is what was acknowledged, with the operation under way wholly or not at all;
 * see model.h. Three bugs planted in the engine must be found through the mailbox, too.
 */
#include <errno.h>

#include "base/test.h"
#include "engine/crashsim.h"
#include "mail/mailbox/model.h"

static void *make(void)
{
	return model_new(1);
}

static void *copy(const void *model)
{
	return model_copy(model);
}

static void drop(void *model)
{
	model_free(model);
}

static bool work(void *model, struct engine *e, struct sim *world, unsigned steps, struct errmsg *why)
{
	model_reseed(model, sim_random(world));
	for (unsigned done = 0; done < steps; done += 20) {
		if (sim_below(world, 3) == 0)
			(void)embedded_compact(e, sim_below(world, 2) == 0);
		if (!model_work(model, e, steps - done < 20 ? steps - done : 20, why))
			return false;
	}
	return true;
}

static bool check(void *model, struct engine *e, struct errmsg *why)
{
	return model_check(model, e, why);
}

static const struct crashsim_model model = {
	.make = make,
	.copy = copy,
	.drop = drop,
	.work = work,
	.check = check,
};

#ifndef SEED
#define SEED 1
#endif
#define STATES (TEST_SANITIZED ? 2000 : 170000)

/* Small segments fill, empty and are used again in a short run; larger ones hold more than one operation. */
static uint32_t segment_bytes(void)
{
	return SEED % 2 == 1 ? 8u << 10 : 32u << 10;
}

START_TEST(no_acknowledged_message_or_change_is_lost_at_any_cut)
{
	struct crashsim_options o = { .seed = SEED, .states_max = STATES, .steps = 200,
				      .cuts_per_change = 1, .segment_bytes = segment_bytes() };
	struct errmsg why = { 0 };

	ck_assert_msg(crashsim_test(&model, &o, &why) == 0, "%s", why.text);
}
END_TEST

START_TEST(no_acknowledged_message_or_change_is_lost_when_calls_fail_too)
{
	struct crashsim_options o = { .seed = 100 + SEED, .states_max = STATES, .steps = 200,
				      .cuts_per_change = 1, .segment_bytes = segment_bytes(),
				      .faults = true };
	struct errmsg why = { 0 };

	ck_assert_msg(crashsim_test(&model, &o, &why) == 0, "%s", why.text);
}
END_TEST

/* By the mail alone, without the engine's own alarms. */
static void must_find(struct embedded_planted planted)
{
	struct crashsim_options o = { .seed = 200 + SEED, .states_max = 100000, .steps = 400,
				      .segment_bytes = 8u << 10, .planted = planted,
				      .model_alone = true };
	struct errmsg why = { 0 };

	if (TEST_SANITIZED)
		return;			/* minutes, and it asks nothing of a sanitizer */
	ck_assert_int_eq(crashsim_test(&model, &o, &why), -EBADMSG);
}

START_TEST(an_acknowledgement_without_sync_is_found)
{
	must_find((struct embedded_planted){ .no_sync = true });
}
END_TEST

START_TEST(a_segment_recycled_too_early_is_found)
{
	must_find((struct embedded_planted){ .early_recycle = true });
}
END_TEST

START_TEST(a_deletion_lost_in_compaction_is_found)
{
	must_find((struct embedded_planted){ .lost_tombstone = true });
}
END_TEST

TEST_MAIN_SLOW(900, "mailbox/crash", no_acknowledged_message_or_change_is_lost_at_any_cut,
	       no_acknowledged_message_or_change_is_lost_when_calls_fail_too,
	       an_acknowledgement_without_sync_is_found, a_segment_recycled_too_early_is_found,
	       a_deletion_lost_in_compaction_is_found)
