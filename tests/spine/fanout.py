#!/usr/bin/env python3
"""
The fan-out extension: one stream to several receivers, each gets every datagram, in order and intact.

usage: fanout.py PRICKLE

	source 10.1.0.2 --- in [host] out1, out2, out3 --- r1 10.11.0.2, r2 10.12.0.2, r3 10.13.0.2	(and fd01::, fd11:: ...)
"""

import hashlib
import json
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
from lab import Lab, tap  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
ADD, REMOVE, JOIN, LEAVE = 1, 2, 3, 4
CALL, REPLY, ERROR = 1, 3, 4
GROUP = {4: "239.1.2.3", 6: "ff15::7"}
UNICAST = {4: "10.1.0.99", 6: "fd01::99"}


class Video:
    """A host with the extension on `in`, three receivers behind its other ports."""

    def __init__(self, lab, ports=3):
        self.lab, host = lab, lab.ns("host")
        self.inside, self.source = lab.veth(host, "in", lab.ns("source"), "eth0", ["10.1.0.1/24", "fd01::1/64"],
                                            ["10.1.0.2/24", "fd01::2/64"])
        self.out, self.receivers = [], []
        for n in range(1, ports + 1):
            port, receiver = lab.veth(host, f"out{n}", lab.ns(f"r{n}"), "eth0", [f"10.1{n}.0.1/24", f"fd1{n}::1/64"],
                                      [f"10.1{n}.0.2/24", f"fd1{n}::2/64"])
            self.out.append(port)
            self.receivers.append(receiver)
        lab.ready(*self.out)
        self.extension = lab.install(self.inside, lab.extension("fanout"), ports=self.out)
        self.call_fd = kb.open_program(os.path.join(self.extension.dir, "call-0"))
        self.raw = self.source.raw()

    def call(self, handler, arguments):
        """0, or the negative errno that the handler returned."""
        message = bytearray(struct.pack("=HBBIQ48s", handler, CALL, len(arguments), 1, 0, arguments))
        kb.run_syscall(self.call_fd, message)
        if message[2] == REPLY:
            return 0
        assert message[2] == ERROR, message
        return struct.unpack_from("=i", message, 16)[0]

    def stream(self, number, version, address, port, ttl=0, handler=ADD):
        return self.call(handler, struct.pack("=I2sBB16s", number, port.to_bytes(2, "big"), version, ttl, frames.address(address)))

    def join(self, number, receiver, address=None, port=0, handler=JOIN):
        """Receiver 0, 1 ... of the stream; with an address its copy is readdressed."""
        out = self.out[receiver]
        return self.call(handler, struct.pack("=II2sBB16s6s6s", number, out.ifindex, port.to_bytes(2, "big"), address is not None,
                                              0, frames.address(address) if address else b"", frames.mac(out.peer.mac),
                                              frames.mac(out.mac)))

    def send(self, version, address, port, payloads, ttl=9, summed=True):
        mac = self.inside.mac
        if address in GROUP.values():
            mac = "01:00:5e:01:02:03" if version == 4 else "33:33:00:00:00:07"
        source = "10.1.0.2" if version == 4 else "fd01::2"
        for payload in payloads:
            self.raw.send(frames.udp_frame(mac, self.source.mac, source, address, 4000, port, payload, ttl=ttl, summed=summed))


def payloads(count, seed=0):
    """Datagrams of many sizes that end in their hash, numbered."""
    result = []
    for n in range(count):
        body = struct.pack("=II", seed, n) + bytes((n * 7 + k) & 255 for k in range(n * 37 % 1300))
        result.append(body + hashlib.sha256(body).digest())
    return result


def receive(sock, count):
    got = []
    try:
        while len(got) < count:
            got.append(sock.recv(2000))
    except TimeoutError:
        pass
    assert all(hashlib.sha256(d[:-32]).digest() == d[-32:] for d in got)
    return got


def unicast_to_three():
    """a unicast stream reaches three receivers at addresses of their own, every datagram in order and intact"""
    with Lab(PRICKLE) as lab:
        video = Video(lab)
        for version, number in ((4, 1), (6, 2)):
            assert video.stream(number, version, UNICAST[version], 5000) == 0
            sockets = []
            for n in range(3):
                address = f"10.1{n + 1}.0.2" if version == 4 else f"fd1{n + 1}::2"
                sockets.append(video.receivers[n].ns.udp(address, 6000 + n))
                sockets[n].setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
                assert video.join(number, n, address, 6000 + n) == 0
            sent = payloads(500, number)
            video.send(version, UNICAST[version], 5000, sent)
            for s in sockets:
                assert receive(s, 500) == sent
        counters = video.extension.counters()
        assert counters["replicated"] == 1000 and counters["copies"] == 3000, counters


