/*
 * The broker of `prickle spine exec`: turns what an unmodified program does with XDP on one device into
 * changes of our device. Two doors lead here: the preloaded library (preload.c, dynamic programs) and
 * notifications of seccomp (notify.c, static ones).
 *
 * The program sees the device as if it were alone on it: the one extension of its name is what a query
 * finds, what an attach replaces and what a detach removes.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/errmsg.h"

/* What the broker may do to the device; the command line gives spine/device.h, tests give a stand-in. */
struct broker_ops {
	/* Place the program, or put it in place of ours. 0 or negative errno with a sentence. */
	int (*attach)(void *arg, int prog_fd, struct errmsg *why);
	int (*remove)(void *arg, struct errmsg *why);
	uint32_t (*prog_id)(void *arg);		/* of ours; 0: not there */
	uint32_t (*attach_mode)(void *arg);	/* XDP_ATTACHED_DRV or _SKB */
	uint32_t (*id_of)(void *arg, int prog_fd);	/* of a descriptor that the program showed; 0: none */
};

struct broker;
/* ifindex: the device's; everything else of the program's passes by. `program`: its name, for sentences. 0 or -ENOMEM. */
MUST_USE int broker_new(const struct broker_ops *ops, void *arg, uint32_t ifindex, const char *program,
			struct broker **out);
void broker_free(struct broker *b);

/* Make a link: the program's end in *fd (the caller's). 0 or negative errno. */
MUST_USE int broker_link_create(struct broker *b, int prog_fd, int *fd);
/* The descriptor is the program's end of our link. */
bool broker_is_link(const struct broker *b, int fd);
MUST_USE int broker_link_update(struct broker *b, int prog_fd, int old_fd);
MUST_USE int broker_link_detach(struct broker *b);
void broker_link_pin(struct broker *b);

/* Serve one request from the socket; false when all who held it are gone. */
bool broker_serve(struct broker *b, int socket);
/* To wait on beside the socket: readable when the link's last holder is gone; -1: no link. */
int broker_link_fd(const struct broker *b);
void broker_link_gone(struct broker *b);
/* The sentence of a refusal, on standard error, once each. */
void broker_refuse(struct broker *b, const char *what, const struct errmsg *why);
