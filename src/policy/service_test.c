#include "policy/service.h"

#include <errno.h>
#include <linux/capability.h>

#include "base/test.h"

static struct service_floor floor_under(const char *text, const char *role)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
	const struct policy *p;
	const struct analysis *a = NULL;
	struct service_floor f;
	struct errmsg why;

	if (text != NULL) {
		ck_assert_msg(policy_parse(&arena, "t", slice_str(text), NULL, NULL, &p, &errors) == 0, "%s", buf_cstr(&errors));
		ck_assert_int_eq(analysis_new(&arena, p, &a), 0);
	}
	ck_assert_msg(policy_service_floor(a, role, &f, &why) == 0, "%s", why.text);
	return f;
}

#define CHANGE (POLICY_FILE_READ | POLICY_FILE_WRITE | POLICY_FILE_CREATE | POLICY_FILE_DELETE)

/* What each role had before it was said by the policy. */
static const struct {
	const char *role;
	uint64_t capabilities;
	uint32_t threads;
	struct { const char *place; uint32_t may; } files[3];
} shipped[] = {
	{ "supervisor", 0x5eb, POLICY_KERNEL_THREAD, { { "machine", CHANGE | POLICY_FILE_EXEC } } },
	{ "mx", 0, 0, { { 0 } } },
	{ "front", 0, 0, { { 0 } } },
	{ "auth", 0, POLICY_KERNEL_THREAD, { { "tls", CHANGE }, { "certificates", POLICY_FILE_READ } } },
	{ "store", 0, POLICY_KERNEL_THREAD, { { "state", CHANGE }, { "system", POLICY_FILE_READ } } },
	{ "queue", 0, 0, { { 0 } } },
	{ "control", 0, 0, { { 0 } } },
	{ "audit", 0, 0, { { "audit", CHANGE }, { "rings", POLICY_FILE_READ } } },
	{ "spine", 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_PERFMON, POLICY_KERNEL_THREAD, { { "machine", CHANGE } } },
	{ "net", 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_NET_RAW, POLICY_KERNEL_THREAD, { { "machine", CHANGE } } },
};

START_TEST(the_shipped_rows_give_each_process_what_it_needs_and_no_more)
{
	for (size_t i = 0; i < ARRAY_LEN(shipped); i++) {
		struct service_floor f = floor_under(NULL, shipped[i].role);
		size_t files = 0;

		ck_assert_msg(f.capabilities == shipped[i].capabilities, "%s %llx", shipped[i].role, (unsigned long long)f.capabilities);
		ck_assert_msg((f.kernel & POLICY_KERNEL_THREAD) == shipped[i].threads, "%s", shipped[i].role);
		ck_assert(!f.narrowed);
		for (size_t k = 0; k < 3 && shipped[i].files[k].place != NULL; k++, files++)
			ck_assert_uint_eq(service_floor_may(&f, POLICY_FILE, shipped[i].files[k].place), shipped[i].files[k].may);
		for (size_t k = 0; k < f.row_count; k++) {
			files -= f.rows[k].class == POLICY_FILE;
			ck_assert_uint_gt(f.rows[k].line, 0);
		}
		ck_assert_msg(files == 0, "%s has other files, too", shipped[i].role);
	}
}
END_TEST

START_TEST(a_policy_that_says_nothing_of_a_process_or_imports_it_leaves_it_as_shipped)
{
	static const char *const texts[] = { "module site domain app = program", "import default", "domain front = service role \"front\"" };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct service_floor f = floor_under(texts[i], "store");
		ck_assert_uint_eq(service_floor_may(&f, POLICY_FILE, "state"), CHANGE);
		ck_assert_uint_eq(f.kernel, POLICY_KERNEL_THREAD);
		ck_assert(!f.narrowed);
	}
}
END_TEST

START_TEST(no_policy_gives_a_process_more_than_the_shipped_one)
{
	static const char *const texts[] = {
		"import default module site allow node.mx fork, bpf, users, thread kernel allow node.mx read, write node.state "
		"allow node.mx listen node.imap allow node.mx read node.tls",
		"domain mx = service role \"mx\" label file s = place \"state\" label endpoint smtp = place \"smtp\" label endpoint lmtp = place \"lmtp\" "
		"label endpoint imap = place \"imap\" allow mx fork, bpf, users, thread kernel allow mx read, write s allow mx listen smtp, lmtp, imap",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct service_floor f = floor_under(texts[i], "mx");
		ck_assert_uint_eq(f.kernel, 0);
		ck_assert_uint_eq(f.capabilities, 0);
		ck_assert_uint_eq(service_floor_may(&f, POLICY_FILE, "state") | service_floor_may(&f, POLICY_FILE, "tls"), 0);
		ck_assert_uint_eq(service_floor_may(&f, POLICY_ENDPOINT, "imap"), 0);
		ck_assert_uint_eq(service_floor_may(&f, POLICY_ENDPOINT, "smtp"), POLICY_ENDPOINT_LISTEN);
	}
}
END_TEST

START_TEST(a_policy_that_declares_a_process_itself_can_take_from_it)
{
	struct service_floor f = floor_under("domain keeper = service role \"store\" label file mail = place \"state\" allow keeper read mail", "store");

	ck_assert_uint_eq(service_floor_may(&f, POLICY_FILE, "state"), POLICY_FILE_READ);
	ck_assert_uint_eq(service_floor_may(&f, POLICY_FILE, "system"), 0);
	ck_assert_uint_eq(f.kernel, 0);
	ck_assert(f.narrowed);
}
END_TEST

START_TEST(a_right_under_a_condition_is_none)
{
	struct service_floor f = floor_under("domain mx = service role \"mx\" label endpoint smtp = place \"smtp\" allow mx listen smtp where owner is subject",
					     "mx");

	ck_assert_uint_eq(service_floor_may(&f, POLICY_ENDPOINT, "smtp"), 0);
}
END_TEST

START_TEST(an_unknown_process_is_refused)
{
	struct service_floor f;
	struct errmsg why;

	ck_assert_int_eq(policy_service_floor(NULL, "web", &f, &why), -ENOENT);
}
END_TEST

TEST_MAIN("policy/service", the_shipped_rows_give_each_process_what_it_needs_and_no_more,
	  a_policy_that_says_nothing_of_a_process_or_imports_it_leaves_it_as_shipped, no_policy_gives_a_process_more_than_the_shipped_one,
	  a_policy_that_declares_a_process_itself_can_take_from_it, a_right_under_a_condition_is_none, an_unknown_process_is_refused)
