/*
 * One writer applies policies as fast as it can; threads, a second process and a program in the kernel decide meanwhile. Each decision is judged
 * against all states that were in force between its begin and its end (race.h): so it comes from one applied epoch or from the intersection of two
 * neighbours, and no allow is seen after a revocation was acknowledged.
 *
 * RACE_DECISIONS says how many; without it 10^7 (in a build with a sanitizer a hundredth).
 *
 * How often threads come between each other is the machine's affair. So a second test does it by hand: in one thread, the writer goes on for a drawn
 * number of its stores at a drawn number of the reader's loads.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <inttypes.h>
#include <prickle/spine_policy.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/test.h"
#include "policy/race/race.h"
#include "policy/table/random_test.h"

#define POLICIES   31		/* epoch e has the content of policy e % POLICIES */
#define LABELS	   8
#define SUBJECTS   64
#define OBJECTS	   64
#define BANK_BYTES (1u << 17)
#define READERS	   3		/* the last is a process */

struct state_content {
	struct slice bank;		/* to be flipped in; its epoch is written anew each time */
	struct policy_table table;	/* the same, alone in an image of its own: what decisions must be */
};

struct reader {
	_Atomic uint64_t judged, between, wrong, passed_over;
	uint64_t decisions;		/* to be made */
	char what[120];			/* the first wrong one */
};

/* Shared by the processes. */
struct shared {
	struct reader readers[READERS];
	_Atomic uint64_t busy;		/* readers that are not done */
	_Atomic bool over;
};

static struct state_content in_epoch[POLICIES], between[POLICIES];	/* between[e % POLICIES]: of e - 1 and e */
static struct rig_image image;
static struct race_words *words;
static struct shared *shared;
static uint32_t subjects, objects;	/* numbers in use */
static struct slice object_names[OBJECTS];

/* The writer, made to stop and to go on by hand. */
static struct by_hand {
	bool on;
	bool begun;			/* `state` is not acknowledged yet */
	uint64_t state;
	uint32_t left;			/* changes that it may still begin during this decision */
	uint64_t stores;		/* that it makes before it stops */
	struct chance c;
	jmp_buf stopped;
} by_hand;

static void write_some(void);

void policy_race_store(void)
{
	if (by_hand.on && by_hand.stores-- == 0)
		longjmp(by_hand.stopped, 1);
}

void policy_race_step(void)
{
	if (by_hand.on && chance_one_in(&by_hand.c, 8))
		write_some();
}

/* Sometimes long enough for several changes. */
void policy_race_point(void)
{
	static _Thread_local struct chance c = { 99 };

	if (by_hand.on) {
		if (chance_one_in(&by_hand.c, 2))
			write_some();
		return;
	}
	if (chance_one_in(&c, 256))
		for (volatile uint32_t i = chance_below(&c, 40000); i > 0; i--)
			;
}

static const struct state_content *content(uint64_t state)
{
	return (state & 1) != 0 ? &between[(state + 1) / 2 % POLICIES] : &in_epoch[state / 2 % POLICIES];
}

