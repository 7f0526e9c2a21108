#include "engine/crc32c.h"

#include <pthread.h>

#define POLY_REVERSED 0x82f63b78u

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_make(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = (c >> 1) ^ ((c & 1) != 0 ? POLY_REVERSED : 0);
		table[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int k = 1; k < 8; k++)
			table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xff];
}


uint32_t crc32c_portable(uint32_t crc, struct slice bytes)
{
	const uint8_t *p = bytes.ptr;
	size_t n = bytes.len;
	uint32_t c = ~crc;

	pthread_once(&table_once, table_make);
	for (; n >= 8; n -= 8, p += 8) {
		uint32_t low = c ^ (p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
				    (uint32_t)p[3] << 24);

		c = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
		    table[4][low >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
		    table[0][p[7]];
	}
	for (; n > 0; n--, p++)
		c = (c >> 8) ^ table[0][(c ^ *p) & 0xff];
	return ~c;
}

#if defined(__x86_64__)
static uint64_t load_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);		/* x86 is little-endian */
	return v;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse(uint32_t crc, struct slice bytes)
{
	const uint8_t *p = bytes.ptr;
	size_t n = bytes.len;
	uint64_t c = ~crc;

	for (; n >= 8; n -= 8, p += 8)
		c = __builtin_ia32_crc32di(c, load_le64(p));
	for (; n > 0; n--, p++)
		c = __builtin_ia32_crc32qi((uint32_t)c, *p);
	return ~(uint32_t)c;
}
#endif

uint32_t crc32c(uint32_t crc, struct slice bytes)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse(crc, bytes);
#endif
	return crc32c_portable(crc, bytes);
}
