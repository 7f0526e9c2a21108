/*
 * Small files of the store: read whole, written whole and durable before their name is there.
 */
#pragma once
#include "base/buf.h"
#include "base/errmsg.h"

/* Append all of a file, of at most out->max bytes. 0; -EFBIG; other errno with a sentence. */
MUST_USE int disk_read(int dir, const char *path, struct buf *out, struct errmsg *why);
/* A new file with these bytes, synced. */
MUST_USE int disk_write(int dir, const char *path, struct slice bytes, unsigned mode, struct errmsg *why);
/* The same in place of what may be there, by rename; the directory is synced, too. */
MUST_USE int disk_replace(int dir, const char *path, struct slice bytes, unsigned mode, struct errmsg *why);
/* A directory, made when missing, and its parents. */
MUST_USE int disk_make_directory(const char *path, unsigned mode, struct errmsg *why);
/* Sync a directory: names in it are durable then. */
MUST_USE int disk_sync(int dir, const char *path, struct errmsg *why);
/* Names in a directory but for "." and those that begin with a dot; fn returns not 0 to stop, which is returned. -ENOENT. */
MUST_USE int disk_list(int dir, const char *path, int (*fn)(void *arg, const char *name), void *arg);
