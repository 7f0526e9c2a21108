/*
 * A translator's file against the host that shall run it. Only reads: nothing here changes an interface.
 */
#include <errno.h>
#include <stdio.h>

#include "base/suggest.h"
#include "nat64/settings.h"

static void missing(const struct nat64_settings *s, const struct if_nameindex *all, const char *name, uint32_t line, struct buf *errors)
{
	struct suggestion near = { .word = slice_str(name) };

	for (const struct if_nameindex *i = all; i != NULL && i->if_index != 0; i++)
		suggest_try(&near, i->if_name);
	buf_printf(errors, "%s:%u: there is no interface '%s' here", s->path, line, name);
	if (near.best != NULL)
		buf_printf(errors, "; did you mean '%s'?\n", near.best);
	else
		buf_adds(errors, "; 'ip link' lists them\n");
}

int nat64_settings_host(const struct nat64_settings *s, struct buf *errors)
{
	struct if_nameindex *all = if_nameindex();
	int err = 0;

	for (size_t i = 0; i < s->interface_count; i++) {
		if (if_nametoindex(s->interfaces[i].name) != 0)
			continue;
		missing(s, all, s->interfaces[i].name, s->interfaces[i].line, errors);
		err = -EINVAL;
	}
	for (size_t i = 0; i < s->announce_count; i++) {
		if (if_nametoindex(s->announce[i].interface) != 0)
			continue;
		missing(s, all, s->announce[i].interface, s->line[NAT64_OPTION_announce_interfaces], errors);
		err = -EINVAL;
	}
	if (all != NULL)
		if_freenameindex(all);
	return err;
}
