#!/usr/bin/env python3
"""Looking at extensions: top, trace, check, and the demo's lab. look.py PRICKLE"""
import json
import os
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
from lab import Lab, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1]
EXTENSION = """
#include <prickle/spine.h>
SPINE_EXTENSION(.name = "%(name)s", .version = "1", .match = "%(match)s", .verdicts = SPINE_PASS | SPINE_DROP);
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } seen SEC(".maps");
SEC("xdp") int entry(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&seen, &zero);
	unsigned char *p = (void *)(long)ctx->data;
	if (n)
		*n += %(step)s;
	if ((void *)(long)ctx->data_end < (void *)(p + 42))
		return XDP_DROP;
	%(more)s
	return %(verdict)s;
}
char LICENSE[] SEC("license") = "Dual MIT/GPL";
"""


class Place(Lab):
    def __enter__(self):
        super().__enter__()
        self.prickle_path = PRICKLE
        self.here, self.there = self.ns("here"), self.ns("there")
        self.a, self.b = self.veth(self.here, "eth0", self.there, "eth0", ["10.1.0.1/24"], ["10.1.0.2/24"])
        self.folder = tempfile.TemporaryDirectory(prefix="prickle-look-")
        return self

    def __exit__(self, *what):
        self.folder.cleanup()
        return super().__exit__(*what)

    def make(self, name, match="udp port 7", verdict="XDP_PASS", more="", step=1):
        path = os.path.join(self.folder.name, f"{name}.bpf.c")
        with open(path, "w", encoding="ascii") as f:
            f.write(EXTENSION % {"name": name, "match": match, "verdict": verdict, "more": more, "step": step})
        self.prickle(None, "spine", "build", path)
        return next(os.path.join(self.folder.name, n) for n in os.listdir(self.folder.name)
                    if n.startswith(name) and n.endswith(".o"))

    def send(self, *ports):
        with self.b.raw() as raw:
            for port in ports:
                raw.send(frames.udp_frame(self.a.mac, self.b.mac, "10.1.0.2", "10.1.0.1", 1000, port, b"0123456789"))

    def here_run(self, *arguments, **more):
        return self.prickle(self.here, "spine", *arguments, "--dev", "eth0", **more)


def top_counts_what_passes_by():
    """top shows packets, verdicts and time of each extension by the second"""
    with Place() as lab:
        lab.install(lab.a, lab.make("first"))
        lab.install(lab.a, lab.make("second", verdict="XDP_DROP"))
        generator = lab.generator(lab.b, frames.udp_frame(lab.a.mac, lab.b.mac, "10.1.0.2", "10.1.0.1", 1, 7, b"x" * 20))
        generator.start(burst=512, pause_s=0.001)
        try:
            done = lab.here_run("top", "--count", "1", "--interval", "500", "--json")
            text = lab.here_run("top", "--count", "1", "--interval", "300").stdout
        finally:
            generator.stop()
        rows = {row["name"]: row for row in json.loads(done.stdout)["extensions"]}
        assert rows["first"]["packets_per_s"] > 0 and rows["first"]["ns_per_packet"] > 0, rows
        assert rows["first"]["verdicts_per_s"]["pass"] > 0 and rows["second"]["verdicts_per_s"]["drop"] > 0, rows
        assert "first" in text and "second" in text and "PKT/S" in text, text


def tracing(lab, *options):
    process = lab.here.start(PRICKLE, "spine", "trace", "--dev", "eth0", *options, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: json.loads(lab.here_run("list", "--json").stdout)[0]["name"], what="list")
    return process


def trace_tells_each_packet_s_story():
    """trace shows who matched, who decided and what, for the packets that are asked for"""
    with Place() as lab:
        lab.install(lab.a, lab.make("first"))
        lab.install(lab.a, lab.make("second", match="udp port 7 or udp port 8", verdict="XDP_DROP"))
        process = tracing(lab, "--json", "--count", "3", "--match", "udp")
        # Packets that come before it looks are not shown: they are sent until it has seen three, one of each.
        wait_until(lambda: lab.send(7, 8, 9) or process.poll() is not None, timeout=30, what="three packets are traced")
        assert process.wait(60) == 0
        lines = process.stdout.read().splitlines()
        process.stdout.close()
        found = {row["packet"].split(" > ")[1].split(":")[0]: row for row in map(json.loads, lines)}
        assert found["10.1.0.1.7"]["matched"] == ["first", "second"] and found["10.1.0.1.7"]["by"] == "second", found
        assert found["10.1.0.1.8"]["matched"] == ["second"] and found["10.1.0.1.8"]["verdict"] == "drop", found
        assert found["10.1.0.1.9"]["matched"] == [] and found["10.1.0.1.9"]["by"] is None, found


