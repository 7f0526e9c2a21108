#include "spine/capture.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

#define SNAP_BYTES 65535

struct capture {
	pcap_t *dead;			/* no device: compiles and writes */
	struct bpf_program filter;
	bool filtered;
	pcap_dumper_t *file;
};

int capture_new(const char *match, struct capture **out, struct errmsg *why)
{
	struct capture *c = calloc(1, sizeof(*c));

	if (c != NULL)
		c->dead = pcap_open_dead(DLT_EN10MB, SNAP_BYTES);
	if (c == NULL || c->dead == NULL) {
		free(c);
		return errmsg_set(why, -ENOMEM, "make a filter");
	}
	if (match != NULL && pcap_compile(c->dead, &c->filter, match, 1, PCAP_NETMASK_UNKNOWN) != 0) {
		(void)errmsg_say(why, -EINVAL, "'%s': %s (see pcap-filter(7))", match, pcap_geterr(c->dead));
		capture_free(c);
		return -EINVAL;
	}
	c->filtered = match != NULL;
	*out = c;
	return 0;
}

void capture_free(struct capture *c)
{
	if (c == NULL)
		return;
	if (c->filtered)
		pcap_freecode(&c->filter);
	if (c->file != NULL)
		pcap_dump_close(c->file);
	pcap_close(c->dead);
	free(c);
}

int capture_create(struct capture *c, const char *file, struct errmsg *why)
{
	c->file = pcap_dump_open(c->dead, file);
	return c->file != NULL ? 0 : errmsg_say(why, -EIO, "%s", pcap_geterr(c->dead));
}

static struct pcap_pkthdr header(struct timeval at, struct slice frame, uint32_t wire_bytes)
{
	return (struct pcap_pkthdr){ .ts = at, .caplen = (uint32_t)frame.len, .len = wire_bytes };
}

bool capture_wants(const struct capture *c, struct slice frame, uint32_t wire_bytes)
{
	struct pcap_pkthdr h = header((struct timeval){ 0 }, frame, wire_bytes);

	return !c->filtered || pcap_offline_filter(&c->filter, &h, frame.ptr) != 0;
}

void capture_write(struct capture *c, struct timeval at, struct slice frame, uint32_t wire_bytes)
{
	struct pcap_pkthdr h = header(at, frame, wire_bytes);

	if (c->file != NULL)
		pcap_dump((u_char *)c->file, &h, frame.ptr);
}

int capture_read(const char *file, int (*each)(void *arg, struct slice frame, uint32_t wire_bytes), void *arg,
		 struct errmsg *why)
{
	char error[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_open_offline(file, error);
	struct pcap_pkthdr *h;
	const u_char *bytes;
	int n = 0, err = 0;

	if (p == NULL)
		return strstr(error, file) != NULL ? errmsg_say(why, -EINVAL, "%s", error) : errmsg_say(why, -EINVAL, "%s: %s", file, error);
	if (pcap_datalink(p) != DLT_EN10MB)
		err = errmsg_say(why, -EINVAL, "%s: its frames are not Ethernet (link type %s)", file,
				 pcap_datalink_val_to_name(pcap_datalink(p)));
	while (err == 0 && (n = pcap_next_ex(p, &h, &bytes)) == 1)
		err = each(arg, slice_of(bytes, h->caplen), h->len);
	if (err == 0 && n == PCAP_ERROR)
		err = errmsg_say(why, -EINVAL, "%s: %s", file, pcap_geterr(p));
	pcap_close(p);
	return err;
}
