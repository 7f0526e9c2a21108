/* Rights from a policy: which domain, which ports, which sets. */
#include "base/test.h"

#include <errno.h>

#include "spine/rights.h"

static struct arena arena;
static struct spine_policy_view view;

static const struct spine_rights *rights(const char *text, const char *device, const char *name, const uint8_t *signer, const uint8_t *sha256)
{
	AUTO_BUF struct buf errors = BUF_INIT(100000);
	const struct spine_rights *r;
	struct errmsg why;

	arena_done(&arena);
	arena_init(&arena, 64u << 20);
	view = (struct spine_policy_view){ .directory = NULL };
	ck_assert_msg(policy_parse(&arena, "t.policy", slice_str(text), NULL, NULL, &view.policy, &errors) == 0, "%s", buf_cstr(&errors));
	ck_assert_msg(spine_rights_find(&arena, &view, device, name, signer, sha256, &r, &why) == 0, "%s", why.text);
	return r;
}

static bool may(const uint64_t words[INSPECT_HELPER_WORDS], const char *helper)
{
	int id = inspect_helper_id(slice_str(helper));

	ck_assert_int_gt(id, 0);
	return (words[id / 64] >> id % 64 & 1) != 0;
}

START_TEST(the_shipped_policy_lets_everybody_look_drop_and_reflect)
{
	const struct spine_rights *r = rights("import default\n", "eth0", "anything", NULL, NULL);

	ck_assert_str_eq(r->subject, "spine.extension");
	ck_assert(r->attach && r->xdp && r->syscall && !r->own && !r->vetted && !r->redirect);
	ck_assert_uint_eq(r->verdicts, SPINE_ABORTED | SPINE_PASS | SPINE_DROP | SPINE_TX);
	ck_assert(r->port_count == 0 && !r->ports_any);
	ck_assert_mem_eq(r->helpers, inspect_default_helpers, sizeof(r->helpers));
	ck_assert_uint_eq(r->map_types, inspect_default_map_types);
	ck_assert(spine_rights_offers(r, "put"));
	ck_assert_uint_eq(r->instructions_max, RIGHTS_DEFAULT_INSTRUCTIONS);
	ck_assert_uint_eq(r->memory_bytes_max, RIGHTS_DEFAULT_MEMORY_BYTES);
	ck_assert(!r->terminal && !r->unbounded && !r->tail_calls && r->cpu_permille == 0);
	ck_assert_str_eq(r->from, "shipped policy");
}
END_TEST

#define NET "import default\nmodule net\n label port lan = nic \"eth0\" label port wan = nic \"eth1\"\n"

START_TEST(rights_are_those_on_the_device)
{
	static const char text[] = NET " domain router = ebpf object\n allow router attach, pass, redirect lan\n allow router drop wan\n"
				       " allow router forward lan, wan\n";
	const struct spine_rights *r = rights(text, "eth0", "router", NULL, NULL);

	ck_assert(r->attach && r->own && !r->xdp);
	ck_assert_uint_eq(r->verdicts, SPINE_ABORTED | SPINE_PASS | SPINE_REDIRECT);
	ck_assert_uint_eq(r->port_count, 2);
	ck_assert_str_eq(r->ports[0], "eth0");
	ck_assert_str_eq(r->ports[1], "eth1");
	ck_assert_str_eq(r->label, "lan");
	r = rights(text, "eth1", "router", NULL, NULL);
	ck_assert(!r->attach);
	ck_assert_uint_eq(r->verdicts, SPINE_ABORTED | SPINE_DROP);
	r = rights(text, "eth2", "router", NULL, NULL);
	ck_assert(!r->attach && r->verdicts == SPINE_ABORTED);
	ck_assert_str_eq(r->label, "spine.every");
	/* An interface with a label of its own is no "nic any". */
	ck_assert(!rights(text, "eth0", "other", NULL, NULL)->attach);
	ck_assert(rights(text, "eth2", "other", NULL, NULL)->attach);
}
END_TEST

