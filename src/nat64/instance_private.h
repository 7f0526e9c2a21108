/*
 * What the files of an instance share: the open instance, its record, and the steps of a change. Not for others.
 *
 *	instance.c   open, lock, look, call
 *	objects.c    this program's object: maps made or used again, programs
 *	bank.c       settings -> the bank that is not in use: configuration, explicit mappings, pool, text
 *	apply.c      the order of a change; removal
 *	overlap.c    other translators that want the same packets
 *	device.c     the TAP of the slow path
 *	attach.c     interfaces: XDP by SPINE (attach_xdp.c), tc (tc.h)
 *	host_address.c  what the host has of its own
 *
 * The record tells what has to be undone: an attachment is written there before it is made, and struck out after it is
 * gone.
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "nat64/instance.h"
#include "nat64/nat64_limits.h"

#define NAT64_RECORD_ABI 1u

enum nat64_home { NAT64_HOME_NONE, NAT64_HOME_XDP, NAT64_HOME_TC };

struct nat64_record {
	uint32_t abi, state_abi;	/* NAT64_RECORD_ABI, XLAT_STATE_ABI; 0: half made */
	uint8_t object[16];		/* digest of the object that the programs are from */
	struct nat64_sizes sizes;
	uint32_t tap_ifindex;
	uint32_t attached_count;
	struct {
		uint32_t ifindex, home;	/* enum nat64_home */
		char name[IFNAMSIZ];	/* when it was attached */
	} attached[NAT64_INTERFACES_MAX * 2];	/* old and new, within a change */
	uint32_t host_traffic;		/* the host's own packets are taken, too: a veth of ours */
	uint32_t spare[15];
};

enum nat64_program {
	NAT64_PROGRAM_CALL, NAT64_PROGRAM_XDP, NAT64_PROGRAM_XDP_FRAGS, NAT64_PROGRAM_TC_IN, NAT64_PROGRAM_TC_OUT,
	NAT64_PROGRAMS
};

struct nat64 {
	char name[NAT64_NAME_BYTES];
	int netns, home;		/* home: the namespace to return to, or -1 */
	uint64_t cookie;
	int root, ns_dir, dir;		/* of bpffs */
	bool locked;
	bool exists;			/* the record is complete */
	struct nat64_record record;
	int record_fd;
	struct { char name[32]; int fd; } maps[NAT64_MAPS_MAX];
	size_t map_count;
	int call_fd;
	struct xlat_control *control;
	struct xlat *desks;
	size_t desks_bytes;
	struct xlat_config config;	/* copy of the bank that control names */
	struct buf text;		/* of the settings, copy of the same bank's */
	char path[4096];		/* of their file */
	/* The bank that `config` and `text` were read from; 2: none yet. */
	uint32_t config_bank, config_generation, text_bank, text_generation;
	void (*step)(void *arg, const char *name);
	void *step_arg;
};

static inline void nat64_step(struct nat64 *n, const char *name)
{
	if (n->step != NULL)
		n->step(n->step_arg, name);
}

enum instance_open_flags {
	INSTANCE_MAKE = 1 << 0,		/* the directory is made when it is missing */
	INSTANCE_LOCK = 1 << 1,
	INSTANCE_ANY = 1 << 2,		/* one that is half made or of another version will do, for removal */
};
/* The directory of an instance; enters the namespace. n->exists tells whether it is complete. */
MUST_USE int instance_open(const struct nat64_where *where, const char *name, uint32_t flags, struct nat64 **out,
			   struct errmsg *why);
/* Map control and desks once the pins are there. */
MUST_USE int instance_map(struct nat64 *n, struct errmsg *why);
MUST_USE int instance_write_record(struct nat64 *n, struct errmsg *why);
void instance_unlock(struct nat64 *n);
/* Forget descriptors and mappings, remove all pins. */
MUST_USE int instance_wipe(struct nat64 *n, struct errmsg *why);
/* Remove the directories when they are empty. */
void instance_leave_nothing(struct nat64 *n);

/*
 * As nat64_apply. learnt: the prefix of a CLAT whose settings leave it to be learnt (bits 0: none any more); NULL: the one in force
 * stays.
 */
MUST_USE int instance_apply(const struct nat64_where *where, const struct nat64_settings *settings, const struct xlat_prefix *learnt,
			    struct nat64 **out, struct buf *notice, struct errmsg *why);

/* --- objects.c --- */

/* Names below the instance's directory. */
extern const char *const nat64_program_pins[NAT64_PROGRAMS];
/* Make all maps by the settings' sizes and pin them, and the SYSCALL program. */
MUST_USE int objects_make(struct nat64 *n, const struct nat64_settings *settings, struct errmsg *why);
/* Load these programs (bits of enum nat64_program) with the instance's maps and pin them; those that are pinned are replaced. */
MUST_USE int objects_load(struct nat64 *n, uint32_t programs, struct errmsg *why);
/* A program: pinned already, or loaded now. A descriptor or negative errno. */
MUST_USE int objects_program(struct nat64 *n, enum nat64_program program, struct errmsg *why);
/*
 * Counters of the slow path: what the daemon drops or answers. A map of their own, mapped by the daemon, since those of the
 * programs are written by processors without asking.
 */
#define NAT64_SLOW_STATS "stats-slow"
MUST_USE int objects_make_slow_stats(struct nat64 *n, struct errmsg *why);
/* Digest of the object that this program carries. */
void objects_digest(uint8_t out[16]);

/* --- bank.c --- */

