/*
 * YAML as our files use it: events of libyaml, with mistakes shown where they stand.
 *
 * Why not a tree: types come from who reads the value and are never guessed, so `no` is not a boolean
 * and 1e3 is no number. What YAML offers beyond mappings, lists and scalars (anchors, aliases, tags,
 * directives, several documents) is refused: a reader of the file should see what it says. A mistake
 * ends the value it is in, not the parse: all errors come out at once.
 */
#pragma once
#include <yaml.h>

#include "base/buf.h"
#include "conf/config.h"

struct yaml_in {
	yaml_parser_t parser;
	yaml_event_t event;		/* the current one; owned */
	bool have_event;
	bool failed;			/* YAML itself is malformed: no more events */
	bool out_of_memory;
	struct slice text;
	const char *file;
	struct buf *errors;		/* "FILE:LINE:COLUMN: sentence", source line, caret; at most CONFIG_ERRORS_MAX */
	unsigned error_count;
	unsigned document_count;
};

/* text, file and errors are borrowed until yaml_in_done. False: no memory (and nothing to end). */
MUST_USE bool yaml_in_init(struct yaml_in *y, struct slice text, const char *file, struct buf *errors);
void yaml_in_done(struct yaml_in *y);

/* Move to the next event; false at the end of the stream or when YAML is malformed (said). */
bool yaml_in_next(struct yaml_in *y);
/* Pass over the value that starts at the current event, whatever it holds. */
void yaml_in_skip(struct yaml_in *y);
/* Refuse anchors, tags and aliases on the current event. True when it is plain. */
bool yaml_in_plain(struct yaml_in *y);
/*
 * From the start of a document (the current event) into it. False: a second document, directives or
 * such, all said and passed over.
 */
bool yaml_in_document(struct yaml_in *y);
/* The bytes of the current scalar; valid until the next event. */
struct slice yaml_in_scalar(const struct yaml_in *y);
/* The current event is a value of nothing: "key:". */
bool yaml_in_empty(const struct yaml_in *y);

/* The bytes of line number `line` (from 0), without its end. */
struct slice yaml_in_line(struct slice text, size_t line);
/* Say a mistake about the current event's token; or about `width` characters at a place. */
void yaml_in_complain(struct yaml_in *y, const char *fmt, ...) PRINTF_LIKE(2, 3);
void yaml_in_complain_at(struct yaml_in *y, yaml_mark_t at, size_t width, const char *sentence);

/*
 * Append a file to `text`, at most up to its maximum (then the parser finds it too large). 0, or negative errno
 * with a line in errors.
 */
MUST_USE int yaml_in_file(const char *path, struct buf *text, struct buf *errors);
