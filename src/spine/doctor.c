#include "spine/code/dispatch.h"
#include "spine/doctor.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/code/program.h"
#include "spine/host.h"

/* Newer than Debian 12's headers. */
#define MAP_TYPE_ARENA 33
#ifndef AF_XDP
#define AF_XDP 44
#endif

struct doctor {
	struct doctor_row *rows;
	size_t count;
};

static void row(struct doctor *d, const char *name, const char *what, enum doctor_state otherwise, int result,
		const char *good, const char *means)
{
	struct doctor_row *r = &d->rows[d->count];

	if (d->count == DOCTOR_ROWS_MAX)
		return;
	d->count++;
	*r = (struct doctor_row){ .name = name, .what = what, .state = result >= 0 ? DOCTOR_OK : otherwise,
				  .means = result >= 0 ? "" : means };
	if (result >= 0)
		(void)snprintf(r->detail, sizeof(r->detail), "%s", good);
	else
		(void)snprintf(r->detail, sizeof(r->detail), "%s", strerrordesc_np(-result));
}

/* Close it and tell whether it was there. */
static int tried(int fd)
{
	int err = errno;

	if (fd < 0)
		return -err;
	close(fd);
	return 0;
}

/* --- programs ---------------------------------------------------------------------------------- */

static const struct bpf_insn pass[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 },
	{ .code = BPF_JMP | BPF_EXIT },
};

static int try_program(enum bpf_prog_type type, uint32_t flags, enum bpf_attach_type attach)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = flags, .expected_attach_type = attach);
	/* SYSCALL programs return 0 or 1. */
	struct bpf_insn zero[] = { pass[0], pass[1] };

	zero[0].imm = type == BPF_PROG_TYPE_SYSCALL ? 0 : 2;
	return bpf_prog_load(type, "spine_doctor", "Dual MIT/GPL", zero, 2, &opts);
}

/* main() calls slot(), which makes a tail call and says that it fell through. */
static int try_slot(int *target, struct program **out)
{
	AUTO_FD int array = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "spine_doctor", 4, 4, 1, NULL);
	struct errmsg why;
	struct program *p;
	program_function slot;
	uint32_t count, funcs, btf_bytes;
	int fd, err;

	if (array < 0)
		return -errno;
	if (program_new(64, &p) != 0)
		return -ENOMEM;
	slot = p_declare(p, "slot_0");
	p_call(p, slot);
	p_exit(p);
	p_function(p, slot);
	p_map_fd(p, 2, array);
	p_mov_imm(p, 3, 0);
	p_helper(p, BPF_FUNC_tail_call);
	p_mov_imm(p, 0, 2);
	p_exit(p);
	err = program_seal(p, &why);
	const void *btf = program_btf(p, &btf_bytes);
	AUTO_FD int btf_fd = err == 0 ? bpf_btf_load(btf, btf_bytes, NULL) : -1;
	const struct bpf_insn *insns = program_insns(p, &count);
	const struct bpf_func_info *infos = program_func_info(p, &funcs);
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_btf_fd = (uint32_t)(btf_fd < 0 ? 0 : btf_fd), .func_info = infos,
		    .func_info_cnt = funcs, .func_info_rec_size = sizeof(*infos));
	fd = btf_fd < 0 ? -1 : bpf_prog_load(BPF_PROG_TYPE_XDP, "spine_doctor", "Dual MIT/GPL", insns, count, &opts);
	err = fd < 0 ? -errno : 0;
	*target = fd;
	*out = p;
	return err;
}

/* Whether functions of a program may be replaced: the way of other dispatchers, which we do not need. */
static int try_freplace(int target, struct program *p)
{
	uint32_t funcs, btf_bytes;
	const void *btf = program_btf(p, &btf_bytes);
	const struct bpf_func_info *infos = program_func_info(p, &funcs);
	AUTO_FD int btf_fd = bpf_btf_load(btf, btf_bytes, NULL);
	struct bpf_func_info own = funcs > 1 ? infos[1] : infos[0];
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .attach_prog_fd = (uint32_t)target, .attach_btf_id = own.type_id,
		    .prog_btf_fd = (uint32_t)(btf_fd < 0 ? 0 : btf_fd), .func_info = &own, .func_info_cnt = 1,
		    .func_info_rec_size = sizeof(own));

	own.insn_off = 0;
	return tried(bpf_prog_load(BPF_PROG_TYPE_EXT, "spine_doctor", "Dual MIT/GPL", pass, 2, &opts));
}

