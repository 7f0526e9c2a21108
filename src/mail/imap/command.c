#include "mail/imap/command.h"

#include "base/base64.h"
#include "base/utf8.h"
#include "mail/imap/imapdate.h"
#include "mail/imap/utf7.h"
#include "mail/message/sort.h"

#define ANY	 (IMAP_NOT_AUTHENTICATED | IMAP_AUTHENTICATED | IMAP_SELECTED)
#define LOGGED_IN (IMAP_AUTHENTICATED | IMAP_SELECTED)

const char *const imap_command_names[IMAP_COMMANDS] = {
	[0] = "?",
	[IMAP_CAPABILITY] = "CAPABILITY", [IMAP_NOOP] = "NOOP", [IMAP_LOGOUT] = "LOGOUT",
	[IMAP_STARTTLS] = "STARTTLS", [IMAP_AUTHENTICATE] = "AUTHENTICATE", [IMAP_LOGIN] = "LOGIN",
	[IMAP_ENABLE] = "ENABLE", [IMAP_SELECT] = "SELECT", [IMAP_EXAMINE] = "EXAMINE",
	[IMAP_CREATE] = "CREATE", [IMAP_DELETE] = "DELETE", [IMAP_RENAME] = "RENAME",
	[IMAP_SUBSCRIBE] = "SUBSCRIBE", [IMAP_UNSUBSCRIBE] = "UNSUBSCRIBE", [IMAP_LIST] = "LIST",
	[IMAP_LSUB] = "LSUB", [IMAP_NAMESPACE] = "NAMESPACE", [IMAP_STATUS] = "STATUS",
	[IMAP_APPEND] = "APPEND", [IMAP_IDLE] = "IDLE", [IMAP_ID] = "ID",
	[IMAP_GETQUOTA] = "GETQUOTA", [IMAP_GETQUOTAROOT] = "GETQUOTAROOT",
	[IMAP_SETQUOTA] = "SETQUOTA", [IMAP_SETACL] = "SETACL", [IMAP_DELETEACL] = "DELETEACL",
	[IMAP_GETACL] = "GETACL", [IMAP_LISTRIGHTS] = "LISTRIGHTS", [IMAP_MYRIGHTS] = "MYRIGHTS", [IMAP_CHECK] = "CHECK", [IMAP_CLOSE] = "CLOSE",
	[IMAP_UNSELECT] = "UNSELECT", [IMAP_EXPUNGE] = "EXPUNGE", [IMAP_SEARCH] = "SEARCH",
	[IMAP_SORT] = "SORT", [IMAP_THREAD] = "THREAD", [IMAP_FETCH] = "FETCH",
	[IMAP_STORE] = "STORE", [IMAP_COPY] = "COPY", [IMAP_MOVE] = "MOVE",
};

/* In which states a command is allowed, and whether it may have UID in front. */
static const struct {
	unsigned states;
	bool uid;
} rules[IMAP_COMMANDS] = {
	[IMAP_CAPABILITY] = { ANY, false },
	[IMAP_NOOP] = { ANY, false },
	[IMAP_LOGOUT] = { ANY, false },
	[IMAP_STARTTLS] = { IMAP_NOT_AUTHENTICATED, false },
	[IMAP_AUTHENTICATE] = { IMAP_NOT_AUTHENTICATED, false },
	[IMAP_LOGIN] = { IMAP_NOT_AUTHENTICATED, false },
	[IMAP_ENABLE] = { LOGGED_IN, false },
	[IMAP_SELECT] = { LOGGED_IN, false },
	[IMAP_EXAMINE] = { LOGGED_IN, false },
	[IMAP_CREATE] = { LOGGED_IN, false },
	[IMAP_DELETE] = { LOGGED_IN, false },
	[IMAP_RENAME] = { LOGGED_IN, false },
	[IMAP_SUBSCRIBE] = { LOGGED_IN, false },
	[IMAP_UNSUBSCRIBE] = { LOGGED_IN, false },
	[IMAP_LIST] = { LOGGED_IN, false },
	[IMAP_LSUB] = { LOGGED_IN, false },
	[IMAP_NAMESPACE] = { LOGGED_IN, false },
	[IMAP_STATUS] = { LOGGED_IN, false },
	[IMAP_APPEND] = { LOGGED_IN, false },
	[IMAP_IDLE] = { LOGGED_IN, false },
	[IMAP_ID] = { ANY, false },
	[IMAP_GETQUOTA] = { LOGGED_IN, false },
	[IMAP_GETQUOTAROOT] = { LOGGED_IN, false },
	[IMAP_SETQUOTA] = { LOGGED_IN, false },
	[IMAP_SETACL] = { LOGGED_IN, false },
	[IMAP_DELETEACL] = { LOGGED_IN, false },
	[IMAP_GETACL] = { LOGGED_IN, false },
	[IMAP_LISTRIGHTS] = { LOGGED_IN, false },
	[IMAP_MYRIGHTS] = { LOGGED_IN, false },
	[IMAP_CHECK] = { IMAP_SELECTED, false },
	[IMAP_CLOSE] = { IMAP_SELECTED, false },
	[IMAP_UNSELECT] = { IMAP_SELECTED, false },
	[IMAP_EXPUNGE] = { IMAP_SELECTED, true },
	[IMAP_SEARCH] = { IMAP_SELECTED, true },
	[IMAP_SORT] = { IMAP_SELECTED, true },
	[IMAP_THREAD] = { IMAP_SELECTED, true },
	[IMAP_FETCH] = { IMAP_SELECTED, true },
	[IMAP_STORE] = { IMAP_SELECTED, true },
	[IMAP_COPY] = { IMAP_SELECTED, true },
	[IMAP_MOVE] = { IMAP_SELECTED, true },
};

