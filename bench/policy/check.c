/*
 * What the policy costs: a decision in C and in the kernel, a change until it is seen, compiling, questions; beside SELinux's libsepol, without and with a
 * cache in front, and a hash map as a cache in the kernel, in the same run.
 *
 *	check OBJECT-FILE DIRECTORY ROUNDS
 *
 * Times are of the thread's processor (changes until they are seen: of the clock), each the best of ROUNDS, since other work on the machine only adds.
 * Exit 1 when a target of the design is missed.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <pthread.h>
#include <sepol/policydb/policydb.h>
#include <sepol/policydb/services.h>
#include <sepol/policydb/sidtab.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <prickle/spine_policy.h>

#undef MIN	/* of <sys/param.h>, by sepol */
#undef MAX
#define RIG_RULES 16

#include "policy/analysis/cil.h"
#include "policy/table/rig_test.h"

#define SUBJECTS 128
#define FILES	 640
#define HOSTS	 232		/* with 128 subjects: 1,000 labels */
#define RULES	 20000
#define PAIRS	 4096
#define CHECKS	 64		/* a run, in the kernel */

struct pair {
	uint16_t subject, object;	/* numbers in the table */
	uint32_t permission;
	sepol_security_id_t ssid, tsid;
	sepol_security_class_t class;
};

static struct pair all[PAIRS], few[PAIRS];	/* anywhere in the table; 64 x 64 of it */
static unsigned rounds, missed;
static volatile uint64_t sink;

static double clock_ns(clockid_t id)
{
	struct timespec t;

	must(clock_gettime(id, &t) == 0);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define BEST(best, body)                                                    \
	do {                                                                \
		best = 1e18;                                                \
		for (unsigned round_ = 0; round_ < rounds; round_++) {      \
			double begin_ = clock_ns(CLOCK_THREAD_CPUTIME_ID);  \
			body;                                               \
			double took_ = clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_; \
			best = MIN(best, took_);                            \
		}                                                           \
	} while (0)

static void target(const char *what, double got, double most, const char *unit)
{
	bool met = got <= most;

	printf("  target: %-52s %8.3f %s, at most %g: %s\n", what, got, unit, most, met ? "met" : "MISSED");
	missed += !met;
}

static uint32_t chance(uint32_t n)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 33) % n);
}

/* A thousand labels and twenty thousand rules; `other` changes one. */
static void policy_text(struct buf *out, unsigned other)
{
	static const char *const file[] = { "read", "write", "create", "delete", "exec" }, *const host[] = { "connect", "listen", "send" };
	uint64_t seed = 1;
#define NEXT(n) ((uint32_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33) % (n))
	buf_adds(out, "module m\n");
	for (unsigned i = 0; i < SUBJECTS; i++)
		buf_printf(out, "role s%u = principal in group \"g%u\"\n", i, i);
	for (unsigned i = 0; i < FILES; i++)
		buf_printf(out, "label file f%u = tree \"/srv/d%u/t%u\"\n", i, i % 20, i);
	for (unsigned i = 0; i < HOSTS; i++)
		buf_printf(out, "label endpoint e%u = host \"h%u.example\" port %u\n", i, i, 1000 + i);
	for (unsigned i = 0; i < RULES; i++) {
		uint32_t s = NEXT(SUBJECTS);
		if (i == RULES / 2 && other != 0)
			buf_printf(out, "allow s%u exec f%u\n", other % SUBJECTS, other % FILES);
		else if (NEXT(4) == 0)
			buf_printf(out, "allow s%u %s e%u, e%u\n", s, host[NEXT(3)], NEXT(HOSTS), NEXT(HOSTS));
		else
			buf_printf(out, "allow s%u %s f%u, f%u\n", s, file[NEXT(5)], NEXT(FILES), NEXT(FILES));
	}
	for (unsigned i = 0; i + 1 < SUBJECTS; i += 3)
		buf_printf(out, "enter s%u -> s%u\n", i, i + 1);
}

static const struct policy *parsed(struct arena *arena, struct slice text)
{
	AUTO_BUF struct buf errors = BUF_INIT(1u << 20);
	const struct policy *p;

	if (policy_parse(arena, "bench.policy", text, NULL, NULL, &p, &errors) != 0) {
		fprintf(stderr, "%s\n", buf_cstr(&errors));
		exit(1);
	}
	return p;
}

/* ---- compiling and changing ---- */

