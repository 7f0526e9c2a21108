#!/usr/bin/env python3
"""The command line from outside: cli.py PRICKLE."""
import json
import os
import re
import subprocess
import sys
import tempfile

import tap

PRICKLE = sys.argv[1]


def prickle(*args, code=0):
    run = subprocess.run([PRICKLE, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                         timeout=60, check=False)
    assert run.returncode == code, \
        f"{args} ended with {run.returncode}, not {code}\n{run.stdout}{run.stderr}"
    return run


DIRECTORY = tempfile.TemporaryDirectory(prefix="prickle-cli-")


def config_file(text):
    f = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False, dir=DIRECTORY.name)
    f.write(text)
    f.close()
    return f.name


def commands():
    """The words of all commands, from the general help."""
    lines = prickle("--help").stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    # A long name has its line alone; its summary follows, indented further.
    return [re.split(r"\s{2,}", line.strip())[0] for line in lines if re.match(r"  \S", line)]


def help_of_everything():
    """every command explains itself on standard output"""
    words = commands()
    assert "config check" in words and "limits" in words, words
    for command in words:
        text = prickle(*command.split(), "--help").stdout
        assert text.startswith(f"prickle {command} - ") and "Usage: prickle" in text, text
        assert text == prickle("help", *command.split()).stdout


def examples_name_real_commands():
    """examples in the help name commands and options that exist"""
    words = commands()
    for command in words:
        text = prickle(*command.split(), "--help").stdout
        for line in text.split("Examples:\n")[-1].splitlines() if "Examples:\n" in text else []:
            example = line.strip()
            assert any(part.strip().startswith(("prickle " + w)) for part in example.split("|") for w in words), example


def usage_errors():
    """mistyped words, options and arguments end with code 2 and a suggestion"""
    for args, want in [
            (["confg"], "did you mean 'prickle config'?"),
            (["config", "chekc"], "did you mean 'prickle config check'?"),
            (["config", "check", "--conifg=x"], "did you mean '--config'?"),
            (["config", "check", "--config"], "needs a value"),
            (["config", "check", "--json=1"], "takes no value"),
            (["alias", "show"], "ALIAS is missing"),
            (["config", "explain", "a", "b"], "one argument too many"),
            (["config", "check", "-z"], "there is no option '-z'"),
            (["completion", "tcsh"], "is not one of bash, zsh, fish"),
            (["zzzzzzzz"], "there is no command 'zzzzzzzz'")]:
        run = prickle(*args, code=2)
        assert want in run.stderr and run.stdout == "", f"{args}: {run.stderr}"
    assert "Usage:" in prickle(code=2).stderr
    assert "Usage:" in prickle("config", code=2).stderr


def no_terminal_sequences():
    """what came from elsewhere cannot move the cursor"""
    said = prickle("config", "explain", "a\x1b[2Jb\u009bc\u202ed", code=4).stderr
    assert not any(c in said for c in "\x1b\u009b\u202e") and "[2Jb" in said, repr(said)
    error = json.loads(prickle("config", "explain", "a\x1b\"b", "--json", code=4).stdout)["error"]
    assert "'a\x1b\"b'" in error, repr(error)


def version_has_three_forms():
    """the version has three spellings and one value"""
    assert prickle("--version").stdout == prickle("version").stdout
    assert json.loads(prickle("version", "--json").stdout)["version"] in prickle("--version").stdout


def configuration_errors():
    """a wrong configuration ends with code 78 and every error"""
    name = config_file("mial: 1\nmail:\n  hops_max: 3\n")
    run = prickle("config", "check", "--config", name, code=78)
    assert f"{name}:1:1:" in run.stderr and f"{name}:3:13:" in run.stderr, run.stderr
    assert "error" in json.loads(prickle("config", "check", "-c", name, "--json", code=78).stdout)
    os.unlink(name)
    prickle("config", "check", "--config", name, code=78)


