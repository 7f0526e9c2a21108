#!/usr/bin/env python3
"""
The policy language by its commands, and docs/policy.md against the program: language.py PRICKLE.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import tap  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
DIRECTORY = tempfile.TemporaryDirectory(prefix="prickle-language-")
with open(os.path.join(ROOT, "docs/policy.md"), encoding="utf-8") as document:
    DOCUMENT = document.read()
with open(os.path.join(ROOT, "src/policy/language/catalogue.def"), encoding="utf-8") as catalogue:
    CATALOGUE = catalogue.read()


def prickle(*args, code=0):
    run = subprocess.run([PRICKLE, "policy", *args], cwd=DIRECTORY.name, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                         timeout=60, check=False)
    assert run.returncode == code, f"{args} ended with {run.returncode}, not {code}\n{run.stdout}{run.stderr}"
    return run


def write(name, text):
    with open(os.path.join(DIRECTORY.name, name), "w", encoding="utf-8") as f:
        f.write(text)
    return name


def policies():
    """Blocks of the document behind <!-- policy: NAME -->."""
    return dict(re.findall(r"<!-- policy: (\S+) -->\n```\n(.*?)```", DOCUMENT, re.S))


def document_has_all_classes():
    """the document tells every class and permission in the catalogue's words, and no other"""
    rows = re.findall(r'^(CLASS|PERMISSION)\((.*)\)$', CATALOGUE, re.M)
    wanted, found = [], []
    for kind, row in rows:
        words = re.findall(r'"((?:[^"\\]|\\.)*)"', row)
        about = re.sub(r"\\(.)", r"\1", words[1])
        wanted.append(("class", words[0], about.lower()) if kind == "CLASS" else ("permission", words[0], about))
    part = DOCUMENT.split("\n## Classes and permissions\n")[1].split("\n## ")[0]
    for line in part.splitlines():
        if line.startswith("### "):
            found.append(["class", line.strip("# `"), ""])
        elif found and found[-1][0] == "class" and line and not line.startswith("|"):
            found[-1][2] = re.sub(r"\. (One object, named|Objects are made by).*", "", line).lower()
        elif line.startswith("| `"):
            name, about = re.match(r"\| `(\S+)` \| (.*) \|$", line).groups()
            found.append(["permission", name, about])
    assert [tuple(row) for row in found] == wanted, [row for row in wanted if list(row) not in found]


def document_has_all_statements():
    """the document has a row for every statement of the parser"""
    with open(os.path.join(ROOT, "src/policy/language/parse.c"), encoding="utf-8") as f:
        keywords = re.findall(r'"([a-z]+)"', re.search(r"keywords\[\] = \{(.*?)\}", f.read(), re.S)[1])
    assert len(keywords) >= 13, keywords
    part = DOCUMENT.split("\n## Statements\n")[1].split("\n## ")[0]
    for word in keywords:
        assert re.search(rf"^\| `{word}\b", part, re.M), word


def document_has_existing_commands():
    """the document names commands that there are"""
    commands = {words for words in re.findall(r"`?prickle policy ((?:key )?[a-z-]+)", DOCUMENT)} - {"run"}
    assert {"check", "test", "show", "apply"} <= commands, commands
    for words in commands:
        prickle(*words.split(), "--help")


def document_examples_are_policies():
    """the document's policies are fine, and their expectations hold"""
    found = policies()
    assert set(found) == {"site", "router", "web", "floor"}, set(found)
    for name, text in found.items():
        prickle("check", write(f"{name}.policy", text))
        lines = prickle("test", f"{name}.policy").stdout.splitlines()
        assert lines[-1] == f"1..{len(lines) - 1}" and all(line.startswith("ok ") for line in lines[:-1]), lines


