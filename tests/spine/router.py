#!/usr/bin/env python3
"""
The router extension against the kernel's own forwarding, with real traffic.

usage: router.py PRICKLE

	left 10.1.0.2 --- 10.1.0.1 router 10.2.0.1 --- 10.2.0.2 right		(and fd01::/64, fd02::/64)
	                  10.3.0.1 router          --- 10.3.0.2 other: a port that is not allowed
"""

import os
import re
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
from lab import Lab, tap, wait_until  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
ADDRESS = {4: ("10.1.0.2", "10.2.0.2", "10.3.0.2"), 6: ("fd01::2", "fd02::2", "fd03::2")}
GATE = {4: ("10.1.0.1", "10.2.0.1"), 6: ("fd01::1", "fd02::1")}
LIVE = "forwarded4", "forwarded6"


class Network:
    """The three hosts and the router between them; allowed: left and right."""

    def __init__(self, lab, extension=True, mtu_right=1500):
        self.lab = lab
        self.router = lab.ns("router")
        self.router.forwarding()
        self.hosts, self.ports = [], []
        for number, name in enumerate(("left", "right", "other"), 1):
            net4, net6 = f"10.{number}.0.", f"fd0{number}::"
            port, host = lab.veth(self.router, name, lab.ns(name), "eth0", [net4 + "1/24", net6 + "1/64"],
                                  [net4 + "2/24", net6 + "2/64"])
            host.ns.ip("route", "add", "default", "via", net4 + "1")
            host.ns.ip("-6", "route", "add", "default", "via", net6 + "1")
            self.ports.append(port)
            self.hosts.append(host)
        if mtu_right != 1500:
            self.router.ip("link", "set", "right", "mtu", mtu_right)
        lab.ready(*self.ports)
        self.extensions = []
        if extension:
            self.install()

    def install(self):
        path = self.lab.extension("router")
        self.extensions = [self.lab.install(port, path, ports=self.ports[:2], uses=["helper fib_lookup"]) for port in self.ports[:2]]

    def count(self, *names, port=None):
        """Sum of counters of the ports' routers."""
        chosen = self.extensions if port is None else [self.extensions[port]]
        return sum(e.counters()[name] for e in chosen for name in names)

    def learn(self, *versions):
        """Neighbours are resolved and ports' addresses known."""
        for version in versions:
            wait_until(lambda v=version: self.hosts[0].ns.done("ping", f"-{v}", "-c1", "-W1", ADDRESS[v][1]).returncode == 0,
                       what="ping through the router")
            for _ in range(3):
                self.hosts[0].ns.run("ping", f"-{version}", "-c1", "-W10", ADDRESS[version][1])


def ping_both_families():
    """pings of both families go through, by the extension"""
    with Lab(PRICKLE) as lab:
        net = Network(lab)
        for version in (4, 6):
            net.learn(version)
            before = net.count(*LIVE)
            out = net.hosts[0].ns.run("ping", f"-{version}", "-c5", "-i0.01", "-W10", ADDRESS[version][1])
            assert "5 received" in out and "ttl=63" in out, out
            assert net.count(*LIVE) - before == 10, net.extensions[0].counters()


def tcp_through():
    """a TCP stream of 20 MB arrives intact through the extension, in both families"""
    with Lab(PRICKLE) as lab:
        net = Network(lab)
        block = bytes(range(256)) * 256
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            net.learn(version)
            before = net.count(*LIVE)
            listener = net.hosts[1].ns.socket(family, socket.SOCK_STREAM)
            listener.bind((ADDRESS[version][1], 8000))
            listener.listen()
            got = []

            def serve():
                peer, _ = listener.accept()
                while data := peer.recv(1 << 16):
                    got.append(data)
                peer.close()
            thread = threading.Thread(target=serve)
            thread.start()
            client = net.hosts[0].ns.socket(family, socket.SOCK_STREAM)
            client.settimeout(10)
            client.connect((ADDRESS[version][1], 8000))
            for _ in range(320):
                client.sendall(block)
            client.close()
            thread.join(10)
            assert b"".join(got) == block * 320
            assert net.count(*LIVE) - before > 10000, net.extensions[0].counters()


