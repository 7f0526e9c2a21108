/*
 * The verifier's log, from its end: the last words before its statistics say what was wrong, the last
 * instruction and the last comment before them say where.
 */
#include "base/utf8.h"
#include "spine/load_private.h"

#define LINES_SHOWN 3u			/* of last words */

/* "12: (61) r2 = ...": its number. */
static bool instruction_line(struct slice line, uint32_t *insn)
{
	struct slice number, rest;

	if (!slice_cut(line, ':', &number, &rest) || !slice_u32(number, insn))
		return false;
	rest = slice_trim(rest);
	return rest.len > 4 && rest.ptr[0] == '(' && rest.ptr[3] == ')';
}

/* Statistics and states: not what we look for. */
static bool noise(struct slice line)
{
	static const char *const heads[] = { "processed ", "verification time ", "stack depth ", "from ", "func#",
					     "Func#", "mark_precise", "R0", "live regs", "max_states", "regs=",
					     "last_idx", "first_idx", "parent ", "returning from", "caller:", "callee:",
					     "to caller", "falling back", "-- " };
	uint32_t n;
	struct slice number, rest;

	line = slice_trim(line);
	if (line.len == 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		if (slice_starts(line, slice_str(heads[i])) && (heads[i][0] != 'R' || slice_find_byte(line, '=') != SLICE_NPOS))
			return true;
	}
	/* "12: R0_w=..." */
	return slice_cut(line, ':', &number, &rest) && slice_u32(number, &n);
}

struct found {
	struct slice words[LINES_SHOWN];	/* newest last */
	size_t word_count;
	struct slice comment;		/* of the last "; source" */
	uint32_t insn;
	bool has_insn;
};

static void add_words(struct found *f, struct slice line)
{
	if (f->word_count == LINES_SHOWN) {
		memmove(f->words, f->words + 1, (LINES_SHOWN - 1) * sizeof(f->words[0]));
		f->word_count--;
	}
	f->words[f->word_count++] = line;
}

static struct found look(struct slice log)
{
	struct found f = { 0 };
	struct slice line;

	while (log.len > 0) {
		uint32_t insn;
		slice_cut(log, '\n', &line, &log);
		if (instruction_line(line, &insn)) {
			f.insn = insn;
			f.has_insn = true;
			f.word_count = 0;
		} else if (slice_starts(line, SLICE("; "))) {
			f.comment = slice_from(line, 2);
			f.word_count = 0;
		} else if (!noise(line)) {
			add_words(&f, slice_trim(line));
		}
	}
	return f;
}

/* "prog 'x': BPF program load failed" in libbpf's words: the x. */
static struct slice failed_program(struct slice prints)
{
	struct slice name = { 0 };

	for (;;) {
		size_t end = slice_find(prints, SLICE("': BPF program load failed"));
		if (end == SLICE_NPOS)
			return name;
		struct slice head = slice_head(prints, end);
		size_t begin = slice_rfind_byte(head, '\'');
		name = begin == SLICE_NPOS ? name : slice_from(head, begin + 1);
		prints = slice_from(prints, end + 2);
	}
}

/* Untrusted bytes for people: no controls. */
static void add_clean(struct buf *out, struct slice s)
{
	uint32_t c;

	s = slice_trim(utf8_head(s, 200));
	while (utf8_next(&s, &c))
		utf8_add(out, utf8_is_control(c) ? c == '\t' ? ' ' : UTF8_REPLACEMENT : c);
}

/* Where: by the object's own lines, else by the kernel's comment ("text @ file.c:12" since Linux 6.9). */
static void add_place(struct buf *out, const struct found *f, const struct object_program *p)
{
	const struct object_line *line = p != NULL && f->has_insn && f->insn < p->insn_count ?
		object_line_at(p, f->insn) : NULL;
	size_t at = slice_find(f->comment, SLICE(" @ "));

	if (line != NULL) {
		buf_adds(out, " at ");
		add_clean(out, slice_str(line->file));
		buf_printf(out, ":%u", line->line);
	} else if (at != SLICE_NPOS) {
		buf_adds(out, " at ");
		add_clean(out, slice_from(f->comment, at + 3));
	}
	if (f->has_insn)
		buf_printf(out, " (instruction %u)", f->insn);
}

static void add_source(struct buf *out, const struct found *f)
{
	size_t at = slice_find(f->comment, SLICE(" @ "));
	struct slice text = slice_trim(at == SLICE_NPOS ? f->comment : slice_head(f->comment, at));

	if (text.len == 0)
		return;
	buf_adds(out, "; the line is: ");
	add_clean(out, text);
}

/* libbpf's last line that says something, without its name. */
static void add_print(struct buf *out, struct slice prints)
{
	struct slice line, last = { 0 };

	while (prints.len > 0) {
		slice_cut(prints, '\n', &line, &prints);
		line = slice_trim(line);
		if (slice_starts(line, SLICE("libbpf: ")))
			line = slice_from(line, 8);
		/* The first complaint is the cause; those after it are consequences. */
		if (line.len > 0 && last.len == 0)
			last = line;
	}
	if (last.len == 0)
		return;
	buf_adds(out, "libbpf: ");
	add_clean(out, last);
}

void load_log_sentence(struct buf *out, struct slice log, struct slice prints, const struct object *o)
{
	struct found f = look(log);
	struct slice name = failed_program(prints);
	const struct object_program *program = NULL;

	if (name.len == 0 || f.word_count == 0) {
		add_print(out, prints);
		return;
	}
	for (size_t i = 0; i < o->program_count; i++) {
		if (slice_eq(name, slice_str(o->programs[i].name)))
			program = &o->programs[i];
	}
	buf_adds(out, "the kernel refuses program '");
	add_clean(out, name);
	buf_addc(out, '\'');
	add_place(out, &f, program);
	buf_adds(out, ": ");
	for (size_t i = 0; i < f.word_count; i++) {
		buf_adds(out, i == 0 ? "" : "; ");
		add_clean(out, f.words[i]);
	}
	add_source(out, &f);
}
