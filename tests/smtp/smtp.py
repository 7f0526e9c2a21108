#!/usr/bin/env python3
"""SMTP, LMTP and submission of a whole node, by Python's smtplib and by raw sockets.

usage: smtp.py PRICKLE
"""
import base64
import hashlib
import os
import poplib
import random
import re
import smtplib
import socket
import ssl
import sys
import time

from node import ANN, BOB, PASSWORD, Node, Raw, scram, tap

node = Node(sys.argv[1])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def inbox(user=ANN):
    """All messages as bytes, and empties the inbox."""
    pop = poplib.POP3("127.0.0.1", node.port("pop3"), timeout=30)
    pop.user(user)
    pop.pass_(PASSWORD)
    out = []
    for number in range(1, pop.stat()[0] + 1):
        out.append(b"\r\n".join(pop.retr(number)[1]) + b"\r\n")
        pop.dele(number)
    pop.quit()
    return out


def body_of(message, header_start):
    """What the client sent: all from the first field that is not ours."""
    at = message.find(header_start)
    assert at >= 0, message[:500]
    return message[at:]


def wait_for_mail(user):
    """The next message, from the queue for instance."""
    deadline = time.monotonic() + 15
    while not (got := inbox(user)):
        assert time.monotonic() < deadline, "no message came"
        time.sleep(0.1)
    return got[0]


def send(data, rcpt=ANN, **options):
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=30) as s:
        return s.sendmail(BOB, rcpt, data, **options)


def smtplib_delivers():
    """a message arrives as it was sent, under its trace fields"""
    text = b"Subject: one\r\nFrom: bob@example.org\r\n\r\n.dot\r\n..dots\r\n\xe4\xff 8 bit\r\n"
    send(text, mail_options=["BODY=8BITMIME"])
    got = inbox()
    assert len(got) == 1
    assert got[0].startswith(b"Return-Path: <bob@example.org>\r\nDelivered-To: ann@example.org\r\nReceived: from ")
    assert body_of(got[0], b"Subject: one") == text, got[0]


def several_recipients():
    """each recipient has one copy, and nobody sees another's address in the trace"""
    send(b"Subject: two\r\n\r\nx\r\n", rcpt=[ANN, BOB, ANN])
    ann, bob = inbox(ANN), inbox(BOB)
    assert len(ann) == 1 and len(bob) == 1
    assert b"bob@" not in ann[0].replace(b"Return-Path: <bob@example.org>", b"")
    assert b"Delivered-To: bob@example.org" in bob[0]


def large_messages():
    """messages around and above 1 MiB are streamed and arrive whole"""
    rng = random.Random(1)
    for size in (1 << 20) - 700, (1 << 20) - 300, 1 << 20, (1 << 20) + 1, (3 << 20) + 12345, 20 << 20:
        lines = [b"Subject: large"[:14], b"", b"."]
        total = 0
        while total < size:
            line = b"." * rng.randrange(3) + bytes(rng.choices(b"abcdefgh ", k=rng.randrange(60, 900)))
            lines.append(line)
            total += len(line) + 2
        text = b"\r\n".join(lines) + b"\r\n"
        send(text)
        got = inbox()
        assert len(got) == 1
        have = body_of(got[0], b"Subject: large")
        assert have == text, f"{size}: {len(have)} of {len(text)} bytes"


def large_to_several():
    """a large message whose second recipient fails on the way is taken, and arrives by the queue, once"""
    text = b"Subject: large, two\r\n\r\n" + b"".join(b"%07d %s\r\n" % (n, b"x" * 90) for n in range(33000))
    assert len(text) > 3 << 20
    inbox(ANN), inbox(BOB)
    s = Raw(node.port("smtp"))
    s.expect(b"220")
    s.send(b"EHLO x\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<ann@example.org>\r\n"
           b"RCPT TO:<bob@example.org>\r\nDATA\r\n")
    for _ in range(4):
        s.expect(b"250")
    s.expect(b"354")
    half = text.index(b"0016000 ")
    s.send(text[:half])
    # A new password ends all grants of bob's account, this delivery's as well.
    time.sleep(0.5)
    node.command("user", "password", BOB, "--password-stdin", stdin=PASSWORD.encode() + b"\n")
    s.send(text[half:] + b".\r\n")
    s.expect(b"250")
    assert len(inbox(ANN)) == 1
    assert body_of(wait_for_mail(BOB), b"Subject: large, two") == text
    time.sleep(1)
    assert not inbox(BOB) and not inbox(ANN)


