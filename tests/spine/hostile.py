#!/usr/bin/env python3
"""
Extensions that mean harm: refused when they are installed, contained when the operator let them in, and the neighbour
goes on. hostile.py PRICKLE

	here eth0 (attacked), eth1 (control) <--- there		here eth2 ---> far

Both interfaces run `neighbour`, which takes UDP to port 9000; eth0 gets a hostile one as well. The neighbour's packets are
counted against those that were sent; its time is compared with that of the neighbour on eth1, in turns.
"""
import contextlib
import json
import os
import random
import re
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
from device import attached, build, extension  # noqa: E402
from lab import Lab, tap  # noqa: E402

PRICKLE = sys.argv[1]
GOOD, BAD = 9000, 7777                  # ports of the neighbour and of the hostile one
HEAD = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
char LICENSE[] SEC("license") = "Dual MIT/GPL";
"""
MANIFEST = r"""
#include <prickle/spine.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
char LICENSE[] SEC("license") = "Dual MIT/GPL";
SPINE_EXTENSION(.name = "bad", .version = "1", .match = "udp port 7777" MORE);
"""


class Place(Lab):
    """Made once for all cases; each case begins with nothing but the neighbours."""
    the = None

    def __init__(self):
        super().__init__(PRICKLE)
        self.here, self.there, self.far = self.ns("here"), self.ns("there"), self.ns("far")
        self.wires = [self.veth(self.here, f"eth{i}", self.there, f"eth{i}", [f"10.{i}.0.1/24"], [f"10.{i}.0.2/24"])
                      for i in range(2)]
        self.out, self.end = self.veth(self.here, "eth2", self.far, "eth0", [], [])
        self.sink = self.keep(kb.Sink())                # what leaves by eth2
        self.attach(self.end, self.sink.fd)
        neighbour = extension("neighbour", "XDP_DROP", f"udp port {GOOD}")
        for a, _ in self.wires:
            self.spine("install", neighbour, "--dev", a.name)
        self.good = [self.source(i, GOOD) for i in range(2)]
        self.bad = self.source(0, BAD)
        self.loads = 0

    @classmethod
    def get(cls):
        if cls.the is None:
            cls.the = cls()
            cls.the.__enter__()
        cls.the.clear()
        return cls.the

    def source(self, wire, port, **more):
        a, b = self.wires[wire]
        frame = frames.udp_frame(a.mac, b.mac, f"10.{wire}.0.2", f"10.{wire}.0.1", 5, port, bytes(22), summed=False)
        return self.generator(b, frame, sequence=42, **more)

    def spine(self, *words, code=0, **more):
        done = self.prickle(None, "spine", *words, "--netns", self.here.name, check=False, **more)
        assert done.returncode == code, f"spine {words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def rows(self, dev="eth0"):
        return {row["name"]: row for row in json.loads(self.spine("list", "--dev", dev, "--json").stdout)}

    def clear(self):
        for name in self.rows():
            if name != "neighbour":
                self.spine("remove", name, "--dev", "eth0")
        for map_ in self._kept[:]:
            if isinstance(map_, kb.Map):
                map_.close()
                self._kept.remove(map_)

    def load_c(self, file, source):
        """A program of another owner, loaded and pinned by him: a Loaded."""
        self.loads += 1
        return self.load(build(file, HEAD + source), f"{file}{self.loads}")

    def pinned(self, fd, name):
        path = os.path.join(self.pins(), name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        kb.pin(fd, path)
        os.close(fd)
        return path

    def adopt(self, path, *options, name="bad", match=f"udp port {BAD}", code=0):
        if not isinstance(path, str):
            path = os.path.join(path.dir, path.programs[0])
        return self.spine("adopt", "--pinned", path, "--dev", "eth0", "--match", match, "--name", name, *options, code=code)

    def install(self, path, rights=None, code=0, options=(), name="bad"):
        """rights: of Policy.allow; None: those of the shipped policy."""
        self.policy.domains.pop(name, None)
        if rights is not None:
            self.policy.allow(name, **{"limits": (), **rights})
        self.policy.apply()
        return self.spine("install", path, "--dev", "eth0", *options, code=code)

    def count(self, generator, number, verdict="drop", name="neighbour"):
        """How many of the frames sent now the extension gives this verdict."""
        before = self.rows()[name]["returned"][verdict]
        sent = generator.sent
        generator.run(number)
        return self.rows()[name]["returned"][verdict] - before, generator.sent - sent

    def fares(self, what, bad=True):
        """The neighbour's share of its packets and of its speed while the hostile one still gets traffic."""
        before = self.rows()["neighbour"]["returned"]["drop"]
        sent, best = self.good[0].sent, [float("inf")] * 2
        share = 0.0
        for turn in range(60):
            for wire in (0, 1) if turn % 2 else (1, 0):
                begin = time.thread_time_ns()
                self.good[wire].run(1024)
                best[wire] = min(best[wire], time.thread_time_ns() - begin)
            if bad:
                self.bad.run(256)
            share = best[1] / best[0]
            if turn >= 15 and share >= 0.97:
                break
        sent = self.good[0].sent - sent
        came = self.rows()["neighbour"]["returned"]["drop"] - before
        print(f"# {what}: the neighbour got {came} of {sent} packets, at {100 * share:.1f} % of its speed without it "
              f"({best[0] / 1024:.0f} ns a packet)", flush=True)
        assert came >= 0.9 * sent, (came, sent)
        assert share >= 0.75, f"the neighbour runs at {100 * share:.1f} % of its speed"

    def ejected(self, reason, name="bad", fault=None):
        row = self.rows()[name]
        assert row["state"] == "ejected" and re.search(reason, row["reason"]), row
        assert fault is None or row["faults"][fault] > 0, row
        assert self.rows()["neighbour"]["state"] == "active"
        return row


