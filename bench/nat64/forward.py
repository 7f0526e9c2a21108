#!/usr/bin/env python3
"""Packets a CPU-second of small UDP packets: kernel IPv6 and IPv4 forwarding, kernel NAT44 (nft masquerade), TAYGA, a plain
XDP redirect, and the translator, stateless and stateful, by XDP and by tc.

A generator's frames go over veth to a machine of their own for each way (a namespace), through it, and over veth to a
counter. One thread does all of it, so its processor time is the whole cost, device and generator included, the same for
all; TAYGA's process is added. Cases are interleaved in rounds; a round's value is the best of its tries; ratios are those of rounds.

usage: forward.py [--quick] [--rounds N] [--packets N] [--build DIRECTORY] [--json FILE] [--only WORD,...]
Exit 1 when a target is missed.
"""
import argparse
import os
import shutil
import socket
import struct
import subprocess
import sys
import time

import traffic
from traffic import ROOT, flows4, flows6, frames, kb, labs
from lab import Instance, Lab, embed, tap

REDIRECT_MAP, DEVMAP = 51, 14
TRIES = 3
DST = "203.0.113.2"
POOL = "192.0.2.0/26"                   # 64 addresses: 4 million ports
TAYGA_BURST = 8192


class Way:
    """A machine between generator and counter: [inner] gen - [in] dut [out] - [end] sink."""
    number = 0

    def __init__(self, lab, name, mtu=1500):
        Way.number += 1
        self.lab, self.name, self.pids = lab, name, []
        self.gen, self.dut, self.sink_ns = lab.ns("gen"), lab.ns(f"dut{Way.number}"), lab.ns("sink")
        self.inner, self.outer = lab.veth(self.gen, f"g{Way.number}", self.dut, "in", [], ["2001:db8:6::1/64", "10.0.0.1/24"], mtu=mtu)
        self.out, self.end = lab.veth(self.dut, "out", self.sink_ns, f"e{Way.number}", ["203.0.113.1/24", "2001:db8:4::1/64"], [], mtu=mtu)
        self.dut.ip("neigh", "replace", DST, "lladdr", self.end.mac, "dev", "out", "nud", "permanent")
        self.dut.ip("neigh", "replace", "2001:db8:4::2", "lladdr", self.end.mac, "dev", "out", "nud", "permanent")
        self.dut.ip("route", "add", "2001:db8:5::/48", "dev", "in")
        self.counter = lab.sink(self.end)


class Case:
    """One line of the table: a way and its flows. `reset` is called before each try, outside of what is measured."""

    def __init__(self, name, way, generator, packets, warm=0, reset=None, burst=0):
        self.name, self.way, self.generator, self.packets = name, way, generator, packets
        self.warm, self.reset, self.burst, self.samples, self.lost, self.sent = warm, reset, burst, [], 0, 0

    def start(self):
        """Prove that it delivers, and make its sessions."""
        for _ in range(3):              # the first packets may wait for caches of routes and neighbours
            self.generator.run(64)
            time.sleep(0.02)
        before = self.way.counter.packets
        self.generator.run(256)
        time.sleep(0.05)
        got = self.way.counter.packets - before
        assert got >= 250, f"{self.name}: {got} of 256 frames arrived"
        if self.warm:
            self.generator.rewind()
            self.send(self.warm)

    def send(self, count):
        """Nanoseconds of this thread. In bursts, where another process has to follow, until that has done its part."""
        took = 0
        for _ in range(0, count, self.burst or count):
            before, begin = self.way.counter.packets, time.thread_time_ns()
            self.generator.run(self.burst or count)
            took += time.thread_time_ns() - begin
            end = time.monotonic() + 0.5
            while self.burst and self.way.counter.packets - before < self.burst and time.monotonic() < end:
                time.sleep(0.0005)
        return took

    def measure(self, tries):
        """Million packets a CPU-second, the best of some tries."""
        best = 0.0
        for _ in range(tries):
            if self.reset:
                self.reset()
            before, others = self.way.counter.packets, sum(traffic.cpu_ns(pid) for pid in self.way.pids)
            took = self.send(self.packets) + sum(traffic.cpu_ns(pid) for pid in self.way.pids) - others
            got = self.way.counter.packets - before
            self.sent += self.packets
            self.lost += self.packets - got
            best = max(best, got * 1e3 / took)
        self.samples.append(best)


# ---- the rivals ----
def plain_redirect(lab):
    way = Way(lab, "redirect")
    ports = lab.keep(kb.Map.create(DEVMAP, 4, 4, 1))
    with way.dut.entered():
        ports.set(0, struct.pack("=I", way.out.ifindex))
    lab.attach(way.outer, kb.load_program(kb.insn(0x18, 1, 1, 0, ports.fd) + kb.insn(0) + kb.mov(2, 0) + kb.mov(3, 0) +
                                          kb.call(REDIRECT_MAP) + kb.EXIT, name="redirecting"))
    return way


