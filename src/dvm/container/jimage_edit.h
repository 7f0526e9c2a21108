/*
 * An image on its way to another one: its resources as items that can be replaced, left out and added, its directories as lists of items.
 *
 * jimage_edit_open (everything as it is), jimage_edit_change for each change, jimage_edit_prune, then the writer (jimage_write.c) lays it out.
 */
#pragma once
#include "dvm/container/jimage.h"

struct jimage_item {
	struct jimage_resource name;	/* parts of the name, their strings */
	struct slice content;		/* as it is stored; not of directories with a list */
	uint64_t size, packed_size;
	uint64_t offset;		/* these two are the writer's: where it is in the new image */
	uint32_t location;
	bool gone, changed;
	bool listed;			/* a directory whose content is this list of items */
	uint32_t *list;
	uint32_t list_count, list_room;
};

struct jimage_location {
	uint32_t at, item;
};

struct jimage_edit {
	struct arena *arena;
	const struct jimage *image;
	struct jimage_item *items;	/* those of the image in its order, then new ones */
	uint32_t count, room;
	const struct jimage_location *locations;	/* of the image's items, sorted */
	struct buf strings;		/* new ones, to stand behind the image's; jimage_edit_done frees them */
	bool renamed, removed;		/* names came or went, so the table must be made anew; names went */
	bool has_modules, has_packages;	/* the image has these trees */
};
/* 0, -EBADMSG, -E2BIG, -ENOMEM. */
MUST_USE int jimage_edit_open(struct arena *arena, const struct jimage *image, const struct jimage_change *changes, size_t count, struct jimage_edit *e,
			      struct errmsg *why);
/* 0, -EINVAL, -EBADMSG, -E2BIG, -ENOMEM. */
MUST_USE int jimage_edit_change(struct jimage_edit *e, const struct jimage_change *change, struct errmsg *why);
/* After the last change: directories that became empty go, and packages of modules that have nothing in them any more. */
MUST_USE int jimage_edit_prune(struct jimage_edit *e, struct errmsg *why);
void jimage_edit_done(struct jimage_edit *e);
/* The item that lies at this location in the source, or NULL. O(log items). */
struct jimage_item *jimage_edit_at(const struct jimage_edit *e, uint32_t location);