# ---- installed: the inspector refuses ----------------------------------------------------------------

LOOP = """
static long step(__u32 i, void *sum) { *(volatile __u64 *)sum += i; return 0; }
"""
ENTRY = 'SEC("xdp") int bad(struct xdp_md *ctx) {{ {} }}\n'
REFUSED = [
    # what it is; source; more of the manifest; its rights; the rule; a word of the line that is named, "" when none is
    ("two nested loops", LOOP + "static long outer(__u32 i, void *sum) { bpf_loop(1 << 20, step, sum, 0); return 0; }\n" +
     ENTRY.format("__u64 sum = 0;\nbpf_loop(64, outer, &sum, 0);\nreturn XDP_PASS + (sum == 1);"), "", None, "cost", ""),
    ("a loop of a number of rounds that a packet gives", LOOP +
     ENTRY.format("__u64 sum = 0;\nbpf_loop(ctx->rx_queue_index, step, &sum, 0);\nreturn XDP_PASS + (sum == 1);"), "", None, "cost",
     "bpf_loop"),
    ("one loop over its budget", LOOP +
     ENTRY.format("__u64 sum = 0;\nbpf_loop(30000, step, &sum, 0);\nreturn XDP_PASS + (sum == 1);"), "", None, "cost", ""),
    ("tail calls", "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, __u32);"
     ' __type(value, __u32); } jump SEC(".maps");\n' + ENTRY.format("bpf_tail_call(ctx, &jump, 0);\nreturn XDP_PASS;"), "", None,
     "tail-call", "bpf_tail_call"),
    ("a verdict that is not allowed", ENTRY.format("return XDP_TX;"), ", .verdicts = SPINE_TX", {"verdicts": ["pass"]}, "verdict tx", ""),
    ("a redirect to a port of its choice", ENTRY.format("return bpf_redirect(3, 0);"), ", .verdicts = SPINE_REDIRECT",
     {"verdicts": ["redirect"]}, "helper redirect", "bpf_redirect"),
    ("a redirect by a map of its own", "struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 4);"
     ' __type(key, __u32); __type(value, __u32); } ways SEC(".maps");\n' + ENTRY.format("return bpf_redirect_map(&ways, 1, 0);"),
     ", .verdicts = SPINE_REDIRECT", {"verdicts": ["redirect"]}, "helper redirect_map", "bpf_redirect_map"),
    ("a redirect that it never asks for", ENTRY.format("return XDP_REDIRECT;"), ", .verdicts = SPINE_REDIRECT",
     {"verdicts": ["redirect"]}, "verdict redirect", ""),
    ("reading the kernel's memory", ENTRY.format("__u64 seen = 0;\nbpf_probe_read_kernel(&seen, 8, (void *)(long)ctx->data);\n"
                                                 "return seen ? XDP_PASS : XDP_DROP;"), "", None, "helper probe_read_kernel",
     "bpf_probe_read_kernel"),
    ("the clock of others", ENTRY.format("return bpf_get_current_task() ? XDP_PASS : XDP_DROP;"), "", None, "helper get_current_task",
     "bpf_get_current_task"),
    ("a kernel function", "struct task_struct;\nextern struct task_struct *bpf_task_from_pid(int pid) __ksym;\n" +
     ENTRY.format("return bpf_task_from_pid(1) ? XDP_PASS : XDP_DROP;"), "", None, "kfunc bpf_task_from_pid", "bpf_task_from_pid"),
    ("a map larger than its rights", 'struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1 << 20); __type(key, __u32);'
     ' __type(value, __u64[64]); } much SEC(".maps");\n' +
     ENTRY.format("__u32 zero = 0;\nreturn bpf_map_lookup_elem(&much, &zero) ? XDP_PASS : XDP_DROP;"), "", None, "memory", ""),
    ("a map that it has no business with", 'struct { __uint(type, BPF_MAP_TYPE_CPUMAP); __uint(max_entries, 4); __type(key, __u32);'
     ' __type(value, __u32); } much SEC(".maps");\n' + ENTRY.format("return bpf_redirect_map(&much, 0, 0);"), "", None, "map-type cpumap", ""),
    ("writing to a process", ENTRY.format("__u64 word = 0;\nbpf_probe_write_user((void *)4096, &word, 8);\nreturn XDP_PASS;"), "", None,
     "helper probe_write_user", "bpf_probe_write_user"),
    ("a signal to a process", ENTRY.format("return bpf_send_signal(9) ? XDP_PASS : XDP_DROP;"), "", None, "helper send_signal", "bpf_send_signal"),
    ("reading a process's memory", ENTRY.format("__u64 seen = 0;\nbpf_probe_read_user(&seen, 8, (void *)4096);\n"
                                                "return seen ? XDP_PASS : XDP_DROP;"), "", None, "helper probe_read_user", "bpf_probe_read_user"),
    ("a function that traces beside it", ENTRY.format("return XDP_PASS;") +
     'SEC("fentry/do_exit") int spy(void *ctx) { return 0; }\n', "", None, "program-type", ""),
    ("a program of a security module beside it", ENTRY.format("return XDP_PASS;") +
     'SEC("lsm/file_open") int spy(void *ctx) { return 0; }\n', "", None, "program-type", ""),
    ("a program of another type beside it", ENTRY.format("return XDP_PASS;") +
     'SEC("kprobe/do_exit") int spy(void *ctx) { return 0; }\n', "", None, "program-type", ""),
]


