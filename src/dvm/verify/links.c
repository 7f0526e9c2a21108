/*
 * What other classes say: 4.10 (superclasses), 4.10.1.2 (subclasses), 4.10.1.8 (protected members), 5.3.5 (superclass and superinterfaces).
 *
 * Each answer is recorded once as a constraint. A class that the source lacks leaves it open: it is taken to hold, and said so.
 */
#include "dvm/verify/internal.h"

const struct class_file *links_find(struct verifier *v, uint32_t symbol)
{
	struct symbol *s = &v->symbols[symbol];

	if (symbol == type_symbol(v->this_type))
		return v->c;
	if (!s->looked_up) {
		s->looked_up = true;
		s->class = v->source == NULL ? NULL : v->source->find(v->source->context, s->text);
	}
	return s->class;
}

bool links_add(struct verifier *v, struct constraint c)
{
	if (!verify_room(v, (void **)&v->constraints, &v->constraint_room, v->constraint_count + 1, sizeof(c)))
		return false;
	v->constraints[v->constraint_count++] = c;
	v->result->open_count += !c.checked;
	return true;
}

uint32_t links_super_of(struct verifier *v, const struct class_file *c)
{
	return c->super_class == 0 ? 0 : symbol_of(v, class_super(c));
}

static bool is_interface(const struct class_file *c)
{
	return (c->access_flags & ACC_INTERFACE) != 0;
}

/* Is from a subclass of to? *known becomes false when the class path ends on the way. */
static bool is_subclass(struct verifier *v, uint32_t from, uint32_t to, bool *known)
{
	*known = true;
	for (unsigned depth = 0; depth < VERIFY_CHAIN_MAX && from != 0; depth++) {
		const struct class_file *c = links_find(v, from);

		if (c == NULL) {
			*known = false;
			return true;
		}
		from = links_super_of(v, c);
		if (from == to)
			return true;
	}
	return false;
}

bool links_assignable(struct verifier *v, vtype from, vtype to)
{
	struct constraint q = { .kind = CONSTRAINT_ASSIGNABLE, .name = symbol_text(v, type_symbol(from)), .to = symbol_text(v, type_symbol(to)),
				.answer = true, .checked = true };
	const struct class_file *c = links_find(v, type_symbol(to));

	if (c == NULL)
		q.checked = false;
	else if (!is_interface(c))
		q.answer = is_subclass(v, type_symbol(from), type_symbol(to), &q.checked);
	return links_add(v, q) && q.answer;
}

/* The superclasses, as far as the class path tells; marks their symbols. */
static void walk_chain(struct verifier *v)
{
	uint32_t at = v->super_type == TYPE_TOP ? 0 : type_symbol(v->super_type);

	v->chain_known = true;
	for (unsigned depth = 0; depth < VERIFY_CHAIN_MAX && at != 0; depth++) {
		const struct class_file *c;

		v->symbols[at].is_super = true;
		if (at == type_symbol(v->object))
			return;
		c = links_find(v, at);
		if (c == NULL) {
			v->chain_open = true;
			return;
		}
		at = links_super_of(v, c);
	}
}

bool links_is_super(struct verifier *v, uint32_t symbol)
{
	if (!v->chain_known)
		walk_chain(v);
	return v->symbols[symbol].is_super;
}

bool same_package(struct slice a, struct slice b)
{
	size_t i = slice_rfind_byte(a, '/'), j = slice_rfind_byte(b, '/');

	return slice_eq(i == SLICE_NPOS ? slice_of(a.ptr, 0) : slice_head(a, i), j == SLICE_NPOS ? slice_of(b.ptr, 0) : slice_head(b, j));
}

/* A field of that name and type in c's superinterfaces hides one of a superclass (5.4.3.2). Depth is bounded, breadth by the classes' own sizes. */
static const struct class_member *interface_field(struct verifier *v, const struct class_file *c, struct slice name, struct slice descriptor, unsigned depth)
{
	for (uint32_t i = 0; depth < 16 && i < class_interfaces(c); i++) {
		uint32_t symbol = symbol_of(v, class_interface(c, i));
		const struct class_file *in = symbol == 0 ? NULL : links_find(v, symbol);
		const struct class_member *m = in == NULL ? NULL : class_field(in, name, descriptor);

		if (m == NULL && in != NULL)
			m = interface_field(v, in, name, descriptor, depth + 1);
		if (m != NULL)
			return m;
	}
	return NULL;
}

/* Where the member is declared, from class `symbol` upwards. *known: the class path held all that was asked. */
static const struct class_member *find_member(struct verifier *v, uint32_t symbol, const struct member_ref *ref, bool is_method,
					      const struct class_file **holder, bool *known)
{
	struct slice name = symbol_text(v, ref->name), descriptor = symbol_text(v, ref->descriptor);

	*known = true;
	for (unsigned depth = 0; depth < VERIFY_CHAIN_MAX && symbol != 0; depth++) {
		const struct class_file *c = links_find(v, symbol);
		const struct class_member *m;

		if (c == NULL) {
			*known = false;
			return NULL;
		}
		m = is_method ? class_method(c, name, descriptor) : class_field(c, name, descriptor);
		if (m == NULL && !is_method)
			m = interface_field(v, c, name, descriptor, 0);
		if (m != NULL) {
			*holder = c;
			return m;
		}
		symbol = links_super_of(v, c);
	}
	return NULL;
}

