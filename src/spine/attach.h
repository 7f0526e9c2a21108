/*
 * Which program an interface runs: asking, attaching, replacing without a gap, and giving back.
 *
 * A program sits on an interface by a bpf_link (which protects it from others) or by netlink (which anyone
 * with the right may change). We take what we find: a netlink attachment is replaced by netlink with the
 * expected program, a link of somebody else is updated; on a bare interface we make a link of our own.
 * Nothing here ever detaches first. All calls act in the network namespace of the calling thread.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/errmsg.h"

enum attach_mode { ATTACH_AUTO, ATTACH_NATIVE, ATTACH_GENERIC };

enum attach_kind { ATTACH_NONE, ATTACH_NETLINK, ATTACH_LINK };

struct attachment {
	enum attach_kind kind;
	enum attach_mode mode;		/* native or generic */
	uint32_t prog_id, link_id;	/* link_id only when it was asked for and found */
};

/*
 * What is attached now. find_link: also tell link from netlink, which needs CAP_SYS_ADMIN and
 * walks all links of the host; without it, kind is NETLINK for both. -EOPNOTSUPP: a program in the
 * hardware, or several; -EBUSY: links that cannot be told apart. Each with a sentence.
 */
MUST_USE int attach_query(uint32_t ifindex, bool find_link, struct attachment *out, struct errmsg *why);

/*
 * Attach to a bare interface by a link. mode AUTO: native, else generic; *used tells. Returns the link's
 * descriptor; -EBUSY when something is attached meanwhile.
 */
MUST_USE int attach_link(uint32_t ifindex, int prog_fd, enum attach_mode mode, enum attach_mode *used,
			 struct errmsg *why);
/* Replace in the link; -EPERM when it does not run old_fd any more (old_fd -1: whatever it runs). */
MUST_USE int attach_link_update(int link_fd, int prog_fd, int old_fd, struct errmsg *why);
/* Replace by netlink; prog_fd -1: detach. -EEXIST when old_fd is not what runs. */
MUST_USE int attach_netlink(uint32_t ifindex, int prog_fd, int old_fd, enum attach_mode mode, struct errmsg *why);

/* Descriptors by id; CAP_SYS_ADMIN. */
MUST_USE int attach_prog_by_id(uint32_t id, struct errmsg *why);
MUST_USE int attach_link_by_id(uint32_t id, struct errmsg *why);
/* The program that a link runs and its interface; 0: the interface is gone. */
MUST_USE int attach_link_info(int link_fd, uint32_t *prog_id, uint32_t *ifindex);

/* Wait until no processor runs a program that was replaced before this call. */
void attach_settle(void);
