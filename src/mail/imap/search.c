#include "mail/imap/search.h"

#include "mail/imap/limits.h"

/* The argument that follows the key's word. */
enum argument { NONE, DATE, NUMBER, NZ_NUMBER, STRING, KEYWORD, OBJECTID };

static const struct {
	const char *word;
	enum search_op op;
	enum argument argument;
	uint8_t flag;			/* SEARCH_FLAG */
	bool negated;
	const char *name;
} keys[] = {
	{ "ALL", SEARCH_ALL, NONE, 0, false, NULL },
	{ "ANSWERED", SEARCH_FLAG, NONE, SEARCH_ANSWERED, false, NULL },
	{ "BCC", SEARCH_ADDRESS, STRING, 0, false, "bcc" },
	{ "BEFORE", SEARCH_BEFORE, DATE, 0, false, NULL },
	{ "BODY", SEARCH_BODY, STRING, 0, false, NULL },
	{ "CC", SEARCH_ADDRESS, STRING, 0, false, "cc" },
	{ "DELETED", SEARCH_FLAG, NONE, SEARCH_DELETED, false, NULL },
	{ "DRAFT", SEARCH_FLAG, NONE, SEARCH_DRAFT, false, NULL },
	{ "FLAGGED", SEARCH_FLAG, NONE, SEARCH_FLAGGED, false, NULL },
	{ "FROM", SEARCH_ADDRESS, STRING, 0, false, "from" },
	{ "KEYWORD", SEARCH_KEYWORD, KEYWORD, 0, false, NULL },
	{ "LARGER", SEARCH_LARGER, NUMBER, 0, false, NULL },
	{ "OLD", SEARCH_RECENT, NONE, 0, true, NULL },
	{ "ON", SEARCH_ON, DATE, 0, false, NULL },
	{ "RECENT", SEARCH_RECENT, NONE, 0, false, NULL },
	{ "SEEN", SEARCH_FLAG, NONE, SEARCH_SEEN, false, NULL },
	{ "SENTBEFORE", SEARCH_SENTBEFORE, DATE, 0, false, NULL },
	{ "SENTON", SEARCH_SENTON, DATE, 0, false, NULL },
	{ "SENTSINCE", SEARCH_SENTSINCE, DATE, 0, false, NULL },
	{ "SINCE", SEARCH_SINCE, DATE, 0, false, NULL },
	{ "SMALLER", SEARCH_SMALLER, NUMBER, 0, false, NULL },
	{ "SUBJECT", SEARCH_SUBJECT, STRING, 0, false, NULL },
	{ "TEXT", SEARCH_TEXT, STRING, 0, false, NULL },
	{ "TO", SEARCH_ADDRESS, STRING, 0, false, "to" },
	{ "UNANSWERED", SEARCH_FLAG, NONE, SEARCH_ANSWERED, true, NULL },
	{ "UNDELETED", SEARCH_FLAG, NONE, SEARCH_DELETED, true, NULL },
	{ "UNDRAFT", SEARCH_FLAG, NONE, SEARCH_DRAFT, true, NULL },
	{ "UNFLAGGED", SEARCH_FLAG, NONE, SEARCH_FLAGGED, true, NULL },
	{ "UNKEYWORD", SEARCH_KEYWORD, KEYWORD, 0, true, NULL },
	{ "UNSEEN", SEARCH_FLAG, NONE, SEARCH_SEEN, true, NULL },
	/* RFC 5032 */
	{ "OLDER", SEARCH_OLDER, NZ_NUMBER, 0, false, NULL },
	{ "YOUNGER", SEARCH_YOUNGER, NZ_NUMBER, 0, false, NULL },
	/* RFC 8474 §5.2 */
	{ "EMAILID", SEARCH_EMAILID, OBJECTID, 0, false, NULL },
	{ "THREADID", SEARCH_THREADID, OBJECTID, 0, false, NULL },
};

static struct search_key *parse_key(struct imap_lex *l, struct search_stars stars,
				    struct search_program *p, unsigned depth);

