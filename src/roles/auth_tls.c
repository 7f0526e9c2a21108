#include "roles/auth_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sys/world.h"

#define KEYS_KEPT     3u
#define KEY_BYTES_MAX (32u * 1024u)
#define CERT_FILE     "tls/cert.pem"
#define KEY_FILE      "tls/key.pem"

struct auth_tls {
	struct world *state;
	struct tls_signer *signers[KEYS_KEPT];	/* newest first */
	struct buf chain, key;			/* as loaded last */
	int64_t not_after_s;
	bool key_exposed;
	int (*open)(void *arg, bool key, int *fd, struct errmsg *why);	/* NULL: by name */
	void *open_arg;
};

int auth_tls_new(struct world *state, struct auth_tls **out)
{
	struct auth_tls *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return -ENOMEM;
	t->state = state;
	buf_init(&t->chain, TLS_CHAIN_BYTES_MAX);
	buf_init(&t->key, KEY_BYTES_MAX);
	*out = t;
	return 0;
}

static void wipe(struct buf *b)
{
	if (b->ptr != NULL)
		explicit_bzero(b->ptr, b->cap);
	buf_done(b);
}

void auth_tls_free(struct auth_tls *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < KEYS_KEPT; i++)
		tls_signer_free(t->signers[i]);
	buf_done(&t->chain);
	wipe(&t->key);
	free(t);
}

struct slice auth_tls_chain(const struct auth_tls *t)
{
	return buf_slice(&t->chain);
}

void auth_tls_opener(struct auth_tls *t,
		     int (*fn)(void *arg, bool key, int *fd, struct errmsg *why), void *arg)
{
	t->open = fn;
	t->open_arg = arg;
}

static int read_file(struct auth_tls *t, bool is_key, const char *path, struct buf *out,
		     struct errmsg *why)
{
	AUTO_FD int fd = -1;
	uint8_t *to;
	ssize_t n;
	struct stat st;
	int err;

	if (t->open == NULL)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	else if ((err = t->open(t->open_arg, is_key, &fd, why)) != 0)
		return err;
	if (fd < 0)
		return errmsg_set(why, -errno, "open '%s'", path);
	if (fstat(fd, &st) != 0)
		return errmsg_set(why, -errno, "read '%s'", path);
	if (S_ISDIR(st.st_mode))
		return errmsg_set(why, -EISDIR, "read '%s'", path);
	if (is_key)
		t->key_exposed = (st.st_mode & S_IROTH) != 0;
	/* In full size at once, so that growing leaves no copy of a key behind. */
	to = buf_room(out, out->max);
	if (to == NULL)
		return errmsg_set(why, -ENOMEM, "read '%s'", path);
	while ((n = read(fd, to + out->len, out->max - out->len)) > 0)
		buf_commit(out, (size_t)n);
	if (n < 0)
		return errmsg_set(why, -errno, "read '%s'", path);
	if (out->len == out->max)
		return errmsg_say(why, -EFBIG, "'%s' is larger than %zu bytes", path, out->max);
	return 0;
}

static int read_state(struct world *w, const char *path, struct buf *out)
{
	uint8_t *to = buf_room(out, out->max);
	struct file *f;
	int64_t n;
	int err = w->ops->open(w, path, OPEN_READ, &f);

	if (err < 0)
		return err;
	n = to == NULL ? -ENOMEM : w->ops->pread(w, f, to, out->max, 0);
	w->ops->close(w, f);
	if (n < 0)
		return (int)n;
	buf_commit(out, (size_t)n);
	return 0;
}

/* Whole or not at all: a new file that replaces the old name once it is durable. */
static int write_state(struct world *w, const char *path, const char *temporary, struct slice text)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)text.ptr, .iov_len = text.len };
	struct file *f;
	int err = w->ops->open(w, temporary, OPEN_CREATE, &f);

	if (err < 0)
		return err;
	err = w->ops->truncate(w, f, 0);
	if (err == 0)
		err = w->ops->pwritev(w, f, &iov, 1, 0);
	if (err == 0)
		err = w->ops->datasync(w, f);
	w->ops->close(w, f);
	return err == 0 ? w->ops->rename(w, temporary, path) : err;
}

static bool pair_fits(struct slice chain, struct slice key)
{
	struct tls_signer *signer = NULL;
	bool fits = chain.len > 0 && key.len > 0 && tls_signer_new(key, &signer, NULL) == 0 &&
		    tls_signer_fits(signer, chain);

	tls_signer_free(signer);
	return fits;
}

