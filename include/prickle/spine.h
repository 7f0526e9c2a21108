/*
 * What a SPINE extension includes: an ordinary XDP program in C plus a manifest.
 *
 *	#include <prickle/spine.h>
 *
 *	SPINE_EXTENSION(
 *		.name = "no-telnet", .version = "1",
 *		.match = "tcp dst port 23",
 *		.verdicts = SPINE_PASS | SPINE_DROP);
 *
 *	SEC("xdp")
 *	int no_telnet(struct xdp_md *ctx)
 *	{
 *		return XDP_DROP;
 *	}
 *
 *	char LICENSE[] SEC("license") = "Dual MIT/GPL";
 *
 * An object holds one SEC("xdp") program, called for the frames that `match` selects. Verdicts outside
 * the rights count as faults. Forwarding goes through spine_redirect(), which knows the ports that the
 * policy allows; plain bpf_redirect() needs a rule of its own and is checked.
 */
#pragma once
/* An extension that looks at the kernel's own types includes "vmlinux.h" first, which has these, too. */
#ifndef __VMLINUX_H__
#include <linux/bpf.h>
#endif
#include <bpf/bpf_helpers.h>

#include <prickle/spine_manifest.h>
#include <prickle/spine_policy.h>

/* The manifest, and the row of policy that injected checks read: code of the extension itself may not name it. */
#define SPINE_EXTENSION(...)                                                                       \
	struct spine_policy_row spine_policy_row SEC(SPINE_POLICY_SECTION)                         \
	__attribute__((used)) = { .abi = SPINE_POLICY_ABI };                                       \
	const struct spine_manifest spine_manifest_ SEC(SPINE_MANIFEST_SECTION)                    \
	__attribute__((used)) = { .magic = SPINE_MANIFEST_MAGIC, .abi = SPINE_MANIFEST_ABI,        \
				  .bytes = sizeof(struct spine_manifest), __VA_ARGS__ }

/*
 * SPINE_PORTS defines the map of ports that this extension may use, by interface index; the runtime
 * fills it. spine_redirect(ifindex) gives XDP_REDIRECT towards an allowed port, else XDP_ABORTED.
 */
#define SPINE_PORTS_MAX 64
#define SPINE_PORTS                                                                                \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);                                            \
		__uint(max_entries, SPINE_PORTS_MAX);                                              \
		__type(key, __u32);                                                                \
		__type(value, struct bpf_devmap_val);                                              \
	} spine_ports SEC(".maps")
#define spine_redirect(ifindex) spine_redirect_(&spine_ports, (ifindex), 0)
/*
 * The empty instruction keeps the compiler from merging two redirects into one whose map depends on the way to it: the
 * inspector wants to see the map.
 */
#define spine_redirect_(map, key, otherwise)                                                       \
	({                                                                                         \
		long verdict_ = bpf_redirect_map((map), (key), (otherwise));                       \
		asm volatile("" : "+r"(verdict_));                                                 \
		(int)verdict_;                                                                     \
	})

/*
 * Upgrades: a new version gets the maps of the old one when their layouts and the manifests' state_id are equal.
 * After a change of layout give the new version another state_id and, if its state matters, a program
 * that carries it over; its maps named old_NAME are then the old version's NAME:
 *
 *	SEC("syscall")
 *	int spine_migrate(struct spine_migration *how)
 *	{
 *		bpf_for_each_map_elem(&old_flows, carry_over, NULL, 0);
 *		return 0;			// else the old version stays
 *	}
 *
 * It runs once, before the first packet of the new version.
 */

/* ---- Active Messages ---- */

#include <prickle/spine_messages.h>
