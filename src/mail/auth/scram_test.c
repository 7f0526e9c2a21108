#include "base/base64.h"
#include "base/test.h"
#include "mail/auth/sasl.h"

#define NONCE  "rOprNGfwEbeRWgbNEkqO"
#define SERVER "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"

/* RFC 7677 §3 */
static const struct slice client_first = SLICE_INIT("n,,n=user,r=" NONCE);
static const char server_first[] = "r=" NONCE SERVER ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
static const struct slice client_final = SLICE_INIT(
	"c=biws,r=" NONCE SERVER ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
static const char server_final[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

struct fixture {
	struct sasl s;
	struct buf out, salt;
	uint8_t stored[SCRAM_KEY_BYTES], server[SCRAM_KEY_BYTES];
};

static void begin(struct fixture *f, enum sasl_mechanism m, struct slice exporter,
		  struct slice end_point)
{
	ck_assert_int_eq(sasl_init(&f->s, m, exporter, end_point, SLICE(SERVER)), 0);
	buf_init(&f->out, 4096);
	buf_init(&f->salt, 64);
	ck_assert(base64_decode(&f->salt, SLICE("W22ZaJ0SNY7soEsUEjb6gQ==")));
	ck_assert(scram_derive(SLICE("pencil"), buf_slice(&f->salt), 4096, f->stored, f->server));
}

static void end(struct fixture *f)
{
	sasl_done(&f->s);
	buf_done(&f->out);
	buf_done(&f->salt);
}

static enum sasl_verdict step(struct fixture *f, struct slice response)
{
	buf_reset(&f->out);
	return sasl_step(&f->s, &response, &f->out);
}

static enum sasl_verdict keys(struct fixture *f)
{
	buf_reset(&f->out);
	return sasl_give_keys(&f->s, buf_slice(&f->salt), 4096, f->stored, f->server, false, &f->out);
}

START_TEST(the_example_of_rfc_7677_runs_to_its_end)
{
	struct fixture f;

	begin(&f, SASL_SCRAM_SHA_256, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert_int_eq(sasl_step(&f.s, NULL, &f.out), SASL_CONTINUE);
	ck_assert_uint_eq(f.out.len, 0);
	ck_assert_int_eq(step(&f, client_first), SASL_ASK_KEYS);
	ck_assert_slice_eq(f.s.user, SLICE("user"));
	ck_assert_int_eq(keys(&f), SASL_CONTINUE);
	ck_assert_slice_eq(buf_slice(&f.out), slice_str(server_first));
	ck_assert_int_eq(step(&f, client_final), SASL_CONTINUE);
	ck_assert_slice_eq(buf_slice(&f.out), slice_str(server_final));
	ck_assert_int_eq(step(&f, SLICE("")), SASL_PROVEN);
	end(&f);
}
END_TEST

START_TEST(each_changed_byte_of_the_final_message_is_refused)
{
	uint8_t text[256];

	for (size_t i = 0; i < client_final.len; i++) {
		struct fixture f;
		enum sasl_verdict v;

		memcpy(text, client_final.ptr, client_final.len);
		text[i] ^= 1;
		begin(&f, SASL_SCRAM_SHA_256, (struct slice){ 0 }, (struct slice){ 0 });
		ck_assert_int_eq(step(&f, client_first), SASL_ASK_KEYS);
		ck_assert_int_eq(keys(&f), SASL_CONTINUE);
		v = step(&f, slice_of(text, client_final.len));
		ck_assert_msg(v == SASL_REJECTED || v == SASL_MALFORMED, "byte %zu", i);
		end(&f);
	}
}
END_TEST

static const struct {
	const char *name;
	struct slice text;
	enum scram_result want;
} firsts[] = {
	{ "plain", SLICE_INIT("n,,n=user,r=abc"), SCRAM_OK },
	{ "escapes in the name", SLICE_INIT("n,,n=a=2Cb=3Dc,r=abc"), SCRAM_OK },
	{ "an authorization identity", SLICE_INIT("n,a=ann,n=user,r=abc"), SCRAM_OK },
	{ "an optional extension", SLICE_INIT("n,,n=user,r=abc,x=1"), SCRAM_OK },
	{ "the client thinks that we do not bind", SLICE_INIT("y,,n=user,r=abc"), SCRAM_OK },
	{ "a binding", SLICE_INIT("p=tls-exporter,,n=user,r=abc"), SCRAM_OK },
	{ "an unknown binding", SLICE_INIT("p=tls-unique,,n=user,r=abc"), SCRAM_NO_BINDING },
	{ "a binding without name", SLICE_INIT("p=,,n=user,r=abc"), SCRAM_MALFORMED },
	{ "a mandatory extension", SLICE_INIT("n,,m=1,n=user,r=abc"), SCRAM_EXTENSION },
	{ "no header", SLICE_INIT("n=user,r=abc"), SCRAM_MALFORMED },
	{ "another flag", SLICE_INIT("x,,n=user,r=abc"), SCRAM_MALFORMED },
	{ "an empty name", SLICE_INIT("n,,n=,r=abc"), SCRAM_MALFORMED },
	{ "a bare equals sign", SLICE_INIT("n,,n=a=b,r=abc"), SCRAM_MALFORMED },
	{ "an escape in lower case", SLICE_INIT("n,,n=a=2c,r=abc"), SCRAM_MALFORMED },
	{ "a cut escape", SLICE_INIT("n,,n=a=2,r=abc"), SCRAM_MALFORMED },
	{ "a NUL in the name", SLICE_INIT("n,,n=a\0b,r=abc"), SCRAM_MALFORMED },
	{ "no nonce", SLICE_INIT("n,,n=user"), SCRAM_MALFORMED },
	{ "an empty nonce", SLICE_INIT("n,,n=user,r="), SCRAM_MALFORMED },
	{ "a blank in the nonce", SLICE_INIT("n,,n=user,r=a b"), SCRAM_MALFORMED },
	{ "a comma at the end", SLICE_INIT("n,,n=user,r=abc,"), SCRAM_MALFORMED },
	{ "an extension without name", SLICE_INIT("n,,n=user,r=abc,=1"), SCRAM_MALFORMED },
	{ "nothing", SLICE_INIT(""), SCRAM_MALFORMED },
};

START_TEST(first_messages_are_parsed_or_refused)
{
	for (size_t i = 0; i < ARRAY_LEN(firsts); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(4096);
		struct scram_first f;

		ck_assert_msg(scram_first_parse(&arena, firsts[i].text, &f) == firsts[i].want, "%s",
			      firsts[i].name);
	}
}
END_TEST

START_TEST(escapes_in_names_are_undone)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(4096);
	struct scram_first f;

	ck_assert_int_eq(scram_first_parse(&arena, SLICE("n,a=x=3Dy,n=a=2Cb=3Dc,r=abc"), &f), SCRAM_OK);
	ck_assert_slice_eq(f.user, SLICE("a,b=c"));
	ck_assert_slice_eq(f.authzid, SLICE("x=y"));
	ck_assert_slice_eq(f.gs2_header, SLICE("n,a=x=3Dy,"));
	ck_assert_slice_eq(f.bare, SLICE("n=a=2Cb=3Dc,r=abc"));
}
END_TEST

START_TEST(a_nonce_may_have_256_bytes_and_not_257)
{
	char text[400] = "n,,n=user,r=";

	memset(text + 12, 'x', SCRAM_NONCE_BYTES_MAX + 1);
	for (size_t extra = 0; extra < 2; extra++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(4096);
		struct scram_first f;

		ck_assert_int_eq(scram_first_parse(&arena,
						   slice_of(text, 12 + SCRAM_NONCE_BYTES_MAX + extra),
						   &f),
				 extra == 0 ? SCRAM_OK : SCRAM_MALFORMED);
	}
}
END_TEST

static const struct {
	const char *name;
	enum sasl_mechanism m;
	struct slice exporter, first;
	enum sasl_verdict want;
} bindings[] = {
	{ "no binding where there is none", SASL_SCRAM_SHA_256, { 0 }, SLICE_INIT("n,,n=u,r=a"),
	  SASL_ASK_KEYS },
	{ "y without TLS", SASL_SCRAM_SHA_256, { 0 }, SLICE_INIT("y,,n=u,r=a"), SASL_ASK_KEYS },
	{ "y with TLS: somebody took -PLUS off the list", SASL_SCRAM_SHA_256, SLICE_INIT("x"),
	  SLICE_INIT("y,,n=u,r=a"), SASL_REJECTED },
	{ "n with TLS: an older client", SASL_SCRAM_SHA_256, SLICE_INIT("x"),
	  SLICE_INIT("n,,n=u,r=a"), SASL_ASK_KEYS },
	{ "p without -PLUS", SASL_SCRAM_SHA_256, SLICE_INIT("x"),
	  SLICE_INIT("p=tls-exporter,,n=u,r=a"), SASL_MALFORMED },
	{ "p with -PLUS", SASL_SCRAM_SHA_256_PLUS, SLICE_INIT("x"),
	  SLICE_INIT("p=tls-exporter,,n=u,r=a"), SASL_ASK_KEYS },
	{ "a binding that this connection lacks", SASL_SCRAM_SHA_256_PLUS, SLICE_INIT("x"),
	  SLICE_INIT("p=tls-server-end-point,,n=u,r=a"), SASL_REJECTED },
	{ "n with -PLUS", SASL_SCRAM_SHA_256_PLUS, SLICE_INIT("x"), SLICE_INIT("n,,n=u,r=a"),
	  SASL_MALFORMED },
};

START_TEST(channel_bindings_must_fit_the_mechanism_and_the_connection)
{
	for (size_t i = 0; i < ARRAY_LEN(bindings); i++) {
		struct fixture f;

		begin(&f, bindings[i].m, bindings[i].exporter, (struct slice){ 0 });
		ck_assert_msg(step(&f, bindings[i].first) == bindings[i].want, "%s", bindings[i].name);
		end(&f);
	}
}
END_TEST

static const struct {
	struct slice text;
	bool good;
} plains[] = {
	/* The examples of RFC 4616 §4 */
	{ SLICE_INIT("\0tim\0tanstaaftanstaaf"), true },
	{ SLICE_INIT("Ursel\0Kurt\0xipj3plmq"), true },
	{ SLICE_INIT("\0\0tanstaaf"), false },
	{ SLICE_INIT("\0tim\0"), false },
	{ SLICE_INIT("\0tim"), false },
	{ SLICE_INIT("tim"), false },
	{ SLICE_INIT(""), false },
	{ SLICE_INIT("\0tim\0tan\0staaf"), false },
	{ SLICE_INIT("\0t\xc3\0tanstaaf"), false },
};

START_TEST(plain_messages_are_parsed_or_refused)
{
	struct slice a, u, p;

	for (size_t i = 0; i < ARRAY_LEN(plains); i++)
		ck_assert_msg(sasl_plain_parse(plains[i].text, &a, &u, &p) == plains[i].good, "%zu", i);
	ck_assert(sasl_plain_parse(plains[1].text, &a, &u, &p));
	ck_assert_slice_eq(a, SLICE("Ursel"));
	ck_assert_slice_eq(u, SLICE("Kurt"));
	ck_assert_slice_eq(p, SLICE("xipj3plmq"));
}
END_TEST

START_TEST(login_asks_for_name_and_password)
{
	struct fixture f;

	begin(&f, SASL_LOGIN, (struct slice){ 0 }, (struct slice){ 0 });
	ck_assert_int_eq(sasl_step(&f.s, NULL, &f.out), SASL_CONTINUE);
	ck_assert_slice_eq(buf_slice(&f.out), SLICE("Username:"));
	ck_assert_int_eq(step(&f, SLICE("ann")), SASL_CONTINUE);
	ck_assert_slice_eq(buf_slice(&f.out), SLICE("Password:"));
	ck_assert_int_eq(step(&f, SLICE("secret")), SASL_ASK_PASSWORD);
	ck_assert_slice_eq(f.s.user, SLICE("ann"));
	ck_assert_slice_eq(f.s.password, SLICE("secret"));
	end(&f);
}
END_TEST

TEST_MAIN("auth/scram", the_example_of_rfc_7677_runs_to_its_end,
	  each_changed_byte_of_the_final_message_is_refused, first_messages_are_parsed_or_refused,
	  escapes_in_names_are_undone, a_nonce_may_have_256_bytes_and_not_257,
	  channel_bindings_must_fit_the_mechanism_and_the_connection,
	  plain_messages_are_parsed_or_refused, login_asks_for_name_and_password)
