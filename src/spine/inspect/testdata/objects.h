/* Objects that the build made of testdata/ (TEST_OBJECTS is their directory), for the tests of this directory. */
#pragma once
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/test.h"

#ifndef TEST_OBJECTS
#define TEST_OBJECTS "."
#endif

/* malloc'd to its size, so that a sanitizer sees reads past its end. */
static inline struct slice read_object(const char *path)
{
	static uint8_t room[1u << 20];
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, room, sizeof(room));

	ck_assert_msg(n > 0, "cannot read %s", path);
	uint8_t *copy = malloc((size_t)n);
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, room, (size_t)n);
	return slice_of(copy, (size_t)n);
}

static inline struct slice test_object(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.o", TEST_OBJECTS, name);
	return read_object(path);
}
