"""
Network namespaces for tests: made, wired, used and always removed.

	with Lab() as lab:
	    here, there = lab.ns("here"), lab.ns("there")
	    a, b = lab.veth(here, "eth0", there, "eth0", ["10.1.0.1/24", "fd01::1/64"], ["10.1.0.2/24", "fd01::2/64"])
	    lab.ready(a)                        # a can redirect to it: its peer runs a program that passes all
	    here.run("ping", "-c1", "10.1.0.2")
	    raw = b.raw()                       # AF_PACKET
	    raw.send(frames.udp_frame(a.mac, b.mac, "10.1.0.2", "10.1.0.1", 5, 7, b"hello"))
	    lab.install(a, "build/src/spine/extensions/router.o", ports=[a])

What veth needs: a frame that is redirected to a veth is dropped unless its *peer* runs an XDP program or GRO
(ready() attaches a program that passes). Checksums and segments must be complete, since a program sees frames
as the sender left them; so offloads are off on every interface that is made here. Duplicate address detection
is off, and addresses work at once. Without root, Lab() raises tap.Skip.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
import tap  # noqa: E402

CLONE_NEWNET = 0x40000000
PREFIX = "prickle-lab-"
BPFFS_MAGIC = 0xcafe4a11
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def wait_until(condition, timeout=30.0, what="condition"):
    """Poll until condition() is true and return its value; AssertionError after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {timeout} s"
        time.sleep(0.01)


class Raw:
    """Frames in and out of an interface (AF_PACKET). VLAN tags that the kernel took off are put back."""

    def __init__(self, interface):
        self.socket = interface.ns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        self.socket.bind((interface.name, 3))  # ETH_P_ALL

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, *data):
        for frame in data:
            self.socket.send(frame)

    def receive(self, want=None, timeout=10.0):
        """The next incoming frames.Frame for which want(frame) is true; None after timeout seconds."""
        end = time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            if not select.select([self.socket], [], [], left)[0]:
                return None
            frame = self._one()
            if frame and (want is None or want(frame)):
                return frame

    def collect(self, want=None, count=None, quiet=0.3, timeout=10.0):
        """Frames until there are count of them, or none came for quiet seconds."""
        found, end = [], time.monotonic() + timeout
        while (count is None or len(found) < count) and time.monotonic() < end:
            frame = self.receive(want, quiet if count is None else max(quiet, 1.0))
            if frame is None:
                break
            found.append(frame)
        return found

    def drain(self):
        while select.select([self.socket], [], [], 0)[0]:
            self.socket.recv(65536)

    def _one(self):
        data, extra, _, origin = self.socket.recvmsg(65536, 256)
        if origin[2] == 4:  # PACKET_OUTGOING
            return None
        for level, kind, value in extra:
            if level == 263 and kind == 8 and len(value) >= 20:
                status, _, _, _, _, tci, protocol = struct.unpack_from("=IIIHHHH", value)
                if status & 16:  # TP_STATUS_VLAN_VALID
                    data = data[:12] + struct.pack("!HH", protocol if status & 64 else 0x8100, tci) + data[12:]
        return frames.Frame(data)

    def close(self):
        self.socket.close()


class Interface:
    def __init__(self, ns, name, ifindex, mac):
        self.ns, self.name, self.ifindex, self.mac, self.peer = ns, name, ifindex, mac, None
        self.addresses = []

    def raw(self):
        return self.ns.lab.keep(Raw(self))

    def address(self, family=4):
        """The first address of a family that the lab gave, without its length."""
        for text in self.addresses:
            if (":" in text) == (family == 6):
                return text.split("/")[0]
        return None

    def counter(self, name):
        """One of /sys/class/net/*/statistics: rx_packets, tx_dropped ..."""
        return json.loads(self.ns.run("ip", "-s", "-j", "link", "show", self.name))[0]["stats64"][name[:2]][name[3:]]

    def offload(self, on):
        """TX checksums, segmentation, GRO: on or off, by the ioctls of ethtool."""
        for command in (0x17, 0x1f, 0x24, 0x2c, 0x22):  # STXCSUM, STSO, SGSO, SGRO, SUFO
            with contextlib.suppress(OSError):
                self._ethtool(command, on)

    def napi(self):
        """Frames of a generator are taken although no XDP program is here: GRO does that."""
        self._ethtool(0x2c, True)

    def _ethtool(self, command, on):
        with self.ns.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            value = ctypes.create_string_buffer(struct.pack("=II", command, int(on)))
            fcntl.ioctl(s, 0x8946, struct.pack("16sQ16x", self.name.encode(), ctypes.addressof(value)))

    def spine_directory(self):
        """Where SPINE keeps what belongs to this interface."""
        with self.ns.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            cookie = int.from_bytes(s.getsockopt(socket.SOL_SOCKET, 71, 8), sys.byteorder)  # SO_NETNS_COOKIE
        return f"/sys/fs/bpf/prickle/spine/{cookie}/{self.ifindex}"

    def __repr__(self):
        return f"{self.ns.name}/{self.name}"


