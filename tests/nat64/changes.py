#!/usr/bin/env python3
"""
What changes under a translator that is in use: settings that its sessions depend on, and frames that are not for it.

usage: changes.py PRICKLE
"""
import os
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab, Line, PREF64, embed, frames, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1]
OTHER64, THIRD64 = "2001:db8:65::/96", "2001:db8:66::/96"
SMALL = {"sessions": 4096, "mappings": 4096, "subscribers": 64}


def settings(net, **more):
    return {"mode": "nat64", "interfaces": [net.inside.name, net.outside.name], "attach": "xdp", "pref64": [PREF64],
            "pool4": ["192.0.2.1"], "tables": SMALL, **more}


def warm(net):
    net.nat.run("ping", "-c1", "-W10", net.FOUR)
    net.nat.run("ping", "-c1", "-W10", net.SIX)


class Flow:
    """A conversation of UDP by one prefix: both ends, and where the outside sees the inside."""

    def __init__(self, net, prefix, port):
        self.here, self.there = net.six.udp(net.SIX, 0, 2), net.four.udp(net.FOUR, port, 2)
        self.to = (embed(net.FOUR, prefix), port)
        self.peer = self.ask()

    def ask(self):
        for _ in range(3):
            self.here.sendto(b"ask", self.to)
            try:
                return self.there.recvfrom(64)[1]
            except TimeoutError:
                continue
        raise AssertionError(f"nothing came by {self.to}")

    def answers(self):
        """The address that an answer comes from; None: none came."""
        self.there.sendto(b"answer", self.peer)
        try:
            return self.here.recvfrom(64)[1][0]
        except TimeoutError:
            return None

    def close(self):
        self.here.close()
        self.there.close()


def sessions_keep_their_prefix_when_prefixes_move_and_go():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.translator(**settings(net, pref64=[PREF64, OTHER64])).start()
        warm(net)
        one, other = lab.keep(Flow(net, PREF64, 7001)), lab.keep(Flow(net, OTHER64, 7002))
        instance.apply(settings(net, pref64=[THIRD64, OTHER64, PREF64]))
        assert one.answers() == embed(net.FOUR, PREF64), "the first one is the third now"
        assert other.answers() == embed(net.FOUR, OTHER64)
        third = lab.keep(Flow(net, THIRD64, 7003))
        peers = [flow.ask() for flow in (one, other, third)]
        assert peers == [one.peer, other.peer, third.peer]
        assert "7001" in instance.command("sessions", "--name", instance.name).stdout
        # The first place becomes empty.
        instance.apply(settings(net, pref64=[OTHER64, THIRD64]))
        assert other.answers() == embed(net.FOUR, OTHER64) and third.answers() == embed(net.FOUR, THIRD64)
        assert instance.json("show")["pref64"] == [OTHER64, THIRD64], instance.json("show")["pref64"]
        assert "7001" not in instance.command("sessions", "--name", instance.name).stdout, "its sessions are ended"
        # And is given out again.
        instance.apply(settings(net, pref64=[PREF64, THIRD64, OTHER64]))
        assert other.answers() == embed(net.FOUR, OTHER64) and third.answers() == embed(net.FOUR, THIRD64)
        Flow(net, PREF64, 7004).close()


def what_sessions_are_made_of_cannot_change():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        blocks = {"prefixes": ["2001:db8:6::/48"], "blocks": {"size": 512, "max": 4}}
        instance = net.translator(**settings(net, subscribers=blocks))
        instance.apply()
        for key, change in (("subscribers.blocks.size", {**blocks, "blocks": {"size": 256, "max": 4}}), ("subscribers.bits", {**blocks, "bits": 56})):
            done = instance.apply(settings(net, subscribers=change), check=False)
            assert done.returncode == 78 and key in done.stderr and "prickle nat64 remove" in done.stderr, (key, done)
        done = instance.apply(settings(net, subscribers=blocks, filtering="address-dependent"))
        assert "permission" in done.stdout + done.stderr, done
        assert instance.apply(settings(net, subscribers=blocks, **{"lowest-ipv6-mtu": 1300})).returncode == 0


def udp6(net, to, vlans=(), payload=b"tagged", sport=5000):
    frame = frames.udp_frame(to, net.six0.mac, net.SIX, embed(net.FOUR), sport, 9, payload)
    return tagged(frame, vlans)


def tagged(frame, vlans):
    tags = b"".join(struct.pack("!HH", 0x88a8 if len(vlans) == 2 and i == 0 else 0x8100, vlan) for i, vlan in enumerate(vlans))
    return frame[:12] + tags + frame[12:]


