#include "nat64/slow/stand.h"

#include <arpa/inet.h>
#include <errno.h>

#include "base/must.h"

static int plan(void *arg, struct xlat *x)
{
	struct stand *t = arg;

	t->last = x;
	return xlat_native_plan(t->native, x);
}

static int call(void *arg, struct xlat_call *call)
{
	struct stand *t = arg;

	/* The desk is not the caller's packet: a call must not change that. */
	struct xlat desk = *t->last;

	xlat_native_call(t->native, call, &desk);
	return 0;
}

static int send_packet(void *arg, unsigned family, struct slice packet, uint32_t mark, uint32_t *mtu)
{
	struct stand *t = arg;
	uint32_t path = family == 4 ? t->path4 : t->path6;

	if (path != 0 && packet.len > path) {
		*mtu = path;
		return -EMSGSIZE;
	}
	const char *wrong = packet.len == 0 || packet.ptr[0] >> 4 != family ? "not of the family" : wire_judge(packet);

	if (t->wrong == NULL)
		t->wrong = wrong;
	if (t->sent_count == STAND_SENT_MAX)
		return 0;
	struct buf *b = &t->sent[t->sent_count].bytes;

	buf_init(b, 1 << 17);
	buf_add(b, packet);
	t->sent[t->sent_count++].family = family;
	return 0;
}

static uint32_t way_mtu(void *arg, unsigned family, const __be32 addr[4])
{
	const struct stand *t = arg;

	return family == 4 ? t->mtu4 : t->mtu6;
}

static void count(void *arg, enum xlat_verdict verdict, enum xlat_reason reason)
{
	struct stand *t = arg;

	must(reason < XLAT_REASONS && verdict < XLAT_VERDICTS);
	t->counted[reason]++;
}

static bool allowed(void *arg, bool too_big)
{
	return !((struct stand *)arg)->quiet;
}

static int find_ftp(struct stand *t, const struct xlat_session_key *key)
{
	for (int i = 0; i < STAND_FTP_MAX; i++)
		if (t->ftp[i].used && memcmp(&t->ftp[i].key, key, sizeof(*key)) == 0)
			return i;
	return -1;
}

static int load(void *arg, const struct xlat_session_key *key, struct xlat_ftp *out)
{
	struct stand *t = arg;
	int i = find_ftp(t, key);

	if (i < 0)
		return -ENOENT;
	*out = t->ftp[i].value;
	return 0;
}

static int save(void *arg, const struct xlat_session_key *key, const struct xlat_ftp *value)
{
	struct stand *t = arg;
	int i = find_ftp(t, key);

	if (value == NULL) {
		if (i < 0)
			return -ENOENT;
		t->ftp[i].used = false;
		return 0;
	}
	for (int k = 0; i < 0 && k < STAND_FTP_MAX; k++)
		if (!t->ftp[k].used)
			i = k;
	if (i < 0)
		return -E2BIG;
	t->ftp[i].used = true;
	t->ftp[i].key = *key;
	t->ftp[i].value = *value;
	return 0;
}

static int next(void *arg, const struct xlat_session_key *key, struct xlat_session_key *out)
{
	struct stand *t = arg;

	for (int i = key == NULL ? 0 : find_ftp(t, key) + 1; i < STAND_FTP_MAX; i++)
		if (t->ftp[i].used) {
			*out = t->ftp[i].key;
			return 0;
		}
	return -ENOENT;
}

static const struct slow_ops ops = { .plan = plan, .call = call, .send = send_packet, .mtu = way_mtu, .count = count, .error_allowed = allowed,
				     .ftp_load = load, .ftp_save = save, .ftp_next = next };

static void configuration(struct xlat_config *c, enum xlat_mode mode)
{
	*c = (struct xlat_config){ .abi = XLAT_CONFIG_ABI, .bytes = sizeof(*c), .mode = mode,
				   .flags = XLAT_TOS_COPY | XLAT_HAIRPIN | XLAT_FTP | XLAT_ICMP_ERRORS, .lowest_mtu6 = 1280,
				   .prefix_count = 1, .pool_count = 1, .subscriber_bits = 64, .block_ports = 512, .blocks_max = 4,
				   .key = { 1, 2 } };
	must(inet_pton(AF_INET6, "64:ff9b::", c->prefix[0].addr) == 1);
	c->prefix[0].bits = 96;
	c->pool[0] = (struct xlat_pool){ .first = mode == XLAT_NAT64 ? 0xc6336401 : 0xc6336400, .count = mode == XLAT_NAT64 ? 1 : 8,
					 .port_first = 1024, .port_last = 65535 };
	c->subscriber_mask[0] = c->subscriber_mask[1] = 0xffffffff;
	must(inet_pton(AF_INET, "198.51.100.254", &c->own4) == 1);
	must(inet_pton(AF_INET6, "2001:db8:ffff::1", c->own6) == 1);
	static const uint32_t ms[XLAT_T_COUNT] = { 300000, 60000, 7440000, 240000, 6000, 2000, 300000 };

	for (unsigned i = 0; i < XLAT_T_COUNT; i++)
		c->timeout[i] = XLAT_TICKS(ms[i]);
}

void stand_init(struct stand *t, enum xlat_mode mode)
{
	const struct xlat_native_sizes sizes = { 256, 256, 64, 64 };

	*t = (struct stand){ .settings = { .datagrams_max = 64, .bytes_max = 1 << 20, .fragment_ms = 2000, .syns_max = 16, .syn_ms = 6000 },
			     .mtu4 = 1500, .mtu6 = 1500, .now_ms = 1000 };
	configuration(&t->config, mode);
	must(xlat_native_new(&t->config, &sizes, &t->native) == 0);
	must(slow_new(&t->settings, &ops, t, &t->slow) == 0);
	slow_configure(t->slow, &t->settings, &t->config);
	xlat_native_control(t->native)->slow_ifindex = 1;
	xlat_native_clock(t->native, 1000000000);
}

void stand_done(struct stand *t)
{
	stand_forget(t);
	slow_free(t->slow);
	xlat_native_free(t->native);
}

void stand_configure(struct stand *t)
{
	must(xlat_native_configure(t->native, &t->config) == 0);
	slow_configure(t->slow, &t->settings, &t->config);
}

void stand_packet(struct stand *t, struct slice packet)
{
	slow_packet(t->slow, packet, 0, t->now_ms);
}

void stand_wait(struct stand *t, int64_t ms)
{
	t->now_ms += ms;
	xlat_native_clock(t->native, (uint64_t)t->now_ms * 1000000);
	int64_t again = slow_tick(t->slow, t->now_ms);

	must(again >= -1);
}

void stand_forget(struct stand *t)
{
	for (unsigned i = 0; i < t->sent_count; i++)
		buf_done(&t->sent[i].bytes);
	t->sent_count = 0;
}

struct slice stand_sent(const struct stand *t, unsigned i)
{
	return i < t->sent_count ? buf_slice(&t->sent[i].bytes) : (struct slice){ 0 };
}