def probes(net):
    """Frames from the left whose copies on the right must not depend on who forwards: (what, frame)."""
    here, gate = net.hosts[0].mac, net.ports[0].mac
    list_ = []
    for version, kind in ((4, frames.ETH_IP4), (6, frames.ETH_IP6)):
        src, dst = ADDRESS[version][0], ADDRESS[version][1]
        ip = frames.ip4 if version == 4 else frames.ip6
        for ttl in (2, 3, 64, 128, 255):
            list_.append((f"udp ttl {ttl}", frames.udp_frame(gate, here, src, dst, 1000, 2000, b"x" * 40 + bytes([ttl]), ttl=ttl)))
        list_.append(("tcp", frames.tcp_frame(gate, here, src, dst, 1000, 2000, b"seg", flags=frames.ACK, seq=7)))
        for tos in (0x04, 0x2e << 2, 0xff):
            more = {"tos": tos} if version == 4 else {"traffic_class": tos, "flow": 0xabcde}
            list_.append((f"tos {tos}", frames.eth(gate, here, kind, ip(src, dst, 17, frames.udp(src, dst, 5, 6, b"t" * 30), **more))))
        list_.append(("protocol 253", frames.eth(gate, here, kind, ip(src, dst, 253, b"p" * 50))))
        list_.append(("full size", frames.udp_frame(gate, here, src, dst, 1, 2, b"f" * (1472 if version == 4 else 1452))))
    src, dst = ADDRESS[4][:2]
    for ident in range(0, 65536, 4681):  # checksums of all kinds, those that wrap as well
        list_.append((f"ident {ident}", frames.eth(gate, here, 0x800, frames.ip4(src, dst, 17, frames.udp(src, dst, 5, 6, b"i" * 30),
                                                                               ident=ident, fragment=0x4000))))
    list_.append(("a first fragment", frames.eth(gate, here, 0x800, frames.ip4(src, dst, 17, b"\0" * 48, ident=9, fragment=0x2000))))
    list_.append(("a last fragment", frames.eth(gate, here, 0x800, frames.ip4(src, dst, 17, b"\0" * 48, ident=9, fragment=6))))
    list_.append(("options", frames.eth(gate, here, 0x800, frames.ip4(src, dst, 17, frames.udp(src, dst, 5, 6, b"o" * 30),
                                                                     options=b"\x01\x01\x01\x00"))))
    return list_


def refused(net):
    """Frames that must not come out on the right, whoever forwards."""
    here, gate = net.hosts[0].mac, net.ports[0].mac
    src, dst = ADDRESS[4][:2]
    good = frames.udp_frame(gate, here, src, dst, 1, 2, b"refused")
    list_ = [
        ("another MAC address", frames.udp_frame("02:77:00:00:00:01", here, src, dst, 1, 2, b"refused")),
        ("a multicast MAC address", frames.udp_frame("01:00:5e:00:00:01", here, src, dst, 1, 2, b"refused")),
        ("a wrong header checksum", good[:24] + bytes([good[24] ^ 1]) + good[25:]),
        ("IP version 5", good[:14] + b"\x55" + good[15:]),
        ("a length beyond the frame", frames.eth(gate, here, 0x800, frames.ip4(src, dst, 17, b"refused" * 9)[:-20])),
    ]
    for address in ("127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"):
        list_.append((f"from {address}", frames.udp_frame(gate, here, address, dst, 1, 2, b"refused")))
    for address in ("127.0.0.1", "224.0.0.5", "255.255.255.255", "10.2.0.255"):
        list_.append((f"to {address}", frames.udp_frame(gate, here, src, address, 1, 2, b"refused")))
    for address in ("::1", "::", "ff02::1", "fe80::99"):
        list_.append((f"from {address}", frames.udp_frame(gate, here, address, ADDRESS[6][1], 1, 2, b"refused")))
    for address in ("::1", "ff02::1", "fe80::99"):
        list_.append((f"to {address}", frames.udp_frame(gate, here, ADDRESS[6][0], address, 1, 2, b"refused")))
    for ttl in (0, 1):
        list_.append((f"ttl {ttl}", frames.udp_frame(gate, here, src, dst, 1, 2, b"refused", ttl=ttl)))
        list_.append((f"hop limit {ttl}", frames.udp_frame(gate, here, ADDRESS[6][0], ADDRESS[6][1], 1, 2, b"refused", ttl=ttl)))
    return list_