def frames_are_right():
    """copies have the receiver's addresses, a smaller TTL and right checksums; no checksum stays none"""
    with Lab(PRICKLE) as lab:
        video = Video(lab, 2)
        raws = [r.raw() for r in video.receivers]
        for version, number in ((4, 1), (6, 2)):
            assert video.stream(number, version, UNICAST[version], 5000) == 0
            for n in range(2):
                assert video.join(number, n, f"10.1{n + 1}.0.2" if version == 4 else f"fd1{n + 1}::2", 7) == 0
            for k in range(40):
                body = os.urandom(k * 13)
                video.send(version, UNICAST[version], 5000, [body], ttl=2 + k)
                for n, raw in enumerate(raws):
                    got = raw.receive(lambda f: f.dport == 7)
                    assert got and got.sums_right and got.ttl == 1 + k and got.payload == body, (got, got and got.sums_right)
                    assert got.daddr == (f"10.1{n + 1}.0.2" if version == 4 else f"fd1{n + 1}::2")
                    assert (got.src, got.dst) == (video.out[n].mac, video.receivers[n].mac), got
        video.send(4, UNICAST[4], 5000, [b"unsummed"], summed=False)
        got = raws[0].receive(lambda f: f.dport == 7)
        assert got.raw[40:42] == b"\0\0" and got.sums_right, got
        video.send(4, UNICAST[4], 5000, [b"expired"], ttl=1)
        assert raws[0].receive(lambda f: f.dport == 7, timeout=0.3) is None
        assert video.extension.counters()["ttl_expired"] == 2


def multicast_unchanged():
    """a multicast stream goes on byte for byte to the ports that joined, and to no other"""
    with Lab(PRICKLE) as lab:
        video = Video(lab)
        raws = [r.raw() for r in video.receivers]
        for version in (4, 6):
            assert video.stream(version, version, GROUP[version], 5004) == 0
            for n in (0, 2):
                assert video.join(version, n) == 0
            listener = video.receivers[0].ns.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            listener.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", 5004))
            listener.settimeout(2)
            with video.receivers[0].ns.entered():
                if version == 4:
                    listener.setsockopt(0, 35, socket.inet_aton(GROUP[4]) + socket.inet_aton("10.11.0.2"))
                else:
                    listener.setsockopt(41, 20, socket.inet_pton(socket.AF_INET6, GROUP[6]) + struct.pack("=I", video.receivers[0].ifindex))
            sent = payloads(50, version)
            video.send(version, GROUP[version], 5004, sent, ttl=1)
            heard = receive(listener, 50)
            assert heard == sent, (version, len(heard))
            for n, want in ((0, 50), (1, 0), (2, 50)):
                got = raws[n].collect(lambda f: f.dport == 5004, count=want or None, quiet=0.2)
                assert [f.payload for f in got] == sent[:want], (n, len(got))
                assert all(f.ttl == 1 and f.src == video.source.mac for f in got)


def join_and_leave():
    """receivers join, move and leave while the stream runs; without any it reaches the host"""
    with Lab(PRICKLE) as lab:
        video = Video(lab, 2)
        raws, host = [r.raw() for r in video.receivers], video.inside.raw()
        assert video.stream(1, 4, UNICAST[4], 5000) == 0

        def reached():
            video.send(4, UNICAST[4], 5000, [b"probe"])
            return [raw.receive(lambda f: f.payload == b"probe", 0.3) for raw in (*raws, host)]
        got = reached()
        assert got[:2] == [None, None] and got[2]
        assert video.join(1, 0, "10.11.0.2", 80) == 0
        got = reached()
        assert got[0].dport == 80 and got[1:] == [None, None]
        assert video.join(1, 0, "10.11.0.2", 81) == 0 and video.join(1, 1, "10.12.0.2", 82) == 0
        got = reached()
        assert (got[0].dport, got[1].dport, got[2]) == (81, 82, None)
        assert video.stream(1, 4, UNICAST[4], 5000, handler=REMOVE) == -16  # EBUSY
        assert video.join(1, 0, handler=LEAVE) == 0 and video.join(1, 0, handler=LEAVE) == -2
        assert [f and f.dport for f in reached()] == [None, 82, None]
        assert video.join(1, 1, handler=LEAVE) == 0
        assert reached()[2]
        assert video.stream(1, 4, UNICAST[4], 5000, handler=REMOVE) == 0
        assert video.join(1, 0, "10.11.0.2", 80) == -2


