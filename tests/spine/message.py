#!/usr/bin/env python3
"""
Active Messages over real interfaces and by the commands, with the example extension.

usage: message.py PRICKLE MESSAGE_LAB ECHO_CLIENT ECHO_OBJECT

	host eth0 10.1.0.1 --- 10.1.0.2 peer eth0		host eth1 --- far eth0
"""

import contextlib
import json
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab, tap, wait_until  # noqa: E402

PRICKLE, TOOL, CLIENT, OBJECT = (os.path.abspath(path) for path in sys.argv[1:5])
PORT, CALL, POST, REPLY, ERROR = 7007, 1, 2, 3, 4
ADD, REMEMBER, RECALL, SET_MODE = 1, 2, 3, 7
FRAME = bytes.fromhex("020000000001020000000002") + b"\x88\x99hi" + bytes(46)


def slot(handler, kind, args, seq=1, sender=0):
    return struct.pack("<HBBIQ", handler, kind, len(args), seq, sender) + args.ljust(48, b"\0")


class Network:
    def __init__(self, lab):
        if not os.path.exists(OBJECT):
            raise tap.Skip("no clang made the extension")
        self.lab = lab
        self.host, self.peer, self.far = lab.ns("host"), lab.ns("peer"), lab.ns("far")
        self.device, self.other = lab.veth(self.host, "eth0", self.peer, "eth0", ["10.1.0.1/24", "fd01::1/64"],
                                           ["10.1.0.2/24", "fd01::2/64"])
        self.port, self.remote = lab.veth(self.host, "eth1", self.far, "eth0", [], [])

    def load(self, where=None, *more):
        device = where or self.device
        process = device.ns.start(TOOL, device.name, OBJECT, *more, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n", "the extension does not load"
        return process

    def command(self, *words, **more):
        return self.host.done(PRICKLE, "spine", *words, **more)

    def send(self, *words):
        done = self.command("send", "echo", *words, "--dev", "eth0", "--object", OBJECT, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["fields"]

    def share(self, *words):
        return self.command("share", "echo", "--dev", "eth0", "--user", "nobody", *words)


@contextlib.contextmanager
def network():
    with Lab() as lab:
        net = Network(lab)
        lab.ready(net.device)  # veth takes what is sent back only then
        process = net.load()
        try:
            yield net
        finally:
            process.stdin.close()
            process.wait(60)


def ask(net, family, message, timeout=2.0):
    here, there = ("10.1.0.2", "10.1.0.1") if family == 4 else ("fd01::2", "fd01::1")
    s = net.peer.udp(here, timeout=timeout)
    s.sendto(message, (there, PORT))
    return s.recv(2048)


def a_datagram_is_answered_on_the_device():
    """a message in a datagram is answered by the extension, over IPv4 and IPv6, and a UDP stack takes the answer"""
    with network() as net:
        net.peer.run("ping", "-c1", "-W10", "10.1.0.1")
        net.peer.run("ping", "-c1", "-W10", "fd01::1")
        for family in 4, 6:
            answer = ask(net, family, slot(ADD, CALL, struct.pack("<IIQQ", 40, 2, 0, 0), 77, 1))
            handler, kind, length, seq, sender = struct.unpack_from("<HBBIQ", answer)
            total, label = struct.unpack_from("<QQ", answer, 24)
            assert (handler, kind, length, seq, total) == (ADD, REPLY, 24, 77, 42), answer
            assert sender == 0 and label >> 63 == 1, f"label {label:x}"
        # Only what the extension opened to the network.
        handler, kind, length, seq, _ = struct.unpack_from("<HBBIQ", ask(net, 4, slot(SET_MODE, CALL, bytes(8))))
        assert (kind, length) == (ERROR, 4)
        # No answer to posts and answers; odd lengths go on to the host, which has nobody on that port.
        for message in slot(REMEMBER, POST, struct.pack("<Q", 5)), slot(ADD, REPLY, bytes(24)), b"short":
            try:
                answer = ask(net, 4, message, 0.3)
                assert False, f"an answer to {message[:4]}"
            except (TimeoutError, ConnectionRefusedError):
                pass
        assert net.send("recall")["value"] == 5


def a_person_calls_handlers():
    """`spine send` calls by name with fields, by number with bytes, and explains what is wrong"""
    with network() as net:
        assert net.send("add", "a=40", "b=0x2")["sum"] == 42
        done = net.command("send", "echo", "1", "--dev", "eth0", "--hex", "0100000002000000" + 32 * "0")
        assert done.stdout.startswith("01000000020000000300000000000000"), done.stdout + done.stderr
        cases = ((("add", "c=1"), 2, "no field 'c'"), (("add", "a=4294967296"), 2, "no __u32"),
                 (("nosuch",), 4, "no handler"), (("set_mode", "mode=9"), 1, "Invalid argument"))
        for words, code, text in cases:
            done = net.command("send", "echo", *words, "--dev", "eth0", "--object", OBJECT)
            assert done.returncode == code and text in done.stderr, (words, done.returncode, done.stderr)
        done = net.command("send", "other", "1", "--dev", "eth0")
        assert done.returncode == 4 and "spine list" in done.stderr, done.stderr
        # From outside, by the name of the namespace.
        done = subprocess.run([PRICKLE, "spine", "send", "echo", "3", "--dev", "eth0", "--netns", net.host.name,
                               "--hex", 16 * "0"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def a_program_without_privileges_gets_a_channel():
    """`spine share` starts a program as another user, which calls, batches and is told apart by its channel"""
    with network() as net:
        done = net.share("--", CLIENT, "-", "add", 40, 2)
        assert done.stdout == "42 from sender 1\n", done.stdout + done.stderr
        done = net.share("--channel", 1, "--", CLIENT, "-", "add", 40, 2)
        assert done.stdout == "42 from sender 2\n", done.stdout + done.stderr
        done = net.share("--channel", 1, "--label", 4711, "--", CLIENT, "-", "batch", 1000)
        assert done.stdout == "1000\n", done.stdout + done.stderr
        done = net.share("--channel", 1, "--", CLIENT, "-", "add", 1, 1)
        assert done.stdout == "2 from sender 4711\n", done.stdout + done.stderr
        # Without the runtime's help it gets nowhere; its exit code comes through.
        done = net.share("--", CLIENT, "eth0", "add", 40, 2)
        assert done.returncode == 1 and done.stdout == "", done.stdout


def a_program_connects_over_a_socket():
    """`spine share --socket` gives the channel to one program of one user at a time"""
    with network() as net:
        path = f"/tmp/prickle-lab-{os.getpid()}.sock"
        server = net.host.start(PRICKLE, "spine", "share", "echo", "--dev", "eth0", "--user", "nobody", "--socket", path)
        try:
            wait_until(lambda: os.path.exists(path), what="the socket")
            assert os.stat(path).st_mode & 0o777 == 0o600
            for _ in range(2):
                done = subprocess.run([CLIENT, path, "add", "40", "2"], capture_output=True, text=True, check=False,
                                      user=65534, group=65534, extra_groups=[])
                assert done.stdout == "42 from sender 1\n", done.stdout + done.stderr
            # The channel belongs to this share; the other one is free.
            done = net.share("--", CLIENT, "-", "add", 40, 2)
            assert done.returncode == 75 and "in use" in done.stderr, done
            done = net.share("--channel", 1, "--", CLIENT, "-", "add", 40, 2)
            assert done.stdout.startswith("42 from sender"), done.stdout + done.stderr
            # Busy while somebody has it.
            first = subprocess.Popen([CLIENT, path, "watch", "1"], stdout=subprocess.PIPE)
            assert first.stdout.readline() == b"ready\n"
            done = subprocess.run([CLIENT, path, "add", "40", "2"], capture_output=True, text=True, check=False)
            assert done.returncode == 1 and "busy" in done.stderr, done.stderr
            net.other.raw().send(FRAME)
            assert first.wait(60) == 0
        finally:
            server.terminate()
            server.wait(60)
        assert not os.path.exists(path), "the socket stays behind"


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().rpartition(")")[2].split()[0]


def a_sleeping_program_is_woken_by_frames():
    """frames become messages; a program that sleeps is woken, at most once a message"""
    with network() as net:
        watcher = net.host.start(PRICKLE, "spine", "share", "echo", "--dev", "eth0", "--user", "nobody", "--", CLIENT,
                                 "-", "watch", 100, stdout=subprocess.PIPE)
        assert watcher.stdout.readline() == b"ready\n"
        with open(f"/proc/{watcher.pid}/task/{watcher.pid}/children", encoding="ascii") as f:
            child = int(f.read())
        wait_until(lambda: state_of(child) == "S", what="a program that sleeps")
        net.other.raw().send(*[FRAME] * 100)
        assert watcher.wait(60) == 0
        words = watcher.stdout.read().decode().split()
        assert words[0] == "100" and words[2] == "0" and 1 <= int(words[4]) <= 100, words


def frames_arrive_in_an_applications_memory():
    """frames are redirected into memory that a program without privileges registered"""
    with network() as net:
        reader = net.host.start(PRICKLE, "spine", "share", "echo", "--dev", "eth0", "--user", "nobody", "--", CLIENT, "-",
                                "frames", 600, stdout=subprocess.PIPE)
        assert reader.stdout.readline() == b"ready\n"
        raw = net.other.raw()
        lines = []
        for _ in range(6):  # more than there are buffers, so that they must be given back
            raw.send(*[FRAME] * 100)
            lines += [reader.stdout.readline() for _ in range(100)]
        assert set(lines) == {b"62 bytes: hi\n"}, set(lines)
        assert reader.wait(60) == 0
        assert reader.stdout.read() == b"600 frames\n"


def an_extension_calls_another_one():
    """an extension sends a message to the extension of another device, through an allowed port only"""
    with Lab() as lab:
        net = Network(lab)
        near = net.load(net.device, net.port.ifindex)
        far = net.load(net.remote)
        try:
            net.send("set_mode", "mode=4", f"port={net.port.ifindex}")
            net.other.raw().send(*[FRAME + bytes(100)] * 3)

            def recalled():
                done = net.far.done(PRICKLE, "spine", "send", "echo", "recall", "--dev", "eth0", "--object", OBJECT,
                                    "--json")
                return json.loads(done.stdout)["fields"]["value"] == 3000
            wait_until(recalled, what="three messages")
            net.send("set_mode", "mode=4", "port=9999")
            net.other.raw().send(FRAME + bytes(100))
            assert net.send("recall")["value"] == 0
            assert recalled()
        finally:
            for process in near, far:
                process.stdin.close()
                process.wait(60)


def an_installed_extension_has_channels():
    """the loader gives an unsigned extension its channels; they work, and go with it"""
    with Lab() as lab:
        net = Network(lab)
        lab.ready(net.device)
        lab.policy.allow("echo", ports=["eth1"])
        lab.policy.apply()
        try:
            done = net.command("install", OBJECT, "--dev", "eth0", "--policy", lab.policy.directory)
            assert done.returncode == 0, done.stdout + done.stderr
            assert net.send("add", "a=1", "b=4")["sum"] == 5
            done = net.share("--channel", 1, "--", CLIENT, "-", "batch", 300)
            assert done.stdout == "300\n", done.stdout + done.stderr
            done = net.share("--channel", 2, "--", CLIENT, "-", "add", 1, 1)
            assert done.returncode != 0 and done.stderr, "there is a third channel"
            answer = ask(net, 4, slot(ADD, CALL, struct.pack("<IIQQ", 40, 2, 0, 0), 77, 1))
            assert struct.unpack_from("<Q", answer, 24)[0] == 42, answer
        finally:
            done = net.command("remove", "echo", "--dev", "eth0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert net.command("send", "echo", "1", "--dev", "eth0").returncode == 4


tap.run([a_datagram_is_answered_on_the_device, a_person_calls_handlers, a_program_without_privileges_gets_a_channel,
         a_program_connects_over_a_socket, a_sleeping_program_is_woken_by_frames,
         frames_arrive_in_an_applications_memory, an_extension_calls_another_one,
         an_installed_extension_has_channels])
