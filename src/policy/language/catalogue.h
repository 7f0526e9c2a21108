/*
 * Classes of objects, permissions, predicates and kinds of link-time sets: names to numbers and back. The one list is catalogue.def.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum policy_class {
	POLICY_CLASS_NONE,
#define CLASS(id, ...) POLICY_##id,
#define PERMISSION(...)
#include "policy/language/catalogue.def"
#undef CLASS
#undef PERMISSION
	POLICY_CLASS_COUNT
};

/* POLICY_MAILBOX_READ: the bit, as a mask. */
enum policy_permission {
#define CLASS(...)
#define PERMISSION(class, id, name, bit, what) POLICY_##class##_##id = 1u << (bit),
#include "policy/language/catalogue.def"
#undef CLASS
#undef PERMISSION
};

/* Predicates of conditional rules, evaluated by the service that holds the object. A set of them is a mask: one that holds is enough. */
enum policy_predicate {
	POLICY_OWNER_IS_SUBJECT = 1u << 0,	/* "owner is subject" */
	POLICY_ACL_GRANTS_SUBJECT = 1u << 1,	/* "acl grants subject": the object's own list (RFC 4314) */
};
#define POLICY_PREDICATES_ALL 3u

/* Sets that are decided when code is linked: `allow X use KIND NAMES`. */
enum policy_use {
	POLICY_USE_HELPER,		/* eBPF helpers, without "bpf_"; "default": the inspector's set; "ktime": all clocks */
	POLICY_USE_KFUNC,
	POLICY_USE_MAP_TYPE,		/* "default": the inspector's set */
	POLICY_USE_PROGRAM_TYPE,	/* "xdp", "syscall" */
	POLICY_USE_CLASS,		/* members of Java classes: "java.lang.System.exit" */
	POLICY_USE_COUNT
};

/* A word is this text. Asked of each word for a dozen of texts, so the first byte is looked at before any length is. */
static inline bool policy_word_is(struct slice word, const char *text)
{
	return word.len != 0 && word.ptr[0] == (uint8_t)text[0] && slice_eq(word, slice_str(text));
}

const char *policy_class_name(enum policy_class c);		/* "mailbox"; never NULL */
enum policy_class policy_class_find(struct slice name);		/* or POLICY_CLASS_NONE */
bool policy_class_is_single(enum policy_class c);
uint32_t policy_class_permissions(enum policy_class c);		/* all of its bits */
uint32_t policy_permission_find(enum policy_class c, struct slice name);	/* one bit, or 0 */
const char *policy_permission_name(enum policy_class c, uint32_t bit);	/* of the lowest bit set; "" when there is none */
const char *policy_permission_what(enum policy_class c, uint32_t bit);
const char *policy_class_what(enum policy_class c);
const char *policy_predicate_name(uint32_t predicate);		/* "owner is subject" */
const char *policy_use_name(enum policy_use u);			/* "helper" */
/* A place of the node (places.def) in the words of the policy, e.g. "state": its row, or NULL. `text` is static. */
struct policy_place { const char *text; enum policy_class class; const char *what; };
const struct policy_place *policy_place_find(struct slice name);
/* All of them, in the order of places.def; NULL past the last. */
const struct policy_place *policy_place_at(size_t index);
/*
 * A word of a `use` rule stands for this name: itself, or it is a set that has it ("default" of helpers and map types is the inspector's set,
 * "ktime" all clocks).
 */
bool policy_use_covers(enum policy_use u, const char *word, const char *name);
