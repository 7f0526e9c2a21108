/*
 * Which programs run on which interface. An attachment is in the record before it is made and until it is gone, so that the next
 * command finds what a killed one left.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/host.h"
#include "nat64/instance_private.h"
#include "nat64/tc.h"
#include "spine/pins.h"

/* --- what is wanted --------------------------------------------------------------------------------- */

static int add_wanted(const struct nat64_settings *s, const char *name, enum nat64_attach attach, uint32_t line,
		      struct nat64_wanted *out, struct errmsg *why)
{
	uint32_t ifindex = if_nametoindex(name);
	struct nat64_wanted_one *one = &out->items[out->count];

	if (ifindex == 0)
		return errmsg_say(why, -EINVAL, "%s%s%u: there is no interface '%.15s' in this network namespace; `ip link` lists them",
				  s->path != NULL ? s->path : "settings", ":", line, name);
	for (uint32_t i = 0; i < out->count; i++)
		if (out->items[i].ifindex == ifindex)
			return 0;
	if (out->count == NAT64_INTERFACES_MAX)
		return errmsg_say(why, -EINVAL, "more than %u interfaces", NAT64_INTERFACES_MAX);
	if (attach == NAT64_ATTACH_XDP && s->host_traffic)
		return errmsg_say(why, -EINVAL, "%s:%u: %s cannot be attached by XDP: the host's own packets are to be translated, too, and "
				  "XDP sees only what arrives; say 'attach: tc', or 'host-traffic: false' for forwarded packets alone",
				  s->path != NULL ? s->path : "settings", line, name);
	*one = (struct nat64_wanted_one){ .ifindex = ifindex, .home = NAT64_HOME_TC };
	(void)snprintf(one->name, sizeof(one->name), "%s", name);
	if (attach == NAT64_ATTACH_XDP || (attach == NAT64_ATTACH_AUTO && !s->host_traffic && attach_xdp_fits(name))) {
		one->home = NAT64_HOME_XDP;
		one->automatic = attach == NAT64_ATTACH_AUTO;
	}
	out->count++;
	return 0;
}

int attach_plan(const struct nat64_settings *s, struct nat64_wanted *out, struct errmsg *why)
{
	int err = 0;

	*out = (struct nat64_wanted){ .host_traffic = s->host_traffic };
	for (size_t i = 0; i < s->interface_count && err == 0; i++)
		err = add_wanted(s, s->interfaces[i].name, s->interfaces[i].attach, s->interfaces[i].line, out, why);
	if (err == 0 && s->config.mode == XLAT_CLAT && s->uplink[0] != '\0')
		err = add_wanted(s, s->uplink, s->host_traffic ? NAT64_ATTACH_TC : NAT64_ATTACH_AUTO, 0, out, why);
	return err;
}

/* --- the record ---------------------------------------------------------------------------------------- */

static int find(const struct nat64_record *r, uint32_t ifindex, uint32_t home)
{
	for (uint32_t i = 0; i < r->attached_count && i < NAT64_INTERFACES_MAX; i++)
		if (r->attached[i].ifindex == ifindex && r->attached[i].home == home)
			return (int)i;
	return -1;
}

static bool is_wanted(const struct nat64_wanted *want, uint32_t ifindex, uint32_t home)
{
	for (uint32_t i = 0; want != NULL && i < want->count; i++)
		if (want->items[i].ifindex == ifindex && want->items[i].home == home)
			return true;
	return false;
}

static int note(struct nat64 *n, const struct nat64_wanted_one *one, struct errmsg *why)
{
	struct nat64_record *r = &n->record;

	if (find(r, one->ifindex, one->home) >= 0)
		return 0;
	if (r->attached_count == ARRAY_LEN(r->attached))
		return errmsg_say(why, -EINVAL, "more interfaces than can be changed at a time; take old ones out first");
	r->attached[r->attached_count].ifindex = one->ifindex;
	r->attached[r->attached_count].home = one->home;
	memcpy(r->attached[r->attached_count++].name, one->name, sizeof(one->name));
	return instance_write_record(n, why);
}

static int strike(struct nat64 *n, uint32_t i, struct errmsg *why)
{
	struct nat64_record *r = &n->record;

	r->attached[i] = r->attached[--r->attached_count];
	return instance_write_record(n, why);
}

/* --- one interface --------------------------------------------------------------------------------------- */

