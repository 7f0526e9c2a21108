/* What the files of the native home share. */
#pragma once
#include "nat64/native/native.h"
#include "nat64/native/table.h"

struct xlat_native {
	struct xlat_env env;
	bool owner;			/* of env.t */
};

/* What a home does first: clock, bank, tables. */
void xlat_native_enter(struct xlat_native *n, struct xlat *x);
