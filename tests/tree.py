#!/usr/bin/env python3
"""The shape of the source tree: who includes whom, headers that stand alone, banned calls.

tree.py layers | headers | calls | options, from the root of the source tree.
"""
import os
import re
import subprocess
import sys

import tap

# What the files of a directory may include besides their own directory. A file's directory is the
# longest one in this table.
MAIL = ["mail/message", "mail/smtp", "mail/imap", "mail/pop3", "mail/mailbox", "mail/directory",
        "mail/auth", "mail/queue"]
DVM = ["dvm/classfile", "dvm/container", "dvm/verify", "dvm/rewrite", "dvm/image"]
LAYERS = {
    "base": [],
    "sys": ["base"],
    "conf": ["base", "sys"],
    "engine": ["base", "sys"],
    # Pure: bytes in, bytes and verdicts out.
    "mail/message": ["base"],
    "mail/smtp": ["base"],
    "mail/imap": ["base", "mail/message"],
    "mail/pop3": ["base"],
    "mail/formats": ["base", "mail/imap"],
    "mail/mailbox": ["base", "sys", "engine", "mail/message"],
    "mail/directory": ["base", "sys", "engine", "mail/message"],
    "mail/auth": ["base", "sys", "engine", "mail/message", "mail/directory", "policy", "policy/language", "policy/table"],
    "mail/queue": ["base", "sys", "engine", "mail/message", "mail/smtp", "mail/mailbox"],
    "mail/session": ["base", "sys", "conf", "engine", "policy", "policy/language", "policy/table"] + MAIL,
    # Instructions out; the inspector sees bytes alone.
    "spine/code": ["base"],
    "spine/inspect": ["base"],
    # The original and the rewritten object in, a proof out.
    "spine/inject": ["base", "spine/inspect"],
    # Policies: text in, tables and answers out; then the node's store of them and what services ask.
    "policy/language": ["base", "spine/inspect"],
    "policy/table": ["base", "policy/language"],
    "policy/analysis": ["base", "policy/language"],
    "policy": ["base", "sys", "conf", "policy/analysis", "policy/language", "policy/table"],
    "spine": ["base", "sys", "conf", "policy", "policy/analysis", "policy/language", "policy/table", "spine/code", "spine/inject", "spine/inspect"],
    # Between other people's programs and a device; knows neither.
    "spine/exec": ["base", "sys"],
    # libprickle-spine: linked into applications.
    "spine/message": ["base"],
    "spine/extensions": ["base"],
    # The translation for both compilers, then its homes.
    "nat64/core": ["base"],
    "nat64/native": ["base", "nat64/core"],
    "nat64/bpf": ["base", "nat64/core", "nat64/native"],  # native: its tests
    "nat64/slow": ["base", "nat64/core", "nat64/native"],
    "nat64": ["base", "sys", "conf", "spine", "nat64/bpf", "nat64/core", "nat64/native", "nat64/slow"],
    # Java classes: bytes in, bytes and verdicts out; then the JDK's image and the node's code service.
    "dvm/classfile": ["base"],
    "dvm/container": ["base"],
    "dvm/verify": ["base", "dvm/classfile"],
    "dvm/rewrite": ["base", "dvm/classfile", "dvm/verify"],
    "dvm/image": ["base", "sys", "dvm/classfile", "dvm/container", "policy", "policy/language", "policy/table"],
    "dvm": ["base", "sys", "conf", "engine", "policy", "policy/language", "policy/table"] + DVM,
    "roles": ["base", "sys", "conf", "engine", "mail/session", "nat64", "policy", "policy/analysis", "policy/language", "policy/table"] + MAIL,
    "cli": ["base", "sys", "conf", "engine", "mail/formats", "mail/session", "roles",
            "nat64", "nat64/core", "nat64/native", "nat64/slow", "policy", "policy/analysis", "policy/language", "policy/table",
            "spine", "spine/code", "spine/exec", "spine/extensions", "spine/inspect", "spine/message", "dvm"] + DVM + MAIL,
}
PURE = ["policy/language", "policy/table", "policy/analysis", "mail/message", "mail/smtp", "mail/imap", "mail/pop3", "mail/formats",
        "dvm/classfile", "dvm/container", "dvm/verify", "dvm/rewrite"]
# No sockets, no clock, no files, no threads. (arpa/inet.h stays: inet_pton is a pure function.)
PURE_BANNED = re.compile(r"^(sys/|netinet/|net/|unistd\.h|fcntl\.h|time\.h|pthread\.h|poll\.h"
                         r"|signal\.h|dirent\.h|spawn\.h|netdb\.h|linux/|openssl/|sodium)")

