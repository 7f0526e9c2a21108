#include "conf/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/must.h"
#include "base/utf8.h"

#define FIELD(c, o, type) ((type *)(void *)((char *)(c) + (o)->offset))
#define CFIELD(c, o, type) ((const type *)(const void *)((const char *)(c) + (o)->offset))

static const struct unit {
	const char *name;
	uint64_t factor;
} size_units[] = {
	{ "TiB", UINT64_C(1) << 40 }, { "GiB", 1u << 30 }, { "MiB", 1u << 20 }, { "KiB", 1u << 10 },
	{ "bytes", 1 }, { "B", 1 },
}, duration_units[] = {
	{ "d", UINT64_C(86400000000) }, { "h", UINT64_C(3600000000) }, { "m", 60000000 },
	{ "s", 1000000 }, { "ms", 1000 }, { "us", 1 },
};

/* "<digits> <unit>" with or without the blank; a number alone is in `bare` units, 0 forbids it. */
static bool with_unit(struct slice s, const struct unit *units, size_t count, uint64_t bare,
		      uint64_t *out)
{
	size_t digits = 0;
	uint64_t n, factor = 0;

	while (digits < s.len && ascii_digit(s.ptr[digits]))
		digits++;
	if (!slice_u64(slice_head(s, digits), UINT64_MAX, &n))
		return false;
	struct slice name = slice_trim(slice_from(s, digits));
	if (name.len == 0)
		factor = n == 0 ? 1 : bare;
	for (size_t i = 0; i < count; i++) {
		if (slice_eq(name, slice_str(units[i].name)))
			factor = units[i].factor;
	}
	return factor != 0 && !__builtin_mul_overflow(n, factor, out);
}

static void unit_text(struct buf *out, uint64_t v, const struct unit *units, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (v >= units[i].factor && v % units[i].factor == 0) {
			buf_dec(out, v / units[i].factor);
			if (units[i].factor > 1 || units != size_units)
				buf_printf(out, " %s", units[i].name);
			return;
		}
	}
	buf_adds(out, "0");
}

bool config_duration_parse(struct slice text, uint64_t *us)
{
	return with_unit(text, duration_units, ARRAY_LEN(duration_units), 0, us);
}

bool config_size_parse(struct slice text, uint64_t *bytes)
{
	return with_unit(text, size_units, ARRAY_LEN(size_units), 1, bytes);
}

void config_duration_text(struct buf *out, int64_t us)
{
	unit_text(out, (uint64_t)us, duration_units, ARRAY_LEN(duration_units));
}

void config_size_text(struct buf *out, uint64_t bytes)
{
	unit_text(out, bytes, size_units, ARRAY_LEN(size_units));
}

static void range_text(struct buf *out, const struct config_option *o)
{
	bool size = o->kind == CONFIG_SIZE, duration = o->kind == CONFIG_DURATION || o->kind == CONFIG_DURATIONS;

	for (int i = 0; i < 2; i++) {
		uint64_t v = i == 0 ? o->least : o->most;
		buf_adds(out, i == 0 ? "from " : " to ");
		if (size)
			config_size_text(out, v);
		else if (duration)
			config_duration_text(out, (int64_t)v);
		else
			buf_dec(out, v);
	}
}

void config_option_type(struct buf *out, const struct config_option *o)
{
	switch (o->kind) {
	case CONFIG_BOOL:
		buf_adds(out, "true or false");
		return;
	case CONFIG_INT:
		buf_adds(out, "a number ");
		range_text(out, o);
		if (o->choices[0] != '\0')
			buf_printf(out, " (%s)", o->choices);
		return;
	case CONFIG_SIZE:
		buf_adds(out, "a size ");
		range_text(out, o);
		return;
	case CONFIG_DURATION:
		buf_adds(out, "a time ");
		range_text(out, o);
		return;
	case CONFIG_DURATIONS:
		buf_adds(out, "a list of times ");
		range_text(out, o);
		return;
	case CONFIG_STRING:
		buf_printf(out, "a text of at most %llu bytes", (unsigned long long)o->most);
		return;
	case CONFIG_HOST:
		buf_adds(out, "a host name");
		return;
	case CONFIG_PATH:
		buf_adds(out, "an absolute path");
		return;
	case CONFIG_ENUM:
		buf_adds(out, "one of ");
		buf_adds(out, o->choices);
		return;
	case CONFIG_LISTEN:
		buf_adds(out, "a list of addresses (127.0.0.1:25, [::1]:25, *:25) or absolute paths of unix sockets");
		return;
	case CONFIG_NETWORKS:
		buf_adds(out, "a list of networks (192.0.2.0/24, 2001:db8::/32)");
		return;
	case CONFIG_PATHS:
		buf_adds(out, "a list of absolute paths without blanks");
		return;
	}
}

