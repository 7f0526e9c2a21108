/* Learning and announcing prefixes as the settings say: run_private.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nat64/announce.h"
#include "nat64/learn.h"
#include "nat64/run_private.h"

/* What is in force, to be compared with what is wanted. */
struct learning { enum nat64_pref64_source source; char uplink[IFNAMSIZ], server[256]; };
struct announcing { struct announce_one ones[NAT64_INTERFACES_MAX]; struct xlat_prefix prefixes[XLAT_PREFIXES_MAX]; size_t count, prefix_count; };

struct prefixes {
	struct loop *loop;
	void (*learnt)(void *arg, const struct xlat_prefix *prefix);
	void *arg;
	struct learn *learn;
	struct announce *announce;
	struct learning learning;
	struct announcing announcing;
};

int prefixes_new(struct loop *loop, void (*learnt)(void *arg, const struct xlat_prefix *prefix), void *arg, struct prefixes **out)
{
	struct prefixes *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	p->loop = loop;
	p->learnt = learnt;
	p->arg = arg;
	*out = p;
	return 0;
}

static int learn_again(struct prefixes *p, const struct nat64_settings *s, struct errmsg *why)
{
	bool wanted = s->config.mode == XLAT_CLAT && s->pref64_source != NAT64_PREF64_FIXED;
	const char *server = s->pref64_dns_server == NULL ? "" : s->pref64_dns_server;
	struct learning now = { .source = wanted ? s->pref64_source : NAT64_PREF64_FIXED };
	struct learn_settings settings = { .source = now.source, .uplink = now.uplink, .dns_server = now.server };

	memcpy(now.uplink, s->uplink, sizeof(now.uplink));
	if (!slice_to_str(slice_str(server), now.server, sizeof(now.server)))
		return errmsg_say(why, -EINVAL, "'%s' is no address of a DNS server", server);
	if ((p->learn != NULL) == wanted && memcmp(&now, &p->learning, sizeof(now)) == 0)
		return 0;
	learn_free(p->learn);
	p->learn = NULL;
	p->learning = now;
	return wanted ? learn_new(p->loop, &settings, p->learnt, p->arg, &p->learn, why) : 0;
}

static int announce_again(struct prefixes *p, const struct nat64_settings *s, struct errmsg *why)
{
	struct announcing now = { 0 };

	if (s->announce_count > NAT64_INTERFACES_MAX)
		return errmsg_say(why, -EINVAL, "more than %u interfaces to announce prefixes on", NAT64_INTERFACES_MAX);
	for (size_t i = 0; i < s->announce_count; i++) {
		struct announce_one *one = &now.ones[now.count++];

		memcpy(one->interface, s->announce[i].interface, sizeof(one->interface));
		one->interval_s = s->announce[i].interval_s;
		one->lifetime_s = s->announce[i].lifetime_s;
		one->preference = s->announce[i].preference;
	}
	for (size_t i = 0; i < s->config.prefix_count && i < XLAT_PREFIXES_MAX; i++)
		now.prefixes[now.prefix_count++] = s->config.prefix[i];
	if (memcmp(&now, &p->announcing, sizeof(now)) == 0)
		return 0;
	/* The farewell takes the old prefix back; the new one, or the old one again, follows at once. */
	announce_free(p->announce, true);
	p->announce = NULL;
	p->announcing = now;
	return now.count == 0 ? 0 : announce_new(p->loop, now.ones, now.count, now.prefixes, now.prefix_count, &p->announce, why);
}

int prefixes_configure(struct prefixes *p, const struct nat64_settings *s, struct errmsg *why)
{
	int err = learn_again(p, s, why);

	return err == 0 ? announce_again(p, s, why) : err;
}

void prefixes_free(struct prefixes *p, bool removed)
{
	if (p == NULL)
		return;
	learn_free(p->learn);
	announce_free(p->announce, removed);
	free(p);
}

void prefixes_farewell(const struct nat64_settings *s)
{
	struct prefixes *p = NULL;
	struct loop *loop = NULL;
	struct errmsg nothing;

	if (s->announce_count == 0 || loop_new(&loop) != 0)
		return;
	/* The loop never runs, so all that is sent is the farewell. */
	if (prefixes_new(loop, NULL, NULL, &p) == 0 && announce_again(p, s, &nothing) == 0)
		prefixes_free(p, true);
	else
		prefixes_free(p, false);
	loop_free(loop);
}
