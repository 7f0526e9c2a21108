#include "base/must.h"
#include "roles/admin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_BUF struct buf again = BUF_INIT(ADMIN_REQUEST_BYTES * 2);
	struct slice in = slice_of(data, size);
	struct admin_request req, back;
	struct admin_reply reply;

	if (size > ADMIN_REQUEST_BYTES)
		return 0;
	if (admin_request_decode(in, &req)) {
		admin_request_encode(&req, &again);
		must(again.err == 0);
		must(admin_request_decode(buf_slice(&again), &back));
		must(back.arg_count == req.arg_count && slice_eq(back.verb, req.verb));
		for (unsigned i = 0; i < req.arg_count; i++)
			must(slice_eq(back.args[i], req.args[i]));
		struct slice value = admin_arg(&req, "password"), first = admin_positional(&req, 0);
		must(value.len <= size && first.len <= size);
	}
	if (admin_reply_decode(in, &reply)) {
		buf_reset(&again);
		admin_json_string(&again, reply.json);
	}
	return 0;
}
