#include "policy/language/catalogue.h"

#include <string.h>

#define NAMED  false
#define SINGLE true

static const struct {
	const char *name, *what;
	bool single;
} classes[POLICY_CLASS_COUNT] = {
	[POLICY_CLASS_NONE] = { "", "", false },
#define CLASS(id, text, kind, about) [POLICY_##id] = { text, about, kind },
#define PERMISSION(...)
#include "policy/language/catalogue.def"
#undef CLASS
#undef PERMISSION
};

static const struct {
	enum policy_class class;
	uint32_t bit;
	const char *name, *what;
} permissions[] = {
#define CLASS(...)
#define PERMISSION(class, id, text, number, about) { POLICY_##class, 1u << (number), text, about },
#include "policy/language/catalogue.def"
#undef CLASS
#undef PERMISSION
};

static const char *const uses[POLICY_USE_COUNT] = {
	[POLICY_USE_HELPER] = "helper",	    [POLICY_USE_KFUNC] = "kfunc",
	[POLICY_USE_MAP_TYPE] = "map-type", [POLICY_USE_PROGRAM_TYPE] = "program-type",
	[POLICY_USE_CLASS] = "class",
};

static const struct policy_place places[] = {
#define PLACE(name, class, about) { name, POLICY_##class, about },
#include "policy/language/places.def"
#undef PLACE
};

const struct policy_place *policy_place_at(size_t index)
{
	return index < ARRAY_LEN(places) ? &places[index] : NULL;
}

const struct policy_place *policy_place_find(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		if (policy_word_is(name, places[i].text))
			return &places[i];
	return NULL;
}

const char *policy_class_name(enum policy_class c)
{
	return (size_t)c < POLICY_CLASS_COUNT ? classes[c].name : "";
}

const char *policy_class_what(enum policy_class c)
{
	return (size_t)c < POLICY_CLASS_COUNT ? classes[c].what : "";
}

enum policy_class policy_class_find(struct slice name)
{
	for (size_t i = POLICY_CLASS_NONE + 1; i < POLICY_CLASS_COUNT; i++)
		if (policy_word_is(name, classes[i].name))
			return (enum policy_class)i;
	return POLICY_CLASS_NONE;
}

bool policy_class_is_single(enum policy_class c)
{
	return (size_t)c < POLICY_CLASS_COUNT && classes[c].single;
}

uint32_t policy_class_permissions(enum policy_class c)
{
	uint32_t all = 0;

	for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
		if (permissions[i].class == c)
			all |= permissions[i].bit;
	return all;
}

uint32_t policy_permission_find(enum policy_class c, struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
		if (permissions[i].class == c && policy_word_is(name, permissions[i].name))
			return permissions[i].bit;
	return 0;
}

/* The row of the lowest bit that is set, or -1. */
static int permission_row(enum policy_class c, uint32_t bits)
{
	int best = -1;

	for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
		if (permissions[i].class == c && (permissions[i].bit & bits) != 0 &&
		    (best < 0 || permissions[i].bit < permissions[best].bit))
			best = (int)i;
	return best;
}

const char *policy_permission_name(enum policy_class c, uint32_t bit)
{
	int row = permission_row(c, bit);

	return row < 0 ? "" : permissions[row].name;
}

const char *policy_permission_what(enum policy_class c, uint32_t bit)
{
	int row = permission_row(c, bit);

	return row < 0 ? "" : permissions[row].what;
}

const char *policy_predicate_name(uint32_t predicate)
{
	return (predicate & POLICY_OWNER_IS_SUBJECT) != 0   ? "owner is subject" :
	       (predicate & POLICY_ACL_GRANTS_SUBJECT) != 0 ? "acl grants subject" : "";
}

const char *policy_use_name(enum policy_use u)
{
	return (size_t)u < POLICY_USE_COUNT ? uses[u] : "";
}
