/*
 * One operation: are its guards true, and what does its record say?
 */
#include <errno.h>

#include "base/crc32c.h"
#include "engine/embedded/store.h"

bool op_valid(const struct engine_op *op)
{
	size_t bytes = op->object.len, effects = 0;
	bool removes = false;

	if (op->object.len == 0 || op->object.len > ENGINE_NAME_BYTES_MAX ||
	    memchr(op->object.ptr, 0, op->object.len) != NULL || op->count > ENGINE_STEPS_MAX ||
	    op->notify.len > ENGINE_NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < op->count; i++) {
		const struct engine_step *st = &op->steps[i];

		bytes += st->key.len + st->value.len;
		if (st->kind < GUARD_EXISTS || st->kind > STEP_REMOVE ||
		    st->key.len > ENGINE_KEY_BYTES_MAX ||
		    (st->kind != STEP_WRITE && st->value.len > ENGINE_VALUE_BYTES_MAX) ||
		    (st->kind == STEP_WRITE && st->at > INT64_MAX - ENGINE_OP_BYTES_MAX))
			return false;
		if (st->kind < STEP_WRITE && effects > 0)
			return false;
		effects += st->kind >= STEP_WRITE;
		removes |= st->kind == STEP_REMOVE;
	}
	return bytes <= ENGINE_OP_BYTES_MAX && !(removes && effects > 1);
}

int entry_value(struct store *s, const struct entry *e, struct buf *out)
{
	size_t start = out->len;

	if (e->inlined) {
		buf_add(out, e->data);
		return out->err;
	}
	int err = stream_read(s, e->segment, e->pos, e->len, out);
	if (err != 0)
		return err;
	return crc32c(0, slice_from(buf_slice(out), start)) == e->crc ? 0 : -EBADMSG;
}

static enum engine_result key_equals(struct store *s, const struct engine_op *op,
				     const struct engine_step *st)
{
	const struct entry *e = state_get(s, op->object, KEY_KEY, st->key);

	if (e == NULL || e->len != st->value.len)
		return ENGINE_GUARD;
	buf_reset(&s->value);
	int err = entry_value(s, e, &s->value);
	if (err != 0)
		return err == -EBADMSG ? ENGINE_DAMAGED : ENGINE_UNAVAILABLE;
	return slice_eq(buf_slice(&s->value), st->value) ? ENGINE_OK : ENGINE_GUARD;
}

static enum engine_result guard(struct store *s, const struct engine_op *op,
				const struct engine_step *st, bool exists, uint64_t *length)
{
	bool holds = true;

	switch (st->kind) {
	case GUARD_EXISTS:
		holds = exists;
		break;
	case GUARD_ABSENT:
		holds = !exists;
		break;
	case GUARD_KEY_EQUALS:
		return key_equals(s, op, st);
	case GUARD_KEY_ABSENT:
		holds = state_get(s, op->object, KEY_KEY, st->key) == NULL;
		break;
	case GUARD_LENGTH:
		holds = st->at == *length;
		break;
	case STEP_WRITE:
		holds = st->at == *length;
		*length += st->value.len;
		break;
	case STEP_SET:
	case STEP_DELETE:
	case STEP_REMOVE:
		break;
	}
	return holds ? ENGINE_OK : ENGINE_GUARD;
}

/* How many bytes the body can have at most, and which kinds of effects there are. */
struct size {
	size_t body;
	bool any, removes;
	enum log_need need;
};

static struct size op_size(const struct engine_op *op)
{
	struct size z = { .body = op->object.len + 4 };

	for (size_t i = 0; i < op->count; i++) {
		const struct engine_step *st = &op->steps[i];

		if (st->kind < STEP_WRITE)
			continue;
		z.any = true;
		if (st->kind == STEP_WRITE)
			z.need = LOG_BYTES;
		else if (st->kind == STEP_SET)
			z.need = MAX(z.need, LOG_KEYS);
		z.removes |= st->kind == STEP_REMOVE;
		z.body += st->key.len + st->value.len + 24;
	}
	return z;
}

