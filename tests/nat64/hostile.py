#!/usr/bin/env python3
"""
What nobody should send: malformed packets, forgeries, loops and floods. Memory stays as it is, each drop has a counted
reason, nothing wrong comes out, and a neighbour's traffic goes on.

usage: hostile.py PRICKLE xdp|tc
"""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import flows  # noqa: E402
import programs as go  # noqa: E402
from lab import POOL4, PREF64, Instance, Line, Shared, embed, frames, tap, wait_until  # noqa: E402

PRICKLE, HOME = sys.argv[1], sys.argv[2]
NEIGHBOUR = "2001:db8:77::2"            # another subscriber, on the same cable
FOUR6 = embed(Line.FOUR)
SIX, FOUR = Line.SIX, Line.FOUR
STATIC = 7200
MAY = ()                                # may be forwarded, as a router would: the receiver judges


def make(lab, **more):
    net = Line(lab)
    if HOME == "tc":
        net.inside.napi()
        net.outside.napi()
    net.six.ip("addr", "add", NEIGHBOUR + "/64", "dev", "eth0", "nodad")
    for prefix in ("2001:db8:77::/64", "2001:db8:5::/48"):
        net.nat.ip("route", "add", prefix, "via", net.SIX)
    net.settings = {"interfaces": ["six", "four"], "attach": HOME, "mode": "nat64", "pref64": [PREF64], "pool4": [POOL4 + " 1024-65535"],
                    "static": [f"udp {POOL4}:{STATIC} [{net.SIX}]:{STATIC}"], **more}
    net.instance = Instance(lab, net.nat, net.settings).start()
    net.neighbour = Neighbour(net)
    return net


network = Shared(PRICKLE, make)


class Neighbour:
    """A conversation of another subscriber that must go on whatever happens."""

    def __init__(self, net):
        self.server, self.client, self.net = net.four.udp(net.FOUR, 6500, 1), net.six.udp(NEIGHBOUR, 41000, 1), net
        self.goes_on()

    def goes_on(self, tries=20):
        """Of `tries` questions, all are answered."""
        answered = 0
        for i in range(tries):
            text = b"%d" % i
            self.client.sendto(text, (FOUR6, 6500))
            try:
                got, peer = self.server.recvfrom(100)
                self.server.sendto(got, peer)
                answered += self.client.recv(100) == text
            except TimeoutError:
                pass
        assert answered == tries, f"the neighbour got {answered} of {tries} answers"


def six_frame(net, following, payload, src=SIX, dst=FOUR6, **more):
    return frames.eth(net.inside.mac, net.six0.mac, frames.ETH_IP6, frames.ip6(src, dst, following, payload, **more))


def four_frame(net, proto, payload, src=FOUR, dst=POOL4, **more):
    return frames.eth(net.outside.mac, net.four0.mac, frames.ETH_IP4, frames.ip4(src, dst, proto, payload, **more))


def udp6(src=SIX, dst=FOUR6, sport=40100, dport=40200, payload=b"bad"):
    return frames.udp(src, dst, sport, dport, payload)


def udp4(src=FOUR, dst=POOL4, sport=40200, dport=STATIC, payload=b"bad"):
    return frames.udp(src, dst, sport, dport, payload)


def patched(data, at, new):
    return data[:at] + new + data[at + len(new):]


def extension(following, length8=0, body=b""):
    return struct.pack("!BB", following, length8) + (b"\1\4" + body).ljust(6 + 8 * length8, b"\0")


def fragment6(following, offset, more, ident, data):
    return struct.pack("!BBHI", following, 0, offset | int(more), ident) + data


def inner_error6(net, inner, kind=1, code=4):
    """An ICMPv6 error of `six` about a packet that it got."""
    return frames.icmp6(SIX, FOUR6, kind, code, 0, inner)


