/*
 * The manifest and the message handlers of an object (prickle/spine_manifest.h).
 */
#include <errno.h>
#include <stdio.h>

#include <prickle/spine_message.h>

#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"
#include "spine/inspect/object_internal.h"

#define ORDER_DEFAULT	     1000u
#define INSTRUCTIONS_DEFAULT 20000u
#define MEMORY_DEFAULT	     (16u << 20)
#define FLAGS_KNOWN	     (SPINE_TERMINAL | SPINE_FAIL_CLOSED | SPINE_FRAGS | SPINE_STATELESS)

static int bad_manifest(const struct parse *p, const char *what)
{
	return errmsg_say(p->why, -EINVAL, "the manifest (section '%s') %s", SPINE_MANIFEST_SECTION, what);
}

/* Printable text that ends in NUL; bytes behind it are 0, so that one manifest is one sequence of bytes. */
static bool text_ok(const char *text, size_t size)
{
	size_t n = strnlen(text, size);

	for (size_t i = 0; i < n; i++) {
		if (text[i] < ' ' || text[i] > '~')
			return false;
	}
	for (size_t i = n; i < size; i++) {
		if (text[i] != '\0')
			return false;
	}
	return n < size;
}

/* [a-z0-9][a-z0-9-]*: it becomes a file name in bpffs and a word of commands. */
static bool extension_name_ok(const char *name)
{
	for (size_t i = 0; name[i] != '\0'; i++) {
		char c = name[i];
		bool plain = (c >= 'a' && c <= 'z') || ascii_digit((uint8_t)c);
		if (!plain && (c != '-' || i == 0))
			return false;
	}
	return name[0] != '\0';
}

static int check_manifest(const struct parse *p, const struct spine_manifest *m)
{
	if (m->magic != SPINE_MANIFEST_MAGIC)
		return bad_manifest(p, "does not begin with its magic number");
	if (m->abi != SPINE_MANIFEST_ABI)
		return errmsg_say(p->why, -EINVAL, "the manifest is of version %u, we know %u; compile the "
				  "extension with the headers of this release", m->abi, SPINE_MANIFEST_ABI);
	if (m->bytes != sizeof(*m))
		return bad_manifest(p, "has another size than it says");
	if (!text_ok(m->name, sizeof(m->name)) || !extension_name_ok(m->name))
		return bad_manifest(p, "has no name of lower-case letters, digits and '-' that ends in NUL");
	if (!text_ok(m->version, sizeof(m->version)))
		return bad_manifest(p, "has a version that is no printable text");
	if (!text_ok(m->match, sizeof(m->match)))
		return bad_manifest(p, "has a match rule that is no printable text");
	if ((m->verdicts | m->continues) & ~(uint32_t)SPINE_VERDICTS_ALL)
		return bad_manifest(p, "names verdicts that do not exist");
	if (m->flags & ~(uint32_t)FLAGS_KNOWN)
		return bad_manifest(p, "has flags that we do not know");
	if (m->cpu_permille > 1000)
		return bad_manifest(p, "asks for more than 1000 permille of a processor");
	if (m->channels > OBJECT_CHANNELS_MAX)
		return errmsg_say(p->why, -EINVAL, "the manifest asks for %u channels; the limit is %d",
				  m->channels, OBJECT_CHANNELS_MAX);
	for (size_t i = 0; i < ARRAY_LEN(m->reserved); i++) {
		if (m->reserved[i] != 0)
			return bad_manifest(p, "uses fields that mean nothing yet");
	}
	return 0;
}

static void fill_defaults(struct spine_manifest *m, bool handlers)
{
	if (m->order == 0)
		m->order = ORDER_DEFAULT;
	if (m->verdicts == 0)
		m->verdicts = SPINE_PASS | SPINE_DROP;
	if (m->continues == 0)
		m->continues = SPINE_PASS;
	if (m->instructions_max == 0)
		m->instructions_max = INSTRUCTIONS_DEFAULT;
	if (m->memory_bytes_max == 0)
		m->memory_bytes_max = MEMORY_DEFAULT;
	if (m->channels == 0 && handlers)
		m->channels = 1;
}

static int read_manifest(struct parse *p, size_t section)
{
	struct slice bytes = p->elf.sections[section].bytes;
	struct spine_manifest *m = ARENA_NEW(p->arena, struct spine_manifest);

	if (m == NULL)
		return errmsg_set(p->why, -ENOMEM, "a manifest");
	if (bytes.len != sizeof(*m))
		return errmsg_say(p->why, -EINVAL, "the manifest has %zu bytes, we know one of %zu; compile the "
				  "extension with the headers of this release", bytes.len, sizeof(*m));
	memcpy(m, bytes.ptr, sizeof(*m));
	int err = check_manifest(p, m);
	if (err != 0)
		return err;
	fill_defaults(m, p->out.handler_count > 0);
	p->out.manifest = m;
	return 0;
}

