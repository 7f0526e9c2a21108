#include "dvm/verify/verify.h"

#include <ctype.h>

#include "base/test.h"

/* ---- classes made of text: hexadecimal bytes, and @name for the two bytes of a constant's index ---- */

struct maker {
	struct buf pool;
	uint16_t next;
	struct {
		const char *name;
		uint16_t index;
	} known[32];
	unsigned known_count;
};

static void name_it(struct maker *m, const char *name, uint16_t index)
{
	ck_assert_uint_lt(m->known_count, 32);
	m->known[m->known_count].name = name;
	m->known[m->known_count++].index = index;
}

static uint16_t utf8(struct maker *m, const char *text)
{
	buf_addc(&m->pool, CONSTANT_UTF8);
	buf_be16(&m->pool, (uint16_t)strlen(text));
	buf_adds(&m->pool, text);
	return m->next++;
}

static uint16_t one(struct maker *m, enum constant_tag tag, uint16_t operand)
{
	buf_addc(&m->pool, (uint8_t)tag);
	buf_be16(&m->pool, operand);
	return m->next++;
}

static uint16_t class_of(struct maker *m, const char *name)
{
	return one(m, CONSTANT_CLASS, utf8(m, name));
}

static uint16_t ref(struct maker *m, enum constant_tag tag, uint16_t owner, const char *name, const char *descriptor)
{
	uint16_t a = utf8(m, name), b = utf8(m, descriptor);

	(void)one(m, CONSTANT_NAME_AND_TYPE, a);
	buf_be16(&m->pool, b);
	(void)one(m, tag, owner);
	buf_be16(&m->pool, (uint16_t)(m->next - 2));
	return (uint16_t)(m->next - 1);
}

static void assemble(const struct maker *m, const char *text, struct buf *out)
{
	for (const char *p = text; *p != '\0';) {
		if (*p == ' ') {
			p++;
		} else if (*p == '@') {
			size_t n = strcspn(++p, " ");
			bool found = false;

			for (unsigned i = 0; i < m->known_count; i++)
				if (strlen(m->known[i].name) == n && strncmp(m->known[i].name, p, n) == 0) {
					buf_be16(out, m->known[i].index);
					found = true;
				}
			ck_assert_msg(found, "no constant %.*s", (int)n, p);
			p += n;
		} else {
			char two[3] = { p[0], p[1], '\0' };

			ck_assert(isxdigit((unsigned char)p[0]) && isxdigit((unsigned char)p[1]));
			buf_addc(out, (uint8_t)strtoul(two, NULL, 16));
			p += 2;
		}
	}
}

struct method {
	uint16_t flags;
	const char *name, *descriptor;
	uint16_t stack, locals;
	const char *code, *frames, *handlers;	/* frames: count and entries, NULL none; handlers: rows, NULL none */
};

static void method_bytes(struct maker *m, const struct method *method, struct buf *out)
{
	struct buf code = BUF_INIT(65536), frames = BUF_INIT(65536), rows = BUF_INIT(65536);
	uint16_t code_name = utf8(m, "Code"), frames_name = utf8(m, "StackMapTable"), name = utf8(m, method->name), descriptor = utf8(m, method->descriptor);

	assemble(m, method->code, &code);
	assemble(m, method->frames == NULL ? "" : method->frames, &frames);
	assemble(m, method->handlers == NULL ? "" : method->handlers, &rows);
	buf_be16(out, method->flags);
	buf_be16(out, name);
	buf_be16(out, descriptor);
	buf_be16(out, 1);
	buf_be16(out, code_name);
	buf_be32(out, (uint32_t)(12 + code.len + rows.len + (method->frames == NULL ? 0 : 6 + frames.len)));
	buf_be16(out, method->stack);
	buf_be16(out, method->locals);
	buf_be32(out, (uint32_t)code.len);
	buf_add(out, buf_slice(&code));
	buf_be16(out, (uint16_t)(rows.len / 8));
	buf_add(out, buf_slice(&rows));
	buf_be16(out, method->frames != NULL);
	if (method->frames != NULL) {
		buf_be16(out, frames_name);
		buf_be32(out, (uint32_t)frames.len);
		buf_add(out, buf_slice(&frames));
	}
	buf_done(&code);
	buf_done(&frames);
	buf_done(&rows);
}