/* "'<value>' is not <type>". */
static int wrong(struct errmsg *why, const struct config_option *o, struct slice got)
{
	AUTO_BUF struct buf text = BUF_INIT(2000);
	struct slice shown = utf8_head(got, 80);

	config_option_type(&text, o);
	return errmsg_say(why, -EINVAL, "'%.*s' is not %s", SLICE_FMT(shown), buf_cstr(&text));
}

static bool number(const struct config_option *o, struct slice s, uint64_t *out)
{
	bool ok;

	if (o->kind == CONFIG_INT)
		ok = slice_u64(s, UINT64_MAX, out);
	else if (o->kind == CONFIG_SIZE)
		ok = config_size_parse(s, out);
	else
		ok = config_duration_parse(s, out);
	return ok && *out >= o->least && *out <= o->most;
}

/* RFC 1123 §2.1: labels of letters, digits and inner hyphens; empty stands for the default. */
static bool host_ok(struct slice s)
{
	struct slice label, rest = s;

	while (rest.len > 0) {
		slice_cut(rest, '.', &label, &rest);
		if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
			return false;
		for (size_t i = 0; i < label.len; i++) {
			if (!ascii_alpha(label.ptr[i]) && !ascii_digit(label.ptr[i]) && label.ptr[i] != '-')
				return false;
		}
	}
	return s.len == 0 || s.ptr[s.len - 1] != '.';
}

static bool text_ok(const struct config_option *o, struct slice s)
{
	if (s.len < o->least || s.len > o->most || s.len > CONFIG_STRING_BYTES_MAX || !utf8_valid(s))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
			return false;
	}
	if (o->kind == CONFIG_HOST)
		return host_ok(s);
	if (o->kind == CONFIG_PATHS)	/* blanks separate items */
		return s.len > 0 && s.ptr[0] == '/' && slice_find_byte(s, ' ') == SLICE_NPOS;
	return o->kind != CONFIG_PATH || s.len == 0 || s.ptr[0] == '/';
}

static int set_text(struct config *c, const struct config_option *o, struct slice s, struct errmsg *why)
{
	if (!text_ok(o, s))
		return wrong(why, o, s);
	char *text = arena_str(&c->arena, s);
	if (text == NULL)
		return errmsg_say(why, -ENOMEM, "out of memory");
	*FIELD(c, o, config_text) = text;
	return 0;
}

static int set_enum(struct config *c, const struct config_option *o, struct slice s, struct errmsg *why)
{
	struct slice choice, rest = slice_str(o->choices);

	for (unsigned i = 0; rest.len > 0; i++) {
		slice_cut(rest, '|', &choice, &rest);
		if (slice_eq(choice, s)) {
			*FIELD(c, o, unsigned) = i;
			return 0;
		}
	}
	return wrong(why, o, s);
}

static bool inet_port(struct slice s, uint16_t *out)
{
	uint64_t port;

	if (!slice_u64(s, UINT16_MAX, &port) || port == 0)
		return false;
	*out = htons((uint16_t)port);
	return true;
}

bool config_address_parse(struct arena *a, struct slice s, struct config_address *out)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&out->addr;
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&out->addr;
	char host[64];

	*out = (struct config_address){ .text = arena_str(a, s) };
	if (out->text == NULL)
		return false;
	if (slice_starts(s, SLICE("/"))) {
		out->path = out->text;
		return s.len < sizeof(((struct sockaddr_un *)NULL)->sun_path) &&
		       slice_find_byte(s, '\0') == SLICE_NPOS &&
		       slice_find_byte(s, ' ') == SLICE_NPOS;	/* blanks separate items */
	}
	size_t colon = slice_rfind_byte(s, ':');
	uint16_t port;
	if (colon == SLICE_NPOS || !inet_port(slice_from(s, colon + 1), &port))
		return false;
	struct slice name = slice_head(s, colon);
	if (slice_eq(name, SLICE("*"))) {
		*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = port };
		out->len = sizeof(*in6);
		out->both_families = true;
		return true;
	}
	if (slice_starts(name, SLICE("[")) && slice_ends(name, SLICE("]"))) {
		*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = port };
		out->len = sizeof(*in6);
		return slice_to_str(slice_sub(name, 1, name.len - 1), host, sizeof(host)) &&
		       inet_pton(AF_INET6, host, &in6->sin6_addr) == 1;
	}
	*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port };
	out->len = sizeof(*in);
	return slice_to_str(name, host, sizeof(host)) && inet_pton(AF_INET, host, &in->sin_addr) == 1;
}

