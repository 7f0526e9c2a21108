#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test.h"
#include "sys/sandbox.h"
#include "sys/tls.h"
#include "sys/tls_signer.h"

enum behaviour { HONEST, REFUSES, LIES };

struct auth {
	struct tls_signer *signer;
	enum behaviour behaviour;
	unsigned asked;
	enum tls_scheme scheme;
};

static int sign(void *arg, struct tls_key_id key, enum tls_scheme scheme, struct slice tbs, struct buf *out)
{
	struct auth *a = arg;
	struct tls_key_id own = tls_signer_key_id(a->signer);
	int err;

	a->asked++;
	a->scheme = scheme;
	ck_assert_mem_eq(key.bytes, own.bytes, sizeof(own.bytes));
	if (a->behaviour == REFUSES)
		return -EPIPE;
	err = tls_signer_sign(a->signer, scheme, tbs, out);
	ck_assert_int_eq(err, 0);
	if (a->behaviour == LIES)
		out->ptr[out->len - 1] ^= 1;
	/* What another fiber might leave behind while this one sleeps. */
	ERR_raise(ERR_LIB_USER, 99);
	return 0;
}

struct client {
	int fd;
	int version;
	bool ok;
	uint8_t exporter[32];
	uint8_t echo[5];
};

static void *client_thread(void *arg)
{
	struct client *c = arg;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;

	SSL_CTX_set_min_proto_version(ctx, c->version);
	SSL_CTX_set_max_proto_version(ctx, c->version);
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, c->fd);
	if (SSL_connect(ssl) == 1 && SSL_write(ssl, "hello", 5) == 5 && SSL_read(ssl, c->echo, 5) == 5) {
		SSL_export_keying_material(ssl, c->exporter, 32, "EXPORTER-Channel-Binding", 24,
					   (const unsigned char *)"", 0, 1);
		c->ok = true;
		SSL_shutdown(ssl);
	}
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(c->fd);
	ERR_clear_error();
	return NULL;
}

/* The server's socket blocks here, so TLS_WANT_* never comes. */
static int serve(struct auth *a, struct slice chain, int version, struct client *c)
{
	struct tls_remote remote = { .sign = sign, .arg = a };
	struct tls_context *ctx;
	struct tls *t;
	struct errmsg why = { 0 };
	AUTO_BUF struct buf binding = BUF_INIT(100);
	uint8_t line[5];
	pthread_t thread;
	int pair[2], err;

	ck_assert_int_eq(tls_context_new(chain, &remote, &ctx, &why), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	*c = (struct client){ .fd = pair[1], .version = version };
	ck_assert_int_eq(tls_new(ctx, pair[0], &t), 0);
	tls_context_unref(ctx);		/* a reload: the connection keeps it */
	signal(SIGPIPE, SIG_IGN);
	pthread_create(&thread, NULL, client_thread, c);
	err = tls_handshake(t);
	if (err == 0)
		err = tls_read(t, line, 5);
	if (err == 5) {
		ck_assert_int_eq(tls_write(t, line, 5), 5);
		ck_assert_int_eq(tls_channel_binding(t, TLS_BINDING_EXPORTER, &binding), 0);
		ck_assert_int_eq(tls_channel_binding(t, TLS_BINDING_END_POINT, &binding), 0);
		ck_assert_uint_eq(binding.len, 64);
		ck_assert_int_eq(tls_read(t, line, 5), 0);
		ck_assert_str_eq(tls_version(t), version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
		err = 0;
	} else {
		ck_assert_str_ne(tls_error(t), "");
	}
	ck_assert_uint_eq(ERR_peek_error(), 0);
	tls_shutdown(t);
	tls_free(t);
	close(pair[0]);
	pthread_join(thread, NULL);
	if (err == 0)
		ck_assert_mem_eq(c->exporter, binding.ptr, 32);
	return err;
}

static struct auth self_signed(struct buf *chain)
{
	AUTO_BUF struct buf key = BUF_INIT(10000);
	struct auth a = { 0 };

	ck_assert_int_eq(tls_self_signed("mail.example.org", chain, &key), 0);
	ck_assert_int_eq(tls_signer_new(buf_slice(&key), &a.signer, NULL), 0);
	ck_assert(tls_signer_fits(a.signer, buf_slice(chain)));
	return a;
}

/* A certificate that is good enough for a handshake, for any key. */
static struct auth certificate_for(EVP_PKEY *key, struct buf *chain)
{
	X509 *x = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	struct auth a = { 0 };
	char *text;
	long len;

	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
	PEM_write_bio_X509(bio, x);
	len = BIO_get_mem_data(bio, &text);
	buf_add(chain, slice_of(text, (size_t)len));
	BIO_free(bio);
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	len = BIO_get_mem_data(bio, &text);
	ck_assert_int_eq(tls_signer_new(slice_of(text, (size_t)len), &a.signer, NULL), 0);
	BIO_free(bio);
	X509_free(x);
	EVP_PKEY_free(key);
	return a;
}

START_TEST(the_key_of_the_first_start_serves_tls_13_and_12)
{
	AUTO_BUF struct buf chain = BUF_INIT(10000);
	struct auth a = self_signed(&chain);
	struct client c;

	ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_3_VERSION, &c), 0);
	ck_assert(c.ok);
	ck_assert_int_eq(a.scheme, TLS_ECDSA_SHA256);
	ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_2_VERSION, &c), 0);
	ck_assert(c.ok);
	ck_assert_uint_eq(a.asked, 2);
	tls_signer_free(a.signer);
}
END_TEST

