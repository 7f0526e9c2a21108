/* Requests to rtnetlink: netlink.h. */
#include "nat64/netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/rtnetlink.h>

#include "base/cleanup.h"

#ifndef NETLINK_GET_STRICT_CHK
#define NETLINK_GET_STRICT_CHK 12
#endif
#define DUMP_TRIES 5
#define ATTRIBUTE_BYTES sizeof(struct nlattr)

static void *room(struct netlink_message *m, size_t bytes)
{
	size_t whole = NLMSG_ALIGN(bytes);
	void *at = m->bytes + m->len;

	if (m->full || whole > sizeof(m->bytes) - m->len) {
		m->full = true;
		return NULL;
	}
	memset(at, 0, whole);
	m->len += whole;
	return at;
}

void netlink_begin(struct netlink_message *m, uint16_t type, uint16_t flags, const void *fixed, size_t bytes)
{
	struct nlmsghdr *head;
	void *at;

	m->len = 0;
	m->full = false;
	head = room(m, sizeof(*head));
	if (head != NULL)
		*head = (struct nlmsghdr){ .nlmsg_type = type, .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST) };
	at = room(m, bytes);
	if (at != NULL)
		memcpy(at, fixed, bytes);
}

void netlink_put(struct netlink_message *m, uint16_t attribute, const void *value, size_t bytes)
{
	struct nlattr *a = room(m, ATTRIBUTE_BYTES + bytes);

	if (a == NULL)
		return;
	a->nla_type = attribute;
	a->nla_len = (uint16_t)(ATTRIBUTE_BYTES + bytes);
	if (bytes > 0)
		memcpy((uint8_t *)a + ATTRIBUTE_BYTES, value, bytes);
}

void netlink_put_u32(struct netlink_message *m, uint16_t attribute, uint32_t value)
{
	netlink_put(m, attribute, &value, sizeof(value));
}

void netlink_put_text(struct netlink_message *m, uint16_t attribute, const char *text)
{
	netlink_put(m, attribute, text, strlen(text) + 1);
}

size_t netlink_nest(struct netlink_message *m, uint16_t attribute)
{
	size_t at = m->len;

	netlink_put(m, (uint16_t)(attribute | NLA_F_NESTED), NULL, 0);
	return at;
}

void netlink_nest_end(struct netlink_message *m, size_t at)
{
	if (!m->full)
		((struct nlattr *)(void *)(m->bytes + at))->nla_len = (uint16_t)(m->len - at);
}

int netlink_open(struct errmsg *why)
{
	static const int on = 1;
	/* No answer for so long is a broken kernel; we do not hang on it. */
	static const struct timeval wait = { .tv_sec = 10 };
	AUTO_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return errmsg_set(why, -errno, "netlink socket");
	/* Niceties: the kernel's sentences, and dumps of one interface. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	return TAKE_FD(fd);
}

static int send_request(int fd, struct netlink_message *m, uint16_t flags, struct errmsg *why)
{
	struct nlmsghdr *head = (struct nlmsghdr *)(void *)m->bytes;

	if (m->full)
		return errmsg_set(why, -EMSGSIZE, "netlink request");
	head->nlmsg_flags |= flags;
	head->nlmsg_len = (uint32_t)m->len;
	/* Told apart from a late answer to the request before. */
	head->nlmsg_seq++;
	if (send(fd, m->bytes, m->len, 0) < 0)
		return errmsg_set(why, -errno, "netlink request");
	return 0;
}

/* NLMSG_ERROR: the verdict, and with extended ACKs a sentence. */
static int verdict(const struct nlmsghdr *head, struct slice body, struct errmsg *why)
{
	struct nlmsgerr e;
	struct slice rest, text = { 0 };

	if (!netlink_fixed(body, &e, sizeof(e), &rest))
		return errmsg_set(why, -EBADMSG, "netlink answer");
	if (e.error == 0)
		return 0;
	if ((head->nlmsg_flags & NLM_F_ACK_TLVS) != 0 && (head->nlmsg_flags & NLM_F_CAPPED) != 0)
		text = netlink_attribute(rest, NLMSGERR_ATTR_MSG);
	if (text.len > 1)
		return errmsg_set(why, e.error, "the kernel says '%.*s'", (int)(text.len - 1), (const char *)text.ptr);
	return errmsg_set(why, e.error, "netlink request");
}

