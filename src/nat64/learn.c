/* The learner of translation prefixes: learn.h. */
#include "nat64/learn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "base/cleanup.h"
#include "nat64/icmp6.h"
#include "nat64/pref64.h"

#define SECOND_US	   1000000
#define SOLICITATIONS	   3		/* RFC 4861 10: MAX_RTR_SOLICITATIONS, RTR_SOLICITATION_INTERVAL */
#define SOLICITATION_US	   (4 * SECOND_US)
#define DNS_WAIT_US	   (2 * SECOND_US)
#define DNS_AFTER_US	   (3 * SECOND_US)	/* AUTO: routers have had their time to answer */
#define DNS_AGAIN_US	   (300ll * SECOND_US)	/* after an answer without a prefix */
#define DNS_LIFETIME_S_MIN 30u

struct learn {
	struct loop *loop;
	enum nat64_pref64_source source;
	char uplink[IFNAMSIZ];
	void (*learnt)(void *arg, const struct xlat_prefix *prefix);
	void *arg;
	struct pref64_table table;
	struct xlat_prefix used;	/* as told last; bits 0: none */
	bool told;
	struct io_watch netlink, router, dns;	/* fd -1: not open */
	struct timer expire, solicit, ask;
	unsigned solicitations;
	struct sockaddr_storage server[PREF64_SERVERS_MAX];
	size_t servers, server_now;
	unsigned failures;
	uint16_t id;
};

static int64_t now_ms(const struct learn *l)
{
	return loop_now_us(l->loop) / 1000;
}

/* After any change of the table. `certain`: that there is none is known now. */
static void settle(struct learn *l, bool certain)
{
	struct xlat_prefix best = { 0 };
	int64_t wait_ms = pref64_table_expire(&l->table, now_ms(l));
	bool any = pref64_table_best(&l->table, &best);

	loop_timer_cancel(l->loop, &l->expire);
	if (wait_ms >= 0)
		loop_timer_set(l->loop, &l->expire, wait_ms * 1000);
	if ((!any && !certain) || (l->told && memcmp(&best, &l->used, sizeof(best)) == 0))
		return;
	l->told = true;
	l->used = best;
	l->learnt(l->arg, &best);
}

static void on_expire(struct timer *t)
{
	struct learn *l = container_of(t, struct learn, expire);

	settle(l, true);
	/* A router fell silent: perhaps DNS knows. */
	if (l->used.bits == 0 && l->source == NAT64_PREF64_AUTO)
		loop_timer_set(l->loop, &l->ask, 0);
}

/* --- router advertisements ------------------------------------------------------------------------------------ */

static void take(struct learn *l, const struct pref64_list *list)
{
	uint32_t uplink = l->uplink[0] == '\0' ? 0 : if_nametoindex(l->uplink);

	if (l->uplink[0] != '\0' && (uplink == 0 || list->count == 0 || list->said[0].ifindex != uplink))
		return;
	for (size_t i = 0; i < list->count; i++)
		pref64_table_put(&l->table, &list->said[i], PREF64_BY_RA, now_ms(l));
	settle(l, true);
}

static void on_netlink(struct io_watch *w, uint32_t events)
{
	struct learn *l = container_of(w, struct learn, netlink);
	_Alignas(8) uint8_t bytes[8192];
	struct sockaddr_nl from = { 0 };
	socklen_t from_bytes = sizeof(from);
	ssize_t n = recvfrom(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &from_bytes);
	struct slice left = slice_of(bytes, n < 0 ? 0 : (size_t)n);

	(void)events;
	if (from.nl_pid != 0)		/* only the kernel is asked here */
		return;
	while (left.len >= sizeof(struct nlmsghdr)) {
		struct pref64_list list;
		struct nlmsghdr head;

		memcpy(&head, left.ptr, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > left.len)
			return;
		if (head.nlmsg_type == RTM_NEWNDUSEROPT && pref64_nduseropt_read(slice_sub(left, sizeof(head), head.nlmsg_len), &list) == PREF64_OK)
			take(l, &list);
		left = slice_from(left, NLMSG_ALIGN(head.nlmsg_len));
	}
}

