/*
 * `prickle policy key ...` and `prickle policy sign`: who vouches for a policy.
 */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "cli/policy.h"
#include "cli/spine_tool.h"

#define KEYS_ARENA_BYTES (1u << 20)

int policy_cli_secret(struct cli *cli, const char *path, uint8_t secret[POLICY_SECRET_BYTES])
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	uint8_t extra;

	if (fd < 0 || fstat(fd, &st) != 0)
		return cli_fail(cli, CLI_NOT_FOUND, "%s: %s", path, strerrordesc_np(errno));
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return cli_fail(cli, CLI_REFUSED, "others may read %s or write to it: chmod 600 it, or, if somebody may have done so, make a new key", path);
	if (read(fd, secret, POLICY_SECRET_BYTES) != (ssize_t)POLICY_SECRET_BYTES || read(fd, &extra, 1) != 0)
		return cli_fail(cli, CLI_USAGE, "%s is no key: 'prickle policy key new FILE' makes one", path);
	return CLI_OK;
}

static void add_hex(struct buf *out, const uint8_t key[32])
{
	hex_encode(out, slice_of(key, 32));
}

static int key_new(struct cli *cli)
{
	uint8_t public[32], secret[POLICY_SECRET_BYTES];
	const char *path = cli_arg(cli, 0);
	AUTO_BUF struct buf hex = BUF_INIT(128);
	int code;

	if (sodium_init() < 0)
		return cli_fail(cli, CLI_FAILED, "libsodium finds no randomness");
	crypto_sign_keypair(public, secret);
	code = tool_write(cli, path, slice_of(secret, sizeof(secret)), 0600, true);
	sodium_memzero(secret, sizeof(secret));
	if (code != CLI_OK)
		return code;
	add_hex(&hex, public);
	if (cli_json(cli))
		return policy_cli_json(cli, json_pack("{s:s, s:s}", "file", path, "public", buf_cstr(&hex)));
	buf_adds(&hex, "\n");
	return cli_print(cli, &hex);
}

static int key_list(struct cli *cli)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(KEYS_ARENA_BYTES);
	AUTO_BUF struct buf out = BUF_INIT(1u << 20);
	struct policy_store *store;
	struct policy_key *keys;
	struct errmsg why = { 0 };
	json_t *list = json_array();
	size_t count = 0;
	int code = policy_cli_open(cli, 0, &store), err;

	if (code != CLI_OK) {
		json_decref(list);
		return code;
	}
	err = policy_store_keys(store, &arena, &keys, &count, &why);
	for (size_t i = 0; i < count && err == 0; i++) {
		AUTO_BUF struct buf hex = BUF_INIT(128);

		add_hex(&hex, keys[i].public);
		buf_printf(&out, "%-20s %s\n", keys[i].name, buf_cstr(&hex));
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", keys[i].name, "public", buf_cstr(&hex)));
	}
	policy_store_close(store);
	if (err != 0 || !cli_json(cli)) {
		json_decref(list);
		if (err == 0 && count == 0)
			buf_adds(&out, "no keys: whoever is root may apply a policy\n");
		return err != 0 ? policy_cli_fail(cli, err, &why) : cli_print(cli, &out);
	}
	return policy_cli_json(cli, list);
}

