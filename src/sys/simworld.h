/*
 * A simulated world: a clock turned by hand, seeded randomness, and a disk that can lose power.
 *
 * The disk keeps what the process sees apart from what is stored: writes wait until the file is
 * synced, names wait until their directory is. A power cut makes a new world out of the stored state
 * and a random part of what waited: writes lost, torn at 512-byte sectors, and out of order. Calls
 * can be made to fail, a failed datasync may store a part and calls the rest clean (as Linux does),
 * and bits can flip. One thread; a seed replays everything.
 */
#pragma once
#include "sys/world.h"

#define SIM_SECTOR_BYTES 512u

struct sim;

/* NULL when memory is short. */
struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *s);
struct world *sim_world(struct sim *s);

/* The next number of the simulation's own randomness; also for the test that drives it. */
uint64_t sim_random(struct sim *s);
/* Uniform in [0, below); below > 0. */
uint64_t sim_below(struct sim *s, uint64_t below);
void sim_advance(struct sim *s, int64_t us);

/*
 * The world after a power cut now. The old one goes on unharmed. `seed` decides what survives; the same
 * seed gives the same disk. NULL: no memory.
 */
struct sim *sim_power_cut(const struct sim *s, uint64_t seed);

/*
 * The world as the next process finds it when this one is killed now: nothing is lost yet, and what was not
 * synced still waits. The old one goes on unharmed. NULL: no memory.
 */
struct sim *sim_kill(const struct sim *s, uint64_t seed);

/*
 * fn(arg) is called before every call that changes the disk (write, sync, allocate, truncate, unlink,
 * rename, mkdir, sync_dir, creation): the moments between which nothing else can be seen.
 */
void sim_on_change(struct sim *s, void (*fn)(void *arg), void *arg);

enum sim_fault {
	SIM_OK,
	SIM_EIO,			/* the call does nothing */
	SIM_ENOSPC,			/* the call does nothing */
	SIM_TORN,			/* a write: -EIO after a random part; other calls: as SIM_EIO */
	SIM_SYNC_LOST,			/* a datasync: -EIO, a random part is stored, the rest never will be */
};
/* The n-th changing call from now (1 is the next) fails so; calls it does not fit pass it on to the next. */
void sim_fail(struct sim *s, uint64_t n, enum sim_fault fault);
/* Room for allocate and for writes that grow a file; UINT64_MAX: no limit. */
void sim_set_room(struct sim *s, uint64_t bytes);
/* Flip one bit of the stored file. False: no such byte. */
bool sim_flip(struct sim *s, const char *path, uint64_t byte, unsigned bit);
