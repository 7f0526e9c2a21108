#!/usr/bin/env python3
"""What extensions cost a packet, on live traffic: frames of a generator go over veth through an interface
with extensions, are redirected to a second interface and end in a counter. All of it runs in one thread,
whose processor time is what is measured, so that other work on the machine does not count.

Every figure is a ratio to the same program running alone on the interface ("plain redirect"). Rounds of all
variants are interleaved; the ratio is the median of the rounds' ratios, with the 10th and 90th percentile.

  bench/spine/live.py [--rounds N] [--packets N] [--json FILE]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
sys.path.insert(0, os.path.join(ROOT, "tests/spine"))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
import lab as labs  # noqa: E402

PORT = 9000
SOURCE = """
#include <prickle/spine.h>

SPINE_EXTENSION(.name = "%(name)s", .version = "1", .match = "%(match)s", .order = %(order)d,
		.verdicts = SPINE_PASS | SPINE_DROP | SPINE_REDIRECT%(more)s);
%(ports)s
SEC("xdp")
int bench(struct xdp_md *ctx)
{
	return %(verdict)s;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
"""

# name, number of extensions, terminal, chained (all match) or disjoint; what the target says
VARIANTS = [
    ("1 extension, terminal", 1, True, False, None),
    ("8 disjoint, terminal", 8, True, False, 1.02),
    ("1 extension, slot", 1, False, False, None),
    ("8 disjoint, slots", 8, False, False, 1.07),
    ("64 disjoint, slots", 64, False, False, None),
    ("chain of 8 slots", 8, False, True, None),
]


def source(folder, name, match, order, verdict, terminal, ifindex):
    redirect = verdict == "redirect"
    path = os.path.join(folder, name + ".bpf.c")
    with open(path, "w", encoding="utf-8") as f:
        f.write(SOURCE % {
            "name": name, "match": match, "order": order,
            "more": ", .flags = SPINE_TERMINAL" if terminal else "",
            "ports": "SPINE_PORTS;" if redirect else "",
            "verdict": f"spine_redirect({ifindex})" if redirect else "XDP_PASS"})
    return path


def build(lab, path):
    done = subprocess.run([os.path.join(lab.build, "prickle"), "spine", "build", path], capture_output=True, text=True,
                          cwd=os.path.dirname(path), check=False)
    out = path.replace(".bpf.c", ".o")
    if done.returncode != 0 or not os.path.exists(out):
        out = path.replace(".bpf.c", ".bpf.o")
    assert os.path.exists(out), done.stdout + done.stderr
    return out


class Way:
    """One variant: an interface of its own, and its generator."""

    def __init__(self, lab, number, gen, dut):
        self.inner, self.outer = lab.veth(gen, f"g{number}", dut, f"d{number}")
        self.samples = []

    def measure(self, generator, packets):
        begin = time.thread_time_ns()
        generator.run(packets)
        self.samples.append((time.thread_time_ns() - begin) / packets)


def install(lab, folder, way, dut, out, count, terminal, chained):
    grants = os.path.join(folder, way.outer.name + ".yaml")
    with open(grants, "w", encoding="utf-8") as f:
        f.write(f"extensions:\n  \"*\":\n    verdicts: [pass, drop, redirect]\n    ports: [{out.name}]\n    terminal: true\n")
    last = count - 1 if chained else count // 2
    for i in range(count):
        match = f"udp dst port {PORT}" if chained else f"udp dst port {PORT + i - last}"
        path = source(folder, f"x{way.outer.name}-{i}", match, 1000 + i,
                      "redirect" if i == last or not chained else "pass", terminal, out.ifindex)
        lab.prickle(dut, "spine", "install", build(lab, path), "--dev", way.outer.name, "--grants", grants)


def spread(ratios):
    ordered = sorted(ratios)
    return statistics.median(ordered), ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]


def run(lab, folder, rounds, packets):
    gen, dut, sink = lab.ns("gen"), lab.ns("dut"), lab.ns("sink")
    out, end = lab.veth(dut, "out", sink, "end")
    counter = lab.sink(end)
    ways = {}

    def way(name):
        ways[name] = Way(lab, len(ways), gen, dut)
        return ways[name]

    plain = way("plain redirect")
    alone = build(lab, source(folder, "alone", f"udp dst port {PORT}", 1000, "redirect", False, out.ifindex))
    loaded = lab.load(alone)
    with dut.entered():
        loaded.map("spine_ports").set(out.ifindex, kb.struct.pack("=II", out.ifindex, 0))
    lab.attach(plain.outer, loaded.fd)
    lab.attach(way("drop instead").outer, kb.load_program(kb.mov(0, kb.XDP_DROP) + kb.EXIT, name="drop"))
    for name, count, terminal, chained, _ in VARIANTS:
        install(lab, folder, way(name), dut, out, count, terminal, chained)
        print(f"\r{name} is set up          ", end="", file=sys.stderr, flush=True)
    generators = {}
    for name, w in ways.items():
        frame = frames.udp_frame(w.outer.mac, w.inner.mac, "10.0.0.1", "10.0.0.2", 1000, PORT, b"x" * 18)
        generators[name] = lab.generator(w.inner, frame)
        before = counter.packets
        generators[name].run(1000)
        got = counter.packets - before
        assert got == (0 if name == "drop instead" else 1000), f"{name}: {got} of 1000 frames arrived"
    sent = 0
    before = counter.packets
    for i in range(rounds):
        for name, w in ways.items():
            w.measure(generators[name], packets)
            sent += 0 if name == "drop instead" else packets
        print(f"\rround {i + 1} of {rounds}          ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    lost = sent - (counter.packets - before)
    return ways, lost


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--packets", type=int, default=200000, help="in each round of each variant")
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    with labs.Lab() as lab, tempfile.TemporaryDirectory() as folder:
        ways, lost = run(lab, folder, options.rounds, options.packets)
    base = ways["plain redirect"].samples
    targets = {name: target for name, _, _, _, target in VARIANTS}
    rows = []
    print(f"{'':26s} {'ns/packet':>10s} {'more':>7s} {'ratio':>7s}  {'10%..90%':15s} target")
    for name, w in ways.items():
        ratio, low, high = spread([a / b for a, b in zip(w.samples, base)])
        more = statistics.median([a - b for a, b in zip(w.samples, base)])
        target = targets.get(name)
        verdict = "" if target is None else f"<= {target:.2f} " + ("met" if ratio <= target else "MISSED")
        print(f"{name:26s} {statistics.median(w.samples):10.1f} {more:+7.1f} {ratio:7.3f}  {low:.3f}..{high:.3f}   {verdict}")
        rows.append({"name": name, "ns": statistics.median(w.samples), "more_ns": more, "ratio": ratio, "p10": low,
                     "p90": high, "target": target})
    growth = statistics.median([a - b for a, b in zip(ways["64 disjoint, slots"].samples, ways["1 extension, slot"].samples)])
    print(f"\n64 extensions instead of 1: {growth:+.1f} ns/packet (target <= 10: {'met' if growth <= 10 else 'MISSED'})")
    print(f"packets that did not arrive: {lost}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump({"rows": rows, "growth_ns": growth, "lost": lost}, f, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
