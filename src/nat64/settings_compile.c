/*
 * A translator's file as a whole: from items to struct xlat_config, and what several options say together.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nat64/core/address.h"
#include "nat64/settings_read.h"
#include "nat64/words.h"

#define FEW 16u				/* tables that a mode does not use */

struct compile {
	struct nat64_settings *s;
	struct xlat_config *x;
	struct nat64_complaint *c;
};

static void tell(struct compile *k, enum nat64_option_id at, const struct nat64_item *item, const char *fmt, ...) PRINTF_LIKE(4, 5);
static void tell(struct compile *k, enum nat64_option_id at, const struct nat64_item *item, const char *fmt, ...)
{
	char sentence[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	k->c->count++;
	k->c->say(k->c->arg, at, item, sentence);
}

static const struct nat64_value *value(const struct compile *k, enum nat64_option_id id)
{
	return &k->s->value[id];
}

static struct slice text_of(const struct compile *k, enum nat64_option_id id)
{
	const struct nat64_value *v = value(k, id);

	return v->count == 0 ? (struct slice){ 0 } : v->items[0].text;
}

static uint64_t number(const struct compile *k, enum nat64_option_id id)
{
	return nat64_value_number(&nat64_options[id], text_of(k, id));
}
#define NUMBER(field) number(k, NAT64_OPTION_##field)
#define NUMBER32(field) ((uint32_t)NUMBER(field))
#define SET(field) (k->s->line[NAT64_OPTION_##field] != 0)

static uint32_t ticks(const struct compile *k, enum nat64_option_id id)
{
	uint64_t ms = number(k, id) / 1000;

	/* Rounded up: a session lives at least as long as said. */
	return (uint32_t)((ms * 1000000 + (1u << XLAT_TICK_SHIFT) - 1) >> XLAT_TICK_SHIFT);
}

/* False: auto. */
static bool address(const struct compile *k, enum nat64_option_id id, __be32 out[4], unsigned *family)
{
	struct slice text = text_of(k, id);

	return text.len > 0 && !slice_eq(text, SLICE("auto")) && words_address(text, 0, out, family, NULL) == 0;
}

/* ---- what is translated ---- */

static void compile_interfaces(struct compile *k)
{
	const struct nat64_value *v = value(k, NAT64_OPTION_interfaces);
	struct nat64_settings *s = k->s;
	enum nat64_attach all = (enum nat64_attach)NUMBER(attach);

	s->interfaces = arena_array(s->arena, v->count + 1, sizeof(*s->interfaces));
	for (size_t i = 0; i < v->count && s->interfaces != NULL; i++) {
		struct nat64_interface *one = &s->interfaces[s->interface_count];
		if (nat64_value_interface(v->items[i].text, one, NULL) != 0)
			continue;
		one->line = v->items[i].line;
		if (one->attach == NAT64_ATTACH_AUTO)
			one->attach = all;
		for (size_t j = 0; j < s->interface_count; j++) {
			if (strcmp(s->interfaces[j].name, one->name) == 0)
				tell(k, NAT64_OPTION_interfaces, &v->items[i], "'%s' stands in line %u already", one->name, s->interfaces[j].line);
		}
		s->interface_count++;
	}
	if (s->config.mode != XLAT_CLAT && v->count == 0)
		tell(k, NAT64_OPTION_interfaces, NULL, "'interfaces' is missing: name those on which IPv6 and IPv4 packets arrive, "
		     "such as 'interfaces: [eth0, eth1]'");
}

/* CLAT: the uplink is an interface like the others; the host's own traffic needs tc there. */
static void compile_clat(struct compile *k)
{
	struct nat64_settings *s = k->s;
	struct slice uplink = text_of(k, NAT64_OPTION_clat_uplink);
	uint64_t host = NUMBER(host_traffic);
	struct nat64_interface *at = NULL;
	__be32 addr[4] = { 0 };
	unsigned family;

	s->host_traffic = host == 0 ? s->config.mode == XLAT_CLAT : host == 1;
	if (s->config.mode != XLAT_CLAT) {
		static const enum nat64_option_id only[] = { NAT64_OPTION_clat_uplink, NAT64_OPTION_clat_address4, NAT64_OPTION_clat_address6,
			NAT64_OPTION_clat_dns };
		for (size_t i = 0; i < ARRAY_LEN(only); i++) {
			if (s->line[only[i]] != 0)
				tell(k, only[i], NULL, "'%s' is for 'mode: clat'", nat64_options[only[i]].key);
		}
		if (s->host_traffic)
			tell(k, NAT64_OPTION_host_traffic, NULL, "'host-traffic: true' is for 'mode: clat': a provider's translator takes what arrives");
		return;
	}
	bool local = value(k, NAT64_OPTION_mappings)->count > 0 || value(k, NAT64_OPTION_mappings_file)->count > 0;
	if (uplink.len == 0 && s->interface_count > 0 && local && host != 1) {
		/* A router that translates for others alone. */
		if (host == 0)
			buf_adds(k->c->notes, "packets of the host itself are not translated: for that name 'clat.uplink'\n");
		s->host_traffic = false;
		return;
	}
	if (uplink.len == 0) {
		tell(k, NAT64_OPTION_clat_uplink, NULL, "'clat.uplink' is missing: name the interface towards the provider");
		return;
	}
	if (!slice_to_str(uplink, s->uplink, sizeof(s->uplink)) || s->interfaces == NULL)
		return;
	for (size_t i = 0; i < s->interface_count; i++) {
		if (strcmp(s->interfaces[i].name, s->uplink) == 0)
			at = &s->interfaces[i];
	}
	if (at == NULL && s->interface_count == NAT64_INTERFACES_MAX) {
		tell(k, NAT64_OPTION_clat_uplink, NULL, "with the uplink these are more than %d interfaces", NAT64_INTERFACES_MAX);
		return;
	}
	if (at == NULL) {
		at = &s->interfaces[s->interface_count++];
		*at = (struct nat64_interface){ .attach = (enum nat64_attach)NUMBER(attach), .line = s->line[NAT64_OPTION_clat_uplink] };
		memcpy(at->name, s->uplink, sizeof(at->name));
	}
	if (s->host_traffic && at->attach == NAT64_ATTACH_XDP)
		tell(k, NUMBER(attach) == NAT64_ATTACH_XDP ? NAT64_OPTION_attach : NAT64_OPTION_interfaces, NULL,
		     "the host's own traffic cannot be translated by XDP, which sees arriving packets only: write 'attach: auto', or "
		     "'host-traffic: false' to translate forwarded packets alone");
	if (s->host_traffic && at->attach == NAT64_ATTACH_AUTO)
		at->attach = NAT64_ATTACH_TC;
	if (address(k, NAT64_OPTION_clat_address4, addr, &family))
		s->clat4 = addr[0];
	s->clat6_from_uplink = !address(k, NAT64_OPTION_clat_address6, s->clat6, &family);
}

static void compile_pref64(struct compile *k)
{
	const struct nat64_value *v = value(k, NAT64_OPTION_pref64);
	struct nat64_settings *s = k->s;
	static const struct { const char *word; enum nat64_pref64_source source; } words[] = {
		{ "ra", NAT64_PREF64_RA }, { "dns", NAT64_PREF64_DNS }, { "auto", NAT64_PREF64_AUTO },
	};
	__be32 addr[4];
	unsigned family;

	for (size_t i = 0; i < v->count; i++) {
		struct xlat_prefix one;
		for (size_t w = 0; w < ARRAY_LEN(words); w++) {
			if (!slice_eq(v->items[i].text, slice_str(words[w].word)))
				continue;
			s->pref64_source = words[w].source;
			if (s->config.mode != XLAT_CLAT)
				tell(k, NAT64_OPTION_pref64, &v->items[i], "only the customer's side (mode clat) learns its prefix: write the prefix, such as "
				     "'pref64: 64:ff9b::/96'");
			else if (v->count > 1)
				tell(k, NAT64_OPTION_pref64, &v->items[i], "'%s' stands alone: it means that no prefix is written here", words[w].word);
		}
		if (words_pref64(v->items[i].text, &one, NULL) != 0)
			continue;
		for (size_t j = 0; j < k->x->prefix_count; j++) {
			if (words_nets_overlap(one.addr, one.bits, k->x->prefix[j].addr, k->x->prefix[j].bits))
				tell(k, NAT64_OPTION_pref64, &v->items[i], "overlaps another translation prefix: an address would have two meanings");
		}
		k->x->prefix[k->x->prefix_count++] = one;
	}
	if (v->count == 0 && s->config.mode == XLAT_CLAT)
		s->pref64_source = NAT64_PREF64_AUTO;
	/* Anybody on the LAN may send router advertisements: who learns must know which side is the provider's. */
	if (s->config.mode == XLAT_CLAT && (s->pref64_source == NAT64_PREF64_RA || s->pref64_source == NAT64_PREF64_AUTO) &&
	    text_of(k, NAT64_OPTION_clat_uplink).len == 0)
		tell(k, NAT64_OPTION_pref64, NULL, "to learn the prefix 'clat.uplink' is needed: name the interface towards the provider, whose router "
		     "advertisements count; or write the prefix, such as 'pref64: 64:ff9b::/96'");
	if (v->count == 0 && s->config.mode == XLAT_NAT64)
		tell(k, NAT64_OPTION_pref64, NULL, "'pref64' is missing: the prefix by which IPv6 hosts name IPv4 ones, such as 'pref64: 64:ff9b::/96'");
	s->pref64_dns_server = "";
	if (address(k, NAT64_OPTION_clat_dns, addr, &family))
		s->pref64_dns_server = arena_str(s->arena, text_of(k, NAT64_OPTION_clat_dns));
}

static bool pools_overlap(const struct xlat_pool *a, const struct xlat_pool *b, bool ports)
{
	return a->first <= b->first + (b->count - 1) && b->first <= a->first + (a->count - 1) &&
	       (!ports || (a->port_first <= b->port_last && b->port_first <= a->port_last));
}

static void compile_pool_row(struct compile *k, const struct nat64_item *item, uint32_t *slots)
{
	struct xlat_config *x = k->x;
	struct xlat_pool row;
	bool ports;

	if (words_pool(item->text, &row, &ports, NULL) != 0)
		return;
	if (x->mode == XLAT_SIIT && ports)
		tell(k, NAT64_OPTION_pool4, item, "mode siit gives out no ports: the row is addresses alone");
	for (size_t j = 0; j < x->pool_count; j++) {
		if (pools_overlap(&row, &x->pool[j], x->mode == XLAT_NAT64))
			tell(k, NAT64_OPTION_pool4, item, "overlaps the row of line %u: rows of one address need ports of their own",
			     value(k, NAT64_OPTION_pool4)->items[j].line);
	}
	if (x->mode == XLAT_NAT64 && (row.count > XLAT_POOL_ADDRESSES_MAX || row.count + *slots > XLAT_POOL_ADDRESSES_MAX)) {
		tell(k, NAT64_OPTION_pool4, item, "pool4 would have more than %d addresses; another instance can have the rest",
		     XLAT_POOL_ADDRESSES_MAX);
		return;
	}
	bool global = addr_global4(htonl(row.first)) && addr_global4(htonl(row.first + (row.count - 1)));
	for (size_t i = 0; i < x->prefix_count && !global; i++) {
		if (x->prefix[i].global_only && x->mode == XLAT_SIIT)
			tell(k, NAT64_OPTION_pool4, item, "64:ff9b::/96 must not stand for IPv4 addresses that are not global (RFC 6052 3.1): take a "
			     "prefix of your own, or one of 64:ff9b:1::/48 (RFC 8215)");
		else if (x->prefix[i].global_only)
			buf_printf(k->c->notes, "line %u: %.*s is not global: with 64:ff9b::/96 (RFC 6052 3.1) inside hosts cannot reach it, which "
				   "rules out hairpinning\n", item->line, SLICE_FMT(item->text));
	}
	row.slot = *slots;
	*slots += row.count;
	x->pool[x->pool_count++] = row;
}

static void compile_pool(struct compile *k)
{
	const struct nat64_value *v = value(k, NAT64_OPTION_pool4);
	uint32_t slots = 0;

	if (k->x->mode == XLAT_CLAT && v->count > 0) {
		tell(k, NAT64_OPTION_pool4, &v->items[0], "'pool4' is for the modes nat64 and siit: a CLAT translates one to one, by 'mappings'");
		return;
	}
	for (size_t i = 0; i < v->count; i++)
		compile_pool_row(k, &v->items[i], &slots);
	if (k->x->mode == XLAT_NAT64 && v->count == 0)
		tell(k, NAT64_OPTION_pool4, NULL, "'pool4' is missing: the IPv4 addresses to translate to, such as 'pool4: [192.0.2.1]'; an address "
		     "of the host itself is '192.0.2.1 shared'");
	k->s->sizes.pool_addresses = k->x->mode != XLAT_NAT64 ? 1 : slots > NUMBER32(table_pool) ? slots : NUMBER32(table_pool);
}

/* ---- explicit mappings ---- */

static int by_four(const void *a, const void *b)
{
	const struct xlat_eam *p = a, *q = b;
	int diff = memcmp(&p->addr4, &q->addr4, 4);

	return diff != 0 ? diff : p->bits4 - q->bits4;
}

static int by_six(const void *a, const void *b)
{
	const struct xlat_eam *p = a, *q = b;
	int diff = memcmp(p->addr6, q->addr6, 16);

	return diff != 0 ? diff : p->bits6 - q->bits6;
}

/* Where a row stands: "line 7", "line 7 of mappings-file". */
static void row_text(char out[64], uint32_t row)
{
	snprintf(out, 64, "line %u%s", row & ~NAT64_ROW_FILE, (row & NAT64_ROW_FILE) != 0 ? " of mappings-file" : "");
}

/* Two rows with the same prefix: the first such pair, later row in *a. Sorts. */
static bool twice(struct xlat_eam *eams, size_t count, int (*order)(const void *, const void *), uint32_t *a, uint32_t *b)
{
	bool found = false;

	qsort(eams, count, sizeof(*eams), order);
	for (size_t i = 1; i < count; i++) {
		uint32_t p = eams[i - 1].row, q = eams[i].row;
		uint32_t later = p > q ? p : q;
		if (order(&eams[i - 1], &eams[i]) != 0 || (found && later >= *a))
			continue;
		found = true;
		*a = later;
		*b = p > q ? q : p;
	}
	return found;
}

static int by_row(const void *a, const void *b)
{
	const struct xlat_eam *p = a, *q = b;

	return p->row < q->row ? -1 : p->row > q->row;
}

/* A prefix of either family stands in one row only. "" or the sentence. */
static uint32_t find_twice(struct nat64_settings *s, char sentence[160])
{
	uint32_t a = 0, b = 0;
	unsigned family = 4;
	char at[64];
	bool found = twice(s->eams, s->eam_count, by_four, &a, &b);

	if (!found) {
		family = 6;
		found = twice(s->eams, s->eam_count, by_six, &a, &b);
	}
	qsort(s->eams, s->eam_count, sizeof(*s->eams), by_row);
	if (!found)
		return 0;
	row_text(at, b);
	snprintf(sentence, 160, "the IPv%u prefix of this mapping stands in %s already", family, at);
	return a;
}

static void compile_mappings(struct compile *k)
{
	const struct nat64_value *v = value(k, NAT64_OPTION_mappings);
	struct nat64_settings *s = k->s;
	bool file = value(k, NAT64_OPTION_mappings_file)->count > 0;
	char sentence[160];

	s->eams = arena_array(s->arena, v->count + 1, sizeof(*s->eams));
	for (size_t i = 0; i < v->count && s->eams != NULL; i++) {
		struct xlat_eam *one = &s->eams[s->eam_count];
		if (words_mapping(v->items[i].text, one, NULL) != 0)
			continue;
		one->row = v->items[i].line;
		for (size_t j = 0; j < k->x->prefix_count; j++) {
			if (words_nets_overlap(one->addr6, one->bits6, k->x->prefix[j].addr, k->x->prefix[j].bits))
				tell(k, NAT64_OPTION_mappings, &v->items[i], "its IPv6 prefix overlaps a prefix of pref64: an address would have two meanings");
		}
		s->eam_count++;
	}
	if (k->x->mode == XLAT_NAT64 && (v->count > 0 || file))
		tell(k, file ? NAT64_OPTION_mappings_file : NAT64_OPTION_mappings, NULL,
		     "explicit mappings are for the modes siit and clat: in mode nat64 write 'static: [tcp 192.0.2.1:80 [2001:db8::10]:80]'");
	if (s->host_traffic && !s->clat6_from_uplink && s->eams != NULL) {
		struct xlat_eam *own = &s->eams[s->eam_count++];
		*own = (struct xlat_eam){ .addr4 = s->clat4, .bits4 = 32, .bits6 = 128, .row = s->line[NAT64_OPTION_clat_address6] };
		memcpy(own->addr6, s->clat6, sizeof(own->addr6));
	}
	uint32_t row = s->eams == NULL ? 0 : find_twice(s, sentence);
	for (size_t i = 0; i < v->count && row != 0; i++) {
		if (v->items[i].line == row) {
			tell(k, NAT64_OPTION_mappings, &v->items[i], "%s", sentence);
			break;
		}
	}
	bool local = s->host_traffic || v->count > 0 || file;
	if (k->x->mode == XLAT_CLAT && !local)
		tell(k, NAT64_OPTION_mappings, NULL, "a CLAT without the host's own traffic needs 'mappings': which local IPv4 addresses have which "
		     "IPv6 addresses, '192.168.1.0/24 2001:db8:64::/120'");
	if (k->x->mode == XLAT_SIIT && v->count == 0 && !file && (k->x->prefix_count == 0 || k->x->pool_count == 0))
		tell(k, NAT64_OPTION_mappings, NULL, "mode siit needs 'mappings' for the IPv6 hosts that IPv4 reaches%s",
		     k->x->prefix_count == 0 ? ", and mostly 'pref64' for the others" : k->x->pool_count == 0 ?
		     ", or 'pool4' with the IPv4 addresses for which pref64 stands" : "");
	if (k->x->mode != XLAT_NAT64)
		k->x->flags |= XLAT_EAM;
}

int nat64_compile_file(struct nat64_settings *s, struct slice text, const char *path, struct buf *errors)
{
	struct slice line, rest = text;
	size_t lines = 1, mistakes = 0;
	char sentence[160];

	if (text.len > NAT64_MAPPINGS_FILE_BYTES_MAX) {
		buf_printf(errors, "%s: larger than %d bytes\n", path, NAT64_MAPPINGS_FILE_BYTES_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < text.len; i++)
		lines += text.ptr[i] == '\n';
	struct xlat_eam *all = arena_array(s->arena, s->eam_count + MIN(lines, (size_t)NAT64_MAPPINGS_ALL_MAX) + 1, sizeof(*all));
	if (all == NULL)
		return -ENOMEM;
	memcpy(all, s->eams, s->eam_count * sizeof(*all));
	s->eams = all;
	for (uint32_t n = 1; rest.len > 0 && mistakes < CONFIG_ERRORS_MAX; n++) {
		struct errmsg why = { 0 };
		slice_cut(rest, '\n', &line, &rest);
		size_t hash = slice_find_byte(line, '#');
		line = slice_trim(slice_head(line, hash == SLICE_NPOS ? line.len : hash));
		if (line.len == 0)
			continue;
		if (s->eam_count >= NAT64_MAPPINGS_ALL_MAX) {
			buf_printf(errors, "%s:%u: more than %d mappings\n", path, n, NAT64_MAPPINGS_ALL_MAX);
			return -EINVAL;
		}
		if (words_mapping(line, &all[s->eam_count], &why) != 0) {
			buf_printf(errors, "%s:%u:1: %s\n", path, n, why.text);
			mistakes++;
			continue;
		}
		all[s->eam_count++].row = n | NAT64_ROW_FILE;
	}
	uint32_t row = mistakes > 0 ? 0 : find_twice(s, sentence);
	if (row != 0)
		buf_printf(errors, "%s:%u:1: %s\n", path, row & ~NAT64_ROW_FILE, sentence);
	return mistakes > 0 || row != 0 ? -EINVAL : 0;
}

/* ---- stateful things ---- */

static bool pool_has(const struct xlat_config *x, uint32_t addr, uint16_t port)
{
	for (size_t i = 0; i < x->pool_count; i++) {
		const struct xlat_pool *p = &x->pool[i];
		if (addr - p->first < p->count && (port == 0 || (port >= p->port_first && port <= p->port_last)))
			return true;
	}
	return false;
}

static void compile_statics(struct compile *k)
{
	const struct nat64_value *v = value(k, NAT64_OPTION_statics);
	struct nat64_settings *s = k->s;

	if (v->count > 0 && s->config.mode != XLAT_NAT64)
		tell(k, NAT64_OPTION_statics, &v->items[0], "'static' is for mode nat64; here every address of 'mappings' is reached already");
	s->bibs = arena_array(s->arena, v->count, sizeof(*s->bibs));
	for (size_t i = 0; i < v->count && s->bibs != NULL; i++) {
		struct xlat_bib *one = &s->bibs[s->bib_count];
		if (words_static(v->items[i].text, one, NULL) != 0)
			continue;
		uint16_t port = one->key.protocol == XLAT_ICMP ? 0 : ntohs(one->port4);
		if (s->config.mode == XLAT_NAT64 && !pool_has(k->x, ntohl(one->addr4), port))
			tell(k, NAT64_OPTION_statics, &v->items[i], "pool4 has no row with this IPv4 address and port");
		for (size_t j = 0; j < s->bib_count; j++) {
			const struct xlat_bib *other = &s->bibs[j];
			bool outside = other->addr4 == one->addr4 && other->port4 == one->port4 && other->key.protocol == one->key.protocol;
			bool inside = memcmp(&other->key, &one->key, sizeof(one->key)) == 0;
			if (outside || inside)
				tell(k, NAT64_OPTION_statics, &v->items[i], "its %s address and port stand in line %u already", outside ? "IPv4" : "IPv6",
				     v->items[j].line);
		}
		s->bib_count++;
	}
}

/* Whole blocks of `size` ports that all rows have. Blocks begin at multiples of their size, as port numbers do. */
static uint64_t blocks_of(const struct xlat_config *x, uint32_t size)
{
	uint64_t blocks = 0;

	for (size_t i = 0; i < x->pool_count; i++) {
		const struct xlat_pool *p = &x->pool[i];
		uint32_t first = (p->port_first + size - 1) / size, end = (p->port_last + 1u) / size;
		if ((p->flags & XLAT_POOL_DRAIN) == 0 && end > first)
			blocks += (uint64_t)p->count * (end - first);
	}
	return blocks;
}

static void compile_blocks(struct compile *k)
{
	struct xlat_config *x = k->x;
	uint32_t size = NUMBER32(block_size);

	if (size == 0)
		return;
	const struct nat64_item *item = &value(k, NAT64_OPTION_block_size)->items[0];
	if (size < 64 || (size & (size - 1)) != 0) {
		uint32_t near = 64;
		while (near < size && near < 4096)
			near *= 2;
		tell(k, NAT64_OPTION_block_size, item, "a block has 64, 128, 256, 512, 1024, 2048 or 4096 ports, not %u; did you mean %u?", size, near);
		return;
	}
	x->ports = XLAT_PORTS_BLOCKS;
	x->block_ports = size;
	x->blocks_max = NUMBER32(block_max);
	for (size_t i = 0; i < x->pool_count; i++) {
		struct xlat_config one = { .pool_count = 1 };
		one.pool[0] = x->pool[i];
		one.pool[0].flags = 0;
		if (blocks_of(&one, size) == 0)
			tell(k, NAT64_OPTION_pool4, &value(k, NAT64_OPTION_pool4)->items[i], "its ports hold no whole block of %u (blocks begin at "
			     "multiples of their size): widen the range or make 'subscribers.blocks.size' smaller", size);
	}
	uint64_t blocks = blocks_of(x, size);
	if (x->ports_max > 0 && x->ports_max < size)
		tell(k, NAT64_OPTION_subscriber_ports, NULL, "'subscribers.ports' (%u) is less than a block of %u", x->ports_max, size);
	if (x->pool_count > 0 && blocks > 0)
		buf_printf(k->c->notes, "port blocks: pool4 has %llu of %u ports, so as many subscribers at a time; each may have %u ports\n",
			   (unsigned long long)blocks, size, size * x->blocks_max);
}

static void compile_deterministic(struct compile *k)
{
	struct xlat_config *x = k->x;
	const struct nat64_value *prefixes = value(k, NAT64_OPTION_subscriber_prefixes);
	uint32_t ports = NUMBER32(det_ports);
	struct words_net net;

	if (ports == 0)
		return;
	const struct nat64_item *item = &value(k, NAT64_OPTION_det_ports)->items[0];
	if (NUMBER(block_size) != 0)
		tell(k, NAT64_OPTION_block_size, NULL, "ports are given out in blocks or follow from the address: not both");
	if (prefixes->count != 1 || words_net(prefixes->items[0].text, 6, &net, NULL) != 0) {
		tell(k, NAT64_OPTION_det_ports, item, "deterministic ports need one prefix in 'subscribers.prefixes': the bits between it and "
		     "'subscribers.bits' number the subscribers");
		return;
	}
	if (net.bits > x->subscriber_bits || x->subscriber_bits - net.bits > 24) {
		tell(k, NAT64_OPTION_det_ports, item, "between 'subscribers.prefixes' (/%u) and 'subscribers.bits' (%u) lie 0 to 24 bits", net.bits,
		     x->subscriber_bits);
		return;
	}
	uint64_t subscribers = UINT64_C(1) << (x->subscriber_bits - net.bits), capacity = 0, all = 0;
	for (size_t i = 0; i < x->pool_count; i++) {
		uint32_t width = x->pool[i].port_last - x->pool[i].port_first + 1u;
		if (x->pool[i].mark != 0)
			tell(k, NAT64_OPTION_pool4, &value(k, NAT64_OPTION_pool4)->items[i], "deterministic ports follow from the address alone: "
			     "no row of pool4 has a mark then");
		capacity += (uint64_t)x->pool[i].count * (width / ports);
		all += (uint64_t)x->pool[i].count * width;
	}
	if (capacity < subscribers)
		tell(k, NAT64_OPTION_det_ports, item, "%llu subscribers of %u ports do not fit pool4, which has %llu ports for %llu of them: "
		     "%llu ports each would fit", (unsigned long long)subscribers, ports, (unsigned long long)all, (unsigned long long)capacity,
		     (unsigned long long)(all / subscribers));
	x->ports = XLAT_PORTS_DETERMINISTIC;
	x->det_prefix_bits = net.bits;
	x->det_subscriber_bits = x->subscriber_bits;
	x->det_ports = ports;
	if (capacity >= subscribers)
		buf_printf(k->c->notes, "deterministic ports: %llu subscribers, %u ports each; the pool has room for %llu\n",
			   (unsigned long long)subscribers, ports, (unsigned long long)capacity);
}

static void mask6(__be32 mask[4], unsigned bits)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned here = bits > 32 * i ? MIN(bits - 32 * i, 32u) : 0;
		mask[i] = here == 0 ? 0 : htonl(UINT32_MAX << (32 - here));
	}
}