def kernel(lab, name):
    way = Way(lab, name)
    way.outer.napi()
    way.dut.forwarding()
    way.dut.ip("route", "add", labs.PREF64, "via", "2001:db8:4::2")
    way.dut.ip("route", "add", "10.64.0.0/16", "dev", "in")
    return way


def conntrack_flush(ns):
    """Forget every connection of a namespace (IPCTNL_MSG_CT_DELETE without a filter)."""
    s = ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    s.send(struct.pack("=IHHII", 20, 1 << 8 | 2, 1 | 4, 1, 0) + b"\0\0\0\0")
    error = struct.unpack_from("=i", s.recv(4096), 16)[0]
    s.close()
    assert error == 0, os.strerror(-error)


def nat44(lab, verb):
    way = kernel(lab, "NAT44")
    for i in range(10, 42):
        way.dut.ip("addr", "add", f"203.0.113.{i}/24", "dev", "out")
    way.dut.run("nft", f"table ip n {{ chain c {{ type nat hook postrouting priority 100; oifname \"out\" {verb} ; }} ; }}")
    return way


def tayga(lab):
    way = kernel(lab, "TAYGA")
    folder = lab.directory()
    config = lab.write("tayga.conf", f"tun-device nat64\nipv4-addr 192.168.255.1\nipv6-addr 2001:db8:4::ffff\nprefix {labs.PREF64}\n"
                       f"map 192.168.255.2 2001:db8:5::2\ndata-dir {folder}\n")
    way.dut.ip("route", "del", labs.PREF64, "via", "2001:db8:4::2")
    way.dut.run("tayga", "--mktun", "-c", config)
    way.dut.ip("link", "set", "nat64", "txqueuelen", 2 * TAYGA_BURST, "up")
    way.dut.ip("route", "add", labs.PREF64, "dev", "nat64")
    way.dut.ip("route", "add", "192.168.255.0/24", "dev", "nat64")
    way.pids.append(way.dut.start("tayga", "--nodetach", "-c", config).pid)
    time.sleep(0.2)
    return way


# ---- ours ----
def translator(lab, name, home, **settings):
    way = Way(lab, name)
    if home == "tc":
        way.outer.napi()
    Instance(lab, way.dut, {"interfaces": ["in", "out"], "attach": home, "pref64": [labs.PREF64], **settings}, name="bench").start()
    return way


def siit(lab, name, home, **settings):
    return translator(lab, name, home, mode="siit", mappings=["10.64.0.2/32 2001:db8:5::2/128"], **settings)


def nat64(lab, name, home, sessions):
    return translator(lab, name, home, mode="nat64", pool4=[POOL], icmp={"errors": True},
                      tables={"sessions": sessions, "mappings": sessions, "subscribers": 131072})


STATEFUL = ((1, "1 flow"), (1000, "1 k flows"), (50000, "50 k flows"), (1000000, "1 M flows"))
ALWAYS = ("plain XDP redirect", "kernel, IPv6 forwarding, 1 flow")       # what others are compared with


def cases(lab, options):
    """All cases that this build can run, the kernel's first."""
    n = options.packets
    made = {}

    def add(name, way, generator, **more):
        if not wanted(name) and name not in ALWAYS:
            return
        made[name] = Case(name, way, generator, more.pop("packets", n), **more)

    def wanted(*names):
        return not options.only or any(word in name for name in names for word in options.only.split(","))

    way = plain_redirect(lab)
    add("plain XDP redirect", way, flows6(way.inner, 1))
    way = kernel(lab, "kernel")
    add("kernel, IPv6 forwarding, 1 flow", way, flows6(way.inner, 1))
    add("kernel, IPv4 forwarding, 1 flow", way, flows4(way.inner, 1))
    add("kernel, IPv6 forwarding, 50 k flows", way, flows6(way.inner, 50000))
    way = nat44(lab, "masquerade") if wanted("kernel, NAT44, 40 k flows") else way
    add("kernel, NAT44, 40 k flows", way, flows4(way.inner, 40000), warm=40000)
    way = nat44(lab, "snat to 203.0.113.10-203.0.113.41")     # masquerading has 64 k ports in all
    add("kernel, NAT44, all new flows", way, flows4(way.inner, 0), packets=min(n, 131072), reset=lambda dut=way.dut: conntrack_flush(dut))
    if shutil.which("tayga") and wanted("TAYGA, 1 flow"):
        way = tayga(lab)
        add("TAYGA, 1 flow", way, flows6(way.inner, 1), packets=min(n, 131072), burst=TAYGA_BURST)
    if not has_translator(lab):
        print("This build has no 'prickle nat64 run': rivals alone.")
        return made
    if wanted("stateless XDP, next hops cached", "stateless XDP, without the cache"):
        way = siit(lab, "siit", "xdp")
        add("stateless XDP, next hops cached", way, flows6(way.inner, 1))
        way = siit(lab, "siit-fib", "xdp", **{"nexthop-cache": False})
        add("stateless XDP, without the cache", way, flows6(way.inner, 1))
    if wanted("stateless tc"):
        way = siit(lab, "siit-tc", "tc")
        add("stateless tc", way, flows6(way.inner, 1))
    if wanted(*(f"stateful XDP, {text}" for _, text in STATEFUL)):
        way = nat64(lab, "nat64", "xdp", 1 << 21)
        for count, text in STATEFUL:
            add(f"stateful XDP, {text}", way, flows6(way.inner, count), warm=count if count > 1 else 0)
    if wanted("stateful XDP, all new flows"):
        way = nat64(lab, "nat64-new", "xdp", 1 << 22)
        add("stateful XDP, all new flows", way, flows6(way.inner, 0), packets=min(n, 131072))
    if wanted("stateful tc, 1 k flows"):
        way = nat64(lab, "nat64-tc", "tc", 1 << 17)
        add("stateful tc, 1 k flows", way, flows6(way.inner, 1000), warm=1000)
    return made


