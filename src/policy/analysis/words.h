/*
 * Pieces of the language as text: definitions, rules. What the analysis tells people can be pasted into a policy.
 */
#pragma once
#include "policy/analysis/analysis.h"

/* `tree "/srv/app"`, `host any port 25`, `message "put" of kv`; the class's name for a SINGLE one. */
void words_object(struct buf *out, const struct policy_object *o);
/* `program "/usr/bin/web"`, `principal in group "mail-admins"`. */
void words_subject(struct buf *out, const struct policy_subject *s);
/* "read, write" */
void words_permissions(struct buf *out, enum policy_class class, uint32_t permissions);
/* "owner is subject or acl grants subject"; nothing for 0. */
void words_predicates(struct buf *out, uint32_t predicates);
/* "30m", "2h", "90s": as `enter ... for` writes it. */
void words_duration(struct buf *out, uint32_t seconds);
/* "a text" with what the lexer wants escaped. */
void words_quoted(struct buf *out, const char *text);
/* Names with ", " between. */
void words_subjects(struct buf *out, const struct policy *p, const uint16_t *list, size_t count);
void words_objects(struct buf *out, const struct policy *p, const uint16_t *list, size_t count);
