#!/usr/bin/env python3
"""Shared mailboxes (RFC 4314) over a live node: what lists of rights give, at once and no longer than they do; mbsync and mutt as clients.

usage: shared.py PRICKLE. Prints TAP.
"""
import imaplib
import json
import os
import pty
import re
import select
import shutil
import smtplib
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "smtp"))
from node import ANN, BOB, PASSWORD, Node, tap  # noqa: E402  pylint: disable=wrong-import-position

NODE = None
INBOX = f"user/{ANN}/INBOX"
TEAM = f"user/{ANN}/Team"
MESSAGE = b"From: ann@example.org\r\nSubject: %s\r\n\r\nfor all of us\r\n"


def login(user):
    m = imaplib.IMAP4("127.0.0.1", NODE.base + 143, timeout=20)
    m.login(user, PASSWORD)
    return m


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def no(m, command, *args):
    """The text of a NO."""
    try:
        answer, data = getattr(m, command)(*args)
    except imaplib.IMAP4.error as why:
        answer, data = "NO", [str(why).encode()]
    assert answer == "NO", f"{command} {args}: {answer} {data}"
    return data[0].decode()


def listed(m, pattern="*"):
    return [line.decode().rsplit('"/" ', 1)[1].strip('"') for line in ok(m.list('""', pattern)) if line]


