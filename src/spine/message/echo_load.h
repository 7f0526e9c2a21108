/*
 * For tests and the benchmark alone: the example extension loaded with libbpf, with two channels, as
 * prickle/spine_messages.h asks of a loader.
 */
#pragma once
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <prickle/libspine.h>
#include <prickle/spine_ring.h>

#include "base/attr.h"

#define ECHO_CHANNELS 2

struct echo {
	struct bpf_object *object[ECHO_CHANNELS];
	int xdp;
};

static int PRINTF_LIKE(2, 0) echo_quiet(enum libbpf_print_level level, const char *fmt, va_list args)
{
	char text[600];			/* the verifier's log has megabytes */

	if (level != LIBBPF_WARN || strstr(fmt, "skipping unrecognized") != NULL)
		return 0;
	vsnprintf(text, sizeof(text), fmt, args);
	return fprintf(stderr, "# %s\n", text);
}

static bool echo_is_own(const char *map)
{
	return strcmp(map, SPINE_MAP_INBOX) == 0 || strcmp(map, SPINE_MAP_CHANNEL) == 0 ||
	       strcmp(map, SPINE_MAP_REGION) == 0;
}

/* Maps of a channel behind the first: its own three, the first one's others. */
static int echo_reuse(struct bpf_object *object, const struct bpf_object *first)
{
	struct bpf_program *p;
	struct bpf_map *m;

	bpf_object__for_each_map(m, object) {
		const struct bpf_map *same = bpf_object__find_map_by_name(first, bpf_map__name(m));

		if (!echo_is_own(bpf_map__name(m)) && bpf_map__reuse_fd(m, bpf_map__fd(same)) < 0)
			return -errno;
	}
	bpf_object__for_each_program(p, object)
		bpf_program__set_autoload(p, bpf_program__type(p) == BPF_PROG_TYPE_SYSCALL);
	return 0;
}

static int echo_load_channel(struct echo *e, const char *path, uint32_t k)
{
	struct spine_channel_state state = { .sender = k + 1 };
	struct bpf_map *outbox;
	uint32_t zero = 0;
	int err;

	e->object[k] = bpf_object__open_file(path, NULL);
	if (e->object[k] == NULL)
		return -errno;
	outbox = bpf_object__find_map_by_name(e->object[k], SPINE_MAP_OUTBOX);
	err = bpf_map__set_max_entries(outbox, 2 * (uint32_t)libbpf_num_possible_cpus());
	if (err == 0 && k > 0)
		err = echo_reuse(e->object[k], e->object[0]);
	if (err == 0)
		err = bpf_object__load(e->object[k]);
	if (err < 0)
		return err;
	return bpf_map_update_elem(bpf_object__find_map_fd_by_name(e->object[k], SPINE_MAP_CHANNEL), &zero, &state, 0);
}

static int echo_load(struct echo *e, const char *path)
{
	int err = 0;

	libbpf_set_print(echo_quiet);
	*e = (struct echo){ .xdp = -1 };
	for (uint32_t k = 0; err == 0 && k < ECHO_CHANNELS; k++)
		err = echo_load_channel(e, path, k);
	if (err == 0)
		e->xdp = bpf_program__fd(bpf_object__find_program_by_name(e->object[0], "echo"));
	return err;
}

static inline void echo_unload(struct echo *e)
{
	for (uint32_t k = 0; k < ECHO_CHANNELS; k++)
		bpf_object__close(e->object[k]);
	*e = (struct echo){ .xdp = -1 };
}

static int echo_map(const struct echo *e, uint32_t channel, const char *name)
{
	return bpf_object__find_map_fd_by_name(e->object[channel], name);
}

static int echo_dup(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* Descriptors of a channel, new ones: as the runtime gives them to an application. */
static void echo_fds(const struct echo *e, uint32_t k, struct spine_channel_fds *out)
{
	const struct bpf_object *o = e->object[k];

	out->call = echo_dup(bpf_program__fd(bpf_object__find_program_by_name(o, "spine_call")));
	out->drain = echo_dup(bpf_program__fd(bpf_object__find_program_by_name(o, "spine_drain")));
	out->inbox = echo_dup(echo_map(e, k, SPINE_MAP_INBOX));
	out->region = echo_dup(echo_map(e, k, SPINE_MAP_REGION));
	out->outbox = k == 0 ? echo_dup(echo_map(e, k, SPINE_MAP_OUTBOX)) : -1;
	out->doorbell = k == 0 ? echo_dup(echo_map(e, k, SPINE_MAP_DOORBELL)) : -1;
	out->sockets = k == 0 ? echo_dup(echo_map(e, k, SPINE_MAP_SOCKETS)) : -1;
}

/* Give the XDP program this frame `repeat` times; its last verdict. */
static inline int echo_frame(const struct echo *e, const void *frame, uint32_t bytes, int repeat)
{
	uint8_t out[2048];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = bytes, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = repeat);

	return bpf_prog_test_run_opts(e->xdp, &run) < 0 ? -errno : (int)run.retval;
}
