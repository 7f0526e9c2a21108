#include <errno.h>
#include <stdlib.h>

#include "cli/policy.h"
#include "conf/config.h"

int policy_cli_directory(struct cli *cli, char out[POLICY_DIRECTORY_BYTES])
{
	const char *given = cli_value(cli, "policy"), *path;
	struct config *config;
	int code, err;

	if (given != NULL) {
		err = slice_to_str(slice_str(given), out, POLICY_DIRECTORY_BYTES) && *given != '\0' ? 0 : -ENAMETOOLONG;
	} else {
		code = cli_load_config(cli, &config, &path);
		if (code != CLI_OK)
			return code;
		err = policy_store_configured(config, out);
		config_free(config);
	}
	return err == 0 ? CLI_OK : cli_fail(cli, CLI_USAGE, "the directory of the policy has no name, or one that is too long");
}

int policy_cli_open(struct cli *cli, uint32_t flags, struct policy_store **out)
{
	char directory[POLICY_DIRECTORY_BYTES];
	struct errmsg why = { 0 };
	int code = policy_cli_directory(cli, directory), err;

	if (code != CLI_OK)
		return code;
	err = policy_store_open(directory, flags, out, &why);
	return err == 0 ? CLI_OK : policy_cli_fail(cli, err, &why);
}

int policy_cli_fail(struct cli *cli, int err, const struct errmsg *why)
{
	enum cli_exit code = err == -ENOENT	 ? CLI_NOT_FOUND :
			     err == -EPERM	 ? CLI_REFUSED :
			     err == -EACCES	 ? CLI_REFUSED :
			     err == -ECANCELED	 ? CLI_REFUSED :
			     err == -EBUSY	 ? CLI_TEMPORARY :
			     err == -ENOMEM	 ? CLI_TEMPORARY :
			     err == -EEXIST	 ? CLI_USAGE :
						   CLI_FAILED;

	return cli_fail(cli, code, "%s", why->text);
}

int policy_cli_json(struct cli *cli, json_t *value)
{
	AUTO_BUF struct buf out = BUF_INIT(64u << 20);
	char *text = value == NULL ? NULL : json_dumps(value, JSON_INDENT(2));

	json_decref(value);
	if (text == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	buf_printf(&out, "%s\n", text);
	free(text);
	return cli_print(cli, &out);
}

void policy_cli_permissions(struct buf *out, enum policy_class class, uint32_t permissions)
{
	const char *between = "";

	for (uint32_t left = permissions; left != 0; left &= left - 1) {
		buf_printf(out, "%s%s", between, policy_permission_name(class, left & -left));
		between = ", ";
	}
}

static void change_line(struct buf *out, const struct analysis_change *c, char sign, uint32_t permissions, const char *tail)
{
	if (permissions == 0)
		return;
	buf_printf(out, "%c %s may ", sign, c->subject);
	policy_cli_permissions(out, c->class, permissions);
	buf_printf(out, " %s%s\n", c->object, tail);
}

void policy_cli_changes(struct buf *out, const struct analysis_change *changes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct analysis_change *c = &changes[i];

		if (c->what != NULL) {
			buf_printf(out, "~ %s%s%s%s%s\n", c->subject == NULL ? "" : c->subject, c->subject == NULL ? "" : " ",
				   c->object == NULL ? "" : c->object, c->object == NULL ? "" : ": ", c->what);
		} else if (c->object == NULL) {
			buf_printf(out, "%c %s may use %s %s\n", c->use_gained ? '+' : '-', c->subject, policy_use_name(c->use), c->use_name);
		} else {
			change_line(out, c, '-', c->lost, "");
			change_line(out, c, '-', c->now_conditional, ", now where a condition holds");
			change_line(out, c, '+', c->now_unconditional, ", now without a condition");
			change_line(out, c, '+', c->gained, "");
		}
	}
}

static json_t *permissions_json(enum policy_class class, uint32_t permissions)
{
	json_t *list = json_array();

	for (uint32_t left = permissions; left != 0; left &= left - 1)
		json_array_append_new(list, json_string(policy_permission_name(class, left & -left)));
	return list;
}

json_t *policy_cli_changes_json(const struct analysis_change *changes, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		const struct analysis_change *c = &changes[i];
		json_t *o = json_pack("{s:s?}", "subject", c->subject);

		if (c->what != NULL) {
			json_object_set_new(o, "what", json_string(c->what));
			if (c->object != NULL)
				json_object_set_new(o, "object", json_string(c->object));
		} else if (c->object == NULL) {
			json_object_set_new(o, "use", json_string(policy_use_name(c->use)));
			json_object_set_new(o, "name", json_string(c->use_name));
			json_object_set_new(o, "gained", json_boolean(c->use_gained));
		} else {
			json_object_set_new(o, "object", json_string(c->object));
			json_object_set_new(o, "gained", permissions_json(c->class, c->gained));
			json_object_set_new(o, "lost", permissions_json(c->class, c->lost));
			json_object_set_new(o, "now_conditional", permissions_json(c->class, c->now_conditional));
			json_object_set_new(o, "now_unconditional", permissions_json(c->class, c->now_unconditional));
		}
		json_array_append_new(list, o);
	}
	return list;
}
