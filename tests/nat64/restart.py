#!/usr/bin/env python3
"""
Restart, upgrade and change of a translator that is in use, seen from the outside: no session is lost, and traffic does not pause.

usage: restart.py PRICKLE
"""
import glob
import os
import select
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import POOL4, DataCentre, Instance, Lab, Line, PREF64, embed, frames, kb, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1]
SESSIONS = 100_000
PORTS = 50_000                  # source ports, each to two destination ports: two sessions of one mapping
FIRST = 10_000
SINKS = (7, 9)
SAMPLE = 500
TABLES = {"sessions": 262144, "mappings": 131072, "subscribers": 1024}


def udp6(net, sport, dport, payload):
    """A UDP frame of the host inside to the host outside."""
    return frames.udp_frame(net.inside.mac, net.six0.mac, net.SIX, embed(net.FOUR), sport, dport, payload)


def flood(raw, net, payload=b"made"):
    """One frame for every session; checksums are changed by what the ports change."""
    at = 14 + 40
    for dport in SINKS:
        frame = bytearray(udp6(net, FIRST, dport, payload))
        base = struct.unpack_from("!H", frame, at + 6)[0]
        for k in range(PORTS):
            total = (~base & 0xffff) + k                # ones' complement: the port grew by k
            total = (total & 0xffff) + (total >> 16)
            struct.pack_into("!H", frame, at, FIRST + k)
            struct.pack_into("!H", frame, at + 6, ~total & 0xffff or 0xffff)
            raw.socket.send(frame)


def ask(net, raw6, raw4, sport, dport, text):
    """The outside address and port as which a packet of the host inside arrives."""
    raw4.drain()
    raw6.send(udp6(net, sport, dport, text))
    got = raw4.receive(lambda f: text in f.raw, timeout=10)
    assert got is not None, f"port {sport}: nothing came out"
    return got.saddr, got.sport


def answer(net, raw6, raw4, where, sport, dport, text):
    """A packet from outside to a mapping comes in at the host that has it."""
    raw6.drain()
    raw4.send(frames.udp_frame(net.outside.mac, net.four0.mac, net.FOUR, where[0], dport, where[1], text))
    got = raw6.receive(lambda f: text in f.raw, timeout=10)
    assert got is not None, f"port {sport}: the answer did not come in"
    assert (got.daddr, got.dport) == (net.SIX, sport), got


def neighbours(net):
    """Both hosts are known to the translator before raw frames come, and keep quiet about ports that nobody reads."""
    sockets = []
    for dport in SINKS:
        s = net.four.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.bind((net.FOUR, dport))
        sockets.append(net.lab.keep(s))
    net.nat.run("ping", "-c1", "-W10", net.FOUR)
    net.nat.run("ping", "-c1", "-W10", net.SIX)


class Stream:
    """Numbered datagrams from the host inside to the one outside, one each millisecond; tells what was lost."""

    def __init__(self, net, port=5000):
        self.out = net.six.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.out.connect((embed(net.FOUR), port))
        self.inn = net.four.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inn.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)    # SO_RCVBUFFORCE
        self.inn.bind((net.FOUR, port))
        self.sent, self.stop, self.seen, self.peers = 0, False, set(), set()
        net.lab.keep(self.out), net.lab.keep(self.inn)
        self.threads = [threading.Thread(target=self._send, daemon=True), threading.Thread(target=self._receive, daemon=True)]
        for thread in self.threads:
            thread.start()
        wait_until(lambda: len(self.seen) > 20, 30, "traffic flows")

    def _send(self):
        while not self.stop:
            self.out.send(struct.pack("!I", self.sent))
            self.sent += 1
            time.sleep(0.001)

    def _receive(self):
        while not self.stop or select.select([self.inn], [], [], 0.5)[0]:
            if select.select([self.inn], [], [], 0.2)[0]:
                data, peer = self.inn.recvfrom(64)
                self.seen.add(struct.unpack("!I", data)[0])
                self.peers.add(peer)

    def end(self):
        """Numbers that did not arrive, but for the very first ones (the slow path learns neighbours then)."""
        self.stop = True
        for thread in self.threads:
            thread.join(10)
        return [n for n in range(20, self.sent) if n not in self.seen]


def count(instance):
    return instance.json("show")["tables"]["sessions"]["used"]


