#!/usr/bin/env python3
"""A live node under faults: a full disk, 10,000 idle sessions, clients that send a byte a second.

usage: faults.py PRICKLE. The full disk needs root (it mounts a tmpfs) and is skipped without.
"""
import ctypes
import imaplib
import multiprocessing
import os
import re
import resource
import select
import smtplib
import socket
import ssl
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "smtp"))
from node import ANN, BOB, PASSWORD, Node, tap  # noqa: E402  pylint: disable=wrong-import-position

PRICKLE = sys.argv[1]
DISK_BYTES = 640 << 20
LARGE = 8 << 20
SESSIONS = 10000
TLS_SESSIONS = 1000
LORIS = 300


def note(text):
    print(f"# {text}", flush=True)


# ---- a full disk ----

class SmallDisk:
    """A file system of DISK_BYTES, and a file that takes what is left of it."""

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.dir = tempfile.mkdtemp(prefix="prickle-disk.")
        if os.geteuid() != 0 or self.libc.mount(b"tmpfs", self.dir.encode(), b"tmpfs", 0,
                                                f"size={DISK_BYTES},mode=755".encode()) != 0:
            os.rmdir(self.dir)
            raise tap.Skip("no file system of a chosen size can be mounted here")
        self.ballast = os.path.join(self.dir, "ballast")

    def fill(self):
        """Take what is free; again, since the node may have given some back."""
        with open(self.ballast, "ab") as f:
            while True:
                free = os.statvfs(self.dir).f_bavail * os.statvfs(self.dir).f_frsize
                if free == 0:
                    return
                os.posix_fallocate(f.fileno(), f.seek(0, os.SEEK_END), free)

    def room(self):
        os.remove(self.ballast)

    def close(self):
        if self.libc.umount2(self.dir.encode(), 2) == 0:
            os.rmdir(self.dir)


