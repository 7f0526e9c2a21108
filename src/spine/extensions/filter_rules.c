#include "spine/extensions/filter_rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>

#include "base/suggest.h"

/* As in pcap-filter(7) and /etc/protocols; families: where the name makes sense. */
static const struct {
	const char *name;
	uint8_t families, number;
} protocols[] = {
	{ "tcp", 3, 6 },     { "udp", 3, 17 },	   { "icmp", 1, 1 },  { "icmp6", 2, 58 }, { "sctp", 3, 132 },
	{ "udplite", 3, 136 }, { "dccp", 3, 33 }, { "igmp", 1, 2 }, { "esp", 3, 50 },	  { "ah", 3, 51 },
	{ "gre", 3, 47 },    { "ipip", 3, 4 },	   { "ospf", 3, 89 }, { "vrrp", 3, 112 }, { "pim", 3, 103 },
};

static const char *const words[] = { "ip",   "ip6",  "arp",  "other",  "proto",	    "src",	"dst", "host",
				     "net",  "port", "and", "portrange", "fragment" };

struct parser {
	struct arena *arena;
	struct buf *errors;
	const char *file;
	uint32_t line;
	unsigned error_count;
	struct filter_rules *rules;
	size_t room;			/* of rules->entries */
};

#define BOTH FILTER_SIDES		/* a condition that names no direction */

/* A rule while its words are read; conditions without direction are apart. */
struct draft {
	struct filter_entry entry;
	struct slice rest;		/* words that are not read yet */
	const struct filter_prefix *prefixes;
	size_t prefix_count;
	const struct filter_ports *ports;
	size_t port_count;
	unsigned conditions;
};

