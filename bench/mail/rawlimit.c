/*
 * rawlimit: what the disk gives, for bench/mail.
 *
 *	rawlimit DIRECTORY THREADS SECONDS BYTES own|group
 *
 * own: each thread appends to its own file and calls fdatasync. group: all threads append to one
 * file, and one fdatasync serves all who wait. Prints durable appends a second.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	const char *dir;
	size_t bytes;
	volatile int stop;
	int group, log_fd;
	pthread_mutex_t lock;
	pthread_cond_t synced_cond;
	uint64_t written, synced;
	int syncing;
} raw = { .lock = PTHREAD_MUTEX_INITIALIZER, .synced_cond = PTHREAD_COND_INITIALIZER };

static void append(int fd, const char *buf)
{
	if (write(fd, buf, raw.bytes) != (ssize_t)raw.bytes) {
		perror("rawlimit: write");
		exit(1);
	}
}

static void append_group(const char *buf)
{
	pthread_mutex_lock(&raw.lock);
	append(raw.log_fd, buf);
	uint64_t mine = ++raw.written;
	while (raw.synced < mine) {
		if (raw.syncing) {
			pthread_cond_wait(&raw.synced_cond, &raw.lock);
			continue;
		}
		raw.syncing = 1;
		uint64_t upto = raw.written;
		pthread_mutex_unlock(&raw.lock);
		fdatasync(raw.log_fd);
		pthread_mutex_lock(&raw.lock);
		raw.synced = upto;
		raw.syncing = 0;
		pthread_cond_broadcast(&raw.synced_cond);
	}
	pthread_mutex_unlock(&raw.lock);
}

static void *work(void *arg)
{
	uintptr_t count = 0;
	char path[4096];
	char *buf = calloc(1, raw.bytes);

	snprintf(path, sizeof(path), "%s/raw.%lu", raw.dir, (unsigned long)(uintptr_t)arg);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || buf == NULL) {
		perror("rawlimit");
		exit(1);
	}
	for (; !raw.stop; count++) {
		if (raw.group) {
			append_group(buf);
		} else {
			append(fd, buf);
			fdatasync(fd);
		}
	}
	close(fd);
	unlink(path);
	free(buf);
	return (void *)count;
}

int main(int argc, char **argv)
{
	pthread_t threads[256];
	uint64_t sum = 0;

	if (argc != 6) {
		fprintf(stderr, "usage: rawlimit DIRECTORY THREADS SECONDS BYTES own|group\n");
		return 2;
	}
	int n = atoi(argv[2]) > 256 ? 256 : atoi(argv[2]);
	raw.dir = argv[1];
	raw.bytes = (size_t)atoi(argv[4]);
	raw.group = strcmp(argv[5], "group") == 0;
	char path[4096];
	snprintf(path, sizeof(path), "%s/raw.log", raw.dir);
	raw.log_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (int i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i);
	struct timespec nap = { atoi(argv[3]), 0 };
	nanosleep(&nap, NULL);
	raw.stop = 1;
	for (int i = 0; i < n; i++) {
		void *count;
		pthread_join(threads[i], &count);
		sum += (uintptr_t)count;
	}
	unlink(path);
	printf("%.0f\n", (double)sum / atoi(argv[3]));
	return 0;
}
