#!/usr/bin/env python3
"""
The daemon of a translator: its rights, its deaths, what it follows, its metrics.

usage: daemon.py PRICKLE
"""
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import DataCentre, HostClat, Instance, Lab, Line, PREF64, embed, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1]
SMALL = {"sessions": 4096, "mappings": 4096, "subscribers": 64}
RIGHTS = 1 << 39 | 1 << 12 | 1 << 13            # CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f)


def keeper_of(instance):
    """The process of `nat64 run`: `ip netns exec` becomes it."""
    return instance.process.pid


def worker_of(instance):
    """Its rights are given up before the filter is put on, which is its last step before it reads packets."""
    def look():
        with open(f"/proc/{keeper_of(instance)}/task/{keeper_of(instance)}/children", encoding="ascii") as f:
            found = f.read().split()
        row = status(found[0]) if found else {}
        return int(found[0]) if row.get("Name") == "prickle:nat64" and row["Seccomp"] == "2" else None
    return wait_until(look, 30, "the worker")


def answers(ns, address, *more):
    return subprocess.run(["ip", "netns", "exec", ns.name, "ping", "-c1", "-W1", *more, address], capture_output=True,
                          check=False).returncode == 0


def what_reads_packets_has_three_rights_and_a_filter():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.nat64(tables=SMALL).start()
        row = status(worker_of(instance))
        for key in ("CapEff", "CapPrm", "CapBnd"):
            assert int(row[key], 16) == RIGHTS, f"{key}: {row[key]}"
        assert int(row["CapInh"], 16) == 0 and int(row["CapAmb"], 16) == 0, row
        assert row["Seccomp"] == "2" and row["NoNewPrivs"] == "1", row


def a_worker_that_dies_is_started_again():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.nat64(tables=SMALL).start()
        assert answers(net.six, embed(net.FOUR)) or answers(net.six, embed(net.FOUR))
        first = worker_of(instance)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: "started again" in instance.logged(), 30, "the keeper says so")
        second = wait_until(lambda: (pid := worker_of(instance)) != first and pid, 30, "another worker")
        assert int(status(second)["CapEff"], 16) == RIGHTS
        # Needs the slow path: the datagram comes in parts.
        wait_until(lambda: answers(net.six, embed(net.FOUR), "-s", "3000"), 30, "fragments are translated again")


def a_second_daemon_of_a_translator_is_refused():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.nat64(tables=SMALL).start()
        done = instance.command("run", "--config", instance.path, check=False)
        assert done.returncode == 75 and "another `prickle nat64 run`" in done.stderr, done
        assert answers(net.six, embed(net.FOUR)) or answers(net.six, embed(net.FOUR))
        done = instance.command("remove", "--name", instance.name, check=False)
        assert done.returncode == 75, done


def the_end_leaves_it_running_and_remove_takes_it_away():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.nat64(tables=SMALL).start()
        assert answers(net.six, embed(net.FOUR)) or answers(net.six, embed(net.FOUR))
        instance.stop()
        assert answers(net.six, embed(net.FOUR)), "translated without the daemon"
        instance.start("--remove")
        instance.stop()
        assert "nat64-test" not in net.nat.links()
        assert not answers(net.six, embed(net.FOUR))


def metrics_are_served_and_other_requests_refused():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        net.nat64(tables=SMALL, metrics=["127.0.0.1:9164"]).start()
        net.nat.ip("link", "set", "lo", "up")
        idle = net.nat.socket(socket.AF_INET, socket.SOCK_STREAM)        # says nothing, and disturbs nobody
        idle.connect(("127.0.0.1", 9164))
        lab.keep(idle)
        text = net.nat.run("curl", "-sS", "-m5", "http://127.0.0.1:9164/metrics")
        assert "prickle_nat64_" in text and text.endswith("# EOF\n"), text[-300:]
        for arguments, code in ((["http://127.0.0.1:9164/other"], "404"), (["-XPOST", "http://127.0.0.1:9164/metrics"], "405"),
                                (["-d", "x", "-XGET", "http://127.0.0.1:9164/metrics"], "413"),
                                (["-H", "X: " + "x" * 8192, "http://127.0.0.1:9164/metrics"], "431"),
                                (["-I", "http://127.0.0.1:9164/metrics?all"], "200")):
            said = net.nat.run("curl", "-sS", "-m5", "-o", "/dev/null", "-w", "%{http_code}", *arguments)
            assert said == code, f"{arguments}: {said}"