def the_inspector_refuses():
    """what is installed is refused with rule, instruction and source line, and the interface stays as it is"""
    lab = Place.get()
    was = attached(lab.wires[0][0])
    for number, (what, source, more, rights, rule, line) in enumerate(REFUSED):
        path = build(f"refused{number}", MANIFEST + source, MORE=more)
        done = lab.install(path, rights, code=5, options=["--json"])
        found = json.loads(done.stdout)["refused"]
        hits = [f for f in found if f["rule"].startswith(rule)]
        assert hits and all(len(f["sentence"]) > 20 for f in hits), (what, found)
        if line:
            named = [f for f in hits if line in f.get("source", "")]
            assert named and named[0]["program"] and named[0]["line"] > 0 and named[0]["instruction"] >= 0, (what, hits)
            told = lab.install(path, rights, code=5).stderr
            assert line in told and f":{named[0]['line']}:" in told and f"instruction {named[0]['instruction']}" in told, told
    assert attached(lab.wires[0][0]) == was and set(lab.rows()) == {"neighbour"}
    print(f"# {len(REFUSED)} objects refused")


def the_kernel_refuses_what_the_untrusted_may_not():
    """an object without a signature gets the kernel's strict rules: no pointer of the kernel leaves"""
    lab = Place.get()
    path = build("leak", MANIFEST + 'struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);'
                 ' __type(value, __u64); } kept SEC(".maps");\n' + ENTRY.format(
                     "__u32 zero = 0; __u64 *p = bpf_map_lookup_elem(&kept, &zero);\nif (p) *p = (__u64)ctx;\nreturn XDP_PASS;"), MORE="")
    done = lab.prickle(lab.here, "spine", "install", path, "--dev", "eth0", check=False)
    assert done.returncode not in (0, -11) and "leak" in done.stderr, done
    assert set(lab.rows()) == {"neighbour"}


