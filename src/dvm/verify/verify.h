/*
 * May this class run? The rules of the JVMS in three passes, as strict as HotSpot, each answer with section, method, pc and what was expected.
 *
 *	format	4.8 and all of 4.1 to 4.7 (format_*.c): what HotSpot's class-file parser refuses, by version
 *	types	4.10.1 with StackMapTable (version 50 and above); 4.10.2, inference, below 50 and for a 50 without good frames (a JVM falls back there)
 *	links	what the two need to know of other classes is a constraint; it is asked of a class path, or kept in the certificate
 *
 * One function a rule, named by its section. Pure: other classes come by a call-back, and no class is ever loaded or run.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "dvm/classfile/class.h"
#include "dvm/classfile/code.h"

/* What the verifier asks about other classes. */
enum constraint_kind {
	CONSTRAINT_ASSIGNABLE,		/* `name` is assignable to `to`: a subclass, or `to` is an interface (treated as Object, 4.10.1.2) */
	CONSTRAINT_NOT_FINAL,		/* 4.10: the direct superclass is not final */
	CONSTRAINT_NOT_OVERRIDDEN_FINAL,	/* method `member` of `name` overrides no final method of a superclass (4.10) */
	CONSTRAINT_PROTECTED,		/* whether `member` (with descriptor) of superclass `to` is protected and in another package (4.10.1.8): recorded with its answer */
	CONSTRAINT_CLASS,		/* `name` is a class and no interface (the superclass), or the other way round (superinterfaces) */
};

struct constraint {
	enum constraint_kind kind;
	bool answer;			/* what was taken to be so */
	bool checked;			/* against a class path; false: open */
	struct slice name, to, member, descriptor;
};

/*
 * Where other classes are found: the parsed class of that internal name ("java/lang/Object") as the class under test would be given it, or NULL: not on this path.
 * The result must live until the verification ends.
 */
struct class_source {
	const struct class_file *(*find)(void *context, struct slice name);
	void *context;
};

#define VERIFY_NO_FORMAT 0x1u		/* the format passes were done already */
#define VERIFY_RELAXED_FORMAT 0x2u	/* as a JVM treats the classes of its boot loader: relaxed names, no type checking by default; for images */

#define VERIFY_PREVIEW 0x4u		/* as a JVM with --enable-preview: minor version 65535 is taken */

struct verify_result {
	bool ok;
	struct class_fault fault;	/* the first, when !ok */
	bool old;			/* inference was used */
	uint32_t methods, instructions;
	const struct constraint *constraints;	/* in the arena, each once */
	uint32_t constraint_count;
	uint32_t open_count;		/* of them not answered by the class path */
};

/*
 * Verify one parsed class. source NULL, or a class that it lacks: the constraint stays open and is taken to hold. Returns result->ok. O(code) for types with
 * frames; inference is bounded by limits.def. Memory in arena.
 */
MUST_USE bool verify_class(struct arena *arena, const struct class_file *c, const struct class_source *source, uint32_t flags, struct verify_result *result);
/* The format passes alone. */
MUST_USE bool verify_format(struct arena *arena, const struct class_file *c, uint32_t flags, struct class_fault *fault);
/* The certificate: JSON text with the class's SHA-256 (given), version of the rules, constraints; "closed" when none is open. */
void verify_certificate(struct buf *out, const struct class_file *c, struct slice sha256_hex, const struct verify_result *result);
