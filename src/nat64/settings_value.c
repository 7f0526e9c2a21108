/* Single values of a translator's file. */
#include <errno.h>

#include "base/suggest.h"
#include "base/utf8.h"
#include "nat64/settings_read.h"
#include "nat64/words.h"

#define SHOW(s) SLICE_FMT(utf8_head((s), 80))

static void range_text(struct buf *out, const struct nat64_option *o)
{
	for (int i = 0; i < 2; i++) {
		uint64_t v = i == 0 ? o->least : o->most;
		buf_adds(out, i == 0 ? " from " : " to ");
		if (o->kind == NAT64_SIZE)
			config_size_text(out, v);
		else if (o->kind == NAT64_DURATION)
			config_duration_text(out, (int64_t)v);
		else
			buf_dec(out, v);
	}
}

void nat64_option_type(struct buf *out, const struct nat64_option *o)
{
	static const char *const plain[] = {
		[NAT64_BOOL] = "true or false",
		[NAT64_NAME] = "a name of at most 15 letters, digits and '-'",
		[NAT64_FILE] = "a path",
		[NAT64_TOS] = "copy, or a number from 0 to 255",
		[NAT64_ADDRESS4] = "auto, or an IPv4 address",
		[NAT64_ADDRESS6] = "auto, or an IPv6 address",
		[NAT64_ADDRESS] = "auto, or an address",
		[NAT64_INTERFACE] = "the name of an interface",
		[NAT64_INTERFACES] = "a list of interfaces: eth0, 'eth0 xdp', 'eth0 tc'",
		[NAT64_INTERFACE_LIST] = "a list of interfaces",
		[NAT64_PREF64] = "a list of translation prefixes (64:ff9b::/96), or in mode clat one of ra, dns, auto",
		[NAT64_POOL] = "a list of rows: '192.0.2.1', '192.0.2.8/29 1024-65535', '192.0.2.8-192.0.2.20 shared mark 7'",
		[NAT64_MAPPINGS] = "a list of mappings: '192.0.2.0/24 2001:db8:1::/120'",
		[NAT64_STATICS] = "a list of static mappings: 'tcp 192.0.2.1:80 [2001:db8::10]:8080'",
		[NAT64_NETWORKS] = "a list of prefixes of both families",
		[NAT64_NETWORKS4] = "a list of IPv4 prefixes",
		[NAT64_NETWORKS6] = "a list of IPv6 prefixes",
		[NAT64_LISTEN] = "a list of addresses (127.0.0.1:9164, [::1]:9164, *:9164) or absolute paths of unix sockets",
	};

	if (o->kind == NAT64_ENUM) {
		buf_printf(out, "one of %s", o->choices);
	} else if (o->kind == NAT64_INT) {
		buf_adds(out, "a number");
		range_text(out, o);
		buf_printf(out, " (%s)", o->choices);
	} else if (o->kind == NAT64_SIZE || o->kind == NAT64_DURATION) {
		buf_adds(out, o->kind == NAT64_SIZE ? "a size" : "a time");
		range_text(out, o);
	} else {
		buf_adds(out, plain[o->kind]);
	}
}

/* "'<value>' is not <type>", and the nearest of the words that it takes. */
static int wrong(struct errmsg *why, const struct nat64_option *o, struct slice got, const char *const *words)
{
	AUTO_BUF struct buf text = BUF_INIT(2000);
	struct suggestion near = { .word = got };
	AUTO_BUF struct buf choice_text = BUF_INIT(200);
	struct slice rest = slice_str(o->kind == NAT64_ENUM ? o->choices : ""), choice;

	nat64_option_type(&text, o);
	for (; words != NULL && *words != NULL; words++)
		suggest_try(&near, *words);
	while (rest.len > 0) {
		slice_cut(rest, '|', &choice, &rest);
		char word[32];
		const char *before = near.best;
		if (slice_to_str(choice, word, sizeof(word)))
			suggest_try(&near, word);
		if (near.best == word) {
			buf_reset(&choice_text);
			buf_adds(&choice_text, word);
			near.best = buf_cstr(&choice_text);	/* `word` ends with this round */
		} else {
			near.best = before;
		}
	}
	if (near.best != NULL)
		return errmsg_say(why, -EINVAL, "'%.*s' is not %s; did you mean '%s'?", SHOW(got), buf_cstr(&text), near.best);
	return errmsg_say(why, -EINVAL, "'%.*s' is not %s", SHOW(got), buf_cstr(&text));
}