def from_six(net):
    """(name, frame, reasons of which one must count; None: it only must not come out; MAY)."""
    plain = six_frame(net, frames.UDP, udp6())
    ip = 14
    yield "cut within the IPv6 header", plain[:14 + 30], None
    yield "cut within the UDP header", plain[:14 + 40 + 4], ("truncated", "bad-length")
    yield "a payload length beyond the packet", patched(plain, ip + 4, b"\xff\x00"), ("bad-length", "truncated")
    yield "a payload length shorter than UDP's header", patched(plain, ip + 4, b"\0\4"), ("bad-length", "truncated")
    yield "a UDP length beyond the packet", patched(plain, ip + 40 + 4, b"\xff\xff"), MAY
    yield "a UDP length below its header", patched(plain, ip + 40 + 4, b"\0\3"), MAY
    yield "version 5", patched(plain, ip, b"\x50"), ("bad-version", "not-ip")
    yield "version 4 in an IPv6 frame", patched(plain, ip, b"\x45"), ("bad-version", "not-ip")
    yield "an extension header longer than the packet", six_frame(net, 60, extension(17, 200)[:16]), ("truncated", "bad-length", "headers-too-long")
    chain = b"".join(extension(60) for _ in range(20)) + extension(17) + udp6()
    yield "21 extension headers", six_frame(net, 60, chain), ("headers-too-long",)
    long_chain = extension(60, 31, b"x" * 250) + extension(17, 31) + udp6()
    yield "half a kilobyte of extension headers", six_frame(net, 60, long_chain), ("headers-too-long",)
    routing = struct.pack("!BBBB", 17, 2, 0, 1) + b"\0" * 20
    yield "a routing header with segments left", six_frame(net, 43, routing + udp6()), ("routing-header",)
    yield "hop-by-hop options in the wrong place", six_frame(net, 60, extension(0) + extension(17) + udp6()), MAY
    yield "a hop limit of 1", six_frame(net, frames.UDP, udp6(), hops=1), ("hop-limit",)
    yield "a hop limit of 0", six_frame(net, frames.UDP, udp6(), hops=0), ("hop-limit",)
    forged = embed("198.51.100.7")
    yield "a source in the prefix", six_frame(net, frames.UDP, udp6(src=forged), src=forged), ("source-in-prefix",)
    for bad in ("ff02::1", "::", "::1", "fe80::1"):
        yield f"the source {bad}", six_frame(net, frames.UDP, udp6(src=bad), src=bad), None
    for bad in ("127.0.0.1", "224.0.0.5", "255.255.255.255", "0.0.0.0"):
        dst = embed(bad)
        yield f"the destination {bad}", six_frame(net, frames.UDP, udp6(dst=dst), dst=dst), ("special-address", "destination-untranslatable")
    error = inner_error6(net, frames.ip6(FOUR6, SIX, frames.ICMP6, frames.icmp6(FOUR6, SIX, 1, 4, 0, b"\x60" + b"\0" * 47)))
    yield "an ICMP error about an ICMP error", six_frame(net, frames.ICMP6, error), ("icmp-nested", "icmp-inner", "icmp-no-session")
    error = inner_error6(net, frames.ip6(FOUR6, SIX, frames.UDP, frames.udp(FOUR6, SIX, 1, 2, b"never sent")))
    yield "an ICMP error about a packet that was never sent", six_frame(net, frames.ICMP6, error), ("icmp-no-session", "no-session", "icmp-inner")
    error = inner_error6(net, b"\x60\0\0")
    yield "an ICMP error with three bytes inside", six_frame(net, frames.ICMP6, error), ("truncated", "icmp-inner", "bad-length")
    yield "an unknown ICMPv6 type", six_frame(net, frames.ICMP6, frames.icmp6(SIX, FOUR6, 200, 0)), ("icmp-unknown",)
    yield "a router advertisement", six_frame(net, frames.ICMP6, frames.icmp6(SIX, FOUR6, 134, 0)), ("icmp-unknown",)
    yield "a transport that the state does not know", six_frame(net, 99, b"x" * 20), ("protocol",)
    yield "a tiny first fragment", six_frame(net, 44, fragment6(17, 0, True, 1, b"\1\2\3\4\5\6\7\x08")[:12]), None
    yield "a fragment that is not a multiple of 8", six_frame(net, 44, fragment6(17, 0, True, 2, udp6(payload=b"x" * 19))), ("bad-fragment",)
    yield "a fragment beyond 64 kB", six_frame(net, 44, fragment6(17, 65528, False, 3, b"x" * 64)), ("bad-fragment", "fragment-unknown")
    yield "a later fragment without a first", six_frame(net, 44, fragment6(17, 800, False, 4, b"x" * 64)), None