/* ---- assembly ---- */

/* The literal marker at the end of a line: its offset, or SLICE_NPOS. */
static size_t find_marker(struct slice line, struct imap_literal *out)
{
	struct slice digits;
	size_t at;

	if (line.len < 3 || line.ptr[line.len - 1] != '}')
		return SLICE_NPOS;
	at = slice_rfind_byte(line, '{');
	if (at == SLICE_NPOS)
		return SLICE_NPOS;
	digits = slice_sub(line, at + 1, line.len - 1);
	out->waits = true;
	if (digits.len > 0 && digits.ptr[digits.len - 1] == '+') {
		out->waits = false;
		digits.len--;
	}
	if (!slice_u64(digits, INT64_MAX, &out->bytes))
		return SLICE_NPOS;
	out->binary = at > 0 && line.ptr[at - 1] == '~';
	return out->binary ? at - 1 : at;
}

/* Does a message of APPEND follow "tag APPEND mailbox ..." here? Not yet at the mailbox's own literal. */
static bool at_append_message(struct slice text, size_t marker)
{
	struct slice word;

	if (text.len > 0 && text.ptr[0] == ' ')
		return true;		/* a further message of a MULTIAPPEND */
	if (!slice_cut(text, ' ', &word, &text) || !slice_cut(text, ' ', &word, &text))
		return false;
	if (!slice_eq_nocase(word, SLICE("APPEND")))
		return false;
	return slice_trim(slice_head(text, text.len - marker)).len > 0;
}

enum imap_assembled imap_assemble(struct buf *text, struct slice line, size_t max,
				  struct imap_literal *literal)
{
	size_t at = find_marker(line, literal);

	/* A literal is on its way even then. */
	if (text->len + line.len + 2 > max)
		return at == SLICE_NPOS ? IMAP_COMMAND_TOO_BIG : IMAP_LITERAL_TOO_BIG;
	buf_add(text, line);
	if (text->err != 0)
		return IMAP_COMMAND_TOO_BIG;
	if (at == SLICE_NPOS)
		return IMAP_COMPLETE;
	if (at_append_message(buf_slice(text), line.len - at))
		return IMAP_APPEND_LITERAL;
	if (literal->bytes > IMAP_LITERAL_BYTES_MAX || text->len + 2 + literal->bytes > max)
		return IMAP_LITERAL_TOO_BIG;
	buf_add(text, SLICE("\r\n"));
	return text->err != 0 ? IMAP_COMMAND_TOO_BIG : IMAP_LITERAL;
}

/* ---- pieces ---- */

/* An array in the arena with room for max items; the parse ends when there is no memory. */
static void *new_array(struct imap_lex *l, size_t max, size_t item_bytes)
{
	void *p = arena_array(l->arena, max, item_bytes);

	if (p == NULL)
		lex_limit(l, "the command needs too much memory");
	return p;
}

/* RFC 9051 §5.1, RFC 6855 §3: neither C0 nor C1 control characters, nor separators of lines and paragraphs. */
static bool name_characters_ok(struct slice name)
{
	uint32_t c;

	while (utf8_next(&name, &c)) {
		if (c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029)
			return false;
	}
	return name.len == 0;
}