static bool number(const struct nat64_option *o, struct slice s, uint64_t *out)
{
	struct slice choice, rest;

	switch (o->kind) {
	case NAT64_BOOL:
		*out = slice_eq(s, SLICE("true"));
		return *out == 1 || slice_eq(s, SLICE("false"));
	case NAT64_ENUM:
		rest = slice_str(o->choices);
		for (*out = 0; rest.len > 0; ++*out) {
			slice_cut(rest, '|', &choice, &rest);
			if (slice_eq(choice, s))
				return true;
		}
		return false;
	case NAT64_SIZE:
		return config_size_parse(s, out);
	case NAT64_DURATION:
		return config_duration_parse(s, out);
	default:
		return slice_u64(s, UINT64_MAX, out);
	}
}

uint64_t nat64_value_number(const struct nat64_option *o, struct slice text)
{
	uint64_t v = 0;

	return number(o, text, &v) ? v : 0;
}

static int check_number(const struct nat64_option *o, struct slice text, struct errmsg *why)
{
	static const char *const booleans[] = { "true", "false", NULL };
	uint64_t v;

	if (!number(o, text, &v)) {
		if (o->kind == NAT64_DURATION && slice_u64(text, UINT32_MAX, &v))
			return errmsg_say(why, -EINVAL, "'%.*s' has no unit: '%.*s s' is seconds, '%.*s m' minutes", SHOW(text), SHOW(text), SHOW(text));
		return wrong(why, o, text, o->kind == NAT64_BOOL ? booleans : NULL);
	}
	if (o->kind == NAT64_BOOL || o->kind == NAT64_ENUM || (v >= o->least && v <= o->most))
		return 0;
	if (o->kind == NAT64_DURATION && v < o->least && o->choices[0] != '\0') {
		AUTO_BUF struct buf least = BUF_INIT(64);
		config_duration_text(&least, (int64_t)o->least);
		return errmsg_say(why, -EINVAL, "'%.*s' is too short: %s asks for at least %s", SHOW(text), o->choices, buf_cstr(&least));
	}
	return wrong(why, o, text, NULL);
}

static bool name_ok(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!ascii_alpha(s.ptr[i]) && !ascii_digit(s.ptr[i]) && (s.ptr[i] != '-' || i == 0))
			return false;
	}
	return s.len > 0 && s.len < NAT64_NAME_BYTES;
}

/* As the kernel: no blank, no '/', not "." or "..", no ':'. */
static bool interface_ok(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || s.ptr[i] == '/' || s.ptr[i] == ':')
			return false;
	}
	return s.len > 0 && s.len < IFNAMSIZ && !slice_eq(s, SLICE(".")) && !slice_eq(s, SLICE(".."));
}

int nat64_value_interface(struct slice text, struct nat64_interface *out, struct errmsg *why)
{
	static const char *const ways[] = { "auto", "xdp", "tc" };
	struct slice rest = text, name = words_next(&rest), how = words_next(&rest);
	struct suggestion near = { .word = how };
	struct nat64_interface i = { 0 };

	if (!interface_ok(name) || !slice_to_str(name, i.name, sizeof(i.name)))
		return errmsg_say(why, -EINVAL, "'%.*s' is not the name of an interface (at most 15 bytes); 'ip link' lists them", SHOW(name));
	for (unsigned k = 0; k < ARRAY_LEN(ways); k++) {
		suggest_try(&near, ways[k]);
		if (slice_eq(how, slice_str(ways[k]))) {
			i.attach = (enum nat64_attach)k;
			near.best_distance = 0;
			how = (struct slice){ 0 };
			break;
		}
	}
	if (how.len > 0)
		return errmsg_say(why, -EINVAL, "'%.*s': after the interface comes xdp, tc or auto, not '%.*s'%s%s%s", SHOW(text), SHOW(how),
				  near.best == NULL ? "" : "; did you mean '", near.best == NULL ? "" : near.best, near.best == NULL ? "" : "'?");
	if (slice_trim(rest).len > 0)
		return errmsg_say(why, -EINVAL, "'%.*s' is more than one interface: each is an item of the list", SHOW(text));
	*out = i;
	return 0;
}

