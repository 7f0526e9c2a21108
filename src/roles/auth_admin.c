#include "roles/auth_admin.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/reader.h"
#include "mail/auth/auth.h"
#include "roles/admin.h"
#include "roles/admin_rights.h"

#define PAGE_NAMES   500u		/* of a list: up to 130 bytes of JSON each */
#define ARENA_BYTES  (512u * 1024u)

/* One request on its way. */
struct call {
	struct auth *auth;
	struct directory *dir;
	const struct admin_request *req;
	struct arena *arena;
	struct buf json;
	struct buf *reply;
};

static void fail(struct call *c, enum admin_exit code, const char *text)
{
	admin_error_encode((uint8_t)code, text, c->reply);
}

/* A name goes into the sentence; the peer's bytes are escaped by admin_error_encode. */
static void fail_name(struct call *c, enum admin_exit code, const char *before, struct slice name,
		      const char *after)
{
	AUTO_BUF struct buf text = BUF_INIT(2048);

	buf_adds(&text, before);
	buf_add(&text, slice_head(name, 400));
	buf_adds(&text, after);
	fail(c, code, buf_cstr(&text));
}

static void answer(struct call *c)
{
	if (c->json.err != 0)
		fail(c, ADMIN_FAILED, "the answer is too large");
	else
		admin_reply_encode(ADMIN_OK, buf_slice(&c->json), c->reply);
}

static void field(struct call *c, const char *name, struct slice value)
{
	buf_printf(&c->json, "%s\"%s\":", c->json.len > 1 ? "," : "", name);
	admin_json_string(&c->json, value);
}

static void number_field(struct call *c, const char *name, uint64_t value)
{
	buf_printf(&c->json, "%s\"%s\":%llu", c->json.len > 1 ? "," : "", name,
		   (unsigned long long)value);
}

static void bool_field(struct call *c, const char *name, bool value)
{
	buf_printf(&c->json, "%s\"%s\":%s", c->json.len > 1 ? "," : "", name,
		   value ? "true" : "false");
}

/* What went wrong with `name`, and what to do next. */
static void fail_result(struct call *c, enum auth_admin_result r, struct slice name)
{
	switch (r) {
	case AUTH_ADMIN_OK:
		break;
	case AUTH_ADMIN_ABSENT:
		fail_name(c, ADMIN_NOT_FOUND, "there is no ", name, "");
		break;
	case AUTH_ADMIN_EXISTS:
		fail_name(c, ADMIN_FAILED, "", name,
			  " exists already; change it with 'set' or choose another name");
		break;
	case AUTH_ADMIN_NO_DOMAIN:
		fail_name(c, ADMIN_NOT_FOUND, "the domain of ", name,
			  " is not ours; add it first: prickle domain add DOMAIN");
		break;
	case AUTH_ADMIN_BAD_NAME:
		fail_name(c, ADMIN_USAGE, "'", name,
			  "' is not a name that we can take (at most 126 bytes, like ann@example.org)");
		break;
	case AUTH_ADMIN_BAD_PASSWORD:
		fail(c, ADMIN_USAGE,
		     "a password has 1 to 1024 bytes of UTF-8 without control characters");
		break;
	case AUTH_ADMIN_BAD_VALUE:
		fail(c, ADMIN_USAGE,
		     "a value is not of its form: names have at most 128 bytes, hashes are crypt(5) or Argon2id strings, groups are "
		     "at most 16 names of letters, digits, '-', '_' and '.', with commas between");
		break;
	case AUTH_ADMIN_IN_USE:
		fail_name(c, ADMIN_FAILED, "", name,
			  " still has users or aliases; remove them first; see prickle user list and prickle alias list");
		break;
	case AUTH_ADMIN_UID_TAKEN:
		fail(c, ADMIN_FAILED,
		     "another user is this user of the system; take it away there first: prickle user set ADDRESS --system-user none");
		break;
	case AUTH_ADMIN_TEMPORARY:
		fail(c, ADMIN_TEMPORARY,
		     "the store does not answer or its disk is full; see 'prickle status' and try again");
		break;
	case AUTH_ADMIN_FAILED:
		fail(c, ADMIN_FAILED, "the directory could not be read; run 'prickle mail fsck'");
		break;
	}
}

