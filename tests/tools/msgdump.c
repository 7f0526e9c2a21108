/*
 * A tiny IMAP server on standard input and output over a directory of messages, read-only and
 * authenticated from the start, for tests: it shows what mail/message answers, so that tests/dovecot can compare it
 * with Dovecot without our own server in between.
 *
 * It knows SELECT, FETCH (ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE INTERNALDATE BODY[..] BINARY[..] BINARY.SIZE[..]),
 * SEARCH, SORT, THREAD and LOGOUT, and trusts its client. Bare LFs become CRLF when a file is read, as they do
 * when mail is imported from a Maildir.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/must.h"
#include "mail/message/bodystructure.h"
#include "mail/message/charset.h"
#include "mail/message/date.h"
#include "mail/message/header.h"
#include "mail/message/search_text.h"
#include "mail/message/section.h"
#include "mail/message/sort.h"
#include "mail/message/summary.h"
#include "mail/message/thread.h"
#include "mail/message/transfer.h"
#include "mail/message/words.h"

#define MESSAGE_BYTES_MAX (64u << 20)

struct message {
	struct slice text;
	const struct mime *mime;
	int64_t arrival_s;
};

static struct message *messages;
static size_t message_count;
static struct arena store = ARENA_INIT((size_t)4 << 30);
static struct arena work = ARENA_INIT((size_t)2 << 30);
static struct buf out = BUF_INIT((size_t)1 << 30);

/* ---- messages ---- */

static struct slice read_file(const char *path)
{
	AUTO_BUF struct buf raw = BUF_INIT(MESSAGE_BYTES_MAX);
	FILE *f = fopen(path, "re");
	int c, last = 0;

	must(f != NULL);
	while ((c = getc_unlocked(f)) != EOF) {
		if (c == '\n' && last != '\r')
			buf_addc(&raw, '\r');
		buf_addc(&raw, (uint8_t)c);
		last = c;
	}
	fclose(f);
	must(raw.err == 0);
	return arena_dup(&store, buf_slice(&raw));
}

/* Parse in chunks, encode, decode: what a server does between delivery and FETCH. */
static const struct mime *through_summary(struct slice text)
{
	struct mime_stream *s = mime_stream_new(&work);
	AUTO_BUF struct buf summary = BUF_INIT(1 << 20);
	const struct mime *mime = NULL;
	enum summary_result result;

	for (size_t at = 0; at < text.len; at += 997)
		mime_stream_feed(s, slice_sub(text, at, MIN(at + 997, text.len)));
	summary_encode(&summary, mime_stream_end(s));
	arena_reset(&work);
	must(summary.err == 0);
	result = summary_decode(&store, arena_dup(&store, buf_slice(&summary)), &mime);
	must(result == SUMMARY_OK || result == SUMMARY_PARSE_BODY);	/* our own summary is not damaged */
	return result == SUMMARY_OK ? mime : mime_parse(&store, text);
}

