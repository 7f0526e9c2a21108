#include "policy/floor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "policy/policy_limits.h"

struct making {
	struct arena *arena;
	const struct analysis *analysis;
	const struct policy *p;
	uint16_t subject;
	struct floor *floor;
	const char *gaps[FLOOR_GAPS_MAX];
	size_t gap_count;
	int err;
	struct errmsg *why;
};

static void gap(struct making *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void gap(struct making *m, const char *fmt, ...)
{
	AUTO_BUF struct buf text = BUF_INIT(1024);
	va_list ap;

	if (m->gap_count == FLOOR_GAPS_MAX)
		return;
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	m->gaps[m->gap_count] = arena_str(m->arena, buf_slice(&text));
	if (m->gaps[m->gap_count] != NULL)
		m->gap_count++;
}

/* ---- files ---- */

static bool below(const char *path, const char *tree)
{
	size_t n = strlen(tree);

	if (n == 1)			/* "/" */
		return path[1] != '\0';
	return strncmp(path, tree, n) == 0 && path[n] == '/';
}

static uint32_t rights_of(const struct making *m, uint16_t object)
{
	return analysis_right(m->analysis, m->subject, object).allow;
}

static void add_path(struct making *m, const char *path, uint32_t rights)
{
	struct floor *f = m->floor;

	if (m->err != 0 || rights == 0)
		return;
	if (f->path_count == FLOOR_PATHS_MAX) {
		m->err = errmsg_say(m->why, -E2BIG, "the floor of '%s' needs more than %d paths: a tree that it may use is opened entry by entry, since "
				    "a part of it has a label with fewer rights; give that part or its neighbours labels nearer to each other",
				    m->p->subjects[m->subject].name, FLOOR_PATHS_MAX);
		return;
	}
	f->paths[f->path_count++] = (struct floor_path){ path, rights };
}

/* A label inside this path that has not all of these rights, or NULL. */
static const struct policy_object *narrower_inside(const struct making *m, const char *path, uint32_t rights)
{
	for (size_t i = 1; i < m->p->object_count; i++) {
		const struct policy_object *o = &m->p->objects[i];
		if (o->class == POLICY_FILE && o->kind != POLICY_PLACE && below(o->text, path) && (rights & ~rights_of(m, (uint16_t)i)) != 0)
			return o;
	}
	return NULL;
}

/* The label that begins at this path exactly, or 0. */
static uint16_t label_at(const struct making *m, const char *path)
{
	for (size_t i = 1; i < m->p->object_count; i++)
		if (m->p->objects[i].class == POLICY_FILE && m->p->objects[i].kind != POLICY_PLACE && strcmp(m->p->objects[i].text, path) == 0)
			return (uint16_t)i;
	return 0;
}

/*
 * Open a directory: as a whole when everything inside may be used alike; else each entry that has no label of its own (labels are opened
 * where they begin). Directories on the way are opened to nobody: what is made in them later has no rights.
 */
static void open_tree(struct making *m, const char *path, uint32_t rights, unsigned depth)
{
	const struct policy_object *inside = narrower_inside(m, path, rights);
	AUTO_FD int fd = -1;
	struct dirent *e;
	DIR *dir;

	if (m->err != 0)
		return;
	if (inside == NULL) {
		add_path(m, path, rights);
		return;
	}
	gap(m, "'%s' has '%s' inside, with fewer rights: it is opened entry by entry, and what is made in it later is not open", path, inside->text);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 || depth > FLOOR_DEPTH_MAX ? NULL : fdopendir(fd);
	if (dir == NULL) {
		gap(m, "'%s' cannot be listed, so nothing in it is open", path);
		return;
	}
	fd = -1;
	while (m->err == 0 && (e = readdir(dir)) != NULL) {
		AUTO_BUF struct buf name = BUF_INIT(POLICY_STRING_BYTES_MAX + 1);
		const char *kept;
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		/* A link leads elsewhere: Landlock would open what it points to, under whatever label that has. Not every file system tells types here. */
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISLNK(st.st_mode))
			continue;
		buf_printf(&name, "%s/%s", path[1] == '\0' ? "" : path, e->d_name);
		kept = arena_str(m->arena, buf_slice(&name));
		if (kept == NULL || name.err != 0)
			continue;
		if (label_at(m, kept) == 0)
			open_tree(m, kept, rights, depth + 1);
	}
	closedir(dir);
}

/* Rights of all objects of the class that are the subject's only under a condition. */
static void conditional_gap(struct making *m, uint16_t object)
{
	if (analysis_right(m->analysis, m->subject, object).conditional != 0)
		gap(m, "rights on '%s' depend on a condition, which a kernel cannot ask: they are not in the floor", m->p->objects[object].name);
}

/*
 * The kernel opens what a name leads to. Where that is elsewhere (a link, perhaps one that this domain made when it ran before), no more is open than
 * the label there allows as well.
 */
static const char *behind_links(struct making *m, const char *path, uint32_t *rights)
{
	AUTO_FREE char *real = *rights == 0 ? NULL : realpath(path, NULL);
	struct policy_object target = { .kind = POLICY_PATH, .class = POLICY_FILE, .text = real };
	uint32_t there;

	if (real == NULL || strcmp(real, path) == 0)
		return path;
	there = rights_of(m, analysis_lookup(m->p, &target));
	if ((*rights & ~there) != 0)
		gap(m, "'%s' leads to '%s', whose label has fewer rights: only those of both are open", path, real);
	*rights &= there;
	path = arena_str(m->arena, slice_str(real));
	if (path == NULL)
		m->err = errmsg_set(m->why, -ENOMEM, "the floor of a domain");
	return path;
}