def jumbo_frames_are_translated_on_xdp():
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, mtu6=9000, mtu4=9000)
        net.siit(attach="xdp").start()
        wait_until(lambda: answers(net.four, net.SERVICE), 30, "a small one")
        # A TAP takes no frame of several buffers, so such a one does not follow others of its flow onto the slow path.
        wait_until(lambda: answers(net.four, net.SERVICE, "-s", "8000", "-M", "do"), 30, "a large one")


def an_interface_that_comes_back_is_attached_again():
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True)
        instance = net.siit(attach="tc").start()
        wait_until(lambda: answers(net.four, net.SERVICE), 30, "before")
        net.nat.ip("link", "del", "four")
        lab.veth(net.four, "eth0", net.nat, "four", [net.FOUR + "/24"], [net.NAT4 + "/24"], untouched=True)
        net.four.ip("route", "replace", "default", "via", net.NAT4)
        wait_until(lambda: answers(net.four, net.SERVICE), 30, f"after: {instance.logged()}")
        rows = {row["interface"]: row for row in instance.json("show")["interfaces"]}
        assert rows["four"]["running"] and rows["six"]["running"], rows


def next_hops_follow_routes_and_neighbours():
    """packets go where the kernel's tables say now: a remembered next hop would serve for a second more"""
    for attach in ("tc", "xdp"):
        with Lab(PRICKLE) as lab:
            net = DataCentre(lab)
            other = lab.ns("other")
            _, port = lab.veth(other, "eth0", net.nat, "other", ["198.51.100.2/24"], ["198.51.100.1/24"])
            lab.ready(port)
            for ns, gateway in ((net.four, net.NAT4), (other, "198.51.100.1")):
                ns.ip("addr", "add", "198.18.0.7/32", "dev", "lo")
                ns.ip("route", "replace", "default", "via", gateway)
            net.nat.ip("route", "add", "198.18.0.0/24", "via", net.FOUR)
            net.siit(attach=attach, interfaces=["six", "four", "other"]).start()
            for ns, address in ((net.four, net.FOUR), (other, "198.51.100.2")):
                wait_until(lambda: answers(net.six, embed(address)), 30, f"{address} by {attach}")
            stream = lab.keep(Stream(net, "198.18.0.7", [net.four, other]))
            by = lambda gateway: net.nat.ip("route", "replace", "198.18.0.0/24", "via", gateway)
            wait_until(lambda: stream.settles(0), 30, "all goes by the first route")
            at_once(lambda: by("198.51.100.2"), lambda: stream.settles(1), lambda: by(net.FOUR), lambda: stream.settles(0))

            def link_address(mac):
                other.ip("link", "set", "eth0", "address", mac)
                net.nat.ip("neigh", "replace", "198.51.100.2", "lladdr", mac, "dev", "other", "nud", "reachable")
            at_once(lambda: link_address("02:00:00:00:77:01"), lambda: stream.settles(1),
                    lambda: link_address("02:00:00:00:77:02"), lambda: stream.settles(1))


def at_once(change, followed, back, before):
    """
    A change is followed at once. On a machine that is busy it may be late, so it may be tried again; what waits for a second
    each time never passes.
    """
    for _ in range(10):
        change()
        if followed():
            return
        back()
        wait_until(before, 30, "all is as it was before")
    raise AssertionError("the change was not followed at once in ten trials")


