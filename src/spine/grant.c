/*
 * Grants files: YAML read strictly (conf/yaml_in.h), one entry an extension.
 *
 * An entry stands alone: what it leaves out has the default of grant.h, not the value of "*". Whoever
 * reads one entry has read all that this extension may do.
 */
#include "spine/grant.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "conf/yaml_in.h"
#include "spine/spine_limits.h"

#define KEY_BYTES 32u

struct entry {
	char name[SPINE_NAME_BYTES];
	struct grant grant;
	size_t line;			/* from 1 */
	struct entry *next;
};

struct grants {
	const char *file;
	struct entry *entries;
	const struct entry *any;	/* "*" */
	struct grant fallback;
	uint8_t keys[GRANTS_KEYS_MAX][KEY_BYTES];
	size_t key_count;
};

struct parse {
	struct yaml_in y;
	struct arena *arena;
	struct grants *grants;
	size_t entry_count;
};

static const char *const no_names[] = { NULL };

static const struct grant defaults = {
	.verdicts = SPINE_ABORTED | SPINE_DROP | SPINE_PASS | SPINE_TX,
	.kfuncs = no_names,
	.instructions_max = GRANT_DEFAULT_INSTRUCTIONS,
	.memory_bytes_max = GRANT_DEFAULT_MEMORY_BYTES,
	.from = "defaults",
};

static struct grant default_grant(void)
{
	struct grant g = defaults;

	memcpy(g.helpers, inspect_default_helpers, sizeof(g.helpers));
	g.map_types = inspect_default_map_types;
	return g;
}

/* ---- words ---- */

struct word {
	const char *name;
	uint32_t value;
};

static const struct word verdict_words[] = {
	{ "aborted", SPINE_ABORTED }, { "drop", SPINE_DROP }, { "pass", SPINE_PASS },
	{ "tx", SPINE_TX }, { "redirect", SPINE_REDIRECT },
};

static const struct word map_type_words[] = {
	{ "hash", BPF_MAP_TYPE_HASH },
	{ "array", BPF_MAP_TYPE_ARRAY },
	{ "prog_array", BPF_MAP_TYPE_PROG_ARRAY },
	{ "perf_event_array", BPF_MAP_TYPE_PERF_EVENT_ARRAY },
	{ "percpu_hash", BPF_MAP_TYPE_PERCPU_HASH },
	{ "percpu_array", BPF_MAP_TYPE_PERCPU_ARRAY },
	{ "stack_trace", BPF_MAP_TYPE_STACK_TRACE },
	{ "cgroup_array", BPF_MAP_TYPE_CGROUP_ARRAY },
	{ "lru_hash", BPF_MAP_TYPE_LRU_HASH },
	{ "lru_percpu_hash", BPF_MAP_TYPE_LRU_PERCPU_HASH },
	{ "lpm_trie", BPF_MAP_TYPE_LPM_TRIE },
	{ "array_of_maps", BPF_MAP_TYPE_ARRAY_OF_MAPS },
	{ "hash_of_maps", BPF_MAP_TYPE_HASH_OF_MAPS },
	{ "devmap", BPF_MAP_TYPE_DEVMAP },
	{ "sockmap", BPF_MAP_TYPE_SOCKMAP },
	{ "cpumap", BPF_MAP_TYPE_CPUMAP },
	{ "xskmap", BPF_MAP_TYPE_XSKMAP },
	{ "sockhash", BPF_MAP_TYPE_SOCKHASH },
	{ "queue", BPF_MAP_TYPE_QUEUE },
	{ "stack", BPF_MAP_TYPE_STACK },
	{ "devmap_hash", BPF_MAP_TYPE_DEVMAP_HASH },
	{ "ringbuf", BPF_MAP_TYPE_RINGBUF },
	{ "bloom_filter", BPF_MAP_TYPE_BLOOM_FILTER },
	{ "user_ringbuf", BPF_MAP_TYPE_USER_RINGBUF },
	{ "arena", 33 },		/* BPF_MAP_TYPE_ARENA, since Linux 6.9 */
};

static const struct word *word_find(const struct word *words, size_t count, struct slice name)
{
	for (size_t i = 0; i < count; i++) {
		if (slice_eq(name, slice_str(words[i].name)))
			return &words[i];
	}
	return NULL;
}

