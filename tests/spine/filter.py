#!/usr/bin/env python3
"""
The packet filter: against a naive evaluator, and with real traffic.

usage: filter.py PRICKLE
"""

import ipaddress
import json
import os
import random
import struct
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
from lab import Lab, tap  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "sctp": 132, "gre": 47}
WITH_PORTS = (6, 17, 132, 136, 33)
MAC_A, MAC_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


class Setup:
    """A host with the filter on its interface, and a peer."""

    def __init__(self, lab):
        self.lab = lab
        self.here, self.peer = lab.veth(lab.ns("host"), "eth0", lab.ns("peer"), "eth0", ["10.1.0.1/24", "fd01::1/64"],
                                        ["10.1.0.2/24", "fd01::2/64"])
        self.extension = lab.install(self.here, lab.extension("filter"))
        self.path = f"/tmp/prickle-filter.{os.getpid()}"

    def rules(self, text, check=True):
        with open(self.path, "w", encoding="ascii") as f:
            f.write(text)
        try:
            return self.extension.prickle("spine", "filter", "load", self.path, "--json", check=check)
        finally:
            os.unlink(self.path)

    def show(self):
        return json.loads(self.extension.prickle("spine", "filter", "show", "--json").stdout)


# ---- the naive evaluator: rules as text, packets as fields, one after the other ----
def fits(rule, packet):
    """The rule's conditions hold for {version, proto, fragment, src, dst, sport, dport}."""
    words = [w for w in rule.split()[1:] if w != "and"]
    if not words and packet["version"] is None:
        return False
    at = 0
    while at < len(words):
        word = words[at]
        sides = ("src", "dst")
        if word in ("arp", "other"):
            return packet["version"] is None and packet["kind"] == word
        if packet["version"] is None:
            return False
        if word in ("ip", "ip6"):
            ok = packet["version"] == (4 if word == "ip" else 6)
        elif word == "fragment":
            ok = packet["fragment"]
        elif word == "proto":
            at += 1
            ok = packet["proto"] in [PROTOCOLS[x] if x in PROTOCOLS else int(x) for x in words[at].split(",")]
        elif word in PROTOCOLS:
            ok = packet["proto"] == PROTOCOLS[word] and packet["version"] == {"icmp": 4, "icmp6": 6}.get(word, packet["version"])
        else:
            if word in sides:
                sides = (word,)
                at += 1
                word = words[at]
            if word in ("port", "portrange"):
                at += 1
                ranges = [tuple(map(int, (x.split("-") * 2)[:2])) for x in words[at].split(",")]
                ok = packet["sport"] is not None and any(
                    low <= packet["sport" if side == "src" else "dport"] <= high for side in sides for low, high in ranges)
            else:
                if word in ("host", "net"):
                    at += 1
                nets = [ipaddress.ip_network(x) for x in words[at].split(",")]
                ok = any(ipaddress.ip_address(packet[side]) in net for side in sides for net in nets
                         if net.version == packet["version"])
        if not ok:
            return False
        at += 1
    return True


def judge(text, packet):
    """"pass" or "drop"."""
    default = "pass"
    decided = None
    for line in text.splitlines():
        if line.startswith("default"):
            default = line.split()[1]
        elif decided is None and fits(line, packet):
            decided = line.split()[0]
    return decided or (default if packet["version"] else "pass")


