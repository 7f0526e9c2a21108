/*
 * Tickets: one login to another's mailbox, for reading and for a while.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hex.h"
#include "mail/auth/auth_private.h"
#include "policy/language/policy.h"
#include "sys/world.h"

#define ARENA_BYTES  (64u * 1024u)
#define SECRET_BYTES (AUTH_TICKET_SECRET_CHARS / 2)

struct live_ticket {
	struct list link;
	struct auth_ticket t;
	char account[RECORD_ACCOUNT_CHARS + 1];	/* a user made anew under the same name is somebody else */
	uint8_t secret[crypto_generichash_BYTES];
	uint8_t grant[GRANT_ID_BYTES];	/* of the session; when used */
};

static int64_t now_us(struct auth *a)
{
	return world_real_us(a->world);
}

static struct live_ticket *find(struct auth *a, struct slice id)
{
	list_for_each(it, &a->tickets) {
		struct live_ticket *l = list_entry(it, struct live_ticket, link);

		if (slice_eq(id, slice_str(l->t.id)))
			return l;
	}
	return NULL;
}

struct live_ticket *auth_ticket_named(struct auth *a, struct slice written)
{
	struct slice id, domain;

	if (!slice_starts(written, SLICE("ticket-")))
		return NULL;
	slice_cut(slice_from(written, 7), '@', &id, &domain);
	return find(a, id);
}

static void random_hex(struct auth *a, size_t bytes, char *out)
{
	AUTO_BUF struct buf hex = BUF_INIT(2 * SECRET_BYTES + 1);
	uint8_t raw[SECRET_BYTES];

	world_random(a->world, raw, bytes);
	hex_encode(&hex, slice_of(raw, bytes));
	if (hex.err != 0 || !slice_to_str(buf_slice(&hex), out, 2 * bytes + 1))
		out[0] = '\0';
	sodium_memzero(raw, sizeof(raw));
	if (hex.ptr != NULL)
		sodium_memzero(hex.ptr, hex.cap);
}

enum auth_admin_result auth_ticket_give(struct auth *a, struct auth_ticket *t, uint32_t seconds, char secret[AUTH_TICKET_SECRET_CHARS + 1])
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct user_record user;
	struct live_ticket *l;
	struct address address;
	enum dir_result d;
	size_t count = 0, own = 0;

	if (!mail_address_parse(&arena, slice_str(t->address), &address))
		return AUTH_ADMIN_BAD_NAME;
	d = directory_user(a->dir, &arena, address.text, &user);
	if (d != DIR_OK)
		return auth_admin_of(d);
	list_for_each(it, &a->tickets) {
		count++;
		own += strcmp(list_entry(it, struct live_ticket, link)->t.who, t->who) == 0;
	}
	l = count >= AUTH_TICKETS_MAX || own >= AUTH_TICKETS_PER_GIVER_MAX ? NULL : calloc(1, sizeof(*l));
	if (l == NULL)
		return AUTH_ADMIN_TEMPORARY;
	random_hex(a, AUTH_TICKET_ID_CHARS / 2, t->id);
	random_hex(a, SECRET_BYTES, secret);
	if (t->id[0] == '\0' || secret[0] == '\0' || find(a, slice_str(t->id)) != NULL ||
	    !slice_to_str(address.text, t->address, sizeof(t->address))) {
		free(l);
		return AUTH_ADMIN_TEMPORARY;
	}
	t->used = false;
	t->until_us = now_us(a) + (int64_t)MIN(MAX(seconds, 1u), POLICY_TICKET_S_MAX) * 1000000;
	l->t = *t;
	memcpy(l->account, user.account, sizeof(l->account));
	crypto_generichash(l->secret, sizeof(l->secret), (const uint8_t *)secret, AUTH_TICKET_SECRET_CHARS, NULL, 0);
	list_push_back(&a->tickets, &l->link);
	return AUTH_ADMIN_OK;
}

static bool lasts(struct auth *a, const struct live_ticket *l)
{
	struct policy_edge edge;

	return now_us(a) < l->t.until_us && a->authority != NULL &&
	       policy_edge_find(&a->authority->table, l->t.from, l->t.to, &edge) && edge.ticket;
}

static void drop(struct auth *a, struct live_ticket *l)
{
	uint8_t ids[1][GRANT_ID_BYTES];
	struct live_grant *g = l->t.used ? grant_table_find(&a->grants, l->grant) : NULL;

	list_del(&l->link);
	sodium_memzero(l, sizeof(*l));
	free(l);
	if (g == NULL)
		return;
	memcpy(ids[0], g->g.id, GRANT_ID_BYTES);
	grant_table_del(&a->grants, g);
	a->store.revoke(a->store.arg, ids, 1);
}

void auth_tickets_tick(struct auth *a)
{
	bool again = true;

	/* The list may have changed while the store was told. */
	while (again) {
		again = false;
		list_for_each(it, &a->tickets) {
			struct live_ticket *l = list_entry(it, struct live_ticket, link);

			if (lasts(a, l))
				continue;
			drop(a, l);
			again = true;
			break;
		}
	}
}

void auth_tickets_done(struct auth *a)
{
	list_for_each(it, &a->tickets) {
		list_del(it);
		free(list_entry(it, struct live_ticket, link));
	}
}

