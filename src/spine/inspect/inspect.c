#include "spine/inspect/inspect.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include <prickle/spine_policy.h>

#include "spine/inspect/inspect_internal.h"

#define SENTENCE_BYTES_MAX 480
#define TYPE_BIT(name)	   (UINT64_C(1) << BPF_MAP_TYPE_##name)

const char *inspection_text(struct inspection *in, const char *fmt, ...)
{
	char text[SENTENCE_BYTES_MAX];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	const char *copy = n < 0 ? NULL : arena_str(in->arena, slice_str(text));
	if (copy == NULL) {
		in->err = -ENOMEM;
		return "";
	}
	return copy;
}

void inspection_find(struct inspection *in, const char *rule, const struct object_program *program, uint32_t insn,
		     const char *sentence)
{
	if (in->report->finding_count >= INSPECT_FINDINGS_MAX)
		return;
	in->findings[in->report->finding_count++] = (struct inspect_finding){
		.rule = rule,
		.program = program == NULL ? "" : program->name,
		.insn = insn,
		.line = program == NULL ? NULL : object_line_at(program, insn),
		.sentence = sentence,
	};
}

void inspection_find_once(struct inspection *in, struct function *f, const char *rule, uint32_t insn,
			  const char *sentence)
{
	if (f->said[insn])
		return;
	f->said[insn] = 1;
	inspection_find(in, rule, f->program, insn, sentence);
}

void inspection_unbounded(struct inspection *in, const struct object_program *program, uint32_t insn,
			  const char *what)
{
	const struct object_line *line = object_line_at(program, insn);

	/* Handlers run in their caller's time; what they cost is not the packets'. */
	if (!in->packets || in->report->cost_why != NULL)
		return;
	in->why_program = program;
	in->why_insn = insn;
	if (line == NULL)
		in->report->cost_why = inspection_text(in, "the code at instruction %u of '%s' %s", insn,
						       program->name, what);
	else
		in->report->cost_why = inspection_text(in, "the code at %s:%u of '%s' %s", line->file, line->line,
						       program->name, what);
}

const struct object_ref *object_ref_at(const struct object_program *p, uint32_t insn)
{
	size_t low = 0, high = p->ref_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (p->refs[middle].insn < insn)
			low = middle + 1;
		else
			high = middle;
	}
	return low < p->ref_count && p->refs[low].insn == insn ? &p->refs[low] : NULL;
}

static bool has_bit(const uint64_t *set, int id)
{
	return id > 0 && id < 64 * INSPECT_HELPER_WORDS && (set[id / 64] >> (id % 64) & 1);
}

/* ---- What an instruction may be, wherever it stands ---- */

static void note_helper(struct inspection *in, int id)
{
	struct inspect_report *r = in->report;

	if (inspect_helper_name(id) == NULL)
		return;
	r->helpers[id / 64] |= UINT64_C(1) << (id % 64);
	switch (id) {
	case BPF_FUNC_tail_call:
		r->tail_calls = true;
		break;
	case BPF_FUNC_redirect:
	case BPF_FUNC_redirect_map:
		r->redirects = true;
		break;
	case BPF_FUNC_xdp_adjust_head:
	case BPF_FUNC_xdp_adjust_tail:
	case BPF_FUNC_xdp_adjust_meta:
		r->adjusts_packet = true;
		break;
	default:
		break;
	}
}

static void check_helper(struct inspection *in, const struct object_program *p, uint32_t insn, int id)
{
	const uint64_t *allowed = in->rights->helpers == NULL ? inspect_default_helpers : in->rights->helpers;
	const char *name = inspect_helper_name(id);

	if (name == NULL) {
		inspection_find(in, "instruction", p, insn,
				inspection_text(in, "it calls helper %d, which does not exist", id));
		return;
	}
	note_helper(in, id);
	if (id == BPF_FUNC_tail_call) {
		if (!in->rights->tail_calls)
			inspection_find(in, "tail-call", p, insn, "it jumps into another program, which uses up the "
					"tail calls of those behind it; only `limit ... tail-calls` in the policy allows it");
		return;
	}
	if (!inspect_helper_grantable(id))
		inspection_find(in, inspection_text(in, "helper %s", name), p, insn,
				inspection_text(in, "it calls bpf_%s(), which reaches what is not the extension's; no "
						"policy allows it", name));
	else if (!has_bit(allowed, id))
		inspection_find(in, inspection_text(in, "helper %s", name), p, insn,
				inspection_text(in, "it calls bpf_%s(), which is not allowed; 'use helper %s' in the "
						"policy allows it", name, name));
}

