#!/usr/bin/env python3
"""`prickle queue` against a running node: queue.py PRICKLE."""
import json
import os
import smtplib
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "smtp"))
import node as nodes  # noqa: E402
import tap  # noqa: E402

CAROL = "carol@example.org"
MANY = 320		# more than one page of answers
node = None


def ask(*words, code=0):
    done = subprocess.run([node.prickle, "queue", *words, "--socket", os.path.join(node.dir, "state", "control.sock")],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, f"{words}: exit {done.returncode}, {done.stdout} {done.stderr}"
    return done


def entries(*words):
    return json.loads(ask("list", "--json", *words).stdout)["entries"]


def send(count, sender=nodes.BOB):
    """
    For ann, who has no room, and carol, who has: carol's is stored, ann's is bounced to the sender,
    who has no room either, so it stays in the queue.
    """
    with smtplib.SMTP("127.0.0.1", node.port("smtp"), timeout=60) as client:
        client.ehlo()
        for _ in range(count):
            assert client.docmd(f"MAIL FROM:<{sender}>")[0] == 250
            for to in (nodes.ANN, CAROL):
                code = client.docmd(f"RCPT TO:<{to}>")
                assert code[0] == 250, code
            assert client.data("Subject: too much\r\n\r\n" + ("x" * 70 + "\r\n") * 40)[0] == 250


def wait_for(count):
    end = time.monotonic() + 60
    while len(entries()) != count or not all(e["recipients"][0]["status"] for e in entries()):
        assert time.monotonic() < end, len(entries())
        time.sleep(0.1)


def an_empty_queue_says_so():
    """an empty queue says so, as text and as JSON"""
    assert ask("list").stdout == "nothing waits\n"
    assert entries() == []


def what_waits_is_listed():
    """what waits is listed with recipient and reason, and shown by its id"""
    send(1)
    wait_for(1)
    entry = entries()[0]
    assert entry["sender"] == nodes.BOB and len(entry["recipients"]) == 1
    assert entry["recipients"][0]["address"] == nodes.ANN and "5.2.2" in entry["recipients"][0]["status"]
    text = ask("list").stdout
    assert text.startswith(entry["id"]) and f"<{nodes.ANN}>  failed: 5.2.2" in text, text
    assert json.loads(ask("show", entry["id"], "--json").stdout)["id"] == entry["id"]
    assert ask("show", entry["id"]).stdout.startswith(entry["id"])


def filters_choose():
    """filters choose by parts of addresses, without regard to case"""
    assert len(entries("--recipient", "ANN@")) == 1
    assert entries("--recipient", "carol") == []
    assert len(entries("--sender", "bob", "--recipient", "example.org")) == 1
    assert entries("--sender", "<>") == []


def a_retry_tries_at_once():
    """retry tries at once, whatever the schedule says"""
    before = entries()[0]
    ask("retry", before["id"])
    end = time.monotonic() + 20
    while entries()[0]["attempts"] <= before["attempts"]:
        assert time.monotonic() < end, "not tried"
        time.sleep(0.05)


def wrong_words_are_explained():
    """ids that are not there, and commands without a choice, are explained"""
    assert "no such message" in ask("show", "00", code=4).stderr
    assert "no such message" in ask("drop", "00", code=4).stderr
    assert "--recipient" in ask("drop", code=2).stderr
    assert "--recipient" in ask("retry", "00", "--all", code=2).stderr
    assert "error" in json.loads(ask("show", "00", "--json", code=4).stdout)


def dropped_is_gone():
    """drop takes the chosen one and no other"""
    send(1)
    wait_for(2)
    first, second = entries()
    ask("drop", first["id"])
    assert [e["id"] for e in entries()] == [second["id"]]
    ask("drop", "--recipient", nodes.ANN)
    assert entries() == []


def long_lists_are_whole():
    """a list of many pages is whole and names nothing twice; --all drops all"""
    send(MANY)
    wait_for(MANY)
    assert len({e["id"] for e in entries()}) == MANY
    end = time.monotonic() + 60
    while entries():		# one that is being tried just then stays: ask again
        subprocess.run([node.prickle, "queue", "drop", "--all", "--socket",
                        os.path.join(node.dir, "state", "control.sock")], capture_output=True, timeout=60, check=False)
        assert time.monotonic() < end


def without_a_node_the_next_step_is_named():
    """without a node the error names the next step"""
    done = subprocess.run([node.prickle, "queue", "list", "--socket", "/nonexistent/socket"], capture_output=True,
                          text=True, timeout=20, check=False)
    assert done.returncode == 75 and "prickle serve" in done.stderr, done.stderr


def main():
    global node
    node = nodes.Node(sys.argv[1])
    try:
        subprocess.run([node.prickle, "user", "add", CAROL, "--no-password", "--socket",
                        os.path.join(node.dir, "state", "control.sock")], check=True, capture_output=True)
        for user in (nodes.ANN, nodes.BOB):
            node.command("user", "set", user, "--quota", "1 KiB")
        tap.run([an_empty_queue_says_so, what_waits_is_listed, filters_choose, a_retry_tries_at_once,
                 wrong_words_are_explained, dropped_is_gone, long_lists_are_whole,
                 without_a_node_the_next_step_is_named])
    finally:
        node.close()


main()
