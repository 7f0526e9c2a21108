#include "mail/formats/maildir.h"

#include "mail/imap/utf7.h"

/* ---- files ---- */

static const struct { uint8_t letter; unsigned flag; } letters[] = {
	{ 'D', FORMAT_DRAFT },	  { 'F', FORMAT_FLAGGED }, { 'P', FORMAT_FORWARDED },
	{ 'R', FORMAT_ANSWERED }, { 'S', FORMAT_SEEN },	   { 'T', FORMAT_DELETED },
};

static void parse_flags(struct slice info, struct maildir_name *out)
{
	for (size_t i = 0; i < info.len && info.ptr[i] != ','; i++) {
		uint8_t c = info.ptr[i];

		if (c >= 'a' && c <= 'z')
			out->keywords |= UINT32_C(1) << (c - 'a');
		for (size_t k = 0; k < ARRAY_LEN(letters); k++)
			if (letters[k].letter == c)
				out->flags |= letters[k].flag;
	}
}

static void parse_time(struct maildir_name *out)
{
	size_t n = 0;
	uint64_t t;

	while (n < out->unique.len && ascii_digit(out->unique.ptr[n]))
		n++;
	/* Year 9999; other schemes of naming begin with digits, too. */
	out->has_time = n >= 9 && slice_u64(slice_head(out->unique, n), INT64_C(253402300799), &t);
	if (out->has_time)
		out->time_s = (int64_t)t;
}

bool maildir_name_parse(struct slice file, struct maildir_name *out)
{
	struct slice base = file, fields, field;
	size_t colon = slice_rfind_byte(file, ':');

	if (file.len == 0 || file.len > MAILDIR_NAME_BYTES_MAX || file.ptr[0] == '.' ||
	    slice_find_byte(file, '/') != SLICE_NPOS || slice_find_byte(file, 0) != SLICE_NPOS)
		return false;
	*out = (struct maildir_name){ 0 };
	if (colon != SLICE_NPOS) {
		struct slice info = slice_from(file, colon + 1);

		base = slice_head(file, colon);
		if (slice_starts(info, SLICE("2,")))
			parse_flags(slice_from(info, 2), out);
	}
	if (!slice_cut(base, ',', &out->unique, &fields)) {
		out->unique = base;
		fields = (struct slice){ 0 };
	}
	if (out->unique.len == 0)
		return false;
	while (fields.len > 0) {
		struct slice rest = { 0 };

		if (!slice_cut(fields, ',', &field, &rest))
			field = fields;
		if (slice_starts(field, SLICE("S=")))
			out->has_size = slice_u64(slice_from(field, 2), UINT64_MAX, &out->size_bytes);
		fields = rest;
	}
	parse_time(out);
	return true;
}

void maildir_flags_write(struct buf *out, unsigned flags, uint32_t keywords)
{
	buf_adds(out, ":2,");
	for (size_t k = 0; k < ARRAY_LEN(letters); k++)
		if ((flags & letters[k].flag) != 0)
			buf_addc(out, letters[k].letter);
	for (unsigned k = 0; k < MAILDIR_KEYWORDS_MAX; k++)
		if ((keywords >> k & 1) != 0)
			buf_addc(out, (uint8_t)('a' + k));
}

/* ---- directories ---- */

bool maildir_folder_write(struct buf *out, struct slice folder)
{
	AUTO_BUF struct buf plain = BUF_INIT(16384), name = BUF_INIT(65536);

	if (slice_eq(folder, SLICE("INBOX")))
		return true;
	/* Escapes first: they are ASCII and pass through modified UTF-7 as they are. */
	for (size_t i = 0; i < folder.len; i++) {
		uint8_t c = folder.ptr[i];

		if (c == '.')
			buf_adds(&plain, "\\2e");
		else if (c == '\\')
			buf_adds(&plain, "\\5c");
		else
			buf_addc(&plain, c == '/' ? '.' : c);
	}
	buf_addc(&name, '.');
	utf7_encode(buf_slice(&plain), &name);
	if (plain.err != 0 || name.err != 0 || name.len > MAILDIR_NAME_BYTES_MAX)
		return false;
	buf_add(out, buf_slice(&name));
	return out->err == 0;
}

/* Levels without escapes: "." to "/", "\2e" to ".". False: an empty level. */
static bool levels_read(struct buf *out, struct slice text)
{
	bool empty = true;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		struct slice rest = slice_from(text, i);

		if (c == '.' && empty)
			return false;
		empty = c == '.';
		if (slice_starts_nocase(rest, SLICE("\\2e")) || slice_starts_nocase(rest, SLICE("\\5c"))) {
			buf_addc(out, rest.ptr[1] == '2' ? '.' : '\\');
			i += 2;
		} else {
			buf_addc(out, c == '.' ? '/' : c == '/' ? '_' : c);
		}
	}
	return !empty;
}

