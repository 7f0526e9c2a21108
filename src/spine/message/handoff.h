/*
 * How `prickle spine share` hands a channel to a program that may do nothing: packets over a unix socket
 * (SOCK_SEQPACKET) with descriptors beside them.
 *
 *	runtime -> program	HELLO: status, label, names; the channel's descriptors in the order of fd_mask
 *	program -> runtime	SOCKET queue: wants an AF_XDP socket
 *	runtime -> program	SOCKET queue, status; the socket
 *	program -> runtime	READY queue: its memory is registered and it is bound
 *	runtime -> program	READY queue, status: frames come from now on
 *
 * The program asks, so each of its packets is checked: length, magic, queue; one that is not understood ends
 * the connection.
 */
#pragma once
#include <net/if.h>
#include <prickle/libspine.h>
#include <prickle/spine_manifest.h>

#include "spine/message/message_limits.h"

#define HANDOFF_MAGIC  0x31435053u	/* "SPC1" */
#define HANDOFF_FDS    6		/* call to doorbell of struct spine_channel_fds */
#define HANDOFF_ENV    "SPINE_CHANNEL"	/* number of the inherited descriptor */

enum handoff_kind { HANDOFF_HELLO = 1, HANDOFF_SOCKET = 2, HANDOFF_READY = 3 };

struct handoff {
	uint32_t magic;
	uint16_t kind;			/* enum handoff_kind */
	uint16_t fd_mask;		/* HELLO: bit i: field i of struct spine_channel_fds comes along */
	int32_t status;			/* 0 or negative errno */
	uint32_t queue;
	uint64_t sender;		/* the channel's label */
	uint32_t ifindex;		/* in the device's network namespace */
	char device[IFNAMSIZ];
	char extension[SPINE_NAME_BYTES];
};

/* Send with up to HANDOFF_FDS descriptors, which are borrowed. 0 or negative errno. */
int handoff_send(int socket, const struct handoff *h, const int *fds, size_t fd_count);
/*
 * Receive one. 0; -ECONNRESET: the other end has gone; -EPROTO: nonsense (descriptors that came with it are closed).
 * fds has room for HANDOFF_FDS; *fd_count of them are the caller's.
 */
int handoff_receive(int socket, struct handoff *h, int *fds, size_t *fd_count);

/* The runtime's HELLO for a channel. fds are borrowed. */
int handoff_hello(int socket, struct handoff *h, const struct spine_channel_fds *fds);
