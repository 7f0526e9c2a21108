/* Router advertisements with PREF64: announce.h. */
#include "nat64/announce.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "nat64/icmp6.h"
#include "nat64/pref64.h"

/* RFC 4861 10 */
#define SECOND_US	    1000000ll
#define INITIAL_INTERVAL_US (16 * SECOND_US)
#define INITIAL_COUNT	    3
#define DELAY_BETWEEN_US    (3 * SECOND_US)
#define RA_DELAY_US	    500000u

struct sender {
	struct announce *announce;
	struct announce_one one;
	struct timer timer;
	uint32_t joined;		/* ifindex on which we hear solicitations */
	unsigned sent;
	int64_t sent_us;		/* of the last one */
	bool answering;			/* the timer is set for a solicitation */
};

struct announce {
	struct loop *loop;
	struct io_watch socket;
	struct xlat_prefix prefixes[XLAT_PREFIXES_MAX];
	size_t prefix_count, count;
	struct sender senders[];
};

static uint64_t random_below(uint64_t n)
{
	uint64_t v = 0;

	/* What a neighbour could do with guessed times is little: without randomness they are even. */
	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		return n / 2;
	return n == 0 ? 0 : v % n;
}

void announce_write(struct buf *out, const struct announce_one *one, const struct xlat_prefix *prefixes, size_t prefix_count,
		    const uint8_t mac[6], bool farewell)
{
	uint32_t router_s = farewell ? 0 : MIN(one->router_lifetime_s, 9000u);

	buf_addc(out, ND_ROUTER_ADVERT);
	buf_addc(out, 0);
	buf_be16(out, 0);
	buf_addc(out, 0);		/* hop limit: unspecified */
	/* With a router lifetime of 0 the preference is 0 as well (RFC 4191 2.2). */
	buf_addc(out, router_s == 0 ? 0 : (uint8_t)((one->preference & 3) << 3));
	buf_be16(out, (uint16_t)router_s);
	buf_be64(out, 0);		/* reachable time, retransmission timer: unspecified */
	if (mac != NULL) {
		buf_addc(out, ND_OPT_SOURCE_LINKADDR);
		buf_addc(out, 1);
		buf_add(out, slice_of(mac, 6));
	}
	for (size_t i = 0; i < prefix_count; i++)
		pref64_option_write(out, &prefixes[i], farewell ? 0 : one->lifetime_s);
}

bool announce_is_solicitation(struct slice message, const uint8_t source[16], unsigned hop_limit)
{
	static const uint8_t unspecified[16] = { 0 };
	struct slice options = slice_from(message, 8);

	if (message.len < 8 || message.ptr[0] != ND_ROUTER_SOLICIT || message.ptr[1] != 0 || hop_limit != 255)
		return false;
	while (options.len >= 2) {
		size_t bytes = (size_t)options.ptr[1] * 8;

		if (bytes == 0 || bytes > options.len)
			return false;
		if (options.ptr[0] == ND_OPT_SOURCE_LINKADDR && memcmp(source, unspecified, 16) == 0)
			return false;
		options = slice_from(options, bytes);
	}
	return options.len == 0;
}

