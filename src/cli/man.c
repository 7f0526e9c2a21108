/*
 * `prickle man`: manual pages (mdoc) from the tables of commands and options.
 *
 * prickle(1), one page a command (prickle-config-check(1)), prickle-spine(1), prickle-nat64(1), prickle.yaml(5) and
 * prickle-nat64.yaml(5).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "conf/config.h"
#include "nat64/settings.h"

#define PAGE_BYTES (1u << 20)
/* No date of today: the same source makes the same page. It moves with the version in meson.build. */
#define RELEASED "November 23, 2026"

/* Text on lines of its own: no line may begin with a control character, a backslash is data. */
static void add_text(struct buf *out, const char *text)
{
	bool line_start = true;

	for (; *text != '\0'; text++) {
		if (text[0] == '\n' && text[1] == '\n') {
			buf_adds(out, "\n.Pp\n");
			text++;
			line_start = true;
			continue;
		}
		if (line_start && (*text == '.' || *text == '\''))
			buf_adds(out, "\\&");
		if (*text == '\\')
			buf_adds(out, "\\e");
		else
			buf_addc(out, (uint8_t)*text);
		line_start = *text == '\n';
	}
	buf_addc(out, '\n');
}

/* "config check" -> "prickle-config-check", in capitals for the title. */
static void add_page_name(struct buf *out, const char *words, bool capitals)
{
	buf_adds(out, capitals ? "PRICKLE" : "prickle");
	if (*words != '\0')
		buf_addc(out, '-');
	for (; *words != '\0'; words++) {
		uint8_t c = *words == ' ' ? '-' : (uint8_t)*words;
		buf_addc(out, capitals ? ascii_upper(c) : c);
	}
}

static void add_head(struct buf *out, const char *words, const char *summary)
{
	buf_adds(out, ".Dd " RELEASED "\n.Dt ");
	add_page_name(out, words, true);
	buf_adds(out, " 1\n.Os\n.Sh NAME\n.Nm ");
	add_page_name(out, words, false);
	buf_printf(out, "\n.Nd %s\n", summary);
}

static void add_option(struct buf *out, const struct cli_option *o)
{
	buf_adds(out, ".It ");
	if (o->letter != '\0')
		buf_printf(out, "Fl %c , ", o->letter);
	buf_printf(out, "Fl -%s", o->name);
	if (o->value != NULL)
		buf_printf(out, " Ar %s", o->value);
	buf_addc(out, '\n');
	add_text(out, o->help);
}

static void add_exit_codes(struct buf *out)
{
	buf_adds(out, ".Sh EXIT STATUS\n.Bl -tag -width 4n\n"
		      ".It 0\nit worked\n.It 1\nit failed\n.It 2\nthe command line is wrong\n"
		      ".It 3\nthe node works, but not all of it\n.It 4\nno such thing\n.It 5\nrefused\n"
		      ".It 75\na passing problem: try again\n.It 78\nthe configuration is wrong\n.El\n");
}

/* Groups of commands with a page of their own, prickle-spine(1). */
static const struct {
	const char *word, *summary, *description, *files;
} groups[] = {
	{ "spine", "XDP programs of several owners on one interface",
	  "Many extensions, eBPF programs with a manifest or XDP programs as they are, share one network interface. Each has a match "
	  "rule in the language of tcpdump, the verdicts that it may return, and a budget; one that breaks them is switched off, "
	  "and its neighbours go on. Everything is pinned in bpffs: no process of ours stands in the way of packets.\n\n"
	  "Begin with 'prickle spine doctor', then 'prickle spine install filter --dev IF' or 'prickle spine new NAME'. All these "
	  "commands work inside 'ip netns exec', too, or take --netns.",
	  ".It Pa /var/lib/prickle/policy\nwhat extensions may do, among others: prickle-policy(1); the shipped policy serves until another "
	  "one is applied\n"
	  ".It Pa /sys/fs/bpf/prickle/spine\nthe state of all interfaces, in the bpffs of the host\n" },
	{ "nat64", "translator between IPv6 and IPv4",
	  "Stateless (siit, RFC 7915), stateful (nat64, RFC 6146) and the customer's side of 464XLAT (clat, RFC 6877). Packets are translated by "
	  "programs in the kernel, on XDP or tc; state is pinned in bpffs, so that no process of ours stands in the way of packets and none "
	  "loses a session when it ends. The daemon, 'prickle nat64 run', does what programs cannot: fragments, FTP, logs, prefixes.\n\n"
	  "Begin with 'prickle nat64 check FILE', then 'prickle nat64 run --config FILE'; 'prickle nat64 show' tells what is wrong, "
	  "'prickle nat64 explain' what becomes of a packet. All these commands work inside 'ip netns exec', too, or take --netns. The "
	  "file is described in prickle-nat64.yaml(5).",
	  ".It Pa /sys/fs/bpf/prickle/nat64\nthe state of all translators, in the bpffs of the host\n" },
	{ "policy", "who may do what on a node",
	  "One policy decides for mail users and administrators, for extensions on network interfaces and for programs that 'prickle policy run' starts. "
	  "It is a text of rules ('allow', 'never', 'enter'), checked as a whole, put in force at once for every process, and kept as an epoch that can be "
	  "signed and taken back. The shipped one serves until another is applied.\n\n"
	  "Begin with 'prickle policy show --shipped', then 'prickle policy check FILE' and 'prickle policy apply FILE --dry-run'. A refusal tells an "
	  "id, and 'prickle policy explain ID' the line that would allow it.",
	  ".It Pa /var/lib/prickle/policy\nkeys, epochs, and the log of decisions\n"
	  ".It Pa /run/prickle/policy\nthe table that processes read, and their audit rings\n" },
	{ "dvm", "Java code, looked at before it runs",
	  "Class files, jars and run-time images are code from elsewhere. These commands read them without loading or running anything: what comes from a "
	  "stranger is parsed in a process that can do nothing but answer, within bounds of memory and time. They need no JDK.\n\n"
	  "Begin with 'prickle dvm inspect FILE'.",
	  ".It Pa lib/modules\nbelow a JDK's directory: its run-time image, with all its classes\n" },
};

