/*
 * `prickle dvm verify`: may these classes run?
 *
 * Class files are strangers' bytes: worker processes, which keep nothing but memory and a pipe, parse and judge them. Each takes the next classes from a shared
 * counter. A worker that dies says by its own row which class it died of; that class is refused, and another worker goes on behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/must.h"
#include "base/reader.h"
#include "cli/cli.h"
#include "cli/dvm_input.h"
#include "cli/spine.h"
#include "dvm/verify/verify.h"
#include "sys/process.h"
#include "sys/sandbox.h"

#define WORKERS_MAX	64u
#define BATCH		16u			/* classes that a worker takes at a time */
#define CLASS_MEMORY	(512ull << 20)		/* of one class: what is used beyond is a refusal */
#define WORKER_MEMORY	(16ull << 30)
#define RECORD_BYTES	(64u << 20)
#define DEATHS_MAX	100u

struct row {				/* of a worker, in memory that all see */
	_Atomic uint32_t at;		/* 1 + the item that it looks at; 0: none */
	_Atomic uint32_t upto;		/* end of its batch */
	_Atomic uint64_t done, accepted, old, open, methods, instructions;
	char label[512];		/* of that item: for the one that a worker died of */
};

struct shared {
	_Atomic uint32_t count;		/* of classes: each worker lists the same */
	_Atomic uint32_t next;
	struct row rows[WORKERS_MAX];
};

struct worker {
	pid_t pid;
	int fd;
	struct buf in;			/* records that are not whole yet */
	uint32_t skip_from, skip_to;	/* the rest of the batch of one that died */
};

struct finding {			/* a refusal */
	uint32_t item;
	char *section, *class, *method, *text, *error, *label;
	int64_t pc;
};

struct verifying {
	struct cli *cli;
	struct dvm_input *input;
	struct shared *shared;
	uint32_t flags, count, jobs;	/* count: in the workers; the parent parses nothing */
	bool certificates, certificate_dir;
	const char *certificate;
	int certificate_fd;
	struct worker workers[WORKERS_MAX];
	struct finding *findings;
	uint32_t finding_count, finding_room, deaths;
	char *complaints[64];		/* containers that could not be read */
	uint32_t complaint_count;
	int code;
};

enum record { RECORD_REFUSED = 1, RECORD_CERTIFICATE, RECORD_COMPLAINT, RECORD_UNREADABLE };

/* ---- in the worker ---- */

struct judging {
	struct verifying *v;
	struct row *row;
	int fd;
	struct arena arena;
	struct buf out, text;
	uint32_t item;
};

static const struct class_file *find(void *context, struct slice name)
{
	struct judging *j = context;

	return dvm_input_find(j->v->input, j->item, name);
}

static void send_record(struct judging *j, enum record kind)
{
	uint8_t head[4] = { (uint8_t)(j->out.len >> 24), (uint8_t)(j->out.len >> 16), (uint8_t)(j->out.len >> 8), (uint8_t)j->out.len };
	struct slice parts[] = { slice_of(head, 4), slice_of(&(uint8_t){ (uint8_t)kind }, 1), buf_slice(&j->out) };

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		while (parts[i].len > 0) {
			ssize_t n = write(j->fd, parts[i].ptr, parts[i].len);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				_exit(3);
			parts[i] = slice_from(parts[i], (size_t)n);
		}
	buf_reset(&j->out);
}

static void label_of(const struct verifying *v, uint32_t item, char *out, size_t size)
{
	const struct dvm_item *i = dvm_input_item(v->input, item);
	size_t n = (size_t)snprintf(out, size, "%s%s", i->path, i->entry.len == 0 ? "" : i->joint);

	for (size_t k = 0; k < i->entry.len && n + 1 < size; k++)
		out[n++] = i->entry.ptr[k] >= ' ' && i->entry.ptr[k] < 0x7f ? (char)i->entry.ptr[k] : '?';
	if (n < size)
		out[n] = '\0';
}