static bool parse_network(struct slice s, struct config_network *out)
{
	struct slice name, bits;
	char host[64];
	bool has_bits = slice_cut(s, '/', &name, &bits);
	uint64_t n;

	*out = (struct config_network){ .family = AF_INET };
	if (!slice_to_str(name, host, sizeof(host)))
		return false;
	if (slice_find_byte(name, ':') != SLICE_NPOS)
		out->family = AF_INET6;
	uint64_t most = out->family == AF_INET ? 32 : 128;
	if (inet_pton(out->family, host, out->addr) != 1)
		return false;
	n = most;
	if (has_bits && !slice_u64(bits, most, &n))
		return false;
	out->bits = (uint8_t)n;
	for (uint64_t bit = n; bit < most; bit++) {	/* "192.0.2.1/24" is a slip: say so */
		if ((out->addr[bit / 8] & (0x80u >> (bit % 8))) != 0)
			return false;
	}
	return true;
}

static int set_list(struct config *c, const struct config_option *o, const struct slice *items,
		    size_t count, struct errmsg *why)
{
	struct config_address *addresses = NULL;
	struct config_network *networks = NULL;
	int64_t *durations = NULL;
	const char **paths = NULL;

	if (count > CONFIG_LIST_MAX)
		return errmsg_say(why, -EINVAL, "a list holds at most %d items", CONFIG_LIST_MAX);
	if (o->kind == CONFIG_LISTEN)
		addresses = arena_array(&c->arena, count, sizeof(*addresses));
	else if (o->kind == CONFIG_NETWORKS)
		networks = arena_array(&c->arena, count, sizeof(*networks));
	else if (o->kind == CONFIG_PATHS)
		paths = arena_array(&c->arena, count, sizeof(*paths));
	else
		durations = arena_array(&c->arena, count, sizeof(*durations));
	for (size_t i = 0; i < count && c->arena.err == 0; i++) {
		uint64_t us = 0;
		bool ok = false;
		if (addresses != NULL) {
			ok = config_address_parse(&c->arena, items[i], &addresses[i]);
		} else if (networks != NULL) {
			ok = parse_network(items[i], &networks[i]);
		} else if (paths != NULL) {
			ok = text_ok(o, items[i]);
			paths[i] = ok ? arena_str(&c->arena, items[i]) : NULL;
		} else if (durations != NULL) {
			ok = number(o, items[i], &us);
			durations[i] = (int64_t)us;
		}
		if (!ok && c->arena.err == 0)
			return wrong(why, o, items[i]);
	}
	if (c->arena.err != 0)
		return errmsg_say(why, -ENOMEM, "out of memory");
	if (addresses != NULL)
		*FIELD(c, o, struct config_listen) = (struct config_listen){ addresses, count };
	else if (networks != NULL)
		*FIELD(c, o, struct config_networks) = (struct config_networks){ networks, count };
	else if (paths != NULL)
		*FIELD(c, o, struct config_paths) = (struct config_paths){ paths, count };
	else
		*FIELD(c, o, struct config_durations) = (struct config_durations){ durations, count };
	return 0;
}

