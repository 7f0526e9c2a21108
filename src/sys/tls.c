#include "sys/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

#include "base/must.h"
#include "sys/tls_remote_key.h"

/* Everything that TLS_* of tls.h can sign, the cheap ones first. */
#define SIGALGS                                                                                    \
	"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:"     \
	"RSA+SHA256:RSA+SHA384:RSA+SHA512"
#define CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
#define GROUPS	   "X25519:P-256:P-384"

struct tls_context {
	unsigned refs;			/* contexts belong to one thread */
	OSSL_LIB_CTX *lib;		/* our own, so that nothing outside picks our provider by accident */
	SSL_CTX *ssl;
	OSSL_PROVIDER *providers[2];	/* freeing lib does not unload what we loaded */
	struct tls_remote remote;
	struct tls_key_id key_id;
};

struct tls {
	struct tls_context *ctx;
	SSL *ssl;
	bool broken;			/* after a fatal error OpenSSL forbids SSL_shutdown */
	char error[200];
};

/* The reason of the newest failure in words; empties the queue. */
static void take_error(char *to, size_t size)
{
	const char *data = NULL;
	int flags = 0;
	unsigned long code = ERR_peek_error_data(&data, &flags);
	const char *reason = ERR_reason_error_string(code);

	snprintf(to, size, "%s%s%s", reason != NULL ? reason : code != 0 ? "OpenSSL error" : "",
		 (flags & ERR_TXT_STRING) != 0 && data != NULL && *data != '\0' ? ": " : "",
		 (flags & ERR_TXT_STRING) != 0 && data != NULL ? data : "");
	ERR_clear_error();
}

static int fail(struct errmsg *why, const char *what)
{
	char reason[160];

	take_error(reason, sizeof(reason));
	return errmsg_say(why, -EBADMSG, "TLS certificate: %s%s%s", what, *reason != '\0' ? ": " : "",
			  reason);
}

int tls_process_init(void)
{
	unsigned char byte;

	/* The random generator sets itself up at its first use. */
	if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS |
			     OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL) != 1 ||
	    RAND_bytes(&byte, 1) != 1) {
		ERR_clear_error();
		return -EIO;
	}
	return 0;
}

/* The server's certificate, then the chain, into the context. */
static int load_chain(struct tls_context *ctx, struct slice pem, X509 **leaf, struct errmsg *why)
{
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	unsigned count = 0;
	int err = 0;

	if (bio == NULL)
		return -ENOMEM;
	for (;;) {
		X509 *x = X509_new_ex(ctx->lib, NULL);

		if (x == NULL || PEM_read_bio_X509(bio, &x, NULL, NULL) == NULL) {
			X509_free(x);
			break;
		}
		if (count++ == 0) {
			*leaf = x;
			if (SSL_CTX_use_certificate(ctx->ssl, x) != 1)
				err = fail(why, "the first certificate is not usable");
		} else if (SSL_CTX_add0_chain_cert(ctx->ssl, x) != 1) {
			X509_free(x);
			err = fail(why, "an intermediate certificate is not usable");
		}
		if (err != 0)
			break;
	}
	BIO_free(bio);
	if (err == 0 && count == 0)
		err = fail(why, "no certificate in PEM form");
	ERR_clear_error();		/* "no start line" is how the end is told */
	return err;
}

static int load_key(struct tls_context *ctx, X509 *leaf, struct errmsg *why)
{
	EVP_PKEY *public = X509_get0_pubkey(leaf), *key;
	int err = 0;

	if (public == NULL || !remote_key_id(public, &ctx->key_id))
		return fail(why, "its public key is not usable");
	key = remote_key_new(ctx->lib, public, &ctx->remote, ctx->key_id);
	if (key == NULL)
		return fail(why, "only EC and RSA keys are supported");
	if (SSL_CTX_use_PrivateKey(ctx->ssl, key) != 1)
		err = fail(why, "its key is not usable");
	EVP_PKEY_free(key);
	return err;
}