def has_translator(lab):
    return lab.prickle(None, "nat64", "run", "--help", check=False).returncode == 0


# name, against, least ratio
TARGETS = [
    ("stateless XDP, next hops cached", "kernel, IPv6 forwarding, 1 flow", 2.2),
    ("stateless XDP, next hops cached", "TAYGA, 1 flow", 8.0),
    ("stateless XDP, next hops cached", "plain XDP redirect", 0.8),
    ("stateless XDP, without the cache", "kernel, IPv6 forwarding, 1 flow", None),
    ("stateless tc", "kernel, IPv6 forwarding, 1 flow", None),
    ("stateful XDP, 1 flow", "kernel, IPv6 forwarding, 1 flow", None),
    ("stateful XDP, 1 k flows", "kernel, IPv6 forwarding, 1 flow", 1.8),
    ("stateful XDP, 50 k flows", "kernel, NAT44, 40 k flows", None),
    ("stateful XDP, 1 M flows", "kernel, IPv6 forwarding, 1 flow", 1.0),
    ("stateful XDP, all new flows", "kernel, NAT44, all new flows", 2.3),
    ("stateful tc, 1 k flows", "kernel, NAT44, 40 k flows", None),
    ("kernel, NAT44, 40 k flows", "kernel, IPv4 forwarding, 1 flow", None),
]


def report(made, rows):
    print(f"\n{'million packets a CPU-second (all new: million flows)':<58}{'median':>10}       {'10 %':>8}   {'90 %':>7}")
    for case in made.values():
        median, low, high = traffic.spread(case.samples)
        assert median > 0 or case.lost == 0, f"{case.name}: nothing arrives any more; is the program still attached (nat64 show)?"
        rows.add(case.name, median, "M/s", (low, high), note=f"lost {case.lost} of {case.sent}" if case.lost else "")
    print(f"\n{'ratios':<58}")
    for name, against, target in TARGETS:
        if name in made and against in made:
            median, low, high = traffic.spread([a / b for a, b in zip(made[name].samples, made[against].samples)])
            rows.add(f"{name} / {against}", median, "x", (low, high), target)


def at_half(made, rows, packets):
    """Stateful at half of its maximum: what is lost."""
    case = made.get("stateful XDP, 1 k flows")
    if not case:
        return
    chunk, sent, before = 4096, 0, case.way.counter.packets
    while sent < packets:
        begin = time.monotonic()
        case.generator.run(chunk)
        sent += chunk
        time.sleep(time.monotonic() - begin)
    time.sleep(0.1)
    rows.add("stateful XDP, 1 k flows, at half of the maximum: packets lost", sent - (case.way.counter.packets - before), "", None, 0, least=False,
             note=f"of {sent}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--packets", type=int, default=1 << 19, help="in each try")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="cases with one of these words (separated by commas) in their name, and what they are compared with")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    os.environ["MESON_BUILD_ROOT"] = os.path.abspath(options.build)
    rounds, tries = options.rounds or (3 if options.quick else 9), 1 if options.quick else TRIES
    try:
        lab = Lab()
    except tap.Skip as why:
        print(f"forward: skipped, {why}")
        return 0
    rows = traffic.Rows()
    with lab:
        made = cases(lab, options)
        traffic.alone()
        for case in made.values():
            traffic.progress(f"starting: {case.name}")
            case.start()
        load = os.getloadavg()[0]
        for i in range(rounds):
            for case in made.values():
                traffic.progress(f"round {i + 1} of {rounds}: {case.name}")
                case.measure(tries)
        at_half(made, rows, options.packets)
        traffic.ordinary()
    traffic.progress("")
    print(f"{rounds} rounds of {tries} x {options.packets} frames; load of the machine {load:.1f} before, "
          f"{os.getloadavg()[0]:.1f} after, on {os.cpu_count()} processors")
    report(made, rows)
    return rows.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