bool imap_mailbox_name(struct arena *arena, struct slice raw, bool utf8, struct slice *out)
{
	struct slice name;

	if (raw.len > 4 * IMAP_MAILBOX_BYTES_MAX)
		return false;
	if (utf8) {
		/* RFC 9051 §5.1: Net-Unicode; no control characters. */
		if (!utf8_valid(raw))
			return false;
		name = arena_dup(arena, raw);
	} else {
		struct buf decoded = BUF_INIT(4 * IMAP_MAILBOX_BYTES_MAX);
		bool ok = utf7_decode(raw, &decoded);

		name = arena_dup(arena, buf_slice(&decoded));
		buf_done(&decoded);
		if (!ok)
			return false;
	}
	if (arena->err != 0 || name.len > IMAP_MAILBOX_BYTES_MAX)
		return false;
	if (!name_characters_ok(name))
		return false;
	/* RFC 9051 §5.1: INBOX is case-insensitive, also as the first level of a name. */
	if (slice_starts_nocase(name, SLICE("INBOX")) && (name.len == 5 || name.ptr[5] == '/')) {
		uint8_t *copy = arena_alloc(arena, name.len);

		if (copy == NULL)
			return false;
		memcpy(copy, name.ptr, name.len);
		memcpy(copy, "INBOX", 5);
		name.ptr = copy;
	}
	*out = name;
	return true;
}

struct parser {
	struct imap_lex lex;
	const struct imap_parse_context *context;
	struct imap_command *c;
	bool bad_name, bad_use;
};

static struct slice mailbox(struct parser *p)
{
	struct slice raw = lex_astring(&p->lex), name = { 0 };

	if (p->lex.bad)
		return name;
	if (!imap_mailbox_name(p->lex.arena, raw, p->context->utf8, &name)) {
		p->bad_name = true;
		lex_fail(&p->lex, "the mailbox name is not well formed");
	}
	return name;
}

static void flag_list(struct imap_lex *l, struct flag_list *out)
{
	bool parentheses = lex_take(l, '(');

	out->flags = new_array(l, IMAP_FLAGS_MAX, sizeof(*out->flags));
	if (out->flags == NULL || (parentheses && lex_take(l, ')')))
		return;
	do {
		if (out->count == IMAP_FLAGS_MAX) {
			lex_limit(l, "too many flags");
			return;
		}
		out->flags[out->count++] = lex_flag(l);
	} while (lex_take(l, ' '));
	if (parentheses)
		lex_expect(l, ')', "the list of flags is not closed");
}

struct word_bit {
	const char *word;
	uint16_t bit;
};

/* One of the words; 0 when none comes next. */
static uint16_t word_bit(struct imap_lex *l, const struct word_bit *words, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (lex_keyword(l, words[i].word))
			return words[i].bit;
	}
	return 0;
}

static uint16_t status_items(struct imap_lex *l)
{
	static const struct word_bit words[] = {
		{ "MESSAGES", STATUS_MESSAGES },
		{ "RECENT", STATUS_RECENT },
		{ "UIDNEXT", STATUS_UIDNEXT },
		{ "UIDVALIDITY", STATUS_UIDVALIDITY },
		{ "UNSEEN", STATUS_UNSEEN },
		{ "DELETED", STATUS_DELETED },
		{ "SIZE", STATUS_SIZE },
		{ "HIGHESTMODSEQ", STATUS_HIGHESTMODSEQ },
		{ "MAILBOXID", STATUS_MAILBOXID },
		{ "APPENDLIMIT", STATUS_APPENDLIMIT },
		{ "DELETED-STORAGE", STATUS_DELETED_STORAGE },
	};
	uint16_t items = 0;

	lex_expect(l, '(', "STATUS needs a list of items");
	do {
		uint16_t bit = word_bit(l, words, ARRAY_LEN(words));

		if (bit == 0)
			lex_fail(l, "no such STATUS item");
		items |= bit;
	} while (lex_take(l, ' '));
	lex_expect(l, ')', "the list of STATUS items is not closed");
	return items;
}

/* ---- commands ---- */