static void add_printable(struct buf *out, struct slice text)
{
	struct buf clean = BUF_INIT(1 << 20);

	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] >= ' ' && text.ptr[i] < 0x7f)
			buf_addc(&clean, text.ptr[i] == '/' ? '.' : text.ptr[i]);
		else
			buf_printf(&clean, "\\x%02x", text.ptr[i]);
	buf_blob(out, buf_slice(&clean));
	buf_done(&clean);
}

static void send_refusal(struct judging *j, const struct class_file *c, const struct class_fault *fault)
{
	struct buf method = BUF_INIT(1 << 20);

	buf_be32(&j->out, j->item);
	buf_be32(&j->out, (uint32_t)fault->pc);
	buf_blob(&j->out, slice_str(j->row->label));
	buf_blob(&j->out, slice_str(fault->section == NULL ? "-" : fault->section));
	buf_blob(&j->out, slice_str(class_fault_error(fault->kind)));
	add_printable(&j->out, c == NULL ? (struct slice){ 0 } : class_name(c));
	if (c != NULL && fault->method >= 0 && fault->method < (int32_t)c->methods.count) {
		buf_add(&method, member_name(c, &c->methods.at[fault->method]));
		buf_add(&method, member_descriptor(c, &c->methods.at[fault->method]));
	}
	add_printable(&j->out, buf_slice(&method));
	buf_done(&method);
	buf_blob(&j->out, slice_str(fault->text));
	send_record(j, RECORD_REFUSED);
}

