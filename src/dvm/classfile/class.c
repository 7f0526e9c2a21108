#include "dvm/classfile/class.h"

#include "base/reader.h"
#include "dvm/classfile/classfile_limits.h"

/* Bytes behind the tag (JVMS 4.4); 0: no such tag. A Utf8 has its own length besides. */
static const uint8_t operand_bytes[CONSTANT_PACKAGE + 1] = {
	[CONSTANT_UTF8] = 2,
	[CONSTANT_INTEGER] = 4,
	[CONSTANT_FLOAT] = 4,
	[CONSTANT_LONG] = 8,
	[CONSTANT_DOUBLE] = 8,
	[CONSTANT_CLASS] = 2,
	[CONSTANT_STRING] = 2,
	[CONSTANT_FIELDREF] = 4,
	[CONSTANT_METHODREF] = 4,
	[CONSTANT_INTERFACE_METHODREF] = 4,
	[CONSTANT_NAME_AND_TYPE] = 4,
	[CONSTANT_METHOD_HANDLE] = 3,
	[CONSTANT_METHOD_TYPE] = 2,
	[CONSTANT_DYNAMIC] = 4,
	[CONSTANT_INVOKE_DYNAMIC] = 4,
	[CONSTANT_MODULE] = 2,
	[CONSTANT_PACKAGE] = 2,
};

const char *constant_tag_name(enum constant_tag tag)
{
	static const char *const names[CONSTANT_PACKAGE + 1] = {
		[CONSTANT_NONE] = "nothing",
		[CONSTANT_UTF8] = "Utf8",
		[CONSTANT_INTEGER] = "Integer",
		[CONSTANT_FLOAT] = "Float",
		[CONSTANT_LONG] = "Long",
		[CONSTANT_DOUBLE] = "Double",
		[CONSTANT_CLASS] = "Class",
		[CONSTANT_STRING] = "String",
		[CONSTANT_FIELDREF] = "Fieldref",
		[CONSTANT_METHODREF] = "Methodref",
		[CONSTANT_INTERFACE_METHODREF] = "InterfaceMethodref",
		[CONSTANT_NAME_AND_TYPE] = "NameAndType",
		[CONSTANT_METHOD_HANDLE] = "MethodHandle",
		[CONSTANT_METHOD_TYPE] = "MethodType",
		[CONSTANT_DYNAMIC] = "Dynamic",
		[CONSTANT_INVOKE_DYNAMIC] = "InvokeDynamic",
		[CONSTANT_MODULE] = "Module",
		[CONSTANT_PACKAGE] = "Package",
	};

	return tag <= CONSTANT_PACKAGE && names[tag] != NULL ? names[tag] : "nothing";
}

/* --- the pool --- */

/* Finds where each constant stands. Tags and lengths; what the operands name is looked at when all are known. */
static bool pool_scan(struct arena *arena, struct slice bytes, uint32_t at, struct class_pool *pool, struct class_fault *fault)
{
	const uint8_t *b = bytes.ptr;
	size_t left = bytes.len;
	uint32_t count = class_be16(b + 8);

	if (count == 0)
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.1", 8, "constant_pool_count is 0, expected at least 1");
	uint32_t *offsets = arena_array(arena, count, sizeof(*offsets));
	if (offsets == NULL)
		return class_fault_set(fault, CLASS_FAULT_LIMIT, "4.1", 8, "no memory for %u constants", count);
	for (uint32_t i = 1; i < count; i++) {
		if (left - at < 3)
			return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.4", at, "the file ends within constant %u of %u", i, count - 1);
		uint8_t tag = b[at];
		uint32_t size = tag <= CONSTANT_PACKAGE ? operand_bytes[tag] : 0;
		if (unlikely(size == 0))
			return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.4", at, "constant %u has tag %u, which is none of table 4.4-A", i, tag);
		size += tag == CONSTANT_UTF8 ? 1u + class_be16(b + at + 1) : 1u;
		if (unlikely(left - at < size))
			return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.4", at, "the file ends within constant %u (%s)", i,
					       constant_tag_name((enum constant_tag)tag));
		offsets[i] = at;
		at += size;
		if (tag == CONSTANT_LONG || tag == CONSTANT_DOUBLE) {
			if (++i >= count)
				return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.4.5", offsets[i - 1],
						       "constant %u (%s) takes two indices, but the pool ends at %u", i - 1,
						       constant_tag_name((enum constant_tag)tag), count - 1);
		}
	}
	pool->bytes = bytes;
	pool->at = offsets;
	pool->count = (uint16_t)count;
	pool->end = at;
	return true;
}

