#!/usr/bin/env python3
"""Compile Java sources and put the classes into one file, for a program to carry.

usage: java_classes.py JAVAC OUTPUT SOURCE-DIRECTORY [--patch MODULE] [--release N] [JAVAC-OPTION...]

The file: for each class, sorted by name: 2 bytes length and name ("java/lang/Prickle"), 4 bytes length and class file; big-endian.
"""
import os
import struct
import subprocess
import sys
import tempfile


def main():
    javac, output, sources, *options = sys.argv[1:]
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(sources) for name in names if name.endswith(".java"))
    if "--patch" in options:
        at = options.index("--patch")
        options[at:at + 2] = ["--patch-module", f"{options[at + 1]}={sources}"]
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([javac, "-g:source,lines", "-proc:none", "-d", out, *options, *files], check=True)
        found = {}
        for folder, _, names in os.walk(out):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as f:
                    found[os.path.relpath(path, out).removesuffix(".class").encode()] = f.read()
    with open(output, "wb") as f:
        for name in sorted(found):
            f.write(struct.pack(">H", len(name)) + name + struct.pack(">I", len(found[name])) + found[name])


if __name__ == "__main__":
    main()