static __be32 mask4(unsigned bits)
{
	return bits == 0 ? 0 : htonl(UINT32_MAX << (32 - bits));
}

static void compile_subscribers(struct compile *k)
{
	const struct nat64_value *v = value(k, NAT64_OPTION_subscriber_prefixes);
	struct xlat_config *x = k->x;

	x->subscriber_bits = NUMBER32(subscriber_bits);
	mask6(x->subscriber_mask, x->subscriber_bits);
	x->ports_max = NUMBER32(subscriber_ports);
	x->sessions_max = NUMBER32(subscriber_sessions);
	x->rate = NUMBER32(subscriber_rate);
	x->burst = NUMBER(subscriber_burst) != 0 ? NUMBER32(subscriber_burst) : 2 * x->rate;
	for (size_t i = 0; i < v->count; i++) {
		struct words_net n;
		if (words_net(v->items[i].text, 6, &n, NULL) != 0)
			continue;
		struct xlat_net6 *to = &x->subscriber[x->subscriber_count++];
		memcpy(to->addr, n.addr, sizeof(to->addr));
		mask6(to->mask, n.bits);
		for (size_t j = 0; j < x->prefix_count; j++) {
			if (words_nets_overlap(n.addr, n.bits, x->prefix[j].addr, x->prefix[j].bits))
				tell(k, NAT64_OPTION_subscriber_prefixes, &v->items[i], "overlaps a prefix of pref64: such sources are forged");
		}
	}
	if (x->rate == 0 && NUMBER(subscriber_burst) != 0)
		tell(k, NAT64_OPTION_subscriber_burst, NULL, "'subscribers.burst' needs 'subscribers.rate'");
	compile_blocks(k);
	compile_deterministic(k);
}

