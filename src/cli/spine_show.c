/*
 * `prickle spine show`: everything about one extension. What the kernel knows is read first; the object file,
 * which somebody else made, is parsed last, when nothing is left to lose.
 */
#include <errno.h>
#include <string.h>

#include "base/date.h"
#include "base/hex.h"
#include "cli/spine.h"
#include "spine/confine.h"
#include "spine/holdings.h"
#include "spine/totals.h"

#define SHOW_ARENA_BYTES (256u << 20)
#define SHOW_TEXT_BYTES	 (4u << 20)

/* A look at an extension, complete when the device is closed. */
struct show {
	struct arena *arena;
	struct spine_record record;
	struct spine_totals totals;
	json_t *json;			/* what `list --json` says */
	char state[16], reason[sizeof(((struct spine_place *)NULL)->reason)];
	const struct spine_rights *rights;	/* until the device is closed; NULL: adopted, or the policy cannot be read and rights_why says how */
	json_t *rights_json;			/* what stays of them */
	struct buf rights_text;
	bool has_rights;
	uint32_t instructions_max;
	uint64_t memory_bytes_max;
	struct errmsg rights_why;
	struct spine_place place;
	uint64_t epoch;			/* of the policy that was read */
	const struct spine_rights_line *lines;
	size_t line_count;
	struct row_refusal refusals[SPINE_POLICY_RECORDS];
	size_t refusal_count;
	uint64_t refused;		/* ever */
	const struct held_map *maps;
	const struct held_counter *counters;
	size_t map_count, counter_count;
	uint64_t window_ns, budget_ns;	/* the busiest processor's window of a second; budget 0: none */
	struct buf file, next;
	const struct object *object;	/* NULL: adopted */
};

static void look_at_budget(const struct spine_device *d, struct show *s)
{
	uint32_t cpus;
	const struct spine_cpu_stats *stats = spine_device_stats(d, &cpus);

	s->budget_ns = spine_device_control(d)->slot[s->record.slot].budget_ns;
	for (uint32_t i = 0; i < cpus; i++) {
		uint64_t ns = *(const volatile uint64_t *)&stats[i].slot[s->record.slot].window_ns;

		s->window_ns = MAX(s->window_ns, ns);
	}
}

/* What the policy says now. A policy that cannot be read is a fact to show, no reason to show nothing. */
static void look_at_rights(struct spine_device *d, const char *name, struct show *s)
{
	int err = spine_device_place(d, name, &s->place);

	if (err == 0)
		err = spine_device_rights(d, name, &s->rights, &s->rights_why);
	if (err == 0)
		err = spine_rights_lines(s->arena, spine_device_view(d), s->rights, &s->lines, &s->line_count, &s->rights_why);
	if (err != 0)
		s->rights = NULL;
	else
		s->epoch = spine_device_view(d)->epoch;
	if (spine_device_refusals(d, name, s->refusals, &s->refusal_count, &s->refused) != 0)
		s->refusal_count = s->refused = 0;
}

static int look(struct spine_device *d, const char *name, struct show *s, struct errmsg *why)
{
	const struct spine_record *r = spine_device_find(d, name);
	const char *state, *reason;
	uint32_t cpus;
	const struct spine_cpu_stats *stats = spine_device_stats(d, &cpus);
	int err;

	if (r == NULL)
		return errmsg_say(why, -ENOENT, "no extension '%.40s' on %s; `prickle spine list --dev %s` names them", name,
				  spine_device_name(d), spine_device_name(d));
	s->record = *r;
	state = spine_device_state(d, r, &reason);
	(void)snprintf(s->state, sizeof(s->state), "%s", state);
	(void)snprintf(s->reason, sizeof(s->reason), "%s", reason);
	spine_totals(stats, cpus, r->slot, &s->totals);
	look_at_budget(d, s);
	s->json = spine_cli_record_json(d, r);
	err = held_maps(d, name, s->arena, &s->maps, &s->map_count, why);
	if (err == 0)
		err = held_counters(d, name, s->arena, &s->counters, &s->counter_count, why);
	if (err != 0 || r->source != SOURCE_INSTALLED)
		return err;
	look_at_rights(d, name, s);
	return spine_device_object(d, name, &s->file, why);
}

/* ---- JSON ---- */

static json_t *words_json(const char *const *words)
{
	json_t *list = json_array();

	for (; *words != NULL; words++)
		json_array_append_new(list, json_string(*words));
	return list;
}

