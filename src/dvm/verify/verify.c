#include "dvm/verify/internal.h"

#include <stdarg.h>
#include <stdio.h>

bool verify_no_memory(struct verifier *v)
{
	if (v->fault->kind == CLASS_FAULT_NONE)
		(void)class_fault_set(v->fault, CLASS_FAULT_LIMIT, "-", 0, "the verifier's memory is used up");
	return false;
}

void *verify_alloc(struct verifier *v, size_t count, size_t size)
{
	void *p = arena_array(v->arena, count, size);

	if (p == NULL)
		(void)verify_no_memory(v);
	return p;
}

bool verify_room(struct verifier *v, void **p, uint32_t *room, uint32_t need, size_t size)
{
	uint32_t more = *room == 0 ? 16 : *room;
	void *q;

	if (likely(need <= *room))
		return true;
	while (more < need)
		more *= 2;
	q = verify_alloc(v, more, size);
	if (q == NULL)
		return false;
	if (*room > 0)
		memcpy(q, *p, (size_t)*room * size);
	*p = q;
	*room = more;
	return true;
}

static bool refuse_va(struct verifier *v, enum class_fault_kind kind, const char *section, const char *fmt, va_list ap) __attribute__((format(printf, 4, 0)));
static bool refuse_va(struct verifier *v, enum class_fault_kind kind, const char *section, const char *fmt, va_list ap)
{
	char text[sizeof(v->fault->text)];

	if (v->fault->kind != CLASS_FAULT_NONE)
		return false;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	(void)class_fault_set(v->fault, kind, section, v->code == NULL ? 0 : v->code->offset + v->pc, "%s", text);
	v->fault->method = v->method;
	v->fault->pc = v->code == NULL ? -1 : (int32_t)v->pc;
	return false;
}

bool refuse(struct verifier *v, const char *section, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)refuse_va(v, CLASS_FAULT_VERIFY, section, fmt, ap);
	va_end(ap);
	return false;
}

bool refuse_format(struct verifier *v, const char *section, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)refuse_va(v, CLASS_FAULT_FORMAT, section, fmt, ap);
	va_end(ap);
	return false;
}

bool refuse_limit(struct verifier *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)refuse_va(v, CLASS_FAULT_LIMIT, "-", fmt, ap);
	va_end(ap);
	return false;
}

/* HotSpot checks all but the four classes that exist before its verifier does, when it is asked to check its own. */
static bool is_primordial(struct slice name)
{
	return slice_eq(name, SLICE("java/lang/Object")) || slice_eq(name, SLICE("java/lang/Class")) || slice_eq(name, SLICE("java/lang/String")) ||
	       slice_eq(name, SLICE("java/lang/Throwable"));
}

static bool verify_methods(struct verifier *v, bool (*rule)(struct verifier *))
{
	for (uint32_t i = 0; i < v->c->methods.count; i++) {
		v->code = v->codes[i];
		v->method = (int32_t)i;
		if (v->code == NULL)
			continue;
		v->pc = 0;
		if (!rule(v))
			return false;
	}
	return true;
}

/* 4.10: types with frames, or inference; version 50 may be either. */
static bool verify_code(struct verifier *v)
{
	if (v->c->major >= 50) {
		if (verify_methods(v, check_method))
			return true;
		if (v->c->major > 50 || v->final || (v->fault->kind != CLASS_FAULT_VERIFY && v->fault->kind != CLASS_FAULT_FORMAT))
			return false;
		*v->fault = (struct class_fault){ .method = -1, .pc = -1 };
	}
	v->result->old = true;
	return verify_methods(v, infer_method);
}

static bool verify_start(struct verifier *v)
{
	v->codes = verify_alloc(v, (size_t)v->c->methods.count + 1, sizeof(*v->codes));
	return v->codes != NULL && names_init(v) && format_check(v);
}

static bool verify_all(struct verifier *v)
{
	if (!verify_start(v))
		return false;
	v->method = -1;
	v->code = NULL;
	if ((v->c->access_flags & ACC_MODULE) != 0 && v->c->major >= 53)
		return true;		/* it names no class: nothing to link */
	return links_check(v) && (is_primordial(class_name(v->c)) || verify_code(v));
}

