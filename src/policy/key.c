/* Who may sign epochs: keys/NAME.pub, 64 digits each. Ed25519 (RFC 8032) of libsodium. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hex.h"
#include "policy/disk.h"
#include "policy/store_private.h"

/* Whatever else a key signs, it is no policy. The NUL counts. */
static const char context[] = "prickle-policy-1";
_Static_assert(sizeof(context) + 32 == POLICY_SIGNED_BYTES, "");

void store_signed_bytes(struct slice text, uint8_t out[POLICY_SIGNED_BYTES])
{
	memcpy(out, context, sizeof(context));
	crypto_hash_sha256(out + sizeof(context), text.ptr, text.len);
}

bool store_signature_valid(struct slice text, const struct signature *signature)
{
	uint8_t bytes[POLICY_SIGNED_BYTES];

	store_signed_bytes(text, bytes);
	return crypto_sign_verify_detached(signature->bytes, bytes, sizeof(bytes), signature->key) == 0;
}

int policy_file_signed_bytes(const char *file, uint8_t out[POLICY_SIGNED_BYTES], struct buf *errors, struct errmsg *why)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf text = BUF_INIT(POLICY_BUNDLE_BYTES_MAX);
	const struct policy *p;
	struct bundle *b;
	int err = bundle_load(&arena, file, &b, &p, errors);

	if (err == 0)
		bundle_write(&text, b);
	if (err == 0 && text.err != 0)
		err = text.err;
	if (err != 0)
		return errmsg_set(why, err, "'%s'", file);
	store_signed_bytes(buf_slice(&text), out);
	return 0;
}

struct find_keys {
	const struct policy_store *s;
	struct arena *arena;
	struct policy_key *list;
	size_t count;
	struct errmsg *why;
};

static int add_key(void *arg, const char *name)
{
	struct find_keys *f = arg;
	struct policy_key *key = &f->list[f->count];
	struct slice text = slice_str(name), digits;
	AUTO_BUF struct buf file = BUF_INIT(256), bytes = BUF_INIT(32);
	char path[300];
	int err;

	if (!slice_ends(text, SLICE(".pub")) || !slice_to_str(slice_head(text, text.len - 4), key->name, sizeof(key->name)) ||
	    snprintf(path, sizeof(path), "keys/%s", name) >= (int)sizeof(path))
		return 0;
	if (f->count == POLICY_KEY_FILES_MAX)
		return errmsg_say(f->why, -E2BIG, "'%s/keys' has more than %d keys", f->s->directory, POLICY_KEY_FILES_MAX);
	err = disk_read(f->s->dir_fd, path, &file, f->why);
	if (err != 0)
		return err;
	digits = slice_trim(buf_slice(&file));
	/* To leave one out could mean that nobody need sign. */
	if (digits.len != 64 || !hex_decode(&bytes, digits))
		return errmsg_say(f->why, -EBADMSG, "'%s/%s' is no key: 64 digits are expected, as 'prickle policy key new' prints them", f->s->directory,
				  path);
	memcpy(key->public, bytes.ptr, 32);
	f->count++;
	return 0;
}

int store_keys(const struct policy_store *s, struct arena *arena, struct policy_key **out, size_t *count, struct errmsg *why)
{
	struct find_keys f = { .s = s, .arena = arena, .why = why };
	int err;

	f.list = arena_array(arena, POLICY_KEY_FILES_MAX + 1, sizeof(*f.list));
	if (f.list == NULL)
		return errmsg_set(why, -ENOMEM, "keys");
	err = disk_list(s->dir_fd, "keys", add_key, &f);
	if (err != 0 && err != -ENOENT)
		return err;
	*out = f.list;
	*count = f.count;
	return 0;
}

int policy_store_keys(struct policy_store *s, struct arena *arena, struct policy_key **out, size_t *count, struct errmsg *why)
{
	return store_keys(s, arena, out, count, why);
}

static int key_path(const char *name, char path[96], struct errmsg *why)
{
	bool fine = *name != '\0' && *name != '.' && strlen(name) < sizeof(((struct policy_key *)0)->name);

	for (const char *c = name; *c != '\0' && fine; c++)
		fine = ascii_alpha((uint8_t)*c) || ascii_digit((uint8_t)*c) || *c == '-' || *c == '_' || *c == '.';
	if (!fine)
		return errmsg_say(why, -EINVAL, "'%s' is no name of a key: letters, digits, '-', '_' and '.' make one, up to 63", name);
	snprintf(path, 96, "keys/%s.pub", name);
	return 0;
}

int policy_store_key_add(struct policy_store *s, const char *name, const uint8_t public[32], struct errmsg *why)
{
	AUTO_BUF struct buf text = BUF_INIT(100);
	char path[96];
	int err = key_path(name, path, why);

	if (err != 0)
		return err;
	if (mkdirat(s->dir_fd, "keys", 0755) != 0 && errno != EEXIST)
		return errmsg_set(why, -errno, "make '%s/keys'", s->directory);
	if (faccessat(s->dir_fd, path, F_OK, 0) == 0)
		return errmsg_say(why, -EEXIST, "there is a key '%s'; 'prickle policy key remove %s' takes it away", name, name);
	hex_encode(&text, slice_of(public, 32));
	buf_adds(&text, "\n");
	return disk_replace(s->dir_fd, path, buf_slice(&text), 0644, why);
}

int policy_store_key_remove(struct policy_store *s, const char *name, struct errmsg *why)
{
	char path[96];
	int err = key_path(name, path, why);

	if (err != 0)
		return err;
	if (unlinkat(s->dir_fd, path, 0) != 0)
		return errno == ENOENT ? errmsg_say(why, -ENOENT, "there is no key '%s'; see 'prickle policy key list'", name) :
					 errmsg_set(why, -errno, "remove '%s/%s'", s->directory, path);
	return disk_sync(s->dir_fd, "keys", why);
}
