/*
 * `prickle completion bash|zsh|fish`: scripts made from the table of commands. They hold
 * all words themselves and never run the program while somebody types.
 */
#include "cli/cli.h"
#include "conf/config.h"

/* Visit each first word, each second word after a given first ..., once. */
static bool first_of_its_word(size_t index, struct slice group, struct slice *word)
{
	struct slice rest = slice_str(cli_commands[index]->words), head, tail;

	if (cli_commands[index]->hidden)
		return false;
	if (group.len > 0 && (!slice_starts(rest, group) || rest.len <= group.len || rest.ptr[group.len] != ' '))
		return false;
	rest = group.len > 0 ? slice_from(rest, group.len + 1) : rest;
	slice_cut(rest, ' ', word, &tail);
	for (size_t i = 0; i < index; i++) {
		struct slice w = slice_str(cli_commands[i]->words);
		if (cli_commands[i]->hidden)
			continue;
		if (group.len > 0 && (!slice_starts(w, group) || w.len <= group.len || w.ptr[group.len] != ' '))
			continue;
		slice_cut(group.len > 0 ? slice_from(w, group.len + 1) : w, ' ', &head, &tail);
		if (slice_eq(head, *word))
			return false;
	}
	return true;
}

static void add_words(struct buf *out, struct slice group)
{
	struct slice word;

	for (size_t i = 0; i < cli_command_count; i++) {
		if (first_of_its_word(i, group, &word)) {
			buf_add(out, word);
			buf_addc(out, ' ');
		}
	}
}

static void add_option_names(struct buf *out, const struct cli_command *c)
{
	for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++)
		buf_printf(out, "--%s ", o->name);
	buf_adds(out, c->json ? "--json --help" : "--help");
}

static bool takes(const struct cli_command *c, enum cli_complete what)
{
	for (const struct cli_arg *a = c->args; a != NULL && a->name != NULL; a++) {
		if (a->complete == what)
			return true;
	}
	return false;
}

static bool takes_files(const struct cli_command *c)
{
	bool files = takes(c, CLI_FILE) || takes(c, CLI_DIRECTORY);

	for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++)
		files |= o->complete == CLI_FILE || o->complete == CLI_DIRECTORY;
	return files;
}

/* Groups: the words of a command without the last one. Each once, by its first command. */
static bool group_of(size_t index, struct slice *group)
{
	struct slice w = slice_str(cli_commands[index]->words);
	size_t blank = slice_rfind_byte(w, ' ');

	if (cli_commands[index]->hidden || blank == SLICE_NPOS)
		return false;
	*group = slice_head(w, blank);
	for (size_t i = 0; i < index; i++) {
		struct slice other = slice_str(cli_commands[i]->words);
		size_t at = slice_rfind_byte(other, ' ');
		if (!cli_commands[i]->hidden && at != SLICE_NPOS && slice_eq(slice_head(other, at), *group))
			return false;
	}
	return true;
}

/* Bash and zsh share the shape: words so far -> candidates. zsh reads bash's form by bashcompinit. */
static void bash(struct buf *out)
{
	struct slice group;

	buf_adds(out, "# prickle: made by 'prickle completion bash'\n"
		      "_prickle() {\n"
		      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} at='' words='' files='' i\n"
		      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		      "\t\tcase ${COMP_WORDS[i]} in -*) ;; *) at=\"$at ${COMP_WORDS[i]}\" ;; esac\n"
		      "\tdone\n"
		      "\tcase \"$at \" in\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = cli_commands[i];
		if (c->hidden)
			continue;
		buf_printf(out, "\t' %s '*) words='", c->words);
		add_option_names(out, c);
		if (takes(c, CLI_OPTION_KEY)) {
			for (size_t o = 0; o < OPTION_COUNT; o++)
				buf_printf(out, " %s", config_options[o].key);
		}
		if (takes(c, CLI_COMMAND_WORDS)) {
			buf_addc(out, ' ');
			add_words(out, (struct slice){ 0 });
		}
		buf_printf(out, "'; files=%s ;;\n", takes_files(c) ? "yes" : "");
	}
	for (size_t i = 0; i < cli_command_count; i++) {
		if (!group_of(i, &group))
			continue;
		buf_printf(out, "\t' %.*s ') words='", SLICE_FMT(group));
		add_words(out, group);
		buf_adds(out, "--help' ;;\n");
	}
	buf_adds(out, "\t' ') words='");
	add_words(out, (struct slice){ 0 });
	buf_adds(out, "--help --version' ;;\n"
		      "\tesac\n"
		      "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
		      "\tif [ -n \"$files\" ] && [ \"${cur#-}\" = \"$cur\" ]; then\n"
		      "\t\tCOMPREPLY+=($(compgen -f -- \"$cur\"))\n"
		      "\tfi\n"
		      "}\n"
		      "complete -o filenames -F _prickle prickle\n");
}