START_TEST(rsa_and_p384_keys_serve_too)
{
	EVP_PKEY *keys[] = { EVP_RSA_gen(2048), EVP_EC_gen("P-384") };

	for (size_t i = 0; i < 2; i++) {
		AUTO_BUF struct buf chain = BUF_INIT(10000);
		struct auth a = certificate_for(keys[i], &chain);
		struct client c;

		ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_3_VERSION, &c), 0);
		ck_assert(c.ok);
		ck_assert_int_eq(a.scheme, i == 0 ? TLS_RSA_PSS_SHA256 : TLS_ECDSA_SHA384);
		ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_2_VERSION, &c), 0);
		ck_assert(c.ok);
		tls_signer_free(a.signer);
	}
}
END_TEST

START_TEST(a_wrong_signature_ends_the_handshake_and_nothing_else)
{
	AUTO_BUF struct buf chain = BUF_INIT(10000);
	struct auth a = self_signed(&chain);
	struct client c;

	a.behaviour = LIES;
	ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_3_VERSION, &c), -EPROTO);
	ck_assert(!c.ok);
	ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_2_VERSION, &c), -EPROTO);
	ck_assert(!c.ok);
	a.behaviour = HONEST;
	ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_3_VERSION, &c), 0);
	tls_signer_free(a.signer);
}
END_TEST

START_TEST(a_signer_that_is_gone_is_told_from_a_bad_peer)
{
	AUTO_BUF struct buf chain = BUF_INIT(10000);
	struct auth a = self_signed(&chain);
	struct client c;

	a.behaviour = REFUSES;
	ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_3_VERSION, &c), -EKEYREJECTED);
	ck_assert(!c.ok);
	ck_assert_int_eq(serve(&a, buf_slice(&chain), TLS1_2_VERSION, &c), -EKEYREJECTED);
	tls_signer_free(a.signer);
}
END_TEST

START_TEST(tls_11_is_refused)
{
	AUTO_BUF struct buf chain = BUF_INIT(10000);
	struct auth a = self_signed(&chain);
	struct client c;
	int err = serve(&a, buf_slice(&chain), TLS1_1_VERSION, &c);

	ck_assert(err == -EPROTO || err == -ECONNRESET);
	ck_assert(!c.ok);
	ck_assert_uint_eq(a.asked, 0);
	tls_signer_free(a.signer);
}
END_TEST

/* In the child: the server, in the narrowest sandbox. Exit status 0 when a client was served. */
NORETURN static void serve_in_sandbox(struct auth *a, struct slice chain, int fd)
{
	struct sandbox box = { 0 };
	struct sandbox_report report;
	struct tls_remote remote = { .sign = sign, .arg = a };
	struct tls_context *ctx;
	struct tls *t;
	uint8_t line[5];

	if (tls_process_init() != 0 || sandbox_apply(&box, &report, NULL) != 0)
		_exit(1);
	if (tls_context_new(chain, &remote, &ctx, NULL) != 0)
		_exit(2);
	if (tls_new(ctx, fd, &t) != 0 || tls_handshake(t) != 0)
		_exit(3);
	_exit(tls_read(t, line, 5) == 5 && tls_write(t, line, 5) == 5 ? 0 : 4);
}

