#!/usr/bin/env python3
"""Jars of everybody's making are read and written; what is wrong in hostile ones is refused with the reason.

jars.py CONTAINER_TOOL
"""
import glob
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

TOOL = sys.argv[1]
WORK = tempfile.mkdtemp(prefix="prickle-jars-")
LONG = b"the same words again and again, " * 200


def path(name):
    return os.path.join(WORK, name)


def tool(*arguments, ok=True):
    done = subprocess.run([TOOL, *arguments], capture_output=True, timeout=120, check=False)
    assert done.returncode in (0, 1), f"{arguments}: {done.returncode} {done.stderr}"
    assert not ok or done.returncode == 0, f"{arguments}: {done.stderr.decode()}"
    return done.stdout if ok else (done.returncode, done.stderr.decode())


def save(name, content):
    with open(path(name), "wb") as f:
        f.write(content)
    return path(name)


def load(name):
    with open(name, "rb") as f:
        return f.read()


def listed(jar):
    """[(name, bytes, sha256)] as python reads it."""
    with zipfile.ZipFile(jar) as z:
        return [(i.filename, i.file_size, hashlib.sha256(z.read(i)).hexdigest()) for i in z.infolist()]


def ours(jar):
    out = []
    for line in tool("jar-list", jar).decode().splitlines():
        sha, size, name = line.split(" ", 2)
        out.append((name, int(size), sha))
    return out


def good_in_other_eyes(jar):
    with zipfile.ZipFile(jar) as z:
        assert z.testzip() is None
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-tqq", jar], check=True, capture_output=True)
    if shutil.which("jar"):
        names = subprocess.run(["jar", "tf", jar], check=True, capture_output=True, text=True).stdout.splitlines()
        assert names == [name for name, _, _ in listed(jar)], jar


def refused(content, *words):
    code, text = tool("jar-list", save("bad.jar", content), ok=False)
    assert code == 1, f"was taken; expected: {words}"
    for word in words:
        assert word in text, f"'{word}' is not in '{text}'"


def made(**options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, **options) as z:
        z.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\n\r\n")
        z.writestr("a/long.txt", LONG)
        z.writestr(zipfile.ZipInfo("a/stored.txt"), b"stored")
        z.comment = b"a comment"
    return out.getvalue()


def jars_of_the_system():
    """every jar of /usr/share/java: entries as python reads them, copied byte for byte, packed anew with the same content"""
    jars = [j for j in sorted(glob.glob("/usr/share/java/*.jar")) if not os.path.islink(j)]
    if not jars:
        raise tap.Skip("no jars in /usr/share/java")
    for number, jar in enumerate(jars):
        want = listed(jar)
        assert ours(jar) == want, jar
        tool("jar-copy", jar, path("copy.jar"))
        assert load(jar) == load(path("copy.jar")), f"{jar}: the copy differs"
        if number % 10 == 0:
            tool("jar-pack", jar, path("packed.jar"), "6")
            assert listed(path("packed.jar")) == want, jar
            good_in_other_eyes(path("packed.jar"))


