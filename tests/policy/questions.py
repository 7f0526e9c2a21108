#!/usr/bin/env python3
"""Questions to policies: `prickle policy who-can`, `diff`, `export cil`.

questions.py PRICKLE
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

PRICKLE = sys.argv[1]
SITE = """import default
module web
  domain web = program "/usr/bin/web"
  label file appdata = tree "/srv/app"
  label endpoint db = host "db" port 5432
  allow web read, write appdata
  allow web connect db
  never web exec file
"""


def run(*words, code=0):
    done = subprocess.run([PRICKLE, "policy", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, f"{words}: exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout if code == 0 else done.stdout + done.stderr


def written(text):
    path = os.path.join(directory, f"{len(os.listdir(directory))}.policy")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def who_can_reads_mail():
    """who can ever read mail is told with the way, and who can now without it"""
    now = json.loads(run("who-can", "read", "on", "mailbox", "--in", "shipped", "--json"))
    ever = json.loads(run("who-can", "ever", "read", "on", "mailbox", "--in", "shipped", "--json"))
    assert "mail.mailadm" not in [w["subject"] for w in now], now
    ways = [w for w in ever if w["subject"] == "mail.mailadm"]
    assert [w["path"] for w in ways] == [["mail.mailadm", "mail.recovery"]], ever
    assert ways[0]["ticket"], ways
    assert "mailadm -> recovery (with ticket): read mailbox" in run("who-can", "ever", "read", "mailbox", "--in", "shipped")


def names_are_looked_up():
    """a path or host:port stands for the label that it has"""
    site = written(SITE)
    assert "web: write appdata, by " in run("who-can", "write", "on", "/srv/app/a/b", "--in", site)
    assert "web: connect db" in run("who-can", "connect", "on", "db:5432", "--in", site)
    assert "nobody can" in run("who-can", "write", "on", "/etc/passwd", "--in", site, code=4)
    assert "nobody can exec appdata" in run("who-can", "exec", "on", "appdata", "--in", site)
    assert "no class has the permission 'wriet'" in run("who-can", "wriet", "on", "appdata", "--in", site, code=2)


def differences_are_decisions():
    """the same rights in other words do not differ; each other right does"""
    site = written(SITE)
    same = written(SITE.replace("allow web read, write appdata", "allow web write appdata allow web read appdata"))
    more = written(SITE.replace("allow web connect db", "allow web create appdata").replace("tree \"/srv/app\"", "tree \"/srv\""))
    assert run("diff", site, same) == "no decision differs\n"
    told = run("diff", site, more)
    assert "- web.web may connect web.db\n" in told and "+ web.web may create web.appdata\n" in told, told
    assert "~ web.appdata: the label is now tree \"/srv\" (was tree \"/srv/app\")\n" in told, told
    gained = [c for c in json.loads(run("diff", site, more, "--json")) if c.get("gained")]
    assert [(c["subject"], c["object"], c["gained"]) for c in gained] == [("web.web", "web.appdata", ["create"])], gained


def secilc_takes_the_export():
    """secilc compiles the export, and refuses it when a never is broken"""
    if shutil.which("secilc") is None:
        raise tap.Skip("secilc is not installed")
    for text, fits in ((SITE, True), (SITE + "  allow web exec appdata\n", False)):
        cil = written(run("export", "cil", written(text)))
        done = subprocess.run(["secilc", "-o", cil + ".bin", "-f", "/dev/null", cil], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == fits, done.stdout + done.stderr


def seen(subject, permission, kind, thing, who="", what="", result="denied"):
    return json.dumps({"result": result, "subject": subject, "class": kind, "permission": permission, "object": thing, "who": who, "what": what}) + "\n"


def a_log_becomes_rules():
    """learn finds the fewest lines, none against a never, and says what else they open"""
    site = written(SITE)
    log = written(seen("web.web", "create", "file", "web.appdata", result="trial") + seen("web.web", "delete", "file", "web.appdata") * 2
                  + seen("web.web", "exec", "file", "web.appdata") + seen("web.web", "send", "endpoint", "web.db")
                  + seen("web.web", "read", "file", "web.appdata", result="allowed") + seen("web.web", "read", "file", "web.gone")
                  + seen("mail.user", "check", "mailbox", "mailbox", "ann@example.org", "ann@example.org INBOX"))
    told = run("learn", log, "--in", site)
    assert "allow web.web create, delete web.appdata\n  # 3 decisions\n  # opens: web.appdata is all below /srv/app\n" in told, told
    assert "allow web.web send web.db\n  # 1 decision\n" in told, told
    assert "allow mail.user check mailbox where owner is subject\n" in told, told
    assert "# not allowed: web.web exec web.appdata, by the never at " in told, told
    # What was printed can be pasted, and then nothing is left to learn.
    more = written(SITE + told)
    again = json.loads(run("learn", log, "--in", more, "--json"))
    assert again["rules"] == [] and again["already"] == 5 and again["unlabelled"] == 1 and again["smallest"], again
    assert "2: no line" in run("learn", written("{}\nx\n"), "--in", site, code=2)


def mistakes_are_told():
    """a file with mistakes is not asked, and its mistakes are told"""
    told = run("who-can", "read", "on", "mailbox", "--in", written("module a alow x"), code=1)
    assert ":1:" in told and "error:" in told, told


with tempfile.TemporaryDirectory() as directory:
    tap.run([who_can_reads_mail, names_are_looked_up, differences_are_decisions, secilc_takes_the_export, a_log_becomes_rules, mistakes_are_told])
