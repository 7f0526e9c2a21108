/*
 * The node's certificate and private key, as the auth role keeps them.
 *
 * From the configured files, read again when they change; else a self-signed pair that is made at
 * the first start and kept in tls/ of the state directory. Front and mx get the chain and ask
 * for signatures; the key never leaves this process (sys/tls_signer.h).
 *
 * Old keys stay for a while, since handshakes of an older certificate may still run.
 */
#pragma once
#include "base/errmsg.h"
#include "base/buf.h"
#include "sys/tls_signer.h"

struct auth_tls;
struct world;

MUST_USE int auth_tls_new(struct world *state, struct auth_tls **out);
void auth_tls_free(struct auth_tls *t);
/*
 * Load, or look whether there is something new to load. certificate, key: configured paths; both
 * empty: the self-signed pair, whose names come from hostname. 1: a new certificate is in use; 0:
 * all as before; negative: it cannot be used, the old one (if any) stays. Reads two small files.
 */
MUST_USE int auth_tls_load(struct auth_tls *t, const char *certificate, const char *key,
			   const char *hostname, struct errmsg *why);
/*
 * Have configured files opened by fn from now on (in the sandbox: by the supervisor, role_open_file);
 * before, and with NULL, they are opened by name. fn: 0 and *fd, or a negative errno and *why.
 */
void auth_tls_opener(struct auth_tls *t,
		     int (*fn)(void *arg, bool key, int *fd, struct errmsg *why), void *arg);
/* For `config check`: would these files do? 0 or negative errno. The key is wiped from memory again. */
MUST_USE int auth_tls_check(const char *certificate, const char *key, struct errmsg *why);
/* When the certificate in use ends, seconds since 1970; 0: unknown. */
int64_t auth_tls_not_after_s(const struct auth_tls *t);
/* The configured key's file may be read by every user of this machine. */
bool auth_tls_key_exposed(const struct auth_tls *t);
/* The chain in use, PEM; empty before the first load. */
struct slice auth_tls_chain(const struct auth_tls *t);
/* Append a signature: 0 or a negative errno (unknown key, or not a handshake's bytes). */
MUST_USE int auth_tls_sign(const struct auth_tls *t, struct tls_key_id key, enum tls_scheme scheme,
			   struct slice tbs, struct buf *signature);
