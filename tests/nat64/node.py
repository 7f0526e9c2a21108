#!/usr/bin/env python3
"""
Translators as a role of the node: `prickle serve` with nat64.instances.

usage: node.py PRICKLE
"""
import contextlib
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab, Line, POOL4, PREF64, embed, tap, wait_until  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
SMALL = {"sessions": 4096, "mappings": 4096, "subscribers": 64}
NODE = """hostname: localhost
state: {directory}/state
control: {{socket: {directory}/control.sock}}
tls: {{certificate: {directory}/cert.pem, key: {directory}/key.pem}}
nat64:
  instances: [{instance}]
"""


class Node:
    """`prickle serve` in the namespace of a translator, whose file it gets."""

    def __init__(self, lab, instance):
        self.lab, self.instance = lab, instance
        self.directory = os.path.join(lab.directory(), "node")
        os.mkdir(self.directory)
        for path in (lab.directory(), self.directory):
            os.chmod(path, 0o755)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
                        "-keyout", f"{self.directory}/key.pem", "-out", f"{self.directory}/cert.pem", "-days", "30"],
                       check=True, capture_output=True)
        config = lab.write("node.yaml", NODE.format(directory=self.directory, instance=instance.path))
        self.log = os.path.join(self.directory, "log")
        with open(self.log, "wb") as log:
            self.process = instance.ns.start(PRICKLE, "serve", "--config", config, stderr=log)

    def logged(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def reload(self):
        self.lab.prickle(self.instance.ns, "reload", "--socket", f"{self.directory}/control.sock")

    def translators(self):
        """The processes `prickle nat64 run` of this file, and those that they have, with their parents."""
        parents, found = {}, []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                    parents[int(pid)] = int(f.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
                if words[1:3] == [b"nat64", b"run"] and os.fsencode(self.instance.path) in words:
                    found.append(int(pid))
        return found, parents

    def keepers(self):
        """Those of them that the role that keeps them has started; that role is the node's child."""
        found, parents = self.translators()
        return [pid for pid in found if parents.get(parents[pid]) == self.process.pid]

    def role(self):
        """The process that keeps the translators' processes."""
        found, parents = self.translators()
        return next((parents[pid] for pid in found if parents.get(parents[pid]) == self.process.pid), None)


def worker_of(node):
    """
    The slow path's process of the only keeper; None while there is none: status takes a dead one's last beat for life, for 3 s, and
    a keeper has other, short-lived children while it begins.
    """
    found, parents = node.translators()
    keepers = node.keepers()
    for pid in found:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            if parents[pid] in keepers and f.read() == "prickle:nat64\n":
                return pid
    return None


def pings(net):
    return net.six.done("ping", "-c1", "-W1", embed(net.FOUR)).returncode == 0


def a_node_runs_starts_again_reloads_and_leaves_a_translator():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.nat64(tables=SMALL)
        node = Node(lab, instance)
        wait_until(lambda: pings(net), 30, "a translated ping")
        first = wait_until(node.keepers, 30, "the translator's process")
        role = node.role()
        os.kill(role, signal.SIGSTOP)   # it starts no other before traffic was seen; restart.py counts that no packet is lost
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: node.translators()[0] == [], 30, "the translator's processes are gone")
        wait_until(lambda: pings(net), 30, "traffic goes on while its process is gone")
        os.kill(role, signal.SIGCONT)
        wait_until(lambda: node.keepers() not in ([], first), 30, "another process")
        wait_until(lambda: "nat64.ended" in node.logged(), 30, "a word about its end")
        state = lambda: net.nat.done(PRICKLE, "status", "--json", "--socket", f"{node.directory}/control.sock")
        well = lambda: state().returncode == 0
        stopped = wait_until(lambda: worker_of(node), 30, "the slow path's process")
        wait_until(well, 30, "no problems")
        shown = json.loads(state().stdout)
        assert [(row["name"], row["daemon"]) for row in shown["translators"]] == [(instance.name, True)], shown
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: state().returncode == 3, 30, "a problem")
        problems = json.loads(state().stdout)["problems"]
        assert any("daemon does not run" in row["what"] for row in problems), problems
        text = net.nat.done(PRICKLE, "status", "--socket", f"{node.directory}/control.sock").stdout
        assert f"! translator {instance.name}: its daemon" in text and "\ntranslator " in text, text
        os.kill(stopped, signal.SIGCONT)
        wait_until(well, 30, "no problems again")
        base = {"mode": "nat64", "interfaces": ["six", "four"], "attach": "xdp", "pref64": [PREF64], "pool4": [POOL4], "tables": SMALL}
        settings = lambda: instance.json("show")["settings"]["lowest-ipv6-mtu"]
        instance.rewrite({**base, "lowest-ipv6-mtu": 1400})
        wait_until(lambda: any(row["here"] and row["daemon"] for row in lab.json(net.nat, "nat64", "list")), 30, "the process serves")
        node.reload()
        wait_until(lambda: settings() == 1400, 30, "the new setting")
        instance.rewrite({**base, "lowest-ipv6-mtu": 10})
        node.reload()
        wait_until(lambda: "the settings stay as they are" in node.logged(), 30, "a word about the mistake")
        assert settings() == 1400
        node.process.send_signal(signal.SIGTERM)
        node.process.wait(60)
        wait_until(lambda: node.translators()[0] == [], 30, "the translator's processes end with the node")
        wait_until(lambda: pings(net), 30, "traffic goes on when the node has ended")


tap.run([a_node_runs_starts_again_reloads_and_leaves_a_translator])
