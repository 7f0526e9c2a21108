#include "cli/spine_tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/spine.h"

extern char **environ;

int tool_write(struct cli *cli, const char *path, struct slice bytes, unsigned mode, bool exclusive)
{
	/* In a directory of somebody else's a link could lead to any file of ours. */
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (exclusive ? O_EXCL : O_TRUNC), mode);

	if (fd < 0 && errno == EEXIST)
		return cli_fail(cli, CLI_USAGE, "%s exists already; it stays as it is", path);
	if (fd < 0 && errno == ELOOP)
		return cli_fail(cli, CLI_USAGE, "%s is a symbolic link, which is not followed: remove it", path);
	while (fd >= 0 && bytes.len > 0) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n <= 0)
			break;
		bytes = slice_from(bytes, (size_t)n);
	}
	if (fd < 0 || bytes.len > 0)
		return cli_fail(cli, CLI_FAILED, "%s: cannot be written: %s", path, strerrordesc_np(errno));
	return CLI_OK;
}

/* ---- paths ---- */

static bool ends(const char *text, const char *tail)
{
	return slice_ends(slice_str(text), slice_str(tail));
}

static bool is_source(const char *name)
{
	return ends(name, ".bpf.c");
}

static bool is_object(const char *name)
{
	return ends(name, ".o");
}

/* The only file of a kind in a directory: its name; "" for none, NULL for several. */
static const char *only_file(const char *dir, bool (*kind)(const char *name), char out[256])
{
	DIR *list = opendir(dir);
	unsigned found = 0;

	out[0] = '\0';
	for (const struct dirent *e; list != NULL && (e = readdir(list)) != NULL;) {
		if (e->d_name[0] != '.' && kind(e->d_name) && found++ == 0)
			snprintf(out, 256, "%s", e->d_name);
	}
	if (list != NULL)
		closedir(list);
	return found > 1 ? NULL : out;
}

static int in_directory(struct cli *cli, const char *dir, struct tool_paths *out)
{
	char name[256];
	const char *source = only_file(dir, is_source, name);

	if (source == NULL)
		return cli_fail(cli, CLI_USAGE, "%s holds several *.bpf.c files; say which", dir);
	if (*source != '\0') {
		snprintf(out->source, sizeof(out->source), "%.3800s/%s", dir, source);
		return CLI_OK;
	}
	const char *object = only_file(dir, is_object, name);
	if (object == NULL)
		return cli_fail(cli, CLI_USAGE, "%s holds several *.o files; say which", dir);
	if (*object == '\0')
		return cli_fail(cli, CLI_NOT_FOUND, "%s holds no NAME.bpf.c; 'prickle spine new NAME' writes one", dir);
	snprintf(out->object, sizeof(out->object), "%.3800s/%s", dir, object);
	return CLI_OK;
}

/* path with another ending. */
static void with_ending(char out[4096], const char *path, const char *from, const char *to)
{
	size_t keep = strlen(path) - (ends(path, from) ? strlen(from) : 0);

	snprintf(out, 4096, "%.*s%s", (int)MIN(keep, (size_t)4000), path, to);
}

int tool_paths(struct cli *cli, const char *arg, struct tool_paths *out)
{
	const char *path = arg == NULL ? "." : arg;
	struct stat st;
	int code = CLI_OK;

	memset(out, 0, sizeof(*out));
	if (strlen(path) > 3800)
		return cli_fail(cli, CLI_USAGE, "the path is too long");
	if (stat(path, &st) != 0)
		return cli_fail(cli, CLI_NOT_FOUND, "%s: %s", path, strerrordesc_np(errno));
	if (S_ISDIR(st.st_mode))
		code = in_directory(cli, path, out);
	else if (ends(path, ".c"))
		snprintf(out->source, sizeof(out->source), "%s", path);
	else
		snprintf(out->object, sizeof(out->object), "%s", path);
	if (code != CLI_OK)
		return code;
	if (out->object[0] == '\0')
		with_ending(out->object, out->source, is_source(out->source) ? ".bpf.c" : ".c", ".o");
	with_ending(out->cases, out->object, ".o", ".test");
	return CLI_OK;
}