static bool identifier_ok(const char *name)
{
	size_t n = 0;

	while (ascii_alpha((uint8_t)name[n]) || name[n] == '_' || (n > 0 && ascii_digit((uint8_t)name[n])))
		n++;
	return n > 0 && n < SPINE_NAME_BYTES && name[n] == '\0';
}

/* The fields of an argument struct while they are collected. */
struct flatten {
	struct parse *p;
	const char *handler;
	struct object_field *fields;	/* room for SPINE_ARGS_BYTES: each has a byte at least */
	size_t count;
};

static int bad_field(const struct flatten *f, const char *name, const char *what)
{
	if (f->p->arena->err != 0)	/* a name could not be made */
		return errmsg_set(f->p->why, -ENOMEM, "handler '%s'", f->handler);
	return errmsg_say(f->p->why, -EINVAL, "the argument of handler '%s': field '%s' %s", f->handler, name, what);
}

static const char *scalar_type(const struct types_record *t)
{
	static const char *const names[2][4] = {
		{ "__u8", "__u16", "__u32", "__u64" }, { "__s8", "__s16", "__s32", "__s64" },
	};
	uint32_t bits, encoding = 0, offset = 0, bytes = t->size_or_type;

	if (t->kind == BTF_KIND_INT) {
		types_int(t, &bits, &encoding, &offset);
		if (bits != bytes * 8 || offset != 0)
			return NULL;
	} else if (t->kind != BTF_KIND_ENUM && t->kind != BTF_KIND_ENUM64) {
		return NULL;
	}
	if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8)
		return NULL;
	return names[(encoding & BTF_INT_SIGNED) != 0][__builtin_ctz(bytes)];
}

static int add_scalar(struct flatten *f, const char *name, const struct types_record *t, uint32_t offset,
		      uint32_t count)
{
	const char *type = scalar_type(t);

	if (type == NULL)
		return bad_field(f, name, "is no integer of 8, 16, 32 or 64 bits: nothing else means the same on "
				 "both sides");
	if (count == 0 || f->count == SPINE_ARGS_BYTES)
		return bad_field(f, name, "has no bytes");
	for (size_t i = 0; i < f->count; i++) {
		if (strcmp(f->fields[i].name, name) == 0)
			return bad_field(f, name, "has the name of another one");
	}
	f->fields[f->count++] = (struct object_field){
		.name = name, .type = type, .offset = offset, .bytes = t->size_or_type, .count = count,
	};
	return 0;
}

static int add_struct(struct flatten *f, const char *prefix, const struct types_record *t, uint32_t offset,
		      int depth);

/* "prefix_name", or an anonymous member's prefix alone; NULL: no memory, or too long. */
static const char *join(struct flatten *f, const char *prefix, const char *name)
{
	char text[2 * SPINE_NAME_BYTES];
	bool both = prefix[0] != '\0' && name[0] != '\0';
	int n = snprintf(text, sizeof(text), "%s%s%s", prefix, both ? "_" : "", name);

	return n < 0 || n >= (int)sizeof(text) ? NULL : arena_str(f->p->arena, slice_str(text));
}

static int add_field(struct flatten *f, const char *name, uint32_t type, uint32_t offset, int depth)
{
	uint64_t count = 1;
	const struct types_record *t = types_resolve(&f->p->types, type, NULL);

	for (int i = 0; t != NULL && t->kind == BTF_KIND_ARRAY && i < BTF_CHAIN_MAX; i++) {
		uint32_t n;
		types_array(t, &type, &n);
		count *= n;
		if (count == 0 || count > SPINE_ARGS_BYTES)
			return bad_field(f, name, "is an array of a wrong size");
		t = types_resolve(&f->p->types, type, NULL);
	}
	if (t == NULL)
		return bad_field(f, name, "has no type");
	if (t->kind != BTF_KIND_STRUCT)
		return add_scalar(f, name, t, offset, (uint32_t)count);
	for (uint32_t i = 0; i < count; i++) {
		char index[12] = "";
		if (count > 1)
			snprintf(index, sizeof(index), "%u", i);
		const char *one = count > 1 ? join(f, name, index) : name;
		if (one == NULL)
			return bad_field(f, name, "has too long a name");
		int err = add_struct(f, one, t, offset + i * t->size_or_type, depth + 1);
		if (err != 0)
			return err;
	}
	return 0;
}