def header_only():
    """messages without a body, without a header, and empty ones are kept"""
    for text in b"Subject: lonely\r\n", b"\r\nbody\r\n", b"":
        send(text)
    got = inbox()
    assert len(got) == 3
    assert got[0].endswith(b"Subject: lonely\r\n") and got[1].endswith(b"\r\n\r\nbody\r\n")


def too_large():
    """a message above SIZE is refused before and after it was sent"""
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=30) as s:
        s.ehlo()
        size = int(s.esmtp_features["size"])
        assert s.mail(BOB, [f"SIZE={size + 1}"])[0] == 552
        assert s.mail(BOB, [f"SIZE={size}"])[0] == 250
        assert s.noop()[0] == 250


def postmaster():
    """mail for postmaster, with the domain and without, has somewhere to go"""
    for address in "postmaster", "Postmaster@example.org":
        send(b"Subject: help\r\n\r\nx\r\n", rcpt=[address])
        assert len(inbox(ANN)) == 1, address
    assert b"ann@example.org" in node.command("domain", "show", "example.org")


def no_relay():
    """mail for elsewhere is refused, also for users"""
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=30) as s:
        s.ehlo()
        s.mail("ann@example.org")
        for to in "x@elsewhere.example", "x%elsewhere.example@[127.0.0.1]", "ann@example.org.elsewhere.example":
            code, text = s.rcpt(to)
            assert code == 550 and text.startswith(b"5.7.1"), (to, code, text)
        assert s.rcpt("nobody@example.org")[0] == 550
    with smtplib.SMTP("127.0.0.1", node.port("submission"), timeout=30) as s:
        s.starttls(context=context)
        s.login(ANN, PASSWORD)
        s.mail(ANN)
        assert s.rcpt("x@elsewhere.example")[0] == 550


def submission():
    """users send over STARTTLS and over TLS, and only in their own name"""
    with smtplib.SMTP("127.0.0.1", node.port("submission"), timeout=30) as s:
        s.ehlo()
        assert s.mail(ANN)[0] == 530
        s.starttls(context=context)
        s.ehlo()
        assert "starttls" not in s.esmtp_features
        s.login(ANN, PASSWORD)
        assert s.mail(BOB)[0] == 553
        s.sendmail(ANN, BOB, b"From: ann@example.org\r\nBcc: secret@example.org\r\n\r\nhi\r\n")
    with smtplib.SMTP_SSL("127.0.0.1", node.port("submissions"), context=context, timeout=30) as s:
        s.login(ANN, PASSWORD)
        s.sendmail(ANN, BOB, b"From: ann@example.org\r\nDate: x\r\nMessage-ID: <y@z>\r\n\r\nhi\r\n")
    one, two = inbox(BOB)
    assert b"Bcc" not in one and b"\r\nMessage-ID: <" in one and b"\r\nDate: " in one
    assert b"with ESMTPSA id" in one and b"\ttls TLS_" in one
    assert two.count(b"Date:") == 1 and two.count(b"Message-ID:") == 1


