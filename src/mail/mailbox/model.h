/*
 * A naive model of one account, and random work on it: what tests of the mailbox layer compare with.
 *
 * It knows which operation is under way, so it can be copied at any moment (a power cut, another
 * process looking) and asked whether a store is what it should be then: everything acknowledged is
 * there, the operation under way is there wholly or not at all, UIDs are not reused, modseq never
 * falls, nothing expunged is back, every body reads as written.
 *
 * Works on the library built with MAILBOX_SMALL.
 */
#pragma once
#include "base/errmsg.h"
#include "engine/engine.h"

struct model;

struct model *model_new(uint64_t seed);
/* Other random choices from now on. */
void model_reseed(struct model *m, uint64_t seed);
struct model *model_copy(const struct model *m);
void model_free(struct model *m);
/* `steps` random operations, checked after each. False: wrong, the reason in why. */
bool model_work(struct model *m, struct engine *e, unsigned steps, struct errmsg *why);
/* The store as a fresh process finds it. Settles what was under way. */
bool model_check(struct model *m, struct engine *e, struct errmsg *why);
/* How many operations of all kinds took effect, how many messages were read: a test that does nothing shows. */
uint64_t model_done(const struct model *m);