/* ---- the rest ---- */

static void compile_nets(struct compile *k)
{
	const struct nat64_value *pass = value(k, NAT64_OPTION_pass), *pool = value(k, NAT64_OPTION_icmp_pool);
	struct xlat_config *x = k->x;
	struct words_net n;

	for (size_t i = 0; i < pass->count; i++) {
		if (words_net(pass->items[i].text, 0, &n, NULL) != 0)
			continue;
		if (n.family == 4) {
			x->pass4[x->pass4_count++] = (struct xlat_net4){ n.addr[0], mask4(n.bits) };
			continue;
		}
		struct xlat_net6 *to = &x->pass6[x->pass6_count++];
		memcpy(to->addr, n.addr, sizeof(to->addr));
		mask6(to->mask, n.bits);
	}
	for (size_t i = 0; i < pool->count; i++) {
		if (words_net(pool->items[i].text, 4, &n, NULL) == 0)
			x->error_pool[x->error_count++] = (struct xlat_net4){ n.addr[0], mask4(n.bits) };
	}
}

static void compile_timers(struct compile *k)
{
	static const enum nat64_option_id timers[XLAT_T_COUNT] = {
		[XLAT_T_UDP] = NAT64_OPTION_timer_udp, [XLAT_T_ICMP] = NAT64_OPTION_timer_icmp,
		[XLAT_T_TCP_ESTABLISHED] = NAT64_OPTION_timer_tcp_established,
		[XLAT_T_TCP_TRANSITORY] = NAT64_OPTION_timer_tcp_transitory,
		[XLAT_T_TCP_INCOMING_SYN] = NAT64_OPTION_timer_tcp_syn, [XLAT_T_FRAGMENT] = NAT64_OPTION_timer_fragments,
		[XLAT_T_UDP_DNS] = NAT64_OPTION_timer_udp_dns,
	};

	for (size_t i = 0; i < XLAT_T_COUNT; i++)
		k->x->timeout[i] = ticks(k, timers[i]);
	k->x->quarantine = ticks(k, NAT64_OPTION_quarantine);
	k->s->fragment_ms = (uint32_t)(NUMBER(timer_fragments) / 1000);
	k->s->slow_datagrams_max = NUMBER32(slow_datagrams);
	k->s->slow_bytes_max = NUMBER(slow_memory);
}