def other_peoples_forms():
    """zip64 by force, streams with descriptors, prefixes, comments, stored entries, names beyond ASCII, Info-ZIP and jar"""
    forms = {"plain": made()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        with z.open("big", "w", force_zip64=True) as f:
            f.write(LONG)
        z.writestr("dir/", b"")
        z.writestr("gr\u00fc\u00df.txt", b"x")
    forms["zip64"] = out.getvalue()

    class Stream(io.RawIOBase):
        def __init__(self):
            self.bytes = b""

        def writable(self):
            return True

        def write(self, b):
            self.bytes += bytes(b)
            return len(b)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("one", LONG)
        with z.open("two", "w", force_zip64=True) as f:
            f.write(LONG)
    forms["stream"] = stream.bytes
    forms["prefix, offsets from the file's start"] = None
    with open(path("adjusted"), "wb") as f:
        f.write(b"#!/bin/sh\nexec java -jar $0\n")
    with zipfile.ZipFile(path("adjusted"), "a") as z:
        z.writestr("x", b"x")
    forms["prefix, offsets from the file's start"] = load(path("adjusted"))
    forms["prefix, offsets from the first entry"] = b"#!/bin/sh\nexec java -jar $0\n" + made()
    forms["empty"] = b"PK\5\6" + bytes(18)
    if shutil.which("zip"):
        os.makedirs(path("tree/sub"), exist_ok=True)
        save("tree/a", LONG)
        save("tree/sub/b", b"b")
        subprocess.run(["zip", "-qr", path("info.zip"), "."], cwd=path("tree"), check=True)
        subprocess.run("cat a | zip -q - - > ../piped.zip", shell=True, cwd=path("tree"), check=True)
        forms["Info-ZIP"], forms["Info-ZIP, from a pipe to a pipe"] = load(path("info.zip")), load(path("piped.zip"))
        if shutil.which("jar"):
            subprocess.run(["jar", "cf", path("tool.jar"), "-C", path("tree"), "."], check=True)
            forms["jar"] = load(path("tool.jar"))
    for name, content in forms.items():
        jar = save("form.jar", content)
        assert ours(jar) == listed(jar), name
        tool("jar-copy", jar, path("copy.jar"))
        # (zip to a pipe writes zip64 records of the end where none are needed; we do not.)
        assert load(path("copy.jar")) == content or "pipe" in name and ours(path("copy.jar")) == ours(jar), f"{name}: the copy differs"
        tool("jar-pack", jar, path("packed.jar"), "0")
        assert listed(path("packed.jar")) == listed(jar), name
        tool("jar-pack", jar, path("again.jar"), "9")
        assert listed(path("again.jar")) == listed(jar), name
        if name != "empty" and "prefix" not in name:
            good_in_other_eyes(path("again.jar"))


def many_entries():
    """70,000 entries need zip64, and others read them"""
    tool("jar-make", path("many.jar"), "70000")
    with zipfile.ZipFile(path("many.jar")) as z:
        assert len(z.namelist()) == 70000 and z.read("d/69999") == b"d/69999" and z.comment == b"made"
    assert ours(path("many.jar"))[-1][0] == "d/69999"
    if shutil.which("jar"):
        assert len(subprocess.run(["jar", "tf", path("many.jar")], check=True, capture_output=True).stdout.splitlines()) == 70000
    first = load(path("many.jar"))
    tool("jar-make", path("many.jar"), "70000")
    assert load(path("many.jar")) == first, "not deterministic"


def entry(name, content=b"x", local=None, flags=0, method=0, **central):
    """Local header and data, and a maker of the record in the directory; `local` and `central` say otherwise than the truth."""
    name = name if isinstance(name, bytes) else name.encode()
    truth = {"name": name, "crc": zipfile.crc32(content), "packed": len(content), "size": len(content), "flags": flags, "method": method, "extra": b"",
             "disk": 0, "offset": None}
    said = {**truth, **(local or {})}
    here = struct.pack("<IHHHHHIIIHH", 0x04034b50, 20, said["flags"], said["method"], 0, 0x21, said["crc"], said["packed"], said["size"],
                       len(said["name"]), len(said["extra"])) + said["name"] + said["extra"] + content
    c = {**truth, **central}

    def record(offset):
        return struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 20, 20, c["flags"], c["method"], 0, 0x21, c["crc"], c["packed"], c["size"], len(c["name"]),
                           len(c["extra"]), 0, c["disk"], 0, 0, offset if c["offset"] is None else c["offset"]) + c["name"] + c["extra"]
    return here, record


def jar(*entries, end=None, comment=b"", between=b""):
    body, directory = b"", b""
    for here, record in entries:
        directory += record(len(body))
        body += here + between
    numbers = {"disk": 0, "disk2": 0, "here": len(entries), "count": len(entries), "bytes": len(directory), "offset": len(body), "comment": len(comment),
               **(end or {})}
    return body + directory + struct.pack("<IHHHHIIH", 0x06054b50, *numbers.values()) + comment