# ---- adopted: the run time contains ----------------------------------------------------------------------

def a_stall_is_ejected():
    """nested loops that hold the processor are out after a packet or two, and stay listed with the reason"""
    lab = Place.get()
    bad = lab.load_c("stall", LOOP + "static long outer(__u32 i, void *sum) { bpf_loop(1 << 20, step, sum, 0); return 0; }\n" +
                     ENTRY.format("__u64 sum = 0; bpf_loop(48, outer, &sum, 0); return XDP_PASS + (sum == 1);"))
    told = lab.adopt(bad, code=5).stderr
    assert "accept-unbounded" in told or "bound" in told, told
    lab.adopt(bad, "--accept-unbounded")
    lab.bad.run(8, batch=1)
    row = lab.ejected("processor", fault="stall")
    assert 1 <= row["packets"] <= 2 and row["skipped"] == 8 - row["packets"], row
    print(f"# the stalling one got {row['packets']} of 8 packets: {row['reason']}")
    lab.fares("stall")


def over_budget_is_ejected():
    """a long loop that takes more than its share of the processor is out"""
    lab = Place.get()
    bad = lab.load_c("slow", LOOP + ENTRY.format("__u64 sum = 0; bpf_loop(20000, step, &sum, 0); return XDP_PASS + (sum == 1);"))
    lab.adopt(bad, "--cpu", "5")
    for _ in range(200):
        lab.bad.run(64)
        if lab.rows()["bad"]["state"] != "active":
            break
    row = lab.ejected("share|budget", fault="over-budget")
    print(f"# the slow one got {row['packets']} packets: {row['reason']}")
    lab.fares("over budget")


def greed_for_tail_calls_is_blamed():
    """who uses up the tail calls of a packet is blamed and ejected, and the one behind it runs again"""
    lab = Place.get()
    bad = lab.load_c("greed", "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, __u32);"
                     ' __type(value, __u32); } jump SEC(".maps");\n' + ENTRY.format("bpf_tail_call(ctx, &jump, 0); return XDP_PASS;"))
    bad.map("jump").set(0, bad.fd.to_bytes(4, "little"))
    for options in ((), ("--accept-unbounded",)):
        done = lab.prickle(None, "spine", "adopt", "--pinned", os.path.join(bad.dir, bad.programs[0]), "--dev", "eth0", "--match",
                           f"udp port {GOOD}", "--name", "bad", "--order", "5", "--netns", lab.here.name, *options, check=False)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    lab.good[0].run(4096)
    row = lab.ejected("tail call", fault="tail-calls")
    assert lab.rows()["neighbour"]["faults"]["not-run"] == 0, lab.rows()["neighbour"]
    came, sent = lab.count(lab.good[0], 4096)
    assert came == sent, (came, sent)
    print(f"# the greedy one got {row['packets']} packets: {row['reason']}")
    lab.fares("tail-call greed", bad=False)


def verdicts_without_a_right():
    """verdicts outside the rights are faults: the packet goes on or is dropped as the extension is open or closed"""
    lab = Place.get()
    receiver = lab.here.udp("10.0.0.1", BAD, timeout=0.3)
    sender = lab.there.udp("10.0.0.2")
    sender.sendto(b"wake up", ("10.0.0.1", BAD))        # addresses are resolved
    receiver.recv(100)
    for verdict in (kb.XDP_TX, kb.XDP_REDIRECT, 5, 77, -1, 0x53504e45, 1 << 31, 0x102):
        for closed in (False, True):
            path = lab.pinned(kb.load_program(kb.mov(0, verdict) + kb.EXIT, name="verdict"), "verdict")
            lab.adopt(path, *(["--fail-closed"] if closed else []))
            sender.sendto(b"hello", ("10.0.0.1", BAD))
            came = False
            with contextlib.suppress(TimeoutError):
                while not came:                         # what the generator sent before may still be queued
                    came = receiver.recv(100) == b"hello"
            row = lab.rows()["bad"]
            assert came != closed and row["faults"]["verdict"] == 1 and row["state"] == "active", (verdict, closed, came, row)
            if verdict in (kb.XDP_TX, 77):
                lab.bad.run(3000)
                lab.ejected("verdict", fault="verdict")
                if not closed:
                    lab.fares(f"verdict {verdict}")
            lab.spine("remove", "bad", "--dev", "eth0")
    receiver.close()
    sender.close()


