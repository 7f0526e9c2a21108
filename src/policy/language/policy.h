/*
 * A policy as its files say it, resolved: names are indices, class words are expanded, all statements of all modules and imports are in one
 * place, each with its span. Everything else (table, analysis, export) starts from here. docs/policy.md describes the language.
 *
 *	policy		= { statement }			"#" starts a comment; line ends mean nothing
 *	statement	= "module" NAME
 *			| "import" ( STRING | "default" )
 *			| "key" NAME "=" "ed25519" HEX
 *			| "domain" NAME "=" origin
 *			| "role" NAME "=" "principal" ( "mapped" "by" "directory" | "in" "group" STRING | "root" | "by" "ticket" )
 *			| "label" CLASS NAME "=" object-name
 *			| "allow" NAMES permissions objects [ "where" predicate { "or" predicate } ] tail
 *			| "allow" NAMES "use" use-kind NAMES [ "revocable" ] tail
 *			| "never" some permissions objects [ "except" NAMES ] [ "by" "any" "path" ] tail
 *			| "never" some "use" use-kind NAMES tail
 *			| "enter" NAME "->" NAME [ "with" "ticket" ] [ "for" DURATION ] tail
 *			| "audit" some permissions objects "always"
 *			| "trial" [ NAMES ] "until" DATE	of these subjects, else of all that the module defines
 *			| "limit" NAMES limit { "," limit }
 *			| "expect" ( "allow" | "deny" | "static" ) NAME PERMISSION [ target ]
 *	some		= NAMES | "any" [ "but" NAMES ]
 *	origin		= "ebpf" ( "object" [ STRING ] | "any" ) { "signed-by" ( NAME | STRING ) | "sha256" HEX }
 *			| "jvm" "code" STRING { "signed-by" ... | "sha256" HEX }
 *			| "service" "role" STRING		a process role of the node
 *			| "program" [ STRING ]			what `prickle policy run` starts; the path of the executable
 *	object-name	= "nic" ( STRING | "any" ) | "tree" STRING | "file" STRING
 *			| "host" ( STRING | "any" ) "port" ( NUMBER | "any" ) | "message" ( STRING | "any" ) "of" ( NAME | "any" )
 *			| "place" STRING			of the node: places.def
 *	limit		= "instructions" NUMBER | "cpu" PERCENT | "memory" SIZE | "unbounded" | "terminal" | "tail-calls"
 *	predicate	= "owner" "is" "subject" | "acl" "grants" "subject"
 *	target		= label | CLASS | object-name | STRING	(a STRING is a path, host:port or interface, by the permission's class)
 *	tail		= { "audit" "always" | "because" STRING }
 *
 * Names of a module are known in it by their last word and elsewhere as module.name; keywords that begin a statement cannot be names.
 * Order never matters; rules only add.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "policy/language/catalogue.h"
#include "policy/language/language_limits.h"

struct policy_span {
	uint16_t source;		/* index of policy.sources */
	uint16_t width;			/* columns */
	uint32_t line, column;		/* from 1; line 0: built in */
};

struct policy_source {
	const char *name;		/* as the user wrote it, for messages: "router.policy"; "default" */
	struct slice text;
};

enum policy_subject_kind {
	POLICY_SUBJECT_NONE,		/* index 0: whoever has no label */
	POLICY_EBPF, POLICY_JVM, POLICY_SERVICE, POLICY_PROGRAM,	/* domains */
	POLICY_BY_DIRECTORY,		/* roles: every user of the directory, by protocols for users */
	POLICY_IN_GROUP,		/* a user in this group of the directory, on the admin socket */
	POLICY_ROOT,			/* root and the node's own user, on the admin socket */
	POLICY_BY_TICKET,		/* nobody is this; it is entered */
};

/* A subject. policy.subjects[0] is the unknown one; it has no rights, ever. */
struct policy_subject {
	const char *name;		/* qualified: "mail.user" */
	enum policy_subject_kind kind;
	const char *text;		/* object's name, jar pattern, role, program, group; NULL: any, or the name's last word for ebpf object */
	const uint8_t *signer;		/* 32 bytes, or NULL */
	const uint8_t *sha256;		/* 32 bytes, or NULL */
	uint16_t module;
	int64_t trial_until;		/* seconds since 1970; 0: none */
	/* `limit`; 0: the default */
	uint32_t instructions_max, cpu_permille;
	uint64_t memory_bytes_max;
	bool unbounded, terminal, tail_calls;
	struct policy_span span;
};

enum policy_object_kind {
	POLICY_OBJECT_NONE,		/* index 0: whatever has no label */
	POLICY_SINGLE,			/* of a SINGLE class: there is one of each, always, named like the class */
	POLICY_NIC, POLICY_TREE, POLICY_PATH, POLICY_HOST_PORT, POLICY_MESSAGE,
	POLICY_PLACE,			/* of the node: class FILE or ENDPOINT */
};

struct policy_object {
	const char *name;		/* qualified: "web.appdata"; of a SINGLE class its name */
	enum policy_class class;
	enum policy_object_kind kind;
	const char *text;		/* interface, absolute normal path without "." and "..", host, message, place; NULL: any */
	uint16_t port;			/* POLICY_HOST_PORT; 0: any */
	const char *of;			/* POLICY_MESSAGE: name of the extension; NULL: any */
	uint16_t module;
	struct policy_span span;
};

