/*
 * `prickle spine test`: an extension's cases (spine/cases.h), run in the kernel by BPF_PROG_TEST_RUN. No device is
 * touched and no packet leaves.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "cli/spine.h"
#include "cli/spine_tool.h"
#include "spine/cases.h"
#include "spine/frame.h"
#include "spine/load.h"

#define OUT_BYTES_MAX	(FRAME_BYTES_MAX + 1024u)
#define VALUE_BYTES_MAX 65536u
#define ROW_BYTES	16u
#define DIFF_ROWS_MAX	32u

struct session {
	struct cli *cli;
	struct arena arena;
	struct tool_paths paths;
	struct load_request request;
	enum spine_tier tier;
	bool tier_known;
	struct loaded *loaded;		/* of the current case */
	struct buf reason;		/* why the current case failed; empty: it did not */
	json_t *results;
	struct buf text;
	unsigned passed, failed;
};

/* ---- bytes for people ---- */

static void hex_row(struct buf *out, char mark, size_t at, struct slice bytes)
{
	buf_printf(out, "    %c %04zx ", mark, at);
	for (size_t i = 0; i < bytes.len; i++) {
		buf_addc(out, ' ');
		hex_encode(out, slice_sub(bytes, i, i + 1));
	}
	buf_addc(out, '\n');
}

/* Rows that differ: '-' wanted, '+' got. */
static void hex_diff(struct buf *out, struct slice want, struct slice got)
{
	unsigned shown = 0;

	if (want.len != got.len)
		buf_printf(out, "    %zu bytes wanted, %zu came out\n", want.len, got.len);
	for (size_t at = 0; at < MAX(want.len, got.len); at += ROW_BYTES) {
		struct slice w = slice_sub(want, at, at + ROW_BYTES), g = slice_sub(got, at, at + ROW_BYTES);
		if (slice_eq(w, g))
			continue;
		if (shown++ == DIFF_ROWS_MAX) {
			buf_adds(out, "    ...\n");
			return;
		}
		if (w.len > 0)
			hex_row(out, '-', at, w);
		if (g.len > 0)
			hex_row(out, '+', at, g);
	}
}

/* ---- loading ---- */

/*
 * As strictly as an unsigned extension is, else as a signed one; the first answer holds for all cases.
 */
static int load(struct session *s, struct errmsg *why)
{
	struct errmsg vetted = { 0 };
	int err;

	if (s->tier_known)
		return spine_load_for_test(&s->arena, &s->request, s->tier, &s->loaded, why);
	err = spine_load_for_test(&s->arena, &s->request, TIER_UNTRUSTED, &s->loaded, why);
	if (err == -EINVAL) {
		err = spine_load_for_test(&s->arena, &s->request, TIER_VETTED, &s->loaded, &vetted);
		if (err == 0) {
			s->tier = TIER_VETTED;
			fprintf(stderr, "note: it must be signed to be installed; the kernel's strict rules say: %s\n", why->text);
		}
	}
	s->tier_known = err == 0;
	return err;
}

static int find_map(const struct session *s, const char *name)
{
	for (size_t i = 0; i < s->loaded->map_count; i++) {
		if (strcmp(s->loaded->maps[i].name, name) == 0 && s->loaded->maps[i].channel == 0)
			return s->loaded->maps[i].fd;
	}
	return -1;
}

/* ---- actions: each says in s->reason what went wrong ---- */

struct entry {
	int fd;
	uint32_t key_bytes, value_bytes, copies;	/* copies: processors of a per-CPU map, else 1 */
	uint8_t *key, *want, *value;
};

static void entry_done(struct entry *e)
{
	free(e->key);
	free(e->want);
	free(e->value);
}