static void compile_packets(struct compile *k)
{
	struct xlat_config *x = k->x;
	struct nat64_settings *s = k->s;
	__be32 addr[4] = { 0 };
	unsigned family;
	bool stateful = x->mode == XLAT_NAT64;

	x->flags |= slice_eq(text_of(k, NAT64_OPTION_tos), SLICE("copy")) ? XLAT_TOS_COPY : 0;
	x->tos = NUMBER32(tos);
	x->flags |= NUMBER(icmp_errors) != 0 ? XLAT_ICMP_ERRORS : 0;
	x->flags |= NUMBER(icmp_admin) != 0 ? XLAT_ADMIN_PROHIBITED : 0;
	x->flags |= NUMBER(nexthop_cache) != 0 ? XLAT_NEXTHOP_CACHE : 0;
	x->flags |= NUMBER(hairpin) != 0 ? XLAT_HAIRPIN : 0;
	x->hairpin_eam = NUMBER32(hairpin);
	x->flags |= stateful && NUMBER(ftp) != 0 ? XLAT_FTP : 0;
	x->filtering = NUMBER32(filtering);
	x->zero_checksum = NUMBER32(zero_checksum);
	x->lowest_mtu6 = NUMBER32(lowest_mtu6);
	x->mtu4 = NUMBER32(mtu4);
	x->mtu6 = NUMBER32(mtu6);
	x->errors_rate = NUMBER32(icmp_rate);
	if (x->mtu6 != 0 && x->mtu6 < 1280)
		tell(k, NAT64_OPTION_mtu6, NULL, "IPv6 needs links of at least 1280 bytes (RFC 8200 5)");
	if (x->mtu4 != 0 && x->mtu4 < 68)
		tell(k, NAT64_OPTION_mtu4, NULL, "IPv4 needs links of at least 68 bytes (RFC 791)");
	if (address(k, NAT64_OPTION_icmp_source4, addr, &family))
		x->own4 = addr[0];
	(void)address(k, NAT64_OPTION_icmp_source6, x->own6, &family);
	s->log = (__typeof__(s->log))NUMBER(log);
	s->log_format = (__typeof__(s->log_format))NUMBER(log_format);
	x->flags |= stateful && s->log == NAT64_LOG_SESSIONS ? XLAT_LOG_SESSIONS : 0;	/* whose lines have the mapping as well */
	x->flags |= stateful && s->log == NAT64_LOG_MAPPINGS ? XLAT_LOG_MAPPINGS : 0;
	s->sizes.sessions = stateful ? NUMBER32(table_sessions) : FEW;
	s->sizes.mappings = stateful ? NUMBER32(table_mappings) : FEW;
	s->sizes.subscribers = stateful ? NUMBER32(table_subscribers) : FEW;
	s->sizes.fragments = NUMBER32(table_fragments);
	s->sizes.nexthops = NUMBER32(table_nexthops);
	if (stateful && x->sessions_max > s->sizes.sessions)
		tell(k, NAT64_OPTION_subscriber_sessions, NULL, "one subscriber may have more sessions (%u) than all together ('tables.sessions': %u)",
		     x->sessions_max, s->sizes.sessions);
}

