#include "mail/auth/grant_table.h"

#include <stdlib.h>

static uint64_t account_hash(const char *account)
{
	return map_hash(slice_str(account));
}

void grant_table_done(struct grant_table *t)
{
	struct map_node *n;

	while ((n = map_any(&t->by_id)) != NULL)
		grant_table_del(t, container_of(n, struct live_grant, by_id));
	map_done(&t->by_id);
	map_done(&t->by_account);
}

struct live_grant *grant_table_add(struct grant_table *t, const struct grant *g, int64_t now_s,
				   struct list *of_client)
{
	struct live_grant *l;

	if (t->by_id.count >= GRANT_TABLE_MAX)
		return NULL;
	l = calloc(1, sizeof(*l));
	if (l == NULL)
		return NULL;
	l->g = *g;
	l->until_s = now_s + g->lifetime_s;
	if (map_add(&t->by_id, &l->by_id, map_hash(slice_of(l->g.id, GRANT_ID_BYTES))) < 0) {
		free(l);
		return NULL;
	}
	if (map_add(&t->by_account, &l->by_account, account_hash(l->g.account)) < 0) {
		map_del(&t->by_id, &l->by_id);
		free(l);
		return NULL;
	}
	list_push_back(of_client, &l->of_client);
	return l;
}

void grant_table_del(struct grant_table *t, struct live_grant *l)
{
	map_del(&t->by_id, &l->by_id);
	map_del(&t->by_account, &l->by_account);
	list_del(&l->of_client);
	free(l);
}

struct live_grant *grant_table_find(struct grant_table *t, const uint8_t id[GRANT_ID_BYTES])
{
	uint64_t hash = map_hash(slice_of(id, GRANT_ID_BYTES));

	for (struct map_node *n = map_first(&t->by_id, hash); n != NULL; n = map_next(n, hash)) {
		struct live_grant *l = container_of(n, struct live_grant, by_id);

		if (memcmp(l->g.id, id, GRANT_ID_BYTES) == 0)
			return l;
	}
	return NULL;
}

struct live_grant *grant_table_of(struct grant_table *t, const char *account,
				  struct live_grant *before)
{
	uint64_t hash = account_hash(account);
	struct map_node *n = before == NULL ? map_first(&t->by_account, hash) :
					      map_next(&before->by_account, hash);

	for (; n != NULL; n = map_next(n, hash)) {
		struct live_grant *l = container_of(n, struct live_grant, by_account);

		if (strcmp(l->g.account, account) == 0)
			return l;
	}
	return NULL;
}
