/*
 * powercutfs: a disk that remembers everything, for cutting its power later.
 *
 * A FUSE file system with one file, `image`, to be used as a loop device, and one more,
 * `position`, that tells how many records the log holds. Each write, flush and discard of the
 * image is appended to the log: that is all that a real disk would have been told, in
 * that order. tests/powercut/powercut.py makes disks from prefixes of it.
 *
 * A record: u8 type ('W', 'F', 'D'), u64 offset, u32 length (both little endian), and for W
 * the bytes.
 *
 *	powercutfs LOG SIZE_MIB MOUNTPOINT
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
	uint8_t *image;
	uint64_t size;
	FILE *log;
	uint64_t records;
} disk;

static int note(char type, uint64_t offset, uint32_t length, const void *bytes)
{
	uint8_t head[13];

	head[0] = (uint8_t)type;
	memcpy(head + 1, &offset, 8);
	memcpy(head + 9, &length, 4);
	if (fwrite(head, sizeof(head), 1, disk.log) != 1 ||
	    (bytes != NULL && length > 0 && fwrite(bytes, length, 1, disk.log) != 1))
		return -EIO;
	disk.records++;
	return 0;
}

static int pc_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	memset(st, 0, sizeof(*st));
	if (strcmp(path, "/") == 0) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
	} else if (strcmp(path, "/image") == 0) {
		st->st_mode = S_IFREG | 0600;
		st->st_nlink = 1;
		st->st_size = (off_t)disk.size;
	} else if (strcmp(path, "/position") == 0) {
		st->st_mode = S_IFREG | 0400;
		st->st_nlink = 1;
		st->st_size = 32;
	} else {
		return -ENOENT;
	}
	return 0;
}

static int pc_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset,
		      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	(void)path, (void)offset, (void)fi, (void)flags;
	fill(buf, ".", NULL, 0, 0);
	fill(buf, "..", NULL, 0, 0);
	fill(buf, "image", NULL, 0, 0);
	fill(buf, "position", NULL, 0, 0);
	return 0;
}

static int pc_open(const char *path, struct fuse_file_info *fi)
{
	if (strcmp(path, "/position") == 0)
		fi->direct_io = 1;	/* never from the page cache */
	else if (strcmp(path, "/image") != 0)
		return -ENOENT;
	return 0;
}

static int pc_read(const char *path, char *buf, size_t n, off_t offset, struct fuse_file_info *fi)
{
	(void)fi;
	if (strcmp(path, "/position") == 0) {
		char text[32];
		int len = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)disk.records);
		if (offset >= len)
			return 0;
		n = n < (size_t)(len - offset) ? n : (size_t)(len - offset);
		memcpy(buf, text + offset, n);
		return (int)n;
	}
	if ((uint64_t)offset >= disk.size)
		return 0;
	if (n > disk.size - (uint64_t)offset)
		n = disk.size - (uint64_t)offset;
	memcpy(buf, disk.image + offset, n);
	return (int)n;
}

static int pc_write(const char *path, const char *buf, size_t n, off_t offset,
		    struct fuse_file_info *fi)
{
	(void)fi;
	if (strcmp(path, "/image") != 0)
		return -EACCES;
	if ((uint64_t)offset > disk.size || n > disk.size - (uint64_t)offset)
		return -ENOSPC;
	memcpy(disk.image + offset, buf, n);
	int rc = note('W', (uint64_t)offset, (uint32_t)n, buf);
	return rc < 0 ? rc : (int)n;
}

static int pc_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	(void)path, (void)datasync, (void)fi;
	return note('F', 0, 0, NULL);
}

static int pc_fallocate(const char *path, int mode, off_t offset, off_t n,
			struct fuse_file_info *fi)
{
	(void)fi;
	if (strcmp(path, "/image") != 0 || (mode & FALLOC_FL_PUNCH_HOLE) == 0)
		return -EOPNOTSUPP;
	if ((uint64_t)offset > disk.size || (uint64_t)n > disk.size - (uint64_t)offset)
		return -EINVAL;
	memset(disk.image + offset, 0, (size_t)n);
	for (uint64_t done = 0; done < (uint64_t)n; done += 1u << 30) {
		uint64_t part = (uint64_t)n - done < 1u << 30 ? (uint64_t)n - done : 1u << 30;
		int rc = note('D', (uint64_t)offset + done, (uint32_t)part, NULL);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static const struct fuse_operations operations = {
	.getattr = pc_getattr,
	.readdir = pc_readdir,
	.open = pc_open,
	.read = pc_read,
	.write = pc_write,
	.fsync = pc_fsync,
	.fallocate = pc_fallocate,
};

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: powercutfs LOG SIZE_MIB MOUNTPOINT\n");
		return 2;
	}
	disk.size = strtoull(argv[2], NULL, 10) << 20;
	disk.image = mmap(NULL, disk.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	disk.log = fopen(argv[1], "we");
	if (disk.image == MAP_FAILED || disk.log == NULL) {
		perror("powercutfs");
		return 1;
	}
	char words[3][20] = { "-f", "-s", "-ofsname=powercut" };
	char *fuse_argv[] = { argv[0], words[0], words[1], words[2], argv[3], NULL };
	int rc = fuse_main(5, fuse_argv, &operations, NULL);
	if (fclose(disk.log) != 0)
		rc = 1;
	return rc;
}
