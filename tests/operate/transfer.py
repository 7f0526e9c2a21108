#!/usr/bin/env python3
"""`prickle mail import` and `export`, beside a running node and without one: transfer.py PRICKLE."""
import glob
import hashlib
import imaplib
import json
import mailbox
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "smtp"))
import node as nodes  # noqa: E402
import tap  # noqa: E402

MANY = 1500
UMLAUT = "Entw\u00fcrfe"
node = None
work = None


def path(*parts):
    return os.path.join(work, *parts)


def command(*words, online=True):
    where = ["--socket", os.path.join(node.dir, "state", "control.sock")] if online else \
        ["--state", os.path.join(node.dir, "state")]
    return [node.prickle, "mail", *words, *where]


def run(*words, code=0, online=True):
    done = subprocess.run(command(*words, online=online), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, f"{words}: exit {done.returncode}, {done.stdout} {done.stderr}"
    return done


def result(*words, **how):
    answer = json.loads(run(*words, "--json", **how).stdout)
    assert len(answer["users"]) == 1, answer
    return answer["users"][0]


def login(user):
    client = imaplib.IMAP4("127.0.0.1", node.port("imap"), timeout=60)
    client.login(user, nodes.PASSWORD)
    return client


def normal(data):
    """Line ends as CRLF, the last line ended: what the hashes are made of."""
    data = re.sub(rb"\r*\n", b"\r\n", data)
    return data if data.endswith(b"\r\n") or not data else data + b"\r\n"


def fetch(client, folder):
    """[(uid, flags, internaldate, body)]"""
    assert client.select(f'"{folder}"', readonly=True)[0] == "OK", folder
    status, data = client.fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")
    found = []
    for part in data:
        if isinstance(part, tuple):
            head = part[0].decode()
            found.append((int(re.search(r"UID (\d+)", head)[1]), set(re.search(r"FLAGS \(([^)]*)\)", head)[1].split()) - {"\\Recent"},
                          re.search(r'INTERNALDATE "([^"]*)"', head)[1].strip(), part[1]))
    client.close()
    return found


HARD = {
    "plain": b"Subject: plain\n\nbody\n",
    "crlf": b"Subject: crlf\r\n\r\nbody\r\n",
    "from": b"Subject: from\n\nFrom here on\n>From there\n>>From everywhere\n\nFrom x@y Mon Nov 23 09:00:00 2026\n",
    "no-end": b"Subject: no end\n\nlast line",
    "nul": b"Subject: nul\n\nbefore\0after\n",
    "8bit": b"Subject: 8bit\n\n\xff\xfe\x80\n",
    "header-only": b"Subject: only\n",
    "no-header": b"\njust text\n",
    "status": b"Status: mine\nX-Keywords: mine\nSubject: status\n\n.\n",
    "huge-header": b"X: " + b"h" * 300000 + b"\nSubject: huge\n\n.\n",
    "long": b"Subject: long\n\n" + b"0123456789abcdef" * 150000 + b"\n",
    "blank-lines": b"Subject: blanks\n\n\n\n\n",
    "twice-a": b"Subject: twice\n\nthe same\n",
    "twice-b": b"Subject: twice\n\nthe same\n",
}


def make_maildir():
    box = mailbox.Maildir(path("in"), create=True)
    uids = []
    for number, (name, text) in enumerate(HARD.items(), 1):
        file = f"{1600000000 + number}.{name}.host"
        with open(path("in", "cur", file + ":2,S"), "wb") as f:
            f.write(text)
        os.utime(path("in", "cur", file + ":2,S"), (1600000000 + number,) * 2)
        uids.append(f"{100 + 3 * number} :{file}")
    with open(path("in", "dovecot-uidlist"), "w", encoding="ascii") as f:
        f.write("3 V777 N200 G0123456789abcdef0123456789abcdef\n" + "\n".join(uids) + "\n")
    box.add_folder("Work.2024")
    box.add_folder("Entw&APw-rfe")
    box.add_folder("a\\2eb")
    for i, flags in enumerate(["", "S", "DFPRST", "Sab"]):
        with open(path("in", ".Work.2024", "cur", f"17000000{i}0.x{i}.host:2,{flags}"), "wb") as f:
            f.write(b"Subject: w%d\n\n.\n" % i)
    with open(path("in", ".Work.2024", "new", "1700000099.fresh.host"), "wb") as f:
        f.write(b"Subject: fresh\n\n.\n")
    with open(path("in", ".Work.2024", "dovecot-keywords"), "w", encoding="ascii") as f:
        f.write("0 $Important\n1 later\n")
    with open(path("in", ".Entw&APw-rfe", "cur", "1700000001.u.host:2,D"), "wb") as f:
        f.write(b"Subject: draft\n\n.\n")
    with open(path("in", ".a\\2eb", "cur", "1700000001.dot.host:2,"), "wb") as f:
        f.write(b"Subject: dot\n\n.\n")
    # What somebody else may have put there.
    os.symlink("/etc/passwd", path("in", "cur", "1600000000.link.host:2,S"))
    os.mkfifo(path("in", "cur", "1600000000.fifo.host:2,S"))
    os.mkdir(path("in", "..Work"))
    os.mkdir(path("in", ".x..y"))
    with open(path("in", "subscriptions"), "w", encoding="ascii") as f:
        f.write("V\t2\n\nINBOX\nWork\t2024\n")


TOTAL = len(HARD) + 5 + 1 + 1


def maildir_in():
    """a Maildir with hard messages and hostile names comes in whole, beside a running node"""
    make_maildir()
    r = result("import", nodes.ANN, path("in"))
    assert r["equal"] and r["messages"] == r["copied"] == TOTAL and r["problem_count"] == 0, r
    assert any("link.host" in n for n in r["notes"]) and any("fifo.host" in n for n in r["notes"]), r["notes"]
    client = login(nodes.ANN)
    inbox = fetch(client, "INBOX")
    assert [m[0] for m in inbox] == [100 + 3 * i for i in range(1, len(HARD) + 1)], inbox
    for (_, flags, date, body), text in zip(inbox, HARD.values()):
        # NUL cannot stand in IMAP's answers; the node says 0x80 (RFC 9051 §4.3.1).
        assert normal(body) == normal(text).replace(b"\0", b"\x80") and flags == {"\\Seen"}, (body[:80], text[:80])
    assert inbox[0][2] == "13-Sep-2020 12:26:41 +0000", inbox[0][2]
    client.select("INBOX", readonly=True)
    assert client.response("UIDVALIDITY")[1] == [b"777"] and client.response("UIDNEXT")[1] == [b"200"]
    assert [m[1] for m in fetch(client, "Work/2024")] == [
        set(), {"\\Seen"}, {"\\Draft", "\\Flagged", "$Forwarded", "\\Answered", "\\Seen", "\\Deleted"},
        {"\\Seen", "$Important", "later"}, set()]
    assert len(fetch(client, "Entw&APw-rfe")) == len(fetch(client, "a.b")) == 1
    assert b"Work/2024" in b" ".join(client.lsub()[1])
    client.logout()


def twice_brings_nothing_twice():
    """a second import brings only what is new"""
    r = result("import", nodes.ANN, path("in"))
    assert r["equal"] and r["copied"] == 0 and r["present"] == TOTAL, r
    with open(path("in", "new", "1800000000.late.host"), "wb") as f:
        f.write(b"Subject: late\n\n.\n")
    # What was moved here meanwhile is not brought again.
    client = login(nodes.ANN)
    client.select("INBOX")
    client.uid("move", "103", "Work/2024")
    client.logout()
    r = result("import", nodes.ANN, path("in"))
    assert r["equal"] and r["copied"] == 1, r
    assert report_is_clean()


def report_is_clean():
    return json.loads(run("fsck", "--json").stdout)["problems"] == []


def mbox_in():
    """mbox files of Python's mailbox come in, flags and all"""
    box = mailbox.mbox(path("py.mbox"))
    for i, text in enumerate(HARD.values()):
        message = mailbox.mboxMessage(text)
        message.set_from(f"someone@example.org Sat Jan  3 01:02:{i:02d} 1970")
        message.set_flags("RO" if i % 2 else "FA")
        box.add(message)
    box.close()
    r = result("import", nodes.BOB, path("py.mbox"), "--folder", "From mbox")
    assert r["equal"] and r["copied"] == len(HARD), r
    client = login(nodes.BOB)
    found = fetch(client, "From mbox")
    client.logout()
    assert found[0][1] == {"\\Flagged", "\\Answered"} and found[1][1] == {"\\Seen"}, found[:2]
    assert found[2][2] == "03-Jan-1970 01:02:02 +0000", found[2][2]
    assert found[2][3].count(b"\r\nFrom here on\r\n") == 1, found[2][3]
    assert result("import", nodes.BOB, path("py.mbox"), "--folder", "From mbox")["copied"] == 0
    assert "no mbox" in run("import", nodes.BOB, "/etc/passwd", code=2).stderr


def maildir_out():
    """an exported Maildir holds the same, for Python and for a second import"""
    r = result("export", nodes.ANN, path("out"))
    assert r["equal"] and r["messages"] == TOTAL + 1, r
    box = mailbox.Maildir(path("out"), create=False)
    assert set(box.list_folders()) == {"Work.2024", "Entw&APw-rfe", "a\\2eb"}
    bodies = {normal(open(f, "rb").read()) for f in glob.glob(path("out", "cur", "*"))}
    assert bodies >= {normal(t) for name, t in HARD.items() if name != "plain"}
    assert {m.get_flags() for m in box.get_folder("Work.2024")} >= {"DFPRST", "Sab"}
    date = os.stat(glob.glob(path("out", "cur", "*U106V777*"))[0]).st_mtime
    assert date == 1600000002, date
    # Flags that change are brought up to date, and nothing is written twice.
    client = login(nodes.ANN)
    client.select("INBOX")
    client.uid("store", "106", "+FLAGS", "(\\Flagged)")
    client.logout()
    again = result("export", nodes.ANN, path("out"))
    assert again["equal"] and again["copied"] == 0 and again["target_sha256"] == r["target_sha256"], again
    assert len(glob.glob(path("out", "cur", "*U106V777*:2,FS"))) == 1
    assert len(glob.glob(path("out", "cur", "*"))) == len(HARD)
    assert "another user" in run("export", nodes.BOB, path("out"), code=5).stderr
    assert "not empty" in run("export", nodes.ANN, path("in"), code=5).stderr
    node.command("user", "add", "carol@example.org", "--no-password")
    c = result("import", "carol@example.org", path("out"))
    assert c["equal"] and c["source_sha256"] == r["target_sha256"], c


def mbox_out():
    """exported mbox files hold the same, for Python and for a second import"""
    r = result("export", nodes.ANN, path("mb"), "--format", "mbox")
    assert r["equal"] and r["messages"] == TOTAL + 1, r
    assert len(mailbox.mbox(path("mb", "Work", "2024.mbox"))) == 6
    node.command("user", "add", "dave@example.org", "--no-password")
    d = result("import", "dave@example.org", path("mb"))
    assert d["equal"] and d["source_sha256"] == r["target_sha256"], d
    # And out again as the other format: UIDs and flags have survived.
    e = result("export", "dave@example.org", path("dave"))
    assert e["source_sha256"] == r["source_sha256"], e
    assert len(glob.glob(path("dave", "cur", "*U106V777*:2,FS"))) == 1
    assert glob.glob(path("dave", ".Work.2024", "cur", "*:2,DFPRST"))
    # New mail is appended to the files.
    client = login(nodes.ANN)
    client.append("INBOX", None, None, b"Subject: newer\r\n\r\n.\r\n")
    client.logout()
    again = result("export", nodes.ANN, path("mb"), "--format", "mbox")
    assert again["equal"] and again["copied"] == 1, again


def dovecot_reads_it():
    """Dovecot reads the exported Maildir: UIDs, flags, keywords and sizes"""
    if not shutil.which("doveadm") or os.geteuid() != 0:
        raise tap.Skip("Dovecot is not installed, or we are not root")
    user = pwd.getpwnam("nobody")
    home = tempfile.mkdtemp(prefix="prickle-dovecot.")
    shutil.copytree(path("out"), os.path.join(home, "Maildir"))
    os.mkdir(os.path.join(home, "run"))
    with open(os.path.join(home, "conf"), "w", encoding="ascii") as f:
        f.write(f"base_dir = {home}/run\nstate_dir = {home}/run\nlog_path = {home}/log\nssl = no\n"
                f"mail_location = maildir:{home}/Maildir\nmail_home = {home}\nfirst_valid_uid = 1\n"
                "default_internal_user = nobody\ndefault_login_user = nobody\ndefault_internal_group = nogroup\n"
                "stats_writer_socket_path =\n")
    for root, dirs, files in os.walk(home):
        for name in [root] + [os.path.join(root, x) for x in files]:
            os.chown(name, user.pw_uid, user.pw_gid)

    def drop():
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    done = subprocess.run(["doveadm", "-c", os.path.join(home, "conf"), "fetch", "mailbox uid flags size.virtual", "ALL"],
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, "USER": "nobody", "TZ": "UTC"},
                          cwd=home, preexec_fn=drop, capture_output=True, text=True, timeout=60, check=False)
    shutil.rmtree(home)
    assert done.returncode == 0, done.stderr
    rows = [dict(line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in row.splitlines())
            for row in done.stdout.split("\f") if row.strip()]
    inbox = {r["uid"]: r for r in rows if r["mailbox"] == "INBOX"}
    assert set(inbox) >= {str(100 + 3 * i) for i in range(2, len(HARD) + 1)}, sorted(inbox)
    assert set(inbox["106"]["flags"].split()) == {"\\Flagged", "\\Seen"}, inbox["106"]
    assert int(inbox["112"]["size.virtual"]) == len(normal(HARD["no-end"])) - 2, inbox["112"]
    work_flags = [set(r["flags"].split()) for r in rows if r["mailbox"] == "Work.2024"]
    assert any({"$Important", "later"} <= f for f in work_flags), work_flags


