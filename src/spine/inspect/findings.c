/*
 * Findings as people read them: place, rule, sentence, and the line of source.
 */
#include "spine/inspect/inspect.h"

static void write_finding(struct buf *out, const struct inspect_finding *f)
{
	if (f->line != NULL)
		buf_printf(out, "%s:%u: ", f->line->file, f->line->line);
	if (f->program[0] != '\0')
		buf_printf(out, "%s, instruction %u: ", f->program, f->insn);
	buf_printf(out, "%s: %s\n", f->rule, f->sentence);
	if (f->line != NULL && f->line->text[0] != '\0')
		buf_printf(out, "    %s\n", f->line->text);
}

void inspect_findings_text(struct buf *out, const struct inspect_report *r)
{
	for (size_t i = 0; i < r->finding_count; i++)
		write_finding(out, &r->findings[i]);
}
