#!/usr/bin/env python3
"""POP3 of a whole node, by Python's poplib, with IMAP and SMTP beside it.

usage: pop3.py PRICKLE
"""
import base64
import imaplib
import poplib
import smtplib
import ssl
import sys
import time

from node import ANN, BOB, PASSWORD, Node, Raw, scram, tap

node = Node(sys.argv[1])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def deliver(*subjects):
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=30) as s:
        for subject in subjects:
            s.sendmail(BOB, ANN, f"Subject: {subject}\r\n\r\n.one\r\ntwo\r\nthree\r\n".encode())


def login(user=ANN, password=PASSWORD):
    pop = poplib.POP3("127.0.0.1", node.port("pop3"), timeout=60)
    pop.user(user)
    pop.pass_(password)
    return pop


def empty():
    pop = login()
    for number in range(1, pop.stat()[0] + 1):
        pop.dele(number)
    pop.quit()


def refused(call, *args):
    try:
        call(*args)
    except poplib.error_proto as why:
        return str(why)
    raise AssertionError("this must fail")


def reading():
    """LIST, UIDL, RETR and TOP agree with what was sent"""
    deliver("a", "b")
    pop = login()
    count, total = pop.stat()
    assert count == 2
    sizes = [int(line.split()[1]) for line in pop.list()[1]]
    assert sum(sizes) == total
    ids = [line.split()[1] for line in pop.uidl()[1]]
    assert len(set(ids)) == 2 and all(len(i) <= 70 for i in ids)
    text = b"\r\n".join(pop.retr(1)[1]) + b"\r\n"
    assert len(text) == sizes[0] and text.endswith(b"Subject: a\r\n\r\n.one\r\ntwo\r\nthree\r\n")
    assert pop.top(1, 2)[1][-3:] == [b"", b".one", b"two"]
    assert pop.top(1, 0)[1][-1] == b""
    assert "No such" in refused(pop.retr, 3)
    pop.quit()
    pop = login()
    assert [line.split()[1] for line in pop.uidl()[1]] == ids, "ids must stay"
    pop.quit()
    empty()


def deleting():
    """DELE counts at QUIT, not when the connection breaks, and RSET takes it back"""
    deliver("a", "b", "c")
    pop = login()
    pop.dele(1)
    pop.close()
    time.sleep(0.3)
    pop = login()
    assert pop.stat()[0] == 3
    pop.dele(1)
    pop.dele(3)
    assert pop.stat()[0] == 1
    pop.rset()
    assert pop.stat()[0] == 3
    pop.dele(2)
    pop.quit()
    pop = login()
    assert [b"Subject: a" in b"\n".join(pop.retr(i)[1]) for i in (1, 2)] == [True, False]
    pop.quit()
    empty()


def locking():
    """a second POP3 session is refused, an IMAP session never"""
    deliver("a")
    first = login()
    second = poplib.POP3("127.0.0.1", node.port("pop3"), timeout=60)
    second.user(ANN)
    assert "[IN-USE]" in refused(second.pass_, PASSWORD)
    imap = imaplib.IMAP4("127.0.0.1", node.port("imap"), timeout=60)
    imap.login(ANN, PASSWORD)
    assert imap.select("INBOX")[1] == [b"1"]
    first.quit()
    third = login()
    assert third.stat()[0] == 1
    third.quit()
    imap.logout()
    second.close()
    empty()


def expunged_meanwhile():
    """what IMAP expunges during the session may be gone, and the others keep their numbers"""
    deliver("a", "b", "c")
    pop = login()
    assert pop.stat()[0] == 3
    imap = imaplib.IMAP4("127.0.0.1", node.port("imap"), timeout=60)
    imap.login(ANN, PASSWORD)
    imap.select("INBOX")
    imap.store("2", "+FLAGS", "(\\Deleted)")
    imap.expunge()
    imap.logout()
    assert b"Subject: a" in pop.retr(1)[1]
    # Its bytes may still be there: then it is the same message; else -ERR, and never another one.
    try:
        assert b"Subject: b" in pop.retr(2)[1]
    except poplib.error_proto as why:
        assert "No such" in str(why)
    assert b"Subject: c" in pop.retr(3)[1]
    pop.dele(1)
    pop.quit()
    pop = login()
    assert pop.stat()[0] == 1 and b"Subject: c" in pop.retr(1)[1]
    pop.quit()
    empty()


