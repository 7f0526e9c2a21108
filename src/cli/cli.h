/*
 * The command line: sub-commands as rows of a table.
 *
 * A file in this directory defines one or more `const struct cli_command`, and commands.def
 * names them. Parsing, --help, suggestions, completion scripts and manuals come from the rows:
 *
 *	const struct cli_command cmd_user_add = {
 *		.words = "user add",
 *		.summary = "make a user",
 *		.args = (const struct cli_arg[]){ { "LOGIN", "full address of the user" }, { 0 } },
 *		.options = (const struct cli_option[]){
 *			{ "password", 'p', "TEXT", "the first password; without it you are asked" },
 *			CLI_OPTION_SOCKET, { 0 } },
 *		.json = true,
 *		.examples = (const char *const[]){ "prickle user add ann@example.org", NULL },
 *		.run = user_add,
 *	};
 *
 * Results go to standard output, everything else to standard error. Exit codes are enum cli_exit.
 */
#pragma once
#include <stdio.h>

#include "base/buf.h"
#include "base/errmsg.h"
#include "roles/admin.h"

#define CLI_ARGS_MAX 4096u		/* files on one command line */

struct cli;
struct config;

enum cli_exit {				/* the node answers with the same numbers */
	CLI_OK = ADMIN_OK,
	CLI_FAILED = ADMIN_FAILED,
	CLI_USAGE = ADMIN_USAGE,
	CLI_DEGRADED = ADMIN_DEGRADED,
	CLI_NOT_FOUND = ADMIN_NOT_FOUND,
	CLI_REFUSED = ADMIN_REFUSED,
	CLI_TEMPORARY = ADMIN_TEMPORARY,
	CLI_CONFIG = ADMIN_CONFIG,
};

/* What completion offers in place of a value. */
enum cli_complete {
	CLI_ANY,
	CLI_FILE,
	CLI_DIRECTORY,
	CLI_OPTION_KEY,			/* a key of the configuration */
	CLI_COMMAND_WORDS,		/* a command of the table */
};

struct cli_option {
	const char *name;		/* without "--"; NULL ends the list */
	char letter;			/* '\0': none */
	const char *value;		/* "FILE"; NULL: a flag */
	const char *help;		/* half a sentence in lower case */
	enum cli_complete complete;
};

struct cli_arg {
	const char *name;		/* "LOGIN"; NULL ends the list */
	const char *help;
	bool optional;
	bool many;			/* the last one: takes all that follow */
	enum cli_complete complete;
};

struct cli_command {
	const char *words;		/* "mail fsck" */
	const char *summary;		/* half a sentence in lower case, no full stop */
	const char *description;	/* sentences for help and manual, or NULL; "\n\n" parts paragraphs */
	const struct cli_arg *args;	/* NULL: none */
	const struct cli_option *options;	/* NULL: none but --help */
	bool json;			/* takes --json: one JSON value on standard output */
	bool hidden;			/* internal: not in help, completion and manuals */
	const char *const *examples;	/* whole command lines, NULL at the end; or NULL */
	/* Returns an enum cli_exit. */
	int (*run)(struct cli *cli);
};

#define CLI_DEFAULT_CONFIG "/etc/prickle/prickle.yaml"
#define CLI_OPTION_CONFIG							\
	{ "config", 'c', "FILE", "read this configuration instead of " CLI_DEFAULT_CONFIG, CLI_FILE }
#define CLI_OPTION_SOCKET							\
	{ "socket", '\0', "PATH", "speak with the node on this socket instead of the configured one", CLI_FILE }

extern const struct cli_command *const cli_commands[];
extern const size_t cli_command_count;

/* ---- for the commands ---- */

const struct cli_command *cli_command(const struct cli *cli);
bool cli_json(const struct cli *cli);
/* The option was given (flag or value). `name` must be in the command's table. */
bool cli_has(const struct cli *cli, const char *name);
/* Its value, the last one if given twice; NULL when not given. */
const char *cli_value(const struct cli *cli, const char *name);
/* Its value as a number from least to most, `otherwise` when not given; CLI_OK, or complains and CLI_USAGE. */
MUST_USE int cli_number(struct cli *cli, const char *name, uint64_t least, uint64_t most,
			uint64_t otherwise, uint64_t *out);
/* The i-th argument, NULL when there are fewer. */
const char *cli_arg(const struct cli *cli, size_t i);
size_t cli_arg_count(const struct cli *cli);

/*
 * Say what failed, on standard error ("prickle user add: ...") or with --json as an object with
 * "error" on standard output; returns `code`, so that `return cli_fail(...)` reads well.
 */
int cli_fail(struct cli *cli, enum cli_exit code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * The configuration: of --config, or the default file, or the defaults when there is none
 * (*path is then NULL). CLI_OK, or all errors are printed and the code returned. Free with config_free.
 */
MUST_USE int cli_load_config(struct cli *cli, struct config **out, const char **path);

/* Write all of buf to standard output and empty it. CLI_OK, or CLI_FAILED when it cannot be written. */
int cli_print(struct cli *cli, struct buf *text);

/* ---- for main and the generators ---- */

int cli_main(int argc, char **argv);
/* The command with these words, or NULL. */
const struct cli_command *cli_find(struct slice words);
/* Some command's words start with these. */
bool cli_is_group(struct slice words);
/* Help of one command; of a group or of all (words empty). */
void cli_help_command(struct buf *out, const struct cli_command *c);
void cli_help_group(struct buf *out, struct slice words);
/* "prickle user add [options] LOGIN" */
void cli_synopsis(struct buf *out, const struct cli_command *c);
