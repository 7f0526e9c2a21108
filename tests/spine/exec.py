#!/usr/bin/env python3
"""Unmodified programs under `prickle spine exec`: their XDP programs become extensions. exec.py PRICKLE STATIC DYNAMIC"""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab, tap, wait_until  # noqa: E402

PRICKLE, STATIC, DYNAMIC = sys.argv[1:4]
OBJECTS = "/usr/lib/x86_64-linux-gnu/bpf"


class Place(Lab):
    """Two hosts and a wire; `here` has the interface under test."""

    def __enter__(self):
        super().__enter__()
        self.prickle_path = PRICKLE
        self.here, self.there = self.ns("here"), self.ns("there")
        self.a, self.b = self.veth(self.here, "eth0", self.there, "eth0", ["10.1.0.1/24"], ["10.1.0.2/24"])
        return self

    def run(self, *command, options=(), check=True):
        # Not inside `ip netns exec`, which hides the bpffs in which xdp-filter keeps its maps.
        return self.prickle(None, "spine", "exec", "--netns", self.here.name, "--dev", "eth0", *options, "--", *command, check=check)

    def names(self):
        rows = json.loads(self.prickle(self.here, "spine", "list", "--dev", "eth0", "--json", check=False).stdout or "[]")
        return [row["name"] for row in rows]

    def arrives(self, port):
        """A datagram from there reaches a socket here."""
        with self.here.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside, \
                self.there.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
            inside.bind(("10.1.0.1", port))
            inside.settimeout(0.2)
            for _ in range(4):  # the first may be lost while the addresses are being resolved
                outside.sendto(b"x", ("10.1.0.1", port))
                with contextlib.suppress(TimeoutError):
                    inside.recv(10)
                    return True
            return False

    def bare(self):
        """The interface runs nothing, as it was found."""
        row = json.loads(self.here.ip("-j", "-d", "link", "show", "eth0"))[0]
        return "xdp" not in row


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise tap.Skip(f"no {program}")


def xdp_filter_and_its_second_commands():
    """xdp-filter loads, changes its rules by second commands, filters, and goes without a trace"""
    need("xdp-filter")
    with Place() as lab:
        lab.run("xdp-filter", "load", "eth0")
        assert lab.names() == ["xdp-filter"], lab.names()
        assert lab.arrives(7)
        lab.run("xdp-filter", "port", "7", "-m", "dst")
        assert not lab.arrives(7)
        assert lab.arrives(8)
        status = lab.run("xdp-filter", "status").stdout
        assert "eth0 (native mode)" in status and "7 " in status, status
        lab.run("xdp-filter", "port", "7", "-m", "dst", "-r")
        assert lab.arrives(7)
        lab.run("xdp-filter", "unload", "eth0")
        assert lab.names() == [] and lab.bare()


def two_programs_of_two_loaders_run_side_by_side():
    """xdp-loader's program runs beside xdp-filter's, and each finds its own"""
    need("xdp-filter", "xdp-loader")
    with Place() as lab:
        lab.run("xdp-filter", "load", "eth0")
        lab.run("xdp-filter", "port", "7", "-m", "dst")
        lab.run("xdp-loader", "load", "eth0", f"{OBJECTS}/xdpdump_xdp.o")
        assert lab.names() == ["xdp-filter", "xdp-loader"], lab.names()
        assert "xdpdump" in lab.run("xdp-loader", "status", "eth0").stdout
        assert "xdpfilt" in lab.run("xdp-filter", "status").stdout
        assert not lab.arrives(7) and lab.arrives(8)
        lab.run("xdp-loader", "unload", "eth0", "--all")
        assert lab.names() == ["xdp-filter"], lab.names()
        assert not lab.arrives(7)
        lab.run("xdp-filter", "unload", "eth0")
        assert lab.bare()


def second_commands_inside_a_namespace():
    """run inside `ip netns exec`, which hides bpffs, a program finds its maps all the same"""
    need("xdp-filter")
    with Place() as lab:
        for command in (("load", "eth0"), ("port", "7", "-m", "dst")):
            lab.prickle(lab.here, "spine", "exec", "--dev", "eth0", "--", "xdp-filter", *command)
        assert not lab.arrives(7) and lab.arrives(8)
        lab.prickle(lab.here, "spine", "exec", "--dev", "eth0", "--", "xdp-filter", "unload", "eth0")
        assert lab.bare()


def only_what_matches_reaches_the_program():
    """--match gives a program a part of the traffic only"""
    with Place() as lab:
        other = hold(lab, DYNAMIC, "--match", "udp port 9")
        assert lab.arrives(7), "port 7 does not match, and the program that would drop it must not see it"
        end(other)


def hold(lab, program, *options):
    process = lab.here.start(PRICKLE, "spine", "exec", "--dev", "eth0", *options, "--", program, "eth0",
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line == "attached\n", line
    return process


def end(process):
    process.stdin.close()
    assert process.wait(60) == 0
    process.stdout.close()


def link_of(program, what):
    def case():
        with Place() as lab:
            process = hold(lab, program)
            assert len(lab.names()) == 1
            assert not lab.arrives(7) and lab.arrives(8)
            end(process)
            wait_until(lambda: lab.names() == [], what="the extension goes with the link")
            assert lab.arrives(7) and lab.bare()
    case.__doc__ = f"a link of {what} is an extension as long as the program holds it"
    return case


def a_program_that_dies_leaves_nothing():
    """a program that is killed leaves no extension of its link behind"""
    with Place() as lab:
        process = hold(lab, STATIC, "--name", "mortal")
        pid = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
        os.kill(int(pid[0]), 9)
        assert process.wait(60) == 128 + 9
        process.stdin.close()
        process.stdout.close()
        wait_until(lambda: lab.names() == [], what="the extension is gone")
        assert lab.bare()


def netlink_by_hand_is_refused_with_a_sentence():
    """a program that speaks netlink by itself is refused with a sentence, and nothing is attached"""
    with Place() as lab:
        done = lab.run("ip", "link", "set", "dev", "eth0", "xdp", "obj", f"{OBJECTS}/xdpdump_xdp.o", "sec", "xdp", check=False)
        assert done.returncode != 0
        assert "netlink" in done.stderr and "prickle spine adopt" in done.stderr, done.stderr
        assert lab.bare()


def other_commands_are_left_alone():
    """exit codes, output and other interfaces are the program's own"""
    with Place() as lab:
        assert lab.run("sh", "-c", "echo hello; exit 7", check=False).returncode == 7
        assert lab.run("echo", "hello").stdout == "hello\n"
        assert lab.run("no-such-program", check=False).returncode == 4
        lab.run("ip", "link", "set", "dev", "eth0", "mtu", "1400")


tap.run([
    xdp_filter_and_its_second_commands, second_commands_inside_a_namespace, two_programs_of_two_loaders_run_side_by_side,
    link_of(DYNAMIC, "a dynamic program with libbpf"), link_of(STATIC, "a static program without it"),
    only_what_matches_reaches_the_program, a_program_that_dies_leaves_nothing,
    netlink_by_hand_is_refused_with_a_sentence, other_commands_are_left_alone,
])
