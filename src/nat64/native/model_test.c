/*
 * The tables against a plain model: random packets, turns of the clock and walks; the model keeps sessions and mappings in lists and knows
 * none of what makes the tables fast. After each step verdict and addresses must be what the model says; now and then
 * all tables must agree with each other.
 *
 * MODEL_SEED and MODEL_STEPS change what is run; a million steps find what the usual ones do not.
 */
#include <stdlib.h>

#include "base/errmsg.h"
#include "nat64/native/state_rig.h"

enum { HOSTS = 6, PORTS = 8, REMOTES = 4, RPORTS = 3, SESSIONS = HOSTS * PORTS * REMOTES * RPORTS, STEPS = TEST_SANITIZED ? 6000 : 20000 };

struct model_session { bool there; uint32_t expires; uint8_t state; };
struct model {
	struct model_session session[3][HOSTS][PORTS][REMOTES][RPORTS];
	struct { bool there; uint32_t addr; unsigned port; } bib[3][HOSTS][PORTS];
	__u64 random;
};

static const unsigned protocols[3] = { XLAT_TCP, XLAT_UDP, XLAT_ICMP };

static uint32_t pick(struct model *m, uint32_t n)
{
	return xlat_random_step(&m->random) % n;
}

static uint32_t lifetime(const struct rig *r, unsigned p, unsigned rport, enum xlat_tcp_state state)
{
	if (p == 1)
		return r->config.timeout[rport == 0 ? XLAT_T_UDP_DNS : XLAT_T_UDP];
	if (p == 2)
		return r->config.timeout[XLAT_T_ICMP];
	return r->config.timeout[state == XLAT_ESTABLISHED || state == XLAT_V4_FIN || state == XLAT_V6_FIN ? XLAT_T_TCP_ESTABLISHED :
													     XLAT_T_TCP_TRANSITORY];
}

/* The model has no TRANS by the clock: an established session that is late is one. Returns whether it lives. */
static bool alive(const struct rig *r, const struct model_session *s, unsigned p, uint32_t now)
{
	if (!s->there)
		return false;
	if (!xlat_passed(now, s->expires))
		return true;
	return p == 0 && s->state == XLAT_ESTABLISHED && !xlat_passed(now, s->expires + r->config.timeout[XLAT_T_TCP_TRANSITORY]);
}

static void moved(const struct rig *r, struct model_session *s, unsigned p, unsigned rport, unsigned flags, bool from4, uint32_t now)
{
	uint32_t until;

	if (p != 0) {
		until = now + lifetime(r, p, rport, XLAT_CLOSED);
	} else {
		bool late = xlat_passed(now, s->expires);
		uint32_t next = tcp_next(late ? XLAT_TRANS : s->state, tcp_event((uint8_t)flags), from4);
		bool changed = s->state != (next & 0xff);
		s->state = (uint8_t)next;
		if (next >> 8 == XLAT_TIMER_RUNS_ON) {
			if (late)
				s->expires += r->config.timeout[XLAT_T_TCP_TRANSITORY];
			return;
		}
		until = now + r->config.timeout[next >> 8];
		if (changed)
			s->expires = until;
	}
	if (until - s->expires + XLAT_MOVES > 2 * XLAT_MOVES)
		s->expires = until;
}

static unsigned rport_of(unsigned rport)
{
	return rport == 0 ? 53 : 1000 + rport;
}

static bool permitted_by(const struct rig *r, struct model *m, unsigned p, unsigned h, unsigned port, unsigned remote)
{
	if (r->config.filtering != XLAT_ADDRESS_DEPENDENT)
		return true;
	for (unsigned k = 0; k < RPORTS; k++)
		if (m->session[p][h][port][remote][k].there)
			return true;
	return false;
}

/* The walk: what is over goes, in the model. */
static void sweep(const struct rig *r, struct model *m)
{
	uint32_t now = (uint32_t)(r->ns >> XLAT_TICK_SHIFT);

	for (unsigned i = 0; i < 3 * SESSIONS; i++) {
		unsigned p = i / SESSIONS, h = i / (PORTS * REMOTES * RPORTS) % HOSTS, port = i / (REMOTES * RPORTS) % PORTS;
		struct model_session *s = &m->session[p][h][port][i / RPORTS % REMOTES][i % RPORTS];
		if (!s->there)
			continue;
		if (!alive(r, s, p, now)) {
			s->there = false;
		} else if (p == 0 && xlat_passed(now, s->expires)) {
			s->state = XLAT_TRANS;
			s->expires += r->config.timeout[XLAT_T_TCP_TRANSITORY];
		}
	}
	for (unsigned i = 0; i < 3 * HOSTS * PORTS; i++) {
		unsigned p = i / (HOSTS * PORTS), h = i / PORTS % HOSTS, port = i % PORTS;
		bool any = false;
		for (unsigned k = 0; k < REMOTES * RPORTS; k++)
			any = any || m->session[p][h][port][k / RPORTS][k % RPORTS].there;
		m->bib[p][h][port].there = m->bib[p][h][port].there && any;
	}
}

