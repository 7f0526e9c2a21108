/*
 * `prickle spine stubs FILE.o`: a C header with a struct and functions for each handler of an
 * extension, from the types that its BTF describes. Layouts are written out with their padding and checked by
 * the compiler, so that both sides agree or the host program does not build.
 */
#include <string.h>

#include "cli/spine_object.h"

#define OUTPUT_BYTES (4u << 20)
#define OBJECT_ARENA (64u << 20)

static const struct cli_arg file_arg[] = { { "FILE", "the extension's object file", .complete = CLI_FILE }, { 0 } };
static const struct cli_option stubs_options[] = {
	{ "prefix", 'p', "WORD", "begin names with this instead of the extension's name" }, { 0 }
};

/* "l4-lb" -> "l4_lb"; only letters and digits stay. */
static bool make_prefix(const char *name, char *out, size_t bytes)
{
	size_t i;

	for (i = 0; name[i] != '\0' && i + 1 < bytes; i++) {
		uint8_t c = (uint8_t)name[i];
		out[i] = ascii_alpha(c) || ascii_digit(c) ? name[i] : '_';
	}
	out[i] = '\0';
	return i > 0 && !ascii_digit((uint8_t)out[0]);
}

static void upper(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++)
		buf_addc(out, ascii_upper((uint8_t)*text));
}

/* Does it end where plain C would put it? Else the struct is packed. */
static bool is_packed(const struct object_handler *h)
{
	uint32_t widest = 1;

	for (size_t i = 0; i < h->field_count; i++) {
		if (h->fields[i].offset % h->fields[i].bytes != 0)
			return true;
		widest = MAX(widest, h->fields[i].bytes);
	}
	return h->bytes % widest != 0;
}

static void padding(struct buf *out, uint32_t from, uint32_t to)
{
	if (to > from)
		buf_printf(out, "\t__u8 padding_%u_[%u];\n", from, to - from);
}

static void write_struct(struct buf *out, const char *prefix, const struct object_handler *h)
{
	uint32_t at = 0;

	buf_printf(out, "struct %s_%s {\n", prefix, h->name);
	for (size_t i = 0; i < h->field_count; i++) {
		const struct object_field *f = &h->fields[i];

		padding(out, at, f->offset);
		buf_printf(out, "\t%s %s", f->type, f->name);
		if (f->count > 1)
			buf_printf(out, "[%u]", f->count);
		buf_adds(out, ";\n");
		at = f->offset + f->bytes * f->count;
	}
	padding(out, at, h->bytes);
	buf_printf(out, "}%s;\n", is_packed(h) ? " __attribute__((packed))" : "");
	buf_printf(out, "SPINE_STATIC_ASSERT(sizeof(struct %s_%s) == %u, \"as the extension has it\");\n", prefix, h->name,
		   h->bytes);
}

/* The first fields are those of struct spine_medium (2) or struct spine_bulk (3), by type and name. */
static bool begins_like(const struct object_handler *h, size_t count)
{
	static const struct {
		const char *type, *ends;
	} medium[] = { { "__u32", "buffer" }, { "__u32", "length" } },
	  bulk[] = { { "__u32", "region" }, { "__u32", "length" }, { "__u64", "offset" } };

	if (h->field_count < count)
		return false;
	for (size_t i = 0; i < count; i++) {
		const char *type = count == 2 ? medium[i].type : bulk[i].type;
		const char *ends = count == 2 ? medium[i].ends : bulk[i].ends;
		const struct object_field *f = &h->fields[i];

		if (f->count != 1 || strcmp(f->type, type) != 0 ||
		    !slice_ends(slice_str(f->name), slice_str(ends)))
			return false;
	}
	return true;
}

static void write_function(struct buf *out, const char *prefix, const struct object_handler *h, const char *verb,
			   const char *kind, bool data)
{
	buf_printf(out, "static inline int %s_%s_%s(struct spine_channel *channel, struct %s_%s *args%s)\n{\n", prefix,
		   verb, h->name, prefix, h->name, data ? ", const void *data, size_t bytes" : "");
	buf_printf(out, "\treturn spine_%s%s(channel, %u, args, sizeof(*args)%s);\n}\n", verb, kind, h->id,
		   data ? ", data, bytes" : "");
}

