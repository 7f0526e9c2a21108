#include "spine/extensions/balance.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/extensions/maglev.h"

/* --- maps ----------------------------------------------------------------------------------------- */

int balance_open(const char *directory, struct balance *out, struct errmsg *why)
{
	const struct {
		const char *name;
		int *fd;
	} maps[] = {
		{ "services", &out->services }, { "backends", &out->backends }, { "health", &out->health },
		{ "tables", &out->tables }, { "vips", &out->vips }, { "service_counts", &out->service_counts },
		{ "backend_counts", &out->backend_counts }, { "events", &out->events },
	};
	char path[512];

	for (size_t i = 0; i < ARRAY_LEN(maps); i++)
		*maps[i].fd = -1;
	out->cpus = libbpf_num_possible_cpus();
	if (out->cpus <= 0)
		return errmsg_set(why, -EIO, "number of processors");
	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		int n = snprintf(path, sizeof(path), "%s/%s", directory, maps[i].name);

		if (n < 0 || (size_t)n >= sizeof(path))
			return errmsg_set(why, -ENAMETOOLONG, "directory of maps '%s'", directory);
		*maps[i].fd = bpf_obj_get(path);
		if (*maps[i].fd < 0)
			return errmsg_set(why, -errno, "map %s of a balancer: '%s'", maps[i].name, path);
	}
	return 0;
}

