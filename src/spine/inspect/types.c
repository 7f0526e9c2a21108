#include "spine/inspect/types.h"

#include <errno.h>

#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/little.h"

#define BTF_HEADER_BYTES 24u

static int malformed(struct errmsg *why, const char *what)
{
	return errmsg_say(why, -EINVAL, "the object's BTF is malformed: %s", what);
}

/* Bytes after a record's head; false for a kind that we do not know. */
static bool more_bytes(uint32_t kind, uint32_t vlen, size_t *out)
{
	switch (kind) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		*out = 4;
		return true;
	case BTF_KIND_ARRAY:
		*out = 12;
		return true;
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_DATASEC:
	case BTF_KIND_ENUM64:
		*out = 12 * (size_t)vlen;
		return true;
	case BTF_KIND_ENUM:
	case BTF_KIND_FUNC_PROTO:
		*out = 8 * (size_t)vlen;
		return true;
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
	case BTF_KIND_TYPE_TAG:
		*out = 0;
		return true;
	default:
		return false;
	}
}

static bool read_record(struct reader *r, struct types_record *out)
{
	size_t more = 0;

	out->name = rd_little32(r);
	uint32_t info = rd_little32(r);
	out->size_or_type = rd_little32(r);
	out->kind = info >> 24 & 0x1f;
	out->vlen = info & 0xffff;
	out->kind_flag = info >> 31 != 0;
	if (r->bad || !more_bytes(out->kind, out->vlen, &more))
		return false;
	out->more = rd_bytes(r, more).ptr;
	return !r->bad;
}

/* Records are at least 12 bytes, which bounds their number by the section's size. */
static int read_types(struct arena *arena, struct slice bytes, struct types *out, struct errmsg *why)
{
	struct reader r = reader_of(bytes);
	struct types_record one;
	size_t count = 1;

	while (rd_left(&r) > 0) {
		if (!read_record(&r, &one))
			return malformed(why, "a type is cut off, or of a kind that we do not know");
		if (++count > BTF_TYPES_MAX)
			return errmsg_say(why, -E2BIG, "the object's BTF has more than %d types", BTF_TYPES_MAX);
	}
	struct types_record *types = arena_array(arena, count, sizeof(*types));
	if (types == NULL)
		return errmsg_set(why, -ENOMEM, "types of an object");
	r = reader_of(bytes);
	for (size_t i = 1; i < count; i++) {
		if (!read_record(&r, &types[i]))
			return malformed(why, "a type is cut off");
	}
	out->types = types;
	out->count = count;
	return 0;
}

int types_read(struct arena *arena, struct slice bytes, struct types *out, struct errmsg *why)
{
	struct reader r = reader_of(bytes);
	uint16_t magic = rd_little16(&r);
	uint8_t version = rd_u8(&r);

	rd_u8(&r);
	uint32_t head = rd_little32(&r);
	uint32_t types_at = rd_little32(&r), types_bytes = rd_little32(&r);
	uint32_t strings_at = rd_little32(&r), strings_bytes = rd_little32(&r);
	if (r.bad || magic != BTF_MAGIC || version != BTF_VERSION || head < BTF_HEADER_BYTES || head > bytes.len)
		return malformed(why, "its header is not one");
	struct slice body = slice_from(bytes, head);
	if (types_at > body.len || types_bytes > body.len - types_at || strings_at > body.len ||
	    strings_bytes > body.len - strings_at)
		return malformed(why, "its parts lie outside of the section");
	struct types b = { .strings = slice_sub(body, strings_at, (size_t)strings_at + strings_bytes) };
	if (b.strings.len == 0 || b.strings.ptr[0] != 0 || b.strings.ptr[b.strings.len - 1] != 0)
		return malformed(why, "its strings do not begin and end with NUL");
	int err = read_types(arena, slice_sub(body, types_at, (size_t)types_at + types_bytes), &b, why);
	if (err == 0)
		*out = b;
	return err;
}

const char *types_text(const struct types *b, uint32_t offset)
{
	return offset < b->strings.len ? (const char *)b->strings.ptr + offset : "";
}

const struct types_record *types_get(const struct types *b, uint32_t id)
{
	return id == 0 || id >= b->count ? NULL : &b->types[id];
}

const struct types_record *types_resolve(const struct types *b, uint32_t id, uint32_t *real)
{
	for (int i = 0; i < BTF_CHAIN_MAX; i++) {
		const struct types_record *t = types_get(b, id);
		if (t == NULL)
			return NULL;
		switch (t->kind) {
		case BTF_KIND_TYPEDEF:
		case BTF_KIND_VOLATILE:
		case BTF_KIND_CONST:
		case BTF_KIND_RESTRICT:
		case BTF_KIND_TYPE_TAG:
			id = t->size_or_type;
			break;
		default:
			if (real != NULL)
				*real = id;
			return t;
		}
	}
	return NULL;
}

void types_array(const struct types_record *t, uint32_t *type, uint32_t *count)
{
	*type = little32(t->more);
	*count = little32(t->more + 8);
}

bool types_size(const struct types *b, uint32_t id, uint32_t *bytes)
{
	uint64_t times = 1;

	for (int i = 0; i < BTF_CHAIN_MAX; i++) {
		const struct types_record *t = types_resolve(b, id, NULL);
		uint32_t count;

		if (t == NULL)
			return false;
		switch (t->kind) {
		case BTF_KIND_INT:
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
		case BTF_KIND_ENUM:
		case BTF_KIND_ENUM64:
		case BTF_KIND_FLOAT:
			times *= t->size_or_type;
			break;
		case BTF_KIND_PTR:
			times *= 8;
			break;
		case BTF_KIND_ARRAY:
			types_array(t, &id, &count);
			times *= count;
			if (times > UINT32_MAX)
				return false;
			continue;
		default:
			return false;
		}
		if (times > UINT32_MAX)
			return false;
		*bytes = (uint32_t)times;
		return true;
	}
	return false;
}

struct types_member types_member(const struct types *b, const struct types_record *t, uint32_t i)
{
	const uint8_t *p = t->more + 12 * (size_t)i;
	uint32_t offset = little32(p + 8);

	return (struct types_member){
		.name = types_text(b, little32(p)),
		.type = little32(p + 4),
		.bit_offset = t->kind_flag ? offset & 0xffffff : offset,
		.bits = t->kind_flag ? offset >> 24 : 0,
	};
}

const struct types_record *types_find(const struct types *b, uint32_t kind, const char *name)
{
	for (size_t i = 1; i < b->count; i++) {
		if (b->types[i].kind == kind && strcmp(types_text(b, b->types[i].name), name) == 0)
			return &b->types[i];
	}
	return NULL;
}

void types_datasec_var(const struct types_record *t, uint32_t i, uint32_t *type, uint32_t *offset, uint32_t *size)
{
	const uint8_t *p = t->more + 12 * (size_t)i;

	*type = little32(p);
	*offset = little32(p + 4);
	*size = little32(p + 8);
}

uint32_t types_var_linkage(const struct types_record *t)
{
	return little32(t->more);
}

void types_int(const struct types_record *t, uint32_t *bits, uint32_t *encoding, uint32_t *offset)
{
	uint32_t v = little32(t->more);

	*bits = v & 0xff;
	*encoding = v >> 24 & 0x0f;
	*offset = v >> 16 & 0xff;
}

uint64_t types_enum_value(const struct types_record *t)
{
	if (t->vlen == 0)
		return 0;
	if (t->kind == BTF_KIND_ENUM)
		return little32(t->more + 4);
	return (uint64_t)little32(t->more + 4) | (uint64_t)little32(t->more + 8) << 32;
}
