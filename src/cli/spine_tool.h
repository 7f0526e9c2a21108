/*
 * What the commands for writers of extensions share: new, build, test, sign. They work on files; devices
 * are cli/spine.h's.
 */
#pragma once
#include "base/arena.h"
#include "cli/cli.h"
#include "spine/inspect/inspect.h"

#define TOOL_ARENA_BYTES (256u << 20)
#define TOOL_FILE_BYTES	 (64u << 20)

/* Write a file (exclusive: it must not exist); CLI_OK, or complains. */
MUST_USE int tool_write(struct cli *cli, const char *path, struct slice bytes, unsigned mode, bool exclusive);

/* The files of an extension, from "", a directory, FILE.bpf.c or FILE.o; source "" when there is none. */
struct tool_paths {
	char source[4096], object[4096], cases[4096];
};
/* CLI_OK, or complains. */
MUST_USE int tool_paths(struct cli *cli, const char *arg, struct tool_paths *out);
/* The source is newer than the object, or the object is not there. */
bool tool_is_stale(const struct tool_paths *p);
/* Compile source to object; the compiler speaks on standard error. CLI_OK, or complains. */
MUST_USE int tool_compile(struct cli *cli, const struct tool_paths *p);

/* An object that was read and parsed; all of it lives in the arena. CLI_OK, or complains. */
MUST_USE int tool_object(struct cli *cli, struct arena *arena, const char *path, struct slice *bytes,
			 const struct object **out);
