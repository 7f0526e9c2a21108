/*
 * What this kernel offers to SPINE, found out by trying: each row is a tiny program or map that is made
 * and thrown away. Version numbers lie (distributions port features back, and hosts forbid some).
 */
#pragma once
#include "base/errmsg.h"
#include "base/slice.h"

enum doctor_state {
	DOCTOR_OK,
	DOCTOR_DEGRADED,		/* SPINE works without it; `means` says what is different */
	DOCTOR_MISSING,			/* SPINE does not work without it */
};

struct doctor_row {
	const char *name;		/* "slots" */
	const char *what;		/* half a sentence: what it is for */
	enum doctor_state state;
	char detail[120];		/* what was found: "250 ticks a second" */
	const char *means;		/* of a state that is not OK, a half sentence; else "" */
};

#define DOCTOR_ROWS_MAX 32

/* Look. Returns the number of rows. Needs root for most; without it rows are missing for that reason. About 20 ms. */
size_t doctor_look(struct doctor_row rows[DOCTOR_ROWS_MAX]);