static int attach_tc(struct nat64 *n, uint32_t ifindex, enum nat64_tc_way way, struct errmsg *why)
{
	AUTO_FD int program = objects_program(n, way == NAT64_TC_IN ? NAT64_PROGRAM_TC_IN : NAT64_PROGRAM_TC_OUT, why);
	uint32_t id;
	struct errmsg nothing;

	if (program < 0)
		return program;
	if (nat64_tc_query(n->name, ifindex, way, &id, &nothing) == 0 && id == pin_prog_id(program))
		return 0;
	return nat64_tc_attach(n->name, ifindex, way, program, why);
}

static int attach_one(struct nat64 *n, struct nat64_wanted_one *one, struct buf *notice, struct errmsg *why)
{
	int err = note(n, one, why);

	nat64_step(n, "attachment is noted");
	if (err != 0)
		return err;
	if (one->home == NAT64_HOME_XDP) {
		err = attach_xdp(n, one->name, one->automatic, notice, why);
		if (err == 0 || !one->automatic)
			return err;
		buf_printf(notice, "%s: by tc, since XDP is not to be had there: %s\n", one->name, why->text);
		err = strike(n, (uint32_t)find(&n->record, one->ifindex, one->home), why);
		one->home = NAT64_HOME_TC;
		if (err == 0)
			err = note(n, one, why);
		if (err != 0)
			return err;
	}
	return attach_tc(n, one->ifindex, NAT64_TC_IN, why);
}

static int end_one(struct nat64 *n, uint32_t i, struct errmsg *why)
{
	char name[IFNAMSIZ];
	uint32_t ifindex = n->record.attached[i].ifindex;
	int err = 0;

	/* It may have been renamed; an interface that is gone took its programs with it. */
	if (if_indextoname(ifindex, name) != NULL)
		err = n->record.attached[i].home == NAT64_HOME_XDP ? attach_xdp_end(n, name, why) :
								     nat64_tc_detach(n->name, ifindex, NAT64_TC_IN, why);
	nat64_step(n, "attachment is gone");
	return err != 0 && err != -ENODEV ? err : strike(n, i, why);
}

/* --- the host's own traffic --------------------------------------------------------------------------------- */

static uint32_t host_ifindex(struct nat64 *n)
{
	uint32_t ifindex;

	return nat64_host_index(n->name, &ifindex) == 0 ? ifindex : 0;
}

static int host_begin(struct nat64 *n, const struct nat64_settings *s, struct errmsg *why)
{
	struct nat64_uplink uplink = { 0 };
	struct nat64_host host = { .instance = n->name, .clat4 = s->config.mode == XLAT_CLAT ? s->clat4 : 0 };
	struct errmsg nothing;
	uint32_t ifindex;
	int err = 0;

	if (s->uplink[0] != '\0' && nat64_uplink_look(s->uplink, &uplink, &nothing) == 0)
		host.mtu = uplink.mtu;
	if (s->config.mode == XLAT_NAT64) {
		host.routes = s->config.prefix;
		host.route_count = s->config.prefix_count;
	}
	n->record.host_traffic = 1;
	err = instance_write_record(n, why);
	if (err == 0)
		err = nat64_host_make(&host, &ifindex, why);
	if (err == 0 && s->config.mode == XLAT_CLAT && uplink.ifindex != 0 && !nat64_is_zero6(s->clat6))
		err = nat64_uplink_set(uplink.ifindex, s->clat6, why);
	if (err == 0)
		err = attach_tc(n, ifindex, NAT64_TC_OUT, why);
	if (err == 0)
		n->control->local_ifindex = ifindex;
	return err;
}

static int host_end(struct nat64 *n, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	const struct nat64_settings *s;
	int err;

	if (n->record.host_traffic == 0)
		return 0;
	if (n->control != NULL)
		n->control->local_ifindex = 0;
	s = bank_settings(n, &arena);
	if (s != NULL && s->uplink[0] != '\0' && if_nametoindex(s->uplink) != 0) {
		err = nat64_uplink_clear(if_nametoindex(s->uplink), why);
		if (err != 0 && err != -ENODEV)
			return err;
	}
	err = nat64_host_remove(n->name, why);
	if (err != 0)
		return err;
	n->record.host_traffic = 0;
	return instance_write_record(n, why);
}

/* --- all of them ----------------------------------------------------------------------------------------------- */