class Namespace:
    def __init__(self, lab, name):
        self.lab, self.name, self.interfaces = lab, name, {}
        lab.ip("netns", "add", name)
        self.fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        for key in ("all", "default"):
            self.sysctl(f"net.ipv6.conf.{key}.accept_dad", 0)
            self.sysctl(f"net.ipv6.conf.{key}.router_solicitations", 0)
            self.sysctl(f"net.ipv4.conf.{key}.rp_filter", 0)
        self.ip("link", "set", "lo", "up")

    @contextlib.contextmanager
    def entered(self):
        """The calling thread acts in this namespace."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._set(self.fd)
            yield
        finally:
            self._set(before)
            os.close(before)

    @staticmethod
    def _set(fd):
        if kb.LIBC.setns(fd, CLONE_NEWNET) < 0:
            raise OSError(ctypes.get_errno(), "setns")

    def ip(self, *arguments):
        return self.lab.ip("-n", self.name, *arguments)

    def run(self, *command, check=True, timeout=30, **more):
        """Run a command here and return its standard output as text. check: a failure is an AssertionError."""
        done = subprocess.run(["ip", "netns", "exec", self.name, *map(str, command)], capture_output=True, text=True,
                              timeout=timeout, check=False, **more)
        assert not check or done.returncode == 0, \
            f"{' '.join(map(str, command))} in {self.name}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def done(self, *command, timeout=30, **more):
        """Run a command here; the CompletedProcess, whatever its end."""
        return subprocess.run(["ip", "netns", "exec", self.name, *map(str, command)], capture_output=True, text=True,
                              timeout=timeout, check=False, **more)

    def start(self, *command, **more):
        """Start a command here; the lab ends it at the latest."""
        more.setdefault("stdout", subprocess.DEVNULL)
        more.setdefault("stderr", subprocess.DEVNULL)
        with self.entered():  # not by `ip netns exec`: the process that we know is the command itself
            process = subprocess.Popen([str(word) for word in command], **more)
        self.lab.processes.append(process)
        return process

    def socket(self, *arguments):
        """A socket of this namespace; the lab closes it at the latest."""
        with self.entered():
            return self.lab.keep(socket.socket(*arguments))

    def udp(self, address, port=0, timeout=2.0):
        """A bound datagram socket of the address's family."""
        s = self.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.settimeout(timeout)
        s.bind((address, port))
        return s

    def sysctl(self, name, value):
        with self.entered(), open("/proc/sys/" + name.replace(".", "/"), "w", encoding="ascii") as f:
            f.write(str(value))

    def forwarding(self, on=True):
        self.sysctl("net.ipv4.ip_forward", int(on))
        self.sysctl("net.ipv6.conf.all.forwarding", int(on))

    def links(self):
        """Interfaces as `ip -j -d link` tells: XDP programs are under ["xdp"]."""
        return {row["ifname"]: row for row in json.loads(self.ip("-j", "-d", "link", "show"))}


