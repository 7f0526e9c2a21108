#include "conf/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/must.h"
#include "base/reader.h"
#include "base/utf8.h"
#include "conf/value.h"
#include "conf/yaml_options.h"

#define CONFIG_BYTES_MAX (1u << 20)	/* texts and lists of one configuration */

#define S(seconds) ((seconds) * UINT64_C(1000000))
#define LIVE true
#define RESTART false
const struct config_option config_options[OPTION_COUNT] = {
#define OPTION(field, kind, key, text, least, most, choices, reload, doc)                          \
	[OPTION_##field] = { key, CONFIG_##kind, text, least, most, choices, reload, doc,          \
			     offsetof(struct config, field) },
#include "conf/options.def"
#undef OPTION
};
#undef S
#undef LIVE
#undef RESTART

const struct config_option *config_option_find(struct slice key)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (slice_eq(slice_str(config_options[i].key), key))
			return &config_options[i];
	}
	return NULL;
}

static const char *option_key(size_t option)
{
	return config_options[option].key;
}

const char *config_option_suggest(struct slice key)
{
	return yaml_options_suggest(OPTION_COUNT, option_key, key);
}

static int set_defaults(struct config *c)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		struct errmsg why = { 0 };
		int err = value_set_text(c, &config_options[i], slice_str(config_options[i].default_text), &why);
		if (err == -ENOMEM)
			return err;
		must(err == 0);
	}
	char host[256];
	if (gethostname(host, sizeof(host)) != 0)
		return 0;
	host[sizeof(host) - 1] = '\0';
	struct errmsg why = { 0 };
	/* A host name that the mail protocols cannot carry leaves the default: "localhost". */
	int err = value_set_text(c, &config_options[OPTION_hostname], slice_str(host), &why);
	return err == -ENOMEM ? err : 0;
}

int config_new(struct config **out)
{
	struct config *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	arena_init(&c->arena, CONFIG_BYTES_MAX);
	int err = set_defaults(c);
	if (err != 0) {
		config_free(c);
		return err;
	}
	if (c->hostname[0] == '\0')
		c->hostname = "localhost";
	*out = c;
	return 0;
}

void config_free(struct config *c)
{
	if (c == NULL)
		return;
	arena_done(&c->arena);
	free(c);
}

int config_set(struct config *c, const char *key, const char *value, struct errmsg *why)
{
	const struct config_option *o = config_option_find(slice_str(key));

	if (o == NULL)
		return errmsg_say(why, -ENOENT, "there is no option '%s'", key);
	struct errmsg reason = { 0 };
	int err = value_set_text(c, o, slice_str(value), &reason);
	if (err != 0)
		return errmsg_say(why, err, "option '%s': %s", key, reason.text);
	c->line[o - config_options] = 0;
	return 0;
}

static void keep_first(void *arg, const struct config_option *at, const char *sentence)
{
	struct errmsg *why = arg;

	if (why != NULL && why->code == 0)
		errmsg_say(why, -EINVAL, "%s", sentence);
}

int config_check(const struct config *c, struct errmsg *why)
{
	if (why != NULL)
		*why = (struct errmsg){ 0 };
	return value_check(c, keep_first, why) == 0 ? 0 : -EINVAL;
}

int config_keep_fixed(struct config *c, const struct config *running, struct buf *kept)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		AUTO_BUF struct buf now = BUF_INIT(CONFIG_BYTES_MAX), wanted = BUF_INIT(CONFIG_BYTES_MAX);
		const struct config_option *o = &config_options[i];

		if (o->live)
			continue;
		config_value(&now, running, (enum config_option_id)i);
		config_value(&wanted, c, (enum config_option_id)i);
		if (slice_eq(buf_slice(&now), buf_slice(&wanted)))
			continue;
		buf_printf(kept, "%s%s", kept->len > 0 ? ", " : "", o->key);
		if (now.err != 0 || value_set_text(c, o, buf_slice(&now), NULL) != 0)
			return -ENOMEM;		/* it was a value before, so nothing else can be wrong */
	}
	return 0;
}

void config_encode(const struct config *c, struct buf *out)
{
	buf_varint(out, OPTION_COUNT);
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		AUTO_BUF struct buf text = BUF_INIT(CONFIG_BYTES_MAX);
		config_value(&text, c, (enum config_option_id)i);
		if (text.err != 0)
			out->err = text.err;
		buf_varint(out, c->line[i]);
		buf_blob(out, buf_slice(&text));
	}
}

int config_decode(struct slice bytes, struct config **out)
{
	struct reader r = reader_of(bytes);
	struct config *c;

	if (rd_varint(&r) != OPTION_COUNT || r.bad)
		return -EBADMSG;
	int err = config_new(&c);
	if (err != 0)
		return err;
	for (size_t i = 0; i < OPTION_COUNT && err == 0; i++) {
		c->line[i] = (uint32_t)rd_varint_max(&r, UINT32_MAX);
		struct slice text = rd_blob(&r);
		err = r.bad ? -EBADMSG : value_set_text(c, &config_options[i], text, NULL);
	}
	if (err == 0 && !rd_end(&r))
		err = -EBADMSG;
	if (err != 0) {
		config_free(c);
		return err == -ENOMEM ? err : -EBADMSG;
	}
	*out = c;
	return 0;
}

static int address_bytes(const struct sockaddr *addr, const uint8_t **bytes)
{
	if (addr->sa_family == AF_INET) {
		*bytes = (const uint8_t *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr;
		return AF_INET;
	}
	if (addr->sa_family != AF_INET6)
		return AF_UNSPEC;
	const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
	*bytes = a->s6_addr;
	if (!IN6_IS_ADDR_V4MAPPED(a))
		return AF_INET6;
	*bytes += 12;
	return AF_INET;
}

static bool in_network(const struct config_network *n, int family, const uint8_t *bytes)
{
	if (n->family != family)
		return false;
	size_t whole = n->bits / 8u, rest = n->bits % 8u;
	if (memcmp(n->addr, bytes, whole) != 0)
		return false;
	return rest == 0 || ((n->addr[whole] ^ bytes[whole]) & (0xffu << (8 - rest)) & 0xffu) == 0;
}

bool config_networks_have(const struct config_networks *n, const struct sockaddr *addr)
{
	const uint8_t *bytes = NULL;
	int family = address_bytes(addr, &bytes);

	for (size_t i = 0; family != AF_UNSPEC && i < n->count; i++) {
		if (in_network(&n->items[i], family, bytes))
			return true;
	}
	return false;
}

bool config_is_loopback(const struct sockaddr *addr)
{
	const uint8_t *bytes = NULL;
	int family = address_bytes(addr, &bytes);

	if (addr->sa_family == AF_UNIX)
		return true;
	if (family == AF_INET)
		return bytes[0] == 127;
	return family == AF_INET6 && memcmp(bytes, &in6addr_loopback, 16) == 0;
}