def mistakes_come_at_once():
    """all mistakes come at once with place, line, carets and what was meant"""
    text = policies()["site"].replace("list, show account", "list, shwo account").replace("role helper", "rôle helper")
    run = prickle("check", write("wrong.policy", text), code=1)
    assert "wrong.policy:5:3: error: expected a statement" in run.stderr or "wrong.policy:5:" in run.stderr, run.stderr
    run = prickle("check", write("wrong.policy", policies()["site"].replace("list, show account", "list, shwo account")
                                 .replace("drop queue", "drop queu")), code=1)
    assert ("wrong.policy:7:22: error: objects of class 'account' have no permission 'shwo'; did you mean 'show'?\n"
            "     7 |   allow helper list, shwo account\n"
            "       |                      ^^^^\n") in run.stderr, run.stderr
    assert "no label or class 'queu'; did you mean 'queue'?" in run.stderr, run.stderr


def broken_never_has_two_places():
    """a broken never has both places, the allow first; by any path also the way"""
    write("never.policy", "module m\nrole a = principal root\nallow a read mailbox\nnever a read mailbox because \"no\"\n")
    text = prickle("check", "never.policy", code=1).stderr
    assert text.index("never.policy:3:1: error:") < text.index("never.policy:4:1: note:"), text
    write("path.policy", policies()["site"] + "  enter helper -> mail.recovery with ticket\n")
    lines = [line for line in prickle("check", "path.policy", code=1).stderr.splitlines() if not line.startswith(" ")]
    assert [re.sub(r":\d+:\d+: ", " ", line).split()[:2] for line in lines] == \
        [["default", "error:"], ["path.policy", "note:"], ["path.policy", "note:"]], lines


def problems_as_json():
    """--json has the same problems, with places and the exit code"""
    write("never.policy", "module m\nrole a = principal root\nallow a read mailbox\nnever a read mailbox\n")
    told = json.loads(prickle("check", "--json", "never.policy", code=1).stdout)
    assert told["ok"] is False
    assert [(p["place"], p["kind"]) for p in told["problems"] if p["kind"] != "warning"] == \
        [("never.policy:3:1", "error"), ("never.policy:4:1", "note")], told
    assert json.loads(prickle("check", "--json", write("ok.policy", "import default\n")).stdout)["ok"] is True


def helpers_of_xdp_need_no_prefix():
    """adjust_head is xdp_adjust_head, in rules and in nevers; others have to be what they are"""
    head = 'module m\ndomain d = ebpf object\n'
    prickle("check", write("short.policy", head + "allow d use helper adjust_head\nexpect allow d use helper xdp_adjust_head\n"))
    broken = prickle("check", write("both.policy", head + "allow d use helper xdp_adjust_head\nnever d use helper adjust_head\n"), code=1)
    assert "both.policy:3:1: error" in broken.stderr and "both.policy:4:1: note" in broken.stderr, broken.stderr
    assert "there is no helper 'adjust_hat'" in prickle("check", write("hat.policy", head + "allow d use helper adjust_hat\n"), code=1).stderr


def who_would_lock_everybody_out_is_warned():
    """a text that gives root or the users nothing is warned of; one that imports the shipped policy is not"""
    text = "module m\nrole admin = principal root\nrole people = principal mapped by directory\n"
    rights = ["allow admin status node\n", "allow people read mailbox where owner is subject\n"]
    said = [prickle("check", write("out.policy", text + more)).stderr for more in ("", rights[0], rights[1], "".join(rights))]
    assert "out.policy: warning: " in said[0] and "neither root nor any user" in said[0], said[0]
    assert "no user can read or send mail" in said[1] and "root cannot use" in said[2], said[1:3]
    assert "while this is in force" not in said[3], said[3]
    assert "while this is in force" not in prickle("check", write("in.policy", "import default\n")).stderr


def names_that_no_interface_has_are_refused():
    """an interface's name has 15 bytes at most"""
    prickle("check", write("nic.policy", 'import default\nlabel port a = nic "eth456789012345"\n'))
    text = prickle("check", write("nic.policy", 'import default\nlabel port a = nic "eth4567890123456"\n'), code=1).stderr
    assert "nic.policy:2:20: error: no interface can have this name" in text, text


def undeclared_ticket_role_is_told_how():
    """a role that is entered by ticket and nowhere declared: the line that declares it"""
    text = prickle("check", write("ticket.policy", "role a = principal root\nenter a -> b with ticket\n"), code=1).stderr
    assert "no domain or role 'b'" in text and "role b = principal by ticket" in text, text


