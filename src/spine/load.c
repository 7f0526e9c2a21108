/*
 * The parent's side of loading: what is asked, what is allowed, and a second look at what the child
 * made.
 */
#include "spine/load.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "spine/load_private.h"
#include "spine/pins.h"
#include "spine/row.h"
#include "base/fdpass.h"

/*
 * What the loading process itself needs while it shares the extension's memory group: its pages,
 * the kernel's BTF, the verifier's states and log. Given back when it ends.
 */
#define LOADER_BYTES	 (UINT64_C(96) << 20)
/* What remains charged besides maps and programs: sockets' and slabs' rounding. */
#define GROUP_SLACK_BYTES (UINT64_C(1) << 20)
#define CHILD_TIMEOUT_MS  60000

const char *spine_tier_name(enum spine_tier tier)
{
	switch (tier) {
	case TIER_UNTRUSTED:
		return "untrusted";
	case TIER_VETTED:
		return "vetted";
	case TIER_ADOPTED:
		return "adopted";
	}
	return "unknown";
}

void loaded_free(struct loaded *l)
{
	if (l == NULL)
		return;
	for (size_t i = 0; i < l->map_count; i++)
		close(l->maps[i].fd);
	for (size_t i = 0; i < LOAD_CHANNELS_MAX; i++) {
		if (l->call_fd[i] >= 0)
			close(l->call_fd[i]);
		if (l->drain_fd[i] >= 0)
			close(l->drain_fd[i]);
	}
	if (l->entry_fd >= 0)
		close(l->entry_fd);
	if (l->migrate_fd >= 0)
		close(l->migrate_fd);
	if (l->egress_fd >= 0)
		close(l->egress_fd);
	free(l->maps);
	free(l);
}

static struct loaded *loaded_new(void)
{
	struct loaded *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->entry_fd = l->migrate_fd = l->egress_fd = -1;
	for (size_t i = 0; i < LOAD_CHANNELS_MAX; i++)
		l->call_fd[i] = l->drain_fd[i] = -1;
	l->maps = calloc(LOAD_MAPS_MAX, sizeof(*l->maps));
	if (l->maps == NULL) {
		free(l);
		return NULL;
	}
	return l;
}

/* ---- what came from the child ---- */

static const struct object_map *parsed_map(const struct object *o, const char *name)
{
	for (size_t i = 0; i < o->map_count; i++) {
		if (strcmp(o->maps[i].name, name) == 0)
			return &o->maps[i];
	}
	return NULL;
}

/* A map as the object declares it? The outbox's entries are ours to choose. */
static bool map_as_declared(const struct object *o, const char *name, int fd)
{
	const struct object_map *want = parsed_map(o, name);
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	if (want == NULL || bpf_obj_get_info_by_fd(fd, &info, &size) != 0 || info.type != want->type)
		return false;
	return want->internal || (info.key_size == want->key_bytes && info.value_size == want->value_bytes &&
				  (info.max_entries == want->entries || strcmp(name, SPINE_MAP_OUTBOX) == 0 ||
				   want->entries == 0));
}

static bool program_of_type(int fd, uint32_t type)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.type == type;
}

/* Keep the row's descriptor. False: it is not what the object promises; then it is still the caller's. */
static bool take_row(const struct load_plan *plan, struct loaded *l, const struct load_row *row, int fd)
{
	int *place = NULL;
	uint32_t type = BPF_PROG_TYPE_SYSCALL;

	if (row->channel >= LOAD_CHANNELS_MAX)
		return false;
	switch (row->kind) {
	case LOAD_MAP:
		if (l->map_count == LOAD_MAPS_MAX || !map_as_declared(plan->request->parsed, row->name, fd))
			return false;
		struct loaded_map *m = &l->maps[l->map_count++];
		memcpy(m->name, row->name, sizeof(m->name));
		m->channel = row->channel;
		m->fd = fd;
		m->reused = row->reused != 0;
		return true;
	case LOAD_ENTRY:
		place = &l->entry_fd;
		type = BPF_PROG_TYPE_XDP;
		break;
	case LOAD_CALL:
		place = &l->call_fd[row->channel];
		break;
	case LOAD_DRAIN:
		place = &l->drain_fd[row->channel];
		break;
	case LOAD_EGRESS:
		place = &l->egress_fd;
		type = BPF_PROG_TYPE_XDP;
		break;
	case LOAD_MIGRATE:
		place = &l->migrate_fd;
		break;
	default:
		return false;
	}
	if (*place >= 0 || !program_of_type(fd, type))
		return false;
	*place = fd;
	return true;
}