static bool wrong_operand(const struct class_pool *pool, uint32_t i, uint32_t operand, const char *want, struct class_fault *fault)
{
	return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.4", pool->at[i], "constant %u (%s) names constant %u, which is %s: expected %s", i,
			       constant_tag_name(pool_tag(pool, i)), operand, constant_tag_name(pool_tag(pool, operand)), want);
}

/* 4.4.8; which of the two a kind may name by version is for the format checks. */
static bool handle_check(const struct class_pool *pool, uint32_t i, struct class_fault *fault)
{
	const uint8_t *b = pool->bytes.ptr + pool->at[i];
	uint32_t operand = class_be16(b + 2);
	enum constant_tag tag = pool_tag(pool, operand);

	if (b[1] >= 1 && b[1] <= 4)
		return tag == CONSTANT_FIELDREF || wrong_operand(pool, i, operand, "Fieldref", fault);
	if (b[1] == 5 || b[1] == 8)
		return tag == CONSTANT_METHODREF || wrong_operand(pool, i, operand, "Methodref", fault);
	if (b[1] == 6 || b[1] == 7)
		return tag == CONSTANT_METHODREF || tag == CONSTANT_INTERFACE_METHODREF ||
			wrong_operand(pool, i, operand, "Methodref or InterfaceMethodref", fault);
	if (b[1] == 9)
		return tag == CONSTANT_INTERFACE_METHODREF || wrong_operand(pool, i, operand, "InterfaceMethodref", fault);
	return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.4.8", pool->at[i] + 1, "constant %u (MethodHandle) has kind %u, expected 1 to 9", i, b[1]);
}

static bool pool_check(const struct class_pool *pool, struct class_fault *fault)
{
	for (uint32_t i = 1; i < pool->count; i++) {
		if (pool->at[i] == 0)
			continue;
		const uint8_t *b = pool->bytes.ptr + pool->at[i];
		uint32_t first, second;

		switch (b[0]) {
		case CONSTANT_CLASS:
		case CONSTANT_STRING:
		case CONSTANT_METHOD_TYPE:
		case CONSTANT_MODULE:
		case CONSTANT_PACKAGE:
			first = class_be16(b + 1);
			if (unlikely(!pool_is(pool, first, CONSTANT_UTF8)))
				return wrong_operand(pool, i, first, "Utf8", fault);
			break;
		case CONSTANT_FIELDREF:
		case CONSTANT_METHODREF:
		case CONSTANT_INTERFACE_METHODREF:
			first = class_be16(b + 1);
			second = class_be16(b + 3);
			if (unlikely(!pool_is(pool, first, CONSTANT_CLASS)))
				return wrong_operand(pool, i, first, "Class", fault);
			if (unlikely(!pool_is(pool, second, CONSTANT_NAME_AND_TYPE)))
				return wrong_operand(pool, i, second, "NameAndType", fault);
			break;
		case CONSTANT_DYNAMIC:
		case CONSTANT_INVOKE_DYNAMIC:
			second = class_be16(b + 3);
			if (unlikely(!pool_is(pool, second, CONSTANT_NAME_AND_TYPE)))
				return wrong_operand(pool, i, second, "NameAndType", fault);
			break;
		case CONSTANT_NAME_AND_TYPE:
			first = class_be16(b + 1);
			second = class_be16(b + 3);
			if (unlikely(!pool_is(pool, first, CONSTANT_UTF8)))
				return wrong_operand(pool, i, first, "Utf8", fault);
			if (unlikely(!pool_is(pool, second, CONSTANT_UTF8)))
				return wrong_operand(pool, i, second, "Utf8", fault);
			break;
		case CONSTANT_METHOD_HANDLE:
			if (unlikely(!handle_check(pool, i, fault)))
				return false;
			break;
		default:
			break;
		}
	}
	return true;
}

