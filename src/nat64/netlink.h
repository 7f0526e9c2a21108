/*
 * Requests to rtnetlink: links, addresses, routes, filters. Small and blocking: one request, its answer.
 *
 * The kernel is trusted to answer what it was asked; lengths are checked all the same.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include <linux/netlink.h>

#include "base/errmsg.h"
#include "base/slice.h"

/* A message being written. What does not fit makes it `full`, and netlink_do answers -EMSGSIZE. */
struct netlink_message {
	_Alignas(8) uint8_t bytes[2048];
	size_t len;
	bool full;
};

/* Begin with the header and a fixed part (struct ifinfomsg ...). flags: NLM_F_CREATE ...; REQUEST and ACK are added. */
void netlink_begin(struct netlink_message *m, uint16_t type, uint16_t flags, const void *fixed, size_t bytes);
void netlink_put(struct netlink_message *m, uint16_t attribute, const void *value, size_t bytes);
void netlink_put_u32(struct netlink_message *m, uint16_t attribute, uint32_t value);
void netlink_put_text(struct netlink_message *m, uint16_t attribute, const char *text);
/* Attributes within one: what netlink_nest returns goes to netlink_nest_end. */
size_t netlink_nest(struct netlink_message *m, uint16_t attribute);
void netlink_nest_end(struct netlink_message *m, size_t at);

/* A socket for requests, in the namespace of the calling thread; the caller closes it. Negative errno. */
MUST_USE int netlink_open(struct errmsg *why);
/* Send and wait for the verdict: 0 or the kernel's negative errno, with the kernel's sentence in why when it has one. */
MUST_USE int netlink_do(int fd, struct netlink_message *m, struct errmsg *why);
/*
 * A dump (NLM_F_DUMP is added): `each` gets every message, body after struct nlmsghdr. A value other than 0 of it is returned
 * in the end. An interrupted dump is asked again a few times: each may see a message twice.
 */
MUST_USE int netlink_dump(int fd, struct netlink_message *m, int (*each)(void *arg, uint16_t type, struct slice body), void *arg,
			  struct errmsg *why);

/* The value of an attribute in a run of them; empty with a NULL ptr when there is none. The last of several. */
struct slice netlink_attribute(struct slice attributes, uint16_t attribute);
/* The fixed part of a body, and attributes behind it; false when it is shorter. */
MUST_USE bool netlink_fixed(struct slice body, void *fixed, size_t bytes, struct slice *attributes);
/* Values; 0 when there is none. */
uint32_t netlink_u32(struct slice attributes, uint16_t attribute);
