#include "base/must.h"
#include "sys/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of(data, size);
	struct http_request req = { 0 };
	enum http_result result = http_request_parse(in, &req);

	if (result == HTTP_OK) {
		must(req.path.len > 0 && req.path.ptr[0] == '/');
		must(req.path.ptr >= data && req.path.ptr + req.path.len <= data + size);
		/* What is whole stays whole: more bytes after the head change nothing. */
		must(slice_find(in, SLICE("\r\n\r\n")) < HTTP_HEAD_BYTES_MAX);
	} else if (result == HTTP_MORE) {
		must(size < HTTP_HEAD_BYTES_MAX);
	}
	return 0;
}