static void send_certificate(struct judging *j, const struct class_file *c, struct slice bytes, const struct verify_result *result)
{
	uint8_t hash[32];
	char hex[65];

	if (EVP_Digest(bytes.ptr, bytes.len, hash, NULL, EVP_sha256(), NULL) != 1)
		_exit(4);
	for (unsigned i = 0; i < 32; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	buf_add(&j->out, slice_of(hex, 64));
	verify_certificate(&j->out, c, slice_of(hex, 64), result);
	send_record(j, RECORD_CERTIFICATE);
}

static void judge(struct judging *j)
{
	const struct class_source source = { find, j };
	uint32_t flags = j->v->flags | (dvm_input_item(j->v->input, j->item)->boot ? VERIFY_RELAXED_FORMAT : 0);
	struct class_fault fault;
	struct verify_result result;
	struct class_file c;
	struct slice bytes;
	struct errmsg why;

	arena_reset(&j->arena);
	if (dvm_input_read(j->v->input, &j->arena, j->item, &bytes, &why) != 0) {
		(void)class_fault_set(&fault, CLASS_FAULT_LIMIT, "-", 0, "it cannot be read: %.200s", why.text);
		send_refusal(j, NULL, &fault);
		return;
	}
	if (!class_parse(&j->arena, bytes, &c, &fault)) {
		send_refusal(j, NULL, &fault);
		return;
	}
	if (!verify_class(&j->arena, &c, &source, flags, &result))
		send_refusal(j, &c, &result.fault);
	j->row->accepted += result.ok;
	j->row->old += result.old;
	j->row->open += result.open_count > 0;
	j->row->methods += result.methods;
	j->row->instructions += result.instructions;
	if (j->v->certificates)
		send_certificate(j, &c, bytes, &result);
}

static void judge_range(struct judging *j, uint32_t from, uint32_t to)
{
	j->row->upto = to;
	for (uint32_t i = from; i < to; i++) {
		label_of(j->v, i, j->row->label, sizeof(j->row->label));
		j->row->at = i + 1;
		j->item = i;
		judge(j);
		j->row->done++;
	}
	j->row->at = 0;
}

NORETURN static void work(struct verifying *v, uint32_t index, int fd)
{
	struct sandbox box = { .data_bytes_max = WORKER_MEMORY };
	struct sandbox_report report;
	struct judging j = { .v = v, .row = &v->shared->rows[index], .fd = fd, .out = BUF_INIT(RECORD_BYTES), .text = BUF_INIT(RECORD_BYTES) };
	struct worker *w = &v->workers[index];
	struct errmsg why;
	uint32_t from;

	(void)EVP_sha256();
	if (sandbox_apply(&box, &report, &why) != 0) {
		buf_adds(&j.out, why.text);
		send_record(&j, RECORD_COMPLAINT);
		_exit(5);
	}
	if (dvm_input_open(v->input, &why) != 0) {
		buf_adds(&j.out, why.text);
		send_record(&j, RECORD_COMPLAINT);
		_exit(7);
	}
	v->count = dvm_input_count(v->input);
	v->shared->count = v->count;
	for (uint32_t i = 0; index == 0 && i < dvm_input_complaints(v->input) && w->skip_to == 0; i++) {
		buf_adds(&j.out, dvm_input_complaint(v->input, i));
		send_record(&j, RECORD_UNREADABLE);
	}
	arena_init(&j.arena, CLASS_MEMORY);
	judge_range(&j, w->skip_from, w->skip_to);
	while ((from = atomic_fetch_add(&v->shared->next, BATCH)) < v->count)
		judge_range(&j, from, MIN(from + BATCH, v->count));
	_exit(0);
}

/* ---- the command ---- */

static int start(struct verifying *v, uint32_t index)
{
	struct worker *w = &v->workers[index];
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	w->pid = fork();
	if (w->pid == 0) {
		if (process_die_with_parent(getppid()) != 0)
			_exit(6);
		work(v, index, ends[1]);
	}
	close(ends[1]);
	if (w->pid < 0) {
		close(ends[0]);
		return -errno;
	}
	w->fd = ends[0];
	buf_init(&w->in, RECORD_BYTES + 16);
	return 0;
}

static char *text_of(struct slice s)
{
	char *p = slice_strdup(s);

	must(p != NULL);
	return p;
}

static struct finding *add_finding(struct verifying *v, uint32_t item)
{
	if (v->finding_count == v->finding_room) {
		v->finding_room = v->finding_room == 0 ? 64 : v->finding_room * 2;
		v->findings = reallocarray(v->findings, v->finding_room, sizeof(*v->findings));
		must(v->findings != NULL);
	}
	v->findings[v->finding_count] = (struct finding){ .item = item, .pc = -1 };
	return &v->findings[v->finding_count++];
}

static void take_refusal(struct verifying *v, struct reader *r)
{
	uint32_t item = rd_be32(r);
	struct finding *f;
	struct slice parts[6];
	int64_t pc = (int32_t)rd_be32(r);

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		parts[i] = rd_blob(r);
	if (r->bad)
		return;
	f = add_finding(v, item);
	f->pc = pc;
	f->label = text_of(parts[0]);
	f->section = text_of(parts[1]);
	f->error = text_of(parts[2]);
	f->class = text_of(parts[3]);
	f->method = text_of(parts[4]);
	f->text = text_of(parts[5]);
}

static void take_certificate(struct verifying *v, struct slice record)
{
	char path[PATH_MAX];
	struct slice text = slice_from(record, 64);
	int fd = v->certificate_fd;

	if (record.len < 64)
		return;
	if (v->certificate_dir) {
		(void)snprintf(path, sizeof(path), "%s/%.64s.json", v->certificate, (const char *)record.ptr);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	}
	if (fd < 0 || write(fd, text.ptr, text.len) != (ssize_t)text.len || write(fd, "\n", 1) != 1)
		v->code = CLI_FAILED;
	if (v->certificate_dir)
		fd_close(&fd);
}

static void take_records(struct verifying *v, struct worker *w)
{
	while (w->in.len >= 5) {
		uint32_t n = (uint32_t)w->in.ptr[0] << 24 | (uint32_t)w->in.ptr[1] << 16 | (uint32_t)w->in.ptr[2] << 8 | w->in.ptr[3];
		struct reader r;

		if (w->in.len < 5 + (size_t)n)
			return;
		r = reader_of(slice_of(w->in.ptr + 5, n));
		if (w->in.ptr[4] == RECORD_REFUSED)
			take_refusal(v, &r);
		else if (w->in.ptr[4] == RECORD_CERTIFICATE)
			take_certificate(v, slice_of(w->in.ptr + 5, n));
		else if (w->in.ptr[4] == RECORD_UNREADABLE && v->complaint_count < ARRAY_LEN(v->complaints))
			v->complaints[v->complaint_count++] = text_of(slice_of(w->in.ptr + 5, n));
		else if (w->in.ptr[4] == RECORD_COMPLAINT)
			v->code = cli_fail(v->cli, CLI_FAILED, "a worker could not begin: %.*s", (int)n, (const char *)w->in.ptr + 5);
		buf_drop(&w->in, 5 + (size_t)n);
	}
}

/* The pipe ended: well, or by a crash, which is a refusal of the class at hand. */
static void end_worker(struct verifying *v, uint32_t index)
{
	struct worker *w = &v->workers[index];
	struct row *row = &v->shared->rows[index];
	uint32_t at = row->at;
	int status = 0;

	fd_close(&w->fd);
	while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (at == 0 || at > v->shared->count || v->deaths++ >= DEATHS_MAX || v->code != CLI_OK) {
		v->code = v->code != CLI_OK ? v->code : cli_fail(v->cli, CLI_FAILED, "a worker ended with status 0x%x", status);
		return;
	}
	struct finding *f = add_finding(v, at - 1);
	row->label[sizeof(row->label) - 1] = '\0';
	f->label = text_of(slice_str(row->label));
	f->section = text_of(slice_str("-"));
	f->error = text_of(slice_str("-"));
	f->class = text_of(slice_str(""));
	f->method = text_of(slice_str(""));
	f->text = text_of(slice_str("the verifier itself died of this class; please report it"));
	row->done++;
	w->skip_from = at;
	w->skip_to = MIN((uint32_t)row->upto, (uint32_t)v->shared->count);
	row->at = 0;
	int err = start(v, index);
	if (err != 0)
		v->code = cli_fail(v->cli, CLI_FAILED, "cannot start a worker: %s", strerrordesc_np(-err));
}

static uint64_t sum(const struct verifying *v, size_t field)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < v->jobs; i++)
		n += *(const _Atomic uint64_t *)(const void *)((const char *)&v->shared->rows[i] + field);
	return n;
}
#define SUM(v, field) sum(v, offsetof(struct row, field))

