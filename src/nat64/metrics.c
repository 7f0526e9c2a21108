#include "nat64/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "nat64/reason.h"
#include "nat64/walk.h"
#include "nat64/words.h"

#define FAMILY_BYTES (4u << 20)
#define FAMILY(name) "prickle_nat64_" name

enum family {
	UP, PACKETS, TRANSLATED, BYTES, HAIRPINS, ERRORS, SESSIONS_MADE, SESSIONS_ENDED, MAPPINGS_MADE, MAPPINGS_ENDED, BLOCKS_TAKEN,
	BLOCKS_FREED, PORT_TRIES, EVENTS_LOST, HOP_HITS, HOP_MISSES, USED, SIZE, SESSIONS, POOL_USED, POOL_SIZE, WALK_AGE, BEAT_AGE, FAMILIES
};

static const struct { const char *name, *help; bool counter; } families[FAMILIES] = {
	[UP] = { FAMILY("attached"), "1 when the programs of an interface run", false },
	[PACKETS] = { FAMILY("packets"), "Packets by what became of them and why", true },
	[TRANSLATED] = { FAMILY("translated_packets"), "Packets that were translated", true },
	[BYTES] = { FAMILY("translated_bytes"), "IP bytes of them as they arrived", true },
	[HAIRPINS] = { FAMILY("hairpins"), "Packets between two hosts inside", true },
	[ERRORS] = { FAMILY("icmp_errors_sent"), "ICMP errors that the translator made", true },
	[SESSIONS_MADE] = { FAMILY("sessions_made"), "Sessions that began", true },
	[SESSIONS_ENDED] = { FAMILY("sessions_ended"), "Sessions that ended", true },
	[MAPPINGS_MADE] = { FAMILY("mappings_made"), "Mappings (BIB entries) that began", true },
	[MAPPINGS_ENDED] = { FAMILY("mappings_ended"), "Mappings that ended", true },
	[BLOCKS_TAKEN] = { FAMILY("port_blocks_taken"), "Port blocks that subscribers got", true },
	[BLOCKS_FREED] = { FAMILY("port_blocks_freed"), "Port blocks that came back", true },
	[PORT_TRIES] = { FAMILY("port_tries"), "Entries looked at to find free ports", true },
	[EVENTS_LOST] = { FAMILY("events_lost"), "Events for the log that the ring had no room for", true },
	[HOP_HITS] = { FAMILY("nexthop_hits"), "Packets whose next hop was remembered", true },
	[HOP_MISSES] = { FAMILY("nexthop_misses"), "Packets for which the kernel was asked", true },
	[USED] = { FAMILY("table_entries"), "Entries of a table in use", false },
	[SIZE] = { FAMILY("table_size"), "Entries that a table can hold", false },
	[SESSIONS] = { FAMILY("sessions"), "Sessions now, by protocol; ended ones stay until the walk comes by", false },
	[POOL_USED] = { FAMILY("pool_ports_used"), "Ports of a pool address in use", false },
	[POOL_SIZE] = { FAMILY("pool_ports"), "Ports of a pool address, by protocol", false },
	[WALK_AGE] = { FAMILY("walk_age_seconds"), "Time since the walk that ends old sessions last ran", false },
	[BEAT_AGE] = { FAMILY("daemon_age_seconds"), "Time since 'prickle nat64 run' gave a sign of life", false },
};

struct nat64_metrics {
	struct buf text[FAMILIES];
	char labels[160];
};

struct nat64_metrics *nat64_metrics_new(void)
{
	struct nat64_metrics *m = calloc(1, sizeof(*m));

	for (size_t i = 0; m != NULL && i < FAMILIES; i++)
		buf_init(&m->text[i], FAMILY_BYTES);
	return m;
}

void nat64_metrics_free(struct nat64_metrics *m)
{
	for (size_t i = 0; m != NULL && i < FAMILIES; i++)
		buf_done(&m->text[i]);
	free(m);
}

/* more: further labels with their comma, or "". */
static void add(struct nat64_metrics *m, enum family f, const char *more, uint64_t value)
{
	buf_printf(&m->text[f], "%s%s{%s%s} %llu\n", families[f].name, families[f].counter ? "_total" : "", m->labels, more,
		   (unsigned long long)value);
}

static void add_age(struct nat64_metrics *m, enum family f, uint32_t now, uint32_t tick)
{
	int64_t ms = -nat64_tick_ms(now, tick);

	/* Never is no age. */
	if (tick != 0)
		buf_printf(&m->text[f], "%s{%s} %.3f\n", families[f].name, m->labels, (double)MAX(ms, 0) / 1000);
}

