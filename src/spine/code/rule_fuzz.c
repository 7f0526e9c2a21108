/*
 * Lines are the match rules of a device: parsed, compared with each other, and emitted together, but not loaded.
 */
#include <errno.h>

#include "base/arena.h"
#include "base/must.h"
#include "spine/code/layout.h"
#include "spine/code/rule.h"

#define RULES_MAX 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every set exists but those that begin with x. */
static int set_fd(void *arg, const char *name)
{
	return name[0] == 'x' ? -ENOENT : 3;
}

static size_t parse_lines(struct arena *arena, struct slice text, struct rule_use *uses)
{
	size_t count = 0;
	bool more = true;

	while (more && count < RULES_MAX) {
		struct errmsg why = { 0 };
		struct slice line;
		int err;

		more = slice_cut(text, '\n', &line, &text);
		err = rule_parse(arena, line, &uses[count].rule, &why);
		must((err == 0) == (why.code == 0));
		must(err <= 0);
		if (err != 0) {
			must(why.text[0] != '\0');
			continue;
		}
		uses[count].slot = (uint16_t)(count * 5);
		count++;
	}
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(64u << 20);
	struct rule_sets sets = { .fd = set_fd };
	struct rule_use uses[RULES_MAX];
	struct errmsg why = { 0 };
	size_t count = parse_lines(&arena, slice_of(data, size), uses), chain_max = 0;
	struct program *p;
	uint32_t insns;
	int err;

	for (size_t i = 0; i < count; i++) {
		must(rule_covers(uses[i].rule, uses[i].rule));
		for (size_t j = 0; j < i; j++)
			(void)rule_covers(uses[i].rule, uses[j].rule);
	}
	if (program_new(60000, &p) != 0)
		return 0;
	err = rule_emit(p, uses, count, &sets, NULL, &chain_max, &why);
	if (err == 0)
		must(chain_max <= count);
	p_mov_imm(p, 0, 2);
	p_exit(p);
	if (err == 0 && program_seal(p, &why) == 0)
		program_insns(p, &insns);
	program_free(p);
	return 0;
}
