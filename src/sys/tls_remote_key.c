#include "sys/tls_remote_key.h"

#include <errno.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

/* Our own parameter of a key: the address of its struct binding, from remote_key_new alone. */
#define PARAM_BINDING "prickle-binding"
#define REASON_SIGN   1

struct binding {
	const struct tls_remote *remote;
	struct tls_key_id id;
};

struct key {
	OSSL_LIB_CTX *lib;
	const char *type;		/* "EC" or "RSA" */
	EVP_PKEY *public;		/* of the default provider; NULL before the import */
	struct binding binding;		/* remote is NULL: a public key alone */
};

struct signing {
	const struct key *key;		/* OpenSSL keeps the key alive while the operation lasts */
	unsigned hash_bits;
	bool pss;
};

/* --- keys ------------------------------------------------------------------------------- */

static void *key_new(void *provider, const char *type)
{
	struct key *key = calloc(1, sizeof(*key));

	if (key == NULL)
		return NULL;
	key->lib = provider;
	key->type = type;
	return key;
}

static void *key_new_ec(void *provider)
{
	return key_new(provider, "EC");
}

static void *key_new_rsa(void *provider)
{
	return key_new(provider, "RSA");
}

static void key_free(void *keydata)
{
	struct key *key = keydata;

	if (key == NULL)
		return;
	EVP_PKEY_free(key->public);
	free(key);
}

static int key_has(const void *keydata, int selection)
{
	const struct key *key = keydata;

	if (key == NULL || key->public == NULL)
		return 0;
	return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0 || key->binding.remote != NULL;
}

/* X509_check_private_key comes here: the halves belong together when the public ones are equal. */
static int key_match(const void *keydata1, const void *keydata2, int selection)
{
	const struct key *a = keydata1, *b = keydata2;

	return a->public != NULL && b->public != NULL && EVP_PKEY_eq(a->public, b->public) == 1;
}

static int key_import(void *keydata, int selection, const OSSL_PARAM params[])
{
	struct key *key = keydata;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(key->lib, key->type, "provider=default");
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, PARAM_BINDING);
	OSSL_PARAM *copy = OSSL_PARAM_dup(params);
	int ok = ctx != NULL && copy != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
		 EVP_PKEY_fromdata(ctx, &key->public, EVP_PKEY_PUBLIC_KEY, copy) == 1;

	if (ok && p != NULL && p->data_size == sizeof(key->binding))
		memcpy(&key->binding, p->data, sizeof(key->binding));
	OSSL_PARAM_free(copy);
	EVP_PKEY_CTX_free(ctx);
	return ok;
}

/*
 * Only the public half can leave. OpenSSL first tries to move a key to the default provider's
 * signature and asks for all of it; this refusal is what makes it come to ours.
 */
static int key_export(void *keydata, int selection, OSSL_CALLBACK *fn, void *arg)
{
	struct key *key = keydata;
	OSSL_PARAM *params = NULL;
	int ok;

	if (key->public == NULL ||
	    ((selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) != 0 && key->binding.remote != NULL))
		return 0;
	if (EVP_PKEY_todata(key->public, EVP_PKEY_PUBLIC_KEY, &params) != 1)
		return 0;
	ok = fn(params, arg);
	OSSL_PARAM_free(params);
	return ok;
}

static const OSSL_PARAM *key_types(int selection)
{
	static const OSSL_PARAM types[] = {
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
		OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
		OSSL_PARAM_octet_string(PARAM_BINDING, NULL, 0),
		OSSL_PARAM_END,
	};
	return types;
}

static int key_get_params(void *keydata, OSSL_PARAM params[])
{
	struct key *key = keydata;

	return key->public != NULL && EVP_PKEY_get_params(key->public, params);
}

static const OSSL_PARAM *key_gettable(void *provider)
{
	static const OSSL_PARAM types[] = {
		OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
		OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
		OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
		OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
		OSSL_PARAM_END,
	};
	return types;
}

/* Names of the operation's algorithms: by these a signature finds its keys and keys theirs. */
static const char *key_operation_ec(int operation)
{
	return operation == OSSL_OP_SIGNATURE ? "ECDSA" : "EC";
}

static const char *key_operation_rsa(int operation)
{
	return "RSA";
}

/* --- signatures ------------------------------------------------------------------------- */

static void *signing_new(void *provider, const char *properties)
{
	return calloc(1, sizeof(struct signing));
}

