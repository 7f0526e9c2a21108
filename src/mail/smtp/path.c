#include "mail/smtp/path.h"

#include <arpa/inet.h>
#include <idn2.h>

#include "base/utf8.h"
#include "mail/smtp/limits.h"

/* RFC 5321 §4.1.2 names RFC 5322 atext; RFC 6531 §3.3 adds all of UTF-8 above ASCII. */
static bool is_atext(uint8_t c)
{
	static const char others[] = "!#$%&'*+-/=?^_`{|}~";

	return ascii_alpha(c) || ascii_digit(c) || c >= 0x80 ||
	       (c != 0 && memchr(others, c, sizeof(others) - 1) != NULL);
}

bool smtp_is_address_literal(struct slice in)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t address[16];

	if (in.len < 3 || in.ptr[0] != '[' || in.ptr[in.len - 1] != ']')
		return false;
	struct slice inner = slice_sub(in, 1, in.len - 1);
	if (slice_starts_nocase(inner, SLICE("IPv6:")))
		return slice_to_str(slice_from(inner, 5), text, sizeof(text)) &&
		       inet_pton(AF_INET6, text, address) == 1;
	return slice_to_str(inner, text, sizeof(text)) && inet_pton(AF_INET, text, address) == 1;
}

/* Letters, digits, inner hyphens and underscores; labels of 1 to 63 bytes, joined by single dots. */
static bool ascii_domain_ok(struct slice s)
{
	size_t label = 0;

	if (s.len == 0 || s.len > SMTP_DOMAIN)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (c == '.') {
			if (label == 0 || s.ptr[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if (!ascii_alpha(c) && !ascii_digit(c) && c != '_' && (c != '-' || label == 0))
			return false;
		if (++label > SMTP_LABEL)
			return false;
	}
	return label > 0 && s.ptr[s.len - 1] != '-';
}

static enum smtp_path_result to_ascii(struct arena *arena, struct slice in, struct slice *out)
{
	char text[SMTP_DOMAIN + 1];
	char *ascii = NULL;

	/* libidn2 reads NUL-ended UTF-8; the copy also keeps its work bounded. */
	if (!slice_to_str(in, text, sizeof(text)) || !utf8_valid(in))
		return SMTP_PATH_BAD_DOMAIN;
	if (idn2_to_ascii_8z(text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return SMTP_PATH_BAD_DOMAIN;
	struct slice got = slice_str(ascii);
	enum smtp_path_result r = SMTP_PATH_OK;
	if (!ascii_domain_ok(got)) {
		r = SMTP_PATH_BAD_DOMAIN;
	} else {
		*out = arena_dup(arena, got);
		if (arena->err != 0)
			r = SMTP_PATH_MEMORY;
	}
	idn2_free(ascii);
	return r;
}

enum smtp_path_result smtp_domain_parse(struct arena *arena, struct slice in, struct slice *out)
{
	struct slice name = in;

	if (in.len > SMTP_DOMAIN)
		return SMTP_PATH_TOO_LONG;
	if (!utf8_is_ascii(in)) {
		/* libidn2 takes the ideographic full stop for a dot; an empty last label is refused below. */
		enum smtp_path_result r = to_ascii(arena, in, &name);
		if (r != SMTP_PATH_OK)
			return r;
	} else if (!ascii_domain_ok(in)) {
		return SMTP_PATH_BAD_DOMAIN;
	}
	uint8_t *lower = arena_alloc(arena, name.len);
	if (lower == NULL)
		return SMTP_PATH_MEMORY;
	for (size_t i = 0; i < name.len; i++)
		lower[i] = ascii_lower(name.ptr[i]);
	*out = slice_of(lower, name.len);
	return SMTP_PATH_OK;
}

/* Local-part = Dot-string / Quoted-string. *used: bytes read. The unquoted form goes to the arena. */
static enum smtp_path_result read_local(struct arena *arena, struct slice in, struct slice *local,
					size_t *used)
{
	size_t i = 0;

	if (in.len > 0 && in.ptr[0] == '"') {
		uint8_t *to = arena_alloc(arena, in.len < 2 * SMTP_LOCAL_PART + 2 ?
							 in.len : 2 * SMTP_LOCAL_PART + 2);
		if (to == NULL)
			return SMTP_PATH_MEMORY;
		size_t n = 0;
		for (i = 1; i < in.len && in.ptr[i] != '"'; i++) {
			if (in.ptr[i] == '\\' && ++i == in.len)
				return SMTP_PATH_SYNTAX;
			/* qtextSMTP and quoted-pairSMTP are printable ASCII and blanks. */
			if (in.ptr[i] < 0x20 || in.ptr[i] == 0x7f)
				return SMTP_PATH_SYNTAX;
			if (n == SMTP_LOCAL_PART)
				return SMTP_PATH_TOO_LONG;
			to[n++] = in.ptr[i];
		}
		if (i >= in.len)
			return SMTP_PATH_SYNTAX;
		*local = slice_of(to, n);
		*used = i + 1;
	} else {
		for (; i < in.len && (is_atext(in.ptr[i]) || in.ptr[i] == '.'); i++)
			if (in.ptr[i] == '.' && (i == 0 || in.ptr[i - 1] == '.'))
				return SMTP_PATH_SYNTAX;
		if (i == 0 || in.ptr[i - 1] == '.')
			return SMTP_PATH_SYNTAX;
		if (i > SMTP_LOCAL_PART)
			return SMTP_PATH_TOO_LONG;
		*local = arena_dup(arena, slice_head(in, i));
		*used = i;
	}
	if (arena->err != 0)
		return SMTP_PATH_MEMORY;
	return utf8_valid(*local) ? SMTP_PATH_OK : SMTP_PATH_SYNTAX;
}

static bool is_dot_string(struct slice s)
{
	if (s.len == 0 || s.ptr[0] == '.' || s.ptr[s.len - 1] == '.')
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!is_atext(s.ptr[i]) && (s.ptr[i] != '.' || s.ptr[i - 1] == '.'))
			return false;
	return true;
}

/* local@domain with as few quotes as the grammar allows. */
static enum smtp_path_result write_text(struct arena *arena, struct smtp_path *path)
{
	uint8_t *to = arena_alloc(arena, 2 * path->local.len + 3 + path->domain.len);
	size_t n = 0;

	if (to == NULL)
		return SMTP_PATH_MEMORY;
	if (is_dot_string(path->local)) {
		memcpy(to, path->local.ptr, path->local.len);
		n = path->local.len;
	} else {
		to[n++] = '"';
		for (size_t i = 0; i < path->local.len; i++) {
			if (path->local.ptr[i] == '"' || path->local.ptr[i] == '\\')
				to[n++] = '\\';
			to[n++] = path->local.ptr[i];
		}
		to[n++] = '"';
	}
	if (path->domain.len > 0) {
		to[n++] = '@';
		memcpy(to + n, path->domain.ptr, path->domain.len);
		n += path->domain.len;
	}
	path->text = slice_of(to, n);
	return SMTP_PATH_OK;
}

static enum smtp_path_result read_domain(struct arena *arena, struct slice in,
					 struct smtp_path *path)
{
	if (in.len > 0 && in.ptr[0] == '[') {
		if (!smtp_is_address_literal(in))
			return SMTP_PATH_BAD_DOMAIN;
		path->literal = true;
		path->domain = arena_dup(arena, in);
		return arena->err == 0 ? SMTP_PATH_OK : SMTP_PATH_MEMORY;
	}
	return smtp_domain_parse(arena, in, &path->domain);
}

/* Where the mailbox's domain ends: at the bracket or at the end of `in`. */
static size_t domain_span(struct slice in)
{
	size_t i = 0;

	while (i < in.len && in.ptr[i] != '>' && in.ptr[i] > ' ' && in.ptr[i] != 0x7f)
		i++;
	return i;
}

static enum smtp_path_result read_mailbox(struct arena *arena, struct slice in,
					  struct smtp_path *path, size_t *used)
{
	size_t at;
	enum smtp_path_result r = read_local(arena, in, &path->local, &at);

	if (r != SMTP_PATH_OK)
		return r;
	if (at == in.len || in.ptr[at] != '@') {
		/* <Postmaster> stands for the postmaster of this host (§4.1.1.3). */
		if ((at < in.len && in.ptr[at] != '>') ||
		    !slice_eq_nocase(slice_head(in, at), SLICE("postmaster")))
			return SMTP_PATH_SYNTAX;
		path->local = SLICE("postmaster");
		*used = at;
		return write_text(arena, path);
	}
	struct slice tail = slice_from(in, at + 1);
	size_t n = domain_span(tail);
	r = read_domain(arena, slice_head(tail, n), path);
	if (r != SMTP_PATH_OK)
		return r;
	*used = at + 1 + n;
	path->utf8 = !utf8_is_ascii(slice_head(in, *used));
	return write_text(arena, path);
}

/* A-d-l: "@one,@two:" is checked loosely and dropped. False: it starts with '@' and has no end. */
static bool skip_route(struct slice *in)
{
	if (in->len == 0 || in->ptr[0] != '@')
		return true;
	size_t colon = slice_find_byte(*in, ':');
	if (colon == SLICE_NPOS)
		return false;
	for (size_t i = 0; i < colon; i++) {
		uint8_t c = in->ptr[i];
		if (!ascii_alpha(c) && !ascii_digit(c) && c < 0x80 && c != '.' && c != '-' &&
		    c != '_' && c != '@' && c != ',')
			return false;
	}
	*in = slice_from(*in, colon + 1);
	return true;
}

enum smtp_path_result smtp_path_parse(struct arena *arena, struct slice in, struct smtp_path *out,
				      struct slice *rest)
{
	struct smtp_path path = { 0 };
	struct slice at;
	size_t used;

	if (in.len < 2 || in.ptr[0] != '<')
		return SMTP_PATH_SYNTAX;
	if (in.ptr[1] == '>') {
		path.null = true;
		*out = path;
		*rest = slice_from(in, 2);
		return SMTP_PATH_OK;
	}
	at = slice_from(in, 1);
	if (!skip_route(&at))
		return SMTP_PATH_SYNTAX;
	enum smtp_path_result r = read_mailbox(arena, at, &path, &used);
	if (r != SMTP_PATH_OK)
		return r;
	at = slice_from(at, used);
	if (at.len == 0 || at.ptr[0] != '>')
		return SMTP_PATH_SYNTAX;
	if ((size_t)(at.ptr - in.ptr) > SMTP_PATH)
		return SMTP_PATH_TOO_LONG;
	*out = path;
	*rest = slice_from(at, 1);
	return SMTP_PATH_OK;
}

enum smtp_path_result smtp_address_parse(struct arena *arena, struct slice in,
					 struct smtp_path *out)
{
	struct smtp_path path = { 0 };
	size_t used;

	if (in.len > SMTP_PATH)
		return SMTP_PATH_TOO_LONG;
	enum smtp_path_result r = read_mailbox(arena, in, &path, &used);
	if (r != SMTP_PATH_OK)
		return r;
	if (used != in.len)
		return SMTP_PATH_SYNTAX;
	*out = path;
	return SMTP_PATH_OK;
}
