#include <errno.h>

#include "base/metrics.h"
#include "base/test.h"
#include "roles/admin.h"
#include "conf/config.h"
#include "roles/table.h"

START_TEST(an_admin_request_survives_its_encoding_and_no_cut_of_it_does)
{
	AUTO_BUF struct buf b = BUF_INIT(1000);
	struct admin_request req = { .object = SLICE("user"), .verb = SLICE("add"),
				     .args = { SLICE("ann@example.org"), SLICE("password=a=b") },
				     .arg_count = 2 },
			     got;

	admin_request_encode(&req, &b);
	ck_assert(admin_request_decode(buf_slice(&b), &got));
	ck_assert_slice_eq(got.verb, SLICE("add"));
	ck_assert_slice_eq(admin_positional(&got, 0), SLICE("ann@example.org"));
	ck_assert_slice_eq(admin_arg(&got, "password"), SLICE("a=b"));
	ck_assert_ptr_null(admin_arg(&got, "pass").ptr);
	ck_assert_ptr_null(admin_positional(&got, 1).ptr);
	for (size_t n = 0; n < b.len; n++)
		ck_assert(!admin_request_decode(slice_of(b.ptr, n), &got));
}
END_TEST

START_TEST(json_strings_escape_what_json_forbids)
{
	AUTO_BUF struct buf b = BUF_INIT(1000);

	admin_json_string(&b, SLICE("a\"\\\n\xc3\xa4\xff"));
	ck_assert_slice_eq(buf_slice(&b), SLICE("\"a\\\"\\\\\\u000a\xc3\xa4\\ufffd\""));
}
END_TEST

START_TEST(json_of_another_process_is_refused_when_it_nests_too_deep)
{
	static const struct { const char *text; unsigned depth; } cases[] = {
		{ "", 0 }, { "1", 0 }, { "{}", 1 }, { "{\"a\":[1,[2]],\"b\":{}}", 3 }, { "[[[[", 4 },
		{ "[\"[[\",\"\\\"[[\",[]]", 2 }, { "]]][[", 2 }, { "\"[[[[", 0 }, { "[\"\\", 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice json = slice_str(cases[i].text);
		ck_assert_msg(admin_json_is_shallow(json, cases[i].depth), "%s", cases[i].text);
		if (cases[i].depth > 0)
			ck_assert_msg(!admin_json_is_shallow(json, cases[i].depth - 1), "%s", cases[i].text);
	}
}
END_TEST

START_TEST(channels_are_mutual_and_users_of_their_own)
{
	for (size_t i = 0; i < ROLE_COUNT; i++) {
		const struct role_row *r = &role_table[i];

		ck_assert_int_eq(r->id, (int)i);
		ck_assert((i == ROLE_SUPERVISOR || r->one_shot) == (r->mode != 0));
		ck_assert((i == ROLE_SUPERVISOR || r->one_shot) == (r->uid_offset == 0));
		ck_assert(!r->one_shot || r->ops == NULL);
		ck_assert((i == ROLE_SUPERVISOR) == (r->mode == SANDBOX_SUPERVISOR));
		for (size_t p = 0; p < ROLE_COUNT; p++) {
			ck_assert_int_eq((r->peers >> p) & 1, (role_table[p].peers >> i) & 1);
			ck_assert(p == i || r->uid_offset == 0 || role_table[p].uid_offset != r->uid_offset);
		}
	}
}
END_TEST

START_TEST(a_sandbox_is_what_the_rows_of_the_policy_say)
{
	struct service_floor f;
	struct role_paths paths;
	struct errmsg why;
	struct config *config;
	AUTO_BUF struct buf errors = BUF_INIT(10000);

	ck_assert_int_eq(config_parse(SLICE("state: /srv/node\ntls:\n  certificate: /etc/keys/cert.pem\n  key: /etc/keys/key.pem\n"), "t", &config, &errors), 0);
	ck_assert_int_eq(policy_service_floor(NULL, "auth", &f, &why), 0);
	struct sandbox box = role_sandbox(&role_table[ROLE_AUTH], &f, config, true, &paths);
	ck_assert_uint_eq(box.flags, SANDBOX_FILES | SANDBOX_THREADS);
	ck_assert_uint_eq(box.path_count, 3);		/* the key is in the same directory */
	ck_assert_str_eq(box.paths[0].path, "/srv/node/tls");
	ck_assert_uint_eq(box.paths[0].rights, LANDLOCK_CHANGE);
	ck_assert_str_eq(box.paths[1].path, "/etc/keys");
	ck_assert_uint_eq(box.paths[1].rights, LANDLOCK_READ);
	ck_assert_int_eq(policy_service_floor(NULL, "mx", &f, &why), 0);
	box = role_sandbox(&role_table[ROLE_MX], &f, config, true, &paths);
	ck_assert_uint_eq(box.flags, 0);
	ck_assert_uint_eq(box.path_count, 0);
	ck_assert_uint_eq(role_floor_listens(&f), LISTEN_BIT(LISTEN_SMTP) | LISTEN_BIT(LISTEN_LMTP));
	ck_assert_int_eq(policy_service_floor(NULL, "supervisor", &f, &why), 0);
	box = role_sandbox(&role_table[ROLE_SUPERVISOR], &f, config, true, &paths);
	ck_assert_uint_eq(box.flags, SANDBOX_SUPERVISOR);
	config_free(config);
}
END_TEST

/* A group that no role shows is a counter that nobody ever sees. */
START_TEST(each_metric_is_shown_by_a_role)
{
	AUTO_BUF struct buf snapshot = BUF_INIT(100000), all = BUF_INIT(1000000), shown = BUF_INIT(1000000);
	struct metrics_source sources[ROLE_COUNT];
	size_t n = 0, families[2] = { 0, 0 };
	struct slice text[2], rest;

	metrics_snapshot(&snapshot);
	for (size_t i = 0; i < ROLE_COUNT; i++)
		sources[n++] = (struct metrics_source){ SLICE(""), buf_slice(&snapshot), role_table[i].metrics };
	metrics_text(&shown, sources, n);
	sources[0].groups = NULL;
	metrics_text(&all, sources, 1);
	text[0] = buf_slice(&all);
	text[1] = buf_slice(&shown);
	for (size_t i = 0; i < 2; i++)
		for (rest = text[i]; slice_find(rest, SLICE("# TYPE ")) != SLICE_NPOS; families[i]++)
			rest = slice_from(rest, slice_find(rest, SLICE("# TYPE ")) + 1);
	ck_assert_uint_gt(families[0], 10);
	ck_assert_uint_eq(families[0], families[1]);
}
END_TEST

TEST_MAIN("roles/unit", a_sandbox_is_what_the_rows_of_the_policy_say, each_metric_is_shown_by_a_role,
	  an_admin_request_survives_its_encoding_and_no_cut_of_it_does,
	  json_strings_escape_what_json_forbids,
	  json_of_another_process_is_refused_when_it_nests_too_deep,
	  channels_are_mutual_and_users_of_their_own)
