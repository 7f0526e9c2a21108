#!/usr/bin/env python3
"""From `spine new` to a signed object: build.py PRICKLE. Needs clang; running cases needs root."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
CLANG = any(shutil.which(c) for c in ("clang-19", "clang", "clang-20", "clang-18", "clang-17", "clang-16", "clang-15",
                                      "clang-14"))


def prickle(*args, code=0, cwd=None, env=None):
    run = subprocess.run([PRICKLE, "spine", *args], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                         timeout=60, check=False, cwd=cwd, env=env)
    assert run.returncode == code, f"{args} ended with {run.returncode}, not {code}\n{run.stdout}{run.stderr}"
    return run


def need_clang():
    if not CLANG:
        raise tap.Skip("no clang")


def need_root():
    need_clang()
    if os.geteuid() != 0:
        raise tap.Skip("cases run in the kernel: needs root")


def change(path, *pairs):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for old, new in pairs:
        assert old in text, f"{old} is not in {path}"
        text = text.replace(old, new)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    # A source of the same moment as its object counts as newer, an older one does not.
    now = time.time() + 2
    os.utime(path, (now, now))


def new_writes_what_builds():
    """what new writes compiles, and build shows its manifest and bound"""
    need_clang()
    with tempfile.TemporaryDirectory() as d:
        prickle("new", "no-big", cwd=d)
        said = prickle("build", "no-big", cwd=d)
        assert "no-big 1" in said.stdout and "udp dst port 9" in said.stdout, said.stdout
        assert "needs more" not in said.stdout, said.stdout
        data = json.loads(prickle("build", "no-big/no-big.bpf.c", "--json", cwd=d).stdout)
        assert data["name"] == "no-big" and 0 < data["cost"] < 100 and data["findings"] == [], data
        assert data["verdicts"] == ["drop", "pass"] and data["maps"] == ["dropped", ".data.policy"], data


def new_refuses():
    """new refuses names that are none, and touches nothing that exists"""
    with tempfile.TemporaryDirectory() as d:
        assert "is no name" in prickle("new", "Not_A_Name", cwd=d, code=2).stderr
        assert "is no name" in prickle("new", "x" * 32, cwd=d, code=2).stderr
        prickle("new", "x" * 31, cwd=d)
        prickle("new", "9lives", cwd=d)
        assert "9lives" in prickle("new", "9lives", cwd=d, code=2).stderr
        assert json.loads(prickle("new", "j", "--json", cwd=d).stdout)["directory"] == "j"


def build_tells_what_is_wrong():
    """build tells of a missing compiler, of errors in the source, and of what the shipped policy would refuse"""
    need_clang()
    with tempfile.TemporaryDirectory() as d:
        prickle("new", "x", cwd=d)
        env = dict(os.environ, PATH="/nonexistent")
        assert "no clang in PATH" in prickle("build", "x", cwd=d, code=1, env=env).stderr
        assert "holds no NAME.bpf.c" in prickle("build", ".", cwd=d, code=4).stderr
        change(f"{d}/x/x.bpf.c", ("return XDP_DROP;", "return bpf_redirect(2, 0);"))
        data = json.loads(prickle("build", "x", "--json", cwd=d).stdout)
        assert any(f["rule"] == "helper redirect" for f in data["findings"]), data
        change(f"{d}/x/x.bpf.c", ("return bpf_redirect(2, 0);", "return nonsense;"))
        said = prickle("build", "x", cwd=d, code=1).stderr
        assert "x.bpf.c:" in said and "does not compile" in said, said


def cases_pass_and_fail():
    """the cases pass; a broken extension fails them with verdict and bytes"""
    need_root()
    with tempfile.TemporaryDirectory() as d:
        prickle("new", "no-big", cwd=d)
        assert "3 passed, 0 failed" in prickle("test", "no-big", cwd=d).stdout
        source = f"{d}/no-big/no-big.bpf.c"
        change(source, ("return XDP_DROP;", "return XDP_PASS;"))
        said = prickle("test", cwd=f"{d}/no-big", code=1).stdout    # compiles by itself
        assert "verdict pass, wanted drop" in said and "2 passed, 1 failed" in said, said
        change(source, ("return XDP_PASS;\n\tcount", "{ if (data + 1 <= end) *(__u8 *)data = 7; return XDP_PASS; }\n\tcount"))
        data = json.loads(prickle("test", "no-big", "--json", cwd=d, code=1).stdout)
        assert data["failed"] == 2 and data["tier"] == "untrusted", data
        reason = data["cases"][0]["reason"]
        assert "- 0000  02 00 00 00 00 02" in reason and "+ 0000  07 00 00 00 00 02" in reason, reason
        change(source, ("__sync_fetch_and_add(count, 1)", "__sync_fetch_and_add(count, 2)"))
        change(source, ("\treturn XDP_PASS;\n}", "\treturn XDP_DROP;\n}"))
        said = prickle("test", "no-big", cwd=d, code=1).stdout
        assert "dropped[0] is 106 (wanted 103)" in said, said


def mistakes_in_cases():
    """mistakes in cases come with their lines; missing files and maps are named"""
    need_root()
    with tempfile.TemporaryDirectory() as d:
        prickle("new", "x", cwd=d)
        prickle("build", "x", cwd=d)
        with open(f"{d}/bad.test", "w", encoding="utf-8") as f:
            f.write("case a\n  in udp 1.1.1.1 > 1.1.1.2\n  verdict maybe\n")
        said = prickle("test", "x", "--cases", "bad.test", cwd=d, code=2).stderr
        assert "bad.test:2: " in said and "bad.test:3: " in said, said
        prickle("test", "x", "--cases", "none.test", cwd=d, code=4)
        with open(f"{d}/map.test", "w", encoding="utf-8") as f:
            f.write("case a\n  map nothing 0 1\ncase b\n  map dropped 0 xff\ncase c\n  port lo\n")
        said = prickle("test", "x", "--cases", "map.test", cwd=d, code=1).stdout
        assert "no map 'nothing'; there are dropped" in said and "values 8" in said and "no SPINE_PORTS" in said, said


def kernel_refusals_have_lines():
    """what the kernel refuses is told with its source line; what must be signed, too"""
    need_root()
    with tempfile.TemporaryDirectory() as d:
        prickle("new", "x", cwd=d)
        change(f"{d}/x/x.bpf.c", ("if (data + HEADERS + 64 >= end)", "if (*(__u8 *)data == 7)"))
        said = prickle("test", "x", cwd=d, code=2).stderr
        assert "x.bpf.c:" in said and "invalid access to packet" in said, said
        prickle("new", "y", cwd=d)
        change(f"{d}/y/y.bpf.c", ("__sync_fetch_and_add(count, 1);", "*count = (__u64)ctx;"),
               ("\treturn XDP_DROP;\n}", "\treturn XDP_DROP;\n}\n"))
        said = prickle("test", "y", cwd=d, code=1)
        assert "it must be signed" in said.stderr and "FAILED long" in said.stdout, said.stdout + said.stderr


def keys_and_signatures():
    """keys are made once and kept private; a signature stands beside its object"""
    need_clang()
    with tempfile.TemporaryDirectory() as d:
        public = prickle("key", "new", "k", cwd=d).stdout.strip()
        assert len(public) == 64 and os.stat(f"{d}/k").st_mode & 0o777 == 0o600
        assert "exists already" in prickle("key", "new", "k", cwd=d, code=2).stderr
        assert json.loads(prickle("key", "show", "k", "--json", cwd=d).stdout)["public"] == public
        os.chmod(f"{d}/k", 0o640)
        assert "others may read" in prickle("key", "show", "k", cwd=d, code=5).stderr
        os.chmod(f"{d}/k", 0o600)
        prickle("new", "x", cwd=d)
        prickle("build", "x", cwd=d)
        said = json.loads(prickle("sign", "x/x.o", "--key", "k", "--json", cwd=d).stdout)
        assert said["public"] == public and os.stat(f"{d}/x/x.o.sig").st_size == 96, said
        # A link could lead to any file of who signs.
        os.rename(f"{d}/x/x.o.sig", f"{d}/kept")
        os.symlink(f"{d}/kept", f"{d}/x/x.o.sig")
        before = os.stat(f"{d}/kept").st_mtime_ns
        assert "symbolic link" in prickle("sign", "x/x.o", "--key", "k", cwd=d, code=2).stderr
        assert os.stat(f"{d}/kept").st_mtime_ns == before
        assert "is no key" in prickle("sign", "x/x.o", "--key", "x/x.o", cwd=d, code=2).stderr
        assert "Say --key" in prickle("sign", "x/x.o", cwd=d, code=2).stderr
        prickle("sign", "x/x.bpf.c", "--key", "k", cwd=d, code=2)
        prickle("sign", "nothing.o", "--key", "k", cwd=d, code=4)


KERNEL = """
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <prickle/spine.h>

