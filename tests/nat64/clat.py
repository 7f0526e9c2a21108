#!/usr/bin/env python3
"""
The CLAT: a host with IPv6 alone whose own IPv4 programs reach IPv4 servers, a router whose LAN has IPv4, and how the prefix is
found: by our own router advertisements and by DNS (unbound). The provider's side is mostly a stateless translator of ours, so
that tests see which address they came from.
"""
import os
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab as labs  # noqa: E402
from lab import Clat464, HostClat, Instance, Lab, PREF64, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1] if len(sys.argv) > 1 else None
ADDRESS6 = "2001:db8:c::c1a7"


def provider(lab, net, clat6=ADDRESS6, **more):
    """Their translator: IPv4 hosts see the customer as 192.0.2.10."""
    return Instance(lab, net.plat, {"mode": "siit", "interfaces": ["customer", "four"], "attach": "tc", "pref64": [PREF64],
                                    "mappings": [f"192.0.2.10/32 {clat6}/128"], **more}, name="plat").start()


def customer(lab, net, **more):
    return Instance(lab, net.clat, {"mode": "clat", "attach": "tc", **more}, name="clat")


def reaches(ns, net, tcp=True):
    """IPv4 programs of ns reach the server: ping, UDP, TCP."""
    ns.run("ping", "-c2", "-i0.1", "-W10", net.FOUR)
    a, b = ns.udp("0.0.0.0"), net.four.udp("0.0.0.0", 7003)
    for size in (1, 1000):
        a.sendto(b"q" * size, (net.FOUR, 7003))
        data, peer = b.recvfrom(65536)
        assert data == b"q" * size and peer[0] == "192.0.2.10", peer
        b.sendto(b"a" * size, peer)
        assert a.recvfrom(65536)[0] == b"a" * size
    b.close()
    if not tcp:
        return
    server = net.four.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0", 7001))
    server.listen(1)
    client = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(10)
    client.connect((net.FOUR, 7001))
    peer = server.accept()[0]
    peer.settimeout(10)
    for sender, receiver in ((client, peer), (peer, client)):
        got, block = 0, bytes(range(256)) * 256
        for _ in range(64):
            sender.sendall(block)
            part = b""
            while len(part) < len(block):
                part += receiver.recv(len(block) - len(part))
            assert part == block
            got += len(part)
    for s in (client, peer, server):
        s.close()


def the_hosts_own_ipv4_programs_reach_ipv4():
    """one host's CLAT: ping, UDP, TCP of its own programs, with offloads as they are"""
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        provider(lab, net)
        mine = customer(lab, net, pref64=[PREF64], clat={"uplink": "uplink", "address6": ADDRESS6}).start()
        reaches(net.clat, net)
        # Its address is on the uplink, so that neighbours find it, and the host does not use it for IPv6 of its own.
        shown = net.clat.ip("-6", "addr", "show", "dev", "uplink")
        assert f"{ADDRESS6}/128" in shown and "deprecated" in shown, shown
        net.plat.run("ping", "-c1", "-W10", net.UPLINK)
        # A traceroute from it shows the way.
        hops = [line.split()[1] for line in net.clat.run("traceroute", "-n", "-q1", "-w2", "-m6", net.FOUR).splitlines()[1:]]
        assert hops[-1] == net.FOUR, hops
        mine.stop()
        net.clat.run("ping", "-c1", "-W10", net.FOUR)  # without the daemon as well
        mine.remove()
        assert "prickle-clat" not in net.clat.ip("link") and ADDRESS6 not in net.clat.ip("addr"), net.clat.ip("addr")
        assert "default" not in net.clat.ip("-4", "route")


def a_lan_behind_the_clat_reaches_ipv4():
    """forwarded traffic of hosts with addresses of their own in a mapping"""
    with Lab(PRICKLE) as lab:
        net = Clat464(lab)
        provider(lab, net, clat6="2001:db8:c1a7::2")
        customer(lab, net, interfaces=["lan", "uplink"], pref64=[PREF64], mappings=["192.168.1.0/24 2001:db8:c1a7::/120"],
                 **{"host-traffic": False}).start()
        reaches(net.lan, net)
        net.lan.run("ping", "-c1", "-W10", net.LAN_ROUTER)  # the router itself is not translated