static int not_hidden(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void load(const char *dir)
{
	struct dirent **names;
	int n = scandir(dir, &names, not_hidden, alphasort);

	must(n >= 0);
	messages = calloc((size_t)n + 1, sizeof(*messages));
	must(messages != NULL);
	for (int i = 0; i < n; i++) {
		struct message *m = &messages[message_count++];
		struct stat st;
		char path[4096];
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
		must(stat(path, &st) == 0);
		m->text = read_file(path);
		m->arrival_s = st.st_mtim.tv_sec;
		m->mime = through_summary(m->text);
		free(names[i]);
	}
	free(names);
}

static struct slice header_of(const struct message *m)
{
	return slice_sub(m->text, m->mime->root->header_at, m->mime->root->header_at + m->mime->root->header_bytes);
}

/* ---- commands ---- */

/* A command line with its literals joined in: "{3+}\r\nabc" stays as it came. */
static bool read_command(struct buf *line)
{
	int c;

	buf_reset(line);
	for (;;) {
		while ((c = getchar()) != EOF && c != '\n')
			buf_addc(line, (uint8_t)c);
		if (c == EOF)
			return false;
		if (line->len > 0 && line->ptr[line->len - 1] == '\r')
			line->len--;
		size_t open = slice_rfind_byte(buf_slice(line), '{');
		if (line->len == 0 || line->ptr[line->len - 1] != '}' || open == SLICE_NPOS)
			return true;
		struct slice number = slice_sub(buf_slice(line), open + 1, line->len - 1);
		if (slice_ends(number, SLICE("+")))
			number.len--;
		uint64_t n;
		if (!slice_u64(number, MESSAGE_BYTES_MAX, &n))
			return true;
		buf_addc(line, '\n');
		while (n-- > 0 && (c = getchar()) != EOF)
			buf_addc(line, (uint8_t)c);
	}
}

/* Next word, string or one parenthesis. */
static struct slice word(struct slice *rest)
{
	static const struct slice none;
	struct slice s = *rest, w;
	size_t i = 0;
	int nested = 0;

	while (s.len > 0 && s.ptr[0] == ' ')
		s = slice_from(s, 1);
	if (s.len == 0)
		return none;
	if (s.ptr[0] == '"') {
		uint8_t *copy = arena_alloc(&work, s.len);
		size_t n = 0;
		for (i = 1; i < s.len && s.ptr[i] != '"'; i++) {
			if (s.ptr[i] == '\\')
				i++;
			copy[n++] = s.ptr[i];
		}
		*rest = slice_from(s, i + 1);
		return slice_of(copy, n);
	}
	if (s.ptr[0] == '{') {
		struct slice number, tail;
		uint64_t n;
		slice_cut(slice_from(s, 1), '}', &number, &tail);
		if (slice_ends(number, SLICE("+")))
			number.len--;
		must(slice_u64(number, MESSAGE_BYTES_MAX, &n));
		w = slice_sub(tail, 1, 1 + (size_t)n);
		*rest = slice_from(tail, 1 + (size_t)n);
		return w;
	}
	if (s.ptr[0] == '(' || s.ptr[0] == ')') {
		*rest = slice_from(s, 1);
		return slice_head(s, 1);
	}
	for (i = 0; i < s.len; i++) {
		if (s.ptr[i] == '[')
			nested++;
		if (s.ptr[i] == ']')
			nested--;
		if (nested == 0 && (s.ptr[i] == ' ' || s.ptr[i] == '(' || s.ptr[i] == ')'))
			break;
	}
	*rest = slice_from(s, i);
	return slice_head(s, i);
}

static bool is(struct slice w, const char *name)
{
	return slice_eq_nocase(w, slice_str(name));
}

static void set(struct slice text, size_t *first, size_t *last)
{
	struct slice a, b;
	uint64_t n;

	bool range = slice_cut(text, ':', &a, &b);
	must(slice_u64(a, message_count, &n));
	*first = *last = (size_t)n;
	if (range && is(b, "*"))
		*last = message_count;
	else if (range && slice_u64(b, message_count, &n))
		*last = (size_t)n;
}

/* ---- FETCH ---- */

static void literal(struct slice s)
{
	buf_printf(&out, "{%zu}\r\n", s.len);
	buf_add(&out, s);
}

static void fetch_section(const struct message *m, struct slice item)
{
	struct slice name, text;
	struct section section;
	struct section_range range;
	AUTO_BUF struct buf fields = BUF_INIT(MESSAGE_BYTES_MAX);
	enum mime_encoding encoding = MIME_BINARY;
	struct transfer transfer;

	slice_cut(item, '[', &name, &text);
	bool binary = slice_starts_nocase(name, SLICE("BINARY")), size = is(name, "BINARY.SIZE");
	if (slice_ends(name, SLICE(".PEEK")))
		name.len -= 5;
	text.len--;
	buf_printf(&out, "%.*s[%.*s] ", SLICE_FMT(name), SLICE_FMT(text));
	enum section_result r = section_parse(&work, text, &section);
	must(r == SECTION_OK);
	r = binary ? section_binary(m->mime, &section, &range, &encoding) : section_find(m->mime, &section, &range);
	if (r == SECTION_UNKNOWN_ENCODING) {
		buf_add(&out, SLICE("UNKNOWN-CTE"));
		return;
	}
	if (r != SECTION_OK) {
		buf_adds(&out, binary ? "NIL" : "\"\"");
		return;
	}
	struct slice bytes = slice_sub(m->text, range.at, range.at + range.bytes);
	if (section.kind == SECTION_FIELDS || section.kind == SECTION_FIELDS_NOT) {
		header_select(&fields, bytes, section.names, section.name_count, section.kind == SECTION_FIELDS_NOT);
		bytes = buf_slice(&fields);
	}
	if (binary) {
		transfer = transfer_of(encoding);
		transfer_feed(&transfer, &fields, bytes);
		transfer_end(&transfer, &fields);
		bytes = buf_slice(&fields);
	}
	if (size)
		buf_dec(&out, bytes.len);
	else
		literal(bytes);
}

static void fetch_one(size_t number, struct slice items)
{
	const struct message *m = &messages[number - 1];
	bool first = true;

	buf_printf(&out, "* %zu FETCH (", number);
	for (;;) {
		struct slice item = word(&items);
		if (item.len == 0)
			break;
		if (is(item, "(") || is(item, ")"))
			continue;
		if (!first)
			buf_addc(&out, ' ');
		first = false;
		if (slice_find_byte(item, '[') != SLICE_NPOS) {
			fetch_section(m, item);
			continue;
		}
		buf_add(&out, item);
		buf_addc(&out, ' ');
		if (is(item, "ENVELOPE"))
			bodystructure_envelope(&out, m->mime->root->envelope, false);
		else if (is(item, "BODY") || is(item, "BODYSTRUCTURE"))
			bodystructure_write(&out, m->mime->root, is(item, "BODYSTRUCTURE"), false);
		else if (is(item, "RFC822.SIZE"))
			buf_dec(&out, m->mime->size);
	}
	buf_add(&out, SLICE(")\r\n"));
}

static void flush_out(void)
{
	must(out.err == 0);
	fwrite(out.ptr, 1, out.len, stdout);
	fflush(stdout);
	buf_reset(&out);
}

static void fetch(struct slice rest)
{
	size_t first, last;

	set(word(&rest), &first, &last);
	for (size_t i = first; i <= last; i++) {
		fetch_one(i, rest);
		if (out.len > 1 << 20)
			flush_out();
	}
}

/* ---- SEARCH ---- */

static int64_t day(struct slice text)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct slice d, m, y;
	uint32_t dn = 0, yn = 0;
	int month = 1;

	slice_cut(text, '-', &d, &m);
	slice_cut(m, '-', &m, &y);
	must(slice_u32(d, &dn) && slice_u32(y, &yn));
	for (int i = 0; i < 12; i++)
		if (slice_eq_nocase(m, slice_of(months + (size_t)i * 3, 3)))
			month = i + 1;
	return date_days((int)yn, month, (int)dn);
}

