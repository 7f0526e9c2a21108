#include "nat64/instance_private.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/host.h"
#include "spine/pins.h"

#define NO_BANK	     2u			/* config and text were not read yet */

static void forget(struct nat64 *n)
{
	if (n->control != NULL)
		munmap(n->control, host_whole_pages(sizeof(*n->control)));
	if (n->desks != NULL)
		munmap(n->desks, n->desks_bytes);
	n->control = NULL;
	n->desks = NULL;
	for (size_t i = 0; i < n->map_count; i++)
		fd_close(&n->maps[i].fd);
	n->map_count = 0;
	fd_close(&n->call_fd);
	fd_close(&n->record_fd);
	n->exists = false;
	n->record = (struct nat64_record){ 0 };
	n->config_bank = n->text_bank = NO_BANK;
}

/* --- the record --------------------------------------------------------------------------------- */

/* 0; -ENOENT: there is none, or it is half made. */
static int read_record(struct nat64 *n, struct errmsg *why)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info), key = 0;
	int fd = pin_get(n->dir, "record");

	if (fd == -ENOENT)
		return -ENOENT;
	if (fd < 0)
		return errmsg_set(why, fd, "open translator '%s'", n->name);
	n->record_fd = fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0 || info.value_size != sizeof(n->record) ||
	    bpf_map_lookup_elem(fd, &key, &n->record) != 0 ||
	    (n->record.abi != 0 && (n->record.abi != NAT64_RECORD_ABI || n->record.state_abi != XLAT_STATE_ABI)))
		return errmsg_say(why, -EPROTO, "translator '%s' was started by another version of prickle whose tables are laid "
				  "out otherwise: `prickle nat64 remove %s`, then start it again (its sessions end)", n->name,
				  n->name);
	return n->record.abi == 0 ? -ENOENT : 0;
}

int instance_write_record(struct nat64 *n, struct errmsg *why)
{
	uint32_t key = 0;

	if (n->record_fd < 0) {
		AUTO_FD int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "nat64_record", 4, sizeof(n->record), 1, NULL);
		int err = fd < 0 ? -errno : pin_set(n->dir, "record", fd);

		if (err != 0)
			return errmsg_set(why, err, "make the record of translator '%s'", n->name);
		n->record_fd = TAKE_FD(fd);
	}
	return bpf_map_update_elem(n->record_fd, &key, &n->record, BPF_ANY) == 0 ? 0 :
	       errmsg_set(why, -errno, "write the record of translator '%s'", n->name);
}

int instance_map(struct nat64 *n, struct errmsg *why)
{
	int control = nat64_map(n, "control"), desk = nat64_map(n, "desk");
	void *p;

	if (control < 0 || desk < 0)
		return errmsg_say(why, -EPROTO, "translator '%s' lacks its control block; `prickle nat64 remove %s` and start it again",
				  n->name, n->name);
	p = mmap(NULL, host_whole_pages(sizeof(*n->control)), PROT_READ | PROT_WRITE, MAP_SHARED, control, 0);
	if (p == MAP_FAILED)
		return errmsg_set(why, -errno, "map the control block of '%s'", n->name);
	n->control = p;
	/* An array's values stand at multiples of 8 bytes, and so do ours. */
	_Static_assert(sizeof(struct xlat) % 8 == 0, "desks in a row");
	n->desks_bytes = host_whole_pages(sizeof(struct xlat) * XLAT_DESKS);
	p = mmap(NULL, n->desks_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, desk, 0);
	if (p == MAP_FAILED)
		return errmsg_set(why, -errno, "map the desks of '%s'", n->name);
	n->desks = p;
	return 0;
}

/* --- opening ------------------------------------------------------------------------------------- */

static bool name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= NAT64_NAME_BYTES || name[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!ascii_alpha((uint8_t)name[i]) && !ascii_digit((uint8_t)name[i]) && name[i] != '-')
			return false;
	return true;
}

struct names {
	struct buf text;
	size_t count;
	char first[NAT64_NAME_BYTES];
};

