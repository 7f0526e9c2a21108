/*
 * Several processors on the same tables: threads that plan packets and walk, then everything must agree. Slabs, port tables, blocks and
 * counts are without locks here as in the kernel; a race that loses or doubles an entry shows as a table that does not agree,
 * or as an address and port of two hosts.
 *
 * The clock runs far faster than the real one. A thread that the kernel lets wait in the middle of a packet would finish it at
 * a time long gone, so the clock waits for each of them.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/errmsg.h"
#include "nat64/native/state_rig.h"

enum { THREADS = 4, STEPS = 150000, HOSTS = 2, PORTS = 6, BEHIND_MS = 10000 };

struct worker {
	struct xlat_native *n;
	struct xlat_config *config;
	__u64 random;
	unsigned wrong, contention, translated;
	bool walks;
	uint64_t at_ns;			/* no later than the time of what is being done; UINT64_MAX: nothing any more */
};

static int worker_plan(struct worker *w, struct xlat *x, const uint8_t *p, size_t len)
{
	xlat_native_begin(w->n, x, slice_of(p, len));
	return xlat_native_plan(w->n, x);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct rig r = { .config = *w->config };
	struct xlat x;

	for (unsigned i = 0; i < STEPS; i++) {
		uint32_t a = xlat_random_step(&w->random), host = 1 + a % HOSTS, port = 5000 + a / 8 % PORTS;
		unsigned protocol = (a >> 10) % 2 ? XLAT_UDP : XLAT_TCP, remote = (a >> 11) % 4, flags = (a >> 13) % 3 == 0 ? ACK : SYN;
		uint8_t p[80] = { 0 };
		__be32 src[4], dst[4];

		__atomic_store_n(&w->at_ns, XLAT_READ(xlat_native_control(w->n)->clock_ns), __ATOMIC_SEQ_CST);
		if (w->walks && i % 4 == 0) {
			for (unsigned k = 0; k < 24; k++) {
				memset(&x, 0, sizeof(x));
				struct xlat_call walk = { .op = XLAT_CALL_WALK, .count = 1 };
				(void)xlat_native_call(w->n, &walk, &x);
			}
		}
		rig_host(src, host);
		rig_embed(&r, dst, REMOTE4 + remote);
		size_t n = rig_transport(p + 40, 6, protocol, port, 80, flags);
		rig_head6(p, src, dst, protocol, n);
		int verdict = worker_plan(w, &x, p, 40 + n);
		w->contention += x.reason == XLAT_R_CONTENTION;
		if (verdict != XLAT_TRANSLATE)
			continue;
		w->translated++;
		/* The answer must reach the same host, if the mapping is still there. */
		uint32_t addr = be32toh(x.to.src[0]);
		unsigned outside = be16toh(x.to.sport);
		memset(p, 0, sizeof(p));
		n = rig_transport(p + 20, 4, protocol, 80, outside, ACK);
		rig_head4(p, REMOTE4 + remote, addr, protocol, n);
		if (worker_plan(w, &x, p, 20 + n) != XLAT_TRANSLATE)
			continue;
		w->wrong += memcmp(x.to.dst, src, sizeof(src)) != 0 || be16toh(x.to.dport) != port;
	}
	__atomic_store_n(&w->at_ns, UINT64_MAX, __ATOMIC_SEQ_CST);
	return NULL;
}

static void wait_for_the_slowest(struct worker *workers, uint64_t ns)
{
	for (unsigned i = 0; i < THREADS; i++)
		while (__atomic_load_n(&workers[i].at_ns, __ATOMIC_SEQ_CST) < ns)
			sched_yield();
}

/* With a quarantine, a port that was given up cannot be another host's a moment later. */
static void run(uint32_t ports, uint32_t filtering, uint32_t sessions)
{
	struct xlat_config c = rig_config(2);
	struct worker workers[THREADS] = { 0 };
	pthread_t threads[THREADS];
	struct errmsg why = { 0 };
	struct rig r;
	unsigned translated = 0;

	c.ports = ports;
	c.block_ports = 64;
	c.filtering = filtering;
	c.timeout[XLAT_T_UDP] = c.timeout[XLAT_T_TCP_TRANSITORY] = c.timeout[XLAT_T_TCP_ESTABLISHED] = XLAT_TICKS(40);
	c.pool[0].port_first = 1024;
	c.quarantine = XLAT_TICKS(120000);
	rig_init_sized(&r, &c, sessions, 100);
	xlat_native_control(r.n)->random_fixed = 0;
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .config = &c, .random = 1000 + i, .walks = i == 0, .at_ns = r.ns };
		ck_assert_int_eq(xlat_native_processor(r.n, 77 + i, &workers[i].n), 0);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	/* The clock runs while they do, so that sessions end all the time. */
	for (unsigned i = 0; i < 10000; i++) {
		wait_for_the_slowest(workers, r.ns - BEHIND_MS * 1000000ull);
		rig_turn(&r, 17);
		sched_yield();
		for (volatile unsigned k = 0; k < 2000; k++)
			;
	}
	for (unsigned i = 0; i < THREADS; i++) {
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
		ck_assert_msg(workers[i].wrong == 0, "%u answers went to another host", workers[i].wrong);
		translated += workers[i].translated;
		xlat_native_free(workers[i].n);
	}
	ck_assert_uint_gt(translated, THREADS * STEPS / 40);
	ck_assert_msg(xlat_native_verify(r.n, &why) == 0, "%s", why.text);
	rig_walk(&r, 1000);
	rig_walk(&r, 100000);
	rig_settle(&r);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_SESSION), 0);
	ck_assert_uint_eq(rig_used(&r, XLAT_SLAB_BIB), 0);
	rig_done(&r);
}

START_TEST(processors_agree_on_sessions_and_ports)
{
	run(XLAT_PORTS_SHARED, XLAT_ENDPOINT_INDEPENDENT, 2000);
}
END_TEST

START_TEST(processors_agree_on_blocks_and_permissions)
{
	run(XLAT_PORTS_BLOCKS, XLAT_ADDRESS_DEPENDENT, 2000);
}
END_TEST

START_TEST(processors_agree_when_tables_are_full)
{
	run(XLAT_PORTS_SHARED, XLAT_ENDPOINT_INDEPENDENT, 60);
}
END_TEST

TEST_MAIN_SLOW(60, "nat64/processors", processors_agree_on_sessions_and_ports, processors_agree_on_blocks_and_permissions,
	       processors_agree_when_tables_are_full)