static void parse_authenticate(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	lex_sp(l);
	p->c->authenticate.mechanism = lex_atom(l);
	/* RFC 4959: SASL-IR; "=" is an empty initial response. */
	if (lex_take(l, ' ')) {
		p->c->authenticate.initial = slice_of(l->at, (size_t)(l->end - l->at));
		p->c->authenticate.has_initial = true;
		if (lex_end(l))
			lex_fail(l, "the initial response is missing");
		l->at = l->end;
	}
}

static void parse_login(struct parser *p)
{
	lex_sp(&p->lex);
	p->c->login.user = lex_astring(&p->lex);
	lex_sp(&p->lex);
	p->c->login.password = lex_astring(&p->lex);
}

static void parse_enable(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	p->c->enable.names = new_array(l, IMAP_ENABLE_MAX, sizeof(struct slice));
	if (p->c->enable.names == NULL)
		return;
	do {
		lex_sp(l);
		if (p->c->enable.count == IMAP_ENABLE_MAX) {
			lex_limit(l, "too many names");
			return;
		}
		p->c->enable.names[p->c->enable.count++] = lex_atom(l);
	} while (!l->bad && !lex_end(l));
}

/* "QRESYNC" SP "(" uidvalidity SP modseq [SP known-uids] [SP "(" seqs SP uids ")"] ")", RFC 7162 §3.2.5. */
static void parse_qresync(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	p->c->select.qresync = true;
	lex_sp(l);
	lex_expect(l, '(', "QRESYNC needs parameters");
	p->c->select.uidvalidity = lex_nz_number(l);
	lex_sp(l);
	p->c->select.modseq = lex_number64(l);
	if (lex_take(l, ' ') && lex_next(l) != '(') {
		p->c->select.has_known = true;
		lex_seqset(l, 0, false, &p->c->select.known_uids);
		if (!lex_take(l, ' '))
			goto close;
	}
	if (lex_take(l, '(')) {
		lex_seqset(l, 0, false, &p->c->select.match_seqs);
		lex_sp(l);
		lex_seqset(l, 0, false, &p->c->select.match_uids);
		lex_expect(l, ')', "QRESYNC match data is not closed");
	}
close:
	lex_expect(l, ')', "QRESYNC parameters are not closed");
}

static void parse_select(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	lex_sp(l);
	p->c->mailbox = mailbox(p);
	if (!lex_take(l, ' '))
		return;
	lex_expect(l, '(', "parameters must be in parentheses");
	do {
		if (lex_keyword(l, "CONDSTORE"))
			p->c->select.condstore = true;
		else if (lex_keyword(l, "QRESYNC"))
			parse_qresync(p);
		else
			lex_fail(l, "no such SELECT parameter");
	} while (lex_take(l, ' '));
	lex_expect(l, ')', "parameters are not closed");
}

static void parse_create(struct parser *p)
{
	static const struct word_bit uses[] = {
		/* The bits of enum special_use (mail/mailbox/types.h) in the order of RFC 6154 §2. */
		{ "All", 1 << 0 },  { "Archive", 1 << 1 }, { "Drafts", 1 << 2 }, { "Flagged", 1 << 3 },
		{ "Junk", 1 << 4 }, { "Sent", 1 << 5 },	   { "Trash", 1 << 6 },	 { "Important", 1 << 7 },
	};
	struct imap_lex *l = &p->lex;

	lex_sp(l);
	p->c->mailbox = mailbox(p);
	if (!lex_take(l, ' '))
		return;
	lex_expect(l, '(', "parameters must be in parentheses");
	if (!lex_keyword(l, "USE"))
		lex_fail(l, "no such CREATE parameter");
	lex_sp(l);
	lex_expect(l, '(', "USE needs a list");
	p->c->create.has_use = true;
	while (!l->bad && lex_next(l) != ')') {
		uint16_t bit;

		lex_expect(l, '\\', "a special use starts with a backslash");
		bit = word_bit(l, uses, ARRAY_LEN(uses));
		if (bit == 0) {
			lex_atom(l);
			p->bad_use |= !l->bad;
		}
		p->c->create.uses |= (uint8_t)bit;
		if (!lex_take(l, ' '))
			break;
	}
	lex_expect(l, ')', "USE is not closed");
	lex_expect(l, ')', "parameters are not closed");
}

/* list-mailbox: like an astring, with the wildcards "%" and "*". */
static struct slice list_mailbox(struct parser *p)
{
	struct imap_lex *l = &p->lex;
	const uint8_t *start = l->at;
	struct slice raw, name;

