#!/usr/bin/env python3
"""Logins and the commands that change users, against a running demo.

usage: auth.py PRICKLE

SCRAM is written here from RFC 5802 and 7677 with Python's hashlib, so that nothing of ours judges
ours. Prints TAP.
"""
import base64
import hashlib
import hmac
import imaplib
import json
import os
import re
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from ports import free_base  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
DEMO_S = 60


class Demo:
    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="prickle-auth.")
        self.state = os.path.join(self.dir.name, "state")
        self.base = free_base()
        self.process = subprocess.Popen(
            [PRICKLE, "demo", "--no-lab", "--state", self.state, "--base-port", str(self.base), "--password", "pencil"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line == "ready\n":
                return
        raise SystemExit("Bail out! the demo did not become ready")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.process.stdout.close()
        self.dir.cleanup()

    def ask(self, *words, text=None, code=(0,)):
        done = subprocess.run([PRICKLE, *words, "--json", "--socket", self.state + "/control.sock"], input=text,
                              capture_output=True, text=True, timeout=30)
        assert done.returncode in code, f"{words}: exit {done.returncode}, {done.stdout} {done.stderr}"
        return json.loads(done.stdout)

    def imap(self, tls=False):
        if not tls:
            return imaplib.IMAP4("127.0.0.1", self.base + 143, timeout=20)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return imaplib.IMAP4_SSL("127.0.0.1", self.base + 993, ssl_context=context, timeout=20)

    def pid_of(self, role):
        # 3: degraded, as long as a restart is news
        for r in self.ask("status", code=(0, 3))["roles"]:
            if r["name"] == role:
                return r["pid"]
        raise AssertionError("no role " + role)


demo = None


def login(user="ann@example.org", password="pencil", tls=False):
    """True or False; others than a refusal are errors."""
    client = demo.imap(tls)
    try:
        client.login(user, password)
        client.select()
        return True
    except imaplib.IMAP4.error as why:
        assert "AUTHENTICATIONFAILED" in str(why) or "AUTHORIZATIONFAILED" in str(why), why
        return False
    finally:
        client.shutdown()


class Scram:
    """A client of SCRAM-SHA-256 and -PLUS; `answer` is for imaplib's authenticate."""

    def __init__(self, user, password, binding=None, data=b""):
        self.user, self.password = user, password
        self.header = f"p={binding},," if binding else "n,,"
        self.data = data
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n={user},r={self.nonce}"
        self.step = 0
        self.salt = self.server_ok = None

    def answer(self, challenge):
        self.step += 1
        if self.step == 1:
            return (self.header + self.bare).encode()
        if self.step == 2:
            return self.final(challenge.decode())
        self.server_ok = challenge.decode() == "v=" + self.signature
        return b""

    def final(self, first):
        fields = dict(f.split("=", 1) for f in first.split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) > len(self.nonce)
        assert int(fields["i"]) >= 64000, fields["i"]
        self.salt = fields["s"]
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(fields["s"]),
                                     int(fields["i"]))
        channel = base64.b64encode(self.header.encode() + self.data).decode()
        without = f"c={channel},r={fields['r']}"
        message = f"{self.bare},{first},{without}".encode()
        client = hmac.digest(salted, b"Client Key", "sha256")
        proof = bytes(a ^ b for a, b in zip(client, hmac.digest(hashlib.sha256(client).digest(), message, "sha256")))
        server = hmac.digest(salted, b"Server Key", "sha256")
        self.signature = base64.b64encode(hmac.digest(server, message, "sha256")).decode()
        return f"{without},p={base64.b64encode(proof).decode()}".encode()


def scram(user="ann@example.org", password="pencil", tls=False, binding=None, data=b"", mechanism="SCRAM-SHA-256"):
    client = demo.imap(tls)
    exchange = Scram(user, password, binding, data)
    try:
        client.authenticate(mechanism, exchange.answer)
        assert exchange.server_ok, "the server's signature is wrong"
        client.select()
        return True, exchange
    except imaplib.IMAP4.error:
        return False, exchange
    finally:
        client.shutdown()


def end_point():
    """The binding of RFC 5929 §4.1: our certificates are signed with SHA-256."""
    client = demo.imap(tls=True)
    certificate = client.sock.getpeercert(binary_form=True)
    client.shutdown()
    return hashlib.sha256(certificate).digest()


def passwords():
    """a right password logs in, a wrong one and an unknown user do not"""
    assert login() and login(tls=True) and login("ANN@Example.org")
    assert not login(password="Pencil") and not login("eve@example.org")


def scram_plain():
    """SCRAM-SHA-256 logs in with the right password only"""
    assert scram()[0] and scram(tls=True)[0]
    assert not scram(password="pencils")[0] and not scram("eve@example.org")[0]


def scram_plus():
    """SCRAM-SHA-256-PLUS binds to the certificate of the connection"""
    kind = "tls-server-end-point"
    assert scram(tls=True, binding=kind, data=end_point(), mechanism="SCRAM-SHA-256-PLUS")[0]
    assert not scram(tls=True, binding=kind, data=bytes(32), mechanism="SCRAM-SHA-256-PLUS")[0]
    assert not scram(tls=True, binding="tls-exporter", data=bytes(32), mechanism="SCRAM-SHA-256-PLUS")[0]


def offers():
    """-PLUS is offered under TLS only"""
    for tls in (False, True):
        client = demo.imap(tls)
        offered = {c for c in client.capabilities if c.startswith("AUTH=SCRAM")}
        client.shutdown()
        assert ("AUTH=SCRAM-SHA-256-PLUS" in offered) == tls and "AUTH=SCRAM-SHA-256" in offered, offered


def fake_salt():
    """an unknown user has a salt of its own that stays when auth starts again"""
    salts = [scram(u)[1].salt for u in ("eve@example.org", "eve@example.org", "joe@example.org")]
    assert salts[0] and salts[0] == salts[1] != salts[2], salts
    os.kill(demo.pid_of("auth"), signal.SIGKILL)
    time.sleep(0.2)
    assert scram("eve@example.org")[1].salt == salts[0]


def sessions_outlive_auth():
    """a session goes on when auth is killed, and a new login works within seconds"""
    client = demo.imap()
    client.login("ann@example.org", "pencil")
    client.select()
    os.kill(demo.pid_of("auth"), signal.SIGKILL)
    assert login()
    assert client.noop()[0] == "OK" and client.status("INBOX", "(MESSAGES)")[0] == "OK"
    client.logout()


def live_users():
    """users made, changed and removed by the command line are so at once"""
    made = demo.ask("user", "add", "Carol@example.org", "--name", "Carol", "--password-stdin", text="first\n")
    assert made["user"] == "carol@example.org" and re.fullmatch("[0-9a-f]{16}", made["account"]), made
    assert login("carol@example.org", "first") and scram("carol@example.org", "first")[0]
    demo.ask("user", "password", "carol@example.org", "--password-stdin", text="second\n")
    assert not login("carol@example.org", "first") and login("carol@example.org", "second")
    assert not scram("carol@example.org", "first")[0] and scram("carol@example.org", "second")[0]
    demo.ask("user", "set", "carol@example.org", "--disable")
    assert not login("carol@example.org", "second")
    demo.ask("user", "set", "carol@example.org", "--enable")
    assert login("carol@example.org", "second")
    demo.ask("user", "remove", "carol@example.org")
    assert not login("carol@example.org", "second")
    demo.ask("user", "show", "carol@example.org", code=(4,))


def live_bytes():
    """Of the store, when it is there and says so."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        roles = demo.ask("status", code=(0, 3))["roles"]
        status = next(r for r in roles if r["name"] == "store").get("status", {})
        if "live_bytes" in status:
            return status["live_bytes"]
        time.sleep(0.1)
    raise AssertionError("the store tells no numbers")


def removed_mail():
    """the mail of a removed user goes with the user, also when auth is killed meanwhile"""
    for kill in False, True:
        before = live_bytes()
        demo.ask("user", "add", "dora@example.org", "--password-stdin", text="first\n")
        with smtplib.SMTP("127.0.0.1", demo.base + 25, timeout=30) as s:
            for size in [300000] * 10 + [3 << 20]:
                s.sendmail("ann@example.org", ["dora@example.org"], b"Subject: x\r\n\r\n" + b"x" * 78 * (size // 80))
        assert login("dora@example.org", "first")
        assert live_bytes() > before + 5000000
        if kill:
            os.kill(demo.pid_of("store"), signal.SIGKILL)
        demo.ask("user", "remove", "dora@example.org", code=(0, 75) if kill else (0,))
        if kill:
            os.kill(demo.pid_of("auth"), signal.SIGKILL)
            # Not acknowledged, so it may not have been done.
            end = time.monotonic() + 10
            while time.monotonic() < end:
                try:
                    demo.ask("user", "remove", "dora@example.org", code=(0, 4))
                    break
                except AssertionError:
                    time.sleep(0.2)
        end = time.monotonic() + 30
        while live_bytes() > before + 100000:
            assert time.monotonic() < end, f"{live_bytes()} bytes are left, {before} before"
            time.sleep(0.2)


def watched_status():
    """status tells numbers and the certificate's end, and --watch looks again and again"""
    done = subprocess.run([PRICKLE, "status", "--socket", demo.state + "/control.sock"], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode in (0, 3), done.stderr
    assert re.search(r"auth .* certificate until \d{4}-\d\d-\d\dT", done.stdout), done.stdout
    assert re.search(r"store .* live of ", done.stdout), done.stdout
    watch = subprocess.Popen([PRICKLE, "status", "--watch", "--json", "--socket", demo.state + "/control.sock"],
                             stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        assert json.loads(watch.stdout.readline())["roles"]
    watch.send_signal(signal.SIGINT)
    watch.wait(10)
    watch.stdout.close()
    for words in (), ("--watch",):
        done = subprocess.run([PRICKLE, "status", *words, "--socket", "/nowhere/control.sock"], capture_output=True,
                              text=True, timeout=30)
        assert done.returncode == 75 and "does the node run" in done.stderr, done.stderr


def revocation():
    """a new password ends the user's open sessions"""
    client = demo.imap()
    client.login("bob@example.org", "pencil")
    client.select()
    demo.ask("user", "password", "bob@example.org", "--password-stdin", text="pencil\n")
    try:
        client.create("new folder")
        kept = client.list()[0] == "OK" and any(b"new folder" in line for line in client.list()[1])
    except (imaplib.IMAP4.error, OSError):
        kept = False
    client.shutdown()
    assert not kept, "the old session could still change the mailbox"
    assert login("bob@example.org")


def imported():
    """a hash from another system logs in and becomes ours"""
    text = ("$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1\n")
    assert demo.ask("user", "add", "old@example.org", "--hash-stdin", text=text)["password"] == "imported"
    assert login("old@example.org", "Hello world!")
    assert demo.ask("user", "show", "old@example.org")["password"] == "argon2id"
    assert login("old@example.org", "Hello world!") and not login("old@example.org", "Hello world")


def names():
    """domains and aliases come and go, and refuse what does not fit"""
    demo.ask("domain", "add", "Bücher.example")
    assert demo.ask("domain", "list")["domains"] == ["example.org", "xn--bcher-kva.example"]
    demo.ask("domain", "add", "xn--bcher-kva.example", code=(1,))
    demo.ask("alias", "add", "info@bücher.example", "ann@example.org", "bob@example.org")
    shown = demo.ask("alias", "show", "INFO@bücher.example")
    assert shown["targets"] == ["ann@example.org", "bob@example.org"], shown
    demo.ask("alias", "add", "x@example.org", "someone@example.net", code=(4,))
    demo.ask("user", "add", "info@bücher.example", "--no-password", code=(1,))
    demo.ask("domain", "remove", "bücher.example", code=(1,))
    demo.ask("alias", "remove", "info@bücher.example")
    demo.ask("domain", "remove", "bücher.example")
    demo.ask("user", "add", "no address", "--no-password", code=(2,))


def quota():
    """a full mailbox refuses mail at RCPT, and takes it again when there is room"""
    def send():
        with smtplib.SMTP("127.0.0.1", demo.base + 25, timeout=20) as client:
            client.sendmail("someone@example.net", ["dave@example.org"], "Subject: x\r\n\r\n" + ("x" * 70 + "\r\n") * 100)
    demo.ask("user", "add", "dave@example.org", "--quota", "10 KiB", "--password-stdin", text="d\n")
    send()
    for _ in range(2):      # unread mail counts, and so does what the owner has seen
        try:
            send()
        except smtplib.SMTPRecipientsRefused as why:
            assert list(why.recipients.values())[0][0] == 452, why
        else:
            raise AssertionError("over quota, and taken")
        assert login("dave@example.org", "d")
    demo.ask("user", "set", "dave@example.org", "--quota", "1 MiB")
    send()


def many():
    """a list longer than a page has each name once"""
    for i in range(30):
        demo.ask("user", "add", f"user{i}@example.org", "--no-password")
    users = demo.ask("user", "list", "--domain", "example.org")["users"]
    assert len(users) == len(set(users)) and users == sorted(users)
    assert {f"user{i}@example.org" for i in range(30)} <= set(users)


demo = Demo()
try:
    tap.run([passwords, scram_plain, scram_plus, offers, fake_salt, sessions_outlive_auth, live_users, removed_mail, watched_status,
             revocation, imported, names, quota, many])
finally:
    demo.stop()
