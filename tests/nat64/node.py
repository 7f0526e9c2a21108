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
import time

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

    def keepers(self):
        """The processes `prickle nat64 run` of this file; the role that keeps them is the node's child."""
        parents, found = {}, []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                    parents[int(pid)] = int(f.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
                if words[1:3] == [b"nat64", b"run"] and os.fsencode(self.instance.path) in words:
                    found.append(int(pid))
        return [pid for pid in found if parents.get(parents[pid]) == self.process.pid]


def worker_of(keeper):
    with open(f"/proc/{keeper}/task/{keeper}/children", encoding="ascii") as f:
        return int(f.read().split()[0])


def pings(net):
    return net.six.done("ping", "-c1", "-W1", embed(net.FOUR)).returncode == 0


def a_node_runs_starts_again_reloads_and_leaves_a_translator():
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        instance = net.nat64(tables=SMALL)
        node = Node(lab, instance)
        wait_until(lambda: pings(net), 20, "a translated ping")
        first = wait_until(node.keepers, 5, "the translator's process")
        time.sleep(0.3)                 # what came before neighbours were known went the slow way, and its flow for 0.1 s
        os.kill(first[0], signal.SIGKILL)
        assert pings(net), f"traffic goes on while its process is gone: {instance.reasons()}"
        wait_until(lambda: node.keepers() not in ([], first), 10, "another process")
        assert "nat64.ended" in node.logged(), node.logged()
        state = lambda: net.nat.done(PRICKLE, "status", "--json", "--socket", f"{node.directory}/control.sock")
        wait_until(lambda: state().returncode == 0, 10, "no problems")
        shown = json.loads(state().stdout)
        assert [(row["name"], row["daemon"]) for row in shown["translators"]] == [(instance.name, True)], shown
        stopped = worker_of(node.keepers()[0])
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: state().returncode == 3, 10, "a problem")
        assert "daemon does not run" in json.loads(state().stdout)["problems"][0]["what"], state().stdout
        text = net.nat.done(PRICKLE, "status", "--socket", f"{node.directory}/control.sock").stdout
        assert text.startswith(f"! translator {instance.name}: its daemon") and "\ntranslator " in text, text
        os.kill(stopped, signal.SIGCONT)
        wait_until(lambda: state().returncode == 0, 10, "no problems again")
        base = {"mode": "nat64", "interfaces": ["six", "four"], "attach": "xdp", "pref64": [PREF64], "pool4": [POOL4], "tables": SMALL}
        settings = lambda: instance.json("show")["settings"]["lowest-ipv6-mtu"]
        instance.rewrite({**base, "lowest-ipv6-mtu": 1400})
        wait_until(lambda: any(row["here"] and row["daemon"] for row in lab.json(net.nat, "nat64", "list")), 10, "the process serves")
        node.reload()
        wait_until(lambda: settings() == 1400, 5, "the new setting")
        instance.rewrite({**base, "lowest-ipv6-mtu": 10})
        node.reload()
        wait_until(lambda: "the settings stay as they are" in node.logged(), 5, "a word about the mistake")
        assert settings() == 1400
        node.process.send_signal(signal.SIGTERM)
        node.process.wait(15)
        assert node.keepers() == []
        assert pings(net), "traffic goes on when the node has ended"


tap.run([a_node_runs_starts_again_reloads_and_leaves_a_translator])