def redirects_are_not_inherited():
    """a bare XDP_REDIRECT goes nowhere, though another extension set a target before"""
    lab = Place.get()
    setter = lab.load_c("setter", ENTRY.format(f"bpf_redirect({lab.out.ifindex}, 0); return XDP_PASS;"))
    sends = lab.load_c("sends", ENTRY.format(f"return bpf_redirect({lab.out.ifindex}, 0);"))
    thief = lab.load_c("thief", ENTRY.format(f"if (ctx->rx_queue_index == 99) bpf_redirect({lab.out.ifindex}, 0); return XDP_REDIRECT;"))
    by_map = lab.load_c("bymap", 'struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 1); __type(key, __u32);'
                        ' __type(value, __u32); } ways SEC(".maps");\n' +
                        ENTRY.format("bpf_redirect_map(&ways, 0, 0); return XDP_PASS;"))
    by_map.map("ways").set(0, struct.pack("=I", lab.out.ifindex))
    bare = lab.pinned(kb.load_program(kb.mov(0, kb.XDP_REDIRECT) + kb.EXIT, name="bare"), "bare")
    lab.sink.reset()
    # Who may redirect, does: so the sink would see what is stolen.
    lab.adopt(sends, "--redirect")
    lab.bad.run(640)
    assert lab.sink.packets == 640, lab.sink.packets
    lab.spine("remove", "bad", "--dev", "eth0")
    lab.sink.reset()
    # Without the right its own redirect is a fault.
    lab.adopt(sends)
    lab.bad.run(640)
    assert lab.rows()["bad"]["faults"]["verdict"] == 640 and lab.sink.packets == 0
    lab.spine("remove", "bad", "--dev", "eth0")
    assert "redirect helper" in lab.adopt(bare, "--redirect", code=5).stderr
    for first in (setter, by_map):
        for terminal in (False, True):
            # Terminal: it sets the target for frames of its own, which come in turns with the thief's.
            lab.adopt(first, "--redirect", "--order", "5", *(["--terminal"] if terminal else []), name="first",
                      match="udp port 7778" if terminal else f"udp port {BAD}")
            for second, options in ((thief, ["--redirect"]), (bare, [])):
                lab.adopt(second, *options, "--order", "6")
                other = lab.source(0, 7778)
                for _ in range(20 if terminal else 1):
                    if terminal:
                        other.run(16, batch=16)
                    lab.bad.run(32, batch=32)
                if terminal:
                    a, b = lab.wires[0]
                    raw = b.raw()
                    pair = [frames.udp_frame(a.mac, b.mac, "10.0.0.2", "10.0.0.1", 5, port, bytes(22)) for port in (7778, BAD)]
                    raw.send(*pair * 50)
                    raw.close()
                assert lab.sink.packets == 0, f"{lab.sink.packets} packets went where another one wanted its own to go"
                other.close()
                lab._kept.remove(other)
                lab.spine("remove", "bad", "--dev", "eth0")
            lab.spine("remove", "first", "--dev", "eth0")
    lab.adopt(thief, "--redirect")
    lab.fares("redirect confusion")
    assert lab.sink.packets == 0