def normal(raw, net):
    """A captured frame without what differs between two labs: the MAC addresses become names."""
    names = {frames.mac(i.mac): name for name, pair in (("port", net.ports), ("host", net.hosts))
             for i, name in zip(pair, (name + "-left", name + "-right", name + "-other"))}
    return names.get(raw[:6]), names.get(raw[6:12]), raw[12:]


def captured(extension):
    """What comes out on the right and back on the left for each probe: {what: [normal frames]}."""
    result = {}
    with Lab(PRICKLE) as lab:
        net = Network(lab, extension)
        for host in net.hosts[:2]:  # quiet hosts: no answers of their own
            host.ns.sysctl("net.ipv4.icmp_ratelimit", 0)
        net.router.sysctl("net.ipv4.icmp_ratelimit", 0)
        net.router.sysctl("net.ipv6.icmp.ratelimit", 0)
        net.router.sysctl("net.ipv4.icmp_msgs_per_sec", 100000)
        if extension:
            net.learn(4, 6)
        else:
            for version in (4, 6):
                net.hosts[0].ns.run("ping", f"-{version}", "-c2", "-i0.1", ADDRESS[version][1])
        left, right = net.hosts[0].raw(), net.hosts[1].raw()

        def interesting(f):
            return f.ethertype in (0x800, 0x86dd) and f.proto in (17, 6, 253) or f.type in (3, 11, 1, 2) and f.proto in (1, 58)
        before = net.count(*LIVE) if extension else 0
        for what, frame in probes(net):
            right.drain()
            left.send(frame)
            got = right.receive(interesting, 2.0)
            assert got, f"nothing came for {what} (extension: {extension})"
            result[what + str(got.version)] = normal(got.raw, net)
        forwarded = net.count(*LIVE) - before if extension else 0
        right.drain()
        left.drain()
        for what, frame in refused(net):
            left.send(frame)
            if "ttl" in what or "hop" in what:
                answer = left.receive(lambda f: f.proto in (1, 58) and f.type in (11, 3), 2.0)
                assert answer, f"no answer to {what} (extension: {extension})"
                # The kernel's identification counts on; all the rest is compared.
                result[what] = answer.saddr, answer.type, answer.code, answer.sums_right, answer.payload
        leaked = right.collect(lambda f: b"refused" in f.raw and f.proto != 1, quiet=0.5)
        assert not leaked, f"came out (extension: {extension}): {leaked}"
    return result, forwarded


def same_frames_as_the_kernel():
    """each frame comes out as kernel forwarding sends it: TTL, checksum, MAC addresses, and all refusals are equal"""
    kernel, _ = captured(False)
    ours, forwarded = captured(True)
    assert kernel.keys() == ours.keys(), kernel.keys() ^ ours.keys()
    different = [what for what in kernel if kernel[what] != ours[what]]
    assert not different, "\n".join(f"{what}:\n {kernel[what]}\n {ours[what]}" for what in different)
    assert forwarded >= len([w for w in ours if w[-1] in "46"]) - 2, forwarded  # options go by the stack


def traceroute():
    """probes with a small TTL are answered by the router's stack, in both families"""
    with Lab(PRICKLE) as lab:
        net = Network(lab)
        net.learn(4, 6)
        for version in (4, 6):
            out = net.hosts[0].ns.done("ping", f"-{version}", "-c1", "-W1", "-t1", ADDRESS[version][1]).stdout
            assert re.search(rf"From {GATE[version][0]}.*(Time to live exceeded|Hop limit)", out), out
            out = net.hosts[0].ns.run("ping", f"-{version}", "-c1", "-W10", "-t2", ADDRESS[version][1])
            assert "1 received" in out, out
        assert net.count("ttl_expired") == 2


