#!/usr/bin/env python3
"""IMAP from outside, with clients that others wrote, against a demo node: imap.py PRICKLE."""
import email.message
import imaplib
import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # pylint: disable=wrong-import-position
from ports import free_base  # noqa: E402

PRICKLE = sys.argv[1]
PASSWORD = "a test's own"
ANN, BOB = "ann@example.org", "bob@example.org"


class Node:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="prickle-imap-")
        self.base = free_base()
        self.process = subprocess.Popen(
            [PRICKLE, "demo", "--no-lab", "--state", self.dir + "/state", "--base-port", str(self.base),
             "--password", PASSWORD], stdout=subprocess.PIPE, stderr=open(self.dir + "/log", "w"),
            text=True)
        for line in self.process.stdout:
            if line == "ready\n":
                break
        else:
            raise AssertionError("the node did not start\n" + open(self.dir + "/log").read())

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(20) == 0, "the node ended with a failure"
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.stdout.close()
            shutil.rmtree(self.dir)

    def port(self, standard):
        return self.base + standard


NODE = None


def login(user=ANN):
    m = imaplib.IMAP4("127.0.0.1", NODE.port(143))
    m.login(user, PASSWORD)
    return m


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def message(subject, body="hello\n", **headers):
    m = email.message.EmailMessage()
    m["From"], m["To"], m["Subject"] = BOB, ANN, subject
    m["Date"] = "Mon, 23 Nov 2026 10:00:00 +0000"
    for name, value in headers.items():
        m[name.replace("_", "-")] = value
    m.set_content(body)
    return m.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def deliver(text, to=ANN):
    with smtplib.SMTP("127.0.0.1", NODE.port(25)) as s:
        s.sendmail("stranger@example.com", [to], text)


class Raw:
    """A client that says exactly what it is told."""

    def __init__(self, tls=False):
        self.sock = socket.create_connection(("127.0.0.1", NODE.port(993 if tls else 143)), 20)
        if tls:
            context = ssl._create_unverified_context()
            self.sock = context.wrap_socket(self.sock)
        self.buf = b""
        assert self.line().startswith(b"* OK")

    def line(self):
        while b"\n" not in self.buf:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.buf += more
        line, self.buf = self.buf.split(b"\n", 1)
        return line.rstrip(b"\r")

    def send(self, data):
        self.sock.sendall(data)

    def until(self, start):
        lines = []
        while True:
            lines.append(self.line())
            if lines[-1].startswith(start):
                return lines

    def ask(self, command):
        self.send(command + b"\r\n")
        return self.until(command.split(b" ")[0] + b" ")

    def login(self, user=ANN):
        assert self.ask(b'l LOGIN "%s" "%s"' % (user.encode(), PASSWORD.encode()))[-1].startswith(b"l OK")
        return self

    def close(self):
        self.sock.close()


def imaplib_reads_what_smtp_delivered():
    """imaplib reads what SMTP delivered"""
    text = message("first")
    deliver(text)
    m = login()
    assert ok(m.select()) == [b"1"]
    got = ok(m.fetch("1", "(BODY.PEEK[] RFC822.SIZE ENVELOPE BODYSTRUCTURE INTERNALDATE FLAGS)"))
    assert got[0][1].endswith(text), got
    assert b'"first"' in got[0][0] + got[1], got
    ok(m.store("1", "+FLAGS", "\\Deleted"))
    assert ok(m.expunge()) == [b"1"]
    m.logout()


def tls_both_ways():
    """IMAPS and STARTTLS carry the same mailbox"""
    context = ssl._create_unverified_context()
    m = imaplib.IMAP4_SSL("127.0.0.1", NODE.port(993), ssl_context=context)
    m.login(BOB, PASSWORD)
    ok(m.append("INBOX", "\\Seen", None, message("over tls")))
    m.logout()
    m = imaplib.IMAP4("127.0.0.1", NODE.port(143))
    assert "STARTTLS" in m.capabilities
    ok(m.starttls(context))
    assert "STARTTLS" not in m.capabilities
    m.login(BOB, PASSWORD)
    assert ok(m.select()) == [b"1"]
    m.logout()


def bytes_before_the_handshake_end_the_session():
    """commands pipelined behind STARTTLS end the session"""
    r = Raw()
    r.send(b"a STARTTLS\r\nb LOGIN x y\r\n")
    lines = []
    try:
        while True:
            lines.append(r.line())
    except (EOFError, ConnectionResetError):
        pass
    assert not any(line.startswith(b"b ") for line in lines), lines
    r.close()