static struct search_key *new_key(struct imap_lex *l, struct search_program *p, enum search_op op)
{
	struct search_key *k;

	if (p->key_count == IMAP_SEARCH_KEYS_MAX) {
		lex_limit(l, "too many search keys");
		return NULL;
	}
	k = ARENA_NEW(l->arena, struct search_key);
	if (k == NULL) {
		lex_limit(l, "the command needs too much memory");
		return NULL;
	}
	k->op = op;
	k->index = p->key_count++;
	return k;
}

static struct slice search_string(struct imap_lex *l)
{
	struct slice s = lex_astring(l);

	if (s.len > IMAP_SEARCH_STRING_BYTES_MAX)
		lex_limit(l, "a search string is too long");
	return s;
}

static void parse_argument(struct imap_lex *l, enum argument argument, struct search_key *k)
{
	if (argument == NONE || !lex_sp(l))
		return;
	switch (argument) {
	case NONE:
		break;
	case DATE:
		k->value = lex_date(l);
		break;
	case NUMBER:
		/* number64 in RFC 9051 §9. */
		k->value = (int64_t)lex_number64(l);
		break;
	case NZ_NUMBER:
		k->value = lex_nz_number(l);
		break;
	case STRING:
		k->text = search_string(l);
		break;
	case KEYWORD:
	case OBJECTID:
		k->text = lex_atom(l);
		break;
	}
}

/* NOT k, around a key that is there already. */
static struct search_key *negate(struct imap_lex *l, struct search_program *p, struct search_key *k)
{
	struct search_key *not = new_key(l, p, SEARCH_NOT);

	if (not != NULL)
		not->children = k;
	return not;
}

static struct search_key *parse_group(struct imap_lex *l, struct search_stars stars,
				      struct search_program *p, unsigned depth)
{
	struct search_key *group = new_key(l, p, SEARCH_AND), **tail;

	if (group == NULL)
		return NULL;
	tail = &group->children;
	do {
		*tail = parse_key(l, stars, p, depth + 1);
		if (*tail == NULL)
			return NULL;
		tail = &(*tail)->next;
	} while (lex_take(l, ' '));
	return group;
}

/* "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer (RFC 7162 §3.1.5). */
static void parse_modseq(struct imap_lex *l, struct search_program *p, struct search_key *k)
{
	lex_sp(l);
	if (lex_next(l) == '"') {
		/* We keep one mod-sequence a message, not one a flag: the entry makes no difference. */
		struct slice entry = lex_string(l);

		if (!l->bad && !slice_starts_nocase(entry, SLICE("/flags/")))
			lex_fail(l, "no such MODSEQ entry");
		lex_sp(l);
		if (!lex_keyword(l, "all") && !lex_keyword(l, "shared") && !lex_keyword(l, "priv"))
			lex_fail(l, "no such MODSEQ entry type");
		lex_sp(l);
	}
	k->value = (int64_t)lex_number64(l);
	p->modseq = true;
}

static struct search_key *parse_word(struct imap_lex *l, struct search_program *p)
{
	struct search_key *k;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!lex_keyword(l, keys[i].word))
			continue;
		k = new_key(l, p, keys[i].op);
		if (k == NULL)
			return NULL;
		k->flag = keys[i].flag;
		k->name = slice_str(keys[i].name);
		parse_argument(l, keys[i].argument, k);
		p->needs_envelope |= keys[i].op == SEARCH_SUBJECT || keys[i].op == SEARCH_ADDRESS ||
				     (keys[i].op >= SEARCH_SENTBEFORE && keys[i].op <= SEARCH_SENTSINCE);
		p->needs_body |= keys[i].op == SEARCH_BODY || keys[i].op == SEARCH_TEXT;
		return keys[i].negated ? negate(l, p, k) : k;
	}
	lex_fail(l, "no such search key");
	return NULL;
}

static struct search_key *parse_set(struct imap_lex *l, struct search_program *p,
				    enum search_op op, uint32_t star)
{
	struct search_key *k = new_key(l, p, op);