def maps_of_others_are_out_of_reach():
    """maps of the runtime and of neighbours reach neither an adopted program nor an installed one by name"""
    lab = Place.get()
    counter = build("owner", MANIFEST.replace('"bad"', '"owner"') + """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME); } secrets SEC(".maps");
SPINE_PORTS;
""" + ENTRY.format("__u32 zero = 0, port = ctx->rx_queue_index; __u64 *p = bpf_map_lookup_elem(&secrets, &zero);\n"
                   "if (p && *p == 1) return spine_redirect(port); return XDP_PASS;"),
                    MORE=", .verdicts = SPINE_PASS | SPINE_REDIRECT | SPINE_ABORTED")
    lab.install(counter, {"verdicts": ["pass", "redirect"], "ports": ["eth2"]}, name="owner")
    top = os.path.dirname(os.path.dirname(lab.wires[0][0].spine_directory() + "/ext/"))
    maps = {name: kb.Map.pinned(os.path.join(top, name)) for name in ("control", "stats", "slots")}
    maps["secrets"] = kb.Map.pinned(os.path.join(top, "ext/owner/maps/secrets"))
    maps["ports"] = kb.Map.pinned(os.path.join(top, "ext/owner/maps/spine_ports"))
    maps["secrets"].set(0, 4711)
    # Its own program adopted anew, and the dispatcher itself, hold such maps.
    for number in (lab.rows()["owner"]["id"], attached(lab.wires[0][0])):
        told = lab.spine("adopt", "--id", number, "--dev", "eth0", "--match", "all", "--name", "bad", "--accept-unbounded", code=5).stderr
        assert "map" in told, told
    for name, map_ in maps.items():
        reference = kb.insn(0x18, 1, 1, 0, map_.fd) + kb.insn(0)
        if name == "ports":
            code = reference + kb.mov(2, lab.out.ifindex) + kb.mov(3, 0) + kb.call(51) + kb.EXIT
        elif name == "slots":
            code = kb.mov_reg(6, 1) + kb.insn(0x18, 2, 1, 0, map_.fd) + kb.insn(0) + kb.mov(3, 0) + kb.call(12) + kb.mov(0, 2) + kb.EXIT
        else:
            code = kb.insn(0x62, 10, off=-4) + kb.mov_reg(2, 10) + kb.insn(0x07, 2, imm=-4) + reference + kb.call(1) + kb.mov(0, 2) + kb.EXIT
        path = lab.pinned(kb.load_program(code, name="thief"), "thief")
        told = lab.adopt(path, "--accept-unbounded", code=5).stderr
        assert "map" in told and str(map_.id) in told, (name, told)
    # The same name and the same pinning: a map of its own.
    copy = build("copycat", MANIFEST + """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME); } secrets SEC(".maps");
""" + ENTRY.format("__u32 zero = 0; __u64 *p = bpf_map_lookup_elem(&secrets, &zero);\nif (p) *p = 0; return XDP_PASS;"), MORE="")
    lab.install(copy)
    mine = kb.Map.pinned(os.path.join(top, "ext/bad/maps/secrets"))
    assert mine.id != maps["secrets"].id
    mine.set(0, 5)
    lab.bad.run(1000)
    assert mine.u64(0) == 0 and maps["secrets"].u64(0) == 4711
    assert lab.sink.packets == 0
    for map_ in [mine, *maps.values()]:
        map_.close()
    lab.fares("foreign maps")


def a_hog_gets_what_it_was_allowed():
    """an extension that fills memory stops at its right, and the neighbour has what it needs"""
    lab = Place.get()
    hog = build("hog", MANIFEST + """
struct bytes { __u8 at[8192]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 400); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, __u32);
	__type(value, struct bytes); } much SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct bytes); } from SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); } seen SEC(".maps");
static __u32 next;
""" + ENTRY.format("__u32 zero = 0, one = 1, key = next++ % 400; void *p = bpf_map_lookup_elem(&from, &zero);\n"
                   "long err = p ? bpf_map_update_elem(&much, &key, p, BPF_ANY) : 0;\n"
                   "__u64 *n = bpf_map_lookup_elem(&seen, err ? &one : &zero); if (n) *n += 1; return XDP_DROP;"),
                MORE=", .memory_bytes_max = 4 << 20")
    lab.install(hog, {"verdicts": ["pass", "drop"], "limits": ["memory 4 MiB"]})
    came, sent = lab.count(lab.bad, 4000, name="bad")
    seen = kb.Map.pinned(os.path.join(lab.wires[0][0].spine_directory(), "ext/bad/maps/seen"))
    much = kb.Map.pinned(os.path.join(lab.wires[0][0].spine_directory(), "ext/bad/maps/much"))
    kept, failed, entries = seen.u64(0), seen.u64(1), len(much.keys())
    seen.close()
    much.close()
    assert came == sent and kept + failed == sent, (came, sent, kept, failed)
    doctor = {row["name"]: row for row in json.loads(lab.prickle(None, "spine", "doctor", "--json").stdout)["features"]}
    limited = doctor["memory-limits"]["state"] == "ok"
    print(f"# the hog wanted 400 entries of 8 KiB with a right to 4 MiB and got {entries}; {failed} of {sent} updates failed"
          f"{'' if limited else ' (no memory control groups here)'}")
    assert not limited or (failed > 0 and entries < 400), (entries, failed)
    lab.fares("memory hog")


