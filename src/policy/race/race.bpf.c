/* The reader in the kernel: a word of an extension's row, judged on the spot. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <prickle/spine_policy.h>

#include "policy/race/race.h"

struct race_words race_words;
struct spine_policy_row spine_policy_row SEC(SPINE_POLICY_SECTION);

/* A full barrier, where compiler and processor are concerned. */
#define ORDER() __sync_fetch_and_add(&race_words.fence, 0)
#define LOAD(x) (*(volatile typeof(x) *)&(x))

SEC("xdp")
int race(struct xdp_md *ctx)
{
	unsigned long long acked = LOAD(race_words.acked);
	ORDER();
	unsigned long long word = LOAD(spine_policy_row.ports[RACE_SLOT & (SPINE_POLICY_PORTS - 1)]);
	ORDER();
	unsigned long long begun = LOAD(race_words.begun);
	int known = 0;

	if (begun - acked >= RACE_WINDOW)
		return XDP_PASS;
	for (int i = 0; i < RACE_WINDOW; i++)
		known |= acked + i <= begun && race_word(acked + i) == word;
	race_words.judged++;
	race_words.between += begun != acked;
	race_words.wrong += !known;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
