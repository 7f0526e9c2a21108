/*
 * Errors of a policy, as a good compiler shows them: file:line:col, a sentence, the source line, carets. All at once, up to a maximum.
 */
#pragma once
#include "policy/language/policy.h"

struct diag {
	const struct policy_source *sources;
	size_t source_count;
	struct buf *out;
	size_t errors;			/* all that were met; the first POLICY_ERRORS_MAX are written */
};

void diag_error(struct diag *d, struct policy_span span, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A further place that belongs to the error before. */
void diag_note(struct diag *d, struct policy_span span, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* "file:line:col"; the line and its carets. */
void diag_place(struct buf *out, const struct policy_source *sources, size_t count, struct policy_span span);
void diag_show(struct buf *out, const struct policy_source *sources, size_t count, struct policy_span span);
