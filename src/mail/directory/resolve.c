/*
 * Whom an address stands for: users, aliases, sub-addresses, catch-alls, the postmaster.
 */
#include "mail/directory/directory_private.h"

/* An address on the way from a recipient to its users. */
struct visit {
	struct address address;
	struct slice detail;		/* of an earlier step, when this one has none */
	unsigned depth;			/* aliases behind us */
};

struct resolving {
	struct directory *d;
	struct arena *arena;
	struct visit visits[DIRECTORY_VISITS_MAX];	/* those before `next` are done */
	size_t visit_count, next;
	struct dir_target *targets;
	size_t target_count;
	bool seen_again;			/* an alias led back to an address on the way */
};

static struct slice join_address(struct arena *arena, struct slice local, struct slice domain)
{
	uint8_t *to = arena_alloc(arena, local.len + 1 + domain.len);

	if (to == NULL)
		return (struct slice){ 0 };
	memcpy(to, local.ptr, local.len);
	to[local.len] = '@';
	memcpy(to + local.len + 1, domain.ptr, domain.len);
	return slice_of(to, local.len + 1 + domain.len);
}

static enum dir_result add_target(struct resolving *g, struct slice address, struct slice domain,
				  struct slice detail, const struct user_record *user)
{
	struct domain_record home = { 0 };
	struct dir_target *t;
	enum dir_result r;

	for (size_t i = 0; i < g->target_count; i++)
		if (slice_eq(g->targets[i].address, address))
			return DIR_OK;
	if (g->target_count == DIRECTORY_TARGETS_MAX)
		return DIR_LOOP;
	t = &g->targets[g->target_count];
	*t = (struct dir_target){
		.address = address,
		.detail = detail,
		.user = *user,
		.quota_bytes = user->quota_bytes,
		.quota_messages = user->quota_messages,
	};
	if (!user->own_quota) {
		r = directory_domain(g->d, g->arena, domain, &home);
		if (r != DIR_OK && r != DIR_ABSENT)
			return r;
		t->quota_bytes = home.quota_bytes;
		t->quota_messages = home.quota_messages;
	}
	g->target_count++;
	return DIR_OK;
}

static enum dir_result add_visits(struct resolving *g, const struct visit *from,
				  const struct alias_record *alias, struct slice detail)
{
	if (from->depth == DIRECTORY_ALIAS_DEPTH_MAX)
		return DIR_LOOP;
	for (size_t i = 0; i < alias->count; i++) {
		struct address a;
		bool seen = false;

		if (!mail_address_parse(g->arena, alias->targets[i], &a)) {
			if (g->arena->err != 0)
				return DIR_TOO_BIG;
			continue;
		}
		for (size_t j = 0; j < g->visit_count && !seen; j++)
			seen = slice_eq(g->visits[j].address.text, a.text);
		g->seen_again |= seen;
		if (seen)
			continue;
		if (g->visit_count == DIRECTORY_VISITS_MAX)
			return DIR_LOOP;
		g->visits[g->visit_count++] =
			(struct visit){ .address = a, .detail = detail, .depth = from->depth + 1 };
	}
	return DIR_OK;
}

/* A user or an alias of exactly this name. ABSENT: neither. */
static enum dir_result try_name(struct resolving *g, const struct visit *v, struct slice name,
				struct slice detail)
{
	struct user_record user;
	struct alias_record alias;
	enum dir_result r = directory_user(g->d, g->arena, name, &user);

	if (r == DIR_OK)
		return add_target(g, name, v->address.domain, detail, &user);
	if (r != DIR_ABSENT)
		return r;
	r = directory_alias(g->d, g->arena, name, &alias);
	if (r != DIR_OK)
		return r;
	return add_visits(g, v, &alias, detail);
}

static enum dir_result visit(struct resolving *g, const struct visit *v)
{
	const struct address *a = &v->address;
	struct slice user, detail, name;
	struct domain_record home;
	enum dir_result r = directory_domain(g->d, g->arena, a->domain, &home);

	if (r != DIR_OK)
		return r == DIR_ABSENT ? DIR_NOT_LOCAL : r;
	r = try_name(g, v, a->text, v->detail);
	if (r != DIR_ABSENT)
		return r;
	if (mail_address_detail(a, g->d->separator, &user, &detail)) {
		name = join_address(g->arena, user, a->domain);
		if (name.ptr == NULL)
			return DIR_TOO_BIG;
		r = try_name(g, v, name, detail);
		if (r != DIR_ABSENT)
			return r;
	}
	name = join_address(g->arena, slice_of("", 0), a->domain);
	if (name.ptr == NULL)
		return DIR_TOO_BIG;
	r = try_name(g, v, name, v->detail);
	if (r == DIR_ABSENT && home.postmaster.len > 0 && slice_eq(a->local, SLICE("postmaster")))
		r = try_name(g, v, home.postmaster, v->detail);
	return r;
}

enum dir_result directory_resolve(struct directory *d, struct arena *arena, const struct address *a,
				  struct dir_target **targets, size_t *count)
{
	struct resolving *g = ARENA_NEW(arena, struct resolving);
	enum dir_result r;

	if (g == NULL)
		return DIR_TOO_BIG;
	g->d = d;
	g->arena = arena;
	g->targets = arena_array(arena, DIRECTORY_TARGETS_MAX, sizeof(*g->targets));
	if (g->targets == NULL)
		return DIR_TOO_BIG;
	g->visits[0].address = *a;
	g->visit_count = 1;
	while (g->next < g->visit_count) {
		const struct visit *v = &g->visits[g->next++];

		r = visit(g, v);
		/* Behind an alias somebody may have left; the others still get their mail. */
		if ((r == DIR_ABSENT || r == DIR_NOT_LOCAL) && v->depth > 0)
			continue;
		if (r != DIR_OK)
			return r;
	}
	if (g->target_count == 0)
		return g->seen_again ? DIR_LOOP : DIR_ABSENT;
	*targets = g->targets;
	*count = g->target_count;
	return DIR_OK;
}
