/*
 * Any field value is a list: groups close, mailboxes have both halves, and its text parses.
 */
#include "base/must.h"
#include "mail/message/address.h"
#include "mail/message/param.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void params(struct arena *arena, struct slice value)
{
	struct slice type, subtype;
	const struct mime_param *list;
	uint32_t count;

	if (param_content_type(arena, value, &type, &subtype, &list, &count))
		must(type.len > 0 && subtype.len > 0 && count <= MIME_PARAMS_MAX);
	if (param_disposition(arena, value, &type, &list, &count))
		must(type.ptr != NULL);
	(void)param_token(arena, value);
	(void)param_languages(arena, value, &count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
	AUTO_BUF struct buf out = BUF_INIT(1u << 26);
	struct address *list, *again;
	bool in_group = false;

	if (address_parse(&arena, slice_of(data, size), &list)) {
		size_t count = 0;
		for (const struct address *a = list; a != NULL; a = a->next, count++) {
			if (a->host.ptr == NULL)
				in_group = !in_group;
			else
				must(a->mailbox.ptr != NULL && a->host.len > 0);
		}
		must(!in_group || count >= ADDRESS_COUNT_MAX);
		address_write(&out, list);
		must(out.err == 0);
		(void)address_parse(&arena, buf_slice(&out), &again);
	}
	params(&arena, slice_of(data, size));
	return 0;
}