static void add_stats(struct nat64_metrics *m, const struct xlat_stats *s)
{
	static const char *const directions[] = { ",direction=\"6to4\"", ",direction=\"4to6\"" };
	const struct { enum family f; uint64_t value; } single[] = {
		{ HAIRPINS, s->hairpins }, { ERRORS, s->errors_sent }, { SESSIONS_MADE, s->sessions_made },
		{ SESSIONS_ENDED, s->sessions_ended }, { MAPPINGS_MADE, s->mappings_made }, { MAPPINGS_ENDED, s->mappings_ended },
		{ BLOCKS_TAKEN, s->blocks_taken }, { BLOCKS_FREED, s->blocks_freed }, { PORT_TRIES, s->port_tries },
		{ EVENTS_LOST, s->events_lost }, { HOP_HITS, s->nexthop_hits }, { HOP_MISSES, s->nexthop_misses },
	};
	char more[120];

	for (unsigned v = 0; v < XLAT_VERDICTS; v++) {
		for (unsigned r = 0; r < XLAT_REASONS; r++) {
			if (s->reason[v][r] == 0)
				continue;
			snprintf(more, sizeof(more), ",verdict=\"%s\",reason=\"%s\"", nat64_verdict_name(v), nat64_reason_name(r));
			add(m, PACKETS, more, s->reason[v][r]);
		}
	}
	for (unsigned d = 0; d < 2; d++) {
		add(m, TRANSLATED, directions[d], s->packets[d]);
		add(m, BYTES, directions[d], s->bytes[d]);
	}
	for (size_t i = 0; i < ARRAY_LEN(single); i++)
		add(m, single[i].f, "", single[i].value);
}

static void add_state(struct nat64_metrics *m, struct nat64 *n, const struct nat64_usage *u)
{
	static const char *const tables[] = { "sessions", "mappings", "subscribers" };
	const struct xlat_control *c = nat64_control(n);
	const struct xlat_config *x = nat64_config(n);
	uint32_t now = nat64_tick(n);
	char more[120];

	for (size_t i = 0; i < ARRAY_LEN(tables) && x->mode == XLAT_NAT64; i++) {
		snprintf(more, sizeof(more), ",table=\"%s\"", tables[i]);
		add(m, USED, more, XLAT_READ(c->slab[i].used));
		add(m, SIZE, more, c->slab[i].count - (c->slab[i].count > 0));
	}
	for (unsigned p = 0; p < XLAT_PORT_CLASSES && x->mode == XLAT_NAT64; p++) {
		snprintf(more, sizeof(more), ",protocol=\"%s\"", nat64_class_name(p));
		add(m, SESSIONS, more, u->sessions[p]);
	}
	for (uint32_t r = 0; r < x->pool_count && x->mode == XLAT_NAT64; r++) {
		const struct xlat_pool *row = &x->pool[r];
		for (uint32_t k = 0; k < row->count; k++) {
			AUTO_BUF struct buf address = BUF_INIT(64);
			words_address_text(&address, 4, (__be32[4]){ htonl(row->first + k) });
			for (unsigned p = 0; p < XLAT_PORT_CLASSES; p++) {
				snprintf(more, sizeof(more), ",address=\"%s\",ports=\"%u-%u\",protocol=\"%s\"", buf_cstr(&address), row->port_first,
					 row->port_last, nat64_class_name(p));
				add(m, POOL_USED, more, row->slot + k < XLAT_POOL_ADDRESSES_MAX ? u->ports[row->slot + k][p] : 0);
				add(m, POOL_SIZE, more, row->port_last - row->port_first + 1u);
			}
		}
	}
	if (x->mode == XLAT_NAT64)
		add_age(m, WALK_AGE, now, XLAT_READ(c->walk_running));
	add_age(m, BEAT_AGE, now, XLAT_READ(c->slow_beat));
}

static int add_attachments(struct nat64_metrics *m, struct nat64 *n, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	struct nat64_attachment *list;
	size_t count;
	int err = nat64_attachments(n, &arena, &list, &count, why);

	for (size_t i = 0; err == 0 && i < count; i++) {
		char more[120];
		snprintf(more, sizeof(more), ",interface=\"%s\",home=\"%s\"", list[i].interface, list[i].home);
		add(m, UP, more, list[i].running);
	}
	return err;
}

int nat64_metrics_add(struct nat64_metrics *m, struct nat64 *n, const char *name, const char *netns, struct errmsg *why)
{
	struct xlat_stats stats;
	AUTO_FREE struct nat64_usage *usage = calloc(1, sizeof(*usage));
	int err = usage == NULL ? errmsg_set(why, -ENOMEM, "count the sessions") : nat64_stats(n, &stats, why);

	snprintf(m->labels, sizeof(m->labels), "instance=\"%s\"%s%s%s", name, netns == NULL ? "" : ",netns=\"", netns == NULL ? "" : netns,
		 netns == NULL ? "" : "\"");
	if (err == 0)
		err = nat64_usage_look(n, usage, why);
	if (err == 0)
		err = add_attachments(m, n, why);
	if (err != 0)
		return err;
	add_stats(m, &stats);
	add_state(m, n, usage);
	return 0;
}

void nat64_metrics_text(const struct nat64_metrics *m, struct buf *out)
{
	for (size_t f = 0; f < FAMILIES; f++) {
		if (m->text[f].err != 0)
			out->err = m->text[f].err;
		if (m->text[f].len > 0)
			buf_printf(out, "# TYPE %s %s\n# HELP %s %s.\n", families[f].name, families[f].counter ? "counter" : "gauge", families[f].name,
				   families[f].help);
		buf_add(out, buf_slice(&m->text[f]));
	}
	buf_adds(out, "# EOF\n");
}