def frames_to_other_hosts_are_theirs():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.translator(**settings(net)).start()
        warm(net)
        raw, out = lab.keep(net.six0.raw()), lab.keep(net.four0.raw())
        own = net.inside.mac
        raw.send(udp6(net, own, payload=b"for the translator"))
        assert out.receive(lambda f: b"for the translator" in f.raw, timeout=10) is not None
        raw.send(udp6(net, "02:00:00:00:00:99", payload=b"for another host"))
        assert out.receive(lambda f: b"for another host" in f.raw, timeout=0.5) is None
        # The address changes, and the translator hears of it.
        net.nat.ip("link", "set", net.inside.name, "address", "02:00:00:00:00:77")

        def follows():
            raw.send(udp6(net, "02:00:00:00:00:77", payload=b"for the new address"))
            return out.receive(lambda f: b"for the new address" in f.raw, timeout=0.3) is not None
        wait_until(follows, 30, instance.logged())
        raw.send(udp6(net, own, payload=b"for the old address"))
        assert out.receive(lambda f: b"for the old address" in f.raw, timeout=0.5) is None


def the_first_reason_of_the_slow_path_is_counted():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.translator(**settings(net)).start()
        flow = lab.keep(Flow(net, PREF64, 7001))
        found = instance.reasons()
        assert found.get("no-neighbour", 0) + found.get("device", 0) >= 1, found
        time.sleep(0.3)
        before = instance.reason("order")
        for _ in range(20):
            flow.ask()
        assert instance.reason("order") == before, "the flow left the slow path"


def tagged_frames_are_translated_in_both_directions():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.translator(**settings(net)).start()
        warm(net)
        flow = lab.keep(Flow(net, PREF64, 9))
        inside, outside = lab.keep(net.six0.raw()), lab.keep(net.four0.raw())
        sport = flow.here.getsockname()[1]
        for vlans in ((), (7,), (7, 8)):
            text = b"to the outside by %d tags" % len(vlans)
            inside.send(udp6(net, net.inside.mac, vlans, text, sport))
            got = outside.receive(lambda f, text=text: text in f.raw, timeout=10)
            assert got is not None and got.raw[12:14] == b"\x08\x00", f"{vlans}: {got}"
            assert (got.saddr, got.sport) == flow.peer, got
            text = b"to the inside by %d tags" % len(vlans)
            outside.send(tagged(frames.udp_frame(net.outside.mac, net.four0.mac, net.FOUR, flow.peer[0], 9, flow.peer[1], text), vlans))
            got = inside.receive(lambda f, text=text: text in f.raw, timeout=10)
            assert got is not None and got.raw[12:14] == b"\x86\xdd", f"{vlans}: {got}"
            assert (got.daddr, got.dport) == (net.SIX, sport), got
        assert instance.reason("buffers") == 0


def errors_have_a_rate_and_packets_a_trace():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.translator(**settings(net, icmp={"rate": 5})).start()
        warm(net)
        raw = lab.keep(net.six0.raw())
        one = frames.udp_frame(net.inside.mac, net.six0.mac, net.SIX, embed(net.FOUR), 5000, 9, b"dies here", ttl=1)
        answers = 0
        for _ in range(100):
            raw.send(one)
        while raw.receive(lambda f: f.raw[12:14] == b"\x86\xdd" and f.raw[20] == 58 and f.raw[54] == 3, timeout=0.5) is not None:
            answers += 1
        # A bucket for each processor.
        assert 1 <= answers <= 5 * os.cpu_count() + 5, answers
        assert instance.reason("error-limited") >= 100 - answers - 5, instance.reasons()
        process = net.nat.start(PRICKLE, "nat64", "trace", "--name", instance.name, "--json", "--seconds", "60", "--count", "2",
                                "--port", "5001", stdout=subprocess.PIPE)
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            raw.send(udp6(net, net.inside.mac, (7,), b"seen", 5001))
            raw.send(udp6(net, net.inside.mac, (), b"not seen", 5002))
            time.sleep(0.1)
        said = process.communicate(timeout=60)[0].decode()
        assert said.count("5001") >= 2 and "5002" not in said, said


def metrics_move_with_the_settings():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        net.nat.ip("link", "set", "lo", "up")
        instance = net.translator(**settings(net, metrics=["127.0.0.1:9164"])).start()

        def serves(port):
            s = net.nat.socket(socket.AF_INET, socket.SOCK_STREAM)
            with s:
                s.settimeout(2)
                return s.connect_ex(("127.0.0.1", port)) == 0
        assert serves(9164)
        instance.apply(settings(net, metrics=["127.0.0.1:9165"]))
        wait_until(lambda: serves(9165) and not serves(9164), 30, instance.logged())
        warm(net)
        Flow(net, PREF64, 7001).close()


tap.run([sessions_keep_their_prefix_when_prefixes_move_and_go, what_sessions_are_made_of_cannot_change,
         frames_to_other_hosts_are_theirs, the_first_reason_of_the_slow_path_is_counted,
         tagged_frames_are_translated_in_both_directions, errors_have_a_rate_and_packets_a_trace, metrics_move_with_the_settings])
