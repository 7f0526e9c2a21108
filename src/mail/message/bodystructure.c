#include "mail/message/bodystructure.h"

#include <unistr.h>

/* Above this many escapes a literal is shorter. */
#define QUOTED_ESCAPES_MAX 4u

static bool can_quote(struct slice s, bool utf8)
{
	size_t escapes = 0;
	bool eight = false;

	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (c == '\r' || c == '\n' || c == 0)
			return false;
		escapes += c == '"' || c == '\\';
		eight |= c >= 0x80;
	}
	if (escapes > QUOTED_ESCAPES_MAX)
		return false;
	return !eight || (utf8 && u8_check(s.ptr, s.len) == NULL);
}

void bodystructure_nstring(struct buf *out, struct slice s, bool utf8)
{
	if (s.ptr == NULL) {
		buf_add(out, SLICE("NIL"));
		return;
	}
	if (!can_quote(s, utf8)) {
		buf_printf(out, "{%zu}\r\n", s.len);
		buf_add(out, s);
		return;
	}
	size_t escapes = 0, n = 0;
	for (size_t i = 0; i < s.len; i++)
		escapes += s.ptr[i] == '"' || s.ptr[i] == '\\';
	uint8_t *to = buf_room(out, s.len + escapes + 2);
	if (to == NULL)
		return;
	to[n++] = '"';
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '"' || s.ptr[i] == '\\')
			to[n++] = '\\';
		to[n++] = s.ptr[i];
	}
	to[n++] = '"';
	buf_commit(out, n);
}

static void string(struct buf *out, struct slice s, bool utf8)
{
	bodystructure_nstring(out, s.ptr == NULL ? SLICE("") : s, utf8);
}

/* A display name: runs of blanks show as one (they come from folding). */
static void packed(struct buf *out, struct slice s, bool utf8)
{
	bool change = false;

	for (size_t i = 0; i < s.len && !change; i++)
		change = s.ptr[i] == '\t' || s.ptr[i] == '\r' || s.ptr[i] == '\n' ||
			 (s.ptr[i] == ' ' && (i == 0 || i + 1 == s.len || s.ptr[i + 1] == ' '));
	if (!change) {
		bodystructure_nstring(out, s, utf8);
		return;
	}
	AUTO_BUF struct buf text = BUF_INIT(s.len + 1);
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
			buf_addc(&text, c);
		else if (text.len > 0 && text.ptr[text.len - 1] != ' ')
			buf_addc(&text, ' ');
	}
	if (text.len > 0 && text.ptr[text.len - 1] == ' ')
		text.len--;
	if (text.err != 0)
		out->err = text.err;
	string(out, buf_slice(&text), utf8);
}

static void addresses(struct buf *out, const struct address *list, bool utf8)
{
	if (list == NULL) {
		buf_add(out, SLICE("NIL"));
		return;
	}
	buf_addc(out, '(');
	for (const struct address *a = list; a != NULL; a = a->next) {
		buf_addc(out, '(');
		packed(out, a->name, utf8);
		buf_addc(out, ' ');
		bodystructure_nstring(out, a->route, utf8);
		buf_addc(out, ' ');
		bodystructure_nstring(out, a->mailbox, utf8);
		buf_addc(out, ' ');
		bodystructure_nstring(out, a->host, utf8);
		buf_addc(out, ')');
	}
	buf_addc(out, ')');
}

void bodystructure_envelope(struct buf *out, const struct envelope *env, bool utf8)
{
	static const struct envelope none;

	if (env == NULL)
		env = &none;
	buf_addc(out, '(');
	bodystructure_nstring(out, env->date, utf8);
	buf_addc(out, ' ');
	bodystructure_nstring(out, env->subject, utf8);
	/* RFC 9051 §7.5.2: without Sender or Reply-To the From counts. */
	const struct address *lists[] = {
		env->from, env->sender != NULL ? env->sender : env->from,
		env->reply_to != NULL ? env->reply_to : env->from, env->to, env->cc, env->bcc,
	};
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		buf_addc(out, ' ');
		addresses(out, lists[i], utf8);
	}
	buf_addc(out, ' ');
	bodystructure_nstring(out, env->in_reply_to, utf8);
	buf_addc(out, ' ');
	bodystructure_nstring(out, env->message_id, utf8);
	buf_addc(out, ')');
}

static void params(struct buf *out, const struct mime_param *list, uint32_t count, bool text, bool utf8)
{
	bool charset = false;

	if (count == 0 && !text) {
		buf_add(out, SLICE("NIL"));
		return;
	}
	buf_addc(out, '(');
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			buf_addc(out, ' ');
		charset |= slice_eq_nocase(list[i].name, SLICE("charset"));
		string(out, list[i].name, utf8);
		buf_addc(out, ' ');
		string(out, list[i].value, utf8);
	}
	if (text && !charset) {
		/* RFC 2045 §5.2: the default is shown as if it were there. */
		if (count > 0)
			buf_addc(out, ' ');
		buf_add(out, SLICE("\"charset\" \"us-ascii\""));
	}
	buf_addc(out, ')');
}