/* All maps that a program uses are among those of the extension. */
static bool uses_own_maps(const struct loaded *l, int prog_fd)
{
	uint32_t ids[LOAD_MAPS_MAX] = { 0 }, size = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = { .map_ids = (uintptr_t)ids, .nr_map_ids = LOAD_MAPS_MAX };

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &size) != 0 || info.nr_map_ids > LOAD_MAPS_MAX)
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids; i++) {
		bool own = false;
		for (size_t j = 0; j < l->map_count && !own; j++) {
			struct bpf_map_info map = { 0 };
			size = sizeof(map);
			own = bpf_obj_get_info_by_fd(l->maps[j].fd, &map, &size) == 0 && map.id == ids[i];
		}
		if (!own)
			return false;
	}
	return true;
}

static int wait_readable(int socket)
{
	struct pollfd p = { .fd = socket, .events = POLLIN };
	int n;

	do
		n = poll(&p, 1, CHILD_TIMEOUT_MS);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -ETIMEDOUT;
}

static void receive_log(int socket, struct buf *log)
{
	while (log != NULL && wait_readable(socket) == 0) {
		uint8_t *to = buf_room(log, 65536);
		ssize_t n = to == NULL ? 0 : recv(socket, to, 65536, 0);
		if (n <= 0)
			break;
		buf_commit(log, (size_t)n);
	}
}

static int receive(const struct load_plan *plan, int socket, struct loaded *l, bool *left, struct errmsg *why)
{
	for (;;) {
		struct load_row row = { 0 };
		size_t fds = 0;
		int fd = -1, err = wait_readable(socket);
		ssize_t n = err != 0 ? err : fdpass_receive(socket, &row, sizeof(row), &fd, 1, &fds);

		if (n == 0)
			return errmsg_say(why, -ENOMEM, "the process that loads '%s' was ended by the kernel: out of memory or time",
					  plan->request->name);
		bool whole = n == (ssize_t)sizeof(row) && fds == (row.kind <= LOAD_MIGRATE ? 1u : 0u);
		row.name[sizeof(row.name) - 1] = '\0';
		row.why.text[sizeof(row.why.text) - 1] = '\0';
		if (whole && row.kind == LOAD_END) {
			*left = row.mismatch != 0;
			return 0;
		}
		if (whole && row.kind == LOAD_FAILED) {
			receive_log(socket, plan->request->log);
			err = row.why.code < 0 && row.why.code > -4096 ? row.why.code : -EINVAL;
			return errmsg_say(why, err, "%s", row.why.text);
		}
		if (!whole || !take_row(plan, l, &row, fd)) {
			if (fds == 1)
				close(fd);
			return errmsg_say(why, -EBADMSG, "what was loaded is not what '%s' declares; nothing of it is kept",
					  plan->request->name);
		}
	}
}

static int check_loaded(const struct load_plan *plan, const struct loaded *l, struct errmsg *why)
{
	size_t channels = MAX(plan->channels, (size_t)1);
	bool good = l->entry_fd >= 0 && uses_own_maps(l, l->entry_fd);
	bool egress = false;

	for (size_t i = 0; i < plan->request->parsed->program_count; i++)
		egress |= object_is_egress(&plan->request->parsed->programs[i]);
	good = good && (egress ? l->egress_fd >= 0 && uses_own_maps(l, l->egress_fd) : l->egress_fd < 0);
	for (size_t i = 0; i < plan->channels && good; i++)
		good = l->call_fd[i] >= 0 && l->drain_fd[i] >= 0 && uses_own_maps(l, l->call_fd[i]) &&
		       uses_own_maps(l, l->drain_fd[i]);
	for (size_t i = channels; i < LOAD_CHANNELS_MAX && good; i++)
		good = l->call_fd[i] < 0 && l->drain_fd[i] < 0;
	return good ? 0 : errmsg_say(why, -EBADMSG, "what was loaded is not what '%s' declares; nothing of it is kept",
				     plan->request->name);
}

/* ---- memory ---- */

