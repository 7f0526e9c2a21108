/* Plans, calls and the walk of the native home: what the programs do around the core. */
#include "nat64/native/private.h"
#include "nat64/core/plan.h"

int xlat_native_plan(struct xlat_native *n, struct xlat *x)
{
	xlat_native_enter(n, x);
	return xlat_plan(x);
}

int xlat_native_fit(struct xlat_native *n, struct xlat *x, uint32_t mtu)
{
	xlat_native_enter(n, x);
	return xlat_fit(x, mtu);
}

int xlat_native_call(struct xlat_native *n, struct xlat_call *call, struct xlat *desk_packet)
{
	struct xlat own = { 0 };
	struct xlat *x = desk_packet != NULL ? desk_packet : &own;

	xlat_native_enter(n, x);
	if (call->op == XLAT_CALL_PLAN) {
		call->result = xlat_plan(x);
		return call->result;
	}
	x->call = *call;
	uint32_t turns = (uint32_t)xlat_call_run(x);
	for (uint32_t i = 0; i < turns; i++)
		xlat_call_visit(x, i);
	*call = x->call;
	return call->result;
}

void xlat_native_walk(struct xlat_native *n)
{
	struct xlat x = { 0 };

	xlat_native_enter(n, &x);
	while (xlat_walk_step(&x) == 0)
		;
}