static bool per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static bool open_entry(struct session *s, const struct case_action *a, struct entry *e)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	*e = (struct entry){ .fd = find_map(s, a->name) };
	if (e->fd < 0 || bpf_obj_get_info_by_fd(e->fd, &info, &size) != 0) {
		buf_printf(&s->reason, "line %u: there is no map '%s'; there are", a->line, a->name);
		for (size_t i = 0; i < s->loaded->map_count; i++)
			buf_printf(&s->reason, " %s", s->loaded->maps[i].name);
		buf_addc(&s->reason, '\n');
		return false;
	}
	e->key_bytes = info.key_size;
	e->value_bytes = info.value_size;
	e->copies = per_cpu(info.type) ? (uint32_t)libbpf_num_possible_cpus() : 1;
	if (e->key_bytes > VALUE_BYTES_MAX || e->value_bytes > VALUE_BYTES_MAX) {
		buf_printf(&s->reason, "line %u: the entries of '%s' are too large for a test\n", a->line, a->name);
		return false;
	}
	e->key = calloc(1, e->key_bytes + 1);
	e->want = calloc(1, e->value_bytes + 1);
	e->value = calloc(e->copies, (e->value_bytes + 7u) & ~7u);
	if (e->key == NULL || e->want == NULL || e->value == NULL)
		return false;
	if (case_value(a->key, e->key, e->key_bytes) && case_value(a->value, e->want, e->value_bytes))
		return true;
	buf_printf(&s->reason, "line %u: keys of '%s' have %u bytes and values %u: write numbers that fit, or xHEX\n", a->line,
		   a->name, e->key_bytes, e->value_bytes);
	return false;
}

/* Values of all processors as one number: counters add up. */
static void sum_copies(struct entry *e)
{
	uint64_t sum = 0;
	size_t stride = (e->value_bytes + 7u) & ~7u;

	if (e->copies == 1 || e->value_bytes > 8)
		return;
	for (size_t i = 0; i < e->copies; i++) {
		uint64_t v = 0;
		memcpy(&v, e->value + i * stride, e->value_bytes);
		sum += v;
	}
	memcpy(e->value, &sum, e->value_bytes);
}

static void set_map(struct session *s, const struct case_action *a)
{
	struct entry e = { 0 };

	if (open_entry(s, a, &e)) {
		memcpy(e.value, e.want, e.value_bytes);		/* the first processor's; zero on others */
		if (bpf_map_update_elem(e.fd, e.key, e.value, BPF_ANY) != 0)
			buf_printf(&s->reason, "line %u: map '%s' does not take the entry: %s\n", a->line, a->name,
				   strerrordesc_np(errno));
	}
	entry_done(&e);
}

static void expect_map(struct session *s, const struct case_action *a)
{
	struct entry e = { 0 };

	if (open_entry(s, a, &e)) {
		if (bpf_map_lookup_elem(e.fd, e.key, e.value) != 0) {
			buf_printf(&s->reason, "line %u: '%s' has no entry %s\n", a->line, a->name, a->key);
		} else {
			sum_copies(&e);
			if (memcmp(e.value, e.want, e.value_bytes) != 0) {
				uint64_t got = 0;
				memcpy(&got, e.value, MIN(e.value_bytes, 8u));
				buf_printf(&s->reason, "line %u: %s[%s] is %llu (wanted %s)\n", a->line, a->name, a->key,
					   (unsigned long long)got, a->value);
				if (e.value_bytes > 8)
					hex_diff(&s->reason, slice_of(e.want, e.value_bytes), slice_of(e.value, e.value_bytes));
			}
		}
	}
	entry_done(&e);
}

static void add_port(struct session *s, const struct case_action *a)
{
	uint32_t ifindex = if_nametoindex(a->name);
	struct bpf_devmap_val value = { .ifindex = ifindex };
	int fd = find_map(s, "spine_ports");

	if (fd < 0)
		buf_printf(&s->reason, "line %u: the extension has no SPINE_PORTS\n", a->line);
	else if (ifindex == 0)
		buf_printf(&s->reason, "line %u: there is no interface '%s' here\n", a->line, a->name);
	else if (bpf_map_update_elem(fd, &ifindex, &value, BPF_ANY) != 0)
		buf_printf(&s->reason, "line %u: port '%s': %s\n", a->line, a->name, strerrordesc_np(errno));
}