static uint64_t memory_of(const struct loaded *l)
{
	uint64_t sum = pin_memory_bytes(l->entry_fd);

	for (size_t i = 0; i < l->map_count; i++)
		sum += pin_memory_bytes(l->maps[i].fd);
	for (size_t i = 0; i < LOAD_CHANNELS_MAX; i++)
		sum += (l->call_fd[i] < 0 ? 0 : pin_memory_bytes(l->call_fd[i])) +
		       (l->drain_fd[i] < 0 ? 0 : pin_memory_bytes(l->drain_fd[i]));
	return sum;
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

/* Judge what it takes; give the group its final limit and its mark. */
static int settle_memory(const struct load_plan *plan, struct loaded *l, uint64_t most, struct errmsg *why)
{
	l->memory_bytes = memory_of(l);
	if (l->memory_bytes > most)
		return errmsg_say(why, -ENOMEM, "'%s' takes %llu bytes of memory, %llu are allowed", plan->request->name,
				  (unsigned long long)l->memory_bytes, (unsigned long long)most);
	if (plan->group->root < 0)
		return 0;
	int err = memory_group_keep(plan->group, program_id(l->entry_fd), plan->request->keeper);
	if (err != 0)
		return errmsg_set(why, err, "mark the memory control group of '%s'", plan->request->name);
	l->memory_limited = true;
	return 0;
}

/* ---- one load ---- */

static size_t channel_count(const struct object *o)
{
	size_t channels = o->manifest == NULL ? 0 : o->manifest->channels;

	if (o->handler_count == 0)
		return 0;
	return MIN(MAX(channels, 1), (size_t)LOAD_CHANNELS_MAX);
}

static int reap(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static int run_child(const struct load_plan *plan, struct loaded *l, uint64_t memory_max, bool *left,
		     struct errmsg *why)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return errmsg_set(why, -errno, "make a socket pair");
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		load_child(plan, pair[1]);
	}
	int err = pid < 0 ? errmsg_set(why, -errno, "start a process") : 0;
	close(pair[1]);
	if (err == 0)
		err = receive(plan, pair[0], l, left, why);
	if (err == 0)
		err = check_loaded(plan, l, why);
	if (err == 0)
		err = settle_memory(plan, l, memory_max, why);
	if (err != 0 && pid > 0)
		kill(pid, SIGKILL);
	close(pair[0]);
	if (pid > 0)
		reap(pid);
	/* With the loader's own pages gone, the group gets the limit that it keeps. */
	if (err == 0 && plan->group->root >= 0) {
		err = memory_group_limit(plan->group, memory_max + GROUP_SLACK_BYTES);
		if (err != 0)
			errmsg_set(why, err, "limit the memory of '%s'", plan->request->name);
	}
	return err;
}

/* Label each channel; fill the ports. */
static int write_channels(const struct loaded *l, struct errmsg *why)
{
	for (size_t i = 0; i < l->map_count; i++) {
		const struct loaded_map *m = &l->maps[i];
		struct spine_channel_state state = { 0 };
		uint32_t zero = 0;

		if (strcmp(m->name, SPINE_MAP_CHANNEL) != 0)
			continue;
		if (bpf_map_lookup_elem(m->fd, &zero, &state) != 0)
			return errmsg_set(why, -errno, "read the state of channel %u", m->channel);
		/* A channel that lives on keeps the label that its holder got. */
		if (state.sender == 0)
			state.sender = m->channel + 1;
		if (bpf_map_update_elem(m->fd, &zero, &state, BPF_ANY) != 0)
			return errmsg_set(why, -errno, "label channel %u", m->channel);
	}
	return 0;
}

/* Devmaps look interfaces up in the namespace of who writes. */
static int write_ports(const struct load_plan *plan, int map, int egress, struct errmsg *why)
{
	uint32_t ports[RIGHTS_PORTS_MAX];
	size_t count;
	int err = spine_rights_ports(plan->rights, ports, &count, why);

	for (size_t i = 0; i < count && err == 0; i++) {
		struct bpf_devmap_val value = { .ifindex = ports[i], .bpf_prog.fd = egress };

		if (bpf_map_update_elem(map, &ports[i], &value, BPF_ANY) != 0)
			err = errmsg_set(why, -errno, "give '%s' the port with index %u", plan->request->name, ports[i]);
	}
	return err;
}

/* What may change while it runs, before its first packet. */
static int fill_ports(const struct load_plan *plan, const struct loaded *l, struct errmsg *why)
{
	AUTO_FD int home = -1;
	int err = 0, netns = plan->request->netns;

	if (plan->rights == NULL)
		return 0;
	if (netns > 0) {
		home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
		if (home < 0 || setns(netns, CLONE_NEWNET) != 0)
			return errmsg_set(why, -errno, "enter the device's network namespace");
	}
	for (size_t i = 0; i < l->map_count && err == 0; i++) {
		if (strcmp(l->maps[i].name, "spine_ports") == 0)
			err = write_ports(plan, l->maps[i].fd, l->egress_fd, why);
		else if (strcmp(l->maps[i].name, SPINE_POLICY_SECTION) == 0)
			err = spine_row_write(l->maps[i].fd, plan->rights, plan->request->policy->epoch, ROW_NEW, why);
	}
	if (home >= 0 && setns(home, CLONE_NEWNET) != 0)
		return errmsg_set(why, -errno, "return to our network namespace");
	return err;
}

