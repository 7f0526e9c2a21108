/*
 * Fibers on a pool of stacks.
 *
 * The first FIBER_STACKS_KEPT stacks that come back are kept warm; their pages beyond the
 * first ones are given back to the kernel when a fiber had used them deeply would cost a
 * system call per command, so stacks above that number are unmapped instead: the memory
 * that idle sessions hold does not depend on the busiest moment.
 */
#include "sys/fiber.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"
#include "sys/loop_private.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#endif
#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define FIBER_STACKS_KEPT   64u
#define FIBER_GUARD_BYTES   4096u
#define FIBER_THREADS	    2u		/* helper threads for fiber_on_thread */

/* The sanitizers' redzones make frames several times larger. */
#if defined(FIBER_ASAN) || defined(FIBER_TSAN)
#define STACK_BYTES (FIBER_STACK_BYTES * 8u)
#else
#define STACK_BYTES FIBER_STACK_BYTES
#endif

void fiber_switch(void **save_sp, void *load_sp);
void fiber_entry_trampoline(void);

struct fiber {
	struct fiber *next_free;
	struct loop *loop;
	void *sp;
	uint8_t *stack;			/* lowest usable address; the guard page is below */
	fiber_fn *fn;
	void *arg;
	struct task wake;
	struct fiber *next_waiter;	/* in the queue of a fiber_mutex */
	bool ended, suspended, resumed_early;
#ifdef FIBER_ASAN
	void *fake_stack;
#endif
#ifdef FIBER_TSAN
	void *tsan;
#endif
};

struct job {
	struct job *next;
	fiber_fn *fn;
	void *arg;
	struct fiber *fiber;
	bool over;
};

struct fiber_pool {
	struct fiber *free;
	unsigned free_count, live;
	void *main_sp;			/* of the fiber or loop code that switched into `current` */
	struct fiber *current;
#ifdef FIBER_ASAN
	void *main_fake_stack;
	const void *main_stack;
	size_t main_stack_size;
#endif
#ifdef FIBER_TSAN
	void *main_tsan;
#endif
	/* Helper threads; started by the first fiber_on_thread. */
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *todo, **todo_tail, *done;
	pthread_t threads[FIBER_THREADS];
	unsigned thread_count;
	bool stop;
	struct io_watch done_watch;
};

static __thread struct fiber *running;

struct fiber *fiber_self(void)
{
	return running;
}

struct loop *fiber_loop(void)
{
	must(running != NULL);
	return running->loop;
}

/* From the loop (or from inside another fiber's resume task, which is the loop as well) into f. */
static void enter(struct fiber *f)
{
	struct fiber_pool *pool = f->loop->fibers;

	must(running == NULL);
	running = f;
	f->suspended = false;
#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(&pool->main_fake_stack, f->stack, STACK_BYTES);
#endif
#ifdef FIBER_TSAN
	pool->main_tsan = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(f->tsan, 0);
#endif
	fiber_switch(&pool->main_sp, f->sp);
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(pool->main_fake_stack, NULL, NULL);
#endif
	running = NULL;
}

static void leave(struct fiber *f)
{
	struct fiber_pool *pool = f->loop->fibers;

#ifdef FIBER_ASAN
	__sanitizer_start_switch_fiber(f->ended ? NULL : &f->fake_stack, pool->main_stack,
				       pool->main_stack_size);
#endif
#ifdef FIBER_TSAN
	__tsan_switch_to_fiber(pool->main_tsan, 0);
#endif
	fiber_switch(&f->sp, pool->main_sp);
#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(f->fake_stack, &pool->main_stack, &pool->main_stack_size);
#endif
}

static NORETURN void fiber_main(void)
{
	struct fiber *f = running;

#ifdef FIBER_ASAN
	__sanitizer_finish_switch_fiber(NULL, &f->loop->fibers->main_stack,
					&f->loop->fibers->main_stack_size);
#endif
	f->fn(f->arg);
	f->ended = true;
	leave(f);
	abort();
}

