#include "mail/message/subject.h"

#include "mail/message/casemap.h"
#include "mail/message/limits.h"
#include "mail/message/words.h"

/* RFC 5256 §2.1 (1): blanks and line ends to single blanks. In place; the key only gets shorter. */
static void pack(struct buf *b, size_t from)
{
	size_t n = from;

	for (size_t i = from; i < b->len; i++) {
		uint8_t c = b->ptr[i];
		bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
		if (blank && n > from && b->ptr[n - 1] == ' ')
			continue;
		b->ptr[n++] = blank ? ' ' : c;
	}
	buf_truncate(b, n);
}

/* (2) subj-trailer = "(fwd)" / WSP */
static struct slice trailers(struct slice s, bool *is_reply)
{
	for (;;) {
		if (s.len > 0 && s.ptr[s.len - 1] == ' ') {
			s.len--;
		} else if (slice_ends(s, SLICE("(FWD)"))) {
			s.len -= 5;
			*is_reply = true;
		} else {
			return s;
		}
	}
}

/* subj-blob = "[" *BLOBCHAR "]" *WSP; false when there is none. */
static bool blob(struct slice *s)
{
	if (s->len == 0 || s->ptr[0] != '[')
		return false;
	for (size_t i = 1; i < s->len && s->ptr[i] != '['; i++) {
		if (s->ptr[i] != ']')
			continue;
		*s = slice_from(*s, i + 1);
		if (s->len > 0 && s->ptr[0] == ' ')
			*s = slice_from(*s, 1);
		return true;
	}
	return false;
}

/* (3) subj-leader = (*subj-blob subj-refwd) / WSP, subj-refwd = ("re" / "fw" ["d"]) *WSP [subj-blob] ":" */
static bool leader(struct slice *subject, bool *is_reply)
{
	bool removed = false;

	if (subject->len > 0 && subject->ptr[0] == ' ') {
		*subject = slice_from(*subject, 1);
		removed = true;
	}
	struct slice s = *subject;
	while (blob(&s))
		;
	if (slice_starts(s, SLICE("RE")))
		s = slice_from(s, 2);
	else if (slice_starts(s, SLICE("FWD")))
		s = slice_from(s, 3);
	else if (slice_starts(s, SLICE("FW")))
		s = slice_from(s, 2);
	else
		return removed;
	if (s.len > 0 && s.ptr[0] == ' ')
		s = slice_from(s, 1);
	(void)blob(&s);
	if (s.len == 0 || s.ptr[0] != ':')
		return removed;
	*subject = slice_from(s, 1);
	*is_reply = true;
	return true;
}

/* (4) a blob goes if something is left. */
static bool leading_blob(struct slice *subject)
{
	struct slice s = *subject;

	if (!blob(&s) || s.len == 0)
		return false;
	*subject = s;
	return true;
}

void subject_base(struct buf *out, struct slice subject, bool *is_reply)
{
	subject = slice_head(subject, SUBJECT_BYTES_MAX);
	AUTO_BUF struct buf text = BUF_INIT(subject.len * 4 + 64);
	size_t from = out->len;

	*is_reply = false;
	words_decode(&text, subject);
	casemap_key(out, buf_slice(&text));
	if (out->err != 0 || out->len == from)
		return;
	pack(out, from);
	struct slice s = slice_of(out->ptr + from, out->len - from);
	for (;;) {
		s = trailers(s, is_reply);
		/*
		 * (3) to (5). All blobs at once: if no "re" follows the blobs, none follows after removing one of
		 * them either, so asking again each time would only make "[][][]..." quadratic.
		 */
		for (bool more = true; more;) {
			more = leader(&s, is_reply);
			while (leading_blob(&s))
				more = true;
		}
		/* (6) "[fwd:" ... "]" */
		if (!slice_starts(s, SLICE("[FWD:")) || !slice_ends(s, SLICE("]")))
			break;
		s = slice_sub(s, 5, s.len - 1);
		*is_reply = true;
	}
	if (s.len > 0)
		memmove(out->ptr + from, s.ptr, s.len);
	buf_truncate(out, from + s.len);
}