def from_four(net):
    plain = four_frame(net, frames.UDP, udp4())
    ip = 14
    yield "cut within the IPv4 header", plain[:14 + 12], None
    yield "cut within the UDP header", plain[:14 + 20 + 4], ("truncated", "bad-length")
    yield "a header length of 4 bytes", patched(plain, ip, b"\x41"), None
    yield "a header length beyond the packet", patched(plain, ip, b"\x4f")[:14 + 40], None
    yield "a wrong header checksum", patched(plain, ip + 10, b"\xde\xad"), ("bad-checksum",)
    yield "a total length beyond the packet", _resummed(patched(plain, ip + 2, b"\x40\0")), ("bad-length", "truncated")
    yield "a total length below the header", _resummed(patched(plain, ip + 2, b"\0\x0a")), ("bad-length", "truncated")
    yield "a time to live of 1", four_frame(net, frames.UDP, udp4(), ttl=1), ("hop-limit",)
    source_route = bytes([131, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8])
    yield "an unexpired source route", four_frame(net, frames.UDP, udp4(), options=source_route), ("source-route",)
    for bad in ("127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255"):
        yield f"the source {bad}", four_frame(net, frames.UDP, udp4(src=bad), src=bad), None
    yield "the pool's own address as source", four_frame(net, frames.UDP, udp4(src=POOL4), src=POOL4), ("hairpin-loop",)
    yield "a port that nobody has", four_frame(net, frames.UDP, udp4(dport=1999)), ("no-mapping",)
    yield "a TCP packet without a session", four_frame(net, frames.TCP, frames.tcp(FOUR, POOL4, 5, 2999, flags=frames.ACK)), ("no-session", "no-mapping")
    yield "a tiny fragment", four_frame(net, frames.UDP, udp4()[:8], fragment=0x2000)[:14 + 20 + 4], None
    yield "a fragment beyond 64 kB", four_frame(net, frames.UDP, b"x" * 80, fragment=0x1fff, ident=9), ("bad-fragment", "fragment-unknown")
    error = frames.icmp(3, 3, 0, frames.ip4(POOL4, FOUR, frames.ICMP, frames.icmp(3, 1, 0, b"\x45" + b"\0" * 27)))
    yield "an ICMP error about an ICMP error", four_frame(net, frames.ICMP, error), ("icmp-nested", "icmp-inner", "icmp-no-session")
    error = frames.icmp(3, 3, 0, frames.ip4(POOL4, FOUR, frames.UDP, frames.udp(POOL4, FOUR, 1099, 2, b"")))
    yield "an ICMP error about a packet that was never sent", four_frame(net, frames.ICMP, error), ("icmp-no-session", "no-session")
    yield "an unknown ICMP type", four_frame(net, frames.ICMP, frames.icmp(13, 0)), None


def _resummed(frame):
    head = frame[14:24] + b"\0\0" + frame[26:34]
    return frame[:24] + struct.pack("!H", frames.checksum(head)) + frame[26:]