bool verify_class(struct arena *arena, const struct class_file *c, const struct class_source *source, uint32_t flags, struct verify_result *result)
{
	struct verifier v = { .arena = arena, .c = c, .source = source, .flags = flags, .fault = &result->fault, .result = result, .method = -1 };

	*result = (struct verify_result){ .fault = { .method = -1, .pc = -1 } };
	result->ok = verify_all(&v);
	/* A rule that ran out of memory deep inside may have looked like a "no". */
	if (result->ok && result->fault.kind != CLASS_FAULT_NONE)
		result->ok = false;
	if (!result->ok && result->fault.method < 0)
		result->fault.method = v.method;
	result->constraints = v.constraints;
	result->constraint_count = v.constraint_count;
	return result->ok;
}

bool verify_format(struct arena *arena, const struct class_file *c, uint32_t flags, struct class_fault *fault)
{
	struct verify_result result = { .fault = { .method = -1, .pc = -1 } };
	struct verifier v = { .arena = arena, .c = c, .flags = flags, .fault = &result.fault, .result = &result, .method = -1 };
	bool ok = verify_start(&v) && result.fault.kind == CLASS_FAULT_NONE;

	if (!ok && result.fault.method < 0)
		result.fault.method = v.method;
	if (!ok && fault != NULL)
		*fault = result.fault;
	return ok;
}

/* ---- the certificate ---- */

#define VERIFY_RULES_VERSION 1		/* of what is checked: a certificate of another version is no proof for this one */

static void json_text(struct buf *out, const char *key, struct slice text)
{
	buf_printf(out, "\"%s\":\"", key);
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (c >= ' ' && c < 0x7f)
			buf_addc(out, c);
		else
			buf_printf(out, "\\u%04x", c);	/* a byte of modified UTF-8, not a code point: names come back byte by byte */
	}
	buf_addc(out, '"');
}

void verify_certificate(struct buf *out, const struct class_file *c, struct slice sha256_hex, const struct verify_result *result)
{
	static const char *const kinds[] = {
		[CONSTRAINT_ASSIGNABLE] = "assignable",		    [CONSTRAINT_NOT_FINAL] = "not-final",
		[CONSTRAINT_NOT_OVERRIDDEN_FINAL] = "no-final-overridden", [CONSTRAINT_PROTECTED] = "protected",
		[CONSTRAINT_CLASS] = "class",
	};

	buf_addc(out, '{');
	json_text(out, "class", class_name(c));
	buf_addc(out, ',');
	json_text(out, "sha256", sha256_hex);
	buf_printf(out, ",\"rules\":%d,\"version\":\"%u.%u\",\"verdict\":\"%s\"", VERIFY_RULES_VERSION, c->major, c->minor, result->ok ? "accepted" : "refused");
	if (!result->ok) {
		buf_printf(out, ",\"section\":\"%s\",", result->fault.section);
		json_text(out, "reason", slice_str(result->fault.text));
	}
	buf_printf(out, ",\"certificate\":\"%s\",\"constraints\":[", result->open_count > 0 ? "open" : "closed");
	for (uint32_t i = 0; i < result->constraint_count; i++) {
		const struct constraint *q = &result->constraints[i];

		buf_printf(out, "%s{\"kind\":\"%s\",\"answer\":%s,\"checked\":%s,", i == 0 ? "" : ",", kinds[q->kind], q->answer ? "true" : "false",
			   q->checked ? "true" : "false");
		json_text(out, "name", q->name);
		if (q->to.len > 0) {
			buf_addc(out, ',');
			json_text(out, "to", q->to);
		}
		if (q->member.len > 0) {
			buf_addc(out, ',');
			json_text(out, "member", q->member);
			buf_addc(out, ',');
			json_text(out, "descriptor", q->descriptor);
		}
		buf_addc(out, '}');
	}
	buf_adds(out, "]}");
}
