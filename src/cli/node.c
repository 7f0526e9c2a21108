#include "cli/node.h"

#include <errno.h>
#include <jansson.h>

#include "conf/config.h"
#include "roles/auth_tls.h"

int node_ask(struct cli *cli, const struct admin_request *req, struct buf *storage, struct admin_reply *reply)
{
	const char *path = cli_value(cli, "socket"), *file;
	struct config *config = NULL;
	struct errmsg why = { 0 };
	int err;

	if (path == NULL) {
		err = cli_load_config(cli, &config, &file);
		if (err != CLI_OK)
			return err;
		path = config->control_socket;
	}
	err = admin_call(path, req, NODE_TIMEOUT_MS, storage, reply, &why);
	config_free(config);
	if (err == 0)
		return CLI_OK;
	if (err == -ENOENT || err == -ECONNREFUSED)
		return cli_fail(cli, CLI_TEMPORARY, "%s; does the node run? start it with 'prickle serve', or name its socket with --socket (the demo prints it)",
				why.text);
	if (err == -EACCES || err == -EPERM || err == -ECONNRESET)
		return cli_fail(cli, CLI_REFUSED, "%s; only root and the user who runs the node may ask it", why.text);
	return cli_fail(cli, CLI_TEMPORARY, "%s", why.text);
}

int node_check(struct cli *cli, const struct config *c, const char *path)
{
	uint32_t line = c->line[OPTION_tls_certificate];
	struct errmsg why = { 0 };

	if (c->tls_certificate[0] == '\0' || auth_tls_check(c->tls_certificate, c->tls_key, &why) == 0)
		return CLI_OK;
	if (path == NULL || line == 0)
		return cli_fail(cli, CLI_CONFIG, "%s", why.text);
	return cli_fail(cli, CLI_CONFIG, "%s:%u: %s", path, line, why.text);
}

int node_fail(struct cli *cli, const struct admin_reply *reply)
{
	json_t *json = json_loadb((const char *)reply->json.ptr, reply->json.len, 0, NULL);
	const char *text = json_string_value(json_object_get(json, "error"));
	AUTO_BUF struct buf all = BUF_INIT(ADMIN_JSON_BYTES + 64);
	int code;

	/* A refusal tells more than its sentence: the decision, and what to run next. */
	if (cli_json(cli) && text != NULL && json_object_size(json) > 1) {
		json_decref(json);
		buf_add(&all, reply->json);
		buf_addc(&all, '\n');
		code = cli_print(cli, &all);
		return code != CLI_OK ? code : (int)reply->exit_code;
	}
	code = cli_fail(cli, (enum cli_exit)reply->exit_code, "%s", text != NULL ? text : "the node gave no reason");

	json_decref(json);
	return code;
}