bool tool_is_stale(const struct tool_paths *p)
{
	struct stat source, object;

	if (p->source[0] == '\0' || stat(p->source, &source) != 0)
		return false;
	return stat(p->object, &object) != 0 || source.st_mtim.tv_sec > object.st_mtim.tv_sec ||
	       (source.st_mtim.tv_sec == object.st_mtim.tv_sec && source.st_mtim.tv_nsec >= object.st_mtim.tv_nsec);
}

/* ---- compiler ---- */

/* A program of $PATH by the first of these names (NULL-ended). False: none. */
static bool find_tool(const char *const names[], char out[4096])
{
	const char *path = getenv("PATH");

	for (size_t i = 0; names[i] != NULL; i++) {
		struct slice rest = slice_str(path != NULL ? path : "/usr/bin:/bin"), dir;
		while (rest.len > 0) {
			slice_cut(rest, ':', &dir, &rest);
			if (dir.len == 0 || dir.len > 3800)
				continue;
			snprintf(out, 4096, "%.*s/%s", SLICE_FMT(dir), names[i]);
			if (access(out, X_OK) == 0)
				return true;
		}
	}
	return false;
}

/* Run it and wait; its output goes to the descriptor (2: ours stays for results). The exit status, or -1. */
static int run(const char *program, const char *const argv[], int output)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status = -1;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return -1;
	posix_spawn_file_actions_adddup2(&actions, output, 1);
	/* POSIX wants char *const [] and changes nothing. */
	if (posix_spawn(&pid, program, &actions, NULL, (char *const *)(uintptr_t)argv, environ) == 0) {
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	}
	posix_spawn_file_actions_destroy(&actions);
	return status;
}

/*
 * <prickle/spine.h> of this program: PREFIX/bin/prickle has it in PREFIX/include, and a build directory stands
 * beside include. False: the compiler finds it by itself, or not at all.
 */
static bool own_headers(char out[4096])
{
	char self[3000], probe[4200];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return false;
	self[n] = '\0';
	char *slash = strrchr(self, '/');
	if (slash == NULL)
		return false;
	*slash = '\0';
	snprintf(out, 4096, "%s/../include", self);
	snprintf(probe, sizeof(probe), "%s/prickle/spine.h", out);
	return access(probe, R_OK) == 0;
}

/* ---- the kernel's types ---- */

#define KERNEL_TYPES "/sys/kernel/btf/vmlinux"

/* A line `#include "vmlinux.h"`, or with <>; what headers of the source include is not looked at. */
static bool wants_kernel_types(struct slice source)
{
	struct slice line;

	while (source.len > 0) {
		slice_cut(source, '\n', &line, &source);
		line = slice_trim(line);
		if (!slice_starts(line, SLICE("#")))
			continue;
		line = slice_trim(slice_from(line, 1));
		if (!slice_starts(line, SLICE("include")))
			continue;
		line = slice_trim(slice_from(line, 7));
		if (slice_starts(line, SLICE("\"vmlinux.h\"")) || slice_starts(line, SLICE("<vmlinux.h>")))
			return true;
	}
	return false;
}

/* bpftool's output into a new file, which gets its name when it is whole. */
static int write_kernel_types(struct cli *cli, const char *bpftool, const char *path)
{
	const char *argv[] = { bpftool, "btf", "dump", "file", KERNEL_TYPES, "format", "c", NULL };
	char temporary[4200];

	(void)snprintf(temporary, sizeof(temporary), "%s.%d", path, (int)getpid());
	AUTO_FD int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return cli_fail(cli, CLI_FAILED, "%s: cannot be written: %s", temporary, strerrordesc_np(errno));
	if (run(bpftool, argv, fd) != 0) {
		(void)unlink(temporary);
		return cli_fail(cli, CLI_FAILED, "bpftool cannot tell this kernel's types (" KERNEL_TYPES "); copy a vmlinux.h of another "
				"machine to %s", path);
	}
	if (rename(temporary, path) != 0) {
		int err = errno;

		(void)unlink(temporary);
		return cli_fail(cli, CLI_FAILED, "%s: cannot be written: %s", path, strerrordesc_np(err));
	}
	fprintf(stderr, "note: %s has the types of this kernel now; delete it to have it made anew\n", path);
	return CLI_OK;
}