static void run_packet(struct session *s, const struct case_action *a)
{
	static uint8_t out[OUT_BYTES_MAX];

	for (uint32_t i = 0; i < a->repeat && s->reason.len == 0; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = a->in.ptr, .data_size_in = (uint32_t)a->in.len,
			    .data_out = out, .data_size_out = sizeof(out));
		if (bpf_prog_test_run_opts(s->loaded->entry_fd, &opts) != 0) {
			buf_printf(&s->reason, "line %u: the kernel does not run it on this packet: %s\n", a->line,
				   strerrordesc_np(errno));
			return;
		}
		struct slice got = slice_of(out, MIN(opts.data_size_out, (uint32_t)sizeof(out)));
		char round[32] = "";
		if (a->repeat > 1)
			snprintf(round, sizeof(round), ", packet %u", i + 1);
		if (a->verdict >= 0 && opts.retval != (uint32_t)a->verdict) {
			const char *name = case_verdict_name(opts.retval);
			buf_printf(&s->reason, "line %u%s: verdict %s, wanted %s\n", a->line, round,
				   name == NULL ? "that does not exist" : name, case_verdict_name((uint32_t)a->verdict));
		}
		struct slice want = a->out_kind == CASE_OUT_SAME ? a->in : a->out;
		if (a->out_kind != CASE_OUT_ANY && !slice_eq(got, want)) {
			buf_printf(&s->reason, "line %u%s: other bytes came out (- wanted, + got)\n", a->line, round);
			hex_diff(&s->reason, want, got);
		}
	}
}

static void run_case(struct session *s, const struct test_case *c)
{
	for (const struct case_action *a = c->actions; a != NULL && s->reason.len == 0; a = a->next) {
		switch (a->kind) {
		case CASE_PACKET:
			run_packet(s, a);
			break;
		case CASE_MAP:
			set_map(s, a);
			break;
		case CASE_EXPECT:
			expect_map(s, a);
			break;
		case CASE_PORT:
			add_port(s, a);
			break;
		}
	}
}

/* ---- all of it ---- */

static void report(struct session *s, const struct test_case *c)
{
	bool good = s->reason.len == 0;

	good ? s->passed++ : s->failed++;
	buf_printf(&s->text, "%s %s\n", good ? "ok    " : "FAILED", c->name);
	if (!good)
		buf_printf(&s->text, "  %s: %s", s->paths.cases, buf_cstr(&s->reason));
	json_t *o = json_pack("{s:s, s:i, s:b}", "name", c->name, "line", (int)c->line, "passed", good);
	if (!good)
		json_object_set_new(o, "reason", json_string(buf_cstr(&s->reason)));
	json_array_append_new(s->results, o);
}

static int run_all(struct session *s, const struct test_case *first)
{
	struct errmsg why = { 0 };

	for (const struct test_case *c = first; c != NULL; c = c->next) {
		int err = load(s, &why);
		if (err == -EPERM)
			return cli_fail(s->cli, CLI_FAILED, "%s; tests run in the kernel and need root", why.text);
		if (err != 0)
			return spine_cli_fail(s->cli, err, &why);
		buf_reset(&s->reason);
		run_case(s, c);
		report(s, c);
		loaded_free(s->loaded);
		s->loaded = NULL;
	}
	return CLI_OK;
}

static int conclude(struct session *s)
{
	int code;

	if (cli_json(s->cli)) {
		code = spine_cli_json(s->cli, json_pack("{s:s, s:s, s:i, s:i, s:O}", "object", s->paths.object, "tier",
							spine_tier_name(s->tier), "passed", (int)s->passed, "failed",
							(int)s->failed, "cases", s->results));
	} else {
		buf_printf(&s->text, "%u passed, %u failed\n", s->passed, s->failed);
		code = cli_print(s->cli, &s->text);
	}
	return code != CLI_OK ? code : s->failed > 0 ? CLI_FAILED : CLI_OK;
}