def _throw(net, rows, sender, receiver, version):
    """Send each, with a good packet behind it that tells when its turn was; nothing but that may come out."""
    raw, seen, wrong = sender.raw(), receiver.raw(), []
    for name, frame, reasons in rows:
        before = net.instance.reasons()
        seen.drain()
        raw.send(frame)
        net.neighbour.goes_on(1)
        out = seen.collect(lambda f: f.version == version and f.dport not in (6500, 41000) and f.type not in (133, 134, 135, 136, 143), quiet=0.02)
        if out and reasons != MAY:
            wrong.append(f"{name}: came out as {out}")
        if not reasons:
            continue
        after = net.instance.reasons()
        moved = {key for key in after if after[key] > before.get(key, 0)} - {"none", "not-ours"}
        if not moved & set(reasons):
            wrong.append(f"{name}: counted as {sorted(moved) or 'nothing'}, not {' or '.join(reasons)}")
    raw.close()
    seen.close()
    assert not wrong, "\n".join(wrong)


def malformed_packets_from_inside_are_dropped_and_counted():
    net = network()
    _throw(net, from_six(net), net.six0, net.four0, 4)
    net.neighbour.goes_on()


def malformed_packets_from_outside_are_dropped_and_counted():
    net = network()
    _throw(net, from_four(net), net.four0, net.six0, 6)
    net.neighbour.goes_on()


def overlapping_fragments_never_arrive():
    """RFC 5722: the whole datagram goes"""
    net = network()
    target = net.four.udp(net.FOUR, 40300, 0.7)
    raw = net.six0.raw()
    whole = frames.udp(SIX, FOUR6, 40301, 40300, bytes(range(256)) * 8)
    for ident, second in ((71, 992), (72, 1000)):
        raw.send(six_frame(net, 44, fragment6(17, second, False, ident, whole[second:])),
                 six_frame(net, 44, fragment6(17, 0, True, ident, whole[:1000])))
        try:
            got = target.recv(4096)
            assert second == 1000 and got == whole[8:], f"overlapping fragments arrived as {len(got)} bytes"
        except TimeoutError:
            assert second == 992, "a datagram in two fragments, the second first, did not arrive"
    net.neighbour.goes_on()


def fragments_without_end_stay_within_their_limit():
    net = network()
    raw = net.four0.raw()
    for ident in range(3000):
        raw.send(four_frame(net, frames.UDP, udp4(payload=b"x" * 800), fragment=0x2000, ident=ident))
    net.neighbour.goes_on()
    raw.close()


def a_packet_cannot_go_round():
    """A source that is the translator's own mapping, seen from outside, is not sent back in"""
    net = network()
    raw, seen = net.six0.raw(), net.six0.raw()
    me = embed(POOL4)
    raw.send(six_frame(net, frames.UDP, udp6(src=me, dst=me, sport=STATIC, dport=STATIC), src=me, dst=me))
    assert seen.receive(lambda f: f.version == 6 and f.dport == STATIC, timeout=0.5) is None
    net.neighbour.goes_on()


def _memory():
    with open("/proc/meminfo", encoding="ascii") as f:
        rows = dict(line.split(":") for line in f)
    return int(rows["MemAvailable"].split()[0]) // 1024


def one_subscriber_cannot_take_what_is_others():
    """A flood of new flows from one source, with limits per subscriber"""
    net = network(subscribers={"ports": 200, "sessions": 300})
    flood = net.lab.keep(flows.flows6(net.six0, 0))
    flood.counter.set(0, 0)
    flood.run(1024)                     # all of subscriber 2001:db8:5:0::/64
    counted = net.instance.reason("subscriber-ports") + net.instance.reason("subscriber-sessions")
    assert counted >= 1024 - 300, net.instance.reasons()
    net.neighbour.goes_on()
    fresh = net.six.udp(NEIGHBOUR, 41100, 1)
    answer = net.four.udp(net.FOUR, 6501, 1)
    fresh.sendto(b"new", (FOUR6, 6501))
    assert answer.recv(10) == b"new", "the neighbour gets no new session"