static void look_at_programs(struct doctor *d)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);
	struct program *p = NULL;
	int target = -1, err;
	AUTO_FD int xdp = try_program(BPF_PROG_TYPE_XDP, 0, BPF_XDP);

	row(d, "xdp", "programs on interfaces", DOCTOR_MISSING, xdp < 0 ? -errno : 0, "yes",
	    "nothing works: root is needed, and a kernel with CONFIG_BPF_SYSCALL");
	if (xdp >= 0 && bpf_obj_get_info_by_fd(xdp, &info, &size) == 0)
		row(d, "jit", "extensions run as machine code", DOCTOR_DEGRADED, info.jited_prog_len > 0 ? 0 : -EOPNOTSUPP, "yes",
		    "extensions are interpreted and tail calls in functions are refused: set net.core.bpf_jit_enable = 1");
	err = try_slot(&target, &p);
	row(d, "slots", "tail calls in functions, for extensions that return", DOCTOR_MISSING, err, "yes",
	    "no extension can be called: Linux 5.10 (x86-64), 6.0 (arm64) or later and the JIT are needed");
	if (err == 0) {
		err = try_freplace(target, p);
		row(d, "freplace", "replacing functions of loaded programs", DOCTOR_DEGRADED, err, "yes, not needed",
		    "not needed here; programs that attach through libxdp's dispatcher need `prickle spine exec`");
	}
	if (target >= 0)
		close(target);
	program_free(p);
	row(d, "frags", "packets in several buffers (jumbo frames)", DOCTOR_DEGRADED,
	    tried(try_program(BPF_PROG_TYPE_XDP, BPF_F_XDP_HAS_FRAGS, BPF_XDP)), "yes",
	    "interfaces with an MTU above 3498 need generic mode");
	row(d, "calls", "messages from host programs, handled at once", DOCTOR_DEGRADED,
	    tried(try_program(BPF_PROG_TYPE_SYSCALL, BPF_F_SLEEPABLE, 0)), "yes", "handlers of extensions cannot be called");
}

/* --- maps ------------------------------------------------------------------------------------------ */

static int try_map(uint32_t type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);

	return tried(bpf_map_create((enum bpf_map_type)type, "spine_doctor", key, value, entries, &opts));
}