/* "there is no X 'foo'; did you mean 'fob'?", or all words when none is near. */
static void unknown_word(struct yaml_in *y, const char *what, struct slice got, const struct word *words, size_t count)
{
	AUTO_BUF struct buf all = BUF_INIT(1024);
	struct suggestion near = { .word = got };
	struct slice shown = utf8_head(got, 80);

	for (size_t i = 0; i < count; i++) {
		suggest_try(&near, words[i].name);
		buf_printf(&all, "%s%s", i == 0 ? "" : ", ", words[i].name);
	}
	if (near.best != NULL)
		yaml_in_complain(y, "there is no %s '%.*s'; did you mean '%s'?", what, SLICE_FMT(shown), near.best);
	else
		yaml_in_complain(y, "there is no %s '%.*s'; there are %s", what, SLICE_FMT(shown), buf_cstr(&all));
}

/* ---- values ---- */

/* One item of a list; the current event is its scalar. Complains by itself. */
typedef void read_item(struct parse *p, void *to, struct slice item);

/* The current event is the value of `key`: a list of plain words. */
static void read_list(struct parse *p, const char *key, const char *example, read_item *item, void *to)
{
	size_t count = 0;

	if (!yaml_in_plain(&p->y) || p->y.event.type != YAML_SEQUENCE_START_EVENT) {
		if (p->y.event.type != YAML_ALIAS_EVENT)
			yaml_in_complain(&p->y, "'%s' is a list: %s: [%s]", key, key, example);
		yaml_in_skip(&p->y);
		return;
	}
	while (yaml_in_next(&p->y) && p->y.event.type != YAML_SEQUENCE_END_EVENT) {
		if (!yaml_in_plain(&p->y) || p->y.event.type != YAML_SCALAR_EVENT) {
			if (p->y.event.type != YAML_ALIAS_EVENT && p->y.event.type != YAML_SCALAR_EVENT)
				yaml_in_complain(&p->y, "'%s' is a list of plain words", key);
			yaml_in_skip(&p->y);
		} else if (yaml_in_scalar(&p->y).len > GRANT_WORD_BYTES_MAX) {
			yaml_in_complain(&p->y, "'%s': a word has at most %d bytes", key, GRANT_WORD_BYTES_MAX);
		} else if (count == GRANT_LIST_MAX) {
			yaml_in_complain(&p->y, "'%s' has more than %d items", key, GRANT_LIST_MAX);
			count++;
		} else if (count < GRANT_LIST_MAX) {
			item(p, to, yaml_in_scalar(&p->y));
			count++;
		}
	}
}

static void verdict_item(struct parse *p, void *to, struct slice item)
{
	uint32_t *set = to;
	const struct word *w = word_find(verdict_words, ARRAY_LEN(verdict_words), item);

	if (w == NULL)
		unknown_word(&p->y, "verdict", item, verdict_words, ARRAY_LEN(verdict_words));
	else
		*set |= w->value;
}

static void map_type_item(struct parse *p, void *to, struct slice item)
{
	uint64_t *set = to;
	const struct word *w = word_find(map_type_words, ARRAY_LEN(map_type_words), item);

	if (w == NULL)
		unknown_word(&p->y, "map type", item, map_type_words, ARRAY_LEN(map_type_words));
	else
		*set |= UINT64_C(1) << w->value;
}

static void helper_item(struct parse *p, void *to, struct slice item)
{
	uint64_t *set = to;
	struct suggestion near = { .word = item };
	struct slice bare = slice_starts(item, SLICE("bpf_")) ? slice_from(item, 4) : item;
	int id = inspect_helper_id(bare);

	if (id >= 0 && (size_t)id < INSPECT_HELPER_WORDS * 64) {
		set[id / 64] |= UINT64_C(1) << (id % 64);
		return;
	}
	for (int i = 0; i < (int)INSPECT_HELPER_WORDS * 64; i++) {
		const char *name = inspect_helper_name(i);
		if (name != NULL)
			suggest_try(&near, name);
	}
	struct slice shown = utf8_head(item, 80);
	if (near.best != NULL)
		yaml_in_complain(&p->y, "there is no helper '%.*s'; did you mean '%s'?", SLICE_FMT(shown), near.best);
	else
		yaml_in_complain(&p->y, "there is no helper '%.*s'; names are those of bpf-helpers(7) without 'bpf_'",
				 SLICE_FMT(shown));
}

