#include "spine/inspect/object.h"

#include <errno.h>

#include "spine/inspect/inspect_limits.h"
#include "spine/inspect/testdata/objects.h"

static const struct object *parse(struct arena *arena, struct slice bytes)
{
	const struct object *o = NULL;
	struct errmsg why = { 0 };

	ck_assert_msg(object_parse(arena, bytes, &o, &why) == 0, "%s", why.text);
	return o;
}

static const struct object_program *program(const struct object *o, const char *name)
{
	for (size_t i = 0; i < o->program_count; i++) {
		if (strcmp(o->programs[i].name, name) == 0)
			return &o->programs[i];
	}
	ck_abort_msg("there is no program %s", name);
}

static const struct object_map *map(const struct object *o, const char *name)
{
	for (size_t i = 0; i < o->map_count; i++) {
		if (strcmp(o->maps[i].name, name) == 0)
			return &o->maps[i];
	}
	ck_abort_msg("there is no map %s", name);
}

static size_t refs_of(const struct object_program *p, enum object_ref_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < p->ref_count; i++)
		n += p->refs[i].kind == kind;
	return n;
}

START_TEST(an_object_without_manifest_is_read_whole)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct slice bytes = test_object("plain");
	const struct object *o = parse(&arena, bytes);
	const struct object_program *p = program(o, "plain");

	ck_assert_ptr_null(o->manifest);
	ck_assert_str_eq(o->licence, "Dual MIT/GPL");
	ck_assert(o->has_btf);
	ck_assert_uint_eq(o->program_count, 3);
	ck_assert_ptr_eq(object_entry(o), p);
	ck_assert_uint_eq(p->type, BPF_PROG_TYPE_XDP);
	ck_assert(p->entry && !p->frags);
	ck_assert(!program(o, "local")->entry);
	ck_assert_uint_eq(refs_of(p, REF_CALL), 2);
	ck_assert_uint_eq(refs_of(p, REF_CORE), 1);
	ck_assert_uint_eq(refs_of(p, REF_EXTERN), 1);
	ck_assert_uint_ge(refs_of(p, REF_MAP_VALUE), 3);
	ck_assert_uint_eq(refs_of(program(o, "local"), REF_MAP), 1);
	free((void *)(uintptr_t)bytes.ptr);
}
END_TEST

START_TEST(maps_come_from_btf_and_data_sections)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct slice bytes = test_object("plain");
	const struct object *o = parse(&arena, bytes);
	const struct object_map *m = map(o, "prefixes"), *zeros = map(o, ".bss");

	ck_assert_uint_eq(m->type, BPF_MAP_TYPE_LPM_TRIE);
	ck_assert_uint_eq(m->key_bytes, 8);
	ck_assert_uint_eq(m->value_bytes, 12);
	ck_assert_uint_eq(m->entries, 128);
	ck_assert_uint_eq(m->flags, BPF_F_NO_PREALLOC);
	ck_assert(!m->internal);
	ck_assert(zeros->internal && zeros->value_bytes == 800);
	ck_assert(map(o, ".rodata")->internal);
	free((void *)(uintptr_t)bytes.ptr);
}
END_TEST

START_TEST(maps_of_maps_tell_what_is_in_them)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct slice bytes = test_object("maps");
	const struct object *o = parse(&arena, bytes);
	const struct object_map *outer = map(o, "outer");

	ck_assert(outer->filled && outer->pin_by_name);
	ck_assert_ptr_nonnull(outer->inner);
	ck_assert_uint_eq(outer->inner->type, BPF_MAP_TYPE_HASH);
	ck_assert_uint_eq(outer->inner->value_bytes, 24);
	ck_assert_uint_eq(map(o, "bloom")->extra, 3);
	ck_assert(map(o, "programs")->filled && map(o, "programs")->inner == NULL);
	free((void *)(uintptr_t)bytes.ptr);
}
END_TEST

