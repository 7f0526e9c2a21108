#!/usr/bin/env python3
"""The networks that the tests of the translator stand on: without a translator, so that a failure there is one of the network."""
import ipaddress
import json
import os
import shutil
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab as labs  # noqa: E402
from lab import DataCentre, HostClat, Clat464, Lab, Line, embed, tap  # noqa: E402

PRICKLE = sys.argv[1] if len(sys.argv) > 1 else None


def addresses_are_embedded_as_rfc6052_2_4_shows():
    for prefix, want in (("2001:db8::/32", "2001:db8:c000:221::"), ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
                         ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
                         ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
                         ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
                         ("2001:db8:122:344::/96", "2001:db8:122:344::c000:221")):
        got = embed("192.0.2.33", prefix)
        assert ipaddress.ip_address(got) == ipaddress.ip_address(want), f"{prefix}: {got}"


def settings_are_written_as_yaml():
    got = labs.yaml({"mode": "siit", "pref64": ["2001:db8::/96"], "eam": [{"ipv6": "a::/128", "ipv4": "1.2.3.4"}],
                     "icmp": {"errors": True}})
    want = 'mode: siit\npref64:\n  - "2001:db8::/96"\neam:\n  - ipv6: "a::/128"\n    ipv4: 1.2.3.4\nicmp:\n  errors: true\n'
    assert got == want, got


def the_line_carries_each_family_to_the_translator_and_no_further():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        net.six.run("ping", "-c1", "-W10", net.NAT6)
        net.four.run("ping", "-c1", "-W10", net.NAT4)
        assert net.six.done("ping", "-c1", "-W1", embed(net.FOUR)).returncode != 0


def a_line_with_routers_has_their_hops():
    with Lab(PRICKLE) as lab:
        net = Line(lab, routers=True)
        net.six.run("ping", "-c1", "-W10", "2001:db8:7::2")
        net.four.run("ping", "-c1", "-W10", "198.51.100.2")


def untouched_end_points_keep_their_offloads():
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True)
        if shutil.which("ethtool"):
            told = net.six.run("ethtool", "-k", "eth0")
            assert "tcp-segmentation-offload: on" in told and "tx-checksumming: on" in told, told


def four_sixty_four_has_no_ipv4_in_the_middle():
    with Lab(PRICKLE) as lab:
        net = Clat464(lab)
        net.lan.run("ping", "-c1", "-W10", net.LAN_ROUTER)
        net.clat.run("ping", "-c1", "-W10", net.ISP)
        net.plat.run("ping", "-c1", "-W10", net.FOUR)
        rows = json.loads(net.clat.ip("-j", "-4", "addr", "show", "dev", "uplink"))
        assert not any(row.get("addr_info") for row in rows), rows
    with Lab(PRICKLE) as lab:
        assert "lan" not in HostClat(lab).clat.interfaces


def unbound_makes_addresses_for_names_that_have_none():
    if not shutil.which("unbound"):
        raise tap.Skip("unbound is not installed")
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        lab.dns(net.nat, net.NAT6, records={"both": ["A 203.0.113.2", "AAAA 2001:db8::1"]})
        for name, want in (("www", embed("203.0.113.2")), ("both", "2001:db8::1")):
            with net.six.entered():
                s = lab.keep(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            s.settimeout(3)
            s.sendto(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0%c%s\4test\0\0\x1c\0\1" % (len(name), name.encode()), (net.NAT6, 53))
            answer = s.recv(512)
            assert socket.inet_pton(socket.AF_INET6, want) in answer, f"{name}: {answer!r}"


def a_web_server_answers():
    if not shutil.which("curl"):
        raise tap.Skip("curl is not installed")
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        web = lab.web(net.nat, net.NAT6, body=b"yes")
        assert net.six.run("curl", "-sS", "-m5", f"http://[{net.NAT6}]/") == "yes"
        assert web.seen[0][0] == net.SIX


tap.run([addresses_are_embedded_as_rfc6052_2_4_shows, settings_are_written_as_yaml,
         the_line_carries_each_family_to_the_translator_and_no_further, a_line_with_routers_has_their_hops,
         untouched_end_points_keep_their_offloads, four_sixty_four_has_no_ipv4_in_the_middle,
         unbound_makes_addresses_for_names_that_have_none, a_web_server_answers])