	while (l->at < l->end && (lex_atom_char(*l->at) || *l->at == ']' || *l->at == '%' ||
				  *l->at == '*'))
		l->at++;
	raw = slice_of(start, (size_t)(l->at - start));
	if (raw.len == 0)
		raw = lex_string(l);
	if (l->bad || raw.len == 0)
		return raw;
	if (!imap_mailbox_name(l->arena, raw, p->context->utf8, &name)) {
		/* A pattern that can match no name is not an error: keep it, it matches nothing. */
		return raw;
	}
	return name;
}

static void list_select_options(struct parser *p)
{
	static const struct word_bit words[] = {
		{ "SUBSCRIBED", LIST_SUBSCRIBED },
		{ "REMOTE", LIST_REMOTE },
		{ "RECURSIVEMATCH", LIST_RECURSIVEMATCH },
		{ "SPECIAL-USE", LIST_SPECIAL_USE },
	};
	struct imap_lex *l = &p->lex;
	uint8_t select = 0;

	p->c->list.extended = true;
	if (!lex_take(l, ')')) {
		do {
			uint16_t bit = word_bit(l, words, ARRAY_LEN(words));

			if (bit == 0)
				lex_fail(l, "no such LIST selection option");
			select |= (uint8_t)bit;
		} while (lex_take(l, ' '));
		lex_expect(l, ')', "selection options are not closed");
	}
	/* RFC 5258 §3.1: RECURSIVEMATCH needs another option that is not REMOTE. */
	if ((select & LIST_RECURSIVEMATCH) && !(select & (LIST_SUBSCRIBED | LIST_SPECIAL_USE)))
		lex_fail(l, "RECURSIVEMATCH needs another selection option");
	p->c->list.select = select;
	lex_sp(l);
}

static void list_return_options(struct parser *p)
{
	static const struct word_bit words[] = {
		{ "SUBSCRIBED", LIST_RETURN_SUBSCRIBED },
		{ "CHILDREN", LIST_RETURN_CHILDREN },
		{ "SPECIAL-USE", LIST_RETURN_SPECIAL_USE },
		{ "STATUS", LIST_RETURN_STATUS },
	};
	struct imap_lex *l = &p->lex;

	p->c->list.extended = true;
	if (!lex_keyword(l, "RETURN"))
		lex_fail(l, "RETURN was expected");
	lex_sp(l);
	lex_expect(l, '(', "RETURN needs a list");
	if (lex_take(l, ')'))
		return;
	do {
		uint16_t bit = word_bit(l, words, ARRAY_LEN(words));

		if (bit == 0)
			lex_fail(l, "no such LIST return option");
		p->c->list.returns |= (uint8_t)bit;
		if (bit == LIST_RETURN_STATUS) {
			lex_sp(l);
			p->c->list.status = status_items(l);
		}
	} while (lex_take(l, ' '));
	lex_expect(l, ')', "return options are not closed");
}

static void parse_list(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	lex_sp(l);
	p->c->list.patterns = new_array(l, IMAP_PATTERNS_MAX, sizeof(struct slice));
	if (p->c->list.patterns == NULL)
		return;
	if (p->c->name == IMAP_LIST && lex_take(l, '('))
		list_select_options(p);
	p->c->list.reference = list_mailbox(p);
	lex_sp(l);
	if (p->c->name == IMAP_LIST && lex_take(l, '(')) {
		p->c->list.extended = true;
		do {
			if (p->c->list.pattern_count == IMAP_PATTERNS_MAX) {
				lex_limit(l, "too many patterns");
				return;
			}
			p->c->list.patterns[p->c->list.pattern_count++] = list_mailbox(p);
		} while (lex_take(l, ' '));
		lex_expect(l, ')', "the list of patterns is not closed");
	} else {
		p->c->list.patterns[p->c->list.pattern_count++] = list_mailbox(p);
	}
	for (size_t i = 0; i < p->c->list.pattern_count; i++) {
		if (p->c->list.patterns[i].len + p->c->list.reference.len > IMAP_PATTERN_BYTES_MAX)
			lex_limit(l, "a pattern is too long");
	}
	if (p->c->name == IMAP_LIST && lex_take(l, ' '))
		list_return_options(p);
}