static bool search_content(const struct message *m, struct slice key, bool headers)
{
	struct search_text *s = search_text_new(&work, m->mime, key, headers);

	must(s != NULL);
	for (size_t at = 0; at < m->text.len; at += 1009)
		if (search_text_feed(s, slice_sub(m->text, at, MIN(at + 1009, m->text.len))))
			break;
	bool found = search_text_end(s);
	search_text_free(s);
	return found;
}

static bool sent(const struct message *m, struct slice key, struct slice date)
{
	const struct envelope *env = m->mime->root->envelope;
	int64_t unix_s, want = day(date);
	int zone;

	if (env == NULL || env->date.ptr == NULL || !date_parse(env->date, &unix_s, &zone))
		return false;
	int64_t local = unix_s + zone * 60;
	int64_t have = (local >= 0 ? local : local - 86399) / 86400;
	return is(key, "SENTBEFORE") ? have < want : is(key, "SENTON") ? have == want : have >= want;
}

/* "1:3,7" */
static bool in_set(const struct message *m, struct slice text)
{
	uint64_t number = (uint64_t)(m - messages) + 1;
	struct slice one;

	while (text.len > 0) {
		size_t first, last;
		slice_cut(text, ',', &one, &text);
		set(one, &first, &last);
		if (number >= first && number <= last)
			return true;
	}
	return false;
}

static bool match(const struct message *m, struct slice *rest)
{
	struct slice key = word(rest);
	bool a, b;
	char name[MESSAGE_FIELD_NAME_MAX + 1];
	uint64_t n;

	if (is(key, "ALL"))
		return true;
	if (key.len > 0 && ascii_digit(key.ptr[0]))
		return in_set(m, key);
	if (is(key, "NOT"))
		return !match(m, rest);
	if (is(key, "OR")) {
		a = match(m, rest);
		b = match(m, rest);
		return a || b;
	}
	struct slice arg = word(rest);
	if (is(key, "TEXT") || is(key, "BODY"))
		return search_content(m, arg, is(key, "TEXT"));
	if (is(key, "SUBJECT"))
		return search_subject(&work, header_of(m), arg) > 0;
	if (is(key, "FROM") || is(key, "TO") || is(key, "CC") || is(key, "BCC")) {
		must(slice_to_str(key, name, sizeof(name)));
		return search_address(&work, header_of(m), name, arg) > 0;
	}
	if (is(key, "HEADER")) {
		must(slice_to_str(arg, name, sizeof(name)));
		return search_header(&work, header_of(m), name, word(rest)) > 0;
	}
	if (is(key, "LARGER") || is(key, "SMALLER")) {
		must(slice_u64(arg, UINT64_MAX, &n));
		return is(key, "LARGER") ? m->mime->size > n : m->mime->size < n;
	}
	return sent(m, key, arg);
}