/* Class T extends Object, with a field int f and one method. */
static void class_bytes(uint16_t major, uint16_t access, const struct method *method, struct buf *out)
{
	struct maker m = { .pool = BUF_INIT(65536), .next = 1 };
	struct buf method_part = BUF_INIT(65536);
	uint16_t t = class_of(&m, "T"), object = class_of(&m, "java/lang/Object"), string = class_of(&m, "java/lang/String");
	uint16_t field_name = utf8(&m, "f"), field_type = utf8(&m, "I");

	name_it(&m, "T", t);
	name_it(&m, "Object", object);
	name_it(&m, "String", string);
	name_it(&m, "Unknown", class_of(&m, "p/Unknown"));
	name_it(&m, "Throwable", class_of(&m, "java/lang/Throwable"));
	name_it(&m, "ints", class_of(&m, "[I"));
	name_it(&m, "Object.init", ref(&m, CONSTANT_METHODREF, object, "<init>", "()V"));
	name_it(&m, "T.f", ref(&m, CONSTANT_FIELDREF, t, "f", "I"));
	name_it(&m, "String.length", ref(&m, CONSTANT_METHODREF, string, "length", "()I"));
	name_it(&m, "Object.clone", ref(&m, CONSTANT_METHODREF, object, "clone", "()Ljava/lang/Object;"));
	(void)one(&m, CONSTANT_INTEGER, 0);
	buf_be16(&m.pool, 7);
	name_it(&m, "seven", (uint16_t)(m.next - 1));
	if (method != NULL)
		method_bytes(&m, method, &method_part);
	buf_be32(out, CLASS_MAGIC);
	buf_be16(out, 0);
	buf_be16(out, major);
	buf_be16(out, m.next);
	buf_add(out, buf_slice(&m.pool));
	buf_be16(out, access);
	buf_be16(out, t);
	buf_be16(out, object);
	buf_be16(out, 0);
	buf_be16(out, 1);
	buf_be16(out, 0);
	buf_be16(out, field_name);
	buf_be16(out, field_type);
	buf_be16(out, 0);
	buf_be16(out, method != NULL);
	buf_add(out, buf_slice(&method_part));
	buf_be16(out, 0);
	buf_done(&m.pool);
	buf_done(&method_part);
}

/* Verdict on such a class: NULL accepted, or the section. */
static const char *judge(uint16_t major, uint16_t access, const struct method *method, struct verify_result *result, struct arena *arena)
{
	struct buf bytes = BUF_INIT(1 << 20);
	struct class_file *c = ARENA_NEW(arena, struct class_file);
	struct class_fault fault;
	struct slice kept;

	class_bytes(major, access, method, &bytes);
	kept = arena_dup(arena, buf_slice(&bytes));
	buf_done(&bytes);
	ck_assert_msg(class_parse(arena, kept, c, &fault), "%s", fault.text);
	return verify_class(arena, c, NULL, 0, result) ? NULL : result->fault.section;
}

#define STATIC (ACC_PUBLIC | ACC_STATIC)