START_TEST(an_instruction_knows_its_source_line)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct slice bytes = test_object("any_port");
	const struct object *o = parse(&arena, bytes);
	const struct object_program *p = object_entry(o);
	const struct object_line *line = object_line_at(p, p->insn_count - 1);

	ck_assert_ptr_nonnull(line);
	ck_assert(slice_ends(slice_str(line->file), SLICE("hostile.bpf.c")));
	ck_assert_str_eq(line->text, "return bpf_redirect(context->rx_queue_index, 0);");
	free((void *)(uintptr_t)bytes.ptr);
}
END_TEST

START_TEST(a_manifest_gets_its_defaults)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct slice one = test_object("messages"), two = test_object("ports");
	const struct spine_manifest *m = parse(&arena, one)->manifest, *d = parse(&arena, two)->manifest;

	ck_assert_str_eq(m->name, "with-messages");
	ck_assert_str_eq(m->match, "udp port 53");
	ck_assert_uint_eq(m->order, 7);
	ck_assert_uint_eq(m->verdicts, SPINE_PASS | SPINE_TX);
	ck_assert_uint_eq(m->channels, 1);
	ck_assert_uint_eq(d->order, 1000);
	ck_assert_uint_eq(d->continues, SPINE_PASS);
	ck_assert_uint_eq(d->instructions_max, 20000);
	ck_assert_uint_eq(d->memory_bytes_max, 16u << 20);
	ck_assert_uint_eq(d->channels, 0);
	free((void *)(uintptr_t)one.ptr);
	free((void *)(uintptr_t)two.ptr);
}
END_TEST

START_TEST(arguments_of_handlers_are_flattened)
{
	static const struct object_field want[] = {
		{ "from_x", "__u16", 0, 2, 1 },	 { "from_y", "__u16", 2, 2, 1 },  { "to_0_x", "__u16", 4, 2, 1 },
		{ "to_0_y", "__u16", 6, 2, 1 },	 { "to_1_x", "__u16", 8, 2, 1 },  { "to_1_y", "__u16", 10, 2, 1 },
		{ "name", "__u8", 12, 1, 8 },	 { "colour", "__u32", 20, 4, 1 }, { "when", "__s64", 24, 8, 1 },
	};
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct slice bytes = test_object("messages");
	const struct object *o = parse(&arena, bytes);

	ck_assert_uint_eq(o->handler_count, 1);
	ck_assert_uint_eq(o->handlers[0].id, 3);
	ck_assert_uint_eq(o->handlers[0].bytes, 32);
	ck_assert_uint_eq(o->handlers[0].field_count, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		const struct object_field *f = &o->handlers[0].fields[i];
		ck_assert_str_eq(f->name, want[i].name);
		ck_assert_str_eq(f->type, want[i].type);
		ck_assert_uint_eq(f->offset, want[i].offset);
		ck_assert_uint_eq(f->bytes, want[i].bytes);
		ck_assert_uint_eq(f->count, want[i].count);
	}
	free((void *)(uintptr_t)bytes.ptr);
}
END_TEST

/* The place of a manifest in an object, by its magic number. */
static uint8_t *manifest_in(struct slice bytes)
{
	struct slice magic = slice_of("SPN1", 4);

	return (uint8_t *)(uintptr_t)bytes.ptr + slice_find(bytes, magic);
}

static const struct {
	const char *name;
	size_t offset;
	uint8_t byte;
	const char *want;		/* part of the sentence */
} wrong_manifests[] = {
	{ "another version", offsetof(struct spine_manifest, abi), 9, "version 9" },
	{ "a lying size", offsetof(struct spine_manifest, bytes), 1, "size" },
	{ "an upper-case name", offsetof(struct spine_manifest, name), 'A', "name" },
	{ "a name that begins with a dash", offsetof(struct spine_manifest, name), '-', "name" },
	{ "bytes behind a text", offsetof(struct spine_manifest, name) + 31, 'x', "name" },
	{ "a control byte in the rule", offsetof(struct spine_manifest, match), 27, "match" },
	{ "verdicts that do not exist", offsetof(struct spine_manifest, verdicts) + 1, 1, "verdicts" },
	{ "flags that do not exist", offsetof(struct spine_manifest, flags) + 3, 1, "flags" },
	{ "more than a processor", offsetof(struct spine_manifest, cpu_permille) + 2, 1, "permille" },
	{ "too many channels", offsetof(struct spine_manifest, channels), OBJECT_CHANNELS_MAX + 1, "channels" },
	{ "fields of the future", offsetof(struct spine_manifest, reserved), 1, "nothing yet" },
};