static bool match_all(const struct message *m, struct slice keys)
{
	while (slice_trim(keys).len > 0)
		if (!match(m, &keys))
			return false;
	return true;
}

static void search(struct slice rest)
{
	struct slice after = rest;

	if (is(word(&after), "CHARSET")) {
		(void)word(&after);
		rest = after;
	}
	buf_add(&out, SLICE("* SEARCH"));
	for (size_t i = 0; i < message_count; i++) {
		if (match_all(&messages[i], rest))
			buf_printf(&out, " %zu", i + 1);
		arena_reset(&work);
	}
	buf_add(&out, SLICE("\r\n"));
}

/* ---- SORT, THREAD ---- */

static uint8_t sort_key(struct slice w)
{
	static const struct { const char *name; uint8_t key; } keys[] = {
		{ "ARRIVAL", SORT_ARRIVAL }, { "CC", SORT_CC }, { "DATE", SORT_DATE }, { "FROM", SORT_FROM },
		{ "SIZE", SORT_SIZE }, { "SUBJECT", SORT_SUBJECT }, { "TO", SORT_TO },
	};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (is(w, keys[i].name))
			return keys[i].key;
	return SORT_END;
}

static void sort(struct slice rest)
{
	uint8_t program[SORT_KEYS_MAX + 1] = { 0 }, reverse = 0;
	size_t n = 0;

	must(is(word(&rest), "("));
	for (struct slice w = word(&rest); !is(w, ")"); w = word(&rest)) {
		if (is(w, "REVERSE")) {
			reverse = SORT_REVERSE;
			continue;
		}
		must(n < SORT_KEYS_MAX);
		program[n++] = sort_key(w) | reverse;
		reverse = 0;
	}
	struct sort_item *items = arena_array(&work, message_count, sizeof(*items));
	size_t count = 0;
	(void)word(&rest);
	for (size_t i = 0; i < message_count; i++) {
		if (!match_all(&messages[i], rest))
			continue;
		struct sort_item *item = &items[count++];
		*item = (struct sort_item){ .number = (uint32_t)i + 1, .arrival_s = messages[i].arrival_s,
					       .size = messages[i].mime->size };
		must(sort_item_fill(&work, item, program, messages[i].mime->root->envelope));
	}
	sort_items(items, count, program);
	buf_add(&out, SLICE("* SORT"));
	for (size_t i = 0; i < count; i++)
		buf_printf(&out, " %u", items[i].number);
	buf_add(&out, SLICE("\r\n"));
}

static void thread(struct slice rest)
{
	struct thread_item *items = arena_array(&work, message_count, sizeof(*items));
	struct slice algorithm = word(&rest);
	size_t count = 0;

	(void)word(&rest);
	for (size_t i = 0; i < message_count; i++) {
		if (!match_all(&messages[i], rest))
			continue;
		struct thread_item *item = &items[count++];
		item->number = item->order = (uint32_t)i + 1;
		must(thread_item_fill(&work, item, messages[i].mime->root->envelope, messages[i].arrival_s));
	}
	buf_add(&out, SLICE("* THREAD "));
	bool good = is(algorithm, "REFERENCES") ? thread_references(&work, items, count, &out) :
						  thread_orderedsubject(&work, items, count, &out);
	must(good);
	buf_add(&out, SLICE("\r\n"));
}

int main(int argc, char **argv)
{
	AUTO_BUF struct buf line = BUF_INIT(MESSAGE_BYTES_MAX);

	if (argc != 2) {
		fprintf(stderr, "usage: msgdump DIRECTORY\n");
		return 2;
	}
	charset_init();
	load(argv[1]);
	buf_printf(&out, "* PREAUTH [CAPABILITY IMAP4rev1] %zu messages\r\n", message_count);
	flush_out();
	while (read_command(&line)) {
		struct slice rest = buf_slice(&line);
		struct slice tag = word(&rest), verb = word(&rest);
		arena_reset(&work);
		if (is(verb, "FETCH"))
			fetch(rest);
		else if (is(verb, "SEARCH"))
			search(rest);
		else if (is(verb, "SORT"))
			sort(rest);
		else if (is(verb, "THREAD"))
			thread(rest);
		buf_printf(&out, "%.*s OK done\r\n", SLICE_FMT(tag));
		flush_out();
		if (is(verb, "LOGOUT"))
			break;
	}
	arena_done(&work);
	arena_done(&store);
	buf_done(&out);
	free(messages);
	charset_done();
	return 0;
}
