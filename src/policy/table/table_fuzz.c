/*
 * An image from anybody, first byte aside: mapped as it is and asked everything; then one of its banks as content for a sound image, and as the
 * older of an intersection.
 */
#include <stdlib.h>

#include "base/must.h"
#include "policy/language/policy.h"
#include "policy/table/compile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask_all(const struct policy_table *t)
{
	static const char *const texts[] = { "/", "/srv/app/x", "eth0", "mailbox", "mail.user", "", "db", "put" };
	static const uint8_t key[32] = { 1 };
	uint32_t objects = 0, subjects = 0;
	struct policy_edge edge;
	char name[40];

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct slice s = slice_str(texts[i]);
		objects |= policy_object_path(t, s) | policy_object_endpoint(t, s, 5432) | policy_object_nic(t, s) |
			   policy_object_message(t, s, SLICE("put")) | policy_object_named(t, s);
		subjects |= policy_subject_named(t, s) | policy_subject_group(t, s) | policy_subject_service(t, s) | policy_subject_program(t, s) |
			    policy_subject_ebpf(t, s, key, key) | policy_subject_jvm(t, s, NULL, key);
	}
	for (uint8_t i = 0; i < 16; i++)
		subjects |= policy_subject_role(t, i) | policy_object_single(t, i);
	/* Numbers that were found are rows of the table, whatever the image says. */
	must(subjects < 2 * t->subjects_max && objects < 2 * t->objects_max);
	must(policy_table_subjects(t) <= t->subjects_max);
	for (uint32_t s = 0; s < t->subjects_max + 2 && s < 70; s++)
		for (uint32_t o = 0; o < t->objects_max + 2 && o < 70; o++) {
			(void)policy_check(t, s, o, 1u << (o % 32));
			(void)policy_cell_full(t, s, o, 1u << (s % 32));
			(void)policy_edge_find(t, s, o, &edge);
		}
	for (uint32_t i = 0; i < 70; i++) {
		policy_label_name(t, i % 2 != 0, i, name, 1 + i % sizeof(name));
		must(memchr(name, '\0', 1 + i % sizeof(name)) != NULL);
	}
}

/* Valid content says the same after a flip, and an intersection with it is valid. */
static void as_bank(struct policy_head *head, struct slice bank)
{
	size_t bytes = policy_image_bytes(4, 4, 1024);
	const char *why;

	memset(head, 0, bytes);
	policy_image_format(head, 4, 4, 1024, (const uint8_t[16]){ 1 });
	struct policy_table t;
	must(policy_table_init(&t, head, bytes, &why) == 0);
	bool valid = policy_bank_valid(head, bank, &why);
	int err = policy_image_flip(head, bank, &why);
	must(valid == (err == 0));
	if (!valid)
		return;
	ask_all(&t);
	AUTO_BUF struct buf both = BUF_INIT(head->bank_bytes), again = BUF_INIT(head->bank_bytes);
	must(policy_intersect(head, bank, bank, &both, NULL) == 0);
	must(policy_bank_valid(head, buf_slice(&both), &why));
	must(policy_intersect(head, buf_slice(&both), bank, &again, NULL) == 0);
	must(policy_image_flip(head, buf_slice(&again), &why) == 0);

	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 20);
	AUTO_BUF struct buf next = BUF_INIT(head->bank_bytes);
	struct policy_subject subjects[2] = { { .name = "" }, { .name = "mail.user", .kind = POLICY_BY_DIRECTORY } };
	struct policy_object objects[2] = { { .name = "" }, { .name = "mailbox", .class = POLICY_MAILBOX, .kind = POLICY_SINGLE } };
	const struct policy p = { .subjects = subjects, .subject_count = 2, .objects = objects, .object_count = 2 };
	if (policy_compile(&arena, &p, 1, head, bank, &next, NULL) == 0) {
		must(policy_image_flip(head, buf_slice(&next), &why) == 0);
		must(policy_subject_named(&t, SLICE("mail.user")) != 0 && policy_subject_role(&t, POLICY_BY_DIRECTORY) != 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t bytes = policy_image_bytes(4, 4, 1024);
	struct policy_table t;
	const char *why;

	if (size == 0 || size > 65536)
		return 0;
	/* Aligned as a mapping is, and no byte longer, so that ASan sees reads past the end. */
	struct slice rest = slice_from(slice_of(data, size), 1);
	void *image = NULL, *sound = NULL;
	must(posix_memalign(&image, 64, rest.len == 0 ? 1 : rest.len) == 0 && posix_memalign(&sound, 64, bytes) == 0);
	memcpy(image, rest.ptr, rest.len);
	if (data[0] % 2 == 0) {
		if (policy_table_init(&t, image, rest.len, &why) == 0)
			ask_all(&t);
	} else {
		as_bank(sound, slice_of(image, rest.len));
	}
	free(image);
	free(sound);
	return 0;
}
