/*
 * What `prickle domain`, `user` and `alias` share: a request with arguments, its answer as
 * text or JSON, lists that come in pages, and passwords that must not stand in argv.
 */
#pragma once
#include <jansson.h>

#include "cli/cli.h"
#include "roles/admin.h"

#define NAMES_PASSWORD_BYTES 1100u

/* A request under way, with the memory of its arguments. */
struct names_request {
	struct admin_request req;
	struct buf texts[12];		/* of "name=value" arguments */
	unsigned text_count;
};

void names_begin(struct names_request *r, const char *object, const char *verb);
/* Wipes the arguments: one may be a password. */
void names_end(struct names_request *r);
void names_arg(struct names_request *r, const char *text);
/* "name=value" */
void names_set(struct names_request *r, const char *name, const char *value);
/* The options --quota SIZE and --messages N as arguments. CLI_OK, or complains. */
MUST_USE int names_quota(struct cli *cli, struct names_request *r);

/* Ask. CLI_OK: *answer is the caller's, or NULL when --json was said and it is printed. Else complains; the exit code. */
MUST_USE int names_ask(struct cli *cli, struct names_request *r, json_t **answer);
/* Ask, and print the answer. Returns the exit code. */
int names_run(struct cli *cli, struct names_request *r);
/* Ask for all pages of a list and print the names under `member`. */
int names_list(struct cli *cli, struct names_request *r, const char *member);

/*
 * A secret: from standard input with `from_stdin` (one line), else asked for at the terminal, twice and
 * without echo. CLI_OK, or complains. `what` is "password".
 */
MUST_USE int names_secret(struct cli *cli, bool from_stdin, const char *what,
			  char out[NAMES_PASSWORD_BYTES]);