uint16_t pool_first(const struct class_pool *pool, uint32_t index)
{
	enum constant_tag tag = pool_tag(pool, index);

	if (tag == CONSTANT_METHOD_HANDLE)
		return pool->bytes.ptr[pool->at[index] + 1];
	return tag >= CONSTANT_CLASS ? class_be16(pool->bytes.ptr + pool->at[index] + 1) : 0;
}

uint16_t pool_second(const struct class_pool *pool, uint32_t index)
{
	switch (pool_tag(pool, index)) {
	case CONSTANT_METHOD_HANDLE:
		return class_be16(pool->bytes.ptr + pool->at[index] + 2);
	case CONSTANT_FIELDREF:
	case CONSTANT_METHODREF:
	case CONSTANT_INTERFACE_METHODREF:
	case CONSTANT_NAME_AND_TYPE:
	case CONSTANT_DYNAMIC:
	case CONSTANT_INVOKE_DYNAMIC:
		return class_be16(pool->bytes.ptr + pool->at[index] + 3);
	default:
		return 0;
	}
}

uint64_t pool_bits(const struct class_pool *pool, uint32_t index)
{
	switch (pool_tag(pool, index)) {
	case CONSTANT_INTEGER:
	case CONSTANT_FLOAT:
		return class_be32(pool->bytes.ptr + pool->at[index] + 1);
	case CONSTANT_LONG:
	case CONSTANT_DOUBLE:
		return (uint64_t)class_be32(pool->bytes.ptr + pool->at[index] + 1) << 32 | class_be32(pool->bytes.ptr + pool->at[index] + 5);
	default:
		return 0;
	}
}

struct slice pool_name(const struct class_pool *pool, uint32_t index)
{
	switch (pool_tag(pool, index)) {
	case CONSTANT_CLASS:
	case CONSTANT_STRING:
	case CONSTANT_METHOD_TYPE:
	case CONSTANT_MODULE:
	case CONSTANT_PACKAGE:
		return pool_utf8(pool, class_be16(pool->bytes.ptr + pool->at[index] + 1));
	default:
		return (struct slice){ 0 };
	}
}

uint32_t pool_size(const struct class_pool *pool, uint32_t index)
{
	enum constant_tag tag = pool_tag(pool, index);

	if (tag == CONSTANT_NONE)
		return 0;
	return 1u + operand_bytes[tag] + (uint32_t)(tag == CONSTANT_UTF8 ? pool_utf8(pool, index).len : 0);
}

bool pool_ref(const struct class_pool *pool, uint32_t index, struct pool_ref *out)
{
	struct pool_ref ref = { .tag = pool_tag(pool, index) };
	uint32_t name_and_type;

	switch (ref.tag) {
	case CONSTANT_FIELDREF:
	case CONSTANT_METHODREF:
	case CONSTANT_INTERFACE_METHODREF:
		ref.owner = pool_name(pool, pool_first(pool, index));
		break;
	case CONSTANT_DYNAMIC:
	case CONSTANT_INVOKE_DYNAMIC:
		ref.bootstrap = pool_first(pool, index);
		break;
	default:
		return false;
	}
	name_and_type = pool_second(pool, index);
	ref.name = pool_utf8(pool, pool_first(pool, name_and_type));
	ref.descriptor = pool_utf8(pool, pool_second(pool, name_and_type));
	*out = ref;
	return true;
}

/* --- skeleton --- */

/* What is read next: a cursor that knows where the file began, for offsets in faults. */
struct skeleton {
	struct arena *arena;
	const struct class_pool *pool;
	struct reader r;
	struct class_fault *fault;
};

static uint32_t here(const struct skeleton *s)
{
	return (uint32_t)(s->r.at - s->pool->bytes.ptr);
}

static bool cut_short(const struct skeleton *s, const char *what)
{
	return class_fault_set(s->fault, CLASS_FAULT_FORMAT, "4.1", (uint32_t)s->pool->bytes.len, "the file ends within %s", what);
}

