/*
 * `prickle nat64 list`: the translators of this host, of all its network namespaces.
 */
#include <errno.h>
#include <stdarg.h>

#include "cli/nat64.h"
#include "nat64/walk.h"

struct row {
	const struct nat64_found *found;
	bool known;			/* it could be opened */
	struct errmsg why;
	unsigned mode;
	uint64_t sessions;
	bool daemon;
	struct nat64_attachment *attachments;
	size_t attachment_count;
};

static bool daemon_lives(struct nat64 *n)
{
	uint32_t beat = XLAT_READ(nat64_control(n)->slow_beat);

	return beat != 0 && !xlat_passed(nat64_tick(n), beat + XLAT_SLOW_BEAT_TICKS);
}

static void look(struct arena *arena, const struct nat64_found *f, struct row *row)
{
	struct nat64_where where = { .name = f->name, .netns = f->here || f->netns[0] == '\0' ? NULL : f->netns };
	struct errmsg why = { 0 };
	struct nat64 *n;

	*row = (struct row){ .found = f };
	if (!f->here && f->netns[0] == '\0') {
		errmsg_say(&row->why, -ENOENT, "its network namespace has no name");
		return;
	}
	if (nat64_open(&where, NAT64_LOOK, &n, &row->why) != 0)
		return;
	row->known = true;
	row->mode = nat64_config(n)->mode;
	row->sessions = XLAT_READ(nat64_control(n)->slab[XLAT_SLAB_SESSION].used);
	row->daemon = daemon_lives(n);
	if (nat64_attachments(n, arena, &row->attachments, &row->attachment_count, &why) != 0)
		row->attachment_count = 0;
	nat64_close(n);
}

static void as_text(struct buf *out, const struct row *r)
{
	buf_printf(out, "%-15s %-24s ", r->found->name, r->found->here ? "(here)" : r->found->netns[0] == '\0' ? "?" : r->found->netns);
	if (!r->known) {
		buf_printf(out, "%s\n", r->why.text);
		return;
	}
	buf_printf(out, "%-6s %10llu %-7s", nat64_cli_mode(r->mode), (unsigned long long)r->sessions, r->daemon ? "runs" : "-");
	for (size_t i = 0; i < r->attachment_count; i++) {
		const struct nat64_attachment *a = &r->attachments[i];
		buf_printf(out, "%s%s %s%s", i == 0 ? " " : ", ", a->interface, a->running ? "" : "NOT RUNNING ", a->home);
	}
	buf_addc(out, '\n');
}

static json_t *as_json(const struct row *r)
{
	json_t *o = json_pack("{s:s, s:s, s:b, s:I}", "name", r->found->name, "netns", r->found->netns, "here", (int)r->found->here,
			      "netns_cookie", (json_int_t)r->found->netns_cookie);

	if (!r->known) {
		json_object_set_new(o, "error", json_string(r->why.text));
		return o;
	}
	json_t *list = json_array();
	for (size_t i = 0; i < r->attachment_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "interface", r->attachments[i].interface, "home", r->attachments[i].home,
						      "running", (int)r->attachments[i].running));
	json_object_set_new(o, "mode", json_string(nat64_cli_mode(r->mode)));
	json_object_set_new(o, "sessions", json_integer((json_int_t)r->sessions));
	json_object_set_new(o, "daemon", json_boolean(r->daemon));
	json_object_set_new(o, "interfaces", list);
	return o;
}

static void add_problem(json_t *problems, const char *run, const char *name, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* run: a command, to which the name is added. */
static void add_problem(json_t *problems, const char *run, const char *name, const char *fmt, ...)
{
	AUTO_BUF struct buf what = BUF_INIT(1024), next = BUF_INIT(256);
	va_list ap;

	va_start(ap, fmt);
	buf_printf(&what, "translator %s: ", name);
	buf_vprintf(&what, fmt, ap);
	va_end(ap);
	buf_printf(&next, "%s %s", run, name);
	json_array_append_new(problems, json_pack("{s:s, s:s}", "what", buf_cstr(&what), "run", buf_cstr(&next)));
}

static void judge(json_t *problems, const struct row *r)
{
	const char *name = r->found->name;

	if (!r->known) {
		add_problem(problems, "prickle nat64 show --name", name, "%s", r->why.text);
		return;
	}
	if (!r->daemon)
		add_problem(problems, "prickle nat64 show --name", name, "its daemon does not run, so fragments, FTP and logs stand still; "
			    "the rest goes on ('prickle nat64 run' starts one)");
	for (size_t i = 0; i < r->attachment_count; i++) {
		const struct nat64_attachment *a = &r->attachments[i];
		if (!a->running)
			add_problem(problems, "prickle nat64 show --name", name, "%s is not translated%s%s", a->interface,
				    a->why_not[0] == '\0' ? "" : ": ", a->why_not);
	}
}

void nat64_cli_status(json_t *translators, json_t *problems)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	struct nat64_found *found;
	struct errmsg why = { 0 };
	size_t count;
	int err = nat64_scan(&arena, false, &found, &count, &why);

	/* Without bpffs there is nothing to be seen, either. */
	if (err != 0 && err != -EACCES && err != -EPERM && err != -ENOTSUP)
		json_array_append_new(problems, json_pack("{s:s, s:s}", "what", why.text, "run", "prickle nat64 list"));
	for (size_t i = 0; err == 0 && i < count; i++) {
		struct row row;
		look(&arena, &found[i], &row);
		judge(problems, &row);
		json_array_append_new(translators, as_json(&row));
	}
}

static int list(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	AUTO_BUF struct buf out = BUF_INIT(4u << 20);
	struct nat64_found *found;
	struct errmsg why = { 0 };
	json_t *all = json_array();
	size_t count;
	int err = nat64_scan(&arena, true, &found, &count, &why);

	if (err != 0) {
		json_decref(all);
		return nat64_cli_fail(cli, err, &why);
	}
	if (count > 0)
		buf_adds(&out, "NAME            NETNS                    MODE     SESSIONS DAEMON  INTERFACES\n");
	else
		buf_adds(&out, "no translator runs here; 'prickle nat64 run --config FILE' starts one\n");
	for (size_t i = 0; i < count; i++) {
		struct row row;
		look(&arena, &found[i], &row);
		if (cli_json(cli))
			json_array_append_new(all, as_json(&row));
		else
			as_text(&out, &row);
	}
	if (cli_json(cli))
		return spine_cli_json(cli, all);
	json_decref(all);
	return cli_print(cli, &out);
}

const struct cli_command cmd_nat64_list = {
	.words = "nat64 list",
	.summary = "list the translators of this host",
	.description = "All of them, in whichever network namespace: mode, sessions, whether 'prickle nat64 run' serves it, and where its programs "
		       "are attached. Traffic does not need the daemon; logs, fragments and FTP do.",
	.json = true,
	.examples = (const char *const[]){ "prickle nat64 list", "prickle nat64 list --json", NULL },
	.run = list,
};
