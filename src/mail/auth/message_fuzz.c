/*
 * What a subverted mx or front may send to auth. The input is a list of messages: type, length (be16), bytes; a type with
 * the highest bit gets the description of a client on this host in front, so that the rest is looked at.
 */
#include "base/must.h"
#include "base/reader.h"
#include "engine/memory.h"
#include "mail/auth/auth.h"
#include "mail/auth/scram.h"
#include "policy/shipped_test.h"
#include "sys/fiber.h"
#include "sys/loop.h"
#include "sys/world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int store_add(void *arg, const struct grant *g, size_t n)
{
	return 0;
}

static int store_revoke(void *arg, const uint8_t (*ids)[GRANT_ID_BYTES], size_t n)
{
	return 0;
}

static int store_usage(void *arg, const char *account, uint64_t *bytes, uint64_t *messages)
{
	*bytes = *messages = 0;
	return 0;
}

struct run {
	struct auth *auth;
	struct slice input;
};

static void make_users(struct auth *a)
{
	/* Of "pw", imported: cheap to check. */
	struct slice hash = SLICE("$1$abcdefgh$IQtUouv7y7Q9dRWkQEPCc.");
	struct auth_user_change set = { .hash = &hash };

	must(directory_domain_add(auth_directory(a), SLICE("example.org"), &(struct domain_record){ 0 }) == DIR_OK);
	must(auth_user_add(a, SLICE("ann@example.org"), &set) == AUTH_ADMIN_OK);
}

static void serve_all(void *arg)
{
	static const uint8_t peer[] = { 1, 1, 9, '1', '2', '7', '.', '0', '.', '0', '.', '1', 1, 'x', 0 };
	struct run *run = arg;
	struct reader rd = reader_of(run->input);
	struct auth_client *c = auth_client(run->auth, 2, 0);

	make_users(run->auth);
	auth_client_attached(c, "front");
	while (rd_left(&rd) > 0 && !rd.bad) {
		AUTO_BUF struct buf payload = BUF_INIT(1u << 20), reply = BUF_INIT(1u << 20);
		uint8_t type = rd_u8(&rd);
		size_t len = rd_be16(&rd);

		if ((type & 0x80) != 0)
			buf_add(&payload, slice_of(peer, sizeof(peer)));
		buf_add(&payload, rd_bytes(&rd, MIN(len, rd_left(&rd))));
		if (!auth_serve(c, type & 0x7f, buf_slice(&payload), &reply))
			break;		/* the channel ends */
		must(reply.err == 0);
	}
	auth_tick(run->auth);
	auth_client_detach(c);
	auth_client_gone(c);
	must(auth_grants(run->auth) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct auth_settings set = {
		.default_domain = "example.org",
		.separator = '+',
		.scram = true,
		.scram_iterations = SCRAM_ITERATIONS_MIN,
		.cost = { .operations = 1, .memory_bytes = 8192 },
		.hashes_at_once = 2,
		.loopback_exempt = true,
		.message_bytes_max = 50u << 20,
	};
	struct auth_store store = { .add = store_add, .revoke = store_revoke, .usage = store_usage };
	struct run run = { .input = slice_of(data, size) };
	struct engine *e = engine_memory_new();
	struct world *w = world_real_new(-1);
	struct loop *l;

	must(loop_new(&l) == 0);
	must(auth_new(e, w, &set, &store, NULL, &run.auth) == 0);
	auth_set_authority(run.auth, shipped_authority());
	must(fiber_start(l, serve_all, &run) == 0);
	while (fiber_count(l) > 0)
		loop_run_once(l, 100);
	auth_free(run.auth);
	engine_close(e);
	world_free(w);
	loop_free(l);
	return 0;
}
