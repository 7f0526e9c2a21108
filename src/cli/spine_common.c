#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "cli/spine.h"
#include "spine/host.h"
#include "spine/totals.h"

#define TEXT_BYTES (1u << 20)
#define SCAN_BYTES (8u << 20)

double cli_now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool knows(struct cli *cli, const char *option)
{
	for (const struct cli_option *o = cli_command(cli)->options; o != NULL && o->name != NULL; o++)
		if (strcmp(o->name, option) == 0)
			return true;
	return false;
}

static const char *value_of(struct cli *cli, const char *option)
{
	return knows(cli, option) ? cli_value(cli, option) : NULL;
}

int spine_cli_where(struct cli *cli, struct spine_where *out)
{
	static const struct { const char *name; enum attach_mode mode; } modes[] = {
		{ "auto", ATTACH_AUTO }, { "native", ATTACH_NATIVE }, { "generic", ATTACH_GENERIC },
	};
	const char *mode = value_of(cli, "mode");
	size_t i = 0;

	*out = (struct spine_where){ .device = value_of(cli, "dev"), .netns = value_of(cli, "netns"),
				     .policy = value_of(cli, "policy") };
	if (out->device == NULL)
		return cli_fail(cli, CLI_USAGE, "which interface? Say --dev IF; `ip link` lists them");
	while (mode != NULL && i < ARRAY_LEN(modes) && strcmp(mode, modes[i].name) != 0)
		i++;
	if (i == ARRAY_LEN(modes))
		return cli_fail(cli, CLI_USAGE, "--mode: '%s' is not native, generic or auto", mode);
	out->mode = modes[i].mode;
	/* A directory that somebody names must not be made in silence. */
	if (out->policy != NULL && access(out->policy, F_OK) != 0)
		return cli_fail(cli, errno == ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "--policy: open '%s': %s; `prickle policy apply --policy %s "
				"FILE` makes it", out->policy, strerrordesc_np(errno), out->policy);
	return CLI_OK;
}

void spine_cli_settle(const char *directory)
{
	struct spine_policy_copy spine = { .directory = directory };
	struct errmsg why = { 0 };
	int err = geteuid() != 0 ? 0 : policy_store_tell(directory, &(struct policy_copy){ spine_policy_update, &spine }, 1, &why);

	/* -EBUSY: an apply tells them. */
	if (err != 0 && err != -EBUSY)
		fprintf(stderr, "warning: extensions on network interfaces may run under an older policy: %s; 'prickle policy apply' tells them again\n",
			why.text);
	else if (spine.disabled > 0)
		fprintf(stderr, "warning: the policy has changed, and %u extension%s cannot run under it: `prickle spine list`\n", spine.disabled,
			spine.disabled == 1 ? "" : "s");
}

int spine_cli_open(struct cli *cli, enum spine_open_mode mode, struct spine_device **out)
{
	struct spine_where where;
	struct errmsg why;
	int code = spine_cli_where(cli, &where), err;

	if (code != CLI_OK)
		return code;
	if (mode == SPINE_CHANGE)
		spine_cli_settle(where.policy);
	err = spine_device_open(&where, mode, out, &why);
	return err == 0 ? CLI_OK : spine_cli_fail(cli, err, &why);
}

struct visit {
	struct cli *cli;
	int (*each)(void *arg, const struct spine_where *where, const struct spine_device *d);
	void (*nameless)(void *arg, const struct spine_found *f);
	void *arg;
};

/* No extensions is an answer; of a walk (quiet) so is a device that goes away under way. */
static int visit(const struct visit *v, const struct spine_where *where, bool quiet)
{
	struct spine_device *d;
	struct errmsg why;
	int err = spine_device_open(where, SPINE_LOOK, &d, &why), code;

	if (err == -ENOENT || (err == -ENODEV && quiet))
		return CLI_OK;
	if (err != 0)
		return spine_cli_fail(v->cli, err, &why);
	code = v->each(v->arg, where, d);
	spine_device_close(d);
	return code;
}