static uint64_t load(const unsigned long long *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void wrong(struct reader *r, const char *what, uint64_t acked, uint64_t begun, uint64_t seen)
{
	if (atomic_fetch_add(&r->wrong, 1) == 0)
		snprintf(r->what, sizeof(r->what), "%s between states %" PRIu64 " and %" PRIu64 ": saw %" PRIu64, what, acked, begun, seen);
}

/* A question, what the table answered, and how a state would. */
struct question {
	uint32_t kind, subject, object, permission;
};
struct answer {
	uint64_t value[3];
};

static struct answer ask(const struct question *q, const struct policy_table *t)
{
	struct answer a = { 0 };
	struct policy_full f;
	struct policy_cell c;
	struct policy_edge e;

	switch (q->kind) {
	case 0:
		a.value[0] = policy_check(t, q->subject, q->object, q->permission);
		break;
	case 1:
		c = policy_cell_read(t, q->subject, q->object, NULL);
		memcpy(a.value, &c, sizeof(c));
		break;
	case 2:
		f = policy_cell_full(t, q->subject, q->object, q->permission);
		memcpy(a.value, &f.cell, sizeof(f.cell));
		a.value[2] = f.predicates | (uint64_t)f.trial_until << 32;
		break;
	case 3:
		if (policy_edge_find(t, q->subject, q->object % subjects, &e))
			a.value[0] = 1 + e.ticket + 2u * e.audit + (uint64_t)e.seconds * 4;
		break;
	default:
		a.value[0] = policy_object_named(t, object_names[q->object]);
		break;
	}
	return a;
}

static void judge(struct reader *r, const struct question *q, uint64_t *newest)
{
	uint64_t acked = load(&words->acked);
	struct answer got = ask(q, &image.table);
	uint64_t epoch = policy_cell_full(&image.table, 0, 0, 0).epoch;
	uint64_t begun = load(&words->begun);

	if (begun - acked >= RACE_WINDOW) {
		atomic_fetch_add_explicit(&r->passed_over, 1, memory_order_relaxed);
		return;
	}
	uint64_t state = acked;
	while (state <= begun) {
		struct answer want = ask(q, &content(state)->table);
		if (memcmp(&want, &got, sizeof(got)) == 0)
			break;
		state++;
	}
	atomic_fetch_add_explicit(&r->judged, 1, memory_order_relaxed);
	if (acked != begun)
		atomic_fetch_add_explicit(&r->between, 1, memory_order_relaxed);
	if (state > begun)
		wrong(r, "an answer of no state", acked, begun, got.value[0]);
	if (epoch < (acked + 1) / 2 || epoch > (begun + 1) / 2 || epoch < *newest)
		wrong(r, "an epoch that was not in force", acked, begun, epoch);
	*newest = epoch;
}

static void *reader_run(void *arg)
{
	struct reader *r = arg;
	struct chance c = { (uint64_t)(r - shared->readers) + 77 };
	uint64_t newest = 0;

	while (atomic_load_explicit(&r->judged, memory_order_relaxed) < r->decisions) {
		struct question q = { chance_one_in(&c, 4) ? 2 + chance_below(&c, 3) : chance_below(&c, 2), chance_below(&c, subjects),
				      chance_below(&c, objects), 1u << chance_below(&c, 13) };
		judge(r, &q, &newest);
	}
	atomic_fetch_sub(&shared->busy, 1);
	return NULL;
}

/* The reader in the kernel, as long as the others run. */
static void *kernel_run(void *arg)
{
	char packet[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet), .repeat = 20000);

	while (!atomic_load(&shared->over))
		if (bpf_prog_test_run_opts(*(int *)arg, &opts) != 0)
			break;
	return NULL;
}

static void prepare(void)
{
	struct rig rigs[POLICIES];
	AUTO_BUF struct buf first = BUF_INIT(BANK_BYTES);
	struct errmsg why;
	struct chance c = { 4711 };

	for (uint32_t i = 0; i < POLICIES; i++) {
		/* The same labels in all, so that numbers do not run out. */
		char name[16];
		rig_init(&rigs[i]);
		for (uint32_t k = 0; k < LABELS; k++) {
			snprintf(name, sizeof(name), "s%u", k);
			rig_subject(&rigs[i], POLICY_IN_GROUP, name, name)->trial_until = chance_one_in(&c, 3) ? 1 + chance_below(&c, 99) : 0;
			snprintf(name, sizeof(name), "object-%u", k);
			rig_object(&rigs[i], k % 2 == 0 ? POLICY_MAILBOX : POLICY_ACCOUNT, POLICY_SINGLE, name, NULL);
		}
		for (uint32_t k = chance_below(&c, 40); k > 0; k--) {
			rigs[i].p.allows[rigs[i].p.allow_count] = chance_rule(&c, &rigs[i], true);
			rigs[i].p.allows[rigs[i].p.allow_count++].audit = chance_one_in(&c, 4);
		}
		for (uint32_t k = chance_below(&c, 20); k > 0; k--)
			rigs[i].p.enters[rigs[i].p.enter_count++] = (struct policy_enter){
				.from = (uint16_t)(1 + chance_below(&c, LABELS)), .to = (uint16_t)(1 + chance_below(&c, LABELS)), .ticket = chance_one_in(&c, 2) };
		/* Every other table has more rows, and longer ones. */
		for (uint32_t k = LABELS; i % 2 == 1 && k < 4 * LABELS; k++) {
			snprintf(name, sizeof(name), "s%u", k);
			rig_subject(&rigs[i], POLICY_IN_GROUP, name, name);
			snprintf(name, sizeof(name), "object-%u", k);
			rig_object(&rigs[i], POLICY_MAILBOX, POLICY_SINGLE, name, NULL);
		}
		struct buf out = BUF_INIT(BANK_BYTES);
		must(policy_compile(&rigs[i].arena, &rigs[i].p, 1, image.head, buf_slice(&first), &out, &why) == 0);
		if (i == 0)
			buf_add(&first, buf_slice(&out));
		in_epoch[i].bank = buf_slice(&out);
	}
	for (uint32_t i = 0; i < POLICIES; i++) {
		struct buf out = BUF_INIT(BANK_BYTES);
		/* (An apply never makes a table smaller; what both allow is the same either way round.) */
		struct slice older = in_epoch[(i + POLICIES - 1) % POLICIES].bank, newer = in_epoch[i].bank;
		must(policy_intersect(image.head, i % 2 == 1 ? older : newer, i % 2 == 1 ? newer : older, &out, &why) == 0);
		between[i].bank = buf_slice(&out);
		for (int turn = 0; turn < 2; turn++) {
			struct rig_image alone = rig_image_of(SUBJECTS, OBJECTS, 16384);
			struct state_content *s = turn == 0 ? &in_epoch[i] : &between[i];
			must(policy_image_flip(alone.head, s->bank, NULL) == 0);
			s->table = alone.table;
		}
		rig_done(&rigs[i]);
	}
	subjects = ((const struct policy_bank *)(const void *)in_epoch[0].bank.ptr)->subjects;
	objects = ((const struct policy_bank *)(const void *)in_epoch[0].bank.ptr)->objects;
	for (uint32_t i = 1; i < objects; i++) {
		char name[64];
		policy_label_name(&in_epoch[0].table, true, i, name, sizeof(name));
		object_names[i] = slice_str(strdup(name));
	}
}

