#include "base/test.h"
#include "conf/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

static struct config *parse_good(const char *text)
{
	AUTO_BUF struct buf errors = BUF_INIT(100000);
	struct config *c = NULL;
	int err = config_parse(slice_str(text), "f", &c, &errors);

	ck_assert_msg(err == 0, "%s", buf_cstr(&errors));
	return c;
}

START_TEST(an_empty_file_gives_the_defaults)
{
	static const char *const texts[] = { "", "# only a comment\n", "---\n", "mail:\n", "mail: {}\n" };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct config *c = parse_good(texts[i]);
		ck_assert_uint_eq(c->mail_message_bytes_max, 50u << 20);
		ck_assert_str_eq(c->state, "/var/lib/prickle");
		ck_assert_int_eq(c->timeouts_imap_us, INT64_C(1800000000));
		ck_assert_uint_eq(c->mail_listen_smtp.count, 1);
		ck_assert(c->mail_listen_smtp.items[0].both_families);
		ck_assert_str_ne(c->hostname, "");
		config_free(c);
	}
}
END_TEST

START_TEST(values_take_the_type_of_their_option)
{
	struct config *c = parse_good("hostname: no\n"
				      "log: {format: json}\n"
				      "mail:\n"
				      "  message_bytes_max: 1GiB\n"
				      "  subaddress_separator: \"-\"\n"
				      "  lmtp_peers: [10.0.0.0/8, '2001:db8::/32', 192.0.2.1]\n"
				      "  listen:\n"
				      "    smtp: ['127.0.0.1:2525', '[::1]:2525', /run/smtp]\n"
				      "    pop3: []\n"
				      "    imap: '*:1143'\n"
				      "queue:\n"
				      "  retry: [1m, 2h]\n"
				      "auth: {scram: true}\n");
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	ck_assert_str_eq(c->hostname, "no");
	ck_assert_uint_eq(c->log_format, 1);
	ck_assert_uint_eq(c->mail_message_bytes_max, 1u << 30);
	ck_assert_str_eq(c->mail_subaddress_separator, "-");
	ck_assert_uint_eq(c->mail_listen_smtp.count, 3);
	ck_assert_str_eq(c->mail_listen_smtp.items[2].path, "/run/smtp");
	ck_assert_uint_eq(c->mail_listen_pop3.count, 0);
	ck_assert_uint_eq(c->queue_retry.count, 2);
	ck_assert_int_eq(c->queue_retry.items_us[1], INT64_C(7200000000));
	ck_assert(c->auth_scram);
	ck_assert_uint_eq(c->line[OPTION_auth_scram], 13);
	ck_assert_uint_eq(c->line[OPTION_state], 0);
	inet_pton(AF_INET, "10.255.0.1", &in.sin_addr);
	ck_assert(config_networks_have(&c->mail_lmtp_peers, (struct sockaddr *)&in));
	inet_pton(AF_INET, "11.0.0.1", &in.sin_addr);
	ck_assert(!config_networks_have(&c->mail_lmtp_peers, (struct sockaddr *)&in));
	inet_pton(AF_INET6, "::ffff:192.0.2.1", &in6.sin6_addr);
	ck_assert(config_networks_have(&c->mail_lmtp_peers, (struct sockaddr *)&in6));
	inet_pton(AF_INET6, "2001:db9::1", &in6.sin6_addr);
	ck_assert(!config_networks_have(&c->mail_lmtp_peers, (struct sockaddr *)&in6));
	inet_pton(AF_INET6, "::1", &in6.sin6_addr);
	ck_assert(config_is_loopback((struct sockaddr *)&in6));
	config_free(c);
}
END_TEST