static void parse_id(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	lex_sp(l);
	if (lex_keyword(l, "NIL"))
		return;
	lex_expect(l, '(', "ID needs a list or NIL");
	p->c->id.pairs = new_array(l, 2 * IMAP_ID_FIELDS_MAX, sizeof(struct slice));
	if (p->c->id.pairs == NULL || lex_take(l, ')'))
		return;
	do {
		bool nil;

		if (p->c->id.count == IMAP_ID_FIELDS_MAX) {
			lex_limit(l, "too many fields");
			return;
		}
		p->c->id.pairs[2 * p->c->id.count] = lex_string(l);
		lex_sp(l);
		p->c->id.pairs[2 * p->c->id.count + 1] = lex_nstring(l, &nil);
		p->c->id.count++;
	} while (lex_take(l, ' '));
	lex_expect(l, ')', "the list of fields is not closed");
}

/* The set of FETCH, STORE, COPY...: message numbers above the mailbox's count are BAD (RFC 9051 §6.4.9). */
static void message_set(struct parser *p, struct seqset *out)
{
	const struct search_stars *stars = &p->context->stars;

	/* "UID FETCH 1:*" in an empty mailbox is no mistake; "FETCH 1:*" is one, but a common one. */
	lex_seqset(&p->lex, p->c->uid ? stars->uid : stars->seq, true, out);
	if (!p->lex.bad && !p->c->uid && seqset_last(out) > stars->seq)
		lex_fail(&p->lex, "there is no message with such a number");
}

static void parse_store(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	lex_sp(l);
	message_set(p, &p->c->store.set);
	lex_sp(l);
	/* RFC 7162 §3.1.3 */
	if (lex_take(l, '(')) {
		if (!lex_keyword(l, "UNCHANGEDSINCE"))
			lex_fail(l, "no such STORE modifier");
		lex_sp(l);
		p->c->store.has_unchangedsince = true;
		p->c->store.unchangedsince = lex_number64(l);
		lex_expect(l, ')', "the modifier is not closed");
		lex_sp(l);
	}
	if (lex_take(l, '+'))
		p->c->store.mode = '+';
	else if (lex_take(l, '-'))
		p->c->store.mode = '-';
	if (lex_keyword(l, "FLAGS.SILENT"))
		p->c->store.silent = true;
	else if (!lex_keyword(l, "FLAGS"))
		lex_fail(l, "FLAGS was expected");
	lex_sp(l);
	flag_list(l, &p->c->store.flags);
}

static void parse_sort(struct parser *p)
{
	static const struct word_bit words[] = {
		{ "ARRIVAL", SORT_ARRIVAL }, { "CC", SORT_CC },		{ "DATE", SORT_DATE },
		{ "FROM", SORT_FROM },	     { "SIZE", SORT_SIZE },	{ "SUBJECT", SORT_SUBJECT },
		{ "TO", SORT_TO },
	};
	struct imap_lex *l = &p->lex;
	size_t n = 0;

	lex_expect(l, '(', "SORT needs a list of keys");
	do {
		uint8_t reverse = 0;
		uint16_t key;

		if (lex_keyword(l, "REVERSE")) {
			reverse = SORT_REVERSE;
			lex_sp(l);
		}
		key = word_bit(l, words, ARRAY_LEN(words));
		if (key == 0)
			lex_fail(l, "no such SORT key");
		else if (n == IMAP_SORT_KEYS_MAX)
			lex_limit(l, "too many SORT keys");
		else
			p->c->search.sort[n++] = (uint8_t)key | reverse;
	} while (lex_take(l, ' '));
	lex_expect(l, ')', "the list of keys is not closed");
	lex_sp(l);
}

static void parse_search(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	lex_sp(l);
	if (p->c->name == IMAP_THREAD) {
		if (lex_keyword(l, "REFERENCES"))
			p->c->search.references = true;
		else if (!lex_keyword(l, "ORDEREDSUBJECT"))
			lex_fail(l, "no such THREAD algorithm");
		lex_sp(l);
	} else if (p->c->name == IMAP_SEARCH) {
		search_parse_return(l, &p->c->search.program);
	}
	if (p->c->name == IMAP_SORT)
		parse_sort(p);
	search_parse(l, p->context->stars, p->c->name != IMAP_SEARCH, &p->c->search.program);
}

/* RFC 4314 §3.1, §3.2, §3.4 */
static void parse_acl(struct parser *p)
{
	struct imap_lex *l = &p->lex;

	lex_sp(l);
	p->c->mailbox = mailbox(p);
	lex_sp(l);
	p->c->acl.identifier = lex_astring(l);
	if (p->c->name != IMAP_SETACL)
		return;
	lex_sp(l);
	if (!imap_rights_change_parse(lex_astring(l), &p->c->acl.rights))
		lex_fail(l, "one of these rights does not exist");
}