static void compiling(struct slice text, struct slice text_after, struct rig_image *image, const struct policy **out)
{
	static struct arena keep = ARENA_INIT(POLICY_ARENA_BYTES);
	double parse, compile, change, flip, who, diff, closure;
	const struct policy *p = parsed(&keep, text), *after = parsed(&keep, text_after);
	struct errmsg why = { 0 };

	*image = rig_image_of(256, 1024, 1u << 24);
	BEST(parse, {
		AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
		(void)parsed(&arena, text);
	});
	struct buf bank = BUF_INIT(image->head->bank_bytes), next = BUF_INIT(image->head->bank_bytes), both = BUF_INIT(image->head->bank_bytes);
	BEST(compile, {
		AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
		buf_reset(&bank);
		must(policy_compile(&arena, p, 1, image->head, (struct slice){ 0 }, &bank, &why) == 0);
	});
	must(policy_image_flip(image->head, buf_slice(&bank), NULL) == 0);
	BEST(change, {
		AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
		buf_reset(&next);
		buf_reset(&both);
		must(policy_compile(&arena, after, 2, image->head, policy_bank_in_force(&image->table), &next, &why) == 0);
		must(policy_intersect(image->head, policy_bank_in_force(&image->table), buf_slice(&next), &both, &why) == 0);
		must(policy_image_flip(image->head, buf_slice(&both), NULL) == 0);
		must(policy_image_flip(image->head, buf_slice(&next), NULL) == 0);
	});
	BEST(flip, must(policy_image_flip(image->head, buf_slice(&bank), NULL) == 0));

	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	const struct analysis *a, *b;
	BEST(closure, {
		arena_reset(&arena);
		must(analysis_new(&arena, p, &a) == 0);
	});
	must(analysis_new(&arena, after, &b) == 0);
	BEST(who, {
		AUTO_ARENA struct arena answers = ARENA_INIT(POLICY_ARENA_BYTES);
		struct analysis_who *found;
		sink += analysis_who_can(a, &answers, true, POLICY_FILE_READ, policy_object_find(p, SLICE("f7")), &found);
	});
	BEST(diff, {
		AUTO_ARENA struct arena answers = ARENA_INIT(POLICY_ARENA_BYTES);
		struct analysis_change *changes;
		size_t count;
		must(analysis_diff(&answers, a, b, &changes, &count) == 0);
		must(count > 0);
	});
	printf("1,000 labels, %u rules, table of %u x %u:\n", RULES, policy_table_subjects(&image->table),
	       POLICY_ROW(atomic_load(&image->head->generation)));
	printf("  parse %.2f ms, compile %.2f ms, one flip with all of its content %.2f ms, rights and closure %.2f ms\n", parse / 1e6, compile / 1e6, flip / 1e6,
	       closure / 1e6);
	target("parse and compile", (parse + compile) / 1e6, 50, "ms");
	target("one rule changed: compile, intersect, two flips", change / 1e6, 5, "ms");
	target("who-can ever", who / 1e6, 10, "ms");
	target("diff", diff / 1e6, 10, "ms");
	buf_done(&bank);
	buf_done(&next);
	buf_done(&both);
	*out = p;
}

/* ---- C, and libsepol ---- */