def a_trace_that_ends_leaves_the_sampling_as_it_was():
    """after a trace was interrupted the next one works, and two at a time are refused"""
    with Place() as lab:
        lab.install(lab.a, lab.make("first"))
        process = tracing(lab)
        wait_until(lambda: lab.here_run("trace", "--count", "1", check=False, timeout=60).returncode == 75
                   if process.poll() is None else True, what="the second trace is refused")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        process.stdout.close()
        path = os.path.join(lab.folder.name, "out.pcap")
        process = lab.here.start(PRICKLE, "spine", "trace", "--dev", "eth0", "--count", "1", "--match", "udp port 7", "--write", path)
        wait_until(lambda: lab.send(7) or process.poll() is not None, what="a packet is written")
        assert process.wait(60) == 0
        with open(path, "rb") as f:
            assert f.read(4) == bytes.fromhex("d4c3b2a1")


def check_sees_what_a_new_version_would_change():
    """check finds other verdicts, other bytes and other state on live packets, and touches nothing that runs"""
    with Place() as lab:
        lab.install(lab.a, lab.make("first"))
        generator = lab.generator(lab.b, frames.udp_frame(lab.a.mac, lab.b.mac, "10.1.0.2", "10.1.0.1", 1, 7, b"x" * 20))
        generator.start(burst=64, pause_s=0.01)
        try:
            same = lab.here_run("check", "first", lab.make("same"), "--count", "50", "--json")
            verdict = lab.here_run("check", "first", lab.make("drops", verdict="XDP_DROP"), "--count", "50", "--json", check=False)
            other = lab.here_run("check", "first", lab.make("writes", more="p[41] ^= 1;"), "--count", "50", "--json", check=False)
            state = lab.here_run("check", "first", lab.make("counts", step=2), "--count", "50", "--json", check=False)
        finally:
            generator.stop()
        answer = json.loads(same.stdout)
        assert answer["same"] == answer["packets"] == 50, answer
        answer = json.loads(verdict.stdout)
        assert verdict.returncode == 1 and answer["verdicts_differ"] == 50, answer
        assert answer["differences"][0]["old"] == "pass" and answer["differences"][0]["new"] == "drop", answer
        answer = json.loads(other.stdout)
        assert other.returncode == 1 and answer["bytes_differ"] == 50 and answer["differences"][0]["offset"] == 41, answer
        answer = json.loads(state.stdout)
        assert state.returncode == 0 and "map seen: 1 entries differ" in answer["state"], answer
        row = json.loads(lab.here_run("list", "--json").stdout)[0]
        assert row["state"] == "active" and row["replaced"] == 0, row


def check_reads_captures():
    """check compares two object files on a capture, without an interface"""
    with Place() as lab:
        path = os.path.join(lab.folder.name, "in.pcap")
        frame = frames.udp_frame(lab.a.mac, lab.b.mac, "10.1.0.2", "10.1.0.1", 1, 7, b"hello")
        with open(path, "wb") as f:
            f.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
            f.write(bytes(8) + len(frame).to_bytes(4, "little") * 2 + frame)
        done = lab.prickle(None, "spine", "check", lab.make("one"), lab.make("two", verdict="XDP_DROP"), "--pcap", path, check=False)
        assert done.returncode == 1 and "1 with another verdict" in done.stdout, done.stdout + done.stderr
        assert "10.1.0.1.7: UDP, length 5: pass before, drop now" in done.stdout, done.stdout


def the_demo_s_lab_forwards():
    """the demo makes a lab whose extensions forward, and takes it down when it ends"""
    if os.path.exists("/run/netns/prickle-router"):
        raise tap.Skip("somebody else's lab is there")
    with Place(), tempfile.TemporaryDirectory(prefix="pd-") as state:
        process = subprocess.Popen([PRICKLE, "demo", "--state", state, "--base-port", "31000", "--password", "x"],
                                   stdout=subprocess.PIPE, text=True)
        lines = []
        while not lines or lines[-1] not in ("ready\n", ""):
            lines.append(process.stdout.readline())
        try:
            assert any("prickle spine list --netns prickle-router" in line for line in lines), "".join(lines)
            for address in ("10.91.2.2", "fd91:2::2"):
                subprocess.run(["ip", "netns", "exec", "prickle-left", "ping", "-c", "2", "-i", "0.2", address], check=True,
                               capture_output=True)
            rows = json.loads(subprocess.run([PRICKLE, "spine", "list", "--netns", "prickle-router", "--json"],
                                             capture_output=True, check=True).stdout)
            assert sum(row["returned"]["redirect"] for row in rows if row["name"] == "router") >= 4, rows
        finally:
            process.terminate()
            process.wait(60)
            process.stdout.close()
        wait_until(lambda: not os.path.exists("/run/netns/prickle-right"), timeout=30, what="the lab is taken down")


tap.run([top_counts_what_passes_by, trace_tells_each_packet_s_story, a_trace_that_ends_leaves_the_sampling_as_it_was,
         check_sees_what_a_new_version_would_change, check_reads_captures, the_demo_s_lab_forwards])