static int add_name(void *arg, int dir, const char *name, bool is_dir)
{
	struct names *names = arg;

	(void)dir;
	if (!is_dir || !name_ok(name))
		return 0;
	if (names->count++ == 0)
		(void)snprintf(names->first, sizeof(names->first), "%s", name);
	buf_printf(&names->text, "%s%s", names->count > 1 ? ", " : "", name);
	return 0;
}

/* The name that the caller left out: that of the only instance. */
static int only_name(struct nat64 *n, struct errmsg *why)
{
	AUTO_FD int dir = -1;
	struct names names = { .text = BUF_INIT(1024) };
	char cookie[24];
	int err;

	(void)snprintf(cookie, sizeof(cookie), "%llu", (unsigned long long)n->cookie);
	dir = pin_dir(n->root, cookie, false);
	err = dir < 0 ? dir : pin_each(dir, add_name, &names);
	if (err == -ENOENT || (err == 0 && names.count == 0))
		err = errmsg_say(why, -ENOENT, "no translator runs in this network namespace; `prickle nat64 run --config FILE` "
				 "starts one, `prickle nat64 list` shows those of the host");
	else if (err != 0)
		err = errmsg_set(why, err, "look for translators");
	else if (names.count > 1)
		err = errmsg_say(why, -ENOENT, "several translators run here, say which: %s", buf_cstr(&names.text));
	else
		memcpy(n->name, names.first, sizeof(n->name));
	buf_done(&names.text);
	return err;
}

static int say_missing(struct nat64 *n, struct errmsg *why)
{
	struct names names = { .text = BUF_INIT(1024) };

	if (n->ns_dir >= 0)
		(void)pin_each(n->ns_dir, add_name, &names);
	if (names.count == 0)
		(void)errmsg_say(why, -ENOENT, "no translator '%s' in this network namespace, nor any other; `prickle nat64 list` "
				 "shows those of the host", n->name);
	else
		(void)errmsg_say(why, -ENOENT, "no translator '%s' here; there %s: %s", n->name,
				 names.count == 1 ? "is one" : "are", buf_cstr(&names.text));
	buf_done(&names.text);
	return -ENOENT;
}

/* The directory, locked if asked, and sure to be the one that has the name. -EAGAIN: it went while we waited. */
static int open_dir(struct nat64 *n, bool make, bool lock, struct errmsg *why)
{
	char cookie[24];
	int err;

	(void)snprintf(cookie, sizeof(cookie), "%llu", (unsigned long long)n->cookie);
	fd_close(&n->dir);
	fd_close(&n->ns_dir);
	n->ns_dir = pin_dir(n->root, cookie, make);
	n->dir = n->ns_dir < 0 ? n->ns_dir : pin_dir(n->ns_dir, n->name, make);
	if (n->dir < 0)
		return n->dir != -ENOENT ? errmsg_set(why, n->dir, "open translator '%s' in bpffs", n->name) :
		       make		 ? -EAGAIN :
					   say_missing(n, why);
	if (!lock)
		return 0;
	err = pin_lock(n->dir);
	if (err == -EBUSY)
		return errmsg_say(why, -EBUSY, "translator '%s' is being changed by another command for more than %d s; try again", n->name,
				  PIN_LOCK_S_MAX);
	n->locked = err == 0 || err == -EAGAIN;
	return n->locked ? err : errmsg_set(why, err, "lock translator '%s'", n->name);
}

static int enter(struct nat64 *n, const struct nat64_where *where, struct errmsg *why)
{
	n->netns = host_netns(where->netns, why);
	if (n->netns < 0)
		return n->netns;
	if (where->netns != NULL) {
		n->home = host_netns(NULL, why);
		if (n->home < 0)
			return n->home;
		int err = host_netns_enter(n->netns, why);
		if (err != 0)
			return err;
	}
	n->cookie = host_netns_cookie();
	return n->cookie != 0 ? 0 :
	       errmsg_say(why, -EOPNOTSUPP, "this kernel gives network namespaces no cookies (needs Linux 5.14)");
}