static int prepare(struct session *s, const struct test_case **first)
{
	AUTO_BUF struct buf text = BUF_INIT(4u << 20), errors = BUF_INIT(1u << 20);
	const char *cases = cli_value(s->cli, "cases");
	int code = tool_paths(s->cli, cli_arg(s->cli, 0), &s->paths);

	if (code == CLI_OK && tool_is_stale(&s->paths))
		code = tool_compile(s->cli, &s->paths);
	if (code == CLI_OK && cases != NULL)
		snprintf(s->paths.cases, sizeof(s->paths.cases), "%s", cases);
	if (code == CLI_OK)
		code = tool_object(s->cli, &s->arena, s->paths.object, &s->request.object, &s->request.parsed);
	if (code == CLI_OK && object_entry(s->request.parsed) == NULL)
		code = cli_fail(s->cli, CLI_USAGE, "%s: an extension has exactly one program in SEC(\"xdp\")", s->paths.object);
	if (code == CLI_OK)
		code = spine_cli_file(s->cli, s->paths.cases, false, &text);
	if (code != CLI_OK)
		return code;
	int err = cases_parse(&s->arena, buf_slice(&text), s->paths.cases, first, &errors);
	if (err == -EINVAL && !cli_json(s->cli))
		fprintf(stderr, "%s", buf_cstr(&errors));
	if (err == -EINVAL)
		return cli_fail(s->cli, CLI_USAGE, "%s has mistakes%s%s", s->paths.cases, cli_json(s->cli) ? ": " : "",
				cli_json(s->cli) ? buf_cstr(&errors) : "");
	return err == 0 ? CLI_OK : cli_fail(s->cli, CLI_TEMPORARY, "out of memory");
}

static int test(struct cli *cli)
{
	struct session s = { .cli = cli, .arena = ARENA_INIT(TOOL_ARENA_BYTES), .reason = BUF_INIT(1u << 20),
			     .text = BUF_INIT(16u << 20), .results = json_array() };
	const struct test_case *first = NULL;
	int code = prepare(&s, &first);

	if (code == CLI_OK) {
		const struct spine_manifest *m = s.request.parsed->manifest;
		s.request.name = m == NULL ? "test" : m->name;
		s.request.class.attach_type = BPF_XDP;
		s.request.old_maps_dir = -1;
		code = run_all(&s, first);
	}
	if (code == CLI_OK)
		code = conclude(&s);
	loaded_free(s.loaded);
	json_decref(s.results);
	buf_done(&s.reason);
	buf_done(&s.text);
	arena_done(&s.arena);
	return code;
}

const struct cli_command cmd_spine_test = {
	.words = "spine test", .summary = "run an extension's test cases: packet in, verdict and bytes out",
	.description = "Compiles NAME.bpf.c when NAME.o is older, loads it, and runs the cases of NAME.test in the kernel; no "
		       "device is touched. Needs root.\n\n"
		       "A case is 'case SENTENCE' and lines below it: 'in PACKET', 'verdict pass|drop|tx|redirect|aborted', "
		       "'out same' or 'out PACKET', 'repeat N', 'map NAME KEY VALUE' before a packet, 'expect NAME KEY VALUE' "
		       "after it, 'port IF'. A packet is 'udp 10.0.0.1:1000 > 10.0.0.2:53 \"data\"', tcp, icmp, icmp6, ip, with "
		       "'eth FROM > TO', 'vlan N', 'ttl N', 'flags SA', 'bytes N' before or behind, or 'hex' and digits.",
	.args = (const struct cli_arg[]){ { "PATH", "the directory (default: this one), its source or its object",
					    .optional = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){ { "cases", 'c', "FILE", "other cases than NAME.test", CLI_FILE }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine test no-telnet", "prickle spine test router.o --cases more.test --json",
					   NULL },
	.run = test,
};