static int add_struct(struct flatten *f, const char *prefix, const struct types_record *t, uint32_t offset,
		      int depth)
{
	uint32_t end = 0;		/* members have bytes of their own, which bounds how many we visit */

	if (depth >= OBJECT_FIELD_DEPTH_MAX)
		return bad_field(f, prefix, "is nested too deeply");
	for (uint32_t i = 0; i < t->vlen; i++) {
		struct types_member m = types_member(&f->p->types, t, i);
		uint32_t bytes;

		if (m.name[0] != '\0' && !identifier_ok(m.name))
			return bad_field(f, prefix, "has a member whose name is no identifier, or longer than 31");
		const char *name = join(f, prefix, m.name);
		if (name == NULL)
			return bad_field(f, prefix, "has too long a name");
		if (m.bits != 0 || m.bit_offset % 8 != 0)
			return bad_field(f, name, "is a bit field; use a whole integer");
		if (!types_size(&f->p->types, m.type, &bytes) || bytes == 0 || m.bit_offset / 8 < end ||
		    m.bit_offset / 8 > t->size_or_type || bytes > t->size_or_type - m.bit_offset / 8)
			return bad_field(f, name, "has no bytes of its own in the struct");
		end = m.bit_offset / 8 + bytes;
		int err = add_field(f, name, m.type, offset + m.bit_offset / 8, depth);
		if (err != 0)
			return err;
	}
	return 0;
}

static int bad_handler(const struct parse *p, const char *name, const char *what)
{
	return errmsg_say(p->why, -EINVAL, "handler '%s' %s", name, what);
}

static int flatten_handler(struct parse *p, struct object_handler *h)
{
	struct flatten f = { .p = p, .handler = h->name };
	const struct types_record *t = types_find(&p->types, BTF_KIND_STRUCT, h->type);

	if (t == NULL)
		return bad_handler(p, h->name, "has an argument struct that the object's BTF does not describe; "
				   "compile with -g and use it in the handler");
	if (t->size_or_type != h->bytes)
		return bad_handler(p, h->name, "has an argument of another size than its row says");
	f.fields = arena_array(p->arena, SPINE_ARGS_BYTES, sizeof(*f.fields));
	if (f.fields == NULL)
		return errmsg_set(p->why, -ENOMEM, "handler '%s'", h->name);
	int err = add_struct(&f, "", t, 0, 0);
	h->fields = f.fields;
	h->field_count = f.count;
	return err;
}

static int read_handler(struct parse *p, const uint8_t *row, struct object_handler *h)
{
	const char *name = (const char *)row + offsetof(struct spine_handler_row, name);
	const char *type = (const char *)row + offsetof(struct spine_handler_row, type);

	if (!text_ok(name, SPINE_NAME_BYTES) || !text_ok(type, SPINE_NAME_BYTES) || !identifier_ok(name))
		return errmsg_say(p->why, -EINVAL, "a row of section '%s' has no name that is an identifier",
				  SPINE_HANDLERS_SECTION);
	h->id = little16(row);
	h->bytes = little16(row + 2);
	h->name = name;
	h->type = type;
	if (h->id == 0 || h->bytes > SPINE_ARGS_BYTES)
		return bad_handler(p, name, "has the number 0, or an argument of more than 48 bytes");
	for (size_t i = 0; i < p->out.handler_count; i++) {
		if (p->out.handlers[i].id == h->id || strcmp(p->out.handlers[i].name, name) == 0)
			return bad_handler(p, name, "has the number or name of another one");
	}
	if (h->bytes == 0 && type[0] == '\0')
		return 0;
	if (!p->has_types || !identifier_ok(type))
		return bad_handler(p, name, "names no struct of the object's BTF");
	return flatten_handler(p, h);
}

static int read_handlers(struct parse *p, size_t section)
{
	struct slice bytes = p->elf.sections[section].bytes;
	size_t row = sizeof(struct spine_handler_row), n = bytes.len / row;

	if (bytes.len % row != 0)
		return errmsg_say(p->why, -EINVAL, "section '%s' is not made of whole rows", SPINE_HANDLERS_SECTION);
	if (n > OBJECT_HANDLERS_MAX)
		return errmsg_say(p->why, -E2BIG, "the object has %zu handlers; the limit is %d", n,
				  OBJECT_HANDLERS_MAX);
	struct object_handler *handlers = arena_array(p->arena, n, sizeof(*handlers));
	if (handlers == NULL)
		return errmsg_set(p->why, -ENOMEM, "handlers of an object");
	p->out.handlers = handlers;
	for (size_t i = 0; i < n; i++) {
		int err = read_handler(p, bytes.ptr + i * row, &handlers[i]);
		if (err != 0)
			return err;
		p->out.handler_count++;
	}
	return 0;
}

int parse_spine(struct parse *p)
{
	size_t manifest, handlers;
	int err = parse_section(p, SPINE_MANIFEST_SECTION, &manifest);

	if (err == 0)
		err = parse_section(p, SPINE_HANDLERS_SECTION, &handlers);
	if (err == 0 && handlers != 0)
		err = read_handlers(p, handlers);
	if (err == 0 && manifest != 0)
		err = read_manifest(p, manifest);
	if (err == 0 && manifest == 0 && handlers != 0)
		return errmsg_say(p->why, -EINVAL, "the object has handlers and no manifest");
	return err;
}