bool auth_ticket_at(struct auth *a, const char *who, size_t n, struct auth_ticket *out)
{
	list_for_each(it, &a->tickets) {
		struct live_ticket *l = list_entry(it, struct live_ticket, link);

		if (!lasts(a, l) || (who != NULL && strcmp(who, l->t.who) != 0))
			continue;
		if (n-- == 0) {
			*out = l->t;
			return true;
		}
	}
	return false;
}

enum auth_admin_result auth_ticket_revoke(struct auth *a, struct slice id, const char *who)
{
	struct live_ticket *l = find(a, id);

	if (l == NULL || (who != NULL && strcmp(who, l->t.who) != 0))
		return AUTH_ADMIN_ABSENT;
	drop(a, l);
	return AUTH_ADMIN_OK;
}

/* The transfer and the login are asked of the policy, and recorded. What the label may read is the grant; never does it write. */
static bool may(struct auth *a, const struct live_ticket *l, const char *who)
{
	struct authority *p = a->authority;
	struct policy_actor actor;
	bool allowed;

	actor_init(&actor, l->t.from, slice_str(who));
	if (authority_enter(p, &actor, l->t.to, true, SLICE("IMAP login by ticket"), NULL) != 0)
		return false;
	allowed = authority_allows(p, &actor, POLICY_ACCOUNT, policy_object_single(&p->table, POLICY_ACCOUNT), POLICY_ACCOUNT_LOGIN, 0,
				   slice_str(l->t.address), SLICE("IMAP login by ticket"), NULL) &&
		  authority_rights(p, &actor, policy_object_single(&p->table, POLICY_MAILBOX), POLICY_MAILBOX_READ, 0) != 0;
	/* The session leaves when it ends: its own copy of the actor does. */
	return allowed;
}

/* Who gave it is still who may: a ticket is worth no more than its giver's membership. Root needs none. Waits for the directory. */
static enum dir_result giver(struct auth *a, struct arena *arena, const struct auth_ticket *t)
{
	struct slice group, rest;
	struct user_record user;
	enum dir_result d;

	if (policy_subject_role(&a->authority->table, POLICY_ROOT) == t->from)
		return DIR_OK;
	d = directory_user(a->dir, arena, slice_str(t->who), &user);
	if (d != DIR_OK)
		return d;
	/* Who is locked gives nothing on the admin socket either. */
	if (user.disabled)
		return DIR_ABSENT;
	for (rest = user.groups; rest.len > 0;) {
		slice_cut(rest, ',', &group, &rest);
		if (policy_subject_group(&a->authority->table, group) == t->from)
			return DIR_OK;
	}
	return DIR_ABSENT;
}

static void write_ticket(struct buf *login, const struct auth_ticket *t, const char *who)
{
	buf_addc(login, 1);
	buf_be16(login, t->from);
	buf_be16(login, t->to);
	buf_be64(login, (uint64_t)t->until_us);
	buf_blob(login, slice_str(who));
}

enum auth_result auth_ticket_login(struct auth_client *c, struct live_ticket *l, struct slice secret, struct arena *arena, struct buf *login)
{
	uint8_t hash[crypto_generichash_BYTES];
	struct auth *a = c->auth;
	struct domain_record home = { 0 };
	struct user_record user;
	struct auth_ticket t = l->t;
	struct live_grant *g;
	char who[96], account[RECORD_ACCOUNT_CHARS + 1];
	enum dir_result d;
	int64_t left_s;

	crypto_generichash(hash, sizeof(hash), secret.ptr, secret.len, NULL, 0);
	if (t.used || !lasts(a, l) || sodium_memcmp(hash, l->secret, sizeof(hash)) != 0)
		return AUTH_REJECTED;
	memcpy(account, l->account, sizeof(account));
	snprintf(who, sizeof(who), "%.70s (ticket-%s)", t.who, t.id);
	/* From here on it is used; nobody else comes in while we wait. */
	l->t.used = true;
	d = giver(a, arena, &t);
	if (d == DIR_OK)
		d = directory_user(a->dir, arena, slice_str(t.address), &user);
	l = find(a, slice_str(t.id));
	if (l == NULL || (d == DIR_OK && strcmp(user.account, account) != 0) || d == DIR_ABSENT)
		return AUTH_REJECTED;
	if (d != DIR_OK) {
		l->t.used = false;
		return AUTH_TEMPORARY;
	}
	if (!may(a, l, who))
		return AUTH_DISABLED;
	left_s = (t.until_us - now_us(a) + 999999) / 1000000;
	g = auth_give(c, account, GRANT_READ, (uint32_t)MAX(left_s, 1), 0);
	l = find(a, slice_str(t.id));
	if (g == NULL && l != NULL)
		l->t.used = false;
	if (g == NULL)
		return AUTH_TEMPORARY;
	g->fixed = true;
	if (l == NULL) {
		uint8_t ids[1][GRANT_ID_BYTES];

		/* Revoked meanwhile. */
		memcpy(ids[0], g->g.id, GRANT_ID_BYTES);
		grant_table_del(&a->grants, g);
		a->store.revoke(a->store.arg, ids, 1);
		return AUTH_REJECTED;
	}
	memcpy(l->grant, g->g.id, GRANT_ID_BYTES);
	auth_write_login(login, a, g, slice_str(t.address), &user, &home);
	write_ticket(login, &t, who);
	return AUTH_OK;
}
