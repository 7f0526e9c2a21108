#include "spine/exec/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"
#include "spine/exec/protocol.h"
#include "base/fdpass.h"

/* A device with one place. Programs are any descriptors; their "id" is 100 for all. */
struct fake {
	uint32_t id;			/* of what is placed; 0: nothing */
	int attached, removed;
	int refuse;			/* negative errno for the next attach */
};

static int fake_attach(void *arg, int prog_fd, struct errmsg *why)
{
	struct fake *f = arg;

	if (f->refuse != 0)
		return errmsg_say(why, f->refuse, "said no");
	f->id = 100 + (uint32_t)f->attached++;
	return fcntl(prog_fd, F_GETFD) < 0 ? errmsg_set(why, -EBADF, "descriptor") : 0;
}

static int fake_remove(void *arg, struct errmsg *why)
{
	struct fake *f = arg;

	f->id = 0;
	f->removed++;
	return 0;
}

static uint32_t fake_prog_id(void *arg)
{
	return ((struct fake *)arg)->id;
}

static uint32_t fake_mode(void *arg)
{
	return XDP_ATTACHED_DRV;
}

static uint32_t fake_id_of(void *arg, int fd)
{
	return fd >= 0 ? 100 : 0;
}

static const struct broker_ops ops = { fake_attach, fake_remove, fake_prog_id, fake_mode, fake_id_of };

static struct fake fake;
static struct broker *broker;
static int ours, theirs;

static void start(void)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	ours = pair[0];
	theirs = pair[1];
	ck_assert_int_eq(broker_new(&ops, &fake, 7, "test", &broker), 0);
}

/* One request with `count` descriptors of standard input; the link's descriptor in *fd. */
static struct exec_reply ask(struct exec_request request, const int *with, size_t count, int *fd)
{
	struct exec_reply reply;
	int pair[2], fds[4], got[1] = { -1 };
	size_t got_count;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fds[0] = pair[1];
	for (size_t i = 0; i < count; i++)
		fds[i + 1] = with[i];
	ck_assert_int_eq(fdpass_send(theirs, &request, sizeof(request), fds, count + 1), 0);
	close(pair[1]);
	ck_assert(broker_serve(broker, ours));
	ck_assert_int_eq(fdpass_receive(pair[0], &reply, sizeof(reply), got, 1, &got_count), sizeof(reply));
	close(pair[0]);
	if (fd != NULL)
		*fd = got[0];
	return reply;
}

static struct exec_reply simple(enum exec_op op, uint32_t flags, size_t programs)
{
	int with[2] = { 0, 0 };

	return ask((struct exec_request){ EXEC_ABI, op, 7, flags }, with, programs, NULL);
}

START_TEST(an_attach_is_seen_by_a_query_and_undone_by_a_detach)
{
	struct exec_reply r;

	start();
	ck_assert_uint_eq(simple(EXEC_QUERY, 0, 0).prog_id, 0);
	ck_assert_int_eq(simple(EXEC_ATTACH, 0, 1).result, 0);
	r = simple(EXEC_QUERY, 0, 0);
	ck_assert_uint_eq(r.prog_id, 100);
	ck_assert_uint_eq(r.attach_mode, XDP_ATTACHED_DRV);
	ck_assert_int_eq(simple(EXEC_DETACH, 0, 0).result, 0);
	ck_assert_uint_eq(simple(EXEC_QUERY, 0, 0).prog_id, 0);
	broker_free(broker);
}
END_TEST

