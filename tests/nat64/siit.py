#!/usr/bin/env python3
"""
Stateless translation between a server with IPv6 alone and a client with IPv4 alone, by real programs.

usage: siit.py PRICKLE xdp|tc
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import programs as go  # noqa: E402
from lab import DataCentre, Shared, embed, frames, tap  # noqa: E402

PRICKLE, HOME = sys.argv[1], sys.argv[2]
TC = HOME == "tc"


def make(lab, settings=None, **more):
    net = DataCentre(lab, untouched=TC, **more)
    net.instance = net.siit(HOME, **(settings or {})).start()
    return net


network = Shared(PRICKLE, make)


def ping_reaches_both_ways():
    net = network()
    go.must_ping(net.six, embed(net.FOUR))
    go.must_ping(net.four, net.SERVICE)


def curl_reaches_the_ipv6_server_from_ipv4_and_the_reverse():
    net = network()
    six = net.lab.web(net.six, net.SIX, body=b"from six\n")
    four = net.lab.web(net.four, net.FOUR, body=b"from four\n")
    assert go.curl(net.four, net.SERVICE) == "from six\n"
    assert go.curl(net.six, embed(net.FOUR)) == "from four\n"
    assert six.seen[0][0] == embed(net.FOUR) and four.seen[0][0] == net.SERVICE, (six.seen, four.seen)


def netcat_speaks_tcp_and_udp_both_ways():
    net = network()
    for udp in (False, True):
        go.netcat(net.six, net.four, embed(net.FOUR), net.FOUR, 7001 + udp, udp)
        go.netcat(net.four, net.six, net.SERVICE, net.SIX, 7003 + udp, udp)


def a_megabyte_of_tcp_arrives_unchanged_both_ways():
    net = network()
    go.transfer(net.six, net.four, embed(net.FOUR), net.FOUR)
    go.transfer(net.four, net.six, net.SERVICE, net.SIX)


def iperf3_tcp_both_ways():
    net = network()
    for options in ([], ["-R"]):
        rate, _ = go.iperf(net.six, net.four, embed(net.FOUR), net.FOUR, *options)
        print(f"# TCP {' '.join(options)} {rate:.2f} Gbit/s")
        assert rate > 0.2, f"{rate} Gbit/s {options}"


def iperf3_udp_both_ways():
    net = network()
    for options in ([], ["-R"]):
        rate, end = go.iperf(net.six, net.four, embed(net.FOUR), net.FOUR, "-u", "-b", "200M", "-l", "1200", *options)
        assert rate > 0.15 and end["sum"]["lost_percent"] < 5, f"{rate} Gbit/s, {end['sum']['lost_percent']} % lost {options}"


def udp_in_large_segments_arrives_as_it_was_cut():
    net = network()
    go.segments(net.six, net.four, embed(net.FOUR), net.FOUR)
    go.segments(net.four, net.six, net.SERVICE, net.SIX)


def datagrams_that_need_fragments_arrive_both_ways():
    net = network()
    sizes = [1, 1200, 1400, 1472, 1473, 2000, 3000, 8000, 20000]
    go.datagrams(net.six, net.four, embed(net.FOUR), net.FOUR, sizes, discover=go.PMTUDISC_DONT)
    go.datagrams(net.four, net.six, net.SERVICE, net.SIX, sizes, discover=go.PMTUDISC_DONT)


def large_pings_are_fragmented_and_answered():
    net = network()
    go.must_ping(net.six, embed(net.FOUR), "-s", 4000)
    go.must_ping(net.four, net.SERVICE, "-M", "dont", "-s", 4000)


def the_translator_tells_the_mtu_to_ipv4():
    net = network()
    net.four.ip("route", "flush", "cache")
    said = net.four.done("ping", "-n", "-c2", "-i", "0.2", "-W2", "-M", "do", "-s", "1472", net.SERVICE)
    assert "mtu = 1480" in said.stdout or "mtu=1480" in said.stdout, said.stdout + said.stderr
    go.must_ping(net.four, net.SERVICE, "-M", "do", "-s", 1452)
    net.four.ip("route", "flush", "cache")


def a_reset_and_a_closed_port_are_told():
    net = network()
    for here, address in ((net.six, embed(net.FOUR)), (net.four, net.SERVICE)):
        said = here.done("nc", "-n", "-w3", "-v", address, 9999)
        assert "refused" in said.stderr, said.stderr
        probe = here.udp("::" if ":" in address else "0.0.0.0", 0, 2)
        probe.connect((address, 9998))
        probe.send(b"anybody?")
        try:
            probe.recv(10)
            raise AssertionError("an answer from a closed port")
        except ConnectionRefusedError:
            pass
        probe.close()


def other_transports_are_forwarded():
    """SCTP and DCCP pass with their checksums, which do not cover addresses (RFC 7915 4.5)"""
    net = network()
    net.six.run("ping", "-c1", net.NAT6)
    raw, seen = net.six0.raw(), net.four0.raw()
    for proto in (132, 33):
        body = bytes(range(32))
        raw.send(frames.eth(net.inside.mac, net.six0.mac, frames.ETH_IP6, frames.ip6(net.SIX, embed(net.FOUR), proto, body)))
        got = seen.receive(lambda f, p=proto: f.version == 4 and f.proto == p)
        assert got and got.saddr == net.SERVICE and got.payload[:32] == body, (proto, got)


def vlan_frames_keep_their_tag_or_stay_untouched():
    """A tagged frame is never translated into an untagged network"""
    net = network()
    raw, seen = net.six0.raw(), net.four0.raw()
    data = frames.udp_frame(net.inside.mac, net.six0.mac, net.SIX, embed(net.FOUR), 5, 6, b"tagged", vlan=7)
    raw.send(data)
    got = seen.receive(lambda f: f.version == 4 and f.dport == 6, timeout=0.5)
    assert got is None or got.vlan == [7], got
    go.must_ping(net.six, embed(net.FOUR))


def servers_inside_reach_each_other_by_their_ipv4_addresses():
    """Hairpin: RFC 7757 4"""
    net = network()
    go.must_ping(net.six, embed(net.SERVICE))
    web = net.lab.web(net.six, net.SIX, 8088, b"myself\n")
    assert go.curl(net.six, embed(net.SERVICE), 8088) == "myself\n"
    web.close()


def traceroute_names_every_hop_both_ways():
    net = network(routers=True)
    for options in (["-I"], [], ["-T", "-p", "80"]):
        found = go.hops(net.six, embed(net.FOUR), *options)
        assert found[0] == net.NAT6 and found[1] == "2001:db8:7::2" and found[-1] == embed(net.FOUR), (options, found)
        assert found[2] == embed(net.R4), (options, found)
        found = go.hops(net.four, net.SERVICE, *options)
        assert found[0] == net.NAT4 and found[1] == "198.51.100.2" and found[-1] == net.SERVICE and len(found) == 4, (options, found)
        assert found[2] != "*", f"the hop behind the translator has no address (RFC 6791): {found}"


def mtr_shows_the_way_both_ways():
    net = network(routers=True)
    for here, address in ((net.six, embed(net.FOUR)), (net.four, net.SERVICE)):
        found, lost = go.mtr(here, address)
        assert found[-1] == address and lost == 0, (found, lost)


def a_smaller_link_behind_a_router_is_found_by_tcp_both_ways():
    """Path MTU discovery: the router's ICMP error crosses the translator"""
    net = network(routers=True)
    net.r4.ip("link", "set", "host", "mtu", 1400)
    net.r6.ip("link", "set", "host", "mtu", 1300)
    try:
        mtu6 = go.transfer(net.six, net.four, embed(net.FOUR), net.FOUR)
        assert mtu6 == 1420, f"IPv6 host: {mtu6}"
        mtu4 = go.transfer(net.four, net.six, net.SERVICE, net.SIX)
        assert mtu4 == 1280, f"IPv4 host: {mtu4}"
    finally:
        net.r4.ip("link", "set", "host", "mtu", 1500)
        net.r6.ip("link", "set", "host", "mtu", 1500)


