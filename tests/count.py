#!/usr/bin/env python3
"""Count test cases in meson's JUnit reports (--all: and name each); the last line is "N passed, N failed"."""
import os
import sys
import xml.etree.ElementTree as tree


def main():
    passed = failed = skipped = 0
    tell = sys.argv[1:2] == ["--all"]
    for path in sys.argv[2 if tell else 1:]:
        if not os.path.exists(path):
            print(f"failed: {path} is missing: it was not built or its tests did not run")
            failed += 1
            continue
        for case in tree.parse(path).getroot().iter("testcase"):
            name = f"{case.get('classname', '')} {case.get('name', '')}".strip()
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
                print(f"failed: {name}")
            elif case.find("skipped") is not None:
                skipped += 1
                print(f"skipped: {name}")
            else:
                passed += 1
                if tell:
                    print(f"passed: {case.get('name', '').split(' - ', 1)[-1]}")
    if skipped:
        print(f"{skipped} skipped")
    if passed == 0:
        failed = max(failed, 1)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
