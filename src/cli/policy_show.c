/*
 * `prickle policy show`: the text of a policy, or what it says, resolved, as JSON.
 */
#include <errno.h>

#include "cli/policy.h"
#include "policy/analysis/words.h"

#define SHOWN_BYTES (64u << 20)

static json_t *permission_list(enum policy_class class, uint32_t permissions)
{
	json_t *list = json_array();

	for (uint32_t left = permissions; left != 0; left &= left - 1)
		json_array_append_new(list, json_string(policy_permission_name(class, left & -left)));
	return list;
}

static json_t *place(const struct policy *p, struct policy_span span)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);

	policy_span_text(&text, p, span);
	return json_string_nocheck(buf_cstr(&text));
}

/* What it is, as the policy would say it; NULL for what is the only one of its class. */
static json_t *subject_words(const struct policy_subject *s)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);

	words_subject(&text, s);
	return json_string_nocheck(buf_cstr(&text));
}

static json_t *object_words(const struct policy_object *o)
{
	AUTO_BUF struct buf text = BUF_INIT(4096);

	if (o->kind == POLICY_SINGLE)
		return json_null();
	words_object(&text, o);
	return json_string_nocheck(buf_cstr(&text));
}

static json_t *subject_list(const struct policy *p, const uint16_t *at, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string_nocheck(p->subjects[at[i]].name));
	return list;
}

static json_t *object_list(const struct policy *p, const uint16_t *at, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string_nocheck(p->objects[at[i]].name));
	return list;
}

static json_t *rule_list(const struct policy *p, const struct policy_rule *rules, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		const struct policy_rule *r = &rules[i];
		json_t *o = json_object(), *predicates = json_array();

		json_object_set_new(o, "place", place(p, r->span));
		json_object_set_new(o, "subjects", subject_list(p, r->subjects, r->subject_count));
		json_object_set_new(o, "class", json_string(policy_class_name(r->class)));
		json_object_set_new(o, "permissions", permission_list(r->class, r->permissions));
		json_object_set_new(o, "objects", object_list(p, r->objects, r->object_count));
		for (uint32_t left = r->predicates; left != 0; left &= left - 1)
			json_array_append_new(predicates, json_string(policy_predicate_name(left & -left)));
		json_object_set_new(o, "where", predicates);
		json_object_set_new(o, "audit", json_boolean(r->audit));
		json_object_set_new(o, "by_any_path", json_boolean(r->by_any_path));
		json_object_set_new(o, "because", r->because == NULL ? json_null() : json_string_nocheck(r->because));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *use_list(const struct policy *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->use_count; i++) {
		const struct policy_use_rule *u = &p->uses[i];
		json_t *o = json_object(), *names = json_array();

		for (size_t k = 0; k < u->name_count; k++)
			json_array_append_new(names, json_string_nocheck(u->names[k]));
		json_object_set_new(o, "place", place(p, u->span));
		json_object_set_new(o, "subjects", subject_list(p, u->subjects, u->subject_count));
		json_object_set_new(o, "use", json_string(policy_use_name(u->kind)));
		json_object_set_new(o, "names", names);
		json_object_set_new(o, "never", json_boolean(u->never));
		json_object_set_new(o, "revocable", json_boolean(u->revocable));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *enter_list(const struct policy *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->enter_count; i++) {
		const struct policy_enter *e = &p->enters[i];

		json_array_append_new(list, json_pack("{s:o, s:s, s:s, s:b, s:I, s:b}", "place", place(p, e->span), "from", p->subjects[e->from].name,
						      "to", p->subjects[e->to].name, "ticket", (int)e->ticket, "seconds", (json_int_t)e->seconds,
						      "audit", (int)e->audit));
	}
	return list;
}

static int show_json(struct cli *cli, const struct policy *p, uint64_t epoch)
{
	json_t *all = json_object(), *subjects = json_array(), *objects = json_array();

	for (size_t i = 1; i < p->subject_count; i++)
		json_array_append_new(subjects, json_pack("{s:s, s:o, s:o}", "name", p->subjects[i].name, "is", subject_words(&p->subjects[i]), "place",
							  place(p, p->subjects[i].span)));
	for (size_t i = 1; i < p->object_count; i++)
		json_array_append_new(objects, json_pack("{s:s, s:s, s:o, s:o}", "name", p->objects[i].name, "class",
							 policy_class_name(p->objects[i].class), "is", object_words(&p->objects[i]), "place", place(p, p->objects[i].span)));
	json_object_set_new(all, "epoch", json_integer((json_int_t)epoch));
	json_object_set_new(all, "subjects", subjects);
	json_object_set_new(all, "objects", objects);
	json_object_set_new(all, "allow", rule_list(p, p->allows, p->allow_count));
	json_object_set_new(all, "never", rule_list(p, p->nevers, p->never_count));
	json_object_set_new(all, "use", use_list(p));
	json_object_set_new(all, "enter", enter_list(p));
	return policy_cli_json(cli, all);
}

static int print_policy(struct cli *cli, const struct policy *p, uint64_t epoch)
{
	AUTO_BUF struct buf out = BUF_INIT(SHOWN_BYTES);

	if (cli_json(cli))
		return show_json(cli, p, epoch);
	for (size_t i = 0; i < p->source_count; i++) {
		if (p->source_count > 1)
			buf_printf(&out, "%s# --- %s ---\n", i == 0 ? "" : "\n", p->sources[i].name);
		buf_add(&out, p->sources[i].text);
	}
	return cli_print(cli, &out);
}

static int show_shipped(struct cli *cli, struct arena *arena)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	const struct policy *p;

	if (policy_parse(arena, "default", policy_default_text(), NULL, NULL, &p, &errors) != 0)
		return cli_fail(cli, CLI_TEMPORARY, "%s", buf_cstr(&errors));
	return print_policy(cli, p, 0);
}

static int show(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	char directory[POLICY_DIRECTORY_BYTES];
	struct policy_store *store;
	const struct policy *p;
	struct errmsg why = { 0 };
	uint64_t epoch = 0;
	int code, err;

	if (cli_has(cli, "shipped"))
		return cli_has(cli, "epoch") ? cli_fail(cli, CLI_USAGE, "--shipped and --epoch exclude each other") : show_shipped(cli, &arena);
	code = cli_number(cli, "epoch", 1, INT64_MAX, 0, &epoch);
	if (code == CLI_OK)
		code = policy_cli_directory(cli, directory);
	if (code != CLI_OK)
		return code;
	err = policy_store_open(directory, 0, &store, &why);
	if (err == -ENOENT && epoch == 0)
		return show_shipped(cli, &arena);	/* none was applied: the shipped one holds */
	if (err != 0)
		return policy_cli_fail(cli, err, &why);
	err = policy_store_policy(store, &arena, epoch, &p, &why);
	code = err == 0 ? print_policy(cli, p, epoch != 0 ? epoch : policy_store_epoch(store)) :
			  policy_cli_fail(cli, err, &why);
	policy_store_close(store);
	return code;
}

const struct cli_command cmd_policy_show = {
	.words = "policy show",
	.summary = "print the policy in force",
	.description = "Prints the text of the policy in force with all that it imports, of an earlier epoch, or of the one that ships with the program. "
		       "With --json, what it says with all names resolved. Without any applied policy the shipped one holds.",
	.options = (const struct cli_option[]){
		{ "shipped", '\0', NULL, "the policy that ships with the program" },
		{ "epoch", '\0', "N", "the policy of this epoch" },
		CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy show --shipped > site.policy", "prickle policy show --epoch 3", NULL },
	.run = show,
};