int value_set(struct config *c, const struct config_option *o, const struct slice *items,
	      size_t count, struct errmsg *why)
{
	uint64_t v;

	if (value_is_list(o))
		return set_list(c, o, items, count, why);
	if (count != 1)
		return errmsg_say(why, -EINVAL, "'%s' takes one value, not a list", o->key);
	switch (o->kind) {
	case CONFIG_BOOL:
		if (!slice_eq(items[0], SLICE("true")) && !slice_eq(items[0], SLICE("false")))
			return wrong(why, o, items[0]);
		*FIELD(c, o, bool) = items[0].ptr[0] == 't';
		return 0;
	case CONFIG_INT:
	case CONFIG_SIZE:
		if (!number(o, items[0], &v))
			return wrong(why, o, items[0]);
		*FIELD(c, o, uint64_t) = v;
		return 0;
	case CONFIG_DURATION:
		if (!number(o, items[0], &v))
			return wrong(why, o, items[0]);
		*FIELD(c, o, int64_t) = (int64_t)v;
		return 0;
	case CONFIG_ENUM:
		return set_enum(c, o, items[0], why);
	default:
		return set_text(c, o, items[0], why);
	}
}

int value_set_text(struct config *c, const struct config_option *o, struct slice text,
		   struct errmsg *why)
{
	struct slice items[CONFIG_LIST_MAX + 1];
	size_t count = 0;

	if (!value_is_list(o))
		return value_set(c, o, &text, 1, why);
	while (text.len > 0 && count < ARRAY_LEN(items)) {
		slice_cut(text, ' ', &items[count], &text);
		count += items[count].len > 0;
	}
	return value_set(c, o, items, count, why);
}

size_t value_count(const struct config *c, const struct config_option *o)
{
	switch (o->kind) {
	case CONFIG_LISTEN:
		return CFIELD(c, o, struct config_listen)->count;
	case CONFIG_NETWORKS:
		return CFIELD(c, o, struct config_networks)->count;
	case CONFIG_DURATIONS:
		return CFIELD(c, o, struct config_durations)->count;
	case CONFIG_PATHS:
		return CFIELD(c, o, struct config_paths)->count;
	default:
		return 1;
	}
}

static void enum_text(struct buf *out, const struct config_option *o, unsigned index)
{
	struct slice choice = { 0 }, rest = slice_str(o->choices);

	for (unsigned i = 0; i <= index; i++)
		slice_cut(rest, '|', &choice, &rest);
	buf_add(out, choice);
}

static void network_text(struct buf *out, const struct config_network *n)
{
	char text[INET6_ADDRSTRLEN];

	must(inet_ntop(n->family, n->addr, text, sizeof(text)) != NULL);
	buf_printf(out, "%s/%u", text, n->bits);
}

/* "30s": in a list the blank separates items. */
static void short_duration(struct buf *out, int64_t us)
{
	AUTO_BUF struct buf text = BUF_INIT(64);
	struct slice n, unit;

	config_duration_text(&text, us);
	slice_cut(buf_slice(&text), ' ', &n, &unit);
	buf_add(out, n);
	buf_add(out, unit);
}

void value_item(struct buf *out, const struct config *c, const struct config_option *o, size_t index)
{
	switch (o->kind) {
	case CONFIG_BOOL:
		buf_adds(out, *CFIELD(c, o, bool) ? "true" : "false");
		return;
	case CONFIG_INT:
		buf_dec(out, *CFIELD(c, o, uint64_t));
		return;
	case CONFIG_SIZE:
		config_size_text(out, *CFIELD(c, o, uint64_t));
		return;
	case CONFIG_DURATION:
		config_duration_text(out, *CFIELD(c, o, int64_t));
		return;
	case CONFIG_STRING:
	case CONFIG_HOST:
	case CONFIG_PATH:
		buf_adds(out, *CFIELD(c, o, config_text));
		return;
	case CONFIG_ENUM:
		enum_text(out, o, *CFIELD(c, o, unsigned));
		return;
	case CONFIG_LISTEN:
		buf_adds(out, CFIELD(c, o, struct config_listen)->items[index].text);
		return;
	case CONFIG_NETWORKS:
		network_text(out, &CFIELD(c, o, struct config_networks)->items[index]);
		return;
	case CONFIG_DURATIONS:
		short_duration(out, CFIELD(c, o, struct config_durations)->items_us[index]);
		return;
	case CONFIG_PATHS:
		buf_adds(out, CFIELD(c, o, struct config_paths)->items[index]);
		return;
	}
}

void config_value(struct buf *out, const struct config *c, enum config_option_id id)
{
	const struct config_option *o = &config_options[id];

	for (size_t i = 0; i < value_count(c, o); i++) {
		if (i > 0)
			buf_addc(out, ' ');
		value_item(out, c, o, i);
	}
}