struct answer {
	uint32_t sequence;
	bool dump;
	int (*each)(void *arg, uint16_t type, struct slice body);
	void *arg;
	int result;
	bool interrupted;
};

/* The messages of one datagram. 1: all is said; 0: more to come; negative errno. */
static int take(struct answer *a, struct slice datagram, struct errmsg *why)
{
	while (datagram.len >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;
		struct slice body;

		memcpy(&head, datagram.ptr, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > datagram.len)
			return errmsg_set(why, -EBADMSG, "netlink answer");
		body = slice_sub(datagram, sizeof(head), head.nlmsg_len);
		datagram = slice_from(datagram, NLMSG_ALIGN(head.nlmsg_len));
		if (head.nlmsg_seq != a->sequence)
			continue;
		a->interrupted |= (head.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
		if (head.nlmsg_type == NLMSG_ERROR) {
			int err = verdict(&head, body, why);

			return err < 0 ? err : 1;
		}
		if (head.nlmsg_type == NLMSG_DONE)
			return 1;
		if (a->each != NULL && a->result == 0)
			a->result = a->each(a->arg, head.nlmsg_type, body);
	}
	return 0;
}

static int receive(int fd, struct answer *a, struct errmsg *why)
{
	AUTO_FREE uint8_t *bytes = malloc(65536);

	if (bytes == NULL)
		return errmsg_set(why, -ENOMEM, "netlink answer");
	for (;;) {
		ssize_t n = recv(fd, bytes, 65536, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errmsg_set(why, errno == EAGAIN ? -ETIMEDOUT : -errno, "netlink answer");
		int done = take(a, slice_of(bytes, (size_t)n), why);

		if (done != 0)
			return done < 0 ? done : 0;
	}
}

int netlink_do(int fd, struct netlink_message *m, struct errmsg *why)
{
	struct answer a = { 0 };
	int err = send_request(fd, m, NLM_F_ACK, why);

	if (err < 0)
		return err;
	a.sequence = ((const struct nlmsghdr *)(const void *)m->bytes)->nlmsg_seq;
	return receive(fd, &a, why);
}

int netlink_dump(int fd, struct netlink_message *m, int (*each)(void *arg, uint16_t type, struct slice body), void *arg,
		 struct errmsg *why)
{
	for (int i = 0; i < DUMP_TRIES; i++) {
		struct answer a = { .each = each, .arg = arg };
		int err = send_request(fd, m, NLM_F_DUMP, why);

		if (err < 0)
			return err;
		a.sequence = ((const struct nlmsghdr *)(const void *)m->bytes)->nlmsg_seq;
		err = receive(fd, &a, why);
		if (err < 0 || !a.interrupted || a.result != 0)
			return err < 0 ? err : a.result;
	}
	return errmsg_set(why, -EAGAIN, "the system's tables change too fast to be read");
}

struct slice netlink_attribute(struct slice attributes, uint16_t attribute)
{
	struct slice found = { 0 };

	while (attributes.len >= ATTRIBUTE_BYTES) {
		struct nlattr a;

		memcpy(&a, attributes.ptr, sizeof(a));
		if (a.nla_len < ATTRIBUTE_BYTES || a.nla_len > attributes.len)
			break;
		if ((a.nla_type & NLA_TYPE_MASK) == attribute)
			found = slice_sub(attributes, ATTRIBUTE_BYTES, a.nla_len);
		attributes = slice_from(attributes, ((size_t)a.nla_len + 3) & ~(size_t)3);
	}
	return found;
}

bool netlink_fixed(struct slice body, void *fixed, size_t bytes, struct slice *attributes)
{
	if (body.len < bytes)
		return false;
	memcpy(fixed, body.ptr, bytes);
	*attributes = slice_from(body, NLMSG_ALIGN(bytes));
	return true;
}

uint32_t netlink_u32(struct slice attributes, uint16_t attribute)
{
	struct slice value = netlink_attribute(attributes, attribute);
	uint32_t v = 0;

	if (value.len == sizeof(v))
		memcpy(&v, value.ptr, sizeof(v));
	return v;
}