bool class_attributes_parse(struct arena *arena, const struct class_pool *pool, struct reader *r, struct class_attributes *out,
			    struct class_fault *fault)
{
	uint32_t offset = (uint32_t)(r->at - pool->bytes.ptr);
	uint16_t count = rd_be16(r);
	struct class_attribute *list;

	/* Each takes six bytes at least: a lying count takes no more memory than the file has bytes for. */
	if (r->bad || (size_t)count * 6 > rd_left(r))
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7", offset, "%u attributes do not fit in the %zu bytes that follow", count,
				       rd_left(r));
	list = count == 0 ? NULL : arena_array(arena, count, sizeof(*list));
	if (count > 0 && list == NULL)
		return class_fault_set(fault, CLASS_FAULT_LIMIT, "4.7", offset, "no memory for %u attributes", count);
	for (uint32_t i = 0; i < count; i++) {
		list[i].offset = (uint32_t)(r->at - pool->bytes.ptr);
		list[i].name = rd_be16(r);
		uint32_t length = rd_be32(r);
		list[i].body = rd_bytes(r, length);
		if (unlikely(r->bad))
			return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7", list[i].offset, "attribute %u of %u is cut short", i + 1, count);
		if (unlikely(!pool_is(pool, list[i].name, CONSTANT_UTF8)))
			return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.7", list[i].offset, "attribute_name_index %u is %s: expected Utf8",
					       list[i].name, constant_tag_name(pool_tag(pool, list[i].name)));
	}
	*out = (struct class_attributes){ list, count, offset };
	return true;
}

static bool members_parse(struct skeleton *s, const char *section, const char *what, struct class_members *out)
{
	uint32_t offset = here(s);
	uint16_t count = rd_be16(&s->r);
	struct class_member *list;

	if (s->r.bad || (size_t)count * 8 > rd_left(&s->r))
		return cut_short(s, what);
	list = count == 0 ? NULL : arena_array(s->arena, count, sizeof(*list));
	if (count > 0 && list == NULL)
		return class_fault_set(s->fault, CLASS_FAULT_LIMIT, section, offset, "no memory for %u %s", count, what);
	for (uint32_t i = 0; i < count; i++) {
		struct class_member *m = &list[i];

		m->offset = here(s);
		m->access_flags = rd_be16(&s->r);
		m->name = rd_be16(&s->r);
		m->descriptor = rd_be16(&s->r);
		if (unlikely(s->r.bad))
			return cut_short(s, what);
		if (unlikely(!pool_is(s->pool, m->name, CONSTANT_UTF8)))
			return class_fault_set(s->fault, CLASS_FAULT_FORMAT, section, m->offset + 2, "name_index %u is %s: expected Utf8", m->name,
					       constant_tag_name(pool_tag(s->pool, m->name)));
		if (unlikely(!pool_is(s->pool, m->descriptor, CONSTANT_UTF8)))
			return class_fault_set(s->fault, CLASS_FAULT_FORMAT, section, m->offset + 4, "descriptor_index %u is %s: expected Utf8",
					       m->descriptor, constant_tag_name(pool_tag(s->pool, m->descriptor)));
		if (unlikely(!class_attributes_parse(s->arena, s->pool, &s->r, &m->attributes, s->fault)))
			return false;
	}
	*out = (struct class_members){ list, count, offset };
	return true;
}

static bool header_parse(struct slice bytes, struct class_file *c, struct class_fault *fault)
{
	if (bytes.len > CLASS_BYTES_MAX)
		return class_fault_set(fault, CLASS_FAULT_LIMIT, "4.1", 0, "the file has %zu bytes, at most %d are read", bytes.len, CLASS_BYTES_MAX);
	if (bytes.len < 4 || class_be32(bytes.ptr) != CLASS_MAGIC)
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.1", 0, "no class file: it does not begin with 0xCAFEBABE");
	if (bytes.len < 10)
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.1", (uint32_t)bytes.len, "the file ends within its first ten bytes");
	c->bytes = bytes;
	c->minor = class_be16(bytes.ptr + 4);
	c->major = class_be16(bytes.ptr + 6);
	/* 4.1: from 56 on the minor version is 0, or 65535 for preview features, which only a JVM of that very version takes. */
	if (c->major < CLASS_MAJOR_MIN || c->major > CLASS_MAJOR_MAX || (c->major >= 56 && c->minor != 0 && c->minor != CLASS_MINOR_PREVIEW))
		return class_fault_set(fault, CLASS_FAULT_VERSION, "4.1", 4, "version %u.%u, expected 45.0 to %u.0", c->major, c->minor, CLASS_MAJOR_MAX);
	return true;
}