static bool name_argument(struct call *c, struct slice *name)
{
	*name = admin_positional(c->req, 0);
	if (name->len > 0)
		return true;
	fail(c, ADMIN_USAGE, "the name is missing");
	return false;
}

/* False: it is there and wrong; the failure was told. */
static bool number_argument(struct call *c, const char *arg, uint64_t *value, const uint64_t **out)
{
	struct slice text = admin_arg(c->req, arg);

	*out = NULL;
	if (text.ptr == NULL)
		return true;
	if (!slice_u64(text, UINT64_MAX / 2, value)) {
		fail_name(c, ADMIN_USAGE, "'", text, "' is not a number");
		return false;
	}
	*out = value;
	return true;
}

/* ---- lists ---- */

static bool read_cursor(struct call *c, struct dir_cursor *cursor)
{
	struct slice after = admin_arg(c->req, "after"), object, name;
	uint32_t n;

	*cursor = (struct dir_cursor){ 0 };
	if (after.len == 0)
		return true;
	if (!slice_cut(after, ':', &object, &name) || !slice_u32(object, &n) ||
	    n >= DIRECTORY_OBJECTS || !slice_to_str(name, cursor->name, sizeof(cursor->name))) {
		fail(c, ADMIN_USAGE, "'after' is not what an earlier answer gave as 'next'");
		return false;
	}
	cursor->object = n;
	return true;
}

static bool read_domain(struct call *c, struct slice *out)
{
	struct slice text = admin_arg(c->req, "domain");

	*out = (struct slice){ 0 };
	if (text.len == 0 || mail_address_domain(c->arena, text, out))
		return true;
	fail_name(c, ADMIN_USAGE, "'", text, "' is not a domain");
	return false;
}

static int compare_names(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void list(struct call *c, enum dir_kind kind, const char *member)
{
	struct slice *names = arena_array(c->arena, PAGE_NAMES, sizeof(*names)), domain;
	AUTO_BUF struct buf next = BUF_INIT(256);
	struct dir_cursor cursor;
	enum dir_result r;
	size_t count = 0;
	bool more = false;

	if (!read_cursor(c, &cursor) || !read_domain(c, &domain))
		return;
	if (names == NULL) {
		fail(c, ADMIN_FAILED, "out of memory");
		return;
	}
	r = directory_list(c->dir, c->arena, kind, domain, &cursor, PAGE_NAMES, names, &count, &more);
	if (r != DIR_OK) {
		fail_result(c, auth_admin_of(r), domain);
		return;
	}
	qsort(names, count, sizeof(*names), compare_names);
	buf_printf(&c->json, "{\"%s\":[", member);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_addc(&c->json, ',');
		admin_json_string(&c->json, names[i]);
	}
	buf_addc(&c->json, ']');
	if (more) {
		buf_printf(&next, "%u:%s", (unsigned)cursor.object, cursor.name);
		field(c, "next", buf_slice(&next));
	}
	buf_addc(&c->json, '}');
	answer(c);
}

/* ---- domains ---- */

static bool domain_argument(struct call *c, struct slice *domain)
{
	struct slice name;

	if (!name_argument(c, &name))
		return false;
	if (mail_address_domain(c->arena, name, domain))
		return true;
	fail_result(c, AUTH_ADMIN_BAD_NAME, name);
	return false;
}

