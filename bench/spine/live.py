#!/usr/bin/env python3
"""What extensions cost a packet on live traffic: frames of a generator go over veth to an interface with extensions,
are redirected to a second interface and end in a counter. All of it runs in one thread, whose processor time is what
is measured: other work on the machine disturbs caches, but is not counted.

The extensions are put in place by `prickle spine adopt`, so what is measured is the dispatcher as users get it: match
rules, verdict mask, counters, breaker, sampled time. Each figure is compared with the same program running alone on an
interface ("plain redirect"). Rounds of all variants are interleaved and short; a round's value is the best of its
tries, and the table shows the median of the rounds' ratios with the 10th and 90th percentile.

usage: bench/spine/live.py [--quick] [--rounds N] [--packets N] [--build DIRECTORY] [--json FILE]
Exit 1 when a target is missed.
"""
import argparse
import json
import os
import statistics
import struct
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
sys.path.insert(0, os.path.join(ROOT, "tests/spine"))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
import lab as labs  # noqa: E402
import tap  # noqa: E402

PORT = 9000
TRIES = 3
REDIRECT_MAP = 51
DEVMAP = 14

# name, extensions, terminal, all of them match (else the last one alone), target as a ratio to a plain redirect
VARIANTS = [
    ("1 terminal", 1, True, False, None),
    ("8 terminal", 8, True, False, 1.02),
    ("64 terminal", 64, True, False, None),
    ("1 in a slot", 1, False, False, None),
    ("8 in slots", 8, False, False, 1.07),
    ("64 in slots", 64, False, False, None),
    ("8 in slots, all match", 8, False, True, None),
    ("32 in slots, all match", 32, False, True, None),
]
GROWTH = [("64 terminal", "1 terminal"), ("64 in slots", "1 in a slot")]
GROWTH_NS = 10.0


class Way:
    """One variant: an interface of its own, and its generator."""

    def __init__(self, lab, number, gen, dut):
        self.inner, self.outer = lab.veth(gen, f"g{number}", dut, f"d{number}")
        self.samples, self.generator, self.delivers = [], None, True

    def measure(self, packets):
        best = None
        for _ in range(TRIES):
            begin = time.thread_time_ns()
            self.generator.run(packets)
            took = (time.thread_time_ns() - begin) / packets
            best = took if best is None else min(best, took)
        self.samples.append(best)


def redirecting(ports):
    map_fd = kb.insn(0x18, 1, 1, 0, ports.fd) + kb.insn(0)
    return kb.load_program(map_fd + kb.mov(2, 0) + kb.mov(3, 0) + kb.call(REDIRECT_MAP) + kb.EXIT, name="redirecting")


def passing():
    return kb.load_program(kb.mov(0, kb.XDP_PASS) + kb.EXIT, name="passing")


def adopt(lab, dut, way, ports, count, terminal, all_match):
    """`count` programs on one interface; the last one is wanted by the generator's frames and redirects them."""
    place = os.path.join(lab.pins(), way.outer.name)
    for i in range(count):
        redirects = i == count - 1 or not all_match
        fd = redirecting(ports) if redirects else passing()
        port = PORT if all_match else PORT - (count - 1 - i)
        kb.pin(fd, f"{place}-{i}")
        os.close(fd)
        more = (["--terminal"] if terminal else []) + (["--redirect"] if redirects else [])
        lab.prickle(None, "spine", "adopt", "--pinned", f"{place}-{i}", "--netns", dut.name, "--dev", way.outer.name,
                    "--match", f"udp dst port {port}", "--name", f"x{i}", "--order", i + 1, *more)


