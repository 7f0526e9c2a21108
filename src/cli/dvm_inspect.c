/*
 * `prickle dvm inspect`: a class, a jar or a JDK image as text or JSON.
 *
 * The file is mapped here and read in a child that keeps nothing but that memory and standard output: no files, no sockets, a bound on memory and on time.
 * A child that dies of a file is a sentence, and the next file has its turn.
 */
#include "cli/dvm_inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "dvm/classfile/print.h"
#include "sys/sandbox.h"

#define FILE_BYTES_MAX	 (4ull << 30)
#define CHILD_DATA_BYTES (3ull << 30)
#define CHILD_CPU_S	 300u

bool dvm_inspect_wanted(const struct dvm_inspection *in, struct slice name)
{
	char text[4096];

	return in->wanted != NULL && slice_to_str(name, text, sizeof(text)) && fnmatch(in->wanted, text, 0) == 0;
}

int dvm_inspect_flush(struct dvm_inspection *in, struct errmsg *why)
{
	int err = in->out->err;

	if (err != 0)
		return errmsg_say(why, err, "its text would have more than %u MiB", INSPECT_OUT_BYTES >> 20);
	return cli_print(in->cli, in->out) == CLI_OK ? 0 : errmsg_say(why, -EIO, "standard output is closed");
}

int dvm_inspect_class(struct dvm_inspection *in, struct slice entry, struct slice bytes, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(INSPECT_ARENA_BYTES);
	struct class_fault fault;
	struct class_file c;

	if (!class_parse(&arena, bytes, &c, &fault))
		return errmsg_say(why, -EBADMSG, "%s (JVMS %s, byte %u)", fault.text, fault.section, fault.offset);
	if (cli_json(in->cli)) {
		if (entry.len > 0) {
			buf_adds(in->out, in->shown > 0 ? ",{\"entry\":\"" : "{\"entry\":\"");
			class_print_escaped(in->out, entry);
			buf_adds(in->out, "\",\"class_file\":");
		}
	} else if (entry.len > 0) {
		buf_adds(in->out, in->shown > 0 ? "\nentry: " : "entry: ");
		class_print_escaped(in->out, entry);
	}
	class_print(&arena, in->out, &c, in->flags);
	if (cli_json(in->cli) && entry.len > 0)
		buf_addc(in->out, '}');
	in->shown++;
	return dvm_inspect_flush(in, why);
}

static void head(struct dvm_inspection *in, const char *kind)
{
	if (!cli_json(in->cli)) {
		buf_printf(in->out, "file: %s (%s)", in->path, kind);
		return;
	}
	buf_adds(in->out, "{\"file\":");
	admin_json_string(in->out, slice_str(in->path));
	buf_printf(in->out, ",\"kind\":\"%s\",\"bytes\":%zu", kind, in->bytes.len);
}

static int look(struct dvm_inspection *in, struct errmsg *why)
{
	bool image = slice_starts(in->bytes, SLICE("\xda\xda\xfe\xca")) || slice_starts(in->bytes, SLICE("\xca\xfe\xda\xda"));
	bool class = slice_starts(in->bytes, SLICE("\xca\xfe\xba\xbe"));
	int err;

	if (!class) {
		head(in, image ? "image" : "jar");
		err = image ? dvm_inspect_image(in, why) : dvm_inspect_jar(in, why);
	} else {
		head(in, "class");
		if (cli_json(in->cli))
			buf_adds(in->out, ",\"class_file\":");
		err = dvm_inspect_class(in, (struct slice){ 0 }, in->bytes, why);
	}
	if (err == 0)
		return 0;
	buf_reset(in->out);		/* what was not printed yet is half of something */
	if (cli_json(in->cli) && !in->begun)
		head(in, class ? "class" : image ? "image" : "jar");
	if (cli_json(in->cli) && in->listing)
		buf_addc(in->out, ']');
	return err;
}

NORETURN static void child(struct dvm_inspection *in)
{
	struct sandbox box = { .data_bytes_max = CHILD_DATA_BYTES, .files_max = 16 };
	struct rlimit cpu = { CHILD_CPU_S, CHILD_CPU_S + 1 };
	struct sandbox_report report;
	struct errmsg why = { 0 };
	int err = 0;

	/* A sanitizer's run-time needs more than the sandbox leaves. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || setrlimit(RLIMIT_CPU, &cpu) != 0 || close_range(3, ~0u, 0) != 0)
		err = errmsg_set(&why, -errno, "confine the reader");
	if (err == 0 && !SANITIZED)
		err = sandbox_apply(&box, &report, &why);
	if (err == 0)
		err = look(in, &why);
	if (cli_json(in->cli)) {
		if (err != 0) {
			buf_adds(in->out, ",\"error\":");
			admin_json_string(in->out, slice_str(why.text));
		}
		buf_adds(in->out, "}\n");
		(void)cli_print(in->cli, in->out);
	} else if (err != 0) {
		(void)cli_fail(in->cli, CLI_FAILED, "'%s': %s", in->path, why.text);
	}
	_exit(err == 0 ? CLI_OK : CLI_FAILED);
}

/* The child's end as an exit code; its own failures it told itself. */
static int wait_for(struct cli *cli, pid_t pid, const char *path)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return cli_fail(cli, CLI_FAILED, "wait for the reader: %s", strerrordesc_np(errno));
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	if (WTERMSIG(status) == SIGPIPE)	/* as `head` ends all programs before it */
		return CLI_FAILED;
	return cli_fail(cli, CLI_FAILED, "'%s': its reader was ended by signal %d (%s): the file asks for more memory or time than one file may take", path,
			WTERMSIG(status), strsignal(WTERMSIG(status)));
}

