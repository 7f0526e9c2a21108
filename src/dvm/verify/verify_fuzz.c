/* A class file from anybody, judged alone: every answer about other classes stays open. */
#include "dvm/verify/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct class_file *itself(void *context, struct slice name)
{
	const struct class_file *c = context;

	return slice_eq(class_name(c), name) ? c : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
	AUTO_BUF struct buf text = BUF_INIT(1u << 22);
	struct verify_result result;
	struct class_file c;

	if (!class_parse(&arena, slice_of(data, size), &c, NULL))
		return 0;
	struct class_source source = { itself, &c };
	(void)verify_format(&arena, &c, 0, NULL);
	(void)verify_class(&arena, &c, &source, 0, &result);
	verify_certificate(&text, &c, SLICE("00"), &result);
	/* The same class as an old one: inference. */
	c.major = 48;
	(void)verify_class(&arena, &c, NULL, VERIFY_RELAXED_FORMAT, &result);
	return 0;
}