static void port_item(struct parse *p, void *to, struct slice item)
{
	struct grant *g = to;
	bool good = item.len > 0 && item.len < IFNAMSIZ && !slice_eq(item, SLICE(".")) && !slice_eq(item, SLICE(".."));

	/* dev_valid_name() of the kernel: no '/', no ':', no blanks. */
	for (size_t i = 0; i < item.len && good; i++)
		good = item.ptr[i] > ' ' && item.ptr[i] != '/' && item.ptr[i] != ':' && item.ptr[i] != 0x7f;
	if (!good) {
		yaml_in_complain(&p->y, "'%.*s' is no name of an interface: 1 to %d bytes without blanks, '/' and ':'",
				 SLICE_FMT(utf8_head(item, 80)), IFNAMSIZ - 1);
		return;
	}
	if (g->port_count == GRANT_PORTS_MAX) {
		yaml_in_complain(&p->y, "more than %d ports", GRANT_PORTS_MAX);
		return;
	}
	for (size_t i = 0; i < g->port_count; i++) {
		if (slice_eq(item, slice_str(g->ports[i]))) {
			yaml_in_complain(&p->y, "port '%s' stands in this list already", g->ports[i]);
			return;
		}
	}
	memcpy(g->ports[g->port_count], item.ptr, item.len);
	g->ports[g->port_count++][item.len] = '\0';
}

struct names {
	const char *items[GRANT_LIST_MAX + 1];
	size_t count;
};

static void kfunc_item(struct parse *p, void *to, struct slice item)
{
	struct names *n = to;
	bool good = item.len > 0 && !ascii_digit(item.ptr[0]);

	for (size_t i = 0; i < item.len && good; i++)
		good = ascii_alpha(item.ptr[i]) || ascii_digit(item.ptr[i]) || item.ptr[i] == '_';
	if (!good) {
		yaml_in_complain(&p->y, "'%.*s' is no name of a kernel function", SLICE_FMT(utf8_head(item, 80)));
		return;
	}
	n->items[n->count] = arena_str(p->arena, item);
	if (n->items[n->count] == NULL)
		p->y.out_of_memory = true;
	else
		n->count++;
}

static void key_item(struct parse *p, void *to, struct slice item)
{
	struct grants *g = to;
	AUTO_BUF struct buf bytes = BUF_INIT(KEY_BYTES);

	if (item.len != 2 * (size_t)KEY_BYTES || !hex_decode(&bytes, item)) {
		yaml_in_complain(&p->y, "a key is %u hexadecimal digits, as 'prickle spine key show FILE' prints it",
				 2 * KEY_BYTES);
		return;
	}
	if (g->key_count == GRANTS_KEYS_MAX) {
		yaml_in_complain(&p->y, "more than %d keys", GRANTS_KEYS_MAX);
		return;
	}
	memcpy(g->keys[g->key_count++], bytes.ptr, KEY_BYTES);
}

/* The current event is one plain value; else says so and passes over it. */
static bool one_value(struct parse *p, const char *key)
{
	if (!yaml_in_plain(&p->y) || p->y.event.type != YAML_SCALAR_EVENT) {
		if (p->y.event.type == YAML_SEQUENCE_START_EVENT || p->y.event.type == YAML_MAPPING_START_EVENT)
			yaml_in_complain(&p->y, "'%s' takes one value", key);
		yaml_in_skip(&p->y);
		return false;
	}
	return true;
}

static void read_bool(struct parse *p, const char *key, bool *to)
{
	if (!one_value(p, key))
		return;
	struct slice s = yaml_in_scalar(&p->y);
	if (slice_eq(s, SLICE("true")) || slice_eq(s, SLICE("false")))
		*to = s.ptr[0] == 't';
	else
		yaml_in_complain(&p->y, "'%s' is true or false", key);
}

static void read_instructions(struct parse *p, const char *key, uint32_t *to)
{
	uint64_t n;

	if (!one_value(p, key))
		return;
	if (slice_u64(yaml_in_scalar(&p->y), GRANT_INSTRUCTIONS_MAX, &n) && n > 0)
		*to = (uint32_t)n;
	else
		yaml_in_complain(&p->y, "'%s' is a number from 1 to %d", key, GRANT_INSTRUCTIONS_MAX);
}