static void open_file(struct making *m, uint16_t object)
{
	const struct policy_object *o = &m->p->objects[object];
	uint32_t rights = rights_of(m, object);
	const char *path = behind_links(m, o->text, &rights);

	if (m->err != 0)
		return;
	if (o->kind == POLICY_TREE)
		open_tree(m, path, rights, 0);
	else
		add_path(m, path, rights);
}

/* ---- endpoints ---- */

static void open_endpoint(struct making *m, uint16_t object, bool *datagrams)
{
	const struct policy_object *o = &m->p->objects[object];
	uint32_t rights = rights_of(m, object);
	struct floor *f = m->floor;
	struct floor_port *port;

	if ((rights & POLICY_ENDPOINT_SEND) != 0) {
		*datagrams = true;
		gap(m, "'%s' allows datagrams, which Landlock does not know: all UDP is open", o->name);
	}
	if ((rights & POLICY_ENDPOINT_CONNECT) != 0 && o->text != NULL)
		gap(m, "'%s' is host '%s': Landlock knows ports alone, so port %u of every host is open", o->name, o->text, o->port);
	if (o->port == 0) {
		f->any_connect |= (rights & POLICY_ENDPOINT_CONNECT) != 0;
		f->any_listen |= (rights & POLICY_ENDPOINT_LISTEN) != 0;
		return;
	}
	if ((rights & (POLICY_ENDPOINT_CONNECT | POLICY_ENDPOINT_LISTEN)) == 0)
		return;
	if (f->port_count == FLOOR_PORTS_MAX) {
		m->err = errmsg_say(m->why, -E2BIG, "the floor of '%s' needs more than %d ports", m->p->subjects[m->subject].name, FLOOR_PORTS_MAX);
		return;
	}
	port = &f->ports[f->port_count++];
	*port = (struct floor_port){ o->port, (rights & POLICY_ENDPOINT_CONNECT) != 0, (rights & POLICY_ENDPOINT_LISTEN) != 0 };
}

/* ---- the kernel ---- */

static const struct {
	uint32_t permission;
	uint64_t capabilities;
} capabilities[] = {
	{ POLICY_KERNEL_BPF, 1ull << CAP_BPF },
	{ POLICY_KERNEL_TRACE, 1ull << CAP_PERFMON },
	{ POLICY_KERNEL_NET_ADMIN, 1ull << CAP_NET_ADMIN },
	{ POLICY_KERNEL_NET_RAW, 1ull << CAP_NET_RAW },
	{ POLICY_KERNEL_LOW_PORTS, 1ull << CAP_NET_BIND_SERVICE },
	{ POLICY_KERNEL_USERS, 1ull << CAP_SETUID | 1ull << CAP_SETGID | 1ull << CAP_SETPCAP },
	{ POLICY_KERNEL_OWNERS, 1ull << CAP_CHOWN | 1ull << CAP_FOWNER | 1ull << CAP_DAC_OVERRIDE },
	{ POLICY_KERNEL_SIGNAL, 1ull << CAP_KILL },
};

uint64_t policy_floor_capabilities(uint32_t kernel)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < ARRAY_LEN(capabilities); i++)
		bits |= (kernel & capabilities[i].permission) != 0 ? capabilities[i].capabilities : 0;
	return bits;
}

int policy_floor(struct arena *arena, const struct analysis *a, uint16_t subject, const struct floor **out, struct errmsg *why)
{
	const struct policy *p = analysis_policy(a);
	struct floor *f = ARENA_NEW(arena, struct floor);
	struct making m = { .arena = arena, .analysis = a, .p = p, .subject = subject, .floor = f, .why = why };

	if (f == NULL)
		return errmsg_set(why, -ENOMEM, "the floor of a domain");
	f->paths = arena_array(arena, FLOOR_PATHS_MAX, sizeof(*f->paths));
	f->ports = arena_array(arena, FLOOR_PORTS_MAX, sizeof(*f->ports));
	f->gaps = arena_array(arena, FLOOR_GAPS_MAX, sizeof(*f->gaps));
	if (f->paths == NULL || f->ports == NULL || f->gaps == NULL)
		return errmsg_set(why, -ENOMEM, "the floor of a domain");
	for (size_t i = 1; i < p->object_count && m.err == 0; i++) {
		if (p->objects[i].kind == POLICY_PLACE) {
			if (rights_of(&m, (uint16_t)i) != 0)
				gap(&m, "'%s' is a place of the node, which the configuration names: processes of the node alone can be held to it", p->objects[i].name);
			continue;
		}
		switch (p->objects[i].class) {
		case POLICY_FILE:
			conditional_gap(&m, (uint16_t)i);
			open_file(&m, (uint16_t)i);
			break;
		case POLICY_ENDPOINT:
			conditional_gap(&m, (uint16_t)i);
			open_endpoint(&m, (uint16_t)i, &f->datagrams);
			break;
		case POLICY_KERNEL:
			conditional_gap(&m, (uint16_t)i);
			f->kernel = rights_of(&m, (uint16_t)i);
			break;
		default:
			break;
		}
	}
	if (p->subjects[subject].trial_until != 0)
		gap(&m, "'%s' is on trial: a kernel cannot let through and report, so the floor holds already", p->subjects[subject].name);
	f->capabilities = policy_floor_capabilities(f->kernel);
	f->gap_count = m.gap_count;
	if (m.gap_count > 0)
		memcpy(f->gaps, m.gaps, m.gap_count * sizeof(*f->gaps));
	if (m.err == 0)
		*out = f;
	return m.err;
}
