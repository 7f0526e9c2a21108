#include <errno.h>

#include "base/test.h"
#include "policy/language/policy.h"

static int parse(struct arena *arena, const char *text, const struct policy **out, struct buf *errors)
{
	return policy_parse(arena, "test.policy", slice_str(text), NULL, NULL, out, errors);
}

START_TEST(the_shipped_policy_parses)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
	const struct policy *p = NULL;
	int err = policy_parse(&arena, "default", policy_default_text(), NULL, NULL, &p, &errors);

	ck_assert_msg(err == 0, "%s", buf_cstr(&errors));
	ck_assert_uint_ne(policy_subject_find(p, SLICE("mailadm")), 0);
	ck_assert_uint_ne(policy_object_find(p, SLICE("mailbox")), 0);
}
END_TEST

START_TEST(all_mistakes_come_at_once)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(1 << 20);
	const struct policy *p = NULL;
	int err = parse(&arena, "role user = principal mapped by directory\nallow usr raed mailbox\nallow user\nallow user raed mailbox\n", &p, &errors);

	ck_assert_int_eq(err, -EINVAL);
	const char *text = buf_cstr(&errors);
	ck_assert_msg(strstr(text, "test.policy:2:7: error: there is no domain or role 'usr'; did you mean") != NULL, "%s", text);
	ck_assert_msg(strstr(text, "test.policy:4:1: error: expected a permission, found 'allow'") != NULL, "%s", text);
	ck_assert_msg(strstr(text, "test.policy:4:12: error: objects of class 'mailbox' have no permission 'raed'; did you mean 'read'?") != NULL, "%s", text);
}
END_TEST

TEST_MAIN("policy/language", the_shipped_policy_parses, all_mistakes_come_at_once)
