/* The row of rights in the kernel's memory: written whole, narrowed, widened; and what it keeps of refusals. */
#include "base/test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "spine/row.h"

static int make_map(uint32_t bytes, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY, "row_test", 4, bytes, 1, &opts);
}

__attribute__((constructor)) static void only_where_maps_can_be_made(void)
{
	int fd = make_map(8, BPF_F_MMAPABLE);

	if (fd < 0) {
		printf("1..0 # SKIP needs root and BPF\n");
		fflush(stdout);
		_exit(0);
	}
	close(fd);
}

static struct spine_policy_row read_row(int map)
{
	struct spine_policy_row row;
	uint32_t zero = 0;

	ck_assert_int_eq(bpf_map_lookup_elem(map, &zero, &row), 0);
	return row;
}

static const char *const none[] = { NULL };

static struct spine_rights rights(uint64_t helpers, bool lo)
{
	struct spine_rights r = { .name = "x", .subject = "m.x", .number = 7, .redirect = true, .helpers = { helpers }, .labelled = none };

	if (lo) {
		memcpy(r.ports[0], "lo", 3);
		r.port_count = 1;
	}
	return r;
}

static uint64_t port_word(const struct spine_policy_row *row)
{
	return row->ports[if_nametoindex("lo") % SPINE_POLICY_PORTS];
}

START_TEST(a_row_narrows_before_it_widens)
{
	int map = make_map(sizeof(struct spine_policy_row), BPF_F_MMAPABLE);
	struct spine_rights old = rights(6, true), new = rights(12, false);
	struct spine_policy_row row;
	struct errmsg why;

	ck_assert_msg(spine_row_write(map, &old, 3, ROW_NEW, &why) == 0, "%s", why.text);
	row = read_row(map);
	ck_assert_uint_eq(row.abi, SPINE_POLICY_ABI);
	ck_assert_uint_eq(row.subject, 7);
	ck_assert_uint_eq(row.epoch, 3);
	ck_assert_uint_eq(row.helpers[0], 6);
	ck_assert_uint_eq(port_word(&row), (uint64_t)SPINE_POLICY_FORWARD << 32 | if_nametoindex("lo"));

	ck_assert_int_eq(spine_row_write(map, &new, 4, ROW_NARROW, &why), 0);
	row = read_row(map);
	ck_assert_uint_eq(row.epoch, 3);
	ck_assert_uint_eq(row.helpers[0], 4);	/* what both have */
	ck_assert_uint_eq(port_word(&row), 0);

	ck_assert_int_eq(spine_row_write(map, &new, 4, ROW_WIDEN, &why), 0);
	row = read_row(map);
	ck_assert_uint_eq(row.epoch, 4);
	ck_assert_uint_eq(row.helpers[0], 12);
	ck_assert_uint_eq(port_word(&row), 0);

	ck_assert_int_eq(spine_row_write(map, &old, 5, ROW_NARROW, &why), 0);
	ck_assert_uint_eq(read_row(map).helpers[0], 4);
	ck_assert_int_eq(spine_row_write(map, &old, 5, ROW_WIDEN, &why), 0);
	row = read_row(map);
	ck_assert_uint_ne(port_word(&row), 0);
	close(map);
}
END_TEST

START_TEST(helpers_above_63_are_in_their_words)
{
	int map = make_map(sizeof(struct spine_policy_row), BPF_F_MMAPABLE);
	struct spine_rights r = { .name = "x", .labelled = none, .helpers = { 0, UINT64_C(1) << 37 | 1, 0, UINT64_C(1) << 63 } };
	struct errmsg why;

	ck_assert_int_eq(spine_row_write(map, &r, 1, ROW_NEW, &why), 0);
	struct spine_policy_row row = read_row(map);
	ck_assert(row.helpers[0] == 0 && row.helpers[1] == 0 && row.helpers[2] == 1 && row.helpers[3] == 1u << 5);
	ck_assert(row.helpers[6] == 0 && row.helpers[7] == 1u << 31);
	close(map);
}
END_TEST

START_TEST(a_trial_lets_through_what_is_not_allowed_and_ends)
{
	int map = make_map(sizeof(struct spine_policy_row), BPF_F_MMAPABLE);
	struct spine_rights r = rights(6, false);
	struct spine_policy_row row;
	struct errmsg why;

	r.trial_until = INT64_C(4102444800);	/* 2100 */
	ck_assert_int_eq(spine_row_write(map, &r, 1, ROW_NEW, &why), 0);
	row = read_row(map);
	ck_assert_uint_eq(row.helpers_trial[0], ~6u);
	ck_assert_uint_eq(port_word(&row), (uint64_t)SPINE_POLICY_FORWARD_TRIAL << 32 | if_nametoindex("lo"));
	ck_assert_uint_gt(row.trial_until_ns, 0);
	r.trial_until = 1;
	ck_assert_int_eq(spine_row_write(map, &r, 1, ROW_WIDEN, &why), 0);
	ck_assert_uint_eq(read_row(map).trial_until_ns, 0);
	close(map);
}
END_TEST

START_TEST(other_maps_are_refused)
{
	int small = make_map(64, BPF_F_MMAPABLE), plain = make_map(sizeof(struct spine_policy_row), 0);
	struct spine_rights r = rights(0, false);
	struct errmsg why;

	ck_assert_int_eq(spine_row_write(small, &r, 1, ROW_NEW, &why), -EBADMSG);
	ck_assert_int_eq(spine_row_write(plain, &r, 1, ROW_NEW, &why), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(why.text, "build it anew"));
	close(small);
	close(plain);
}
END_TEST

START_TEST(refusals_are_read_oldest_first_and_the_last_ones_remain)
{
	int map = make_map(sizeof(struct spine_policy_row), BPF_F_MMAPABLE);
	struct spine_policy_row *row = calloc(1, sizeof(*row));
	struct row_refusal out[SPINE_POLICY_RECORDS];
	uint32_t zero = 0;
	uint64_t ever;
	size_t count;

	ck_assert_ptr_nonnull(row);
	ck_assert_int_eq(spine_row_refusals(map, out, &count, &ever), 0);
	ck_assert(count == 0 && ever == 0);
	row->next = SPINE_POLICY_RECORDS + 3;
	for (uint64_t k = 0; k < row->next; k++)
		row->records[k % SPINE_POLICY_RECORDS] = (struct spine_policy_record){ .sequence = k + 1, .helper = 69, .result = k % 2 ? 3 : 1 };
	ck_assert_int_eq(bpf_map_update_elem(map, &zero, row, BPF_ANY), 0);
	ck_assert_int_eq(spine_row_refusals(map, out, &count, &ever), 0);
	ck_assert_uint_eq(count, SPINE_POLICY_RECORDS);
	ck_assert_uint_eq(ever, SPINE_POLICY_RECORDS + 3);
	ck_assert(out[0].sequence == 4 && out[0].trial && !out[1].trial && out[63].sequence == 67 && out[0].helper == 69);
	free(row);
	close(map);
}
END_TEST

TEST_MAIN("spine/row", a_row_narrows_before_it_widens, helpers_above_63_are_in_their_words, a_trial_lets_through_what_is_not_allowed_and_ends,
	  other_maps_are_refused, refusals_are_read_oldest_first_and_the_last_ones_remain)
