/*
 * Commands that read an extension's object file without loading it.
 */
#pragma once
#include "base/arena.h"
#include "cli/cli.h"
#include "spine/inspect/object.h"

/* Read and parse a file; it and the object live in the arena. CLI_OK, or complains and a code. */
MUST_USE int spine_object_read(struct cli *cli, struct arena *arena, const char *path, const struct object **out);
/* By name or number; NULL. */
const struct object_handler *spine_object_handler(const struct object *o, const char *name);