static size_t group_find(struct slice word)
{
	size_t i = 0;

	while (i < ARRAY_LEN(groups) && !slice_eq(slice_str(groups[i].word), word))
		i++;
	return i;
}

static void command_page(struct buf *out, const struct cli_command *c)
{
	add_head(out, c->words, c->summary);
	buf_printf(out, ".Sh SYNOPSIS\n.Nm prickle %s\n", c->words);
	if (c->options != NULL || c->json)
		buf_adds(out, ".Op Ar options\n");
	for (const struct cli_arg *a = c->args; a != NULL && a->name != NULL; a++)
		buf_printf(out, ".%sAr %s%s\n", a->optional ? "Op " : "", a->name, a->many ? " ..." : "");
	buf_adds(out, ".Sh DESCRIPTION\n");
	add_text(out, c->description != NULL ? c->description : c->summary);
	if (c->args != NULL && c->args[0].name != NULL) {
		buf_adds(out, ".Pp\n.Bl -tag -width Ds\n");
		for (const struct cli_arg *a = c->args; a->name != NULL; a++) {
			buf_printf(out, ".It Ar %s\n", a->name);
			add_text(out, a->help);
		}
		buf_adds(out, ".El\n");
	}
	buf_adds(out, ".Pp\nThe options are:\n.Bl -tag -width Ds\n");
	for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++)
		add_option(out, o);
	if (c->json)
		add_option(out, &(struct cli_option){ "json", '\0', NULL, "print JSON", CLI_ANY });
	add_option(out, &(struct cli_option){ "help", 'h', NULL, "show the help", CLI_ANY });
	buf_adds(out, ".El\n");
	add_exit_codes(out);
	if (c->examples != NULL) {
		buf_adds(out, ".Sh EXAMPLES\n");
		for (const char *const *e = c->examples; *e != NULL; e++) {
			buf_adds(out, ".Dl ");
			add_text(out, *e);
		}
	}
	buf_adds(out, ".Sh SEE ALSO\n.Xr prickle 1 ,\n.Xr prickle.yaml 5\n");
}

static void group_page(struct buf *out, size_t which)
{
	size_t skip = strlen(groups[which].word);

	add_head(out, groups[which].word, groups[which].summary);
	buf_printf(out, ".Sh SYNOPSIS\n.Nm prickle %s\n.Ar command\n.Op Ar options\n.Op Ar arguments\n.Sh DESCRIPTION\n",
		   groups[which].word);
	add_text(out, groups[which].description);
	buf_adds(out, ".Pp\nThe commands, each with a page of its own:\n.Bl -tag -width Ds\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = cli_commands[i];
		if (c->hidden || strncmp(c->words, groups[which].word, skip) != 0 || c->words[skip] != ' ')
			continue;
		buf_adds(out, ".It Xr ");
		add_page_name(out, c->words, false);
		buf_adds(out, " 1\n");
		add_text(out, c->summary);
	}
	buf_printf(out, ".El\n.Sh FILES\n.Bl -tag -width Ds\n%s.El\n", groups[which].files);
	add_exit_codes(out);
	buf_adds(out, ".Sh SEE ALSO\n.Xr prickle 1 ,\n.Xr libprickle-spine 3\n");
}