static int open_state(struct nat64 *n, uint32_t flags, struct errmsg *why)
{
	bool make = (flags & INSTANCE_MAKE) != 0, lock = (flags & INSTANCE_LOCK) != 0, any = (flags & INSTANCE_ANY) != 0;
	int err;

	n->root = host_bpffs_part("nat64", make, why);
	if (n->root == -ENOENT)
		return errmsg_say(why, -ENOENT, "no translator runs on this host; `prickle nat64 run --config FILE` starts one");
	if (n->root < 0)
		return n->root;
	err = n->name[0] == '\0' ? only_name(n, why) : 0;
	if (err != 0)
		return err;
	err = -EAGAIN;
	for (int turn = 0; turn < PIN_OPEN_TURNS && err == -EAGAIN; turn++)
		err = open_dir(n, make, lock, why);
	if (err == -EAGAIN)
		return errmsg_say(why, -EBUSY, "translator '%s' is being changed by other commands; try again", n->name);
	if (err != 0)
		return err;
	err = read_record(n, why);
	n->exists = err == 0;
	if (err == -ENOENT)
		return make || any ? 0 : say_missing(n, why);
	if (err == 0)
		err = instance_map(n, why);
	if (err == 0 && !make && !any && bank_read(n, why) == 0 && n->config.serial == 0)
		return say_missing(n, why);
	if (err != 0 && any) {
		n->exists = false;
		return 0;
	}
	return err;
}

int instance_open(const struct nat64_where *where, const char *name, uint32_t flags, struct nat64 **out, struct errmsg *why)
{
	struct nat64 *n;
	int err;

	if (name != NULL && !name_ok(name))
		return errmsg_say(why, -EINVAL, "'%.40s' is no name of a translator: up to %d letters, digits and '-'", name,
				  NAT64_NAME_BYTES - 1);
	n = calloc(1, sizeof(*n));
	if (n == NULL)
		return errmsg_set(why, -ENOMEM, "open a translator");
	n->netns = n->home = n->root = n->ns_dir = n->dir = n->record_fd = n->call_fd = -1;
	n->config_bank = n->text_bank = NO_BANK;
	n->step = where->step;
	n->step_arg = where->step_arg;
	buf_init(&n->text, NAT64_FILE_BYTES_MAX);
	if (name != NULL)
		memcpy(n->name, name, strlen(name));
	/* Its warnings are for developers; errors come with a sentence of ours. */
	libbpf_set_print(NULL);
	err = enter(n, where, why);
	if (err == 0)
		err = open_state(n, flags, why);
	if (err == 0) {
		*out = n;
		return 0;
	}
	if ((flags & INSTANCE_MAKE) != 0 && n->dir >= 0 && n->record_fd < 0)
		instance_leave_nothing(n);
	nat64_close(n);
	return err;
}

int nat64_open(const struct nat64_where *where, enum nat64_open_mode mode, struct nat64 **out, struct errmsg *why)
{
	return instance_open(where, where->name, mode == NAT64_CHANGE ? INSTANCE_LOCK : 0, out, why);
}

void instance_unlock(struct nat64 *n)
{
	if (n->locked)
		(void)flock(n->dir, LOCK_UN);
	n->locked = false;
}

void nat64_close(struct nat64 *n)
{
	struct errmsg why;

	if (n == NULL)
		return;
	forget(n);
	buf_done(&n->text);
	if (n->home >= 0)
		(void)!host_netns_enter(n->home, &why);
	instance_unlock(n);
	fd_close(&n->netns);
	fd_close(&n->home);
	fd_close(&n->dir);
	fd_close(&n->ns_dir);
	fd_close(&n->root);
	free(n);
}

int instance_wipe(struct nat64 *n, struct errmsg *why)
{
	int err;

	forget(n);
	/* The record first: from then on it is half made for everybody. */
	err = pin_remove(n->dir, "record");
	if (err == 0)
		err = pin_wipe(n->dir);
	return err == 0 ? 0 : errmsg_set(why, err, "remove translator '%s' from bpffs", n->name);
}

