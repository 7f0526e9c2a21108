/*
 * The operating system's floor of a domain: what Landlock, seccomp, capabilities and limits of the kernel hold for a process, made from the same
 * rules as the table. It stands below checks in the language (a JVM that is subverted, a service that is) and is all there is for programs of
 * others (`prickle policy run`). Rights that only grow: a floor stands until its process ends, and a revoked right is denied by the table or at
 * the next start; `prickle policy check` says which `never` a floor cannot hold (hosts, UDP: Landlock knows TCP ports).
 *
 * From rights to the kernel: file read/write/create/delete/exec -> Landlock's file rights of that tree; a tree that has a label of its own inside,
 * with fewer rights, is opened entry by entry beside it, so nothing more is allowed than the policy says (what is made beside it later is not
 * open). endpoint connect/listen -> TCP ports (any host). kernel fork/thread/socket/bpf... -> seccomp classes and capabilities.
 */
#pragma once
#include "base/arena.h"
#include "base/errmsg.h"
#include "policy/analysis/analysis.h"
#include "sys/sandbox.h"

struct floor_path { const char *path; uint32_t rights; };	/* of POLICY_FILE_... */
struct floor_port { uint16_t port; bool connect, listen; };	/* port 0: any */
struct floor {
	struct floor_path *paths; size_t path_count;
	struct floor_port *ports; size_t port_count;
	bool any_connect, any_listen, datagrams;
	uint32_t kernel;		/* POLICY_KERNEL_... */
	uint64_t capabilities;		/* CAP_... bits of `kernel` */
	/* Rights that the floor cannot hold as narrow as the policy: sentences for people. */
	const char **gaps; size_t gap_count;
};

/* CAP_... bits of POLICY_KERNEL_... bits. */
uint64_t policy_floor_capabilities(uint32_t kernel);
/* enum landlock_right of POLICY_FILE_... bits. */
uint32_t policy_floor_landlock(uint32_t file);
/* Pure but for looking at directories that must be opened entry by entry. */
MUST_USE int policy_floor(struct arena *arena, const struct analysis *a, uint16_t subject, const struct floor **out, struct errmsg *why);
/*
 * Put it on this process, before it starts threads, then it may execute its program. Files, ports and capabilities are closed but for the floor's;
 * system calls that reach beyond a process (mount, ptrace, bpf, keyctl, io_uring ...) answer EPERM. -EOPNOTSUPP: this kernel cannot hold
 * what the floor needs (no Landlock; ports before Linux 6.7): fail closed, unless `lenient`, which leaves out what the kernel lacks.
 */
MUST_USE int policy_floor_apply(const struct floor *f, bool lenient, struct errmsg *why);