/* "20%", "2.5%": steps of a permille. */
static void read_share(struct parse *p, const char *key, uint32_t *to)
{
	struct slice whole, tenth;
	uint64_t n, t = 0;

	if (!one_value(p, key))
		return;
	struct slice s = yaml_in_scalar(&p->y);
	if (slice_ends(s, SLICE("%"))) {
		bool point = slice_cut(slice_trim(slice_head(s, s.len - 1)), '.', &whole, &tenth);
		if (slice_u64(whole, 100, &n) && (!point || slice_u64(tenth, 9, &t)) && n * 10 + t > 0 &&
		    n * 10 + t <= 1000) {
			*to = (uint32_t)(n * 10 + t);
			return;
		}
	}
	yaml_in_complain(&p->y, "'%s' is a share of each processor, from 0.1%% to 100%%", key);
}

static void read_memory(struct parse *p, const char *key, uint64_t *to)
{
	static const struct {
		const char *name;
		uint64_t factor;
	} units[] = { { "KiB", 1u << 10 }, { "MiB", 1u << 20 }, { "GiB", 1u << 30 } };
	uint64_t n, bytes = 0;
	size_t digits = 0;

	if (!one_value(p, key))
		return;
	struct slice s = yaml_in_scalar(&p->y);
	while (digits < s.len && ascii_digit(s.ptr[digits]))
		digits++;
	struct slice unit = slice_trim(slice_from(s, digits));
	if (slice_u64(slice_head(s, digits), GRANT_MEMORY_BYTES_MAX, &n)) {
		for (size_t i = 0; i < ARRAY_LEN(units); i++) {
			if (slice_eq(unit, slice_str(units[i].name)) &&
			    __builtin_mul_overflow(n, units[i].factor, &bytes))
				bytes = 0;
		}
	}
	if (bytes > 0 && bytes <= GRANT_MEMORY_BYTES_MAX)
		*to = bytes;
	else
		yaml_in_complain(&p->y, "'%s' is a size like '512 KiB' or '16 MiB', at most 1024 GiB", key);
}

static void read_names(struct parse *p, const char *key, const char *const **to)
{
	struct names n = { .count = 0 };

	read_list(p, key, "bpf_xdp_metadata_rx_hash", kfunc_item, &n);
	const char **items = arena_array(p->arena, n.count + 1, sizeof(*items));
	if (items == NULL) {
		p->y.out_of_memory = true;
		return;
	}
	memcpy(items, n.items, n.count * sizeof(*items));
	items[n.count] = NULL;
	*to = items;
}

/* ---- mappings ---- */

enum field { F_VERDICTS, F_PORTS, F_HELPERS, F_KFUNCS, F_MAP_TYPES, F_INSTRUCTIONS, F_CPU, F_MEMORY, F_TERMINAL,
	     F_UNBOUNDED, F_TAIL_CALLS };

static const struct word field_words[] = {
	{ "verdicts", F_VERDICTS }, { "ports", F_PORTS }, { "helpers", F_HELPERS }, { "kfuncs", F_KFUNCS },
	{ "map-types", F_MAP_TYPES }, { "instructions", F_INSTRUCTIONS }, { "cpu", F_CPU },
	{ "memory", F_MEMORY }, { "terminal", F_TERMINAL }, { "unbounded", F_UNBOUNDED },
	{ "tail-calls", F_TAIL_CALLS },
};

static void read_field(struct parse *p, const struct word *f, struct grant *g)
{
	switch ((enum field)f->value) {
	case F_VERDICTS:
		/* Whoever may fail says so by this verdict: it is counted as a fault, never refused. */
		g->verdicts = SPINE_ABORTED;
		read_list(p, f->name, "pass, drop", verdict_item, &g->verdicts);
		break;
	case F_PORTS:
		read_list(p, f->name, "eth1, eth2", port_item, g);
		break;
	case F_HELPERS:
		read_list(p, f->name, "fib_lookup", helper_item, g->helpers);
		break;
	case F_KFUNCS:
		read_names(p, f->name, &g->kfuncs);
		break;
	case F_MAP_TYPES:
		read_list(p, f->name, "xskmap", map_type_item, &g->map_types);
		break;
	case F_INSTRUCTIONS:
		read_instructions(p, f->name, &g->instructions_max);
		break;
	case F_CPU:
		read_share(p, f->name, &g->cpu_permille);
		break;
	case F_MEMORY:
		read_memory(p, f->name, &g->memory_bytes_max);
		break;
	case F_TERMINAL:
		read_bool(p, f->name, &g->terminal);
		break;
	case F_UNBOUNDED:
		read_bool(p, f->name, &g->unbounded);
		break;
	case F_TAIL_CALLS:
		read_bool(p, f->name, &g->tail_calls);
		break;
	}
}

