#include "mail/auth/sasl.h"

#include <errno.h>
#include <sodium.h>

#include "base/must.h"
#include "base/utf8.h"

#define SASL_ARENA_BYTES (48u * 1024u)

static const char *const mechanism_names[] = {
	[SASL_PLAIN] = "PLAIN",
	[SASL_LOGIN] = "LOGIN",
	[SASL_SCRAM_SHA_256] = "SCRAM-SHA-256",
	[SASL_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
};

enum sasl_mechanism sasl_mechanism(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(mechanism_names); i++)
		if (slice_eq_nocase(name, slice_str(mechanism_names[i])))
			return (enum sasl_mechanism)i;
	return SASL_UNKNOWN;
}

const char *sasl_mechanism_name(enum sasl_mechanism m)
{
	return (size_t)m < ARRAY_LEN(mechanism_names) ? mechanism_names[m] : "unknown";
}

bool sasl_plain_parse(struct slice text, struct slice *authzid, struct slice *user,
		      struct slice *password)
{
	struct slice a, u, p;

	if (!slice_cut(text, 0, &a, &u) || !slice_cut(u, 0, &u, &p))
		return false;
	if (slice_find_byte(p, 0) != SLICE_NPOS)
		return false;
	/* Passwords in old character sets exist; they are compared as bytes. */
	if (!utf8_valid(a) || !utf8_valid(u))
		return false;
	if (u.len == 0 || u.len > AUTH_USER_BYTES_MAX || a.len > AUTH_USER_BYTES_MAX ||
	    p.len == 0 || p.len > AUTH_PASSWORD_BYTES_MAX)
		return false;
	*authzid = a;
	*user = u;
	*password = p;
	return true;
}

int sasl_init(struct sasl *s, enum sasl_mechanism m, struct slice exporter, struct slice end_point,
	      struct slice server_nonce)
{
	must(m != SASL_UNKNOWN);
	*s = (struct sasl){ .mechanism = m };
	arena_init(&s->arena, SASL_ARENA_BYTES);
	s->exporter = arena_dup(&s->arena, slice_head(exporter, AUTH_BINDING_BYTES_MAX));
	s->end_point = arena_dup(&s->arena, slice_head(end_point, AUTH_BINDING_BYTES_MAX));
	s->server_nonce = arena_dup(&s->arena, server_nonce);
	return s->arena.err;
}

void sasl_done(struct sasl *s)
{
	if (s->password.len > 0)
		sodium_memzero((void *)(uintptr_t)s->password.ptr, s->password.len);
	sodium_memzero(s->stored_key, sizeof(s->stored_key));
	sodium_memzero(s->server_key, sizeof(s->server_key));
	arena_done(&s->arena);
}

static enum sasl_verdict plain_step(struct sasl *s, const struct slice *response)
{
	struct slice authzid, user, password;

	if (response == NULL)
		return s->step++ == 0 ? SASL_CONTINUE : SASL_MALFORMED;
	if (!sasl_plain_parse(*response, &authzid, &user, &password))
		return SASL_MALFORMED;
	s->authzid = arena_dup(&s->arena, authzid);
	s->user = arena_dup(&s->arena, user);
	s->password = arena_dup(&s->arena, password);
	return s->arena.err == 0 ? SASL_ASK_PASSWORD : SASL_MALFORMED;
}

static enum sasl_verdict login_step(struct sasl *s, const struct slice *response, struct buf *out)
{
	if (response == NULL) {
		if (s->step++ > 0)
			return SASL_MALFORMED;
		buf_adds(out, "Username:");
		return SASL_CONTINUE;
	}
	if (s->user.len == 0) {
		if (response->len == 0 || response->len > AUTH_USER_BYTES_MAX)
			return SASL_MALFORMED;
		s->user = arena_dup(&s->arena, *response);
		buf_adds(out, "Password:");
		return s->arena.err == 0 ? SASL_CONTINUE : SASL_MALFORMED;
	}
	if (response->len == 0 || response->len > AUTH_PASSWORD_BYTES_MAX)
		return SASL_MALFORMED;
	s->password = arena_dup(&s->arena, *response);
	return s->arena.err == 0 ? SASL_ASK_PASSWORD : SASL_MALFORMED;
}

static enum sasl_verdict scram_first_step(struct sasl *s, struct slice response)
{
	struct slice text = arena_dup(&s->arena, response);
	bool plus = s->mechanism == SASL_SCRAM_SHA_256_PLUS;
	bool we_bind = s->exporter.len > 0 || s->end_point.len > 0;

