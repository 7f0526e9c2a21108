#include "nat64/reason.h"

#include "nat64/walk.h"

static const struct { const char *name, *sentence, *source; } reasons[] = {
#define REASON(id, name, sentence, source) [XLAT_R_##id] = { name, sentence, source },
#include "nat64/core/reasons.def"
#undef REASON
};

static const char *const steps[] = {
#define STEP(id, sentence) [XLAT_S_##id] = sentence,
#include "nat64/core/steps.def"
#undef STEP
};

const char *nat64_verdict_name(unsigned verdict)
{
	static const char *const names[] = {
		[XLAT_PASS] = "passed", [XLAT_DROP] = "dropped", [XLAT_TRANSLATE] = "translated", [XLAT_ERROR] = "answered", [XLAT_SLOW] = "slow",
	};

	return verdict < ARRAY_LEN(names) ? names[verdict] : "unknown";
}

const char *nat64_reason_name(unsigned reason)
{
	return reason < ARRAY_LEN(reasons) ? reasons[reason].name : "unknown";
}

const char *nat64_reason_sentence(unsigned reason)
{
	return reason < ARRAY_LEN(reasons) ? reasons[reason].sentence : "";
}

const char *nat64_reason_source(unsigned reason)
{
	return reason < ARRAY_LEN(reasons) ? reasons[reason].source : "";
}

const char *nat64_step_text(unsigned step)
{
	return step < ARRAY_LEN(steps) ? steps[step] : "";
}

const char *nat64_tcp_state(unsigned state)
{
	static const char *const names[] = {
		[XLAT_CLOSED] = "closed", [XLAT_V4_INIT] = "syn from outside", [XLAT_V6_INIT] = "syn from inside",
		[XLAT_ESTABLISHED] = "established", [XLAT_V4_FIN] = "fin from outside", [XLAT_V6_FIN] = "fin from inside",
		[XLAT_V4_V6_FIN] = "fin from both", [XLAT_TRANS] = "ending",
	};

	return state < ARRAY_LEN(names) ? names[state] : "unknown";
}

const char *nat64_class_name(unsigned port_class)
{
	static const char *const names[XLAT_PORT_CLASSES] = { "tcp", "udp", "icmp" };

	return port_class < ARRAY_LEN(names) ? names[port_class] : "other";
}

static unsigned class_of(unsigned protocol)
{
	return protocol == XLAT_TCP ? 0 : protocol == XLAT_UDP ? 1 : 2;
}

static int count_session(void *arg, uint32_t number, const void *value)
{
	struct nat64_usage *u = arg;
	const struct xlat_slot *slot = value;

	(void)number;
	if (slot->bib != 0 && (slot->protocol & XLAT_PERMIT) == 0)
		u->sessions[class_of(slot->protocol)]++;
	return 0;
}

static int count_mapping(void *arg, uint32_t number, const void *value)
{
	struct nat64_usage *u = arg;
	const struct xlat_bib *bib = value;

	(void)number;
	if (bib->refs == 0)
		return 0;
	if (bib->slot < XLAT_POOL_ADDRESSES_MAX)
		u->ports[bib->slot][class_of(bib->key.protocol)]++;
	u->statics += (bib->flags & XLAT_BIB_STATIC) != 0;
	return 0;
}

int nat64_usage_look(struct nat64 *n, struct nat64_usage *out, struct errmsg *why)
{
	const struct xlat_control *c = nat64_control(n);
	uint32_t sessions = XLAT_READ(c->slab[XLAT_SLAB_SESSION].fresh), mappings = XLAT_READ(c->slab[XLAT_SLAB_BIB].fresh);
	int err = 0;

	*out = (struct nat64_usage){ 0 };
	if (nat64_config(n)->mode != XLAT_NAT64)
		return 0;
	if (sessions > 1)
		err = nat64_walk_array(nat64_map(n, "slot"), sessions - 1, sizeof(struct xlat_slot), count_session, out, why);
	if (err == 0 && mappings > 1)
		err = nat64_walk_array(nat64_map(n, "bib"), mappings - 1, sizeof(struct xlat_bib), count_mapping, out, why);
	return err;
}
