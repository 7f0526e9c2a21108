/* Requests of memcached's text protocol: what is understood has one spelling, so it is written again and compared. */
#include <stdint.h>
#include <string.h>

#include "base/must.h"
#include "spine/extensions/kv_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t head[KV_HEAD_BYTES] = { 0 };
	uint32_t length = size < sizeof(head) ? (uint32_t)size : (uint32_t)sizeof(head);
	struct kv_request r;

	if (size > 0)
		memcpy(head, data, length);
	kv_begin(&r);
	for (uint32_t at = 0; at < KV_HEAD_BYTES; at += KV_PART_BYTES)
		kv_part(head + at, at, length, &r);
	kv_end(&r);
	must(r.line <= length);
	if (r.kind == KV_OTHER)
		return 0;
	must(r.line >= 2 && head[r.line - 1] == '\n' && head[r.line - 2] == '\r');
	must(r.key_length <= KV_KEY_BYTES && r.key_at + r.key_length <= r.line);
	must(kv_whole(&r) >= r.line);
	for (uint32_t i = 0; i < r.key_length; i++)
		must(head[r.key_at + i] > ' ');
	if (r.kind == KV_GET)
		must(memcmp(head, "get ", 4) == 0 && r.key_at == 4 && r.line == r.key_length + 6);
	return 0;
}
