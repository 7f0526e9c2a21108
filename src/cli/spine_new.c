/*
 * `prickle spine new`: a small extension that works, with test cases, to change step by step.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cli/spine.h"
#include "cli/spine_tool.h"

/* "@" is the name, "$" the name as an identifier of C. */
static const char source_text[] =
	"/*\n"
	" * @: drops UDP datagrams to port 9 that carry more than 64 bytes, and counts them.\n"
	" *\n"
	" * An extension is an ordinary XDP program with a manifest. It sees the frames that `match` selects, and\n"
	" * may return the verdicts that it lists; the policy has the last word (prickle policy).\n"
	" */\n"
	"// SPDX-License-Identifier: MIT OR GPL-2.0-only\n"
	"#include <linux/if_ether.h>\n"
	"#include <linux/ip.h>\n"
	"#include <linux/udp.h>\n"
	"#include <prickle/spine.h>\n"
	"\n"
	"SPINE_EXTENSION(\n"
	"\t.name = \"@\", .version = \"1\",\n"
	"\t.match = \"udp dst port 9\",\n"
	"\t.verdicts = SPINE_PASS | SPINE_DROP);\n"
	"\n"
	"/* State survives `prickle spine replace` as long as its layout and the manifest's state_id stay. */\n"
	"struct {\n"
	"\t__uint(type, BPF_MAP_TYPE_ARRAY);\n"
	"\t__uint(max_entries, 1);\n"
	"\t__type(key, __u32);\n"
	"\t__type(value, __u64);\n"
	"} dropped SEC(\".maps\");\n"
	"\n"
	"#define HEADERS (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr))\n"
	"\n"
	"SEC(\"xdp\")\n"
	"int $(struct xdp_md *ctx)\n"
	"{\n"
	"\tvoid *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;\n"
	"\t__u32 zero = 0;\n"
	"\t__u64 *count;\n"
	"\n"
	"\tif (data + HEADERS + 64 >= end)\n"
	"\t\treturn XDP_PASS;\n"
	"\tcount = bpf_map_lookup_elem(&dropped, &zero);\n"
	"\tif (count)\n"
	"\t\t__sync_fetch_and_add(count, 1);\n"
	"\treturn XDP_DROP;\n"
	"}\n"
	"\n"
	"char LICENSE[] SEC(\"license\") = \"Dual MIT/GPL\";\n";

static const char cases_text[] =
	"# Run by `prickle spine test`. Each case starts with a fresh extension; `in` is a packet, the lines below it\n"
	"# say what becomes of it. The rule `match` is not asked here: the program is.\n"
	"\n"
	"case a short datagram goes on to the host\n"
	"  in       udp 10.0.0.1:1000 > 10.0.0.2:9 \"hello\"\n"
	"  verdict  pass\n"
	"  out      same\n"
	"  expect   dropped 0 0\n"
	"\n"
	"case 64 bytes are still short\n"
	"  in       udp 10.0.0.1:1000 > 10.0.0.2:9 bytes 64\n"
	"  verdict  pass\n"
	"\n"
	"case long datagrams are dropped and counted\n"
	"  map      dropped 0 100\n"
	"  in       udp 10.0.0.1:1000 > 10.0.0.2:9 bytes 65\n"
	"  repeat   3\n"
	"  verdict  drop\n"
	"  expect   dropped 0 103\n";

static const char readme_text[] =
	"# @\n"
	"\n"
	"```\n"
	"prickle spine build                 # @.bpf.c -> @.o, and what the inspector finds in it\n"
	"prickle spine test                  # the cases of @.test (root: they run in the kernel)\n"
	"prickle spine install @.o --dev eth0\n"
	"prickle spine list --dev eth0\n"
	"prickle spine replace @ @.o --dev eth0\n"
	"prickle spine remove @ --dev eth0\n"
	"```\n"
	"\n"
	"What an extension may do beyond pass, drop and reflect stands in a policy: `prickle policy`, docs/policy.md.\n";

static bool good_name(const char *name)
{
	size_t n = 0;

	while ((name[n] >= 'a' && name[n] <= 'z') || ascii_digit((uint8_t)name[n]) || (n > 0 && name[n] == '-'))
		n++;
	return n > 0 && n < SPINE_NAME_BYTES && name[n] == '\0';
}

static void fill(struct buf *out, const char *text, const char *name)
{
	for (; *text != '\0'; text++) {
		if (*text == '@') {
			buf_adds(out, name);
		} else if (*text == '$') {
			/* An identifier begins with no digit. */
			if (ascii_digit((uint8_t)name[0]))
				buf_addc(out, '_');
			for (const char *c = name; *c != '\0'; c++)
				buf_addc(out, *c == '-' ? '_' : (uint8_t)*c);
		} else {
			buf_addc(out, (uint8_t)*text);
		}
	}
}

static int write_file(struct cli *cli, const char *name, const char *file, const char *text)
{
	AUTO_BUF struct buf out = BUF_INIT(65536);
	char path[2 * SPINE_NAME_BYTES + 32];

	fill(&out, text, name);
	snprintf(path, sizeof(path), "%s/%s", name, file);
	return tool_write(cli, path, buf_slice(&out), 0644, true);
}

static int new_extension(struct cli *cli)
{
	const char *name = cli_arg(cli, 0);
	AUTO_BUF struct buf text = BUF_INIT(4096);
	char source[SPINE_NAME_BYTES + 8], cases[SPINE_NAME_BYTES + 8];

	if (!good_name(name))
		return cli_fail(cli, CLI_USAGE, "'%.60s' is no name: letters a-z, digits and '-', at most %d bytes", name,
				SPINE_NAME_BYTES - 1);
	if (mkdir(name, 0755) != 0)
		return cli_fail(cli, errno == EEXIST ? CLI_USAGE : CLI_FAILED, "the directory '%s': %s", name,
				strerrordesc_np(errno));
	snprintf(source, sizeof(source), "%s.bpf.c", name);
	snprintf(cases, sizeof(cases), "%s.test", name);
	int code = write_file(cli, name, source, source_text);
	if (code == CLI_OK)
		code = write_file(cli, name, cases, cases_text);
	if (code == CLI_OK)
		code = write_file(cli, name, "README.md", readme_text);
	if (code != CLI_OK)
		return code;
	if (cli_json(cli))
		return spine_cli_json(cli, json_pack("{s:s, s:[s,s,s]}", "directory", name, "files", source, cases, "README.md"));
	buf_printf(&text, "%s/%s  the extension\n%s/%s  its test cases\nNext: prickle spine test %s\n", name, source, name,
		   cases, name);
	return cli_print(cli, &text);
}

const struct cli_command cmd_spine_new = {
	.words = "spine new", .summary = "write a small extension to start from",
	.description = "Makes the directory NAME with NAME.bpf.c, NAME.test (packets and the verdicts that they get) and a "
		       "README.md with the next commands.",
	.args = (const struct cli_arg[]){ { "NAME", "of the extension and its directory" }, { 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle spine new no-telnet", NULL },
	.run = new_extension,
};