/* The pair in the state directory; made when it is missing or does not fit together. */
static int own_pair(struct auth_tls *t, const char *hostname, struct buf *chain, struct buf *key,
		    struct errmsg *why)
{
	struct world *w = t->state;
	int err;

	if (read_state(w, CERT_FILE, chain) == 0 && read_state(w, KEY_FILE, key) == 0 &&
	    pair_fits(buf_slice(chain), buf_slice(key)))
		return 0;
	buf_reset(chain);
	buf_reset(key);
	err = tls_self_signed(hostname, chain, key);
	if (err < 0)
		return errmsg_set(why, err, "make a self-signed certificate");
	/* It exists: the supervisor makes it, with the right owner. Without one (tests), we do. */
	w->ops->mkdir(w, "tls");
	err = write_state(w, KEY_FILE, KEY_FILE ".new", buf_slice(key));
	if (err == 0)
		err = write_state(w, CERT_FILE, CERT_FILE ".new", buf_slice(chain));
	if (err == 0)
		err = w->ops->sync_dir(w, "tls");
	return err < 0 ? errmsg_set(why, err, "write the new certificate to " CERT_FILE) : 0;
}

static void use(struct auth_tls *t, struct tls_signer *signer, struct buf *chain, struct buf *key)
{
	tls_signer_free(t->signers[KEYS_KEPT - 1]);
	for (size_t i = KEYS_KEPT - 1; i > 0; i--)
		t->signers[i] = t->signers[i - 1];
	t->signers[0] = signer;
	buf_done(&t->chain);
	wipe(&t->key);
	t->chain = *chain;
	t->key = *key;
	t->not_after_s = tls_chain_not_after_s(buf_slice(&t->chain));
	buf_init(chain, 0);
	buf_init(key, 0);
}

static int load(struct auth_tls *t, const char *certificate, const char *key_file,
		const char *hostname, struct buf *chain, struct buf *key, struct errmsg *why)
{
	struct tls_signer *signer = NULL;
	int err;

	if (*certificate == '\0' && *key_file == '\0') {
		if (t->chain.len > 0)
			return 0;	/* nobody but us changes it */
		err = own_pair(t, hostname, chain, key, why);
	} else {
		err = read_file(t, false, certificate, chain, why);
		if (err == 0)
			err = read_file(t, true, key_file, key, why);
	}
	if (err < 0)
		return err;
	if (slice_eq(buf_slice(chain), buf_slice(&t->chain)) &&
	    slice_eq(buf_slice(key), buf_slice(&t->key)))
		return 0;
	err = tls_signer_new(buf_slice(key), &signer, why);
	if (err < 0)
		return err;
	if (!tls_signer_fits(signer, buf_slice(chain))) {
		tls_signer_free(signer);
		return errmsg_say(why, -EBADMSG, "the key in '%s' is not the one of '%s'", key_file,
				  certificate);
	}
	use(t, signer, chain, key);
	return 1;
}

int auth_tls_load(struct auth_tls *t, const char *certificate, const char *key,
		  const char *hostname, struct errmsg *why)
{
	struct buf chain_text = BUF_INIT(TLS_CHAIN_BYTES_MAX), key_text = BUF_INIT(KEY_BYTES_MAX);
	int r = load(t, certificate, key, hostname, &chain_text, &key_text, why);

	buf_done(&chain_text);
	wipe(&key_text);
	return r;
}

int auth_tls_check(const char *certificate, const char *key, struct errmsg *why)
{
	struct auth_tls *t;
	int err = tls_process_init() == 0 ? auth_tls_new(NULL, &t) : -EIO;

	if (err != 0)
		return errmsg_set(why, err, "look at the certificate");
	err = auth_tls_load(t, certificate, key, "", why);
	auth_tls_free(t);
	return err < 0 ? err : 0;
}

int64_t auth_tls_not_after_s(const struct auth_tls *t)
{
	return t->not_after_s;
}

bool auth_tls_key_exposed(const struct auth_tls *t)
{
	return t->key_exposed;
}

int auth_tls_sign(const struct auth_tls *t, struct tls_key_id key, enum tls_scheme scheme,
		  struct slice tbs, struct buf *signature)
{
	for (size_t i = 0; i < KEYS_KEPT && t->signers[i] != NULL; i++) {
		struct tls_key_id id = tls_signer_key_id(t->signers[i]);

		if (memcmp(id.bytes, key.bytes, sizeof(key.bytes)) == 0)
			return tls_signer_sign(t->signers[i], scheme, tbs, signature);
	}
	return -ENOKEY;
}