static bool configure(SSL_CTX *ssl)
{
	char groups[] = GROUPS, sigalgs[] = SIGALGS;	/* OpenSSL's macros cast const away */

	SSL_CTX_set_security_level(ssl, 2);
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
				 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
			      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	return SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) == 1 &&
	       SSL_CTX_set_num_tickets(ssl, 0) == 1 && SSL_CTX_set_cipher_list(ssl, CIPHERS_12) == 1 &&
	       SSL_CTX_set1_groups_list(ssl, groups) == 1 &&
	       SSL_CTX_set1_sigalgs_list(ssl, sigalgs) == 1;
}

int tls_context_new(struct slice chain_pem, const struct tls_remote *remote, struct tls_context **out,
		    struct errmsg *why)
{
	struct tls_context *ctx;
	X509 *leaf = NULL;
	int err;

	if (chain_pem.len > TLS_CHAIN_BYTES_MAX)
		return errmsg_say(why, -EBADMSG, "TLS certificate: the chain has more than %u bytes",
				  TLS_CHAIN_BYTES_MAX);
	ctx = calloc(1, sizeof(*ctx));
	if (ctx == NULL)
		return errmsg_set(why, -ENOMEM, "TLS context");
	ERR_clear_error();
	ctx->refs = 1;
	ctx->remote = *remote;
	ctx->lib = OSSL_LIB_CTX_new();
	if (ctx->lib == NULL || (ctx->providers[0] = OSSL_PROVIDER_load(ctx->lib, "default")) == NULL ||
	    (ctx->providers[1] = remote_key_provider(ctx->lib)) == NULL) {
		err = fail(why, "OpenSSL's providers do not start");
		goto out;
	}
	/* "?": prefer the default provider in every search; ours is found through its key. */
	ctx->ssl = SSL_CTX_new_ex(ctx->lib, "?provider=default", TLS_server_method());
	if (ctx->ssl == NULL || !configure(ctx->ssl)) {
		err = fail(why, "OpenSSL does not start");
		goto out;
	}
	err = load_chain(ctx, chain_pem, &leaf, why);
	if (err == 0)
		err = load_key(ctx, leaf, why);
out:
	X509_free(leaf);
	ERR_clear_error();
	if (err != 0) {
		tls_context_unref(ctx);
		return err;
	}
	*out = ctx;
	return 0;
}

struct tls_context *tls_context_ref(struct tls_context *ctx)
{
	ctx->refs++;
	return ctx;
}

void tls_context_unref(struct tls_context *ctx)
{
	if (ctx == NULL || --ctx->refs > 0)
		return;
	SSL_CTX_free(ctx->ssl);
	for (size_t i = 0; i < ARRAY_LEN(ctx->providers); i++) {
		if (ctx->providers[i] != NULL)
			OSSL_PROVIDER_unload(ctx->providers[i]);
	}
	OSSL_LIB_CTX_free(ctx->lib);
	free(ctx);
}

int tls_new(struct tls_context *ctx, int fd, struct tls **out)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return -ENOMEM;
	ERR_clear_error();
	t->ssl = SSL_new(ctx->ssl);
	if (t->ssl == NULL || SSL_set_fd(t->ssl, fd) != 1) {
		ERR_clear_error();
		SSL_free(t->ssl);
		free(t);
		return -ENOMEM;
	}
	SSL_set_accept_state(t->ssl);
	t->ctx = tls_context_ref(ctx);
	*out = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (t == NULL)
		return;
	SSL_free(t->ssl);
	tls_context_unref(t->ctx);
	free(t);
	ERR_clear_error();
}

