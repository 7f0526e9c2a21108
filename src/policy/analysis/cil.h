/*
 * A policy in SELinux's language CIL: for tools that know it (secilc, sesearch, apol), and as an oracle for our own compiler, since libsepol then decides
 * the same questions.
 *
 * Labels become types: subject mail.user is s_mail__user, object web.appdata is o_web__appdata, a helper u_helper_redirect_map. Classes and permissions
 * keep their names; `enter` is the permission enter of the class domain, `use` the permission link of the class use. Conditional rules are allows: CIL
 * has no predicates. A `never` is a neverallow; "by any path" names all subjects that its subjects can become. What has no label is the subject s_ and the
 * object o_. Trials, limits and definitions of labels are comments.
 */
#pragma once
#include "policy/analysis/analysis.h"

void analysis_cil(struct buf *out, const struct analysis *a);
/* The type of a subject or object, as analysis_cil writes it. */
void analysis_cil_type(struct buf *out, const struct policy *p, bool object, uint16_t index);
/* What stands before a type in a context: user:role: */
#define ANALYSIS_CIL_CONTEXT "prickle:prickle_r:"
