/*
 * Ports of the pool: which address and which ports a subscriber may use, and taking one of them.
 *
 * Address: the same for all mappings of a subscriber (paired pooling, RFC 4787 REQ-2, 6888 REQ-2), chosen by a keyed hash, so that a
 * restart gives the same. Rows with the packet's mark come first; rows without a mark serve all. A subscriber that has mappings
 * gets no other address when its own is full (then pairing would end); one that has none is tried elsewhere.
 *
 * Port (RFC 6146 3.5.1.1, RFC 4787 REQ-3): of the same class (below 1024 or not) and parity; else of the same
 * class; else any. Where the search begins is random (RFC 6056 3.3.1); up to 32 groups of 16 ports are looked at.
 *
 * Deterministic ports (RFC 7422): subscriber n, the bits of its address between det_prefix_bits and det_subscriber_bits, has the ports
 * port_first + k * det_ports on, where (address, k) is the n-th of all such ranges: rows in order, addresses in
 * order, ranges in order. Rows that drain count as well, since otherwise the numbers of all behind them would change.
 */
#pragma once
#include "nat64/core/address.h"
#include "nat64/core/slab.h"

#define XLAT_PORT_GROUPS_TRIED 32

/* Keyed, for choices that nobody outside may guess or force. Two rounds of multiply and fold. */
XLAT_INLINE __u32 port_hash(const struct xlat_config *c, const __be32 a[4], __u32 more)
{
	__u64 v = c->key[0] ^ ((__u64)a[0] << 32 | a[1]);

	v = (v ^ v >> 32) * 0x9e3779b97f4a7c15u;
	v ^= (__u64)a[2] << 32 | a[3];
	v = (v ^ v >> 29) * 0xbf58476d1ce4e5b9u;
	v ^= c->key[1] + more;
	v = (v ^ v >> 32) * 0x94d049bb133111ebu;
	return (__u32)(v >> 32);
}

/* A row gives new mappings to packets of this mark. */
XLAT_INLINE bool row_serves(const struct xlat_pool *row, __u32 mark)
{
	return (row->flags & XLAT_POOL_DRAIN) == 0 && row->mark == mark;
}

/*
 * Searches of tables are functions of their own: the verifier follows a loop once for each row at which it may end, and all that
 * comes after it as often.
 *
 * The row that has this address and port; without one, the first that has the address; -1: none. (Rows may share an address and
 * differ in ports.)
 */
XLAT_PART int xlat_row_of(struct xlat *x, __be32 address, __u32 port)
{
	const struct xlat_config *c;
	__u32 a = bpf_ntohl(address);

	if (x == NULL)
		return -1;
	c = env_config(x);
	if (c == NULL)
		return -1;
	for (__u32 i = 0; i < XLAT_POOLS_MAX; i++) {
		if (i >= c->pool_count)
			break;
		if (a - c->pool[i].first < c->pool[i].count && port - c->pool[i].port_first <= (__u32)(c->pool[i].port_last - c->pool[i].port_first))
			return (int)i;
	}
	return pool_find(c, address);
}

/* The n-th address of row `number` goes into the flow. */
XLAT_INLINE int row_take(struct xlat *x, const struct xlat_pool *row, __u32 number, __u32 n)
{
	x->flow.row = number;
	x->flow.pool_slot = row->slot + n;
	x->flow.addr4 = bpf_htonl(row->first + n);
	x->flow.port_first = row->port_first;
	x->flow.port_last = row->port_last;
	return 1;
}

/* Put the n-th address of all rows that serve `mark` into the flow. */
XLAT_PART int xlat_address_nth(struct xlat *x, __u32 mark, __u32 n)
{
	const struct xlat_config *c;

	if (x == NULL)
		return 0;
	c = env_config(x);
	if (c == NULL)
		return 0;
	for (__u32 i = 0; i < XLAT_POOLS_MAX; i++) {
		const struct xlat_pool *row = &c->pool[i];

		if (i >= c->pool_count)
			break;
		if (!row_serves(row, mark))
			continue;
		if (n < row->count)
			return row_take(x, row, i, n);
		n -= row->count;
	}
	return 0;
}

XLAT_PART int xlat_address_count(struct xlat *x, __u32 mark)
{
	const struct xlat_config *c;
	__u32 count = 0;

	if (x == NULL)
		return 0;
	c = env_config(x);
	if (c == NULL)
		return 0;
	for (__u32 i = 0; i < XLAT_POOLS_MAX; i++) {
		if (i >= c->pool_count)
			break;
		if (row_serves(&c->pool[i], mark))
			count += c->pool[i].count;
	}
	return (int)count;
}