static bool ask_protected(struct verifier *v, struct member_ref *ref, bool is_method)
{
	struct constraint q = { .kind = CONSTRAINT_PROTECTED, .name = class_name(v->c), .to = symbol_text(v, type_symbol(ref->owner)),
				.member = symbol_text(v, ref->name), .descriptor = symbol_text(v, ref->descriptor), .checked = true };
	const struct class_file *holder = NULL;
	const struct class_member *m = find_member(v, type_symbol(ref->owner), ref, is_method, &holder, &q.checked);

	q.answer = m != NULL && (m->access_flags & ACC_PROTECTED) != 0 && !same_package(class_name(holder), class_name(v->c));
	return links_add(v, q) && q.answer;
}

bool links_is_protected(struct verifier *v, struct member_ref *ref, bool is_method)
{
	if (ref->protection == 0) {
		bool is = links_is_super(v, type_symbol(ref->owner)) ||
			  /* Behind the end of the class path it might be one. */
			  (v->chain_open && ref->owner != v->this_type && links_find(v, type_symbol(ref->owner)) == NULL);

		ref->protection = is && ask_protected(v, ref, is_method) ? 2 : 1;
	}
	return ref->protection == 2;
}

bool links_constructor_protected(struct verifier *v, struct member_ref *ref)
{
	return links_is_protected(v, ref, true);
}

static bool refuse_hierarchy(struct verifier *v, const char *section, const char *what, struct slice name)
{
	char text[TYPE_TEXT_BYTES];

	return class_fault_set(v->fault, CLASS_FAULT_HIERARCHY, section, 0, "%s %s", what, printable(name, text));
}

/* 5.3.5: a sealed class names this one, and lives in the same package unless this class is public. */
static bool is_permitted(const struct verifier *v, const struct class_file *sealed)
{
	const struct class_attribute *a = class_attribute(sealed, &sealed->attributes, SLICE("PermittedSubclasses"));
	uint32_t n;

	if (a == NULL || sealed->major < 61 || a->body.len < 2)
		return true;
	n = (uint32_t)(a->body.ptr[0] << 8 | a->body.ptr[1]);
	if ((v->c->access_flags & ACC_PUBLIC) == 0 && !same_package(class_name(sealed), class_name(v->c)))
		return false;
	for (uint32_t i = 0; i < n && 4 + 2 * (size_t)i <= a->body.len; i++)
		if (slice_eq(pool_name(&sealed->pool, (uint32_t)(a->body.ptr[2 + 2 * i] << 8 | a->body.ptr[3 + 2 * i])), class_name(v->c)))
			return true;
	return false;
}

static bool is_visible(const struct verifier *v, const struct class_file *other)
{
	return (other->access_flags & ACC_PUBLIC) != 0 || same_package(class_name(other), class_name(v->c));
}

static bool check_super(struct verifier *v)
{
	uint32_t symbol = type_symbol(v->super_type);
	const struct class_file *super = links_find(v, symbol);
	struct slice name = class_super(v->c);
	bool checked = super != NULL;

	if (v->super_type == v->this_type)
		return refuse_hierarchy(v, "5.3.5", "the class is its own superclass:", name);
	if (!links_add(v, (struct constraint){ .kind = CONSTRAINT_CLASS, .answer = true, .checked = checked, .name = name }) ||
	    !links_add(v, (struct constraint){ .kind = CONSTRAINT_NOT_FINAL, .answer = true, .checked = checked, .name = name }))
		return false;
	if (super == NULL)
		return true;
	if (is_interface(super))
		return refuse_hierarchy(v, "5.3.5", "the superclass is an interface:", name);
	if ((super->access_flags & ACC_FINAL) != 0)
		return refuse_hierarchy(v, "5.3.5", "the superclass is final:", name);
	if (!is_permitted(v, super))
		return refuse_hierarchy(v, "5.3.5", "the superclass is sealed and does not permit this class:", name);
	if (!is_visible(v, super))
		return refuse_hierarchy(v, "5.4.4", "the superclass is not public and in another package:", name);
	return true;
}

static bool check_interface(struct verifier *v, struct slice name)
{
	uint32_t symbol = symbol_of(v, name);
	const struct class_file *in;

	if (symbol == 0)
		return false;
	in = links_find(v, symbol);
	if (symbol == type_symbol(v->this_type))
		return refuse_hierarchy(v, "5.3.5", "the class is its own superinterface:", name);
	if (!links_add(v, (struct constraint){ .kind = CONSTRAINT_CLASS, .checked = in != NULL, .name = name }))
		return false;
	if (in == NULL)
		return true;
	if (!is_interface(in))
		return refuse_hierarchy(v, "5.3.5", "a superinterface is a class:", name);
	if (!is_permitted(v, in))
		return refuse_hierarchy(v, "5.3.5", "a superinterface is sealed and does not permit this class:", name);
	if (!is_visible(v, in))
		return refuse_hierarchy(v, "5.4.4", "a superinterface is not public and in another package:", name);
	return true;
}