/* body-fld-dsp SP body-fld-lang SP body-fld-loc */
static void extension(struct buf *out, const struct mime_part *p, bool utf8)
{
	buf_addc(out, ' ');
	if (p->disposition.ptr == NULL) {
		buf_add(out, SLICE("NIL"));
	} else {
		buf_addc(out, '(');
		string(out, p->disposition, utf8);
		buf_addc(out, ' ');
		params(out, p->disposition_params, p->disposition_param_count, false, utf8);
		buf_addc(out, ')');
	}
	buf_addc(out, ' ');
	if (p->language_count == 0) {
		buf_add(out, SLICE("NIL"));
	} else {
		for (uint32_t i = 0; i < p->language_count; i++) {
			buf_addc(out, i == 0 ? '(' : ' ');
			string(out, p->languages[i], utf8);
		}
		buf_addc(out, ')');
	}
	buf_addc(out, ' ');
	bodystructure_nstring(out, p->location, utf8);
}

/* The end of a multipart, behind its parts. */
static void multipart_tail(struct buf *out, const struct mime_part *p, bool extended, bool utf8)
{
	if (p->children == NULL) {
		/* IMAP has no multipart without parts: show an empty text. */
		buf_add(out, SLICE("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0"));
		if (extended)
			buf_add(out, SLICE(" NIL NIL NIL NIL"));
		buf_addc(out, ')');
	}
	buf_addc(out, ' ');
	string(out, p->subtype, utf8);
	if (!extended)
		return;
	buf_addc(out, ' ');
	params(out, p->type_params, p->type_param_count, false, utf8);
	extension(out, p, utf8);
}

/* message/global is a message only for clients that know it (RFC 9051 §9, media-message). */
static bool shown_as_message(const struct mime_part *p, bool utf8)
{
	return p->kind == MIME_MESSAGE && (utf8 || !(p->flags & MIME_GLOBAL));
}

static bool type_is(const struct mime_part *p, const char *type, const char *subtype)
{
	return p->type.ptr != NULL && slice_eq_nocase(p->type, slice_str(type)) &&
	       (subtype == NULL || slice_eq_nocase(p->subtype, slice_str(subtype)));
}

/* A part whose type promises structure that we did not parse. */
static bool is_opaque(const struct mime_part *p)
{
	return p->kind == MIME_LEAF && (type_is(p, "multipart", NULL) || type_is(p, "message", "rfc822") ||
					(p->type.ptr == NULL && !(p->flags & MIME_TEXT)));
}

/* All of a leaf or message up to what stands behind the nested structure. */
static void single_head(struct buf *out, const struct mime_part *p, bool utf8)
{
	bool text = p->flags & MIME_TEXT;

	if (shown_as_message(p, utf8) && !(p->flags & MIME_GLOBAL)) {
		buf_add(out, SLICE("\"message\" \"rfc822\""));
	} else if (is_opaque(p)) {
		buf_add(out, SLICE("\"application\" \"octet-stream\""));
	} else if (p->type.ptr == NULL) {
		buf_add(out, SLICE("\"text\" \"plain\""));
	} else {
		string(out, p->type, utf8);
		buf_addc(out, ' ');
		string(out, p->subtype, utf8);
	}
	buf_addc(out, ' ');
	params(out, p->type_params, p->type_param_count, text, utf8);
	buf_addc(out, ' ');
	bodystructure_nstring(out, p->id, utf8);
	buf_addc(out, ' ');
	bodystructure_nstring(out, p->description, utf8);
	buf_addc(out, ' ');
	string(out, p->encoding.ptr == NULL ? SLICE("7bit") : p->encoding, utf8);
	buf_addc(out, ' ');
	buf_dec(out, p->body_bytes);
	if (text) {
		buf_addc(out, ' ');
		buf_dec(out, p->body_lines);
	} else if (shown_as_message(p, utf8)) {
		buf_addc(out, ' ');
		bodystructure_envelope(out, p->children->envelope, utf8);
		buf_addc(out, ' ');
	}
}

static void single_tail(struct buf *out, const struct mime_part *p, bool extended, bool utf8)
{
	if (shown_as_message(p, utf8)) {
		buf_addc(out, ' ');
		buf_dec(out, p->body_lines);
	}
	if (!extended)
		return;
	buf_addc(out, ' ');
	bodystructure_nstring(out, p->md5, utf8);
	extension(out, p, utf8);
}

static bool goes_down(const struct mime_part *p, bool utf8)
{
	return p->kind == MIME_MULTIPART ? p->children != NULL : shown_as_message(p, utf8);
}

/* Up and down the tree without recursion: MIME_DEPTH_MAX levels would be fine, but a stack of fibers is small. */
void bodystructure_write(struct buf *out, const struct mime_part *part, bool extended, bool utf8)
{
	const struct mime_part *p = part;

	for (;;) {
		buf_addc(out, '(');
		if (p->kind != MIME_MULTIPART)
			single_head(out, p, utf8);
		if (goes_down(p, utf8)) {
			p = p->children;
			continue;
		}
		for (;;) {
			if (p->kind == MIME_MULTIPART)
				multipart_tail(out, p, extended, utf8);
			else
				single_tail(out, p, extended, utf8);
			buf_addc(out, ')');
			if (p == part)
				return;
			if (p->next != NULL)
				break;
			p = p->parent;
		}
		p = p->next;
	}
}