/* Kernel functions that only work on what the program has already. */
static bool harmless_kfunc(const char *name)
{
	static const char *const names[] = {
		"bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy",
		"bpf_dynptr_from_xdp", "bpf_dynptr_slice", "bpf_dynptr_slice_rdwr", "bpf_dynptr_adjust",
		"bpf_dynptr_is_null", "bpf_dynptr_is_rdonly", "bpf_dynptr_size", "bpf_dynptr_clone",
		"bpf_xdp_metadata_rx_timestamp", "bpf_xdp_metadata_rx_hash", "bpf_xdp_metadata_rx_vlan_tag",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

static bool granted_kfunc(const struct inspection *in, const char *name)
{
	for (size_t i = 0; in->rights->kfuncs != NULL && in->rights->kfuncs[i] != NULL; i++) {
		if (strcmp(in->rights->kfuncs[i], name) == 0)
			return true;
	}
	return harmless_kfunc(name);
}

static void check_extern(struct inspection *in, const struct object_program *p, const struct object_ref *ref)
{
	bool call = p->insns[ref->insn].code == (BPF_JMP | BPF_CALL);
	/* Values that the loader fills in: the version and the configuration of the kernel. */
	bool setting = !call && (strncmp(ref->name, "LINUX_", 6) == 0 || strncmp(ref->name, "CONFIG_", 7) == 0);

	if (setting || granted_kfunc(in, ref->name))
		return;
	inspection_find(in, inspection_text(in, "%s %.200s", call ? "kfunc" : "ksym", ref->name), p, ref->insn,
			inspection_text(in, "it %s %.100s of the kernel, which is not allowed; 'use kfunc %.100s' in "
					"the policy allows it", call ? "calls" : "uses", ref->name, ref->name));
}

#define ROW_RULE "map " SPINE_POLICY_SECTION

/* The row of policy is for checks that the loader puts in later: whoever could write it could give itself rights. */
static void check_row(struct inspection *in, const struct object_program *p, const struct object_ref *ref)
{
	if ((ref->kind == REF_MAP_VALUE || ref->kind == REF_MAP) &&
	    strcmp(in->o->maps[ref->index].name, SPINE_POLICY_SECTION) == 0)
		inspection_find(in, ROW_RULE, p, ref->insn, "it refers to section '" SPINE_POLICY_SECTION "', which holds its rights; "
				"nothing allows that, only the loader's checks do");
}

/* What the walk knows the effect of; a kernel to come may have more. */
static bool known_atomic(int32_t imm)
{
	switch (imm & ~BPF_FETCH) {
	case BPF_ADD:
	case BPF_OR:
	case BPF_AND:
	case BPF_XOR:
	case FLOW_LOAD_ACQUIRE:
	case FLOW_STORE_RELEASE:
		return (imm & BPF_FETCH) == 0 || imm < FLOW_LOAD_ACQUIRE;
	case BPF_XCHG & ~BPF_FETCH:
	case BPF_CMPXCHG & ~BPF_FETCH:
		return (imm & BPF_FETCH) != 0;
	default:
		return false;
	}
}

/* Instructions of RFC 9669, and those that clang makes for newer kernels. The kernel adds more when it translates. */
static bool known_instruction(const struct inspection *in, const struct bpf_insn *i)
{
	uint8_t class = BPF_CLASS(i->code), mode = BPF_MODE(i->code), op = BPF_OP(i->code);

	if (i->dst_reg >= FLOW_REGISTERS || i->src_reg >= FLOW_REGISTERS)
		return false;
	if (in->adopted && class == BPF_STX && (mode == BPF_ATOMIC || mode == FLOW_PROBE_ATOMIC))
		return known_atomic(i->imm);
	if (in->adopted && (class == BPF_LDX || class == BPF_ST || class == BPF_STX))
		return true;
	if (!in->adopted && (i->dst_reg > BPF_REG_10 || i->src_reg > BPF_REG_10))
		return false;
	switch (class) {
	case BPF_LD:
		return i->code == (BPF_LD | BPF_IMM | BPF_DW);
	case BPF_LDX:
		return (mode == BPF_MEM || (mode == 0x80 && BPF_SIZE(i->code) != BPF_DW)) &&
		       i->dst_reg != BPF_REG_10;
	case BPF_ST:
		return mode == BPF_MEM;
	case BPF_STX:
		return mode == BPF_MEM || (mode == BPF_ATOMIC && known_atomic(i->imm) &&
					   (i->imm != FLOW_LOAD_ACQUIRE || i->dst_reg != BPF_REG_10));
	case BPF_ALU:
	case BPF_ALU64:
		return op <= BPF_END && i->dst_reg != BPF_REG_10;
	case BPF_JMP32:
		return op != BPF_CALL && op != BPF_EXIT && op <= BPF_JSLE;
	default:
		return op <= BPF_JSLE || op == 0xe0;
	}
}

/* False: it can't be walked over. */
static bool check_instruction(struct inspection *in, const struct object_program *p, uint32_t insn)
{
	const struct bpf_insn *i = &p->insns[insn];
	const struct object_ref *ref = object_ref_at(p, insn);

	if (!known_instruction(in, i)) {
		if (in->adopted)	/* the kernel knows it; we can't walk over it */
			return false;
		inspection_find(in, "instruction", p, insn,
				inspection_text(in, "its code 0x%02x is no instruction that the inspector knows",
						i->code));
		return false;
	}
	if (ref != NULL && !in->adopted)
		check_row(in, p, ref);
	if (ref != NULL && ref->kind == REF_EXTERN)
		check_extern(in, p, ref);
	else if (i->code == (BPF_JMP | BPF_CALL) && ref == NULL && i->src_reg == 0 &&
		 (!in->adopted || i->imm > 0))
		check_helper(in, p, insn, i->imm);
	else if (in->adopted && i->code == (BPF_JMP | BPF_CALL) && ref == NULL && i->imm < 0)
		in->report->redirects = true;	/* it may be that one: its target must not outlive it */
	return true;
}

/* ---- Functions ---- */

static void reach(struct inspection *in, uint32_t *list, size_t *count, size_t index)
{
	if (in->functions[index].reachable)
		return;
	in->functions[index].reachable = true;
	list[(*count)++] = (uint32_t)index;
}

/* Everything that an entry program calls or gives away the address of. */
static int find_reachable(struct inspection *in)
{
	const struct object *o = in->o;
	size_t count = 0;
	uint32_t *list = arena_array(&in->scratch, o->program_count, sizeof(*list));

	if (list == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < o->program_count; i++) {
		if (o->programs[i].entry)
			reach(in, list, &count, i);
	}
	for (size_t next = 0; next < count; next++) {
		const struct object_program *p = &o->programs[list[next]];
		for (size_t k = 0; k < p->ref_count; k++) {
			if (p->refs[k].kind == REF_CALL || p->refs[k].kind == REF_FUNCTION)
				reach(in, list, &count, p->refs[k].index);
		}
	}
	return 0;
}

/* Cells of the stack that the function names by constants; deeper ones are reached by sums, and not followed. */
static uint32_t cells_of(const struct object_program *p)
{
	int deepest = 0;

	for (uint32_t i = 0; i < p->insn_count; i++) {
		const struct bpf_insn *insn = &p->insns[i];
		uint8_t class = BPF_CLASS(insn->code);
		int at = 0;

		if (class == BPF_LDX || class == BPF_ST || class == BPF_STX)
			at = insn->off;
		else if (insn->code == (BPF_ALU64 | BPF_ADD | BPF_K))
			at = insn->imm;
		if (at < deepest && at >= -(int)(4 * FLOW_CELLS))
			deepest = at;
	}
	return (uint32_t)(-deepest + 3) / 4;
}

static int prepare_function(struct inspection *in, struct function *f)
{
	const struct object_program *p = f->program;
	struct graph_fault fault;

	f->said = arena_array(&in->scratch, p->insn_count + 1, 1);
	if (f->said == NULL)
		return -ENOMEM;
	bool known = true;
	for (uint32_t i = 0; i < p->insn_count; i++) {
		known &= check_instruction(in, p, i);
		if (p->insns[i].code == (BPF_LD | BPF_IMM | BPF_DW))
			i++;
	}
	int err = graph_build(&in->scratch, p, &f->graph, &fault);
	if (err == -ENOMEM)
		return err;
	if (err != 0) {
		inspection_unbounded(in, p, fault.insn, fault.what);
		if (in->adopted)
			return 0;
		inspection_find(in, "instruction", p, fault.insn,
				inspection_text(in, "instruction %u %s", fault.insn, fault.what));
		return 0;
	}
	f->cells = cells_of(p);
	f->has_graph = known;
	return 0;
}

static int prepare(struct inspection *in)
{
	const struct object *o = in->o;

	in->functions = arena_array(&in->scratch, o->program_count, sizeof(*in->functions));
	in->findings = arena_array(in->arena, INSPECT_FINDINGS_MAX, sizeof(*in->findings));
	if (in->functions == NULL || in->findings == NULL)
		return -ENOMEM;
	in->report->findings = in->findings;
	int err = find_reachable(in);
	for (size_t i = 0; err == 0 && i < o->program_count; i++) {
		in->functions[i].program = &o->programs[i];
		if (in->functions[i].reachable)
			err = prepare_function(in, &in->functions[i]);
	}
	return err;
}

/* ---- Programs ---- */

static bool for_packets(const struct object_program *p)
{
	return p->type == BPF_PROG_TYPE_XDP;
}

static void check_type(struct inspection *in, const struct object_program *p)
{
	const char *rule = inspection_text(in, "program-type %.200s", p->section);

	if (p->type == BPF_PROG_TYPE_SYSCALL) {
		if (!in->rights->syscall_programs)
			inspection_find(in, rule, p, 0, "message handlers are not allowed here");
	} else if (p->type != BPF_PROG_TYPE_XDP) {
		inspection_find(in, rule, p, 0, "programs of this section see more than packets; an extension has "
				"one SEC(\"xdp\") program, and SEC(\"syscall\") programs for messages");
	} else if (strchr(p->section, '/') != NULL && !object_is_egress(p)) {
		inspection_find(in, rule, p, 0, "it would run behind the redirect of other programs; an extension has "
				"one SEC(\"xdp\") program, and may have spine_egress in SEC(\"xdp/devmap\") for its own ports");
	}
}

static uint32_t verdicts_of(const struct outcome *o)
{
	const struct value *v = &o->result;

	if (v->kind != VALUE_NUMBER || v->few == 0 || (v->few & ~(uint64_t)SPINE_VERDICTS_ALL) != 0)
		return SPINE_VERDICTS_ALL;
	return (uint32_t)v->few;
}

/*
 * Tail calls lead to programs that we see in the object, or to none that we know: the kernel lets a packet take 33
 * of them.
 */
#define TAIL_CALLS_MAX 33u

static void check_handler(struct inspection *in, const struct object_program *p, const struct outcome *o)
{
	if (p->type != BPF_PROG_TYPE_SYSCALL || in->rights->unbounded || o->cost <= INSPECT_HANDLER_COST_MAX)
		return;
	inspection_find(in, "cost", p, 0,
			o->cost == INSPECT_UNBOUNDED
				? "the longest path of this handler has no bound; nothing can end it once it runs: give its loops "
				  "constant bounds, or let the operator accept it (--accept-unbounded)"
				: "the longest path of this handler takes longer than a tenth of a second, and nothing can end it "
				  "once it runs; shorten it, or let the operator accept it (--accept-unbounded)");
}

static void walk_programs(struct inspection *in)
{
	const struct object *o = in->o;
	struct inspect_report *r = in->report;

	for (size_t i = 0; i < o->program_count && in->err == 0; i++) {
		const struct object_program *p = &o->programs[i];
		if (!p->entry)
			continue;
		check_type(in, p);
		in->packets = for_packets(p);
		in->aside = 0;
		struct outcome out = flow_function(in, (uint32_t)i, NULL);
		check_handler(in, p, &out);
		if (!in->packets)
			continue;
		if (out.cost == INSPECT_UNBOUNDED)
			inspection_unbounded(in, p, 0, "has a cost that can't be told");
		r->cost = out.cost > r->cost ? out.cost : r->cost;
		r->cost = in->aside > r->cost ? in->aside : r->cost;
		r->verdicts |= verdicts_of(&out);
	}
	if (r->tail_calls) {
		r->cost = cost_times(r->cost, 1 + TAIL_CALLS_MAX);
		r->verdicts = SPINE_VERDICTS_ALL;
	}
}

static void check_entry(struct inspection *in)
{
	size_t n = 0;

	for (size_t i = 0; i < in->o->program_count; i++) {
		const struct object_program *p = &in->o->programs[i];
		n += for_packets(p) && strchr(p->section, '/') == NULL;
	}
	if (n != 1)
		inspection_find(in, "entry", NULL, 0,
				inspection_text(in, "the object has %zu programs in section \"xdp\"; an extension has "
						"one", n));
}

static void check_cost(struct inspection *in)
{
	const struct inspect_report *r = in->report;
	uint64_t limit = in->rights->instructions_max != 0 ? in->rights->instructions_max : INSPECT_COST_MAX;
	const struct object_program *p = in->why_program;

	if (in->rights->unbounded)
		return;
	if (r->cost == INSPECT_UNBOUNDED)
		inspection_find(in, "cost", p, p == NULL ? 0 : in->why_insn,
				inspection_text(in, "the longest path has no bound: %.300s; give the loop a constant "
						"bound, or let the operator accept it (--accept-unbounded)",
						r->cost_why));
	else if (r->cost > limit)
		inspection_find(in, "cost", NULL, 0,
				inspection_text(in, "the longest path costs %llu instructions, %llu are allowed; "
						"shorten it, or raise 'instructions' in manifest and policy (above %llu: "
						"--accept-unbounded)",
						(unsigned long long)r->cost, (unsigned long long)limit,
						(unsigned long long)INSPECT_COST_MAX));
}

/* ---- Maps and manifest ---- */

const char *inspect_map_type_name(uint32_t type)
{
	static const char *const names[] = {
		[BPF_MAP_TYPE_HASH] = "hash", [BPF_MAP_TYPE_ARRAY] = "array",
		[BPF_MAP_TYPE_PROG_ARRAY] = "prog_array", [BPF_MAP_TYPE_PERF_EVENT_ARRAY] = "perf_event_array",
		[BPF_MAP_TYPE_PERCPU_HASH] = "percpu_hash", [BPF_MAP_TYPE_PERCPU_ARRAY] = "percpu_array",
		[BPF_MAP_TYPE_STACK_TRACE] = "stack_trace", [BPF_MAP_TYPE_CGROUP_ARRAY] = "cgroup_array",
		[BPF_MAP_TYPE_LRU_HASH] = "lru_hash", [BPF_MAP_TYPE_LRU_PERCPU_HASH] = "lru_percpu_hash",
		[BPF_MAP_TYPE_LPM_TRIE] = "lpm_trie", [BPF_MAP_TYPE_ARRAY_OF_MAPS] = "array_of_maps",
		[BPF_MAP_TYPE_HASH_OF_MAPS] = "hash_of_maps", [BPF_MAP_TYPE_DEVMAP] = "devmap",
		[BPF_MAP_TYPE_SOCKMAP] = "sockmap", [BPF_MAP_TYPE_CPUMAP] = "cpumap",
		[BPF_MAP_TYPE_XSKMAP] = "xskmap", [BPF_MAP_TYPE_SOCKHASH] = "sockhash",
		[BPF_MAP_TYPE_CGROUP_STORAGE] = "cgroup_storage",
		[BPF_MAP_TYPE_REUSEPORT_SOCKARRAY] = "reuseport_sockarray",
		[BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE] = "percpu_cgroup_storage",
		[BPF_MAP_TYPE_QUEUE] = "queue", [BPF_MAP_TYPE_STACK] = "stack",
		[BPF_MAP_TYPE_SK_STORAGE] = "sk_storage", [BPF_MAP_TYPE_DEVMAP_HASH] = "devmap_hash",
		[BPF_MAP_TYPE_STRUCT_OPS] = "struct_ops", [BPF_MAP_TYPE_RINGBUF] = "ringbuf",
		[BPF_MAP_TYPE_INODE_STORAGE] = "inode_storage", [BPF_MAP_TYPE_TASK_STORAGE] = "task_storage",
		[BPF_MAP_TYPE_BLOOM_FILTER] = "bloom_filter", [BPF_MAP_TYPE_USER_RINGBUF] = "user_ringbuf",
		[32] = "cgrp_storage", [33] = "arena",
	};

	return type < ARRAY_LEN(names) ? names[type] : NULL;
}

static const char *type_name(struct inspection *in, uint32_t type)
{
	const char *name = inspect_map_type_name(type);

	return name != NULL ? name : inspection_text(in, "%u", type);
}

static void check_map_type(struct inspection *in, const char *name, uint32_t type)
{
	uint64_t allowed = in->rights->map_types == 0 ? inspect_default_map_types : in->rights->map_types;
	const char *text = type_name(in, type);

	if (type < 64)
		in->report->map_types |= UINT64_C(1) << type;
	if (type == BPF_MAP_TYPE_PROG_ARRAY && in->rights->tail_calls)
		return;
	if (type >= 64 || !(allowed >> type & 1))
		inspection_find(in, inspection_text(in, "map-type %s", text), NULL, 0,
				inspection_text(in, "map '%.100s' is of type %s, which is not allowed; 'use map-type %s' "
						"in the policy allows it", name, text, text));
}

/* The runtime fills these two, so it wants to know them by name. */
static void check_map_name(struct inspection *in, const struct object_map *m)
{
	bool ports = strcmp(m->name, "spine_ports") == 0, sockets = strcmp(m->name, "spine_sockets") == 0;
	uint64_t granted = in->rights->map_types & ~inspect_default_map_types;
	bool by_grant = m->type < 64 && (granted >> m->type & 1);

	if (!m->internal && !in->adopted && strcmp(m->name, SPINE_POLICY_SECTION) == 0)
		inspection_find(in, ROW_RULE, NULL, 0, "a map of section '.maps' has the name of the row of policy; give it another");
	if (ports && m->type != BPF_MAP_TYPE_DEVMAP_HASH)
		inspection_find(in, "map spine_ports", NULL, 0, "the map 'spine_ports' is of another type than "
				"devmap_hash; define it by SPINE_PORTS");
	else if (sockets && m->type != BPF_MAP_TYPE_XSKMAP)
		inspection_find(in, "map spine_sockets", NULL, 0, "the map 'spine_sockets' is of another type than "
				"xskmap");
	else if ((m->type == BPF_MAP_TYPE_DEVMAP_HASH && !ports) || (m->type == BPF_MAP_TYPE_XSKMAP && !sockets)) {
		if (!by_grant)
			inspection_find(in, inspection_text(in, "map %.100s", m->name), NULL, 0,
					inspection_text(in, "the map '%.100s' would hold ports or sockets that nobody "
							"granted; the only ones are 'spine_ports' (SPINE_PORTS) and "
							"'spine_sockets'", m->name));
	}
}

static uint64_t round8(uint64_t n)
{
	return (n + 7) / 8 * 8;
}

/* Bytes that the kernel takes at least; nodes of hash tables are some 48 bytes and a bucket of 16. */
static uint64_t map_bytes(const struct object_map *m, uint32_t cpus)
{
	uint64_t key = round8(m->key_bytes), value = round8(m->value_bytes), n = m->entries;

	switch (m->type) {
	case BPF_MAP_TYPE_ARRAY:
		return cost_times(value, n);
	case BPF_MAP_TYPE_PERCPU_ARRAY:
		return cost_times(cost_times(value, n), cpus);
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_LPM_TRIE:
		return cost_times(key + value + 64, n);
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
		return cost_times(cost_add(key + 72, cost_times(value, cpus)), n);
	case BPF_MAP_TYPE_QUEUE:
	case BPF_MAP_TYPE_STACK:
		return cost_times(m->value_bytes, cost_add(n, 1));
	case BPF_MAP_TYPE_RINGBUF:
	case BPF_MAP_TYPE_USER_RINGBUF:
		return n;
	case BPF_MAP_TYPE_BLOOM_FILTER:
		return n;
	case 33:			/* arena: pages */
		return cost_times(4096, n);
	case BPF_MAP_TYPE_DEVMAP_HASH:
		return cost_times(64, n);
	default:
		return cost_times(8, n);
	}
}

static void check_maps(struct inspection *in)
{
	uint32_t cpus = in->rights->cpus == 0 ? 1 : in->rights->cpus;
	uint64_t bytes = 0;

	for (size_t i = 0; i < in->o->map_count && in->err == 0; i++) {
		const struct object_map *m = &in->o->maps[i];
		check_map_type(in, m->name, m->type);
		check_map_name(in, m);
		bytes = cost_add(bytes, map_bytes(m, cpus));
		if (m->inner != NULL) {
			check_map_type(in, m->name, m->inner->type);
			bytes = cost_add(bytes, map_bytes(m->inner, cpus));
		}
	}
	in->report->memory_bytes = bytes;
	if (in->rights->memory_bytes_max != 0 && bytes > in->rights->memory_bytes_max)
		inspection_find(in, "memory", NULL, 0,
				inspection_text(in, "its maps take %llu bytes at least, %llu are allowed; make them "
						"smaller, or raise 'memory' in manifest and policy",
						(unsigned long long)bytes,
						(unsigned long long)in->rights->memory_bytes_max));
}

static void check_manifest(struct inspection *in)
{
	static const char *const names[] = { "aborted", "drop", "pass", "tx", "redirect" };
	const struct spine_manifest *m = in->o->manifest;

	if (m == NULL)
		return;
	for (uint32_t v = 0; v < ARRAY_LEN(names); v++) {
		if (!(m->verdicts >> v & 1))
			continue;
		const char *rule = inspection_text(in, "verdict %s", names[v]);
		if (!(in->rights->verdicts >> v & 1))
			inspection_find(in, rule, NULL, 0,
					inspection_text(in, "the manifest asks for the verdict '%s', which is not allowed; "
							"'%s' on its port in the policy allows it",
							names[v], names[v]));
		else if (1u << v == SPINE_REDIRECT && !in->report->redirects && !in->report->tail_calls)
			inspection_find(in, rule, NULL, 0, "the manifest asks for the verdict 'redirect', but no program of "
					"the object calls spine_redirect(); the packet would go where another "
					"extension sent its own");
	}
}

int inspect_object(struct arena *arena, const struct object *o, const struct inspect_rights *rights,
		   struct inspect_report *out, struct errmsg *why)
{
	struct inspect_report report = { 0 };
	struct inspection in = { .arena = arena, .o = o, .rights = rights, .report = &report };

	arena_init(&in.scratch, INSPECT_SCRATCH_BYTES_MAX);
	in.packets = true;
	in.err = prepare(&in);
	if (in.err == 0) {
		check_entry(&in);
		check_maps(&in);
		walk_programs(&in);
		check_manifest(&in);
		check_cost(&in);
	}
	arena_done(&in.scratch);
	if (in.err != 0)
		return errmsg_set(why, in.err, "inspecting a program");
	*out = report;
	return 0;
}

/* Maps of a loaded program: what type they are, and whose. */
static void check_loaded_maps(struct inspection *in, const struct inspect_loaded_map *maps)
{
	for (size_t i = 0; i < in->o->map_count && in->err == 0; i++) {
		const char *name = inspection_text(in, "%u", maps[i].id);
		check_map_type(in, name, maps[i].type);
		if (maps[i].foreign)
			inspection_find(in, inspection_text(in, "map %s", name), NULL, 0,
					inspection_text(in, "it uses map %s, which belongs to the runtime or to another "
							"extension", name));
	}
}

int inspect_translated(struct arena *arena, const struct object *o, bool walkable,
		       const struct inspect_loaded_map *maps, const struct inspect_rights *rights,
		       struct inspect_report *out, struct errmsg *why)
{
	struct inspect_report report = { 0 };
	struct inspection in = { .arena = arena, .o = o, .rights = rights, .report = &report, .adopted = true,
				 .packets = true };

	arena_init(&in.scratch, INSPECT_SCRATCH_BYTES_MAX);
	in.err = prepare(&in);
	if (in.err == 0 && walkable) {
		walk_programs(&in);
	} else if (in.err == 0) {
		report.cost = INSPECT_UNBOUNDED;
		report.verdicts = SPINE_VERDICTS_ALL;
		report.redirects = report.tail_calls = true;
		report.cost_why = "the kernel does not show the program's instructions, or shows them incompletely";
	}
	if (in.err == 0) {
		check_loaded_maps(&in, maps);
		check_cost(&in);
	}
	arena_done(&in.scratch);
	if (in.err != 0)
		return errmsg_set(why, in.err, "inspecting a loaded program");
	*out = report;
	return 0;
}