static void compile_announce(struct compile *k)
{
	static const uint8_t rfc4191[] = { 3, 0, 1 };	/* low, medium, high */
	const struct nat64_value *v = value(k, NAT64_OPTION_announce_interfaces);
	struct nat64_settings *s = k->s;
	uint32_t lifetime_s = (uint32_t)(NUMBER(announce_lifetime) / 1000000), interval_s = (uint32_t)(NUMBER(announce_interval) / 1000000);

	if (v->count > 0 && k->x->prefix_count != 1)
		tell(k, NAT64_OPTION_announce_interfaces, &v->items[0], "'announce' tells hosts of the one prefix of 'pref64', which has %u",
		     k->x->prefix_count);
	if (v->count > 0 && lifetime_s < interval_s)
		tell(k, SET(announce_lifetime) ? NAT64_OPTION_announce_lifetime : NAT64_OPTION_announce_interval, NULL,
		     "the prefix would end before the next advertisement: make 'announce.lifetime' three times 'announce.interval'");
	s->announce = arena_array(s->arena, v->count, sizeof(*s->announce));
	for (size_t i = 0; i < v->count && s->announce != NULL; i++) {
		struct nat64_announce *one = &s->announce[s->announce_count++];
		*one = (struct nat64_announce){ .lifetime_s = lifetime_s, .interval_s = interval_s, .preference = rfc4191[NUMBER(announce_preference)] };
		if (!slice_to_str(v->items[i].text, one->interface, sizeof(one->interface)))
			one->interface[0] = '\0';
	}
}

