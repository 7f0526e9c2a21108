#include "base/buf.h"
#include "base/test.h"
#include "sys/http_request.h"

static const struct {
	const char *name, *text;
	enum http_result want;
	const char *path;
} requests[] = {
	{ "a scraper's request", "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n", HTTP_OK, "/metrics" },
	{ "the query is cut off", "GET /livez?verbose HTTP/1.0\r\n\r\n", HTTP_OK, "/livez" },
	{ "not whole yet", "GET /livez HTTP/1.0\r\n", HTTP_MORE, NULL },
	{ "nothing yet", "", HTTP_MORE, NULL },
	{ "no version", "GET /livez\r\n\r\n", HTTP_BAD, NULL },
	{ "HTTP/2 is not spoken", "GET / HTTP/2.0\r\n\r\n", HTTP_BAD, NULL },
	{ "a blank too many", "GET  / HTTP/1.1\r\n\r\n", HTTP_BAD, NULL },
	{ "a control byte in the target", "GET /\x01 HTTP/1.1\r\n\r\n", HTTP_BAD, NULL },
	{ "an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", HTTP_BAD, NULL },
	{ "a blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", HTTP_BAD, NULL },
	{ "a folded field", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", HTTP_BAD, NULL },
	{ "posting", "POST / HTTP/1.1\r\n\r\n", HTTP_NOT_GET, NULL },
	{ "a body", "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", HTTP_HAS_BODY, NULL },
	{ "an empty body", "GET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", HTTP_OK, "/" },
	{ "chunks", "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_HAS_BODY, NULL },
};

START_TEST(http_requests_are_judged_by_their_head)
{
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		struct http_request req = { 0 };
		enum http_result got = http_request_parse(slice_str(requests[i].text), &req);

		ck_assert_msg(got == requests[i].want, "%s: %d", requests[i].name, (int)got);
		if (got == HTTP_OK)
			ck_assert_slice_eq(req.path, slice_str(requests[i].path));
	}
}
END_TEST

START_TEST(a_head_of_the_maximum_passes_and_one_byte_more_does_not)
{
	AUTO_BUF struct buf b = BUF_INIT(HTTP_HEAD_BYTES_MAX + 1);
	struct http_request req;

	buf_adds(&b, "GET /");
	buf_fill(&b, 'a', HTTP_HEAD_BYTES_MAX - 5 - 9 - 4);
	buf_adds(&b, " HTTP/1.1\r\n\r\n");
	ck_assert_uint_eq(b.len, HTTP_HEAD_BYTES_MAX);
	ck_assert_int_eq(http_request_parse(buf_slice(&b), &req), HTTP_OK);
	b.len = 4;
	buf_adds(&b, "/");
	buf_fill(&b, 'a', HTTP_HEAD_BYTES_MAX - 5 - 9 - 4 + 1);
	buf_adds(&b, " HTTP/1.1\r\n\r\n");
	ck_assert_int_eq(http_request_parse(buf_slice(&b), &req), HTTP_TOO_LARGE);
}
END_TEST

TEST_MAIN("sys/http_request", http_requests_are_judged_by_their_head, a_head_of_the_maximum_passes_and_one_byte_more_does_not)
