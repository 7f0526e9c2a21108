/* An object file from anybody: read, inspected, written about; and its code as the kernel would show it. */
#include "spine/inspect/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *call_name(void *arg, int32_t relative)
{
	(void)arg;
	return relative % 3 == 0 ? "bpf_iter_num_next" : relative % 3 == 1 ? inspect_helper_name(relative % 212) : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(1u << 26);
	AUTO_BUF struct buf text = BUF_INIT(1u << 20);
	struct inspect_rights rights = { .verdicts = SPINE_PASS, .instructions_max = 20000,
					 .memory_bytes_max = 1u << 20, .call_name = call_name };
	const struct inspect_loaded_map maps[] = { { .id = 0, .type = BPF_MAP_TYPE_HASH },
						   { .id = 1, .type = BPF_MAP_TYPE_DEVMAP, .foreign = true } };
	struct inspect_report report;
	struct errmsg why;
	const struct object *o;

	if (object_parse(&arena, slice_of(data, size), &o, &why) != 0)
		return 0;
	const struct object_program *entry = object_entry(o);
	if (entry != NULL && object_line_at(entry, 0) != NULL)
		buf_adds(&text, object_line_at(entry, 0)->text);
	if (inspect_object(&arena, o, &rights, &report, &why) == 0)
		inspect_findings_text(&text, &report);
	for (size_t i = 0; i < o->program_count; i++) {
		const struct object_program *p = &o->programs[i];
		if (inspect_loaded(&arena, p->insns, p->insn_count, maps, 2, &rights, &report, &why) == 0)
			inspect_findings_text(&text, &report);
	}
	return 0;
}