def tls():
    """STLS and POP3S work, and nothing is taken from before the handshake"""
    pop = poplib.POP3("127.0.0.1", node.port("pop3"), timeout=60)
    assert "STLS" in pop.capa()
    pop.stls(context)
    assert "STLS" not in pop.capa()
    pop.user(ANN)
    pop.pass_(PASSWORD)
    pop.quit()
    pop = poplib.POP3_SSL("127.0.0.1", node.port("pop3s"), context=context, timeout=60)
    pop.user(ANN)
    pop.pass_(PASSWORD)
    pop.quit()
    raw = Raw(node.port("pop3"))
    raw.line()
    raw.send(b"STLS\r\nCAPA\r\nQUIT\r\n")
    answer = raw.rest()
    assert answer.count(b"\r\n") <= 1 and b"TOP" not in answer, answer


def sasl():
    """AUTH PLAIN with and without initial response, SCRAM-SHA-256, and failures"""
    def start():
        raw = Raw(node.port("pop3"))
        assert raw.line().startswith(b"+OK")
        return raw

    secret = base64.b64encode(f"\0{ANN}\0{PASSWORD}".encode())
    raw = start()
    raw.send(b"AUTH PLAIN " + secret + b"\r\n")
    assert raw.line().startswith(b"+OK")
    raw.send(b"QUIT\r\n")
    raw.rest()
    raw = start()
    raw.send(b"AUTH PLAIN\r\n")
    assert raw.line() == b"+ \r\n"
    raw.send(b"*\r\n")
    assert raw.line().startswith(b"-ERR")
    raw.send(b"AUTH PLAIN " + base64.b64encode(f"\0{ANN}\0wrong".encode()) + b"\r\n")
    assert raw.line().startswith(b"-ERR [AUTH]")
    raw.close()
    raw = start()
    raw.send(b"CAPA\r\n")
    capabilities = []
    while (line := raw.line()) != b".\r\n":
        capabilities.append(line.split())
    offered = next(words[1:] for words in capabilities if words[0] == b"SASL")
    if b"SCRAM-SHA-256" not in offered:
        raise tap.Skip("SCRAM-SHA-256 is not offered")

    def carry(prefix):
        def send(message):
            raw.send(prefix + base64.b64encode(message) + b"\r\n")
            line = raw.line()
            assert line.startswith(b"+ "), line
            return base64.b64decode(line[2:])
        return send
    scram(PASSWORD, ANN, carry(b"AUTH SCRAM-SHA-256 "), carry(b""))
    raw.send(b"\r\n")
    assert raw.line().startswith(b"+OK")
    raw.send(b"QUIT\r\n")
    raw.rest()


def pipelining():
    """a batch of commands in one packet is answered in order"""
    deliver("a", "b")
    raw = Raw(node.port("pop3"))
    raw.line()
    raw.send(f"USER {ANN}\r\nPASS {PASSWORD}\r\nDELE 1\r\nDELE 2\r\nSTAT\r\nQUIT\r\n".encode())
    answers = raw.rest().split(b"\r\n")
    assert len(answers) == 7 and all(a.startswith(b"+OK") for a in answers[:6]), answers
    assert answers[4] == b"+OK 0 0"
    pop = login()
    assert pop.stat()[0] == 0
    pop.quit()


def kill_front():
    """after a crash the lock is free again within half a minute, and nothing was deleted"""
    deliver("a")
    pop = login()
    pop.dele(1)
    node.kill_role("front")
    deadline = time.monotonic() + 45
    while True:
        try:
            again = login()
            break
        except (OSError, poplib.error_proto) as why:
            assert time.monotonic() < deadline, why
            time.sleep(0.5)
    assert again.stat()[0] == 1
    again.quit()
    empty()


try:
    tap.run([reading, deleting, locking, expunged_meanwhile, tls, sasl, pipelining, kill_front])
finally:
    node.close()