/* A vmlinux.h beside the source, when the source includes one. */
static int kernel_types(struct cli *cli, const struct tool_paths *p)
{
	static const char *const names[] = { "bpftool", NULL };
	AUTO_BUF struct buf source = BUF_INIT(TOOL_FILE_BYTES);
	const char *slash = strrchr(p->source, '/');
	char path[4150], bpftool[4096];
	int code = spine_cli_file(cli, p->source, false, &source);

	if (code != CLI_OK || !wants_kernel_types(buf_slice(&source)))
		return code;
	(void)snprintf(path, sizeof(path), "%.*svmlinux.h", slash == NULL ? 0 : (int)(slash - p->source) + 1, p->source);
	if (access(path, F_OK) == 0)
		return CLI_OK;
	if (!find_tool(names, bpftool))
		return cli_fail(cli, CLI_FAILED, "%s includes \"vmlinux.h\", which bpftool makes, and there is no bpftool in PATH: "
				"'apt install bpftool' brings it, to /usr/sbin", p->source);
	return write_kernel_types(cli, bpftool, path);
}

int tool_compile(struct cli *cli, const struct tool_paths *p)
{
	static const char *const names[] = { "clang-19", "clang", "clang-20", "clang-18", "clang-17", "clang-16",
					     "clang-15", "clang-14", NULL };
	char clang[4096], headers[4096], arch[160], source[4100], object[4100], directory[4100];
	struct utsname machine;
	const char *argv[24];
	size_t n = 0;

	if (p->source[0] == '\0')
		return cli_fail(cli, CLI_USAGE, "%s has no source beside it", p->object);
	if (!find_tool(names, clang))
		return cli_fail(cli, CLI_FAILED, "no clang in PATH; 'apt-get install clang' brings one");
	int code = kernel_types(cli, p);
	if (code != CLI_OK)
		return code;
	if (uname(&machine) != 0)
		return cli_fail(cli, CLI_FAILED, "uname: %s", strerrordesc_np(errno));
	/* Debian keeps <asm/types.h> there, which clang does not look into for the target bpf. */
	snprintf(arch, sizeof(arch), "/usr/include/%s-linux-gnu", machine.machine);
	snprintf(source, sizeof(source), "%s%s", p->source[0] == '-' ? "./" : "", p->source);
	const char *slash = strrchr(source, '/');
	snprintf(directory, sizeof(directory), "%.*s", slash == NULL ? 1 : (int)(slash - source) + 1, slash == NULL ? "." : source);
	snprintf(object, sizeof(object), "%s%s", p->object[0] == '-' ? "./" : "", p->object);
	argv[n++] = clang;
	argv[n++] = "-target";
	argv[n++] = "bpf";
	argv[n++] = "-mcpu=v3";
	argv[n++] = "-std=gnu17";
	argv[n++] = "-g";
	argv[n++] = "-O2";
	argv[n++] = "-Wall";
	if (own_headers(headers)) {
		argv[n++] = "-I";
		argv[n++] = headers;
	}
	/* For <vmlinux.h>, which is not looked for beside the source. */
	argv[n++] = "-idirafter";
	argv[n++] = directory;
	argv[n++] = "-idirafter";
	argv[n++] = arch;
	argv[n++] = "-c";
	argv[n++] = source;
	argv[n++] = "-o";
	argv[n++] = object;
	argv[n] = NULL;
	int status = run(clang, argv, 2);
	if (status != 0)
		return cli_fail(cli, CLI_FAILED, "%s does not compile (%s)", p->source, clang);
	return CLI_OK;
}

/* ---- objects ---- */

int tool_object(struct cli *cli, struct arena *arena, const char *path, struct slice *bytes, const struct object **out)
{
	AUTO_BUF struct buf file = BUF_INIT(TOOL_FILE_BYTES);
	struct errmsg why = { 0 };
	int code = spine_cli_file(cli, path, false, &file);

	if (code != CLI_OK)
		return code;
	*bytes = arena_dup(arena, buf_slice(&file));
	if (bytes->ptr == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	if (object_parse(arena, *bytes, out, &why) != 0)
		return cli_fail(cli, CLI_USAGE, "%s: %s", path, why.text);
	return CLI_OK;
}