static void sepol_load(const struct policy *p, const struct rig_image *image, const char *directory)
{
	static policydb_t db;
	static sidtab_t sids;
	AUTO_ARENA struct arena arena = ARENA_INIT(POLICY_ARENA_BYTES);
	AUTO_BUF struct buf text = BUF_INIT(1u << 28);
	const struct analysis *a;
	struct policy_file file;
	char command[600], name[300];

	must(analysis_new(&arena, p, &a) == 0);
	analysis_cil(&text, a);
	snprintf(name, sizeof(name), "%s/policy.cil", directory);
	FILE *f = fopen(name, "we");
	must(f != NULL && fwrite(text.ptr, 1, text.len, f) == text.len && fclose(f) == 0);
	snprintf(command, sizeof(command), "secilc -o %s/policy.bin -f /dev/null %s", directory, name);
	must(system(command) == 0);
	snprintf(name, sizeof(name), "%s/policy.bin", directory);
	policy_file_init(&file);
	file.type = PF_USE_STDIO;
	file.fp = fopen(name, "re");
	must(file.fp != NULL && policydb_init(&db) == 0 && policydb_read(&db, &file, 0) == 0);
	fclose(file.fp);
	must(sepol_set_policydb(&db) == 0 && sepol_sidtab_init(&sids) == 0 && policydb_load_isids(&db, &sids) == 0 && sepol_set_sidtab(&sids) == 0);

	static sepol_security_id_t sid[2][RIG_LABELS];
	for (int object = 0; object < 2; object++)
		for (uint16_t i = 1; i < (object != 0 ? p->object_count : p->subject_count); i++) {
			AUTO_BUF struct buf context = BUF_INIT(1024);
			buf_adds(&context, ANALYSIS_CIL_CONTEXT);
			analysis_cil_type(&context, p, object != 0, i);
			const char *whole = buf_cstr(&context);
			must(sepol_context_to_sid(whole, context.len + 1, &sid[object][i]) == 0);
		}
	for (int set = 0; set < 2; set++)
		for (size_t i = 0; i < PAIRS; i++) {
			uint16_t s, o;
			do {
				s = (uint16_t)(1 + chance(set == 0 ? (uint32_t)p->subject_count - 1 : 64));
				o = (uint16_t)(1 + chance(set == 0 ? (uint32_t)p->object_count - 1 : 64));
			} while (p->objects[o].kind == POLICY_SINGLE && set == 0);
			struct pair *q = set == 0 ? &all[i] : &few[i];
			*q = (struct pair){ .subject = (uint16_t)rig_number(image, false, p->subjects[s].name),
					    .object = (uint16_t)rig_number(image, true, p->objects[o].name), .permission = 1, .ssid = sid[0][s], .tsid = sid[1][o] };
			must(q->subject != 0 && q->object != 0);
			must(sepol_string_to_security_class(policy_class_name(p->objects[o].class), &q->class) == 0);
		}
}

/* An access vector cache as object managers have it: two ways, a multiplicative hash. */
static struct {
	sepol_security_id_t ssid, tsid;
	sepol_security_class_t class;
	uint32_t allowed;
} cache[16384];
static uint64_t misses;

static inline uint32_t cached(const struct pair *q)
{
	uint32_t hash = (q->ssid * 0x9e3779b1u ^ q->tsid * 0x85ebca77u ^ q->class * 0xc2b2ae3du), slot = (hash >> 18) & 16382;
	struct sepol_av_decision d;

	for (uint32_t way = 0; way < 2; way++)
		if (cache[slot + way].ssid == q->ssid && cache[slot + way].tsid == q->tsid && cache[slot + way].class == q->class)
			return cache[slot + way].allowed;
	misses++;
	must(sepol_compute_av(q->ssid, q->tsid, q->class, q->permission, &d) == 0);
	cache[slot + 1] = cache[slot];
	cache[slot].ssid = q->ssid;
	cache[slot].tsid = q->tsid;
	cache[slot].class = q->class;
	return cache[slot].allowed = d.allowed;
}

static void in_c(const struct rig_image *image)
{
	const struct policy_table *t = &image->table;

	for (int set = 0; set < 2; set++) {
		const struct pair *pairs = set == 0 ? few : all;
		double none, ours, sepol, avc;
		const unsigned times = 200;
		uint64_t sum = 0;
		BEST(none, for (unsigned k = 0; k < times; k++) for (size_t i = 0; i < PAIRS; i++) {
			sum += (pairs[i].subject ^ pairs[i].object) & pairs[i].permission;
		});
		BEST(ours, for (unsigned k = 0; k < times; k++) for (size_t i = 0; i < PAIRS; i++) {
			sum += policy_check(t, pairs[i].subject, pairs[i].object, pairs[i].permission) == POLICY_ALLOWED;
		});
		BEST(sepol, for (size_t i = 0; i < PAIRS; i++) {
			struct sepol_av_decision d;
			must(sepol_compute_av(pairs[i].ssid, pairs[i].tsid, pairs[i].class, pairs[i].permission, &d) == 0);
			sum += d.allowed & pairs[i].permission;
		});
		memset(cache, 0, sizeof(cache));
		misses = 0;
		BEST(avc, for (unsigned k = 0; k < times; k++) for (size_t i = 0; i < PAIRS; i++) { sum += cached(&pairs[i]) & pairs[i].permission; });
		sink += sum;
		double n = (double)PAIRS * times, check = (ours - none) / n, uncached = (sepol - none / times) / PAIRS, hit = (avc - none) / n;
		check = MAX(check, 0.01);
		printf("a decision in C, %s:\n", set == 0 ? "among 64 x 64" : "anywhere in the table");
		printf("  policy_check %.2f ns; libsepol %.0f ns (x %.0f); a cache in front of it, %.1f %% misses, %.2f ns (x %.1f)\n", check, uncached,
		       uncached / check, 100 * (double)misses / (n * rounds), hit, hit / check);
		if (set != 0)
			continue;
		target("policy_check, answers as they fall, most denied", check, 1, "ns");
		/* What a program asks nearly always: what it may. */
		static struct pair may[PAIRS];
		for (size_t i = 0; i < PAIRS;) {
			struct pair q = { .subject = (uint16_t)(1 + chance(64)), .object = (uint16_t)(1 + chance(64)) };
			struct policy_cell c = policy_cell_read(t, q.subject, q.object, NULL);
			q.permission = c.allow & ~c.audit & -(c.allow & ~c.audit);
			if (q.permission != 0)
				may[i++] = q;
		}
		BEST(none, for (unsigned k = 0; k < times; k++) for (size_t i = 0; i < PAIRS; i++) {
			sum += (may[i].subject ^ may[i].object) & may[i].permission;
		});
		BEST(ours, for (unsigned k = 0; k < times; k++) for (size_t i = 0; i < PAIRS; i++) {
			sum += policy_check(t, may[i].subject, may[i].object, may[i].permission) == POLICY_ALLOWED;
		});
		sink += sum;
		target("policy_check, allowed answers", MAX((ours - none) / n, 0.01), 1, "ns");
	}
}

