#!/usr/bin/env python3
"""
Count test cases in meson's JUnit reports (--all: and name each); the last line is "N passed, N failed".

The last words of the scripts and programs that failed come just before, since they are what a log is read for, and of a long log
often only the end is kept. A program that crashed or took too long after cases that passed is a failure that JUnit reports
of meson leave out; meson's own report (.json beside it) has it.
"""
import json
import os
import sys
import xml.etree.ElementTree as tree

FINE = ("OK", "SKIP", "EXPECTEDFAIL")
TOLD_LINES, TOLD_LINES_MIN = 90, 6      # of all that failed; of each
LINE_CHARS = 400


def runs(path):
    """What meson says of each program that it ran; nothing when the report is missing."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as f:
        return [json.loads(line) for line in f if line.strip()]


def how(run):
    code = run.get("returncode", 0)
    if run["result"] == "TIMEOUT":
        return f"took too long, after {run['duration']:.0f} s"
    return f"killed by signal {-code}" if code < 0 else f"{run['result'].lower()}, exit status {code}"


def told(run, lines):
    """The last lines that a program wrote: of what it found (stderr) the most, and where it was (stdout)."""
    out = [line[:LINE_CHARS] for line in run.get("stdout", "").splitlines() if line.strip()]
    err = [line[:LINE_CHARS] for line in run.get("stderr", "").splitlines() if line.strip()]
    wrong = [line for line in out if line.startswith("not ok")]
    where = (wrong or out[-2:])[-max(2, lines // 4):]
    return where + (err[-max(1, lines - len(where)):] if err else out[-lines:])


def main():
    passed = skipped = 0
    failed, troubled = [], []
    tell = sys.argv[1:2] == ["--all"]
    for path in sys.argv[2 if tell else 1:]:
        if not os.path.exists(path):
            failed.append(f"{path} is missing: it was not built or its tests did not run")
            continue
        counted = []
        for case in tree.parse(path).getroot().iter("testcase"):
            name = f"{case.get('classname', '')} {case.get('name', '')}".strip()
            if case.find("failure") is not None or case.find("error") is not None:
                counted.append(name)
            elif case.find("skipped") is not None:
                skipped += 1
                print(f"skipped: {name}")
            else:
                passed += 1
                if tell:
                    print(f"passed: {case.get('name', '').split(' - ', 1)[-1]}")
        failed += counted
        for run in runs(path.removesuffix(".junit.xml") + ".json"):
            if run["result"] in FINE:
                continue
            troubled.append(run)
            if not any(run["name"] in name for name in counted):
                failed.append(f"{run['name']}: {how(run)}")
    if passed == 0 and not failed:
        failed.append("no test passed")
    for run in troubled:
        print(f"--- {run['name']}: {how(run)}")
        for line in told(run, max(TOLD_LINES_MIN, TOLD_LINES // len(troubled))):
            print(line)
    for name in failed:
        print(f"failed: {name}")
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
