#!/usr/bin/env python3
"""
Classes with calls scattered over them, and what HotSpot says of them: edit.py EDIT_PIPE [STEP].

Every STEPth class of some jars and of the image, through the editor and into a JVM that verifies everything (-Xverify:all).
"""
import glob
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap

PIPE = os.path.abspath(sys.argv[1])
STEP = sys.argv[2] if len(sys.argv) > 2 else "8"
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "EditOracle.java")


def judge(*sources):
    if shutil.which("javac") is None:
        raise tap.Skip("no javac")
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["javac", "-d", d, SOURCE], check=True)
        done = subprocess.run(["java", "-Xverify:all", "-XX:+UseSerialGC", "-cp", d, "EditOracle", PIPE, STEP, *sources], capture_output=True, text=True)
    print("# " + (done.stdout.strip().splitlines() or ["nothing said"])[-1])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def image_classes_are_accepted_as_before():
    judge("jrt:java.base", "jrt:jdk.compiler")


def jar_classes_are_accepted_as_before():
    jars = sorted(glob.glob("/usr/share/java/*.jar"), key=lambda jar: (-os.path.getsize(jar), jar))
    jars = [jar for jar in jars if not os.path.islink(jar)][:6]
    if not jars:
        raise tap.Skip("no jars in /usr/share/java")
    judge(*jars)


def probed(folder, out):
    """Every class of the folder, with probes, into out."""
    pipe = subprocess.Popen([PIPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for at, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(".class") or name == "module-info.class":
                continue
            with open(os.path.join(at, name), "rb") as f:
                data = f.read()
            pipe.stdin.write(struct.pack(">II", 1 + (zlib.crc32(name.encode()) & 0xFFFFFF), len(data)) + data)
            pipe.stdin.flush()
            err, size = struct.unpack(">II", pipe.stdout.read(8))
            answer = pipe.stdout.read(size)
            assert err == 0, f"{name}: {answer.decode()}"
            to = os.path.join(out, os.path.relpath(at, folder))
            os.makedirs(to, exist_ok=True)
            with open(os.path.join(to, name), "wb") as f:
                f.write(answer)
    pipe.stdin.close()
    assert pipe.wait() == 0


def tree(folder):
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(at, name), "rb") as f:
                found[os.path.relpath(os.path.join(at, name), folder)] = f.read()
    return found


def a_compiler_full_of_probes_makes_the_same_classes():
    javac = shutil.which("javac")
    if javac is None or shutil.which("jimage") is None:
        raise tap.Skip("no javac, no jimage")
    home = os.path.dirname(os.path.dirname(os.path.realpath(javac)))
    sources = [SOURCE, os.path.join(HERE, "Probe.java")]
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["jimage", "extract", "--include", "regex:/jdk.compiler/.*", "--dir", d + "/image", home + "/lib/modules"], check=True)
        probed(d + "/image/jdk.compiler", d + "/probed")
        os.makedirs(d + "/patch/prickle")
        shutil.copy(sources[1], d + "/patch/prickle")
        subprocess.run(["javac", "-nowarn", "--patch-module", f"java.base={d}/patch", "-d", d + "/base", d + "/patch/prickle/Probe.java"], check=True,
                       capture_output=True)
        subprocess.run(["javac", "-g", "-d", d + "/before", *sources], check=True)
        options = ["-J-Xverify:all", f"-J--patch-module=jdk.compiler={d}/probed", f"-J--patch-module=java.base={d}/base",
                   "-J--add-exports=java.base/prickle=jdk.compiler"]
        done = subprocess.run(["javac", *options, "-g", "-d", d + "/after", *sources], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        count = re.search(r"^probes ([0-9]+)$", done.stderr, re.M)
        assert count and int(count[1]) > 100000, done.stderr[-2000:]
        assert tree(d + "/before") == tree(d + "/after") != {}


tap.run([image_classes_are_accepted_as_before, jar_classes_are_accepted_as_before,
         a_compiler_full_of_probes_makes_the_same_classes])