static void progress(const struct verifying *v, bool end)
{
	static const char bar[] = "##############################";
	uint64_t done = SUM(v, done);
	uint32_t count = v->shared->count;
	int width = count == 0 ? 0 : (int)(MIN(done, count) * 30 / count);

	if (cli_json(v->cli) || !isatty(STDERR_FILENO))
		return;
	if (end)
		fputs("\r\033[K", stderr);
	else
		fprintf(stderr, "\r\033[K[%.*s%*s] %llu of %u classes", width, bar, 30 - width, "", (unsigned long long)done, count);
	fflush(stderr);
}

static void attend(struct verifying *v)
{
	struct pollfd fds[WORKERS_MAX];
	uint32_t open = v->jobs;

	while (open > 0 && v->code == CLI_OK) {
		open = 0;
		for (uint32_t i = 0; i < v->jobs; i++) {
			fds[i] = (struct pollfd){ .fd = v->workers[i].fd, .events = POLLIN };
			open += v->workers[i].fd >= 0;
		}
		if (open == 0)
			break;
		(void)poll(fds, v->jobs, 200);
		for (uint32_t i = 0; i < v->jobs; i++) {
			struct worker *w = &v->workers[i];
			uint8_t *room = fds[i].revents == 0 ? NULL : buf_room(&w->in, 65536);
			ssize_t n = room == NULL ? -1 : read(w->fd, room, 65536);

			if (n > 0) {
				buf_commit(&w->in, (size_t)n);
				take_records(v, w);
			} else if (n == 0) {
				end_worker(v, i);
			}
		}
		progress(v, false);
	}
	progress(v, true);
	for (uint32_t i = 0; i < v->jobs; i++) {
		if (v->workers[i].fd >= 0) {
			kill(v->workers[i].pid, SIGKILL);
			(void)waitpid(v->workers[i].pid, NULL, 0);
			fd_close(&v->workers[i].fd);
		}
		buf_done(&v->workers[i].in);
	}
}

/* ---- results ---- */

static int by_item(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;

	return x->item < y->item ? -1 : x->item > y->item;
}