/* Translate the failure of an SSL_ function that returned `result`; saved_errno is errno after it. */
static int outcome(struct tls *t, int result, int saved_errno)
{
	unsigned long first = ERR_peek_error();
	int kind = SSL_get_error(t->ssl, result);

	switch (kind) {
	case SSL_ERROR_WANT_READ:
		ERR_clear_error();
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		ERR_clear_error();
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		ERR_clear_error();
		return 0;
	default:
		break;
	}
	t->broken = true;
	take_error(t->error, sizeof(t->error));
	if (remote_key_failed(first))
		return -EKEYREJECTED;
	if (kind == SSL_ERROR_SYSCALL || ERR_GET_REASON(first) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return saved_errno == EPIPE ? -EPIPE : -ECONNRESET;
	return -EPROTO;
}

int tls_handshake(struct tls *t)
{
	int n, result;

	ERR_clear_error();
	errno = 0;
	n = SSL_do_handshake(t->ssl);
	if (n == 1)
		return 0;
	result = outcome(t, n, errno);
	return result == 0 ? -ECONNRESET : result;	/* close_notify inside a handshake */
}

static int clip(size_t n)
{
	return n > INT32_MAX ? INT32_MAX : (int)n;
}

int tls_read(struct tls *t, void *to, size_t n)
{
	int got;

	ERR_clear_error();
	errno = 0;
	got = SSL_read(t->ssl, to, clip(n));
	return got > 0 ? got : outcome(t, got, errno);
}

int tls_write(struct tls *t, const void *from, size_t n)
{
	int sent, result;

	if (n == 0)
		return 0;
	ERR_clear_error();
	errno = 0;
	sent = SSL_write(t->ssl, from, clip(n));
	if (sent > 0)
		return sent;
	result = outcome(t, sent, errno);
	return result == 0 ? -EPIPE : result;
}

void tls_shutdown(struct tls *t)
{
	ERR_clear_error();
	if (!t->broken && SSL_is_init_finished(t->ssl))
		SSL_shutdown(t->ssl);
	ERR_clear_error();
}

bool tls_pending(const struct tls *t)
{
	return SSL_has_pending(t->ssl) == 1;
}

const char *tls_error(const struct tls *t)
{
	return t->error;
}

const char *tls_version(const struct tls *t)
{
	return SSL_get_version(t->ssl);
}

const char *tls_cipher(const struct tls *t)
{
	return SSL_get_cipher_name(t->ssl);
}

static int bind_exporter(const struct tls *t, struct buf *out)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	uint8_t *to;

	/* RFC 9266 §4.2: TLS 1.2 without extended master secret has no unique exporter. */
	if (SSL_version(t->ssl) < TLS1_3_VERSION && SSL_get_extms_support(t->ssl) != 1)
		return -ENOTSUP;
	to = buf_room(out, 32);
	if (to == NULL)
		return out->err;
	/* "The context value: zero-length string", which is not the same as none in TLS 1.2. */
	if (SSL_export_keying_material(t->ssl, to, 32, label, sizeof(label) - 1,
				       (const unsigned char *)"", 0, 1) != 1)
		return -ENOTSUP;
	buf_commit(out, 32);
	return 0;
}

static int bind_end_point(const struct tls *t, struct buf *out)
{
	X509 *x = SSL_get_certificate(t->ssl);
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	int nid = NID_undef;
	const EVP_MD *md;

	if (x == NULL || X509_get_signature_info(x, &nid, NULL, NULL, NULL) != 1)
		return -ENOTSUP;
	/* RFC 5929 §4.1: the hash of the certificate's signature, but SHA-256 in place of MD5 and SHA-1. */
	md = nid == NID_md5 || nid == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(nid);
	if (md == NULL || X509_digest(x, md, hash, &len) != 1)
		return -ENOTSUP;
	buf_add(out, slice_of(hash, len));
	return out->err;
}

int tls_channel_binding(const struct tls *t, enum tls_binding type, struct buf *out)
{
	int err;

	if (!SSL_is_init_finished(t->ssl))
		return -ENOTSUP;
	ERR_clear_error();
	err = type == TLS_BINDING_EXPORTER ? bind_exporter(t, out) : bind_end_point(t, out);
	ERR_clear_error();
	return err;
}