/* An `allow` or a `never`, about objects of one class. A statement about objects of two classes is two of these. */
struct policy_rule {
	const uint16_t *subjects;	/* indices, sorted, at least one */
	uint16_t subject_count;
	enum policy_class class;
	uint32_t permissions;		/* bits of the class, not 0 */
	const uint16_t *objects;	/* indices, sorted; class words expanded, exceptions taken out; may be none for a never */
	uint16_t object_count;
	uint32_t predicates;		/* enum policy_predicate; 0: unconditional */
	bool audit;			/* audit always */
	bool by_any_path;		/* never */
	const char *because;		/* or NULL */
	struct policy_span span;	/* of the whole statement, for source lines: begins at the keyword */
	uint32_t id;			/* number of the statement, from 1, unique in the policy: in audit records */
};

/* allow|never SUBJECTS use KIND NAMES */
struct policy_use_rule {
	const uint16_t *subjects;
	uint16_t subject_count;
	enum policy_use kind;
	const char *const *names;	/* sorted; checked against the helpers' table when it is one */
	uint16_t name_count;
	bool revocable;			/* the right is checked at run time as well */
	bool never;
	const char *because;
	struct policy_span span;
	uint32_t id;
};

struct policy_enter {
	uint16_t from, to;
	bool ticket, audit;
	uint32_t seconds;		/* 0: no end */
	const char *because;
	struct policy_span span;
	uint32_t id;
};

struct policy_audit {
	const uint16_t *subjects;
	uint16_t subject_count;
	enum policy_class class;
	uint32_t permissions;
	const uint16_t *objects;
	uint16_t object_count;
	struct policy_span span;
	uint32_t id;
};

enum policy_expectation { POLICY_EXPECT_ALLOW, POLICY_EXPECT_DENY, POLICY_EXPECT_STATIC };
struct policy_expect {
	enum policy_expectation what;
	uint16_t subject;
	enum policy_class class;	/* POLICY_CLASS_NONE: a use */
	uint32_t permission;
	uint16_t object;		/* index; 0 when `target` is set, or nothing was named (static: all that the subject may) */
	struct policy_object target;	/* a name to be looked up (kind != POLICY_OBJECT_NONE): path, host:port, interface */
	enum policy_use use; const char *use_name;
	const char *because;
	struct policy_span span;
	uint32_t id;
};

struct policy {
	struct policy_source *sources; size_t source_count;
	const char **modules; size_t module_count;
	struct policy_subject *subjects; size_t subject_count;	/* [0] unknown; then by name */
	struct policy_object *objects; size_t object_count;	/* [0] unknown; single ones by class; then by name */
	struct policy_rule *allows; size_t allow_count;
	struct policy_rule *nevers; size_t never_count;
	struct policy_use_rule *uses; size_t use_count;
	struct policy_enter *enters; size_t enter_count;
	struct policy_audit *audits; size_t audit_count;
	struct policy_expect *expects; size_t expect_count;
	uint32_t statement_count;	/* ids are 1..statement_count */
	struct policy_span *statements;	/* [id]: where it stands */
};

/*
 * Where imports come from: the text of `name` (relative to the importing file's directory, no ".."), as bytes that outlive the policy. 0;
 * negative errno with a sentence. "default" is known to the parser.
 */
typedef int policy_import_fn(void *arg, const char *from, const char *name, struct slice *text, struct errmsg *why);

/*
 * Parse and resolve. Everything lives in the arena, which must be large: POLICY_ARENA_BYTES. 0 and *out; -EINVAL: all errors are in *errors,
 * each as "file:line:col: error: sentence", the source line, a caret line and what was meant; -ENOMEM, -E2BIG with a sentence in *errors.
 * At most POLICY_ERRORS_MAX errors. Deterministic. O(bytes log names).
 */
MUST_USE int policy_parse(struct arena *arena, const char *name, struct slice text, policy_import_fn *import, void *arg,
			  const struct policy **out, struct buf *errors);

/* "file:line:col" of a span. */
void policy_span_text(struct buf *out, const struct policy *p, struct policy_span span);
/* The source line of a span and the line with carets below, as diagnostics print them. Nothing for what is built in. */
void policy_span_show(struct buf *out, const struct policy *p, struct policy_span span);
/* The last word of a qualified name where it is the only one of its kind in the policy, else the whole. For people. */
const char *policy_subject_text(const struct policy *p, uint16_t subject);
const char *policy_object_text(const struct policy *p, uint16_t object);
/* Names as a user types them (short or qualified). Index, or 0. */
uint16_t policy_subject_find(const struct policy *p, struct slice name);
uint16_t policy_object_find(const struct policy *p, struct slice name);
/*
 * A name on a command line or in `expect`: a label, a class of one object, a typed name (nic "eth0"), or for this class a bare path,
 * host:port or interface. True and *out: `kind` is POLICY_OBJECT_NONE when it was a label (then *index), else what to look up.
 */
bool policy_target_parse(struct arena *arena, const struct policy *p, enum policy_class class, struct slice text, uint16_t *index,
			 struct policy_object *out, struct errmsg *why);
/* The text of the shipped policy: what `import default` means, and what holds where none was applied. */
struct slice policy_default_text(void);
