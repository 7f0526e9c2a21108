/*
 * The runtime's end of a shared channel: gives it to one program at a time and makes the AF_XDP sockets that the
 * program may not make. What the program says is checked; it can end its own connection, nothing else.
 */
#pragma once
#include "spine/message/handoff.h"

struct serve {
	struct spine_channel_fds fds;	/* borrowed */
	struct handoff hello;		/* names, label, ifindex */
	int connection;			/* owned; -1: none */
	int socket[HANDOFF_QUEUES];	/* that were given away, to be entered into the map; -1: none */
};

/* Nobody is connected. */
void serve_init(struct serve *s, const struct spine_channel_fds *fds, const struct handoff *hello);
/* Give the channel to this connection, which becomes ours. 0, or negative errno and it is closed. */
int serve_begin(struct serve *s, int connection);
/* Answer one question of the program. 0, or negative errno: it has gone or talks nonsense; call serve_end. */
int serve_answer(struct serve *s);
void serve_end(struct serve *s);