struct climb {				/* supertypes to look at */
	uint32_t *todo, count, room;
};

static bool climb_add(struct verifier *v, struct climb *k, uint32_t symbol)
{
	if (symbol == 0)
		return v->fault->kind == CLASS_FAULT_NONE;
	/* The JDK's own are not above by way of others: no class of theirs names one of an application. */
	if (v->symbols[symbol].is_above || (slice_starts(symbol_text(v, symbol), SLICE("java/")) && symbol != type_symbol(v->this_type)))
		return true;
	if (!verify_room(v, (void **)&k->todo, &k->room, k->count + 1, sizeof(*k->todo)))
		return false;
	v->symbols[symbol].is_above = true;
	k->todo[k->count++] = symbol;
	return true;
}

static bool climb_from(struct verifier *v, struct climb *k, const struct class_file *c)
{
	if (!climb_add(v, k, links_super_of(v, c)))
		return false;
	for (uint32_t i = 0; i < class_interfaces(c); i++)
		if (!climb_add(v, k, symbol_of(v, class_interface(c, i))))
			return false;
	return true;
}

/* 5.3.5: a class that is above itself. */
static bool check_circle(struct verifier *v)
{
	struct climb k = { 0 };

	if (!climb_from(v, &k, v->c))
		return false;
	while (k.count > 0) {
		uint32_t at = k.todo[--k.count];
		const struct class_file *c;

		if (at == type_symbol(v->this_type))
			return refuse_hierarchy(v, "5.3.5", "the class is above itself:", class_name(v->c));
		c = links_find(v, at);
		if (c != NULL && !climb_from(v, &k, c))
			return false;
	}
	return true;
}

static bool is_overridable_name(const struct verifier *v, const struct class_member *m)
{
	return (m->access_flags & (ACC_PRIVATE | ACC_STATIC)) == 0 && pool_utf8(&v->c->pool, m->name).ptr[0] != '<';
}

/* A method of the class that overrides `above`, which is final in c; NULL: none. */
static const struct class_member *overriding(struct verifier *v, const struct class_file *c, const struct class_member *above)
{
	struct slice name, descriptor;

	if ((above->access_flags & ACC_FINAL) == 0 || (above->access_flags & (ACC_STATIC | ACC_PRIVATE)) != 0 ||
	    ((above->access_flags & (ACC_PUBLIC | ACC_PROTECTED)) == 0 && !same_package(class_name(c), class_name(v->c))))
		return NULL;
	name = member_name(c, above);
	descriptor = member_descriptor(c, above);
	for (uint32_t i = 0; i < v->c->methods.count; i++) {
		const struct class_member *m = &v->c->methods.at[i];

		if (slice_eq(member_name(v->c, m), name) && slice_eq(member_descriptor(v->c, m), descriptor) && is_overridable_name(v, m)) {
			v->method = (int32_t)i;
			return m;
		}
	}
	return NULL;
}

/* The rest of the chain is not on the class path: no method may override a final one there. */
static bool finals_open(struct verifier *v, struct slice super)
{
	for (uint32_t i = 0; i < v->c->methods.count; i++) {
		const struct class_member *m = &v->c->methods.at[i];

		if (is_overridable_name(v, m) &&
		    !links_add(v, (struct constraint){ .kind = CONSTRAINT_NOT_OVERRIDDEN_FINAL, .answer = true, .name = class_name(v->c), .to = super,
						       .member = member_name(v->c, m), .descriptor = member_descriptor(v->c, m) }))
			return false;
	}
	return true;
}

static bool check_finals(struct verifier *v)
{
	uint32_t at = v->super_type == TYPE_TOP ? 0 : type_symbol(v->super_type);
	char text[TYPE_TEXT_BYTES];

	for (unsigned depth = 0; depth < VERIFY_CHAIN_MAX && at != 0; depth++) {
		const struct class_file *c = links_find(v, at);
		const struct class_member *m = NULL;

		if (c == NULL)
			return finals_open(v, symbol_text(v, at));
		for (uint32_t i = 0; i < c->methods.count && m == NULL; i++)
			m = overriding(v, c, &c->methods.at[i]);
		if (m != NULL)
			return class_fault_set(v->fault, CLASS_FAULT_HIERARCHY, "4.10", m->offset, "the method overrides a final method of %s",
					       printable(class_name(c), text));
		at = links_super_of(v, c);
	}
	return true;
}

bool links_check(struct verifier *v)
{
	if (v->super_type != TYPE_TOP && !check_super(v))
		return false;
	for (uint32_t i = 0; i < class_interfaces(v->c); i++)
		if (!check_interface(v, class_interface(v->c, i)))
			return false;
	return check_circle(v) && check_finals(v);
}
