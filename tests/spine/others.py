#!/usr/bin/env python3
"""
XDP programs that others wrote, unmodified, alone and in a slot: same verdict, length and bytes.

	others.py PRICKLE [DIR-OR-OBJECT...]

Without directories: the objects of Debian's xdp-tools and xdp-tests. Each XDP program of each object is loaded twice.
One copy runs alone (BPF_PROG_TEST_RUN), the other one is adopted for all frames and the interface's dispatcher runs; both
get the same frames in the same order, so that programs with state are compared, too. Prints TAP; with directories a
line for each program as well ("# program ...").
"""
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
from lab import Lab, tap, wait_until  # noqa: E402

PRICKLE, PLACES = sys.argv[1], sys.argv[2:]
DEBIAN = ["/usr/lib/x86_64-linux-gnu/bpf", "/usr/lib/aarch64-linux-gnu/bpf", "/usr/libexec/xdp-tools"]
FRAMES = 400
HERE4, THERE4, HERE6, THERE6 = "10.1.0.1", "10.1.0.2", "fd01::1", "fd01::2"
# What a test run with other data, or a second program of the same object, cannot tell.
NOT_COMPARED = {"xdp-dispatcher.o": "libxdp's own dispatcher: its slots are filled by freplace",
                "xdpdump_bpf.o": "no XDP program: fentry and fexit, whose target xdpdump names before it loads them"}


def some_frames(a, b):
    """Frames of many kinds, the same ones on every run."""
    dice, made = random.Random(20), []
    macs = [a.mac, b.mac, "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:07"]
    addresses = [(THERE4, HERE4), (HERE4, THERE4), (THERE4, "203.0.113.9"), ("192.0.2.1", "224.0.0.5")]
    addresses6 = [(THERE6, HERE6), (HERE6, THERE6), (THERE6, "2001:db8::9"), ("fe80::1", "ff02::1")]
    ports = [7, 22, 53, 80, 123, 443, 8080, 40000]

    def body(src, dst, six):
        size = dice.choice([0, 1, 18, 64, 300, 1200])
        data = bytes(dice.randrange(256) for _ in range(size))
        kind = dice.choice(["udp", "tcp", "icmp", "other"])
        if kind == "udp":
            return 17, frames.udp(src, dst, dice.choice(ports), dice.choice(ports), data)
        if kind == "tcp":
            return 6, frames.tcp(src, dst, dice.choice(ports), dice.choice(ports), data, flags=dice.randrange(64))
        if kind == "icmp":
            return (58, frames.icmp6(src, dst, dice.choice([128, 129, 135]), 0, 7, data)) if six else \
                   (1, frames.icmp(dice.choice([8, 0, 3]), 0, 7, data))
        return dice.choice([47, 50, 132, 41, 4]), data

    while len(made) < FRAMES:
        to, come = dice.choice(macs), dice.choice(macs[:2])
        tags = dice.choice([0, 0, 0, 1, 2])
        kind = dice.randrange(12)
        if kind < 5:
            src, dst = dice.choice(addresses)
            proto, data = body(src, dst, False)
            packet = frames.ip4(src, dst, proto, data, ttl=dice.choice([64, 64, 1, 0]), tos=dice.randrange(256),
                                ident=dice.randrange(65536), fragment=dice.choice([0, 0, 0, 0x2000, 0x2010]),
                                options=dice.choice([b"", b"", b"\1\1\1\0"]))
            kind = 0x0800
        elif kind < 9:
            src, dst = dice.choice(addresses6)
            proto, data = body(src, dst, True)
            if dice.randrange(4) == 0:
                proto, data = dice.choice([0, 60, 43]), bytes([proto, 0, 1, 4, 0, 0, 0, 0]) + data
            packet = frames.ip6(src, dst, proto, data, hops=dice.choice([64, 64, 1, 0]), traffic_class=dice.randrange(256))
            kind = 0x86dd
        elif kind == 9:
            kind, packet = 0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, dice.choice([1, 2])) + bytes(20)
        else:
            kind = dice.choice([0x0800, 0x86dd, 0x88cc, 0x0042, 0x8847])
            packet = bytes(dice.randrange(256) for _ in range(dice.randrange(120)))
        for tag in range(tags):
            packet = struct.pack("!HH", dice.choice([1, 2, 4000]), kind) + packet
            kind = 0x8100 if tag == 0 else 0x88a8
        frame = frames.mac(to) + frames.mac(come) + struct.pack("!H", kind) + packet
        if dice.randrange(8) == 0:
            frame = frame[:dice.randrange(14, len(frame) + 1)]
        made.append(frame[:1500].ljust(14, b"\0"))
    return made


