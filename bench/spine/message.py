#!/usr/bin/env python3
"""
Messages: what a call, a batch and a post cost, and a request answered on the device against one answered by a
host process. Interleaved rounds; medians with their spread. Exit 1 when a target is missed.

usage: message.py BUILD-DIRECTORY
"""

import os
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "spine"))
from lab import Lab, tap  # noqa: E402

BUILD = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build"))
OBJECT = os.path.join(BUILD, "src/spine/message/echo.o")
TOOL = os.path.join(BUILD, "tests/spine/message_lab")
ROUNDS, QUESTIONS = 7, 2000


def compile_bench(folder):
    binary = os.path.join(folder, "message")
    subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", f"-I{ROOT}/src", f"-I{ROOT}/include", "-o", binary,
                    os.path.join(ROOT, "bench/spine/message.c"),
                    os.path.join(BUILD, "src/spine/message/libprickle-spine.a"), "-lbpf"], check=True)
    return binary


def row(name, median, low, high, target, unit="ns"):
    missed = target and median > float(target)
    print(f"{name:<46}{median:>9.1f} {unit:<3}{low:>9.1f} ..{high:>9.1f}"
          f"{'   target <= ' + target + (': MISSED' if missed else '') if target else ''}", flush=True)
    return missed


def costs(binary):
    missed = 0
    for line in subprocess.run([binary, OBJECT], check=True, capture_output=True, text=True).stdout.splitlines():
        name, median, low, high, target = line.split("\t")
        missed += bool(row(name, float(median), float(low), float(high), target))
    return missed


def trips(peer, binary, port):
    times = peer.run(binary, "ask", "10.1.0.1", port, QUESTIONS, timeout=60).split()
    return statistics.median(int(t) for t in times) / 1000


def network(binary):
    """p50 of round trips, both against the same client over the same wire."""
    with Lab() as lab:
        host, peer = lab.ns("host"), lab.ns("peer")
        device, _ = lab.veth(host, "eth0", peer, "eth0", ["10.1.0.1/24"], ["10.1.0.2/24"])
        lab.ready(device)
        tool = host.start(TOOL, "eth0", OBJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert tool.stdout.readline() == b"ready\n"
        server = host.start(binary, "serve", "10.1.0.1", 7008, stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"ready\n"
        device_us, host_us = [], []
        for _ in range(ROUNDS):
            device_us.append(trips(peer, binary, 7007))
            host_us.append(trips(peer, binary, 7008))
        tool.stdin.close()
        tool.wait(10)
    row("request answered on the device, p50", statistics.median(device_us), min(device_us), max(device_us), "", "us")
    row("request answered by a host process, p50", statistics.median(host_us), min(host_us), max(host_us), "", "us")
    ratios = [h / d for h, d in zip(host_us, device_us)]
    ratio = statistics.median(ratios)
    print(f"{'host process / device':<46}{ratio:>9.1f} x  {min(ratios):>9.1f} ..{max(ratios):>9.1f}   target >= 2.5"
          f"{': MISSED' if ratio < 2.5 else ''}", flush=True)
    return ratio < 2.5


def main():
    try:
        with Lab():
            pass
    except tap.Skip as why:
        print(f"messages: skipped, {why}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        binary = compile_bench(folder)
        missed = costs(binary)
        missed += network(binary)
    return 1 if missed else 0


sys.exit(main())
