/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * An extension that does a little of everything that messages can do; echo-client.c talks to it.
 *
 *	clang -target bpf -mcpu=v3 -g -O2 -c echo.bpf.c -o echo.o
 *	prickle spine install echo.o --dev eth0
 */
#include <prickle/spine.h>

SPINE_EXTENSION(.name = "echo", .version = "1", .match = "", .channels = 2,
		.verdicts = SPINE_PASS | SPINE_DROP | SPINE_TX | SPINE_REDIRECT);

#define ECHO_PORT 7007			/* datagrams with a message in them */

SPINE_OUTBOX;				/* posts to the host */
SPINE_PORTS;				/* forwarding, as granted */
SPINE_SOCKETS;				/* frames into an application's memory */
SPINE_REGION(65536);			/* bulk */

/* What happens to frames that hold no message. */
enum echo_mode { ECHO_PASS, ECHO_POST, ECHO_COPY, ECHO_SOCKET, ECHO_FORWARD };

/* Messages that the host gets: number and struct. */
enum { ECHO_SEEN = 100, ECHO_FRAME = 101, ECHO_ANSWER = 102 };

struct echo_state {
	__u64 remembered, frames;
	__u32 mode, port;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct echo_state);
} echo_states SEC(".maps");

static __always_inline struct echo_state *echo_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&echo_states, &zero);
}

struct add {
	__u32 a, b;
	__u64 sum, sender;
};

static __always_inline int add(struct add *args, struct spine_message *m)
{
	args->sum = (__u64)args->a + args->b;
	args->sender = m->sender;
	return 0;
}

struct remember {
	__u64 value;
};

static __always_inline int remember(struct remember *args, struct spine_message *m)
{
	struct echo_state *s = echo_state();

	if (!s)
		return -EINVAL;
	__sync_fetch_and_add(&s->remembered, args->value);
	return 0;
}

static __always_inline int recall(struct remember *args, struct spine_message *m)
{
	struct echo_state *s = echo_state();

	if (!s)
		return -EINVAL;
	args->value = s->remembered;
	return 0;
}

/* The question comes as a post, the answer goes through the outbox with the question's number. */
static __always_inline int ask(struct remember *args, struct spine_message *m)
{
	struct remember answer = { args->value * 2 };

	return spine_answer(m, ECHO_ANSWER, &answer, sizeof(answer));
}

struct digest {
	struct spine_medium where;
	__u64 sum;
};

/*
 * Of the first 64 bytes. Unrolled: a loop over a pointer is refused to extensions that nobody signed, by the kernel's
 * rules against speculation.
 */
#define DIGEST_WORDS 8
static __noinline int digest(struct digest *args, struct spine_message *m)
{
	__u32 length;
	const __u64 *words = spine_medium(m, &length);
	__u64 sum = length;

	if (!words || length < DIGEST_WORDS * sizeof(*words))
		return -EINVAL;
#pragma unroll
	for (int i = 0; i < DIGEST_WORDS; i++)
		sum += words[i];
	args->sum = sum;
	return 0;
}

struct first_words {
	struct spine_bulk where;
	__u64 sum;
};

static __always_inline int first_words(struct first_words *args, struct spine_message *m)
{
	const __u64 *words = spine_bulk(m, 2 * sizeof(__u64));

	if (!words)
		return -EINVAL;
	args->sum = words[0] + words[1];
	return 0;
}

struct set_mode {
	__u32 mode, port;
};

static __always_inline int set_mode(struct set_mode *args, struct spine_message *m)
{
	struct echo_state *s = echo_state();

	if (!s || args->mode > ECHO_FORWARD)
		return -EINVAL;
	s->port = args->port;
	s->mode = args->mode;
	return 0;
}

#define HANDLERS(H)                            \
	H(1, add, add)                         \
	H(2, remember, remember)               \
	H(3, recall, remember)                 \
	H(4, ask, remember)                    \
	H(5, digest, digest)                   \
	H(6, first_words, first_words)         \
	H(7, set_mode, set_mode)
SPINE_HANDLERS(HANDLERS);

/* The network may add and remember, nothing else. */
#define NETWORK_HANDLERS(H)      \
	H(1, add, add)           \
	H(2, remember, remember)
SPINE_NETWORK_HANDLERS(NETWORK_HANDLERS);

struct seen {
	__u64 frame;
	__u32 bytes, queue;
};

struct frame {
	struct spine_medium where;
	__u64 number;
};

SEC("xdp")
int echo(struct xdp_md *ctx)
{
	int verdict = spine_network(ctx, ECHO_PORT);
	struct echo_state *s = echo_state();
	__u32 bytes;
	struct seen seen;
	struct frame frame;

	if (verdict != SPINE_NOT_A_MESSAGE)
		return verdict;
	if (!s)
		return XDP_ABORTED;
	bytes = (__u32)bpf_xdp_get_buff_len(ctx);
	seen = (struct seen){ __sync_fetch_and_add(&s->frames, 1), bytes, ctx->rx_queue_index };
	switch (s->mode) {
	case ECHO_POST:
		spine_post(ctx, ECHO_SEEN, &seen, sizeof(seen));
		return XDP_DROP;
	case ECHO_COPY:
		frame = (struct frame){ .number = seen.frame };
		if (bytes > 512)
			bytes = 512;
		spine_post_packet(ctx, ECHO_FRAME, &frame, sizeof(frame), 0, bytes);
		return XDP_DROP;
	case ECHO_SOCKET:
		return spine_to_socket(ctx, XDP_PASS);
	case ECHO_FORWARD:
		return spine_forward(ctx, s->port, 2, &(struct remember){ 1000 }, sizeof(struct remember));
	default:
		return XDP_PASS;
	}
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