/* Everything in force in every copy, from this state to the next. */
static void move_on(uint64_t state, struct spine_policy_row *row)
{
	struct policy_bank *bank = (void *)(uintptr_t)content(state)->bank.ptr;
	const char *why = "";

	bank->epoch = (state + 1) / 2;
	bank->previous = (state & 1) != 0 ? (state - 1) / 2 : 0;
	__atomic_store_n(&words->begun, state, __ATOMIC_SEQ_CST);
	must(policy_image_flip(image.head, content(state)->bank, &why) == 0);
	if (row != NULL)
		__atomic_store_n(&row->ports[RACE_SLOT], race_word(state), __ATOMIC_SEQ_CST);
	__atomic_store_n(&words->acked, state, __ATOMIC_SEQ_CST);
}

/*
 * The writer, for some of its stores: few, or enough for a change or two. It may have been stopped within a change: that begins anew, which stores
 * once more what is there already, and so nobody can tell.
 */
static void write_some(void)
{
	struct by_hand *h = &by_hand;
	uint32_t change = (uint32_t)in_epoch[1].bank.len / sizeof(policy_half);	/* the largest of them */

	h->stores = chance_below(&h->c, chance_one_in(&h->c, 2) ? 3 * change : 64);
	if (setjmp(h->stopped) != 0)
		return;
	while (h->begun || h->left > 0) {
		if (!h->begun) {
			h->left--;
			h->state++;
			h->begun = true;
		}
		move_on(h->state, NULL);
		h->begun = false;
	}
}

static void *mapped(const struct bpf_object *o, const char *ending)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, o) {
		const char *name = bpf_map__name(map);
		size_t n = strlen(name), m = strlen(ending), size = bpf_map__value_size(map);
		if (n < m || strcmp(name + n - m, ending) != 0)
			continue;
		size = (size + 4095) / 4096 * 4096;
		void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
		return at == MAP_FAILED ? NULL : at;
	}
	return NULL;
}

/* 0 and the program's descriptor, row and words; else programs cannot be loaded here. */
static int kernel_reader(int *program, struct spine_policy_row **row)
{
	libbpf_set_print(NULL);
	struct bpf_object *o = bpf_object__open(TEST_OBJECTS "/race.o");
	if (o == NULL || bpf_object__load(o) != 0)
		return -1;
	*program = bpf_program__fd(bpf_object__find_program_by_name(o, "race"));
	*row = mapped(o, ".data.policy");
	words = mapped(o, ".bss");
	return *row != NULL && words != NULL ? 0 : -1;
}