def auth_mechanisms():
    """PLAIN, LOGIN and a wrong password answer as they should"""
    with smtplib.SMTP("127.0.0.1", node.port("submission"), timeout=60) as s:
        s.starttls(context=context)
        s.ehlo()
        offered = s.esmtp_features["auth"].split()
        assert "PLAIN" in offered and "LOGIN" in offered, offered
        s.user, s.password = ANN, PASSWORD
        assert s.auth("LOGIN", s.auth_login)[0] == 235
    with smtplib.SMTP("127.0.0.1", node.port("submission"), timeout=60) as s:
        s.starttls(context=context)
        s.ehlo()
        code, text = s.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{ANN}\0wrong".encode()).decode())
        assert code == 535 and text.startswith(b"5.7.8")
        assert s.docmd("AUTH", "PLAIN")[0] == 334
        assert s.docmd("*")[0] == 501
        assert s.docmd("AUTH", "NONSENSE")[0] == 504


def scram_login(s, mechanism, binding):
    def first(message):
        code, text = s.docmd("AUTH", mechanism + " " + base64.b64encode(message).decode())
        assert code == 334, (code, text)
        return base64.b64decode(text)

    def final(message):
        code, text = s.docmd(base64.b64encode(message).decode())
        assert code == 334, (code, text)
        return base64.b64decode(text)

    scram(PASSWORD, ANN, first, final, binding)
    assert s.docmd("")[0] == 235


def scram_works():
    """SCRAM-SHA-256 and, bound to the certificate, -PLUS log in"""
    for plus in False, True:
        with smtplib.SMTP_SSL("127.0.0.1", node.port("submissions"), context=context, timeout=60) as s:
            s.ehlo()
            name = "SCRAM-SHA-256" + ("-PLUS" if plus else "")
            if name not in s.esmtp_features["auth"].split():
                raise tap.Skip(f"{name} is not offered")
            binding = hashlib.sha256(s.sock.getpeercert(True)).digest() if plus else None
            scram_login(s, name, binding)


def port_25_has_no_auth():
    """port 25 offers no AUTH and has none"""
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=30) as s:
        s.ehlo()
        assert "auth" not in s.esmtp_features
        assert s.docmd("AUTH", "PLAIN AGEAYg==")[0] == 502
        s.starttls(context=context)
        s.ehlo()
        assert "auth" not in s.esmtp_features
        s.sendmail(BOB, ANN, b"Subject: tls\r\n\r\n")
    assert b"with ESMTPS id" in inbox()[0]


def tls_forgets_who_the_client_was():
    """a login before STARTTLS does not count behind it (RFC 3207 section 4.2)"""
    with smtplib.SMTP("127.0.0.1", node.port("submission"), timeout=30) as s:
        s.ehlo()
        s.login(BOB, PASSWORD)
        assert s.docmd("MAIL", "FROM:<%s>" % BOB)[0] == 250
        s.starttls(context=context)
        s.ehlo()
        assert "auth" in s.esmtp_features
        assert s.docmd("MAIL", "FROM:<%s>" % BOB)[0] == 530


def injection_before_tls():
    """commands pipelined behind STARTTLS are not executed and end the session"""
    for service in "smtp", "submission":
        raw = Raw(node.port(service))
        raw.expect(b"220")
        raw.send(b"EHLO x\r\n")
        raw.expect(b"250")
        raw.send(b"STARTTLS\r\nMAIL FROM:<a@b>\r\nNOOP\r\n")
        answer = raw.rest()
        assert b"250" not in answer and answer.count(b"\r\n") <= 1, answer
        raw.close()


def lmtp():
    """LMTP answers for each recipient"""
    with smtplib.LMTP("127.0.0.1", node.port("lmtp"), timeout=30) as s:
        s.sendmail(BOB, ANN, b"Subject: l\r\n\r\n.\r\n")
    # smtplib reads one reply after DATA, whatever the number of recipients.
    raw = Raw(node.port("lmtp"))
    raw.expect(b"220")
    raw.send(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<nobody@example.org>\r\n"
             b"RCPT TO:<bob@example.org>\r\nDATA\r\n")
    for code in b"250", b"250", b"250", b"550 5.1.1", b"250", b"354":
        raw.expect(code)
    raw.send(b"Subject: m\r\n\r\nx\r\n.\r\nQUIT\r\n")
    for code in b"250 2.0.0", b"250 2.0.0", b"221":
        raw.expect(code)
    raw.close()
    assert len(inbox(ANN)) == 2 and len(inbox(BOB)) == 1


