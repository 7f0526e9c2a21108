#include "policy/table/image.h"

#include <errno.h>

#include "policy/language/policy.h"
#include "policy/table/layout.h"

#define PAGE 4096u

static bool power_of_two(uint32_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static uint64_t pages(uint64_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

static uint32_t cells_max_of(uint32_t subjects_max, uint32_t objects_max)
{
	return (uint32_t)MIN((uint64_t)subjects_max * objects_max, (uint64_t)POLICY_CELLS_MAX);
}

/* 0 when the counts are above the limits. */
static uint64_t bank_bytes_of(uint32_t subjects_max, uint32_t objects_max, uint32_t rest_bytes_max)
{
	if (!power_of_two(subjects_max) || !power_of_two(objects_max) || subjects_max > POLICY_SUBJECT_NUMBERS_MAX ||
	    objects_max > POLICY_OBJECT_NUMBERS_MAX || rest_bytes_max == 0 || rest_bytes_max > POLICY_REST_BYTES_MAX)
		return 0;
	return pages(layout_of(cells_max_of(subjects_max, objects_max), subjects_max, objects_max, 0, 0).predicates + rest_bytes_max);
}

size_t policy_image_bytes(uint32_t subjects_max, uint32_t objects_max, uint32_t rest_bytes_max)
{
	uint64_t bank = bank_bytes_of(subjects_max, objects_max, rest_bytes_max);

	return bank == 0 ? 0 : (size_t)(PAGE + 2 * bank);
}

void policy_image_format(void *image, uint32_t subjects_max, uint32_t objects_max, uint32_t rest_bytes_max, const uint8_t boot[16])
{
	struct policy_head *head = image;
	uint32_t bank_bytes = (uint32_t)bank_bytes_of(subjects_max, objects_max, rest_bytes_max);
	struct layout l = layout_of(1, 1, 1, 0, 0);

	head->magic = POLICY_IMAGE_MAGIC;
	head->abi = POLICY_IMAGE_ABI;
	head->file_bytes = policy_image_bytes(subjects_max, objects_max, rest_bytes_max);
	head->bank_bytes = bank_bytes;
	head->subjects_max = subjects_max;
	head->objects_max = objects_max;
	head->rest_bytes_max = rest_bytes_max;
	memcpy(head->boot, boot, sizeof(head->boot));
	atomic_store_explicit(&head->generation, POLICY_GENERATION(0, 1, 1, 0), memory_order_relaxed);
	for (uint32_t i = 0; i < 2; i++) {
		head->bank_offset[i] = PAGE + i * bank_bytes;
		struct policy_bank *bank = (void *)((uint8_t *)image + head->bank_offset[i]);
		*bank = (struct policy_bank){
			.bytes = (uint32_t)l.names + 1, .subjects = 1, .objects = 1, .cells = POLICY_CELLS_OFFSET,
			.subject_rows = (uint32_t)l.subject_rows, .object_rows = (uint32_t)l.object_rows,
			.predicates = (uint32_t)l.predicates, .enters = (uint32_t)l.enters, .names = (uint32_t)l.names,
			.names_bytes = 1,
		};
	}
}

static int bad(const char **why, const char *text)
{
	if (why != NULL)
		*why = text;
	return -EBADMSG;
}

int policy_table_init(struct policy_table *out, const void *image, size_t bytes, const char **why)
{
	const struct policy_head *head = image;

	if (bytes < PAGE || ((uintptr_t)image & 63u) != 0)
		return bad(why, "it is too short for a table");
	if (head->magic != POLICY_IMAGE_MAGIC)
		return bad(why, "it is no table of a policy");
	if (head->abi != POLICY_IMAGE_ABI)
		return bad(why, "it was made by another version of this program");
	/* One copy of each, so that what was checked is what is used. */
	uint32_t subjects_max = head->subjects_max, objects_max = head->objects_max, rest = head->rest_bytes_max;
	uint32_t bank_bytes = (uint32_t)bank_bytes_of(subjects_max, objects_max, rest);
	if (bank_bytes == 0)
		return bad(why, "its table has a size that cannot be");
	if (head->file_bytes != bytes || bytes != PAGE + 2 * (uint64_t)bank_bytes || head->bank_bytes != bank_bytes ||
	    head->bank_offset[0] != PAGE || head->bank_offset[1] != PAGE + bank_bytes)
		return bad(why, "its size does not fit what it says");
	*out = (struct policy_table){
		.head = head, .subjects_max = subjects_max, .objects_max = objects_max, .bank_bytes = bank_bytes,
		.cells_max = cells_max_of(subjects_max, objects_max),
	};
	for (uint32_t i = 0; i < 2; i++) {
		const uint8_t *bank = (const uint8_t *)image + PAGE + i * (size_t)bank_bytes;
		out->bank[i] = (const void *)bank;
		out->cells[i] = (const void *)(bank + POLICY_CELLS_OFFSET);
	}
	return 0;
}

struct slice policy_bank_in_force(const struct policy_table *t)
{
	const struct policy_bank *bank = t->bank[POLICY_BANK(atomic_load_explicit(&t->head->generation, memory_order_acquire))];
	uint32_t bytes = bank->bytes;

	return bytes <= t->bank_bytes ? slice_of(bank, bytes) : (struct slice){ 0 };
}

int policy_image_flip(void *image, struct slice bank, const char **why)
{
	struct policy_head *head = image;
	uint64_t generation = atomic_load_explicit(&head->generation, memory_order_relaxed), next;
	uint32_t other = POLICY_BANK(generation) ^ 1u;
	uint8_t *to = (uint8_t *)image + head->bank_offset[other];
	size_t whole = bank.len / sizeof(policy_half);

	if (!policy_bank_valid(head, bank, why))
		return -EBADMSG;
	/*
	 * Whoever reads one of the bytes below sees this generation behind its fence, so a reader that began in the generation before, when this
	 * bank was selected, begins anew.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	for (size_t i = 0; i < whole; i++) {
		policy_race_store();
		__atomic_store_n(&((policy_half *)(void *)to)[i], ((const policy_half *)(const void *)bank.ptr)[i], __ATOMIC_RELAXED);
	}
	for (size_t i = whole * sizeof(policy_half); i < bank.len; i++)
		__atomic_store_n(&to[i], bank.ptr[i], __ATOMIC_RELAXED);
	policy_race_store();
	next = POLICY_GENERATION(POLICY_COUNT(generation) + 1, bank_of(bank)->subjects, 1u << bank_of(bank)->shift, other);
	atomic_store_explicit(&head->generation, next, memory_order_release);
	return 0;
}
