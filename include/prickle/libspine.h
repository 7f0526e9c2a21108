/*
 * libprickle-spine: how a host program talks to an extension on a network device.
 *
 * A *channel* is the program's own way to one extension: what it sends arrives under the label that the
 * runtime gave to the channel, whoever it claims to be. A channel is made of descriptors alone: with them a
 * process without any capability calls and maps. It gets them
 *
 *	- as root from the pins of the device:		spine_channel_open()
 *	- from `prickle spine share`, over a socket or inherited:	spine_channel_connect()
 *	- from a parent that has them:			spine_channel_from_fds()
 *
 * To the extension go calls (one system call each, about a microsecond, the reply in place) and posts
 * (stores into a ring, then one system call for all of them). From it come posts, read from rings in
 * shared memory without a system call; who has nothing else to do sleeps and is woken by a doorbell.
 *
 *	struct spine_error why;
 *	struct spine_channel *c;
 *	if (spine_channel_open("eth0", "lb", 0, &c, &why) < 0)
 *		errx(1, "%s", why.text);
 *	struct add_backend args = { .address = a, .weight = 10 };
 *	if (spine_call(c, ADD_BACKEND, &args, sizeof(args)) < 0) ...
 *
 * `prickle spine stubs` makes typed functions of an object's handlers. Functions return 0 or a count, or a
 * negative errno. A channel belongs to one thread at a time, except for spine_call(). Nothing here trusts the
 * extension: whatever it writes into shared memory costs messages at worst. Example:
 * examples/spine/echo-client.c.
 */
#ifndef PRICKLE_LIBSPINE_H
#define PRICKLE_LIBSPINE_H

#include <stddef.h>
#include <stdint.h>

#include <prickle/spine_message.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPINE_API __attribute__((visibility("default")))

/* A failure as a sentence; written on failure only. Every function that takes one accepts NULL. */
struct spine_error {
	int code;			/* negative errno */
	char text[252];
};

struct spine_channel;			/* opaque */

/* ---- getting a channel ---- */

/*
 * Open channel `number` of an extension by its pins in bpffs, in the network namespace of the caller. Needs root, or
 * pins that somebody made readable. -ENOENT: no such device, extension or channel. Free with
 * spine_channel_close().
 */
SPINE_API int spine_channel_open(const char *device, const char *extension, unsigned number,
				 struct spine_channel **out, struct spine_error *why);
/* The same from the extension's directory in bpffs (.../ext/NAME); the descriptor is borrowed. */
SPINE_API int spine_channel_open_at(int directory, unsigned number, struct spine_channel **out,
				    struct spine_error *why);

/*
 * Ask `prickle spine share` for a channel. socket_path: of its socket; NULL: the descriptor that it left to
 * a command that it started (environment SPINE_CHANNEL). Waits for the answer. -EACCES: the runtime
 * does not give a channel to this user; -EBUSY: it is in use. The connection lives as long as the channel.
 */
SPINE_API int spine_channel_connect(const char *socket_path, struct spine_channel **out,
				    struct spine_error *why);

/* Descriptors of a channel; -1: none. `call` or `outbox` must be there. */
struct spine_channel_fds {
	int call, drain, inbox;		/* to the extension */
	int region;			/* bulk */
	int outbox, doorbell;		/* from the extension */
	int sockets;			/* XSKMAP, for root only */
};
/* What each descriptor is gets checked. Owns all of them on success, none on failure. */
SPINE_API int spine_channel_from_fds(const struct spine_channel_fds *fds, struct spine_channel **out,
				     struct spine_error *why);
/* The descriptors, borrowed: for passing them on. */
SPINE_API void spine_channel_fds(const struct spine_channel *c, struct spine_channel_fds *out);
SPINE_API void spine_channel_close(struct spine_channel *c);	/* NULL does nothing */

/* ---- to the extension ---- */

/*
 * Run a handler and wait for it. args go there and its reply comes back into them; bytes is the size of
 * the handler's argument struct, at most SPINE_ARGS_BYTES. Returns what the handler returned: 0 or more, or
 * its negative errno; -ENOSYS: no such handler; -EBADMSG: it takes another size. About 1 us. Any thread.
 */
SPINE_API int spine_call(struct spine_channel *c, uint16_t handler, void *args, size_t bytes);
/*
 * With data beside the arguments, at most SPINE_MEDIUM_BYTES; the argument struct begins with a struct
 * spine_medium, which is filled in. -ENOBUFS: every buffer is taken by posts that wait for a kick.
 */