def the_address_is_made_from_the_uplinks_prefix_and_follows_it():
    """address6: auto"""
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        mine = customer(lab, net, pref64=[PREF64], clat={"uplink": "uplink"}).start()

        def address(prefix):
            rows = [row.split()[1] for row in net.clat.ip("-6", "addr", "show", "dev", "uplink").splitlines() if "inet6" in row]
            return next((row[:-4] for row in rows if row.startswith(prefix) and row.endswith("/128")), None)
        first = wait_until(lambda: address("2001:db8:c:"), what="an address")
        plat = provider(lab, net, clat6=first)
        reaches(net.clat, net, tcp=False)
        # The provider renumbers.
        net.plat.ip("addr", "add", "2001:db8:d::1/64", "dev", "customer", "nodad")
        net.clat.ip("addr", "add", "2001:db8:d::2/64", "dev", "uplink", "nodad")
        net.clat.ip("addr", "del", net.UPLINK + "/64", "dev", "uplink")
        net.clat.ip("-6", "route", "replace", "default", "via", "2001:db8:d::1")
        second = wait_until(lambda: address("2001:db8:d:"), what="the new address")
        wait_until(lambda: address("2001:db8:c:") is None, what="the end of the old one")
        plat.apply({"mode": "siit", "interfaces": ["customer", "four"], "attach": "tc", "pref64": [PREF64], "mappings": [f"192.0.2.10/32 {second}/128"]})
        reaches(net.clat, net, tcp=False)
        assert mine.process.poll() is None


def the_prefix_is_learnt_from_our_advertisements():
    """RFC 8781: the provider announces, the CLAT learns, also that there is no translator any more"""
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        mine = customer(lab, net, pref64=["ra"], clat={"uplink": "uplink", "address6": ADDRESS6}).start()
        assert net.clat.done("ping", "-c1", "-W1", net.FOUR).returncode != 0
        theirs = provider(lab, net, announce={"interfaces": ["customer"]})
        wait_until(lambda: net.clat.done("ping", "-c1", "-W1", net.FOUR).returncode == 0, timeout=30, what="the prefix")
        reaches(net.clat, net)
        assert "default" not in net.clat.ip("-6", "route").replace(f"default via {net.ISP}", ""), "a default router by our advertisement"
        # Without their daemon nothing changes; without their translator there is no prefix.
        theirs.stop()
        reaches(net.clat, net, tcp=False)
        theirs.start()
        theirs.stop()
        theirs.remove()
        wait_until(lambda: net.clat.done("ping", "-c1", "-W1", net.FOUR).returncode != 0, timeout=30, what="the farewell")
        assert mine.process.poll() is None


def the_prefix_is_learnt_by_dns():
    """RFC 7050: unbound with DNS64 at the provider"""
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        lab.dns(net.plat, net.ISP)
        provider(lab, net)
        customer(lab, net, pref64=["dns"], clat={"uplink": "uplink", "address6": ADDRESS6, "dns-server": net.ISP}).start()
        wait_until(lambda: net.clat.done("ping", "-c1", "-W1", net.FOUR).returncode == 0, timeout=30, what="the prefix")
        reaches(net.clat, net)


def everything_is_found_by_itself():
    """464XLAT with a stateful provider: the CLAT is told its uplink and nothing else"""
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        net.start_plat(announce={"interfaces": ["customer"]})
        customer(lab, net, pref64=["auto"], clat={"uplink": "uplink"}).start()
        wait_until(lambda: net.clat.done("ping", "-c1", "-W1", net.FOUR).returncode == 0, timeout=30, what="the prefix")
        web = lab.web(net.four, net.FOUR)
        assert net.clat.run("curl", "-s", "-m5", f"http://{net.FOUR}/") == "hello\n"
        assert web.seen[0][0] == labs.POOL4, web.seen


tap.run([the_hosts_own_ipv4_programs_reach_ipv4, a_lan_behind_the_clat_reaches_ipv4,
         the_address_is_made_from_the_uplinks_prefix_and_follows_it, the_prefix_is_learnt_from_our_advertisements, the_prefix_is_learnt_by_dns,
         everything_is_found_by_itself])
