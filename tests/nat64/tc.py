#!/usr/bin/env python3
"""
The tc home, on cables whose ends nobody has touched: segmentation and checksums are left to devices, as they are on a host
that knows nothing of us.
"""
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab as labs  # noqa: E402
from lab import DataCentre, Lab, Line, POOL4, embed, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1] if len(sys.argv) > 1 else None
MIB = 1 << 20


def listening(ns, port, family=socket.AF_INET):
    s = ns.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    s.listen(8)
    return s


def carried(lab, sender, receiver, address, port, size):
    """Send size bytes by TCP to address and count what arrives; the bytes are checked."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = listening(receiver, port, socket.AF_INET if ":" in address else socket.AF_INET6)
    client = sender.socket(family, socket.SOCK_STREAM)
    client.settimeout(20)
    client.connect((address, port))
    peer = lab.keep(server.accept()[0])
    peer.settimeout(20)
    block = bytes(range(256)) * 4096
    got, sent, left = 0, 0, memoryview(b"")
    client.setblocking(False)
    while got < size:
        if not left and sent < size:
            left = memoryview(block)
        if left:
            try:
                n = client.send(left)
                left, sent = left[n:], sent + n
            except BlockingIOError:
                pass
        data = peer.recv(MIB)
        assert data, f"the connection ended after {got} bytes"
        at = got % len(block)
        want = (block + block)[at:at + len(data)]
        assert data == want, f"other bytes arrive, from byte {got} on"
        got += len(data)
    return client, peer


def segments(ns, command):
    """How many segments and how many bad checksums a namespace's TCP saw."""
    rows = {row.split()[0]: int(row.split()[1]) for row in ns.run("nstat", "-az").splitlines()[1:]}
    return rows[command]


def translate(net, instance, lab, service):
    """Ping, UDP, TCP in both directions between six and four; service: by what address four reaches six, or None."""
    net.six.run("ping", "-c2", "-i0.1", "-W10", embed(net.FOUR))
    if service:
        net.four.run("ping", "-c2", "-i0.1", "-W10", service)
    carried(lab, net.six, net.four, embed(net.FOUR), 7001, 64 * MIB)
    if service:
        carried(lab, net.four, net.six, service, 7002, 64 * MIB)
    a, b = net.six.udp("::"), net.four.udp("0.0.0.0", 7003)
    for size in (0, 1, 100, 1200):
        a.sendto(b"q" * size, (embed(net.FOUR), 7003))
        data, peer = b.recvfrom(65536)
        assert data == b"q" * size
        b.sendto(b"a" * size, peer)
        data, peer = a.recvfrom(65536)
        assert data == b"a" * size and peer[0] == embed(net.FOUR), peer
    for ns in (net.six, net.four):
        assert segments(ns, "TcpInCsumErrors") == 0 and segments(ns, "UdpInCsumErrors") == 0, f"bad checksums reached {ns.name}"
    assert all(row["home"] == "tc" and row["running"] for row in instance.json("show")["interfaces"])


def siit_carries_everything_between_untouched_end_points():
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True)
        translate(net, net.siit().start(), lab, net.SERVICE)


def nat64_carries_everything_between_untouched_end_points():
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=True)
        translate(net, net.nat64(static=[f"tcp {POOL4}:7002 [{net.SIX}]:7002"]).start(), lab, None)
        carried(lab, net.four, net.six, POOL4, 7002, 16 * MIB)


def large_segments_stay_large():
    """GSO: a packet on the way through holds many segments"""
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True)
        net.siit().start()
        before = net.inside.counter("rx_packets")
        carried(lab, net.six, net.four, embed(net.FOUR), 7001, 64 * MIB)
        count = net.inside.counter("rx_packets") - before
        assert count < 64 * MIB / 1440 / 4, f"{count} packets for 64 MiB: they were cut before the translator"


def udp_segments_keep_their_size():
    """a UDP sender with GSO (QUIC): each datagram arrives as it was meant"""
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True)
        net.siit().start()
        a, b = net.six.udp("::"), net.four.udp("0.0.0.0", 7003)
        a.sendto(b"first", (embed(net.FOUR), 7003))
        peer = b.recvfrom(100)[1]
        for sender, receiver, to in ((a, b, (embed(net.FOUR), 7003)), (b, a, peer)):
            sender.setsockopt(socket.IPPROTO_UDP, 103, 1200)  # UDP_SEGMENT
            sender.sendto(bytes(range(250)) * 40, to)
            got = [receiver.recv(65536) for _ in range(9)]
            assert [len(one) for one in got] == [1200] * 8 + [400] and b"".join(got) == bytes(range(250)) * 40


def a_path_mtu_is_found_by_both_sides():
    """TCP of both sides finds the smaller MTU of the other side by ICMP errors"""
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True, mtu6=1500, mtu4=1500)
        net.siit().start()
        # From IPv4 with DF: 1500 bytes become 1520, which do not fit.
        answer = net.four.done("ping", "-c1", "-W2", "-Mdo", "-s1472", net.SERVICE).stdout
        assert "Frag needed and DF set (mtu = 1480)" in answer or "message too long, mtu=1480" in answer, answer
        net.four.run("ping", "-c1", "-W10", "-Mdo", "-s1452", net.SERVICE)
        net.four0.ns.ip("link", "set", "eth0", "mtu", 1400)
        net.outside.ns.ip("link", "set", "four", "mtu", 1400)
        answer = net.six.done("ping", "-c1", "-W2", "-s1452", embed(net.FOUR)).stdout
        assert "Packet too big: mtu=1420" in answer, answer
        carried(lab, net.six, net.four, embed(net.FOUR), 7001, 4 * MIB)
        carried(lab, net.four, net.six, net.SERVICE, 7002, 4 * MIB)