static void on_router(struct io_watch *w, uint32_t events)
{
	struct learn *l = container_of(w, struct learn, router);
	uint8_t room[PREF64_ADVERTISEMENT_BYTES_MAX];
	struct icmp6_message m;
	struct pref64_list list;

	(void)events;
	if (icmp6_receive(w->fd, room, sizeof(room), &m) == 0 &&
	    pref64_advertisement_read(m.bytes, m.source, m.hop_limit, m.ifindex, &list) == PREF64_OK)
		take(l, &list);
}

/* RFC 4861 6.3.7. Without an uplink of its own nobody is asked: which interface would it be? */
static void on_solicit(struct timer *t)
{
	struct learn *l = container_of(t, struct learn, solicit);
	static const uint8_t message[8] = { ND_ROUTER_SOLICIT };
	uint32_t uplink = if_nametoindex(l->uplink);

	if (l->used.bits != 0 || l->solicitations == SOLICITATIONS)
		return;
	l->solicitations++;
	/* No link-local address yet, no link: the next one may get through. */
	if (uplink != 0)
		(void)!icmp6_send(l->router.fd, uplink, 2, slice_of(message, sizeof(message)));
	loop_timer_set(l->loop, t, SOLICITATION_US);
}

/* --- DNS --------------------------------------------------------------------------------------------------------- */

static void close_watch(struct learn *l, struct io_watch *w)
{
	if (w->fd < 0)
		return;
	loop_del(l->loop, w);
	close(w->fd);
	w->fd = -1;
}

static void later(struct learn *l, int64_t us)
{
	close_watch(l, &l->dns);
	loop_timer_set(l->loop, &l->ask, us);
}

/* The next server, and after the last one a pause that doubles. */
static void failed(struct learn *l)
{
	unsigned round;

	l->failures++;
	l->server_now++;
	if (l->server_now < l->servers) {
		later(l, 0);
		return;
	}
	l->server_now = 0;
	round = l->servers == 0 ? l->failures : l->failures / (unsigned)l->servers;
	later(l, (int64_t)MIN(1u << MIN(round, 10u), (unsigned)PREF64_BACKOFF_S_MAX) * SECOND_US);
}

static void answered(struct learn *l, enum pref64_result result, struct pref64_list *list)
{
	uint32_t soonest_s = UINT32_MAX;

	if (result != PREF64_OK && result != PREF64_NO_PREFIX) {
		failed(l);
		return;
	}
	l->failures = 0;
	l->server_now = 0;
	pref64_table_forget(&l->table, PREF64_BY_DNS, 0);
	for (size_t i = 0; i < list->count; i++) {
		list->said[i].lifetime_s = MAX(list->said[i].lifetime_s, DNS_LIFETIME_S_MIN);
		soonest_s = MIN(soonest_s, list->said[i].lifetime_s);
		pref64_table_put(&l->table, &list->said[i], PREF64_BY_DNS, now_ms(l));
	}
	settle(l, true);
	/* Ten seconds before the end (RFC 7050 3). */
	later(l, list->count == 0 ? DNS_AGAIN_US : MIN(soonest_s - 10, 86400u) * (int64_t)SECOND_US);
}

static void on_dns(struct io_watch *w, uint32_t events)
{
	struct learn *l = container_of(w, struct learn, dns);
	uint8_t bytes[PREF64_ANSWER_BYTES_MAX];
	ssize_t n = recv(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	struct pref64_list list = { 0 };
	enum pref64_result result;

	(void)events;
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)	/* an ICMP error: nobody listens there */
			failed(l);
		return;
	}
	result = pref64_answer_read(slice_of(bytes, (size_t)n), l->id, &list);
	/* Forged, perhaps, and the right one is still on its way: wait on. */
	if (result != PREF64_NOT_OURS && result != PREF64_BAD_LENGTH)
		answered(l, result, &list);
}

