#!/usr/bin/env python3
"""Who may what on a mail node, as the shipped policy says: by the command line of other users of the machine, and by IMAP.

usage: mail.py PRICKLE. As root, since it becomes other users; skips without. Prints TAP.
"""
import imaplib
import json
import os
import poplib
import signal
import smtplib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from ports import free_base  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
ADMIN, STRANGER = 34567, 34568		# uids that nobody has
MESSAGE = b"From: ann@example.org\r\nSubject: the secret of bob\r\n\r\nunder the stone\r\n"


class Node:
    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="prickle-policy.")
        os.chmod(self.dir.name, 0o755)		# others have to reach the socket
        self.state = os.path.join(self.dir.name, "state")
        self.policy = os.path.join(self.state, "policy")
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

    def run(self, *words, uid=0, text=None):
        """(exit status, JSON)"""
        done = subprocess.run([PRICKLE, *words, "--json", "--socket", self.state + "/control.sock"], input=text, user=uid,
                              cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60)
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"{words}: exit {done.returncode}, {done.stdout!r} {done.stderr!r}") from None

    def ok(self, *words, uid=0, text=None):
        code, answer = self.run(*words, uid=uid, text=text)
        assert code == 0, f"{words} by uid {uid}: exit {code}, {answer}"
        return answer

    def refused(self, *words, uid, text=None):
        code, answer = self.run(*words, uid=uid, text=text)
        assert code == 5, f"{words} by uid {uid}: exit {code}, {answer}"
        return answer

    def imap(self, user, password):
        client = imaplib.IMAP4("127.0.0.1", self.base + 143, timeout=20)
        client.login(user, password)
        return client

    def audit(self, *words):
        done = subprocess.run([PRICKLE, "policy", "audit", "--policy", self.policy, "--json", *words], capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def audited(self, *texts, result=None):
        """A record that has all these texts somewhere."""
        for record in self.audit():
            line = json.dumps(record)
            if all(t in line for t in texts) and (result is None or record["result"] == result):
                return record
        raise AssertionError(f"no record with {texts} {result}: " + "\n".join(json.dumps(r) for r in self.audit()[-15:]))

    def apply(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".policy") as f:
            f.write(text)
            f.flush()
            done = subprocess.run([PRICKLE, "policy", "apply", f.name, "--policy", self.policy, "--yes"], capture_output=True,
                                  text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


node = None


def select(client):
    """Of a mailbox that turns out read-only, which imaplib takes for an error."""
    answer, data = client._simple_command("SELECT", "INBOX")
    assert answer == "OK" and b"READ-ONLY" in data[0], data
    client.state, client.is_readonly = "SELECTED", True


def no_imap(client, command, *args):
    """The command is answered NO [NOPERM]; the text."""
    try:
        answer, data = getattr(client, command)(*args)
    except imaplib.IMAP4.error as why:
        answer, data = "NO", [str(why).encode()]
    assert answer == "NO" and b"NOPERM" in data[0], f"{command}: {answer} {data}"
    return data[0].decode()


def a_user_of_the_machine_becomes_a_mail_administrator():
    """a user of the machine who is nobody here may nothing; as a user in mail-admins, what they do"""
    assert "refused by policy" in node.refused("user", "list", uid=ADMIN)["error"]
    node.ok("user", "add", "carol@example.org", "--password-stdin", text="pencil\n")
    shown = node.ok("user", "set", "carol@example.org", "--groups", "staff,mail-admins", "--system-user", str(ADMIN))
    assert shown["groups"] == ["staff", "mail-admins"] and shown["system_user"] == ADMIN, shown
    assert "carol@example.org" in node.ok("user", "list", uid=ADMIN)["users"]
    assert node.ok("user", "show", "carol@example.org")["groups"] == ["staff", "mail-admins"]
    code, answer = node.run("user", "set", "bob@example.org", "--system-user", str(ADMIN))
    assert code == 1 and "another user" in answer["error"], answer


def a_mail_administrator_creates_and_removes_users():
    """a mail administrator creates and removes users, and makes nobody an administrator"""
    node.ok("user", "add", "dora@example.org", "--password-stdin", uid=ADMIN, text="secret\n")
    node.ok("user", "set", "dora@example.org", "--name", "Dora", "--quota", "10 MiB", uid=ADMIN)
    node.ok("user", "remove", "dora@example.org", uid=ADMIN)
    node.audited("carol@example.org", "dora@example.org", "user remove", result="allowed")
    why = node.refused("user", "set", "carol@example.org", "--groups", "mail-admins,operators", uid=ADMIN)
    assert why["run"].startswith("prickle policy explain ") and why["decision"] in why["error"], why
    node.audited("carol@example.org", "group", "user set", result="denied")
    node.refused("user", "add", "eve@example.org", "--no-password", "--groups", "mail-admins", uid=ADMIN)
    explained = subprocess.run([PRICKLE, "policy", "explain", why["decision"], "--policy", node.policy], capture_output=True, text=True,
                               timeout=60)
    assert explained.returncode == 0 and "carol@example.org" in explained.stdout, explained


def others_may_nothing():
    """users of the machine who are nobody here are refused, each with a decision, and keep nobody out"""
    import socket
    held = []

    def hold():
        for _ in range(40):
            s = socket.socket(socket.AF_UNIX)
            s.connect(node.state + "/control.sock")
            held.append(s)
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(STRANGER)
            hold()
            signal.pause()
        finally:
            os._exit(0)
    try:
        node.refused("user", "list", uid=ADMIN + 2)
        node.refused("queue", "list", uid=ADMIN + 2)
        node.refused("policy", "ticket", "recovery", "--for", "bob@example.org", "--because", "x", uid=ADMIN + 2)
        assert node.ok("user", "list")["users"]
        assert node.ok("user", "list", uid=ADMIN)["users"]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def a_mail_administrator_cannot_read():
    """a mail administrator cannot read a mailbox: by no command, nor as themselves by IMAP"""
    bob = node.imap("bob@example.org", "pencil")
    assert bob.append("INBOX", None, None, MESSAGE)[0] == "OK"
    bob.logout()
    for command in (("mail", "export"), ):
        done = subprocess.run([PRICKLE, *command, "bob@example.org", "/tmp/never", "--socket", node.state + "/control.sock"],
                              user=ADMIN, cwd="/", capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and b"stone" not in done.stdout.encode(), done
    carol = node.imap("carol@example.org", "pencil")
    for name in ("user/bob@example.org", "~bob/INBOX", "bob"):
        assert carol.select(name)[0] == "NO"
    assert carol.select()[1] == [b"0"]
    carol.logout()
    try:
        node.imap("bob@example.org", "guess")
        raise AssertionError("a guessed password logs in")
    except imaplib.IMAP4.error:
        pass


def with_a_ticket_recovery_reads():
    """with a ticket the recovery role reads that mailbox and changes nothing; the audit says who, what and why"""
    ticket = node.ok("policy", "ticket", "recovery", "--for", "bob@example.org", "--because", "bob asks for it", uid=ADMIN)
    assert ticket["label"] == "mail.recovery" and ticket["user"] == "bob@example.org", ticket
    assert 1700 < ticket["until_s"] - time.time() < 1801, ticket
    listed = node.ok("policy", "ticket", "list", uid=ADMIN)["tickets"]
    assert [t["ticket"] for t in listed] == [ticket["ticket"]] and not listed[0]["used"] and "secret" not in listed[0], listed
    try:
        node.imap(ticket["login"], "wrong")
        raise AssertionError("a wrong secret logs in")
    except imaplib.IMAP4.error:
        pass
    for protocol in (pop_login, smtp_login):
        assert not protocol(ticket["login"], ticket["secret"]), protocol
    client = node.imap(ticket["login"], ticket["secret"])
    select(client)
    assert client.response("EXISTS")[1] == [b"1"]
    assert b"under the stone" in client.fetch("1", "(BODY[])")[1][0][1]
    assert b"\\Seen" not in client.fetch("1", "(FLAGS)")[1][0], "reading left a trace"
    assert "mail.recovery may not append" in no_imap(client, "append", "INBOX", None, None, MESSAGE)
    for command, args in (("create", ("new",)), ("delete", ("INBOX",)), ("rename", ("INBOX", "x")), ("expunge", ()), ("copy", ("1", "INBOX"))):
        no_imap(client, command, *args)
    assert client.store("1", "+FLAGS", "\\Deleted")[0] == "NO"
    try:
        node.imap(ticket["login"], ticket["secret"])
        raise AssertionError("a ticket logs in twice")
    except imaplib.IMAP4.error:
        pass
    client.logout()
    who = f"carol@example.org (ticket-{ticket['ticket']})"
    node.audited("carol@example.org", "bob asks for it", result="ticket")
    node.audited(who, "mail.mailadm", "mail.recovery", result="entered")
    node.audited(who, "bob@example.org INBOX", "FETCH", result="allowed")
    node.audited(who, "bob@example.org INBOX", "APPEND", result="denied")
    bob = node.imap("bob@example.org", "pencil")
    assert bob.select()[1] == [b"1"]
    bob.logout()


def pop_login(user, password):
    client = poplib.POP3("127.0.0.1", node.base + 110, timeout=20)
    try:
        client.user(user)
        client.pass_(password)
        return True
    except poplib.error_proto:
        return False
    finally:
        client.close()


def smtp_login(user, password):
    client = smtplib.SMTP("127.0.0.1", node.base + 587, timeout=20)
    try:
        client.login(user, password)
        return True
    except smtplib.SMTPException:
        return False
    finally:
        client.close()


def a_ticket_needs_its_giver():
    """a ticket of somebody who is no administrator any more, or locked, logs in no more"""
    for away, back in ((["--groups", "staff"], ["--groups", "staff,mail-admins"]), (["--disable"], ["--enable"])):
        ticket = node.ok("policy", "ticket", "recovery", "--for", "bob@example.org", "--because", "three", uid=ADMIN)
        node.ok("user", "set", "carol@example.org", *away)
        try:
            node.imap(ticket["login"], ticket["secret"])
            raise AssertionError(f"a ticket outlives its giver's {away[0]}")
        except imaplib.IMAP4.error:
            pass
        node.ok("user", "set", "carol@example.org", *back)


def a_revoked_ticket_ends():
    """a ticket that is revoked logs in no more, and a session that it began reads no more"""
    first = node.ok("policy", "ticket", "recovery", "--for", "bob@example.org", "--because", "one", uid=ADMIN)
    second = node.ok("policy", "ticket", "recovery", "--for", "bob@example.org", "--because", "two", uid=ADMIN)
    client = node.imap(second["login"], second["secret"])
    select(client)
    node.ok("policy", "ticket", "revoke", first["ticket"], uid=ADMIN)
    node.ok("policy", "ticket", "revoke", second["ticket"])	# root sees all
    try:
        node.imap(first["login"], first["secret"])
        raise AssertionError("a revoked ticket logs in")
    except imaplib.IMAP4.error:
        pass
    try:
        answer, data = client.status("INBOX", "(MESSAGES)")
        assert answer == "NO", (answer, data)
    except imaplib.IMAP4.abort:
        pass
    client.shutdown()
    assert node.run("policy", "ticket", "revoke", first["ticket"])[0] == 4


def an_apply_acts_on_the_next_command():
    """what an apply takes away, the next command of an open session lacks; what it gives back, it has again"""
    bob = node.imap("bob@example.org", "pencil")
    assert bob.select()[0] == "OK"
    # No appending, no reading under tickets.
    node.apply('''
module mail
  role user = principal mapped by directory
  allow user login account where owner is subject
  allow user list, read, seen mailbox where owner is subject
  role mailadm = principal in group "mail-admins"
  allow mailadm list account
  role recovery = principal by ticket
module node
  role operator = principal root
  allow operator list, show, create, set, password, remove, group account
  allow operator show, review, apply policy
  allow operator status node
''')
    assert "mail.user may not append" in no_imap(bob, "append", "INBOX", None, None, MESSAGE)
    no_imap(bob, "create", "new")
    assert bob.fetch("1", "(FLAGS)")[0] == "OK"
    assert bob.store("1", "+FLAGS", "\\Seen")[0] == "OK"
    assert bob.store("1", "+FLAGS", "\\Flagged")[0] == "NO"
    node.refused("user", "add", "fay@example.org", "--no-password", uid=ADMIN)
    node.ok("user", "list", uid=ADMIN)
    node.refused("policy", "ticket", "recovery", "--for", "bob@example.org", "--because", "x", uid=ADMIN)
    client = smtplib.SMTP("127.0.0.1", node.base + 587, timeout=20)
    client.login("bob@example.org", "pencil")
    assert client.mail("bob@example.org")[0] == 550
    client.close()
    node.apply("import default\n")
    assert bob.append("INBOX", None, None, MESSAGE)[0] == "OK"
    bob.logout()


def main():
    global node
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root to become other users")
        return
    node = Node()
    try:
        tap.run([a_user_of_the_machine_becomes_a_mail_administrator, a_mail_administrator_creates_and_removes_users, others_may_nothing,
                 a_mail_administrator_cannot_read, with_a_ticket_recovery_reads, a_ticket_needs_its_giver, a_revoked_ticket_ends,
                 an_apply_acts_on_the_next_command])
    finally:
        node.stop()


main()