def audit():
    done = subprocess.run([NODE.prickle, "policy", "audit", "--policy", NODE.dir + "/state/policy", "--json"], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def a_list_opens_what_it_says():
    """ann shares with bob; bob lists, reads and marks, and no more than the list says"""
    ann, bob = login(ANN), login(BOB)
    ok(ann.append("INBOX", None, None, MESSAGE % b"one"))
    ok(ann.create("Team"))
    assert "NONEXISTENT" in no(bob, "status", INBOX, "(MESSAGES)")
    assert not [n for n in listed(bob) if n.startswith("user")]
    ok(ann.setacl("INBOX", BOB, "lrs"))
    assert INBOX in listed(bob) and INBOX in listed(bob, f"user/{ANN}/%") and TEAM not in listed(bob)
    assert ok(bob.myrights(INBOX))[0].split()[1] == b"lrs"
    assert ok(bob.select(INBOX)) == [b"1"]
    assert b"for all of us" in ok(bob.fetch("1", "(BODY[TEXT])"))[0][1]
    assert "NOPERM" in no(bob, "store", "1", "+FLAGS", "\\Flagged")
    assert "mail.user may not append mailbox" in no(bob, "append", INBOX, None, None, MESSAGE % b"no")
    assert b"UNSEEN 0" in ok(ann.status("INBOX", "(UNSEEN)"))[0]
    # Mail that is delivered while ann is away is there for bob.
    ann.logout()
    with smtplib.SMTP("127.0.0.1", NODE.base + 25, timeout=20) as s:
        s.sendmail("x@example.net", [ANN], (MESSAGE % b"two").decode())
    ok(bob.noop())
    assert ok(bob.status(INBOX, "(MESSAGES)"))[0].endswith(b"(MESSAGES 2)")
    bob.logout()


def a_right_taken_away_is_gone():
    """after DELETEACL is answered nothing of it is left, in any session, in any process"""
    ann = login(ANN)
    sessions = [login(BOB) for _ in range(6)]
    for m in sessions:
        ok(m.select(INBOX))
    for _ in range(10):
        ok(ann.setacl("INBOX", BOB, "lr"))
        for m in sessions:
            ok(m.fetch("1", "(FLAGS BODY.PEEK[])"))
        ok(ann.deleteacl("INBOX", BOB))
        for m in sessions:
            assert "NOPERM" in no(m, "fetch", "1", "(FLAGS BODY.PEEK[])")
            assert "NONEXISTENT" in no(m, "status", INBOX, "(MESSAGES)")
    denied = [r for r in audit() if r["result"] == "denied" and f"{ANN} INBOX" in json.dumps(r)]
    assert any("FETCH" in json.dumps(r) and BOB in json.dumps(r) for r in denied), denied[-3:]
    for m in sessions:
        m.logout()
    ann.logout()


def an_open_idle_hears_nothing_more():
    """who idles in a mailbox that is not shared any more is told of nothing"""
    ann, bob = login(ANN), login(BOB)
    ok(ann.setacl("INBOX", BOB, "lr"))
    ok(bob.select(INBOX, readonly=True))
    bob.send(b"i IDLE\r\n")
    assert bob.readline().startswith(b"+")
    ok(ann.append("INBOX", None, None, MESSAGE % b"told"))
    line = bob.readline()
    assert line.endswith(b"EXISTS\r\n"), line
    ok(ann.deleteacl("INBOX", BOB))
    ok(ann.append("INBOX", None, None, MESSAGE % b"not told"))
    bob.send(b"DONE\r\n")
    lines = []
    while not lines or not lines[-1].startswith(b"i "):
        lines.append(bob.readline())
    assert not any(b"EXISTS" in line for line in lines), lines
    bob.logout()
    ann.logout()


def who_is_made_anew_has_nothing():
    """the next user of an address has none of the rights of the one before"""
    ann = login(ANN)
    NODE.command("user", "add", "eve@example.org", "--password-stdin", stdin=PASSWORD.encode() + b"\n")
    ok(ann.setacl("Team", "eve@example.org", "lr"))
    eve = login("eve@example.org")
    assert TEAM in listed(eve)
    NODE.command("user", "remove", "eve@example.org")
    assert b"eve" not in ok(ann.getacl("Team"))[0]
    NODE.command("user", "add", "eve@example.org", "--password-stdin", stdin=PASSWORD.encode() + b"\n")
    eve = login("eve@example.org")
    assert TEAM not in listed(eve)
    eve.logout()
    ann.logout()


def lists_outlive_their_processes():
    """lists hold after auth and front are killed, and revoked ones do not come back"""
    ann = login(ANN)
    ok(ann.setacl("Team", BOB, "lrswite"))
    bob = login(BOB)
    ok(bob.append(TEAM, None, None, MESSAGE % b"three"))
    ok(bob.select(TEAM))
    NODE.kill_role("auth")
    ok(bob.fetch("1", "(FLAGS)"))
    ok(ann.deleteacl("Team", BOB))
    assert "NOPERM" in no(bob, "fetch", "1", "(FLAGS)")
    ok(ann.setacl("Team", BOB, "lrswite"))
    NODE.kill_role("store")
    ok(bob.fetch("1", "(FLAGS BODY.PEEK[])"))
    ok(bob.store("1", "+FLAGS", "\\Flagged"))
    bob.logout()
    ann.logout()


def mail_goes_between_users():
    """MOVE from another's mailbox to the own one: the message is there once"""
    ann, bob = login(ANN), login(BOB)
    big = MESSAGE % b"big" + b"x" * 70 + b"\r\n" * 40000
    ok(ann.append("Team", "\\Flagged", None, big))
    count = int(ok(bob.select(TEAM))[0])
    size = re.search(rb"RFC822.SIZE (\d+)", ok(bob.fetch(str(count), "(RFC822.SIZE)"))[0]).group(1)
    ok(bob._simple_command("MOVE", str(count), "INBOX"))  # pylint: disable=protected-access
    assert ok(ann.status("Team", "(MESSAGES)"))[0].endswith(b"(MESSAGES %d)" % (count - 1))
    bob.select("INBOX")
    found = ok(bob.search(None, "SUBJECT", "big"))[0].split()
    assert len(found) == 1
    assert size in ok(bob.fetch(found[0], "(RFC822.SIZE FLAGS)"))[0] and b"\\Flagged" in ok(bob.fetch(found[0], "(FLAGS)"))[0]
    bob.logout()
    ann.logout()


def the_policy_has_the_last_word():
    """a policy without the rule for lists closes what they open, and lists open nothing that a never forbids"""
    ann, bob = login(ANN), login(BOB)
    ok(bob.select(TEAM))
    text = subprocess.run([NODE.prickle, "policy", "show", "--shipped"], capture_output=True, text=True, check=True).stdout
    rule = [line for line in text.splitlines() if "acl grants subject" in line]
    assert len(rule) == 1, rule
    for changed in (text.replace(rule[0], ""), text.replace(rule[0], rule[0].replace("list, read,", "list,"))):
        path = NODE.dir + "/changed.policy"
        with open(path, "w", encoding="utf-8") as f:
            f.write(changed)
        done = subprocess.run([NODE.prickle, "policy", "apply", path, "--policy", NODE.dir + "/state/policy", "--yes"], capture_output=True,
                              text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "NOPERM" in no(bob, "fetch", "1", "(FLAGS)")
        assert "NO" == bob.status(TEAM, "(MESSAGES)")[0]
        assert ok(ann.status("Team", "(MESSAGES)"))
    done = subprocess.run([NODE.prickle, "policy", "apply", "--previous", "--policy", NODE.dir + "/state/policy", "--yes"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(NODE.dir + "/default.policy", "w", encoding="utf-8") as f:
        f.write("import default\n")
    subprocess.run([NODE.prickle, "policy", "apply", NODE.dir + "/default.policy", "--policy", NODE.dir + "/state/policy", "--yes"], check=True,
                   capture_output=True, timeout=60)
    ok(bob.fetch("1", "(FLAGS)"))
    bob.logout()
    ann.logout()


def mbsync_copies_a_shared_mailbox():
    """mbsync copies what is shared with its user"""
    if shutil.which("mbsync") is None:
        raise tap.Skip("no mbsync")
    near = NODE.dir + "/near"
    os.makedirs(near)
    with open(NODE.dir + "/mbsyncrc", "w", encoding="utf-8") as f:
        f.write(f"""IMAPStore far
Host 127.0.0.1
Port {NODE.base + 143}
User {BOB}
Pass "{PASSWORD}"
SSLType None
AuthMechs LOGIN
Path user/{ANN}/

MaildirStore near
Path {near}/
Inbox {near}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns Team
Create Near
Sync Pull
SyncState *
""")
    run = subprocess.run(["mbsync", "-c", NODE.dir + "/mbsyncrc", "-a"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    files = [f for d, _, names in os.walk(near + "/Team") for f in names if os.path.basename(d) in ("cur", "new")]
    bob = login(BOB)
    assert len(files) == int(ok(bob.select(TEAM))[0]) > 0, files
    bob.logout()


def mutt_opens_a_shared_mailbox():
    """mutt opens another's mailbox by its name"""
    if shutil.which("mutt") is None:
        raise tap.Skip("no mutt")
    user = BOB.replace("@", "%40")
    rc = NODE.dir + "/muttrc"
    with open(rc, "w", encoding="utf-8") as f:
        f.write(f'set imap_pass="{PASSWORD}"\nset ssl_starttls=no\nset ssl_force_tls=no\nset header_cache=\nset imap_delim_chars="/"\nset imap_authenticators="login"\n'
                'set quit=yes\n')
    os.makedirs(NODE.dir + "/Mail", exist_ok=True)  # or it asks
    master, slave = pty.openpty()
    mutt = subprocess.Popen(["mutt", "-n", "-R", "-F", rc, "-f", f"imap://{user}@127.0.0.1:{NODE.base + 143}/{TEAM}"], stdin=slave, stdout=slave,
                            stderr=slave, env=dict(os.environ, HOME=NODE.dir, TERM="vt100"), start_new_session=True)
    os.close(slave)
    shown, end = b"", time.monotonic() + 40
    try:
        # The index, with the subject of what it found there.
        while b" three" not in shown and time.monotonic() < end:
            if select.select([master], [], [], 1)[0]:
                shown += os.read(master, 4096)
        assert b" three" in shown, shown[-600:]
    except OSError as why:  # it ended
        raise AssertionError(shown[-600:]) from why
    finally:
        mutt.kill()
        mutt.wait()
        os.close(master)


def main():
    global NODE
    NODE = Node(sys.argv[1])
    try:
        tap.run([a_list_opens_what_it_says, a_right_taken_away_is_gone, an_open_idle_hears_nothing_more, who_is_made_anew_has_nothing,
                 lists_outlive_their_processes, mail_goes_between_users, mbsync_copies_a_shared_mailbox, mutt_opens_a_shared_mailbox,
                 the_policy_has_the_last_word])
    finally:
        NODE.close()


main()