bool maildir_folder_read(struct buf *out, struct slice directory)
{
	AUTO_BUF struct buf plain = BUF_INIT(4096), name = BUF_INIT(4096);

	if (directory.len < 2 || directory.len > MAILDIR_NAME_BYTES_MAX || directory.ptr[0] != '.')
		return false;
	directory = slice_from(directory, 1);
	/* Not the one right encoding: then it may be UTF-8 as it stands, which some servers write. */
	if (!utf7_decode(directory, &plain)) {
		buf_reset(&plain);
		buf_add(&plain, directory);
	}
	if (plain.err != 0 || !levels_read(&name, buf_slice(&plain)) || name.err != 0)
		return false;
	buf_add(out, buf_slice(&name));
	return out->err == 0;
}

/* ---- the small files ---- */

static bool next_line(struct slice *text, struct slice *line)
{
	size_t lf = slice_find_byte(*text, '\n');

	if (text->len == 0)
		return false;
	*line = slice_head(*text, lf);
	*text = slice_from(*text, lf == SLICE_NPOS ? text->len : lf + 1);
	if (line->len > 0 && line->ptr[line->len - 1] == '\r')
		line->len--;
	return true;
}

void maildir_keywords_read(struct slice text, struct slice names[MAILDIR_KEYWORDS_MAX])
{
	struct slice line, number, name;
	uint64_t n;

	memset(names, 0, MAILDIR_KEYWORDS_MAX * sizeof(*names));
	while (next_line(&text, &line))
		if (slice_cut(line, ' ', &number, &name) && slice_u64(number, MAILDIR_KEYWORDS_MAX - 1, &n))
			names[n] = name;
}

/* "V123" */
static bool lettered(struct slice field, char letter, uint32_t *out)
{
	return field.len > 1 && field.ptr[0] == (uint8_t)letter && slice_u32(slice_from(field, 1), out);
}

bool maildir_uidlist_begin(struct slice text, struct maildir_uidlist *out)
{
	struct slice line, field, rest;
	uint32_t version = 0;

	*out = (struct maildir_uidlist){ 0 };
	if (!next_line(&text, &line) || !slice_cut(line, ' ', &field, &rest) || !slice_u32(field, &version) ||
	    (version != 1 && version != 3))
		return false;
	out->version = version;
	out->rest = text;
	for (unsigned i = 0; rest.len > 0; i++) {
		struct slice more = { 0 };

		if (!slice_cut(rest, ' ', &field, &more))
			field = rest;
		rest = more;
		if (version == 1 && !slice_u32(field, i == 0 ? &out->uidvalidity : &out->uidnext))
			return false;
		if (version == 3 && !lettered(field, 'V', &out->uidvalidity))
			(void)!lettered(field, 'N', &out->uidnext);
	}
	return out->uidvalidity != 0;
}

bool maildir_uidlist_next(struct maildir_uidlist *l, uint32_t *uid, struct slice *unique)
{
	struct slice line, number, name;
	struct maildir_name parsed;

	while (next_line(&l->rest, &line)) {
		if (!slice_cut(line, ' ', &number, &name) || !slice_u32(number, uid) || *uid == 0)
			continue;
		/* Version 3: "uid [extensions] :name". */
		size_t at = l->version == 3 ? slice_find(line, SLICE(" :")) : SLICE_NPOS;
		if (l->version == 3 && at == SLICE_NPOS)
			continue;
		if (at != SLICE_NPOS)
			name = slice_from(line, at + 2);
		if (!maildir_name_parse(name, &parsed))
			continue;
		*unique = parsed.unique;
		return true;
	}
	return false;
}

bool maildir_subscription_next(struct slice *text, bool *version_2, struct buf *out)
{
	AUTO_BUF struct buf plain = BUF_INIT(16384);
	struct slice line;

	buf_reset(out);
	if (!next_line(text, &line))
		return false;
	if (slice_eq(line, SLICE("V\t2"))) {
		*version_2 = true;
		return true;
	}
	if (line.len == 0 || line.len > 4096)
		return true;
	if (!*version_2) {
		/* As a directory's name without its dot; INBOX is itself. */
		buf_addc(&plain, '.');
		buf_add(&plain, line);
		if (!maildir_folder_read(out, buf_slice(&plain)))
			buf_reset(out);
		return true;
	}
	/* Levels are parted by tabs. */
	if (!utf7_decode(line, &plain)) {
		buf_reset(&plain);
		buf_add(&plain, line);
	}
	for (size_t i = 0; i < plain.len; i++)
		buf_addc(out, plain.ptr[i] == '\t' ? '/' : plain.ptr[i]);
	return true;
}