static void print_finding(const struct finding *f, struct buf *out)
{
	buf_printf(out, "%s: refused: JVMS %s: ", f->label, f->section);
	if (f->class[0] != '\0')
		buf_printf(out, "%s%s%s", f->class, f->method[0] != '\0' ? "." : "", f->method);
	if (f->pc >= 0)
		buf_printf(out, " at %lld", (long long)f->pc);
	buf_printf(out, "%s%s\n", f->class[0] != '\0' ? ": " : "", f->text);
}

static json_t *json_finding(const struct finding *f)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "file", f->label, "class", f->class, "method", f->method, "section", f->section, "error", f->error,
			      "reason", f->text);

	if (o != NULL && f->pc >= 0)
		json_object_set_new(o, "pc", json_integer(f->pc));
	return o;
}

static int conclude(struct verifying *v, bool jdk)
{
	AUTO_BUF struct buf text = BUF_INIT(1u << 30);
	uint64_t refused = v->finding_count + v->complaint_count;
	json_t *list = json_array();
	int code;

	qsort(v->findings, v->finding_count, sizeof(*v->findings), by_item);
	if (cli_json(v->cli)) {
		json_t *complaints = json_array();

		for (uint32_t i = 0; i < v->finding_count; i++)
			json_array_append_new(list, json_finding(&v->findings[i]));
		for (uint32_t i = 0; i < v->complaint_count; i++)
			json_array_append_new(complaints, json_string(v->complaints[i]));
		code = spine_cli_json(v->cli, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "classes", (json_int_t)v->shared->count, "accepted",
							(json_int_t)SUM(v, accepted), "refused", (json_int_t)v->finding_count, "inferred",
							(json_int_t)SUM(v, old), "open", (json_int_t)SUM(v, open), "methods", (json_int_t)SUM(v, methods),
							"instructions", (json_int_t)SUM(v, instructions), "faults", list, "unreadable", complaints));
		return code != CLI_OK ? code : refused > 0 ? CLI_FAILED : CLI_OK;
	}
	json_decref(list);
	for (uint32_t i = 0; i < v->complaint_count; i++)
		buf_printf(&text, "%s\n", v->complaints[i]);
	for (uint32_t i = 0; i < v->finding_count; i++)
		print_finding(&v->findings[i], &text);
	buf_printf(&text, "%u classes: %llu accepted, %u refused; %llu by inference, %llu depend on classes that are not on the class path\n", (unsigned)v->shared->count,
		   (unsigned long long)SUM(v, accepted), v->finding_count, (unsigned long long)SUM(v, old), (unsigned long long)SUM(v, open));
	if (!jdk)
		fprintf(stderr, "note: no JDK was found, so that what depends on its classes stays open; --jdk DIR names one\n");
	code = cli_print(v->cli, &text);
	return code != CLI_OK ? code : refused > 0 ? CLI_FAILED : CLI_OK;
}

/* ---- arguments ---- */