class Random:
    """Rules and packets of a small world, so that they meet often."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.hosts = {4: [f"10.{a}.{b}.{c}" for a in (0, 1) for b in (0, 128) for c in (1, 2, 200)],
                      6: [f"fd0{a}::{b}:{c}" for a in (0, 1) for b in (0, 8000) for c in (1, 2)]}
        self.ports = [0, 1, 22, 53, 80, 443, 999, 1000, 1001, 32768, 65535]

    def prefix(self):
        version = self.r.choice((4, 6))
        length = self.r.choice((0, 7, 8, 9, 16, 17, 24, 31, 32) if version == 4 else (0, 8, 15, 16, 96, 112, 127, 128))
        return str(ipaddress.ip_network(f"{self.r.choice(self.hosts[version])}/{length}", strict=False))

    def port(self):
        a, b = sorted((self.r.choice(self.ports), self.r.choice(self.ports)))
        return f"{a}-{b}" if self.r.random() < 0.5 else str(a)

    def rule(self):
        action, conditions = self.r.choice(("pass", "drop")), []
        if self.r.random() < 0.03:
            return f"{action} {self.r.choice(('arp', 'other', ''))}".strip()
        kind = self.r.random()
        if kind < 0.4:
            conditions.append(self.r.choice(list(PROTOCOLS)))
        elif kind < 0.5:
            conditions.append("proto " + ",".join(self.r.sample(("tcp", "17", "132", "253", "gre"), 2)))
        elif kind < 0.6:
            conditions.append(self.r.choice(("ip", "ip6")))
        for what in ("net", "port"):
            sides = self.r.choice(((), ("src",), ("dst",), ("src", "dst"), ("",)))
            for side in sides:
                values = ",".join((self.prefix if what == "net" else self.port)() for _ in range(self.r.choice((1, 1, 2, 4))))
                conditions.append(f"{side} {what} {values}".strip())
        if not any("port" in c for c in conditions) and self.r.random() < 0.1:
            conditions.append("fragment")
        self.r.shuffle(conditions)
        return f"{action} " + self.r.choice((" ", " and ")).join(conditions)

    def packet(self):
        """(fields for the evaluator, the frame)."""
        vlan = self.r.choice((None, None, None, 5, [6, 7]))
        if self.r.random() < 0.05:
            kind = self.r.choice(("arp", "other"))
            return {"version": None, "kind": kind}, frames.eth(MAC_B, MAC_A, 0x806 if kind == "arp" else 0x88cc, b"\0" * 46, vlan)
        version = self.r.choice((4, 6))
        src, dst = self.r.choice(self.hosts[version]), self.r.choice(self.hosts[version])
        proto = self.r.choice((6, 17, 132, 1, 58, 47, 253, 50, 136))
        sport, dport = self.r.choice(self.ports), self.r.choice(self.ports)
        body = struct.pack("!HH", sport, dport) + b"\0" * 40
        fragment = self.r.random() < 0.15
        first = not fragment and self.r.random() < 0.1
        if version == 4:
            options = self.r.choice((b"", b"", b"\x01" * 4, b"\x01" * 40))
            data = frames.ip4(src, dst, proto, body, fragment=0x2000 | 5 if fragment else 0x2000 if first else 0, options=options)
            kind = 0x800
        else:
            following, head = proto, b""
            if fragment or first:
                head = struct.pack("!BBHI", proto, 0, 0x0139 if fragment else 1, 7)
                following = 44
            for _ in range(self.r.choice((0, 0, 1, 3))):
                extension = self.r.choice((0, 43, 60, 51))
                size = self.r.choice((0, 1, 3))
                unit = 8 * (size + 1) if extension != 51 else 4 * (size + 3)
                head = bytes([following, size if extension != 51 else size + 1]) + b"\0" * (unit - 2) + head
                following = extension
            data, kind = frames.ip6(src, dst, following, head + body), 0x86dd
        ports = proto in WITH_PORTS and not fragment
        return {"version": version, "proto": proto, "fragment": fragment, "src": src, "dst": dst,
                "sport": sport if ports else None, "dport": dport if ports else None}, frames.eth(MAC_B, MAC_A, kind, data, vlan)


def same_as_the_naive_evaluator():
    """random rules judge random packets as an evaluator does that tries one rule after the other"""
    with Lab(PRICKLE) as lab:
        setup = Setup(lab)
        verdicts = {"pass": 0, "drop": 0}
        for seed in range(40):
            source = Random(seed)
            lines = [source.rule() for _ in range(source.r.choice((1, 3, 10, 60, 200)))]
            lines = [line for line in lines if not ("icmp6" in line and " ip " in line + " ")]
            default = source.r.choice(("", "default drop\n"))
            text = "\n".join(lines) + "\n" + default
            setup.rules(text)
            for _ in range(250):
                packet, frame = source.packet()
                verdict, after, _ = kb.test_run(setup.extension.fd, frame)
                want = judge(text, packet)
                verdicts[want] += 1
                got = {1: "drop", 2: "pass"}.get(verdict, verdict)
                first = next((f"line {n}: {line}" for n, line in enumerate(lines, 1) if fits(line, packet)), "default")
                assert got == want, f"seed {seed}: {packet}: {got}, wanted {want} by {first}"
                assert after == frame
        assert min(verdicts.values()) > 2000, verdicts


def thousand_rules():
    """1,000 rules cost a packet about what one costs"""
    with Lab(PRICKLE) as lab:
        setup = Setup(lab)
        frame = frames.udp_frame(MAC_B, MAC_A, "10.9.9.9", "10.1.0.1", 1, 2, b"x" * 40)
        tail = "drop src 10.9.9.9 udp dst port 2\n"
        cost = []
        for count in (0, 999):
            setup.rules("".join(f"drop src 10.8.{n // 250}.{n % 250} dst port {n + 5}\n" for n in range(count)) + tail)
            cost.append(min(kb.test_run(setup.extension.fd, frame, repeat=200000)[2] for _ in range(5)))
            verdict = kb.test_run(setup.extension.fd, frame)[0]
            assert verdict == kb.XDP_DROP
            assert setup.show()["rules"][-1]["packets"] >= 1000001
        print(f"# {cost[0]} ns with 1 rule, {cost[1]} ns with 1,000", flush=True)
        assert cost[1] < cost[0] + 150, cost


def malformed_is_dropped():
    """packets with headers that are cut off or contradict themselves are dropped and counted"""
    with Lab(PRICKLE) as lab:
        setup = Setup(lab)
        setup.rules("pass\n")
        good = frames.tcp_frame(MAC_B, MAC_A, "10.9.9.9", "10.1.0.1", 1, 2, b"x")
        six = frames.eth(MAC_B, MAC_A, 0x86dd, frames.ip6("fd00::1", "fd00::2", 0, (b"\0\0" + b"\0" * 6) * 8 + b"\x06\0" + b"\0" * 26))
        nine = frames.eth(MAC_B, MAC_A, 0x86dd, frames.ip6("fd00::1", "fd00::2", 0, (b"\0\0" + b"\0" * 6) * 9 + b"\x3b\0" + b"\0" * 26))
        bad = [good[:14] + b"\x55" + good[15:], good[:14] + b"\x44" + good[15:], good[:30], good[:34 + 3],
               good[:16] + b"\0\x13" + good[18:], frames.eth(MAC_B, MAC_A, 0x8100, b"\0\0"), nine, six[:14 + 40 + 8 + 4],
               frames.eth(MAC_B, MAC_A, 0x86dd, b"\x60" + b"\0" * 30)]
        assert kb.test_run(setup.extension.fd, good)[0] == kb.XDP_PASS
        for number, frame in enumerate(bad):
            assert kb.test_run(setup.extension.fd, frame)[0] == kb.XDP_DROP, number
        assert setup.show()["malformed"] == len(bad)


def real_traffic():
    """what the rules drop does not arrive, the rest does; each rule counts its packets"""
    with Lab(PRICKLE) as lab:
        setup = Setup(lab)
        peer, host = setup.peer.ns, setup.here.ns
        assert setup.show()["loaded_at"] == 0
        peer.run("ping", "-c1", "-W10", "10.1.0.1")  # no rules yet
        setup.rules("pass icmp6\npass icmp src 10.1.0.2\npass udp dst port 4000-4009 src 10.1.0.0/24,fd01::/64\n"
                    "drop tcp dst port 80\ndefault drop\n")
        peer.run("ping", "-c3", "-i0.01", "-W10", "10.1.0.1")
        peer.run("ping", "-6", "-c3", "-i0.01", "-W10", "fd01::1")
        for address, source in (("10.1.0.1", "10.1.0.2"), ("fd01::1", "fd01::2")):
            open_, closed = host.udp(address, 4005, 1), host.udp(address, 4010, 0.2)
            sender = peer.udp(source)
            for n in range(5):
                sender.sendto(b"%d" % n, (address, 4005))
                sender.sendto(b"%d" % n, (address, 4010))
            assert [open_.recv(9) for _ in range(5)] == [b"%d" % n for n in range(5)]
            try:
                assert not closed.recv(9)
            except TimeoutError:
                pass
        assert peer.done("curl", "-s", "--connect-timeout", "0.3", "http://10.1.0.1/").returncode == 28
        shown = setup.show()
        counts = {row["line"]: row["packets"] for row in shown["rules"]}
        assert counts[2] == 3 and counts[3] == 10 and counts[4] >= 1 and counts[1] >= 3, shown
        assert shown["default_packets"] >= 10 and shown["default"] == "drop"
        out = setup.extension.prickle("spine", "filter", "show").stdout
        assert "pass icmp src 10.1.0.2" in out, out


def rules_change_all_at_once():
    """while rules are loaded again and again, each packet sees either all old or all new ones"""
    with Lab(PRICKLE) as lab:
        setup = Setup(lab)
        # A packet to port 1 is passed by both; with rules of both mixed, or none, it would be dropped.
        both = ["pass icmp6\npass udp dst port 1 src 10.9.0.0/16\ndefault drop\n",  # icmp6: the peer's own
                "pass icmp6\n" + "drop udp dst port 1 src 10.8.0.0/16\n" * 50 + "pass udp src 10.0.0.0/8 dst port 1-3\ndefault drop\n"]
        setup.rules(both[0])
        frame = frames.udp_frame(MAC_B, MAC_A, "10.9.9.9", "10.1.0.1", 1, 1, b"x" * 40)
        runs, stop = [], threading.Event()

        def hammer():
            while not stop.is_set():
                kb.test_run(setup.extension.fd, frame, repeat=20000)
                runs.append(20000)
        thread = threading.Thread(target=hammer)
        thread.start()
        try:
            n = 0
            while n < 12 or len(runs) <= 10:  # on a busy machine packets come later than rules
                n += 1
                setup.rules(both[n % 2])
        finally:
            stop.set()
            thread.join()
        counters = setup.extension.counters()
        assert counters["dropped"] == 0 and counters["passed"] >= sum(runs) and len(runs) > 10, (counters, len(runs))


def errors_change_nothing():
    """a file with an error changes nothing and is told with its line"""
    with Lab(PRICKLE) as lab:
        setup = Setup(lab)
        setup.rules("drop udp dst port 9\n")
        done = setup.rules("drop udp dst port 10\ndrop tpc\n", check=False)
        assert done.returncode == 2 and ":2: 'tpc' is no condition; did you mean 'tcp'?" in done.stdout, done
        assert [row["rule"] for row in setup.show()["rules"]] == ["drop udp dst port 9"]


if __name__ == "__main__":
    tap.run([same_as_the_naive_evaluator, thousand_rules, malformed_is_dropped, real_traffic, rules_change_all_at_once,
             errors_change_nothing])
