/*
 * The settings of one translator, as its file says them: YAML by our option tables (settings.def), all errors at once, with file, line,
 * column and what was meant. And their compilation into what packets need (struct xlat_config, explicit mappings).
 *
 * The file is the truth: `prickle nat64 apply` reads it again, and what runs is replaced at once or not at all.
 */
#pragma once
#include <net/if.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"
#include "conf/config.h"
#include "nat64/core/state.h"
#include "nat64/nat64_limits.h"

#define NAT64_NAME_BYTES 16		/* of an instance: letters, digits, '-'; with its NUL */

/* NAT64_OPTION_pool4, ...: rows of settings.def. */
enum nat64_option_id {
#define OPTION(field, ...) NAT64_OPTION_##field,
#include "nat64/settings.def"
#undef OPTION
	NAT64_OPTION_COUNT
};

/* What an option has: its items as texts, one unless it is a list. */
struct nat64_value {
	struct nat64_item { struct slice text; uint32_t line, column, width; /* from 1; 0: a default */ } *items;
	size_t count;
};

/* In xlat_eam.row: the line is one of mappings-file. */
#define NAT64_ROW_FILE 0x80000000u

enum nat64_attach { NAT64_ATTACH_AUTO, NAT64_ATTACH_XDP, NAT64_ATTACH_TC };
enum nat64_pref64_source { NAT64_PREF64_FIXED, NAT64_PREF64_RA, NAT64_PREF64_DNS, NAT64_PREF64_AUTO };

struct nat64_interface {
	char name[IFNAMSIZ];
	enum nat64_attach attach;
	uint32_t line;			/* of the file */
};

/* What the kernel's tables can hold: fixed when the instance is made; a change needs a restart of the instance. */
struct nat64_sizes { uint32_t sessions, mappings, subscribers, fragments, nexthops, pool_addresses; };

struct nat64_settings {
	char name[NAT64_NAME_BYTES];
	const char *path;		/* of the file, for messages */
	struct nat64_interface *interfaces;
	size_t interface_count;
	bool host_traffic;		/* the host's own packets are translated as well (CLAT: default) */
	struct nat64_sizes sizes;
	struct xlat_config config;	/* all that does not depend on the host; serial and key are the control program's to set */
	struct xlat_eam *eams;		/* with clat.address6 fixed also that of the host's own traffic */
	size_t eam_count;
	struct xlat_bib *bibs;		/* static mappings of the file; key, addr4, port4 */
	size_t bib_count;
	enum nat64_pref64_source pref64_source;	/* CLAT: how it learns its prefix */
	const char *pref64_dns_server;	/* RFC 7050: "" for the system's */
	/* Router advertisements with the PREF64 option (RFC 8781), for interfaces named here. preference: RFC 4191's two bits. */
	struct nat64_announce { char interface[IFNAMSIZ]; uint32_t lifetime_s; uint32_t interval_s; uint8_t preference; } *announce;
	size_t announce_count;
	/* CLAT: the IPv4 address of the host's own traffic (192.0.0.1, RFC 7335), its IPv6 address: fixed, or made from the uplink's prefix. */
	char uplink[IFNAMSIZ];
	__be32 clat4;
	__be32 clat6[4];
	bool clat6_from_uplink;
	enum { NAT64_LOG_NONE, NAT64_LOG_BLOCKS, NAT64_LOG_MAPPINGS, NAT64_LOG_SESSIONS } log;
	enum { NAT64_LOG_TEXT, NAT64_LOG_JSON, NAT64_LOG_JOURNALD } log_format;	/* as enum event_format */
	uint32_t slow_datagrams_max, fragment_ms;
	uint64_t slow_bytes_max;
	struct config_listen metrics;	/* where OpenMetrics are served by `run`; empty: nowhere */
	struct slice text;		/* the file's */
	struct arena *arena;
	/* For people. */
	struct nat64_value value[NAT64_OPTION_COUNT];
	uint32_t line[NAT64_OPTION_COUNT];	/* where the file sets it; 0: the default */
	struct slice notes;		/* what is allowed but should be known, a line each */
};

/*
 * Read the text of a file. 0: *out lives in arena. -EINVAL: *errors has all errors, as config_parse gives them, and each names a next
 * step where there is one. -ENOMEM. Pure: looks at no interface and opens no mappings-file (its mappings are missing from eams).
 * O(bytes + mappings log mappings).
 */
MUST_USE int nat64_settings_parse(struct arena *arena, struct slice text, const char *file, struct nat64_settings **out, struct buf *errors);
/* The file, and the mappings-file that it names. Other negative errno: it cannot be read (*errors says why). */
MUST_USE int nat64_settings_load(struct arena *arena, const char *path, struct nat64_settings **out, struct buf *errors);
/* Against this host (network namespace of the caller): do the interfaces exist? 0, or -EINVAL with lines in errors. */
MUST_USE int nat64_settings_host(const struct nat64_settings *s, struct buf *errors);
/* As the file would say it, with all defaults: `prickle nat64 check --show`, `show`. And as JSON (one object, no newline). */
void nat64_settings_yaml(const struct nat64_settings *s, struct buf *out);
void nat64_settings_json(const struct nat64_settings *s, struct buf *out);

struct nat64_option {
	const char *key, *default_text;
	uint64_t least, most;
	const char *choices;
	bool live;
	const char *doc;
	unsigned kind;			/* enum of settings.c */
};
extern const struct nat64_option nat64_options[NAT64_OPTION_COUNT];
/* Does the option mean something in this mode? */
bool nat64_option_serves(enum nat64_option_id id, unsigned mode);
/* "a time from 2 m to 1 d", "a list of ..." */
void nat64_option_type(struct buf *out, const struct nat64_option *o);
/* Rows of the option table, for docs and manual: a table in Markdown. */
void nat64_settings_reference(struct buf *out);