static int visit_all(const struct visit *v)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SCAN_BYTES);
	const char *only = cli_value(v->cli, "netns");
	struct spine_found *found;
	struct errmsg why;
	size_t count;
	int err = spine_device_scan(&arena, &found, &count, &why), code = CLI_OK;

	if (err == 0 && only != NULL) {
		int netns = host_netns(only, &why);

		err = MIN(netns, 0);
		if (netns >= 0)
			close(netns);
	}
	if (err != 0)
		return spine_cli_fail(v->cli, err, &why);
	for (size_t i = 0; i < count && code == CLI_OK; i++) {
		struct spine_found *f = &found[i];
		struct spine_where where = { .device = f->name, .netns = f->here && only == NULL ? NULL : f->netns };

		if (only != NULL && strcmp(only, f->netns) != 0)
			continue;
		if (f->name[0] != '\0' && (f->here || f->netns[0] != '\0'))
			code = visit(v, &where, true);
		else if (v->nameless != NULL)
			v->nameless(v->arg, f);
	}
	return code;
}

int spine_cli_each(struct cli *cli, int (*each)(void *arg, const struct spine_where *where, const struct spine_device *d),
		   void (*nameless)(void *arg, const struct spine_found *f), void *arg)
{
	struct visit v = { cli, each, nameless, arg };
	struct spine_where where;
	int code;

	if (cli_value(cli, "dev") == NULL)
		return visit_all(&v);
	code = spine_cli_where(cli, &where);
	return code == CLI_OK ? visit(&v, &where, false) : code;
}

enum cli_exit spine_cli_exit(int err)
{
	switch (err) {
	case 0:
		return CLI_OK;
	case -EPERM:
	case -EBADMSG:			/* a signature that is not one of the object */
		return CLI_REFUSED;
	case -ENOENT:
	case -ENODEV:
		return CLI_NOT_FOUND;
	case -EBUSY:
	case -ENOMEM:
		return CLI_TEMPORARY;
	case -EINVAL:
	case -EEXIST:
		return CLI_USAGE;
	default:
		return CLI_FAILED;
	}
}

int spine_cli_fail(struct cli *cli, int err, const struct errmsg *why)
{
	return cli_fail(cli, spine_cli_exit(err), "%s", why->text);
}

json_t *spine_cli_finding_json(const struct inspect_finding *f)
{
	json_t *o = json_pack("{s:s, s:s, s:i, s:s}", "rule", f->rule, "program", f->program == NULL ? "" : f->program,
			      "instruction", (int)f->insn, "sentence", f->sentence);

	if (o != NULL && f->line != NULL) {
		json_object_set_new(o, "file", json_string(f->line->file));
		json_object_set_new(o, "line", json_integer(f->line->line));
		json_object_set_new(o, "source", json_string(f->line->text));
	}
	return o;
}

int spine_cli_refused(struct cli *cli, int err, const struct spine_change *c)
{
	AUTO_BUF struct buf text = BUF_INIT(TEXT_BYTES);
	char decision[24];
	json_t *list;

	if (c->report.finding_count == 0)
		return spine_cli_fail(cli, err, &c->why);
	policy_decision_text(c->decision, decision);
	if (!cli_json(cli)) {
		inspect_findings_text(&text, &c->report);
		fprintf(stderr, "%s", buf_cstr(&text));
		if (c->decision != 0)
			fprintf(stderr, "note: this is decision %s: 'prickle policy explain', 'prickle policy learn'\n", decision);
		return spine_cli_fail(cli, err, &c->why);
	}
	list = json_array();
	for (size_t i = 0; i < c->report.finding_count; i++)
		json_array_append_new(list, spine_cli_finding_json(&c->report.findings[i]));
	int code = spine_cli_json(cli, json_pack("{s:s, s:o, s:s?}", "error", c->why.text, "refused", list, "decision",
							c->decision != 0 ? decision : NULL));
	return code != CLI_OK ? code : (int)spine_cli_exit(err);
}