# Calls with a reason each; a wrapper of ours may be excused by path.
BANNED = {
    "strcpy": "no bound: slice_to_str, buf_adds", "strcat": "no bound: buf_adds",
    "stpcpy": "no bound: buf_adds", "strncpy": "may leave out the NUL: slice_to_str",
    "strncat": "its bound is not the array's: buf_add", "sprintf": "no bound: buf_printf, snprintf",
    "vsprintf": "no bound: buf_vprintf", "gets": "no bound", "scanf": "no bound",
    "sscanf": "overflow is undefined: slice_u64, struct reader", "fscanf": "overflow is undefined",
    "system": "no shell", "popen": "no shell", "execlp": "searches PATH", "execvp": "searches PATH",
    "execvpe": "searches PATH",
    "strtok": "hidden state: slice_cut", "strtok_r": "writes into its input: slice_cut",
    "atoi": "no errors: slice_u32", "atol": "no errors: slice_u64", "atoll": "no errors: slice_u64",
    "atof": "no errors", "alloca": "no bound: struct arena", "strdupa": "no bound",
    "rand": "world_random", "srand": "world_random", "random": "world_random",
    "srandom": "world_random", "drand48": "world_random",
    "mktemp": "races: mkostemp", "tmpnam": "races: mkostemp", "tempnam": "races",
    "signal": "sigaction", "gethostbyname": "blocks, one thread", "gethostbyaddr": "blocks",
    "localtime": "hidden state: base/date.h", "gmtime": "hidden state: base/date.h",
    "ctime": "hidden state: base/date.h", "asctime": "hidden state: base/date.h",
    "strerror": "hidden state: strerrordesc_np, errmsg_set", "setjmp": "fibers", "longjmp": "fibers",
    "vfork": "posix_spawn", "usleep": "the loop's timers", "sleep": "the loop's timers",
    "assert": "must() stays in release builds",
}


def sources(*endings, tests=True):
    for folder, _, names in os.walk("src"):
        for name in sorted(names):
            if not name.endswith(endings):
                continue
            if not tests and re.search(r"_(test|fuzz)\.c$|test\.h$", name):
                continue
            yield os.path.join(folder, name)


def layer_of(path):
    """"src/mail/imap/x.c" or "mail/imap/x.h" -> "mail/imap"."""
    path = path.removeprefix("src/")
    fitting = [layer for layer in LAYERS if path.startswith(layer + "/")]
    return max(fitting, key=len, default=None)


def includes(path):
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
            if found:
                yield number, found[1] == '"', found[2]