START_TEST(contexts_and_handshakes_work_inside_the_sandbox)
{
	AUTO_BUF struct buf chain = BUF_INIT(10000);
	struct auth a = self_signed(&chain);
	struct client c;
	int pair[2], status;
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		pid = fork();
		if (pid == 0)
			serve_in_sandbox(&a, buf_slice(&chain), pair[0]);
		close(pair[0]);
		c = (struct client){ .fd = pair[1], .version = version };
		client_thread(&c);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		ck_assert(c.ok);
	}
	tls_signer_free(a.signer);
}
END_TEST

START_TEST(the_signer_signs_handshakes_only)
{
	AUTO_BUF struct buf chain = BUF_INIT(10000), sig = BUF_INIT(2000);
	struct auth a = self_signed(&chain);
	uint8_t tbs[64 + 34 + 48] = { 0 };
	struct slice v13 = slice_of(tbs, 64 + 34 + 32), v12;

	ck_assert_int_eq(tls_signer_sign(a.signer, TLS_ECDSA_SHA256, SLICE("pay bob"), &sig), -EPERM);
	memset(tbs, 0x20, 64);
	memcpy(tbs + 64, "TLS 1.3, server CertificateVerify", 34);
	ck_assert_int_eq(tls_signer_sign(a.signer, TLS_ECDSA_SHA256, v13, &sig), 0);
	ck_assert_int_eq(tls_signer_sign(a.signer, TLS_RSA_PSS_SHA256, v13, &sig), -EPERM);
	v13.len--;
	ck_assert_int_eq(tls_signer_sign(a.signer, TLS_ECDSA_SHA256, v13, &sig), -EPERM);
	v13.len++;
	memcpy(tbs + 64, "TLS 1.3, client CertificateVerify", 34);
	ck_assert_int_eq(tls_signer_sign(a.signer, TLS_ECDSA_SHA256, v13, &sig), -EPERM);
	memset(tbs, 7, sizeof(tbs));
	memcpy(tbs + 64, "\x03\x00\x1d\x20", 4);
	v12 = slice_of(tbs, 68 + 32);
	ck_assert_int_eq(tls_signer_sign(a.signer, TLS_ECDSA_SHA256, v12, &sig), 0);
	v12.len++;
	ck_assert_int_eq(tls_signer_sign(a.signer, TLS_ECDSA_SHA256, v12, &sig), -EPERM);
	tls_signer_free(a.signer);
}
END_TEST

START_TEST(a_key_of_another_certificate_does_not_fit)
{
	AUTO_BUF struct buf chain = BUF_INIT(10000), other = BUF_INIT(10000);
	struct auth a = self_signed(&chain), b = self_signed(&other);

	ck_assert(!tls_signer_fits(a.signer, buf_slice(&other)));
	ck_assert(!tls_signer_fits(a.signer, SLICE("no certificate")));
	tls_signer_free(a.signer);
	tls_signer_free(b.signer);
}
END_TEST

START_TEST(unusable_certificates_and_keys_are_explained)
{
	struct tls_remote remote = { .sign = sign };
	struct tls_context *ctx;
	struct tls_signer *s;
	struct errmsg why = { 0 };

	ck_assert_int_eq(tls_context_new(SLICE("nonsense"), &remote, &ctx, &why), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why.text, "no certificate"));
	ck_assert_int_eq(tls_signer_new(SLICE("nonsense"), &s, &why), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why.text, "no private key"));
}
END_TEST

TEST_MAIN("sys/tls", the_key_of_the_first_start_serves_tls_13_and_12, rsa_and_p384_keys_serve_too,
	  a_wrong_signature_ends_the_handshake_and_nothing_else,
	  a_signer_that_is_gone_is_told_from_a_bad_peer, tls_11_is_refused,
	  contexts_and_handshakes_work_inside_the_sandbox, the_signer_signs_handshakes_only, a_key_of_another_certificate_does_not_fit,
	  unusable_certificates_and_keys_are_explained)