/*
 * The next key of the mapping that we are in: its bytes (valid until the next event), or false at its
 * end. What is no word is said and passed over.
 */
static bool next_key(struct parse *p, struct slice *key)
{
	while (yaml_in_next(&p->y) && p->y.event.type != YAML_MAPPING_END_EVENT) {
		if (p->y.event.type == YAML_SCALAR_EVENT && yaml_in_plain(&p->y)) {
			*key = yaml_in_scalar(&p->y);
			return true;
		}
		if (p->y.event.type != YAML_SCALAR_EVENT && yaml_in_plain(&p->y))
			yaml_in_complain(&p->y, "a key must be a plain word");
		yaml_in_skip(&p->y);
		if (yaml_in_next(&p->y))
			yaml_in_skip(&p->y);
	}
	return false;
}

/* Pass over the value of the key that the current event is. */
static void skip_value(struct parse *p)
{
	if (yaml_in_next(&p->y))
		yaml_in_skip(&p->y);
}

/* The value of a key that opens a mapping: true when it did; nothing at all is an empty mapping. */
static bool open_mapping(struct parse *p, const char *key, const char *example)
{
	if (yaml_in_plain(&p->y) && p->y.event.type == YAML_MAPPING_START_EVENT)
		return true;
	if (p->y.event.type != YAML_ALIAS_EVENT && !yaml_in_empty(&p->y))
		yaml_in_complain(&p->y, "'%s' holds keys with values, like '%s'", key, example);
	yaml_in_skip(&p->y);
	return false;
}

/* An entry's grant; the current event is its value. */
static void read_grant(struct parse *p, const char *name, struct grant *g)
{
	size_t seen[ARRAY_LEN(field_words)] = { 0 };
	struct slice key;

	if (!open_mapping(p, name, "verdicts: [pass, drop]"))
		return;
	while (next_key(p, &key)) {
		const struct word *f = word_find(field_words, ARRAY_LEN(field_words), key);
		if (f == NULL) {
			unknown_word(&p->y, "grant", key, field_words, ARRAY_LEN(field_words));
			skip_value(p);
			continue;
		}
		size_t *line = &seen[f - field_words];
		if (*line != 0) {
			yaml_in_complain(&p->y, "'%s' stands in line %zu already", f->name, *line);
			skip_value(p);
			continue;
		}
		*line = p->y.event.start_mark.line + 1;
		if (!yaml_in_next(&p->y))
			return;
		read_field(p, f, g);
	}
}

static bool good_name(struct slice name)
{
	if (slice_eq(name, SLICE("*")))
		return true;
	if (name.len == 0 || name.len >= SPINE_NAME_BYTES || name.ptr[0] == '-')
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];
		if (!(c >= 'a' && c <= 'z') && !ascii_digit(c) && c != '-')
			return false;
	}
	return true;
}

/* A new entry, or NULL when the name is wrong, taken, or one too many (said). */
static struct entry *new_entry(struct parse *p, struct slice name)
{
	if (!good_name(name)) {
		yaml_in_complain(&p->y, "'%.*s' is no name of an extension: letters a-z, digits and '-', at most %d bytes; "
					"or \"*\" for those without an entry",
				 SLICE_FMT(utf8_head(name, 80)), SPINE_NAME_BYTES - 1);
		return NULL;
	}
	for (const struct entry *e = p->grants->entries; e != NULL; e = e->next) {
		if (slice_eq(name, slice_str(e->name))) {
			yaml_in_complain(&p->y, "'%s' stands in line %zu already", e->name, e->line);
			return NULL;
		}
	}
	if (p->entry_count == GRANTS_ENTRIES_MAX) {
		yaml_in_complain(&p->y, "more than %d entries", GRANTS_ENTRIES_MAX);
		return NULL;
	}
	struct entry *e = ARENA_NEW(p->arena, struct entry);
	char from[PATH_MAX + 32];
	size_t line = p->y.event.start_mark.line + 1;
	snprintf(from, sizeof(from), "%s:%zu", p->y.file, line);
	char *kept = arena_str(p->arena, slice_str(from));
	if (e == NULL || kept == NULL) {
		p->y.out_of_memory = true;
		return NULL;
	}
	memcpy(e->name, name.ptr, name.len);
	e->grant = default_grant();
	e->grant.from = kept;
	e->line = line;
	e->next = p->grants->entries;
	p->grants->entries = e;
	p->entry_count++;
	return e;
}