static const struct {
	const char *name, *text, *want;
} bad[] = {
	{ "a mistyped key gets a suggestion and a caret", "mail:\n  mesage_bytes_max: 1\n",
	  "f:2:3: there is no option 'mail.mesage_bytes_max'; did you mean 'mail.message_bytes_max'?\n"
	  "     2 |   mesage_bytes_max: 1\n"
	  "       |   ^~~~~~~~~~~~~~~~\n" },
	{ "a mistyped group gets a suggestion", "mial:\n  quota: 1 GiB\n",
	  "f:1:1: there is no option 'mial'; did you mean 'mail'?" },
	{ "the right word in the wrong group is found", "hops_max: 3\n",
	  "f:1:1: there is no option 'hops_max'; did you mean 'mail.hops_max'?" },
	{ "a number below its range", "mail: {hops_max: 9}\n",
	  "f:1:18: 'mail.hops_max': '9' is not a number from 10 to 1000 (hops)" },
	{ "a number above its range", "mail: {hops_max: 1001}\n", "f:1:18:" },
	{ "a time without its unit", "timeouts: {smtp: 30}\n",
	  "'30' is not a time from 10 s to 1 h" },
	{ "an unknown unit", "mail: {quota: 5 MB}\n", "'5 MB' is not a size from 0 to 1024 TiB" },
	{ "a size that wraps", "mail: {quota: 18014398509481984 KiB}\n", "is not a size" },
	{ "yes is not true", "auth: {scram: yes}\n", "f:1:15: 'auth.scram': 'yes' is not true or false" },
	{ "an unknown choice", "log: {level: loud}\n", "'loud' is not one of debug|info|warn|error" },
	{ "a path that is relative", "state: var\n", "'var' is not an absolute path" },
	{ "an empty path where one is needed", "state: ''\n", "is not an absolute path" },
	{ "a host name with a blank", "hostname: a b\n", "is not a host name" },
	{ "an address without a port", "mail: {listen: {smtp: 127.0.0.1}}\n", "'127.0.0.1' is not a list" },
	{ "port 0", "mail: {listen: {smtp: '*:0'}}\n", "'*:0' is not" },
	{ "a network with bits after its prefix", "mail: {lmtp_peers: [192.0.2.1/24]}\n",
	  "f:1:21: 'mail.lmtp_peers': '192.0.2.1/24' is not" },
	{ "an option given twice", "state: /a\nstate: /b\n", "f:2:1: 'state' stands in line 1 already" },
	{ "a group given twice", "log: {level: info}\nlog: {format: json}\n",
	  "f:2:1: 'log' stands in line 1 already" },
	{ "an option used as a group", "state:\n  a: b\n", "f:2:3: 'state' is an option, not a group" },
	{ "a group used as an option", "mail: 3\n", "f:1:7: 'mail' is a group of options" },
	{ "an option without a value", "state:\n", "'state' has no value" },
	{ "a list where one value belongs", "state: [/a]\n", "'state' takes one value, not a list" },
	{ "a dotted key", "mail.hops_max: 50\n", "f:1:1: groups are nested" },
	{ "an anchor", "state: &a /x\n", "f:1:8: anchors (&a) are not supported" },
	{ "an alias", "state: *a\n", "f:1:8: aliases (*a) are not supported" },
	{ "a tag", "state: !!str /x\n", "f:1:8: tags (tag:yaml.org,2002:str) are not supported" },
	{ "a merge key", "mail:\n  <<: {hops_max: 50}\n", "f:2:3: merge keys (<<) are not supported" },
	{ "a directive", "%YAML 1.1\n---\nstate: /x\n", "directives (%YAML, %TAG) are not supported" },
	{ "a second document", "state: /x\n---\nstate: /y\n", "f:2:1: a second document starts here" },
	{ "a list as the whole file", "- a\n", "f:1:1: the configuration is a mapping" },
	{ "a mapping as a key", "? {a: b}\n: c\n", "f:1:3: a key must be a plain word" },
	{ "broken YAML", "mail: [\n", "f:2:1: this is not YAML: " },
	{ "bytes that are not UTF-8", "state: /\xff\n", "this is not YAML: " },
	{ "a tab as indentation", "mail:\n\thops_max: 50\n", "f:2:1: a tab: YAML wants blanks" },
	{ "a tab behind blanks", "mail:\n  \thops_max: 50\n", "f:2:3: a tab: YAML wants blanks" },
	{ "two services on one address", "mail:\n  listen:\n    imap: 127.0.0.1:1143\n    pop3: 127.0.0.1:1143\n",
	  "f:4:5: 'mail.listen.pop3': 127.0.0.1:1143 is taken by 'mail.listen.imap'" },
	{ "a service on the port of one that takes all", "mail: {listen: {imap: '*:1143', pop3: '127.0.0.1:1143'}}\n",
	  "is taken by 'mail.listen.imap'" },
	{ "an address that stands twice", "mail: {listen: {imap: ['[::1]:1143', '[::1]:1143']}}\n",
	  "is taken by 'mail.listen.imap'" },
	{ "a service on a default of another", "mail: {listen: {smtp: '*:587'}}\n",
	  "f: 'mail.listen.submission': *:587 is taken by 'mail.listen.smtp'" },
	{ "a key without its certificate", "log: {}\ntls: {key: /k}\n", "f:2:1: tls.certificate and tls.key belong together" },
	{ "LMTP for the whole world", "mail: {listen: {lmtp: '*:24'}}\n", "set mail.lmtp_peers" },
	{ "no waiting times", "queue: {retry: []}\n", "queue.retry needs at least one" },
};

