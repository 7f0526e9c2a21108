#include "sys/tls_signer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "sys/tls_remote_key.h"

#define SELF_SIGNED_DAYS 3650

struct tls_signer {
	EVP_PKEY *key;
	bool rsa;
	struct tls_key_id id;
};

int tls_signer_new(struct slice key_pem, struct tls_signer **out, struct errmsg *why)
{
	BIO *bio;
	EVP_PKEY *key = NULL;
	struct tls_signer *s;

	ERR_clear_error();
	if (key_pem.len > TLS_CHAIN_BYTES_MAX)
		return errmsg_say(why, -EBADMSG, "TLS key: more than %u bytes", TLS_CHAIN_BYTES_MAX);
	bio = BIO_new_mem_buf(key_pem.ptr, (int)key_pem.len);
	char no_password[] = "";		/* else OpenSSL asks at the terminal */
	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, NULL, no_password);
	BIO_free(bio);
	ERR_clear_error();
	if (key == NULL)
		return errmsg_say(why, -EBADMSG,
				  "TLS key: no private key in PEM form (a key with a pass phrase is not supported)");
	s = calloc(1, sizeof(*s));
	if (s == NULL) {
		EVP_PKEY_free(key);
		return errmsg_set(why, -ENOMEM, "TLS key");
	}
	s->key = key;
	s->rsa = EVP_PKEY_is_a(key, "RSA") == 1;
	if ((!s->rsa && !EVP_PKEY_is_a(key, "EC")) || (s->rsa && EVP_PKEY_get_bits(key) < 2048) ||
	    EVP_PKEY_get_bits(key) < 256 || !remote_key_id(key, &s->id)) {
		tls_signer_free(s);
		return errmsg_say(why, -ENOTSUP,
				  "TLS key: only EC (P-256, P-384) and RSA of 2048 bits or more are supported");
	}
	*out = s;
	return 0;
}

void tls_signer_free(struct tls_signer *s)
{
	if (s == NULL)
		return;
	EVP_PKEY_free(s->key);
	free(s);
}

struct tls_key_id tls_signer_key_id(const struct tls_signer *s)
{
	return s->id;
}

static X509 *first_certificate(struct slice chain_pem)
{
	BIO *bio = chain_pem.len > TLS_CHAIN_BYTES_MAX ? NULL : BIO_new_mem_buf(chain_pem.ptr, (int)chain_pem.len);
	X509 *x = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	ERR_clear_error();
	return x;
}

bool tls_signer_fits(const struct tls_signer *s, struct slice chain_pem)
{
	X509 *x = first_certificate(chain_pem);
	bool fits = x != NULL && X509_check_private_key(x, s->key) == 1;

	X509_free(x);
	ERR_clear_error();
	return fits;
}

int64_t tls_chain_not_after_s(struct slice chain_pem)
{
	X509 *x = first_certificate(chain_pem);
	struct tm tm;
	int64_t end_s = x != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) == 1 ? (int64_t)timegm(&tm) : 0;

	X509_free(x);
	return end_s;
}

/* RFC 8446 §4.4.3: 64 spaces, the context string, 0, the transcript hash. */
static bool is_tls13(struct slice tbs)
{
	static const char context[] = "TLS 1.3, server CertificateVerify";	/* its NUL is the separator */

	if (tbs.len != 64 + sizeof(context) + 32 && tbs.len != 64 + sizeof(context) + 48)
		return false;
	for (size_t i = 0; i < 64; i++)
		if (tbs.ptr[i] != 0x20)
			return false;
	return memcmp(tbs.ptr + 64, context, sizeof(context)) == 0;
}

/* RFC 8422 §5.4: client random, server random, named_curve(3), group, point with its length. */
static bool is_tls12(struct slice tbs)
{
	static const struct { uint16_t group; uint8_t point_bytes; } points[] = {
		{ 23, 65 }, { 24, 97 }, { 29, 32 },	/* P-256, P-384, X25519 */
	};

	if (tbs.len < 68 || tbs.ptr[64] != 3)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(points); i++)
		if (tbs.ptr[65] == 0 && tbs.ptr[66] == points[i].group &&
		    tbs.ptr[67] == points[i].point_bytes && tbs.len == 68u + points[i].point_bytes)
			return true;
	return false;
}

static const struct scheme {
	enum tls_scheme scheme;
	const char *hash;
	bool rsa, pss;
} schemes[] = {
	{ TLS_RSA_PKCS1_SHA256, "SHA256", true, false }, { TLS_RSA_PKCS1_SHA384, "SHA384", true, false },
	{ TLS_RSA_PKCS1_SHA512, "SHA512", true, false }, { TLS_RSA_PSS_SHA256, "SHA256", true, true },
	{ TLS_RSA_PSS_SHA384, "SHA384", true, true },	 { TLS_RSA_PSS_SHA512, "SHA512", true, true },
	{ TLS_ECDSA_SHA256, "SHA256", false, false },	 { TLS_ECDSA_SHA384, "SHA384", false, false },
	{ TLS_ECDSA_SHA512, "SHA512", false, false },
};