static void parse_arguments(struct parser *p)
{
	struct imap_lex *l = &p->lex;
	struct imap_command *c = p->c;

	switch (c->name) {
	case IMAP_CAPABILITY: case IMAP_NOOP: case IMAP_LOGOUT: case IMAP_STARTTLS:
	case IMAP_NAMESPACE: case IMAP_IDLE: case IMAP_CHECK: case IMAP_CLOSE: case IMAP_UNSELECT:
		break;
	case IMAP_EXPUNGE:
		if (c->uid) {
			lex_sp(l);
			message_set(p, &c->copy.set);
		}
		break;
	case IMAP_AUTHENTICATE:
		parse_authenticate(p);
		break;
	case IMAP_LOGIN:
		parse_login(p);
		break;
	case IMAP_ENABLE:
		parse_enable(p);
		break;
	case IMAP_SELECT: case IMAP_EXAMINE:
		parse_select(p);
		break;
	case IMAP_CREATE:
		parse_create(p);
		break;
	case IMAP_RENAME:
		lex_sp(l);
		c->mailbox = mailbox(p);
		lex_sp(l);
		c->rename.to = mailbox(p);
		break;
	case IMAP_SETACL: case IMAP_DELETEACL: case IMAP_LISTRIGHTS:
		parse_acl(p);
		break;
	case IMAP_DELETE: case IMAP_SUBSCRIBE: case IMAP_UNSUBSCRIBE: case IMAP_GETQUOTAROOT: case IMAP_GETACL: case IMAP_MYRIGHTS:
		lex_sp(l);
		c->mailbox = mailbox(p);
		break;
	case IMAP_GETQUOTA:
		/* A quota root's name, not a mailbox. */
		lex_sp(l);
		c->mailbox = lex_astring(l);
		break;
	case IMAP_SETQUOTA:
		l->at = l->end;
		break;
	case IMAP_LIST: case IMAP_LSUB:
		parse_list(p);
		break;
	case IMAP_STATUS:
		lex_sp(l);
		c->mailbox = mailbox(p);
		lex_sp(l);
		c->status.items = status_items(l);
		break;
	case IMAP_APPEND:
		lex_fail(l, "APPEND needs a mailbox and a literal");
		break;
	case IMAP_ID:
		parse_id(p);
		break;
	case IMAP_SEARCH: case IMAP_SORT: case IMAP_THREAD:
		parse_search(p);
		break;
	case IMAP_FETCH:
		lex_sp(l);
		message_set(p, &c->fetch.set);
		lex_sp(l);
		fetch_parse(l, &c->fetch.program);
		/* RFC 7162 §3.2.6: VANISHED is for UID FETCH. */
		if (c->fetch.program.vanished && !c->uid)
			lex_fail(l, "VANISHED is for UID FETCH");
		break;
	case IMAP_STORE:
		parse_store(p);
		break;
	case IMAP_COPY: case IMAP_MOVE:
		lex_sp(l);
		message_set(p, &c->copy.set);
		lex_sp(l);
		c->mailbox = mailbox(p);
		break;
	}
	lex_finish(l);
}

/* tag = 1*<any ASTRING-CHAR except "+"> */
static bool parse_tag(struct imap_lex *l, struct slice *tag)
{
	const uint8_t *start = l->at;

	while (l->at < l->end && (lex_atom_char(*l->at) || *l->at == ']') && *l->at != '+')
		l->at++;
	*tag = slice_of(start, (size_t)(l->at - start));
	return tag->len > 0 && tag->len <= IMAP_TAG_BYTES_MAX && (lex_end(l) || *l->at == ' ');
}

static enum imap_parsed parse_name(struct imap_lex *l, unsigned state, enum imap_name *name,
				   bool *uid, const char **why)
{
	struct slice word;

	lex_take(l, ' ');
	word = lex_word(l);
	*uid = false;
	if (slice_eq_nocase(word, SLICE("UID")) && lex_take(l, ' ')) {
		*uid = true;
		word = lex_word(l);
	}
	for (size_t i = 1; i < IMAP_COMMANDS; i++) {
		if (!slice_eq_nocase(word, slice_str(imap_command_names[i])) || (*uid && !rules[i].uid))
			continue;
		*name = (enum imap_name)i;
		if ((rules[i].states & state) == 0) {
			*why = "not in this state";
			return IMAP_WRONG_STATE;
		}
		return IMAP_PARSED;
	}
	*why = "no such command";
	return IMAP_UNKNOWN;
}