START_TEST(every_mistake_is_told_with_its_place)
{
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_BUF struct buf errors = BUF_INIT(100000);
		struct config *c = NULL;
		ck_assert_msg(config_parse(slice_str(bad[i].text), "f", &c, &errors) == -EINVAL, "%s",
			      bad[i].name);
		ck_assert_msg(strstr(buf_cstr(&errors), bad[i].want) != NULL, "%s: got\n%s", bad[i].name,
			      buf_cstr(&errors));
		ck_assert(c == NULL);
	}
}
END_TEST

START_TEST(a_reload_keeps_what_only_a_start_changes)
{
	AUTO_BUF struct buf kept = BUF_INIT(1000), yaml = BUF_INIT(1000);
	struct config *running = parse_good("hostname: a.example\nstate: /a\nlog: {level: info}\n"
					    "mail: {listen: {imap: ['127.0.0.1:1', '[::1]:1']}}\n");
	struct config *new = parse_good("hostname: a.example\nstate: /b\nlog: {level: debug}\n"
					"mail: {listen: {imap: ['127.0.0.1:2']}}\n");

	ck_assert_int_eq(config_keep_fixed(new, running, &kept), 0);
	ck_assert_str_eq(buf_cstr(&kept), "state, mail.listen.imap");
	ck_assert_str_eq(new->state, "/a");
	ck_assert_uint_ne(new->log_level, running->log_level);
	config_value_yaml(&yaml, new, OPTION_mail_listen_imap);
	ck_assert_str_eq(buf_cstr(&yaml), "[\"127.0.0.1:1\", \"[::1]:1\"]");
	buf_reset(&kept);
	ck_assert_int_eq(config_keep_fixed(new, running, &kept), 0);
	ck_assert_uint_eq(kept.len, 0);
	config_free(new);
	config_free(running);
}
END_TEST

START_TEST(addresses_of_different_families_may_share_a_port)
{
	config_free(parse_good("mail: {listen: {imap: ['127.0.0.1:143', '127.0.0.2:143', '[::1]:143', '[::2]:143']}}\n"));
	config_free(parse_good("mail: {listen: {imap: ['0.0.0.0:143', '[::]:143', /run/a, /run/b]}}\n"));
}
END_TEST

START_TEST(all_errors_come_at_once_up_to_a_limit)
{
	AUTO_BUF struct buf errors = BUF_INIT(100000);
	AUTO_BUF struct buf text = BUF_INIT(100000);
	struct config *c;

	ck_assert_int_eq(config_parse(SLICE("a: 1\nstate: x\nlog:\n  level: no\n  b: 2\n"), "f", &c, &errors), -EINVAL);
	ck_assert(strstr(buf_cstr(&errors), "f:1:1:") != NULL);
	ck_assert(strstr(buf_cstr(&errors), "f:2:8:") != NULL);
	ck_assert(strstr(buf_cstr(&errors), "f:4:10:") != NULL);
	ck_assert(strstr(buf_cstr(&errors), "f:5:3:") != NULL);
	buf_reset(&errors);
	for (int i = 0; i <= CONFIG_ERRORS_MAX; i++)
		buf_printf(&text, "x%d: 1\n", i);
	ck_assert_int_eq(config_parse(buf_slice(&text), "f", &c, &errors), -EINVAL);
	ck_assert(strstr(buf_cstr(&errors), "f:50:1:") != NULL);
	ck_assert(strstr(buf_cstr(&errors), "f:51:1:") == NULL);
	ck_assert(strstr(buf_cstr(&errors), "f: there are more errors") != NULL);
}
END_TEST

