#include "roles/control_ticket.h"

#include <stdio.h>

static void add(struct admin_request *req, struct buf *text, const char *name, struct slice value)
{
	size_t at = text->len;

	buf_adds(text, name);
	buf_addc(text, '=');
	buf_add(text, value);
	/* The buffer has its full size from the start, so it does not move. */
	if (text->err == 0 && req->arg_count < ADMIN_ARGS_MAX)
		req->args[req->arg_count++] = slice_of(text->ptr + at, text->len - at);
}

static void add_number(struct admin_request *req, struct buf *text, const char *name, unsigned n)
{
	char number[12];

	snprintf(number, sizeof(number), "%u", n);
	add(req, text, name, slice_str(number));
}

bool control_ticket_begin(struct control_ticket *t, struct authority *a, const struct caller *c, const struct admin_request *req,
			  struct buf *asked, struct buf *reply)
{
	AUTO_BUF struct buf text = BUF_INIT(ADMIN_REQUEST_BYTES);
	struct admin_request out = { .object = SLICE("ticket"), .verb = req->verb };

	*t = (struct control_ticket){ .give = slice_eq(req->verb, SLICE("give")) };
	if (t->give && !caller_ticket(a, c, admin_arg(req, "label"), &t->ticket, reply))
		return false;
	if (buf_room(&text, ADMIN_REQUEST_BYTES) == NULL) {
		admin_error_encode(ADMIN_FAILED, "out of memory", reply);
		return false;
	}
	if (t->give) {
		add(&out, &text, "for", admin_arg(req, "for"));
		add(&out, &text, "because", admin_arg(req, "because"));
		add(&out, &text, "label", slice_str(t->ticket.label));
		add(&out, &text, "who", slice_str(t->ticket.who));
		add_number(&out, &text, "from", t->ticket.from);
		add_number(&out, &text, "to", t->ticket.to);
		add_number(&out, &text, "seconds", t->ticket.seconds);
	} else {
		if (admin_positional(req, 0).ptr != NULL)
			out.args[out.arg_count++] = admin_positional(req, 0);
		if (!caller_sees_all_tickets(a, c))
			add(&out, &text, "who", slice_str(c->who));
	}
	admin_request_encode(&out, asked);
	if (asked->err == 0 && text.err == 0)
		return true;
	admin_error_encode(ADMIN_USAGE, "the request is too large", reply);
	return false;
}

void control_ticket_end(const struct control_ticket *t, struct authority *a, const struct admin_request *req, struct slice reply)
{
	AUTO_BUF struct buf how = BUF_INIT(400);
	struct admin_reply r;

	if (!t->give || !admin_reply_decode(reply, &r) || r.exit_code != ADMIN_OK)
		return;
	buf_adds(&how, "ticket give: ");
	buf_add(&how, slice_head(admin_arg(req, "because"), 300));
	caller_ticket_given(a, &t->ticket, slice_head(admin_arg(req, "for"), 100), buf_slice(&how));
}