class Stream:
    """Numbered datagrams from `six` to an address that several hosts have, all the time."""
    QUICKLY = 0.25

    def __init__(self, net, address, hosts):
        self.sender, self.to = net.six.udp(net.SIX), (embed(address), 9)
        self.hosts, self.number = [ns.udp(address, 9, timeout=0) for ns in hosts], 0

    def settles(self, host):
        """Whether all that is sent from QUICKLY seconds from now on, for as long, arrives at this host and at no other."""
        start, first, got = time.monotonic(), None, [set() for _ in self.hosts]
        while time.monotonic() < start + 2 * self.QUICKLY or first is None:
            self.number += 1
            first = self.number if first is None and time.monotonic() > start + self.QUICKLY else first
            self.sender.sendto(str(self.number).encode(), self.to)
            time.sleep(0.005)
            self._take(got)
        time.sleep(0.1)
        self._take(got)
        wanted = set(range(first, self.number + 1))
        return all(wanted & numbers == (wanted if at == host else set()) for at, numbers in enumerate(got))

    def _take(self, got):
        for numbers, one in zip(got, self.hosts):
            with contextlib.suppress(BlockingIOError):
                while True:
                    numbers.add(int(one.recv(100)))

    def close(self):
        pass


def a_clat_follows_its_uplink():
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        net.start_plat()
        instance = Instance(lab, net.clat, {"mode": "clat", "interfaces": ["uplink"], "attach": "tc", "pref64": [PREF64],
                                            "clat": {"uplink": "uplink"}}, name="clat").start()
        wait_until(lambda: answers(net.clat, net.FOUR), 30, "before")
        net.plat.ip("addr", "add", "2001:db8:cc::1/64", "dev", "customer", "nodad")
        net.clat.ip("addr", "add", "2001:db8:cc::2/64", "dev", "uplink", "nodad")
        net.clat.ip("addr", "del", net.UPLINK + "/64", "dev", "uplink")
        net.clat.ip("route", "replace", "default", "via", "2001:db8:cc::1")
        wait_until(lambda: "2001:db8:cc:0:" in net.clat.ip("-6", "addr", "show", "dev", "uplink"), 30, "an address of the new network")
        wait_until(lambda: answers(net.clat, net.FOUR), 30, f"after: {instance.logged()}")
        instance.stop()
        instance.remove()
        left = net.clat.ip("-6", "addr", "show", "dev", "uplink")
        assert left.count("global") == 1, left
        assert net.clat.ip("-4", "route") == ""


def a_host_s_clat_by_xdp_is_refused():
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        instance = Instance(lab, net.clat, {"mode": "clat", "interfaces": ["uplink"], "attach": "xdp", "pref64": [PREF64],
                                            "clat": {"uplink": "uplink"}}, name="clat")
        done = instance.command("apply", "--config", instance.path, check=False)
        assert done.returncode == 78 and "XDP" in done.stderr, done


def a_translator_of_a_namespace_that_is_gone_is_cleaned_up():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        gone, other = net.nat64(tables=SMALL), lab.ns("other")
        gone.command("apply", "--config", gone.path)
        names = lambda: [row["name"] for row in lab.json(other, "nat64", "list")]
        assert "test" in names(), names()
        before = count_pins()
        os.close(net.nat.fd)
        subprocess.run(["ip", "netns", "del", net.nat.name], check=True)
        lab.namespaces.pop("nat")

        def cleaned():
            names()
            return count_pins() < before
        wait_until(cleaned, 30, "its tables are gone")


def count_pins():
    if not os.path.isdir("/sys/fs/bpf/prickle/nat64"):
        raise tap.Skip("the host's bpffs is not mounted where this test runs")
    return len(os.listdir("/sys/fs/bpf/prickle/nat64"))


tap.run([what_reads_packets_has_three_rights_and_a_filter, a_worker_that_dies_is_started_again,
         a_second_daemon_of_a_translator_is_refused, the_end_leaves_it_running_and_remove_takes_it_away,
         metrics_are_served_and_other_requests_refused, jumbo_frames_are_translated_on_xdp,
         an_interface_that_comes_back_is_attached_again, next_hops_follow_routes_and_neighbours,
         a_clat_follows_its_uplink, a_host_s_clat_by_xdp_is_refused,
         a_translator_of_a_namespace_that_is_gone_is_cleaned_up])
