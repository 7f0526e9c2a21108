/*
 * Checks in front of what may be taken away while an extension runs: put in, and proven before the kernel sees them.
 */
#include <linux/bpf.h>

#include <errno.h>
#include <string.h>

#include "spine/inject/checker.h"
#include "spine/load_private.h"

void load_ask_for_trial(struct spine_rights *r)
{
#ifdef HAVE_INJECT
	int32_t answer;

	for (int id = 1; id < (int)(64 * INSPECT_HELPER_WORDS); id++) {
		uint64_t bit = UINT64_C(1) << id % 64;

		if ((r->helpers[id / 64] & bit) != 0 || !inspect_helper_grantable(id) || !inject_helper_refusal(id, &answer))
			continue;
		r->helpers[id / 64] |= bit;
		r->revocable[id / 64] |= bit;
	}
	r->redirect = true;
#endif
	(void)r;
}

int load_guard(struct arena *arena, struct load_request *r, const struct spine_rights *rights, const uint64_t used[INSPECT_HELPER_WORDS],
	       struct buf *injected, struct inject_report *did, uint64_t guarded[INSPECT_HELPER_WORDS], struct errmsg *why)
{
	struct inject_spec spec = { .trial = rights->trial_until != 0 };
	bool needed = false;

	memcpy(spec.helpers, rights->revocable, sizeof(spec.helpers));
	memcpy(guarded, spec.helpers, sizeof(spec.helpers));
	/* The port of a bpf_redirect() is always checked. */
	if (rights->redirect)
		guarded[BPF_FUNC_redirect / 64] |= UINT64_C(1) << BPF_FUNC_redirect % 64;
	for (size_t i = 0; i < INSPECT_HELPER_WORDS; i++)
		needed |= (guarded[i] & used[i]) != 0;
#ifndef HAVE_INJECT
	return !needed ? 0 : errmsg_say(why, -EPERM, "'%s' calls what the policy wants to be checked while it runs, which this build cannot do",
					r->name);
#else
	int err = inject_checks(arena, r->object, &spec, injected, did, why);
	/* Who puts checks in is not believed, least of all that there was nothing to do. */
	if (err == 0 && (needed || did->changed))
		err = checker_prove(arena, r->object, buf_slice(injected), spec.helpers, spec.trial, why);
	if (err == 0 && did->changed) {
		r->object = buf_slice(injected);
		err = object_parse(arena, r->object, &r->parsed, why);
	}
	return err;
#endif
}
