/*
 * Classes read a second, on one core: parse.c FILE ROUNDS, where FILE is what tests/dvm/Classes.java wrote. Prints "NAME CLASSES/S MB/S" of the best round of each.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "base/must.h"
#include "dvm/classfile/attribute.h"

#define CLASSES_MAX 400000u

static struct slice classes[CLASSES_MAX];
static size_t count, bytes;

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void load(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	must(fd >= 0 && fstat(fd, &st) == 0);
	const uint8_t *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	must(p != MAP_FAILED);
	for (const uint8_t *end = p + st.st_size; p < end; count++) {
		must(count < CLASSES_MAX);
		p += 4 + class_be32(p);
		classes[count] = slice_of(p + 4, class_be32(p));
		p += 4 + class_be32(p);
		bytes += classes[count].len;
	}
}

/* The skeleton, and where each instruction of each method begins. */
static bool code_of(struct arena *arena, const struct class_file *c)
{
	struct code_starts starts;
	struct code code;

	for (uint32_t i = 0; i < c->methods.count; i++) {
		const struct class_attribute *a = method_code(c, &c->methods.at[i]);

		if (a != NULL && (!code_parse(arena, c, a, &code, NULL) || !code_walk(arena, c, &code, &starts, NULL)))
			return false;
	}
	return true;
}

enum depth { PARSE, CODE, ALL, DEPTHS };

static double round_s(struct arena *arena, enum depth depth)
{
	double start = now_s();

	for (size_t i = 0; i < count; i++) {
		struct class_totals totals = { 0 };
		struct class_file c;

		arena_reset(arena);
		must(class_parse(arena, classes[i], &c, NULL));
		if (depth == CODE)
			must(code_of(arena, &c));
		if (depth == ALL)
			must(class_walk(arena, &c, &totals, NULL));
	}
	return now_s() - start;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "parse", "parse+code", "everything" };
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 30);
	double best[DEPTHS] = { 1e9, 1e9, 1e9 };

	must(argc == 3);
	load(argv[1]);
	for (int round = atoi(argv[2]); round > 0; round--)
		for (enum depth d = PARSE; d < DEPTHS; d++) {
			double s = round_s(&arena, d);
			best[d] = s < best[d] ? s : best[d];
		}
	for (enum depth d = PARSE; d < DEPTHS; d++)
		printf("%s %.0f %.0f\n", names[d], (double)count / best[d], (double)bytes / best[d] / 1e6);
	return 0;
}