def floods_of_messages_are_counted():
    """floods of messages, to the host and from it, are counted and block nobody"""
    lab = Place.get()
    flood = build("flood", MANIFEST + """
SPINE_OUTBOX;
struct ping { __u64 n; };
static __always_inline int ping(struct ping *args, struct spine_message *m) { args->n++; return 0; }
#define HANDLERS(H) H(1, ping, ping)
SPINE_HANDLERS(HANDLERS);
""" + ENTRY.format("struct ping p = { 1 };\n_Pragma(\"unroll\") for (int i = 0; i < 4; i++) spine_post(ctx, 100, &p, sizeof(p));\nreturn XDP_DROP;"),
                  MORE="")
    lab.install(flood, {"verdicts": ["pass", "drop"], "limits": ["instructions 100000"]})
    directory = os.path.join(lab.wires[0][0].spine_directory(), "ext/bad")
    came, sent = lab.count(lab.bad, 8192, name="bad")
    assert came == sent, (came, sent)
    outbox = kb.Map.pinned(os.path.join(directory, "maps/spine_outbox"))
    lost = sum(struct.unpack_from("=Q", outbox.get(i), 8)[0] for i in range(outbox.entries))
    filled = sum(struct.unpack_from("=I", outbox.get(i), 0)[0] for i in range(outbox.entries))
    assert lost + filled == 4 * sent and lost > 3 * sent, (lost, filled, sent)
    # A reader that lies about where it is, and one that says that it sleeps: the doorbell's ring is full soon.
    value = bytearray(outbox.get(0))
    struct.pack_into("=III", value, 64, 0xdeadbeef, 0xdeadbeef, 1)
    for i in range(outbox.entries):
        outbox.set(i, bytes(value))
    came, sent = lab.count(lab.bad, 8192, name="bad")
    assert came == sent and lab.rows()["bad"]["state"] == "active", (came, sent)
    outbox.close()
    # A host program that calls without end and lies about its inbox.
    call, drain = (kb.open_program(os.path.join(directory, name)) for name in ("call-0", "drain-0"))
    inbox = kb.Map.pinned(os.path.join(directory, "maps/spine_inbox"))
    dice = random.Random(3)
    begin = time.monotonic()
    for turn in range(2000):
        message = bytearray(struct.pack("=HBBIQ", dice.randrange(4), dice.randrange(8), dice.randrange(256), turn, 1) + bytes(48))
        assert kb.run_syscall(call, message) <= 0
        if turn % 50 == 0:
            value = bytearray(dice.randbytes(inbox.value_bytes))
            struct.pack_into("=I", value, 68, 0)         # busy, which would stop the drain
            inbox.set(0, bytes(value))
            taken = kb.run_syscall(drain, bytearray(8))
            assert 0 <= taken <= 256, taken
    print(f"# 2,000 false calls and 40 false inboxes took {time.monotonic() - begin:.2f} s; {lost} of {4 * 8192} posts counted as lost")
    os.close(call)
    os.close(drain)
    inbox.close()
    lab.fares("message flood")


def rules_see_the_frame_that_came():
    """who rewrites a frame does not change who runs next: rules look at the frame as it arrived"""
    lab = Place.get()
    rewriter = lab.load_c("rewriter", ENTRY.format(
        "char *p = (void *)(long)ctx->data; if (p + 42 > (char *)(long)ctx->data_end) return XDP_PASS;"
        f"*(__u16 *)(p + 36) = bpf_htons({GOOD}); return XDP_PASS;"))
    lab.adopt(rewriter, "--order", "5", name="rewriter")
    # The next one of the old port runs, and sees the new port in the frame.
    looker = lab.load_c("looker", ENTRY.format(
        "char *p = (void *)(long)ctx->data; if (p + 42 > (char *)(long)ctx->data_end) return XDP_ABORTED;"
        f"return *(__u16 *)(p + 36) == bpf_htons({GOOD}) ? XDP_DROP : XDP_PASS;"))
    lab.adopt(looker, "--order", "6", name="looker")
    before = lab.rows()["neighbour"]["packets"]
    came, sent = lab.count(lab.bad, 1024, name="looker")
    assert came == sent and lab.rows()["neighbour"]["packets"] == before
    lab.fares("rewriting")


