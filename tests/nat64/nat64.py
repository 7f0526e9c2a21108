#!/usr/bin/env python3
"""
Stateful translation for a host with IPv6 alone to a server with IPv4 alone, by real programs; static mappings for the way back.

usage: nat64.py PRICKLE xdp|tc
"""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import programs as go  # noqa: E402
from lab import POOL4, PREF64, Instance, Line, Shared, embed, tap, wait_until  # noqa: E402

PRICKLE, HOME = sys.argv[1], sys.argv[2]
TC = HOME == "tc"
STATIC_TCP, STATIC_UDP = (80, 7003, 7100, 5301), (7004, 7200, 7300, 5301)
SECOND = "203.0.113.3"          # another address of the IPv4 host


def make(lab, **more):
    net = Line(lab, untouched=TC, **more)
    net.four.ip("addr", "add", SECOND + "/24", "dev", "eth0")
    net.settings = {"interfaces": ["six", "four"], "attach": HOME, "mode": "nat64", "pref64": [PREF64], "pool4": [POOL4],
                    "static": [f"tcp {POOL4}:{port} [{net.SIX}]:{port}" for port in STATIC_TCP] +
                    [f"udp {POOL4}:{port} [{net.SIX}]:{port}" for port in STATIC_UDP]}
    net.instance = Instance(lab, net.nat, net.settings).start()
    return net


network = Shared(PRICKLE, make)


def ping_reaches_ipv4():
    net = network()
    go.must_ping(net.six, embed(net.FOUR))


def curl_reaches_ipv4_and_a_static_mapping_the_server_inside():
    net = network()
    four = net.lab.web(net.four, net.FOUR, body=b"from four\n")
    six = net.lab.web(net.six, net.SIX, body=b"from six\n")
    assert go.curl(net.six, embed(net.FOUR)) == "from four\n"
    assert go.curl(net.four, POOL4) == "from six\n"
    assert four.seen[0][0] == POOL4 and six.seen[0][0] == embed(net.FOUR), (four.seen, six.seen)


def netcat_speaks_tcp_and_udp():
    net = network()
    for udp in (False, True):
        go.netcat(net.six, net.four, embed(net.FOUR), net.FOUR, 7001 + udp, udp)
        go.netcat(net.four, net.six, POOL4, net.SIX, 7003 + udp, udp)


def a_megabyte_of_tcp_arrives_unchanged_both_ways():
    net = network()
    go.transfer(net.six, net.four, embed(net.FOUR), net.FOUR)
    go.transfer(net.four, net.six, POOL4, net.SIX)


def iperf3_tcp_both_ways():
    net = network()
    for options in ([], ["-R"], ["-P", "4"]):
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
    go.segments(net.four, net.six, POOL4, net.SIX)


def datagrams_that_need_fragments_arrive_both_ways():
    net = network()
    sizes = [1, 1200, 1400, 1472, 1473, 2000, 3000, 8000, 20000]
    go.datagrams(net.six, net.four, embed(net.FOUR), net.FOUR, sizes, discover=go.PMTUDISC_DONT)
    go.datagrams(net.four, net.six, POOL4, net.SIX, sizes, discover=go.PMTUDISC_DONT)


def large_pings_are_fragmented_and_answered():
    net = network()
    go.must_ping(net.six, embed(net.FOUR), "-s", 4000)


def one_port_inside_is_one_port_outside_for_all_destinations():
    """Endpoint-independent mapping and filtering (RFC 4787 REQ-1, REQ-8)"""
    net = network()
    one, two, third = net.four.udp(net.FOUR, 6001), net.four.udp(net.FOUR, 6002), net.four.udp(SECOND, 6003)
    inside = net.six.udp(net.SIX, 40001)
    seen = set()
    for server, address, port in ((one, net.FOUR, 6001), (two, net.FOUR, 6002), (third, SECOND, 6003)):
        inside.sendto(b"where from?", (embed(address), port))
        seen.add(server.recvfrom(100)[1])
    assert len(seen) == 1 and next(iter(seen))[0] == POOL4, seen
    stranger = net.four.udp(SECOND, 6004)
    stranger.sendto(b"hello", next(iter(seen)))
    got, peer = inside.recvfrom(100)
    assert got == b"hello" and peer[:2] == (embed(SECOND), 6004), peer


