/* Pattern and name, separated by LF, against the plain recursive meaning of the wildcards. */
#include "mail/imap/pattern.h"

#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool plain(struct slice p, struct slice n)
{
	if (p.len == 0)
		return n.len == 0;
	if (p.ptr[0] == '*' || p.ptr[0] == '%') {
		for (size_t i = 0; i <= n.len; i++) {
			if (plain(slice_from(p, 1), slice_from(n, i)))
				return true;
			if (i < n.len && p.ptr[0] == '%' && n.ptr[i] == '/')
				return false;
		}
		return false;
	}
	return n.len > 0 && p.ptr[0] == n.ptr[0] && plain(slice_from(p, 1), slice_from(n, 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice pattern, name;
	enum pattern_match got;

	slice_cut(slice_of(data, size), '\n', &pattern, &name);
	got = pattern_match(pattern, name);
	/* The plain meaning takes exponential time: short ones only. */
	if (size < 24 && !slice_starts_nocase(name, SLICE("inbox")))
		must((got == PATTERN_YES) == plain(pattern, name));
	return 0;
}