static bool ask_now(struct learn *l)
{
	const struct sockaddr_storage *to = &l->server[l->server_now];
	socklen_t bytes = to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	AUTO_BUF struct buf question = BUF_INIT(512);
	AUTO_FD int fd = socket(to->ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* Connected: others cannot answer. The kernel chooses the port at random. */
	if (fd < 0 || getrandom(&l->id, sizeof(l->id), 0) != sizeof(l->id) || connect(fd, (const struct sockaddr *)to, bytes) != 0)
		return false;
	pref64_question_write(&question, l->id);
	if (question.err != 0 || send(fd, question.ptr, question.len, MSG_NOSIGNAL) < 0)
		return false;
	l->dns = (struct io_watch){ .fd = fd, .events = EPOLLIN, .fn = on_dns };
	if (loop_add(l->loop, &l->dns) != 0) {
		l->dns.fd = -1;
		return false;
	}
	(void)TAKE_FD(fd);
	return true;
}

static void on_ask(struct timer *t)
{
	struct learn *l = container_of(t, struct learn, ask);
	struct xlat_prefix best;

	if (l->dns.fd >= 0) {		/* no answer in time */
		failed(l);
		return;
	}
	if (l->source == NAT64_PREF64_AUTO && pref64_table_best(&l->table, &best) && l->table.row[0].origin == PREF64_BY_RA) {
		later(l, DNS_AGAIN_US);
		return;
	}
	if (l->servers == 0 || !ask_now(l))
		failed(l);
	else
		loop_timer_set(l->loop, &l->ask, DNS_WAIT_US);
}

static bool server_read(struct slice text, uint16_t port, struct sockaddr_storage *out)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	struct slice address, zone;
	char name[64], zone_name[IFNAMSIZ];

	*out = (struct sockaddr_storage){ 0 };
	if (!slice_cut(text, '%', &address, &zone))
		address = text;
	if (!slice_to_str(address, name, sizeof(name)))
		return false;
	if (inet_pton(AF_INET, name, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		return true;
	}
	if (inet_pton(AF_INET6, name, &in6->sin6_addr) != 1)
		return false;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	if (zone.len > 0 && slice_to_str(zone, zone_name, sizeof(zone_name)))
		in6->sin6_scope_id = if_nametoindex(zone_name);
	return true;
}

size_t learn_servers(struct slice text, struct sockaddr_storage *out, size_t max)
{
	size_t count = 0;

	while (text.len > 0 && count < max) {
		struct slice line, word, rest;

		if (!slice_cut(text, '\n', &line, &text))
			text = (struct slice){ 0 };
		line = slice_trim(line);
		for (size_t i = 0; i < line.len; i++)
			if (line.ptr[i] == ' ' || line.ptr[i] == '\t') {
				word = slice_head(line, i);
				rest = slice_trim(slice_from(line, i));
				if (slice_eq(word, SLICE("nameserver")) && server_read(rest, 53, &out[count]))
					count++;
				break;
			}
	}
	return count;
}

/* "192.0.2.1", "2001:db8::1", "fe80::1%eth0", "[2001:db8::1]:5353", "192.0.2.1:5353" */
static bool server_of(const char *text, struct sockaddr_storage *out)
{
	struct slice s = slice_str(text), address = s, port = { 0 };
	uint32_t number = 53;

	if (server_read(s, 53, out))
		return true;
	if (s.len > 0 && s.ptr[0] == '[') {
		if (!slice_cut(slice_from(s, 1), ']', &address, &port) || (port.len > 0 && port.ptr[0] != ':'))
			return false;
		port = slice_from(port, 1);
	} else if (!slice_cut(s, ':', &address, &port)) {
		return false;
	}
	if (port.len > 0 && (!slice_u32(port, &number) || number == 0 || number > 65535))
		return false;
	return server_read(address, (uint16_t)number, out);
}

static int servers_find(struct learn *l, const char *server, struct errmsg *why)
{
	AUTO_FREE uint8_t *text = NULL;
	ssize_t n;

	if (server != NULL && server[0] != '\0') {
		if (!server_of(server, &l->server[0]))
			return errmsg_say(why, -EINVAL, "'%s' is no address of a DNS server; write '2001:db8::53' or '[2001:db8::53]:5353'", server);
		l->servers = 1;
		return 0;
	}
	AUTO_FD int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);

	text = malloc(PREF64_RESOLV_BYTES_MAX);
	if (text == NULL)
		return errmsg_set(why, -ENOMEM, "read resolv.conf");
	n = fd < 0 ? 0 : read(fd, text, PREF64_RESOLV_BYTES_MAX);
	l->servers = learn_servers(slice_of(text, n < 0 ? 0 : (size_t)n), l->server, PREF64_SERVERS_MAX);
	return 0;
}