class Lab:
    """Everything that a test makes; leaving the `with` removes it, also after Ctrl-C and SIGTERM."""

    def __init__(self, prickle=None):
        if os.geteuid() != 0:
            raise tap.Skip("network namespaces need root")
        self.prickle_path = prickle
        self.tag = f"{PREFIX}{os.getpid()}-"
        self.namespaces, self.processes, self._kept, self._links = {}, [], [], {}
        self._pass_fd, self._pins, self._directory, self._policy = None, None, None, None
        self.build = os.environ.get("MESON_BUILD_ROOT") or os.path.join(ROOT, "build")
        try:
            os.makedirs("/run/netns", exist_ok=True)
        except OSError as why:
            raise tap.Skip(f"no place for namespaces: {why}") from why
        self._sweep()
        probe = subprocess.run(["ip", "netns", "add", self.tag + "probe"], capture_output=True, text=True, check=False)
        if probe.returncode:
            raise tap.Skip(f"no network namespaces here: {probe.stderr.strip()}")
        self.ip("netns", "del", self.tag + "probe")

    def __enter__(self):
        self._old_term = signal.signal(signal.SIGTERM, self._term)
        return self

    @staticmethod
    def _term(*_):
        raise KeyboardInterrupt("SIGTERM")

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for thing in reversed(self._kept):
            with contextlib.suppress(OSError):
                thing.close()
        for fd in list(self._links.values()) + ([self._pass_fd] if self._pass_fd else []):
            with contextlib.suppress(OSError):
                os.close(fd)
        for ns in self.namespaces.values():
            os.close(ns.fd)
            subprocess.run(["ip", "netns", "del", ns.name], capture_output=True, check=False)
        if self._pins:
            shutil.rmtree(self._pins, ignore_errors=True)
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
        signal.signal(signal.SIGTERM, self._old_term)
        return False

    def _sweep(self):
        """Remove what a killed test left."""
        for name in os.listdir("/run/netns"):
            pid = name.removeprefix(PREFIX).split("-")[0]
            if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def keep(self, thing):
        """Close thing when the lab ends."""
        self._kept.append(thing)
        return thing

    @staticmethod
    def ip(*arguments):
        done = subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {' '.join(map(str, arguments))}: {done.stderr}"
        return done.stdout

    def ns(self, name):
        """The namespace of this name, made when it is new. Its real name is ns.name."""
        if name not in self.namespaces:
            self.namespaces[name] = Namespace(self, self.tag + name)
        return self.namespaces[name]

    def veth(self, ns_a, name_a, ns_b, name_b, addresses_a=(), addresses_b=(), queues=1, mtu=1500, untouched=False):
        """
        A cable between two namespaces, up, with addresses; (interface a, interface b). untouched: offloads stay as the
        kernel made them, as on a user's machine.
        """
        one, two = f"l{os.getpid() % 99999}a", f"l{os.getpid() % 99999}b"
        with ns_a.entered():
            self.ip("link", "add", one, "mtu", mtu, "numtxqueues", queues, "numrxqueues", queues, "type", "veth", "peer",
                    "name", two, "mtu", mtu, "numtxqueues", queues, "numrxqueues", queues, "netns", ns_b.name)
        ends = []
        for ns, old, name, addresses in ((ns_a, one, name_a, addresses_a), (ns_b, two, name_b, addresses_b)):
            ns.ip("link", "set", old, "name", name)
            interface = Interface(ns, name, 0, "")
            if not untouched:
                interface.offload(False)
            interface.addresses = list(addresses)
            for text in addresses:
                ns.ip("addr", "add", text, "dev", name, *(["nodad"] if ":" in text else []))
            ns.ip("link", "set", name, "up")
            ns.interfaces[name] = interface
            ends.append(interface)
        for interface in ends:
            row = json.loads(interface.ns.ip("-j", "link", "show", interface.name))[0]
            interface.ifindex, interface.mac = row["ifindex"], row["address"]
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        wait_until(lambda: "LOWER_UP" in json.loads(ends[0].ns.ip("-j", "link", "show", name_a))[0]["flags"],
                   what=f"{ends[0]} up")
        return ends

    # ---- XDP without SPINE ----
    def attach(self, interface, prog_fd, flags=kb.FLAG_DRIVER):
        """Attach a program by a link that ends with the lab or with detach()."""
        with interface.ns.entered():
            self._links[interface] = kb.link_xdp(prog_fd, interface.ifindex, flags)

    def detach(self, interface):
        os.close(self._links.pop(interface))

    def ready(self, *interfaces):
        """Frames can be redirected to these: their peers get a program that passes everything."""
        if self._pass_fd is None:
            self._pass_fd = kb.load_program(kb.mov(0, kb.XDP_PASS) + kb.EXIT, name="lab_pass", flags=kb.HAS_FRAGS)
        for interface in interfaces:
            if interface.peer not in self._links:
                self.attach(interface.peer, self._pass_fd)

    def sink(self, interface, match=(), verdict=kb.XDP_DROP):
        """Count (and drop) what arrives at an interface: kernel_bpf.Sink. Takes the place of a pass program."""
        if interface in self._links:
            self.detach(interface)
        sink = self.keep(kb.Sink(match, verdict))
        self.attach(interface, sink.fd)
        return sink

    def generator(self, interface, frame, sequence=None):
        """Send frames out of an interface at driver speed: kernel_bpf.Generator. Its peer gets them."""
        return self.keep(kb.Generator(interface.ns, interface.ifindex, frame, sequence))

    def pins(self):
        """A directory in bpffs that belongs to this lab."""
        if self._pins is None:
            done = subprocess.run(["stat", "-f", "-c", "%t", "/sys/fs/bpf"], capture_output=True, text=True, check=False)
            if done.stdout.strip() != f"{BPFFS_MAGIC:x}":
                raise tap.Skip("no bpffs on /sys/fs/bpf")
            self._pins = f"/sys/fs/bpf/prickle-lab-{os.getpid()}"
            os.makedirs(self._pins)
        return self._pins

    def prickle(self, ns, *arguments, check=True, timeout=60, **more):
        """
        Run our program in a namespace (None: here) and return the CompletedProcess. What it loads is under the lab's policy,
        never the machine's.
        """
        if arguments[:2] == ("spine", "install") and "--policy" not in arguments:
            arguments = *arguments, "--policy", self.policy.directory
        command = [self.prickle_path or os.path.join(self.build, "prickle"), *map(str, arguments)]
        if ns is not None:
            command = ["ip", "netns", "exec", ns.name] + command
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **more)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def load(self, path, name=None):
        """An object's XDP program and maps in the kernel, without SPINE (bpftool): a Loaded."""
        return Loaded(self, path, name or os.path.basename(path).split(".")[0])

    def extension(self, name):
        """Path of a shipped extension in the build tree; Skip when it was not built."""
        path = os.path.join(self.build, "src/spine/extensions", name + ".o")
        if not os.path.exists(path):
            raise tap.Skip(f"{path} was not built (no clang)")
        return path

    def install(self, interface, path, name=None, ports=(), uses=(), options=()):
        """
        Install an extension with SPINE, allowed to forward to the interfaces in ports; uses: more of what it may use
        ("helper fib_lookup"). Returns an Installed.
        """
        name = name or os.path.basename(path).split(".")[0]
        self.policy.allow(name, ports=[port.name for port in ports], uses=uses)
        self.policy.apply()
        self.prickle(interface.ns, "spine", "install", path, "--dev", interface.name, "--name", name, *options)
        return self.keep(Installed(self, interface, name))

    @property
    def policy(self):
        """The lab's own policy: one for all of its namespaces, made when it is first used."""
        if self._policy is None:
            self._policy = Policy(self, os.path.join(self.directory(), "policy"))
        return self._policy

    def directory(self):
        """A directory for files; removed with the lab."""
        if self._directory is None:
            self._directory = tempfile.mkdtemp(prefix="prickle-lab.")
        return self._directory