def bad_messages():
    """messages that make no sense are refused and change nothing"""
    with Lab(PRICKLE) as lab:
        video = Video(lab, 1)
        assert video.stream(64, 4, UNICAST[4], 1) == -22
        assert video.stream(1, 5, UNICAST[4], 1) == -22
        assert video.stream(1, 4, UNICAST[4], 1) == 0
        assert video.stream(1, 4, UNICAST[4], 2) == -17 and video.stream(2, 4, UNICAST[4], 1) == -17
        assert video.join(3, 0) == -2 and video.join(99, 0) == -22
        assert video.call(9, b"") == -38 and video.call(JOIN, b"short") == -74


def other_traffic():
    """what belongs to no stream, and fragments, go to the host as they came"""
    with Lab(PRICKLE) as lab:
        video = Video(lab, 1)
        assert video.stream(1, 4, "10.1.0.1", 5000) == 0 and video.join(1, 0, "10.11.0.2", 9) == 0
        receiver = video.inside.ns.udp("10.1.0.1", 5001)
        video.send(4, "10.1.0.1", 5001, [b"mine"])
        assert receiver.recv(99) == b"mine"
        host = video.inside.raw()
        video.raw.send(frames.eth(video.inside.mac, video.source.mac, 0x800, frames.ip4(
            "10.1.0.2", "10.1.0.1", 17, frames.udp("10.1.0.2", "10.1.0.1", 1, 5000, b"f" * 32), fragment=0x2000)))
        assert host.receive(lambda f: f.version == 4 and f.fragment == 0x2000)
        assert video.extension.counters()["not_plain"] >= 1
        video.source.ns.run("ping", "-c1", "-W10", "10.1.0.1")


def commands_take_addresses():
    """the commands add streams and receivers by addresses alone, show them, and a replace keeps both"""
    with Lab(PRICKLE) as lab:
        video = Video(lab, 2)

        def fanout(*words, code=0):
            done = lab.prickle(video.inside.ns, "spine", "fanout", *words, "--dev", video.inside.name, check=False)
            assert done.returncode == code, (words, done)
            return done
        assert "no streams" in fanout("show").stdout
        for version, number in ((4, 1), (6, 2)):
            fanout("add-stream", number, UNICAST[version], 5000)
            for n in range(2):
                fanout("join", number, f"10.1{n + 1}.0.2" if version == 4 else f"fd1{n + 1}::2", 6000 + n, "--json")
        fanout("add-stream", 3, GROUP[4], 5004)
        fanout("join", 3, "--port", video.out[1].name)
        raws = [r.raw() for r in video.receivers]

        def reached(version, text):
            video.send(version, UNICAST[version], 5000, [text])
            for n, raw in enumerate(raws):
                got = raw.receive(lambda f: f.payload == text)
                assert got and got.dport == 6000 + n and (got.src, got.dst) == (video.out[n].mac, video.receivers[n].mac), (n, got)
        for version in (4, 6):
            reached(version, b"before")
        path = lab.extension("fanout")
        lab.prickle(video.inside.ns, "spine", "replace", "fanout", path, "--dev", video.inside.name)
        for version in (4, 6):
            reached(version, b"after")
        rows = {row["stream"]: row for row in json.loads(fanout("show", "--json").stdout)}
        assert rows[1]["address"] == UNICAST[4] and {(r["port"], r["address"], r["udp_port"], r["packets"]) for r in rows[1]["receivers"]} \
            == {("out1", "10.11.0.2", 6000, 2), ("out2", "10.12.0.2", 6001, 2)}, rows
        assert [r["port"] for r in rows[3]["receivers"]] == ["out2"] and "address" not in rows[3]["receivers"][0], rows
        assert "10.11.0.2 port 6000" in fanout("show").stdout
        assert "has receivers" in fanout("remove-stream", 1, code=2).stderr
        for n in range(2):
            fanout("leave", 1, f"10.1{n + 1}.0.2")
        fanout("leave", 1, "10.11.0.2", code=4)
        fanout("remove-stream", 1)
        assert "no way to" in fanout("join", 2, "203.0.113.1", 9, code=1).stderr
        assert "is no address" in fanout("add-stream", 5, "example", 9, code=2).stderr
        fanout("add-stream", 64, UNICAST[4], 9, code=2)
        fanout("join", 2, "10.11.0.77", 9, code=75)


if __name__ == "__main__":
    tap.run([unicast_to_three, frames_are_right, multicast_unchanged, join_and_leave, bad_messages, other_traffic, commands_take_addresses])