START_TEST(flags_mean_what_they_mean_to_the_kernel)
{
	start();
	ck_assert_int_eq(simple(EXEC_ATTACH, XDP_FLAGS_UPDATE_IF_NOEXIST, 1).result, 0);
	ck_assert_int_eq(simple(EXEC_ATTACH, XDP_FLAGS_UPDATE_IF_NOEXIST, 1).result, -EBUSY);
	ck_assert_int_eq(simple(EXEC_ATTACH, XDP_FLAGS_REPLACE, 2).result, 0);		/* expected 100: is 100 */
	ck_assert_int_eq(simple(EXEC_ATTACH, XDP_FLAGS_REPLACE, 2).result, -EEXIST);	/* is 101 now */
	ck_assert_int_eq(simple(EXEC_ATTACH, XDP_FLAGS_HW_MODE, 1).result, -EOPNOTSUPP);
	broker_free(broker);
}
END_TEST

START_TEST(other_devices_pass_by)
{
	start();
	ck_assert_uint_eq(ask((struct exec_request){ EXEC_ABI, EXEC_QUERY, 8, 0 }, NULL, 0, NULL).not_ours, 1);
	broker_free(broker);
}
END_TEST

START_TEST(a_link_ends_with_its_last_descriptor_unless_it_was_pinned)
{
	int link, zero = 0;

	start();
	ck_assert_int_eq(ask((struct exec_request){ EXEC_ABI, EXEC_LINK_CREATE, 7, 0 }, &zero, 1, &link).result, 0);
	ck_assert(broker_is_link(broker, link));
	ck_assert(!broker_is_link(broker, theirs));
	ck_assert_int_eq(simple(EXEC_ATTACH, 0, 1).result, -EBUSY);
	close(link);
	broker_link_gone(broker);
	ck_assert_int_eq(fake.removed, 1);
	ck_assert_int_eq(ask((struct exec_request){ EXEC_ABI, EXEC_LINK_CREATE, 7, 0 }, &zero, 1, &link).result, 0);
	ck_assert_int_eq(ask((struct exec_request){ EXEC_ABI, EXEC_LINK_PIN, 0, 0 }, &link, 1, NULL).result, 0);
	close(link);
	broker_link_gone(broker);
	ck_assert_int_eq(fake.removed, 1);
	ck_assert_uint_ne(fake.id, 0);
	broker_free(broker);
}
END_TEST

START_TEST(a_refusal_is_passed_on)
{
	start();
	fake.refuse = -EPERM;
	ck_assert_int_eq(simple(EXEC_ATTACH, 0, 1).result, -EPERM);
	ck_assert_int_eq(simple(EXEC_ATTACH, 0, 0).result, -EBADF);	/* no program came along */
	broker_free(broker);
}
END_TEST

START_TEST(nonsense_is_dropped_or_refused)
{
	int zero = 0, duplex[2];

	start();
	ck_assert_int_eq(simple((enum exec_op)0, 0, 0).result, -EPROTO);
	ck_assert_int_eq(simple((enum exec_op)99, 0, 0).result, -EPROTO);
	ck_assert_int_eq(ask((struct exec_request){ EXEC_ABI, EXEC_LINK_DETACH, 0, 0 }, &zero, 1, NULL).result, -EBADF);
	ck_assert_int_eq(ask((struct exec_request){ EXEC_ABI, EXEC_LINK_DETACH, 0, 0 }, NULL, 0, NULL).result, -EBADF);
	ck_assert_int_eq(fdpass_send(theirs, "x", 1, NULL, 0), 0);
	ck_assert(broker_serve(broker, ours));		/* goes on */
	for (int i = 0; i < 2; i++)
		duplex[i] = theirs;
	ck_assert_int_eq(fdpass_send(theirs, "a much longer message than a request", 37, duplex, 2), 0);
	ck_assert(broker_serve(broker, ours));
	close(theirs);
	ck_assert(!broker_serve(broker, ours));
	broker_free(broker);
}
END_TEST

TEST_MAIN("spine/exec", an_attach_is_seen_by_a_query_and_undone_by_a_detach,
	  flags_mean_what_they_mean_to_the_kernel, other_devices_pass_by,
	  a_link_ends_with_its_last_descriptor_unless_it_was_pinned, a_refusal_is_passed_on,
	  nonsense_is_dropped_or_refused)