static void signing_free(void *ctx)
{
	free(ctx);
}

static void *signing_dup(void *ctx)
{
	struct signing *copy = malloc(sizeof(*copy));

	if (copy != NULL)
		*copy = *(struct signing *)ctx;
	return copy;
}

static int signing_set_params(void *ctx, const OSSL_PARAM params[])
{
	struct signing *s = ctx;
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
	int mode;

	if (p == NULL)
		return 1;	/* salt length: TLS has one, that of the digest, and the signer knows */
	if (p->data_type == OSSL_PARAM_UTF8_STRING)
		s->pss = strcmp(p->data, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0;
	else if (OSSL_PARAM_get_int(p, &mode))
		s->pss = mode == 6;	/* RSA_PKCS1_PSS_PADDING */
	else
		return 0;
	return 1;
}

static const OSSL_PARAM *signing_settable(void *ctx, void *provider)
{
	static const OSSL_PARAM types[] = {
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
		OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
		OSSL_PARAM_END,
	};
	return types;
}

static int signing_init(void *ctx, const char *md, void *keydata, const OSSL_PARAM params[])
{
	static const struct { const char *name; unsigned bits; } hashes[] = {
		{ "SHA256", 256 }, { "SHA384", 384 }, { "SHA512", 512 },
		{ "SHA2-256", 256 }, { "SHA2-384", 384 }, { "SHA2-512", 512 },
	};
	struct signing *s = ctx;

	if (keydata != NULL)
		s->key = keydata;
	if (s->key == NULL || s->key->binding.remote == NULL || md == NULL)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(hashes); i++) {
		if (strcasecmp(md, hashes[i].name) != 0)
			continue;
		s->hash_bits = hashes[i].bits;
		return params == NULL || signing_set_params(s, params);
	}
	return 0;
}

static enum tls_scheme scheme_of(const struct signing *s)
{
	bool ec = strcmp(s->key->type, "EC") == 0;

	switch (s->hash_bits) {
	case 256:
		return ec ? TLS_ECDSA_SHA256 : s->pss ? TLS_RSA_PSS_SHA256 : TLS_RSA_PKCS1_SHA256;
	case 384:
		return ec ? TLS_ECDSA_SHA384 : s->pss ? TLS_RSA_PSS_SHA384 : TLS_RSA_PKCS1_SHA384;
	default:
		return ec ? TLS_ECDSA_SHA512 : s->pss ? TLS_RSA_PSS_SHA512 : TLS_RSA_PKCS1_SHA512;
	}
}

static int signing_sign(void *ctx, unsigned char *sig, size_t *sig_len, size_t sig_size,
			const unsigned char *tbs, size_t tbs_len)
{
	struct signing *s = ctx;
	const struct binding *b = &s->key->binding;
	AUTO_BUF struct buf out = BUF_INIT(TLS_SIGNATURE_BYTES_MAX);
	int size = EVP_PKEY_get_size(s->key->public), err;

	if (size <= 0)
		return 0;
	if (sig == NULL) {
		*sig_len = (size_t)size;
		return 1;
	}
	/* The fiber may sleep in here: see the file comment of sys/tls.h on the error queue. */
	ERR_clear_error();
	err = b->remote->sign(b->remote->arg, b->id, scheme_of(s), slice_of(tbs, tbs_len), &out);
	ERR_clear_error();
	if (err != 0 || out.err != 0 || out.len == 0 || out.len > sig_size) {
		ERR_raise_data(ERR_LIB_USER, REASON_SIGN, "the signer answered %d", err);
		return 0;
	}
	memcpy(sig, out.ptr, out.len);
	*sig_len = out.len;
	return 1;
}

bool remote_key_failed(unsigned long first_error)
{
	return ERR_GET_LIB(first_error) == ERR_LIB_USER && ERR_GET_REASON(first_error) == REASON_SIGN;
}

/* --- the provider ----------------------------------------------------------------------- */

#define FN(id, f) { id, (void (*)(void))(f) }

