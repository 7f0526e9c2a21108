#!/usr/bin/env python3
"""
docs/nat64.md does what it says: its set-ups are built in namespaces, with the files and commands of the document itself, taken
from the blocks behind comments <!-- setup: NAME host: HOST [file: PATH] -->.

usage: docs.py PRICKLE
"""
import os
import re
import select
import shlex
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab as labs  # noqa: E402
from lab import Clat464, DataCentre, HostClat, Lab, Line, resolve_by, tap  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENT = os.path.join(ROOT, "docs/nat64.md")
BLOCK = re.compile(r"<!-- setup: (?P<setup>\S+) host: (?P<host>\S+)(?: file: (?P<file>\S+))? -->\n```\w*\n(?P<text>.*?)```", re.S)


def blocks(name):
    with open(DOCUMENT, encoding="utf-8") as f:
        found = [match.groupdict() for match in BLOCK.finditer(f.read())]
    return [block for block in found if block["setup"] == name]


class Setup:
    """
    One set-up: files are kept where the lab keeps its own, commands run in their host's namespace. hosts["written"] is called with
    the name and the path of each file.
    """

    def __init__(self, lab, name, hosts):
        self.lab, self.hosts, self.files = lab, hosts, {}
        found = blocks(name)
        assert found, f"{DOCUMENT} has no set-up '{name}'"
        for block in found:
            if block["file"]:
                self.write(block)
            else:
                for line in block["text"].strip().splitlines():
                    self.command(hosts[block["host"]], line)

    def write(self, block):
        path = self.lab.write(f"{block['host']}-{os.path.basename(block['file'])}", block["text"])
        self.files[block["host"], block["file"]] = path
        self.hosts.get("written", lambda *_: None)(block["file"], path)

    def command(self, ns, line):
        words = shlex.split(line, comments=True)
        host = next(name for name, one in self.hosts.items() if one is ns)
        words = [self.files.get((host, word), word) for word in words]
        if words[:3] == ["prickle", "nat64", "run"]:
            return self.run(ns, words)
        if words[0] == "prickle":
            words[0] = PRICKLE
        done = ns.done(*words, timeout=30)
        assert done.returncode == 0, f"'{line}' on {host}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, ns, words):
        log = os.path.join(self.lab.directory(), f"{ns.name}.log")
        with open(log, "wb") as f:
            process = ns.start(PRICKLE, *words[1:], stdout=subprocess.PIPE, stderr=f)
        self.lab.keep(Running(self.lab, ns, process))
        end, said = time.monotonic() + labs.READY_S, b""
        while b"ready" not in said:
            left = end - time.monotonic()
            got = left > 0 and select.select([process.stdout], [], [], left)[0] and os.read(process.stdout.fileno(), 4096)
            with open(log, encoding="utf-8", errors="replace") as f:
                assert got, f"{' '.join(words)}: exit {process.poll()}\n{said.decode()}{f.read()}"
            said += got


class Running:
    def __init__(self, lab, ns, process):
        self.lab, self.ns, self.process = lab, ns, process

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.lab.prickle(self.ns, "nat64", "remove", check=False)


def siit_in_a_data_centre():
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab, untouched=True, names=("eth0", "eth1"))
        lab.web(net.six, net.SIX)
        lab.web(net.four, net.FOUR)
        Setup(lab, "data-centre", {"border": net.nat, "server": net.six, "client": net.four})


def nat64_with_dns64_at_an_isp():
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=True, names=("eth0", "eth1"))
        lab.web(net.four, net.FOUR)

        def written(name, path):
            if name.endswith("dns64.conf"):
                lab.dns(net.nat, net.NAT6, snippet=path)
                resolve_by(lab, net.six, net.NAT6)

        Setup(lab, "isp", {"gateway": net.nat, "subscriber": net.six, "written": written})


def the_customers_side_of_464xlat():
    with Lab(PRICKLE) as lab:
        net = Clat464(lab, names=("lan0", "eth0", "eth0", "eth1"))
        lab.web(net.four, net.FOUR)
        net.start_plat()
        Setup(lab, "customer", {"router": net.clat, "device": net.lan})


def one_host_with_ipv6_alone():
    with Lab(PRICKLE) as lab:
        net = HostClat(lab, names=("lan0", "eth0", "eth0", "eth1"))
        lab.web(net.four, net.FOUR)
        net.start_plat()
        Setup(lab, "host", {"laptop": net.clat})


def every_reason_of_the_document_exists():
    with open(os.path.join(ROOT, "src/nat64/core/reasons.def"), encoding="utf-8") as f:
        known = set(re.findall(r'REASON\(\w+, "([a-z0-9-]+)"', f.read()))
    with open(DOCUMENT, encoding="utf-8") as f:
        table = f.read().split("## When something does not work")[1].split("\n- **")[0]
    named = set()
    for row in re.findall(r"^\| (`[^|]*) \|", table, re.M):
        named |= set(re.findall(r"`([a-z0-9-]+)`", row))
    assert len(named) > 20 and named <= known, f"no such reasons: {sorted(named - known)}"


def every_configuration_of_the_document_is_fine():
    with open(DOCUMENT, encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(ROOT, "src/nat64/settings.def"), encoding="utf-8") as f:
        known = set(re.findall(r'OPTION\(\w+, \w+, "([a-z0-9.-]+)"', f.read()))
    for key in re.findall(r"`((?:subscribers|tables|timers|icmp|clat|announce)\.[a-z.]+)`", text):
        assert key in known, f"no key '{key}'"
    found = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert len(found) >= 5
    for block in found:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as f:
            f.write(block)
            f.flush()
            done = subprocess.run([PRICKLE, "nat64", "check", "--file-only", f.name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, block + done.stdout + done.stderr


tap.run([every_reason_of_the_document_exists, every_configuration_of_the_document_is_fine, siit_in_a_data_centre, nat64_with_dns64_at_an_isp,
         the_customers_side_of_464xlat, one_host_with_ipv6_alone])