/* The table is a file: readers have it read-only, each by a mapping of its own. */
static int table_make(size_t bytes)
{
	int fd = memfd_create("table", MFD_CLOEXEC);

	ck_assert(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	image.head = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(image.head, MAP_FAILED);
	policy_image_format(image.head, SUBJECTS, OBJECTS, 16384, (const uint8_t[16]){ 1 });
	void *readable = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_int_eq(policy_table_init(&image.table, readable, bytes, NULL), 0);
	return fd;
}

START_TEST(each_decision_is_of_an_applied_epoch_or_of_two_neighbours)
{
	struct spine_policy_row *row = NULL;
	pthread_t threads[READERS], kernel;
	int program = -1;
	uint64_t decisions = TEST_SANITIZED ? 100000 : 10000000, flips = 0, total = 0, moved = 0;
	const char *text = getenv("RACE_DECISIONS");

	if (text != NULL)
		ck_assert(slice_u64(slice_str(text), UINT64_MAX, &decisions));
	bool in_kernel = !TEST_SANITIZED && kernel_reader(&program, &row) == 0;
	if (!in_kernel) {
		words = mmap(NULL, sizeof(*words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		row = NULL;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(words != MAP_FAILED && shared != MAP_FAILED);

	size_t bytes = policy_image_bytes(SUBJECTS, OBJECTS, 16384);
	AUTO_FD int fd = table_make(bytes);
	prepare();

	uint64_t state = 2;
	move_on(state++, row);
	atomic_store(&shared->busy, READERS);
	for (uint32_t i = 0; i < READERS; i++)
		shared->readers[i].decisions = decisions / READERS + 1;
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		void *own = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
		if (own == MAP_FAILED || policy_table_init(&image.table, own, bytes, NULL) != 0)
			_exit(1);
		reader_run(&shared->readers[READERS - 1]);
		_exit(0);
	}
	for (uint32_t i = 0; i + 1 < READERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, reader_run, &shared->readers[i]), 0);
	if (in_kernel)
		ck_assert_int_eq(pthread_create(&kernel, NULL, kernel_run, &program), 0);
	while (atomic_load(&shared->busy) != 0) {
		move_on(state++, row);
		flips++;
	}
	atomic_store(&shared->over, true);
	for (uint32_t i = 0; i + 1 < READERS; i++)
		pthread_join(threads[i], NULL);
	if (in_kernel)
		pthread_join(kernel, NULL);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	for (uint32_t i = 0; i < READERS; i++) {
		struct reader *r = &shared->readers[i];
		total += r->judged;
		moved += r->between;
		ck_assert_msg(r->wrong == 0, "reader %u: %" PRIu64 " of %" PRIu64 ": %s", i, r->wrong, r->judged, r->what);
	}
	printf("# %" PRIu64 " decisions, %" PRIu64 " of them while the writer was at it, %" PRIu64 " changes; in the kernel %llu, %llu\n", total, moved, flips,
	       in_kernel ? words->judged : 0, in_kernel ? words->between : 0);
	if (in_kernel)
		ck_assert_msg(words->wrong == 0, "in the kernel: %llu of %llu", words->wrong, words->judged);
	ck_assert_uint_ge(total, decisions);
	ck_assert_uint_gt(moved, 0);
}
END_TEST

START_TEST(stores_between_the_loads_of_a_decision_do_not_tear_it)
{
	static struct race_words own;
	static struct reader r;
	struct chance c = { 5 };
	uint64_t newest = 0, decisions = TEST_SANITIZED ? 4000 : 60000;
	AUTO_FD int fd = table_make(policy_image_bytes(SUBJECTS, OBJECTS, 16384));

	words = &own;
	prepare();
	by_hand.state = 2;
	by_hand.c.state = 6;
	move_on(by_hand.state, NULL);
	by_hand.on = true;
	for (uint64_t i = 0; i < decisions; i++) {
		struct question q = { chance_below(&c, 5), chance_below(&c, subjects), chance_below(&c, objects), 1u << chance_below(&c, 13) };
		by_hand.left = chance_below(&c, RACE_WINDOW - 1);
		judge(&r, &q, &newest);
	}
	by_hand.on = false;
	ck_assert_msg(r.wrong == 0, "%" PRIu64 " of %" PRIu64 ": %s", r.wrong, r.judged, r.what);
	ck_assert_uint_eq(r.judged, decisions);
	ck_assert_uint_gt(r.between, decisions / 2);
	ck_assert_uint_gt(by_hand.state, decisions / 8);
	printf("# %" PRIu64 " decisions by hand, %" PRIu64 " of them while the writer was at it, %" PRIu64 " changes\n", r.judged, r.between, by_hand.state);
}
END_TEST

TEST_MAIN_SLOW(3000, "policy/race", each_decision_is_of_an_applied_epoch_or_of_two_neighbours, stores_between_the_loads_of_a_decision_do_not_tear_it)