static void main_page(struct buf *out)
{
	add_head(out, "", "services for a cluster of Linux machines");
	buf_adds(out, ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar options\n.Op Ar arguments\n.Sh DESCRIPTION\n"
		      "A mail server - SMTP, LMTP, submission, IMAP and POP3 - and SPINE, many XDP programs on one network\n"
		      "interface:\n.Xr prickle-spine 1 .\n"
		      "Every command prints results on standard output and everything else on standard error;\n"
		      "commands that read take\n.Fl -json .\n.Sh COMMANDS\n.Bl -tag -width Ds\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = cli_commands[i];
		if (c->hidden)
			continue;
		buf_printf(out, ".It Cm %s\n", c->words);
		add_text(out, c->summary);
	}
	buf_adds(out, ".El\n.Sh FILES\n.Bl -tag -width Ds\n.It Pa " CLI_DEFAULT_CONFIG
		      "\nthe configuration; the defaults serve when it does not exist\n"
		      ".It Pa /var/lib/prickle\nall mail, users and keys\n.El\n");
	add_exit_codes(out);
	buf_adds(out, ".Sh SEE ALSO\n.Xr prickle.yaml 5\n");
}

static void config_page(struct buf *out)
{
	buf_adds(out, ".Dd " RELEASED "\n.Dt PRICKLE.YAML 5\n.Os\n.Sh NAME\n.Nm prickle.yaml\n"
		      ".Nd configuration of prickle\n.Sh DESCRIPTION\n"
		      "A YAML file of nested groups: the option\n.Cm mail.quota\nstands as\n"
		      ".Bd -literal -offset indent\nmail:\n  quota: 10 GiB\n.Ed\n.Pp\n"
		      "Sizes have the units KiB, MiB, GiB, TiB; times us, ms, s, m, h, d.\n"
		      "Lists are written as [a, b] or one item a line.\n"
		      "Anchors, aliases, tags, merge keys, second documents and duplicate keys are errors.\n"
		      "The program never writes this file.\n"
		      ".Xr prickle-config-check 1\nfinds mistakes.\n.Sh OPTIONS\n.Bl -tag -width Ds\n");
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct config_option *o = &config_options[i];
		buf_printf(out, ".It Cm %s\n", o->key);
		add_text(out, o->doc);
		buf_adds(out, "Takes\n");
		config_option_type(out, o);
		buf_printf(out, ".\nDefault: %s.\nChanges %s.\n", o->default_text[0] == '\0' ? "empty" : o->default_text,
			   o->live ? "at a reload" : "when the node starts again");
	}
	buf_adds(out, ".El\n.Sh SEE ALSO\n.Xr prickle 1\n");
}

static void translator_page(struct buf *out)
{
	buf_adds(out, ".Dd " RELEASED "\n.Dt PRICKLE-NAT64.YAML 5\n.Os\n.Sh NAME\n.Nm prickle-nat64.yaml\n"
		      ".Nd settings of a translator between IPv6 and IPv4\n.Sh DESCRIPTION\n"
		      "A YAML file of nested groups, one file a translator, named on the command line.\nA stateful one is\n"
		      ".Bd -literal -offset indent\nmode: nat64\ninterfaces: [eth0, eth1]\npref64: 64:ff9b::/96\npool4:\n"
		      "  - 192.0.2.1\n  - 192.0.2.8/29 1024-65535\n.Ed\n.Pp\nand a stateless one\n"
		      ".Bd -literal -offset indent\nmode: siit\ninterfaces: [eth0]\npref64: 2001:db8:64::/96\nmappings:\n"
		      "  - 192.0.2.0/24 2001:db8:1::/120\n.Ed\n.Pp\n"
		      "Sizes have the units KiB, MiB, GiB; times ms, s, m, h, d.\n"
		      "A list of one item may be written without brackets.\n"
		      ".Xr prickle-nat64-check 1\nfinds mistakes; its option\n.Fl -show\nprints all settings with their defaults.\n"
		      ".Sh OPTIONS\n.Bl -tag -width Ds\n");
	for (size_t i = 0; i < NAT64_OPTION_COUNT; i++) {
		const struct nat64_option *o = &nat64_options[i];
		buf_printf(out, ".It Cm %s\n", o->key);
		add_text(out, o->doc);
		buf_adds(out, "Takes\n");
		nat64_option_type(out, o);
		buf_printf(out, ".\nDefault: %s.\nChanges %s.\n", o->default_text[0] == '\0' ? "none" : o->default_text,
			   o->live ? "with 'prickle nat64 apply'" : "with a new instance");
	}
	buf_adds(out, ".El\n.Sh SEE ALSO\n.Xr prickle-nat64 1\n");
}