static void prepare_stack(struct fiber *f)
{
	void **top = (void **)(void *)(f->stack + STACK_BYTES);

#if defined(__x86_64__)
	/* As fiber_switch leaves it: control words, r15 r14 r13 r12 rbx rbp, return address. */
	*--top = NULL;			/* keeps the ABI's alignment at the trampoline's call */
	*--top = NULL;
	*--top = (void *)(uintptr_t)fiber_entry_trampoline;
	*--top = NULL;			/* rbp */
	*--top = NULL;			/* rbx */
	*--top = (void *)(uintptr_t)fiber_main;	/* r12 */
	*--top = NULL;
	*--top = NULL;
	*--top = NULL;			/* r15 */
	uint32_t control[2] = { 0x1f80, 0x037f };	/* MXCSR and x87 defaults of the ABI */
	top--;
	memcpy(top, control, sizeof(control));
#elif defined(__aarch64__)
	top -= 20;
	memset(top, 0, 160);
	top[0] = (void *)(uintptr_t)fiber_main;		/* x19 */
	top[11] = (void *)(uintptr_t)fiber_entry_trampoline; /* x30 */
#else
#error "fibers need an assembly switch for this processor"
#endif
	f->sp = top;
}

static struct fiber_pool *pool_of(struct loop *l)
{
	if (l->fibers == NULL) {
		l->fibers = calloc(1, sizeof(*l->fibers));
		if (l->fibers == NULL)
			return NULL;
		l->fibers->todo_tail = &l->fibers->todo;
		pthread_mutex_init(&l->fibers->lock, NULL);
		pthread_cond_init(&l->fibers->more, NULL);
		l->fibers->done_watch.fd = -1;
	}
	return l->fibers;
}

static struct fiber *fiber_alloc(struct fiber_pool *pool)
{
	struct fiber *f = pool->free;

	if (f != NULL) {
		pool->free = f->next_free;
		pool->free_count--;
		return f;
	}
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return NULL;
	uint8_t *map = mmap(NULL, STACK_BYTES + FIBER_GUARD_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		free(f);
		return NULL;
	}
	must(mprotect(map, FIBER_GUARD_BYTES, PROT_NONE) == 0);
	f->stack = map + FIBER_GUARD_BYTES;
	return f;
}

static void fiber_unmap(struct fiber *f)
{
	munmap(f->stack - FIBER_GUARD_BYTES, STACK_BYTES + FIBER_GUARD_BYTES);
	free(f);
}

static void fiber_release(struct fiber_pool *pool, struct fiber *f)
{
#ifdef FIBER_TSAN
	__tsan_destroy_fiber(f->tsan);
#endif
#ifdef FIBER_ASAN
	__asan_unpoison_memory_region(f->stack, STACK_BYTES);
#endif
	pool->live--;
	if (pool->free_count >= FIBER_STACKS_KEPT) {
		fiber_unmap(f);
		return;
	}
	f->next_free = pool->free;
	pool->free = f;
	pool->free_count++;
}

static void run_until_wait(struct fiber *f)
{
	enter(f);
	if (f->ended)
		fiber_release(f->loop->fibers, f);
}

static void wake_task(struct task *t)
{
	run_until_wait(container_of(t, struct fiber, wake));
}

int fiber_start(struct loop *l, fiber_fn *fn, void *arg)
{
	struct fiber_pool *pool = pool_of(l);
	struct fiber *f = pool == NULL ? NULL : fiber_alloc(pool);

	if (f == NULL)
		return -ENOMEM;
	f->loop = l;
	f->fn = fn;
	f->arg = arg;
	f->ended = f->resumed_early = false;
	f->suspended = true;
	task_init(&f->wake, wake_task);
	prepare_stack(f);
#ifdef FIBER_TSAN
	f->tsan = __tsan_create_fiber(0);
#endif
	pool->live++;
	/* Inside a fiber a nested switch would need a stack of callers: let the loop do it. */
	if (running != NULL)
		loop_defer(l, &f->wake);
	else
		run_until_wait(f);
	return 0;
}

