/* A stream of commands with literals, assembled and parsed as the session does. */
#include "base/must.h"
#include "mail/imap/command.h"
#include "mail/imap/imapdate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A set has the ends of its ranges, and written and read again it is the same. */
static void check_set(struct arena *arena, const struct seqset *set)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct seqset_writer w = { .out = &out };
	struct seqset again;
	size_t bad_at;

	for (size_t i = 0; i < set->count; i++) {
		must(seqset_has(set, set->ranges[i].first) && seqset_has(set, set->ranges[i].last));
		seqset_writer_add_range(&w, set->ranges[i].first, set->ranges[i].last);
	}
	seqset_writer_end(&w);
	must(set->count == 0 || !seqset_has(set, set->ranges[0].first - 1));
	if (set->count > 0) {
		must(seqset_parse(arena, buf_slice(&out), 1, &again, &bad_at) == SEQSET_OK);
		must(again.count == set->count && seqset_last(&again) == seqset_last(set));
	}
}

static void parse(struct slice text, bool utf8)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct imap_parse_context context = { .stars = { 7, 99 }, .utf8 = utf8, .state = 7 };
	struct imap_append_part part;
	struct imap_command c;
	const char *why;

	if (imap_parse(&arena, text, &context, &c, &why) == IMAP_PARSED && c.name == IMAP_FETCH) {
		AUTO_BUF struct buf name = BUF_INIT(1u << 20);

		for (size_t i = 0; i < c.fetch.program.count; i++)
			fetch_write_name(&c.fetch.program.items[i], &name);
		check_set(&arena, &c.fetch.set);
	}
	enum imap_name head;
	struct slice tag;
	if (imap_parse_head(text, 7, &tag, &head, &why) == IMAP_PARSED)
		must(imap_command_names[head][0] != '?' && tag.len <= IMAP_TAG_BYTES_MAX);
	if (imap_parse_append(&arena, text, &context, text.len > 0 && text.ptr[0] == ' ' ? NULL : &c,
			      &part, &why) == IMAP_PARSED && part.has_date) {
		AUTO_BUF struct buf date = BUF_INIT(64);
		int64_t again;
		int16_t zone;

		imapdate_write(&date, part.date_s, part.zone_minutes);
		must(imapdate_time(slice_sub(buf_slice(&date), 1, date.len - 1), &again, &zone));
		/* At the ends of the years 0 and 9999 it is the nearest that can be written. */
		bool inside = part.date_s > INT64_C(-62167000000) && part.date_s < INT64_C(253402200000);
		must(!inside || (again == part.date_s && zone == part.zone_minutes));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf text = BUF_INIT(IMAP_COMMAND_BYTES_MAX + 16);
	struct slice rest = slice_of(data, size);

	while (rest.len > 0) {
		struct imap_literal literal;
		struct slice line;

		slice_cut(rest, '\n', &line, &rest);
		if (line.len > 0 && line.ptr[line.len - 1] == '\r')
			line.len--;
		switch (imap_assemble(&text, line, IMAP_COMMAND_BYTES_MAX, &literal)) {
		case IMAP_LITERAL:
			buf_add(&text, slice_head(rest, literal.bytes));
			rest = slice_from(rest, literal.bytes);
			if (rest.len > 0)
				continue;
			break;
		case IMAP_APPEND_LITERAL:
			rest = slice_from(rest, literal.bytes);
			break;
		default:
			break;
		}
		parse(buf_slice(&text), size % 2 == 0);
		buf_reset(&text);
	}
	return 0;
}
