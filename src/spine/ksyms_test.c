/* Kernel functions by their distance from __bpf_call_base. */
#include "base/test.h"

#include "spine/ksyms.h"

static const char text[] = "ffffffff81000000 T _text\n"
			   "ffffffff81200100 T bpf_redirect\n"
			   "ffffffff81200000 T __bpf_call_base\n"
			   "ffffffff81200040 t array_map_lookup_elem\n"
			   "ffffffff81300000 D bpf_is_data\n"
			   "zz T bpf_no_number\n"
			   "0000000000000000 T bpf_hidden\n"
			   "ffffffff81100000 T bpf_before\t[module]\n"
			   "ffffffff81200140 T bpf_last";

START_TEST(functions_have_names_where_they_begin)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(8u << 20);
	struct ksyms s;

	ck_assert_int_eq(ksyms_parse(&arena, slice_str(text), &s), 0);
	ck_assert_str_eq(ksyms_name(&s, 0x100), "bpf_redirect");
	ck_assert_str_eq(ksyms_name(&s, 0x40), "array_map_lookup_elem");
	ck_assert_str_eq(ksyms_name(&s, -0x100000), "bpf_before");
	ck_assert_str_eq(ksyms_name(&s, 0x140), "bpf_last");
	ck_assert_ptr_null(ksyms_name(&s, 0x101));
	ck_assert_ptr_null(ksyms_name(&s, 0x100000));
}
END_TEST

START_TEST(without_addresses_nothing_has_a_name)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(8u << 20);
	struct ksyms s;

	ck_assert_int_eq(ksyms_parse(&arena, SLICE("0000000000000000 T __bpf_call_base\n0000000000000000 T bpf_redirect\n"), &s), 0);
	ck_assert_ptr_null(ksyms_name(&s, 0));
}
END_TEST

TEST_MAIN("spine/ksyms", functions_have_names_where_they_begin, without_addresses_nothing_has_a_name)