static json_t *helpers_json(const uint64_t words[INSPECT_HELPER_WORDS])
{
	json_t *list = json_array();

	for (int id = 1; id < (int)(64 * INSPECT_HELPER_WORDS); id++)
		if ((words[id / 64] >> id % 64 & 1) != 0 && inspect_helper_name(id) != NULL)
			json_array_append_new(list, json_string(inspect_helper_name(id)));
	return list;
}

static json_t *rights_json(const struct show *s)
{
	const struct spine_rights *r = s->rights;
	json_t *ports = json_array(), *lines = json_array(), *o;

	for (size_t i = 0; i < r->port_count; i++)
		json_array_append_new(ports, json_string(r->ports[i]));
	for (size_t i = 0; i < s->line_count; i++)
		json_array_append_new(lines, json_pack("{s:s, s:s}", "at", s->lines[i].place, "text", s->lines[i].text));
	o = json_pack("{s:s, s:s, s:s, s:I, s:b, s:o, s:o, s:b, s:I, s:I, s:I, s:b, s:b, s:b, s:b}", "subject", r->subject, "from", r->from,
		      "directory", s->place.directory, "epoch", (json_int_t)s->epoch, "attach", (int)r->attach, "verdicts",
		      spine_cli_verdict_json(r->verdicts), "ports", ports, "ports_any", (int)r->ports_any, "instructions_max",
		      (json_int_t)r->instructions_max, "cpu_permille", (json_int_t)r->cpu_permille, "memory_bytes_max",
		      (json_int_t)r->memory_bytes_max, "terminal", (int)r->terminal, "unbounded", (int)r->unbounded, "tail_calls",
		      (int)r->tail_calls, "vetted", (int)r->vetted);
	json_object_set_new(o, "helpers", helpers_json(r->helpers));
	json_object_set_new(o, "revocable", helpers_json(r->revocable));
	json_object_set_new(o, "kfuncs", words_json(r->kfuncs));
	json_object_set_new(o, "handlers", words_json(r->handlers));
	json_object_set_new(o, "lines", lines);
	return o;
}

static const char *helper_name(uint32_t id)
{
	const char *name = id < 64 * INSPECT_HELPER_WORDS ? inspect_helper_name((int)id) : NULL;

	return name == NULL ? "?" : name;
}

static const struct object_program *refusing_function(const struct show *s, const struct row_refusal *r)
{
	return s->object != NULL && r->function < s->object->program_count ? &s->object->programs[r->function] : NULL;
}

static json_t *refusals_json(const struct show *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->refusal_count; i++) {
		const struct row_refusal *r = &s->refusals[i];
		const struct object_program *p = refusing_function(s, r);

		json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:s, s:i, s:i, s:b}", "function", p == NULL ? "" : p->name, "sequence", (json_int_t)r->sequence, "time_ns",
						      (json_int_t)r->time_ns, "helper", helper_name(r->helper), "instruction",
						      (int)r->insn, "ifindex", (int)r->object, "trial", (int)r->trial));
	}
	return list;
}

static json_t *handlers_json(const struct object *object)
{
	json_t *list = json_array();

	for (size_t i = 0; i < object->handler_count; i++) {
		const struct object_handler *h = &object->handlers[i];
		json_t *fields = json_array();

		for (size_t k = 0; k < h->field_count; k++) {
			const struct object_field *f = &h->fields[k];

			json_array_append_new(fields, json_pack("{s:s, s:s, s:i, s:i}", "name", f->name, "type", f->type,
								"offset", (int)f->offset, "count", (int)f->count));
		}
		json_array_append_new(list, json_pack("{s:i, s:s, s:s, s:i, s:o}", "id", (int)h->id, "name", h->name, "type",
						      h->type, "bytes", (int)h->bytes, "fields", fields));
	}
	return list;
}

static json_t *maps_json(const struct show *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->map_count; i++) {
		const struct held_map *m = &s->maps[i];
		json_t *o = json_pack("{s:s, s:i, s:s, s:I, s:I, s:I, s:I}", "name", m->file, "id", (int)m->id, "type",
				      held_map_type(m->type), "key_bytes", (json_int_t)m->key_bytes, "value_bytes",
				      (json_int_t)m->value_bytes, "entries_max", (json_int_t)m->entries_max, "memory_bytes",
				      (json_int_t)m->memory_bytes);

		json_object_set_new(o, "entries", m->counted ? json_integer((json_int_t)m->entries) : json_null());
		json_array_append_new(list, o);
	}
	return list;
}