def seed(ids, interface, a_mac):
    """What the programs' maps need so that more of their ways are walked: the frames' addresses, a port, ourselves."""
    keys = {4: [socket.inet_aton(t) for t in (HERE4, THERE4)], 16: [socket.inet_pton(socket.AF_INET6, t) for t in (HERE6, THERE6)],
            6: [frames.mac(a_mac)]}
    for number in ids:
        map_ = kb.Map.by_id(number)
        try:
            if map_.type == 14 or map_.type == 25:      # devmap, devmap_hash
                for key in (0, 1, interface.ifindex):
                    if map_.type == 25 or key < map_.entries:
                        map_.set(key, struct.pack("=II", interface.ifindex, 0)[:map_.value_bytes])
            elif map_.type in (kb.TYPE_HASH, kb.TYPE_PERCPU_HASH) and map_.key_bytes in keys:
                for key in keys[map_.key_bytes]:
                    map_.set(key, (0x1f).to_bytes(map_.value_bytes, "little"))
            elif map_.type in (kb.TYPE_ARRAY, kb.TYPE_PERCPU_ARRAY) and map_.entries == 65536:
                for port in (7, 443):
                    map_.set(socket.htons(port), (0x1f).to_bytes(map_.value_bytes, "little"))
        except OSError:
            pass                # frozen, or of a type that wants something else
        finally:
            map_.close()


