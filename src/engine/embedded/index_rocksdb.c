/*
 * The index in RocksDB: one column family, no write-ahead log (the segment log is that), a bloom
 * filter, small caches. It may lag behind the log and may be deleted; it never leads it, because
 * commits come after the log's fdatasync.
 */
#include <errno.h>
#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#include "engine/embedded/index.h"

#define WRITE_BUFFER_BYTES	(32u << 20)
#define BLOCK_CACHE_BYTES	(64u << 20)
#define BLOOM_BITS_PER_KEY	10.0
#define READ_TIER_CACHE		1	/* rocksdb::kBlockCacheTier; c.h has no name for it */
#define SKIPPED_NOW_MAX		500	/* deleted entries that iter_now steps over */

struct index_rocksdb {
	struct index base;
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_cache_t *cache;
	rocksdb_readoptions_t *read, *now;
	rocksdb_writeoptions_t *write;
	rocksdb_flushoptions_t *flush;
	rocksdb_writebatch_t *batch;
};

struct index_iter {
	struct index_rocksdb *ix;
	rocksdb_iterator_t *it;
};

static const char *chars(struct slice s)
{
	return (const char *)s.ptr;
}

static int failed(char *err)
{
	if (err == NULL)
		return 0;
	free(err);
	return -EIO;
}

static int get_with(struct index_rocksdb *ix, rocksdb_readoptions_t *how, struct slice key, struct buf *out)
{
	char *err = NULL;
	rocksdb_pinnableslice_t *p = rocksdb_get_pinned(ix->db, how, chars(key), key.len, &err);

	if (err != NULL)
		return failed(err);
	if (p == NULL)
		return 0;
	size_t len;
	const char *v = rocksdb_pinnableslice_value(p, &len);

	buf_add(out, slice_of(v, len));
	rocksdb_pinnableslice_destroy(p);
	return out->err != 0 ? out->err : 1;
}

static int rocks_get(struct index *base, struct slice key, struct buf *out)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;

	return get_with(ix, ix->read, key, out);
}

static int rocks_get_now(struct index *base, struct slice key, struct buf *out)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;

	return get_with(ix, ix->now, key, out);
}

static struct index_iter *iter_with(struct index_rocksdb *ix, rocksdb_readoptions_t *how)
{
	struct index_iter *it = calloc(1, sizeof(*it));

	if (it == NULL)
		return NULL;
	it->ix = ix;
	it->it = rocksdb_create_iterator(ix->db, how);
	return it;
}

static struct index_iter *rocks_iter(struct index *base)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;

	return iter_with(ix, ix->read);
}

static struct index_iter *rocks_iter_now(struct index *base)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;

	return iter_with(ix, ix->now);
}

static void rocks_seek(struct index_iter *it, struct slice key)
{
	rocksdb_iter_seek(it->it, chars(key), key.len);
}

static void rocks_next(struct index_iter *it)
{
	rocksdb_iter_next(it->it);
}

static int rocks_valid(struct index_iter *it)
{
	char *err = NULL;

	if (rocksdb_iter_valid(it->it))
		return 1;
	rocksdb_iter_get_error(it->it, &err);
	return failed(err);
}

static struct slice rocks_key(struct index_iter *it)
{
	size_t len;
	const char *p = rocksdb_iter_key(it->it, &len);

	return slice_of(p, len);
}

static struct slice rocks_value(struct index_iter *it)
{
	size_t len;
	const char *p = rocksdb_iter_value(it->it, &len);

	return slice_of(p, len);
}

static void rocks_iter_free(struct index_iter *it)
{
	rocksdb_iter_destroy(it->it);
	free(it);
}

static void rocks_put(struct index *base, struct slice key, struct slice value)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;

	rocksdb_writebatch_put(ix->batch, chars(key), key.len, chars(value), value.len);
}

static void rocks_del(struct index *base, struct slice key)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;

	rocksdb_writebatch_delete(ix->batch, chars(key), key.len);
}

static int rocks_commit(struct index *base)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;
	char *err = NULL;

	rocksdb_write(ix->db, ix->write, ix->batch, &err);
	rocksdb_writebatch_clear(ix->batch);
	return failed(err);
}

static int rocks_flush(struct index *base)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;
	char *err = NULL;

	rocksdb_flush(ix->db, ix->flush, &err);
	return failed(err);
}