/* ---- the kernel ---- */

static struct spine_policy_row *row;
static struct globals {
	uint32_t *asked;
	uint64_t *seen_ns, *changes;
} globals;

static double kernel_ns(const struct bpf_object *o, const char *name)
{
	char packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet), .repeat = 20000);
	int fd = bpf_program__fd(bpf_object__find_program_by_name(o, name));
	double best;

	BEST(best, must(bpf_prog_test_run_opts(fd, &opts) == 0));
	return best / opts.repeat / CHECKS;
}

static void *map_memory(const struct bpf_object *o, const char *name, size_t *bytes)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, o) {
		const char *ending = strrchr(bpf_map__name(map), '.'), *whole = bpf_map__name(map);
		if (strcmp(whole, name) != 0 && (ending == NULL || strcmp(ending, name) != 0))
			continue;
		*bytes = bpf_map__value_size(map);
		void *at = mmap(NULL, (*bytes + 4095) / 4096 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
		return at == MAP_FAILED ? NULL : at;
	}
	return NULL;
}

static struct bpf_object *in_kernel(const char *file)
{
	struct bpf_object *o = bpf_object__open(file);
	size_t bytes;

	if (o == NULL || bpf_object__load(o) != 0) {
		printf("programs cannot be loaded here: nothing is measured in the kernel\n");
		return NULL;
	}
	row = map_memory(o, ".data.policy", &bytes);
	if (row == NULL)
		row = map_memory(o, ".policy", &bytes);
	uint8_t *bss = map_memory(o, ".bss", &bytes);
	must(row != NULL && bss != NULL);
	/* Where the compiler put them. */
	const struct btf *btf = bpf_object__btf(o);
	const struct btf_type *section = btf__type_by_id(btf, (uint32_t)btf__find_by_name(btf, ".bss"));
	const struct btf_var_secinfo *v = btf_var_secinfos(section);
	for (int i = 0; i < btf_vlen(section); i++) {
		const char *name = btf__name_by_offset(btf, btf__type_by_id(btf, v[i].type)->name_off);
		void *at = bss + v[i].offset;
		if (strcmp(name, "asked") == 0)
			globals.asked = at;
		else if (strcmp(name, "seen_ns") == 0)
			globals.seen_ns = at;
		else if (strcmp(name, "changes") == 0)
			globals.changes = at;
	}
	must(globals.asked != NULL && globals.seen_ns != NULL && globals.changes != NULL);
	int hash = bpf_object__find_map_fd_by_name(o, "cache");
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t port = 2 + i * 2, key[3] = { 1, port, 1 }, mask = SPINE_POLICY_FORWARD;
		globals.asked[i] = port;
		row->ports[port % SPINE_POLICY_PORTS] = (uint64_t)SPINE_POLICY_FORWARD << 32 | port;
		must(bpf_map_update_elem(hash, key, &mask, BPF_ANY) == 0);
	}
	double plain = kernel_ns(o, "plain"), ours = MAX(kernel_ns(o, "row") - plain, 0.01), hashed = kernel_ns(o, "hashed") - plain;
	printf("a decision in the kernel:\n  the row's word %.2f ns; a hash map as a cache %.1f ns (x %.0f)\n", ours, hashed, hashed / ours);
	target("a check inlined into an extension", ours, 2, "ns");
	return o;
}

