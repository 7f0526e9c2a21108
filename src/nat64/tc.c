/* clsact filters by rtnetlink: tc.h. libbpf's bpf_tc_* cannot name a filter, and a name is what tells ours from others. */
#include "nat64/tc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "base/cleanup.h"
#include "nat64/netlink.h"

struct filter {
	char name[64];
	uint32_t handle;		/* 0: there is none */
	uint32_t program_id;
	size_t others;			/* filters at this hook that are not the instance's */
};

static uint32_t parent_of(enum nat64_tc_way way)
{
	return TC_H_MAKE(TC_H_CLSACT, way == NAT64_TC_IN ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

static struct tcmsg filter_of(uint32_t ifindex, enum nat64_tc_way way, uint32_t handle)
{
	return (struct tcmsg){
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = (int)ifindex,
		.tcm_parent = parent_of(way),
		.tcm_handle = handle,
		.tcm_info = TC_H_MAKE(NAT64_TC_PRIORITY << 16, htons(ETH_P_ALL)),
	};
}

static int see_filter(void *arg, uint16_t type, struct slice body)
{
	struct filter *f = arg;
	struct slice attributes, options, name;
	struct tcmsg t;

	if (type != RTM_NEWTFILTER || !netlink_fixed(body, &t, sizeof(t), &attributes) || t.tcm_handle == 0)
		return 0;
	options = netlink_attribute(attributes, TCA_OPTIONS);
	name = netlink_attribute(options, TCA_BPF_NAME);
	if (t.tcm_info >> 16 != NAT64_TC_PRIORITY || !slice_eq(name, slice_of(f->name, strlen(f->name) + 1))) {
		f->others++;
		return 0;
	}
	f->handle = t.tcm_handle;
	f->program_id = netlink_u32(options, TCA_BPF_ID);
	return 0;
}

static int find(int fd, const char *instance, uint32_t ifindex, enum nat64_tc_way way, struct filter *f, struct errmsg *why)
{
	struct tcmsg t = { .tcm_family = AF_UNSPEC, .tcm_ifindex = (int)ifindex, .tcm_parent = parent_of(way) };
	struct netlink_message m;
	int err;

	*f = (struct filter){ 0 };
	(void)snprintf(f->name, sizeof(f->name), "prickle-nat64:%s", instance);
	netlink_begin(&m, RTM_GETTFILTER, 0, &t, sizeof(t));
	err = netlink_dump(fd, &m, see_filter, f, why);
	/* No clsact here: no filters. (What the kernel says to that has changed with time.) */
	return err == -EINVAL || err == -ENOENT || err == -EOPNOTSUPP ? 0 : err;
}

static int make_clsact(int fd, uint32_t ifindex, struct errmsg *why)
{
	struct tcmsg t = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = (int)ifindex,
		.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0),
		.tcm_parent = TC_H_CLSACT,
	};
	struct netlink_message m;
	int err;

	netlink_begin(&m, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &t, sizeof(t));
	netlink_put_text(&m, TCA_KIND, "clsact");
	err = netlink_do(fd, &m, why);
	return err == -EEXIST ? 0 : err;
}

int nat64_tc_attach(const char *instance, uint32_t ifindex, enum nat64_tc_way way, int program_fd, struct errmsg *why)
{
	AUTO_FD int fd = netlink_open(why);
	struct netlink_message m;
	struct filter f;
	struct tcmsg t;
	size_t nest;
	int err;

	if (fd < 0)
		return fd;
	err = make_clsact(fd, ifindex, why);
	if (err == 0)
		err = find(fd, instance, ifindex, way, &f, why);
	if (err < 0)
		return err;
	t = filter_of(ifindex, way, f.handle);
	/* With the handle of the one that is there this is a change of its program. */
	netlink_begin(&m, RTM_NEWTFILTER, f.handle == 0 ? NLM_F_CREATE | NLM_F_EXCL : NLM_F_CREATE, &t, sizeof(t));
	netlink_put_text(&m, TCA_KIND, "bpf");
	nest = netlink_nest(&m, TCA_OPTIONS);
	netlink_put_u32(&m, TCA_BPF_FD, (uint32_t)program_fd);
	netlink_put_text(&m, TCA_BPF_NAME, f.name);
	netlink_put_u32(&m, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
	netlink_nest_end(&m, nest);
	return netlink_do(fd, &m, why);
}

/* Another hook of the same qdisc: with filters there it stays. */
static int remove_clsact(int fd, uint32_t ifindex, enum nat64_tc_way way, struct errmsg *why)
{
	struct tcmsg t = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = (int)ifindex,
		.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0),
		.tcm_parent = TC_H_CLSACT,
	};
	struct netlink_message m;
	struct filter f;
	int err = find(fd, "", ifindex, way == NAT64_TC_IN ? NAT64_TC_OUT : NAT64_TC_IN, &f, why);

	if (err < 0 || f.others > 0 || f.handle != 0)
		return err;
	netlink_begin(&m, RTM_DELQDISC, 0, &t, sizeof(t));
	err = netlink_do(fd, &m, why);
	return err == -ENOENT || err == -EINVAL ? 0 : err;
}

int nat64_tc_detach(const char *instance, uint32_t ifindex, enum nat64_tc_way way, struct errmsg *why)
{
	AUTO_FD int fd = netlink_open(why);
	struct netlink_message m;
	struct filter f;
	struct tcmsg t;
	int err;

	if (fd < 0)
		return fd;
	err = find(fd, instance, ifindex, way, &f, why);
	if (err == -ENODEV)		/* the filter went with the interface */
		return 0;
	if (err < 0 || f.handle == 0)
		return err;
	t = filter_of(ifindex, way, f.handle);
	netlink_begin(&m, RTM_DELTFILTER, 0, &t, sizeof(t));
	netlink_put_text(&m, TCA_KIND, "bpf");
	err = netlink_do(fd, &m, why);
	if (err < 0 && err != -ENOENT)
		return err;
	return f.others > 0 ? 0 : remove_clsact(fd, ifindex, way, why);
}

int nat64_tc_query(const char *instance, uint32_t ifindex, enum nat64_tc_way way, uint32_t *program_id, struct errmsg *why)
{
	AUTO_FD int fd = netlink_open(why);
	struct filter f;
	int err;

	if (fd < 0)
		return fd;
	err = find(fd, instance, ifindex, way, &f, why);
	if (err < 0)
		return err;
	if (f.handle == 0)
		return errmsg_say(why, -ENOENT, "no filter of instance '%s' there", instance);
	*program_id = f.program_id;
	return 0;
}
