#include "mail/message/casemap.h"

#include <unicase.h>
#include <uninorm.h>
#include <unistr.h>

#include "base/arena.h"

/* Decompositions nest at most four deep in Unicode; the limit keeps a surprise from recursing. */
#define DECOMPOSE_DEPTH_MAX 8

static void add_char(struct buf *out, ucs4_t c)
{
	uint8_t bytes[6];
	int n = u8_uctomb(bytes, c, sizeof(bytes));

	if (n > 0)
		buf_add(out, slice_of(bytes, (size_t)n));
}

/* RFC 5051 §2 (2)(B): full decomposition, tagged ("compatibility") mappings included. */
static void decompose(struct buf *out, ucs4_t c, unsigned int depth)
{
	ucs4_t parts[UC_DECOMPOSITION_MAX_LENGTH];
	int tag;
	int n = depth == DECOMPOSE_DEPTH_MAX ? -1 : uc_decomposition(c, &tag, parts);

	if (n <= 0) {
		add_char(out, c);
		return;
	}
	for (int i = 0; i < n; i++)
		decompose(out, parts[i], depth + 1);
}

/* The ASCII run at the start of s goes out in capitals. Returns its length. */
static size_t ascii_run(struct buf *out, struct slice s)
{
	size_t n = 0;

	while (n < s.len && s.ptr[n] < 0x80)
		n++;
	uint8_t *to = n == 0 ? NULL : buf_room(out, n);
	if (to == NULL)
		return n;
	for (size_t i = 0; i < n; i++)
		to[i] = ascii_upper(s.ptr[i]);
	buf_commit(out, n);
	return n;
}

void casemap_key(struct buf *out, struct slice utf8)
{
	bool replaced = false;

	while (utf8.len > 0) {
		size_t n = ascii_run(out, utf8);
		if (n > 0) {
			utf8 = slice_from(utf8, n);
			replaced = false;
			continue;
		}
		ucs4_t c;
		int len = u8_mbtoucr(&c, utf8.ptr, utf8.len);
		if (len <= 0) {
			if (!replaced)
				buf_add(out, SLICE("\xef\xbf\xbd"));
			replaced = true;
			utf8 = slice_from(utf8, 1);
			continue;
		}
		replaced = c == 0xfffd;
		decompose(out, uc_totitle(c), 0);
		utf8 = slice_from(utf8, (size_t)len);
	}
}

bool casemap_find_init(struct casemap_find *f, struct arena *arena, struct slice key)
{
	uint32_t *table = arena_array(arena, key.len + 1, sizeof(*table));
	uint32_t k = 0;

	if (table == NULL)
		return false;
	/* table[i]: length of the longest border of the first i+1 bytes */
	for (size_t i = 1; i < key.len; i++) {
		while (k > 0 && key.ptr[i] != key.ptr[k])
			k = table[k - 1];
		if (key.ptr[i] == key.ptr[k])
			k++;
		table[i] = k;
	}
	*f = (struct casemap_find){ .key = key, .table = table, .found = key.len == 0 };
	return true;
}

bool casemap_find_feed(struct casemap_find *f, struct slice text)
{
	size_t matched = f->matched;

	if (f->found)
		return true;
	for (size_t i = 0; i < text.len; i++) {
		if (matched == 0) {
			const uint8_t *first = memchr(text.ptr + i, f->key.ptr[0], text.len - i);
			if (first == NULL)
				break;
			i = (size_t)(first - text.ptr);
		}
		while (matched > 0 && text.ptr[i] != f->key.ptr[matched])
			matched = f->table[matched - 1];
		if (text.ptr[i] == f->key.ptr[matched])
			matched++;
		if (matched == f->key.len) {
			f->found = true;
			return true;
		}
	}
	f->matched = matched;
	return false;
}
