#!/usr/bin/env python3
"""Classes judged a second of processor time by `prickle dvm verify`, all of it (start, parse, look up, judge): verify.py PRICKLE JDK ROUNDS."""
import json
import os
import resource
import subprocess
import sys

prickle, jdk, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])


def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


best = 0
for _ in range(rounds):
    start = spent()
    result = subprocess.run([prickle, "dvm", "verify", "--json", "--jobs", "1", "--jdk", jdk, os.path.join(jdk, "lib", "modules")], capture_output=True, check=True)
    best = max(best, json.loads(result.stdout)["accepted"] / (spent() - start))
print(f"ours {best:.0f}")
