/*
 * `prickle spine build`: compile an extension, and show it as the loader will see it.
 */
#include <errno.h>

#include "cli/spine.h"
#include "cli/spine_tool.h"
#include "spine/rights.h"

struct built {
	const struct object *object;
	struct inspect_report report;
	const char *path;
};

/* Under the rights of the shipped policy. */
static int inspect(struct cli *cli, struct arena *arena, struct built *b)
{
	const struct spine_manifest *m = b->object->manifest;
	struct errmsg why = { 0 };
	struct inspect_rights rights = {
		.verdicts = SPINE_VERDICTS_ALL, .instructions_max = m == NULL ? RIGHTS_DEFAULT_INSTRUCTIONS : m->instructions_max,
		.memory_bytes_max = m == NULL ? RIGHTS_DEFAULT_MEMORY_BYTES : m->memory_bytes_max, .syscall_programs = true,
	};

	if (m != NULL)
		rights.verdicts = (m->verdicts & (SPINE_DROP | SPINE_PASS | SPINE_TX)) | SPINE_ABORTED;
	int err = inspect_object(arena, b->object, &rights, &b->report, &why);
	return err == 0 ? CLI_OK : cli_fail(cli, CLI_FAILED, "%s: %s", b->path, why.text);
}

static json_t *build_json(const struct built *b)
{
	const struct spine_manifest *m = b->object->manifest;
	json_t *o = json_pack("{s:s, s:I}", "object", b->path, "memory_bytes", (json_int_t)b->report.memory_bytes);
	json_t *findings = json_array(), *maps = json_array(), *handlers = json_array();

	json_object_set_new(o, "cost", b->report.cost == INSPECT_UNBOUNDED ? json_null() :
			    json_integer((json_int_t)b->report.cost));
	for (size_t i = 0; i < b->report.finding_count; i++)
		json_array_append_new(findings, spine_cli_finding_json(&b->report.findings[i]));
	for (size_t i = 0; i < b->object->map_count; i++)
		json_array_append_new(maps, json_string(b->object->maps[i].name));
	for (size_t i = 0; i < b->object->handler_count; i++)
		json_array_append_new(handlers, json_string(b->object->handlers[i].name));
	json_object_set_new(o, "maps", maps);
	json_object_set_new(o, "handlers", handlers);
	json_object_set_new(o, "findings", findings);
	if (m == NULL) {
		json_object_set_new(o, "name", json_null());
		return o;
	}
	json_object_set_new(o, "name", json_string(m->name));
	json_object_set_new(o, "version", json_string(m->version));
	json_object_set_new(o, "match", json_string(m->match));
	json_object_set_new(o, "verdicts", spine_cli_verdict_json(m->verdicts));
	json_object_set_new(o, "instructions_max", json_integer(m->instructions_max));
	json_object_set_new(o, "memory_bytes_max", json_integer((json_int_t)m->memory_bytes_max));
	return o;
}

static void build_text(struct buf *out, const struct built *b)
{
	const struct spine_manifest *m = b->object->manifest;

	if (m == NULL) {
		buf_printf(out, "%s: an object without manifest; it can be adopted, not installed\n", b->path);
	} else {
		buf_printf(out, "%s: %s %s\n  match     %s\n  verdicts  ", b->path, m->name, m->version,
			   m->match[0] == '\0' ? "(every frame)" : m->match);
		spine_cli_verdict_text(out, m->verdicts);
		buf_addc(out, '\n');
	}
	if (b->report.cost == INSPECT_UNBOUNDED)
		buf_printf(out, "  cost      not bounded: %s\n", b->report.cost_why == NULL ? "" : b->report.cost_why);
	else
		buf_printf(out, "  cost      at most %llu instructions a packet\n", (unsigned long long)b->report.cost);
	buf_printf(out, "  memory    %llu bytes or more in %zu map%s\n", (unsigned long long)b->report.memory_bytes,
		   b->object->map_count, b->object->map_count == 1 ? "" : "s");
	for (size_t i = 0; i < b->object->handler_count; i++)
		buf_printf(out, "  handler   %u %s(struct %s)\n", b->object->handlers[i].id, b->object->handlers[i].name,
			   b->object->handlers[i].type);
	if (b->report.finding_count > 0)
		buf_adds(out, "  needs more than the shipped policy gives:\n");
	inspect_findings_text(out, &b->report);
}

/* Read an object, inspect it and print what was found. *refused: the shipped policy would not take it. */
static int show(struct cli *cli, const char *path, bool *refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(TOOL_ARENA_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct built b = { .path = path };
	struct slice bytes;
	int code = tool_object(cli, &arena, path, &bytes, &b.object);

	if (code == CLI_OK)
		code = inspect(cli, &arena, &b);
	if (code != CLI_OK)
		return code;
	*refused = b.report.finding_count > 0;
	if (cli_json(cli))
		return spine_cli_json(cli, build_json(&b));
	build_text(&out, &b);
	return cli_print(cli, &out);
}

static int build(struct cli *cli)
{
	struct tool_paths paths;
	bool refused;
	int code = tool_paths(cli, cli_arg(cli, 0), &paths);

	if (code == CLI_OK && paths.source[0] == '\0')
		code = cli_fail(cli, CLI_USAGE, "%s: build takes a directory or a source file", paths.object);
	if (code == CLI_OK)
		code = tool_compile(cli, &paths);
	return code == CLI_OK ? show(cli, paths.object, &refused) : code;
}

static int inspect_file(struct cli *cli)
{
	bool refused = false;
	int code = show(cli, cli_arg(cli, 0), &refused);

	return code == CLI_OK && refused ? CLI_REFUSED : code;
}

const struct cli_command cmd_spine_build = {
	.words = "spine build", .summary = "compile an extension and show what the inspector finds in it",
	.description = "Compiles NAME.bpf.c to NAME.o with clang (clang-19, clang, ... of PATH) and the headers of this program, "
		       "then prints the manifest, the longest path that a packet may take, the memory of its maps, and "
		       "everything that the shipped policy would refuse.\n\n"
		       "A source that includes \"vmlinux.h\" (before <prickle/spine.h>) for the kernel's own types gets one beside it, made "
		       "from this kernel by bpftool, unless one is there. Accesses to its structs are relocated (CO-RE), so the object fits "
		       "other kernels, too.",
	.args = (const struct cli_arg[]){ { "PATH", "the directory (default: this one) or the source file", .optional = true,
					    .complete = CLI_FILE }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine build no-telnet", "prickle spine build router.bpf.c --json", NULL },
	.run = build,
};

const struct cli_command cmd_spine_inspect = {
	.words = "spine inspect", .summary = "show what an object file would do, without loading it",
	.description = "Manifest, longest path, memory, handlers, and all that the shipped policy would refuse, each "
		       "with its instruction and source line. Any eBPF object can be looked at, also one that is hostile: nothing of it "
		       "reaches the kernel. Exit code 5: it would be refused.",
	.args = (const struct cli_arg[]){ { "FILE", "an object file", .complete = CLI_FILE }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine inspect stranger.o", "prickle spine inspect stranger.o --json", NULL },
	.run = inspect_file,
};