SPINE_EXTENSION(.name = "kern", .version = "1", .match = "udp", .verdicts = SPINE_PASS | SPINE_DROP);

struct counts { __u64 ttl, udp, device_bytes; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct counts); } counters SEC(".maps");

SEC("xdp")
int kern(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 zero = 0;
	struct counts *n = bpf_map_lookup_elem(&counters, &zero);

	if ((void *)(ip + 1) > end || n == 0)
		return XDP_PASS;
	n->ttl = ip->ttl;
	n->udp += ip->protocol == IPPROTO_UDP;
	n->device_bytes = bpf_core_type_size(struct net_device);
	if (!bpf_core_field_exists(((struct net_device *)0)->ifindex))
		return XDP_DROP;
	return XDP_PASS;
}
struct ask { __u32 a; };
static __always_inline int ask(struct ask *args, struct spine_message *m) { args->a++; return 0; }
#define HANDLERS(H) H(1, ask, ask)
SPINE_HANDLERS(HANDLERS);
char LICENSE[] SEC("license") = "Dual MIT/GPL";
"""


def kernel_types():
    """a source that includes vmlinux.h gets one made, and its relocated accesses run on a device"""
    need_root()
    if not shutil.which("bpftool") or not os.path.exists("/sys/kernel/btf/vmlinux"):
        raise tap.Skip("no bpftool, or a kernel without BTF")
    from lab import Lab
    with Lab(PRICKLE) as lab:
        d = lab.directory()
        source, header = os.path.join(d, "kern.bpf.c"), os.path.join(d, "vmlinux.h")
        with open(source, "w", encoding="ascii") as f:
            f.write(KERNEL)
        os.mkdir(os.path.join(d, "bin"))
        os.symlink(os.path.realpath(next(filter(None, map(shutil.which, ("clang-19", "clang"))))), os.path.join(d, "bin", "clang"))
        refused = prickle("build", source, code=1, env={"PATH": os.path.join(d, "bin")})
        assert "'apt install bpftool'" in refused.stderr and not os.path.exists(header), refused.stderr
        assert "vmlinux.h has the types of this kernel" in prickle("build", source).stderr
        os.utime(header, (1, 1))
        change(source, ('"vmlinux.h"', "<vmlinux.h>"))
        assert prickle("build", "kern.bpf.c", cwd=d).stderr == "" and os.stat(header).st_mtime == 1
        here, there = lab.ns("here"), lab.ns("there")
        a, _ = lab.veth(here, "eth0", there, "eth0", ["10.1.0.1/24"], ["10.1.0.2/24"])
        kern = lab.install(a, os.path.join(d, "kern.o"))
        sink = here.udp("10.1.0.1", 99)
        there.udp("10.1.0.2").sendto(b"hello", ("10.1.0.1", 99))
        assert sink.recv(10) == b"hello"
        row = json.loads(lab.prickle(here, "spine", "show", "kern", "--dev", "eth0", "--json").stdout)
        assert row["counters"]["ttl"] == 64 and row["counters"]["udp"] == 1 and row["counters"]["device_bytes"] > 1000, row
        kern.remove()


tap.run([new_writes_what_builds, new_refuses, build_tells_what_is_wrong, cases_pass_and_fail, mistakes_in_cases,
         kernel_refusals_have_lines, keys_and_signatures, kernel_types])