def killed_with_sessions(home):
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=home == "tc")
        instance = net.nat64(attach=home, tables=TABLES).start()
        neighbours(net)
        with net.six0.raw() as raw6, net.four0.raw() as raw4:
            flood(raw6, net)
            wait_until(lambda: count(instance) >= SESSIONS * 0.99, 30, "sessions are there")
            flood(raw6, net)                    # what a full queue dropped the first time
            wait_until(lambda: count(instance) >= SESSIONS, 30, f"{SESSIONS} sessions")
            before = count(instance)
            sample = {FIRST + k: ask(net, raw6, raw4, FIRST + k, SINKS[0], b"before") for k in range(0, PORTS, PORTS // SAMPLE)}
            stream = Stream(net)
            instance.kill()
            time.sleep(0.5)
            instance.start()
            lost = stream.end()
            assert not lost, f"{len(lost)} of {stream.sent} datagrams were lost: {lost[:20]}"
            assert len(stream.peers) == 1, stream.peers
            assert count(instance) >= before, f"{before} sessions before, {count(instance)} after"
            for sport, where in sample.items():
                answer(net, raw6, raw4, where, sport, SINKS[0], b"answer")
                assert ask(net, raw6, raw4, sport, SINKS[1], b"after") == where
        instance.stop()


def kill_9_with_100_000_sessions_on_xdp_loses_none_and_no_packet():
    killed_with_sessions("xdp")


def kill_9_with_100_000_sessions_on_tc_loses_none_and_no_packet():
    killed_with_sessions("tc")


def apply_while_traffic_flows_loses_nothing():
    for home in ("xdp", "tc"):
        with Lab(PRICKLE) as lab:
            net = Line(lab, untouched=home == "tc")
            instance = net.nat64(attach=home, tables=TABLES).start()
            neighbours(net)
            stream = Stream(net)
            base = {"mode": "nat64", "interfaces": ["six", "four"], "attach": home, "pref64": [PREF64], "tables": TABLES}
            for pool in ([POOL4, "192.0.2.9"], ["192.0.2.8", POOL4], [POOL4]):
                instance.apply({**base, "pool4": pool, "lowest-ipv6-mtu": 1280 + 10 * len(pool)})
            instance.apply({**base, "interfaces": ["four", "six"], "pool4": [POOL4]})
            lost = stream.end()
            assert not lost, f"{home}: {len(lost)} of {stream.sent} datagrams were lost: {lost[:20]}"
            assert len(stream.peers) == 1, f"{home}: {stream.peers}"


def a_mistake_changes_nothing():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.nat64(tables=TABLES).start()
        text = instance.text
        before = instance.json("show")
        instance.rewrite(text.replace("pool4", "poll4"))
        assert instance.command("apply", "--config", instance.path, check=False).returncode == 78
        instance.rewrite(text.replace("  - four\n", "  - nowhere\n"))
        done = instance.command("apply", "--config", instance.path, check=False)
        assert done.returncode == 78 and "nowhere" in done.stderr, done
        after = instance.json("show")
        assert before["interfaces"] == after["interfaces"], (before, after)
        instance.process.send_signal(1)         # SIGHUP
        wait_until(lambda: "stay as they are" in instance.logged(), 30, "SIGHUP is answered")


def pool_addresses_that_go_end_their_sessions_and_no_others():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.nat64(tables=TABLES).start()
        neighbours(net)
        with net.six0.raw() as raw6, net.four0.raw() as raw4:
            where = ask(net, raw6, raw4, 4000, SINKS[0], b"one")
            assert where[0] == POOL4
            base = {"mode": "nat64", "interfaces": ["six", "four"], "attach": "xdp", "pref64": [PREF64], "tables": TABLES}
            instance.apply({**base, "pool4": [POOL4, "192.0.2.9"]})
            assert ask(net, raw6, raw4, 4000, SINKS[0], b"two") == where
            instance.apply({**base, "pool4": ["192.0.2.9"]})
            wait_until(lambda: count(instance) == 0, 30, "the sessions of the address end")
            assert ask(net, raw6, raw4, 4000, SINKS[0], b"three")[0] == "192.0.2.9"


def an_upgrade_of_the_programs_keeps_sessions_and_loses_nothing():
    for home in ("xdp", "tc"):
        with Lab(PRICKLE) as lab:
            net = Line(lab, untouched=home == "tc")
            instance = net.nat64(attach=home, tables=TABLES).start()
            neighbours(net)
            stream = Stream(net)
            instance.kill()
            path = record_of(net)
            record = kb.Map.pinned(path)
            # The digest of the object that the programs came from follows two numbers: say that it was another one.
            value = bytearray(record.get(0))
            value[8:24] = bytes(16)
            record.set(0, bytes(value))
            record.close()
            instance.start()
            assert "took the place of an older one's" in instance.logged(), instance.logged()
            lost = stream.end()
            assert not lost, f"{home}: {len(lost)} of {stream.sent} datagrams were lost: {lost[:20]}"
            assert len(stream.peers) == 1, f"{home}: {stream.peers}"


def record_of(net):
    with net.nat.entered():
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        cookie = struct.unpack("=Q", s.getsockopt(socket.SOL_SOCKET, 71, 8))[0]     # SO_NETNS_COOKIE
        s.close()
    found = glob.glob(f"/sys/fs/bpf/prickle/nat64/{cookie}/*/record")
    if len(found) != 1:
        raise tap.Skip("the host's bpffs is not mounted where this test runs")
    return found[0]


def a_new_address_of_the_host_is_its_own_at_once():
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab)
        instance = net.siit(attach="tc")
        instance.rewrite({"mode": "siit", "interfaces": ["six", "four"], "attach": "tc", "pref64": [PREF64],
                          "mappings": ["192.0.2.0/24 2001:db8:99::/120"]})
        instance.start()
        net.nat.ip("addr", "add", "192.0.2.77/32", "dev", "four")
        wait_until(lambda: net.four.run("sh", "-c", "ping -c1 -W1 192.0.2.77 >/dev/null && echo yes || echo no").strip() == "yes",
                   30, "the host answers for its new address")
        net.nat.ip("addr", "del", "192.0.2.77/32", "dev", "four")
        wait_until(lambda: net.four.run("sh", "-c", "ping -c1 -W1 192.0.2.77 >/dev/null && echo yes || echo no").strip() == "no",
                   30, "and leaves it when it goes")


def two_translators_share_their_interfaces():
    for home in ("xdp", "tc"):
        with Lab(PRICKLE) as lab:
            net = Line(lab, untouched=home == "tc")
            other = "2001:db8:65::/96"
            net.nat64(attach=home, tables=TABLES).start()
            second = Instance(lab, net.nat, {"mode": "nat64", "interfaces": ["six", "four"], "attach": home, "pref64": [other],
                                             "pool4": ["192.0.2.200"], "tables": TABLES}, name="second").start()
            neighbours(net)
            web = lab.web(net.four, net.FOUR)
            net.six.run("curl", "-sS", "-m5", f"http://[{embed(net.FOUR)}]/")
            net.six.run("curl", "-sS", "-m5", f"http://[{embed(net.FOUR, other)}]/")
            assert [peer[0] for peer in web.seen] == [POOL4, "192.0.2.200"], web.seen
            second.stop()
            second.remove()
            net.six.run("curl", "-sS", "-m5", f"http://[{embed(net.FOUR)}]/")


def removal_leaves_nothing():
    for home in ("xdp", "tc"):
        with Lab(PRICKLE) as lab:
            net = Line(lab)
            before = sorted(net.nat.links())
            instance = net.nat64(attach=home, tables=TABLES).start()
            instance.stop()
            instance.remove()
            links = net.nat.links()
            assert sorted(links) == before, (before, sorted(links))
            assert not any("xdp" in row for row in links.values()), links
            assert "clsact" not in net.nat.run("tc", "qdisc", "show")
            done = instance.command("show", check=False)
            assert done.returncode == 4, done


tap.run([kill_9_with_100_000_sessions_on_xdp_loses_none_and_no_packet,
         kill_9_with_100_000_sessions_on_tc_loses_none_and_no_packet,
         apply_while_traffic_flows_loses_nothing, a_mistake_changes_nothing,
         pool_addresses_that_go_end_their_sessions_and_no_others,
         an_upgrade_of_the_programs_keeps_sessions_and_loses_nothing,
         a_new_address_of_the_host_is_its_own_at_once, two_translators_share_their_interfaces, removal_leaves_nothing])