static int print_json(struct cli *cli, struct show *s)
{
	json_t *o = s->json, *counters = json_object();

	s->json = NULL;
	for (size_t i = 0; i < s->counter_count; i++)
		json_object_set_new(counters, s->counters[i].name, json_integer((json_int_t)s->counters[i].value));
	json_object_set_new(o, "counters", counters);
	json_object_set_new(o, "maps", maps_json(s));
	json_object_set_new(o, "messages", s->object == NULL ? json_array() : handlers_json(s->object));
	json_object_set_new(o, "rights", s->has_rights ? s->rights_json : json_null());
	s->rights_json = NULL;
	if (!s->has_rights && s->record.source == SOURCE_INSTALLED)
		json_object_set_new(o, "rights_error", json_string(s->rights_why.text));
	json_object_set_new(o, "checks", json_integer(s->place.checks));
	json_object_set_new(o, "refusals", refusals_json(s));
	json_object_set_new(o, "refused", json_integer((json_int_t)s->refused));
	json_object_set_new(o, "cpu_budget_ns_per_s", s->budget_ns == 0 ? json_null() : json_integer((json_int_t)s->budget_ns));
	json_object_set_new(o, "cpu_used_ns_per_s", json_integer((json_int_t)s->window_ns));
	return spine_cli_json(cli, o);
}

/* ---- text ---- */

static void add_size(struct buf *out, uint64_t bytes)
{
	if (bytes >= UINT64_C(10) << 20)
		buf_printf(out, "%.1f MiB", (double)bytes / (1 << 20));
	else if (bytes >= UINT64_C(10) << 10)
		buf_printf(out, "%.1f KiB", (double)bytes / (1 << 10));
	else
		buf_printf(out, "%llu bytes", (unsigned long long)bytes);
}

static void add_hex(struct buf *out, const char *label, const uint8_t bytes[32])
{
	static const uint8_t nothing[32];

	if (memcmp(bytes, nothing, 32) == 0)
		return;
	buf_printf(out, "  %-10s ", label);
	hex_encode(out, slice_of(bytes, 32));
	buf_addc(out, '\n');
}

static void add_identity(struct buf *out, struct show *s, const char *device)
{
	static const char *const sources[] = { "installed", "adopted", "taken over" };
	const struct spine_record *r = &s->record;

	buf_printf(out, "%s on %s: %s%s%s\n", r->name, device, s->state, *s->reason != '\0' ? ", " : "", s->reason);
	if (s->next.len > 0)
		buf_printf(out, "  %-10s %s\n", "next", buf_cstr(&s->next));
	buf_printf(out, "  %-10s %s, slot %u, order %u, program %u%s%s\n", "version", *r->version == '\0' ? "-" : r->version, r->slot,
		   r->order, r->prog_id, r->terminal ? ", terminal" : "", r->fail_closed ? ", fail-closed" : ", fail-open");
	buf_printf(out, "  %-10s %s\n", "match", *r->match == '\0' ? "(every frame)" : r->match);
	buf_printf(out, "  %-10s %s\n", "tier", spine_tier_name((enum spine_tier)r->tier));
	add_hex(out, "signer", r->signer);
	add_hex(out, "digest", r->digest);
	buf_printf(out, "  %-10s %s ", "since", r->source < ARRAY_LEN(sources) ? sources[r->source] : "here");
	date_rfc3339(out, (int64_t)r->installed_at_s);
	if (r->replaced > 0) {
		buf_printf(out, ", replaced %u time%s, last ", r->replaced, r->replaced == 1 ? "" : "s");
		date_rfc3339(out, (int64_t)r->replaced_at_s);
	}
	buf_addc(out, '\n');
}

static void add_policy(struct buf *out, const struct show *s)
{
	const struct spine_rights *g = s->rights;

	if (g == NULL) {
		buf_printf(out, "  %-10s unknown: %s\n", "rights", s->rights_why.text);
		return;
	}
	buf_printf(out, "  %-10s %s (%s), ", "subject", g->subject[0] == '\0' ? "none" : g->subject, g->from);
	if (s->epoch == 0)
		buf_adds(out, "shipped policy");
	else
		buf_printf(out, "policy epoch %llu", (unsigned long long)s->epoch);
	buf_printf(out, "%s%s\n  %-10s ", s->place.directory[0] != '\0' ? " in " : "", s->place.directory, "rights");
	spine_cli_verdict_text(out, g->verdicts);
	for (size_t i = 0; i < g->port_count; i++)
		buf_printf(out, "%s%s", i == 0 ? "; ports " : ", ", g->ports[i]);
	buf_printf(out, "%s\n", g->ports_any ? "; all other ports" : "");
	for (size_t i = 0; i < s->line_count; i++)
		buf_printf(out, "  %-10s %s: %s\n", "", s->lines[i].place, s->lines[i].text);
	if (s->place.checks > 0)
		buf_printf(out, "  %-10s %u calls in its code, %llu refused or on trial so far\n", "checked", s->place.checks,
			   (unsigned long long)s->refused);
}