static void domain_show(struct call *c)
{
	struct domain_record record;
	struct alias_record all;
	AUTO_BUF struct buf at = BUF_INIT(512);
	struct slice domain;
	enum dir_result r;

	if (!domain_argument(c, &domain))
		return;
	r = directory_domain(c->dir, c->arena, domain, &record);
	if (r != DIR_OK) {
		fail_result(c, auth_admin_of(r), domain);
		return;
	}
	buf_addc(&c->json, '{');
	field(c, "domain", domain);
	number_field(c, "quota_bytes", record.quota_bytes);
	number_field(c, "quota_messages", record.quota_messages);
	field(c, "postmaster", record.postmaster);
	number_field(c, "created_s", record.created_s);
	buf_addc(&at, '@');
	buf_add(&at, domain);
	bool_field(c, "catch_all",
		   directory_alias(c->dir, c->arena, buf_slice(&at), &all) == DIR_OK);
	buf_addc(&c->json, '}');
	answer(c);
}

struct domain_change {
	const uint64_t *bytes, *messages;
	struct slice postmaster;	/* NULL: as it is */
};

static bool change_domain(void *arg, struct domain_record *r)
{
	const struct domain_change *ch = arg;

	if (ch->bytes != NULL)
		r->quota_bytes = *ch->bytes;
	if (ch->messages != NULL)
		r->quota_messages = *ch->messages;
	if (ch->postmaster.ptr != NULL)
		r->postmaster = ch->postmaster;
	return true;
}

/* Who gets the mail for postmaster: an address at one of our domains. False: the failure was told. */
static bool postmaster_argument(struct call *c, struct slice domain, struct slice *out)
{
	struct slice text = admin_arg(c->req, "postmaster");
	struct domain_record home;
	struct address a;

	*out = (struct slice){ 0 };
	if (text.ptr == NULL)
		return true;
	if (!mail_address_parse(c->arena, text, &a)) {
		fail_result(c, AUTH_ADMIN_BAD_NAME, text);
		return false;
	}
	enum dir_result r = slice_eq(a.domain, domain) ? DIR_OK :
			    directory_domain(c->dir, c->arena, a.domain, &home);
	if (r != DIR_OK) {
		fail_result(c, r == DIR_ABSENT ? AUTH_ADMIN_NO_DOMAIN : auth_admin_of(r), a.text);
		return false;
	}
	*out = a.text;
	return true;
}

static void domain_write(struct call *c, bool new)
{
	struct domain_record record = { .created_s = auth_clock_s(c->auth) };
	struct domain_change ch;
	uint64_t bytes, messages;
	struct slice domain;
	enum dir_result r;

	if (!domain_argument(c, &domain) || !number_argument(c, "quota", &bytes, &ch.bytes) ||
	    !number_argument(c, "messages", &messages, &ch.messages) ||
	    !postmaster_argument(c, domain, &ch.postmaster))
		return;
	if (domain.len > DIRECTORY_KEY_NAME_BYTES_MAX - 2) {
		fail_result(c, AUTH_ADMIN_BAD_NAME, domain);
		return;
	}
	if (new) {
		change_domain(&ch, &record);
		r = directory_domain_add(c->dir, domain, &record);
	} else {
		r = directory_domain_change(c->dir, domain, change_domain, &ch);
	}
	if (r != DIR_OK)
		fail_result(c, auth_admin_of(r), domain);
	else
		domain_show(c);
}

static void removed(struct call *c, struct slice name)
{
	buf_addc(&c->json, '{');
	field(c, "removed", name);
	buf_addc(&c->json, '}');
	answer(c);
}

static void domain_remove(struct call *c)
{
	struct slice domain;
	enum dir_result r;

	if (!domain_argument(c, &domain))
		return;
	r = directory_domain_remove(c->dir, domain);
	if (r == DIR_EXISTS)
		fail_result(c, AUTH_ADMIN_IN_USE, domain);
	else if (r != DIR_OK)
		fail_result(c, auth_admin_of(r), domain);
	else
		removed(c, domain);
}

/* ---- users ---- */

