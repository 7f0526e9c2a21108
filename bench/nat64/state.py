#!/usr/bin/env python3
"""A million sessions: what they weigh, and what happens to them when the process is killed, started again, and its settings applied,
while packets of theirs go on at a steady rate.

usage: state.py [--quick] [--build DIRECTORY] [--json FILE]
Exit 1 when a target is missed.
"""
import argparse
import os
import sys
import time

import traffic
from traffic import ROOT, flows6, labs
from forward import POOL, Way, has_translator
from lab import Instance, Lab, tap

# In a table that is nearly full, sessions that nobody answered end early, and nobody answers these.
TABLE = 1 << 21


def available():
    with open("/proc/meminfo", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("MemAvailable")).split()[1]) * 1024


def sessions(instance):
    rows = instance.lab.json(None, "nat64", "list")
    return sum(row.get("sessions", 0) for row in rows if row["name"] == instance.name and row["netns"] == instance.ns.name)


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1]) / 1024


def memory(lab, rows, count):
    way = Way(lab, "memory")
    before = available()
    instance = Instance(lab, way.dut, {"interfaces": ["in", "out"], "attach": "xdp", "mode": "nat64", "pref64": [labs.PREF64], "pool4": [POOL],
                                       "tables": {"sessions": TABLE, "mappings": TABLE, "subscribers": 4096}}, name="bench").start()
    generator = flows6(way.inner, count)
    generator.run(64)
    time.sleep(0.1)
    generator.rewind()
    begin = time.monotonic()
    generator.run(count)
    made = sessions(instance)
    rows.add(f"sessions made, of {count} flows", made, "", None, count)
    print(f"  (in {time.monotonic() - begin:.1f} s, delivered {way.counter.packets})")
    taken = before - available()
    rows.add("memory that the machine has less, a session", taken / TABLE, "bytes", None, 325, least=False,
             note="tables of 2^21 sessions and mappings, ports, process and all")
    rows.add("the process (resident)", resident(instance.process.pid), "MB")
    return way, instance, generator, made


def steady(way, generator, what, seconds):
    """Packets of existing sessions at about 100 k/s while something happens; how many were lost, and the longest silence in ms."""
    way.counter.reset()
    sent = generator.sent
    generator.start(burst=4096, pause_s=0.04)
    longest, last, seen, end = 0.0, time.monotonic(), 0, time.monotonic() + seconds
    happened = False
    while time.monotonic() < end:
        if not happened and time.monotonic() > end - seconds * 0.7:
            what()
            happened = True
            last = time.monotonic() if way.counter.packets != seen else last
        now = way.counter.packets
        if now != seen:
            longest, last, seen = max(longest, time.monotonic() - last), time.monotonic(), now
        time.sleep(0.002)
    generator.stop()
    time.sleep(0.1)
    return generator.sent - sent - way.counter.packets, longest * 1e3


def survive(rows, way, instance, generator, made, seconds):
    quiet, silence = steady(way, generator, lambda: None, seconds)
    rows.add("nothing happens: packets lost", quiet, "", None, 0, least=False, note=f"longest silence {silence:.0f} ms")
    for name, what in (("kill -9", instance.kill), ("start again (upgrade)", instance.start), ("apply", instance.apply)):
        lost, silence = steady(way, generator, what, seconds)
        now = sessions(instance)
        rows.add(f"{name}: sessions lost", made - now, "", None, 0, least=False, note=f"of {made}")
        rows.add(f"{name}: packets lost", lost, "", None, 0, least=False, note=f"longest silence {silence:.0f} ms")
    rows.add("packets of a million sessions that made no new one", sessions(instance) - made, "", None, 0, least=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    os.environ["MESON_BUILD_ROOT"] = os.path.abspath(options.build)
    try:
        lab = Lab()
    except tap.Skip as why:
        print(f"state: skipped, {why}")
        return 0
    rows = traffic.Rows()
    with lab:
        if not has_translator(lab):
            print("state: this build has no 'prickle nat64 run'")
            return 0
        print("a million sessions")
        way, instance, generator, made = memory(lab, rows, 1000000)
        survive(rows, way, instance, generator, made, 2 if options.quick else 5)
    return rows.finish(options.json)


if __name__ == "__main__":
    sys.exit(main())