def authenticate_plain():
    """AUTHENTICATE PLAIN refuses a wrong password and takes a right one"""
    m = imaplib.IMAP4("127.0.0.1", NODE.port(143))
    try:
        m.authenticate("PLAIN", lambda _: b"\0" + ANN.encode() + b"\0wrong")
        raise AssertionError("a wrong password was taken")
    except imaplib.IMAP4.error as e:
        assert "AUTHENTICATIONFAILED" in str(e), e
    ok(m.authenticate("PLAIN", lambda _: b"\0" + ANN.encode() + b"\0" + PASSWORD.encode()))
    m.logout()


def idle_hears_of_a_delivery():
    """IDLE hears of a delivery within two seconds, in every process"""
    idlers = [Raw().login() for _ in range(6)]
    for r in idlers:
        before = [l for l in r.ask(b"s SELECT INBOX") if l.endswith(b" EXISTS")]
        assert len(before) == 1
        r.send(b"i IDLE\r\n")
        r.until(b"+")
    start = time.monotonic()
    deliver(message("wake up"))
    for r in idlers:
        r.until(b"* ")
    took = time.monotonic() - start
    for r in idlers:
        r.send(b"DONE\r\n")
        r.until(b"i OK")
        r.close()
    assert took < 2, took


def sessions_see_each_other_in_order():
    """sessions in several processes agree on a mailbox that all of them change"""
    setup = login()
    ok(setup.create("Busy"))
    setup.logout()
    errors = []

    def work(number):
        try:
            m = login()
            ok(m.select("Busy"))
            for i in range(15):
                ok(m.append("Busy", None, None, message(f"{number}.{i}")))
                ok(m.noop())
                if i % 5 == 4:
                    uids = ok(m.uid("SEARCH", None, f'SUBJECT "{number}.{i}"'))[0].split()
                    assert uids, (number, i)
                    ok(m.uid("STORE", uids[0].decode(), "+FLAGS.SILENT", "(\\Deleted)"))
                    ok(m.uid("EXPUNGE", uids[0].decode()))
            m.logout()
        except Exception as e:  # pylint: disable=broad-except
            errors.append(repr(e))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors
    m = login()
    assert ok(m.select("Busy")) == [b"48"], m.response("EXISTS")
    uids = ok(m.uid("SEARCH", None, "ALL"))[0].split()
    assert len(uids) == 48 and uids == sorted(uids, key=int), uids
    m.close()
    m.logout()


def large_message_streams():
    """a message of 20 MiB goes in and comes out unchanged, in pieces too"""
    body = (b"0123456789abcdef" * 4 + b"\r\n") * 310000
    text = b"Subject: large\r\n\r\n" + body
    m = login()
    ok(m.create("Large"))
    ok(m.append("Large", None, None, text))
    ok(m.select("Large", readonly=True))
    got = ok(m.fetch("1", "(BODY.PEEK[])"))[0][1]
    assert got == text, (len(got), len(text))
    piece = ok(m.fetch("1", "(BODY.PEEK[TEXT]<1000000.500000>)"))[0][1]
    assert piece == body[1000000:1500000]
    assert ok(m.search(None, "TEXT", "bcdef0123")) == [b"1"]
    m.logout()


def a_message_too_large_is_refused():
    """a message above APPENDLIMIT is refused before its bytes are sent"""
    r = Raw().login()
    assert r.ask(b"a APPEND INBOX {999999999}")[-1].startswith(b"a NO [TOOBIG]")
    assert r.ask(b"b NOOP")[-1].startswith(b"b OK")
    r.close()


def folders_with_names_of_the_world():
    """folder names beyond US-ASCII work in both encodings"""
    m = login(BOB)
    ok(m.create("Entw&APw-rfe"))
    assert any(b"Entw&APw-rfe" in line for line in ok(m.list()))
    m.logout()
    r = Raw().login(BOB)
    r.ask(b"e ENABLE IMAP4rev2")
    lines = r.ask(b'f LIST "" *')
    assert any("Entwürfe".encode() in line for line in lines), lines
    assert r.ask('g SELECT "Entwürfe"'.encode())[-1].startswith(b"g OK")
    r.close()