#define KEYMGMT(name)                                                                              \
	static const OSSL_DISPATCH keymgmt_##name[] = {                                            \
		FN(OSSL_FUNC_KEYMGMT_NEW, key_new_##name),                                         \
		FN(OSSL_FUNC_KEYMGMT_FREE, key_free),                                              \
		FN(OSSL_FUNC_KEYMGMT_HAS, key_has),                                                \
		FN(OSSL_FUNC_KEYMGMT_MATCH, key_match),                                            \
		FN(OSSL_FUNC_KEYMGMT_IMPORT, key_import),                                          \
		FN(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_types),                                     \
		FN(OSSL_FUNC_KEYMGMT_EXPORT, key_export),                                          \
		FN(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_types),                                     \
		FN(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),                                  \
		FN(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable),                               \
		FN(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, key_operation_##name),                  \
		{ 0 },                                                                             \
	}
KEYMGMT(ec);
KEYMGMT(rsa);

static const OSSL_DISPATCH signature[] = {
	FN(OSSL_FUNC_SIGNATURE_NEWCTX, signing_new),
	FN(OSSL_FUNC_SIGNATURE_FREECTX, signing_free),
	FN(OSSL_FUNC_SIGNATURE_DUPCTX, signing_dup),
	FN(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, signing_init),
	FN(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, signing_sign),
	FN(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signing_set_params),
	FN(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signing_settable),
	{ 0 },
};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache)
{
	static const OSSL_ALGORITHM keys[] = {
		{ "EC:id-ecPublicKey:1.2.840.10045.2.1", "provider=" REMOTE_PROVIDER, keymgmt_ec, NULL },
		{ "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=" REMOTE_PROVIDER, keymgmt_rsa, NULL },
		{ 0 },
	};
	static const OSSL_ALGORITHM signatures[] = {
		{ "ECDSA", "provider=" REMOTE_PROVIDER, signature, NULL },
		{ "RSA:rsaEncryption:1.2.840.113549.1.1.1", "provider=" REMOTE_PROVIDER, signature, NULL },
		{ 0 },
	};

	*no_cache = 0;
	return operation == OSSL_OP_KEYMGMT   ? keys :
	       operation == OSSL_OP_SIGNATURE ? signatures :
						NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
			 const OSSL_DISPATCH **out, void **provider)
{
	static const OSSL_DISPATCH functions[] = {
		FN(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query),
		{ 0 },
	};
	OSSL_FUNC_core_get_libctx_fn *get_lib = NULL;

	for (; in->function_id != 0; in++)
		if (in->function_id == OSSL_FUNC_CORE_GET_LIBCTX)
			get_lib = OSSL_FUNC_core_get_libctx(in);
	if (get_lib == NULL)
		return 0;
	/* provider-base(7): for a built-in provider the core's context is the application's own. */
	*provider = get_lib(core);
	*out = functions;
	return 1;
}

OSSL_PROVIDER *remote_key_provider(OSSL_LIB_CTX *lib)
{
	if (OSSL_PROVIDER_add_builtin(lib, REMOTE_PROVIDER, provider_init) != 1)
		return NULL;
	return OSSL_PROVIDER_load(lib, REMOTE_PROVIDER);
}

EVP_PKEY *remote_key_new(OSSL_LIB_CTX *lib, EVP_PKEY *public, const struct tls_remote *remote,
			 struct tls_key_id id)
{
	struct binding binding = { .remote = remote, .id = id };
	OSSL_PARAM own[2] = {
		OSSL_PARAM_construct_octet_string(PARAM_BINDING, &binding, sizeof(binding)),
		OSSL_PARAM_construct_end(),
	};
	OSSL_PARAM *params = NULL, *all = NULL;
	EVP_PKEY *key = NULL;
	const char *type = EVP_PKEY_is_a(public, "EC") ? "EC" : EVP_PKEY_is_a(public, "RSA") ? "RSA" : NULL;
	EVP_PKEY_CTX *ctx = type == NULL ? NULL :
		EVP_PKEY_CTX_new_from_name(lib, type, "provider=" REMOTE_PROVIDER);

	if (ctx == NULL || EVP_PKEY_todata(public, EVP_PKEY_PUBLIC_KEY, &params) != 1)
		goto out;
	all = OSSL_PARAM_merge(params, own);
	if (all == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, all) != 1)
		key = NULL;
out:
	OPENSSL_free(all);	/* merge is shallow: the array alone */
	OSSL_PARAM_free(params);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

bool remote_key_id(EVP_PKEY *public, struct tls_key_id *id)
{
	unsigned char *der = NULL, hash[SHA256_DIGEST_LENGTH];
	int len = i2d_PUBKEY(public, &der);

	if (len <= 0)
		return false;
	SHA256(der, (size_t)len, hash);
	OPENSSL_free(der);
	memcpy(id->bytes, hash, sizeof(id->bytes));
	return true;
}
