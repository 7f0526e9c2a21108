#!/usr/bin/env python3
"""The lab itself: what the tests of SPINE stand on does what it says. Prints TAP."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
from lab import Lab, tap  # noqa: E402


def pair(lab):
    return lab.veth(lab.ns("a"), "eth0", lab.ns("b"), "eth0", ["10.1.0.1/24", "fd01::1/64"], ["10.1.0.2/24", "fd01::2/64"])


def frames_are_right():
    """built frames have right checksums, and the parser sees a wrong one"""
    m = "02:00:00:00:00:01"
    for src, dst in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
        for frame in (frames.udp_frame(m, m, src, dst, 1, 2, b"abc", vlan=[5, 7]),
                      frames.tcp_frame(m, m, src, dst, 1, 2, b"abc", flags=frames.ACK)):
            parsed = frames.Frame(frame)
            assert parsed.sums_right and parsed.payload == b"abc" and parsed.dport == 2, parsed
            broken = frames.Frame(frame[:-1] + b"x")
            assert not broken.sums_right


def traffic_and_raw_frames():
    """namespaces reach each other, and raw frames go both ways, with their tags"""
    with Lab() as lab:
        a, b = pair(lab)
        a.ns.run("ping", "-c1", "-W10", "10.1.0.2")
        a.ns.run("ping", "-6", "-c1", "-W10", "fd01::2")
        receiver, at = b.ns.udp("10.1.0.2", 7777), a.raw()
        at.send(frames.udp_frame(b.mac, a.mac, "10.1.0.1", "10.1.0.2", 5, 7777, b"hello"))
        assert receiver.recv(100) == b"hello"
        tapped = b.raw()
        at.send(frames.udp_frame(b.mac, a.mac, "10.1.0.1", "10.1.0.2", 5, 7778, b"tagged", vlan=42))
        got = tapped.receive(lambda f: f.dport == 7778)
        assert got and got.vlan == [42] and got.payload == b"tagged", got


def generated_load_arrives():
    """the generator's frames arrive, each once and with its number"""
    with Lab() as lab:
        a, b = pair(lab)
        frame = frames.udp_frame(b.mac, a.mac, "10.1.0.1", "10.1.0.2", 5, 9, b"\0" * 22, summed=False)
        sink = lab.sink(b, [(12, b"\x08\x00"), (36, b"\x00\x09")])
        source = lab.generator(a, frame, sequence=42)
        source.run(100000)
        assert sink.packets == 100000 and sink.bytes == 100000 * len(frame), (sink.packets, sink.bytes)
        lab.detach(b)
        lab.ready(a)
        raw = b.raw()
        source.run(64)
        numbers = [int.from_bytes(f.payload[:4], "big") for f in raw.collect(lambda f: f.dport == 9, 64)]
        assert numbers == list(range(100000, 100064)), numbers


def redirect_needs_a_ready_peer():
    """a frame that is redirected arrives when the peer is ready"""
    with Lab() as lab:
        a, b = pair(lab)
        c, d = lab.veth(b.ns, "eth1", lab.ns("c"), "eth0")
        program = kb.load_program(kb.mov(1, c.ifindex) + kb.mov(2, 0) + kb.call(23) + kb.EXIT)
        lab.attach(b, program)
        lab.ready(c)
        raw = d.raw()
        a.raw().send(frames.udp_frame(b.mac, a.mac, "10.1.0.1", "10.9.0.2", 5, 9, b"through"))
        assert raw.receive(lambda f: f.payload == b"through")
        os.close(program)


def nothing_stays():
    """a lab that a test leaves by an exception leaves nothing behind"""
    try:
        with Lab() as lab:
            pair(lab)
            sleeper = lab.ns("a").start("sleep", "100")
            tag = lab.tag
            raise RuntimeError
    except RuntimeError:
        pass
    assert sleeper.poll() is not None
    assert tag not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    tap.run([frames_are_right, traffic_and_raw_frames, generated_load_arrives, redirect_needs_a_ready_peer, nothing_stays])