def hostile_ones():
    """names that leave, lies, overlaps, hidden entries, two ends, disks, encryption, bombs: each refused with its reason"""
    assert tool("jar-list", save("good.jar", jar(entry("a"), entry("b")))), "the sound one is refused"
    for name in ["../x", "a/../../x", "/etc/passwd", "C:/x", "a\\b", "a//b", "./a", "a/.", b"a\0b", b"\xff\xfe", "", "x" * 5000]:
        refused(jar(entry(name)), "name")
    refused(jar(entry("a"), entry("a")), "two entries 'a'")
    refused(jar(entry("a", local={"name": b"b"})), "another name")
    refused(jar(entry("a", local={"size": 2})), "otherwise")
    refused(jar(entry("a", local={"crc": 2})), "otherwise")
    refused(jar(entry("a", local={"method": 8})), "otherwise")
    refused(jar(entry("a", local={"flags": 1})), "otherwise")
    refused(jar(entry("a", flags=8, local={"crc": 0, "size": 0, "packed": 0})), "behind its data")
    refused(jar(entry("a", crc=1, local={"crc": 1})), "check sum")
    refused(jar(entry("a", size=2, local={"size": 2})), "cannot have 2 bytes")
    refused(jar(entry("a", b"\3\0", method=8, size=5, crc=0, local={"size": 5, "crc": 0})), "its size is another")
    refused(jar(entry("a", b"\3\0zz", method=8, size=0, crc=0, local={"size": 0, "crc": 0})), "more data")
    refused(jar(entry("a", b"\7", method=8, size=9, local={"size": 9})), "cannot be unpacked")
    refused(jar(entry("a", flags=1)), "encrypted")
    refused(jar(entry("a", flags=0x40)), "encrypted")
    refused(jar(entry("a", method=12)), "method 12")
    refused(jar(entry("a", disk=1)), "another disk")
    refused(jar(entry("a/", b"x")), "directory")
    refused(jar(entry("a", offset=1)), "local header")
    refused(jar(entry("a", offset=0xfffffff0)), "does not lie before")
    refused(jar(entry("a", extra=b"\1\0\xff\0")), "extra field")
    refused(jar(entry("a", size=0xffffffff, extra=b"\1\0\2\0xx")), "extra field")
    refused(jar(entry("a", size=0xffffffff)), "above")
    refused(jar(entry("a"), entry("b", offset=0)), "another name")
    inner = entry("b")
    refused(jar(entry("a", inner[0]), (b"", lambda at: inner[1](31))), "overlap")
    refused(jar(entry("a"), between=entry("hidden")[0]), "does not list")
    hidden = jar(entry("a"))
    refused(entry("hidden")[0] + hidden, "does not list")
    refused(hidden + b"tail", "end of the file")
    refused(jar(entry("a"), comment=b"PK\5\6" + bytes(18)), "does not list")
    refused(jar(entry("a"), comment=b"PK\5\6" + b"x" * 20), "end of the file")
    refused(jar(entry("a"), end={"count": 2}), "disk")
    refused(jar(entry("a"), end={"count": 2, "here": 2}), "too short")
    refused(jar(entry("a"), entry("b"), end={"count": 1, "here": 1}), "more than")
    refused(jar(entry("a"), end={"disk": 1}), "disk")
    refused(jar(entry("a"), end={"offset": 0xffffffff}), "does not lie before")
    refused(jar(entry("a"), end={"bytes": 10}), "short")
    refused(b"", "no zip file")
    refused(b"x" * 100, "no zip file")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("zeros", bytes(100 << 20))
    refused(bomb.getvalue(), "bomb")


def cut_and_mutated():
    """every prefix of a jar, and every byte of it changed: a verdict, and never other content than the sums allow"""
    good = made()
    want = {(n, s, h) for n, s, h in listed(save("good.jar", good))}
    taken = 0
    for at in range(0, len(good), 3):
        code, _ = tool("jar-list", save("bad.jar", good[:at]), ok=False)
        assert code == 1, at
        changed = good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1:]
        save("bad.jar", changed)
        code, _ = tool("jar-list", path("bad.jar"), ok=False)
        if code == 0:
            taken += 1
            assert {s for _, _, s in ours(path("bad.jar"))} == {s for _, _, s in want}, at
    assert taken > 0, "times and versions may change"


try:
    tap.run([jars_of_the_system, other_peoples_forms, many_entries, hostile_ones, cut_and_mutated])
finally:
    shutil.rmtree(WORK, ignore_errors=True)