def a_subscriber_that_is_too_fast_is_slowed_down():
    net = network(subscribers={"rate": 50, "burst": 50})
    flood = net.lab.keep(flows.flows6(net.six0, 0))
    flood.run(1024)
    assert net.instance.reason("subscriber-rate") >= 800, net.instance.reasons()
    net.neighbour.goes_on()


def all_ports_taken_is_a_reason_and_not_an_end():
    net = network(pool4=[POOL4 + " 1024-1535"], static=[])
    flood = net.lab.keep(flows.flows6(net.six0, 0))
    flood.run(2048)
    assert net.instance.reason("ports-exhausted") >= 1000, net.instance.reasons()
    net.neighbour.goes_on()


FULL = ("sessions-full", "mappings-full", "subscribers-full", "ports-exhausted")


def flood_until_refused(net, flood, packets, refused):
    """A machine that is slow at this moment loses most of a flood before it gets here, so it is repeated."""
    for _ in range(16):
        flood.run(packets)
        reasons = net.instance.reasons()
        if sum(reasons.get(name, 0) for name in FULL) >= refused:
            return
    raise AssertionError(reasons)


def a_million_sources_fill_tables_of_fixed_size():
    sizes = {"sessions": 20000, "mappings": 20000, "subscribers": 512}
    net = network(pool4=["192.0.2.0/26"], static=[], tables=sizes)
    before = _memory()
    flood = net.lab.keep(flows.flows6(net.six0, 0))
    flood_until_refused(net, flood, 1 << 20, 200000)
    assert before - _memory() < 200, f"{before - _memory()} MB less memory"
    net.neighbour.goes_on()


def a_flood_of_syns_from_outside_is_bounded():
    net = network(timers={"tcp-incoming-syn": "6 s"})
    flood = net.lab.keep(flows.flows4(net.four0, 0, dst=POOL4, dport=2222, tcp=True))
    begin, before = time.monotonic(), _memory()
    flood.run(1 << 19)
    assert before - _memory() < 200, f"{before - _memory()} MB less memory after {time.monotonic() - begin:.1f} s"
    net.neighbour.goes_on()
    wait_until(lambda: go.ping(net.six, FOUR6, count=1) == 1, 30, "a new session after the flood")


def a_flood_of_syns_from_inside_is_bounded():
    net = network(tables={"sessions": 20000, "mappings": 20000, "subscribers": 512}, pool4=["192.0.2.0/26"], static=[])
    flood = net.lab.keep(flows.flows6(net.six0, 0, tcp=True))
    flood_until_refused(net, flood, 1 << 18, 1)
    net.neighbour.goes_on()


def floods_are_over_for_the_slow_path_too():
    """Packets that only the slow path can finish, as fast as they come: the fast path goes on"""
    net = network()
    frame = four_frame(net, frames.UDP, udp4(payload=b"x" * 1400), fragment=0)
    frame = _resummed(patched(frame, 14 + 6, b"\0\0"))
    flood = net.lab.generator(net.four0, frame)
    flood.start(burst=4096)
    try:
        net.neighbour.goes_on()
    finally:
        flood.stop()


try:
    tap.run([malformed_packets_from_inside_are_dropped_and_counted, malformed_packets_from_outside_are_dropped_and_counted,
             overlapping_fragments_never_arrive, fragments_without_end_stay_within_their_limit, a_packet_cannot_go_round,
             floods_are_over_for_the_slow_path_too, one_subscriber_cannot_take_what_is_others,
             a_subscriber_that_is_too_fast_is_slowed_down, all_ports_taken_is_a_reason_and_not_an_end,
             a_million_sources_fill_tables_of_fixed_size, a_flood_of_syns_from_outside_is_bounded,
             a_flood_of_syns_from_inside_is_bounded])
finally:
    network.close()
