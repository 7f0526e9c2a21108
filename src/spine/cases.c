#include "spine/cases.h"

#include <errno.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "spine/frame.h"
#include "spine/spine_limits.h"

static const char *const verdict_names[] = { "aborted", "drop", "pass", "tx", "redirect" };

struct parse {
	struct arena *arena;
	const char *file;
	struct buf *errors;
	unsigned line, error_count;
	struct test_case *first, *current;
	struct case_action *last;	/* of the current case */
	struct case_action *packet;	/* that verdict, out and repeat belong to */
	unsigned case_count, action_count;
	bool out_of_memory;
};

int case_verdict(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(verdict_names); i++) {
		if (slice_eq(name, slice_str(verdict_names[i])))
			return (int)i;
	}
	return -1;
}

const char *case_verdict_name(uint32_t verdict)
{
	return verdict < ARRAY_LEN(verdict_names) ? verdict_names[verdict] : NULL;
}

bool case_value(const char *text, uint8_t *out, size_t size)
{
	struct slice s = slice_str(text);
	uint64_t v = 0;

	if (s.len > 1 && s.ptr[0] == 'x') {
		AUTO_BUF struct buf bytes = BUF_INIT(CASE_LINE_BYTES_MAX);
		if (!hex_decode(&bytes, slice_from(s, 1)) || bytes.len != size)
			return false;
		memcpy(out, bytes.ptr, size);
		return true;
	}
	bool negative = slice_starts(s, SLICE("-"));
	if (negative)
		s = slice_from(s, 1);
	if (slice_starts(s, SLICE("0x")) && s.len > 2 && s.len <= 18) {
		for (size_t i = 2; i < s.len; i++) {
			if (hex_value(s.ptr[i]) < 0)
				return false;
			v = v << 4 | (unsigned)hex_value(s.ptr[i]);
		}
	} else if (!slice_u64(s, UINT64_MAX, &v)) {
		return false;
	}
	if (!negative && size < 8 && v >> (size * 8) != 0)
		return false;
	v = negative ? ~v + 1 : v;
	memset(out, negative ? 0xff : 0, size);
	for (size_t i = 0; i < size && i < 8; i++)
		out[i] = (uint8_t)(v >> (8 * i));
	return true;
}

