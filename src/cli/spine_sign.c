/*
 * `prickle spine key new|show` and `prickle spine sign`: who vouches for an extension.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/hex.h"
#include "cli/spine.h"
#include "cli/spine_tool.h"
#include "spine/load.h"

static const struct cli_arg key_arg[] = { { "FILE", "the key file", .complete = CLI_FILE }, { 0 } };

/* The public key as policies want it. */
static int print_key(struct cli *cli, const uint8_t secret[SPINE_SECRET_BYTES], const char *file)
{
	AUTO_BUF struct buf hex = BUF_INIT(100), out = BUF_INIT(8192);

	hex_encode(&hex, slice_of(secret + 32, 32));
	if (cli_json(cli))
		return spine_cli_json(cli, json_pack("{s:s, s:s}", "file", file, "public", buf_cstr(&hex)));
	buf_printf(&out, "%s\n", buf_cstr(&hex));
	return cli_print(cli, &out);
}

static int read_key(struct cli *cli, const char *path, uint8_t secret[SPINE_SECRET_BYTES])
{
	AUTO_BUF struct buf file = BUF_INIT(TOOL_FILE_BYTES);
	int code = spine_cli_file(cli, path, false, &file);
	struct stat st;

	if (code == CLI_OK && file.len != SPINE_SECRET_BYTES)
		code = cli_fail(cli, CLI_USAGE, "%s is no key: 'prickle spine key new FILE' makes one", path);
	if (code == CLI_OK && (stat(path, &st) != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0))
		code = cli_fail(cli, CLI_REFUSED, "others may read %s or write to it: chmod 600 it, or, if somebody may have done so, "
				"make a new key", path);
	if (code == CLI_OK)
		memcpy(secret, file.ptr, SPINE_SECRET_BYTES);
	if (file.ptr != NULL)
		sodium_memzero(file.ptr, file.cap);
	return code;
}

static int key_new(struct cli *cli)
{
	uint8_t public[32], secret[SPINE_SECRET_BYTES];
	const char *path = cli_arg(cli, 0);

	if (sodium_init() < 0)
		return cli_fail(cli, CLI_FAILED, "libsodium finds no randomness");
	crypto_sign_keypair(public, secret);
	int code = tool_write(cli, path, slice_of(secret, sizeof(secret)), 0600, true);
	if (code == CLI_OK)
		code = print_key(cli, secret, path);
	sodium_memzero(secret, sizeof(secret));
	return code;
}

static int key_show(struct cli *cli)
{
	uint8_t secret[SPINE_SECRET_BYTES];
	int code = read_key(cli, cli_arg(cli, 0), secret);

	if (code == CLI_OK)
		code = print_key(cli, secret, cli_arg(cli, 0));
	sodium_memzero(secret, sizeof(secret));
	return code;
}

static int sign_object(struct cli *cli, const char *path, const uint8_t secret[SPINE_SECRET_BYTES])
{
	AUTO_BUF struct buf file = BUF_INIT(TOOL_FILE_BYTES), hex = BUF_INIT(100), out = BUF_INIT(16384);
	uint8_t signature[SPINE_SIGNATURE_BYTES];
	AUTO_ARENA struct arena arena = ARENA_INIT(TOOL_ARENA_BYTES);
	const struct object *o;
	struct errmsg why = { 0 };
	char target[4096];
	int code = spine_cli_file(cli, path, false, &file);

	if (code != CLI_OK)
		return code;
	/* What nobody could install needs no signature: that is a mistyped path. */
	if (object_parse(&arena, buf_slice(&file), &o, &why) != 0)
		return cli_fail(cli, CLI_USAGE, "%s: %s", path, why.text);
	if (o->manifest == NULL)
		return cli_fail(cli, CLI_USAGE, "%s has no manifest: add SPINE_EXTENSION(...)", path);
	if (spine_sign(buf_slice(&file), secret, signature) != 0)
		return cli_fail(cli, CLI_TEMPORARY, "out of memory");
	if (snprintf(target, sizeof(target), "%s.sig", path) >= (int)sizeof(target))
		return cli_fail(cli, CLI_USAGE, "the path is too long");
	code = tool_write(cli, target, slice_of(signature, sizeof(signature)), 0644, false);
	if (code != CLI_OK)
		return code;
	hex_encode(&hex, slice_of(secret + 32, 32));
	if (cli_json(cli))
		return spine_cli_json(cli, json_pack("{s:s, s:s, s:s, s:s}", "object", path, "signature", target, "name",
						o->manifest->name, "public", buf_cstr(&hex)));
	buf_printf(&out, "%s: '%s' %s signed by %s\n", target, o->manifest->name, o->manifest->version, buf_cstr(&hex));
	return cli_print(cli, &out);
}

static int sign(struct cli *cli)
{
	uint8_t secret[SPINE_SECRET_BYTES];
	const char *key = cli_value(cli, "key");

	if (key == NULL)
		return cli_fail(cli, CLI_USAGE, "whose signature? Say --key FILE; 'prickle spine key new FILE' makes a key");
	int code = read_key(cli, key, secret);
	if (code == CLI_OK)
		code = sign_object(cli, cli_arg(cli, 0), secret);
	sodium_memzero(secret, sizeof(secret));
	return code;
}

const struct cli_command cmd_spine_key_new = {
	.words = "spine key new", .summary = "make a key that signs extensions", .args = key_arg, .json = true,
	.description = "Writes the secret key to FILE, which must not exist, and prints the public one. Extensions that it "
		       "signs are vetted where a domain of the policy names the public key: signed-by.",
	.examples = (const char *const[]){ "prickle spine key new ~/spine.key", NULL },
	.run = key_new,
};
const struct cli_command cmd_spine_key_show = {
	.words = "spine key show", .summary = "print the public key of a key file", .args = key_arg, .json = true,
	.examples = (const char *const[]){ "prickle spine key show ~/spine.key", NULL },
	.run = key_show,
};
const struct cli_command cmd_spine_sign = {
	.words = "spine sign", .summary = "sign an extension's object file", .json = true,
	.description = "Writes FILE.o.sig beside the object. The signature covers every byte, so sign after the last build.",
	.args = (const struct cli_arg[]){ { "FILE.o", "the object file", .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){ { "key", 'k', "FILE", "the key file", CLI_FILE }, { 0 } },
	.examples = (const char *const[]){ "prickle spine sign router.o --key ~/spine.key", NULL },
	.run = sign,
};