static int map_file(struct cli *cli, const char *path, struct slice *out)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;

	if (fd < 0 || fstat(fd, &st) != 0)
		return cli_fail(cli, errno == ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "'%s': %s", path, strerrordesc_np(errno));
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || (uint64_t)st.st_size > FILE_BYTES_MAX)
		return cli_fail(cli, CLI_FAILED, "'%s' is no regular file of 1 byte to 4 GiB: give a class file, a jar, or lib/modules of a JDK", path);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return cli_fail(cli, CLI_FAILED, "'%s': %s", path, strerrordesc_np(errno));
	*out = slice_of(map, (size_t)st.st_size);
	return CLI_OK;
}

static int inspect_file(struct dvm_inspection *in)
{
	int code = map_file(in->cli, in->path, &in->bytes);
	pid_t pid;

	if (code != CLI_OK)
		return code;
	(void)fflush(NULL);		/* or the child prints it again */
	pid = fork();
	if (pid == 0)
		child(in);
	code = pid < 0 ? cli_fail(in->cli, CLI_FAILED, "start a reader: %s", strerrordesc_np(errno)) : wait_for(in->cli, pid, in->path);
	munmap((void *)(uintptr_t)in->bytes.ptr, in->bytes.len);
	return code;
}

/* Names of classes with dots or slashes are the same to the user. */
static char *pattern_of(const char *name)
{
	char *copy = name == NULL ? NULL : strdup(name);

	for (char *p = copy; p != NULL && *p != '\0'; p++)
		if (*p == '.')
			*p = '/';
	return copy;
}

static int inspect(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(INSPECT_OUT_BYTES), bracket = BUF_INIT(16);
	AUTO_FREE char *wanted = pattern_of(cli_value(cli, "class"));
	struct dvm_inspection in = { .cli = cli, .out = &out, .wanted = wanted };
	int worst = CLI_OK;

	in.flags = (cli_json(cli) ? CLASS_PRINT_JSON : 0) | (cli_has(cli, "code") ? CLASS_PRINT_CODE : 0) |
		   (cli_has(cli, "constants") ? CLASS_PRINT_CONSTANTS : 0);
	for (size_t i = 0; i < cli_arg_count(cli); i++) {
		if (cli_json(cli)) {
			buf_adds(&bracket, i == 0 ? "[" : ",");
			if (cli_print(cli, &bracket) != CLI_OK)
				return CLI_FAILED;
		}
		in.path = cli_arg(cli, i);
		int code = inspect_file(&in);
		if (code != CLI_OK)
			worst = worst == CLI_OK ? code : CLI_FAILED;
	}
	if (cli_json(cli)) {
		buf_adds(&bracket, "]\n");
		if (cli_print(cli, &bracket) != CLI_OK)
			return CLI_FAILED;
	}
	return worst;
}

const struct cli_command cmd_dvm_inspect = {
	.words = "dvm inspect",
	.summary = "show what is in a class file, a jar or a JDK image",
	.description = "Of a class: version, flags, members, all attributes (annotations, inner classes, bootstrap methods, records, permitted subclasses, module "
		       "descriptors); with --code instructions with their operands, exception and line tables and frames; with --constants its constant pool. "
		       "Of a jar or of lib/modules of a JDK: its entries; with --class the classes of that name. Nothing is loaded, run or written, and "
		       "files may be hostile: they are read in a process that can do nothing but print.\n\n"
		       "With --json the output is one list with an object for each file.",
	.args = (const struct cli_arg[]){ { "FILE", "a class file, a jar, or lib/modules of a JDK", .many = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		{ "class", 'c', "NAME", "classes of this name in a jar or image; * and ? stand for any letters, dots for slashes" },
		{ "code", '\0', NULL, "instructions, their tables and frames" },
		{ "constants", '\0', NULL, "the constant pool" }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle dvm inspect Main.class --code", "prickle dvm inspect app.jar",
		"prickle dvm inspect /usr/lib/jvm/default-java/lib/modules --class java.lang.Object --code --constants",
		"prickle dvm inspect app.jar --class 'org.example.*' --json", NULL },
	.run = inspect,
};
