#include "dvm/classfile/fault.h"

#include <stdarg.h>
#include <stdio.h>

bool class_fault_set(struct class_fault *fault, enum class_fault_kind kind, const char *section, uint32_t offset, const char *fmt, ...)
{
	va_list ap;

	if (fault == NULL)
		return false;
	*fault = (struct class_fault){ .kind = kind, .section = section, .offset = offset, .method = -1, .pc = -1 };
	va_start(ap, fmt);
	(void)vsnprintf(fault->text, sizeof(fault->text), fmt, ap);
	va_end(ap);
	return false;
}

const char *class_fault_error(enum class_fault_kind kind)
{
	static const char *const names[] = {
		[CLASS_FAULT_FORMAT] = "java.lang.ClassFormatError",
		[CLASS_FAULT_VERSION] = "java.lang.UnsupportedClassVersionError",
		[CLASS_FAULT_HIERARCHY] = "java.lang.IncompatibleClassChangeError",
		[CLASS_FAULT_VERIFY] = "java.lang.VerifyError",
	};

	return kind < sizeof(names) / sizeof(names[0]) && names[kind] != NULL ? names[kind] : "-";
}