static void add_refusals(struct buf *out, const struct show *s)
{
	for (size_t i = s->refusal_count > 5 ? s->refusal_count - 5 : 0; i < s->refusal_count; i++) {
		const struct row_refusal *r = &s->refusals[i];
		const struct object_program *p = refusing_function(s, r);
		const struct object_line *line = p == NULL ? NULL : object_line_at(p, r->insn);

		buf_printf(out, "  %-10s bpf_%s() at instruction %u", r->trial ? "on trial" : "refused", helper_name(r->helper), r->insn);
		if (p != NULL)
			buf_printf(out, " of %s", p->name);
		if (line != NULL)
			buf_printf(out, ", %s:%u", line->file, line->line);
		if (r->object != 0)
			buf_printf(out, ", to the interface with index %u", r->object);
		buf_addc(out, '\n');
	}
}

static void add_rights(struct buf *out, const struct show *s)
{
	const struct spine_record *r = &s->record;

	buf_printf(out, "  %-10s may return ", "verdicts");
	spine_cli_verdict_text(out, r->verdicts);
	buf_adds(out, r->terminal ? "" : "; the next match runs after ");
	if (!r->terminal)
		spine_cli_verdict_text(out, r->continues);
	buf_addc(out, '\n');
	if (r->source == SOURCE_INSTALLED)
		buf_add(out, buf_slice(&s->rights_text));
	add_refusals(out, s);
	buf_printf(out, "  %-10s ", "cost");
	if (r->cost == INSPECT_UNBOUNDED)
		buf_adds(out, "no bound is known");
	else
		buf_printf(out, "at most %llu instructions a packet", (unsigned long long)r->cost);
	if (s->has_rights)
		buf_printf(out, ", %u allowed", s->instructions_max);
	buf_printf(out, "\n  %-10s ", "memory");
	add_size(out, r->memory_bytes);
	if (s->has_rights) {
		buf_adds(out, ", allowed ");
		add_size(out, s->memory_bytes_max);
	}
	buf_printf(out, "\n  %-10s ", "processor");
	if (s->budget_ns == 0)
		buf_adds(out, "no budget");
	else
		buf_printf(out, "%.1f %% in the last second with packets, budget %.1f %%", (double)s->window_ns / 1e7,
			   (double)s->budget_ns / 1e7);
	buf_addc(out, '\n');
}

static void add_work(struct buf *out, const struct show *s)
{
	const struct spine_totals *t = &s->totals;
	const char *comma = "";

	buf_printf(out, "  %-10s %llu", "packets", (unsigned long long)t->packets);
	if (t->skipped > 0)
		buf_printf(out, ", and %llu while it was off", (unsigned long long)t->skipped);
	if (t->samples > 0)
		buf_printf(out, "; %.0f ns each (%llu sampled)", spine_totals_ns(t), (unsigned long long)t->samples);
	if (!s->record.terminal) {
		buf_printf(out, "\n  %-10s ", "returned");
		for (uint32_t v = 0; v < 5; v++, comma = ", ")
			buf_printf(out, "%s%s %llu", comma, spine_verdict_name(v), (unsigned long long)t->verdict[v]);
	}
	buf_printf(out, "\n  %-10s", "faults");
	comma = " ";
	for (int f = SPINE_FAULT_NONE + 1; f < SPINE_FAULT_OPERATOR; f++)
		if (t->faults[f] > 0) {
			buf_printf(out, "%s%s %llu", comma, spine_fault_name((enum spine_fault)f),
				   (unsigned long long)t->faults[f]);
			comma = ", ";
		}
	buf_adds(out, *comma == ' ' ? " none\n" : "\n");
}