class Policy:
    """
    A policy that grows by what a test allows, and the store where it is applied. Each extension that it names has a domain of
    that name; interfaces that a test names have a label of theirs, the others are `port any`.
    """

    def __init__(self, lab, directory):
        self.lab, self.directory = lab, directory
        self.domains, self.text, self.more = {}, None, ""
        os.makedirs(directory, exist_ok=True)

    def allow(self, name, verdicts=("pass", "drop", "reflect", "redirect"), ports=(), uses=(), limits=("instructions 100000", "memory 64 MiB"),
              origin=None):
        """What the extension may, besides what was said before of ports and uses. origin: of its domain, `ebpf object "NAME"`."""
        old = self.domains.get(name, {"ports": set(), "uses": set(), "origin": f'ebpf object "{name}"'})
        self.domains[name] = {"verdicts": verdicts, "ports": old["ports"] | set(ports), "uses": old["uses"] | set(uses), "limits": limits,
                              "origin": origin or old["origin"]}

    def source(self):
        ports = sorted({port for d in self.domains.values() for port in d["ports"]})
        lines = ["import default", "module lab"] + [f'  label port {label(port)} = nic "{port}"' for port in ports]
        # Interfaces with a label are none of `spine.every` any more.
        lines += ["  allow spine.extension attach, pass, drop, reflect port"]
        for name, d in sorted(self.domains.items()):
            x = domain(name)
            lines += [f"  domain {x} = {d['origin']}",
                      f"  allow {x} {', '.join(('attach', *d['verdicts']))} port", f"  allow {x} offer handler",
                      f"  allow {x} use program-type xdp, syscall", f"  allow {x} use helper default",
                      f"  allow {x} use map-type default"]
            lines += [f"  allow {x} forward {', '.join(label(port) for port in sorted(d['ports']))}"] if d["ports"] else []
            lines += [f"  limit {x} {', '.join(d['limits'])}"] if d["limits"] else []
            lines += [f"  allow {x} use {use}" for use in sorted(d["uses"])]
        return "\n".join(lines) + "\n" + self.more

    def apply(self, text=None, code=0):
        """Put what was allowed so far (or this text) in force, unless it is; None: it must be refused. The CompletedProcess or None."""
        text = self.source() if text is None else text
        if text == self.text:
            return None
        path = os.path.join(self.lab.directory(), "lab.policy")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        done = self.lab.prickle(None, "policy", "apply", "--policy", self.directory, path, check=False)
        assert done.returncode == code or (code is None and done.returncode), f"policy apply: {done.returncode}\n{done.stdout}{done.stderr}\n{text}"
        if code == 0:
            self.text = text
        return done


