/*
 * Words of `use` rules that stand for sets. The sets are the inspector's, which enforces them, so there is one list of each.
 */
#include "policy/language/catalogue.h"
#include "spine/inspect/inspect.h"

static bool default_helper(struct slice name)
{
	int id = inspect_helper_id(name);

	return id > 0 && (inspect_default_helpers[id / 64] >> (id % 64) & 1) != 0;
}

static bool default_map_type(struct slice name)
{
	for (uint32_t type = 1; type < 64; type++)
		if ((inspect_default_map_types >> type & 1) != 0 && inspect_map_type_name(type) != NULL &&
		    slice_eq(name, slice_str(inspect_map_type_name(type))))
			return true;
	return false;
}

bool policy_use_covers(enum policy_use u, const char *word, const char *name)
{
	if (strcmp(word, name) == 0)
		return true;
	if (u == POLICY_USE_HELPER && strcmp(word, "ktime") == 0)
		return slice_starts(slice_str(name), SLICE("ktime_")) && inspect_helper_id(slice_str(name)) > 0;
	if (strcmp(word, "default") != 0)
		return false;
	return u == POLICY_USE_HELPER	? default_helper(slice_str(name)) || strcmp(name, "ktime") == 0 :
	       u == POLICY_USE_MAP_TYPE ? default_map_type(slice_str(name)) :
					  false;
}