SPINE_API int spine_call_medium(struct spine_channel *c, uint16_t handler, void *args, size_t bytes,
				const void *data, size_t data_bytes);
/* About bytes in the region; the argument struct begins with a struct spine_bulk, which is yours to fill. */
SPINE_API int spine_call_bulk(struct spine_channel *c, uint16_t handler, void *args, size_t bytes);

/*
 * Queue a message that wants no reply; it is handled at the next spine_kick(). -ENOBUFS: no credits
 * left: kick. A store, no system call.
 */
SPINE_API int spine_post(struct spine_channel *c, uint16_t handler, const void *args, size_t bytes);
SPINE_API int spine_post_medium(struct spine_channel *c, uint16_t handler, void *args, size_t bytes,
				const void *data, size_t data_bytes);
SPINE_API int spine_post_bulk(struct spine_channel *c, uint16_t handler, const void *args,
			      size_t bytes);
/* Have everything that is queued handled. How many were taken; -EBUSY: another kick is at it. */
SPINE_API int spine_kick(struct spine_channel *c);
/* Posts that fit before the next kick. */
SPINE_API uint32_t spine_credits(const struct spine_channel *c);

/* The bulk region, shared with the extension, or NULL; *bytes its size. */
SPINE_API void *spine_region(const struct spine_channel *c, size_t *bytes);

/* ---- from the extension ---- */

/*
 * Take the next message. 1: *m is it; 0: there is none, and *m is undefined. Fair between processors; order holds within
 * one. The bytes of a MEDIUM message are copied to medium (SPINE_MEDIUM_BYTES, or NULL: dropped), and
 * the struct spine_medium in m->args has their length.
 */
SPINE_API int spine_take(struct spine_channel *c, struct spine_message *m, void *medium);
/*
 * Wait until there is something to take. 1: look (there may be nothing, rarely); 0: timeout_ms (-1: none) is over; -ENOTSUP: the
 * extension has no outbox or this is not its first channel; -EINTR.
 */
SPINE_API int spine_wait(struct spine_channel *c, int timeout_ms);
/*
 * The same for an event loop: before it sleeps, call spine_sleep() - 1: do not sleep, there are messages -
 * and wait for spine_fd() to become readable (a descriptor that the channel owns; -ENOTSUP); after it, spine_awake().
 */
SPINE_API int spine_fd(const struct spine_channel *c);
SPINE_API int spine_sleep(struct spine_channel *c);
SPINE_API void spine_awake(struct spine_channel *c);

struct spine_channel_counts {
	uint64_t calls, posts, kicks;	/* made */
	uint64_t taken;			/* messages that came */
	uint64_t wakeups;		/* doorbells that woke us */
	uint64_t lost;			/* the extension found no room for */
	uint64_t malformed;		/* dropped: no kind or length that exists */
	uint64_t resets;		/* a ring's counter made no sense and its messages were given up */
};
SPINE_API void spine_channel_counts(const struct spine_channel *c, struct spine_channel_counts *out);

/* ---- frames by AF_XDP into your memory ---- */

struct spine_frames;			/* opaque: one receive queue */

struct spine_frame {
	uint8_t *data;			/* in your memory */
	uint32_t length;
	uint32_t number;		/* of the buffer, for spine_frames_return() */
};

/*
 * Register `memory` (page-aligned, frame_bytes x a power of two; frame_bytes is 2048 or 4096) as buffers for frames that the
 * extension sends to the sockets of receive queue `queue`. The memory is yours and stays until close; the kernel pins
 * it (RLIMIT_MEMLOCK). The socket comes from the runtime when the channel does, else it is made here
 * (CAP_NET_RAW). device: only for channels that were opened by pins or descriptors; else NULL. Zero copy where the
 * driver has it, else one copy by the kernel.
 */
SPINE_API int spine_frames_open(struct spine_channel *c, const char *device, uint32_t queue,
				void *memory, size_t bytes, uint32_t frame_bytes,
				struct spine_frames **out, struct spine_error *why);
/* Up to `count` frames; how many. They are yours until you return them. No system call while frames come. */
SPINE_API size_t spine_frames_take(struct spine_frames *f, struct spine_frame *out, size_t count);
SPINE_API void spine_frames_return(struct spine_frames *f, const struct spine_frame *frames, size_t count);
/* Readable when there are frames. Owned by f. */
SPINE_API int spine_frames_fd(const struct spine_frames *f);
SPINE_API void spine_frames_close(struct spine_frames *f);	/* before the channel; NULL does nothing */

#ifdef __cplusplus
}
#endif
#endif