/* bpf_attr of BPF_MAP_CREATE as of Linux 6.18: the map belongs to programs with this hash. */
static int try_exclusive(void)
{
	uint8_t hash[32] = { 1 };
	struct {
		uint32_t type, key, value, entries, flags, inner, node;
		char name[16];
		uint32_t ifindex, btf, btf_key, btf_value, btf_vmlinux;
		uint64_t extra;
		int32_t value_btf, token;
		uint64_t hash;
		uint32_t hash_bytes, pad;
	} attr = { .type = BPF_MAP_TYPE_ARRAY, .key = 4, .value = 4, .entries = 1, .hash = (uint64_t)(uintptr_t)hash,
		   .hash_bytes = sizeof(hash) };

	_Static_assert(sizeof(attr) == 96, "as the kernel's");
	return tried((int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static void look_at_maps(struct doctor *d)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);

	row(d, "mapped-arrays", "counters and mailboxes in shared memory", DOCTOR_MISSING,
	    try_map(BPF_MAP_TYPE_ARRAY, 4, 64, 1, BPF_F_MMAPABLE), "yes", "nothing works: Linux 5.5 or later is needed");
	row(d, "ring-buffer", "doorbells and traces", DOCTOR_MISSING, try_map(BPF_MAP_TYPE_RINGBUF, 0, 0, page, 0), "yes",
	    "nothing works: Linux 5.8 or later is needed");
	row(d, "user-ring-buffer", "batches of messages to extensions", DOCTOR_DEGRADED,
	    try_map(BPF_MAP_TYPE_USER_RINGBUF, 0, 0, page, 0), "yes", "batches go by mapped arrays alone");
	row(d, "arena", "memory that extensions and hosts share by pointers", DOCTOR_DEGRADED,
	    try_map(MAP_TYPE_ARENA, 0, 0, 16, BPF_F_MMAPABLE), "yes",
	    "extensions that use arenas are refused; messages use mapped arrays everywhere, as fast");
	row(d, "ports", "forwarding to granted interfaces", DOCTOR_DEGRADED, try_map(BPF_MAP_TYPE_DEVMAP_HASH, 4, 8, 4, 0), "yes",
	    "extensions cannot forward");
	row(d, "sets", "prefix lists", DOCTOR_DEGRADED, try_map(BPF_MAP_TYPE_LPM_TRIE, 20, 1, 4, BPF_F_NO_PREALLOC), "yes",
	    "rules cannot use `set NAME`");
	row(d, "exclusive-maps", "maps that one program alone may use", DOCTOR_DEGRADED, try_exclusive(), "yes",
	    "the runtime checks map ids instead (Linux 6.18 has them)");
}

/* --- the host --------------------------------------------------------------------------------------- */

static void look_at_memory(struct doctor *d)
{
	bool v2 = false, v1 = access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK) == 0;
	char text[512];
	AUTO_FD int fd = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (n > 0)
		v2 = slice_find(slice_of(text, (size_t)n), SLICE("memory")) != SLICE_NPOS;
	row(d, "memory-limits", "memory control groups for untrusted extensions", DOCTOR_DEGRADED, v1 || v2 ? 0 : -ENOENT,
	    v2 ? "version 2" : "version 1", "only what the inspector sums up bounds the memory of untrusted extensions");
}

static void look_at_host(struct doctor *d)
{
	struct utsname u;
	struct errmsg why;
	uint32_t hz = dispatch_hz();
	int dir = host_bpffs(false, &why);
	char text[80];

	if (dir >= 0)
		close(dir);
	row(d, "bpffs", "where state lives", DOCTOR_MISSING, dir == -ENOENT ? 0 : dir,
	    dir >= 0 ? HOST_BPFFS "/prickle/spine" : "is made with the first extension", "run this as root");
	row(d, "netns-cookies", "network namespaces that can be told apart", DOCTOR_MISSING, host_netns_cookie() != 0 ? 0 : -EOPNOTSUPP,
	    "yes", "nothing works: Linux 5.14 or later is needed");
	(void)snprintf(text, sizeof(text), "%u a second: a stall is seen after %u ms", hz, hz == 0 ? 0 : MAX(2000 / hz, 8u));
	row(d, "ticks", "the breaker's clock", DOCTOR_MISSING, hz == 0 ? -EOPNOTSUPP : 0, text, "nothing works");
	row(d, "af-xdp", "packets into buffers of applications", DOCTOR_DEGRADED,
	    tried(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0)), "yes", "bulk data goes by shared regions alone");
	row(d, "kernel-types", "objects that adapt to the kernel (CO-RE)", DOCTOR_DEGRADED,
	    access("/sys/kernel/btf/vmlinux", R_OK) == 0 ? 0 : -errno, "yes",
	    "extensions that use kernel types or functions do not load");
	row(d, "membarrier", "waiting until a replaced program is done", DOCTOR_DEGRADED,
	    syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0 ? 0 : -errno, "yes", "changes take 50 ms longer");
	look_at_memory(d);
	if (uname(&u) == 0) {
		(void)snprintf(text, sizeof(text), "Linux %.40s, %.20s", u.release, u.machine);
		row(d, "kernel", "6.1 or later is tested", DOCTOR_OK, 0, text, "");
	}
}

size_t doctor_look(struct doctor_row rows[DOCTOR_ROWS_MAX])
{
	struct doctor d = { .rows = rows };

	look_at_host(&d);
	look_at_programs(&d);
	look_at_maps(&d);
	return d.count;
}
