#!/usr/bin/env python3
"""
Names: a host with IPv6 alone reaches a web server with IPv4 alone by its name, by unbound as DNS64 and the translator; a program
that knows IPv4 alone reaches it through a CLAT, which learns the prefix from DNS (RFC 7050) or is told it.

usage: dns64.py PRICKLE
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import programs as go  # noqa: E402
from lab import POOL4, PREF64, Clat464, HostClat, Instance, Lab, Line, embed, resolve_by, tap  # noqa: E402

PRICKLE = sys.argv[1]


def a_v6_only_host_opens_a_v4_only_web_server_by_name():
    go.need("unbound")
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=True)
        web = lab.web(net.four, net.FOUR, body=b"by name\n")
        net.nat64("tc").start()
        lab.dns(net.nat, net.NAT6)
        resolve_by(lab, net.six, net.NAT6)
        assert net.six.run(go.need("curl"), "-sS", "-m", "8", "http://www.test/") == "by name\n"
        assert web.seen[0][0] == POOL4
        said = net.six.run("getent", "ahostsv6", "www.test")
        assert embed(net.FOUR) in said, said


def an_ipv4_program_in_a_lan_reaches_it_through_clat():
    go.need("unbound")
    with Lab(PRICKLE) as lab:
        net = Clat464(lab)
        web = lab.web(net.four, net.FOUR, body=b"through both\n")
        net.start_plat()
        net.customer(mappings=[f"{net.LAN}/32 {net.CUSTOMER.split('/')[0]}2/128"]).start()
        lab.dns(net.four, net.FOUR, dns64=False)
        resolve_by(lab, net.lan, net.FOUR)
        assert net.lan.run(go.need("curl"), "-4", "-sS", "-m", "8", "http://www.test/") == "through both\n"
        assert web.seen[0][0] == POOL4
        go.must_ping(net.lan, net.FOUR)


def a_hosts_own_ipv4_program_reaches_it_through_its_clat():
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        web = lab.web(net.four, net.FOUR, body=b"my own\n")
        net.start_plat()
        Instance(lab, net.clat, {"mode": "clat", "attach": "tc", "pref64": [PREF64], "clat": {"uplink": "uplink"}}, name="clat").start()
        assert go.curl(net.clat, net.FOUR) == "my own\n"
        assert web.seen[0][0] == POOL4
        go.must_ping(net.clat, net.FOUR)
        go.transfer(net.clat, net.four, net.FOUR, net.FOUR)


def the_clat_learns_its_prefix_from_dns():
    """RFC 7050"""
    go.need("unbound")
    with Lab(PRICKLE) as lab:
        net = HostClat(lab)
        lab.web(net.four, net.FOUR, body=b"learnt\n")
        net.start_plat()
        lab.dns(net.plat, net.ISP)
        Instance(lab, net.clat, {"mode": "clat", "attach": "tc", "pref64": ["dns"], "clat": {"uplink": "uplink", "dns-server": net.ISP}},
                 name="clat").start()
        assert go.curl(net.clat, net.FOUR) == "learnt\n"


tap.run([a_v6_only_host_opens_a_v4_only_web_server_by_name, an_ipv4_program_in_a_lan_reaches_it_through_clat,
         a_hosts_own_ipv4_program_reaches_it_through_its_clat, the_clat_learns_its_prefix_from_dns])
