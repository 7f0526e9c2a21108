#!/usr/bin/env python3
"""The load balancer between a client and three back ends on a switch: TCP and UDP, IPv4 and IPv6.

balancer.py PRICKLE
"""

import contextlib
import json
import select
import socket
import sys
import threading

import frames
import lab as lab_module
import tap

VIP4, VIP6, PORT = "10.77.0.100", "fd77::100", 80
NAMES = ("rs1", "rs2", "rs3")


class Server:
    """Answers each line (TCP) or datagram (UDP) with its name; counts the bytes that it got."""

    def __init__(self, ns, name, address, port):
        self.name, self.bytes = name, 0
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.tcp = ns.socket(family, socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind((address, port))
        self.tcp.listen(512)
        self.udp = ns.udp(address, port)
        self.open = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.stop.is_set():
            ready = select.select([self.tcp, self.udp] + self.open, [], [], 0.05)[0]
            for s in ready:
                with contextlib.suppress(OSError):
                    if s is self.tcp:
                        self.open.append(s.accept()[0])
                    elif s is self.udp:
                        data, peer = s.recvfrom(65536)
                        s.sendto(f"{self.name} {len(data)}".encode(), peer)
                    else:
                        self.serve(s)

    def serve(self, s):
        data = b""
        with contextlib.suppress(OSError):
            data = s.recv(65536)
        self.bytes += len(data)
        if not data:
            self.open.remove(s)
            s.close()
        elif data.endswith(b"\n"):
            s.sendall(self.name.encode() + b"\n")


class Decapsulator:
    """Packets in IPv4 or IPv6 come out of a cable that begins and ends here."""

    def __init__(self, ns, inside, mac):
        self.out, self.head = inside.raw(), frames.mac(mac) + frames.mac(inside.mac)
        self.sockets = [ns.socket(family, socket.SOCK_RAW, protocol)
                        for family in (socket.AF_INET, socket.AF_INET6) for protocol in (4, 41)]
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.stop.is_set():
            for s in select.select(self.sockets, [], [], 0.05)[0]:
                packet = s.recv(65536)
                if s.family == socket.AF_INET:
                    packet = packet[(packet[0] & 15) * 4:]
                self.out.send(self.head + (b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet)


class Bench:
    def __init__(self, lab):
        self.lab, self.decapsulators = lab, []
        switch = lab.ns("switch")
        switch.ip("link", "add", "br0", "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        self.client, self.client_if = self.host(switch, "client", 1)
        self.lb, self.lb_if = self.host(switch, "lb", 2)
        self.lb.forwarding()
        for address, length in ((VIP4, 32), (VIP6, 128)):
            self.lb.ip("addr", "add", f"{address}/{length}", "dev", "eth0", *(["nodad"] if ":" in address else []))
        self.rs, self.rs_if, self.servers = {}, {}, {}
        for number, name in enumerate(NAMES, 11):
            self.rs[name], self.rs_if[name] = self.host(switch, name, number)
            self.real(name)
        lab.ready(self.lb_if)
        self.extension = lab.install(self.lb_if, lab.extension("balancer"), uses=["helper fib_lookup"])

    def host(self, switch, name, number):
        ns = self.lab.ns(name)
        port, interface = self.lab.veth(switch, f"p-{name}", ns, "eth0", [],
                                        [f"10.77.0.{number}/24", f"fd77::{number}/64"])
        switch.ip("link", "set", port.name, "master", "br0")
        return ns, interface

    def real(self, name):
        """A back end: the VIPs on lo, silent about them; it can take packets out of tunnels."""
        ns = self.rs[name]
        ns.sysctl("net.ipv4.conf.all.arp_ignore", 1)
        ns.sysctl("net.ipv4.conf.all.arp_announce", 2)
        ns.ip("addr", "add", f"{VIP4}/32", "dev", "lo")
        ns.ip("addr", "add", f"{VIP6}/128", "dev", "lo", "nodad")
        self.servers[name] = [Server(ns, name, VIP4, PORT), Server(ns, name, VIP6, PORT)]

    def tunnels(self):
        """Back ends take packets out of tunnels: not every kernel has the devices, so by hand."""
        for name in NAMES:
            ns = self.rs[name]
            inside, outside = self.lab.veth(ns, "in", ns, "out")
            ns.sysctl("net.ipv4.conf.out.rp_filter", 0)
            self.decapsulators.append(Decapsulator(ns, inside, outside.mac))

    def balance(self, *arguments, check=True):
        return self.extension.prickle("spine", "balance", *arguments, check=check)

    def show(self):
        return json.loads(self.balance("show", "--json").stdout)

    def service(self, text, *options, backends=NAMES, base="10.77.0.1"):
        self.balance("add", text, *options)
        for name in backends:
            self.balance("backend", "add", text, base + name[2:])

    def stop(self):
        for worker in sum(self.servers.values(), self.decapsulators):
            worker.stop.set()
            worker.thread.join()


def ask(s, text=b"who\n"):
    s.sendall(text)
    return s.recv(100).decode().split()[0]


def connect(b, count, address=VIP4):
    """Connections with the names of who answers on them."""
    found = []
    for _ in range(count):
        s = b.client.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        s.settimeout(3)
        s.connect((address, PORT))
        found.append((s, ask(s)))
    return found


def close(connections):
    for s, _ in connections:
        s.close()


def shares(answers):
    return {name: sum(1 for a in answers if a == name) for name in NAMES}


def even(answers):
    counts = shares(answers)
    assert min(counts.values()) >= len(answers) / 3 / 3, counts


BENCH = None


def tcp_is_spread_over_all_back_ends():
    """TCP connections to the VIP are spread over three back ends that answer directly"""
    b = BENCH
    b.service(f"tcp/{VIP4}:{PORT}")
    found = connect(b, 90)
    even([name for _, name in found])
    counted = b.show()["services"][0]
    assert counted["flows"] == 90, counted
    assert {e["address"][-2:]: e["flows"] for e in counted["backends"]} == \
        {str(10 + int(n[2:])): c for n, c in shares([name for _, name in found]).items()}, counted
    close(found)


def curl_works():
    """curl gets a page of 300 kB through the VIP"""
    b = BENCH
    for name in NAMES:
        b.rs[name].start(sys.executable, "-c", "import http.server,socketserver\n"
                         "class H(http.server.BaseHTTPRequestHandler):\n"
                         " def do_GET(s):\n"
                         f"  body = b'{name}' * 75000\n"
                         "  s.send_response(200); s.send_header('Content-Length', str(len(body))); s.end_headers()\n"
                         "  s.wfile.write(body)\n"
                         f"http.server.HTTPServer(('{VIP4}', 8080), H).serve_forever()")
    b.service(f"tcp/{VIP4}:8080")
    lab_module.wait_until(lambda: all(f"{VIP4}:8080" in b.rs[n].run("ss", "-ltn") for n in NAMES), what="servers")
    answers = [b.client.run("curl", "-s", "-m", "5", f"http://{VIP4}:8080/") for _ in range(12)]
    assert all(len(a) == 225000 and a[:3] in NAMES for a in answers), [(len(a), a[:3]) for a in answers]
    b.balance("delete", f"tcp/{VIP4}:8080")


def a_lost_back_end_moves_its_flows_alone():
    """when a back end is lost, its flows move and no other does; UDP flows go on elsewhere"""
    b = BENCH
    b.service(f"udp/{VIP4}:{PORT}")
    flows = []
    for _ in range(60):
        s = b.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(3)
        s.connect((VIP4, PORT))
        flows.append((s, ask(s)))
    even([name for _, name in flows])
    connections = connect(b, 30)
    b.balance("health", f"udp/{VIP4}:{PORT}", "10.77.0.12", "down")
    b.balance("health", f"tcp/{VIP4}:{PORT}", "10.77.0.12", "down")
    for s, name in flows:
        now = ask(s)
        assert now == name if name != "rs2" else now in ("rs1", "rs3"), (name, now)
    for s, name in connections:
        if name != "rs2":
            assert ask(s) == name
    fresh = connect(b, 30)
    assert set(name for _, name in fresh) == {"rs1", "rs3"}
    assert b.show()["events"]["moved"] >= sum(1 for _, name in flows if name == "rs2")
    b.balance("health", f"udp/{VIP4}:{PORT}", "10.77.0.12", "up")
    b.balance("health", f"tcp/{VIP4}:{PORT}", "10.77.0.12", "up")
    close(flows + connections + fresh)


def health_by_message():
    """health is set by a message, for whoever watches the back ends; what is wrong in it is refused"""
    b = BENCH
    row = next(e for e in b.show()["services"][0]["backends"] if e["address"] == "10.77.0.13")

    def send(check=True, **fields):
        return b.lab.prickle(b.lb, "spine", "send", b.extension.name, "set_health", "--dev", "eth0", "--object",
                             b.lab.extension("balancer"), *(f"{k}={v}" for k, v in fields.items()), check=check)

    send(backend=row["index"], serial=row["serial"], health=0)
    fresh = connect(b, 30)
    assert set(name for _, name in fresh) == {"rs1", "rs2"}
    assert send(False, backend=row["index"], health=3).returncode != 0
    assert send(False, backend=500, health=1).returncode != 0
    assert send(False, backend=row["index"], serial=row["serial"] + 1, health=1).returncode != 0
    send(backend=row["index"], health=1)
    assert "rs3" in [name for _, name in connect(b, 30)]
    close(fresh)


def draining_keeps_flows():
    """a back end that drains keeps its connections and gets no new ones"""
    b = BENCH
    old = connect(b, 30)
    b.balance("health", f"tcp/{VIP4}:{PORT}", "10.77.0.11", "drain")
    fresh = connect(b, 30)
    assert set(name for _, name in fresh) == {"rs2", "rs3"}
    assert all(ask(s) == name for s, name in old)
    b.balance("health", f"tcp/{VIP4}:{PORT}", "10.77.0.11", "up")
    close(old + fresh)


def adding_and_deleting_keeps_established_flows():
    """established flows survive when back ends come and go; a new one gets its share"""
    b = BENCH
    b.balance("backend", "delete", f"tcp/{VIP4}:{PORT}", "10.77.0.13")
    old = connect(b, 60)
    assert set(name for _, name in old) == {"rs1", "rs2"}
    b.balance("backend", "add", f"tcp/{VIP4}:{PORT}", "10.77.0.13")
    assert all(ask(s) == name for s, name in old), "a connection moved"
    fresh = connect(b, 60)
    even([name for _, name in fresh])
    b.balance("backend", "delete", f"tcp/{VIP4}:{PORT}", "10.77.0.13")
    assert all(ask(s) == name for s, name in old), "a connection moved"
    b.balance("backend", "add", f"tcp/{VIP4}:{PORT}", "10.77.0.13", "--weight", "1")
    close(old + fresh)


def weights_and_clients():
    """weights are shares; by client, all flows of an address go to one back end"""
    b = BENCH
    b.balance("backend", "add", f"tcp/{VIP4}:{PORT}", "10.77.0.11", "--weight", "8")
    found = connect(b, 60)
    assert shares([name for _, name in found])["rs1"] > 36, shares([name for _, name in found])
    close(found)
    b.balance("delete", f"tcp/{VIP4}:{PORT}")
    b.service(f"tcp/{VIP4}:{PORT}", "--by-client")
    found = connect(b, 20)
    assert len(set(name for _, name in found)) == 1
    close(found)
    b.balance("delete", f"tcp/{VIP4}:{PORT}")
    b.balance("delete", f"udp/{VIP4}:{PORT}")


def ipv6_too():
    """an IPv6 VIP works as an IPv4 one does"""
    b = BENCH
    b.service(f"tcp/[{VIP6}]:{PORT}", base="fd77::1")
    found = connect(b, 60, VIP6)
    even([name for _, name in found])
    close(found)
    b.balance("delete", f"tcp/[{VIP6}]:{PORT}")


def icmp_error(b, version, backend):
    """Send an error about a flow of that back end's from a router; the frame that the back end gets."""
    raw, there = b.client_if.raw(), {name: b.rs_if[name].raw() for name in NAMES}
    vip, src = (VIP4, "10.77.0.1") if version == 4 else (VIP6, "fd77::1")
    flow = frames.udp(vip, src, PORT, backend, b"x" * 40)
    if version == 4:
        inside = frames.ip4(vip, src, frames.UDP, flow)
        packet = frames.ip4("10.77.0.1", vip, frames.ICMP, frames.icmp(3, 1, 0, inside))
    else:
        inside = frames.ip6(vip, src, frames.UDP, flow)
        packet = frames.ip6(src, vip, frames.ICMP6, frames.icmp6(src, vip, 1, 3, 0, inside))
    raw.send(frames.eth(b.lb_if.mac, b.client_if.mac, 0x0800 if version == 4 else 0x86DD, packet))
    kind = frames.ICMP if version == 4 else frames.ICMP6
    got = [name for name in NAMES
           if there[name].receive(lambda f: f.raw[23 if version == 4 else 20] == kind and packet in f.raw, 0.2)]
    for s in [raw, *there.values()]:
        s.close()
    return got


def errors_follow_flows():
    """an ICMP error about a flow goes to the back end of that flow, IPv4 and IPv6"""
    b = BENCH
    for version, vip, base in ((4, VIP4, "10.77.0.1"), (6, f"[{VIP6}]", "fd77::1")):
        b.service(f"udp/{vip}:{PORT}", base=base)
        for _ in range(4):
            s = b.client.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
            s.settimeout(3)
            s.connect((VIP4 if version == 4 else VIP6, PORT))
            name = ask(s)
            assert icmp_error(b, version, s.getsockname()[1]) == [name]
            s.close()
        b.balance("delete", f"udp/{vip}:{PORT}")


def fragments_follow_the_first():
    """fragments of a datagram go where the first one went, and their sum arrives"""
    b = BENCH
    b.service(f"udp/{VIP4}:{PORT}")
    b.service(f"udp/[{VIP6}]:{PORT}", base="fd77::1")
    for address in (VIP4, VIP6):
        for _ in range(8):
            s = b.client.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
            s.settimeout(3)
            s.connect((address, PORT))
            s.send(b"x" * 4000)
            assert s.recv(100).decode().split()[1] == "4000"
            s.close()
    raw = b.client_if.raw()
    part = frames.ip4("10.77.0.1", VIP4, frames.UDP, b"y" * 64, ident=77, fragment=100)
    raw.send(frames.eth(b.lb_if.mac, b.client_if.mac, 0x0800, part))
    lab_module.wait_until(lambda: b.show()["events"]["lost_fragment"] == 1, what="a fragment without its first")
    b.balance("delete", f"udp/{VIP4}:{PORT}")
    b.balance("delete", f"udp/[{VIP6}]:{PORT}")


def upload(b, address, octets=400_000):
    s = b.client.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    s.settimeout(5)
    s.connect((address, PORT))
    name = ask(s)
    s.sendall(b"z" * octets + b"\n")
    server = b.servers[name][1 if ":" in address else 0]
    lab_module.wait_until(lambda: s.recv(100).decode().strip() == name, what="the end of the upload")
    s.close()
    assert server.bytes >= octets


def tunnels_and_path_mtu():
    """tunnels IPIP, 6in6, 4in6 and 6in4 deliver; too big packets are answered and TCP adapts"""
    b = BENCH
    b.tunnels()
    too_big = 0
    for vip, address, base in ((VIP4, VIP4, "10.77.0.1"), (f"[{VIP6}]", VIP6, "fd77::1"),
                               (VIP4, VIP4, "fd77::1"), (f"[{VIP6}]", VIP6, "10.77.0.1")):
        b.service(f"tcp/{vip}:{PORT}", "--tunnel", base=base)
        found = connect(b, 60, address)
        even([name for _, name in found])
        close(found)
        upload(b, address)
        now = b.show()["events"]["too_big"]
        assert now > too_big, f"{vip} by {base}: no answer was needed; {b.show()}"
        too_big = now
        b.client.ip("-4" if "." in address else "-6", "route", "flush", "cache")
        b.balance("delete", f"tcp/{vip}:{PORT}")


def others_pass():
    """what is no service passes to the host: ping, other ports, unknown errors"""
    b = BENCH
    b.client.run("ping", "-c1", "-W10", VIP4)
    b.client.run("ping", "-6", "-c1", "-W10", VIP6)
    here = b.lb.udp(VIP4, 4242)
    s = b.client.udp("10.77.0.1")
    s.sendto(b"hello", (VIP4, 4242))
    assert here.recv(100) == b"hello"


def mistakes_are_told():
    """wrong names are refused with a sentence and the right exit code"""
    b = BENCH
    for arguments, code in ((("add", "tcp/10.0.0.1"), 2), (("add", "sctp/10.0.0.1:1"), 2),
                            (("delete", "tcp/10.9.9.9:80"), 4), (("add", "tcp/[fd00::1:80"), 2)):
        done = b.balance(*arguments, check=False)
        assert done.returncode == code and done.stderr.strip(), (arguments, done)
    b.balance("add", "tcp/10.0.0.9:1")
    assert b.balance("add", "tcp/10.0.0.9:1", check=False).returncode != 0
    assert "10.0.0.9" in b.balance("show").stdout
    assert b.balance("health", "tcp/10.0.0.9:1", "10.0.0.1", "up", check=False).returncode == 4
    b.balance("delete", "tcp/10.0.0.9:1")


def back_ends_that_nobody_reaches():
    """flows of a service without a healthy back end are dropped and counted"""
    b = BENCH
    b.balance("add", f"udp/{VIP4}:99")
    s = b.client.udp("10.77.0.1")
    before = b.show()["events"]["no_backend"]
    s.sendto(b"hello", (VIP4, 99))
    lab_module.wait_until(lambda: b.show()["events"]["no_backend"] == before + 1, what="the count")
    b.balance("delete", f"udp/{VIP4}:99")


def added_again_is_looked_for_again():
    """a back end that is added again is not sent to the MAC address that it had before"""
    b = BENCH
    service = f"udp/{VIP4}:98"
    b.balance("add", service)
    b.balance("backend", "add", service, "10.77.0.11")
    s = b.client.udp("10.77.0.1")
    row = next(row for row in b.show()["services"] if row["service"] == service)["backends"][0]
    backends = b.extension.map("backends")

    def known():
        return backends.get(row["index"])[41]  # hops_known
    lab_module.wait_until(lambda: s.sendto(b"hello", (VIP4, 98)) and known(), what="the next hop is remembered")
    b.balance("backend", "add", service, "10.77.0.11")
    assert not known()
    b.balance("delete", service)


CASES = [tcp_is_spread_over_all_back_ends, curl_works, a_lost_back_end_moves_its_flows_alone, health_by_message,
         draining_keeps_flows, adding_and_deleting_keeps_established_flows, weights_and_clients, ipv6_too, errors_follow_flows,
         fragments_follow_the_first, tunnels_and_path_mtu, others_pass, mistakes_are_told,
         back_ends_that_nobody_reaches, added_again_is_looked_for_again]


def main():
    global BENCH
    try:
        with lab_module.Lab(sys.argv[1] if len(sys.argv) > 1 else None) as lab:
            BENCH = Bench(lab)
            try:
                tap.run(CASES)
            finally:
                BENCH.stop()
    except tap.Skip as why:
        print(f"1..0 # SKIP {why}")


if __name__ == "__main__":
    main()
