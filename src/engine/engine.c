#include "engine/engine.h"

const char *engine_result_name(enum engine_result r)
{
	static const char *const names[] = {
		[ENGINE_OK] = "ok",
		[ENGINE_GUARD] = "guard",
		[ENGINE_ABSENT] = "absent",
		[ENGINE_FULL] = "full",
		[ENGINE_UNAVAILABLE] = "unavailable",
		[ENGINE_DAMAGED] = "damaged",
		[ENGINE_DENIED] = "denied",
		[ENGINE_INVALID] = "invalid",
	};

	return (size_t)r < ARRAY_LEN(names) ? names[r] : "unknown";
}
