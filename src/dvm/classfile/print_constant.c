#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "dvm/classfile/print_internal.h"

static const char *const handle_kinds[] = { "none",		"getField",	    "getStatic",    "putField",		"putStatic",
					    "invokeVirtual",	"invokeStatic",	    "invokeSpecial", "newInvokeSpecial", "invokeInterface" };

/* As few digits as bring the same number back, written as Java writes what is none. */
static void double_text(char *out, size_t size, double value, bool is_float)
{
	if (isnan(value) || isinf(value)) {
		(void)snprintf(out, size, "%s", isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity");
		return;
	}
	for (int digits = 1; digits <= 17; digits++) {
		(void)snprintf(out, size, "%.*g", digits, value);
		double back = strtod(out, NULL);
		if (is_float ? (float)back == (float)value : back == value)
			break;
	}
}

static void number_text(char *out, size_t size, enum constant_tag tag, uint64_t bits)
{
	union {
		uint64_t u64;
		double f64;
	} d = { .u64 = bits };
	union {
		uint32_t u32;
		float f32;
	} f = { .u32 = (uint32_t)bits };

	switch (tag) {
	case CONSTANT_INTEGER:
		(void)snprintf(out, size, "%d", (int32_t)bits);
		break;
	case CONSTANT_LONG:
		(void)snprintf(out, size, "%lld", (long long)bits);
		break;
	case CONSTANT_FLOAT:
		double_text(out, size, (double)f.f32, true);
		break;
	default:
		double_text(out, size, d.f64, false);
		break;
	}
}

void show_constant_text(struct show *s, struct buf *out, uint32_t index)
{
	const struct class_pool *pool = &s->c->pool;
	enum constant_tag tag = pool_tag(pool, index);
	struct pool_ref ref;
	char number[48];

	switch (tag) {
	case CONSTANT_UTF8:
		class_print_escaped(out, pool_utf8(pool, index));
		break;
	case CONSTANT_INTEGER:
	case CONSTANT_LONG:
	case CONSTANT_FLOAT:
	case CONSTANT_DOUBLE:
		number_text(number, sizeof(number), tag, pool_bits(pool, index));
		buf_adds(out, number);
		break;
	case CONSTANT_CLASS:
	case CONSTANT_STRING:
	case CONSTANT_METHOD_TYPE:
	case CONSTANT_MODULE:
	case CONSTANT_PACKAGE:
		class_print_escaped(out, pool_name(pool, index));
		break;
	case CONSTANT_NAME_AND_TYPE:
		class_print_escaped(out, pool_utf8(pool, pool_first(pool, index)));
		buf_addc(out, ':');
		class_print_escaped(out, pool_utf8(pool, pool_second(pool, index)));
		break;
	case CONSTANT_METHOD_HANDLE:
		buf_printf(out, "%s ", handle_kinds[pool_first(pool, index)]);
		index = pool_second(pool, index);
		FALLTHROUGH;
	default:
		if (!pool_ref(pool, index, &ref))
			break;
		if (ref.owner.len > 0) {
			class_print_escaped(out, ref.owner);
			buf_addc(out, '.');
		} else {
			buf_printf(out, "#%u:", ref.bootstrap);
		}
		class_print_escaped(out, ref.name);
		buf_addc(out, ':');
		class_print_escaped(out, ref.descriptor);
		break;
	}
}

void show_constant(struct show *s, const char *key, uint32_t index)
{
	if (index == 0)
		return;
	/* Escaped already: its text goes as it is. */
	show_word(s, key, "");
	if (show_json(s))
		buf_truncate(s->out, s->out->len - (s->out->err == 0 ? 1 : 0));
	show_constant_text(s, s->out, index);
	if (show_json(s))
		buf_addc(s->out, '"');
}

static void text_row(struct show *s, uint32_t i, enum constant_tag tag)
{
	const struct class_pool *pool = &s->c->pool;

	buf_addc(s->out, '\n');
	buf_fill(s->out, ' ', 2u * s->block);
	buf_printf(s->out, "#%-5u %-18s ", i, constant_tag_name(tag));
	if (tag == CONSTANT_METHOD_HANDLE)
		buf_printf(s->out, "%u:#%u  // ", pool_first(pool, i), pool_second(pool, i));
	else if (tag == CONSTANT_DYNAMIC || tag == CONSTANT_INVOKE_DYNAMIC || tag == CONSTANT_NAME_AND_TYPE)
		buf_printf(s->out, "%s%u:#%u  // ", tag == CONSTANT_NAME_AND_TYPE ? "#" : "", pool_first(pool, i), pool_second(pool, i));
	else if (tag >= CONSTANT_FIELDREF && tag <= CONSTANT_INTERFACE_METHODREF)
		buf_printf(s->out, "#%u.#%u  // ", pool_first(pool, i), pool_second(pool, i));
	else if (tag >= CONSTANT_CLASS)
		buf_printf(s->out, "#%u  // ", pool_first(pool, i));
	show_constant_text(s, s->out, i);
}

void show_pool(struct show *s)
{
	const struct class_pool *pool = &s->c->pool;

	show_list(s, "constants");
	for (uint32_t i = 1; i < pool->count; i++) {
		enum constant_tag tag = pool_tag(pool, i);

		if (tag == CONSTANT_NONE)
			continue;
		if (!show_json(s)) {
			text_row(s, i, tag);
			continue;
		}
		show_object(s, NULL);
		show_number(s, "index", i);
		show_word(s, "tag", constant_tag_name(tag));
		if (tag >= CONSTANT_CLASS) {
			show_list(s, "operands");
			show_number(s, NULL, pool_first(pool, i));
			if (tag >= CONSTANT_FIELDREF && tag != CONSTANT_METHOD_TYPE && tag < CONSTANT_MODULE)
				show_number(s, NULL, pool_second(pool, i));
			show_end(s);
		}
		show_constant(s, "value", i);
		show_end(s);
	}
	show_end(s);
}