int attach_new(struct nat64 *n, const struct nat64_settings *s, struct nat64_wanted *want, struct buf *notice, struct errmsg *why)
{
	struct nat64_record before = n->record;
	int err = 0;

	for (uint32_t i = 0; i < want->count && err == 0; i++) {
		err = attach_one(n, &want->items[i], notice, why);
		nat64_step(n, "attached");
	}
	if (err == 0 && want->host_traffic)
		err = host_begin(n, s, why);
	if (err == 0)
		return 0;
	struct errmsg nothing;
	for (uint32_t i = n->record.attached_count; i-- > 0;)
		if (find(&before, n->record.attached[i].ifindex, n->record.attached[i].home) < 0)
			(void)!end_one(n, i, &nothing);
	if (before.host_traffic == 0)
		(void)!host_end(n, &nothing);
	return err;
}

int attach_end(struct nat64 *n, const struct nat64_wanted *want, struct errmsg *why)
{
	int err = want == NULL || !want->host_traffic ? host_end(n, why) : 0;

	for (uint32_t i = n->record.attached_count; i-- > 0 && err == 0;)
		if (!is_wanted(want, n->record.attached[i].ifindex, n->record.attached[i].home))
			err = end_one(n, i, why);
	return err;
}

int attach_upgrade(struct nat64 *n, struct buf *notice, struct errmsg *why)
{
	uint32_t host = n->record.host_traffic != 0 ? host_ifindex(n) : 0;
	char name[IFNAMSIZ];
	int err = host != 0 ? attach_tc(n, host, NAT64_TC_OUT, why) : 0;

	for (uint32_t i = 0; i < n->record.attached_count && err == 0; i++) {
		if (if_indextoname(n->record.attached[i].ifindex, name) == NULL)
			continue;
		err = n->record.attached[i].home == NAT64_HOME_XDP ? attach_xdp(n, name, false, notice, why) :
			attach_tc(n, n->record.attached[i].ifindex, NAT64_TC_IN, why);
		nat64_step(n, "upgraded");
	}
	return err;
}

uint32_t attach_homes(const struct nat64_record *r)
{
	uint32_t homes = r->host_traffic != 0 ? 2 : 0;

	for (uint32_t i = 0; i < r->attached_count; i++)
		homes |= r->attached[i].home == NAT64_HOME_XDP ? 1 : 2;
	return homes;
}

static void look_at_tc(struct nat64 *n, struct nat64_attachment *a, enum nat64_tc_way way)
{
	struct errmsg why;
	uint32_t id;

	a->home = "tc";
	a->running = nat64_tc_query(n->name, a->ifindex, way, &id, &why) == 0;
	if (!a->running)
		(void)snprintf(a->why_not, sizeof(a->why_not), "its filter is not there; `prickle nat64 apply` puts it back");
}

int nat64_attachments(struct nat64 *n, struct arena *arena, struct nat64_attachment **out, size_t *count, struct errmsg *why)
{
	struct nat64_attachment *list = arena_array(arena, NAT64_INTERFACES_MAX * 2 + 1, sizeof(*list));
	uint32_t host = n->record.host_traffic != 0 ? host_ifindex(n) : 0;
	size_t used = 0;

	if (list == NULL)
		return errmsg_set(why, -ENOMEM, "look where translator '%s' is attached", n->name);
	for (uint32_t i = 0; i < n->record.attached_count; i++) {
		struct nat64_attachment *a = &list[used++];
		bool generic;

		a->ifindex = n->record.attached[i].ifindex;
		memcpy(a->interface, n->record.attached[i].name, sizeof(a->interface));
		if (if_indextoname(a->ifindex, a->interface) == NULL) {
			memcpy(a->interface, n->record.attached[i].name, sizeof(a->interface));
			a->home = n->record.attached[i].home == NAT64_HOME_XDP ? "xdp" : "tc";
			(void)snprintf(a->why_not, sizeof(a->why_not), "the interface is gone");
		} else if (n->record.attached[i].home == NAT64_HOME_TC) {
			look_at_tc(n, a, NAT64_TC_IN);
		} else {
			a->running = attach_xdp_running(n, a->interface, &generic, a->why_not);
			a->home = generic ? "xdp (generic)" : "xdp";
		}
	}
	if (host != 0) {
		list[used].ifindex = host;
		nat64_host_name(n->name, list[used].interface);
		look_at_tc(n, &list[used++], NAT64_TC_OUT);
	}
	*out = list;
	*count = used;
	return 0;
}