static void user_show(struct call *c)
{
	struct user_record u;
	struct address a;
	struct slice name;
	enum dir_result r;
	const char *kind;

	if (!name_argument(c, &name))
		return;
	if (!mail_address_parse(c->arena, name, &a)) {
		fail_result(c, AUTH_ADMIN_BAD_NAME, name);
		return;
	}
	r = directory_user(c->dir, c->arena, a.text, &u);
	if (r != DIR_OK) {
		fail_result(c, auth_admin_of(r), a.text);
		return;
	}
	kind = u.hash.len == 0				  ? "none" :
	       slice_starts(u.hash, SLICE("$argon2id$")) ? "argon2id" :
							   "imported";
	buf_addc(&c->json, '{');
	field(c, "user", a.text);
	field(c, "account", slice_str(u.account));
	field(c, "name", u.name);
	bool_field(c, "disabled", u.disabled);
	field(c, "password", slice_str(kind));
	bool_field(c, "scram", u.scram.iterations > 0);
	bool_field(c, "own_quota", u.own_quota);
	/* Without its own, the domain's or the configured one holds. */
	if (u.own_quota) {
		number_field(c, "quota_bytes", u.quota_bytes);
		number_field(c, "quota_messages", u.quota_messages);
	}
	buf_adds(&c->json, ",\"groups\":[");
	for (struct slice group, rest = u.groups; rest.len > 0;) {
		slice_cut(rest, ',', &group, &rest);
		admin_json_string(&c->json, group);
		if (rest.len > 0)
			buf_addc(&c->json, ',');
	}
	buf_addc(&c->json, ']');
	if (u.system_user != 0)
		number_field(c, "system_user", u.system_user);
	number_field(c, "created_s", u.created_s);
	buf_addc(&c->json, '}');
	answer(c);
}

/* The arguments of add and set that say what to write. */
struct user_values {
	struct slice password, hash, name, groups;
	bool disabled;
	uint64_t bytes, messages, uid;
	uint32_t system_user;
};

static bool user_arguments(struct call *c, struct user_values *v, struct auth_user_change *set)
{
	struct slice disabled = admin_arg(c->req, "disabled");

	*set = (struct auth_user_change){ 0 };
	v->password = admin_arg(c->req, "password");
	v->hash = admin_arg(c->req, "hash");
	v->name = admin_arg(c->req, "name");
	if (v->password.ptr != NULL)
		set->password = &v->password;
	if (v->hash.ptr != NULL)
		set->hash = &v->hash;
	if (v->name.ptr != NULL)
		set->name = &v->name;
	if (disabled.ptr != NULL) {
		v->disabled = slice_eq(disabled, SLICE("yes"));
		if (!v->disabled && !slice_eq(disabled, SLICE("no"))) {
			fail(c, ADMIN_USAGE, "'disabled' is yes or no");
			return false;
		}
		set->disabled = &v->disabled;
	}
	v->groups = admin_arg(c->req, "groups");
	if (v->groups.ptr != NULL)
		set->groups = &v->groups;
	if (admin_arg(c->req, "system-user").ptr != NULL) {
		const uint64_t *uid;

		if (!number_argument(c, "system-user", &v->uid, &uid))
			return false;
		v->system_user = v->uid < UINT32_MAX ? (uint32_t)v->uid : UINT32_MAX;
		set->system_user = &v->system_user;
	}
	set->domain_quota = slice_eq(admin_arg(c->req, "quota"), SLICE("domain"));
	if (!set->domain_quota && !number_argument(c, "quota", &v->bytes, &set->quota_bytes))
		return false;
	return number_argument(c, "messages", &v->messages, &set->quota_messages);
}

static void user_write(struct call *c, bool new)
{
	struct auth_user_change set;
	enum auth_admin_result r;
	struct user_values v;
	struct slice name;

	if (!name_argument(c, &name) || !user_arguments(c, &v, &set))
		return;
	r = new ? auth_user_add(c->auth, name, &set) : auth_user_change(c->auth, name, &set);
	if (r != AUTH_ADMIN_OK)
		fail_result(c, r, name);
	else
		user_show(c);
}