START_TEST(a_list_is_taken_up_to_its_maximum)
{
	for (int count = CONFIG_LIST_MAX; count <= CONFIG_LIST_MAX + 1; count++) {
		AUTO_BUF struct buf errors = BUF_INIT(100000);
		AUTO_BUF struct buf text = BUF_INIT(100000);
		struct config *c = NULL;
		buf_adds(&text, "queue:\n  retry:\n");
		for (int i = 0; i < count; i++)
			buf_printf(&text, "  - %d s\n", i + 1);
		int err = config_parse(buf_slice(&text), "f", &c, &errors);
		ck_assert_int_eq(err, count == CONFIG_LIST_MAX ? 0 : -EINVAL);
		ck_assert(err == 0 || strstr(buf_cstr(&errors), "f:3:3: a list holds at most 64") != NULL);
		config_free(c);
	}
}
END_TEST

START_TEST(a_role_gets_exactly_what_the_file_said)
{
	AUTO_BUF struct buf bytes = BUF_INIT(1u << 20), again = BUF_INIT(1u << 20);
	struct config *c = parse_good("mail: {lmtp_peers: [10.0.0.0/8], listen: {smtp: ['127.0.0.1:25', '[::1]:25']}}\n"
				      "queue: {retry: [90s, 1h]}\n"
				      "tls: {certificate: '/a b', key: /c}\n");
	struct config *copy = NULL;

	config_encode(c, &bytes);
	ck_assert_int_eq(config_decode(buf_slice(&bytes), &copy), 0);
	config_encode(copy, &again);
	ck_assert(slice_eq(buf_slice(&bytes), buf_slice(&again)));
	ck_assert_str_eq(copy->tls_certificate, "/a b");
	ck_assert_uint_eq(copy->mail_listen_smtp.count, 2);
	ck_assert_int_eq(copy->queue_retry.items_us[0], 90000000);
	config_free(copy);
	for (size_t n = 0; n < bytes.len; n++)
		ck_assert_int_eq(config_decode(slice_head(buf_slice(&bytes), n), &copy), -EBADMSG);
	buf_addc(&bytes, 0);
	ck_assert_int_eq(config_decode(buf_slice(&bytes), &copy), -EBADMSG);
	config_free(c);
}
END_TEST

START_TEST(what_show_prints_is_a_file_that_says_the_same)
{
	struct config *c = parse_good("mail: {subaddress_separator: '\"', quota: 0}\nstate: '/a\\b'\n");
	AUTO_BUF struct buf value = BUF_INIT(1000);

	config_value_yaml(&value, c, OPTION_mail_subaddress_separator);
	config_value_yaml(&value, c, OPTION_state);
	config_value_yaml(&value, c, OPTION_mail_quota_bytes);
	config_value_yaml(&value, c, OPTION_mail_listen_imap);
	config_value_yaml(&value, c, OPTION_queue_lifetime_us);
	ck_assert_slice_eq(buf_slice(&value), SLICE("\"\\\"\"\"/a\\\\b\"0[\"*:143\"]5 d"));
	config_free(c);
}
END_TEST

START_TEST(single_options_can_be_set_before_use)
{
	struct errmsg why = { 0 };
	struct config *c;

	ck_assert_int_eq(config_new(&c), 0);
	ck_assert_int_eq(config_set(c, "mail.listen.imap", "127.0.0.1:20143", &why), 0);
	ck_assert_int_eq(ntohs(((const struct sockaddr_in *)(const void *)&c->mail_listen_imap.items[0].addr)->sin_port), 20143);
	ck_assert_int_eq(config_set(c, "mail.listen.imap", "20143", &why), -EINVAL);
	ck_assert(strstr(why.text, "option 'mail.listen.imap': '20143' is not") != NULL);
	ck_assert_int_eq(config_set(c, "mail.nothing", "1", &why), -ENOENT);
	config_free(c);
}
END_TEST

TEST_MAIN("conf/config", an_empty_file_gives_the_defaults, values_take_the_type_of_their_option,
	  every_mistake_is_told_with_its_place, a_reload_keeps_what_only_a_start_changes, addresses_of_different_families_may_share_a_port,
	  all_errors_come_at_once_up_to_a_limit,
	  a_list_is_taken_up_to_its_maximum, a_role_gets_exactly_what_the_file_said,
	  what_show_prints_is_a_file_that_says_the_same, single_options_can_be_set_before_use)