static int check_pref64(const struct nat64_option *o, struct slice text, struct errmsg *why)
{
	static const char *const words[] = { "ra", "dns", "auto", NULL };
	struct xlat_prefix prefix;

	for (size_t i = 0; words[i] != NULL; i++) {
		if (slice_eq(text, slice_str(words[i])))
			return 0;
	}
	return slice_find_byte(text, ':') == SLICE_NPOS ? wrong(why, o, text, words) : words_pref64(text, &prefix, why);
}

static int check_listen(const struct nat64_option *o, struct slice text, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(4096);
	struct config_address address;

	return config_address_parse(&arena, text, &address) ? 0 : wrong(why, o, text, NULL);
}

static int check_address(const struct nat64_option *o, struct slice text, struct errmsg *why)
{
	__be32 addr[4];

	if (slice_eq(text, SLICE("auto")))
		return 0;
	return words_address(text, o->kind == NAT64_ADDRESS4 ? 4 : o->kind == NAT64_ADDRESS6 ? 6 : 0, addr, NULL, NULL) == 0 ?
	       0 : wrong(why, o, text, NULL);
}

int nat64_value_check(const struct nat64_option *o, struct slice text, struct errmsg *why)
{
	struct nat64_interface interface;
	struct words_net net;
	struct xlat_pool pool;
	struct xlat_eam eam;
	struct xlat_bib bib;
	bool ports;
	uint64_t v;

	switch ((enum nat64_kind)o->kind) {
	case NAT64_BOOL:
	case NAT64_INT:
	case NAT64_SIZE:
	case NAT64_DURATION:
	case NAT64_ENUM:
		return check_number(o, text, why);
	case NAT64_NAME:
		return name_ok(text) ? 0 : wrong(why, o, text, NULL);
	case NAT64_FILE:
		return text.len <= o->most && slice_find_byte(text, '\0') == SLICE_NPOS ? 0 : wrong(why, o, text, NULL);
	case NAT64_TOS:
		return slice_eq(text, SLICE("copy")) || (slice_u64(text, 255, &v)) ? 0 : wrong(why, o, text, NULL);
	case NAT64_ADDRESS4:
	case NAT64_ADDRESS6:
	case NAT64_ADDRESS:
		return check_address(o, text, why);
	case NAT64_INTERFACE:
	case NAT64_INTERFACE_LIST:
		return interface_ok(text) ? 0 : nat64_value_interface(text, &interface, why) != 0 ? -EINVAL : wrong(why, o, text, NULL);
	case NAT64_INTERFACES:
		return nat64_value_interface(text, &interface, why);
	case NAT64_PREF64:
		return check_pref64(o, text, why);
	case NAT64_POOL:
		return words_pool(text, &pool, &ports, why);
	case NAT64_MAPPINGS:
		return words_mapping(text, &eam, why);
	case NAT64_STATICS:
		return words_static(text, &bib, why);
	case NAT64_NETWORKS:
		return words_net(text, 0, &net, why);
	case NAT64_NETWORKS4:
		return words_net(text, 4, &net, why);
	case NAT64_NETWORKS6:
		return words_net(text, 6, &net, why);
	case NAT64_LISTEN:
		return check_listen(o, text, why);
	}
	return -EINVAL;
}