def failed_expectation_is_not_ok():
    """an expectation that does not hold is a line 'not ok', and the others go on"""
    write("expect.policy", "module m\nrole a = principal root\nallow a status node\n"
          "expect deny a status node\nexpect allow a status node\nexpect deny a reload node\n")
    run = prickle("test", "expect.policy", code=1)
    assert re.findall(r"^(ok|not ok) \d+ - expect.policy(?::(\d+))?", run.stdout, re.M) == \
        [("ok", ""), ("not ok", "4"), ("ok", "5"), ("ok", "6")], run.stdout


def shipped_policy_is_shown():
    """show prints the text that ships, which is a policy, and what it says as JSON"""
    with open(os.path.join(ROOT, "src/policy/default.policy"), encoding="utf-8") as f:
        assert prickle("show", "--shipped").stdout == f.read()
    prickle("check", write("shipped.policy", prickle("show", "--shipped").stdout))
    resolved = json.loads(prickle("show", "--shipped", "--json").stdout)
    assert any(rule["subjects"] == ["mail.mailadm"] and rule["class"] == "mailbox" for rule in resolved["never"]), resolved["never"]
    assert {"name": "mail.recovery", "is": "principal by ticket"}.items() <= resolved["subjects"][1].items(), resolved["subjects"]
    prickle("show", "--shipped", "--epoch", "1", code=2)


def places_belong_to_the_node():
    """a place of the node is known by its name; 'file' in an allow means none of them, in a never all; the document lists them"""
    with open(os.path.join(ROOT, "src/policy/language/places.def"), encoding="utf-8") as f:
        places = re.findall(r'^PLACE\("(\S+)", (FILE|ENDPOINT), "(.*)"\)$', f.read(), re.M)
    rows = [(name, kind.upper(), about) for name, kind, about in re.findall(r"^\| `(\S+)` \| (file|endpoint) \| (.*) \|$", DOCUMENT, re.M)]
    assert places == rows, (places, rows)
    told = prickle("check", write("place.policy", 'label file a = place "stat"\n'), code=1).stderr
    assert "no place 'stat'; did you mean 'state'?" in told, told
    head = 'import default\nmodule m\ndomain d = program\nlabel file s = tree "/srv"\n'
    prickle("check", write("all.policy", head + "allow d read file\nexpect allow d read file\nexpect deny d read node.state\nexpect deny d write file\n"))
    told = prickle("check", write("never.policy", head + "never node.store read file\n"), code=1).stderr
    assert "node.store" in told or "store read" in told, told


def own_processes_are_warned_of():
    """a policy that declares a process of the node itself is told what that lacks; an imported one is not"""
    told = prickle("check", write("roles.policy", 'domain keeper = service role "store"\nlabel file mail = place "state"\nallow keeper read mail\n'
                                  'domain other = service role "shop"\nallow other thread kernel\n')).stderr
    assert "roles.policy:1:1: warning: the process 'store' would lack what it needs, and may not start: " in told, told
    assert re.search(r"thread kernel \(default:\d+\); write, create, delete state \(default:\d+\)", told), told
    assert "the node has no process 'shop'" in told, told
    assert prickle("check", write("fine.policy", "import default\n")).stderr == ""


def missing_file_is_told():
    """a file that is not there is told, and so is an import"""
    assert "nonesuch" in prickle("check", "nonesuch.policy", code=1).stderr
    text = prickle("check", write("import.policy", 'import "nonesuch.policy"\n'), code=1).stderr
    assert text.startswith("import.policy:1:8: error: "), text


tap.run([document_has_all_classes, document_has_all_statements, document_has_existing_commands, document_examples_are_policies,
         mistakes_come_at_once, broken_never_has_two_places, problems_as_json, failed_expectation_is_not_ok,
         helpers_of_xdp_need_no_prefix, who_would_lock_everybody_out_is_warned, names_that_no_interface_has_are_refused, undeclared_ticket_role_is_told_how, shipped_policy_is_shown, places_belong_to_the_node, own_processes_are_warned_of, missing_file_is_told])
