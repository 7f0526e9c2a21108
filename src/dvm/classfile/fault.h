/*
 * What is wrong with a class: the verdict on one broken rule, for people and for programs.
 *
 * One shape for the parser, the format checks and the verifier, so that `prickle dvm verify` prints them alike and a harness can compare them with
 * what a JVM throws.
 */
#pragma once
#include "base/attr.h"
#include "base/slice.h"

enum class_fault_kind {
	CLASS_FAULT_NONE,
	CLASS_FAULT_FORMAT,		/* java.lang.ClassFormatError (also NoClassDefFoundError for another name) */
	CLASS_FAULT_VERSION,		/* UnsupportedClassVersionError */
	CLASS_FAULT_HIERARCHY,		/* IncompatibleClassChangeError, ClassCircularityError: super, interfaces, sealed, nest */
	CLASS_FAULT_VERIFY,		/* VerifyError */
	CLASS_FAULT_LIMIT,		/* beyond our own limits: refused, whatever a JVM says */
};

struct class_fault {
	enum class_fault_kind kind;
	const char *section;		/* of the JVMS (Java SE 25), as "4.10.1.9.getfield"; a literal */
	uint32_t offset;		/* in the class file, of the first wrong byte or of the structure that is wrong */
	int32_t method;			/* index in methods, or -1 */
	int32_t pc;			/* in that method's code, or -1 */
	char text[256];			/* what was found and what was expected, half a sentence; names escaped as printable ASCII */
};

/* Fill *fault (when not NULL) and return false, so that `return class_fault_set(...)` reads well. method and pc become -1. */
bool class_fault_set(struct class_fault *fault, enum class_fault_kind kind, const char *section, uint32_t offset, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* "java.lang.VerifyError" and so on; "-" for none and limits. */
const char *class_fault_error(enum class_fault_kind kind);