static int run_migration(const struct load_plan *plan, const struct loaded *l, struct errmsg *why)
{
	const struct load_request *r = plan->request;
	struct spine_migration how = { .from_state_id = r->old_state_id, .to_state_id = r->parsed->manifest->state_id };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &how, .ctx_size_in = sizeof(how));

	if (bpf_prog_test_run_opts(l->migrate_fd, &opts) != 0)
		return errmsg_set(why, -errno, "run spine_migrate of '%s'", r->name);
	if (opts.retval != 0)
		return errmsg_say(why, -ECANCELED, "spine_migrate of '%s' returned %d: the old version stays", r->name,
				  (int)opts.retval);
	return 0;
}

static bool has_program(const struct object *o, const char *name)
{
	for (size_t i = 0; i < o->program_count; i++) {
		if (o->programs[i].entry && strcmp(o->programs[i].name, name) == 0)
			return true;
	}
	return false;
}

static int finish(const struct load_plan *plan, struct loaded *l, bool left, struct errmsg *why)
{
	int err = write_channels(l, why);

	if (err == 0)
		err = fill_ports(plan, l, why);
	if (err == 0 && l->migrate_fd >= 0)
		err = run_migration(plan, l, why);
	for (size_t i = 0; i < l->map_count; i++)
		l->state_kept |= l->maps[i].reused && !load_map_runtime(l->maps[i].name);
	l->state_kept |= l->migrate_fd >= 0;
	l->state_dropped = left && l->migrate_fd < 0;
	return err;
}

/* limited: in a memory control group of its own. */
static int load_in_tier(const struct load_request *r, const struct spine_rights *rights, enum spine_tier tier, bool limited,
			uint64_t memory_max, struct loaded **out, struct errmsg *why)
{
	struct memory_group group = MEMORY_GROUP_NONE;
	struct old_maps old = { 0 };
	struct load_plan plan = { .request = r, .rights = rights, .tier = tier, .channels = channel_count(r->parsed),
				  .old = r->old_maps != NULL ? r->old_maps : &old, .group = &group };
	struct loaded *l = loaded_new();
	bool left = false;
	int err = l == NULL ? errmsg_set(why, -ENOMEM, "load '%s'", r->name) :
		r->old_maps != NULL ? 0 : old_maps_read(r->old_maps_dir, &old, why);

	if (err == 0) {
		plan.keep_state = r->old_maps_dir >= 0 && r->parsed->manifest != NULL &&
				  r->old_state_id == r->parsed->manifest->state_id;
		plan.migrate = r->old_maps_dir >= 0 && !plan.keep_state && has_program(r->parsed, "spine_migrate");
		if (limited) {
			if (r->keeper <= 0)
				memory_groups_collect();
			err = memory_group_new(r->name, memory_max + LOADER_BYTES, r->keeper, &group, why);
			/* No groups on this machine: the sum below still holds; `doctor` tells. */
			err = err == -EOPNOTSUPP ? 0 : err;
		}
	}
	if (err == 0)
		err = run_child(&plan, l, memory_max, &left, why);
	if (err == 0)
		err = finish(&plan, l, left, why);
	old_maps_done(&old);
	memory_group_close(&group, err != 0);
	if (err != 0) {
		loaded_free(l);
		return err;
	}
	l->tier = tier;
	l->channel_count = plan.channels;
	*out = l;
	return 0;
}

int spine_load_old_maps(int dir, struct old_maps **out, struct errmsg *why)
{
	struct old_maps *m = calloc(1, sizeof(*m));
	int err = m == NULL ? errmsg_set(why, -ENOMEM, "read the maps of the version that runs") :
		old_maps_read(dir, m, why);

	if (err != 0)
		free(m);
	else
		*out = m;
	return err;
}

void spine_load_old_maps_free(struct old_maps *m)
{
	if (m != NULL)
		old_maps_done(m);
	free(m);
}

int spine_load_keeper(struct errmsg *why)
{
	return memory_keeper(why);
}


/* ---- doors ---- */

