/*
 * `prickle policy run`: a program of anybody's under the floor of its domain.
 */
#include <errno.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/policy.h"
#include "policy/floor.h"
#include "sys/landlock.h"
#include "sys/process.h"

#define FLOOR_TEXT_BYTES (4u << 20)

static void text_of_floor(struct buf *out, const struct floor *f)
{
	buf_adds(out, "files\n");
	for (size_t i = 0; i < f->path_count; i++) {
		buf_printf(out, "  %-40s ", f->paths[i].path);
		policy_cli_permissions(out, POLICY_FILE, f->paths[i].rights);
		buf_adds(out, "\n");
	}
	buf_printf(out, "%sTCP ports\n", f->path_count == 0 ? "  none\n" : "");
	if (f->any_connect || f->any_listen)
		buf_printf(out, "  any%s%s\n", f->any_connect ? " connect" : "", f->any_listen ? " listen" : "");
	for (size_t i = 0; i < f->port_count; i++)
		buf_printf(out, "  %u%s%s\n", f->ports[i].port, f->ports[i].connect ? " connect" : "", f->ports[i].listen ? " listen" : "");
	if (!f->any_connect && !f->any_listen && f->port_count == 0)
		buf_adds(out, "  none\n");
	buf_printf(out, "datagrams\n  %s\nkernel\n  ", f->datagrams ? "all" : "none");
	policy_cli_permissions(out, POLICY_KERNEL, f->kernel);
	buf_adds(out, f->kernel == 0 ? "nothing\n" : "\n");
	for (size_t i = 0; i < f->gap_count; i++)
		buf_printf(out, "%s  %s\n", i == 0 ? "not as the policy says\n" : "", f->gaps[i]);
}

static json_t *permissions(enum policy_class class, uint32_t bits)
{
	json_t *list = json_array();

	for (; bits != 0; bits &= bits - 1)
		json_array_append_new(list, json_string(policy_permission_name(class, bits & -bits)));
	return list;
}

static json_t *json_of_floor(const struct floor *f)
{
	json_t *paths = json_array(), *ports = json_array(), *gaps = json_array();

	for (size_t i = 0; i < f->path_count; i++)
		json_array_append_new(paths, json_pack("{s:s, s:o}", "path", f->paths[i].path, "may", permissions(POLICY_FILE, f->paths[i].rights)));
	for (size_t i = 0; i < f->port_count; i++)
		json_array_append_new(ports, json_pack("{s:i, s:b, s:b}", "port", (int)f->ports[i].port, "connect", f->ports[i].connect, "listen",
						       f->ports[i].listen));
	for (size_t i = 0; i < f->gap_count; i++)
		json_array_append_new(gaps, json_string(f->gaps[i]));
	return json_pack("{s:o, s:o, s:b, s:b, s:b, s:o, s:o}", "files", paths, "ports", ports, "any_connect", f->any_connect, "any_listen", f->any_listen,
			 "datagrams", f->datagrams, "kernel", permissions(POLICY_KERNEL, f->kernel), "not_as_the_policy_says", gaps);
}

/* The domain by its name; a domain of a named program runs that program only. CLI_OK, or complains. */
static int find_domain(struct cli *cli, const struct policy *p, const char *name, const char *program, uint16_t *out)
{
	const struct policy_subject *s;
	char *real;
	bool same;

	*out = policy_subject_find(p, slice_str(name));
	s = &p->subjects[*out];
	if (*out == 0 || (s->kind != POLICY_PROGRAM && s->kind != POLICY_JVM))
		return cli_fail(cli, CLI_NOT_FOUND, "the policy has no domain '%s' of a program: 'domain %s = program' declares one", name, name);
	if (s->kind != POLICY_PROGRAM || s->text == NULL || program == NULL)
		return CLI_OK;
	real = realpath(program, NULL);
	same = real != NULL && strcmp(real, s->text) == 0;
	free(real);
	return same ? CLI_OK : cli_fail(cli, CLI_REFUSED, "the domain '%s' is for the program '%s' alone", name, s->text);
}

