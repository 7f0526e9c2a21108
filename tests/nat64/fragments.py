#!/usr/bin/env python3
"""Datagrams larger than links, through the slow path of a running translator: UDP and echoes, both ways, stateless and stateful."""
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import POOL4, DataCentre, Lab, Line, embed, tap  # noqa: E402

PRICKLE = sys.argv[1] if len(sys.argv) > 1 else None
SIZES = (1, 1232, 1233, 1300, 1460, 1473, 3000, 8000, 20000)


def echo_server(lab, ns, address, family, port=7):
    """Answers each datagram with itself."""
    s = lab.keep(ns.socket(family, socket.SOCK_DGRAM))
    s.bind((address, port))

    def serve():
        while True:
            try:
                data, peer = s.recvfrom(65535)
                s.sendto(data, peer)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()


def exchange(s, address, size, port=7):
    """Send so many bytes until they come back, which must happen at once but for a lost one."""
    data = os.urandom(size)
    for _ in range(3):
        s.sendto(data, (address, port))
        try:
            while True:
                got = s.recv(65535)
                if got == data:
                    return True
        except TimeoutError:
            pass
    return False


def udp(lab, ns, family, address, sizes=SIZES, df=True):
    with ns.entered():
        s = lab.keep(socket.socket(family, socket.SOCK_DGRAM))
    s.settimeout(2)
    if family == socket.AF_INET and not df:
        s.setsockopt(socket.IPPROTO_IP, 10, 0)          # IP_MTU_DISCOVER, IP_PMTUDISC_DONT: DF is clear
    for size in sizes:
        assert exchange(s, address, size), f"{size} bytes to {address} did not come back"


def pings(ns, address, size, count=3):
    said = ns.run("ping", "-c", str(count), "-i0.05", "-W10", "-s", str(size), address)
    assert f"{count} received" in said, said


def rfc7915_4_1_udp_of_any_size_crosses_a_stateless_translator(attach):
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=attach == "tc")
        net.siit(attach).start()
        echo_server(lab, net.six, net.SIX, socket.AF_INET6)
        echo_server(lab, net.four, net.FOUR, socket.AF_INET)
        udp(lab, net.six, socket.AF_INET6, embed(net.FOUR))
        udp(lab, net.four, socket.AF_INET, net.SERVICE, df=False)


def rfc7915_1_2_large_echoes_cross_a_stateless_translator(attach):
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=attach == "tc")
        net.siit(attach).start()
        for size in (56, 1400, 3000, 20000):
            pings(net.six, embed(net.FOUR), size)
            pings(net.four, net.SERVICE, size)


def rfc6146_3_4_udp_of_any_size_crosses_a_stateful_translator(attach):
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=attach == "tc")
        net.nat64(attach).start()
        echo_server(lab, net.four, net.FOUR, socket.AF_INET)
        udp(lab, net.six, socket.AF_INET6, embed(net.FOUR))


def rfc6146_3_4_large_echoes_cross_a_stateful_translator(attach):
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=attach == "tc")
        instance = net.nat64(attach).start()
        for size in (56, 1400, 3000, 20000):
            pings(net.six, embed(net.FOUR), size)
        assert instance.reason("fragmented-icmp") > 0, instance.reasons()


def rfc6146_3_4_fragments_in_the_wrong_order_arrive(attach):
    """The last fragment first: by hand, since no host sends so."""
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=attach == "tc")
        instance = net.nat64(attach).start()
        s = lab.keep(net.four.socket(socket.AF_INET, socket.SOCK_DGRAM))
        s.bind((net.FOUR, 9))
        s.settimeout(3)
        raw = lab.keep(net.six.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW))
        data = os.urandom(2000)
        src, dst = (socket.inet_pton(socket.AF_INET6, a) for a in (net.SIX, embed(net.FOUR)))
        udp_head = b"\x13\x88\0\x09" + (8 + len(data)).to_bytes(2, "big")
        upper = udp_head + b"\0\0" + data
        total = sum(int.from_bytes((src + dst + b"\0\0\0\x11" + upper[4:6] + upper)[i:i + 2], "big")
                    for i in range(0, 32 + 6 + len(upper), 2))
        total = (total & 0xffff) + (total >> 16)
        total = ~((total & 0xffff) + (total >> 16)) & 0xffff
        upper = udp_head + (total or 0xffff).to_bytes(2, "big") + data
        for round_, order in enumerate(((0, 1), (1, 0), (1, 0))):
            for part in order:
                piece = upper[:1200] if part == 0 else upper[1200:]
                fragment = b"\x11\0" + (part * 1200 | (1 - part)).to_bytes(2, "big") + (77 + round_).to_bytes(4, "big")
                head = b"\x60\0\0\0" + (8 + len(piece)).to_bytes(2, "big") + b"\x2c\x40" + src + dst
                raw.sendto(head + fragment + piece, (embed(net.FOUR), 0))
            assert s.recv(4000) == data, f"round {round_}"
        assert instance.process.poll() is None


def of(case, attach):
    def run():
        case(attach)
    run.__doc__ = run.__name__ = f"{case.__name__} ({attach})"
    return run


CASES = [rfc7915_4_1_udp_of_any_size_crosses_a_stateless_translator, rfc7915_1_2_large_echoes_cross_a_stateless_translator,
         rfc6146_3_4_udp_of_any_size_crosses_a_stateful_translator, rfc6146_3_4_large_echoes_cross_a_stateful_translator,
         rfc6146_3_4_fragments_in_the_wrong_order_arrive]
tap.run([of(case, attach) for case in CASES for attach in ("xdp", "tc")])