	if (text.len == 0 || text.len > SCRAM_MESSAGE_BYTES_MAX)
		return SASL_MALFORMED;
	switch (scram_first_parse(&s->arena, text, &s->first)) {
	case SCRAM_OK:
		break;
	case SCRAM_NO_BINDING:
		return SASL_REJECTED;
	default:
		return SASL_MALFORMED;
	}
	switch (s->first.binding) {
	case SCRAM_BIND_NONE:
		if (plus)
			return SASL_MALFORMED;
		break;
	case SCRAM_BIND_NOT_OFFERED:
		/* RFC 5802 §6: we offer -PLUS, so somebody took it out of the list. */
		if (plus)
			return SASL_MALFORMED;
		if (we_bind)
			return SASL_REJECTED;
		break;
	case SCRAM_BIND_EXPORTER:
		if (!plus)
			return SASL_MALFORMED;
		if (s->exporter.len == 0)
			return SASL_REJECTED;
		break;
	case SCRAM_BIND_END_POINT:
		if (!plus)
			return SASL_MALFORMED;
		if (s->end_point.len == 0)
			return SASL_REJECTED;
		break;
	}
	if (s->first.user.len > AUTH_USER_BYTES_MAX || s->first.authzid.len > AUTH_USER_BYTES_MAX)
		return SASL_MALFORMED;
	s->user = s->first.user;
	s->authzid = s->first.authzid;
	return SASL_ASK_KEYS;
}

static enum sasl_verdict scram_final_step(struct sasl *s, struct slice response, struct buf *out)
{
	struct scram_check check = {
		.gs2_header = s->first.gs2_header,
		.client_bare = s->first.bare,
		.server_first = s->server_first,
		.nonce = s->nonce,
		.stored_key = s->stored_key,
		.server_key = s->server_key,
	};

	if (response.len > SCRAM_MESSAGE_BYTES_MAX)
		return SASL_MALFORMED;
	if (s->first.binding == SCRAM_BIND_EXPORTER)
		check.binding_data = s->exporter;
	else if (s->first.binding == SCRAM_BIND_END_POINT)
		check.binding_data = s->end_point;
	switch (scram_final(&check, response, out)) {
	case SCRAM_OK:
		return s->fake ? SASL_REJECTED : SASL_CONTINUE;
	case SCRAM_MALFORMED:
		return SASL_MALFORMED;
	default:
		return SASL_REJECTED;
	}
}

static enum sasl_verdict scram_step(struct sasl *s, const struct slice *response, struct buf *out)
{
	if (response == NULL)	/* the client begins: an empty challenge asks it to */
		return s->step == 0 ? SASL_CONTINUE : SASL_MALFORMED;
	switch (s->step++) {
	case 0:
		return scram_first_step(s, *response);
	case 1:
		return SASL_MALFORMED;	/* the keys were not given */
	case 2:
		return scram_final_step(s, *response, out);
	default:
		return response->len == 0 ? SASL_PROVEN : SASL_MALFORMED;
	}
}

enum sasl_verdict sasl_step(struct sasl *s, const struct slice *response, struct buf *out)
{
	if (response != NULL && response->len > AUTH_RESPONSE_BYTES_MAX)
		return SASL_MALFORMED;
	switch (s->mechanism) {
	case SASL_PLAIN:
		return plain_step(s, response);
	case SASL_LOGIN:
		return login_step(s, response, out);
	case SASL_SCRAM_SHA_256:
	case SASL_SCRAM_SHA_256_PLUS:
		return scram_step(s, response, out);
	case SASL_UNKNOWN:
		break;
	}
	return SASL_MALFORMED;
}

enum sasl_verdict sasl_give_keys(struct sasl *s, struct slice salt, uint32_t iterations,
				 const uint8_t stored_key[SCRAM_KEY_BYTES],
				 const uint8_t server_key[SCRAM_KEY_BYTES], bool fake,
				 struct buf *out)
{
	size_t before = out->len;
	uint8_t *both;

	must(s->step == 1);
	s->step = 2;
	scram_first_answer(out, &s->first, s->server_nonce, salt, iterations);
	both = arena_alloc(&s->arena, s->first.nonce.len + s->server_nonce.len);
	if (out->err != 0 || both == NULL)
		return SASL_MALFORMED;
	s->server_first = arena_dup(&s->arena, slice_of(out->ptr + before, out->len - before));
	memcpy(both, s->first.nonce.ptr, s->first.nonce.len);
	memcpy(both + s->first.nonce.len, s->server_nonce.ptr, s->server_nonce.len);
	s->nonce = slice_of(both, s->first.nonce.len + s->server_nonce.len);
	memcpy(s->stored_key, stored_key, SCRAM_KEY_BYTES);
	memcpy(s->server_key, server_key, SCRAM_KEY_BYTES);
	s->fake = fake;
	return s->arena.err == 0 ? SASL_CONTINUE : SASL_MALFORMED;
}