	if (k != NULL)
		lex_seqset(l, star, true, &k->set);
	return k;
}

static struct search_key *parse_key(struct imap_lex *l, struct search_stars stars,
				    struct search_program *p, unsigned depth)
{
	struct search_key *k = NULL;
	uint8_t c = lex_next(l);

	if (depth > IMAP_SEARCH_DEPTH_MAX) {
		lex_limit(l, "search keys are nested too deep");
		return NULL;
	}
	if (lex_take(l, '(')) {
		k = parse_group(l, stars, p, depth);
		lex_expect(l, ')', "a group of search keys is not closed");
	} else if (ascii_digit(c) || c == '*' || c == '$') {
		k = parse_set(l, p, SEARCH_SEQ, stars.seq);
	} else if (lex_keyword(l, "UID")) {
		lex_sp(l);
		k = parse_set(l, p, SEARCH_UID, stars.uid);
	} else if (lex_keyword(l, "NOT")) {
		lex_sp(l);
		k = parse_key(l, stars, p, depth + 1);
		if (k != NULL)
			k = negate(l, p, k);
	} else if (lex_keyword(l, "OR")) {
		k = new_key(l, p, SEARCH_OR);
		lex_sp(l);
		if (k != NULL)
			k->children = parse_key(l, stars, p, depth + 1);
		lex_sp(l);
		if (k != NULL && k->children != NULL)
			k->children->next = parse_key(l, stars, p, depth + 1);
	} else if (lex_keyword(l, "NEW")) {
		/* RFC 3501 §6.4.4: "(RECENT UNSEEN)". */
		k = new_key(l, p, SEARCH_AND);
		if (k != NULL && (k->children = new_key(l, p, SEARCH_RECENT)) != NULL) {
			struct search_key *seen = new_key(l, p, SEARCH_FLAG);

			if (seen != NULL)
				k->children->next = negate(l, p, seen);
		}
	} else if (lex_keyword(l, "HEADER")) {
		k = new_key(l, p, SEARCH_HEADER);
		lex_sp(l);
		if (k != NULL)
			k->name = search_string(l);
		lex_sp(l);
		if (k != NULL)
			k->text = search_string(l);
		p->needs_envelope = true;
	} else if (lex_keyword(l, "MODSEQ")) {
		k = new_key(l, p, SEARCH_MODSEQ);
		if (k != NULL)
			parse_modseq(l, p, k);
	} else {
		k = parse_word(l, p);
	}
	return l->bad ? NULL : k;
}

/* RFC 4731 §3.1, RFC 5182 §2.1 */
void search_parse_return(struct imap_lex *l, struct search_program *p)
{
	if (!lex_keyword(l, "RETURN"))
		return;
	p->extended = true;
	lex_sp(l);
	lex_expect(l, '(', "RETURN needs a list");
	if (!lex_take(l, ')')) {
		do {
			if (lex_keyword(l, "MIN"))
				p->returns |= RETURN_MIN;
			else if (lex_keyword(l, "MAX"))
				p->returns |= RETURN_MAX;
			else if (lex_keyword(l, "ALL"))
				p->returns |= RETURN_ALL;
			else if (lex_keyword(l, "COUNT"))
				p->returns |= RETURN_COUNT;
			else if (lex_keyword(l, "SAVE"))
				p->returns |= RETURN_SAVE;
			else
				lex_fail(l, "no such RETURN option");
		} while (lex_take(l, ' '));
		lex_expect(l, ')', "the RETURN list is not closed");
	}
	if (p->returns == 0)
		p->returns = RETURN_ALL;
	lex_sp(l);
}

void search_parse(struct imap_lex *l, struct search_stars stars, bool charset_in_front,
		  struct search_program *p)
{
	if (charset_in_front) {
		p->charset = lex_astring(l);
		lex_sp(l);
	} else if (lex_keyword(l, "CHARSET")) {
		lex_sp(l);
		p->charset = lex_astring(l);
		lex_sp(l);
	}
	p->root = parse_group(l, stars, p, 0);
	lex_finish(l);
}