static void complain(struct parse *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void complain(struct parse *p, const char *fmt, ...)
{
	char sentence[600];
	uint32_t c;
	va_list ap;

	if (++p->error_count > CASE_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	buf_printf(p->errors, "%s:%u: ", p->file, p->line);
	struct slice s = slice_str(sentence);
	while (utf8_next(&s, &c))
		utf8_add(p->errors, utf8_is_control(c) ? UTF8_REPLACEMENT : c);
	buf_addc(p->errors, '\n');
}

static const char *keep(struct parse *p, struct slice s)
{
	const char *kept = arena_str(p->arena, s);

	p->out_of_memory |= kept == NULL;
	return kept == NULL ? "" : kept;
}

static struct case_action *add_action(struct parse *p, enum case_action_kind kind)
{
	if (p->current == NULL) {
		complain(p, "a case begins with 'case NAME'");
		return NULL;
	}
	if (p->action_count++ == CASE_ACTIONS_MAX) {
		complain(p, "more than %d lines that do something", CASE_ACTIONS_MAX);
		return NULL;
	}
	struct case_action *a = ARENA_NEW(p->arena, struct case_action);
	if (a == NULL) {
		p->out_of_memory = true;
		return NULL;
	}
	*a = (struct case_action){ .kind = kind, .line = p->line, .verdict = -1, .repeat = 1, .name = "", .key = "",
				   .value = "" };
	*(p->last == NULL ? &p->current->actions : &p->last->next) = a;
	p->last = a;
	return a;
}

static void begin_case(struct parse *p, struct slice name)
{
	if (name.len == 0)
		complain(p, "a case needs a name: a sentence about what happens");
	if (p->case_count++ == CASES_MAX)
		complain(p, "more than %d cases", CASES_MAX);
	if (p->case_count > CASES_MAX)
		return;
	struct test_case *c = ARENA_NEW(p->arena, struct test_case);
	if (c == NULL) {
		p->out_of_memory = true;
		return;
	}
	c->name = keep(p, name);
	c->line = p->line;
	*(p->first == NULL ? &p->first : &p->current->next) = c;
	p->current = c;
	p->last = p->packet = NULL;
}

static bool read_frame(struct parse *p, struct slice text, struct slice *out)
{
	AUTO_BUF struct buf frame = BUF_INIT(FRAME_BYTES_MAX);
	struct errmsg why = { 0 };

	if (frame_parse(&frame, text, &why) != 0) {
		complain(p, "%s", why.text);
		return false;
	}
	*out = arena_dup(p->arena, buf_slice(&frame));
	p->out_of_memory |= out->ptr == NULL;
	return true;
}

/* "NAME KEY VALUE" */
static void read_entry(struct parse *p, enum case_action_kind kind, const char *word, struct slice rest)
{
	struct slice name, key, value;

	slice_cut(rest, ' ', &name, &rest);
	slice_cut(slice_trim(rest), ' ', &key, &value);
	value = slice_trim(value);
	if (name.len == 0 || key.len == 0 || value.len == 0 || slice_find_byte(value, ' ') != SLICE_NPOS) {
		complain(p, "'%s' takes a map, a key and a value: %s limits 0 100", word, word);
		return;
	}
	struct case_action *a = add_action(p, kind);
	if (a == NULL)
		return;
	a->name = keep(p, name);
	a->key = keep(p, key);
	a->value = keep(p, value);
}

static void read_packet(struct parse *p, const char *word, struct slice rest)
{
	struct case_action *a = add_action(p, CASE_PACKET);

	p->packet = a;
	if (a != NULL)
		read_frame(p, rest, &a->in);
}

static void read_port(struct parse *p, const char *word, struct slice rest)
{
	struct case_action *a = add_action(p, CASE_PORT);

	if (rest.len == 0 || rest.len > 15)
		complain(p, "'port' takes the name of an interface");
	if (a != NULL)
		a->name = keep(p, rest);
}

static void read_map(struct parse *p, const char *word, struct slice rest)
{
	read_entry(p, CASE_MAP, word, rest);
}

static void read_expect(struct parse *p, const char *word, struct slice rest)
{
	read_entry(p, CASE_EXPECT, word, rest);
}

static bool has_packet(struct parse *p, const char *word)
{
	if (p->packet == NULL)
		complain(p, "'%s' belongs to an 'in' above it", word);
	return p->packet != NULL;
}

static void read_verdict(struct parse *p, const char *word, struct slice rest)
{
	int verdict = case_verdict(rest);

	if (verdict < 0)
		complain(p, "a verdict is aborted, drop, pass, tx or redirect");
	if (has_packet(p, word) && verdict >= 0)
		p->packet->verdict = verdict;
}

static void read_repeat(struct parse *p, const char *word, struct slice rest)
{
	uint64_t n = 0;

	if (!slice_u64(rest, CASE_REPEAT_MAX, &n) || n == 0)
		complain(p, "'repeat' takes a number from 1 to %d", CASE_REPEAT_MAX);
	if (has_packet(p, word) && n > 0)
		p->packet->repeat = (uint32_t)n;
}

static void read_out(struct parse *p, const char *word, struct slice rest)
{
	struct slice frame = { 0 };
	bool same = slice_eq(rest, SLICE("same"));

	if (!same && !read_frame(p, rest, &frame))
		return;
	if (!has_packet(p, word))
		return;
	p->packet->out_kind = same ? CASE_OUT_SAME : CASE_OUT_FRAME;
	p->packet->out = frame;
}

static void read_case(struct parse *p, const char *word, struct slice rest)
{
	begin_case(p, rest);
}

static void read_line(struct parse *p, struct slice line)
{
	static const struct {
		const char *word;
		void (*read)(struct parse *p, const char *word, struct slice rest);
	} rows[] = {
		{ "case", read_case }, { "in", read_packet }, { "verdict", read_verdict }, { "out", read_out },
		{ "repeat", read_repeat }, { "map", read_map }, { "expect", read_expect }, { "port", read_port },
	};
	struct suggestion near = { 0 };
	struct slice word, rest;

	line = slice_trim(line);
	if (line.len == 0 || line.ptr[0] == '#')
		return;
	if (line.len > CASE_LINE_BYTES_MAX || slice_find_byte(line, '\0') != SLICE_NPOS) {
		complain(p, "a line has at most %d bytes and no NUL", CASE_LINE_BYTES_MAX);
		return;
	}
	slice_cut(line, ' ', &word, &rest);
	near.word = word;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (slice_eq(word, slice_str(rows[i].word))) {
			rows[i].read(p, rows[i].word, slice_trim(rest));
			return;
		}
		suggest_try(&near, rows[i].word);
	}
	if (near.best != NULL)
		complain(p, "there is no line '%.*s'; did you mean '%s'?", SLICE_FMT(utf8_head(word, 40)), near.best);
	else
		complain(p, "there is no line '%.*s'; there are case, in, verdict, out, repeat, map, expect, port",
			 SLICE_FMT(utf8_head(word, 40)));
}

int cases_parse(struct arena *arena, struct slice text, const char *file, const struct test_case **out,
		struct buf *errors)
{
	struct parse p = { .arena = arena, .file = file, .errors = errors };
	struct slice line;

	if (text.len > CASE_FILE_BYTES_MAX) {
		p.line = 1;
		complain(&p, "larger than %d bytes", CASE_FILE_BYTES_MAX);
		return -EINVAL;
	}
	while (text.len > 0 && !p.out_of_memory) {
		p.line++;
		slice_cut(text, '\n', &line, &text);
		read_line(&p, line);
	}
	if (p.out_of_memory)
		return -ENOMEM;
	if (p.first == NULL && p.error_count == 0)
		complain(&p, "there is no case in this file");
	if (p.error_count > 0)
		return -EINVAL;
	*out = p.first;
	return 0;
}