static void write_handler(struct buf *out, const char *prefix, const struct object_handler *h)
{
	bool medium = begins_like(h, 2), bulk = begins_like(h, 3);

	buf_addc(out, '\n');
	if (h->bytes == 0) {
		buf_printf(out, "static inline int %s_call_%s(struct spine_channel *channel)\n{\n"
			   "\treturn spine_call(channel, %u, NULL, 0);\n}\n", prefix, h->name, h->id);
		buf_printf(out, "static inline int %s_post_%s(struct spine_channel *channel)\n{\n"
			   "\treturn spine_post(channel, %u, NULL, 0);\n}\n", prefix, h->name, h->id);
		return;
	}
	write_struct(out, prefix, h);
	write_function(out, prefix, h, "call", medium ? "_medium" : bulk ? "_bulk" : "", medium);
	write_function(out, prefix, h, "post", medium ? "_medium" : bulk ? "_bulk" : "", medium);
}

static void write_header(struct buf *out, const char *prefix, const char *path, const struct object *o)
{
	const char *base = strrchr(path, '/');

	buf_printf(out, "/* Made by 'prickle spine stubs' from %s: the handlers of extension '%s', version %s. */\n",
		   base != NULL ? base + 1 : path, o->manifest->name, o->manifest->version);
	buf_adds(out, "#pragma once\n#include <prickle/libspine.h>\n\nenum {\n");
	for (size_t i = 0; i < o->handler_count; i++) {
		buf_addc(out, '\t');
		upper(out, prefix);
		buf_addc(out, '_');
		upper(out, o->handlers[i].name);
		buf_printf(out, " = %u,\n", o->handlers[i].id);
	}
	buf_adds(out, "};\n");
	for (size_t i = 0; i < o->handler_count; i++)
		write_handler(out, prefix, &o->handlers[i]);
}

/* Names are identifiers (the reader saw to that), so nothing needs escaping. */
static void write_json(struct buf *out, const struct object *o)
{
	buf_printf(out, "{\"extension\":\"%s\",\"handlers\":[", o->manifest->name);
	for (size_t i = 0; i < o->handler_count; i++) {
		const struct object_handler *h = &o->handlers[i];

		buf_printf(out, "%s{\"id\":%u,\"name\":\"%s\",\"bytes\":%u,\"fields\":[", i > 0 ? "," : "", h->id,
			   h->name, h->bytes);
		for (size_t k = 0; k < h->field_count; k++) {
			const struct object_field *f = &h->fields[k];

			buf_printf(out, "%s{\"name\":\"%s\",\"type\":\"%s\",\"offset\":%u,\"count\":%u}",
				   k > 0 ? "," : "", f->name, f->type, f->offset, f->count);
		}
		buf_adds(out, "]}");
	}
	buf_adds(out, "]}\n");
}

static int spine_stubs(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(OBJECT_ARENA);
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_BYTES);
	const char *path = cli_arg(cli, 0);
	const struct object *o;
	char prefix[64];
	int code = spine_object_read(cli, &arena, path, &o);

	if (code != CLI_OK)
		return code;
	if (o->manifest == NULL || o->handler_count == 0)
		return cli_fail(cli, CLI_FAILED, "%s: has no handlers; SPINE_HANDLERS in <prickle/spine.h> defines them",
				path);
	if (cli_json(cli)) {
		write_json(&out, o);
		return cli_print(cli, &out);
	}
	if (!make_prefix(cli_has(cli, "prefix") ? cli_value(cli, "prefix") : o->manifest->name, prefix, sizeof(prefix)))
		return cli_fail(cli, CLI_USAGE, "a prefix begins with a letter; give one with --prefix");
	write_header(&out, prefix, path, o);
	return cli_print(cli, &out);
}

const struct cli_command cmd_spine_stubs = {
	.words = "spine stubs", .summary = "write a C header for calling an extension's handlers", .args = file_arg,
	.description = "Each handler gets a struct for its arguments, with the layout that the extension was compiled "
		"with, and two functions: one calls and waits for the reply, one posts. Link with -lprickle-spine.",
	.options = stubs_options, .json = true, .run = spine_stubs,
	.examples = (const char *const[]){ "prickle spine stubs lb.o >lb-stubs.h", NULL },
};