void instance_leave_nothing(struct nat64 *n)
{
	char name[24];

	if (n->ns_dir < 0 || unlinkat(n->ns_dir, n->name, AT_REMOVEDIR) != 0)
		return;
	(void)snprintf(name, sizeof(name), "%llu", (unsigned long long)n->cookie);
	(void)unlinkat(n->root, name, AT_REMOVEDIR);
}

/* --- looking ------------------------------------------------------------------------------------- */

int nat64_map(struct nat64 *n, const char *name)
{
	int fd;

	for (size_t i = 0; i < n->map_count; i++)
		if (strcmp(n->maps[i].name, name) == 0)
			return n->maps[i].fd;
	if (n->map_count == NAT64_MAPS_MAX || strlen(name) >= sizeof(n->maps[0].name) || strchr(name, '/') != NULL)
		return -1;
	fd = pin_get(n->dir, name);
	if (fd < 0)
		return -1;
	if (!pin_is_map(fd)) {
		close(fd);
		return -1;
	}
	(void)snprintf(n->maps[n->map_count].name, sizeof(n->maps[0].name), "%s", name);
	n->maps[n->map_count++].fd = fd;
	return fd;
}

struct xlat_control *nat64_control(struct nat64 *n)
{
	return n->control;
}

struct xlat *nat64_desk(struct nat64 *n, unsigned desk)
{
	return desk < XLAT_DESKS ? &n->desks[desk] : NULL;
}

const struct xlat_config *nat64_config(struct nat64 *n)
{
	struct errmsg why;

	(void)!bank_read(n, &why);
	return &n->config;
}

struct slice nat64_settings_text(struct nat64 *n)
{
	struct errmsg why;

	(void)!bank_read(n, &why);
	return buf_slice(&n->text);
}

uint64_t nat64_serial(struct nat64 *n)
{
	return nat64_config(n)->serial;
}

static void add_stats(uint64_t *sum, const struct xlat_stats *stats)
{
	const uint64_t *one = (const uint64_t *)(const void *)stats;

	for (size_t i = 0; i < sizeof(*stats) / 8; i++)
		sum[i] += one[i];
}

int nat64_stats(struct nat64 *n, struct xlat_stats *out, struct errmsg *why)
{
	uint32_t cpus = host_cpus(), key = 0;
	AUTO_FREE struct xlat_stats *all = calloc(cpus, sizeof(*all));
	uint64_t *sum = (uint64_t *)(void *)out;
	int fd = nat64_map(n, "stats");

	_Static_assert(sizeof(struct xlat_stats) % 8 == 0, "counters of 64 bits alone");
	if (all == NULL)
		return errmsg_set(why, -ENOMEM, "read the counters of '%s'", n->name);
	if (fd < 0 || bpf_map_lookup_elem(fd, &key, all) != 0)
		return errmsg_set(why, fd < 0 ? -EPROTO : -errno, "read the counters of '%s'", n->name);
	*out = (struct xlat_stats){ 0 };
	for (uint32_t cpu = 0; cpu < cpus; cpu++)
		add_stats(sum, &all[cpu]);
	fd = nat64_map(n, NAT64_SLOW_STATS);
	if (fd >= 0 && bpf_map_lookup_elem(fd, &key, all) == 0)
		add_stats(sum, all);
	return 0;
}

int nat64_call(struct nat64 *n, struct xlat_call *call, struct errmsg *why)
{
	/* For programs of this type the kernel writes the context back where it was read. */
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = call, .ctx_size_in = sizeof(*call));

	if (n->call_fd < 0) {
		n->call_fd = pin_get(n->dir, nat64_program_pins[NAT64_PROGRAM_CALL]);
		if (n->call_fd < 0)
			return errmsg_set(why, n->call_fd, "open the program 'call' of translator '%s'", n->name);
	}
	if (bpf_prog_test_run_opts(n->call_fd, &opts) != 0)
		return errmsg_set(why, -errno, "call the programs of translator '%s'", n->name);
	/* What the program itself refused as a whole. */
	return (int)opts.retval >= 0 ? 0 : errmsg_set(why, (int)opts.retval, "call the programs of translator '%s'", n->name);
}
