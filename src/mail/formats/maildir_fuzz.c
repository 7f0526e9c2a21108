/* Names of files and directories, and the small files of a Maildir. */
#include "base/must.h"
#include "mail/formats/maildir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void name(struct slice in)
{
	AUTO_BUF struct buf b = BUF_INIT(4096);
	struct maildir_name n, again;

	if (!maildir_name_parse(in, &n))
		return;
	must(n.unique.len > 0 && n.unique.len <= MAILDIR_NAME_BYTES_MAX && n.flags < 64);
	must(slice_find_byte(n.unique, '/') == SLICE_NPOS && n.unique.ptr[0] != '.');
	/* What we write of it reads the same. */
	buf_add(&b, n.unique);
	maildir_flags_write(&b, n.flags, n.keywords);
	if (b.len <= MAILDIR_NAME_BYTES_MAX)
		must(maildir_name_parse(buf_slice(&b), &again) && again.flags == n.flags &&
		     again.keywords == n.keywords);
}

static void folder(struct slice in)
{
	AUTO_BUF struct buf name = BUF_INIT(4096), directory = BUF_INIT(4096);

	if (!maildir_folder_read(&name, in))
		return;
	must(name.len > 0 && name.ptr[0] != '/' && name.ptr[name.len - 1] != '/');
	if (maildir_folder_write(&directory, buf_slice(&name)) && directory.len > 0)
		must(directory.ptr[0] == '.' && slice_find_byte(buf_slice(&directory), '/') == SLICE_NPOS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of(data, size), names[MAILDIR_KEYWORDS_MAX], unique;
	AUTO_BUF struct buf b = BUF_INIT(65536);
	struct maildir_uidlist l;
	bool v2 = false;
	uint32_t uid;

	name(in);
	folder(in);
	maildir_keywords_read(in, names);
	if (maildir_uidlist_begin(in, &l))
		while (maildir_uidlist_next(&l, &uid, &unique))
			must(uid > 0 && unique.len > 0);
	while (maildir_subscription_next(&in, &v2, &b))
		must(b.len <= 65536);
	return 0;
}
