#!/usr/bin/env python3
"""`prickle mail fsck` and `rebuild` on a node with mail, running and stopped: fsck.py PRICKLE."""
import glob
import imaplib
import json
import os
import signal
import smtplib
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "smtp"))
import node as nodes  # noqa: E402
import tap  # noqa: E402

COUNT = 40
node = None
before = None		# what IMAP says of all messages


def state():
    return os.path.join(node.dir, "state")


def run(*words, code=0, online=True):
    where = ["--socket", os.path.join(state(), "control.sock")] if online else ["--state", state()]
    done = subprocess.run([node.prickle, "mail", *words, *where], capture_output=True, text=True, timeout=90,
                          check=False)
    assert done.returncode == code, f"{words}: exit {done.returncode}, {done.stdout} {done.stderr}"
    return done


def report(*words, **how):
    return json.loads(run("fsck", "--json", *words, **how).stdout)


def login(user):
    client = imaplib.IMAP4("127.0.0.1", node.port("imap"), timeout=30)
    client.login(user, nodes.PASSWORD)
    return client


def everything(user=nodes.ANN):
    """(folder, uid, flags) -> body; None for one that cannot be read."""
    found = {}
    client = login(user)
    for line in client.list()[1]:
        folder = line.decode().rsplit(' "/" ', 1)[1]
        client.select(folder, readonly=True)
        uids = client.uid("search", "ALL")[1][0].split()
        for uid in uids:
            flags = client.uid("fetch", uid, "(FLAGS)")[1][0]
            status, data = client.uid("fetch", uid, "(BODY.PEEK[])")
            client.untagged_responses.clear()	# imaplib keeps those of a NO for the next command
            found[folder, uid, flags] = data[0][1] if status == "OK" and isinstance(data[0], tuple) else None
        client.close()
    client.logout()
    return found


def fill():
    client = login(nodes.ANN)
    client.create("Work")
    for i in range(COUNT):
        body = f"Subject: m{i}\r\n\r\nunique-{i:04d}-" + "z" * 2500 + "\r\n"
        client.append("Work" if i % 2 else "INBOX", "(\\Seen)" if i % 3 else None, None, body.encode())
    client.append("INBOX", None, None, b"Subject: long\r\n\r\n" + b"0123456789abcdef" * 150000 + b"\r\n")
    client.logout()
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=30) as smtp:
        smtp.sendmail(nodes.ANN, [nodes.BOB], "Subject: nobody looked yet\r\n\r\nhello\r\n")


def healthy_while_serving():
    """a healthy node is checked while it serves"""
    r = report()
    assert r["state"] == "ok" and r["online"] and r["problems"] == [], r
    assert r["messages"] == COUNT + 1 and r["unmerged"] == 1, r
    assert "no problems" in run("fsck", nodes.ANN).stdout
    assert report(nodes.BOB)["messages"] == 0


def bad_names():
    """names that are no users are told, and a rebuild beside a node is refused"""
    assert run("fsck", "zed@example.org", code=4).stderr
    assert "stop it" in run("rebuild", code=5).stderr
    assert "--socket" in run("fsck", online=False, code=75).stderr


def stop():
    node.process.send_signal(signal.SIGTERM)
    node.process.wait(30)


def start():
    node.process = subprocess.Popen(
        [node.prickle, "demo", "--no-lab", "--state", state(), "--base-port", str(node.base), "--password", nodes.PASSWORD],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=node.log)
    assert node.ready(), "the node did not start again"


def healthy_offline():
    """a stopped node is checked with its whole log"""
    global before
    before = everything()
    stop()
    r = report(online=False)
    assert r["state"] == "ok" and not r["online"] and r["log"]["damaged"] == 0 and r["log"]["records"] > COUNT, r
    assert r["messages"] == COUNT + 1, r


def rebuilt():
    """an index made again from the log gives the same answers, after it was deleted, too"""
    assert json.loads(run("rebuild", "--json", online=False).stdout)["state"] == "ok"
    for path in glob.glob(os.path.join(state(), "index", "*")):
        os.unlink(path)
    start()
    assert everything() == before
    stop()


def flip(text):
    flipped = 0
    for path in glob.glob(os.path.join(state(), "log", "*")):
        with open(path, "r+b") as f:
            data = f.read()
            at = data.find(text)
            while at >= 0:
                f.seek(at + len(text) + 100)
                f.write(b"Z")
                flipped += 1
                at = data.find(text, at + 1)
    return flipped


def flipped_byte():
    """a flipped byte is found, its message named, and every other message is intact"""
    victim = next(key for key, body in before.items() if body is not None and b"unique-0007-" in body)
    assert flip(b"unique-0007-") >= 1
    r = report(online=False, code=3)
    named = [(p["folder"], p["uid"]) for p in r["problems"] if "uid" in p]
    assert named == [(victim[0], int(victim[1]))] and r["damaged_messages"] == 1, r["problems"]
    assert r["log"]["damaged"] >= 1
    text = run("fsck", online=False, code=3).stdout
    assert f"! {nodes.ANN}, folder {victim[0]}, UID {victim[1].decode()}: " in text, text
    start()
    after = everything()
    assert set(after) == set(before), set(after) ^ set(before)
    assert [key for key in before if after[key] != before[key]] == [victim]
    r = report(code=3)		# the same beside the running node
    assert [(p["folder"], p["uid"]) for p in r["problems"] if "uid" in p] == named
    stop()


def rebuilt_with_damage():
    """a rebuild of a damaged log loses that message and no other"""
    run("rebuild", online=False, code=3)
    start()
    after = everything()
    assert len([key for key in before if after.get(key) != before[key]]) == 1
    login(nodes.ANN).append("INBOX", None, None, b"Subject: goes on\r\n\r\n.\r\n")
    stop()


def not_ours():
    """directories without mail are told from damaged ones"""
    done = subprocess.run([node.prickle, "mail", "fsck", "--state", node.dir], capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 4 and "no mail" in done.stderr, done.stderr


def main():
    global node
    node = nodes.Node(sys.argv[1])
    try:
        fill()
        tap.run([healthy_while_serving, bad_names, healthy_offline, rebuilt, flipped_byte, rebuilt_with_damage,
                 not_ours])
    finally:
        node.close()


main()
