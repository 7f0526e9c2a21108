/*
 * What ties an extension to a policy: the store it was installed under, and what is in force there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/device_private.h"
#include "spine/pins.h"

int place_read(int dir, struct spine_place *out)
{
	int err = entry_read(dir, "policy", out, sizeof(*out));

	if (err != 0)
		return err;
	return out->abi == SPINE_RECORD_ABI && entry_text_ends(out->directory, sizeof(out->directory)) &&
	       entry_text_ends(out->reason, sizeof(out->reason)) ? 0 : -EBADMSG;
}

int place_write(int dir, const struct spine_place *p, struct errmsg *why)
{
	int err = entry_write(dir, "policy", "spine_place", p, sizeof(*p));

	return err == 0 ? 0 : errmsg_set(why, err, "keep which policy an extension belongs to");
}

int spine_device_place(const struct spine_device *d, const char *name, struct spine_place *out)
{
	char path[SPINE_NAME_BYTES + 16];

	(void)snprintf(path, sizeof(path), "ext/%s", name);
	AUTO_FD int dir = pin_dir(d->dir, path, false);
	return dir < 0 ? dir : place_read(dir, out);
}

int device_policy(struct spine_device *d, const char *directory, struct errmsg *why)
{
	const char *from = d->policy != NULL ? d->policy : directory != NULL && directory[0] != '\0' ? directory : NULL;
	int err;

	if (d->view != NULL)
		return 0;
	if (from != NULL && strlen(from) >= sizeof(((struct spine_place *)NULL)->directory))
		return errmsg_say(why, -ENAMETOOLONG, "the policy's directory '%.80s...' has a name of more than %zu bytes", from,
				  sizeof(((struct spine_place *)NULL)->directory) - 1);
	/* What somebody named is not made in silence; the host's is. */
	if (from != NULL && access(from, F_OK) != 0)
		return errmsg_set(why, -errno, "open the policy in '%.300s'", from);
	/* Not for writing when it need not be: that waits for an apply, which may be waiting for this device. */
	err = policy_store_open(from, geteuid() == 0 ? POLICY_STORE_RINGS : 0, &d->store, why);
	if (err != 0 && geteuid() == 0)
		err = policy_store_open(from, POLICY_STORE_WRITE, &d->store, why);
	/* What is placed by this policy must be there before the next apply looks for it. */
	if (err == 0 && geteuid() == 0 && d->open_mode == SPINE_CHANGE)
		err = policy_store_hold(d->store, why);
	if (err != 0)
		return err;
	from = from == NULL ? NULL : arena_str(&d->policy_arena, slice_str(from));
	return spine_policy_view_load(&d->policy_arena, d->store, from, &d->view, why);
}

int spine_device_rights(struct spine_device *d, const char *name, const struct spine_rights **out, struct errmsg *why)
{
	static const uint8_t nobody[32];
	const struct spine_record *r = spine_device_find(d, name);
	struct spine_place place;
	int err = r == NULL ? -ENOENT : spine_device_place(d, name, &place);

	if (err != 0)
		return errmsg_say(why, err, "'%.40s' is no extension that was installed", name);
	err = device_policy(d, place.directory, why);
	return err != 0 ? err :
	       spine_rights_find(&d->policy_arena, d->view, d->name, r->name, memcmp(r->signer, nobody, 32) == 0 ? NULL : r->signer, r->digest,
				 out, why);
}

const struct spine_policy_view *spine_device_view(const struct spine_device *d)
{
	return d->view;
}

int spine_device_refusals(const struct spine_device *d, const char *name, struct row_refusal out[SPINE_POLICY_RECORDS], size_t *count,
			  uint64_t *ever)
{
	char path[SPINE_NAME_BYTES + 48];

	(void)snprintf(path, sizeof(path), "ext/%s/maps/section-data-policy", name);
	AUTO_FD int map = pin_get(d->dir, path);
	return map < 0 ? map : spine_row_refusals(map, out, count, ever);
}