class Copy:
    """One object, loaded and pinned; its XDP programs by name."""
    count = 0

    def __init__(self, lab, path):
        Copy.count += 1
        self.dir = os.path.join(lab.pins(), f"copy{Copy.count}")
        os.makedirs(self.dir)
        text, before = "", set(os.listdir("/sys/fs/bpf"))
        for more in ([], ["type", "xdp"]):      # old section names tell no type
            shutil.rmtree(self.dir, ignore_errors=True)
            done = subprocess.run(["bpftool", "prog", "loadall", path, self.dir, *more], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
            text = text or done.stderr
        # Maps that want to be pinned by name: each copy has its own, and none stays.
        for name in set(os.listdir("/sys/fs/bpf")) - before:
            if os.path.isfile(os.path.join("/sys/fs/bpf", name)):
                os.unlink(os.path.join("/sys/fs/bpf", name))
        if done.returncode:
            raise LookupError(next((line for line in text.splitlines() if line.startswith(("libbpf:", "Error:"))), text))
        self.programs = {}
        for name in sorted(os.listdir(self.dir)):
            fd = kb.open_program(os.path.join(self.dir, name))
            if kb.program_type(fd) == 6:
                self.programs[name] = fd
            else:
                os.close(fd)

    def maps(self):
        ids = set()
        for name in self.programs:
            told = json.loads(subprocess.run(["bpftool", "-j", "prog", "show", "pinned", os.path.join(self.dir, name)],
                                             capture_output=True, text=True, check=True).stdout)
            ids.update(told.get("map_ids", []))
        return sorted(ids)

    def close(self):
        for fd in self.programs.values():
            os.close(fd)
        shutil.rmtree(self.dir, ignore_errors=True)


class Place(Lab):
    def __enter__(self):
        super().__enter__()
        self.prickle_path = PRICKLE
        self.here, self.there = self.ns("here"), self.ns("there")
        self.a, self.b = self.veth(self.here, "eth0", self.there, "eth0", [HERE4 + "/24", HERE6 + "/64"],
                                   [THERE4 + "/24", THERE6 + "/64"])
        self.here.forwarding()
        for ns, address, mac in ((self.here, THERE4, self.b.mac), (self.here, THERE6, self.b.mac)):
            ns.ip("neigh", "replace", address, "lladdr", mac, "dev", "eth0")
        for route in ("203.0.113.0/24", "2001:db8::/32"):
            self.here.ip("route", "add", route, "via", THERE6 if ":" in route else THERE4, "dev", "eth0")
        return self

    def dispatcher(self):
        return kb.bpf(kb.GET_FD_PROG, struct.pack("=III", self.here.links()["eth0"]["xdp"]["prog"]["id"], 0, 0))

    def run(self, fd, frame):
        with self.here.entered():
            try:
                verdict, data, _ = kb.test_run(fd, frame, ifindex=self.a.ifindex)
                return verdict, len(data), data
            except OSError as why:
                return "error", why.errno, b""

    def adopt(self, path, name, *options):
        return self.prickle(None, "spine", "adopt", "--pinned", path, "--dev", "eth0", "--netns", self.here.name, "--match", "all",
                            "--name", name, *options, check=False)


def adopt_with_all_verdicts(lab, path):
    """(the command's end, the options that it took). A program is allowed what it may do alone."""
    base = ["--verdicts", "aborted,drop,pass,tx"]
    for options in (base + ["--redirect"], base, base + ["--redirect", "--accept-unbounded"], base + ["--accept-unbounded"]):
        done = lab.adopt(path, "other", *options)
        if done.returncode == 0:
            break
    return done, [word for word in options if word in ("--redirect", "--accept-unbounded")]


def without(one, other, *runs):
    """Runs without the numbers of up to 8 bytes in which two frames differ."""
    differs = [i for i, (x, y) in enumerate(zip(one, other)) if x != y]
    return [(*run[:2], bytes(x for i, x in enumerate(run[2]) if all(abs(i - at) > 7 for at in differs))) for run in runs]


def compare(lab, path, name, frames_):
    """
    (frames that were equal, verdicts seen, options, frames whose bytes no two runs agree on). AssertionError on the first
    difference; LookupError: refused.
    """
    alone, again, slotted = Copy(lab, path), Copy(lab, path), Copy(lab, path)
    fd = None
    try:
        for copy in (alone, again, slotted):
            seed(copy.maps(), lab.a, lab.b.mac)
        done, options = adopt_with_all_verdicts(lab, os.path.join(slotted.dir, name))
        if done.returncode:
            raise LookupError(done.stderr.strip().splitlines()[0])
        fd = lab.dispatcher()
        seen, varying = {}, 0
        for number, frame in enumerate(frames_):
            want, other, got = (lab.run(f, frame) for f in (alone.programs[name], again.programs[name], fd))
            # Two copies alone do not agree either (a clock's time): compare the rest.
            if want != other and want[:2] == other[:2]:
                varying += 1
                want, got = without(want[2], other[2], want, got)
            assert got == want, f"{os.path.basename(path)} {name}: frame {number} ({frame[:60].hex()}): alone " \
                f"{want[0]}, {want[1]} bytes; in a slot {got[0]}, {got[1]} bytes; " \
                f"{'different bytes' if want[:2] == got[:2] else ''}"
            seen[want[0]] = seen.get(want[0], 0) + 1
        return len(frames_), seen, options, varying
    finally:
        if fd is not None:
            os.close(fd)
            lab.prickle(lab.here, "spine", "remove", "other", "--dev", "eth0")
        for copy in (alone, again, slotted):
            copy.close()


def objects(places):
    found = []
    for place in places:
        if os.path.isdir(place):
            found += [os.path.join(place, name) for name in sorted(os.listdir(place)) if name.endswith(".o")]
        elif os.path.exists(place):
            found.append(place)
    return found


def names_in(lab, path):
    copy = Copy(lab, path)
    try:
        return list(copy.programs)
    finally:
        copy.close()


def same_as_alone():
    """unmodified programs give the same verdict, length and bytes in a slot as alone"""
    paths = [p for p in objects(PLACES or DEBIAN) if PLACES or os.path.basename(p) not in NOT_COMPARED]
    if not paths:
        raise tap.Skip("no objects: apt-get install xdp-tools")
    verdicts = ["aborted", "drop", "pass", "tx", "redirect"]
    passed, refused, wrong = 0, [], []
    with Place() as lab:
        frames_ = some_frames(lab.a, lab.b)
        for path in paths:
            short = os.path.basename(path)
            try:
                names = names_in(lab, path)
            except LookupError as why:
                refused.append((short, "-", f"does not load: {why}"))
                continue
            for name in names:
                try:
                    count, seen, options, varying = compare(lab, path, name, frames_)
                except LookupError as why:
                    refused.append((short, name, str(why)))
                    continue
                except AssertionError as why:
                    wrong.append(str(why))
                    continue
                passed += 1
                told = ", ".join(f"{n} {verdicts[v] if v in range(5) else v}" for v, n in sorted(seen.items(), key=str))
                told += f"; {varying} with bytes that vary alone, too" if varying else ""
                print(f"# program {short} {name}: {count} frames equal ({told}) {' '.join(options)}", flush=True)
        for short, name, why in refused:
            print(f"# program {short} {name}: refused: {why}", flush=True)
        print(f"# {passed} programs equal on {len(frames_)} frames each, {len(refused)} refused, {len(wrong)} different", flush=True)
    assert not wrong, "\n".join(wrong)
    assert PLACES or not refused, refused


def a_difference_is_seen():
    """the comparison sees a program that changes a byte of one frame in hundreds"""
    with Place() as lab:
        frames_ = some_frames(lab.a, lab.b)
        quiet = kb.load_program(kb.mov(0, kb.XDP_PASS) + kb.EXIT, name="quiet")
        changes = kb.load_program(                      # frames of 60 to 64 bytes: byte 20 becomes 0
            kb.insn(0x61, 2, 1, 0) + kb.insn(0x61, 3, 1, 4) + kb.mov_reg(4, 2) + kb.insn(0x07, 4, imm=60) +
            kb.insn(0x2d, 4, 3, 3) + kb.insn(0x07, 4, imm=4) + kb.insn(0xad, 4, 3, 1) + kb.insn(0x72, 2, off=20, imm=0) +
            kb.mov(0, kb.XDP_PASS) + kb.EXIT, name="changes")
        path = os.path.join(lab.pins(), "changes")
        kb.pin(changes, path)
        assert lab.adopt(path, "other").returncode == 0
        fd = lab.dispatcher()
        different = [f for f in frames_ if lab.run(quiet, f) != lab.run(fd, f)]
        expected = [f for f in frames_ if 60 <= len(f) <= 64 and f[20] != 0]
        assert different == expected and different, (len(different), len(expected))
        for number in (quiet, changes, fd):
            os.close(number)


def bench(mode, *more, match=None):
    """xdp-bench's own programs, attached by itself under exec: what the extension returned for the frames."""
    with Place() as lab:
        sink = lab.here.start(PRICKLE, "spine", "exec", "--dev", "eth0", *(["--match", match] if match else []), "--", "xdp-bench",
                              mode, "eth0", *more, stdin=subprocess.DEVNULL)

        def rows():
            done = lab.prickle(lab.here, "spine", "list", "--dev", "eth0", "--json", check=False)
            return json.loads(done.stdout or "[]")
        try:
            wait_until(lambda: rows() or sink.poll() is not None, timeout=30, what="xdp-bench attaches")
            if sink.poll() is not None:
                alone = lab.here.done("xdp-bench", mode, "eth0", timeout=5)
                if alone.returncode == sink.poll():
                    raise tap.Skip(f"xdp-bench does not run alone either: {alone.stderr.strip().splitlines()[-1]}")
                raise AssertionError(f"xdp-bench {mode} ended with {sink.poll()}, alone with {alone.returncode}")
            raw, back = lab.b.raw(), 0
            frame = frames.udp_frame(lab.a.mac, lab.b.mac, THERE4, HERE4, 5, 7, bytes(26))
            before = rows()[0]["returned"]
            raw.send(*[frame] * 50)
            back = len(raw.collect(lambda f: f.raw[12:14] == b"\x08\x00" and f.raw[23] == 17, 50, timeout=1.0)) if mode == "tx" else 0
            row = rows()[0]
            return {k: v - before[k] for k, v in row["returned"].items() if v > before[k]}, back, row["faults"]
        finally:
            if sink.poll() is None:
                sink.send_signal(signal.SIGINT)
                sink.wait(60)
            wait_until(lambda: not rows(), what="the extension goes with the program")
            assert "xdp" not in lab.here.links()["eth0"]


def xdp_bench_runs_under_exec():
    """xdp-bench's drop, pass and tx programs attach by themselves under exec and do what they say"""
    if not shutil.which("xdp-bench"):
        raise tap.Skip("no xdp-bench")
    for mode in ("drop", "pass", "tx"):
        returned, back, faults = bench(mode)
        assert returned.get(mode, 0) >= 50 and set(returned) == {mode}, (mode, returned)
        assert mode != "tx" or back == 50, back
        assert not any(faults.values()), faults


def every_filter_of_xdp_filter():
    """each program of xdp-filter, loaded by itself under exec, filters as its second command says"""
    if not shutil.which("xdp-filter"):
        raise tap.Skip("no xdp-filter")
    for policy, features, rule, hit in (
            ("allow", "udp", ("port", "7", "-m", "dst"), True), ("deny", "udp", ("port", "7", "-m", "dst"), False),
            ("allow", "ipv4", ("ip", THERE4, "-m", "src"), True), ("deny", "ipv4", ("ip", THERE4, "-m", "src"), False),
            ("allow", "ethernet", None, True), ("deny", "ethernet", None, False)):
        with Place() as lab:
            def execute(*words, lab=lab):
                return lab.prickle(None, "spine", "exec", "--netns", lab.here.name, "--dev", "eth0", "--", *words)
            execute("xdp-filter", "load", "eth0", "-p", policy, "-f", features)
            execute("xdp-filter", *(rule or ("ether", lab.b.mac, "-m", "src")))
            inside = lab.here.udp(HERE4, 7, timeout=0.3)
            lab.b.raw().send(frames.udp_frame(lab.a.mac, lab.b.mac, THERE4, HERE4, 5, 7, b"hello"))
            try:
                inside.recv(10)
                came = True
            except TimeoutError:
                came = False
            # policy allow: what a rule names is dropped; deny: only what a rule names passes.
            assert came != hit, (policy, features)
            execute("xdp-filter", "unload", "eth0")
            assert "xdp" not in lab.here.links()["eth0"]


if __name__ == "__main__":
    tap.run([same_as_alone] if PLACES else [same_as_alone, a_difference_is_seen, xdp_bench_runs_under_exec, every_filter_of_xdp_filter])
