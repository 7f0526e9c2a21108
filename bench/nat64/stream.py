#!/usr/bin/env python3
"""One TCP connection (iperf3) and round trips of small UDP packets through kernel forwarding, kernel NAT44, TAYGA and the
translator's tc home: two end points whose offloads nobody touched, a machine between them for each way. Rounds are interleaved.

usage: stream.py [--quick] [--build DIRECTORY] [--json FILE]
Exit 1 when a target is missed.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import traffic
from traffic import ROOT, labs
from forward import has_translator
from lab import Instance, Lab, embed, tap

HERE = os.path.dirname(os.path.abspath(__file__))
RTT_PORT, RTT_ROUNDS = 7009, 4000


class Path:
    """[eth0] a - [in] dut [out] - [eth0] b, both families everywhere."""
    number = 0

    def __init__(self, lab, name, target, rtt, forwarding=True):
        Path.number += 1
        n = Path.number
        self.lab, self.name, self.target = lab, name, target
        self.gbits, self.per_cpu, self.rtt_us = [], [], []
        self.a, self.dut, self.b = lab.ns(f"a{n}"), lab.ns(f"m{n}"), lab.ns(f"b{n}")
        lab.veth(self.a, "eth0", self.dut, "in", ["2001:db8:6::2/64", "10.0.0.2/24"], ["2001:db8:6::1/64", "10.0.0.1/24"], untouched=True)
        lab.veth(self.b, "eth0", self.dut, "out", ["2001:db8:4::2/64", "203.0.113.2/24"], ["2001:db8:4::1/64", "203.0.113.1/24"], untouched=True)
        self.a.ip("route", "add", "default", "via", "10.0.0.1")
        self.a.ip("route", "add", "default", "via", "2001:db8:6::1")
        self.b.ip("route", "add", "default", "via", "203.0.113.1")
        self.b.ip("route", "add", "default", "via", "2001:db8:4::1")
        if forwarding:
            self.dut.forwarding()
        self.b.start("iperf3", "-s")
        server = self.b.start(rtt, "serve", RTT_PORT, stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"ready\n"
        self.rtt = rtt

    def tcp(self, seconds):
        said = json.loads(self.a.run("iperf3", "-c", self.target, "-t", seconds, "-O", "0.3", "-J", timeout=seconds + 20))["end"]
        rate = said["sum_received"]["bits_per_second"] / 1e9
        busy = (said["cpu_utilization_percent"]["host_total"] + said["cpu_utilization_percent"]["remote_total"]) / 100
        self.gbits.append(rate)
        self.per_cpu.append(rate / busy)

    def trips(self):
        self.rtt_us.append(int(self.a.run(self.rtt, "ask", self.target, RTT_PORT, RTT_ROUNDS, timeout=60).split()[0]) / 1e3)


def tayga(lab, rtt):
    path = Path(lab, "TAYGA", embed("203.0.113.2"), rtt)
    config = lab.write("tayga-stream.conf", f"tun-device nat64\nipv4-addr 192.168.255.1\nipv6-addr 2001:db8:4::ffff\nprefix {labs.PREF64}\n"
                       f"map 192.168.255.2 2001:db8:6::2\ndata-dir {lab.directory()}\n")
    path.dut.run("tayga", "--mktun", "-c", config)
    path.dut.ip("link", "set", "nat64", "up")
    path.dut.ip("route", "add", labs.PREF64, "dev", "nat64")
    path.dut.ip("route", "add", "192.168.255.0/24", "dev", "nat64")
    path.dut.start("tayga", "--nodetach", "-c", config)
    time.sleep(0.2)
    return path


def ours(lab, rtt, name, **settings):
    path = Path(lab, name, embed("203.0.113.2"), rtt, forwarding=False)
    Instance(lab, path.dut, {"interfaces": ["in", "out"], "attach": "tc", "pref64": [labs.PREF64], **settings}, name="bench").start()
    return path


def paths(lab, rtt):
    yield Path(lab, "kernel, IPv6 forwarding", "2001:db8:4::2", rtt)
    yield Path(lab, "kernel, IPv4 forwarding", "203.0.113.2", rtt)
    nat = Path(lab, "kernel, NAT44", "203.0.113.2", rtt)
    nat.dut.run("nft", "table ip n { chain c { type nat hook postrouting priority 100; oifname \"out\" masquerade ; } ; }")
    yield nat
    if shutil.which("tayga"):
        yield tayga(lab, rtt)
    if has_translator(lab):
        yield ours(lab, rtt, "stateless tc", mode="siit", mappings=["192.0.2.6/32 2001:db8:6::2/128"])
        yield ours(lab, rtt, "stateful tc", mode="nat64", pool4=["192.0.2.1"])


def report(found, rows):
    kernel = found[0]
    print(f"\n{'TCP, one connection':<58}{'median':>10}       {'10 %':>8}   {'90 %':>7}")
    for path in found:
        rows.add(path.name, statistics.median(path.gbits), "Gbit/s", traffic.spread(path.gbits)[1:],
                 note=f"{statistics.median(path.per_cpu):.1f} Gbit a CPU-second of both ends")
    for path in found[1:]:
        ratios = [a / b for a, b in zip(path.gbits, kernel.gbits)]
        rows.add(f"{path.name} / {kernel.name}", statistics.median(ratios), "x", traffic.spread(ratios)[1:],
                 0.95 if " tc" in path.name else None)
    print(f"\n{'round trip of a small UDP packet':<58}{'median':>10}       {'10 %':>8}   {'90 %':>7}")
    for path in found:
        rows.add(path.name, statistics.median(path.rtt_us), "us", traffic.spread(path.rtt_us)[1:])
    for path in found[1:]:
        more = [a - b for a, b in zip(path.rtt_us, kernel.rtt_us)]
        rows.add(f"{path.name}: added to {kernel.name}", statistics.median(more), "us", traffic.spread(more)[1:],
                 5.0 if " tc" in path.name else None, least=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    os.environ["MESON_BUILD_ROOT"] = os.path.abspath(options.build)
    rounds, seconds = (3, 1) if options.quick else (9, 2)
    try:
        lab = Lab()
    except tap.Skip as why:
        print(f"stream: skipped, {why}")
        return 0
    rows = traffic.Rows()
    with lab:
        rtt = os.path.join(lab.directory(), "rtt")
        subprocess.run(["cc", "-std=gnu17", "-O2", "-o", rtt, os.path.join(HERE, "rtt.c")], check=True)
        found = list(paths(lab, rtt))
        for i in range(rounds):
            for path in found:
                traffic.progress(f"round {i + 1} of {rounds}: {path.name}")
                path.tcp(seconds)
                path.trips()
    traffic.progress("")
    report(found, rows)
    return rows.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
