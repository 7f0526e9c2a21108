#!/usr/bin/env python3
"""A policy on a node from outside: store.py PRICKLE. Epochs, keys, what processes see of a change, the audit's log."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
from ports import free_base  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
DIR = tempfile.mkdtemp(prefix="prickle-policy.")
STORE = DIR + "/store"
PLAIN = "import default\nmodule web\ndomain app = program \"/usr/bin/app\"\nlabel file data = tree \"/srv/data\"\n"


def policy(*words, code=0, store=STORE):
    run = subprocess.run([PRICKLE, "policy", *words, *(["--policy", store] if store else [])], capture_output=True, text=True,
                         stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert run.returncode == code, f"{words} ended with {run.returncode}, not {code}\n{run.stdout}{run.stderr}"
    return run


def file(name, text):
    with open(f"{DIR}/{name}", "w", encoding="ascii") as f:
        f.write(text)
    return f"{DIR}/{name}"


def epochs():
    return json.loads(policy("epochs", "--json").stdout)


def an_apply_is_an_epoch():
    """an apply shows which decisions change, makes an epoch, and tells who and why"""
    run = policy("apply", file("a.policy", PLAIN + "allow app read data\n"), "--yes", "--note", "ticket 4711")
    assert "epoch 1 is in force" in run.stdout, run.stdout
    run = policy("apply", file("b.policy", PLAIN + "allow app read, write data\n"), "--yes")
    assert "+ web.app may write web.data" in run.stdout, run.stdout
    first, second = epochs()
    assert (first["note"], first["in_force"], second["in_force"]) == ("ticket 4711", False, True), (first, second)
    assert first["who"] and first["sha256"] != second["sha256"]
    text = policy("audit").stdout
    assert "applied" in text and "ticket 4711" in text, text


def a_dry_run_changes_nothing():
    """a dry run tells what would change and changes nothing"""
    run = policy("apply", DIR + "/a.policy", "--dry-run")
    assert "- web.app may write web.data" in run.stdout and "nothing was applied" in run.stdout, run.stdout
    assert len(epochs()) == 2
    answer = json.loads(policy("apply", DIR + "/a.policy", "--dry-run", "--json").stdout)
    assert answer["applied"] is False and any("write" in c.get("lost", []) for c in answer["changes"]), answer


def a_broken_never_changes_nothing():
    """a broken never is told with both places, and the old policy stands"""
    bad = file("bad.policy", PLAIN + "allow app read data\nnever app read data because \"it is ours\"\n")
    said = policy("apply", bad, "--yes", code=1).stderr
    assert "bad.policy:5:" in said and "bad.policy:6:" in said, said
    assert said.index("bad.policy:5:") < said.index("bad.policy:6:"), said
    assert epochs()[-1]["in_force"] and len(epochs()) == 2
    policy("apply", DIR + "/not-there.policy", "--yes", code=4)
    policy("apply", code=2)
    policy("apply", DIR + "/a.policy", "--previous", code=2)


def previous_goes_back():
    """apply --previous puts back what was in force before"""
    run = policy("apply", "--previous", "--yes")
    assert "- web.app may write web.data" in run.stdout and "epoch 3" in run.stdout, run.stdout
    assert epochs()[-1]["sha256"] == epochs()[0]["sha256"]


def the_same_text_makes_no_epoch():
    """a text that is in force already makes no epoch, so --previous still leads to the one before"""
    before = epochs()
    run = policy("apply", DIR + "/a.policy", "--yes")
    assert "epoch 3 is in force with this text already" in run.stdout, run.stdout
    assert json.loads(policy("apply", DIR + "/a.policy", "--json").stdout)["applied"] is False
    assert epochs() == before
    assert "epoch 3" in policy("apply", DIR + "/a.policy", "--dry-run").stdout
    run = policy("apply", "--previous", "--yes")
    assert "+ web.app may write web.data" in run.stdout, run.stdout
    policy("apply", "--previous", "--yes")


def keys_must_sign():
    """with a key, only what it signed is taken, here or elsewhere"""
    key = DIR + "/ops.key"
    public = policy("key", "new", key, store=None).stdout.strip()
    assert os.stat(key).st_mode & 0o777 == 0o600 and len(public) == 64
    policy("key", "new", key, code=2, store=None)
    said = policy("key", "add", "ops", public).stderr
    assert f"epoch {epochs()[-1]['epoch']}, which is in force, is not signed" in said, said
    policy("key", "add", "ops", public, code=2)
    assert json.loads(policy("key", "list", "--json").stdout) == [{"name": "ops", "public": public}]
    said = policy("apply", DIR + "/b.policy", "--yes", code=5).stderr
    assert "signed policies only" in said, said
    policy("apply", DIR + "/b.policy", "--yes", "--key", key)
    assert epochs()[-1]["signer"] == "ops"
    assert policy("key", "add", "two", public).stderr == ""
    policy("key", "remove", "two")
    policy("sign", DIR + "/a.policy", "--key", key, store=None)
    policy("apply", DIR + "/b.policy", "--yes", "--signature", DIR + "/a.policy.sig", code=5)
    policy("apply", DIR + "/a.policy", "--yes", "--signature", DIR + "/a.policy.sig")
    os.chmod(key, 0o644)
    policy("apply", DIR + "/b.policy", "--yes", "--key", key, code=5)
    policy("key", "remove", "ops")
    policy("key", "remove", "ops", code=4)


def unknown_decisions_are_told():
    """explain knows a decision by its id, and says so when it does not"""
    last = json.loads(policy("audit", "--json").stdout.splitlines()[-1])
    assert last["result"] == "applied", last
    assert last["decision"] in policy("explain", last["decision"]).stdout
    policy("explain", "fff-1", code=4)
    policy("explain", "nonsense", code=2)
    policy("audit", "--since", "soon", code=2)
    assert policy("audit", "--result", "denied").stdout == ""


def no_store_says_how_to_make_one():
    """a directory without a policy says how to make one"""
    said = policy("epochs" if os.geteuid() else "audit", store=DIR + "/none", code=4).stderr
    assert "prickle policy apply" in said, said


class Node:
    def __init__(self):
        base = free_base()
        self.socket = DIR + "/control.sock"
        config = file("prickle.yaml", f"hostname: localhost\nstate: {DIR}/state\ncontrol:\n  socket: {self.socket}\n"
                      f"  metrics: []\npolicy:\n  directory: {DIR}/node\nfront:\n  processes: 1\nmail:\n  listen:\n    lmtp: []\n"
                      + "".join(f"    {name}: 127.0.0.1:{base + port}\n" for name, port in (
                          ("smtp", 25), ("submission", 587), ("submissions", 465), ("imap", 143), ("imaps", 993), ("pop3", 110),
                          ("pop3s", 995))))
        with open(DIR + "/log", "wb") as log:
            self.process = subprocess.Popen([PRICKLE, "serve", "--config", config], stdin=subprocess.DEVNULL, stderr=log)

    def status(self):
        run = subprocess.run([PRICKLE, "status", "--json", "--socket", self.socket], capture_output=True, check=False, timeout=30)
        try:
            return json.loads(run.stdout)
        except ValueError:
            return {}

    def until(self, what):
        """Ask for the status until this holds of it."""
        end, now = time.monotonic() + 30, {}
        while time.monotonic() < end:
            now = self.status()
            if now.get("roles") and what(now):
                return now
            time.sleep(0.05)
        with open(DIR + "/log", encoding="utf-8", errors="replace") as f:
            raise AssertionError(f"{now}\n{f.read()[-3000:]}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def a_node_follows_its_policy():
    """a node that runs sees an apply by itself, its log keeps the record, and both outlive it"""
    os.chmod(DIR, 0o755)
    node = Node()
    try:
        ready = node.until(lambda s: all(r["ready"] for r in s["roles"]))
        assert ready["policy_epoch"] == 0, ready
        policy("apply", DIR + "/b.policy", "--yes", "--note", "while it runs", store=DIR + "/node")
        now = node.until(lambda s: s["policy_epoch"] == 1)
        assert not now["problems"], now["problems"]
        node.until(lambda s: any(r["name"] == "audit" and r["status"].get("records", 0) >= 1 for r in s["roles"]))
    finally:
        node.end()
    shutil.rmtree(DIR + "/node/run/audit")
    text = policy("audit", store=DIR + "/node").stdout
    assert text.count("while it runs") == 1, text
    node = Node()
    try:
        node.until(lambda s: all(r["ready"] for r in s["roles"]) and s["policy_epoch"] == 1)
    finally:
        node.end()


def others_may_not_write():
    """a directory that others may write to is refused"""
    os.chmod(STORE, 0o777)
    assert "others may write" in policy("apply", DIR + "/a.policy", "--yes", code=5).stderr


try:
    tap.run([an_apply_is_an_epoch, a_dry_run_changes_nothing, a_broken_never_changes_nothing, previous_goes_back, the_same_text_makes_no_epoch, keys_must_sign,
             unknown_decisions_are_told, no_store_says_how_to_make_one, a_node_follows_its_policy, others_may_not_write])
finally:
    shutil.rmtree(DIR, ignore_errors=True)