static void zsh(struct buf *out)
{
	buf_adds(out, "#compdef prickle\n"
		      "autoload -U +X bashcompinit && bashcompinit\n");
	bash(out);
}

/* Inside a single-quoted string of fish. */
static void add_fish_text(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\'' || *text == '\\')
			buf_addc(out, '\\');
		buf_addc(out, (uint8_t)*text);
	}
}

static void fish(struct buf *out)
{
	buf_adds(out, "# prickle: made by 'prickle completion fish'\n"
		      "function __prickle_at\n"
		      "\tset -l words (commandline -opc)[2..-1]\n"
		      "\tset words (string match -v -- '-*' $words)\n"
		      "\ttest \"$words\" = \"$argv[1]\"; or string match -q -- \"$argv[2]\" \"$words\"\n"
		      "end\n"
		      "complete -c prickle -f\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = cli_commands[i];
		struct slice w = slice_str(c->words);
		size_t blank = slice_rfind_byte(w, ' ');
		if (c->hidden)
			continue;
		struct slice group = blank == SLICE_NPOS ? slice_head(w, 0) : slice_head(w, blank);
		struct slice last = blank == SLICE_NPOS ? w : slice_from(w, blank + 1), parent;
		buf_printf(out, "complete -c prickle -n \"__prickle_at '%.*s'\" -a '%.*s' -d '", SLICE_FMT(group),
			   SLICE_FMT(last));
		add_fish_text(out, c->summary);
		buf_adds(out, "'\n");
		if (group_of(i, &parent))
			buf_printf(out, "complete -c prickle -n \"__prickle_at ''\" -a '%.*s'\n", SLICE_FMT(parent));
		for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++) {
			buf_printf(out, "complete -c prickle -n \"__prickle_at '%s' '%s *'\" -l %s", c->words,
				   c->words, o->name);
			if (o->letter != '\0')
				buf_printf(out, " -s %c", o->letter);
			buf_printf(out, "%s -d '", o->value == NULL ? "" : o->complete == CLI_ANY ? " -x" : " -r -F");
			add_fish_text(out, o->help);
			buf_adds(out, "'\n");
		}
		if (c->json)
			buf_printf(out, "complete -c prickle -n \"__prickle_at '%s' '%s *'\" -l json -d 'print JSON'\n",
				   c->words, c->words);
		if (takes(c, CLI_FILE) || takes(c, CLI_DIRECTORY))
			buf_printf(out, "complete -c prickle -n \"__prickle_at '%s' '%s *'\" -F\n", c->words, c->words);
		for (size_t o = 0; takes(c, CLI_OPTION_KEY) && o < OPTION_COUNT; o++)
			buf_printf(out, "complete -c prickle -n \"__prickle_at '%s'\" -a '%s'\n", c->words,
				   config_options[o].key);
	}
}

static int completion(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct slice shell = slice_str(cli_arg(cli, 0));

	if (slice_eq(shell, SLICE("bash")))
		bash(&out);
	else if (slice_eq(shell, SLICE("zsh")))
		zsh(&out);
	else if (slice_eq(shell, SLICE("fish")))
		fish(&out);
	else
		return cli_fail(cli, CLI_USAGE, "'%s' is not one of bash, zsh, fish", cli_arg(cli, 0));
	return cli_print(cli, &out);
}

const struct cli_command cmd_completion = {
	.words = "completion",
	.summary = "print the completion script of a shell",
	.args = (const struct cli_arg[]){ { "SHELL", "bash, zsh or fish", false, false, CLI_ANY }, { 0 } },
	.examples = (const char *const[]){ "prickle completion bash > /etc/bash_completion.d/prickle", NULL },
	.run = completion,
};