static void compile_metrics(struct compile *k)
{
	const struct nat64_value *v = value(k, NAT64_OPTION_metrics);
	struct config_address *items = arena_array(k->s->arena, v->count, sizeof(*items));

	for (size_t i = 0; i < v->count && items != NULL; i++) {
		if (config_address_parse(k->s->arena, v->items[i].text, &items[i]))
			k->s->metrics.count++;
	}
	k->s->metrics.items = items;
}

bool nat64_option_serves(enum nat64_option_id id, unsigned mode)
{
	static const char *const stateful[] = {
		"subscribers.", "filtering", "ftp", "quarantine", "static", "timers.udp", "timers.icmp", "timers.tcp", "tables.sessions",
		"tables.mappings", "tables.subscribers", "tables.pool",
	};
	struct slice key = slice_str(nat64_options[id].key);

	for (size_t i = 0; i < ARRAY_LEN(stateful); i++) {
		if (slice_starts(key, slice_str(stateful[i])))
			return mode == XLAT_NAT64;
	}
	if (id == NAT64_OPTION_log)
		return mode == XLAT_NAT64;
	if (slice_starts(key, SLICE("clat.")) || id == NAT64_OPTION_host_traffic)
		return mode == XLAT_CLAT;
	if (slice_starts(key, SLICE("mappings")))
		return mode != XLAT_NAT64;
	return id != NAT64_OPTION_pool4 || mode != XLAT_CLAT;
}