static int open_certificate(struct verifying *v)
{
	struct stat st;

	v->certificate = cli_value(v->cli, "certificate");
	v->certificates = v->certificate != NULL;
	v->certificate_fd = -1;
	if (!v->certificates)
		return CLI_OK;
	v->certificate_dir = stat(v->certificate, &st) == 0 && S_ISDIR(st.st_mode);
	if (v->certificate_dir)
		return CLI_OK;
	v->certificate_fd = open(v->certificate, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return v->certificate_fd >= 0 ? CLI_OK : cli_fail(v->cli, CLI_FAILED, "'%s': %s", v->certificate, strerrordesc_np(errno));
}

/* --classpath A:B:C */
static int add_class_path(struct verifying *v, const char *list, struct errmsg *why)
{
	struct slice rest = slice_str(list), one;
	int err = 0;

	while (err == 0 && rest.len > 0) {
		char *path;

		if (!slice_cut(rest, ':', &one, &rest))
			rest.len = 0;
		path = slice_strdup(one);
		if (path == NULL)
			return errmsg_set(why, -ENOMEM, "--classpath");
		err = one.len == 0 ? 0 : dvm_input_add(v->input, path, DVM_CLASS_PATH, why);
		/* The path stays with the input until the process ends. */
	}
	return err;
}

static int add_inputs(struct verifying *v, bool *jdk)
{
	struct errmsg why;
	int err = dvm_input_jdk(v->input, cli_value(v->cli, "jdk"), &why);

	*jdk = err == 0;
	if (err != 0 && cli_has(v->cli, "jdk"))
		return cli_fail(v->cli, CLI_USAGE, "%s", why.text);
	err = 0;
	for (size_t i = 0; i < cli_arg_count(v->cli) && err == 0; i++)
		err = dvm_input_add(v->input, cli_arg(v->cli, i), DVM_LOOK_AT, &why);
	if (err == 0 && cli_value(v->cli, "classpath") != NULL)
		err = add_class_path(v, cli_value(v->cli, "classpath"), &why);
	if (err != 0)
		return cli_fail(v->cli, err == -ENOENT ? CLI_NOT_FOUND : CLI_FAILED, "%s", why.text);
	return CLI_OK;
}

static int run_workers(struct verifying *v)
{
	v->shared = mmap(NULL, sizeof(*v->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (v->shared == MAP_FAILED)
		return cli_fail(v->cli, CLI_FAILED, "memory: %s", strerrordesc_np(errno));
	for (uint32_t i = 0; i < WORKERS_MAX; i++)
		v->workers[i].fd = -1;
	fflush(NULL);
	for (uint32_t i = 0; i < v->jobs && v->code == CLI_OK; i++) {
		int err = start(v, i);

		if (err != 0)
			v->code = cli_fail(v->cli, CLI_FAILED, "cannot start a worker: %s", strerrordesc_np(-err));
	}
	attend(v);
	return v->code;
}

static int verify(struct cli *cli)
{
	struct verifying v = { .cli = cli, .input = dvm_input_new(), .code = CLI_OK };
	uint64_t jobs;
	bool jdk = false;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int code = cli_number(cli, "jobs", 1, WORKERS_MAX, (uint64_t)(cores < 1 ? 1 : MIN(cores, (long)WORKERS_MAX)), &jobs);

	if (v.input == NULL)
		return cli_fail(cli, CLI_FAILED, "%s", strerrordesc_np(ENOMEM));
	v.flags = cli_has(cli, "enable-preview") ? VERIFY_PREVIEW : 0;
	if (code == CLI_OK)
		code = open_certificate(&v);
	if (code == CLI_OK)
		code = add_inputs(&v, &jdk);
	if (code == CLI_OK) {
		v.jobs = (uint32_t)jobs;
		code = run_workers(&v);
	}
	if (code == CLI_OK)
		code = conclude(&v, jdk);
	fd_close(&v.certificate_fd);
	dvm_input_free(v.input);
	return code;
}

const struct cli_command cmd_dvm_verify = {
	.words = "dvm verify",
	.summary = "check Java classes as a JVM would, before one loads them",
	.description = "Format checks, type checking with frames and, for classes of Java 5 and older, inference (Java Virtual Machine Specification, 4.8 and 4.10), as strict as "
		       "HotSpot. A verdict names the section, the method, the instruction and what was expected.\n\n"
		       "Classes that a class depends on are looked up in the JDK, beside it and on --classpath; what is not found there stays open and is said in the certificate.",
	.args = (const struct cli_arg[]){ { "PATH", "class files, jars, directories of them, or a JDK's lib/modules", .many = true, .complete = CLI_FILE }, { 0 } },
	.options = (const struct cli_option[]){
		{ "classpath", '\0', "PATHS", "where other classes are, separated by colons", CLI_FILE },
		{ "jdk", '\0', "DIR", "the JDK at the bottom of the class path instead of JAVA_HOME or the one in PATH", CLI_DIRECTORY },
		{ "certificate", '\0', "DIR|FILE", "write a certificate of each class: a file each, or a line each", CLI_FILE },
		{ "enable-preview", '\0', NULL, "take classes with preview features", CLI_ANY },
		{ "jobs", 'j', "N", "work in N processes instead of one a core", CLI_ANY },
		{ 0 } },
	.json = true,
	.examples = (const char *const[]){ "prickle dvm verify app.jar --classpath lib/a.jar:lib/b.jar", "prickle dvm verify $JAVA_HOME/lib/modules --json",
					   "prickle dvm verify build/classes --certificate certificates.json", NULL },
	.run = verify,
};