START_TEST(a_manifest_that_makes_no_sense_is_refused)
{
	for (size_t i = 0; i < ARRAY_LEN(wrong_manifests); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
		struct slice bytes = test_object("ports");
		const struct object *o;
		struct errmsg why = { 0 };

		manifest_in(bytes)[wrong_manifests[i].offset] = wrong_manifests[i].byte;
		ck_assert_msg(object_parse(&arena, bytes, &o, &why) == -EINVAL, "%s", wrong_manifests[i].name);
		ck_assert_msg(strstr(why.text, wrong_manifests[i].want) != NULL, "%s: '%s'",
			      wrong_manifests[i].name, why.text);
		free((void *)(uintptr_t)bytes.ptr);
	}
}
END_TEST

START_TEST(a_name_that_leaves_its_directory_is_refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct slice bytes = test_object("bad_name");
	const struct object *o;
	struct errmsg why;

	ck_assert_int_eq(object_parse(&arena, bytes, &o, &why), -EINVAL);
	free((void *)(uintptr_t)bytes.ptr);
}
END_TEST

START_TEST(arguments_that_mean_nothing_to_the_other_side_are_refused)
{
	static const char *const names[] = { "pointer", "bits", "either" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
		struct slice bytes = test_object(names[i]);
		const struct object *o;
		struct errmsg why;

		ck_assert_msg(object_parse(&arena, bytes, &o, &why) == -EINVAL, "%s", names[i]);
		ck_assert_msg(strstr(why.text, "handler 'first'") != NULL, "%s", why.text);
		free((void *)(uintptr_t)bytes.ptr);
	}
}
END_TEST

START_TEST(every_prefix_of_an_object_is_refused)
{
	struct slice bytes = test_object("masked");

	for (size_t n = 0; n < bytes.len; n += 7) {
		AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
		const struct object *o;
		struct errmsg why;
		uint8_t *part = malloc(n + 1);

		memcpy(part, bytes.ptr, n);
		ck_assert_int_eq(object_parse(&arena, slice_of(part, n), &o, &why), -EINVAL);
		free(part);
	}
	free((void *)(uintptr_t)bytes.ptr);
}
END_TEST

START_TEST(an_object_of_another_machine_is_refused)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 22);
	struct slice own = read_object("/proc/self/exe");
	const struct object *o;
	struct errmsg why;

	ck_assert_int_eq(object_parse(&arena, own, &o, &why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why.text, "another machine"));
	free((void *)(uintptr_t)own.ptr);
}
END_TEST

START_TEST(little_memory_is_an_error_and_no_crash)
{
	struct slice bytes = test_object("messages");
	int err = -ENOMEM;

	for (size_t limit = 0; err == -ENOMEM && limit < 1u << 20; limit += 512) {
		AUTO_ARENA struct arena arena = ARENA_INIT(limit);
		const struct object *o;
		struct errmsg why;

		err = object_parse(&arena, bytes, &o, &why);
	}
	ck_assert_int_eq(err, 0);
	free((void *)(uintptr_t)bytes.ptr);
}
END_TEST

TEST_MAIN("spine/object", an_object_without_manifest_is_read_whole, maps_come_from_btf_and_data_sections,
	  maps_of_maps_tell_what_is_in_them, an_instruction_knows_its_source_line, a_manifest_gets_its_defaults, arguments_of_handlers_are_flattened,
	  a_manifest_that_makes_no_sense_is_refused, a_name_that_leaves_its_directory_is_refused,
	  arguments_that_mean_nothing_to_the_other_side_are_refused, every_prefix_of_an_object_is_refused, an_object_of_another_machine_is_refused,
	  little_memory_is_an_error_and_no_crash)