static bool link_address(int fd, const char *interface, uint8_t mac[6])
{
	struct ifreq r = { 0 };

	memcpy(r.ifr_name, interface, sizeof(r.ifr_name));
	if (ioctl(fd, SIOCGIFHWADDR, &r) != 0 || r.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return false;
	memcpy(mac, r.ifr_hwaddr.sa_data, 6);
	return true;
}

/* Hear solicitations on the interface, which may be another one by that name than before. */
static void join(struct sender *s, uint32_t ifindex)
{
	struct ipv6_mreq group = { .ipv6mr_interface = ifindex };

	if (s->joined == ifindex)
		return;
	memcpy(&group.ipv6mr_multiaddr, (uint8_t[16]){ 0xff, 2, [15] = 2 }, 16);
	if (setsockopt(s->announce->socket.fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof(group)) == 0 || errno == EADDRINUSE)
		s->joined = ifindex;
}

static void send_one(struct sender *s, bool farewell)
{
	struct announce *a = s->announce;
	uint32_t ifindex = if_nametoindex(s->one.interface);
	AUTO_BUF struct buf message = BUF_INIT(1024);
	uint8_t mac[6];
	bool has_mac;

	if (ifindex == 0)
		return;
	join(s, ifindex);
	has_mac = link_address(a->socket.fd, s->one.interface, mac);
	announce_write(&message, &s->one, a->prefixes, a->prefix_count, has_mac ? mac : NULL, farewell);
	/* No link-local address yet, no link: the next one may get through. */
	if (message.err == 0 && icmp6_send(a->socket.fd, ifindex, 1, buf_slice(&message)) == 0)
		s->sent++;
	s->sent_us = loop_now_us(a->loop);
}

/* RFC 4861 6.2.4: uniformly between MinRtrAdvInterval and MaxRtrAdvInterval; the first ones sooner. */
static void schedule(struct sender *s)
{
	int64_t most = (int64_t)s->one.interval_s * SECOND_US, least = MAX(most / 3, DELAY_BETWEEN_US);
	int64_t wait = least >= most ? most : least + (int64_t)random_below((uint64_t)(most - least));

	if (s->sent < INITIAL_COUNT && wait > INITIAL_INTERVAL_US)
		wait = INITIAL_INTERVAL_US;
	s->answering = false;
	loop_timer_set(s->announce->loop, &s->timer, wait);
}

static void on_timer(struct timer *t)
{
	struct sender *s = container_of(t, struct sender, timer);

	send_one(s, false);
	schedule(s);
}

/* RFC 4861 6.2.6: to all, after a random delay, and no more often than every three seconds. */
static void answer(struct sender *s)
{
	int64_t now = loop_now_us(s->announce->loop), wait = (int64_t)random_below(RA_DELAY_US);

	if (s->answering)
		return;
	if (s->sent > 0 && now + wait < s->sent_us + DELAY_BETWEEN_US)
		wait += s->sent_us + DELAY_BETWEEN_US - now;
	s->answering = true;
	loop_timer_set(s->announce->loop, &s->timer, wait);
}

static void on_socket(struct io_watch *w, uint32_t events)
{
	struct announce *a = container_of(w, struct announce, socket);
	uint8_t room[PREF64_ADVERTISEMENT_BYTES_MAX];
	struct icmp6_message m;

	(void)events;
	if (icmp6_receive(w->fd, room, sizeof(room), &m) != 0 || !announce_is_solicitation(m.bytes, m.source, m.hop_limit))
		return;
	for (size_t i = 0; i < a->count; i++)
		if (a->senders[i].joined == m.ifindex)
			answer(&a->senders[i]);
}

int announce_new(struct loop *loop, const struct announce_one *ones, size_t count, const struct xlat_prefix *prefixes, size_t prefix_count,
		 struct announce **out, struct errmsg *why)
{
	AUTO_FREE struct announce *a = calloc(1, sizeof(*a) + count * sizeof(a->senders[0]));
	int fd = icmp6_open(ND_ROUTER_SOLICIT, why), err;

	if (fd < 0)
		return fd;
	if (a == NULL) {
		close(fd);
		return errmsg_set(why, -ENOMEM, "router advertisements");
	}
	a->loop = loop;
	a->prefix_count = MIN(prefix_count, (size_t)XLAT_PREFIXES_MAX);
	memcpy(a->prefixes, prefixes, a->prefix_count * sizeof(*prefixes));
	a->socket = (struct io_watch){ .fd = fd, .events = EPOLLIN, .fn = on_socket };
	err = loop_add(loop, &a->socket);
	if (err < 0) {
		close(fd);
		return errmsg_set(why, err, "router advertisements");
	}
	for (; a->count < count; a->count++) {
		struct sender *s = &a->senders[a->count];

		*s = (struct sender){ .announce = a, .one = ones[a->count], .timer.fn = on_timer };
		loop_timer_set(loop, &s->timer, 0);
	}
	*out = TAKE_PTR(a);
	return 0;
}

void announce_free(struct announce *a, bool farewell)
{
	if (a == NULL)
		return;
	for (size_t i = 0; i < a->count; i++) {
		loop_timer_cancel(a->loop, &a->senders[i].timer);
		if (farewell)
			send_one(&a->senders[i], true);
	}
	loop_del(a->loop, &a->socket);
	close(a->socket.fd);
	free(a);
}
