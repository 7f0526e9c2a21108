#include "dvm/image/guard.h"

#include <errno.h>
#include <string.h>

#include "base/must.h"
#include "base/reader.h"
#include "dvm/classfile/edit.h"

extern const uint8_t guard_classes_begin[], guard_classes_end[], selftest_classes_begin[], selftest_classes_end[];

static bool class_next(struct slice all, size_t *at, struct guard_class *out)
{
	struct reader r = reader_of(slice_from(all, *at));

	if (rd_left(&r) == 0)
		return false;
	out->name = rd_bytes(&r, rd_be16(&r));
	out->bytes = rd_bytes(&r, rd_be32(&r));
	must(!r.bad);
	*at = all.len - rd_left(&r);
	return true;
}

bool guard_class_next(size_t *at, struct guard_class *out)
{
	return class_next(slice_of(guard_classes_begin, (size_t)(guard_classes_end - guard_classes_begin)), at, out);
}

bool selftest_class_next(size_t *at, struct guard_class *out)
{
	return class_next(slice_of(selftest_classes_begin, (size_t)(selftest_classes_end - selftest_classes_begin)), at, out);
}

#define ENTRY	   SINK_ENTRY, NULL
#define RETURN	   SINK_RETURN, NULL
#define CALL(name) SINK_CALL, name
const struct sink sink_table[] = {
#define SINK(module, class, method, descriptor, since, until, where, recipe, guard, guard_descriptor)                                                  \
	{ module, class, method, descriptor, since, until, where, recipe, guard, guard_descriptor },
#include "dvm/image/sinks.def"
#undef SINK
};
#undef ENTRY
#undef RETURN
#undef CALL
const size_t sink_count = ARRAY_LEN(sink_table);

/* Fields that the guard keeps in the JDK's own objects. */
static const struct {
	const char *class, *name, *descriptor;
} fields[] = {
	{ "java/lang/Class", "prickleSource", "I" },
	{ "java/lang/Thread", "prickleSource", "I" },
	{ "java/lang/Thread", "prickleInside", "I" },
	{ "java/lang/Thread", "prickleEntered", "J" },
	{ "java/lang/ClassLoader", "prickleSource", "I" },
};

#define GUARD "jdk/internal/misc/Guard"

/* recipe: see sinks.def. */
static void assemble(struct assembler *a, const struct sink *s)
{
	for (const char *at = s->recipe; *at != '\0';) {
		uint64_t number = 0;
		char what = *at++;
		const char *digits = at;

		while (ascii_digit((uint8_t)*at))
			at++;
		if (at != digits)
			must(slice_u64(slice_of(digits, (size_t)(at - digits)), 255, &number));
		switch (what) {
		case 'C':
			asm_invoke(a, OP_invokestatic, SLICE("jdk/internal/reflect/Reflection"), SLICE("getCallerClass"), SLICE("()Ljava/lang/Class;"));
			break;
		case 'k':
			asm_int(a, (int32_t)number);
			break;
		case 'a':
			asm_local(a, OP_aload, (uint16_t)number);
			break;
		case 'i':
			asm_local(a, OP_iload, (uint16_t)number);
			break;
		case 'D':
			asm_op(a, OP_dup);
			break;
		case 'X':
			asm_op(a, OP_swap);
			break;
		case ' ':
			break;
		default:
			must(!"a recipe of sinks.def");
		}
	}
	/* java.instrument sees what java.base exports to all, no more. */
	asm_invoke(a, OP_invokestatic, strcmp(s->module, "java.instrument") == 0 ? SLICE("java/lang/Prickle") : SLICE(GUARD), slice_str(s->guard), slice_str(s->guard_descriptor));
}

static bool is_return(uint8_t op)
{
	return op >= OP_ireturn && op <= OP_return;
}

static bool is_invoke_of(const struct class_file *c, const struct insn *in, const char *name)
{
	struct pool_ref ref;

	return in->op >= OP_invokevirtual && in->op <= OP_invokeinterface && pool_ref(&c->pool, in->index, &ref) && slice_eq(ref.name, slice_str(name));
}