int tls_signer_sign(const struct tls_signer *s, enum tls_scheme scheme, struct slice tbs,
		    struct buf *signature)
{
	const struct scheme *row = NULL;
	EVP_PKEY_CTX *pctx = NULL;
	EVP_MD_CTX *ctx;
	uint8_t *to;
	size_t len = TLS_SIGNATURE_BYTES_MAX;
	bool ok;

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		if (schemes[i].scheme == scheme)
			row = &schemes[i];
	/* RFC 8446 §4.2.3: PKCS #1 v1.5 signs no TLS 1.3 handshake. */
	if (row == NULL || row->rsa != s->rsa ||
	    !(is_tls12(tbs) || (is_tls13(tbs) && (!row->rsa || row->pss))))
		return -EPERM;
	to = buf_room(signature, len);
	if (to == NULL)
		return signature->err;
	ERR_clear_error();
	ctx = EVP_MD_CTX_new();
	ok = ctx != NULL && EVP_DigestSignInit_ex(ctx, &pctx, row->hash, NULL, NULL, s->key, NULL) == 1;
	if (ok && row->pss)
		ok = EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestSign(ctx, to, &len, tbs.ptr, tbs.len) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	if (!ok)
		return -EIO;
	buf_commit(signature, len);
	return 0;
}

/* --- a certificate for the first start --------------------------------------------------- */

static bool add_name(GENERAL_NAMES *names, const char *host)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	if (name == NULL || text == NULL || ASN1_STRING_set(text, host, -1) != 1) {
		GENERAL_NAME_free(name);
		ASN1_IA5STRING_free(text);
		return false;
	}
	GENERAL_NAME_set0_value(name, GEN_DNS, text);
	if (sk_GENERAL_NAME_push(names, name) > 0)
		return true;
	GENERAL_NAME_free(name);
	return false;
}

static bool add_extensions(X509 *x, const char *host)
{
	static const struct { int nid; const char *value; } fixed[] = {
		{ NID_basic_constraints, "critical,CA:FALSE" },
		{ NID_key_usage, "critical,digitalSignature" },
		{ NID_ext_key_usage, "serverAuth" },
	};
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	bool ok = names != NULL && add_name(names, host) &&
		  (strcmp(host, "localhost") == 0 || add_name(names, "localhost")) &&
		  X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;

	GENERAL_NAMES_free(names);
	for (size_t i = 0; ok && i < ARRAY_LEN(fixed); i++) {
		X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, fixed[i].nid, fixed[i].value);

		ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;
		X509_EXTENSION_free(ext);
	}
	return ok;
}

static bool fill(X509 *x, EVP_PKEY *key, const char *host)
{
	X509_NAME *subject = X509_get_subject_name(x);
	char cn[65];			/* X.520 ub-common-name is 64; the whole name stands in the SAN */
	uint64_t serial;

	snprintf(cn, sizeof(cn), "%s", host);
	if (RAND_bytes((unsigned char *)&serial, sizeof(serial)) != 1)
		return false;
	return X509_set_version(x, X509_VERSION_3) == 1 &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1 | 1) == 1 &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -3600) != NULL &&
	       X509_time_adj_ex(X509_getm_notAfter(x), SELF_SIGNED_DAYS, 0, NULL) != NULL &&
	       X509_set_pubkey(x, key) == 1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1,
					  0) == 1 &&
	       X509_set_issuer_name(x, subject) == 1 && add_extensions(x, host) &&
	       X509_sign(x, key, EVP_sha256()) > 0;
}

static bool copy_bio(BIO *bio, struct buf *out)
{
	char *text;
	long len = BIO_get_mem_data(bio, &text);

	if (len <= 0)
		return false;
	buf_add(out, slice_of(text, (size_t)len));
	return out->err == 0;
}

int tls_self_signed(const char *hostname, struct buf *cert_pem, struct buf *key_pem)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *cert = BIO_new(BIO_s_mem()), *private = BIO_new(BIO_s_mem());
	bool ok = key != NULL && x != NULL && cert != NULL && private != NULL && fill(x, key, hostname) &&
		  PEM_write_bio_X509(cert, x) == 1 &&
		  PEM_write_bio_PrivateKey(private, key, NULL, NULL, 0, NULL, NULL) == 1 &&
		  copy_bio(cert, cert_pem) && copy_bio(private, key_pem);

	BIO_free(cert);
	BIO_free(private);
	X509_free(x);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok ? 0 : -EIO;
}
