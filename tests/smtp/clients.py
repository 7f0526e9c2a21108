#!/usr/bin/env python3
"""Mail clients that others wrote, against a whole node: swaks, curl, msmtp, fetchmail.

usage: clients.py PRICKLE. A client that is not installed is skipped.
"""
import os
import poplib
import shutil
import subprocess
import sys

from node import ANN, BOB, PASSWORD, Node, tap

node = Node(sys.argv[1])


def run(*command, text="", **options):
    if shutil.which(command[0]) is None:
        raise tap.Skip(f"{command[0]} is not installed")
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=120, check=False, **options)
    assert done.returncode == 0, f"{command[0]}: {done.returncode}\n{(done.stdout + done.stderr).decode(errors='replace')}"
    return done.stdout


def inbox(user):
    pop = poplib.POP3("127.0.0.1", node.port("pop3"), timeout=30)
    pop.user(user)
    pop.pass_(PASSWORD)
    out = []
    for number in range(1, pop.stat()[0] + 1):
        out.append(b"\r\n".join(pop.retr(number)[1]))
        pop.dele(number)
    pop.quit()
    return out


def arrived(user, mark):
    got = inbox(user)
    assert len(got) == 1 and mark in got[0], got


def swaks_smtp():
    """swaks sends to port 25, pipelined"""
    run("swaks", "--server", f"127.0.0.1:{node.port('smtp')}", "--pipeline", "--from", BOB, "--to", ANN,
        "--header", "Subject: swaks")
    arrived(ANN, b"Subject: swaks")


def swaks_lmtp():
    """swaks sends by LMTP"""
    run("swaks", "--protocol", "LMTP", "--server", f"127.0.0.1:{node.port('lmtp')}", "--from", BOB, "--to", ANN,
        "--header", "Subject: lmtp")
    arrived(ANN, b"Subject: lmtp")


def swaks_auth():
    """swaks logs in with LOGIN and PLAIN"""
    for mechanism in "PLAIN", "LOGIN":
        run("swaks", "--server", f"127.0.0.1:{node.port('submission')}", "--auth", mechanism, "--auth-user", ANN,
            "--auth-password", PASSWORD, "--from", ANN, "--to", BOB, "--header", f"Subject: {mechanism}")
        arrived(BOB, f"Subject: {mechanism}".encode())


def curl_smtp():
    """curl submits over STARTTLS and over TLS"""
    for url in f"smtp://127.0.0.1:{node.port('submission')}", f"smtps://127.0.0.1:{node.port('submissions')}":
        run("curl", "-sS", "--insecure", "--ssl-reqd", url, "--user", f"{ANN}:{PASSWORD}", "--mail-from", ANN,
            "--mail-rcpt", BOB, "--upload-file", "-", text="Subject: curl\r\n\r\n.dot\r\n")
        arrived(BOB, b"\r\n.dot")


def curl_pop3():
    """curl lists and reads by POP3, plain, STLS and TLS"""
    run("curl", "-sS", f"smtp://127.0.0.1:{node.port('smtp')}", "--mail-from", BOB, "--mail-rcpt", ANN,
        "--upload-file", "-", text="Subject: pop\r\n\r\nx\r\n")
    for url, options in ((f"pop3://127.0.0.1:{node.port('pop3')}/1", ()),
                         (f"pop3://127.0.0.1:{node.port('pop3')}/1", ("--ssl-reqd", "--insecure")),
                         (f"pop3s://127.0.0.1:{node.port('pop3s')}/1", ("--insecure",))):
        assert b"Subject: pop" in run("curl", "-sS", *options, url, "--user", f"{ANN}:{PASSWORD}")
    arrived(ANN, b"Subject: pop")


def msmtp():
    """msmtp submits with TLS"""
    run("msmtp", "--host=127.0.0.1", f"--port={node.port('submission')}", "--tls=on", "--tls-starttls=on",
        "--tls-certcheck=off", "--auth=plain", f"--user={ANN}", f"--passwordeval=echo {PASSWORD}", f"--from={ANN}",
        "--", BOB, text="Subject: msmtp\n\nhello\n")
    arrived(BOB, b"Subject: msmtp")


def fetchmail():
    """fetchmail fetches by POP3 and hands over by SMTP"""
    run("swaks", "--server", f"127.0.0.1:{node.port('smtp')}", "--from", "x@elsewhere.example", "--to", ANN,
        "--header", "Subject: moved")
    rc = os.path.join(node.dir, "fetchmailrc")
    with open(rc, "w", encoding="ascii") as f:
        f.write(f"poll 127.0.0.1 proto pop3 port {node.port('pop3')} no dns\n"
                f"  user '{ANN}' password '{PASSWORD}' is 'bob' here nokeep sslproto ''\n"
                f"  smtphost '127.0.0.1/{node.port('smtp')}' smtpaddress 'example.org'\n")
    os.chmod(rc, 0o600)
    # fetchmail refuses another's configuration; it may be run by root in a container.
    home = {**os.environ, "HOME": node.dir, "FETCHMAILHOME": node.dir}
    run("fetchmail", "-f", rc, "--nosyslog", "--pidfile", os.path.join(node.dir, "fetchmail.pid"), env=home)
    arrived(BOB, b"Subject: moved")
    assert not inbox(ANN)


try:
    tap.run([swaks_smtp, swaks_lmtp, swaks_auth, curl_smtp, curl_pop3, msmtp, fetchmail])
finally:
    node.close()
