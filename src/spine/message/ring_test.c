/* The rings without a kernel: what an extension that lies can and cannot do to us. */
#include <errno.h>
#include <string.h>

#include "base/test.h"
#include "spine/message/handoff.h"
#include "spine/message/ring.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct spine_outbox out;
static struct spine_inbox in;

static void fill(uint8_t kind, uint8_t length, const void *args, size_t bytes)
{
	struct spine_message m = { .handler = 7, .kind = kind, .length = length, .sender = 5 };

	memcpy(m.args, args, bytes);
	out.slot[out.head++ % SPINE_OUTBOX_SLOTS] = m;
}

static int put(struct inbox_writer *w)
{
	struct spine_message *slot = inbox_slot(w, &in);

	if (slot == NULL)
		return -ENOBUFS;
	slot->handler = 1;
	inbox_publish(w, &in);
	return 0;
}

START_TEST(messages_come_in_order_and_counters_wrap)
{
	struct outbox_reader r;
	struct spine_message m;

	out.head = out.tail = UINT32_MAX - 1;
	outbox_begin(&r, &out);
	for (uint32_t i = 0; i < 5; i++)
		fill(SPINE_MESSAGE_POST, 4, &i, sizeof(i));
	for (uint32_t i = 0; i < 5; i++) {
		ck_assert_int_eq(outbox_take(&r, &out, &m, NULL), 1);
		ck_assert_mem_eq(m.args, &i, sizeof(i));
		ck_assert_uint_eq(m.sender, 0);
	}
	ck_assert_int_eq(outbox_take(&r, &out, &m, NULL), 0);
	ck_assert_uint_eq(out.tail, 3);
	ck_assert(!outbox_waiting(&r, &out));
}
END_TEST

START_TEST(a_nonsense_head_costs_messages_and_no_more)
{
	struct outbox_reader r;
	struct spine_message m;

	outbox_begin(&r, &out);
	fill(SPINE_MESSAGE_POST, 0, "", 0);
	out.head = 257;
	ck_assert_int_eq(outbox_take(&r, &out, &m, NULL), 0);
	ck_assert_uint_eq(r.resets, 1);
	ck_assert_uint_eq(out.tail, 257);
	fill(SPINE_MESSAGE_POST, 0, "", 0);
	ck_assert_int_eq(outbox_take(&r, &out, &m, NULL), 1);
	/* 256 is a full ring, no nonsense; two of its slots were ever written. */
	out.head += 256;
	ck_assert_int_eq(outbox_take(&r, &out, &m, NULL), 1);
	ck_assert_int_eq(outbox_take(&r, &out, &m, NULL), 1);
	ck_assert_int_eq(outbox_take(&r, &out, &m, NULL), 0);
	ck_assert_uint_eq(r.resets, 1);
	ck_assert_uint_eq(r.malformed, 254);
}
END_TEST

START_TEST(malformed_messages_are_passed_over_and_counted)
{
	uint8_t medium[SPINE_MEDIUM_BYTES];
	struct spine_medium where = { 0, SPINE_MEDIUM_BYTES + 1 };
	struct outbox_reader r;
	struct spine_message m;

	outbox_begin(&r, &out);
	fill(SPINE_MESSAGE_POST, 49, "", 0);
	fill(SPINE_MESSAGE_CALL, 0, "", 0);
	fill(SPINE_MESSAGE_MEDIUM, 7, &where, sizeof(where));
	fill(SPINE_MESSAGE_MEDIUM, 8, &where, sizeof(where));
	where = (struct spine_medium){ 8, 1 };
	fill(SPINE_MESSAGE_MEDIUM, 8, &where, sizeof(where));
	where = (struct spine_medium){ 7, SPINE_MEDIUM_BYTES };
	fill(SPINE_MESSAGE_MEDIUM, 8, &where, sizeof(where));
	ck_assert_int_eq(outbox_take(&r, &out, &m, medium), 1);
	ck_assert_uint_eq(m.kind, SPINE_MESSAGE_MEDIUM);
	ck_assert_uint_eq(r.malformed, 5);
	ck_assert_uint_eq(out.medium_tail, 8);
}
END_TEST

START_TEST(a_writer_keeps_to_its_credits_whatever_the_tail_says)
{
	struct inbox_writer w;

	inbox_begin(&w, &in);
	for (uint32_t i = 0; i < SPINE_INBOX_SLOTS; i++)
		ck_assert_int_eq(put(&w), 0);
	ck_assert_int_eq(put(&w), -ENOBUFS);
	in.tail = 1;
	ck_assert_int_eq(put(&w), 0);
	in.tail = 1000;
	ck_assert_uint_eq(inbox_credits(&w, &in), 0);
	ck_assert_int_eq(put(&w), -ENOBUFS);
	/* Who opens it anew starts empty. */
	inbox_begin(&w, &in);
	ck_assert_uint_eq(inbox_credits(&w, &in), SPINE_INBOX_SLOTS);
}
END_TEST

START_TEST(a_medium_buffer_is_free_when_its_message_was_taken)
{
	struct inbox_writer w;

	inbox_begin(&w, &in);
	for (uint32_t i = 0; i < SPINE_INBOX_MEDIUM; i++) {
		ck_assert_int_eq(inbox_medium_hold(&w, &in), (int)i);
		ck_assert_int_eq(put(&w), 0);
		inbox_medium_release(&w, i, true);
	}
	ck_assert_int_eq(inbox_medium_hold(&w, &in), -ENOBUFS);
	in.tail = 3;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(inbox_medium_hold(&w, &in), i);
	ck_assert_int_eq(inbox_medium_hold(&w, &in), -ENOBUFS);
	inbox_medium_release(&w, 1, false);
	ck_assert_int_eq(inbox_medium_hold(&w, &in), 1);
}
END_TEST

START_TEST(nonsense_over_the_socket_is_refused_and_its_descriptors_closed)
{
	struct handoff h = { .kind = HANDOFF_SOCKET, .queue = 1 }, got;
	int pair[2], fds[HANDOFF_FDS], probe = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t count;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(handoff_send(pair[0], &h, &probe, 1), 0);
	ck_assert_int_eq(handoff_receive(pair[1], &got, fds, &count), 0);
	ck_assert_uint_eq(count, 1);
	int free_next = fds[0];
	close(fds[0]);
	h.queue = HANDOFF_QUEUES;
	ck_assert_int_eq(handoff_send(pair[0], &h, &probe, 1), 0);
	ck_assert_int_eq(handoff_receive(pair[1], &got, fds, &count), -EPROTO);
	ck_assert_uint_eq(count, 0);
	ck_assert_int_eq(fcntl(free_next, F_GETFD), -1);
	ck_assert_int_eq((int)send(pair[0], "short", 5, 0), 5);
	ck_assert_int_eq(handoff_receive(pair[1], &got, fds, &count), -EPROTO);
	close(pair[0]);
	ck_assert_int_eq(handoff_receive(pair[1], &got, fds, &count), -ECONNRESET);
}
END_TEST

TEST_MAIN("spine/message_ring", messages_come_in_order_and_counters_wrap,
	  a_nonsense_head_costs_messages_and_no_more, malformed_messages_are_passed_over_and_counted,
	  a_writer_keeps_to_its_credits_whatever_the_tail_says,
	  a_medium_buffer_is_free_when_its_message_was_taken,
	  nonsense_over_the_socket_is_refused_and_its_descriptors_closed)