def curl_lists_reads_and_appends():
    """curl lists, reads, searches and appends"""
    if shutil.which("curl") is None:
        raise tap.Skip("no curl")
    url = f"imap://127.0.0.1:{NODE.port(143)}"

    def curl(*args):
        run = subprocess.run(["curl", "-sS", "--user", f"{BOB}:{PASSWORD}", *args], capture_output=True,
                             timeout=60, check=False)
        assert run.returncode == 0, (args, run.stderr)
        return run.stdout

    assert b"INBOX" in curl(url)
    path = NODE.dir + "/mail"
    with open(path, "wb") as f:
        f.write(message("by curl"))
    curl("-T", path, url + "/INBOX")
    assert b"by curl" in curl(url + "/INBOX;MAILINDEX=2")
    assert b"SEARCH 2" in curl(url + "/INBOX", "-X", 'SEARCH SUBJECT "by curl"').replace(b"* ", b"")
    curl("-k", f"imaps://127.0.0.1:{NODE.port(993)}")


def mbsync_keeps_two_copies_equal():
    """mbsync synchronises both ways"""
    if shutil.which("mbsync") is None:
        raise tap.Skip("no mbsync")
    maildir = NODE.dir + "/maildir"
    os.makedirs(maildir)
    config = NODE.dir + "/mbsyncrc"
    with open(config, "w") as f:
        f.write(f"""IMAPStore far
Host 127.0.0.1
Port {NODE.port(143)}
User {BOB}
Pass "{PASSWORD}"
SSLType None
AuthMechs LOGIN

MaildirStore near
Path {maildir}/
Inbox {maildir}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
""")
    m = login(BOB)
    for i in range(20):
        ok(m.append("INBOX", None, None, message(f"sync {i}")))
    count = int(ok(m.select())[0])

    def mbsync():
        run = subprocess.run(["mbsync", "-c", config, "-a"], capture_output=True, text=True, timeout=60,
                             check=False)
        assert run.returncode == 0, run.stdout + run.stderr

    def near():
        return [os.path.join(d, f) for d, _, files in os.walk(maildir + "/INBOX")
                for f in files if os.path.basename(d) in ("cur", "new")]

    mbsync()
    assert len(near()) == count, (len(near()), count)
    victim = near()[0]
    os.remove(victim)
    new = maildir + "/INBOX/new/1.local"
    with open(new, "wb") as f:
        f.write(message("from the other side").replace(b"\r\n", b"\n"))
    mbsync()
    ok(m.noop())
    assert ok(m.search(None, "SUBJECT", '"from the other side"'))[0], "the new message is not there"
    assert int(ok(m.select())[0]) == count
    m.logout()


def a_dead_front_is_replaced():
    """kill -9 of a front process loses no listener; the next login works within a second"""
    pids = subprocess.run(["pgrep", "-P", str(NODE.process.pid), "-f", "role front"], capture_output=True,
                          text=True, check=False).stdout.split()
    assert pids, "no front process"
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    start = time.monotonic()
    m = login()
    ok(m.select())
    m.logout()
    assert time.monotonic() - start < 3


def idle_sessions_are_small():
    """an idle session takes at most 8 KiB of its process"""
    def resident():
        pids = subprocess.run(["pgrep", "-P", str(NODE.process.pid), "-f", "role front"],
                              capture_output=True, text=True, check=False).stdout.split()
        total = 0
        for pid in pids:
            for line in open(f"/proc/{pid}/status"):
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
        return total

    # The first ones make what all share.
    warm = [Raw().login() for _ in range(50)]
    for r in warm:
        r.ask(b"s SELECT INBOX")
    before = resident()
    many = [Raw().login() for _ in range(1000)]
    for r in many:
        r.ask(b"s SELECT INBOX")
        r.send(b"i IDLE\r\n")
        r.until(b"+")
    each = (resident() - before) / 1000
    for r in many + warm:
        r.close()
    print(f"# {each:.1f} KiB for each idle session", flush=True)
    assert each <= 8, each


def main():
    global NODE  # pylint: disable=global-statement
    NODE = Node()
    cases = [imaplib_reads_what_smtp_delivered, tls_both_ways,
             bytes_before_the_handshake_end_the_session, authenticate_plain,
             idle_hears_of_a_delivery, sessions_see_each_other_in_order, large_message_streams,
             a_message_too_large_is_refused, folders_with_names_of_the_world,
             curl_lists_reads_and_appends, mbsync_keeps_two_copies_equal, a_dead_front_is_replaced,
             idle_sessions_are_small]
    try:
        tap.run(cases)
    finally:
        NODE.end()


main()
