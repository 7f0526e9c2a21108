/*
 * Fuzz inputs from the table of limits: limit_seeds TARGET DIR.
 *
 * Standard output gets a libFuzzer dictionary with value - 1, value and value + 1 of every
 * `number` row. DIR gets seed files at limit - 1, limit and limit + 1 for the length, depth and
 * count rows whose shape in the target's input is known (the table below). Random bytes alone do
 * not find an off-by-one at such a bound; these do at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/limit_table.h"

#define SEED_BYTES_MAX (8u << 20)

/*
 * An input of n units: head, n times `unit`, tail. `fixed` units' worth of the limit are
 * in head and tail (the limit of a line counts its first word, too).
 */
static const struct shape {
	const char *limit, *target;
	const char *head, *unit, *middle, *closing, *tail;	/* closing: repeated as often as unit */
	unsigned fixed;
} shapes[] = {
	{ "CONFIG_LIST_MAX", "conf_parse", "queue:\n  retry:\n", "  - 9s\n", "", "", "", 0 },
	{ "CONFIG_ERRORS_MAX", "conf_parse", "", "? x\n", "", "", "", 0 },
	{ "CONFIG_DEPTH_MAX", "conf_parse", "mail: ", "{a: ", "b", "}", "\n", 1 },
	{ "CONFIG_STRING_BYTES_MAX", "conf_parse", "state: /", "a", "", "", "\n", 1 },
#include "limit_shapes.inc"
};

static const struct limit *find_limit(const char *name)
{
	for (size_t i = 0; i < limit_table_count; i++) {
		if (strcmp(limit_table[i].name, name) == 0)
			return &limit_table[i];
	}
	return NULL;
}

static int write_seed(const char *dir, const struct shape *s, uint64_t n, const char *suffix)
{
	AUTO_BUF struct buf seed = BUF_INIT(SEED_BYTES_MAX);
	char path[4096];

	buf_adds(&seed, s->head);
	for (uint64_t i = s->fixed; i < n && seed.err == 0; i++)
		buf_adds(&seed, s->unit);
	buf_adds(&seed, s->middle);
	for (uint64_t i = s->fixed; i < n && seed.err == 0 && s->closing[0] != '\0'; i++)
		buf_adds(&seed, s->closing);
	buf_adds(&seed, s->tail);
	if (seed.err != 0)
		return 0;		/* too large to be a useful seed */
	snprintf(path, sizeof(path), "%s/%s-%zu%s", dir, s->limit, (size_t)(s - shapes), suffix);
	AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, seed.ptr, seed.len) != (ssize_t)seed.len) {
		fprintf(stderr, "limit_seeds: cannot write %s: %s\n", path, strerrordesc_np(errno));
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fputs("usage: limit_seeds TARGET DIRECTORY >DICTIONARY\n", stderr);
		return 2;
	}
	for (size_t i = 0; i < limit_table_count; i++) {
		const struct limit *l = &limit_table[i];
		if (strcmp(l->generator, "number") == 0)
			printf("\"%llu\"\n\"%llu\"\n\"%llu\"\n", (unsigned long long)l->value - 1,
			       (unsigned long long)l->value, (unsigned long long)l->value + 1);
	}
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		const struct limit *l = find_limit(shapes[i].limit);
		if (strcmp(shapes[i].target, argv[1]) != 0)
			continue;
		if (l == NULL) {
			fprintf(stderr, "limit_seeds: there is no limit %s\n", shapes[i].limit);
			return 1;
		}
		if (write_seed(argv[2], &shapes[i], l->value - 1, "-below") != 0 ||
		    write_seed(argv[2], &shapes[i], l->value, "-at") != 0 ||
		    write_seed(argv[2], &shapes[i], l->value + 1, "-above") != 0)
			return 1;
	}
	return 0;
}
