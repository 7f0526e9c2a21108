#include "base/slice.h"

#include <stdlib.h>

bool slice_eq_nocase(struct slice a, struct slice b)
{
	return a.len == b.len && slice_cmp_nocase(a, b) == 0;
}

int slice_cmp(struct slice a, struct slice b)
{
	size_t n = MIN(a.len, b.len);
	int c = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);

	if (c != 0)
		return c;
	return a.len < b.len ? -1 : a.len > b.len;
}

int slice_cmp_nocase(struct slice a, struct slice b)
{
	size_t n = MIN(a.len, b.len);

	for (size_t i = 0; i < n; i++) {
		int c = ascii_lower(a.ptr[i]) - ascii_lower(b.ptr[i]);
		if (c != 0)
			return c;
	}
	return a.len < b.len ? -1 : a.len > b.len;
}

bool slice_starts(struct slice s, struct slice prefix)
{
	return s.len >= prefix.len && slice_eq(slice_head(s, prefix.len), prefix);
}

bool slice_starts_nocase(struct slice s, struct slice prefix)
{
	return s.len >= prefix.len && slice_eq_nocase(slice_head(s, prefix.len), prefix);
}

bool slice_ends(struct slice s, struct slice suffix)
{
	return s.len >= suffix.len && slice_eq(slice_from(s, s.len - suffix.len), suffix);
}

size_t slice_find_byte(struct slice s, uint8_t c)
{
	const uint8_t *at = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);

	return at == NULL ? SLICE_NPOS : (size_t)(at - s.ptr);
}

size_t slice_rfind_byte(struct slice s, uint8_t c)
{
	const uint8_t *at = s.len == 0 ? NULL : memrchr(s.ptr, c, s.len);

	return at == NULL ? SLICE_NPOS : (size_t)(at - s.ptr);
}

size_t slice_find(struct slice s, struct slice needle)
{
	if (needle.len == 0)
		return 0;
	if (needle.len > s.len)
		return SLICE_NPOS;
	const uint8_t *at = memmem(s.ptr, s.len, needle.ptr, needle.len);
	return at == NULL ? SLICE_NPOS : (size_t)(at - s.ptr);
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_trim(struct slice s)
{
	while (s.len > 0 && is_blank(s.ptr[0]))
		s = slice_from(s, 1);
	while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

bool slice_cut(struct slice s, uint8_t sep, struct slice *head, struct slice *tail)
{
	size_t at = slice_find_byte(s, sep);

	if (at == SLICE_NPOS) {
		*head = s;
		*tail = slice_from(s, s.len);
		return false;
	}
	*head = slice_head(s, at);
	*tail = slice_from(s, at + 1);
	return true;
}

bool slice_u64(struct slice s, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint64_t digit = (uint64_t)s.ptr[i] - '0';
		if (digit > 9 || n > (max - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	return true;
}

bool slice_u32(struct slice s, uint32_t *out)
{
	uint64_t n;

	if (!slice_u64(s, UINT32_MAX, &n))
		return false;
	*out = (uint32_t)n;
	return true;
}

bool slice_to_str(struct slice s, char *out, size_t out_size)
{
	if (out_size > 0)
		out[0] = '\0';
	if (s.len >= out_size || slice_find_byte(s, 0) != SLICE_NPOS)
		return false;
	if (s.len > 0)
		memcpy(out, s.ptr, s.len);
	out[s.len] = '\0';
	return true;
}

char *slice_strdup(struct slice s)
{
	char *copy = malloc(s.len + 1);

	if (copy == NULL)
		return NULL;
	if (s.len > 0)
		memcpy(copy, s.ptr, s.len);
	copy[s.len] = '\0';
	return copy;
}