static int wrong(struct parser *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int wrong(struct parser *p, const char *fmt, ...)
{
	va_list ap;

	p->error_count++;
	buf_printf(p->errors, "%s:%u: ", p->file, p->line);
	va_start(ap, fmt);
	buf_vprintf(p->errors, fmt, ap);
	va_end(ap);
	buf_addc(p->errors, '\n');
	return -EINVAL;
}

static struct slice next_word(struct slice *rest)
{
	struct slice trimmed = slice_trim(*rest);
	size_t n = 0;

	while (n < trimmed.len && trimmed.ptr[n] != ' ' && trimmed.ptr[n] != '\t')
		n++;
	*rest = slice_from(trimmed, n);
	return slice_head(trimmed, n);
}

static bool is(struct slice word, const char *text)
{
	return slice_eq(word, slice_str(text));
}

/* ---- lists ---- */

/* Items between commas, at least one. */
static size_t list_items(struct slice list)
{
	size_t n = 1;

	for (size_t i = 0; i < list.len; i++)
		n += list.ptr[i] == ',';
	return n;
}

static int parse_prefix(struct parser *p, struct slice text, struct filter_prefix *out)
{
	struct slice host, length;
	char name[INET6_ADDRSTRLEN];
	uint32_t bits;
	bool cut = slice_cut(text, '/', &host, &length);

	*out = (struct filter_prefix){ 0 };
	if (!slice_to_str(host, name, sizeof(name)))
		return wrong(p, "'%.*s' is no address", SLICE_FMT(text));
	if (inet_pton(AF_INET, name, out->address) == 1)
		out->family = FILTER_IP4;
	else if (inet_pton(AF_INET6, name, out->address) == 1)
		out->family = FILTER_IP6;
	else
		return wrong(p, "'%.*s' is no IPv4 or IPv6 address", SLICE_FMT(text));
	bits = out->family == FILTER_IP4 ? 32 : 128;
	if (cut && (!slice_u32(length, &bits) || bits > (out->family == FILTER_IP4 ? 32u : 128u)))
		return wrong(p, "'%.*s': the length of a prefix is 0 to %u", SLICE_FMT(text),
			     out->family == FILTER_IP4 ? 32u : 128u);
	out->bits = (uint8_t)bits;
	for (uint32_t i = bits; i < 128; i++)
		if (out->address[i / 8] & 0x80 >> i % 8)
			return wrong(p, "'%.*s' has bits behind its length of %u; clear them or say the address alone",
				     SLICE_FMT(text), bits);
	return 0;
}

static int parse_prefixes(struct parser *p, struct slice list, const struct filter_prefix **out, size_t *count)
{
	size_t n = list_items(list);
	struct filter_prefix *prefixes;
	struct slice item;

	if (*count > 0)
		return wrong(p, "addresses are given twice; write a list: 10.0.0.0/8,192.0.2.1");
	if (n > FILTER_LIST_MAX)
		return wrong(p, "a list has %d items at most", FILTER_LIST_MAX);
	prefixes = arena_array(p->arena, n, sizeof(*prefixes));
	if (prefixes == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		slice_cut(list, ',', &item, &list);
		int rc = parse_prefix(p, item, &prefixes[i]);
		if (rc != 0)
			return rc;
	}
	*out = prefixes;
	*count = n;
	return 0;
}

static int port_order(const void *a, const void *b)
{
	const struct filter_ports *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

static int parse_port(struct parser *p, struct slice text, struct filter_ports *out)
{
	struct slice first, last;
	uint64_t from, to;

	if (!slice_cut(text, '-', &first, &last))
		last = first;
	if (!slice_u64(first, 65535, &from) || !slice_u64(last, 65535, &to))
		return wrong(p, "'%.*s' is no port: numbers of 0 to 65535, or ranges like 1000-1999", SLICE_FMT(text));
	if (from > to)
		return wrong(p, "'%.*s' ends before it begins", SLICE_FMT(text));
	*out = (struct filter_ports){ (uint16_t)from, (uint16_t)to };
	return 0;
}

static int parse_ports(struct parser *p, struct slice list, const struct filter_ports **out, size_t *count)
{
	size_t n = list_items(list), kept = 0;
	struct filter_ports *ports;
	struct slice item;

	if (*count > 0)
		return wrong(p, "ports are given twice; write a list: 80,443,8000-8099");
	if (n > FILTER_LIST_MAX)
		return wrong(p, "a list has %d items at most", FILTER_LIST_MAX);
	ports = arena_array(p->arena, n, sizeof(*ports));
	if (ports == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		slice_cut(list, ',', &item, &list);
		int rc = parse_port(p, item, &ports[i]);
		if (rc != 0)
			return rc;
	}
	qsort(ports, n, sizeof(*ports), port_order);
	for (size_t i = 1; i < n; i++) {
		if (ports[i].first > ports[kept].last + 1u)
			ports[++kept] = ports[i];
		else if (ports[i].last > ports[kept].last)
			ports[kept].last = ports[i].last;
	}
	*out = ports;
	*count = kept + 1;
	return 0;
}

static bool protocol_named(struct slice name, uint8_t *families, uint8_t *number)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (is(name, protocols[i].name)) {
			*families = protocols[i].families;
			*number = protocols[i].number;
			return true;
		}
	return false;
}

static int parse_protocols(struct parser *p, struct draft *d, struct slice list)
{
	size_t n = list_items(list);
	uint8_t families = 0, some, number;
	struct slice item;
	uint64_t value;

	if (!d->entry.any_protocol)
		return wrong(p, "protocols are given twice; write a list: proto tcp,udp");
	for (size_t i = 0; i < n; i++) {
		slice_cut(list, ',', &item, &list);
		if (!protocol_named(item, &some, &number)) {
			if (!slice_u64(item, 255, &value))
				return wrong(p, "'%.*s' is no protocol: a name like tcp, or 0 to 255", SLICE_FMT(item));
			number = (uint8_t)value;
			some = 3;
		}
		families |= some;
		d->entry.protocols[number / 64] |= 1ull << number % 64;
	}
	d->entry.any_protocol = false;
	d->entry.families &= families;
	return 0;
}

/* ---- rules ---- */

static int unknown(struct parser *p, struct slice word)
{
	struct suggestion s = { .word = word };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		suggest_try(&s, words[i]);
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		suggest_try(&s, protocols[i].name);
	if (s.best != NULL)
		return wrong(p, "'%.*s' is no condition; did you mean '%s'?", SLICE_FMT(word), s.best);
	return wrong(p, "'%.*s' is no condition", SLICE_FMT(word));
}

/* What follows a direction, or stands without one. `word` is host, net, port, portrange or an address. */
static int parse_directed(struct parser *p, struct draft *d, unsigned side, struct slice word)
{
	bool address = is(word, "host") || is(word, "net"), port = is(word, "port") || is(word, "portrange");
	struct slice list = address || port ? next_word(&d->rest) : word;

	if (list.len == 0)
		return wrong(p, "%s ends too early: an address, or `port` and its number is missing",
			     side == FILTER_SOURCE ? "'src'" : side == FILTER_DESTINATION ? "'dst'" : "the rule");
	if (port)
		return side == BOTH ? parse_ports(p, list, &d->ports, &d->port_count) :
				      parse_ports(p, list, &d->entry.ports[side], &d->entry.port_count[side]);
	return side == BOTH ? parse_prefixes(p, list, &d->prefixes, &d->prefix_count) :
			      parse_prefixes(p, list, &d->entry.prefixes[side], &d->entry.prefix_count[side]);
}

static int parse_condition(struct parser *p, struct draft *d, struct slice word)
{
	uint8_t families, number;

	d->conditions++;
	if (is(word, "ip") || is(word, "ip6")) {
		d->entry.families &= is(word, "ip") ? 1 << FILTER_IP4 : 1 << FILTER_IP6;
		return 0;
	}
	if (is(word, "arp"))
		return d->entry.arp = true, 0;
	if (is(word, "other"))
		return d->entry.other = true, 0;
	if (is(word, "fragment"))
		return d->entry.fragment = true, 0;
	if (is(word, "proto"))
		return parse_protocols(p, d, next_word(&d->rest));
	if (protocol_named(word, &families, &number))
		return parse_protocols(p, d, word);
	if (is(word, "src"))
		return parse_directed(p, d, FILTER_SOURCE, next_word(&d->rest));
	if (is(word, "dst"))
		return parse_directed(p, d, FILTER_DESTINATION, next_word(&d->rest));
	if (is(word, "host") || is(word, "net") || is(word, "port") || is(word, "portrange"))
		return parse_directed(p, d, BOTH, word);
	return unknown(p, word);
}

static int add_entry(struct parser *p, const struct filter_entry *entry)
{
	if (p->rules->count == FILTER_RULES_MAX) {
		wrong(p, "there are more than %d rules (those without direction count as two or four)",
		      FILTER_RULES_MAX);
		p->error_count = FILTER_ERRORS_MAX;	/* the rest would say the same */
		return -EINVAL;
	}
	p->rules->entries[p->rules->count++] = *entry;
	return 0;
}

/* The rule with its directions: one, two or four entries. */
static int add_rule(struct parser *p, struct draft *d)
{
	int rc = 0;

	for (unsigned a = 0; a < (d->prefix_count > 0 ? 2u : 1u) && rc == 0; a++)
		for (unsigned b = 0; b < (d->port_count > 0 ? 2u : 1u) && rc == 0; b++) {
			struct filter_entry entry = d->entry;

			if (d->prefix_count > 0) {
				entry.prefixes[a] = d->prefixes;
				entry.prefix_count[a] = d->prefix_count;
			}
			if (d->port_count > 0) {
				entry.ports[b] = d->ports;
				entry.port_count[b] = d->port_count;
			}
			rc = add_entry(p, &entry);
		}
	return rc;
}

static int check_rule(struct parser *p, const struct draft *d)
{
	const struct filter_entry *e = &d->entry;
	bool ports = e->port_count[0] > 0 || e->port_count[1] > 0 || d->port_count > 0;

	if ((e->arp || e->other) && d->conditions > 1)
		return wrong(p, "'%s' goes with no other condition", e->arp ? "arp" : "other");
	if (e->families == 0)
		return wrong(p, "no packet fits: its protocols belong to another IP version");
	if (d->prefix_count > 0 && (e->prefix_count[0] > 0 || e->prefix_count[1] > 0))
		return wrong(p, "addresses with and without direction in one rule; give both a direction");
	if (d->port_count > 0 && (e->port_count[0] > 0 || e->port_count[1] > 0))
		return wrong(p, "ports with and without direction in one rule; give both a direction");
	if (e->fragment && ports)
		return wrong(p, "no packet fits: later fragments have no ports");
	return 0;
}

static int parse_rule(struct parser *p, struct slice line, struct slice rest, uint32_t verdict)
{
	struct draft d = { .entry = { .verdict = verdict, .line = p->line, .text = line, .families = 3,
				      .any_protocol = true }, .rest = rest };
	struct slice word;
	bool and = true;		/* none at the beginning */

	while ((word = next_word(&d.rest)).len > 0) {
		if (is(word, "and")) {
			if (and)
				return wrong(p, "'and' joins two conditions");
			and = true;
			continue;
		}
		and = false;
		int rc = parse_condition(p, &d, word);
		if (rc != 0)
			return rc;
	}
	if (and && d.conditions > 0)
		return wrong(p, "'and' joins two conditions");
	int rc = check_rule(p, &d);
	return rc != 0 ? rc : add_rule(p, &d);
}

static int parse_line(struct parser *p, struct slice line)
{
	struct slice rest = line, word = next_word(&rest);
	bool pass, defaults = is(word, "default");

	for (size_t i = 0; i < line.len; i++)
		if (line.ptr[i] != '\t' && (line.ptr[i] < 0x20 || line.ptr[i] > 0x7e))
			return wrong(p, "byte 0x%02x: rules are plain ASCII", line.ptr[i]);
	if (defaults)
		word = next_word(&rest);
	pass = is(word, "pass");
	if (!pass && !is(word, "drop"))
		return wrong(p, defaults ? "'default' is followed by pass or drop, not '%.*s'" :
					   "a line begins with pass, drop or default, not '%.*s'", SLICE_FMT(word));
	if (!defaults)
		return parse_rule(p, line, rest, pass ? XDP_PASS : XDP_DROP);
	if (slice_trim(rest).len > 0)
		return wrong(p, "nothing follows 'default pass' or 'default drop'");
	p->rules->default_verdict = pass ? XDP_PASS : XDP_DROP;
	return 0;
}

int filter_parse(struct arena *arena, struct slice text, const char *file, const struct filter_rules **out,
		 struct buf *errors)
{
	struct parser p = { .arena = arena, .errors = errors, .file = file };

	if (text.len > FILTER_FILE_BYTES_MAX) {
		wrong(&p, "the file is longer than %d bytes", FILTER_FILE_BYTES_MAX);
		return -EINVAL;
	}
	p.rules = ARENA_NEW(arena, struct filter_rules);
	if (p.rules == NULL)
		return -ENOMEM;
	p.rules->default_verdict = XDP_PASS;
	p.rules->entries = arena_array(arena, FILTER_RULES_MAX, sizeof(struct filter_entry));
	if (p.rules->entries == NULL)
		return -ENOMEM;
	while (text.len > 0 && p.error_count < FILTER_ERRORS_MAX) {
		struct slice line;

		slice_cut(text, '\n', &line, &text);
		p.line++;
		size_t comment = slice_find_byte(line, '#');
		line = slice_trim(slice_head(line, comment));
		if (line.len > 0 && parse_line(&p, line) == -ENOMEM)
			return -ENOMEM;
	}
	if (p.error_count > 0)
		return -EINVAL;
	*out = p.rules;
	return 0;
}
