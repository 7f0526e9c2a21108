/*
 * The configuration of a node: struct config, made from the rows of options.def.
 *
 * The supervisor reads the file and hands the result to the roles field by field
 * (config_encode); a role decodes it with the same strictness, as bytes of another process.
 * A struct config is constant once made; a reload makes a new one.
 */
#pragma once
#include <sys/socket.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/errmsg.h"

/* "127.0.0.1:25", "[::1]:25", "*:25" (IPv6 and IPv4), or the path of a unix socket. */
struct config_address {
	const char *path;		/* unix socket, else NULL */
	const char *text;		/* as configured */
	bool both_families;		/* "*": addr is [::]; IPv4 comes through it too */
	socklen_t len;			/* of addr; 0 for a unix socket */
	struct sockaddr_storage addr;
};

struct config_listen {
	const struct config_address *items;
	size_t count;
};

/* "192.0.2.0/24", "2001:db8::/32", or one address. */
struct config_network {
	int family;			/* AF_INET, AF_INET6 */
	uint8_t bits;			/* length of the prefix */
	uint8_t addr[16];		/* network byte order; bits after the prefix are 0 */
};

struct config_networks {
	const struct config_network *items;
	size_t count;
};

struct config_durations {
	const int64_t *items_us;
	size_t count;
};

struct config_paths {
	const char *const *items;
	size_t count;
};

typedef const char *config_text;	/* so that every kind is one token in the macros below */

#define CONFIG_TYPE_BOOL	bool
#define CONFIG_TYPE_INT		uint64_t
#define CONFIG_TYPE_SIZE	uint64_t
#define CONFIG_TYPE_DURATION	int64_t
#define CONFIG_TYPE_STRING	config_text	/* never NULL */
#define CONFIG_TYPE_HOST	config_text
#define CONFIG_TYPE_PATH	config_text
#define CONFIG_TYPE_ENUM	unsigned	/* index of the choice; log.* are enum event_format and event_level */
#define CONFIG_TYPE_LISTEN	struct config_listen
#define CONFIG_TYPE_NETWORKS	struct config_networks
#define CONFIG_TYPE_DURATIONS	struct config_durations
#define CONFIG_TYPE_PATHS	struct config_paths

enum config_kind {
	CONFIG_BOOL,
	CONFIG_INT,
	CONFIG_SIZE,
	CONFIG_DURATION,
	CONFIG_STRING,
	CONFIG_HOST,
	CONFIG_PATH,
	CONFIG_ENUM,
	CONFIG_LISTEN,
	CONFIG_NETWORKS,
	CONFIG_DURATIONS,
	CONFIG_PATHS,
};

/* OPTION_mail_message_bytes_max, ...: indices of config_options and of config.line. */
enum config_option_id {
#define OPTION(field, ...) OPTION_##field,
#include "conf/options.def"
#undef OPTION
	OPTION_COUNT
};

struct config {
	/* Line of the file that set the option; 0: the default, or set by config_set. */
	uint32_t line[OPTION_COUNT];
#define OPTION(field, kind, ...) CONFIG_TYPE_##kind field;
#include "conf/options.def"
#undef OPTION
	struct arena arena;		/* texts and lists */
};

struct config_option {
	const char *key;
	enum config_kind kind;
	const char *default_text;
	uint64_t least, most;
	const char *choices;		/* ENUM: "a|b"; INT: the unit */
	bool live;			/* a reload changes it */
	const char *doc;
	size_t offset;			/* of the field in struct config */
};

extern const struct config_option config_options[OPTION_COUNT];
/* The option with this key, or NULL. */
const struct config_option *config_option_find(struct slice key);
/* The key that somebody probably meant, or NULL. */
const char *config_option_suggest(struct slice key);
/* "size", "duration", ... and the range in words: "a size from 64 KiB to 2 GiB". */
void config_option_type(struct buf *out, const struct config_option *o);

/* All defaults; hostname is the system's. 0 or -ENOMEM. */
MUST_USE int config_new(struct config **out);
void config_free(struct config *c);

/*
 * Read the text of a file. On 0 *out is the configuration. -EINVAL: *errors has all errors, each
 * with "file:line:col: sentence", the source line and a caret. -ENOMEM. O(bytes).
 */
MUST_USE int config_parse(struct slice text, const char *file, struct config **out,
			  struct buf *errors);
/* Read a file, at most CONFIG_FILE_BYTES_MAX. As config_parse; other errors: it cannot be read (*errors says why). */
MUST_USE int config_load(const char *path, struct config **out, struct buf *errors);

/*
 * Set one option before the configuration is shared, as the file would (lists: items separated
 * by one blank). For the demo and tests. 0, -ENOENT no such key, -EINVAL, -ENOMEM.
 */
MUST_USE int config_set(struct config *c, const char *key, const char *value, struct errmsg *why);
/*
 * What concerns several options (tls.key needs tls.certificate ...), which config_parse has
 * looked at already: for what config_set made. 0 or -EINVAL and the first mistake.
 */
MUST_USE int config_check(const struct config *c, struct errmsg *why);

/*
 * A reload: options that only a start changes (config_option.live is false) get the values of
 * `running` again. The keys of those that differ are appended to *kept, separated by ", ". 0 or
 * -ENOMEM.
 */
MUST_USE int config_keep_fixed(struct config *c, const struct config *running, struct buf *kept);

/* The value as the file would say it; items of a list joined by one blank. */
void config_value(struct buf *out, const struct config *c, enum config_option_id id);
/* As one YAML value: strings quoted when needed, lists as "[a, b]". */
void config_value_yaml(struct buf *out, const struct config *c, enum config_option_id id);

/* For handing it to a role. */
void config_encode(const struct config *c, struct buf *out);
/* 0, -EBADMSG malformed, -ENOMEM. */
MUST_USE int config_decode(struct slice bytes, struct config **out);

/* addr is in one of the networks (IPv4-mapped IPv6 addresses count as IPv4). */
bool config_networks_have(const struct config_networks *n, const struct sockaddr *addr);
/* A loopback address of either family, or a unix socket. */
bool config_is_loopback(const struct sockaddr *addr);

/* Microseconds and bytes as people write them: "5 m", "50 MiB". */
void config_duration_text(struct buf *out, int64_t us);
void config_size_text(struct buf *out, uint64_t bytes);
/* And read; false: it is none. A time needs its unit, unless it is 0. */
MUST_USE bool config_duration_parse(struct slice text, uint64_t *us);
MUST_USE bool config_size_parse(struct slice text, uint64_t *bytes);
/* An address to listen on. False: it is none, or memory is short (a->err). */
MUST_USE bool config_address_parse(struct arena *a, struct slice text, struct config_address *out);

#define LIMITS_FILE "conf/limits.def"
#include "base/limits.h"