def tcp_from_ipv4_gets_smaller_by_errors():
    """segments that do not fit are answered, though they came in one large packet with a checksum left open"""
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True)
        instance = net.siit().start()
        # The server's own MSS hides the difference; so its route claims more.
        net.six.ip("route", "replace", "default", "via", net.NAT6, "advmss", 1460)
        carried(lab, net.four, net.six, net.SERVICE, 7002, 16 * MIB)
        reasons = instance.reasons()
        assert reasons.get("gso-too-big", 0) + reasons.get("too-big", 0) > 0, reasons


def errors_come_back_and_are_translated():
    """traceroute shows the translator and the hops behind it, in both directions"""
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, routers=True, untouched=True)
        net.siit().start()
        hops = [line.split()[1] for line in net.six.run("traceroute", "-6", "-n", "-q1", "-w2", "-m8", embed(net.FOUR)).splitlines()[1:]]
        assert hops[0] == net.NAT6 and embed(net.R4) in hops and hops[-1] == embed(net.FOUR), hops
        hops = [line.split()[1] for line in net.four.run("traceroute", "-n", "-q1", "-w2", "-m8", net.SERVICE).splitlines()[1:]]
        assert hops[0] == net.NAT4 and hops[-1] == net.SERVICE, hops
        # A closed port, from both sides.
        for ns, address in ((net.six, embed(net.FOUR)), (net.four, net.SERVICE)):
            s = ns.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            s.settimeout(2)
            s.connect((address, 9))
            s.send(b"anybody?")
            try:
                s.recv(100)
                raise AssertionError("an answer from a closed port")
            except ConnectionRefusedError:
                pass


def a_tunnel_without_ethernet_headers_is_as_good():
    """a tun device on the IPv6 side"""
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=True)
        net.nat.ip("tuntap", "add", "dev", "tun0", "mode", "tun")
        with net.nat.entered():
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH14x", b"tun0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
        lab.keep(os.fdopen(tun, "rb", buffering=0, closefd=True))
        net.nat.ip("link", "set", "tun0", "up")
        net.nat.ip("addr", "add", "2001:db8:99::1/64", "dev", "tun0", "nodad")
        labs.Instance(lab, net.nat, {"mode": "siit", "pref64": [labs.PREF64], "mappings": ["192.0.2.10/32 2001:db8:99::2/128"],
                                     "attach": "tc", "interfaces": ["tun0", "four"]}).start()
        server = net.four.udp("0.0.0.0", 7003)
        source, target = socket.inet_pton(socket.AF_INET6, "2001:db8:99::2"), socket.inet_pton(socket.AF_INET6, embed(net.FOUR))

        def udp(payload):
            udp = bytearray(struct.pack("!HHHH", 5000, 7003, 8 + len(payload), 0) + payload)
            text = source + target + struct.pack("!II", len(udp), 17) + bytes(udp) + b"\0" * (len(udp) % 2)
            total = sum(struct.unpack(f"!{len(text) // 2}H", text))
            while total >> 16:
                total = (total & 0xffff) + (total >> 16)
            struct.pack_into("!H", udp, 6, ~total & 0xffff or 0xffff)
            return struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + source + target + bytes(udp)

        for text in (b"one", b"two"):  # the first one waits for the neighbour
            os.write(tun, udp(text))
            data, peer = server.recvfrom(100)
            assert data == text and peer[0] == DataCentre.SERVICE, (data, peer)
            server.sendto(data + b" back", peer)
            packet = wait_until(lambda: next((p for p in iter(lambda: os.read(tun, 2000), b"") if p[6] == 17), None), what="answer")
            assert packet[0] >> 4 == 6 and packet[24:40] == source and packet[48:] == text + b" back", packet.hex()


def filters_of_others_stay():
    """a filter that somebody else put on the interface runs before and stays after"""
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True)
        with net.nat.entered():
            subprocess.run(["tc", "qdisc", "add", "dev", "six", "clsact"], check=True)
            subprocess.run(["tc", "filter", "add", "dev", "six", "ingress", "pref", "100", "protocol", "all",
                            "u32", "match", "u32", "0", "0"], check=True)
        instance = net.siit().start()
        net.six.run("ping", "-c1", "-W10", embed(net.FOUR))
        net.six.run("ping", "-c1", "-W10", net.NAT6)
        shown = json.loads(net.nat.run("tc", "-j", "filter", "show", "dev", "six", "ingress"))
        assert any(row.get("options", {}).get("bpf_name", "").startswith("prickle-nat64:") for row in shown), shown
        instance.stop()
        net.six.run("ping", "-c1", "-W10", embed(net.FOUR))  # no daemon, and packets go on
        instance.remove()
        shown = net.nat.run("tc", "filter", "show", "dev", "six", "ingress")
        assert "u32" in shown and "prickle" not in shown, shown
        assert "clsact" not in net.nat.run("tc", "qdisc", "show", "dev", "four")


tap.run([siit_carries_everything_between_untouched_end_points, nat64_carries_everything_between_untouched_end_points,
         large_segments_stay_large, udp_segments_keep_their_size, a_path_mtu_is_found_by_both_sides,
         tcp_from_ipv4_gets_smaller_by_errors, errors_come_back_and_are_translated, a_tunnel_without_ethernet_headers_is_as_good,
         filters_of_others_stay])
