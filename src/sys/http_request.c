#include "sys/http_request.h"

/* RFC 9110 §5.6.2, tchar. */
static bool token_byte(uint8_t c)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	return ascii_alpha(c) || ascii_digit(c) || (c != 0 && strchr(others, c) != NULL);
}

static enum http_result parse_line(struct slice line, struct http_request *out)
{
	struct slice method, rest, target, version, query;

	if (!slice_cut(line, ' ', &method, &rest) || !slice_cut(rest, ' ', &target, &version) ||
	    (!slice_eq(version, SLICE("HTTP/1.1")) && !slice_eq(version, SLICE("HTTP/1.0"))) ||
	    method.len == 0 || target.len == 0 || target.ptr[0] != '/')
		return HTTP_BAD;
	for (size_t i = 0; i < method.len; i++)
		if (!token_byte(method.ptr[i]))
			return HTTP_BAD;
	for (size_t i = 0; i < target.len; i++)
		if (target.ptr[i] <= 0x20 || target.ptr[i] >= 0x7f)
			return HTTP_BAD;
	out->head = slice_eq(method, SLICE("HEAD"));
	if (!out->head && !slice_eq(method, SLICE("GET")))
		return HTTP_NOT_GET;
	slice_cut(target, '?', &out->path, &query);
	return HTTP_OK;
}

/* RFC 9112 §5: name ":" value; no folding, no blank before the colon. */
static enum http_result parse_field(struct slice line)
{
	struct slice name, value;

	if (!slice_cut(line, ':', &name, &value) || name.len == 0)
		return HTTP_BAD;
	for (size_t i = 0; i < name.len; i++)
		if (!token_byte(name.ptr[i]))
			return HTTP_BAD;
	for (size_t i = 0; i < value.len; i++)
		if ((value.ptr[i] < 0x20 && value.ptr[i] != '\t') || value.ptr[i] == 0x7f)
			return HTTP_BAD;
	value = slice_trim(value);
	if (slice_eq_nocase(name, SLICE("Transfer-Encoding")) ||
	    (slice_eq_nocase(name, SLICE("Content-Length")) && !slice_eq(value, SLICE("0"))))
		return HTTP_HAS_BODY;
	return HTTP_OK;
}

enum http_result http_request_parse(struct slice bytes, struct http_request *out)
{
	struct slice head = slice_head(bytes, HTTP_HEAD_BYTES_MAX);
	size_t end = slice_find(head, SLICE("\r\n\r\n"));
	struct http_request req = { 0 };
	bool first = true;

	if (end == SLICE_NPOS)
		return bytes.len >= HTTP_HEAD_BYTES_MAX ? HTTP_TOO_LARGE : HTTP_MORE;
	head = slice_head(head, end + 2);
	while (head.len > 0) {
		size_t line_end = slice_find(head, SLICE("\r\n"));
		struct slice line = slice_head(head, line_end);
		enum http_result result = first ? parse_line(line, &req) : parse_field(line);

		if (result != HTTP_OK)
			return result;
		first = false;
		head = slice_from(head, line_end + 2);
	}
	*out = req;
	return HTTP_OK;
}