def many_in(directory):
    os.makedirs(path(directory, "cur"))
    for i in range(MANY):
        with open(path(directory, "cur", f"{1650000000 + i}.n{i}.h:2,S"), "wb") as f:
            f.write(b"Subject: n%d\n\n" % (i % (MANY - 50)) + b"some text\n" * (i % 300))


def kill_until_done(words):
    """Start it, kill it after a while, longer each time. How often it was killed while it worked."""
    killed, wait = 0, 0.15
    while True:
        process = subprocess.Popen(command(*words, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=wait)
            assert process.returncode == 0, out + err
            return killed, json.loads(out)["users"][0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
            wait *= 1.5
            assert wait < 100


def killed_imports():
    """an import that is killed again and again brings everything once"""
    many_in("many")
    node.command("user", "add", "erin@example.org", "--no-password")
    killed, r = kill_until_done(["import", "erin@example.org", path("many")])
    assert killed >= 1 and r["equal"] and r["messages"] == MANY and r["present"] > 0, (killed, r)
    e = result("export", "erin@example.org", path("erin"))
    assert e["messages"] == MANY and e["source_sha256"] == r["source_sha256"], e
    assert report_is_clean()


def killed_exports():
    """an export that is killed again and again holds everything once, in both formats"""
    for form in ("maildir", "mbox"):
        killed, r = kill_until_done(["export", "erin@example.org", path("killed-" + form), "--format", form])
        assert r["equal"] and r["messages"] == MANY, (killed, r)
        box = mailbox.Maildir(path("killed-maildir"), create=False) if form == "maildir" else \
            mailbox.mbox(path("killed-mbox", "INBOX.mbox"))
        assert len(box) == MANY, len(box)
    assert os.listdir(path("killed-maildir", "tmp")) == []


def everybody():
    """--all takes every user to a directory of each, and back"""
    answer = json.loads(run("export", "--all", path("all"), "--json").stdout)
    assert answer["equal"] and {u["user"] for u in answer["users"]} >= {nodes.ANN, nodes.BOB, "erin@example.org"}
    assert sorted(os.listdir(path("all"))) == sorted(u["user"] for u in answer["users"])
    assert json.loads(run("import", "--domain", "example.org", path("all"), "--json").stdout)["equal"]


def start():
    node.process = subprocess.Popen(
        [node.prickle, "demo", "--no-lab", "--state", os.path.join(node.dir, "state"), "--base-port", str(node.base), "--password",
         nodes.PASSWORD], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=node.log)
    assert node.ready(), "the node did not start again"


def stop():
    node.process.send_signal(signal.SIGTERM)
    node.process.wait(30)


def without_a_node():
    """both work without a node, and the node serves what came meanwhile"""
    before = result("export", nodes.ANN, path("on"))
    stop()
    assert result("export", nodes.ANN, path("off"), online=False)["target_sha256"] == before["target_sha256"]
    r = result("import", nodes.BOB, path("in"), "--folder", "Work/2024", online=False)
    assert r["equal"] and r["copied"] == 5, r
    start()
    client = login(nodes.BOB)
    assert len(fetch(client, "Work/2024")) == 5
    client.append("INBOX", None, None, b"Subject: and on\r\n\r\n.\r\n")
    client.logout()
    assert report_is_clean()


def damage_is_told():
    """a damaged message is named and left out, all others come over, and the exit code says so"""
    marker = b"n77\r\n"
    stop()
    flipped = 0
    for file in glob.glob(os.path.join(node.dir, "state", "log", "*")):
        with open(file, "r+b") as f:
            data = f.read()
            for at in re.finditer(rb"Subject: " + marker, data):
                f.seek(at.end() + 20)
                f.write(b"#")
                flipped += 1
    assert flipped >= 1
    start()
    r = result("export", "erin@example.org", path("damaged"), code=1)
    assert not r["equal"] and r["problem_count"] == 1 and "UID 78" in r["problems"][0], r["problems"]
    assert r["target_messages"] == MANY - 1, r


def main():
    global node, work
    work = tempfile.mkdtemp(prefix="prickle-transfer.")
    node = nodes.Node(sys.argv[1])
    try:
        tap.run([maildir_in, twice_brings_nothing_twice, mbox_in, maildir_out, mbox_out, dovecot_reads_it, killed_imports,
                 killed_exports, everybody, without_a_node, damage_is_told])
    finally:
        node.close()
        shutil.rmtree(work, ignore_errors=True)


main()