def strangers_are_filtered_when_that_is_wanted():
    """Address-dependent filtering (RFC 6146 3.5.1.1), changed while it runs"""
    net = network()
    net.instance.apply({**net.settings, "filtering": "address-dependent"})
    try:
        server, stranger = net.four.udp(net.FOUR, 6011), net.four.udp(SECOND, 6012)
        inside = net.six.udp(net.SIX, 40011, 0.5)
        inside.sendto(b"where from?", (embed(net.FOUR), 6011))
        peer = server.recvfrom(100)[1]
        stranger.sendto(b"hello", peer)
        try:
            raise AssertionError(f"a stranger came through: {inside.recvfrom(100)}")
        except TimeoutError:
            pass
        server.sendto(b"known", peer)
        assert inside.recv(100) == b"known"
        assert net.instance.reason("filtered") >= 1, net.instance.reasons()
    finally:
        net.instance.apply(net.settings)


def packets_and_errors_are_as_the_file_says():
    """mtu.ipv4, icmp.source6, tos, and icmp.errors, changed while it runs"""
    net = network()
    go.must_ping(net.six, embed(net.FOUR))
    source = "2001:db8:ffff::1"
    net.instance.apply({**net.settings, "mtu": {"ipv4": 1400}, "tos": 40, "icmp": {"source6": source}})
    try:
        ping = lambda *more: net.six.done("ping", "-n", "-c1", "-W1", *more, embed(net.FOUR)).stdout
        wait_until(lambda: "mtu=1420" in ping("-M", "do", "-s", 1400), 30, "IPv6 is told 20 more than IPv4 may have")
        assert f"From {source} " in ping("-t", 1) and "1 received" in ping("-M", "do", "-s", 1372)
        server = net.four.udp(net.FOUR, 6013)
        server.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        net.six.udp(net.SIX, 40013).sendto(b"how?", (embed(net.FOUR), 6013))
        assert server.recvmsg(100, 100)[1][0][2][0] == 40
        net.instance.apply({**net.settings, "icmp": {"errors": False}})
        assert "errors" not in ping("-t", 1)
    finally:
        net.instance.apply(net.settings)
        net.six.ip("-6", "route", "flush", "cache")


def a_port_that_nobody_has_is_counted():
    net = network()
    before = net.instance.reason("no-mapping")
    stranger = net.four.udp(net.FOUR, 6020)
    stranger.sendto(b"hello", (POOL4, 33333))
    wait_until(lambda: net.instance.reason("no-mapping") > before, 30, f"no-mapping {net.instance.reasons()}")


def a_closed_port_is_told():
    net = network()
    said = net.six.done("nc", "-n", "-w3", "-v", embed(net.FOUR), 9999)
    assert "refused" in said.stderr, said.stderr
    probe = net.six.udp("::", 0, 2)
    probe.connect((embed(net.FOUR), 9998))
    probe.send(b"anybody?")
    try:
        probe.recv(10)
        raise AssertionError("an answer from a closed port")
    except ConnectionRefusedError:
        pass


def hosts_inside_reach_each_other_by_their_ports_outside():
    """Hairpin: RFC 6146 3.8"""
    net = network()
    web = net.lab.web(net.six, net.SIX, 7100, b"myself\n")
    assert go.curl(net.six, embed(POOL4), 7100) == "myself\n"
    assert web.seen[0][0] == embed(POOL4), web.seen
    web.close()
    a, b = net.six.udp(net.SIX, 40031), net.six.udp(net.SIX, 7200)
    a.sendto(b"over the pool", (embed(POOL4), 7200))
    got, peer = b.recvfrom(100)
    b.sendto(b"and back", peer[:2])
    assert got == b"over the pool" and a.recv(100) == b"and back"