/* ---- until a change is seen ---- */

struct watcher {
	const struct policy_table *table;
	int program;
	_Atomic bool ready, over;
	_Atomic uint64_t seen;
	double at;
};

static void *watch_table(void *arg)
{
	struct watcher *w = arg;
	uint32_t generation = w->table->head->generation;

	atomic_store(&w->ready, true);
	while (!atomic_load_explicit(&w->over, memory_order_relaxed)) {
		uint32_t now = atomic_load_explicit(&w->table->head->generation, memory_order_acquire);
		if (now == generation)
			continue;
		w->at = clock_ns(CLOCK_MONOTONIC);
		generation = now;
		atomic_fetch_add(&w->seen, 1);
	}
	return NULL;
}

static void *watch_row(void *arg)
{
	struct watcher *w = arg;
	char packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet), .repeat = 200);

	atomic_store(&w->ready, true);	/* the program remembers what it saw last */
	while (!atomic_load(&w->over))
		if (bpf_prog_test_run_opts(w->program, &opts) != 0)
			break;
	return NULL;
}

static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void seen(const struct rig_image *image, const struct bpf_object *o)
{
	enum { TIMES = 300 };
	static double took[TIMES];

	for (int kernel = 0; kernel < (o == NULL ? 1 : 2); kernel++) {
		struct watcher w = { .table = &image->table };
		pthread_t thread;
		if (kernel != 0)
			w.program = bpf_program__fd(bpf_object__find_program_by_name(o, "watch"));
		must(pthread_create(&thread, NULL, kernel != 0 ? watch_row : watch_table, &w) == 0);
		while (!atomic_load(&w.ready))
			;
		for (int i = 0; i < TIMES; i++) {
			uint64_t before = kernel != 0 ? __atomic_load_n(globals.changes, __ATOMIC_SEQ_CST) : atomic_load(&w.seen);
			double begin = clock_ns(CLOCK_MONOTONIC);
			while (clock_ns(CLOCK_MONOTONIC) < begin + 100000)
				;	/* so that it is at its watch */
			begin = clock_ns(CLOCK_MONOTONIC);
			if (kernel != 0) {
				__atomic_store_n(&row->helpers[0], (uint32_t)i + 1000, __ATOMIC_SEQ_CST);
				while (__atomic_load_n(globals.changes, __ATOMIC_SEQ_CST) == before)
					;
				took[i] = (double)*globals.seen_ns - begin;
			} else {
				/* The flip itself: the content was written before. */
				atomic_fetch_add(&image->head->generation, 2);
				while (atomic_load(&w.seen) == before)
					;
				took[i] = w.at - begin;
			}
		}
		atomic_store(&w.over, true);
		pthread_join(thread, NULL);
		qsort(took, TIMES, sizeof(took[0]), order);
		/* Where other work has the processors, most of the time passes before the watcher runs again: the first tenth is without. */
		printf("a flip is seen by %s: first tenth %.2f us, median %.2f us, 90 %% within %.2f us\n",
		       kernel != 0 ? "a program in the kernel" : "another thread", took[TIMES / 10] / 1e3, took[TIMES / 2] / 1e3, took[TIMES * 9 / 10] / 1e3);
		target("first tenth", took[TIMES / 10] / 1e3, 1, "us");
	}
}

int main(int argc, char **argv)
{
	AUTO_BUF struct buf text = BUF_INIT(POLICY_TEXT_BYTES_MAX), after = BUF_INIT(POLICY_TEXT_BYTES_MAX);
	const struct policy *p;
	struct rig_image image;

	if (argc != 4)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	rounds = (unsigned)strtoul(argv[3], NULL, 10);
	libbpf_set_print(NULL);
	policy_text(&text, 0);
	policy_text(&after, 4321);
	compiling(buf_slice(&text), buf_slice(&after), &image, &p);
	sepol_load(p, &image, argv[2]);
	in_c(&image);
	struct bpf_object *o = in_kernel(argv[1]);
	seen(&image, o);
	printf("%u targets missed\n", missed);
	return missed == 0 ? 0 : 1;
}
