/*
 * `prickle policy apply` and `prickle policy epochs`.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/date.h"
#include "base/hex.h"
#include "cli/policy.h"
#include "spine/rights.h"
#include "policy/policy_limits.h"

#define DIFF_ARENA_BYTES (256u << 20)

/* Between the question and the act: what changes, as text or JSON. */
struct asking {
	struct cli *cli;
	bool ask;
	struct buf text;
	json_t *changes;
	size_t count;
};

static bool user_says_yes(void)
{
	char line[16] = "";

	fputs("apply? [y/N] ", stderr);
	fflush(stderr);
	return fgets(line, sizeof(line), stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

static bool confirm(void *arg, const struct policy *before, const struct policy *after)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(DIFF_ARENA_BYTES);
	struct asking *a = arg;
	const struct analysis *old, *new;
	struct analysis_change *changes = NULL;

	if (before == NULL)
		buf_adds(&a->text, "the epoch in force cannot be read, so what changes is not known\n");
	else if (analysis_new(&arena, before, &old) == 0 && analysis_new(&arena, after, &new) == 0 &&
		 analysis_diff(&arena, old, new, &changes, &a->count) == 0)
		policy_cli_changes(&a->text, changes, a->count);
	a->changes = policy_cli_changes_json(changes, a->count);
	if (before != NULL && a->count == 0)
		buf_adds(&a->text, "no decision changes\n");
	if (!cli_json(a->cli) && cli_print(a->cli, &a->text) != CLI_OK)
		return false;
	fflush(stdout);
	return !a->ask || user_says_yes();
}

/* Who it was, by the account and, behind sudo, by the login that the kernel keeps. */
static void name_caller(char out[64])
{
	AUTO_FD int fd = open("/proc/self/loginuid", O_RDONLY | O_CLOEXEC);
	const struct passwd *account = getpwuid(getuid());
	char text[16] = "";
	uint32_t login = UINT32_MAX;
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	if (account != NULL)
		snprintf(out, 64, "%.30s", account->pw_name);
	else
		snprintf(out, 64, "uid %u", (unsigned)getuid());
	if (n <= 0 || !slice_u32(slice_trim(slice_of(text, (size_t)n)), &login) || login == UINT32_MAX || login == getuid())
		return;
	account = getpwuid(login);
	if (account != NULL)
		snprintf(out + strlen(out), 64 - strlen(out), " (login %.20s)", account->pw_name);
}

static int read_signature(struct cli *cli, uint8_t out[97], size_t *len)
{
	const char *path = cli_value(cli, "signature");
	AUTO_FD int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	*len = 0;
	if (path == NULL)
		return CLI_OK;
	if (fd < 0 || (n = read(fd, out, 97)) < 0)
		return cli_fail(cli, CLI_NOT_FOUND, "%s: %s", path, strerrordesc_np(errno));
	*len = (size_t)n;
	return n == 96 ? CLI_OK : cli_fail(cli, CLI_USAGE, "%s is no signature: 'prickle policy sign FILE --key KEY' makes one", path);
}

static int check_words(struct cli *cli)
{
	bool previous = cli_has(cli, "previous"), file = cli_arg(cli, 0) != NULL;

	if (previous && file)
		return cli_fail(cli, CLI_USAGE, "a file, or --previous, not both");
	if (!previous && !file)
		return cli_fail(cli, CLI_USAGE, "which policy? Name a file, or say --previous; 'prickle policy show --shipped' prints one to begin with");
	if (cli_has(cli, "key") && cli_has(cli, "signature"))
		return cli_fail(cli, CLI_USAGE, "--key makes a signature, --signature takes one that was made: one of them");
	if (geteuid() != 0 && cli_value(cli, "policy") == NULL)
		return cli_fail(cli, CLI_REFUSED, "root applies the policy of a node: try 'sudo prickle policy apply ...'");
	return CLI_OK;
}

/* Mistakes and warnings stand in the text already. */
static int tell_failure(struct cli *cli, int err, struct buf *errors, const struct errmsg *why)
{
	if (errors->len != 0 && !cli_json(cli))
		fprintf(stderr, "%s", buf_cstr(errors));
	if (errors->len != 0 && cli_json(cli)) {
		int code = policy_cli_json(cli, json_pack("{s:s, s:s}", "error", why->text, "details", buf_cstr(errors)));

		return code != CLI_OK ? code : CLI_FAILED;
	}
	return policy_cli_fail(cli, err, why);
}

static int apply_to(struct cli *cli, struct policy_store *store, const char *directory, const uint8_t *secret, struct slice signature)
{
	AUTO_BUF struct buf errors = BUF_INIT(4u << 20), out = BUF_INIT(4096);
	struct asking asking = {
		.cli = cli, .text = BUF_INIT(64u << 20),
		.ask = !cli_has(cli, "yes") && !cli_has(cli, "dry-run") && !cli_json(cli) && isatty(STDIN_FILENO) == 1,
	};
	char who[64];
	struct policy_apply how = {
		.file = cli_arg(cli, 0), .previous = cli_has(cli, "previous"), .secret_key = secret, .signature = signature,
		.who = who, .note = cli_value(cli, "note"), .dry_run = cli_has(cli, "dry-run"), .confirm = confirm, .confirm_arg = &asking,
	};
	struct spine_policy_copy spine = { .directory = directory };
	const struct policy_copy copies[] = { { spine_policy_update, &spine } };
	struct errmsg why = { 0 };
	uint64_t epoch = 0, before = policy_store_epoch(store);
	bool same;
	int err;

	how.copies = copies;
	how.copy_count = ARRAY_LEN(copies);
	name_caller(who);
	err = policy_store_apply(store, &how, &epoch, &errors, &why);
	buf_done(&asking.text);
	if (err != 0) {
		json_decref(asking.changes);
		return tell_failure(cli, err, &errors, &why);
	}
	same = epoch == before;
	if (cli_json(cli))
		return policy_cli_json(cli, json_pack("{s:I, s:b, s:o, s:s}", "epoch", (json_int_t)epoch, "applied", !how.dry_run && !same, "changes",
						      asking.changes != NULL ? asking.changes : json_array(), "warnings", buf_cstr(&errors)));
	json_decref(asking.changes);
	if (errors.len != 0)
		fprintf(stderr, "%s", buf_cstr(&errors));
	if (same)
		buf_printf(&out, "epoch %llu is in force with this text already; no new one is made\n", (unsigned long long)epoch);
	else if (how.dry_run)
		buf_printf(&out, "nothing was applied; it would be epoch %llu\n", (unsigned long long)epoch);
	else
		buf_printf(&out, "epoch %llu is in force\n", (unsigned long long)epoch);
	if (spine.disabled > 0)
		buf_printf(&out, "%u extension%s on network interfaces lost what %s cannot run without and %s off: `prickle spine list`\n", spine.disabled,
			   spine.disabled == 1 ? "" : "s", spine.disabled == 1 ? "it" : "they", spine.disabled == 1 ? "is" : "are");
	return cli_print(cli, &out);
}

static int apply(struct cli *cli)
{
	uint8_t secret[POLICY_SECRET_BYTES], signature[97];
	char directory[POLICY_DIRECTORY_BYTES];
	struct policy_store *store;
	size_t signature_len;
	int code = check_words(cli);

	if (code == CLI_OK)
		code = policy_cli_directory(cli, directory);
	if (code == CLI_OK)
		code = read_signature(cli, signature, &signature_len);
	if (code == CLI_OK && cli_has(cli, "key"))
		code = policy_cli_secret(cli, cli_value(cli, "key"), secret);
	if (code == CLI_OK)
		code = policy_cli_open(cli, POLICY_STORE_WRITE | POLICY_STORE_REPAIR | POLICY_STORE_NOW, &store);
	if (code == CLI_OK) {
		code = apply_to(cli, store, directory, cli_has(cli, "key") ? secret : NULL, slice_of(signature, signature_len));
		policy_store_close(store);
	}
	sodium_memzero(secret, sizeof(secret));
	return code;
}

const struct cli_command cmd_policy_apply = {
	.words = "policy apply", .summary = "put a policy in force",
	.description = "Reads FILE with all that it imports, checks every 'never' and 'expect', shows which decisions change, and puts it in force on this "
		       "node, at once and for every process: first what the old and the new one both allow, then the new one. It is kept as an epoch and "
		       "holds after a restart. A policy with a mistake changes nothing, and the text that is in force already makes no new "
		       "epoch.\n\n"
		       "--previous puts back what was in force before, as a new epoch; said again, it takes that back.",
	.args = (const struct cli_arg[]){ { "FILE", "the policy", .optional = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		{ "previous", '\0', NULL, "put back what was in force before" },
		{ "dry-run", 'n', NULL, "tell what would change and change nothing" },
		{ "key", 'k', "FILE", "sign it with this secret key", CLI_FILE },
		{ "signature", '\0', "FILE", "the signature, of 'prickle policy sign'", CLI_FILE },
		{ "note", 'm', "TEXT", "why, for 'prickle policy epochs'" },
		{ "yes", 'y', NULL, "do not ask" },
		CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy apply node.policy --dry-run", "prickle policy apply node.policy --note \"ticket 4711\"",
					   "prickle policy apply --previous", NULL },
	.run = apply,
};

/* --- epochs --------------------------------------------------------------------------------- */

static void epoch_line(struct buf *out, const struct policy_epoch_info *e)
{
	buf_printf(out, "%c %6llu  ", e->in_force ? '*' : ' ', (unsigned long long)e->epoch);
	date_rfc3339(out, e->time_us / 1000000);
	buf_printf(out, "  %-24s %s%s%s%s\n", e->who, e->note, e->signer[0] == '\0' ? "" : " (signed by ", e->signer, e->signer[0] == '\0' ? "" : ")");
}

static json_t *epoch_json(const struct policy_epoch_info *e)
{
	AUTO_BUF struct buf when = BUF_INIT(64), hex = BUF_INIT(128);

	date_rfc3339_ms(&when, e->time_us);
	hex_encode(&hex, slice_of(e->sha256, sizeof(e->sha256)));
	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:b}", "epoch", (json_int_t)e->epoch, "time", buf_cstr(&when), "who", e->who, "note", e->note,
			 "signer", e->signer, "sha256", buf_cstr(&hex), "in_force", e->in_force);
}