def domain(name):
    """The domain of an extension in the lab's policy."""
    return "x-" + name


def label(port):
    """The label of an interface in the lab's policy."""
    return "p-" + port


class Extension:
    """What installed and loaded extensions have in common: maps in a directory of bpffs."""

    def map(self, name):
        return self.lab.keep(kb.Map.pinned(os.path.join(self.maps, name)))

    def prickle(self, *arguments, **more):
        """Run a command of our program that acts on this extension's maps."""
        return self.lab.prickle(None, *arguments, *self.place, **more)

    def counters(self):
        """The map `counters` as {field: sum over the processors}; the fields' names are those of its BTF."""
        done = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", os.path.join(self.maps, "counters")],
                              capture_output=True, text=True, check=True)
        total = {}
        for row in json.loads(done.stdout)[0]["formatted"]["values"]:
            for field, value in row["value"].items():
                total[field] = total.get(field, 0) + value
        return total


class Installed(Extension):
    def __init__(self, lab, interface, name):
        self.lab, self.interface, self.name = lab, interface, name
        self.dir = os.path.join(interface.spine_directory(), "ext", name)
        self.maps = os.path.join(self.dir, "maps")
        self.place = ("--dev", interface.name, "--netns", interface.ns.name, "--name", name)
        self.fd = kb.open_program(os.path.join(self.dir, "prog"))

    def state(self):
        rows = json.loads(self.lab.prickle(self.interface.ns, "spine", "list", "--dev", self.interface.name, "--json").stdout)
        return next(row for row in rows if row["name"] == self.name)

    def remove(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
            self.lab.prickle(self.interface.ns, "spine", "remove", self.name, "--dev", self.interface.name)

    def close(self):
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.remove()


class Loaded(Extension):
    def __init__(self, lab, path, name):
        self.lab, self.interface = lab, None
        self.dir = os.path.join(lab.pins(), f"{name}-{len(os.listdir(lab.pins()))}")
        done = subprocess.run(["bpftool", "prog", "loadall", path, self.dir, "pinmaps", self.dir + "-maps"],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"bpftool prog loadall {path}:\n{done.stderr[-4000:]}"
        self.maps = self.dir + "-maps"
        self.place = ("--pinned", self.maps)
        self.programs = sorted(os.listdir(self.dir))
        for program in self.programs:
            fd = kb.open_program(os.path.join(self.dir, program))
            if kb.program_type(fd) == 6:
                self.fd = fd
            else:
                os.close(fd)

    def remove(self):
        self.lab.detach(self.interface)