static const struct {
	const char *title;
	uint16_t major;
	struct method m;
	const char *want;
} cases[] = {
	{ "an int is returned", 52, { STATIC, "m", "()I", 1, 0, "04 ac", NULL, NULL }, NULL },
	{ "nothing is on the stack to return", 52, { STATIC, "m", "()I", 1, 0, "ac", NULL, NULL }, "4.10.1.9.ireturn" },
	{ "a float is no int", 52, { STATIC, "m", "()I", 1, 0, "0b ac", NULL, NULL }, "4.10.1.9.ireturn" },
	{ "the stack has room for one", 52, { STATIC, "m", "()V", 1, 0, "04 04 57 57 b1", NULL, NULL }, "4.10.1.9.iconst_1" },
	{ "a long takes two words", 52, { STATIC, "m", "()J", 2, 0, "0a ad", NULL, NULL }, NULL },
	{ "half a long is not dropped", 52, { STATIC, "m", "()V", 2, 0, "0a 57 b1", NULL, NULL }, "4.10.1.9.pop" },
	{ "a local beyond the last", 52, { STATIC, "m", "()V", 1, 1, "04 3c b1", NULL, NULL }, "4.10.1.9.istore_1" },
	{ "an int overwrites half of a long, whose other half is gone", 52, { STATIC, "m", "()J", 2, 2, "0a 3f 04 3c 1e ad", NULL, NULL }, "4.10.1.9.lload_0" },
	{ "control falls off the end", 52, { STATIC, "m", "()V", 1, 0, "00", NULL, NULL }, "4.10.1.6" },
	{ "no opcode", 52, { STATIC, "m", "()V", 1, 0, "fe b1", NULL, NULL }, "4.9.1" },
	{ "a branch to a frame that fits", 52, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 00 b1", "00 01 05", NULL }, NULL },
	{ "a branch to where no frame is", 52, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 00 b1", NULL, NULL }, "4.10.1.9.ifeq" },
	{ "code behind a goto has a frame", 52, { STATIC, "m", "()V", 1, 0, "a7 00 04 00 b1", "00 01 04", NULL }, "4.10.1.6" },
	{ "a frame asks for another local", 52, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 00 b1", "00 01 ff 00 05 00 01 02 00 00", NULL }, "4.10.1.9.ifeq" },
	{ "a frame stands between instructions", 52, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 00 b1", "00 01 02", NULL }, "4.7.4" },
	{ "a frame with a tag that is none", 52, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 00 b1", "00 01 45 09", NULL }, "4.7.4" },
	{ "the table says two frames and has one", 52, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 00 b1", "00 02 05", NULL }, "4.7.4" },
	{ "a new object is initialized before it is given away", 52, { STATIC, "m", "()Ljava/lang/Object;", 2, 0, "bb @Object 59 b7 @Object.init b0", NULL, NULL }, NULL },
	{ "a new object is given away too early", 52, { STATIC, "m", "()Ljava/lang/Object;", 2, 0, "bb @Object b0", NULL, NULL }, "4.10.1.9.areturn" },
	{ "the constructor of another class", 52, { STATIC, "m", "()V", 2, 0, "bb @String b7 @Object.init b1", NULL, NULL }, "4.10.1.9.invokespecial" },
	{ "a constructor calls its superclass's", 52, { ACC_PUBLIC, "<init>", "()V", 1, 1, "2a b7 @Object.init b1", NULL, NULL }, NULL },
	{ "a constructor that does not", 52, { ACC_PUBLIC, "<init>", "()V", 1, 1, "b1", NULL, NULL }, "4.10.1.9.return" },
	{ "a constructor writes its own field first", 52, { ACC_PUBLIC, "<init>", "()V", 2, 1, "2a 04 b5 @T.f 2a b7 @Object.init b1", NULL, NULL }, NULL },
	{ "a constructor reads its own field first", 52, { ACC_PUBLIC, "<init>", "()V", 2, 1, "2a b4 @T.f 57 2a b7 @Object.init b1", NULL, NULL }, "4.10.1.9.getfield" },
	{ "a handler around super() that returns", 52, { ACC_PUBLIC, "<init>", "()V", 1, 1, "2a b7 @Object.init b1 57 b1", "00 01 ff 00 05 00 01 06 00 01 07 @Throwable", "00 00 00 04 00 05 00 00" }, "4.10.1.9.invokespecial" },
	{ "nor one that throws: the object is initialized behind it and not before", 52, { ACC_PUBLIC, "<init>", "()V", 1, 1, "2a b7 @Object.init b1 bf", "00 01 ff 00 05 00 01 06 00 01 07 @Throwable", "00 01 00 04 00 05 00 00" }, "4.10.1.6" },
	{ "an array is cloned", 52, { STATIC, "m", "([I)Ljava/lang/Object;", 1, 1, "2a b6 @Object.clone b0", NULL, NULL }, NULL },
	{ "an int array's element", 52, { STATIC, "m", "([I)I", 2, 1, "2a 03 2e ac", NULL, NULL }, NULL },
	{ "a long array is no int array", 52, { STATIC, "m", "([J)I", 2, 1, "2a 03 2e ac", NULL, NULL }, "4.10.1.9.iaload" },
	{ "subroutines ended with version 50", 52, { STATIC, "m", "()V", 1, 1, "a8 00 04 b1 4b a9 00", NULL, NULL }, "4.10.1.9.jsr" },
	{ "a subroutine of an old class", 48, { STATIC, "m", "()V", 1, 1, "a8 00 04 b1 4b a9 00", NULL, NULL }, NULL },
	{ "what a subroutine did not touch comes back", 48, { STATIC, "m", "(I)I", 1, 2, "a8 00 05 1a ac 4c a9 01", NULL, NULL }, NULL },
	{ "a subroutine that calls itself", 48, { STATIC, "m", "()V", 2, 1, "a8 00 04 b1 4b a8 ff ff a9 00", NULL, NULL }, "4.10.1.9.jsr" },
	{ "an old class needs no frames", 48, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 00 b1", NULL, NULL }, NULL },
	{ "ways meet with other heights of the stack", 48, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 04 b1", NULL, NULL }, "4.10.2.2" },
	{ "ways meet with an int and a float in a local, which is then read", 48, { STATIC, "m", "(I)I", 1, 2, "1a 99 00 08 04 3c a7 00 05 0b 44 1b ac", NULL, NULL }, "4.10.1.9.iload_1" },
	{ "version 50 without frames falls back to inference", 50, { STATIC, "m", "(I)V", 1, 1, "1a 99 00 04 00 b1", NULL, NULL }, NULL },
	{ "a switch whose cases do not ascend", 52, { STATIC, "m", "(I)V", 1, 1, "1a ab 00 00 00 00 00 1b 00 00 00 02 00 00 00 05 00 00 00 1b 00 00 00 05 00 00 00 1b b1", "00 01 1c", NULL }, "4.10.1.9.lookupswitch" },
};

START_TEST(each_rule_has_a_class_that_keeps_it_and_one_that_breaks_it)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1 << 24);
		struct verify_result result;
		const char *got = judge(cases[i].major, ACC_PUBLIC | ACC_SUPER, &cases[i].m, &result, &arena);

		if (cases[i].want == NULL)
			ck_assert_msg(got == NULL, "%s: refused by %s: %s", cases[i].title, got, result.fault.text);
		else
			ck_assert_msg(got != NULL && strcmp(got, cases[i].want) == 0, "%s: %s instead of %s (%s)", cases[i].title, got == NULL ? "accepted" : got,
				      cases[i].want, result.fault.text);
	}
}
END_TEST

START_TEST(flags_exclude_one_another_by_version)
{
	static const struct {
		uint16_t major, access;
		bool good;
	} flags[] = {
		{ 52, ACC_PUBLIC, true },
		{ 52, ACC_FINAL | ACC_ABSTRACT, false },
		{ 52, ACC_INTERFACE | ACC_ABSTRACT | ACC_SUPER, false },
		{ 48, ACC_INTERFACE | ACC_SUPER, false },	/* its field is no constant */
		{ 52, ACC_ANNOTATION, false },
		{ 48, ACC_ANNOTATION, true },
	};

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1 << 24);
		struct verify_result result;

		ck_assert_msg((judge(flags[i].major, flags[i].access, NULL, &result, &arena) == NULL) == flags[i].good, "row %zu: %s", i, result.fault.text);
	}
}
END_TEST

START_TEST(what_other_classes_say_stays_open_without_a_class_path)
{
	/* Unknown is returned as a String: whether it is one is a question. */
	static const struct method m = { STATIC, "m", "(Lp/Unknown;)Ljava/lang/String;", 1, 1, "2a b0", NULL, NULL };
	AUTO_ARENA struct arena arena = ARENA_INIT(1 << 24);
	AUTO_BUF struct buf text = BUF_INIT(65536);
	struct verify_result result;
	struct class_file c;
	struct buf bytes = BUF_INIT(65536);
	bool found = false;

	ck_assert_ptr_null(judge(52, ACC_PUBLIC, &m, &result, &arena));
	for (uint32_t i = 0; i < result.constraint_count; i++)
		found |= result.constraints[i].kind == CONSTRAINT_ASSIGNABLE && slice_eq(result.constraints[i].name, SLICE("p/Unknown")) &&
			 slice_eq(result.constraints[i].to, SLICE("java/lang/String")) && !result.constraints[i].checked;
	ck_assert(found);
	class_bytes(52, ACC_PUBLIC, &m, &bytes);
	ck_assert(class_parse(&arena, buf_slice(&bytes), &c, NULL));
	verify_certificate(&text, &c, SLICE("ab"), &result);
	ck_assert(slice_find(buf_slice(&text), SLICE("\"certificate\":\"open\"")) != SLICE_NPOS);
	buf_done(&bytes);
}
END_TEST

TEST_MAIN("dvm/verify", each_rule_has_a_class_that_keeps_it_and_one_that_breaks_it, flags_exclude_one_another_by_version,
	  what_other_classes_say_stays_open_without_a_class_path)
