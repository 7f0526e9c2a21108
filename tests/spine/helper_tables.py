#!/usr/bin/env python3
"""
What the injector and its checker believe of the kernel's helpers, compared with the kernel's own description: the prototypes and texts of libbpf's
bpf_helper_defs.h, which are made of the kernel's sources. The two tables were written by one hand; this one neither wrote nor reads the other.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import tap  # noqa: E402

DEFINITIONS = "/usr/include/bpf/bpf_helper_defs.h"
EPERM = "-EPERM"
# Verdicts: what their caller returns to the driver, and what their text says of a failure; 0 is XDP_ABORTED.
VERDICTS = {"redirect": "XDP_ABORTED", "redirect_map": "two lower bits"}
# May be refused although they write to memory of the caller: it is set before the call, whatever comes of that.
WRITES = {"fib_lookup"}
FAILURE = re.compile(r"negative|\*\*-E[A-Z0-9]+\*\*|-E[A-Z0-9]+\b|< 0")


def source(name):
    with open(os.path.join(ROOT, "src/spine/inject", name), encoding="utf-8") as f:
        return f.read()


def injector():
    """helper: (answer, arguments) of inject_helper.c"""
    rows = re.findall(r"\[BPF_FUNC_(\w+)\] = \{ ([\w-]+), (\d+) \}", source("inject_helper.c"))
    return {name: ("0" if answer == "NULL_OR_ABORTED" else answer, int(count)) for name, answer, count in rows}


def checker():
    """helper: (answer, arguments) of checker.c"""
    rows = re.findall(r"\{ BPF_FUNC_(\w+), (\d+), (true|false) \}", source("checker.c"))
    return {name: ("0" if zero == "true" else EPERM, int(count)) for name, count, zero in rows}


def described():
    """helper: (type of its result, its parameters, its text)"""
    if not os.path.exists(DEFINITIONS):
        raise tap.Skip(f"no {DEFINITIONS} (libbpf-dev)")
    with open(DEFINITIONS, encoding="utf-8") as f:
        text = f.read()
    found = {}
    for comment, result, name, parameters in re.findall(
            r"/\*((?:(?!\*/).)*)\*/\s*static ([\w ]+\*?) ?\(\*(?:const )?bpf_(\w+)\)\(([^)]*)\) = ", text, re.S):
        words = [] if parameters.strip() == "void" else [p.strip() for p in parameters.split(",")]
        found[name] = (result.strip(), words, " ".join(line.strip(" *") for line in comment.splitlines()))
    assert len(found) > 150, f"{len(found)} helpers in {DEFINITIONS}: its form is another one now"
    return found


def both_tables_are_read_whole():
    for name, table in (("inject_helper.c", injector()), ("checker.c", checker())):
        assert len(table) == len(set(re.findall(r"BPF_FUNC_(\w+)", source(name)))) >= 30, f"{name}: {len(table)} rows were understood"


def both_tables_say_the_same():
    assert injector() == checker(), set(injector().items()) ^ set(checker().items())


def arguments_are_as_many_as_the_kernel_says():
    known = described()
    for name, (_, count) in injector().items():
        if name in known:       # a header that is older than the kernel has not all
            assert "..." not in known[name][1] and len(known[name][1]) == count, f"{name}: {count}, but {known[name][1]}"


def the_answer_of_a_refusal_is_one_that_callers_must_expect():
    known = described()
    for name, (answer, _) in injector().items():
        if name not in known:
            continue
        result, _, text = known[name]
        returns = text.partition("Returns")[2]
        if result.endswith("*"):
            assert answer == "0" and "NULL" in returns, f"{name} returns {result}: {answer}; {returns}"
        elif name in VERDICTS:
            assert answer == "0" and VERDICTS[name] in returns, f"{name}: {answer}; {returns}"
        else:
            assert answer == EPERM and FAILURE.search(returns), f"{name}: {answer}; {returns}"
            assert not result.startswith(("__u", "unsigned", "void", "bool")), f"{name} returns {result}"


def nothing_is_refused_that_fills_memory_or_takes_or_gives_back():
    known = described()
    for name in injector():
        if name not in known:
            continue
        _, parameters, text = known[name]
        fills = re.search(r"load_bytes|_release$|_submit|_discard|spin_lock|spin_unlock|probe_read|get_current_comm|strto|snprintf|peek|pop|copy_from", name)
        assert not fills, f"{name}: a refusal leaves the caller with what was never written, or with what was never given back"
        # A pointer to a structure that is no context, socket, map or timer and not const is written to.
        written = [p for p in parameters if "*" in p and "const" not in p and re.match(r"struct (?!bpf_sock|xdp_md|__sk_buff|bpf_timer|iphdr|ipv6hdr|tcphdr)", p)]
        assert not written or name in WRITES or all(p.startswith("struct bpf_sock_tuple") for p in written), f"{name} may write to {written}"


tap.run([both_tables_are_read_whole, both_tables_say_the_same, arguments_are_as_many_as_the_kernel_says,
         the_answer_of_a_refusal_is_one_that_callers_must_expect, nothing_is_refused_that_fills_memory_or_takes_or_gives_back])