static int unknown(const struct sink *s, const char *what, struct errmsg *why)
{
	return errmsg_say(why, -ENOENT, "this JDK is not known: %s has no %s%s%s; a newer prickle may know it", s->class, s->method, s->descriptor, what);
}

static int insert(struct arena *arena, const struct class_file *c, struct class_edit *e, const struct sink *s, struct errmsg *why)
{
	const struct class_member *m = class_method(c, slice_str(s->method), slice_str(s->descriptor));
	const struct class_attribute *attribute = m == NULL ? NULL : method_code(c, m);
	struct class_fault fault;
	struct buf bytes = BUF_INIT(256);
	struct assembler a = { .edit = e, .out = &bytes };
	struct edit_piece piece;
	unsigned places = 0;
	struct code code;
	struct insn in;

	if (m == NULL)
		return unknown(s, "", why);
	if (attribute == NULL)
		return unknown(s, " with code", why);
	if (!code_parse(arena, c, attribute, &code, &fault))
		return errmsg_say(why, -EBADMSG, "%s.%s: %s", s->class, s->method, fault.text);
	assemble(&a, s);
	piece = (struct edit_piece){ .bytes = arena_dup(arena, buf_slice(&bytes)), .stack = (uint16_t)a.deepest };
	buf_done(&bytes);
	if (s->where == SINK_ENTRY) {
		edit_insert(e, m, 0, EDIT_BEFORE_FALL, piece);
		places++;
	}
	for (uint32_t pc = 0; s->where != SINK_ENTRY && code_next(&code, pc, &in); pc = in.next) {
		if (s->where == SINK_RETURN && is_return(in.op)) {
			edit_insert(e, m, pc, EDIT_BEFORE, piece);
			places++;
		} else if (s->where == SINK_CALL && is_invoke_of(c, &in, s->call)) {
			edit_insert(e, m, pc, EDIT_AFTER, piece);
			places++;
		}
	}
	if (places == 0)
		return unknown(s, s->where == SINK_CALL ? " that calls what it should" : " that returns", why);
	if (strchr(s->recipe, 'C') != NULL)
		edit_annotate(e, m, SLICE("Ljdk/internal/reflect/CallerSensitive;"));
	return 0;
}

int guard_insert(struct arena *arena, const struct class_file *c, const char *module, uint16_t feature, struct buf *out, bool *changed, struct errmsg *why)
{
	struct slice name = class_name(c);
	struct class_edit *e = edit_new(arena, c);
	int err = 0;

	*changed = false;
	if (e == NULL)
		return errmsg_set(why, -ENOMEM, "put the guard into a class");
	edit_flags(e, EDIT_REFUSE_UNKNOWN);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (slice_eq(name, slice_str(fields[i].class))) {
			edit_add_field(e, ACC_PRIVATE | ACC_TRANSIENT | ACC_SYNTHETIC, slice_str(fields[i].name), slice_str(fields[i].descriptor), SLICE(""), 0);
			*changed = true;
		}
	for (size_t i = 0; err == 0 && i < sink_count; i++)
		if (sink_fits(&sink_table[i], feature) && slice_eq(name, slice_str(sink_table[i].class)) && strcmp(module, sink_table[i].module) == 0) {
			err = insert(arena, c, e, &sink_table[i], why);
			*changed = true;
		}
	return err != 0 || !*changed ? err : edit_write(e, out, NULL, why);
}

size_t guard_targets(uint16_t feature, const char **modules, const char **classes, size_t max)
{
	size_t count = 0;

	for (size_t i = 0; i < sink_count + ARRAY_LEN(fields); i++) {
		const char *class = i < sink_count ? sink_table[i].class : fields[i - sink_count].class;
		bool there = i < sink_count && !sink_fits(&sink_table[i], feature);

		for (size_t k = 0; k < count && !there; k++)
			there = strcmp(classes[k], class) == 0;
		if (there)
			continue;
		must(count < max);
		classes[count] = class;
		modules[count++] = i < sink_count ? sink_table[i].module : "java.base";
	}
	return count;
}
