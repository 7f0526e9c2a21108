#include "dvm/verify/infer.h"

static bool is_object(vtype t)
{
	return type_is_reference(t) || t == TYPE_OPEN;
}

struct parts {
	vtype base;			/* a class; TYPE_TOP: a primitive */
	uint32_t dimensions;
};

static struct parts parts_of(struct verifier *v, vtype t)
{
	struct slice text = symbol_text(v, type_symbol(t));
	uint32_t n = 0;

	while (n < text.len && text.ptr[n] == '[')
		n++;
	if (n == 0)
		return (struct parts){ t, 0 };
	/* Arrays of primitives are arrays of objects when they meet others, of one dimension less. */
	if (text.ptr[n] != 'L' || text.len < n + 3)
		return (struct parts){ v->object, n - 1 };
	t = TYPE_NAME | symbol_of(v, slice_of(text.ptr + n + 1, text.len - n - 2));
	return (struct parts){ t, n };
}

static vtype array_of(struct verifier *v, vtype base, uint32_t dimensions)
{
	struct slice name = symbol_text(v, type_symbol(base));
	uint8_t *p;
	uint32_t symbol;

	if (dimensions == 0 || !type_is_name(base))
		return base;
	p = verify_alloc(v, name.len + dimensions + 2, 1);
	if (p == NULL)
		return TYPE_TOP;
	memset(p, '[', dimensions);
	p[dimensions] = 'L';
	memcpy(p + dimensions + 1, name.ptr, name.len);
	p[dimensions + 1 + name.len] = ';';
	symbol = symbol_of(v, slice_of(p, name.len + dimensions + 2));
	return symbol == 0 ? TYPE_TOP : TYPE_NAME | symbol;
}

static bool is_array_like(const struct verifier *v, vtype t)	/* Cloneable and Serializable: what arrays are */
{
	return type_is_name(t) && (type_symbol(t) == v->cloneable || type_symbol(t) == v->serializable);
}

static vtype merge_arrays(struct verifier *v, vtype value, vtype target, bool assign)
{
	struct parts a, b;
	uint32_t less;

	if (is_array_like(v, target))
		return target;
	if (is_array_like(v, value))
		return value;
	a = parts_of(v, value);
	b = parts_of(v, target);
	if (a.dimensions == b.dimensions) {
		vtype base = infer_merge(v, a.base, b.base, assign);

		return base == TYPE_TOP || base == TYPE_OPEN ? base : array_of(v, base, a.dimensions);
	}
	if (a.dimensions < b.dimensions && is_array_like(v, a.base))
		return value;
	if (a.dimensions > b.dimensions && is_array_like(v, b.base))
		return target;
	less = MIN(a.dimensions, b.dimensions);
	return array_of(v, v->object, less);
}

static vtype open_merge(struct verifier *v, vtype value, vtype target)
{
	return links_add(v, (struct constraint){ .kind = CONSTRAINT_ASSIGNABLE, .answer = true, .name = symbol_text(v, type_symbol(value)),
						 .to = symbol_text(v, type_symbol(target)) }) ?
		       TYPE_OPEN :
		       TYPE_TOP;
}

/* The nearest class above both. */
static vtype common_super(struct verifier *v, vtype value, vtype target)
{
	uint32_t a = type_symbol(value), b;

	for (unsigned depth = 0; depth < VERIFY_CHAIN_MAX && a != 0; depth++) {
		const struct class_file *up = links_find(v, a);

		b = type_symbol(target);
		for (unsigned i = 0; i < VERIFY_CHAIN_MAX && b != 0; i++) {
			const struct class_file *c;

			if (b == a)
				return TYPE_NAME | a;
			c = links_find(v, b);
			if (c == NULL)
				return open_merge(v, value, target);
			b = links_super_of(v, c);
		}
		if (up == NULL)
			return open_merge(v, value, target);
		a = links_super_of(v, up);
	}
	return v->object;
}

static vtype merge_classes(struct verifier *v, vtype value, vtype target, bool assign)
{
	const struct class_file *a, *b;

	if (assign)
		return assignable_reference(v, value, target) ? target : v->object;
	b = links_find(v, type_symbol(target));
	if (b != NULL && (b->access_flags & ACC_INTERFACE) != 0)
		return v->object;
	a = links_find(v, type_symbol(value));
	if (a != NULL && (a->access_flags & ACC_INTERFACE) != 0)
		return v->object;
	if (a == NULL || b == NULL)
		return open_merge(v, value, target);
	return common_super(v, value, target);
}

/* The type that holds both; TYPE_TOP: none does. assign: `target` when value may be assigned to it, and something else when not. */
vtype infer_merge(struct verifier *v, vtype value, vtype target, bool assign)
{
	if (value == target)
		return value;
	if (!is_object(value) || !is_object(target))
		return TYPE_TOP;
	if (value == TYPE_NULL)
		return target;
	if (target == TYPE_NULL)
		return assign ? value : value;
	if (target == v->object)
		return target;
	if (value == TYPE_OPEN)
		return assign ? target : TYPE_OPEN;
	if (target == TYPE_OPEN)
		return target;
	if (value == v->object) {
		/* An interface is an Object, and an Object may be assigned to it. */
		if (assign && type_is_class(v, target)) {
			const struct class_file *c = links_find(v, type_symbol(target));

			if (c == NULL || (c->access_flags & ACC_INTERFACE) != 0)
				return assignable_reference(v, value, target) ? target : value;
		}
		return value;
	}
	if (type_is_array(v, value) || type_is_array(v, target))
		return merge_arrays(v, value, target, assign);
	return merge_classes(v, value, target, assign);
}