/* The address of slot `slot` still serves this mark: then it goes into the flow. */
XLAT_PART int xlat_address_stays(struct xlat *x, __u32 mark, __u32 slot)
{
	const struct xlat_config *c;

	if (x == NULL)
		return 0;
	c = env_config(x);
	if (c == NULL)
		return 0;
	for (__u32 i = 0; i < XLAT_POOLS_MAX; i++) {
		const struct xlat_pool *row = &c->pool[i];

		if (i >= c->pool_count)
			break;
		if (row_serves(row, mark) && slot - row->slot < row->count)
			return row_take(x, row, i, slot - row->slot);
	}
	return 0;
}

/* Bits [from, to) of an address, at most 32 of them. */
XLAT_INLINE __u32 address_bits(const __be32 a[4], __u32 from, __u32 to)
{
	__u64 high = (__u64)bpf_ntohl(a[0]) << 32 | bpf_ntohl(a[1]);
	__u64 low = (__u64)bpf_ntohl(a[2]) << 32 | bpf_ntohl(a[3]);
	__u32 bits = to - from;
	__u64 v;

	if (to <= 64)
		v = high >> ((64 - to) & 63);
	else if (to >= 128)
		v = low;
	else
		v = low >> (128 - to) | high << ((to - 64) & 63);
	return bits >= 32 ? (__u32)v : (__u32)v & ((1u << bits) - 1);
}

/* RFC 7422. False: more subscribers than the pool has ranges, or the row drains. */
XLAT_PART int xlat_deterministic(struct xlat *x)
{
	const struct xlat_config *c;
	__u32 n, size;

	if (x == NULL)
		return 0;
	c = env_config(x);
	if (c == NULL || c->det_ports == 0)
		return 0;
	n = address_bits(x->flow.key.src6, c->det_prefix_bits, c->det_subscriber_bits);
	size = c->det_ports;
	for (__u32 i = 0; i < XLAT_POOLS_MAX; i++) {
		const struct xlat_pool *row = &c->pool[i];
		__u32 each, k;

		if (i >= c->pool_count)
			break;
		if (row->mark != 0 && row->mark != x->mark)
			continue;
		each = (row->port_last - row->port_first + 1u) / size;
		if (each == 0)
			continue;
		k = n / each;
		if (k < row->count) {
			if ((row->flags & XLAT_POOL_DRAIN) != 0)
				return 0;
			x->flow.row = i;
			x->flow.pool_slot = row->slot + k;
			x->flow.addr4 = bpf_htonl(row->first + k);
			x->flow.port_first = (__u16)(row->port_first + (n - k * each) * size);
			x->flow.port_last = (__u16)(x->flow.port_first + size - 1);
			return 1;
		}
		n -= each * row->count;
	}
	return 0;
}

/*
 * Choose the pool address for a new mapping of flow.key.src6, by subscriber flow.subscriber: the one it has, or with turn 0, 1, ... another.
 * Fills addr4, pool_slot, row, port_first and port_last. COME_OK, or SAID: PORTS_EXHAUSTED.
 */
XLAT_PART int xlat_address_pick(struct xlat *x, __u32 turn)
{
	const struct xlat_config *c;
	const struct xlat_subscriber *s;
	struct xlat_subscriber_key key;
	__u32 mark, count, slot;

	if (x == NULL)
		return XLAT_CAME_SAID;
	c = env_config(x);
	if (c == NULL)
		return XLAT_CAME_SAID;
	if (c->ports == XLAT_PORTS_DETERMINISTIC) {
		if (turn == 0 && xlat_deterministic(x) != 0)
			return XLAT_CAME_OK;
		xlat_answer(x, XLAT_R_PORTS_EXHAUSTED, 1, 3, 0);
		return XLAT_CAME_SAID;
	}
	mark = x->mark;
	count = mark != 0 ? (__u32)xlat_address_count(x, mark) : 0;
	if (count == 0) {
		mark = 0;
		count = (__u32)xlat_address_count(x, 0);
	}
	s = env_subscriber(x, x->flow.subscriber);
	if (x->flow.subscriber != 0 && s != NULL) {
		slot = XLAT_READ(s->address);
		if (slot != 0 && xlat_address_stays(x, mark, slot - 1) != 0) {
			if (turn == 0)
				return XLAT_CAME_OK;
			/* Its address is full: another only if that breaks no pair. */
			if (XLAT_READ(s->mappings) > 1)
				count = 0;
		}
	}
	if (count != 0) {
		for (__u32 i = 0; i < 4; i++)
			key.addr[i] = x->flow.key.src6[i] & c->subscriber_mask[i];
		if (xlat_address_nth(x, mark, (__u32)(((__u64)port_hash(c, key.addr, mark) + turn) % count)) != 0)
			return XLAT_CAME_OK;
	}
	xlat_answer(x, XLAT_R_PORTS_EXHAUSTED, 1, 3, 0);
	return XLAT_CAME_SAID;
}

