/*
 * What a program under `prickle spine exec` and its broker (our parent process) say to each other.
 *
 * Each request is one SOCK_SEQPACKET message over the socket whose descriptor the environment names,
 * with a socket of its own for the answer, so that threads and children of the program need no
 * agreement among themselves. The bytes come from somebody else's process: the broker checks all.
 */
#pragma once
#include <stdint.h>

#define EXEC_SOCKET_VARIABLE "PRICKLE_SPINE_EXEC"	/* its value: a descriptor's number */
#define EXEC_ABI 1u

enum exec_op {
	EXEC_ATTACH = 1,		/* descriptors: answer, program [, expected old program] */
	EXEC_DETACH,			/* answer [, expected old program] */
	EXEC_QUERY,			/* answer */
	EXEC_LINK_CREATE,		/* answer, program; the answer carries the link's descriptor */
	EXEC_LINK_UPDATE,		/* answer, link, program [, expected old program] */
	EXEC_LINK_DETACH,		/* answer, link */
	EXEC_LINK_PIN,			/* answer, link: it outlives the program */
};

struct exec_request {
	uint32_t abi;			/* EXEC_ABI */
	uint32_t op;			/* enum exec_op */
	uint32_t ifindex;
	uint32_t flags;			/* XDP_FLAGS_... of the caller */
};

struct exec_reply {
	int32_t result;			/* 0 or a negative errno */
	uint32_t prog_id;		/* QUERY: 0 when there is none; LINK_PIN: what to pin in its place */
	uint32_t attach_mode;		/* QUERY: XDP_ATTACHED_... */
	uint32_t not_ours;		/* 1: another device; do as if we were not there */
};
