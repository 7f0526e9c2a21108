/*
 * The few calls of bpf(2) that an application needs, without libbpf: the library is to be linked into programs
 * that have no other use for it.
 */
#pragma once
#include <prickle/libspine.h>
#include <stdbool.h>
#include <stdint.h>

/* Set the sentence "<fmt>: <errno text>" and return code; why may be NULL. */
int spine_fail(struct spine_error *why, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A pinned program or map, or a negative errno. */
int bpf_pinned(const char *path);

struct bpf_map_shape {
	uint32_t type, value_bytes, entries, flags;
};
/* Of a map's descriptor. 0; -EINVAL: it is none. */
int bpf_map_shape(int fd, struct bpf_map_shape *out);
/* 0 when fd is a program of this type. */
int bpf_is_program(int fd, uint32_t type);
/* Run a SYSCALL program with bytes that it may change. 0 and *result, or a negative errno. */
int bpf_run(int fd, void *context, uint32_t bytes, int *result);
int bpf_map_store(int fd, const void *key, const void *value);
int bpf_map_fetch(int fd, const void *key, void *value);
