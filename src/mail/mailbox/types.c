#include "mail/mailbox/types.h"

const char *mailbox_result_name(enum mailbox_result r)
{
	static const char *const names[] = {
		[MAILBOX_OK] = "ok",
		[MAILBOX_NO_FOLDER] = "no-folder",
		[MAILBOX_EXISTS] = "exists",
		[MAILBOX_CANNOT] = "cannot",
		[MAILBOX_USE_TAKEN] = "use-taken",
		[MAILBOX_OVERQUOTA] = "overquota",
		[MAILBOX_LIMIT] = "limit",
		[MAILBOX_EXPUNGED] = "expunged",
		[MAILBOX_READ_ONLY] = "read-only",
		[MAILBOX_FULL] = "full",
		[MAILBOX_UNAVAILABLE] = "unavailable",
		[MAILBOX_DAMAGED] = "damaged",
		[MAILBOX_DENIED] = "denied",
		[MAILBOX_MEMORY] = "memory",
	};

	return (size_t)r < ARRAY_LEN(names) ? names[r] : "unknown";
}