def mail_text(number, size):
    return (f"Subject: mark {number}\r\nFrom: {BOB}\r\n\r\n".encode() +
            (b"%07d " % number * 8 + b"\r\n") * (size // 66))


class Mailer:
    """Sends by SMTP; acked are the numbers that were answered with 250."""

    def __init__(self, node):
        self.node, self.acked, self.next = node, [], 0

    def send(self, size):
        """The reply code; 250 counts."""
        self.next += 1
        with smtplib.SMTP("127.0.0.1", self.node.port("smtp"), timeout=60) as smtp:
            try:
                smtp.sendmail("x@elsewhere.example", [ANN], mail_text(self.next, size))
            except smtplib.SMTPRecipientsRefused as e:
                return e.recipients[ANN]
            except smtplib.SMTPResponseException as e:
                return (e.smtp_code, e.smtp_error)
        self.acked.append(self.next)
        return (250, b"")


def login(node, user=ANN):
    imap = imaplib.IMAP4("127.0.0.1", node.port("imap"), timeout=60)
    imap.login(user, PASSWORD)
    return imap


def marks(node):
    """Numbers of the messages in the mailbox, as their Subject says and as their size allows."""
    imap = login(node)
    imap.select("INBOX", readonly=True)
    found = []
    data = imap.fetch("1:*", "(RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
    for item in data:
        if isinstance(item, tuple):
            found.append(int(re.search(rb"mark (\d+)", item[1]).group(1)))
    imap.logout()
    return found


def until(what, seconds, step=0.3):
    """Ask again until it is true, for at most so long: the node mends itself in its own time."""
    end = time.monotonic() + seconds
    while True:
        try:
            got = what()
        except (imaplib.IMAP4.error, OSError) as why:
            got = None
            if time.monotonic() > end:
                raise AssertionError(f"still: {why}") from why
        if got or time.monotonic() > end:
            return got
        select.select([], [], [], step)


def full_disk():
    """a full disk: 452 and NO, mail can be read and deleted, room makes it well without a restart, nothing acknowledged is lost"""
    disk = SmallDisk()
    tempfile.tempdir = disk.dir
    node = None
    try:
        node = Node(PRICKLE)
        mailer = Mailer(node)
        for _ in range(5):
            assert mailer.send(3000)[0] == 250
        assert sorted(marks(node)) == mailer.acked
        store = node.role_pids("store")
        disk.fill()
        refused = None
        for _ in range(DISK_BYTES // LARGE + 10):
            code, text = mailer.send(LARGE)
            if code != 250:
                refused = (code, text)
                break
            disk.fill()
        assert refused and refused[0] == 452, f"a full disk is answered with {refused!r}"
        note(f"after {len(mailer.acked)} messages: {refused[0]} {refused[1].decode()}")
        imap = login(node)
        got = imap.append("INBOX", None, None, mail_text(0, LARGE))
        assert got[0] == "NO" and re.match(rb"\[(OVERQUOTA|UNAVAILABLE)\]", got[1][0]), got
        # What came last has no UID yet; giving it one, and deleting, is what a full disk keeps room for.
        assert imap.select("INBOX")[0] == "OK", "the mail cannot be read while the disk is full"
        assert imap.store("1", "+FLAGS", "(\\Deleted)")[0] == "OK"
        assert imap.expunge()[0] == "OK"
        mailer.acked.remove(1)
        assert imap.noop()[0] == "OK"
        imap.logout()
        disk.room()
        again = until(lambda: mailer.send(LARGE)[0] == 250, 15)
        assert again, "there is room again, but no mail is taken"
        assert mailer.send(3000)[0] == 250
        assert sorted(marks(node)) == sorted(mailer.acked), "after the room came back"
        assert node.role_pids("store") == store, "the store was restarted"
        node.kill_role("store")
        assert until(lambda: sorted(marks(node)) == sorted(mailer.acked), 15), "after a restart of the store"
    finally:
        if node:
            node.close()
        tempfile.tempdir = None
        disk.close()


# ---- many idle sessions ----

def idle_client(port, first, count, tls, pipe):
    """A process with `count` sessions in IDLE. Says how many are; ends when it is told to."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    context = ssl._create_unverified_context()
    hello = f'a LOGIN "{ANN}" "{PASSWORD}"\r\nb EXAMINE INBOX\r\nc IDLE\r\n'.encode()
    sessions, idle = [], 0
    for at in range(0, count, 50):
        batch = []
        for i in range(at, min(at + 50, count)):
            # Several addresses of ours: one has ports for fewer connections.
            s = socket.socket()
            s.bind((f"127.0.{1 + (first + i) // 5000}.1", 0))
            s.connect(("127.0.0.1", port))
            s.settimeout(60)
            if tls:
                s = context.wrap_socket(s)
            s.sendall(hello)
            batch.append(s)
        for s in batch:
            text = b""
            while b"\r\n+ " not in text:
                piece = s.recv(4096)
                if not piece:
                    break
                text += piece
            idle += b"\r\n+ " in text and b"\r\nb OK" in text
        sessions += batch
    pipe.send(idle)
    pipe.recv()
    for s in sessions:
        s.close()


class Idle:
    """`count` sessions, held by several processes."""

    def __init__(self, port, count, tls=False, processes=4):
        self.workers = []
        for n in range(processes):
            ours, theirs = multiprocessing.Pipe()
            p = multiprocessing.Process(target=idle_client, args=(port, n * (count // processes), count // processes, tls, theirs))
            p.start()
            self.workers.append((p, ours))
        self.count = 0
        for p, pipe in self.workers:
            assert pipe.poll(240), "the sessions do not come to IDLE"
            self.count += pipe.recv()

    def close(self):
        for p, pipe in self.workers:
            pipe.send("end")
        for p, pipe in self.workers:
            p.join()


def resident_kib(node):
    total = 0
    for pid in node.role_pids("front"):
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            total += int(re.search(r"VmRSS:\s*(\d+)", f.read()).group(1))
    return total


def wait_at_most(node, what, seconds):
    """One login, one delivery, one FETCH; how long the slowest took."""
    start = time.monotonic()
    imap = login(node, ANN)
    imap.select("INBOX", readonly=True)
    assert imap.noop()[0] == "OK"
    imap.logout()
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=60) as smtp:
        smtp.sendmail("x@elsewhere.example", [BOB], mail_text(1, 1000))
    took = time.monotonic() - start
    assert took < seconds, f"{what}: login, EXAMINE and a delivery took {took:.1f} s"
    return took


def idle_sessions():
    """10,000 idle IMAP sessions, and 1,000 with TLS: new clients are served"""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < SESSIONS + 1000:
        raise tap.Skip(f"a process may open fewer than {SESSIONS + 1000} files here")
    for service, count in (("imap", SESSIONS), ("imaps", TLS_SESSIONS)):
        idle_at(service, count)


def idle_at(service, count):
    tls = service == "imaps"
    node = Node(PRICKLE)
    try:
        warm = Idle(node.port(service), 200, tls)
        before = resident_kib(node)
        many = Idle(node.port(service), count, tls)
        note(f"{'TLS' if tls else 'plain'}: {(resident_kib(node) - before) / count:.1f} KiB for each of {many.count} idle sessions")
        assert many.count == count, f"only {many.count} of {count} sessions are in IDLE"
        note(f"with {count} idle sessions a login, EXAMINE and delivery take {wait_at_most(node, 'idle sessions', 10):.2f} s")
        many.close()
        warm.close()
    finally:
        node.close()


# ---- clients that send a byte a second ----

class Loris:
    """A client in the middle of something long."""

    def __init__(self, port, opening, last):
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        self.sock.settimeout(20)
        for line in opening:
            self.sock.sendall(line)
        text = b""
        while last not in text:
            piece = self.sock.recv(4096)
            assert piece, text
            text += piece

    def drip(self):
        try:
            self.sock.sendall(b"x")
            return True
        except OSError:
            return False


def slow_clients():
    """hundreds of clients that send a byte a second keep nobody out"""
    node = Node(PRICKLE)
    slow = []
    try:
        before = resident_kib(node)
        for _ in range(LORIS // 3):
            slow.append(Loris(node.port("smtp"), [b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<%s>\r\nDATA\r\n" % ANN.encode()],
                              b"\r\n354"))
            slow.append(Loris(node.port("imap"), [f'a LOGIN "{ANN}" "{PASSWORD}"\r\nb APPEND INBOX {{100000}}\r\n'.encode()], b"\r\n+ "))
            slow.append(Loris(node.port("imap"), [b"a NOOP"], b"* OK"))
        worst = 0.0
        for _ in range(6):
            start = time.monotonic()
            dripping = sum(s.drip() for s in slow)
            worst = max(worst, wait_at_most(node, "slow clients", 10))
            select.select([], [], [], max(0, 1 - (time.monotonic() - start)))
        note(f"{dripping} slow clients; {(resident_kib(node) - before) / len(slow):.1f} KiB each; the slowest login, EXAMINE and "
             f"delivery beside them took {worst:.2f} s")
        assert dripping == len(slow), "slow, but within the limits: they go on"
    finally:
        for s in slow:
            s.sock.close()
        node.close()


tap.run([full_disk, idle_sessions, slow_clients])
