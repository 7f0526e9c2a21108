/*
 * The head of an HTTP request, as far as metrics and health checks need it: method and path
 * of HTTP/1.0 and 1.1 (RFC 9112 §3). Fields are checked for form and otherwise ignored; a body is
 * refused. Not a web server: the answer always closes the connection.
 */
#pragma once
#include "base/slice.h"
#include "sys/sys_limits.h"

enum http_result {
	HTTP_OK,
	HTTP_MORE,			/* the empty line has not come yet */
	HTTP_BAD,			/* 400 */
	HTTP_NOT_GET,			/* 405: neither GET nor HEAD */
	HTTP_TOO_LARGE,			/* 431: no empty line within HTTP_HEAD_BYTES_MAX */
	HTTP_HAS_BODY,			/* 413 */
};

struct http_request {
	bool head;			/* HEAD: answer without the body */
	struct slice path;		/* without the query; points into the input */
};

/* Parse what has come so far. *out is written on HTTP_OK only. O(bytes). */
MUST_USE enum http_result http_request_parse(struct slice bytes, struct http_request *out);
