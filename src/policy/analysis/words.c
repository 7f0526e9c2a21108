#include "policy/analysis/words.h"
#include "base/hex.h"

void words_quoted(struct buf *out, const char *text)
{
	buf_addc(out, '"');
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			buf_addc(out, '\\');
		buf_addc(out, (uint8_t)*text);
	}
	buf_addc(out, '"');
}

static void quoted_or_any(struct buf *out, const char *text)
{
	if (text == NULL)
		buf_adds(out, "any");
	else
		words_quoted(out, text);
}

void words_object(struct buf *out, const struct policy_object *o)
{
	switch (o->kind) {
	case POLICY_NIC:
		buf_adds(out, "nic ");
		quoted_or_any(out, o->text);
		break;
	case POLICY_TREE:
	case POLICY_PATH:
		buf_adds(out, o->kind == POLICY_TREE ? "tree " : "file ");
		quoted_or_any(out, o->text);
		break;
	case POLICY_HOST_PORT:
		buf_adds(out, "host ");
		quoted_or_any(out, o->text);
		if (o->port == 0)
			buf_adds(out, " port any");
		else
			buf_printf(out, " port %u", o->port);
		break;
	case POLICY_MESSAGE:
		buf_adds(out, "message ");
		quoted_or_any(out, o->text);
		buf_printf(out, " of %s", o->of == NULL ? "any" : o->of);
		break;
	case POLICY_PLACE:
		buf_adds(out, "place ");
		words_quoted(out, o->text);
		break;
	default:
		buf_adds(out, policy_class_name(o->class));
	}
}

static void words_key(struct buf *out, const char *word, const uint8_t *key)
{
	buf_printf(out, " %s ", word);
	hex_encode(out, slice_of(key, 32));
}

void words_subject(struct buf *out, const struct policy_subject *s)
{
	static const char *const begin[] = {
		[POLICY_SUBJECT_NONE] = "nobody", [POLICY_EBPF] = "ebpf", [POLICY_JVM] = "jvm code", [POLICY_SERVICE] = "service role",
		[POLICY_PROGRAM] = "program", [POLICY_BY_DIRECTORY] = "principal mapped by directory",
		[POLICY_IN_GROUP] = "principal in group", [POLICY_ROOT] = "principal root", [POLICY_BY_TICKET] = "principal by ticket",
	};

	buf_adds(out, begin[s->kind]);
	if (s->kind == POLICY_EBPF)
		buf_adds(out, s->text == NULL ? " any" : " object");
	if (s->text != NULL) {
		buf_addc(out, ' ');
		words_quoted(out, s->text);
	}
	if (s->signer != NULL)
		words_key(out, "signed-by key", s->signer);
	if (s->sha256 != NULL)
		words_key(out, "sha256", s->sha256);
}

void words_permissions(struct buf *out, enum policy_class class, uint32_t permissions)
{
	for (const char *comma = ""; permissions != 0; permissions &= permissions - 1, comma = ", ")
		buf_printf(out, "%s%s", comma, policy_permission_name(class, permissions & -permissions));
}

void words_predicates(struct buf *out, uint32_t predicates)
{
	for (const char *or = ""; predicates != 0; predicates &= predicates - 1, or = " or ")
		buf_printf(out, "%s%s", or, policy_predicate_name(predicates & -predicates));
}

void words_duration(struct buf *out, uint32_t seconds)
{
	static const struct {
		uint32_t seconds;
		char unit;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' } };

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (seconds % units[i].seconds != 0)
			continue;
		buf_printf(out, "%u%c", seconds / units[i].seconds, units[i].unit);
		return;
	}
	buf_printf(out, "%us", seconds);
}

void words_subjects(struct buf *out, const struct policy *p, const uint16_t *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s%s", i == 0 ? "" : ", ", p->subjects[list[i]].name);
}

void words_objects(struct buf *out, const struct policy *p, const uint16_t *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s%s", i == 0 ? "" : ", ", p->objects[list[i]].name);
}
