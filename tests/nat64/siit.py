#!/usr/bin/env python3
"""
Stateless translation between a server with IPv6 alone and a client with IPv4 alone, by real programs.

usage: siit.py PRICKLE xdp|tc
"""
import os
import struct
import sys
import time

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
        rate, end = go.iperf(net.six, net.four, embed(net.FOUR), net.FOUR, "-u", "-b", "100M", "-l", "1200", *options)
        assert rate > 0.05 and end["sum"]["lost_percent"] < 20, f"{rate} Gbit/s, {end['sum']['lost_percent']} % lost {options}"


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
    """SCTP, whose checksum does not cover addresses, DCCP, whose does, and an unknown one are forwarded (RFC 7915 4.5)"""
    net = network()
    raw, seen = net.six0.raw(), net.four0.raw()
    for proto in (132, 33, 99):
        body = bytearray(range(48))
        if proto == 33:                 # RFC 4340 5.1: data offset 6, all of it covered, 48-bit sequence numbers
            body[4:9] = b"\6\0\0\0\1"
            body[6:8] = struct.pack("!H", frames.checksum(frames.pseudo(net.SIX, embed(net.FOUR), proto, len(body)) + bytes(body)))
        raw.send(frames.eth(net.inside.mac, net.six0.mac, frames.ETH_IP6, frames.ip6(net.SIX, embed(net.FOUR), proto, bytes(body))))
        got = seen.receive(lambda f, p=proto: f.version == 4 and f.proto == p)
        assert got and got.saddr == net.SERVICE, (proto, got)
        if proto == 33:
            assert frames.sum16(frames.pseudo(net.SERVICE, net.FOUR, proto, 48) + got.payload[:48]) == 0xffff, got.raw.hex()
            body[6:8] = got.payload[6:8]
        assert got.payload[:48] == bytes(body), (proto, got.raw.hex())


def tagged_frames_are_translated_and_leave_as_their_route_says():
    """VLAN: the tag belongs to the link on which a frame came"""
    net = network()
    raw, seen = net.six0.raw(), net.four0.raw()
    for number, tags in enumerate(([7],) if TC else ([7], [5, 7])):     # tc sees the outermost tag alone
        raw.send(frames.udp_frame(net.inside.mac, net.six0.mac, net.SIX, embed(net.FOUR), 5, 600 + number, b"tagged", vlan=tags))
        got = seen.receive(lambda f, port=600 + number: f.version == 4 and f.dport == port)
        assert got and got.vlan == [] and got.payload == b"tagged" and got.sums_right, (tags, got)
    raw.send(frames.udp_frame(net.inside.mac, net.six0.mac, net.SIX, embed(net.FOUR), 5, 609, b"tagged", vlan=[3, 5, 7]))
    assert seen.receive(lambda f: f.version == 4 and f.dport == 609, timeout=0.3) is None
    back, seen = net.four0.raw(), net.six0.raw()
    back.send(frames.udp_frame(net.outside.mac, net.four0.mac, net.FOUR, net.SERVICE, 6, 601, b"tagged", vlan=9))
    got = seen.receive(lambda f: f.version == 6 and f.dport == 601)
    assert got and got.vlan == [] and got.sums_right, got
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
    for router, mtu, want, ends in ((net.r4, 1400, 1420, (net.six, net.four, embed(net.FOUR), net.FOUR)),
                                    (net.r6, 1300, 1280, (net.four, net.six, net.SERVICE, net.SIX))):
        router.ip("link", "set", "host", "mtu", mtu)
        try:
            found = go.transfer(*ends)
            assert found == want, f"{ends[0].name}: {found}"
        finally:
            router.ip("link", "set", "host", "mtu", 1500)


def jumbo_frames_pass():
    net = network(mtu6=9000, mtu4=9000)
    go.must_ping(net.six, embed(net.FOUR))
    time.sleep(0.3)                     # XDP: what came before neighbours were known went the slow way, and its flow for 0.1 s
    for here, there, address, bound in ((net.six, net.four, embed(net.FOUR), net.FOUR), (net.four, net.six, net.SERVICE, net.SIX)):
        go.datagrams(here, there, address, bound, [1000, 3000, 3500, 5000, 8900], discover=go.PMTUDISC_DO)
        go.transfer(here, there, address, bound)


CASES = [ping_reaches_both_ways, curl_reaches_the_ipv6_server_from_ipv4_and_the_reverse, netcat_speaks_tcp_and_udp_both_ways,
         a_megabyte_of_tcp_arrives_unchanged_both_ways, iperf3_tcp_both_ways, iperf3_udp_both_ways,
         udp_in_large_segments_arrives_as_it_was_cut, datagrams_that_need_fragments_arrive_both_ways,
         large_pings_are_fragmented_and_answered, the_translator_tells_the_mtu_to_ipv4, a_reset_and_a_closed_port_are_told,
         other_transports_are_forwarded, tagged_frames_are_translated_and_leave_as_their_route_says,
         servers_inside_reach_each_other_by_their_ipv4_addresses, traceroute_names_every_hop_both_ways, mtr_shows_the_way_both_ways,
         a_smaller_link_behind_a_router_is_found_by_tcp_both_ways, jumbo_frames_pass]


try:
    tap.run(CASES)
finally:
    network.close()