START_TEST(forwarding_to_every_port_spares_those_with_a_label)
{
	const struct spine_rights *r = rights(NET " domain x = ebpf object\n allow x forward spine.every\n", "eth0", "x", NULL, NULL);
	uint32_t ports[RIGHTS_PORTS_MAX];
	struct errmsg why;
	size_t count;

	ck_assert(r->ports_any && r->port_count == 0);
	ck_assert_str_eq(r->labelled[0], "eth0");
	ck_assert_str_eq(r->labelled[1], "eth1");
	ck_assert_ptr_null(r->labelled[2]);
	ck_assert_msg(spine_rights_ports(r, ports, &count, &why) == 0, "%s", why.text);
	for (size_t i = 0; i < count; i++)
		ck_assert(ports[i] != if_nametoindex("eth0") && ports[i] != if_nametoindex("eth1"));
	ck_assert_uint_ge(count, 1);	/* loopback */
}
END_TEST

START_TEST(ports_that_are_not_there_are_left_out)
{
	const struct spine_rights *r = rights("import default\nmodule n label port l = nic \"lo\" label port g = nic \"nowhere0\"\n"
					      "domain x = ebpf object allow x forward l, g\n", "lo", "x", NULL, NULL);
	uint32_t ports[RIGHTS_PORTS_MAX];
	struct errmsg why;
	size_t count;

	ck_assert_uint_eq(r->port_count, 2);
	ck_assert_int_eq(spine_rights_ports(r, ports, &count, &why), 0);
	ck_assert_uint_eq(count, 1);
	ck_assert_uint_eq(ports[0], if_nametoindex("lo"));
}
END_TEST

#define KEY "69632d34f9296f65a7c56aee3b4e7df3d9b8301f662f3fb64aa736d77cd6bae8"
static const uint8_t key[32] = { 0x69, 0x63, 0x2d, 0x34, 0xf9, 0x29, 0x6f, 0x65, 0xa7, 0xc5, 0x6a, 0xee, 0x3b, 0x4e, 0x7d, 0xf3,
				 0xd9, 0xb8, 0x30, 0x1f, 0x66, 0x2f, 0x3f, 0xb6, 0x4a, 0xa7, 0x36, 0xd7, 0x7c, 0xd6, 0xba, 0xe8 };
static const uint8_t other_key[32] = { 1 };

START_TEST(the_domain_that_fits_best_counts)
{
	static const char text[] = "import default\nmodule m key k = ed25519 " KEY "\n domain any = ebpf any signed-by k\n"
				   " domain plain = ebpf object \"x\"\n domain signed = ebpf object \"x\" signed-by k\n"
				   " domain exact = ebpf object \"x\" sha256 " KEY "\n";

	ck_assert_str_eq(rights(text, "eth0", "x", NULL, NULL)->subject, "m.plain");
	ck_assert_str_eq(rights(text, "eth0", "x", other_key, other_key)->subject, "m.plain");
	ck_assert_str_eq(rights(text, "eth0", "x", key, NULL)->subject, "m.signed");
	ck_assert_str_eq(rights(text, "eth0", "x", key, key)->subject, "m.exact");
	ck_assert_str_eq(rights(text, "eth0", "y", key, NULL)->subject, "m.any");
	ck_assert_str_eq(rights(text, "eth0", "y", other_key, NULL)->subject, "spine.extension");
	ck_assert(rights(text, "eth0", "x", key, NULL)->vetted);
	ck_assert(!rights(text, "eth0", "x", NULL, NULL)->vetted);
}
END_TEST

START_TEST(nobody_has_no_rights)
{
	const struct spine_rights *r = rights("module m domain x = ebpf object\n", "eth0", "y", NULL, NULL);

	ck_assert_str_eq(r->subject, "");
	ck_assert(!r->attach && !r->xdp && !r->syscall && r->map_types == 0 && r->kfuncs[0] == NULL);
	ck_assert_uint_eq(r->verdicts, SPINE_ABORTED);
	ck_assert(!may(r->helpers, "map_lookup_elem") && !spine_rights_offers(r, "put"));
}
END_TEST