def smtputf8():
    """international headers pass"""
    send("Subject: Grüße\r\n\r\nß\r\n".encode(), mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    got = inbox()
    assert "Subject: Grüße\r\n".encode() in got[0] and b"with UTF8SMTP id" in got[0]


def bdat():
    """chunks make one message, whatever their borders and bytes"""
    text = b"Subject: chunks\r\n\r\n" + bytes(range(1, 256)) * 9000 + b"\r\n.\r\n"
    raw = Raw(node.port("smtp"))
    raw.expect(b"220")
    raw.send(b"EHLO x\r\n")
    raw.expect(b"250")
    raw.send(b"MAIL FROM:<bob@example.org> BODY=BINARYMIME\r\nRCPT TO:<ann@example.org>\r\n")
    raw.expect(b"250")
    raw.expect(b"250")
    cuts = sorted(random.Random(2).sample(range(len(text)), 20))
    pieces = [text[a:b] for a, b in zip([0] + cuts, cuts + [len(text)])]
    for number, piece in enumerate(pieces):
        last = b" LAST" if number == len(pieces) - 1 else b""
        raw.send(b"BDAT %d%s\r\n" % (len(piece), last) + piece)
    for _ in pieces:
        raw.expect(b"250")
    raw.send(b"QUIT\r\n")
    raw.expect(b"221")
    raw.close()
    pop = Raw(node.port("pop3"))
    pop.line()
    for line in f"USER {ANN}", f"PASS {PASSWORD}", "RETR 1":
        pop.send(line.encode() + b"\r\n")
        assert pop.line().startswith(b"+OK")
    pop.send(b"DELE 1\r\nQUIT\r\n")
    stored = pop.rest()
    pop.close()
    # POP3 has lines alone: a bare LF comes as CR LF.
    want = re.sub(rb"(?<!\r)\n", b"\r\n", text)
    assert stored[stored.find(b"Subject:"):].replace(b"\n..", b"\n.").startswith(want)


def quota():
    """a full mailbox behind an alias is told to the sender, and the others get the message"""
    node.command("user", "add", "small@example.org", "--no-password", "--quota", "100KiB")
    node.command("alias", "add", "both@example.org", ANN, "small@example.org")
    big = b"Subject: big\r\n\r\n" + b"x\r\n" * 80000
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=30) as s:
        s.ehlo()
        s.mail(BOB, [f"SIZE={len(big)}"])
        code, text = s.rcpt("small@example.org")
        assert code == 452 and text.startswith(b"4.2.2"), (code, text)
        s.rset()
        # Without SIZE it turns out after DATA.
        s.mail(BOB)
        assert s.rcpt("small@example.org")[0] == 250
        code, text = s.data(big)
        assert code == 552 and text.startswith(b"5.2.2"), (code, text)
        s.mail(BOB)
        assert s.rcpt("both@example.org")[0] == 250
        assert s.data(big)[0] == 250
    assert len(inbox(ANN)) == 1
    notice = wait_for_mail(BOB)
    # The address that the sender knows; who is behind an alias is not told.
    assert b"rfc822; both@example.org" in notice and b"small@" not in notice and b"5.2.2" in notice and b"Action: failed" in notice, notice


def notify_success():
    """who asks for a notice of success gets one"""
    send(b"Subject: ask\r\n\r\n", rcpt_options=["NOTIFY=SUCCESS"])
    assert len(inbox(ANN)) == 1
    notice = wait_for_mail(BOB)
    assert b"Action: delivered" in notice and b"Return-Path: <>" in notice, notice