static int become(struct cli *cli, const char *name)
{
	const struct passwd *user = getpwnam(name);

	if (user == NULL)
		return cli_fail(cli, CLI_NOT_FOUND, "there is no user '%s' of this system", name);
	if (initgroups(user->pw_name, user->pw_gid) != 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0)
		return cli_fail(cli, CLI_FAILED, "become user '%s': %s", name, strerrordesc_np(errno));
	return CLI_OK;
}

static int run(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf text = BUF_INIT(FLOOR_TEXT_BYTES);
	const char *domain = cli_arg(cli, 0), *user = cli_value(cli, "user");
	bool show = cli_has(cli, "show");
	const struct analysis *a;
	const struct floor *floor;
	struct errmsg why = { 0 };
	char path[PROCESS_PATH_BYTES];
	const char *argv[CLI_ARGS_MAX + 1] = { 0 };
	uint16_t subject;
	int code;

	if (!show && cli_arg(cli, 1) == NULL)
		return cli_fail(cli, CLI_USAGE, "no program: prickle policy run %s -- COMMAND; --show tells what it could do", domain);
	if (cli_arg(cli, 1) != NULL && process_find_program(cli_arg(cli, 1), path, &why) != 0)
		return cli_fail(cli, CLI_NOT_FOUND, "%s", why.text);
	code = policy_cli_source(cli, &arena, NULL, &a);
	if (code == CLI_OK)
		code = find_domain(cli, analysis_policy(a), domain, cli_arg(cli, 1) == NULL ? NULL : path, &subject);
	if (code != CLI_OK)
		return code;
	if (policy_floor(&arena, a, subject, &floor, &why) != 0)
		return cli_fail(cli, CLI_FAILED, "%s", why.text);
	if (show && cli_json(cli))
		return policy_cli_json(cli, json_of_floor(floor));
	if (show) {
		text_of_floor(&text, floor);
		return cli_print(cli, &text);
	}
	for (unsigned i = 1; cli_arg(cli, i) != NULL; i++)
		argv[i - 1] = cli_arg(cli, i);
	if (user != NULL)
		code = become(cli, user);
	if (code != CLI_OK)
		return code;
	if (policy_floor_apply(floor, cli_has(cli, "lenient"), &why) != 0)
		return cli_fail(cli, CLI_REFUSED, "the floor of '%s': %s", domain, why.text);
	/* What is open already goes past every rule; the first three are how it speaks to who started it. */
	if (close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC) != 0)
		return cli_fail(cli, CLI_FAILED, "close inherited descriptors: %s", strerrordesc_np(errno));
	execv(path, (char *const *)(uintptr_t)argv);
	return cli_fail(cli, CLI_FAILED, "run '%s' under the floor of '%s': %s%s", path, domain, strerrordesc_np(errno),
			errno == EACCES ? "; its domain must be allowed to read and exec the program, its interpreter and its libraries" : "");
}

const struct cli_command cmd_policy_run = {
	.words = "policy run",
	.summary = "run a program under the floor of its domain",
	.description = "Landlock, capabilities and a filter of system calls are made from the domain's rules: which files it may read, write, make, remove and "
		       "execute, which TCP ports it may use, whether it may start threads and processes, make sockets, and so on. Then the program is "
		       "executed; neither it nor what it starts can get more. Any program will do. What the kernel cannot hold as narrow as the policy says "
		       "(hosts, UDP) --show tells.\n\n"
		       "A dynamic program needs 'read, exec' on itself, /usr and what else it loads. It gets standard input, output and error; other open "
		       "descriptors are closed. The exit code is the program's.",
	.args = (const struct cli_arg[]){ { "DOMAIN", "a domain of the policy: domain NAME = program" },
		{ "COMMAND", "the program and its arguments, after --", .many = true, .optional = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){ CLI_OPTION_POLICY, CLI_OPTION_CONFIG,
		{ "show", '\0', NULL, "print what it could do instead of running it" },
		{ "user", 'u', "NAME", "as this user of the system (as root only)" },
		{ "lenient", '\0', NULL, "run it also where this kernel can hold less than the floor" }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle policy run backup -- /usr/bin/rsync -a /srv/app /backup", "prickle policy run backup --show", NULL },
	.run = run,
};
