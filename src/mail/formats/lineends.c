#include "mail/formats/lineends.h"

void line_ends_to_crlf(struct line_ends *l, struct slice in, struct buf *out)
{
	while (in.len > 0) {
		size_t lf = slice_find_byte(in, '\n');
		size_t n = MIN(lf, in.len);

		if (n > 0) {
			buf_add(out, slice_head(in, n));
			l->cr = in.ptr[n - 1] == '\r';
		}
		if (lf == SLICE_NPOS)
			return;
		if (!l->cr)
			buf_addc(out, '\r');
		buf_addc(out, '\n');
		l->cr = false;
		in = slice_from(in, n + 1);
	}
}

void line_ends_to_lf(struct line_ends *l, struct slice in, struct buf *out)
{
	while (in.len > 0) {
		if (l->cr && in.ptr[0] != '\n')
			buf_addc(out, '\r');
		l->cr = false;
		size_t cr = slice_find_byte(in, '\r');
		buf_add(out, slice_head(in, MIN(cr, in.len)));
		if (cr == SLICE_NPOS)
			return;
		l->cr = true;
		in = slice_from(in, cr + 1);
	}
}

void line_ends_to_lf_end(struct line_ends *l, struct buf *out)
{
	if (l->cr)
		buf_addc(out, '\r');
	l->cr = false;
}