START_TEST(sets_are_what_their_words_say)
{
	const struct spine_rights *r = rights("import default\nmodule m domain x = ebpf object\n allow x use helper ktime, fib_lookup\n"
					      " allow x use helper redirect, xdp_adjust_head revocable\n allow x use map-type array, cpumap\n"
					      " allow x use kfunc bpf_xdp_metadata_rx_hash\n allow x use program-type xdp\n"
					      " limit x instructions 60000, cpu 20%, memory 4 MiB, terminal, tail-calls\n",
					      "eth0", "x", NULL, NULL);

	ck_assert(may(r->helpers, "ktime_get_ns") && may(r->helpers, "ktime_get_coarse_ns") && may(r->helpers, "fib_lookup"));
	ck_assert(!may(r->helpers, "map_lookup_elem") && r->redirect);
	ck_assert(may(r->helpers, "xdp_adjust_head") && may(r->revocable, "xdp_adjust_head") && !may(r->revocable, "fib_lookup"));
	ck_assert_uint_eq(r->map_types, UINT64_C(1) << 2 | UINT64_C(1) << 16);	/* BPF_MAP_TYPE_ARRAY, _CPUMAP */
	ck_assert_str_eq(r->kfuncs[0], "bpf_xdp_metadata_rx_hash");
	ck_assert(r->xdp && !r->syscall && r->terminal && r->tail_calls && !r->unbounded);
	ck_assert_uint_eq(r->instructions_max, 60000);
	ck_assert_uint_eq(r->cpu_permille, 200);
	ck_assert_uint_eq(r->memory_bytes_max, 4u << 20);
}
END_TEST

START_TEST(handlers_go_by_the_label_that_names_them_best)
{
	const struct spine_rights *r = rights("import default\nmodule m domain x = ebpf object\n label handler put = message \"put\" of x\n"
					      " label handler get = message \"get\" of x\n allow x offer spine.all, get\n", "eth0", "x", NULL, NULL);

	ck_assert(spine_rights_offers(r, "anything") && spine_rights_offers(r, "get") && !spine_rights_offers(r, "put"));
	r = rights("import default\nmodule m domain x = ebpf object\n label handler put = message \"put\" of x\n allow x offer put\n", "eth0", "x",
		   NULL, NULL);
	ck_assert(!spine_rights_offers(r, "get") && spine_rights_offers(r, "put"));
}
END_TEST

START_TEST(a_refusal_says_which_line_and_where)
{
	AUTO_BUF struct buf text = BUF_INIT(10000);
	const struct spine_rights *r = rights("import default\nmodule net\n domain router = ebpf object\n", "eth0", "router", NULL, NULL);

	spine_rights_hint(&text, r, "allow", "use helper %s", "fib_lookup");
	ck_assert_msg(strstr(buf_cstr(&text), "`allow router use helper fib_lookup` in module net (t.policy:3:") != NULL &&
		      strstr(buf_cstr(&text), "`prickle policy apply FILE`") != NULL, "%s", buf_cstr(&text));
	text.len = 0;
	r = rights("import default\n", "eth0", "router", NULL, NULL);
	spine_rights_hint(&text, r, "allow", "use helper %s", "fib_lookup");
	ck_assert_msg(strstr(buf_cstr(&text), "`allow router use helper fib_lookup` in a policy with `import default` and `domain router = ebpf object`")
		      != NULL, "%s", buf_cstr(&text));
}
END_TEST

START_TEST(the_lines_that_speak_of_it_are_found)
{
	const struct spine_rights *r = rights(NET " domain x = ebpf object\n allow x attach lan   # here\n never x drop port\n allow x use helper default\n",
					      "eth0", "x", NULL, NULL);
	const struct spine_rights_line *lines;
	struct errmsg why;
	size_t count;

	ck_assert_int_eq(spine_rights_lines(&arena, &view, r, &lines, &count, &why), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_str_eq(lines[0].text, "allow x attach lan");
	ck_assert_str_eq(lines[0].place, "t.policy:5:2");
	ck_assert_str_eq(lines[1].text, "allow x use helper default");
}
END_TEST

TEST_MAIN("spine/rights", the_shipped_policy_lets_everybody_look_drop_and_reflect, rights_are_those_on_the_device,
	  forwarding_to_every_port_spares_those_with_a_label, ports_that_are_not_there_are_left_out, the_domain_that_fits_best_counts,
	  nobody_has_no_rights, sets_are_what_their_words_say, handlers_go_by_the_label_that_names_them_best,
	  a_refusal_says_which_line_and_where, the_lines_that_speak_of_it_are_found)
