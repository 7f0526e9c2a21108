/*
 * `prickle nat64 metrics`: the numbers of translators as OpenMetrics text, by one look at their maps.
 */
#include <errno.h>
#include <string.h>

#include "cli/nat64.h"
#include "nat64/metrics.h"

/* One that goes away under way is left out. */
static int add_one(struct cli *cli, struct nat64_metrics *m, const struct nat64_found *f)
{
	struct nat64_where where = { .name = f->name, .netns = f->here || f->netns[0] == '\0' ? NULL : f->netns };
	struct errmsg why = { 0 };
	struct nat64 *n;
	int err = nat64_open(&where, NAT64_LOOK, &n, &why);

	if (err == -ENOENT)
		return CLI_OK;
	if (err != 0)
		return nat64_cli_fail(cli, err, &why);
	err = nat64_metrics_add(m, n, f->name, where.netns, &why);
	nat64_close(n);
	return err == 0 ? CLI_OK : nat64_cli_fail(cli, err, &why);
}

static int add_all(struct cli *cli, struct nat64_metrics *m)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(16u << 20);
	const char *name = cli_value(cli, "name"), *netns = cli_value(cli, "netns");
	struct nat64_found *found;
	struct errmsg why = { 0 };
	size_t count;
	int err = nat64_scan(&arena, true, &found, &count, &why), code = CLI_OK;

	if (err != 0)
		return nat64_cli_fail(cli, err, &why);
	for (size_t i = 0; i < count && code == CLI_OK; i++) {
		const struct nat64_found *f = &found[i];
		if ((name != NULL && strcmp(name, f->name) != 0) || (netns != NULL && strcmp(netns, f->netns) != 0))
			continue;
		if (f->here || f->netns[0] != '\0')
			code = add_one(cli, m, f);
	}
	return code;
}

static int metrics(struct cli *cli)
{
	AUTO_BUF struct buf out = BUF_INIT(64u << 20);
	struct nat64_metrics *m = nat64_metrics_new();

	if (m == NULL)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	int code = add_all(cli, m);
	if (code == CLI_OK)
		nat64_metrics_text(m, &out);
	nat64_metrics_free(m);
	if (code != CLI_OK)
		return code;
	return out.err == 0 ? cli_print(cli, &out) : cli_fail(cli, CLI_FAILED, "the metrics are too many: %s", strerrordesc_np(-out.err));
}

const struct cli_command cmd_nat64_metrics = {
	.words = "nat64 metrics",
	.summary = "write counters of the translators as OpenMetrics text",
	.description = "Packets by verdict and reason, tables and how full they are, ports in use of each pool address, sessions by protocol, the age of "
		       "the walk that ends sessions, of all translators of the host. 'prickle nat64 run' serves the same where the setting "
		       "'metrics' says. No subscriber makes a series.",
	.options = (const struct cli_option[]){ CLI_OPTION_TRANSLATOR, CLI_OPTION_NAT64_NETNS, { 0 } },
	.examples = (const char *const[]){ "prickle nat64 metrics", "prickle nat64 metrics --name isp", NULL },
	.run = metrics,
};