static void user_remove(struct call *c)
{
	enum auth_admin_result r;
	struct slice name;

	if (!name_argument(c, &name))
		return;
	r = auth_user_remove(c->auth, name);
	if (r != AUTH_ADMIN_OK)
		fail_result(c, r, name);
	else
		removed(c, name);
}

/* ---- aliases ---- */

/* "sales@example.org", or "@example.org" for the catch-all. */
static bool alias_argument(struct call *c, struct slice *address, struct slice *domain)
{
	struct address a;
	struct slice name;
	uint8_t *text;

	if (!name_argument(c, &name))
		return false;
	if (name.ptr[0] == '@' && mail_address_domain(c->arena, slice_from(name, 1), domain)) {
		text = arena_alloc(c->arena, domain->len + 1);
		if (text != NULL) {
			text[0] = '@';
			memcpy(text + 1, domain->ptr, domain->len);
			*address = slice_of(text, domain->len + 1);
			return true;
		}
	} else if (mail_address_parse(c->arena, name, &a)) {
		*address = a.text;
		*domain = a.domain;
		return true;
	}
	fail_result(c, AUTH_ADMIN_BAD_NAME, name);
	return false;
}

static void alias_show(struct call *c)
{
	struct slice address, domain;
	struct alias_record record;
	enum dir_result r;

	if (!alias_argument(c, &address, &domain))
		return;
	r = directory_alias(c->dir, c->arena, address, &record);
	if (r != DIR_OK) {
		fail_result(c, auth_admin_of(r), address);
		return;
	}
	buf_addc(&c->json, '{');
	field(c, "alias", address);
	buf_adds(&c->json, ",\"targets\":[");
	for (size_t i = 0; i < record.count; i++) {
		if (i > 0)
			buf_addc(&c->json, ',');
		admin_json_string(&c->json, record.targets[i]);
	}
	buf_addc(&c->json, ']');
	number_field(c, "created_s", record.created_s);
	buf_addc(&c->json, '}');
	answer(c);
}

/* The targets must be addresses at our domains: there is no relay that would take the others. */
static bool targets_argument(struct call *c, const struct slice **out, size_t *count)
{
	struct slice *list = arena_array(c->arena, ADMIN_ARGS_MAX, sizeof(*list)), text;
	struct domain_record home;
	struct address a;
	enum dir_result r;

	*count = 0;
	for (unsigned i = 1; list != NULL && (text = admin_positional(c->req, i)).ptr != NULL; i++) {
		if (!mail_address_parse(c->arena, text, &a)) {
			fail_result(c, AUTH_ADMIN_BAD_NAME, text);
			return false;
		}
		r = directory_domain(c->dir, c->arena, a.domain, &home);
		if (r != DIR_OK) {
			fail_result(c, r == DIR_ABSENT ? AUTH_ADMIN_NO_DOMAIN : auth_admin_of(r),
				    a.text);
			return false;
		}
		list[(*count)++] = a.text;
	}
	if (*count == 0) {
		fail(c, ADMIN_USAGE, "an alias needs at least one target address");
		return false;
	}
	*out = list;
	return true;
}

static bool change_alias(void *arg, struct alias_record *r)
{
	const struct alias_record *new = arg;

	r->count = new->count;
	r->targets = new->targets;
	return true;
}

static void alias_write(struct call *c, bool new)
{
	struct alias_record record = { .created_s = auth_clock_s(c->auth) };
	struct slice address, domain;
	enum dir_result r;

	if (!alias_argument(c, &address, &domain) ||
	    !targets_argument(c, &record.targets, &record.count))
		return;
	r = new ? directory_alias_add(c->dir, address, domain, &record) :
		  directory_alias_change(c->dir, address, change_alias, &record);
	if (r != DIR_OK)
		fail_result(c, auth_admin_of(r), address);
	else
		alias_show(c);
}

