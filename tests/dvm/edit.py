#!/usr/bin/env python3
"""
Classes with calls scattered over them, and what HotSpot says of them: edit.py EDIT_PIPE [STEP].

Every STEPth class of some jars and of the image, through the editor and into a JVM that verifies everything (-Xverify:all).
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap

PIPE = os.path.abspath(sys.argv[1])
STEP = sys.argv[2] if len(sys.argv) > 2 else "8"
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "EditOracle.java")


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


tap.run([image_classes_are_accepted_as_before, jar_classes_are_accepted_as_before])