class Conversation:
    """A TCP connection from six to four that says whether it is alive."""

    def __init__(self, net, port):
        listener = net.four.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((net.FOUR, port))
        listener.listen(1)
        self.inside = net.six.socket(socket.AF_INET6, socket.SOCK_STREAM)
        self.inside.settimeout(3)
        self.inside.connect((embed(net.FOUR), port))
        self.outside, self.peer = listener.accept()
        self.outside.settimeout(3)
        listener.close()

    def speak(self, text):
        self.inside.sendall(text)
        assert self.outside.recv(100) == text
        self.outside.sendall(text[::-1])
        assert self.inside.recv(100) == text[::-1]

    def close(self):
        self.inside.close()
        self.outside.close()


def a_connection_lives_through_stop_kill_restart_and_apply():
    net = network()
    talk = Conversation(net, 6100)
    talk.speak(b"while it runs")
    net.instance.apply()
    talk.speak(b"after apply")
    net.instance.kill()
    talk.speak(b"after kill -9")
    go.must_ping(net.six, embed(net.FOUR))          # new sessions need no process either
    net.instance.start()
    talk.speak(b"after the restart")
    net.instance.stop()
    talk.speak(b"after a stop")
    net.instance.start()
    talk.speak(b"and another restart")
    talk.close()


def traceroute_names_every_hop_both_ways():
    net = network(routers=True)
    for options in (["-I"], [], ["-T", "-p", "80"]):
        found = go.hops(net.six, embed(net.FOUR), *options)
        assert found == [net.NAT6, "2001:db8:7::2", embed(net.R4), embed(net.FOUR)], (options, found)
    found = go.hops(net.four, POOL4, "-T", "-p", "80")
    assert found[:2] == [net.NAT4, "198.51.100.2"] and found[-1] == POOL4, found


def mtr_shows_the_way():
    net = network(routers=True)
    found, lost = go.mtr(net.six, embed(net.FOUR))
    assert found[-1] == embed(net.FOUR) and lost == 0, (found, lost)


def a_smaller_link_behind_a_router_is_found_by_tcp_both_ways():
    """Path MTU discovery: the router's ICMP error crosses the translator"""
    net = network(routers=True)
    for router, mtu, want, ends in ((net.r4, 1400, 1420, (net.six, net.four, embed(net.FOUR), net.FOUR)),
                                    (net.r6, 1300, 1280, (net.four, net.six, POOL4, net.SIX))):
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
    go.datagrams(net.six, net.four, embed(net.FOUR), net.FOUR, [1000, 3000, 3500, 5000, 8900], discover=go.PMTUDISC_DO)
    go.transfer(net.six, net.four, embed(net.FOUR), net.FOUR)
    go.transfer(net.four, net.six, POOL4, net.SIX)


try:
    tap.run([ping_reaches_ipv4, curl_reaches_ipv4_and_a_static_mapping_the_server_inside, netcat_speaks_tcp_and_udp,
             a_megabyte_of_tcp_arrives_unchanged_both_ways, iperf3_tcp_both_ways, iperf3_udp_both_ways,
             udp_in_large_segments_arrives_as_it_was_cut, datagrams_that_need_fragments_arrive_both_ways,
             large_pings_are_fragmented_and_answered, one_port_inside_is_one_port_outside_for_all_destinations,
             strangers_are_filtered_when_that_is_wanted, packets_and_errors_are_as_the_file_says, a_port_that_nobody_has_is_counted, a_closed_port_is_told,
             hosts_inside_reach_each_other_by_their_ports_outside, a_connection_lives_through_stop_kill_restart_and_apply,
             traceroute_names_every_hop_both_ways, mtr_shows_the_way, a_smaller_link_behind_a_router_is_found_by_tcp_both_ways,
             jumbo_frames_pass])
finally:
    network.close()