static void step_out(struct rig *r, struct model *m, unsigned p, unsigned h, unsigned port, unsigned remote, unsigned rport, unsigned flags)
{
	struct model_session *s = &m->session[p][h][port][remote][rport];
	uint32_t now = (uint32_t)(r->ns >> XLAT_TICK_SHIFT);
	bool live = alive(r, s, p, now), had = m->bib[p][h][port].there;
	int got = rig_out(r, protocols[p], h + 1, 5000 + port, REMOTE4 + remote, rport_of(rport), p == 0 ? flags : 0);

	if (!live && p == 0 && !tcp_begins((uint8_t)flags) && !had) {
		ck_assert_reason(r, got, XLAT_DROP, XLAT_R_NO_SESSION);
		return;
	}
	ck_assert_verdict(r, got, XLAT_TRANSLATE);
	if (had) {
		ck_assert_uint_eq(rig_addr(r), m->bib[p][h][port].addr);
		ck_assert_uint_eq(rig_port(r), m->bib[p][h][port].port);
	}
	/* Nobody else has this address and port. */
	for (unsigned i = 0; i < HOSTS * PORTS; i++)
		if (m->bib[p][i / PORTS][i % PORTS].there && i != h * PORTS + port)
			ck_assert(m->bib[p][i / PORTS][i % PORTS].port != rig_port(r) || m->bib[p][i / PORTS][i % PORTS].addr != rig_addr(r));
	m->bib[p][h][port].there = true;
	m->bib[p][h][port].addr = rig_addr(r);
	m->bib[p][h][port].port = rig_port(r);
	if (live) {
		moved(r, s, p, rport, flags, false, now);
	} else if (p != 0 || tcp_begins((uint8_t)flags)) {
		ck_assert(r->x.flags & XLAT_NEW_SESSION);
		*s = (struct model_session){ true, now + lifetime(r, p, rport, XLAT_V6_INIT), p == 0 ? XLAT_V6_INIT : 0 };
	}
}

static void step_in(struct rig *r, struct model *m, unsigned p, unsigned h, unsigned port, unsigned remote, unsigned rport, unsigned flags)
{
	struct model_session *s = &m->session[p][h][port][remote][rport];
	uint32_t now = (uint32_t)(r->ns >> XLAT_TICK_SHIFT);
	bool live = alive(r, s, p, now);
	__be32 host[4];

	if (!m->bib[p][h][port].there)
		return;
	bool may = live || permitted_by(r, m, p, h, port, remote);
	int got = rig_in(r, protocols[p], REMOTE4 + remote, rport_of(rport), m->bib[p][h][port].addr, m->bib[p][h][port].port,
			 p == 2 ? 1 : flags);
	if (!may) {
		ck_assert_verdict(r, got, p != 0 ? XLAT_ERROR : tcp_begins((uint8_t)flags) ? XLAT_SLOW : XLAT_DROP);
		return;
	}
	ck_assert_verdict(r, got, XLAT_TRANSLATE);
	rig_host(host, h + 1);
	ck_assert_mem_eq(r->x.to.dst, host, 16);
	ck_assert_uint_eq(be16toh(r->x.to.dport), 5000 + port);
	if (live)
		moved(r, s, p, rport, flags, true, now);
	else if (p != 0 || tcp_begins((uint8_t)flags))
		*s = (struct model_session){ true, now + lifetime(r, p, rport, XLAT_V4_INIT), p == 0 ? XLAT_V4_INIT : 0 };
}

static void run(uint64_t seed, unsigned long steps, uint32_t filtering, uint32_t ports)
{
	static const uint8_t flags[] = { SYN, SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST };
	static const uint32_t turns[] = { 1, 50, 200, 5000, 61000, 130000, 250000, 310000, 7500000 };
	struct xlat_config c = rig_config(4);
	struct model *m = calloc(1, sizeof(*m));
	struct errmsg why = { 0 };
	struct rig r;

	ck_assert_ptr_nonnull(m);
	c.filtering = filtering;
	c.ports = ports;
	rig_init(&r, &c);
	m->random = seed;
	for (unsigned long i = 0; i < steps; i++) {
		uint32_t what = pick(m, 100);
		unsigned p = pick(m, 3), h = pick(m, HOSTS), port = pick(m, PORTS), remote = pick(m, REMOTES), rport = p == 2 ? 1 : pick(m, RPORTS);
		uint8_t flag = flags[pick(m, sizeof(flags))];
		if (what < 45) {
			step_out(&r, m, p, h, port, remote, rport, flag);
		} else if (what < 90) {
			step_in(&r, m, p, h, port, remote, rport, flag);
		} else if (what < 98) {
			rig_turn(&r, turns[pick(m, what < 97 ? 4 : 9)]);
		} else {
			xlat_native_walk(r.n);
			sweep(&r, m);
		}
		if (i % 2000 == 0)
			ck_assert_msg(xlat_native_verify(r.n, &why) == 0, "seed %llu, step %lu: %s", (unsigned long long)seed, i, why.text);
	}
	free(m);
	rig_done(&r);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(tables_do_what_the_model_does)
{
	for (uint64_t seed = 1; seed <= 4; seed++)
		run(setting("MODEL_SEED", seed), setting("MODEL_STEPS", STEPS), XLAT_ENDPOINT_INDEPENDENT, XLAT_PORTS_SHARED);
}
END_TEST

START_TEST(tables_do_what_the_model_does_with_address_dependent_filtering)
{
	for (uint64_t seed = 11; seed <= 14; seed++)
		run(setting("MODEL_SEED", seed), setting("MODEL_STEPS", STEPS), XLAT_ADDRESS_DEPENDENT, XLAT_PORTS_SHARED);
}
END_TEST

START_TEST(tables_do_what_the_model_does_with_port_blocks)
{
	for (uint64_t seed = 21; seed <= 22; seed++)
		run(setting("MODEL_SEED", seed), setting("MODEL_STEPS", STEPS), XLAT_ENDPOINT_INDEPENDENT, XLAT_PORTS_BLOCKS);
}
END_TEST

TEST_MAIN_SLOW(60, "nat64/model", tables_do_what_the_model_does, tables_do_what_the_model_does_with_address_dependent_filtering,
	       tables_do_what_the_model_does_with_port_blocks)