static bool this_and_super(struct skeleton *s, struct class_file *c)
{
	uint32_t offset = here(s);

	c->access_flags = rd_be16(&s->r);
	c->this_class = rd_be16(&s->r);
	c->super_class = rd_be16(&s->r);
	uint16_t count = rd_be16(&s->r);
	c->interfaces = rd_bytes(&s->r, 2u * count);
	if (s->r.bad)
		return cut_short(s, "the class's own names");
	if (!pool_is(s->pool, c->this_class, CONSTANT_CLASS))
		return class_fault_set(s->fault, CLASS_FAULT_FORMAT, "4.1", offset + 2, "this_class %u is %s: expected Class", c->this_class,
				       constant_tag_name(pool_tag(s->pool, c->this_class)));
	if (c->super_class != 0 && !pool_is(s->pool, c->super_class, CONSTANT_CLASS))
		return class_fault_set(s->fault, CLASS_FAULT_FORMAT, "4.1", offset + 4, "super_class %u is %s: expected Class or 0", c->super_class,
				       constant_tag_name(pool_tag(s->pool, c->super_class)));
	for (uint32_t i = 0; i < count; i++) {
		uint16_t index = class_be16(c->interfaces.ptr + 2u * i);

		if (!pool_is(s->pool, index, CONSTANT_CLASS))
			return class_fault_set(s->fault, CLASS_FAULT_FORMAT, "4.1", offset + 8 + 2 * i, "interface %u is %s: expected Class", index,
					       constant_tag_name(pool_tag(s->pool, index)));
	}
	return true;
}

bool class_parse(struct arena *arena, struct slice bytes, struct class_file *out, struct class_fault *fault)
{
	*out = (struct class_file){ 0 };
	if (!header_parse(bytes, out, fault) || !pool_scan(arena, bytes, 10, &out->pool, fault) || !pool_check(&out->pool, fault))
		return false;
	struct skeleton s = { arena, &out->pool, reader_of(slice_from(bytes, out->pool.end)), fault };
	if (!this_and_super(&s, out) || !members_parse(&s, "4.5", "fields", &out->fields) ||
	    !members_parse(&s, "4.6", "methods", &out->methods) || !class_attributes_parse(arena, &out->pool, &s.r, &out->attributes, fault))
		return false;
	if (rd_left(&s.r) > 0)
		return class_fault_set(fault, CLASS_FAULT_FORMAT, "4.8", here(&s), "%zu bytes follow the class", rd_left(&s.r));
	return true;
}

/* --- names --- */

struct slice class_interface(const struct class_file *c, uint32_t i)
{
	if (i >= class_interfaces(c))
		return (struct slice){ 0 };
	return pool_name(&c->pool, class_be16(c->interfaces.ptr + 2u * i));
}

static const struct class_member *find(const struct class_file *c, const struct class_members *list, struct slice name, struct slice descriptor)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (slice_eq(member_name(c, &list->at[i]), name) && slice_eq(member_descriptor(c, &list->at[i]), descriptor))
			return &list->at[i];
	return NULL;
}

const struct class_member *class_method(const struct class_file *c, struct slice name, struct slice descriptor)
{
	return find(c, &c->methods, name, descriptor);
}

const struct class_member *class_field(const struct class_file *c, struct slice name, struct slice descriptor)
{
	return find(c, &c->fields, name, descriptor);
}

const struct class_attribute *class_attribute(const struct class_file *c, const struct class_attributes *list, struct slice name)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (slice_eq(pool_utf8(&c->pool, list->at[i].name), name))
			return &list->at[i];
	return NULL;
}
