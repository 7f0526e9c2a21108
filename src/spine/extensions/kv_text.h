/*
 * memcached's text protocol, as far as a cache in front of it needs (protocol.txt of memcached 1.6): plain C for the
 * BPF programs, for tests and for the fuzzer. What is not exactly as the protocol's text has it - two spaces, control
 * characters, a line without "\r" - is KV_OTHER, because servers differ in what they make of it.
 */
#pragma once
#include <linux/types.h>

#include "spine/extensions/kv.h"

enum kv_kind {
	KV_OTHER,			/* not understood, or it may write anything */
	KV_GET,				/* "get KEY" */
	KV_READ,			/* reads, but not one key */
	KV_STORE,			/* set, add, replace, append, prepend, cas: a value of `value` bytes follows */
	KV_CHANGE,			/* delete, incr, decr, touch: the line alone */
};

struct kv_request {
	__u64 command;			/* up to eight letters, the last one in the lowest byte */
	__u32 kind;			/* enum kv_kind */
	__u32 words;
	__u32 key_at, key_length;
	__u32 hash;			/* of the key */
	__u32 line;			/* bytes of the line with its end */
	__u32 value;
	__u8 last, wrong, ended, spare;
};

#define KV_WORD3(a, b, c) (((__u64)(a) << 16) | ((b) << 8) | (c))
#define KV_WORD4(a, b, c, d) ((KV_WORD3(a, b, c) << 8) | (d))
#define KV_WORD5(a, b, c, d, e) ((KV_WORD4(a, b, c, d) << 8) | (e))
#define KV_WORD6(a, b, c, d, e, f) ((KV_WORD5(a, b, c, d, e) << 8) | (f))
#define KV_WORD7(a, b, c, d, e, f, g) ((KV_WORD6(a, b, c, d, e, f) << 8) | (g))

/*
 * Keeps a pointer that walks through memory what it is: the compiler would count and add, and the kernel allows
 * programs without CAP_PERFMON no addition whose operand differs from path to path.
 */
#define KV_WALK(pointer) __asm__ volatile("" : "+r"(pointer))

#define KV_INLINE static inline __attribute__((always_inline))

/* "noreply" makes one word more and so KV_OTHER: nothing will tell when it was done. */
KV_INLINE __u32 kv_command(__u64 word, __u32 words)
{
	if (word == KV_WORD3('g', 'e', 't'))
		return words == 2 ? KV_GET : KV_READ;
	if (word == KV_WORD4('g', 'e', 't', 's') || word == KV_WORD7('v', 'e', 'r', 's', 'i', 'o', 'n'))
		return KV_READ;
	if (word == KV_WORD3('s', 'e', 't') || word == KV_WORD3('a', 'd', 'd') ||
	    word == KV_WORD7('r', 'e', 'p', 'l', 'a', 'c', 'e') || word == KV_WORD6('a', 'p', 'p', 'e', 'n', 'd') ||
	    word == KV_WORD7('p', 'r', 'e', 'p', 'e', 'n', 'd'))
		return words == 5 ? KV_STORE : KV_OTHER;
	if (word == KV_WORD3('c', 'a', 's'))
		return words == 6 ? KV_STORE : KV_OTHER;
	if (word == KV_WORD6('d', 'e', 'l', 'e', 't', 'e'))
		return words == 2 ? KV_CHANGE : KV_OTHER;
	if (word == KV_WORD4('i', 'n', 'c', 'r') || word == KV_WORD4('d', 'e', 'c', 'r') ||
	    word == KV_WORD5('t', 'o', 'u', 'c', 'h'))
		return words == 3 ? KV_CHANGE : KV_OTHER;
	return KV_OTHER;
}

/* One byte of the line that is not its end; r->last is the one before. */
KV_INLINE void kv_byte(struct kv_request *r, __u32 i, __u8 c)
{
	if (r->last == '\r' || (c < ' ' && c != '\r') || c == 127 || (r->last == ' ' && (c == ' ' || c == '\r'))) {
		r->wrong = 1;
		return;
	}
	if (c == ' ' || c == '\r')
		return;
	if (r->last == ' ') {
		r->words++;
		if (r->words == 2)
			r->key_at = i;
	}
	if (r->words == 1) {
		if (r->command >> 56)
			r->wrong = 1;
		r->command = r->command << 8 | c;
	} else if (r->words == 2) {
		r->key_length++;
		r->hash = (r->hash ^ c) * 16777619u;	/* FNV-1a */
	} else if (r->words == 5) {
		if (c < '0' || c > '9' || r->value > 10000000u)
			r->wrong = 1;
		r->value = r->value * 10 + (c - '0');
	}
}

KV_INLINE void kv_begin(struct kv_request *r)
{
	*r = (struct kv_request){ .hash = 2166136261u, .last = ' ' };
}

/*
 * KV_PART_BYTES of the request, those from byte `at` on; `text` is that byte, and `length` is the whole request's. In
 * parts, and with its state kept in memory, which the barrier enforces: were it in registers, the kernel's verifier
 * would follow every combination of branches through every byte, and it gives up where branches nest too deep.
 */
KV_INLINE void kv_part(const __u8 *text, __u32 at, __u32 length, struct kv_request *r)
{
	__u32 i;

	for (i = 0; i < KV_PART_BYTES; i++) {
		__u8 c;

		if (at >= length || r->ended)
			break;
		c = *text++;
		KV_WALK(text);
		r->line = at + 1;
		if (c == '\n') {
			r->ended = 1;
			break;
		}
		kv_byte(r, at, c);
		r->last = c;
		at++;
		__asm__ volatile("" : : : "memory");
	}
}

KV_INLINE void kv_end(struct kv_request *r)
{
	__u32 hash = r->hash;

	hash ^= hash >> 15;
	hash *= 0x2c1b3c6du;
	r->hash = hash ^ (hash >> 12);
	if (r->ended && r->last == '\r' && !r->wrong && r->key_length <= KV_KEY_BYTES)
		r->kind = kv_command(r->command, r->words);
}

/* The bytes that the whole request has, value and its end included. */
KV_INLINE __u32 kv_whole(const struct kv_request *r)
{
	return r->kind == KV_STORE ? r->line + r->value + 2 : r->line;
}