# ---- objects that lie --------------------------------------------------------------------------------------

def broken_objects_are_refused():
    """objects that are truncated, mutated or lying end in a sentence, never in a crash, and change nothing"""
    lab = Place.get()
    seeds = []
    for path in (extension("first", "XDP_PASS"), build("seed", MANIFEST + LOOP + 'struct { __uint(type, BPF_MAP_TYPE_HASH);'
                 ' __uint(max_entries, 64); __type(key, __u32); __type(value, __u64); } kept SEC(".maps");\nSPINE_PORTS;\n' + ENTRY.format(
                     "__u64 sum = 0; __u32 k = 1; bpf_loop(8, step, &sum, 0); bpf_map_update_elem(&kept, &k, &sum, 0);\n"
                     "return sum ? XDP_PASS : spine_redirect(3);"), MORE=", .verdicts = SPINE_PASS | SPINE_REDIRECT | SPINE_ABORTED")):
        with open(path, "rb") as f:
            seeds.append(f.read())
    was, dice, codes = attached(lab.wires[0][0]), random.Random(44), {}
    path = os.path.join(lab.directory(), "mutant.o")
    for number in range(60):
        data = bytearray(dice.choice(seeds))
        kind = number % 5
        if kind == 0:
            del data[dice.randrange(len(data)):]
        elif kind == 1:                                 # bits anywhere
            for _ in range(dice.randrange(1, 12)):
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        elif kind == 2:                                 # the table of sections lies
            table, = struct.unpack_from("<Q", data, 40)
            count, = struct.unpack_from("<H", data, 60)
            at = table + 64 * dice.randrange(count) + dice.choice([4, 8, 24, 32, 40, 44, 56])
            struct.pack_into("<Q", data, at, dice.choice([0, 1, 2**63, 2**64 - 1, len(data), len(data) - 1, dice.randrange(2**32)]))
        elif kind == 3:                                 # the manifest lies
            at = data.find(b"SPN1")
            data[at + dice.randrange(4, 600)] = dice.randrange(256)
        else:                                           # a stretch of another object
            other = dice.choice(seeds)
            at, size = dice.randrange(len(data)), dice.randrange(1, 400)
            data[at:at + size] = other[at:at + size]
        with open(path, "wb") as f:
            f.write(data)
        words = ["inspect", path] if number % 3 == 0 else ["install", path, "--dev", "eth0", "--netns", lab.here.name, "--name", "mutant"]
        done = lab.prickle(None, "spine", *words, check=False, timeout=20)
        assert 0 <= done.returncode < 128, (number, done)
        assert done.returncode == 0 or len((done.stdout + done.stderr).strip()) > 10, (number, done)
        codes[done.returncode] = codes.get(done.returncode, 0) + 1
        if done.returncode == 0 and "mutant" in lab.rows():
            lab.spine("remove", "mutant", "--dev", "eth0")
        elif done.returncode:
            assert attached(lab.wires[0][0]) == was, number
        was = attached(lab.wires[0][0])
    assert set(lab.rows()) == {"neighbour"}
    print(f"# 60 broken objects: exit codes {codes}")
    lab.fares("broken objects", bad=False)


if __name__ == "__main__":
    try:
        tap.run([the_inspector_refuses, the_kernel_refuses_what_the_untrusted_may_not, a_stall_is_ejected, over_budget_is_ejected,
                 greed_for_tail_calls_is_blamed, verdicts_without_a_right, redirects_are_not_inherited,
                 maps_of_others_are_out_of_reach, a_hog_gets_what_it_was_allowed, floods_of_messages_are_counted,
                 rules_see_the_frame_that_came, broken_objects_are_refused])
    finally:
        if Place.the is not None:
            for wire in Place.the.wires:
                for name in Place.the.rows(wire[0].name):
                    Place.the.spine("remove", name, "--dev", wire[0].name)
            Place.the.__exit__(None, None, None)