/* --- begin ------------------------------------------------------------------------------------------------------ */

static int watch(struct learn *l, struct io_watch *w, int fd, void (*fn)(struct io_watch *w, uint32_t events), struct errmsg *why)
{
	int err;

	*w = (struct io_watch){ .fd = fd, .events = EPOLLIN, .fn = fn };
	err = loop_add(l->loop, w);
	if (err < 0) {
		close(fd);
		w->fd = -1;
		return errmsg_set(why, err, "watch a socket");
	}
	return 0;
}

static int listen_kernel(struct learn *l, struct errmsg *why)
{
	static const int group = RTNLGRP_ND_USEROPT;
	AUTO_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) != 0)
		return errmsg_set(why, -errno, "hear of router advertisements from the kernel");
	return watch(l, &l->netlink, TAKE_FD(fd), on_netlink, why);
}

static int listen_routers(struct learn *l, struct errmsg *why)
{
	int fd = icmp6_open(ND_ROUTER_ADVERT, why);

	return fd < 0 ? fd : watch(l, &l->router, fd, on_router, why);
}

int learn_new(struct loop *loop, const struct learn_settings *settings, void (*learnt)(void *arg, const struct xlat_prefix *prefix), void *arg,
	      struct learn **out, struct errmsg *why)
{
	struct learn *l = calloc(1, sizeof(*l));
	int err = 0;

	if (l == NULL)
		return errmsg_set(why, -ENOMEM, "learn translation prefixes");
	l->loop = loop;
	l->source = settings->source;
	l->learnt = learnt;
	l->arg = arg;
	l->netlink.fd = l->router.fd = l->dns.fd = -1;
	l->expire.fn = on_expire;
	l->solicit.fn = on_solicit;
	l->ask.fn = on_ask;
	if (!slice_to_str(slice_str(settings->uplink), l->uplink, sizeof(l->uplink)))
		err = errmsg_say(why, -EINVAL, "'%s' is no name of an interface", settings->uplink);
	if (err == 0 && l->source != NAT64_PREF64_DNS)
		err = listen_kernel(l, why);
	if (err == 0 && l->source != NAT64_PREF64_DNS)
		err = listen_routers(l, why);
	if (err == 0 && l->source != NAT64_PREF64_RA)
		err = servers_find(l, settings->dns_server, why);
	if (err < 0) {
		learn_free(l);
		return err;
	}
	if (l->source != NAT64_PREF64_DNS && l->uplink[0] != '\0')
		loop_timer_set(loop, &l->solicit, 0);
	if (l->source != NAT64_PREF64_RA)
		loop_timer_set(loop, &l->ask, l->source == NAT64_PREF64_DNS ? 0 : DNS_AFTER_US);
	*out = l;
	return 0;
}

void learn_free(struct learn *l)
{
	if (l == NULL)
		return;
	loop_timer_cancel(l->loop, &l->expire);
	loop_timer_cancel(l->loop, &l->solicit);
	loop_timer_cancel(l->loop, &l->ask);
	close_watch(l, &l->netlink);
	close_watch(l, &l->router);
	close_watch(l, &l->dns);
	free(l);
}
