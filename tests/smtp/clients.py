#!/usr/bin/env python3
"""Mail clients that others wrote, against a whole node: swaks, curl, msmtp, fetchmail, mutt.

usage: clients.py PRICKLE. A client that is not installed is skipped.
"""
import os
import poplib
import pty
import shutil
import select
import subprocess
import sys
import time

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


def mutt():
    """mutt submits with TLS, and reads and deletes by IMAP, on a terminal"""
    if shutil.which("mutt") is None:
        raise tap.Skip("mutt is not installed")
    rc, copy = os.path.join(node.dir, "muttrc"), os.path.join(node.dir, "copied")
    user = ANN.replace("@", "%40")
    with open(rc, "w", encoding="ascii") as f:
        f.write(f"""set folder={node.dir} from={ANN} copy=no ssl_verify_host=no ssl_verify_dates=no
set smtp_authenticators=plain imap_authenticators=login
set smtp_url="smtps://{user}@127.0.0.1:{node.port('submissions')}/" smtp_pass="{PASSWORD}"
set spoolfile="imap://{user}@127.0.0.1:{node.port('imap')}/INBOX" imap_pass="{PASSWORD}"
set ssl_starttls=no ssl_force_tls=no ssl_ca_certificates_file={node.dir}/none certificate_file={node.dir}/certificates
set confirmappend=no confirmcreate=no delete=yes quit=yes wait_key=no mbox_type=mbox header_cache=""
""")
    home = {**os.environ, "HOME": node.dir, "TERM": "xterm", "LINES": "24", "COLUMNS": "80"}
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{node.port('submissions')}", "-showcerts"],
                          input=b"", capture_output=True, timeout=30, check=False).stdout
    with open(os.path.join(node.dir, "certificates"), "wb") as f:
        f.write(done[done.index(b"-----BEGIN"):done.index(b"-----END CERTIFICATE-----") + 26])
    run("mutt", "-F", rc, "-s", "by mutt", BOB, text="hello\n", env=home)
    arrived(BOB, b"Subject: by mutt")
    run("swaks", "--server", f"127.0.0.1:{node.port('smtp')}", "--from", BOB, "--to", ANN, "--header", "Subject: for mutt")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("mutt", ["mutt", "-F", rc], home)
    end, screen, typed = time.monotonic() + 30, b"", False
    while time.monotonic() < end:
        if b"[Msgs:1" in screen and not typed:
            os.write(terminal, b"s\x15" + copy.encode() + b"\rq")      # save; the line empty; quit
            typed = True
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                screen += os.read(terminal, 4096)
            except OSError:     # it has ended
                break
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, screen[-2000:]
    assert os.path.exists(copy), screen[-1500:]
    with open(copy, "rb") as f:
        assert b"Subject: for mutt" in f.read(), screen[-2000:]
    assert not inbox(ANN), "what is saved elsewhere is deleted"


try:
    tap.run([swaks_smtp, swaks_lmtp, swaks_auth, curl_smtp, curl_pop3, msmtp, fetchmail, mutt])
finally:
    node.close()
