/*
 * Nanoseconds a packet of the XDP program alone: no device, no driver, so what is left is ours. bench OBJECT [WORD], as root; WORD:
 * only what has it in its name.
 *
 * The program runs in a loop in the kernel (bench.bpf.c); the same loop without it is taken off.
 */
#include <stdlib.h>
#include <time.h>

#include "nat64/bpf/bench.h"
#include "nat64/bpf/rig_test.h"

#define TURNS	(1u << 19)
#define ROUNDS	3

static struct rig rig;
static struct bench *bench;
static const char *word = "";

static double once(uint32_t first, uint32_t turns, bool only_write)
{
	static uint8_t frame[BENCH_FRAME_BYTES], back[4096];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame), .data_out = back, .data_size_out = sizeof(back), .repeat = 1);
	struct timespec from, to;
	int fd = bpf_program__fd(bpf_object__find_program_by_name(rig.object, "nat64_bench"));

	bench->only_write = only_write;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	for (uint32_t i = 0; i < turns; i += BENCH_TURNS) {
		bench->first = first + i;
		run.data_size_out = sizeof(back);
		must(bpf_prog_test_run_opts(fd, &run) == 0);
		must(run.retval == BENCH_TURNS);
	}
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / turns;
}

/* The best of some rounds: what disturbs only adds. */
static void measure(const char *name, uint32_t flows, uint32_t first, bool again)
{
	uint32_t turns = again ? TURNS : flows;
	double best = 1e9, empty = 1e9;

	if (strstr(name, word) == NULL)
		return;
	memset(bench->verdicts, 0, sizeof(bench->verdicts));
	bench->flows = flows == 0 ? 1 : flows;
	bench->step = flows > 100000 && again ? 7919 : 1;
	for (int i = 0; i < (again ? ROUNDS : 1); i++) {
		double ns = once(first, turns, false), bare = once(first, turns, true);
		best = ns < best ? ns : best;
		empty = bare < empty ? bare : empty;
	}
	printf("%-44s %7.1f ns a packet, %5.2f Mpps; loop %.1f; aborted %u, dropped %u, passed %u, sent back %u, redirected %u\n", name, best - empty,
	       1e3 / (best - empty), empty, bench->verdicts[0], bench->verdicts[1], bench->verdicts[2], bench->verdicts[3], bench->verdicts[4]);
}

static void packet6(uint32_t protocol)
{
	uint8_t *p = bench->header;

	memset(p, 0, sizeof(bench->header));
	bench->family = 6;
	p[0] = 0x60;
	p[5] = BENCH_FRAME_BYTES - 14 - 40;
	p[6] = (uint8_t)protocol;
	p[7] = 64;
	memcpy(p + 8, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07", 16);
	memcpy(p + 24, "\x20\x01\x0d\xb8\0\x64\0\0\0\0\0\0\xc6\x12\0\x09", 16);
	p[42] = 0x1f;
	p[43] = 0x90;
	if (protocol == XLAT_TCP) {
		p[52] = 0x50;
		p[53] = 0x02;
		p[57] = 0x55;
	} else {
		p[45] = BENCH_FRAME_BYTES - 14 - 40;
		p[46] = 0x55;
	}
}

static void configure(uint32_t mode)
{
	static struct xlat_config c;
	static const uint32_t seconds[XLAT_T_COUNT] = { 300, 60, 7440, 240, 6, 2, 17 };

	c = (struct xlat_config){ .abi = XLAT_CONFIG_ABI, .bytes = sizeof(c), .serial = 1, .mode = mode,
		.flags = XLAT_TOS_COPY | XLAT_HAIRPIN | XLAT_NEXTHOP_CACHE | XLAT_ICMP_ERRORS, .prefix_count = 1, .lowest_mtu6 = 1280, .hairpin_eam = 2,
		.subscriber_bits = 64, .subscriber_mask = { 0xffffffff, 0xffffffff }, .key = { 1, 2 }, .quarantine = XLAT_TICKS(120000) };
	for (uint32_t i = 0; i < XLAT_T_COUNT; i++)
		c.timeout[i] = XLAT_TICKS(seconds[i] * 1000);
	c.prefix[0] = (struct xlat_prefix){ .addr = { bpf_htonl(0x20010db8), bpf_htonl(0x00640000) }, .bits = 96 };
	c.pool_count = 1;
	c.pool[0] = (struct xlat_pool){ .first = 0xcb007100, .count = mode == XLAT_NAT64 ? 64 : 256, .port_first = 1024, .port_last = 65535 };
	rig_configure(&rig, &c, NULL, 0);
	/* SIIT needs a source that is translatable: an explicit mapping of the whole net. */
	if (mode == XLAT_SIIT) {
		struct xlat_eam eam = { .addr6 = { bpf_htonl(0x20010db8), 0 }, .addr4 = bpf_htonl(0x0a000000), .bits6 = 64, .bits4 = 8, .row = 1 };
		c.flags |= XLAT_EAM;
		rig_configure(&rig, &c, &eam, 1);
	}
}

int main(int argc, char **argv)
{
	static const struct rig_sizes sizes = { 1100000, 1100000, 4000, 1000 };
	static uint8_t object[4 << 20];
	__be32 remote[4] = { bpf_htonl(0xc6120009) };
	struct slice all = { object, 0 };
	FILE *f = argc == 2 || argc == 3 ? fopen(argv[1], "re") : NULL;

	if (f == NULL) {
		fputs("bench OBJECT [WORD]\n", stderr);
		return 2;
	}
	word = argc == 3 ? argv[2] : "";
	all.len = fread(object, 1, sizeof(object), f);
	(void)fclose(f);
	must(rig_load(&rig, all, &sizes) == 0);
	bench = rig_mapped(&rig, "bench", sizeof(*bench));
	rig.control->clock_ns = 0;
	rig_nexthop(&rig, 4, remote, 2, 1500);
	{	/* the clock runs here: entries hold for hours */
		struct xlat_nexthop_key key = { .family = 4 };
		struct xlat_nexthop hop;
		memcpy(key.addr, remote, 16);
		must(bpf_map_lookup_elem(rig_map(&rig, "nexthop"), &key, &hop) == 0);
		hop.until = UINT32_MAX / 4;
		must(bpf_map_update_elem(rig_map(&rig, "nexthop"), &key, &hop, BPF_ANY) == 0);
	}
	configure(XLAT_SIIT);
	packet6(XLAT_UDP);
	measure("SIIT, UDP, EAM source", 1, 0, true);
	configure(XLAT_NAT64);
	measure("NAT64, UDP, new flows", 1000000, 0, false);
	measure("NAT64, UDP, 1 flow", 1, 0, true);
	measure("NAT64, UDP, 1,000 flows", 1000, 0, true);
	measure("NAT64, UDP, 50,000 flows", 50000, 0, true);
	measure("NAT64, UDP, 1,000,000 flows", 1000000, 0, true);
	packet6(XLAT_TCP);
	measure("NAT64, TCP, 1,000 SYNs", 1000, 0, true);
	rig_done(&rig);
	return 0;
}