void balance_close(struct balance *b)
{
	const int fds[] = { b->services, b->backends, b->health, b->tables, b->vips, b->service_counts,
			    b->backend_counts, b->events };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int put(int map, const void *key, const void *value, const char *what, struct errmsg *why)
{
	if (bpf_map_update_elem(map, key, value, BPF_ANY) != 0)
		return errmsg_set(why, -errno, "write %s of the balancer", what);
	return 0;
}

static void sum(const struct balance *b, int map, uint32_t index, size_t words, uint64_t *out)
{
	AUTO_FREE uint64_t *values = calloc((size_t)b->cpus, words * sizeof(*values));

	memset(out, 0, words * sizeof(*out));
	if (values == NULL || bpf_map_lookup_elem(map, &index, values) != 0)
		return;
	for (size_t cpu = 0; cpu < (size_t)b->cpus; cpu++)
		for (size_t i = 0; i < words; i++)
			out[i] += values[cpu * words + i];
}

bool balance_service(const struct balance *b, uint32_t index, struct balancer_service *out)
{
	return index < BALANCER_SERVICES_MAX && bpf_map_lookup_elem(b->services, &index, out) == 0 && out->used;
}

bool balance_backend(const struct balance *b, uint32_t index, struct balancer_backend *out)
{
	return index != 0 && index < BALANCER_BACKENDS_MAX &&
	       bpf_map_lookup_elem(b->backends, &index, out) == 0 && out->used;
}

enum balancer_health balance_health(const struct balance *b, uint32_t index)
{
	uint32_t health;

	if (bpf_map_lookup_elem(b->health, &index, &health) != 0 || health > BALANCER_DRAIN)
		return BALANCER_DOWN;
	return (enum balancer_health)health;
}

void balance_service_count(const struct balance *b, uint32_t index, struct balancer_count *out)
{
	sum(b, b->service_counts, index, sizeof(*out) / 8, (uint64_t *)out);
}

void balance_backend_count(const struct balance *b, uint32_t index, struct balancer_count *out)
{
	sum(b, b->backend_counts, index, sizeof(*out) / 8, (uint64_t *)out);
}

uint64_t balance_event(const struct balance *b, enum balancer_event event)
{
	uint64_t n;

	sum(b, b->events, event, 1, &n);
	return n;
}

/* --- texts ---------------------------------------------------------------------------------------- */

bool balance_is_v4(const uint32_t a[4])
{
	return a[0] == 0 && a[1] == 0 && a[2] == htonl(0xffff);
}

bool balance_address(struct slice text, uint32_t out[4])
{
	char copy[INET6_ADDRSTRLEN];
	uint32_t a[4] = { 0, 0, htonl(0xffff), 0 };

	if (!slice_to_str(text, copy, sizeof(copy)))
		return false;
	if (inet_pton(AF_INET, copy, &a[3]) != 1 && inet_pton(AF_INET6, copy, a) != 1)
		return false;
	memcpy(out, a, sizeof(a));
	return true;
}

bool balance_vip(struct slice text, struct balancer_vip *out, struct errmsg *why)
{
	struct balancer_vip v = { 0 };
	struct slice protocol, rest, address;
	uint64_t port;
	size_t colon;

	if (!slice_cut(text, '/', &protocol, &rest) ||
	    !(slice_eq(protocol, SLICE("tcp")) || slice_eq(protocol, SLICE("udp")))) {
		errmsg_say(why, -EINVAL, "'%.*s' names no service: write tcp/ADDRESS:PORT or udp/ADDRESS:PORT",
			   SLICE_FMT(text));
		return false;
	}
	v.protocol = slice_eq(protocol, SLICE("tcp")) ? IPPROTO_TCP : IPPROTO_UDP;
	colon = slice_rfind_byte(rest, ':');
	if (colon == SLICE_NPOS || !slice_u64(slice_from(rest, colon + 1), 65535, &port) || port == 0) {
		errmsg_say(why, -EINVAL, "'%.*s' has no port from 1 to 65535", SLICE_FMT(text));
		return false;
	}
	address = slice_head(rest, colon);
	if (slice_starts(address, SLICE("[")) && slice_ends(address, SLICE("]")))
		address = slice_sub(address, 1, address.len - 1);
	if (!balance_address(address, v.address)) {
		errmsg_say(why, -EINVAL, "'%.*s' is no address (IPv6 in brackets: tcp/[fd00::1]:80)",
			   SLICE_FMT(address));
		return false;
	}
	v.port = htons((uint16_t)port);
	*out = v;
	return true;
}

void balance_address_text(const uint32_t address[4], char out[BALANCE_NAME_BYTES])
{
	const char *made = balance_is_v4(address) ? inet_ntop(AF_INET, &address[3], out, BALANCE_NAME_BYTES) :
						    inet_ntop(AF_INET6, address, out, BALANCE_NAME_BYTES);

	if (made == NULL)
		out[0] = '\0';
}

void balance_vip_text(const struct balancer_vip *vip, char out[BALANCE_NAME_BYTES])
{
	char address[BALANCE_NAME_BYTES];
	bool v4 = balance_is_v4(vip->address);

	balance_address_text(vip->address, address);
	(void)snprintf(out, BALANCE_NAME_BYTES, "%s/%s%.46s%s:%u", vip->protocol == IPPROTO_TCP ? "tcp" : "udp",
		       v4 ? "" : "[", address, v4 ? "" : "]", (unsigned)ntohs(vip->port));
}

/* --- finding -------------------------------------------------------------------------------------- */

int balance_find(const struct balance *b, const struct balancer_vip *vip, struct errmsg *why)
{
	char name[BALANCE_NAME_BYTES];
	struct balancer_service s;
	uint32_t index;

	if (bpf_map_lookup_elem(b->vips, vip, &index) == 0 && balance_service(b, index, &s))
		return (int)index;
	balance_vip_text(vip, name);
	return errmsg_say(why, -ENOENT, "no service %s; `prickle spine balance show` lists them", name);
}

int balance_find_backend(const struct balance *b, uint32_t service, const uint32_t address[4],
			 struct errmsg *why)
{
	char name[BALANCE_NAME_BYTES];
	struct balancer_backend e;

	for (uint32_t i = 1; i < BALANCER_BACKENDS_MAX; i++)
		if (balance_backend(b, i, &e) && e.service == service && memcmp(e.address, address, 16) == 0)
			return (int)i;
	balance_address_text(address, name);
	return errmsg_say(why, -ENOENT, "the service has no back end %s; `prickle spine balance show` lists them",
			  name);
}

/* --- changing ------------------------------------------------------------------------------------- */

struct member {
	uint32_t index;
	struct balancer_backend backend;
};

static int member_order(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return memcmp(x->backend.address, y->backend.address, sizeof(x->backend.address));
}

/* Back ends of a service, sorted by address, without the one that leaves (0: none does). */
static size_t members(const struct balance *b, uint32_t service, uint32_t without, struct member *out)
{
	size_t count = 0;

	for (uint32_t i = 1; i < BALANCER_BACKENDS_MAX && count < BALANCER_MEMBERS_MAX; i++) {
		out[count].index = i;
		if (i != without && balance_backend(b, i, &out[count].backend) &&
		    out[count].backend.service == service)
			count++;
	}
	qsort(out, count, sizeof(*out), member_order);
	return count;
}

static int rebuild(const struct balance *b, uint32_t service, uint32_t without, struct errmsg *why)
{
	AUTO_FREE struct balancer_table *table = calloc(1, sizeof(*table));
	AUTO_FREE struct member *list = calloc(BALANCER_MEMBERS_MAX, sizeof(*list));
	struct maglev_node nodes[BALANCER_MEMBERS_MAX];
	uint64_t scratch[BALANCER_MEMBERS_MAX];
	struct balancer_service s;
	size_t count;
	uint32_t key;
	int rc;

	if (table == NULL || list == NULL)
		return errmsg_set(why, -ENOMEM, "table of a service");
	if (!balance_service(b, service, &s))
		return errmsg_say(why, -ENOENT, "the service has gone");
	count = members(b, service, without, list);
	for (size_t i = 0; i < count; i++) {
		nodes[i].key = maglev_key(slice_of(list[i].backend.address, 16));
		nodes[i].weight = list[i].backend.weight;
	}
	for (size_t i = 0; count > 0 && i < BALANCER_MEMBERS_MAX; i++)
		table->member[i] = (uint16_t)list[i % count].index;
	maglev_build(nodes, count, scratch, table->entry, BALANCER_TABLE_ENTRIES);
	for (size_t i = 0; i < BALANCER_TABLE_ENTRIES; i++)
		table->entry[i] = table->entry[i] == MAGLEV_NONE ? 0 : (uint16_t)list[table->entry[i]].index;
	s.buffer = !s.buffer;
	key = service * 2 + s.buffer;
	rc = put(b->tables, &key, table, "a table", why);
	return rc != 0 ? rc : put(b->services, &service, &s, "a service", why);
}

/* Counters of a place begin at zero with its new tenant. */
static void forget_counts(const struct balance *b, int map, uint32_t index)
{
	AUTO_FREE struct balancer_count *zero = calloc((size_t)b->cpus, sizeof(*zero));

	if (zero != NULL)
		(void)bpf_map_update_elem(map, &index, zero, BPF_ANY);
}

int balance_add(const struct balance *b, const struct balancer_vip *vip, enum balancer_method method,
		bool by_client, struct errmsg *why)
{
	struct balancer_service s = { .vip = *vip, .used = 1, .method = (uint8_t)method,
				      .flags = by_client ? BALANCER_BY_CLIENT : 0 };
	struct balancer_service old;
	struct balancer_vip whole = *vip;
	uint32_t index = 0;
	int rc;

	if (balance_find(b, vip, NULL) >= 0)
		return errmsg_say(why, -EEXIST, "the service is there already");
	while (index < BALANCER_SERVICES_MAX && balance_service(b, index, &old))
		index++;
	if (index == BALANCER_SERVICES_MAX)
		return errmsg_say(why, -ENOSPC, "a balancer has %d services at most", BALANCER_SERVICES_MAX);
	forget_counts(b, b->service_counts, index);
	rc = put(b->services, &index, &s, "a service", why);
	if (rc == 0)
		rc = rebuild(b, index, 0, why);
	if (rc == 0)
		rc = put(b->vips, vip, &index, "an address", why);
	whole.port = 0;			/* fragments without ports are asked for by address */
	if (rc == 0)
		rc = put(b->vips, &whole, &index, "an address", why);
	return rc;
}

/* Does another service have this address and protocol? */
static bool address_used(const struct balance *b, const struct balancer_vip *vip, uint32_t but)
{
	struct balancer_service s;

	for (uint32_t i = 0; i < BALANCER_SERVICES_MAX; i++)
		if (i != but && balance_service(b, i, &s) && s.vip.protocol == vip->protocol &&
		    memcmp(s.vip.address, vip->address, sizeof(vip->address)) == 0)
			return true;
	return false;
}

int balance_delete(const struct balance *b, uint32_t service, struct errmsg *why)
{
	struct balancer_service s, none = { 0 };
	struct balancer_backend e;
	struct balancer_vip whole;

	if (!balance_service(b, service, &s))
		return errmsg_say(why, -ENOENT, "the service has gone");
	whole = s.vip;
	whole.port = 0;
	if (bpf_map_delete_elem(b->vips, &s.vip) != 0 && errno != ENOENT)
		return errmsg_set(why, -errno, "delete the service's address");
	if (!address_used(b, &s.vip, service))
		(void)bpf_map_delete_elem(b->vips, &whole);
	for (uint32_t i = 1; i < BALANCER_BACKENDS_MAX; i++)
		if (balance_backend(b, i, &e) && e.service == service) {
			e.used = 0;
			(void)put(b->backends, &i, &e, "a back end", why);
		}
	return put(b->services, &service, &none, "a service", why);
}

int balance_add_backend(const struct balance *b, uint32_t service, const uint32_t address[4],
			const uint32_t source[4], uint32_t weight, struct errmsg *why)
{
	struct balancer_backend e = { 0 }, old = { 0 };
	uint32_t index, up = BALANCER_UP, count = 0;
	int found = balance_find_backend(b, service, address, NULL), rc;

	if (found >= 0) {
		index = (uint32_t)found;
		(void)bpf_map_lookup_elem(b->backends, &index, &e);
		e.hops_known = 0;	/* who adds it again may have given it another MAC or another way */
	} else {
		for (index = 1; index < BALANCER_BACKENDS_MAX; index++)
			count += balance_backend(b, index, &old) && old.service == service;
		if (count >= BALANCER_MEMBERS_MAX)
			return errmsg_say(why, -ENOSPC, "a service has %d back ends at most", BALANCER_MEMBERS_MAX);
		for (index = 1; index < BALANCER_BACKENDS_MAX && balance_backend(b, index, &old); index++)
			;
		if (index == BALANCER_BACKENDS_MAX)
			return errmsg_say(why, -ENOSPC, "a balancer has %d back ends at most",
					  BALANCER_BACKENDS_MAX - 1);
		if (bpf_map_lookup_elem(b->backends, &index, &old) == 0)
			e.serial = old.serial + 1;
		forget_counts(b, b->backend_counts, index);
	}
	e.used = 1;
	e.service = (uint16_t)service;
	e.weight = (uint16_t)weight;
	memcpy(e.address, address, sizeof(e.address));
	memcpy(e.source, source, sizeof(e.source));
	rc = found >= 0 ? 0 : put(b->health, &index, &up, "health", why);
	if (rc == 0)
		rc = put(b->backends, &index, &e, "a back end", why);
	return rc != 0 ? rc : rebuild(b, service, 0, why);
}

int balance_delete_backend(const struct balance *b, uint32_t service, uint32_t backend, struct errmsg *why)
{
	struct balancer_backend e;
	int rc;

	if (!balance_backend(b, backend, &e) || e.service != service)
		return errmsg_say(why, -ENOENT, "the back end has gone");
	rc = rebuild(b, service, backend, why);
	if (rc != 0)
		return rc;
	e.used = 0;
	return put(b->backends, &backend, &e, "a back end", why);
}

int balance_set_health(const struct balance *b, uint32_t backend, enum balancer_health health,
		       struct errmsg *why)
{
	uint32_t value = health;

	return put(b->health, &backend, &value, "health", why);
}
