/*
 * The shipped policy in memory, for tests of services: what they may by default, without a store, a ring or a supervisor.
 */
#pragma once
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "policy/authority.h"
#include "policy/language/policy.h"
#include "policy/table/compile.h"

/* Put a policy's text in force in an authority that shipped_authority made, or make one. Never freed. */
static inline void authority_put(struct authority *a, struct slice text, uint64_t epoch)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf errors = BUF_INIT(1u << 16), bank = BUF_INIT(64u << 20);
	const struct policy *p = NULL;
	struct errmsg why = { 0 };
	const char *what = "";
	void *image = (void *)(uintptr_t)a->table.head;

	must(policy_parse(&arena, "test", text, NULL, NULL, &p, &errors) == 0);
	if (image == NULL) {
		size_t bytes = policy_image_bytes(64, 256, 65536);

		image = aligned_alloc(4096, bytes);
		must(image != NULL);
		memset(image, 0, bytes);
		policy_image_format(image, 64, 256, 65536, (const uint8_t[16]){ 1 });
		must(policy_table_init(&a->table, image, bytes, &what) == 0);
	}
	must(policy_compile(&arena, p, epoch, a->table.head, policy_bank_in_force(&a->table), &bank, &why) == 0);
	must(policy_image_flip(image, buf_slice(&bank), &what) == 0);
}

/* One a process. */
static inline struct authority *shipped_authority(void)
{
	static struct authority a;

	if (a.table.head == NULL)
		authority_put(&a, policy_default_text(), 0);
	return &a;
}
