/*
 * Names of things as a person types them: on a command line, in `expect`.
 */
#include <errno.h>

#include "policy/language/tree.h"

static bool host_and_port(struct slice text, struct policy_object *out, struct arena *arena)
{
	size_t colon = slice_rfind_byte(text, ':');
	uint64_t port;

	if (colon == SLICE_NPOS || colon == 0 || !slice_u64(slice_from(text, colon + 1), 65535, &port) || port == 0)
		return false;
	out->port = (uint16_t)port;
	out->text = arena_str(arena, slice_head(text, colon));
	return true;
}

bool target_bare(struct arena *arena, enum policy_class class, struct slice text, struct policy_object *out)
{
	*out = (struct policy_object){ .class = class };
	switch (class) {
	case POLICY_FILE:
		out->kind = POLICY_PATH;
		break;
	case POLICY_PORT:
		out->kind = POLICY_NIC;
		break;
	case POLICY_ENDPOINT:
		out->kind = POLICY_HOST_PORT;
		return host_and_port(text, out, arena);
	default:
		return false;
	}
	out->text = arena_str(arena, text);
	return true;
}

static struct slice unquoted(struct slice s)
{
	s = slice_trim(s);
	return s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"' ? slice_sub(s, 1, s.len - 1) : s;
}

static bool typed_target(struct arena *arena, struct slice kind, struct slice rest, struct policy_object *out)
{
	struct slice name, port;
	size_t at;

	if (slice_eq(kind, SLICE("nic")))
		return target_bare(arena, POLICY_PORT, unquoted(rest), out);
	if (slice_eq(kind, SLICE("tree")) || slice_eq(kind, SLICE("file")))
		return target_bare(arena, POLICY_FILE, unquoted(rest), out);
	*out = (struct policy_object){ .class = slice_eq(kind, SLICE("host")) ? POLICY_ENDPOINT : POLICY_HANDLER };
	at = slice_find(rest, out->class == POLICY_ENDPOINT ? SLICE(" port ") : SLICE(" of "));
	if (at == SLICE_NPOS)
		return false;
	name = unquoted(slice_head(rest, at));
	port = unquoted(slice_from(rest, at + (out->class == POLICY_ENDPOINT ? 6 : 4)));
	out->text = arena_str(arena, name);
	if (out->class == POLICY_ENDPOINT) {
		uint64_t n;
		out->kind = POLICY_HOST_PORT;
		if (!slice_u64(port, 65535, &n) || n == 0)
			return false;
		out->port = (uint16_t)n;
		return true;
	}
	out->kind = POLICY_MESSAGE;
	out->of = arena_str(arena, port);
	return name.len > 0 && port.len > 0;
}

bool policy_target_parse(struct arena *arena, const struct policy *p, enum policy_class class, struct slice text, uint16_t *index,
			 struct policy_object *out, struct errmsg *why)
{
	struct slice first, rest;

	text = slice_trim(text);
	*index = policy_object_find(p, text);
	if (*index != 0) {
		*out = (struct policy_object){ 0 };
		if (class == POLICY_CLASS_NONE || p->objects[*index].class == class)
			return true;
		errmsg_say(why, -EINVAL, "'%.*s' is a %s, not a %s", SLICE_FMT(text), policy_class_name(p->objects[*index].class),
			   policy_class_name(class));
		return false;
	}
	if (text.len <= POLICY_STRING_BYTES_MAX && slice_cut(text, ' ', &first, &rest) &&
	    (slice_eq(first, SLICE("nic")) || slice_eq(first, SLICE("tree")) || slice_eq(first, SLICE("file")) ||
	     slice_eq(first, SLICE("host")) || slice_eq(first, SLICE("message"))) && typed_target(arena, first, rest, out))
		return true;
	text = unquoted(text);
	if (text.len > 0 && text.len <= POLICY_STRING_BYTES_MAX && class != POLICY_CLASS_NONE && target_bare(arena, class, text, out))
		return true;
	errmsg_say(why, -EINVAL, "'%.*s' is no object: a label of the policy, a class of one object (mailbox), a path, host:port, or nic \"NAME\"",
		   SLICE_FMT(slice_head(text, 100)));
	return false;
}