static int verify(const struct load_request *r, uint8_t signer[32], struct errmsg *why)
{
	int err = r->signature.len == 0 ? 0 : spine_verify(r->object, r->signature, signer);

	if (err == -EBADMSG)
		return errmsg_say(why, -EBADMSG, "the signature of '%s' is not one of this object: sign it again with "
				  "'prickle spine sign'", r->name);
	return err == 0 ? 0 : errmsg_set(why, err, "verify the signature of '%s'", r->name);
}

/* The strict verifier refused: would the ordinary one? Loaded to see, and dropped. */
static void hint_signature(const struct load_request *r, const struct spine_rights *rights, uint64_t memory_max, struct errmsg *why)
{
	struct load_request again = *r;
	struct loaded *l = NULL;
	char text[sizeof(why->text)];

	again.old_maps_dir = -1;
	again.log = NULL;
	if (why == NULL || load_in_tier(&again, NULL, TIER_VETTED, true, memory_max, &l, NULL) != 0)
		return;
	loaded_free(l);
	snprintf(text, sizeof(text), "%.240s", why->text);
	errmsg_say(why, why->code, "%s. Unsigned objects meet the kernel's strict rules; signed, this one passes: 'prickle "
		   "spine sign FILE.o --key KEY', and `signed-by` with its public key at its domain in the policy (%.80s)", text,
		   rights->from);
}

int spine_load(struct arena *arena, const struct load_request *request, struct loaded **out,
	       struct inspect_report *report, struct errmsg *why)
{
	AUTO_BUF struct buf injected = BUF_INIT(LOAD_INJECTED_BYTES_MAX);
	struct load_request r = *request;
	uint8_t signer[32] = { 0 }, digest[32];
	uint64_t guarded[INSPECT_HELPER_WORDS];
	const struct spine_rights *rights = NULL;
	struct inject_report did = { 0 };
	enum spine_tier tier = TIER_UNTRUSTED;
	struct spine_rights asked;
	int err = verify(&r, signer, why);

	memset(report, 0, sizeof(*report));
	crypto_hash_sha256(digest, r.object.ptr, r.object.len);
	if (err == 0)
		err = spine_rights_find(arena, r.policy, r.device, r.name, r.signature.len == 0 ? NULL : signer, digest, &rights, why);
	if (err == 0 && r.judged != NULL)
		*r.judged = rights;
	if (err == 0) {
		tier = rights->vetted ? TIER_VETTED : TIER_UNTRUSTED;
		asked = *rights;
		if (rights->trial_until != 0)
			load_ask_for_trial(&asked);
		err = load_judge(arena, &r, &asked, tier, report, why);
	}
	if (err == 0)
		err = load_guard(arena, &r, &asked, report->helpers, &injected, &did, guarded, why);
	if (err != 0)
		return err;
	uint64_t memory_max = MIN(r.parsed->manifest->memory_bytes_max, rights->memory_bytes_max);
	err = load_in_tier(&r, rights, tier, tier == TIER_UNTRUSTED, memory_max, out, why);
	if (err == -EINVAL && tier == TIER_UNTRUSTED)
		hint_signature(&r, rights, memory_max, why);
	if (err != 0)
		return err;
	memcpy((*out)->signer, signer, sizeof(signer));
	memcpy((*out)->digest, digest, sizeof(digest));
	memcpy((*out)->guarded, guarded, sizeof(guarded));
	(*out)->checks = did.calls;
	(*out)->rights = rights;
	(*out)->report = *report;
	return 0;
}

int spine_load_for_test(struct arena *arena, const struct load_request *request, enum spine_tier tier,
			struct loaded **out, struct errmsg *why)
{
	uint64_t all_helpers[INSPECT_HELPER_WORDS];
	struct inspect_report report = { 0 };

	memset(all_helpers, 0xff, sizeof(all_helpers));
	struct inspect_rights rights = {
		.verdicts = SPINE_VERDICTS_ALL, .helpers = all_helpers, .map_types = UINT64_MAX,
		.instructions_max = UINT64_MAX, .memory_bytes_max = UINT64_MAX, .tail_calls = true, .unbounded = true,
		.syscall_programs = true,
	};
	int err = inspect_object(arena, request->parsed, &rights, &report, why);
	if (err == 0)
		err = load_in_tier(request, NULL, tier, tier == TIER_UNTRUSTED, LOAD_MEMORY_BYTES_MAX, out, why);
	if (err == 0) {
		crypto_hash_sha256((*out)->digest, request->object.ptr, request->object.len);
		(*out)->report = report;
	}
	return err;
}