static void alias_remove(struct call *c)
{
	struct slice address, domain;
	enum dir_result r;

	if (!alias_argument(c, &address, &domain))
		return;
	r = directory_alias_remove(c->dir, address);
	if (r != DIR_OK)
		fail_result(c, auth_admin_of(r), address);
	else
		removed(c, address);
}

/* ---- verbs ---- */

static void domain_add(struct call *c)
{
	domain_write(c, true);
}

static void domain_set(struct call *c)
{
	domain_write(c, false);
}

static void domain_list(struct call *c)
{
	list(c, DIR_DOMAIN, "domains");
}

static void user_add(struct call *c)
{
	user_write(c, true);
}

static void user_set(struct call *c)
{
	user_write(c, false);
}

static void user_list(struct call *c)
{
	list(c, DIR_USER, "users");
}

static void alias_add(struct call *c)
{
	alias_write(c, true);
}

static void alias_set(struct call *c)
{
	alias_write(c, false);
}

static void alias_list(struct call *c)
{
	list(c, DIR_ALIAS, "aliases");
}

/* ---- tickets ---- */

static struct slice text_argument(struct call *c, const char *name, char *out, size_t size, bool *good)
{
	struct slice text = admin_arg(c->req, name);

	*good = *good && text.ptr != NULL && slice_to_str(text, out, size);
	return text;
}

static uint32_t ticket_number(struct call *c, const char *name, bool *good)
{
	uint32_t n = 0;

	*good = *good && slice_u32(admin_arg(c->req, name), &n);
	return n;
}

static void ticket_fields(struct call *c, const struct auth_ticket *t)
{
	field(c, "ticket", slice_str(t->id));
	field(c, "user", slice_str(t->address));
	field(c, "label", slice_str(t->label));
	field(c, "by", slice_str(t->who));
	field(c, "because", slice_str(t->because));
	number_field(c, "until_s", (uint64_t)t->until_us / 1000000);
}

static void ticket_give(struct call *c)
{
	char secret[AUTH_TICKET_SECRET_CHARS + 1];
	AUTO_BUF struct buf login = BUF_INIT(32);
	struct auth_ticket t = { 0 };
	enum auth_admin_result r;
	uint32_t seconds;
	bool good = true;

	text_argument(c, "for", t.address, sizeof(t.address), &good);
	text_argument(c, "label", t.label, sizeof(t.label), &good);
	text_argument(c, "who", t.who, sizeof(t.who), &good);
	text_argument(c, "because", t.because, sizeof(t.because), &good);
	t.from = (uint16_t)ticket_number(c, "from", &good);
	t.to = (uint16_t)ticket_number(c, "to", &good);
	seconds = ticket_number(c, "seconds", &good);
	if (!good || t.because[0] == '\0') {
		fail(c, ADMIN_USAGE, "a ticket needs --for ADDRESS and --because TEXT of at most 256 bytes");
		return;
	}
	r = auth_ticket_give(c->auth, &t, seconds, secret);
	if (r != AUTH_ADMIN_OK) {
		fail_result(c, r, admin_arg(c->req, "for"));
		return;
	}
	buf_printf(&login, "ticket-%s", t.id);
	buf_addc(&c->json, '{');
	ticket_fields(c, &t);
	field(c, "login", buf_slice(&login));
	field(c, "secret", slice_str(secret));
	buf_addc(&c->json, '}');
	answer(c);
	explicit_bzero(secret, sizeof(secret));
	explicit_bzero(c->json.ptr, c->json.len);
}

/* Whose tickets: empty for all. False: the failure was told. */
static bool ticket_owner(struct call *c, char who[96])
{
	struct slice text = admin_arg(c->req, "who");

	who[0] = '\0';
	if (text.ptr == NULL || slice_to_str(text, who, 96))
		return true;
	fail(c, ADMIN_USAGE, "malformed request");
	return false;
}