def prepare(lab, variants):
    gen, dut, sink = lab.ns("gen"), lab.ns("dut"), lab.ns("sink")
    out, end = lab.veth(dut, "out", sink, "end")
    counter = lab.sink(end)
    ports = lab.keep(kb.Map.create(DEVMAP, 4, 4, 1))
    with dut.entered():
        ports.set(0, struct.pack("=I", out.ifindex))
    ways = {}

    def way(name):
        ways[name] = Way(lab, len(ways), gen, dut)
        return ways[name]

    drop = way("drop")
    drop.delivers = False
    lab.attach(drop.outer, kb.load_program(kb.mov(0, kb.XDP_DROP) + kb.EXIT, name="dropping"))
    lab.attach(way("plain redirect").outer, redirecting(ports))
    for name, count, terminal, all_match, _ in variants:
        print(f"setting up: {name}          ", end="\r", file=sys.stderr, flush=True)
        adopt(lab, dut, way(name), ports, count, terminal, all_match)
    for name, w in ways.items():
        frame = frames.udp_frame(w.outer.mac, w.inner.mac, "10.0.0.1", "10.0.0.2", 1000, PORT, b"x" * 18)
        w.generator = lab.generator(w.inner, frame)
        before = counter.packets
        w.generator.run(1024)
        got, want = counter.packets - before, 1024 if w.delivers else 0
        assert got == want, f"{name}: {got} of {want} frames arrived"
    return ways, counter


def measure(ways, counter, rounds, packets):
    """Frames that got lost on the way."""
    sent, before = 0, counter.packets
    for i in range(rounds):
        for w in ways.values():
            w.measure(packets)
            sent += packets * TRIES if w.delivers else 0
        print(f"round {i + 1} of {rounds}          ", end="\r", file=sys.stderr, flush=True)
    return sent - (counter.packets - before)


def spread(values):
    ordered = sorted(values)
    return statistics.median(ordered), ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]


def report(ways, lost):
    base, targets, rows = ways["plain redirect"].samples, {row[0]: row[4] for row in VARIANTS}, []
    print(f"{'live: ns a packet, median of rounds':36s} {'ns':>7s} {'more':>7s} {'ratio':>7s}  10%..90%")
    for name, w in ways.items():
        ratio, low, high = spread([a / b for a, b in zip(w.samples, base)])
        more = statistics.median([a - b for a, b in zip(w.samples, base)])
        target = targets.get(name)
        said = "" if target is None else f"   target <= {target:.2f}: {'met' if ratio <= target else 'MISSED'}"
        print(f"{name:36s} {statistics.median(w.samples):7.1f} {more:+7.1f} {ratio:7.3f}  {low:.3f}..{high:.3f}{said}")
        rows.append({"name": name, "ns": statistics.median(w.samples), "best_ns": min(w.samples), "more_ns": more,
                     "ratio": ratio, "p10": low, "p90": high, "target": target,
                     "met": target is None or ratio <= target})
    for many, few in GROWTH:
        if many not in ways:
            continue
        median, low, high = spread([a - b for a, b in zip(ways[many].samples, ways[few].samples)])
        met = median <= GROWTH_NS
        print(f"{many + ' over ' + few:36s} {'':7s} {median:+7.1f}          {low:+.1f}..{high:+.1f} ns"
              f"   target <= {GROWTH_NS:.0f}: {'met' if met else 'MISSED'}")
        rows.append({"name": f"{many} over {few}", "ns": median, "p10": low, "p90": high, "target": GROWTH_NS, "met": met})
    print(f"{'frames lost':36s} {lost:7d}")
    rows.append({"name": "frames lost", "count": lost, "met": lost == 0})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--packets", type=int, default=32768, help="in each try; a round has %d" % TRIES)
    parser.add_argument("--quick", action="store_true", help="without 64 extensions, which take long to put in place")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    os.environ["MESON_BUILD_ROOT"] = os.path.abspath(options.build)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        lab = labs.Lab()
    except tap.Skip as why:
        print(f"live: skipped, {why}")
        return 0
    with lab:
        ways, counter = prepare(lab, [v for v in VARIANTS if not options.quick or v[1] < 64])
        load = os.getloadavg()[0]
        lost = measure(ways, counter, options.rounds, options.packets)
    print(f"{options.rounds} rounds of {TRIES} x {options.packets} frames a variant; load of the machine "
          f"{load:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} processors")
    rows = report(ways, lost)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"rows": rows}, f, indent=2)
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