void fiber_suspend(void)
{
	struct fiber *f = running;

	must(f != NULL);
	if (f->resumed_early) {		/* the wake-up came before the sleep */
		f->resumed_early = false;
		return;
	}
	f->suspended = true;
	leave(f);
}

void fiber_resume(struct fiber *f)
{
	if (!f->suspended)
		f->resumed_early = true;
	else
		loop_defer(f->loop, &f->wake);
}

void fiber_yield(void)
{
	struct fiber *f = running;

	must(f != NULL);
	loop_defer(f->loop, &f->wake);
	f->suspended = true;
	leave(f);
}

unsigned fiber_count(const struct loop *l)
{
	return l->fibers == NULL ? 0 : l->fibers->live;
}

struct fd_wait {
	struct io_watch watch;
	struct timer timer;
	struct fiber *fiber;
	uint32_t got;
	bool timed_out;
};

static void fd_ready(struct io_watch *w, uint32_t events)
{
	struct fd_wait *wait = container_of(w, struct fd_wait, watch);

	wait->got = events;
	loop_del(wait->fiber->loop, w);
	w->fd = -1;
	run_until_wait(wait->fiber);
}

static void fd_timeout(struct timer *t)
{
	struct fd_wait *wait = container_of(t, struct fd_wait, timer);

	wait->timed_out = true;
	run_until_wait(wait->fiber);
}

int fiber_wait_fd(int fd, uint32_t events, int64_t timeout_us)
{
	struct fiber *f = running;
	struct fd_wait wait = {
		.watch = { .fd = fd, .events = events, .fn = fd_ready },
		.timer = { .fn = fd_timeout },
		.fiber = f,
	};

	must(f != NULL);
	int rc = loop_add(f->loop, &wait.watch);
	if (rc != 0)
		return rc;
	if (timeout_us >= 0)
		loop_timer_set(f->loop, &wait.timer, timeout_us);
	f->suspended = true;
	leave(f);
	loop_timer_cancel(f->loop, &wait.timer);
	if (wait.watch.fd >= 0)
		loop_del(f->loop, &wait.watch);
	return wait.timed_out ? 0 : (int)wait.got;
}

struct sleep_wait {
	struct timer timer;
	struct fiber *fiber;
};

static void sleep_over(struct timer *t)
{
	run_until_wait(container_of(t, struct sleep_wait, timer)->fiber);
}

void fiber_sleep(int64_t us)
{
	struct sleep_wait wait = { .timer = { .fn = sleep_over }, .fiber = running };

	must(running != NULL);
	loop_timer_set(running->loop, &wait.timer, us);
	running->suspended = true;
	leave(running);
}

/* Helper threads. */

static void *helper_thread(void *arg)
{
	struct fiber_pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (pool->todo == NULL && !pool->stop)
			pthread_cond_wait(&pool->more, &pool->lock);
		if (pool->stop)
			break;
		struct job *job = pool->todo;
		pool->todo = job->next;
		if (pool->todo == NULL)
			pool->todo_tail = &pool->todo;
		pthread_mutex_unlock(&pool->lock);
		job->fn(job->arg);
		pthread_mutex_lock(&pool->lock);
		job->next = pool->done;
		pool->done = job;
		uint64_t one = 1;
		must(write(pool->done_watch.fd, &one, sizeof(one)) == sizeof(one));
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void jobs_done(struct io_watch *w, uint32_t events)
{
	struct fiber_pool *pool = container_of(w, struct fiber_pool, done_watch);
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) < 0)
		return;
	pthread_mutex_lock(&pool->lock);
	struct job *job = pool->done;
	pool->done = NULL;
	pthread_mutex_unlock(&pool->lock);
	while (job != NULL) {
		struct job *next = job->next;	/* it lives on the fiber's stack */
		job->over = true;
		fiber_resume(job->fiber);
		job = next;
	}
}

