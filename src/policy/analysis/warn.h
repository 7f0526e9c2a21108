/*
 * Warnings of `policy check`: what is allowed to stand but is hardly meant.
 */
#pragma once
#include "policy/analysis/analysis.h"

/*
 * Append "FILE:LINE:COL: warning: sentence" with its source line for each: a label that no rule and no test names and that takes nothing out of
 * a larger one; a subject without rights; a role by ticket that nobody enters; no rights for root or for users; a never that the floor of the operating system
 * cannot hold. Nothing of the shipped policy. At most POLICY_ERRORS_MAX.
 */
void analysis_warn(const struct analysis *a, struct buf *warnings);
