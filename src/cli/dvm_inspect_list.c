/*
 * What jars and images have in common for `prickle dvm inspect`: counts, and a list of entries or of the classes that were asked for.
 */
#include <errno.h>

#include "cli/cli.h"
#include "cli/dvm_inspect.h"
#include "dvm/classfile/print.h"

#define FLUSH_BYTES (1u << 20)		/* of a long list */

/* Begins and ends the list of what was asked for: "classes" or "entries". */
int dvm_inspect_list_begin(struct dvm_inspection *in, struct errmsg *why)
{
	if (cli_json(in->cli))
		buf_printf(in->out, ",\"%s\":[", in->wanted != NULL ? "classes" : "entries");
	else
		buf_addc(in->out, '\n');
	in->begun = in->listing = true;
	return dvm_inspect_flush(in, why);
}

int dvm_inspect_list_end(struct dvm_inspection *in, struct errmsg *why)
{
	if (cli_json(in->cli))
		buf_addc(in->out, ']');
	in->listing = false;
	int err = dvm_inspect_flush(in, why);
	if (err == 0 && in->wanted != NULL && in->shown == 0)
		return errmsg_say(why, -ENOENT, "no class of it is called '%s'", in->wanted);
	return err;
}

int dvm_inspect_list_entry(struct dvm_inspection *in, struct slice name, uint64_t bytes, uint64_t packed, bool first, struct errmsg *why)
{
	if (cli_json(in->cli)) {
		buf_adds(in->out, first ? "{\"name\":\"" : ",{\"name\":\"");
		class_print_escaped(in->out, name);
		buf_printf(in->out, "\",\"bytes\":%llu,\"packed_bytes\":%llu}", (unsigned long long)bytes, (unsigned long long)packed);
	} else {
		buf_printf(in->out, "%10llu %10llu  ", (unsigned long long)bytes, (unsigned long long)packed);
		class_print_escaped(in->out, name);
		buf_addc(in->out, '\n');
	}
	return in->out->len < FLUSH_BYTES ? 0 : dvm_inspect_flush(in, why);
}

void dvm_inspect_counts(struct dvm_inspection *in, uint32_t entries, uint32_t classes, const char *more, struct slice value)
{
	if (cli_json(in->cli)) {
		buf_printf(in->out, ",\"entry_count\":%u,\"class_count\":%u,\"%s\":\"", entries, classes, more);
		class_print_escaped(in->out, value);
		buf_addc(in->out, '"');
		return;
	}
	buf_printf(in->out, "\nentries: %u\nclasses: %u", entries, classes);
	if (value.len == 0)
		return;
	buf_printf(in->out, "\n%s: ", more);
	class_print_escaped(in->out, value);
}

/* An entry failed: that names it. */
int dvm_inspect_in_entry(struct errmsg *why, int err, struct slice name)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);
	struct errmsg inner = *why;

	class_print_escaped(&text, slice_head(name, 1000));
	return errmsg_say(why, err, "%s: %s", buf_cstr(&text), inner.text);
}
