/*
 * The numbers of translators as OpenMetrics text, read from the pinned maps: `prickle nat64 metrics`, and the listener of `run`.
 *
 * Series are few and of our choosing: reasons, verdicts, tables, the addresses of pool4. No subscriber makes one.
 */
#pragma once
#include "nat64/instance.h"

struct nat64_metrics;			/* opaque: texts of families, so that several instances can be told of */

MUST_USE struct nat64_metrics *nat64_metrics_new(void);
void nat64_metrics_free(struct nat64_metrics *m);
/* One instance more. netns: NULL or its name, a label. 0 or negative errno. Walks the slabs: about 0.1 us an entry that was ever used. */
MUST_USE int nat64_metrics_add(struct nat64_metrics *m, struct nat64 *n, const char *name, const char *netns, struct errmsg *why);
/* All of it, ending in "# EOF". */
void nat64_metrics_text(const struct nat64_metrics *m, struct buf *out);