void config_value_yaml(struct buf *out, const struct config *c, enum config_option_id id)
{
	const struct config_option *o = &config_options[id];
	bool list = value_is_list(o);
	bool quoted = list || o->kind == CONFIG_STRING || o->kind == CONFIG_HOST || o->kind == CONFIG_PATH;

	if (list)
		buf_addc(out, '[');
	for (size_t i = 0; i < value_count(c, o); i++) {
		AUTO_BUF struct buf item = BUF_INIT(2 * CONFIG_STRING_BYTES_MAX);
		value_item(&item, c, o, i);
		if (i > 0)
			buf_adds(out, ", ");
		if (quoted)
			buf_addc(out, '"');
		for (size_t at = 0; at < item.len; at++) {
			if (item.ptr[at] == '"' || item.ptr[at] == '\\')
				buf_addc(out, '\\');
			buf_addc(out, item.ptr[at]);
		}
		if (quoted)
			buf_addc(out, '"');
	}
	if (list)
		buf_addc(out, ']');
}

/* --- options together ------------------------------------------------------------------------ */

struct checker {
	void (*complain)(void *arg, const struct config_option *at, const char *sentence);
	void *arg;
	size_t count;
};

static void complain(struct checker *k, enum config_option_id at, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void complain(struct checker *k, enum config_option_id at, const char *fmt, ...)
{
	char sentence[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	k->count++;
	k->complain(k->arg, &config_options[at], sentence);
}

static bool all_local(const struct config_listen *l)
{
	for (size_t i = 0; i < l->count; i++) {
		if (l->items[i].path == NULL)
			return false;
	}
	return true;
}

static bool is_any(const struct config_address *a)
{
	if (a->addr.ss_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)&a->addr)->sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)(const void *)&a->addr)->sin6_addr);
}

/* Would the second be refused as in use? Both families have the port at the same place. */
static bool collide(const struct config_address *a, const struct config_address *b)
{
	const struct sockaddr_in *x = (const void *)&a->addr, *y = (const void *)&b->addr;

	if (a->path != NULL || b->path != NULL)
		return a->path != NULL && b->path != NULL && strcmp(a->path, b->path) == 0;
	if (x->sin_port != y->sin_port)
		return false;
	if (a->both_families || b->both_families)
		return true;
	return a->addr.ss_family == b->addr.ss_family &&
	       (is_any(a) || is_any(b) || memcmp(&a->addr, &b->addr, a->len) == 0);
}

/* The option of an address before number `index` of option `at` that takes the same place, or NULL. */
static const struct config_option *taken_by(const struct config *c, size_t at, size_t index)
{
	const struct config_address *mine = &CFIELD(c, &config_options[at], struct config_listen)->items[index];

	for (size_t i = 0; i <= at; i++) {
		const struct config_option *o = &config_options[i];
		if (o->kind != CONFIG_LISTEN)
			continue;
		const struct config_listen *l = CFIELD(c, o, struct config_listen);
		for (size_t k = 0; k < (i == at ? index : l->count); k++) {
			if (collide(&l->items[k], mine))
				return o;
		}
	}
	return NULL;
}

size_t value_check(const struct config *c,
		   void (*tell)(void *arg, const struct config_option *at, const char *sentence), void *arg)
{
	struct checker k = { .complain = tell, .arg = arg };

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		for (size_t n = 0; config_options[i].kind == CONFIG_LISTEN && n < value_count(c, &config_options[i]); n++) {
			const struct config_option *by = taken_by(c, i, n);
			if (by != NULL)
				complain(&k, (enum config_option_id)i, "'%s': %s is taken by '%s' already",
					 config_options[i].key,
					 CFIELD(c, &config_options[i], struct config_listen)->items[n].text, by->key);
		}
	}
	if ((c->tls_certificate[0] == '\0') != (c->tls_key[0] == '\0'))
		complain(&k, c->tls_key[0] == '\0' ? OPTION_tls_certificate : OPTION_tls_key,
			 "tls.certificate and tls.key belong together: set both or none");
	if (!all_local(&c->mail_listen_lmtp) && c->mail_lmtp_peers.count == 0)
		complain(&k, OPTION_mail_listen_lmtp, "mail.listen.lmtp names an address: "
			 "set mail.lmtp_peers to the networks that may deliver there");
	if (c->queue_retry.count == 0)
		complain(&k, OPTION_queue_retry, "queue.retry needs at least one waiting time");
	return k.count;
}