static void add_holdings(struct buf *out, const struct show *s)
{
	if (s->counter_count > 0)
		buf_adds(out, "counters\n");
	for (size_t i = 0; i < s->counter_count; i++)
		buf_printf(out, s->counters[i].is_signed ? "  %-30s %16lld\n" : "  %-30s %16llu\n", s->counters[i].name,
			   (unsigned long long)s->counters[i].value);
	if (s->map_count > 0)
		buf_printf(out, "maps\n  %-30s %-18s %5s %7s %9s %9s %10s\n", "name", "type", "key", "value", "entries", "of", "bytes");
	for (size_t i = 0; i < s->map_count; i++) {
		const struct held_map *m = &s->maps[i];

		buf_printf(out, "  %-30s %-18s %5u %7u ", m->file, held_map_type(m->type), m->key_bytes, m->value_bytes);
		if (m->counted)
			buf_printf(out, "%9llu", (unsigned long long)m->entries);
		else
			buf_printf(out, "%9s", "-");
		buf_printf(out, " %9u %10llu\n", m->entries_max, (unsigned long long)m->memory_bytes);
	}
}

static void add_handlers(struct buf *out, const struct show *s)
{
	if (s->object == NULL || s->object->handler_count == 0)
		return;
	buf_printf(out, "messages (%u channel%s)\n", s->record.channels, s->record.channels == 1 ? "" : "s");
	for (size_t i = 0; i < s->object->handler_count; i++) {
		const struct object_handler *h = &s->object->handlers[i];

		buf_printf(out, "  %u %s(", h->id, h->name);
		for (size_t k = 0; k < h->field_count; k++) {
			const struct object_field *f = &h->fields[k];

			buf_printf(out, "%s%s %s", k > 0 ? ", " : "", f->type, f->name);
			if (f->count > 1)
				buf_printf(out, "[%u]", f->count);
		}
		buf_adds(out, ")\n");
	}
}

/* The policy's arena goes with the device. */
static void keep_rights(struct show *s)
{
	add_policy(&s->rights_text, s);
	s->has_rights = s->rights != NULL;
	if (!s->has_rights)
		return;
	s->rights_json = rights_json(s);
	s->instructions_max = s->rights->instructions_max;
	s->memory_bytes_max = s->rights->memory_bytes_max;
	s->rights = NULL;
}

/* ---- */

static int show_one(struct cli *cli, struct show *s, const char *device)
{
	AUTO_BUF struct buf out = BUF_INIT(SHOW_TEXT_BYTES);
	struct errmsg why;
	int err = 0;

	if (s->file.len > 0) {
		err = spine_confine(&why);
		if (err == 0)
			err = object_parse(s->arena, buf_slice(&s->file), &s->object, &why);
	}
	if (err != 0)
		return spine_cli_fail(cli, err, &why);
	if (cli_json(cli))
		return print_json(cli, s);
	add_identity(&out, s, device);
	add_rights(&out, s);
	add_work(&out, s);
	add_holdings(&out, s);
	add_handlers(&out, s);
	return cli_print(cli, &out);
}

static int run_show(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(SHOW_ARENA_BYTES);
	struct show s = { .arena = &arena, .file = BUF_INIT(SPINE_OBJECT_BYTES_MAX), .next = BUF_INIT(1024),
			  .rights_text = BUF_INIT(SHOW_TEXT_BYTES) };
	struct spine_device *d;
	struct errmsg why;
	int code = spine_cli_open(cli, SPINE_LOOK, &d), err;

	if (code != CLI_OK)
		return code;
	err = look(d, cli_arg(cli, 0), &s, &why);
	if (err == 0)
		keep_rights(&s);
	if (err == 0)
		spine_cli_next(&s.next, cli_value(cli, "netns"), cli_value(cli, "dev"), s.record.name, s.state, spine_device_by_policy(d, &s.record));
	spine_device_close(d);
	code = err == 0 ? show_one(cli, &s, cli_value(cli, "dev")) : spine_cli_fail(cli, err, &why);
	json_decref(s.json);
	json_decref(s.rights_json);
	buf_done(&s.rights_text);
	buf_done(&s.file);
	buf_done(&s.next);
	return code;
}

const struct cli_command cmd_spine_show = {
	.words = "spine show",
	.summary = "show everything about one extension",
	.description = "Its state, origin, rights with the lines of the policy that give them, calls that the policy refused, budgets and what is used of "
		       "them, verdicts and faults, the counters that it keeps in a map `counters`, its maps, and its message "
		       "handlers with the types of their arguments.",
	.args = (const struct cli_arg[]){ { "NAME", "of the extension" }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_DEV, CLI_OPTION_NETNS, SPINE_OPTION_POLICY, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine show router --dev eth0", NULL },
	.run = run_show,
};
