/*
 * Makes constants of a module's limits. There is no common list of limits: each module has
 * its own `limits.def`, whose rows say everything about a limit once:
 *
 *	LIMIT(NAME, value, "unit", "setting or -", "RFC section or other source", generator)
 *
 * value      an integer constant expression that needs no other header, up to 2^63 - 1
 * setting    the configuration key that changes it, "-" when it is fixed
 * generator  number: a value in the protocol's text; fuzz dictionaries get value - 1, value and
 *            value + 1. length, depth, count: fuzz seeds are made at limit - 1, limit and
 *            limit + 1 where tools/limit_seeds.c knows the shape.
 *
 * A module's header then has, once:
 *
 *	#define LIMITS_FILE "mail/imap/limits.def"
 *	#include "base/limits.h"
 *
 * and every NAME is an enum constant (of type int where the value fits). The build joins all
 * files into one table: `prickle limits`, cli/limit_table.h.
 *
 * No `#pragma once`: one translation unit may include the limits of several modules.
 */
#ifndef LIMITS_FILE
#error "define LIMITS_FILE before base/limits.h"
#endif
/* One enum a row, so that a value above int changes the type of its own constant only. */
#define LIMIT(name, value, unit, setting, source, generator) enum { name = (value) };
#include LIMITS_FILE
#undef LIMIT
#undef LIMITS_FILE