static void read_entries(struct parse *p)
{
	struct slice key;

	if (!open_mapping(p, "extensions", "router: { verdicts: [pass, drop] }"))
		return;
	while (next_key(p, &key)) {
		struct entry *e = new_entry(p, key);
		if (e == NULL) {
			skip_value(p);
			continue;
		}
		if (!yaml_in_next(&p->y))
			return;
		read_grant(p, e->name, &e->grant);
		if (e->name[0] == '*')
			p->grants->any = e;
	}
}

static void read_file(struct parse *p)
{
	static const struct word words[] = { { "keys", 0 }, { "extensions", 1 } };
	size_t seen[ARRAY_LEN(words)] = { 0 };
	struct slice key;

	if (!open_mapping(p, "a grants file", "extensions:"))
		return;
	while (next_key(p, &key)) {
		const struct word *w = word_find(words, ARRAY_LEN(words), key);
		if (w == NULL) {
			unknown_word(&p->y, "key", key, words, ARRAY_LEN(words));
			skip_value(p);
			continue;
		}
		size_t *line = &seen[w - words];
		if (*line != 0) {
			yaml_in_complain(&p->y, "'%s' stands in line %zu already", w->name, *line);
			skip_value(p);
			continue;
		}
		*line = p->y.event.start_mark.line + 1;
		if (!yaml_in_next(&p->y))
			return;
		if (w->value == 0)
			read_list(p, w->name, "1f3c...", key_item, p->grants);
		else
			read_entries(p);
	}
}

/* ---- doors ---- */

int grants_parse(struct arena *arena, struct slice text, const char *file, const struct grants **out,
		 struct buf *errors)
{
	struct parse p = { .arena = arena };

	if (text.len > GRANTS_FILE_BYTES_MAX) {
		buf_printf(errors, "%s: larger than %d bytes\n", file, GRANTS_FILE_BYTES_MAX);
		return -EINVAL;
	}
	p.grants = ARENA_NEW(arena, struct grants);
	if (p.grants == NULL)
		return -ENOMEM;
	p.grants->fallback = default_grant();
	p.grants->file = arena_str(arena, slice_str(file));
	if (p.grants->file == NULL)
		return -ENOMEM;
	if (!yaml_in_init(&p.y, text, file, errors))
		return -ENOMEM;
	while (yaml_in_next(&p.y)) {
		if (p.y.event.type == YAML_DOCUMENT_START_EVENT && yaml_in_document(&p.y))
			read_file(&p);
	}
	yaml_in_done(&p.y);
	if (p.y.out_of_memory)
		return -ENOMEM;
	if (p.y.error_count > 0)
		return -EINVAL;
	*out = p.grants;
	return 0;
}

int grants_load(struct arena *arena, const char *path, const struct grants **out, struct buf *errors)
{
	AUTO_BUF struct buf text = BUF_INIT(GRANTS_FILE_BYTES_MAX + 1);
	struct stat st;

	if (access(path, F_OK) != 0 && errno == ENOENT)
		return grants_parse(arena, (struct slice){ 0 }, path, out, errors);
	/* Who may write here says whose signatures count. */
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
	    ((st.st_mode & S_IWOTH) != 0 || (st.st_uid != 0 && st.st_uid != geteuid()))) {
		buf_printf(errors, "%s: others than root may write to it, so it grants nothing; chown it to root and chmod o-w", path);
		return -EPERM;
	}
	int err = yaml_in_file(path, &text, errors);
	return err != 0 ? err : grants_parse(arena, buf_slice(&text), path, out, errors);
}

const struct grant *grant_find(const struct grants *g, const char *name)
{
	for (const struct entry *e = g->entries; e != NULL; e = e->next) {
		if (strcmp(e->name, name) == 0)
			return &e->grant;
	}
	return g->any != NULL ? &g->any->grant : &g->fallback;
}

const char *grants_file(const struct grants *g)
{
	return g->file;
}

bool grant_key_trusted(const struct grants *g, const uint8_t key[32])
{
	for (size_t i = 0; i < g->key_count; i++) {
		if (memcmp(g->keys[i], key, KEY_BYTES) == 0)
			return true;
	}
	return false;
}