struct nat64_bank {
	uint32_t bank;
	struct xlat_config config;
};
/*
 * Fill the bank that is not in use: what `settings` say, with slots for the pool (rows that stay keep theirs, rows that go
 * are marked XLAT_POOL_DRAIN), the host's own addresses, the key. Nothing changes for packets.
 */
MUST_USE int bank_write(struct nat64 *n, const struct nat64_settings *settings, struct nat64_bank *out, struct errmsg *why);
/* One store: packets see it from here on. Waits until no processor uses the old one. */
void bank_flip(struct nat64 *n, const struct nat64_bank *bank);
/* After a flip: end what uses slots of rows marked DRAIN, and go on without these rows. */
MUST_USE int bank_drain(struct nat64 *n, const struct nat64_settings *settings, struct errmsg *why);
/* After a flip: end the sessions of translation prefixes of `before` whose places are empty now. */
MUST_USE int bank_end_prefixes(struct nat64 *n, const struct xlat_config *before, struct errmsg *why);
/* Static mappings: those of `now` are there afterwards, those of `before` alone (NULL: none) are not. */
MUST_USE int bank_bibs(struct nat64 *n, const struct nat64_settings *before, const struct nat64_settings *now, struct buf *notice,
		       struct errmsg *why);
/* The settings in force, parsed; NULL when they cannot be read. */
const struct nat64_settings *bank_settings(struct nat64 *n, struct arena *arena);
/* Read config and text of the bank in force into n. */
MUST_USE int bank_read(struct nat64 *n, struct errmsg *why);

/* --- scan.c --- */

/* Take away what namespaces that are gone left. */
void nat64_sweep(void);

/* --- host_address.c --- */

struct nat64_host_address {
	uint8_t family;			/* 4, 6 */
	__be32 addr[4];
	char interface[IFNAMSIZ];
};
/* Addresses of this namespace but loopback and link-local ones; in arena. */
MUST_USE int host_addresses(struct arena *arena, struct nat64_host_address **out, size_t *count, struct errmsg *why);
/*
 * Put into config what depends on them: own4 and own6 (of the instance's interfaces first), and the pass lists: packets to
 * ourselves stay ours, unless the settings name the very address. A pool row with one of them becomes XLAT_POOL_SHARED.
 */
MUST_USE int host_complete(const struct nat64_settings *settings, struct xlat_config *config, struct errmsg *why);

/* --- device.c --- */

/* The TAP's name: "prickle-" and the instance's name, or a digest of it when that is longer than an interface's may be. */
void device_name(const char *instance, char out[IFNAMSIZ]);
/* Make it if it is not there: persistent, up, forwarding. Its ifindex, or negative errno. */
MUST_USE int device_make_tap(const char *instance, uint32_t *ifindex, struct errmsg *why);
/* A descriptor to read and write frames. */
MUST_USE int device_open_tap(const char *instance, struct errmsg *why);
/* 0, or -EBUSY: a daemon serves it. */
MUST_USE int device_free(const char *instance, struct errmsg *why);
MUST_USE int device_remove_tap(const char *instance, struct errmsg *why);

/* --- device_map.c --- */

/* Write the map `device` as the namespace is now. */
MUST_USE int device_fill_map(struct nat64 *n, struct errmsg *why);

/* --- attach.c --- */

struct nat64_wanted_one {
	uint32_t ifindex, home;
	char name[IFNAMSIZ];
	bool automatic;			/* XDP if the interface has it, else tc */
};
struct nat64_wanted {
	struct nat64_wanted_one items[NAT64_INTERFACES_MAX];
	uint32_t count;
	bool host_traffic;
};

/* Which home each interface gets. -EINVAL: one is missing, or cannot do what is asked for. */
MUST_USE int attach_plan(const struct nat64_settings *settings, struct nat64_wanted *out, struct errmsg *why);
/* Attach what is wanted and is not there (what is there stays as it is); on failure nothing new is left. */
MUST_USE int attach_new(struct nat64 *n, const struct nat64_settings *settings, struct nat64_wanted *want, struct buf *notice,
			struct errmsg *why);
/* Take away what the record has and `want` has not (NULL: all). */
MUST_USE int attach_end(struct nat64 *n, const struct nat64_wanted *want, struct errmsg *why);
/* Put the programs that are pinned now in place of what runs. */
MUST_USE int attach_upgrade(struct nat64 *n, struct buf *notice, struct errmsg *why);
/* struct xlat_control.home */
uint32_t attach_homes(const struct nat64_record *r);

static inline bool nat64_is_zero6(const __be32 addr[4])
{
	return (addr[0] | addr[1] | addr[2] | addr[3]) == 0;
}

/* --- attach_xdp.c --- */

/* Attach, or put the program that is pinned now in place of an older one. native: not by the kernel's slow variant. */
MUST_USE int attach_xdp(struct nat64 *n, const char *interface, bool native, struct buf *notice, struct errmsg *why);
/* It is gone afterwards; an interface that is gone is fine. */
MUST_USE int attach_xdp_end(struct nat64 *n, const char *interface, struct errmsg *why);
/* Whether it runs; `generic`: by the kernel's slow variant. */
bool attach_xdp_running(struct nat64 *n, const char *interface, bool *generic, char why_not[160]);
/* An interface of a driver that has XDP of its own, as far as its kind tells: what `auto` takes XDP for. */
bool attach_xdp_fits(const char *interface);

/* --- overlap.c --- */

/* Say of which other translators of this namespace prefixes or pools are the same. */
void overlap_say(struct nat64 *n, struct buf *notice);