static int start_helpers(struct loop *l, struct fiber_pool *pool)
{
	pool->done_watch = (struct io_watch){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = EPOLLIN, .fn = jobs_done,
	};
	if (pool->done_watch.fd < 0)
		return -errno;
	int rc = loop_add(l, &pool->done_watch);
	while (rc == 0 && pool->thread_count < FIBER_THREADS) {
		rc = -pthread_create(&pool->threads[pool->thread_count], NULL, helper_thread, pool);
		pool->thread_count += rc == 0;
	}
	if (pool->thread_count > 0)
		return 0;		/* one is enough */
	loop_del(l, &pool->done_watch);
	close(pool->done_watch.fd);
	pool->done_watch.fd = -1;
	return rc;
}

void fiber_on_thread(fiber_fn *fn, void *arg)
{
	struct fiber *f = running;
	struct fiber_pool *pool = f == NULL ? NULL : f->loop->fibers;

	if (f == NULL || (pool->thread_count == 0 && start_helpers(f->loop, pool) != 0)) {
		fn(arg);
		return;
	}
	struct job job = { .fn = fn, .arg = arg, .fiber = f };
	pthread_mutex_lock(&pool->lock);
	*pool->todo_tail = &job;
	pool->todo_tail = &job.next;
	pthread_cond_signal(&pool->more);
	pthread_mutex_unlock(&pool->lock);
	while (!job.over)
		fiber_suspend();
}

void fiber_pool_free(struct fiber_pool *pool)
{
	if (pool == NULL)
		return;
	must(pool->live == 0);
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->more);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	if (pool->done_watch.fd >= 0)
		close(pool->done_watch.fd);
	while (pool->free != NULL) {
		struct fiber *next = pool->free->next_free;
		fiber_unmap(pool->free);
		pool->free = next;
	}
	pthread_cond_destroy(&pool->more);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

/* Locks and events. */

void fiber_lock(struct fiber_mutex *m)
{
	struct fiber *f = running;

	if (f == NULL) {		/* one thread without fibers: nobody to wait for */
		must(m->owner == NULL);
		return;
	}
	if (m->owner == NULL) {
		m->owner = f;
		return;
	}
	must(m->owner != f);
	f->next_waiter = NULL;
	if (m->last == NULL)
		m->first = f;
	else
		m->last->next_waiter = f;
	m->last = f;
	while (m->owner != f)
		fiber_suspend();
}

void fiber_unlock(struct fiber_mutex *m)
{
	struct fiber *next = m->first;

	must(m->owner == running);
	m->owner = next;
	if (next == NULL)
		return;
	m->first = next->next_waiter;
	if (m->first == NULL)
		m->last = NULL;
	fiber_resume(next);
}

void fiber_event_set(struct fiber_event *e)
{
	if (e->set)
		return;
	e->set = true;
	if (e->waiter != NULL)
		fiber_resume(e->waiter);
}

struct event_wait {
	struct timer timer;
	struct fiber *fiber;
	bool timed_out;
};

static void event_timeout(struct timer *t)
{
	struct event_wait *wait = container_of(t, struct event_wait, timer);

	wait->timed_out = true;
	fiber_resume(wait->fiber);
}

bool fiber_event_wait(struct fiber_event *e, int64_t timeout_us)
{
	struct event_wait wait = { .timer = { .fn = event_timeout }, .fiber = running };

	if (e->set)
		return true;
	must(running != NULL && e->waiter == NULL);
	e->waiter = running;
	if (timeout_us >= 0)
		loop_timer_set(running->loop, &wait.timer, timeout_us);
	while (!e->set && !wait.timed_out)
		fiber_suspend();
	loop_timer_cancel(running->loop, &wait.timer);
	e->waiter = NULL;
	return e->set;
}
