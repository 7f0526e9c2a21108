#include "conf/yaml_in.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/utf8.h"

#define SHOWN_COLUMNS	160u		/* of the source line */

bool yaml_in_init(struct yaml_in *y, struct slice text, const char *file, struct buf *errors)
{
	*y = (struct yaml_in){ .text = text, .file = file, .errors = errors };
	if (yaml_parser_initialize(&y->parser) == 0)
		return false;
	yaml_parser_set_encoding(&y->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&y->parser, text.ptr == NULL ? (const uint8_t *)"" : text.ptr, text.len);
	return true;
}

void yaml_in_done(struct yaml_in *y)
{
	if (y->have_event)
		yaml_event_delete(&y->event);
	yaml_parser_delete(&y->parser);
}

/* The bytes of line number `line` (from 0), without its end. */
struct slice yaml_in_line(struct slice text, size_t line)
{
	struct slice head = { 0 };

	for (size_t i = 0; i <= line; i++) {
		if (text.len == 0)
			return (struct slice){ 0 };
		slice_cut(text, '\n', &head, &text);
	}
	return slice_ends(head, SLICE("\r")) ? slice_head(head, head.len - 1) : head;
}

/* The source line and, below it, a caret under the column (both from 0; columns are characters). */
static void show_source(struct buf *out, struct slice text, size_t line, size_t column, size_t width)
{
	struct slice s = yaml_in_line(text, line);
	uint32_t c;

	if (column > SHOWN_COLUMNS)
		return;
	buf_printf(out, "%6zu | ", line + 1);
	for (size_t n = 0; n < SHOWN_COLUMNS && utf8_next(&s, &c); n++)
		utf8_add(out, c == '\t' ? ' ' : utf8_is_control(c) ? UTF8_REPLACEMENT : c);
	buf_adds(out, "\n       | ");
	buf_fill(out, ' ', column);
	buf_addc(out, '^');
	buf_fill(out, '~', width > 1 ? MIN(width, (size_t)SHOWN_COLUMNS - column) - (column < SHOWN_COLUMNS) : 0);
	buf_addc(out, '\n');
}

void yaml_in_complain_at(struct yaml_in *y, yaml_mark_t at, size_t width, const char *sentence)
{
	if (y->error_count++ == CONFIG_ERRORS_MAX)
		buf_printf(y->errors, "%s: there are more errors; these are the first %d\n", y->file,
			   CONFIG_ERRORS_MAX);
	if (y->error_count > CONFIG_ERRORS_MAX)
		return;
	buf_printf(y->errors, "%s:%zu:%zu: ", y->file, at.line + 1, at.column + 1);
	/* The sentence may quote the file: keep terminal sequences out. */
	struct slice s = slice_str(sentence);
	uint32_t c;
	while (utf8_next(&s, &c))
		utf8_add(y->errors, utf8_is_control(c) ? UTF8_REPLACEMENT : c);
	buf_addc(y->errors, '\n');
	show_source(y->errors, y->text, at.line, at.column, width);
}

/* About the current event's token. */
void yaml_in_complain(struct yaml_in *y, const char *fmt, ...)
{
	char sentence[700];
	va_list ap;
	yaml_mark_t from = y->event.start_mark, to = y->event.end_mark;
	bool scalar = y->event.type == YAML_SCALAR_EVENT;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	yaml_in_complain_at(y, from, scalar && to.line == from.line ? to.column - from.column : 1, sentence);
}

/* Is there a tab at this place, the commonest mistake in YAML? (Before it stand single bytes.) */
static bool has_tab(struct slice text, size_t line, size_t column)
{
	struct slice s = yaml_in_line(text, line);

	return column < s.len && s.ptr[column] == '\t' && slice_trim(slice_head(s, column)).len == 0;
}