int spine_cli_file(struct cli *cli, const char *path, bool optional, struct buf *out)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t piece[16384];
	struct stat st;
	ssize_t n = 1;

	if (fd < 0 && errno == ENOENT && optional)
		return CLI_OK;
	if (fd < 0)
		return cli_fail(cli, errno == ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "read '%s': %s", path, strerrordesc_np(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return cli_fail(cli, CLI_USAGE, "'%s' is no file", path);
	while (n > 0 && out->err == 0) {
		n = read(fd, piece, sizeof(piece));
		if (n > 0)
			buf_add(out, slice_of(piece, (size_t)n));
	}
	if (out->err != 0)
		return cli_fail(cli, CLI_USAGE, "'%s' is larger than %zu bytes", path, out->max);
	return n == 0 ? CLI_OK : cli_fail(cli, CLI_FAILED, "read '%s': %s", path, strerrordesc_np(errno));
}

int spine_cli_verdicts(struct cli *cli, const char *option, uint32_t *out)
{
	struct slice rest = slice_str(cli_value(cli, option));
	uint32_t set = 0;

	while (rest.len > 0) {
		struct slice word;
		uint32_t v = 0;

		(void)slice_cut(rest, ',', &word, &rest);
		word = slice_trim(word);
		while (v < 5 && !slice_eq(word, slice_str(spine_verdict_name(v))))
			v++;
		if (v == 5)
			return cli_fail(cli, CLI_USAGE, "--%s: '%.*s' is none of aborted, drop, pass, tx, redirect", option,
					SLICE_FMT(word));
		set |= 1u << v;
	}
	*out = set;
	return CLI_OK;
}

void spine_cli_verdict_text(struct buf *out, uint32_t verdicts)
{
	const char *comma = "";

	for (uint32_t v = 0; v < 5; v++) {
		if ((verdicts >> v & 1) == 0)
			continue;
		buf_printf(out, "%s%s", comma, spine_verdict_name(v));
		comma = ", ";
	}
}

json_t *spine_cli_verdict_json(uint32_t verdicts)
{
	json_t *list = json_array();

	for (uint32_t v = 0; v < 5; v++)
		if ((verdicts >> v & 1) != 0)
			json_array_append_new(list, json_string(spine_verdict_name(v)));
	return list;
}

int spine_cli_json(struct cli *cli, json_t *value)
{
	AUTO_BUF struct buf out = BUF_INIT(64u << 20);
	char *text = value == NULL ? NULL : json_dumps(value, JSON_COMPACT);

	json_decref(value);
	if (text == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	buf_adds(&out, text);
	buf_addc(&out, '\n');
	free(text);
	return cli_print(cli, &out);
}

void spine_cli_next(struct buf *out, const char *netns, const char *device, const char *name, const char *state, bool by_policy)
{
	AUTO_BUF struct buf where = BUF_INIT(512);

	buf_printf(&where, "--dev %s%s%s", device, netns != NULL ? " --netns " : "", netns != NULL ? netns : "");
	if (strcmp(state, "ejected") == 0)
		buf_printf(out, "`prickle spine show %s %s` tells what it did; then `replace` it, `enable` it again, or `remove` it",
			   name, buf_cstr(&where));
	else if (strcmp(state, "disabled") == 0 && by_policy)
		buf_printf(out, "`prickle spine show %s %s` tells the line that it lacks; `prickle policy apply` with that line puts it back",
			   name, buf_cstr(&where));
	else if (strcmp(state, "disabled") == 0)
		buf_printf(out, "`prickle spine enable %s %s` puts it back", name, buf_cstr(&where));
	else if (strcmp(state, "not-running") == 0)
		buf_printf(out, "`ip -d link show %s` tells whether it is up and what is attached; the next `prickle spine "
			   "install` there attaches all again", device);
}

/* --- an extension ---------------------------------------------------------------------------- */

static json_t *hex_json(const uint8_t *bytes, size_t count)
{
	AUTO_BUF struct buf text = BUF_INIT(256);

	hex_encode(&text, slice_of(bytes, count));
	return json_string(buf_cstr(&text));
}

static json_t *counters_json(const struct spine_totals *t)
{
	json_t *o = json_object(), *verdicts = json_object(), *faults = json_object();

	for (uint32_t v = 0; v < 5; v++)
		json_object_set_new(verdicts, spine_verdict_name(v), json_integer((json_int_t)t->verdict[v]));
	for (int f = SPINE_FAULT_NONE + 1; f < SPINE_FAULT_OPERATOR; f++)
		json_object_set_new(faults, spine_fault_name((enum spine_fault)f), json_integer((json_int_t)t->faults[f]));
	json_object_set_new(o, "returned", verdicts);
	json_object_set_new(o, "faults", faults);
	json_object_set_new(o, "skipped", json_integer((json_int_t)t->skipped));
	json_object_set_new(o, "ns_per_packet", t->samples == 0 ? json_null() : json_real(spine_totals_ns(t)));
	return o;
}

static const char *source_name(uint32_t source)
{
	return source == SOURCE_INSTALLED ? "installed" : source == SOURCE_ADOPTED ? "adopted" : "taken over";
}

json_t *spine_cli_record_json(const struct spine_device *d, const struct spine_record *r)
{
	static const uint8_t nobody[sizeof(r->signer)];
	struct spine_totals t = { 0 };
	const char *reason, *state = spine_device_state(d, r, &reason);
	uint32_t cpus;
	const struct spine_cpu_stats *stats = spine_device_stats(d, &cpus);
	json_t *o;

	spine_totals(stats, cpus, r->slot, &t);
	o = json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:i, s:i, s:b, s:b}", "name", r->name, "id", (int)r->prog_id,
		      "tier", spine_tier_name((enum spine_tier)r->tier), "state", state, "reason", reason, "packets",
		      (json_int_t)t.packets, "source", source_name(r->source), "version", r->version, "match", r->match,
		      "order", (int)r->order, "slot", (int)r->slot, "terminal", (int)(r->terminal != 0), "fail_closed",
		      (int)(r->fail_closed != 0));
	if (o == NULL)
		return NULL;
	json_object_set_new(o, "device", json_string(spine_device_name(d)));
	json_object_set_new(o, "verdicts", spine_cli_verdict_json(r->verdicts));
	json_object_set_new(o, "continues", spine_cli_verdict_json(r->continues));
	json_object_set_new(o, "cost", r->cost == INSPECT_UNBOUNDED ? json_string("unbounded") : json_integer((json_int_t)r->cost));
	json_object_set_new(o, "tail_calls", json_boolean(r->tail_calls));
	json_object_set_new(o, "memory_bytes", json_integer((json_int_t)r->memory_bytes));
	json_object_set_new(o, "cpu_permille", json_integer(r->cpu_permille));
	json_object_set_new(o, "installed_at", json_integer((json_int_t)r->installed_at_s));
	json_object_set_new(o, "replaced_at", json_integer((json_int_t)r->replaced_at_s));
	json_object_set_new(o, "replaced", json_integer(r->replaced));
	json_object_set_new(o, "handlers", json_integer(r->handlers));
	json_object_set_new(o, "channels", json_integer(r->channels));
	if (r->source == SOURCE_INSTALLED)
		json_object_set_new(o, "digest", hex_json(r->digest, sizeof(r->digest)));
	if (memcmp(r->signer, nobody, sizeof(nobody)) != 0)
		json_object_set_new(o, "signer", hex_json(r->signer, sizeof(r->signer)));
	json_object_update_new(o, counters_json(&t));
	return o;
}
