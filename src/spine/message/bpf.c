#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "spine/message/bpf.h"

int spine_fail(struct spine_error *why, int code, const char *fmt, ...)
{
	va_list args;
	int length;

	if (why == NULL)
		return code;
	why->code = code;
	va_start(args, fmt);
	length = vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
	if (length >= 0 && (size_t)length < sizeof(why->text))
		snprintf(why->text + length, sizeof(why->text) - (size_t)length, ": %s",
			 strerrordesc_np(-code));
	return code;
}

static long bpf(enum bpf_cmd command, union bpf_attr *attr, size_t bytes)
{
	return syscall(SYS_bpf, command, attr, bytes);
}

/* As the kernel wants it: an address as a number, whatever the size of a pointer. */
static uint64_t address(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

int bpf_pinned(const char *path)
{
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.pathname = address(path);
	fd = bpf(BPF_OBJ_GET, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	/* The kernel has set close-on-exec. */
	return (int)fd;
}

int bpf_map_shape(int fd, struct bpf_map_shape *out)
{
	struct bpf_map_info info;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	memset(&info, 0, sizeof(info));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = address(&info);
	if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) < 0)
		return -EINVAL;
	/* Programs and links have information, too; no type of a map that we use looks like theirs. */
	*out = (struct bpf_map_shape){ info.type, info.value_size, info.max_entries, info.map_flags };
	return 0;
}

int bpf_is_program(int fd, uint32_t type)
{
	struct bpf_prog_info info;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	memset(&info, 0, sizeof(info));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = address(&info);
	if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) < 0)
		return -EINVAL;
	return info.type == type ? 0 : -EINVAL;
}

int bpf_run(int fd, void *context, uint32_t bytes, int *result)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (uint32_t)fd;
	attr.test.ctx_in = address(context);
	attr.test.ctx_size_in = bytes;
	if (bpf(BPF_PROG_TEST_RUN, &attr, sizeof(attr)) < 0)
		return -errno;
	*result = (int)attr.test.retval;
	return 0;
}

int bpf_map_fetch(int fd, const void *key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = address(key);
	attr.value = address(value);
	return bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int bpf_map_store(int fd, const void *key, const void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = address(key);
	attr.value = address(value);
	return bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)) < 0 ? -errno : 0;
}
