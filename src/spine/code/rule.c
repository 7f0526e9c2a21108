#include "spine/code/rule.h"

#include <errno.h>

#include "base/attr.h"
#include "spine/code/guard.h"
#include "spine/code/rule_parse.h"

#define WORK_BYTES_MAX (16u << 20)	/* memory to compare two rules */

/*
 * libpcap would ask DNS for each name in the place of an address, so every word is one of the language
 * or stands directly behind a word that makes it a port or protocol.
 */
static int names_known(const struct tokens *tokens, const char *guard_why, struct errmsg *why)
{
	for (size_t i = 0; i < tokens->count; i++) {
		const struct token *t = &tokens->at[i];
		enum keyword before = i == 0 || t[-1].kind != TOKEN_WORD ? KEY_NONE : t[-1].key;

		if (t->kind == TOKEN_WORD && t->key == KEY_SET)
			return rule_wrong(why, tokens->rule, t->at, t->text.len,
					  "a set cannot be in this rule, since only libpcap can compile it: %s", guard_why);
		if (!(t->kind == TOKEN_WORD && t->key == KEY_NONE) && t->kind != TOKEN_ESCAPED && t->kind != TOKEN_SPAN)
			continue;
		if (before != KEY_PORT && before != KEY_PORTRANGE && before != KEY_PROTO && before != KEY_PROTOCHAIN)
			return rule_unknown_word(why, tokens->rule, t);
	}
	return 0;
}

/*
 * "x and y and z" implies each of its parts, where a part means alone what it means there: it begins with a
 * word of its own (a bare number takes over what stood before), and nothing shifts headers, as `vlan` does.
 */
static bool parts_stand_alone(const struct tokens *tokens)
{
	unsigned depth = 0;

	for (size_t i = 0; i < tokens->count; i++) {
		const struct token *t = &tokens->at[i];

		if (t->kind == TOKEN_OPEN)
			depth++;
		else if (t->kind == TOKEN_CLOSE && depth > 0)
			depth--;
		else if ((t->kind == TOKEN_OR && depth == 0) || t->key == KEY_SHIFT || t->key == KEY_OTHER ||
			 t->key == KEY_PROTOCHAIN)
			return false;
	}
	return true;
}

static void add_implied(struct arena *arena, const struct tokens *tokens, size_t first, size_t end, struct rule *r)
{
	const struct token *a = &tokens->at[first], *z = &tokens->at[end - 1];
	bool stands = a->kind == TOKEN_OPEN || a->kind == TOKEN_NOT || (a->kind == TOKEN_WORD && a->key != KEY_NONE);
	struct slice text = { tokens->rule.ptr + a->at, z->at + z->text.len - a->at };
	struct errmsg why;

	if (stands && r->implied_count < ARRAY_LEN(r->implied) &&
	    rule_parse(arena, text, &r->implied[r->implied_count], &why) == 0)
		r->implied_count++;
}

/* A part has no `and` of its own level, so that this goes one level deep. */
static void find_implied(struct arena *arena, const struct tokens *tokens, struct rule *r)
{
	size_t first = 0;
	unsigned depth = 0;

	if (!parts_stand_alone(tokens))
		return;
	for (size_t i = 0; i < tokens->count; i++) {
		depth += tokens->at[i].kind == TOKEN_OPEN;
		depth -= tokens->at[i].kind == TOKEN_CLOSE && depth > 0;
		if (tokens->at[i].kind != TOKEN_AND || depth > 0)
			continue;
		if (i > first)
			add_implied(arena, tokens, first, i, r);
		first = i + 1;
	}
	if (first > 0 && first < tokens->count)
		add_implied(arena, tokens, first, tokens->count, r);
}

int rule_parse(struct arena *arena, struct slice text, const struct rule **out, struct errmsg *why)
{
	struct tokens tokens;
	struct rule *r;
	int err = rule_lex(text, &tokens, why);

	if (err != 0)
		return err;
	r = ARENA_NEW(arena, struct rule);
	if (r != NULL)
		r->text = arena_str(arena, text);
	if (r == NULL || r->text == NULL)
		return errmsg_say(why, -ENOMEM, "no memory for the match rule");
	err = rule_parse_simple(arena, &tokens, r, why);
	if (err > 0) {
		r->terms = (struct terms){ 0 };
		r->set_count = 0;
		err = names_known(&tokens, r->guard_why, why);
		if (err == 0)
			err = guard_compile(arena, r->text, &r->guard, &r->guard_count, why);
		if (err == 0)
			find_implied(arena, &tokens, r);
	}
	if (err == 0)
		*out = r;
	return err;
}

const char *rule_text(const struct rule *r)
{
	return r->text;
}

bool rule_is_guard(const struct rule *r, const char **why)
{
	if (r->guard_why != NULL && why != NULL)
		*why = r->guard_why;
	return r->guard_why != NULL;
}

const char *rule_set(const struct rule *r, size_t i)
{
	return i < r->set_count ? r->sets[i] : NULL;
}

/* ---- comparing ---- */

/* The terms of r with the sets numbered as in `names`, which gets the new ones. */
static int terms_with(struct arena *arena, const struct rule *r, const char **names, size_t *count, struct terms *out)
{
	unsigned number[RULE_SETS_MAX];

	for (size_t i = 0; i < r->set_count; i++) {
		size_t n = 0;

		while (n < *count && strcmp(names[n], r->sets[i]) != 0)
			n++;
		if (n == *count)
			names[(*count)++] = r->sets[i];
		number[i] = (unsigned)n;
	}
	*out = (struct terms){ r->terms.count, arena_array(arena, r->terms.count, sizeof(struct term)) };
	if (out->at == NULL)
		return -ENOMEM;
	for (size_t t = 0; t < r->terms.count; t++) {
		out->at[t] = r->terms.at[t];
		out->at[t].in = 0;
		for (unsigned i = 0; i < r->set_count; i++) {
			uint64_t both = r->terms.at[t].in >> (2 * i) & 3;

			out->at[t].in |= both << (2 * number[i]);
		}
	}
	return 0;
}

static bool matches_all(const struct rule *r)
{
	const struct term *t = r->terms.at;

	if (r->terms.count != 1 || t->in != 0)
		return false;
	for (int f = 0; f < FIELD_COUNT; f++) {
		if (t->field[f] != NULL)
			return false;
	}
	return true;
}

bool rule_covers(const struct rule *a, const struct rule *b)
{
	AUTO_ARENA struct arena work = ARENA_INIT(WORK_BYTES_MAX);
	const char *names[2 * RULE_SETS_MAX];
	struct terms ta, tb;
	size_t count = 0;
	bool covers = true;

	if (matches_all(a) || strcmp(a->text, b->text) == 0)
		return true;
	for (size_t i = 0; i < b->implied_count; i++)
		if (rule_covers(a, b->implied[i]))
			return true;
	if (a->guard_why != NULL || b->guard_why != NULL)
		return false;
	if (terms_with(&work, a, names, &count, &ta) != 0 || terms_with(&work, b, names, &count, &tb) != 0)
		return false;
	for (size_t i = 0; covers && i < tb.count; i++)
		covers = terms_cover(&work, &ta, &tb.at[i]);
	return covers;
}