enum imap_parsed imap_parse_head(struct slice text, unsigned state, struct slice *tag,
				 enum imap_name *name, const char **why)
{
	if (text.ptr == NULL)		/* NULL + 0 is not defined in C */
		text = SLICE("");
	struct imap_lex l = { .at = text.ptr, .end = text.ptr + text.len };
	bool uid;

	if (!parse_tag(&l, tag)) {
		*why = "a tag is missing";
		return IMAP_NO_TAG;
	}
	return parse_name(&l, state, name, &uid, why);
}

static enum imap_parsed verdict(const struct parser *p, const char **why)
{
	if (!p->lex.bad)
		return p->bad_use ? IMAP_BAD_MAILBOX_USE : IMAP_PARSED;
	*why = p->lex.why;
	return p->lex.too_much ? IMAP_TOO_MUCH : p->bad_name ? IMAP_BAD_NAME : IMAP_BAD_SYNTAX;
}

static struct parser parser_of(struct arena *arena, struct slice text,
			       const struct imap_parse_context *context, struct imap_command *out)
{
	if (text.ptr == NULL)		/* as above */
		text = SLICE("");
	return (struct parser){
		.lex = { .at = text.ptr, .end = text.ptr + text.len, .arena = arena,
			 .utf8 = context->utf8 },
		.context = context,
		.c = out,
	};
}

/* Tag and name of the command, into p->c. */
static enum imap_parsed parse_head(struct parser *p, const char **why)
{
	*p->c = (struct imap_command){ 0 };
	if (!parse_tag(&p->lex, &p->c->tag)) {
		*why = "a tag is missing";
		return IMAP_NO_TAG;
	}
	return parse_name(&p->lex, p->context->state, &p->c->name, &p->c->uid, why);
}

enum imap_parsed imap_parse(struct arena *arena, struct slice text,
			    const struct imap_parse_context *context, struct imap_command *out,
			    const char **why)
{
	struct parser p = parser_of(arena, text, context, out);
	enum imap_parsed r;

	*why = "";
	r = parse_head(&p, why);
	if (r != IMAP_PARSED)
		return r;
	parse_arguments(&p);
	return verdict(&p, why);
}

/* append-opts and the marker "{n}", "~{n}", "UTF8 (~{n}". */
static void append_part(struct parser *p, struct imap_append_part *part)
{
	struct imap_lex *l = &p->lex;

	if (lex_next(l) == '(') {
		flag_list(l, &part->flags);
		lex_sp(l);
	}
	if (lex_take(l, '"')) {
		const uint8_t *start = l->at;

		while (l->at < l->end && *l->at != '"')
			l->at++;
		if (!imapdate_time(slice_of(start, (size_t)(l->at - start)), &part->date_s,
				   &part->zone_minutes))
			lex_fail(l, "not a date and time");
		part->has_date = true;
		lex_expect(l, '"', "the date is not closed");
		lex_sp(l);
	}
	if (lex_keyword(l, "UTF8")) {
		lex_sp(l);
		lex_expect(l, '(', "UTF8 needs a literal in parentheses");
		part->utf8 = true;
		if (lex_next(l) != '~')
			lex_fail(l, "UTF8 needs a binary literal");
	}
	lex_take(l, '~');
	lex_expect(l, '{', "a literal is missing");
	lex_number64(l);
	lex_take(l, '+');
	lex_expect(l, '}', "a literal is missing");
	lex_finish(l);
}

enum imap_parsed imap_parse_append(struct arena *arena, struct slice text,
				   const struct imap_parse_context *context,
				   struct imap_command *out, struct imap_append_part *part,
				   const char **why)
{
	struct parser p = parser_of(arena, text, context, out);

	*part = (struct imap_append_part){ 0 };
	*why = "";
	if (out != NULL) {
		enum imap_parsed r = parse_head(&p, why);

		if (r != IMAP_PARSED)
			return r;
		lex_sp(&p.lex);
		out->mailbox = mailbox(&p);
	}
	lex_sp(&p.lex);
	append_part(&p, part);
	return verdict(&p, why);
}