def jumbo_frames_pass():
    net = network(mtu6=9000, mtu4=9000)
    go.must_ping(net.six, embed(net.FOUR), "-M", "do", "-s", 8000)
    go.must_ping(net.four, net.SERVICE, "-M", "do", "-s", 8000)
    go.transfer(net.six, net.four, embed(net.FOUR), net.FOUR)
    go.transfer(net.four, net.six, net.SERVICE, net.SIX)


CASES = [ping_reaches_both_ways, curl_reaches_the_ipv6_server_from_ipv4_and_the_reverse, netcat_speaks_tcp_and_udp_both_ways,
         a_megabyte_of_tcp_arrives_unchanged_both_ways, iperf3_tcp_both_ways, iperf3_udp_both_ways,
         udp_in_large_segments_arrives_as_it_was_cut, datagrams_that_need_fragments_arrive_both_ways,
         large_pings_are_fragmented_and_answered, the_translator_tells_the_mtu_to_ipv4, a_reset_and_a_closed_port_are_told,
         other_transports_are_forwarded, vlan_frames_keep_their_tag_or_stay_untouched,
         servers_inside_reach_each_other_by_their_ipv4_addresses, traceroute_names_every_hop_both_ways, mtr_shows_the_way_both_ways,
         a_smaller_link_behind_a_router_is_found_by_tcp_both_ways, jumbo_frames_pass]


try:
    tap.run(CASES)
finally:
    network.close()