/* Keys are asked for at the next apply; what is in force stays so. */
static void warn_unsigned(struct policy_store *store)
{
	AUTO_ARENA struct arena arena = ARENA_INIT((size_t)POLICY_EPOCHS_MAX * 1024);
	struct policy_epoch_info *list;
	size_t count;

	if (policy_store_epochs(store, &arena, &list, &count, NULL) != 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (list[i].in_force && list[i].signer[0] == '\0')
			fprintf(stderr, "warning: epoch %llu, which is in force, is not signed by a key of this node, and stays: 'prickle policy apply FILE "
				"--key KEY' puts a signed one in its place\n", (unsigned long long)list[i].epoch);
}

static int key_add(struct cli *cli)
{
	AUTO_BUF struct buf bytes = BUF_INIT(32);
	const char *name = cli_arg(cli, 0), *hex = cli_arg(cli, 1);
	struct policy_store *store;
	struct errmsg why = { 0 };
	int code, err;

	if (strlen(hex) != 64 || !hex_decode(&bytes, slice_str(hex)))
		return cli_fail(cli, CLI_USAGE, "'%s' is no public key: 64 digits are expected, as 'prickle policy key new' prints them", hex);
	code = policy_cli_open(cli, POLICY_STORE_WRITE, &store);
	if (code != CLI_OK)
		return code;
	err = policy_store_key_add(store, name, bytes.ptr, &why);
	if (err == 0)
		warn_unsigned(store);
	policy_store_close(store);
	if (err != 0)
		return policy_cli_fail(cli, err, &why);
	if (cli_json(cli))
		return policy_cli_json(cli, json_pack("{s:s, s:s}", "name", name, "public", hex));
	AUTO_BUF struct buf out = BUF_INIT(1024);
	buf_printf(&out, "policies of this node must be signed from now on; '%.63s' may\n", name);
	return cli_print(cli, &out);
}

static int key_remove(struct cli *cli)
{
	struct policy_store *store;
	struct errmsg why = { 0 };
	int code = policy_cli_open(cli, POLICY_STORE_WRITE, &store), err;

	if (code != CLI_OK)
		return code;
	err = policy_store_key_remove(store, cli_arg(cli, 0), &why);
	policy_store_close(store);
	if (err != 0)
		return policy_cli_fail(cli, err, &why);
	return cli_json(cli) ? policy_cli_json(cli, json_pack("{s:s}", "name", cli_arg(cli, 0))) : CLI_OK;
}

static int sign(struct cli *cli)
{
	uint8_t secret[POLICY_SECRET_BYTES], bytes[POLICY_SIGNED_BYTES], signature[96];
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20), out = BUF_INIT(8192);
	const char *key = cli_value(cli, "key"), *file = cli_arg(cli, 0);
	struct errmsg why = { 0 };
	char target[4096];
	int code, err;

	if (key == NULL)
		return cli_fail(cli, CLI_USAGE, "whose signature? Say --key FILE; 'prickle policy key new FILE' makes a key");
	if (snprintf(target, sizeof(target), "%s.sig", file) >= (int)sizeof(target))
		return cli_fail(cli, CLI_USAGE, "the path is too long");
	err = policy_file_signed_bytes(file, bytes, &errors, &why);
	if (err != 0)
		return cli_fail(cli, CLI_FAILED, "%s\n%s", why.text, buf_cstr(&errors));
	code = policy_cli_secret(cli, key, secret);
	if (code != CLI_OK)
		return code;
	memcpy(signature, secret + 32, 32);
	crypto_sign_detached(signature + 32, NULL, bytes, sizeof(bytes), secret);
	sodium_memzero(secret, sizeof(secret));
	code = tool_write(cli, target, slice_of(signature, sizeof(signature)), 0644, false);
	if (code != CLI_OK)
		return code;
	if (cli_json(cli))
		return policy_cli_json(cli, json_pack("{s:s, s:s}", "file", file, "signature", target));
	buf_printf(&out, "%s\n", target);
	return cli_print(cli, &out);
}

static const struct cli_option store_options[] = { CLI_OPTION_POLICY, CLI_OPTION_CONFIG, { 0 } };

const struct cli_command cmd_policy_key_new = {
	.words = "policy key new", .summary = "make a key that signs policies", .json = true,
	.description = "Writes the secret key to FILE, which must not exist, and prints the public one, which 'prickle policy key add' takes. Keep the "
		       "secret one away from the nodes.",
	.args = (const struct cli_arg[]){ { "FILE", "the key file", .complete = CLI_FILE }, { 0 } },
	.examples = (const char *const[]){ "prickle policy key new ops.key", NULL },
	.run = key_new,
};

const struct cli_command cmd_policy_key_list = {
	.words = "policy key list", .summary = "list the keys that may sign policies of this node", .json = true, .options = store_options,
	.examples = (const char *const[]){ "prickle policy key list", NULL },
	.run = key_list,
};

const struct cli_command cmd_policy_key_add = {
	.words = "policy key add", .summary = "let a key sign policies of this node", .json = true, .options = store_options,
	.description = "From the first key on, this node takes signed policies only.",
	.args = (const struct cli_arg[]){ { "NAME", "what to call it" }, { "PUBLIC", "64 digits, as 'prickle policy key new' prints them" }, { 0 } },
	.examples = (const char *const[]){ "prickle policy key add ops 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29", NULL },
	.run = key_add,
};

const struct cli_command cmd_policy_key_remove = {
	.words = "policy key remove", .summary = "take away a key", .json = true, .options = store_options,
	.description = "What it signed stays in force; without any key, root's word is enough again.",
	.args = (const struct cli_arg[]){ { "NAME", "as 'prickle policy key list' names it" }, { 0 } },
	.examples = (const char *const[]){ "prickle policy key remove ops", NULL },
	.run = key_remove,
};

const struct cli_command cmd_policy_sign = {
	.words = "policy sign", .summary = "sign a policy for nodes that want it", .json = true,
	.description = "Writes FILE.sig, which 'prickle policy apply --signature' takes: so the secret key need not come to the node. What is signed is the "
		       "file together with all that it imports.",
	.args = (const struct cli_arg[]){ { "FILE", "the policy", .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){ { "key", 'k', "FILE", "the secret key", CLI_FILE }, { 0 } },
	.examples = (const char *const[]){ "prickle policy sign node.policy --key ops.key", NULL },
	.run = sign,
};