/* Move to the next event; false at the end of the stream or when YAML is malformed. */
bool yaml_in_next(struct yaml_in *y)
{
	if (y->have_event)
		yaml_event_delete(&y->event);
	y->have_event = false;
	if (y->failed)
		return false;
	if (yaml_parser_parse(&y->parser, &y->event) == 0) {
		y->failed = true;
		y->out_of_memory |= y->parser.error == YAML_MEMORY_ERROR;
		char sentence[300];
		/* Reader errors (bytes that are not UTF-8) have an offset instead of a mark. */
		bool reader = y->parser.error == YAML_READER_ERROR;
		yaml_mark_t at = reader ? y->parser.mark : y->parser.problem_mark;
		if (has_tab(y->text, at.line, at.column))
			snprintf(sentence, sizeof(sentence), "a tab: YAML wants blanks before a key");
		else
			snprintf(sentence, sizeof(sentence), "this is not YAML: %s%s%s",
				 y->parser.problem == NULL ? "malformed" : y->parser.problem,
				 y->parser.context == NULL ? "" : ", ", y->parser.context == NULL ? "" : y->parser.context);
		yaml_in_complain_at(y, at, 1, sentence);
		memset(&y->event, 0, sizeof(y->event));
		return false;
	}
	y->have_event = true;
	return y->event.type != YAML_STREAM_END_EVENT;
}

/* Refuse anchors, tags and aliases on the current event. True when it is plain. */
bool yaml_in_plain(struct yaml_in *y)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (y->event.type) {
	case YAML_ALIAS_EVENT:
		yaml_in_complain(y, "aliases (*%s) are not supported: write the value again",
			 (const char *)y->event.data.alias.anchor);
		return false;
	case YAML_SCALAR_EVENT:
		anchor = y->event.data.scalar.anchor;
		tag = y->event.data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = y->event.data.sequence_start.anchor;
		tag = y->event.data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = y->event.data.mapping_start.anchor;
		tag = y->event.data.mapping_start.tag;
		break;
	default:
		return true;
	}
	if (anchor != NULL)
		yaml_in_complain(y, "anchors (&%s) are not supported: write the value again", (const char *)anchor);
	if (tag != NULL)
		yaml_in_complain(y, "tags (%s) are not supported: types come from the option", (const char *)tag);
	return anchor == NULL && tag == NULL;
}

struct slice yaml_in_scalar(const struct yaml_in *y)
{
	return slice_of(y->event.data.scalar.value, y->event.data.scalar.length);
}

/* Pass over the value that starts at the current event, whatever it holds. */
void yaml_in_skip(struct yaml_in *y)
{
	size_t depth = 0;

	do {
		switch (y->event.type) {
		case YAML_SEQUENCE_START_EVENT:
		case YAML_MAPPING_START_EVENT:
			depth++;
			break;
		case YAML_SEQUENCE_END_EVENT:
		case YAML_MAPPING_END_EVENT:
			depth--;
			break;
		default:
			break;
		}
	} while (depth > 0 && yaml_in_next(y));
}

bool yaml_in_empty(const struct yaml_in *y)
{
	return y->event.type == YAML_SCALAR_EVENT && y->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       y->event.data.scalar.length == 0;
}

bool yaml_in_document(struct yaml_in *y)
{
	if (y->event.data.document_start.version_directive != NULL ||
	    y->event.data.document_start.tag_directives.start !=
	    y->event.data.document_start.tag_directives.end)
		yaml_in_complain(y, "directives (%%YAML, %%TAG) are not supported");
	if (y->document_count++ > 0)
		yaml_in_complain(y, "a second document starts here: one file holds one configuration");
	if (!yaml_in_next(y))
		return false;
	if (y->document_count == 1 && yaml_in_plain(y))
		return true;
	yaml_in_skip(y);
	return false;
}

int yaml_in_file(const char *path, struct buf *text, struct buf *errors)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = -1;

	if (fd < 0) {
		int err = -errno;
		buf_printf(errors, "%s: cannot be opened: %s\n", path, strerrordesc_np(-err));
		return err;
	}
	for (;;) {
		size_t room = text->max - text->len;
		uint8_t *to = buf_room(text, MIN(room, (size_t)16384));
		if (to == NULL)
			return text->err;
		if (room == 0)
			break;
		n = read(fd, to, MIN(room, (size_t)16384));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf_commit(text, (size_t)n);
	}
	if (n < 0) {
		int err = -errno;
		buf_printf(errors, "%s: cannot be read: %s\n", path, strerrordesc_np(-err));
		return err;
	}
	return 0;
}
