/*
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), which processors compute: SSE 4.2 where the machine has
 * it, tables elsewhere. It finds rot and torn writes; it is no defence against forgery.
 */
#pragma once
#include "base/slice.h"

/* Of bytes that follow those with checksum `crc` (0 to start). About 8 bytes a nanosecond in hardware. */
uint32_t crc32c(uint32_t crc, struct slice bytes);
/* The same by table: what the test compares with. */
uint32_t crc32c_portable(uint32_t crc, struct slice bytes);