SMUGGLING = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\n", b"\n.\r", b"\r\n.\rX", b"\r.\r\n",
    b"\r\n.\r\r\n", b"\r\r\n.\n", b"\n\r.\r\n", b"\n\n.\n", b"\n\n.\r\n", b"\r\r.\r\r",
    b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n\0.\0\r\n", b"\r\n.\r\0\n", b"\n\0.\n", b"\n.\0\n",
    b"\n\0.\r\n", b"\n.\0\r\n", b"\r\0.\r", b"\r\0\n.\r\n", b"\r\n\0\0.\r\n", b"\r\n\r.\r\n",
    b"\r\n\n.\r\n", b"\r\n\n.\n", b"\r\n\r.\r", b"\n..\n", b"\n..\r\n", b"\r\n..\n", b"\r..\r",
    b"\r\n..\r", b"\n. \n", b"\r\n.\t\n", b"\n .\r\n", b"\0\n", b"\r", b"\n", b"\r\n\r\r\n",
    b"\x0b.\x0b", b"\x85.\x85", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\r\n\xe2\x80\xa4\r\n",
    b"\r\nBDAT 5 LAST\r\n\n.\n", b"\nBDAT 0 LAST\n",
]


def smuggling():
    """no sequence smuggles a second message"""
    for end in SMUGGLING:
        raw = Raw(node.port("smtp"))
        raw.expect(b"220")
        raw.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n")
        for code in b"250", b"250", b"250", b"354":
            raw.expect(code)
        raw.send(b"Subject: first\r\n\r\nfirst" + end +
                 b"MAIL FROM:<smuggled@b>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
                 b"Subject: smuggled\r\n\r\nsecond\r\n.\r\nQUIT\r\n")
        answers = raw.rest()
        raw.close()
        assert answers.count(b"250 2.0.0 Stored") <= 1, (end, answers)
        assert b"354" not in answers and b"250 2.1.0" not in answers.replace(b"250 2.0.0", b""), (end, answers)
    for message in inbox():
        assert b"Return-Path: <a@b>" in message and b"smuggled@b" in message, "a second message"


def idle_clients():
    """300 silent clients keep nobody out"""
    silent = [socket.create_connection(("127.0.0.1", node.port("smtp")), timeout=20) for _ in range(300)]
    start = time.monotonic()
    send(b"Subject: quick\r\n\r\n")
    passed = time.monotonic() - start
    for s in silent:
        s.close()
    assert len(inbox()) == 1
    assert passed < 2, passed


def kill_mx():
    """mx is killed and serves again within a second"""
    node.kill_role("mx")
    start = time.monotonic()
    while True:
        try:
            send(b"Subject: again\r\n\r\n")
            break
        except (OSError, smtplib.SMTPException):
            assert time.monotonic() - start < 1.5, "mx did not come back"
            time.sleep(0.02)
    assert len(inbox()) == 1


def kill_store():
    """what is acknowledged while the store is killed again and again is there, once"""
    acknowledged = set()
    for number in range(60):
        if number % 15 == 5:
            node.kill_role("store")
        try:
            send(f"Subject: k{number}\r\n\r\n".encode())
            acknowledged.add(number)
        except (OSError, smtplib.SMTPException):
            time.sleep(0.1)
    deadline = time.monotonic() + 20
    got = []
    while True:
        try:
            got += inbox()
            break
        except (poplib.error_proto, OSError):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    numbers = [int(m.split(b"Subject: k")[1].split(b"\r\n")[0]) for m in got]
    assert acknowledged <= set(numbers), f"lost: {acknowledged - set(numbers)}"
    assert len(numbers) == len(set(numbers)), f"twice: {sorted(numbers)}"
    assert len(acknowledged) >= 30, f"only {len(acknowledged)} were taken"


CASES = [smtplib_delivers, several_recipients, large_messages, large_to_several, header_only, too_large,
         postmaster, no_relay, submission, auth_mechanisms, scram_works, port_25_has_no_auth,
         tls_forgets_who_the_client_was, injection_before_tls, lmtp, smtputf8, bdat, quota, notify_success,
         smuggling, idle_clients, kill_mx, kill_store]

try:
    tap.run(CASES)
finally:
    node.close()