def too_big():
    """what does not fit the next link is answered with the MTU, or fragmented, by the router's stack"""
    with Lab(PRICKLE) as lab:
        net = Network(lab, mtu_right=1300)
        net.learn(4, 6)
        out = net.hosts[0].ns.done("ping", "-4", "-c1", "-W1", "-Mdo", "-s1400", ADDRESS[4][1])
        assert re.search(r"From 10\.1\.0\.1.*mtu = ?1300", out.stdout + out.stderr), out
        out = net.hosts[0].ns.done("ping", "-6", "-c1", "-W1", "-Mdo", "-s1400", ADDRESS[6][1])
        assert re.search(r"From fd01::1.*mtu.?=.?1300", out.stdout + out.stderr), out
        raw = net.hosts[1].raw()
        net.hosts[0].raw().send(frames.udp_frame(net.ports[0].mac, net.hosts[0].mac, *ADDRESS[4][:2], 1, 2, b"z" * 1400))
        parts = raw.collect(lambda f: f.version == 4 and f.proto == 17, 2)
        assert len(parts) == 2 and parts[0].fragment & 0x2000, parts
        assert net.count("too_big") >= 3, net.extensions[0].counters()


def port_not_allowed():
    """to a port that is not allowed nothing goes by the extension; the host forwards as it is set"""
    with Lab(PRICKLE) as lab:
        net = Network(lab)
        net.learn(4)
        before = net.count(*LIVE)
        out = net.hosts[0].ns.run("ping", "-4", "-c3", "-i0.1", "-W10", ADDRESS[4][2])
        assert "3 received" in out, out
        assert net.count(*LIVE) == before and net.count("port_not_granted") >= 1, net.extensions[0].counters()


def forwarding_off_stays_off():
    """a host that does not forward does not forward by the extension"""
    with Lab(PRICKLE) as lab:
        net = Network(lab)
        net.learn(4)
        net.router.forwarding(False)
        before = net.count(*LIVE)
        assert net.hosts[0].ns.done("ping", "-4", "-c2", "-i0.1", "-W1", ADDRESS[4][1]).returncode != 0
        assert net.count(*LIVE) == before and net.count("forwarding_off") >= 1


def neighbour_is_resolved():
    """a neighbour that is not known is resolved by the host, and the packet is not lost"""
    with Lab(PRICKLE) as lab:
        net = Network(lab)
        net.learn(4, 6)
        for version in (4, 6):
            net.router.ip("neigh", "flush", "dev", "right")
            before = net.count("no_neighbour")
            out = net.hosts[0].ns.run("ping", f"-{version}", "-c1", "-W10", ADDRESS[version][1])
            assert "1 received" in out and net.count("no_neighbour") > before, (out, net.extensions[0].counters())


def vlan_passes():
    """a frame with a VLAN tag goes to the host as it is"""
    with Lab(PRICKLE) as lab:
        net = Network(lab)
        net.learn(4)
        before, raw, host = net.count(*LIVE), net.hosts[0].raw(), net.ports[0].raw()
        frame = frames.udp_frame(net.ports[0].mac, net.hosts[0].mac, *ADDRESS[4][:2], 1, 4000, b"tagged", vlan=7)
        raw.send(frame)
        got = host.receive(lambda f: f.vlan == [7])
        assert got and got.raw == frame, got
        assert net.count(*LIVE) == before


def new_mac_address():
    """a port that changes its MAC address goes on: by the stack at once, by the extension soon after"""
    with Lab(PRICKLE) as lab:
        net = Network(lab)
        net.learn(4)
        net.router.ip("link", "set", "left", "address", "02:00:00:00:99:01")
        net.hosts[0].ns.ip("neigh", "flush", "all")
        net.learn(4)
        before = net.count(*LIVE)
        net.hosts[0].ns.run("ping", "-4", "-c3", "-i0.01", "-W10", ADDRESS[4][1])
        assert net.count(*LIVE) - before == 6, net.extensions[0].counters()


if __name__ == "__main__":
    tap.run([ping_both_families, tcp_through, same_frames_as_the_kernel, traceroute, too_big, port_not_allowed,
             forwarding_off_stays_off, neighbour_is_resolved, vlan_passes, new_mac_address])
