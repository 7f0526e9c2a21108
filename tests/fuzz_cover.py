#!/usr/bin/env python3
"""
What a fuzz target's corpus reaches of its parser: fuzz_cover.py REPLAY NAME CORPUS LIMIT_SEEDS COVERS...

REPLAY is the target built for replay with clang's coverage (-fprofile-instr-generate -fcoverage-mapping). COVERS
are the parser's sources below src/, from `covers` in fuzz_targets: "mail/imap/lex.c", or only some functions
of a file that does other things as well: "sys/ipc.c:take,on_readable", or all but some: "conf/parse.c:!print". Fewer than 90 % of their lines fail the
test; with --lines in front, the lines that no input reaches are printed.
"""
import json
import os
import subprocess
import sys
import tempfile

LEAST = 90.0


def llvm(tool):
    return f"llvm-{tool}-19"


def run_replay(replay, name, corpus, limit_seeds, profile):
    """The replay's verdict, without its TAP lines; the profile is in `profile`."""
    raw = profile + ".raw"
    done = subprocess.run([replay, name, corpus, limit_seeds], env=dict(os.environ, LLVM_PROFILE_FILE=raw),
                          stdout=subprocess.DEVNULL)
    assert done.returncode == 0, f"the replay of {name} ended with {done.returncode}"
    subprocess.run([llvm("profdata"), "merge", "-sparse", "-o", profile, raw], check=True)


def lines_of(replay, profile, sources):
    """{file: {line: times}} of the sources."""
    found, current = {}, None
    text = subprocess.run([llvm("cov"), "export", "-format=lcov", f"-instr-profile={profile}", replay, *sources],
                          check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        if line.startswith("SF:"):
            current = found.setdefault(os.path.realpath(line[3:]), {})
        elif line.startswith("DA:"):
            number, times = line[3:].split(",")[:2]
            current[int(number)] = int(times)
    return found


def functions_of(replay, profile, sources):
    """{file: {function: (first line, last line)}}: the first region of a function is its body."""
    found = {}
    text = subprocess.run([llvm("cov"), "export", f"-instr-profile={profile}", replay, *sources],
                          check=True, capture_output=True, text=True).stdout
    for function in json.loads(text)["data"][0]["functions"]:
        name = function["name"].rsplit(":", 1)[-1]
        first, _, last = function["regions"][0][:3]
        for path in function["filenames"][:1]:
            found.setdefault(os.path.realpath(path), {})[name] = (first, last)
    return found


def chosen_lines(path, wanted, lines, functions):
    """The lines of a file, or those of the functions in `wanted`, or after "!" all but those."""
    assert path in lines, f"{path} is not in the target"
    named = set()
    for name in wanted.lstrip("!").split(",") if wanted else []:
        assert name in functions.get(path, {}), f"{path} has no function '{name}' in the target"
        first, last = functions[path][name]
        named.update(range(first, last + 1))
    only = wanted != "" and not wanted.startswith("!")
    return {n: times for n, times in lines[path].items() if (n in named) == only}


def ranges(numbers):
    """1-3,7 of 1 2 3 7."""
    out = []
    for n in sorted(numbers):
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def main():
    arguments = sys.argv[1:]
    tell = arguments[:1] == ["--lines"]
    replay, name, corpus, limit_seeds, *covers = arguments[1:] if tell else arguments
    replay, limit_seeds = os.path.realpath(replay), os.path.realpath(limit_seeds)
    root = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "src")
    wanted = {}
    for cover in covers:
        path, _, some = cover.partition(":")
        wanted[os.path.realpath(os.path.join(root, path))] = some
    print("1..1")
    if not wanted:
        print(f"not ok 1 - {name} names no parser: 'covers' in fuzz_targets")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        profile = os.path.join(directory, "profile")
        run_replay(replay, name, corpus, limit_seeds, profile)
        lines = lines_of(replay, profile, list(wanted))
        functions = functions_of(replay, profile, list(wanted))
    hit = total = 0
    for path, some in wanted.items():
        chosen = chosen_lines(path, some, lines, functions)
        reached = sum(1 for times in chosen.values() if times > 0)
        hit, total = hit + reached, total + len(chosen)
        missed = ranges(n for n, times in chosen.items() if times == 0)
        if tell:
            print(f"# {os.path.relpath(path, root)}: {reached} of {len(chosen)} lines; not {missed}")
    percent = 100.0 * hit / total
    ok = percent >= LEAST
    print(f"{'ok' if ok else 'not ok'} 1 - {name} reaches {percent:.1f} % of the {total} lines of its parser")
    return 0 if ok else 1


sys.exit(main())