/*
 * Only the last effect on a key is recorded. Then no two effects on it have the same version, and
 * compaction may move a deletion apart from the value that the same operation set before or after.
 */
static bool key_changes_later(const struct engine_op *op, size_t i)
{
	for (size_t k = i + 1; k < op->count; k++)
		if ((op->steps[k].kind == STEP_SET || op->steps[k].kind == STEP_DELETE) &&
		    slice_eq(op->steps[k].key, op->steps[i].key))
			return true;
	return false;
}

static void encode_delete(struct store *s, const struct engine_op *op, struct slice key)
{
	const struct entry *e = state_get(s, op->object, KEY_KEY, key);

	if (e == NULL)
		return;			/* nothing to delete: older copies have their own deletion */
	buf_addc(&s->record, EFFECT_DELETE);
	buf_blob(&s->record, key);
	buf_varint(&s->record, e->oldest);
}

static void encode(struct store *s, const struct engine_op *op, const struct entry *object)
{
	log_begin(s);
	buf_addc(&s->record, object == NULL ? OP_CREATES : 0);
	buf_blob(&s->record, op->object);
	for (size_t i = 0; i < op->count; i++) {
		const struct engine_step *st = &op->steps[i];

		switch (st->kind) {
		case STEP_WRITE:
			if (st->value.len == 0)
				break;
			buf_addc(&s->record, EFFECT_WRITE);
			buf_varint(&s->record, st->at);
			buf_blob(&s->record, st->value);
			break;
		case STEP_SET:
			if (key_changes_later(op, i))
				break;
			buf_addc(&s->record, EFFECT_SET);
			buf_blob(&s->record, st->key);
			buf_blob(&s->record, st->value);
			break;
		case STEP_DELETE:
			if (!key_changes_later(op, i))
				encode_delete(s, op, st->key);
			break;
		case STEP_REMOVE:
			buf_addc(&s->record, EFFECT_REMOVE);
			buf_varint(&s->record, object->oldest);
			break;
		default:
			break;
		}
	}
}

enum plan plan_op(struct store *s, const struct engine_op *op, enum engine_result *result)
{
	const struct entry *object = state_get(s, op->object, KEY_OBJECT, slice_of(NULL, 0));
	uint64_t length = object == NULL ? 0 : object->length, lsn;
	struct size z = op_size(op);

	*result = ENGINE_OK;
	for (size_t i = 0; i < op->count && *result == ENGINE_OK; i++)
		*result = guard(s, op, &op->steps[i], object != NULL, &length);
	if (s->state_err != 0)
		*result = ENGINE_UNAVAILABLE;
	if (*result != ENGINE_OK || !z.any)
		return PLAN_DONE;
	if (z.removes && object == NULL)
		return PLAN_DONE;
	if (z.body > s->opt.segment_bytes / 2) {
		*result = ENGINE_INVALID;
		return PLAN_DONE;
	}
	if (z.removes && state_touched(s, op->object))
		return PLAN_CUT;
	switch (log_room(s, z.body, z.need)) {
	case LOG_ROOM:
		break;
	case LOG_CUT:
		return PLAN_CUT;
	case LOG_FULL:
		*result = ENGINE_FULL;
		return PLAN_DONE;
	case LOG_DOWN:
		*result = ENGINE_UNAVAILABLE;
		return PLAN_DONE;
	}
	encode(s, op, object);
	size_t start = s->record.len - RECORD_HEADER_BYTES;
	if (start == 2 + op->object.len && object != NULL)
		return PLAN_DONE;	/* deletes what is not there */
	uint64_t pos = log_put(s, RECORD_OP, &lsn);
	if (!state_apply(s, s->active, pos, RECORD_OP, lsn,
			 slice_from(buf_slice(&s->record), RECORD_HEADER_BYTES)))
		s->state_err = -EUCLEAN;	/* we wrote it: cannot be */
	count(&s->stats.payload_bytes, z.body - op->object.len - 4);
	return PLAN_DONE;
}
