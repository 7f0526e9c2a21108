/*
 * Statements as they are written, before names mean anything: what parse.c makes and resolve.c reads. All in the policy's arena.
 */
#pragma once
#include "policy/language/diag.h"
#include "policy/language/lex.h"

struct word {
	struct slice text;
	struct policy_span span;
	bool string;			/* it was in quotes */
};

struct words {
	struct word *at;
	size_t count;
};

enum statement_kind {
	STATEMENT_KEY, STATEMENT_DOMAIN, STATEMENT_ROLE, STATEMENT_LABEL, STATEMENT_ALLOW, STATEMENT_NEVER, STATEMENT_ENTER,
	STATEMENT_AUDIT, STATEMENT_TRIAL, STATEMENT_LIMIT, STATEMENT_EXPECT,
};

struct statement {
	enum statement_kind kind;
	struct policy_span span;	/* from the keyword to the end of the statement or of its first line */
	uint32_t id;
	uint16_t module;
	struct word name;		/* what a key, domain, role or label is called; `from` of enter */

	struct words subjects;
	bool any_subject;		/* "any [but subjects]" */
	struct words permissions, objects, except;
	bool use;			/* objects are the names of a use */
	struct word use_kind;
	bool revocable, by_any_path, audit, ticket;
	uint32_t predicates;
	const char *because;

	struct word to;			/* enter */
	uint32_t seconds;
	int64_t trial_until;
	enum policy_expectation expectation;

	/* Domains, roles, labels, and targets of expect: the thing's own name. */
	bool typed;			/* `thing` is set (expect) */
	enum policy_subject_kind subject_kind;
	struct policy_object thing;
	struct word class;		/* label CLASS */
	struct word text, of;		/* of.text empty: any */
	bool any_text, any_of;
	struct word signer;
	const uint8_t *hash, *key;	/* 32 bytes */

	/* limit; 0: not given */
	uint32_t instructions_max, cpu_permille;
	uint64_t memory_bytes_max;
	bool unbounded, terminal, tail_calls;

	struct statement *next;
};

struct reading {
	struct arena *arena;
	struct diag diag;
	policy_import_fn *import;
	void *import_arg;
	struct policy_source *sources;	/* POLICY_SOURCES_MAX of them */
	size_t source_count;
	const char **modules;		/* POLICY_MODULES_MAX of them */
	size_t module_count;
	struct statement *first, **last;
	uint32_t statement_count;
	unsigned depth;			/* of imports */
};

/* Read a source and all that it imports. False: no memory. Mistakes are in r->diag. */
MUST_USE bool reading_source(struct reading *r, const char *name, struct slice text);
/* Names to indices. 0; -ENOMEM; mistakes are in r->diag. */
MUST_USE int reading_resolve(struct reading *r, struct policy *out);
/* A bare name, which its class makes a path, host:port or an interface. False: it is none. Text lives in the arena. */
bool target_bare(struct arena *arena, enum policy_class class, struct slice text, struct policy_object *out);
/* Absolute, without empty, "." and ".." segments and without a slash at its end. */
bool path_is_normal(struct slice path);