static void ticket_list(struct call *c)
{
	struct auth_ticket t;
	char who[96];

	if (!ticket_owner(c, who))
		return;
	buf_adds(&c->json, "{\"tickets\":[");
	for (size_t n = 0; c->json.len < ADMIN_JSON_BYTES / 2 && auth_ticket_at(c->auth, who[0] == '\0' ? NULL : who, n, &t); n++) {
		buf_adds(&c->json, n == 0 ? "{\"used\":" : ",{\"used\":");
		buf_adds(&c->json, t.used ? "true" : "false");
		ticket_fields(c, &t);
		buf_addc(&c->json, '}');
	}
	buf_adds(&c->json, "]}");
	answer(c);
}

static void ticket_revoke(struct call *c)
{
	char who[96];
	struct slice id;

	if (!name_argument(c, &id) || !ticket_owner(c, who))
		return;
	if (slice_starts(id, SLICE("ticket-")))
		id = slice_from(id, 7);
	if (auth_ticket_revoke(c->auth, id, who[0] == '\0' ? NULL : who) != AUTH_ADMIN_OK)
		fail(c, ADMIN_NOT_FOUND, "there is no such ticket; 'prickle policy ticket list' names those that last");
	else
		removed(c, id);
}

void auth_admin_who(struct auth *a, struct slice payload, struct buf *reply)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct reader r = reader_of(payload);
	uint32_t uid = rd_be32(&r);
	struct slice address = { 0 };
	struct user_record user = { 0 };
	bool known = rd_end(&r) && directory_system_user(auth_directory(a), &arena, uid, &address, &user) == DIR_OK && !user.disabled;

	buf_addc(reply, known);
	buf_blob(reply, known ? address : (struct slice){ 0 });
	buf_blob(reply, known ? user.groups : (struct slice){ 0 });
}

static void (*const runs[])(struct call *c) = {
	domain_add, domain_list, domain_show, domain_set, domain_remove,
	user_add, user_list, user_show, user_set, user_remove,
	alias_add, alias_list, alias_show, alias_set, alias_remove,
	ticket_give, ticket_list, ticket_revoke,
};
/* In the order of `runs`. */
const struct admin_verb auth_admin_verbs[] = {
	{ "domain", "add" }, { "domain", "list" }, { "domain", "show" }, { "domain", "set" }, { "domain", "remove" },
	{ "user", "add" },   { "user", "list" },   { "user", "show" },   { "user", "set" },   { "user", "remove" },
	{ "alias", "add" },  { "alias", "list" },  { "alias", "show" },  { "alias", "set" },  { "alias", "remove" },
	{ "ticket", "give" }, { "ticket", "list" }, { "ticket", "revoke" }, { NULL, NULL },
};
_Static_assert(ARRAY_LEN(auth_admin_verbs) == ARRAY_LEN(runs) + 1, "each verb has its function");

void auth_admin_serve(struct auth *a, struct slice request, struct buf *reply)
{
	AUTO_ARENA struct arena arena = ARENA_INIT(ARENA_BYTES);
	struct admin_request req = { 0 };
	struct call c = { .auth = a, .dir = auth_directory(a), .req = &req, .arena = &arena,
			  .reply = reply };

	buf_init(&c.json, ADMIN_JSON_BYTES);
	if (!admin_request_decode(request, &req)) {
		fail(&c, ADMIN_USAGE, "malformed request");
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		if (slice_eq(req.object, slice_str(auth_admin_verbs[i].object)) &&
		    slice_eq(req.verb, slice_str(auth_admin_verbs[i].verb))) {
			runs[i](&c);
			buf_done(&c.json);
			return;
		}
	}
	fail(&c, ADMIN_USAGE, "unknown object or verb");
}
