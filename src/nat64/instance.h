/*
 * An instance: a translator that runs in the kernel, pinned in bpffs, so that any command can open it and traffic needs none of us.
 *
 *	/sys/fs/bpf/prickle/nat64/<netns cookie>/<name>/
 *	  session slot bib6 bib pool subscriber6 ...	maps of core/state.h
 *	  call						the SYSCALL program of core/call.h
 *	  xdp tc-in tc-out				programs
 *	  settings					array map: the text of the file in force
 *
 * bpffs is the host's (spine/host.h); the lock is a flock on the directory. XDP goes through SPINE (spine/device.h, adopt): one
 * dispatcher owns an interface and other extensions stay. tc uses a clsact filter of our own priority and handle.
 *
 * A change: tables first, then one store (control.bank), then attachments. kill -9 in between leaves the old or the new, never half.
 */
#pragma once
#include "base/errmsg.h"
#include "nat64/core/call.h"
#include "nat64/core/xlat.h"
#include "nat64/settings.h"

struct nat64;				/* opaque */

struct nat64_where {
	const char *name;		/* instance; NULL: the only one of this namespace */
	const char *netns;		/* of `ip netns`, or NULL: the caller's */
	/* For tests: called between any two steps of a change, with the step's name. It may end the process. */
	void (*step)(void *arg, const char *name);
	void *step_arg;
};

enum nat64_open_mode { NAT64_LOOK, NAT64_CHANGE };
/* 0; -ENOENT: no such instance (the sentence lists those that exist); -EBUSY: the lock; ... */
MUST_USE int nat64_open(const struct nat64_where *where, enum nat64_open_mode mode, struct nat64 **out, struct errmsg *why);
void nat64_close(struct nat64 *n);
/* Names of the instances of this namespace, or all namespaces; in arena. */
struct nat64_found { char name[NAT64_NAME_BYTES]; char netns[64]; bool here; uint64_t netns_cookie; };
MUST_USE int nat64_scan(struct arena *arena, bool everywhere, struct nat64_found **out, size_t *count, struct errmsg *why);

/*
 * Make the instance that the settings describe, or change the one that runs: one step for packets, sessions kept. -EINVAL (exit
 * 78): the settings ask for what this host cannot do (CLAT of the host's own traffic by XDP, an interface that is
 * missing, a size that a running instance has otherwise); *notice gets what people should know, a line each.
 */
MUST_USE int nat64_apply(const struct nat64_where *where, const struct nat64_settings *settings, struct nat64 **out, struct buf *notice, struct errmsg *why);
/* Take it away: attachments, devices, state. */
MUST_USE int nat64_remove(const struct nat64_where *where, struct errmsg *why);
/* Load this program's objects into an instance that runs, attachments replaced in place (upgrade). Done by nat64_apply when they differ. */

/* Mapped memory, valid until close. */
struct xlat_control *nat64_control(struct nat64 *n);
const struct xlat_config *nat64_config(struct nat64 *n);	/* the current bank */
struct slice nat64_settings_text(struct nat64 *n);
uint64_t nat64_serial(struct nat64 *n);
/* Sum over processors. */
MUST_USE int nat64_stats(struct nat64 *n, struct xlat_stats *out, struct errmsg *why);
/* Descriptors (borrowed) of maps by the names of core/state.h: "session", "bib", "events", ... -1: no such map. */
int nat64_map(struct nat64 *n, const char *name);
/* A call as core/call.h describes; PLAN works on the desk that nat64_desk gives. 0 (look at call->result) or negative errno. */
MUST_USE int nat64_call(struct nat64 *n, struct xlat_call *call, struct errmsg *why);
struct xlat *nat64_desk(struct nat64 *n, unsigned desk);

/* Where it is attached, for show. */
struct nat64_attachment { char interface[IFNAMSIZ]; uint32_t ifindex; const char *home; /* "xdp", "xdp (generic)", "tc" */ bool running; char why_not[160]; };
MUST_USE int nat64_attachments(struct nat64 *n, struct arena *arena, struct nat64_attachment **out, size_t *count, struct errmsg *why);