def no_code(text):
    """Without comments and string literals; line numbers stay."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


def every_directory_has_a_layer():
    """every source file belongs to a layer"""
    lost = [p for p in sources(".c", ".h", ".S", ".def") if layer_of(p) is None]
    assert not lost, f"not in the table of layers: {lost}"


def includes_go_down():
    """files include lower layers only"""
    bad = []
    for path in sources(".c", ".h"):
        layer = layer_of(path)
        for number, own, name in includes(path):
            if not own:
                continue
            target = layer_of(name)
            if target is None:
                if not name.endswith(".inc"):
                    bad.append(f"{path}:{number}: '{name}' names no layer: write the path from src/")
            elif target != layer and target not in LAYERS.get(layer, []):
                bad.append(f"{path}:{number}: {layer} may not include {target}")
    assert not bad, "\n".join(bad)


def no_cycles():
    """layers have no cycles"""
    done, path = set(), []

    def visit(layer):
        assert layer not in path, f"cycle: {' -> '.join(path + [layer])}"
        if layer in done:
            return
        path.append(layer)
        for below in LAYERS[layer]:
            visit(below)
        path.pop()
        done.add(layer)

    for layer in LAYERS:
        visit(layer)


def pure_libraries():
    """pure libraries use no sockets, clocks, files or threads"""
    bad = []
    for path in sources(".c", ".h", tests=False):
        if layer_of(path) not in PURE:
            continue
        for number, own, name in includes(path):
            if not own and PURE_BANNED.match(name):
                bad.append(f"{path}:{number}: <{name}> in a pure library")
    assert not bad, "\n".join(bad)


def headers_stand_alone():
    """every header compiles alone"""
    # base/limits.h is the one header that needs a macro from its user.
    headers = [p for p in sources(".h") if p != "src/base/limits.h"]
    bad = []
    # One run of the compiler for many headers: it makes a unit of each.
    for at in range(0, len(headers), 50):
        run = subprocess.run(
            ["gcc", "-fsyntax-only", "-std=gnu17", "-D_GNU_SOURCE", "-Isrc", "-Iinclude", "-Wall", "-Wextra",
             "-Wno-unused-parameter", "-Wno-unused-function", "-x", "c"] + headers[at:at + 50],
            capture_output=True, text=True, check=False)
        bad += [line + "\n" for line in run.stderr.splitlines()
                if ("error:" in line or "warning:" in line) and "#pragma once in main file" not in line]
    assert not bad, "".join(bad)
    assert len(headers) > 20, "too few headers were found"


def headers_say_why():
    """every header starts with a comment and is included once"""
    bad = []
    for path in sources(".h"):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        if not text.startswith("/*"):
            bad.append(f"{path}: starts without the comment that says why it exists")
        if path != "src/base/limits.h" and "#pragma once" not in text:
            bad.append(f"{path}: has no #pragma once")
    assert not bad, "\n".join(bad)


def banned_calls():
    """no banned call is made"""
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    bad = []
    for path in sources(".c", ".h", tests=False):
        with open(path, encoding="utf-8") as f:
            text = no_code(f.read())
        for number, line in enumerate(text.splitlines(), 1):
            for found in call.finditer(line):
                if found[1] == "signal" and re.search(r"\bSIG_(IGN|DFL)\)", line):
                    continue  # no handler, so none of the doubts about handlers
                bad.append(f"{path}:{number}: {found[1]}(): {BANNED[found[1]]}")
    assert not bad, "\n".join(bad)


def the_check_finds_a_banned_call():
    """the search for banned calls sees calls and passes over texts"""
    call = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
    assert call.search(no_code("x = atoi(y);"))
    assert not call.search(no_code("/* atoi(y) */ s = \"atoi(y)\"; w->signal(1); my_atoi(2);"))


def descriptors_close_on_exec():
    """descriptors are made with O_CLOEXEC"""
    bad = []
    made = re.compile(r"\b(open|openat|socket|socketpair|accept4|pipe2|eventfd|signalfd|memfd_create"
                      r"|epoll_create1|timerfd_create|mkostemp|inotify_init1)\s*\(")
    old = re.compile(r"(?<![\w.>])(accept|pipe|dup|epoll_create|inotify_init|creat|fopen)\s*\(")
    for path in sources(".c", tests=False):
        with open(path, encoding="utf-8") as f:
            raw = f.read()
        text = no_code(raw)
        for found in made.finditer(text):
            before = text[max(0, found.start() - 2):found.start()]
            if before.endswith((".", "->")) or re.search(r"\b(int|static)\s+$", text[max(0, found.start() - 8):found.start()]):
                continue
            end = text.find(";", found.start())
            if not re.search(r"CLOEXEC|\bflags\b|\bhow\b", text[found.start():end]):
                line = text.count("\n", 0, found.start()) + 1
                bad.append(f"{path}:{line}: {found[1]}() without CLOEXEC")
        for found in old.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            source = raw.splitlines()[line - 1]
            if found[1] == "fopen" and re.search(r'"[rwa]\+?b?x?e"', source):
                continue
            if "inherited on purpose" in source:
                continue
            bad.append(f"{path}:{line}: {found[1]}() cannot set CLOEXEC")
    assert not bad, "\n".join(bad)


def options_are_used():
    """every option is read by some code outside src/conf"""
    with open("src/conf/options.def", encoding="utf-8") as f:
        fields = re.findall(r"^OPTION\((\w+),", f.read(), re.M)
    text = ""
    for path in sources(".c", tests=False):
        if not path.startswith("src/conf/"):
            with open(path, encoding="utf-8") as f:
                text += f.read()
    unused = [field for field in fields if not re.search(r"(->|\.)" + field + r"\b", text)]
    assert len(fields) > 20 and not unused, f"options that do nothing: {unused}"


def limits_name_their_option():
    """the setting that a limit names is an option"""
    keys = set()
    for table in ["src/conf/options.def", "src/nat64/settings.def"]:
        with open(table, encoding="utf-8") as f:
            keys |= set(re.findall(r'^OPTION\(\w+, \w+, "([^"]+)"', f.read(), re.M))
    bad = []
    for path in sources("limits.def"):
        with open(path, encoding="utf-8") as f:
            for name, setting in re.findall(r'^LIMIT\((\w+), [^"]*"[^"]*", "([^"]*)"', f.read(), re.M):
                if setting != "-" and setting not in keys:
                    bad.append(f"{path}: {name} names '{setting}'")
    assert not bad, "\n".join(bad)


CHECKS = {
    "options": [options_are_used, limits_name_their_option],
    "layers": [every_directory_has_a_layer, includes_go_down, no_cycles, pure_libraries],
    "headers": [headers_stand_alone, headers_say_why],
    "calls": [banned_calls, the_check_finds_a_banned_call, descriptors_close_on_exec],
}

if __name__ == "__main__":
    tap.run(CHECKS[sys.argv[1]])
