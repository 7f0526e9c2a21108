/*
 * The door for programs that cannot be preloaded (static ones, as Go makes them): seccomp tells the broker of
 * bpf(BPF_LINK_CREATE...) and of netlink messages, and waits for its answer.
 *
 * A link for our device is answered with a descriptor of ours. A netlink message that attaches XDP to
 * our device cannot be answered in its stead: it fails with EPERM and a sentence. All else goes on as
 * it was called. This is a service, not a wall: the program runs with its own rights.
 */
#pragma once
#include <sys/types.h>

#include "spine/exec/broker.h"

/*
 * In the child, before it runs the program: the descriptor of notifications, -1 when the kernel or an
 * outer sandbox has none to give (*why says so; the program then runs with preloading alone). It is
 * close-on-exec; the parent takes its copy with pidfd_getfd.
 */
MUST_USE int notify_install(struct errmsg *why);
/* Answer one notification. false: there will be none any more. */
bool notify_serve(struct broker *b, int listener, uint32_t ifindex);