def certificates_are_looked_at():
    """config check and serve read the certificate and its key, and name the line that is wrong"""
    with tempfile.TemporaryDirectory() as d:
        for name in ("one", "two"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-keyout", f"{d}/{name}.key", "-out", f"{d}/{name}.pem", "-days", "30", "-subj", "/CN=x"],
                           check=True, capture_output=True)
        good = config_file(f"tls:\n  certificate: {d}/one.pem\n  key: {d}/one.key\n")
        assert prickle("config", "check", "-c", good).stdout == f"{good} is fine\n"
        for certificate, key, want in (("one.pem", "two.key", "is not the one of"), ("no.pem", "one.key", "No such file"),
                                       ("one.pem", "one.pem", "no private key"), ("one.key", "one.key", "not"),
                                       (".", "one.key", "Is a directory")):
            bad = config_file(f"tls:\n  certificate: {d}/{certificate}\n  key: {d}/{key}\n")
            for command in (["config", "check"], ["serve"]):
                said = prickle(*command, "-c", bad, code=78).stderr
                assert want in said and f"{bad}:2: " in said, said


def show_is_a_configuration():
    """what config show prints is a configuration with the same values"""
    shown = prickle("config", "show").stdout
    name = config_file(shown)
    assert prickle("config", "check", "-c", name).stdout == f"{name} is fine\n"
    again = prickle("config", "show", "-c", name)
    assert again.stdout == shown
    assert prickle("config", "show", "--changed", "-c", name).stdout == shown
    os.unlink(name)


def explain_says_where():
    """config explain tells meaning, default and the line that sets it"""
    name = config_file("mail:\n  hops_max: 77\n")
    text = prickle("config", "explain", "mail.hops_max", "-c", name).stdout
    assert "Default: 50" in text and f"77 ({name}:2)" in text, text
    one = json.loads(prickle("config", "explain", "mail.hops_max", "-c", name, "--json").stdout)[0]
    assert one["value"] == "77" and one["line"] == 2, one
    assert "did you mean 'mail.hops_max'" in prickle("config", "explain", "mail.hops", code=4).stderr
    os.unlink(name)


def limits_are_listed():
    """limits come as a table and as JSON, all or of one module"""
    rows = json.loads(prickle("limits", "--json").stdout)
    assert {"module": "conf", "name": "CONFIG_DEPTH_MAX", "value": 16, "unit": "levels", "setting": None,
            "source": "own choice: the deepest key has 4", "generator": "depth"} in rows
    assert all(row["generator"] in ("number", "length", "depth", "count") for row in rows), rows
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names), "a name is used twice"
    keys = {row["key"] for row in json.loads(prickle("config", "show", "--json").stdout)}
    keys |= set(re.findall(r"^\| `([^`]+)`", prickle("nat64", "check", "--reference").stdout, re.M))
    lost = [row["name"] for row in rows if row["setting"] not in keys | {None}]
    assert not lost, f"settings that do not exist: {lost}"
    assert {row["module"] for row in json.loads(prickle("limits", "conf", "--json").stdout)} == {"conf"}
    prickle("limits", "nothing", code=4)


def shells_accept_their_scripts():
    """the bash script loads and completes words, options and keys"""
    script = prickle("completion", "bash").stdout
    ask = script + """
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _prickle; echo "${COMPREPLY[*]}"; }
complete_line prickle conf
complete_line prickle config ex
complete_line prickle config check --js
complete_line prickle config explain mail.hop
"""
    run = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["config", "explain", "--json", "mail.hops_max"], run.stdout + run.stderr
    for shell in ("zsh", "fish"):
        assert "config" in prickle("completion", shell).stdout


def manuals():
    """every command and the configuration have a manual page"""
    for command in commands():
        page = prickle("man", *command.split()).stdout
        assert page.startswith(".Dd ") and f".Nm prickle-{command.replace(' ', '-')}\n" in page, page
    page = prickle("man", "prickle.yaml").stdout
    for row in json.loads(prickle("config", "show", "--json").stdout):
        assert f".It Cm {row['key']}\n" in page, row["key"]
    prickle("man", "nothing", code=4)
    for group in ("spine", "nat64", "dvm", "policy"):
        page = prickle("man", group).stdout
        assert f".Nm prickle-{group}\n" in page and f"prickle-{group}-" in page, page


def output_that_cannot_be_written():
    """a full disk on standard output is an error"""
    with open("/dev/full", "w", encoding="utf-8") as full:
        run = subprocess.run([PRICKLE, "config", "show"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1 and "No space left" in run.stderr, run.stderr


tap.run([help_of_everything, examples_name_real_commands, usage_errors, version_has_three_forms,
         no_terminal_sequences, configuration_errors, certificates_are_looked_at, show_is_a_configuration, explain_says_where, limits_are_listed,
         shells_accept_their_scripts, manuals, output_that_cannot_be_written])
