/*
 * The small words of the IMAP grammar (RFC 9051 §9): atoms, numbers, strings, dates.
 *
 * The text is one whole command; literals stand in it as "{5}\r\nhello" (command.h puts them
 * there). The first thing that does not fit makes the lexer bad and moves it to its end, so
 * callers read on and look once. Strings borrow from the text, except quoted strings with
 * escapes, which are copied to the arena.
 */
#pragma once
#include "base/arena.h"
#include "mail/imap/seqset.h"

struct imap_lex {
	const uint8_t *at, *end;
	struct arena *arena;
	bool bad;
	bool too_much;			/* a limit, not a mistake: NO [LIMIT] */
	bool utf8;			/* quoted strings may hold UTF-8 (rev2, UTF8=ACCEPT) */
	const char *why;		/* for the BAD answer: a fixed text */
};

/* Set bad with a reason (the first one stays); returns false for `return lex_fail(...)`. */
bool lex_fail(struct imap_lex *l, const char *why);
bool lex_limit(struct imap_lex *l, const char *why);

static inline bool lex_end(const struct imap_lex *l)
{
	return l->at == l->end;
}
/* The next byte, 0 at the end. */
static inline uint8_t lex_next(const struct imap_lex *l)
{
	return l->at == l->end ? 0 : *l->at;
}
/* Take the byte if it is next. */
static inline bool lex_take(struct imap_lex *l, uint8_t c)
{
	if (lex_next(l) != c || lex_end(l))
		return false;
	l->at++;
	return true;
}
bool lex_expect(struct imap_lex *l, uint8_t c, const char *why);
static inline bool lex_sp(struct imap_lex *l)
{
	return lex_expect(l, ' ', "a space is missing");
}
/* Nothing may follow. */
bool lex_finish(struct imap_lex *l);

/* ATOM-CHARs; bad when there is none. */
struct slice lex_atom(struct imap_lex *l);
/* Letters and digits and "-", ".", for keywords: as lex_atom, but stops at '[' and the like too. */
struct slice lex_word(struct imap_lex *l);
/* True and taken when the word comes next (case-insensitive) and is not only a prefix of an atom. */
bool lex_keyword(struct imap_lex *l, const char *word);
uint32_t lex_number(struct imap_lex *l);
uint32_t lex_nz_number(struct imap_lex *l);
/* number64 / mod-sequence-valzer: 0 .. 2^63-1 (RFC 7162 §7). */
uint64_t lex_number64(struct imap_lex *l);
/* quoted or literal ("~{" too when binary). */
struct slice lex_string(struct imap_lex *l);
struct slice lex_astring(struct imap_lex *l);
/* As lex_string, or NIL: then *nil is true. */
struct slice lex_nstring(struct imap_lex *l, bool *nil);
/* flag or flag-keyword, with "\\" (RFC 9051 §9 flag). */
struct slice lex_flag(struct imap_lex *l);
/* A set; star as in seqset_parse; star 0 with empty_ok: "*" then names nothing at all. */
void lex_seqset(struct imap_lex *l, uint32_t star, bool empty_ok, struct seqset *out);
/* date, quoted or not: days since 1970. */
int64_t lex_date(struct imap_lex *l);
/* The bytes of an atom (RFC 9051 §9 ATOM-CHAR) and of an astring's atom. */
bool lex_atom_char(uint8_t c);