static int epochs(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT((size_t)POLICY_EPOCHS_MAX * 1024);
	AUTO_BUF struct buf out = BUF_INIT(64u << 20);
	struct policy_epoch_info *list = NULL;
	struct policy_store *store;
	struct errmsg why = { 0 };
	json_t *all;
	size_t count = 0;
	bool shipped = true;
	/* Root finishes on the way what a crash interrupted. */
	int code = policy_cli_open(cli, geteuid() == 0 ? POLICY_STORE_WRITE | POLICY_STORE_REPAIR : 0, &store), err;

	if (code != CLI_OK)
		return code;
	err = policy_store_epochs(store, &arena, &list, &count, &why);
	policy_store_close(store);
	if (err != 0)
		return policy_cli_fail(cli, err, &why);
	all = json_array();
	for (size_t i = 0; i < count; i++) {
		shipped &= !list[i].in_force;
		epoch_line(&out, &list[i]);
		json_array_append_new(all, epoch_json(&list[i]));
	}
	if (cli_json(cli))
		return policy_cli_json(cli, all);
	json_decref(all);
	if (shipped)
		buf_adds(&out, "*      0  the policy that ships with this program\n");
	return cli_print(cli, &out);
}

const struct cli_command cmd_policy_epochs = {
	.words = "policy epochs", .summary = "list the policies that were put in force",
	.description = "A star marks the one that is.",
	.options = (const struct cli_option[]){ CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy epochs", NULL },
	.run = epochs,
};