/* Options of another mode that would do nothing: said, so that nobody relies on them. (Others are errors: where they are read.) */
static void compile_unused(struct compile *k)
{
	for (size_t i = 0; i < NAT64_OPTION_COUNT && k->c->count == 0; i++) {
		if (k->s->line[i] != 0 && !nat64_option_serves((enum nat64_option_id)i, k->x->mode))
			buf_printf(k->c->notes, "line %u: '%s' does nothing in this mode\n", k->s->line[i], nat64_options[i].key);
	}
}

int nat64_compile(struct nat64_settings *s, struct nat64_complaint *c)
{
	struct compile one = { .s = s, .x = &s->config, .c = c }, *k = &one;

	if (value(k, NAT64_OPTION_mode)->count == 0) {
		tell(k, NAT64_OPTION_mode, NULL, "'mode' is missing: siit (stateless), nat64 (stateful) or clat (the customer's side)");
		return 0;
	}
	s->config.abi = XLAT_CONFIG_ABI;
	s->config.bytes = sizeof(s->config);
	s->config.mode = NUMBER32(mode);
	if (!slice_to_str(text_of(k, NAT64_OPTION_name), s->name, sizeof(s->name)))
		return 0;
	compile_interfaces(k);
	compile_clat(k);
	compile_pref64(k);
	compile_pool(k);
	compile_mappings(k);
	compile_statics(k);
	compile_subscribers(k);
	compile_nets(k);
	compile_timers(k);
	compile_packets(k);
	compile_announce(k);
	compile_metrics(k);
	compile_unused(k);
	return s->arena->err;
}
