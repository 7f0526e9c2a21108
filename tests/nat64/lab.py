"""
Networks for tests of the translator, on tests/spine/lab.py (namespaces, cables, raw frames):

	with Lab() as lab:
	    net = Line(lab)                         # v6-only host - translator - v4-only host
	    net.translator(mode="nat64", pref64=[PREF64], pool4=[...]).start()
	    net.six.run("curl", "-s", f"http://[{embed(net.FOUR)}]/")

Line, DataCentre, Clat464 and HostClat are the topologies; each has the namespaces and interfaces as fields, and addresses
as constants. Instance is one `prickle nat64 run`; Web and Dns are servers. All end with the lab.

untouched=True leaves the offloads of all end points as the kernel makes them (tests of the tc home); else they are off, and
peers of redirected-to interfaces are ready (tests of the XDP home).
"""

import contextlib
import importlib.util
import ipaddress
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def _spine_lab():
    """tests/spine/lab.py: it has this file's name, so it is found by its path."""
    if "spine_lab" not in sys.modules:
        spec = importlib.util.spec_from_file_location("spine_lab", os.path.join(os.path.dirname(HERE), "spine", "lab.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules["spine_lab"] = module
        spec.loader.exec_module(module)
    return sys.modules["spine_lab"]


spine = _spine_lab()
frames, kb, tap, wait_until = spine.frames, spine.kb, spine.tap, spine.wait_until

PREF64 = "2001:db8:64::/96"
POOL4 = "192.0.2.1"
READY_S = 20


def embed(address4, prefix=PREF64):
    """An IPv4 address in a translation prefix (RFC 6052), as text."""
    net, v4 = ipaddress.ip_network(prefix), ipaddress.IPv4Address(address4).packed
    data = bytearray(net.network_address.packed)
    at = net.prefixlen // 8
    for byte in v4:
        at += at == 8  # the u-octet
        data[at] = byte
        at += 1
    return str(ipaddress.IPv6Address(bytes(data)))


def yaml(value, indent=0):
    """A configuration as text, from dicts, lists and scalars, in the order given."""
    pad = " " * indent
    if isinstance(value, str) and "\n" in value:
        return value
    lines = []
    for key, item in value.items():
        if item in ([], ()):
            lines.append(f"{pad}{key}: []\n")
        elif isinstance(item, dict):
            lines.append(f"{pad}{key}:\n{yaml(item, indent + 2)}")
        elif isinstance(item, (list, tuple)):
            lines.append(f"{pad}{key}:\n" + "".join(_item(one, indent + 2) for one in item))
        else:
            lines.append(f"{pad}{key}: {_scalar(item)}\n")
    return "".join(lines)


def _scalar(item):
    if isinstance(item, bool):
        return "true" if item else "false"
    text = str(item)
    return f'"{text}"' if ":" in text or text == "" else text


def _item(one, indent):
    pad = " " * indent
    if not isinstance(one, dict):
        return f"{pad}- {_scalar(one)}\n"
    body = yaml(one, indent + 2)
    return f"{pad}- {body[indent + 2:]}"


class Lab(spine.Lab):
    def web(self, ns, address, port=80, body=b"hello\n"):
        return self.keep(Web(ns, address, port, body))

    def dns(self, ns, address, **more):
        return self.keep(Dns(self, ns, address, **more))

    def write(self, name, text):
        """A file in the lab's directory; its path."""
        path = os.path.join(self.directory(), name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def json(self, ns, *arguments, **more):
        """What `prickle ... --json` says."""
        return json.loads(self.prickle(ns, *arguments, "--json", **more).stdout)


class Instance:
    """
    One translator: its file and the process that runs it. settings: a dict (yaml() writes it) or the text itself. What is
    pinned stays when the process ends; the lab removes it.
    """

    def __init__(self, lab, ns, settings, name="test"):
        self.lab, self.ns, self.name, self.process = lab, ns, name, None
        if isinstance(settings, dict) and "name" not in settings:
            settings = {"name": name, **settings}
        self.text = settings if isinstance(settings, str) else yaml(settings)
        self.path = lab.write(f"{ns.name}-{name}.yaml", self.text)
        self.log = os.path.join(lab.directory(), f"{ns.name}-{name}.log")
        lab.keep(self)

    def command(self, *arguments, **more):
        return self.lab.prickle(self.ns, "nat64", *arguments, **more)

    def start(self, *options):
        """Run it and wait until packets are translated. Returns itself."""
        assert self.process is None
        program = self.lab.prickle_path or os.path.join(self.lab.build, "prickle")
        with open(self.log, "ab") as log:
            self.process = self.ns.start(program, "nat64", "run", "--config", self.path, *options,
                                         stdout=subprocess.PIPE, stderr=log)
        end, said = time.monotonic() + READY_S, b""
        while b"ready" not in said:
            left = end - time.monotonic()
            if left > 0 and select.select([self.process.stdout], [], [], left)[0]:
                got = os.read(self.process.stdout.fileno(), 4096)
                said += got
                if got:
                    continue
            raise AssertionError(f"nat64 run: exit {self.process.poll()}, not ready\n{said.decode()}{self.logged()}\n{self.text}")
        return self

    def logged(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self):
        """As an operator stops it; traffic that needs no slow path goes on."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._forget()
        assert code == 0, f"nat64 run ended with {code}\n{self.logged()}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._forget()

    def _forget(self):
        self.process.stdout.close()
        self.process = None

    def rewrite(self, settings):
        self.text = settings if isinstance(settings, str) else yaml({"name": self.name, **settings})
        self.lab.write(os.path.basename(self.path), self.text)

    def apply(self, settings=None, **more):
        """Change what runs to these settings (default: the file as it is)."""
        if settings is not None:
            self.rewrite(settings)
        return self.command("apply", "--config", self.path, **more)

    def json(self, *arguments):
        return self.lab.json(self.ns, "nat64", *arguments, "--name", self.name)

    def reason(self, name):
        """How many packets were not simply translated for a reason, over all verdicts."""
        return self.reasons().get(name, 0)

    def reasons(self):
        found = {}
        for row in self.json("stats")["reasons"]:
            found[row["reason"]] = found.get(row["reason"], 0) + row["packets"]
        return found

    def remove(self):
        self.command("remove", "--name", self.name)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()
            self._forget()
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.remove()


# ---- topologies ----
class Line:
    """
    A v6-only host, the translator, a v4-only host:  six [eth0] - [six] nat [four] - [eth0] four
    routers=True: six - r6 - nat - r4 - four, for hops on both sides. Forwarding is on in routers, never in nat.
    mtu6 and mtu4 are those of the hosts' cables, names those of nat's interfaces.
    """
    SIX, NAT6, FOUR, NAT4 = "2001:db8:6::2", "2001:db8:6::1", "203.0.113.2", "203.0.113.1"
    R6, R4 = "2001:db8:7::1", "198.51.100.1"            # the routers' addresses towards the translator

    def __init__(self, lab, routers=False, untouched=False, mtu6=1500, mtu4=1500, mtu=None, names=("six", "four")):
        self.lab, self.untouched = lab, untouched
        self.six, self.nat, self.four = lab.ns("six"), lab.ns("nat"), lab.ns("four")
        inner = mtu or max(mtu6, mtu4)
        more = {"untouched": untouched}
        if not routers:
            self.six0, self.inside = lab.veth(self.six, "eth0", self.nat, names[0], [self.SIX + "/64"], [self.NAT6 + "/64"], mtu=mtu6, **more)
            self.four0, self.outside = lab.veth(self.four, "eth0", self.nat, names[1], [self.FOUR + "/24"], [self.NAT4 + "/24"], mtu=mtu4, **more)
        else:
            self.r6, self.r4 = lab.ns("r6"), lab.ns("r4")
            for router in (self.r6, self.r4):
                router.forwarding()
            self.six0, self.r6_host = lab.veth(self.six, "eth0", self.r6, "host", [self.SIX + "/64"], [self.NAT6 + "/64"], mtu=mtu6, **more)
            self.r6_nat, self.inside = lab.veth(self.r6, "nat", self.nat, names[0], [self.R6 + "/64"], ["2001:db8:7::2/64"], mtu=inner, **more)
            self.four0, self.r4_host = lab.veth(self.four, "eth0", self.r4, "host", [self.FOUR + "/24"], [self.NAT4 + "/24"], mtu=mtu4, **more)
            self.r4_nat, self.outside = lab.veth(self.r4, "nat", self.nat, names[1], [self.R4 + "/24"], ["198.51.100.2/24"], mtu=inner, **more)
            self.r6.ip("route", "add", "default", "via", "2001:db8:7::2")
            self.r4.ip("route", "add", "default", "via", "198.51.100.2")
            self.nat.ip("route", "add", "2001:db8:6::/64", "via", self.R6)
            self.nat.ip("route", "add", "203.0.113.0/24", "via", self.R4)
        self.six.ip("route", "add", "default", "via", self.NAT6)
        self.four.ip("route", "add", "default", "via", self.NAT4)
        if not untouched:
            lab.ready(self.inside, self.outside)

    def translator(self, attach=None, **settings):
        """An Instance on both interfaces; attach: auto, xdp or tc (default: the one that fits the end points)."""
        home = attach or ("tc" if self.untouched else "xdp")
        return Instance(self.lab, self.nat, {"interfaces": [self.inside.name, self.outside.name], "attach": home, **settings})

    def nat64(self, attach=None, **settings):
        return self.translator(attach, **{"mode": "nat64", "pref64": [PREF64], "pool4": [POOL4], **settings})


class DataCentre(Line):
    """
    SIIT: `six` is a server with an explicit mapping, `four` a client of the IPv4 internet. The server answers at SERVICE.
    """
    SERVICE = "192.0.2.10"

    def siit(self, attach=None, **settings):
        return self.translator(attach, **{"mode": "siit", "pref64": [PREF64],
                                          "mappings": [f"{self.SERVICE}/32 {self.SIX}/128"], **settings})


class Clat464:
    """
    464XLAT: lan (IPv4 host) - clat (router of a customer) - plat (the ISP's NAT64) - four (IPv4 server)
    Between clat and plat there is IPv6 alone. `plat` translates with PREF64 and POOL4; the customer has CUSTOMER.
    """
    LAN, LAN_ROUTER = "192.168.1.2", "192.168.1.1"
    UPLINK, ISP, FOUR, PLAT4 = "2001:db8:c::2", "2001:db8:c::1", "203.0.113.2", "203.0.113.1"
    CUSTOMER = "2001:db8:c1a7::/64"                     # routed to the customer; the CLAT takes its addresses from it

    def __init__(self, lab, untouched=True, lan=True, names=("lan", "uplink", "customer", "four")):
        self.lab, self.untouched = lab, untouched
        self.clat, self.plat, self.four = lab.ns("clat"), lab.ns("plat"), lab.ns("four")
        more = {"untouched": untouched}
        if lan:
            self.lan = lab.ns("lan")
            self.lan0, self.clat_lan = lab.veth(self.lan, "eth0", self.clat, names[0], [self.LAN + "/24"], [self.LAN_ROUTER + "/24"], **more)
            self.lan.ip("route", "add", "default", "via", self.LAN_ROUTER)
        self.uplink, self.isp = lab.veth(self.clat, names[1], self.plat, names[2], [self.UPLINK + "/64"], [self.ISP + "/64"], **more)
        self.outside, self.four0 = lab.veth(self.plat, names[3], self.four, "eth0", [self.PLAT4 + "/24"], [self.FOUR + "/24"], **more)
        self.clat.ip("route", "add", "default", "via", self.ISP)
        self.plat.ip("route", "add", self.CUSTOMER, "via", self.UPLINK)
        self.four.ip("route", "add", "default", "via", self.PLAT4)
        if not untouched:
            lab.ready(self.uplink, self.isp, self.outside, *([self.clat_lan] if lan else []))

    def start_plat(self, attach=None, **settings):
        """The ISP's translator, running."""
        home = attach or ("tc" if self.untouched else "xdp")
        return Instance(self.lab, self.plat, {"mode": "nat64", "interfaces": [self.isp.name, self.outside.name], "attach": home,
                                              "pref64": [PREF64], "pool4": [POOL4], **settings}, name="plat").start()

    def customer(self, attach=None, **settings):
        """The CLAT of the customer's router, for the LAN; not started."""
        home = attach or ("tc" if self.untouched else "xdp")
        return Instance(self.lab, self.clat, {"mode": "clat", "interfaces": [self.clat_lan.name, self.uplink.name], "attach": home,
                                              "pref64": [PREF64], "clat": {"uplink": self.uplink.name}, **settings}, name="clat")


class HostClat(Clat464):
    """One host (`clat`) with IPv6 alone, whose own IPv4 programs reach `four` by its CLAT."""

    def __init__(self, lab, untouched=True, **more):
        super().__init__(lab, untouched, lan=False, **more)


class Shared:
    """
    One network for all cases in a row that want the same, since making one costs more than most cases: network(mtu6=9000) is what
    make(lab, mtu6=9000) returned, and the one before it is gone.
    """

    def __init__(self, prickle, make):
        self.prickle, self.make, self.key, self.lab, self.net = prickle, make, None, None, None

    def __call__(self, **wanted):
        if self.key != repr(wanted):
            self.close()
            lab = Lab(self.prickle)
            lab.__enter__()
            try:
                self.net = self.make(lab, **wanted)
            except BaseException:
                lab.__exit__(None, None, None)
                raise
            self.lab, self.key = lab, repr(wanted)
        return self.net

    def close(self):
        if self.lab is not None:
            self.lab.__exit__(None, None, None)
            self.lab, self.key, self.net = None, None, None


# ---- servers ----
class Web:
    """HTTP in a thread: answers every request with the peer's address, its port and a body."""

    def __init__(self, ns, address, port=80, body=b"hello\n"):
        self.body, self.seen = body, []
        self.socket = ns.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, port))
        self.socket.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                peer, where = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(peer, where), daemon=True).start()

    def _answer(self, peer, where):
        with contextlib.suppress(OSError), peer:
            peer.settimeout(10)
            text = b""
            while b"\r\n\r\n" not in text:
                got = peer.recv(4096)
                if not got:
                    return
                text += got
            self.seen.append(where[:2])
            peer.sendall(b"HTTP/1.0 200 OK\r\nX-Peer: %s\r\nContent-Length: %d\r\n\r\n" % (where[0].encode(), len(self.body)))
            peer.sendall(self.body)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


UNBOUND = """server:
  chroot: ""
  username: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  verbosity: 1
  do-daemonize: no
  num-threads: 1
  interface: {address}
  access-control: ::/0 allow
  access-control: 0.0.0.0/0 allow
  local-zone: "test." nodefault
  trust-anchor-signaling: no
remote-control:
  control-enable: no
{how}
{zones}"""
ZONE = """auth-zone:
  name: "{name}"
  zonefile: "{file}"
  for-downstream: no
  for-upstream: yes
  fallback-enabled: no
"""


class Dns:
    """
    unbound as DNS64 (RFC 6147) with a zone `test.` of its own; the prefix is also found by RFC 7050. records: {name: ["A 1.2.3.4"]}
    below test.; dns64=False: an ordinary resolver; snippet: a file that says what DNS64 needs.
    """

    def __init__(self, lab, ns, address, records=None, pref64=PREF64, dns64=True, snippet=None):
        tag = f"unbound-{ns.name}"
        zones = {"test.": {"www": ["A 203.0.113.2"], **(records or {})},
                 "ipv4only.arpa.": {"@": ["A 192.0.0.170", "A 192.0.0.171"]}}
        blocks = ""
        for name, rows in zones.items():
            text = f"$ORIGIN {name}\n@ 60 IN SOA ns.{name} root.{name} 1 3600 600 86400 60\n@ 60 IN NS ns.test.\n"
            for label, values in rows.items():
                text += "".join(f"{label} 60 IN {value}\n" for value in values)
            blocks += ZONE.format(name=name, file=lab.write(f"{tag}-{name}zone", text))
        how = "server:\n  module-config: \"iterator\"\n"
        if snippet:
            how = f"include: {snippet}\n"
        elif dns64:
            how = f"server:\n  module-config: \"dns64 iterator\"\n  dns64-prefix: {pref64}\n"
        config = lab.write(f"{tag}.conf", UNBOUND.format(directory=lab.directory(), address=address, how=how, zones=blocks))
        self.process = ns.start("unbound", "-d", "-c", config, stderr=subprocess.PIPE)
        self.address, self.ns = address, ns
        wait_until(lambda: self._answers(), timeout=30, what=f"unbound on {address}")

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"unbound ended: {self.process.stderr.read().decode()}")
        s = self.ns.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(0.2)
        with contextlib.suppress(OSError):
            s.sendto(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\3www\4test\0\0\1\0\1", (self.address, 53))
            return len(s.recv(512)) > 12
        return False

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def resolve_by(lab, ns, address):
    """Programs started with `ip netns exec` in this namespace ask this resolver: /etc/netns is what iproute2 offers."""
    folder = f"/etc/netns/{ns.name}"
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "resolv.conf"), "w", encoding="ascii") as f:
        f.write(f"nameserver {address}\n")
    return lab.keep(_Folder(folder))


class _Folder:
    def __init__(self, path):
        self.path = path

    def close(self):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.path, "resolv.conf"))
            os.rmdir(self.path)
            os.rmdir("/etc/netns")