/*
 * Take a free port of one group for mapping flow.bib: one within flow.port_first to port_last, and with want 0 or 1 of that
 * parity (2: any). Returns it, or 0.
 */
XLAT_PART int xlat_group_take(struct xlat *x, __u32 group, __u32 begin, __u32 want, __u32 quarantine)
{
	struct xlat_port_group *g;
	__u32 class, looked = 0;
	struct xlat_stats *stats;
	int took = 0;

	if (x == NULL)
		return 0;
	class = port_class(x->flow.key.protocol);
	g = env_pool_group(x, x->flow.pool_slot, class * (65536u / XLAT_GROUP_PORTS) + (group & 4095));
	if (g == NULL)
		return 0;
	for (__u32 i = 0; i < XLAT_GROUP_PORTS; i++) {
		__u32 at = (begin + i) & (XLAT_GROUP_PORTS - 1);
		__u32 port = (group & 4095) * XLAT_GROUP_PORTS + at;
		__u32 entry;

		if (port < x->flow.port_first || port > x->flow.port_last || (want < 2 && (port & 1) != want))
			continue;
		looked++;
		entry = XLAT_READ(g->port[at]);
		if (!port_free(entry, x->now, quarantine))
			continue;
		if (xlat_dry(x) || xlat_swap(&g->port[at], entry, x->flow.bib)) {
			took = (int)port;
			break;
		}
	}
	stats = env_stats(x);
	if (stats != NULL && !xlat_dry(x))
		stats->port_tries += looked;
	return took;
}

/*
 * Take a port of flow.pool_slot for mapping flow.bib, within the flow's range and the class of the inside port if want_class. Sets flow.port4.
 * COME_OK, or COME_NEW: none was found.
 */
XLAT_PART int xlat_port_take(struct xlat *x, __u32 want, __u32 want_class)
{
	const struct xlat_config *c;
	__u32 first, last, groups, group, stride, random;
	__u16 old_first, old_last;
	int port = 0;

	if (x == NULL)
		return XLAT_CAME_NEW;
	c = env_config(x);
	if (c == NULL)
		return XLAT_CAME_NEW;
	old_first = x->flow.port_first;
	old_last = x->flow.port_last;
	first = old_first != 0 ? old_first : 1;
	last = old_last;
	if (want_class != 0) {
		if (bpf_ntohs(x->flow.key.sport) < 1024)
			last = last < 1023 ? last : 1023;
		else
			first = first > 1024 ? first : 1024;
	}
	/* The verifier forgets how they came about, and follows the search once. */
	XLAT_KEEP(first);
	XLAT_KEEP(last);
	if (first > last)
		return XLAT_CAME_NEW;
	x->flow.port_first = (__u16)first;
	x->flow.port_last = (__u16)last;
	random = env_random(x);
	groups = last / XLAT_GROUP_PORTS - first / XLAT_GROUP_PORTS + 1;
	/* The upper half of the number chooses the port in the group, and the stride: neighbours of a port say nothing about the next one. */
	group = (random & 0xffff) % groups;
	stride = groups <= XLAT_PORT_GROUPS_TRIED ? 1 : 1 + (random >> 20) % (groups - 1);
	for (__u32 i = 0; i < XLAT_PORT_GROUPS_TRIED; i++) {
		if (i >= groups)
			break;
		port = xlat_group_take(x, first / XLAT_GROUP_PORTS + group, random >> 16, want, c->quarantine);
		if (port != 0)
			break;
		group = (group + stride) % groups;
	}
	x->flow.port_first = old_first;
	x->flow.port_last = old_last;
	if (port == 0)
		return XLAT_CAME_NEW;
	x->flow.port4 = bpf_htons((__u16)port);
	return XLAT_CAME_OK;
}

/* The same with what RFC 6146 3.5.1.1 prefers first. ICMP identifiers have neither class nor parity (3.5.3). */
XLAT_INLINE int port_pick(struct xlat *x)
{
	__u32 parity = bpf_ntohs(x->flow.key.sport) & 1;

	if (x->flow.key.protocol != XLAT_ICMP) {
		if (xlat_port_take(x, parity, 1) == XLAT_CAME_OK || xlat_port_take(x, 2, 1) == XLAT_CAME_OK)
			return XLAT_CAME_OK;
	}
	return xlat_port_take(x, 2, 0);
}

/* Let a port go: it rests, unless nothing outside ever used it while ports are short. */
XLAT_INLINE void port_let_go(struct xlat *x, __u32 slot, __u8 protocol, __be16 port, bool rest)
{
	const struct xlat_config *c = env_config(x);
	__u32 *entry = port_entry(x, slot, protocol, bpf_ntohs(port));

	if (entry != NULL && c != NULL)
		XLAT_WRITE(*entry, rest && c->quarantine != 0 ? port_rest(x->now + c->quarantine) : 0);
}