static void rocks_close(struct index *base)
{
	struct index_rocksdb *ix = (struct index_rocksdb *)base;

	if (ix->db != NULL)
		rocksdb_close(ix->db);
	rocksdb_writebatch_destroy(ix->batch);
	rocksdb_flushoptions_destroy(ix->flush);
	rocksdb_writeoptions_destroy(ix->write);
	rocksdb_readoptions_destroy(ix->read);
	rocksdb_readoptions_destroy(ix->now);
	rocksdb_options_destroy(ix->options);
	rocksdb_cache_destroy(ix->cache);
	free(ix);
}

static const struct index_vtable rocks_vtable = {
	.get = rocks_get,
	.iter = rocks_iter,
	.get_now = rocks_get_now,
	.iter_now = rocks_iter_now,
	.seek = rocks_seek,
	.next = rocks_next,
	.valid = rocks_valid,
	.key = rocks_key,
	.value = rocks_value,
	.iter_free = rocks_iter_free,
	.put = rocks_put,
	.del = rocks_del,
	.commit = rocks_commit,
	.flush = rocks_flush,
	.close = rocks_close,
};

static rocksdb_options_t *options_make(rocksdb_cache_t *cache)
{
	rocksdb_options_t *o = rocksdb_options_create();
	rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();

	rocksdb_block_based_options_set_filter_policy(
		t, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
	rocksdb_block_based_options_set_block_cache(t, cache);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
	rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
	rocksdb_options_set_block_based_table_factory(o, t);
	rocksdb_block_based_options_destroy(t);
	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_write_buffer_size(o, WRITE_BUFFER_BYTES);
	/* Most guards ask for what is not there: let a filter say so, not the skip list. */
	rocksdb_options_set_memtable_whole_key_filtering(o, 1);
	/* Most gets ask for keys that are not there: guards, and rows about to be made. */
	rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.05);
	rocksdb_options_set_max_write_buffer_number(o, 3);
	rocksdb_options_set_max_open_files(o, 256);
	rocksdb_options_set_max_background_jobs(o, 2);
	rocksdb_options_set_compression(o, rocksdb_no_compression);
	rocksdb_options_set_keep_log_file_num(o, 2);
	rocksdb_options_set_max_log_file_size(o, 1u << 20);
	rocksdb_options_set_stats_dump_period_sec(o, 0);
	/* Most gets ask for keys that are not there: guards, and rows about to be made. */
	rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.02);
	rocksdb_options_set_memtable_whole_key_filtering(o, 1);
	rocksdb_options_set_allow_concurrent_memtable_write(o, 0);	/* one writer */
	return o;
}

int index_rocksdb_open(const char *dir, struct index **out, struct errmsg *why)
{
	struct index_rocksdb *ix = calloc(1, sizeof(*ix));
	char *err = NULL;

	if (ix == NULL)
		return errmsg_set(why, -ENOMEM, "index '%s'", dir);
	ix->base.vt = &rocks_vtable;
	ix->cache = rocksdb_cache_create_lru(BLOCK_CACHE_BYTES);
	ix->options = options_make(ix->cache);
	ix->read = rocksdb_readoptions_create();
	ix->now = rocksdb_readoptions_create();
	rocksdb_readoptions_set_read_tier(ix->now, READ_TIER_CACHE);
	rocksdb_readoptions_set_max_skippable_internal_keys(ix->now, SKIPPED_NOW_MAX);
	ix->write = rocksdb_writeoptions_create();
	rocksdb_writeoptions_disable_WAL(ix->write, 1);
	ix->flush = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(ix->flush, 1);
	ix->batch = rocksdb_writebatch_create();
	ix->db = rocksdb_open(ix->options, dir, &err);
	if (err != NULL) {
		/* Messages are all that the C interface gives. */
		bool busy = strstr(err, "lock") != NULL || strstr(err, "LOCK") != NULL;
		bool full = strstr(err, "No space left") != NULL;
		int code = full ? -ENOSPC : busy ? -EBUSY : -EUCLEAN;

		errmsg_say(why, code, "open the index '%s': %s", dir, err);
		free(err);
		ix->db = NULL;
		rocks_close(&ix->base);
		return code;
	}
	*out = &ix->base;
	return 0;
}

int index_rocksdb_destroy(const char *dir, struct errmsg *why)
{
	rocksdb_options_t *o = rocksdb_options_create();
	char *err = NULL;

	rocksdb_destroy_db(o, dir, &err);
	rocksdb_options_destroy(o);
	if (err == NULL)
		return 0;
	errmsg_say(why, -EIO, "delete the index '%s': %s", dir, err);
	free(err);
	return -EIO;
}