/* Write `page` to `name` under the directory dirfd, making its parent "man1" or "man5". */
static int write_page(struct cli *cli, int dirfd, const char *section, const char *name, struct buf *page)
{
	char path[256];

	if (mkdirat(dirfd, section, 0755) != 0 && errno != EEXIST)
		return cli_fail(cli, CLI_FAILED, "cannot make the directory '%s': %s", section, strerrordesc_np(errno));
	snprintf(path, sizeof(path), "%s/%s", section, name);
	AUTO_FD int fd = openat(dirfd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || page->err != 0 || write(fd, page->ptr, page->len) != (ssize_t)page->len)
		return cli_fail(cli, CLI_FAILED, "cannot write '%s': %s", path, strerrordesc_np(errno));
	buf_reset(page);
	return CLI_OK;
}

static int write_all(struct cli *cli, const char *directory)
{
	AUTO_BUF struct buf page = BUF_INIT(PAGE_BYTES);
	AUTO_BUF struct buf name = BUF_INIT(256);
	AUTO_FD int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return cli_fail(cli, CLI_FAILED, "directory '%s': %s", directory, strerrordesc_np(errno));
	main_page(&page);
	int err = write_page(cli, fd, "man1", "prickle.1", &page);
	config_page(&page);
	if (err == CLI_OK)
		err = write_page(cli, fd, "man5", "prickle.yaml.5", &page);
	translator_page(&page);
	if (err == CLI_OK)
		err = write_page(cli, fd, "man5", "prickle-nat64.yaml.5", &page);
	for (size_t i = 0; i < ARRAY_LEN(groups) && err == CLI_OK; i++) {
		buf_reset(&name);
		add_page_name(&name, groups[i].word, false);
		buf_adds(&name, ".1");
		group_page(&page, i);
		err = write_page(cli, fd, "man1", buf_cstr(&name), &page);
	}
	for (size_t i = 0; i < cli_command_count && err == CLI_OK; i++) {
		if (cli_commands[i]->hidden)
			continue;
		buf_reset(&name);
		add_page_name(&name, cli_commands[i]->words, false);
		buf_adds(&name, ".1");
		command_page(&page, cli_commands[i]);
		err = write_page(cli, fd, "man1", buf_cstr(&name), &page);
	}
	return err;
}

static int man(struct cli *cli)
{
	AUTO_BUF struct buf words = BUF_INIT(65536);
	AUTO_BUF struct buf page = BUF_INIT(PAGE_BYTES);

	if (cli_has(cli, "write"))
		return write_all(cli, cli_value(cli, "write"));
	for (size_t i = 0; i < cli_arg_count(cli); i++)
		buf_printf(&words, "%s%s", i > 0 ? " " : "", cli_arg(cli, i));
	const struct cli_command *c = cli_find(buf_slice(&words));
	if (words.len == 0 || slice_eq(buf_slice(&words), SLICE("prickle")))
		main_page(&page);
	else if (slice_eq(buf_slice(&words), SLICE("prickle.yaml")))
		config_page(&page);
	else if (slice_eq(buf_slice(&words), SLICE("prickle-nat64.yaml")))
		translator_page(&page);
	else if (c != NULL && !c->hidden)
		command_page(&page, c);
	else if (group_find(buf_slice(&words)) < ARRAY_LEN(groups))
		group_page(&page, group_find(buf_slice(&words)));
	else
		return cli_fail(cli, CLI_NOT_FOUND, "there is no manual page '%s'", buf_cstr(&words));
	return cli_print(cli, &page);
}

const struct cli_command cmd_man = {
	.words = "man",
	.summary = "print a manual page",
	.description = "The page comes in mdoc form: 'prickle man | man -l -' shows it.",
	.args = (const struct cli_arg[]){
		{ "PAGE", "a command, prickle.yaml or prickle-nat64.yaml", true, true, CLI_COMMAND_WORDS }, { 0 } },
	.options = (const struct cli_option[]){
		{ "write", '\0', "DIR", "write all pages to DIR/man1 and DIR/man5", CLI_DIRECTORY }, { 0 } },
	.examples = (const char *const[]){ "prickle man config check | man -l -", "prickle man prickle.yaml", NULL },
	.run = man,
};
