#!/usr/bin/env python3
"""Cut the power of a disk under the real daemon, many times, and look for every acknowledged message.

usage: powercut.py PRICKLE POWERCUTFS [--states N] [--seconds S] [--seed N]

1. powercutfs offers a disk image that logs every write and flush; on it stand a loop device, ext4 and
   the state directory of `prickle demo`.
2. Clients deliver, append, flag and expunge; each acknowledgement is noted with the log position.
3. For random positions: a disk is made of all that was flushed before it and a random half of what
   was written since, some of it torn at a sector. It is mounted (the journal replays), the daemon
   starts on it, and everything that was acknowledged before that position must be there, whole.

Needs root, a loop device and FUSE; says so and skips elsewhere. Speaks TAP.
"""
import argparse
import hashlib
import imaplib
import mmap
import os
import random
import shutil
import signal
import smtplib
import struct
import subprocess
import sys
import tempfile
import threading
import time

SIZE_MIB = 640
PASSWORD = "Powercut-1"
USERS = ("ann@example.org", "bob@example.org")
SECTOR = 512


def skip(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def run(*words, **kw):
    return subprocess.run(words, check=True, capture_output=True, text=True, **kw).stdout.strip()


def patiently(*words):
    """Unmounting is refused for a moment after the last user has gone."""
    end = time.time() + 5
    while subprocess.run(words, capture_output=True).returncode != 0 and time.time() < end:
        time.sleep(0.1)


class Node:
    def __init__(self, prickle, state, base_port, log):
        self.base = base_port
        self.process = subprocess.Popen(
            [prickle, "demo", "--no-lab", "--state", state, "--base-port", str(base_port), "--password", PASSWORD],
            stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        raise RuntimeError("the node did not become ready")

    def imap(self, user):
        c = imaplib.IMAP4("127.0.0.1", self.base + 143)
        c.login(user, PASSWORD)
        return c

    def smtp(self):
        return smtplib.SMTP("127.0.0.1", self.base + 25, timeout=30)

    def kill(self):
        """At once and all of it: the supervisor first, so that it starts nothing again."""
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
                roles = [int(x) for x in f.read().split()]
        except OSError:
            roles = []
        for pid in [self.process.pid] + roles:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process.stdout.close()
        end = time.time() + 5
        while any(os.path.exists(f"/proc/{pid}") for pid in roles) and time.time() < end:
            time.sleep(0.02)


class Promises:
    """What was acknowledged, and at which position of the disk's log."""

    def __init__(self, position_path):
        self.fd = os.open(position_path, os.O_RDONLY)
        self.lock = threading.Lock()
        self.stored = []	# (position, user, folder, token)
        self.gone = {}		# token -> [issued, acknowledged or None]
        self.flagged = []	# (position, user, token)
        self.count = 0

    def position(self):
        return int(os.pread(self.fd, 32, 0))

    def token(self):
        with self.lock:
            self.count += 1
            return f"t{self.count:06d}"

    def note_stored(self, user, folder, token):
        at = self.position()
        with self.lock:
            self.stored.append((at, user, folder, token))


def message(token, rng):
    size = rng.choice((300, 1000, 4000, 4000, 4000, 20000, 60000, 1500000) if rng.random() < 0.3 else (4000,))
    body = "\r\n".join(f"{rng.getrandbits(128):032x}" * 2 for _ in range(max(1, size // 66))) + "\r\n"
    digest = hashlib.sha256(body.encode()).hexdigest()
    return (f"From: <sender@example.org>\r\nTo: <ann@example.org>\r\nSubject: {token}\r\n"
            f"X-Token: {token}\r\nX-Sha256: {digest}\r\n\r\n{body}")


def deliver(node, promises, stop, seed):
    rng = random.Random(seed)
    smtp = node.smtp()
    while not stop.is_set():
        token = promises.token()
        to = [u for u in USERS if rng.random() < 0.7] or [USERS[0]]
        smtp.sendmail("sender@example.org", to, message(token, rng))
        for user in to:
            promises.note_stored(user, "INBOX", token)
        if rng.random() < 0.1:
            smtp.quit()
            smtp = node.smtp()


def change(node, promises, stop, seed):
    rng = random.Random(seed)
    user = USERS[1]
    c = node.imap(user)
    c.create("Work")
    mine = []
    while not stop.is_set():
        token = promises.token()
        typ, _ = c.append("Work", None, None, message(token, rng).encode())
        assert typ == "OK"
        promises.note_stored(user, "Work", token)
        mine.append(token)
        c.select("Work")
        typ, data = c.search(None, "SUBJECT", token)
        assert typ == "OK" and data[0], (typ, data)
        number = data[0].split()[-1].decode()
        if rng.random() < 0.5:
            typ, _ = c.store(number, "+FLAGS", "(\\Flagged)")
            assert typ == "OK"
            at = promises.position()
            with promises.lock:
                promises.flagged.append((at, user, token))
        if rng.random() < 0.3 and len(mine) > 3:
            victim = mine.pop(rng.randrange(len(mine)))
            typ, data = c.search(None, "SUBJECT", victim)
            with promises.lock:
                promises.gone[victim] = [promises.position(), None]
            c.store(data[0].split()[0].decode(), "+FLAGS", "(\\Deleted)")
            typ, _ = c.expunge()
            assert typ == "OK"
            promises.gone[victim][1] = promises.position()


def record(args, directory):
    """Phase 1 and 2: the log of the disk and the promises made on it."""
    mount, fs = directory + "/disk", directory + "/fs"
    os.mkdir(mount)
    os.mkdir(fs)
    log = directory + "/writes"
    fuse = subprocess.Popen([args.powercutfs, log, str(SIZE_MIB), mount])
    loop = None
    node = None
    try:
        end = time.time() + 10
        while not os.path.exists(mount + "/image"):
            if time.time() > end or fuse.poll() is not None:
                skip("FUSE cannot be mounted here")
            time.sleep(0.05)
        loop = run("losetup", "-f", "--show", mount + "/image")
        run("mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0", loop)
        run("mount", loop, fs)
        promises = Promises(mount + "/position")
        with open(directory + "/node.log", "w") as errors:
            node = Node(args.prickle, fs + "/state", args.base_port, errors)
            first = promises.position()
            stop = threading.Event()
            failures = []

            def guarded(fn, seed):
                try:
                    fn(node, promises, stop, seed)
                except Exception as e:	# a worker that dies would silently test nothing
                    if not stop.is_set():
                        failures.append(repr(e))

            workers = [threading.Thread(target=guarded, args=(fn, args.seed * 10 + i))
                       for i, fn in enumerate((deliver, deliver, deliver, change))]
            for w in workers:
                w.start()
            time.sleep(args.seconds)
            stop.set()
            for w in workers:
                w.join(30)
            if failures:
                raise RuntimeError(f"a client failed: {failures}")
            last = promises.position()
            node.kill()
            node = None
    finally:
        if node is not None:
            node.kill()
        patiently("umount", fs)
        if loop:
            patiently("losetup", "-d", loop)
        patiently("fusermount3", "-u", mount)
        try:
            fuse.wait(20)
        except subprocess.TimeoutExpired:
            fuse.kill()
    os.close(promises.fd)
    return log, promises, first, last


class Disks:
    """Makes the disk as it may be found after a power cut at a position; positions must ascend."""

    def __init__(self, log, directory):
        self.data = mmap.mmap(os.open(log, os.O_RDONLY), 0, prot=mmap.PROT_READ)
        self.records = []	# (type, offset, length, where the bytes are)
        at = 0
        while at + 13 <= len(self.data):
            kind, offset, length = struct.unpack_from("<cQI", self.data, at)
            at += 13
            self.records.append((kind, offset, length, at))
            if kind == b"W":
                at += length
        self.base = mmap.mmap(-1, SIZE_MIB << 20)
        self.applied = 0
        self.path = directory + "/crash.img"

    def apply(self, target, record, keep=None):
        kind, offset, length, at = record
        if keep is not None:
            length = min(length, keep)
        if kind == b"W":
            target[offset:offset + length] = self.data[at:at + length]
        elif kind == b"D":
            target[offset:offset + length] = bytes(length)

    def cut(self, position, rng):
        flushed = position
        while flushed > 0 and self.records[flushed - 1][0] != b"F":
            flushed -= 1
        for record in self.records[self.applied:flushed]:
            self.apply(self.base, record)
        self.applied = max(self.applied, flushed)
        with open(self.path, "wb") as f:
            f.truncate(SIZE_MIB << 20)
        with open(self.path, "r+b") as f:
            image = mmap.mmap(f.fileno(), SIZE_MIB << 20)
            step = 1 << 20
            zero = bytes(step)
            for at in range(0, SIZE_MIB << 20, step):	# keep it sparse
                part = self.base[at:at + step]
                if part != zero:
                    image[at:at + step] = part
            for record in self.records[flushed:position]:
                if rng.random() < 0.5:
                    torn = rng.random() < 0.1 and record[2] > SECTOR
                    self.apply(image, record, SECTOR * rng.randrange(1, record[2] // SECTOR) if torn and
                               record[2] // SECTOR > 1 else None)
            image.close()
        return position - flushed


def contents(c, folder):
    """token -> (uid, flags, whole)"""
    typ, data = c.select(folder, readonly=True)
    if typ != "OK":
        return {}
    if int(data[0]) == 0:
        return {}
    typ, data = c.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
    assert typ == "OK", data
    found = {}
    for item in data:
        if not isinstance(item, tuple):
            continue
        head, text = item
        header, _, body = text.partition(b"\r\n\r\n")
        fields = {k.lower(): v.strip() for k, _, v in
                  (line.partition(b":") for line in header.replace(b"\r\n\t", b" ").split(b"\r\n"))}
        token = fields[b"x-token"].decode()
        uid = int(head.split(b"UID ")[1].split()[0].rstrip(b")"))
        whole = hashlib.sha256(body).hexdigest() == fields[b"x-sha256"].decode()
        found.setdefault(token, []).append((uid, head, whole))
    return found


def verify(args, promises, position, directory, fs, number):
    """Problems of one crash state, as sentences."""
    problems = []
    loop = run("losetup", "-f", "--show", directory + "/crash.img")
    node = None
    try:
        run("mount", loop, fs)
        with open(directory + "/verify.log", "a") as errors:
            node = Node(args.prickle, fs + "/state", args.base_port, errors)
        boxes = {}
        for user in USERS:
            c = node.imap(user)
            for folder in ("INBOX", "Work"):
                boxes[user, folder] = contents(c, folder)
            c.logout()
        checked = 0
        for at, user, folder, token in promises.stored:
            gone = promises.gone.get(token)
            copies = boxes[user, folder].get(token, [])
            if at <= position and not (gone and gone[0] <= position):
                checked += 1
                if not copies:
                    problems.append(f"{token} of {user} in {folder}, acknowledged at {at}, is lost")
            if gone and gone[1] is not None and gone[1] <= position and copies:
                problems.append(f"{token} of {user} was expunged at {gone[1]} and is back")
            if len(copies) > 1:
                problems.append(f"{token} of {user} is there {len(copies)} times")
            if any(not whole for _, _, whole in copies):
                problems.append(f"{token} of {user} is damaged")
        for at, user, token in promises.flagged:
            for _, head, _ in boxes[user, "Work"].get(token, []):
                if at <= position and b"\\Flagged" not in head:
                    problems.append(f"{token} of {user} lost its flag, acknowledged at {at}")
        return checked, problems
    except Exception as e:
        return 0, problems + [f"state {number} cannot be read: {e!r}"]
    finally:
        if node is not None:
            node.kill()
        patiently("umount", fs)
        patiently("losetup", "-d", loop)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prickle")
    parser.add_argument("powercutfs")
    parser.add_argument("--states", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--base-port", type=int, default=21000)
    args = parser.parse_args()
    if os.geteuid() != 0:
        skip("power cuts need root (loop device, mount)")
    if not os.path.exists("/dev/fuse") or not shutil.which("losetup") or not shutil.which("fusermount3"):
        skip("power cuts need /dev/fuse, losetup and fusermount3")
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    directory = tempfile.mkdtemp(prefix="prickle-powercut.", dir=shm)
    try:
        log, promises, first, last = record(args, directory)
        print(f"# {len(promises.stored)} messages acknowledged, {len(promises.flagged)} flags, "
              f"{len(promises.gone)} expunges, {last - first} disk writes and flushes", flush=True)
        rng = random.Random(args.seed)
        disks = Disks(log, directory)
        positions = sorted(rng.randrange(first, last + 1) for _ in range(args.states))
        # Half of them right after an acknowledgement, where a missing flush would show.
        acks = sorted(at for at, _, _, _ in promises.stored if first <= at <= last)
        positions = sorted(positions[::2] + rng.sample(acks, min(len(acks), args.states - len(positions[::2]))))
        fs = directory + "/fs"
        total = bad = 0
        print(f"1..{len(positions)}", flush=True)
        for number, position in enumerate(positions, 1):
            unsynced = disks.cut(position, rng)
            checked, problems = verify(args, promises, position, directory, fs, number)
            total += checked
            bad += len(problems)
            print(f"{'not ' if problems else ''}ok {number} - power cut at {position}, {unsynced} writes not flushed: "
                  f"{checked} acknowledged messages are there", flush=True)
            for p in problems[:5]:
                print(f"# {p}", flush=True)
        print(f"# {total} checks of acknowledged messages, {bad} problems", flush=True)
        sys.exit(1 if bad else 0)
    finally:
        subprocess.run(["umount", directory + "/fs"], capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
