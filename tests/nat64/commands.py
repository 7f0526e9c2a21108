#!/usr/bin/env python3
"""The commands that look at a translator and the ones that check its file: by files alone, then against instances that run."""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import POOL4, PREF64, DataCentre, Lab, Line, embed, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1]
GOOD = "mode: nat64\ninterfaces: [lo]\npref64: 2001:db8:64::/96\npool4: [192.0.2.1]\n"
SIIT = ("mode: siit\ninterfaces: [lo]\npref64: 2001:db8:64::/96\nmappings: [10.1.2.0/24 2001:db8:1::/120]\n"
        "pass: [10.1.2.200]\nzero-checksum: drop\nhairpin: none\n")


def run(*arguments):
    return subprocess.run([PRICKLE, "nat64", *arguments], capture_output=True, text=True, timeout=60, check=False)


class File:
    def __init__(self, text):
        self.text = text

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.file.write(self.text)
        self.file.flush()
        return self.file.name

    def __exit__(self, *_):
        self.file.close()


def good_and_bad_files():
    """check: 0 and its notes for a good file; 78, place and suggestion for a bad one"""
    with File(GOOD) as path:
        done = run("check", path)
        assert done.returncode == 0 and "is fine: translator 'nat64', mode nat64" in done.stdout, done
        told = json.loads(run("check", path, "--json", "--show").stdout)
        assert told["ok"] and told["settings"]["pool4"] == ["192.0.2.1"] and told["settings"]["lowest-ipv6-mtu"] == 1280, told
    with File(GOOD.replace("pool4", "pol4")) as path:
        done = run("check", path)
        assert done.returncode == 78 and f"{path}:4:1: there is no option 'pol4'; did you mean 'pool4'?" in done.stderr, done
        told = json.loads(run("check", path, "--json").stdout)
        assert not told["ok"] and len(told["errors"]) == 1, told


def what_is_shown_is_a_file():
    """check --show prints a file that means the same"""
    for text in (GOOD, SIIT):
        with File(text) as path:
            shown = run("check", path, "--show").stdout
        with File(shown) as path:
            again = run("check", path, "--show")
            assert again.returncode == 0 and again.stdout == shown, again


def a_missing_interface_is_told():
    """check: an interface that is not here is a mistake, unless only the file counts"""
    with File(GOOD.replace("[lo]", "[lo, none0]")) as path:
        done = run("check", path)
        assert done.returncode == 78 and "there is no interface 'none0' here" in done.stderr, done
        assert run("check", path, "--file-only").returncode == 0


def a_file_of_mappings():
    """mappings-file: read beside the file, mistakes with their own place"""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/more", "w", encoding="utf-8") as f:
            f.write("# two\n10.9.0.0/24 2001:db8:9::/120\n10.8.0.1 2001:db8:8::1  # one\n")
        with open(f"{folder}/nat64.yaml", "w", encoding="utf-8") as f:
            f.write("mode: siit\ninterfaces: [lo]\npref64: 2001:db8:64::/96\nmappings-file: more\n")
        done = run("explain", "--config", f"{folder}/nat64.yaml", "ping 203.0.113.7 > 10.8.0.1")
        assert "the explicit mapping of line 3 of mappings-file (10.8.0.1/32 2001:db8:8::1/128)" in done.stdout, done
        with open(f"{folder}/more", "a", encoding="utf-8") as f:
            f.write("10.9.0.0/24 2001:db8:7::/120\n")
        done = run("check", f"{folder}/nat64.yaml")
        assert done.returncode == 78 and f"{folder}/more:4:1: the IPv4 prefix of this mapping stands in line 2" in done.stderr, done


def the_reference_is_what_the_manual_has():
    """check --reference and the manual list every key"""
    keys = re.findall(r"^\| `([^`]+)`", run("check", "--reference").stdout, re.M)
    assert len(keys) > 50, keys
    page = subprocess.run([PRICKLE, "man", "prickle-nat64.yaml"], capture_output=True, text=True, check=True).stdout
    assert [k for k in keys if f".It Cm {k}\n" not in page] == []


def packets_are_explained_by_a_file():
    """explain --config: words, verdict, rule and result"""
    cases = [
        ("ping 2001:db8:1::9 > 2001:db8:64::203.0.113.7", "translated", "10.1.2.9 > 203.0.113.7: ICMP type 8"),
        ("tcp 203.0.113.7 5000 > 10.1.2.9 80 flags S", "translated", "2001:db8:64::cb00:7107.5000 > 2001:db8:1::9.80"),
        ("tcp 203.0.113.7 5000 > 10.1.2.9 80", "translated", "TCP [S]"),
        ("udp [2001:db8:1::9]:53 > [2001:db8:64::203.0.113.7]:53 bytes 100", "translated", "length 100"),
        ("ping 2001:db8:1::9 > 2001:db8:64::203.0.113.7 ttl 1", "answered", "ICMP6 type 3 code 0"),
        ("udp 203.0.113.7 1 > 10.1.2.200 2", "passed", "decided by pass: 10.1.2.200 (line 5)"),
        ("udp 203.0.113.7 1 > 10.1.3.1 2", "passed", "in no prefix, pool or mapping"),
        ("ping 2001:db8:77::1 > 2001:db8:64::203.0.113.7", "", "The source address has no counterpart"),
    ]
    with File(SIIT) as path:
        for words, verdict, want in cases:
            done = run("explain", "--config", path, words)
            assert done.returncode == 0 and f"\n{verdict}" in done.stdout and want in done.stdout, (words, done.stdout, done.stderr)
        told = json.loads(run("explain", "--config", path, "--json", cases[0][0]).stdout)
        assert told["verdict"] == "translated" and told["to"]["destination"].startswith("203.0.113.7"), told
        again = json.loads(run("explain", "--config", path, "--json", "--hex", told["result_hex"]).stdout)
        assert again["packet"] == told["result"], again
        big = "tcp 203.0.113.7 5000 > 10.1.2.9 80 bytes 1460"
        assert "ICMP type 3 code 4" in run("explain", "--config", path, "--mtu", "1500", big).stdout
        assert "\ntranslated\n" in run("explain", "--config", path, "--mtu", "1520", big).stdout
        for bad in (["tcp 1.2.3.4 > x"], ["--hex", "4x"], ["--hex", "123"], ["--hex", "00"], []):
            done = run("explain", "--config", path, *bad)
            assert done.returncode == 2, (bad, done)


def a_file_that_is_no_capture_is_named():
    """explain --pcap: an error says which file"""
    with File(GOOD) as path:
        for file in (path, "/nowhere.pcap"):
            told = run("explain", "--config", path, "--pcap", file).stderr
            assert told.count(file) == 1, told


def a_packet_of_a_capture_is_explained():
    """explain --pcap: the frame that was asked for"""
    with File(SIIT) as path, tempfile.NamedTemporaryFile(suffix=".pcap") as pcap:
        told = json.loads(run("explain", "--config", path, "--json", "ping 203.0.113.7 > 10.1.2.9").stdout)
        ip = bytes.fromhex(told["result_hex"])
        frame = bytes(12) + b"\x86\xdd" + ip
        tagged = bytes(12) + b"\x81\x00\x00\x07" + b"\x86\xdd" + ip
        pcap.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
        for one in (bytes(12) + b"\x08\x06" + bytes(28), frame, tagged):
            pcap.write(bytes(8) + len(one).to_bytes(4, "little") * 2 + one)
        pcap.flush()
        for number in ("2", "3"):
            done = run("explain", "--config", path, "--pcap", pcap.name, "--packet", number)
            assert "2001:db8:64::cb00:7107 > 2001:db8:1::9: ICMP6 type 128" in done.stdout, done
        assert "is no IP packet" in run("explain", "--config", path, "--pcap", pcap.name).stderr
        assert run("explain", "--config", path, "--pcap", pcap.name, "--packet", "9").returncode == 4


def every_reason_has_a_sentence():
    """stats --reasons explains all of them"""
    told = json.loads(run("stats", "--reasons", "--json").stdout)
    assert len(told) > 40 and all(r["sentence"].endswith(".") for r in told), told


def no_translator_is_told():
    """commands without a translator say how to start one"""
    with Lab(PRICKLE) as lab:
        ns = lab.ns("empty")
        for command in (["show"], ["stats"], ["sessions"], ["bib", "list"], ["trace"], ["explain", "ping 1.2.3.4 > 1.2.3.5"]):
            done = ns.done(PRICKLE, "nat64", *command)
            assert done.returncode == 4 and "nat64 run" in done.stderr, (command, done)


def traced(lab, ns, name, send, *filters):
    process = ns.start(PRICKLE, "nat64", "trace", "--name", name, "--json", "--seconds", "60", *filters, stdout=subprocess.PIPE)
    while process.poll() is None:           # packets that come before it looks are not shown; it ends by --count
        send()
        time.sleep(0.02)
    out = process.communicate(timeout=60)[0]
    return [json.loads(line) for line in out.splitlines()]


def a_stateless_translator_is_looked_at():
    """list, show, stats, metrics, explain and trace of a SIIT"""
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab)
        t = net.siit().start()
        net.four.run("ping", "-c2", "-W10", net.SERVICE)
        shown = t.json("show")
        assert shown["mode"] == "siit" and shown["daemon"] and shown["warnings"] == [], shown
        assert {i["interface"] for i in shown["interfaces"] if i["running"]} == {"six", "four"}, shown
        assert shown["some_mappings"] == [f"{net.SERVICE}/32 {net.SIX}/128"], shown
        assert shown["packets"]["4to6"] >= 2 and shown["pref64"] == [PREF64], shown
        assert t.json("stats")["counters"]["packets-6to4"] >= 2
        text = t.command("metrics").stdout
        assert re.search(r'prickle_nat64_translated_packets_total\{instance="test"[^}]*direction="4to6"\} [1-9]', text), text
        assert text.endswith("# EOF\n")
        rows = [r for r in json.loads(t.command("list", "--json").stdout) if r["name"] == "test" and r.get("here")]
        assert rows and rows[0]["mode"] == "siit", rows
        told = t.command("explain", "--name", "test", f"ping {net.FOUR} > {net.SERVICE}").stdout
        assert f"{embed(net.FOUR)} > {net.SIX}: ICMP6 type 128" in told, told
        assert t.command("sessions", check=False).returncode == 1
        got = traced(lab, net.nat, "test", lambda: net.four.run("ping", "-c2", "-W10", net.SERVICE), net.SERVICE, "--count", "2")
        assert len(got) == 2 and got[0]["verdict"] == "translated", got
        # Tracing is off again: another trace begins without a word about one that was on.
        again = net.nat.done(PRICKLE, "nat64", "trace", "--seconds", "1")
        assert again.returncode == 0 and again.stderr == "", again
        t.kill()
        wait_until(lambda: not t.json("show")["daemon"], 30, "a daemon that does not run is seen")
        assert any("daemon does not run" in w for w in t.json("show")["warnings"]), t.json("show")
        got = traced(lab, net.nat, "test", lambda: net.four.run("ping", "-c1", "-W10", net.SERVICE), "--protocol", "icmp", "--count", "1")
        assert len(got) == 1, "a trace without a daemon"


def a_trace_that_was_killed_is_told():
    """show warns of a trace that was killed; the next one ends it"""
    with Lab(PRICKLE) as lab:
        net = DataCentre(lab)
        t = net.siit().start()
        process = net.nat.start(PRICKLE, "nat64", "trace")
        wait_until(lambda: any("traced" in w for w in t.json("show")["warnings"]), 30, "a trace that runs is seen")
        process.kill()
        process.wait()
        assert any("traced" in w for w in t.json("show")["warnings"])
        again = t.command("trace", "--seconds", "1")
        assert "takes its place" in again.stderr, again
        assert t.json("show")["warnings"] == []


def a_stateful_translator_is_looked_at():
    """sessions, bib, show, trace and metrics of a NAT64 with traffic"""
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        t = net.nat64(subscribers={"blocks": {"size": 256}}, **{"log-format": "json"}).start()
        net.six.run("ping", "-c1", "-W10", embed(net.FOUR))
        with net.six.entered():
            s = lab.keep(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        s.bind((net.SIX, 5353))
        s.sendto(b"x", (embed(net.FOUR), 7777))
        ours = lambda rows: [r for r in rows if r["protocol"] == "udp" and r["remote"] == f"{net.FOUR}:7777"]
        wait_until(lambda: ours(t.json("sessions")), 30, "a session")
        rows = t.json("sessions")
        udp = ours(rows)
        assert len(udp) == 1 and udp[0]["inside"] == f"[{net.SIX}]:5353" and udp[0]["outside"].startswith(POOL4 + ":"), rows
        assert 290 < udp[0]["expires_s"] <= 301, udp
        assert any(r["protocol"] == "icmp" for r in rows), rows
        for filters, count in ((["--subscriber", "2001:db8:6::/64", "--protocol", "udp"], 1), (["--subscriber", "2001:db8:7::/64"], 0),
                               (["--remote", f"{net.FOUR}:7777"], 1), (["--remote", f"{net.FOUR}:7778"], 0),
                               (["--outside", udp[0]["outside"], "--protocol", "udp"], 1), (["--inside", f"[{net.SIX}]:5353"], 1)):
            got = t.json("sessions", *filters)
            assert len(got) == count, (filters, got)
        assert "AGE" in t.command("sessions", "--name", "test", "--limit", "1").stdout
        bib = t.json("bib", "list")
        assert {b["kind"] for b in bib} == {"dynamic"} and len(bib) == 2, bib
        shown = t.json("show")
        assert shown["tables"]["sessions"]["used"] == 2 and sum(shown["pool4"][0][p] for p in ("tcp", "udp", "icmp")) == 2, shown
        text = t.command("metrics").stdout
        assert re.search(r'prickle_nat64_sessions\{instance="test"[^}]*protocol="udp"\} 1\n', text), text
        assert re.search(r'pool_ports_used\{instance="test"[^}]*address="192.0.2.1"[^}]*protocol="udp"\} 1\n', text), text
        told = json.loads(t.command("explain", "--name", "test", "--json", f"udp {net.FOUR} 7777 > {udp[0]['outside'].replace(':', ' ')}").stdout)
        assert told["verdict"] == "translated" and told["to"]["destination"] == f"[{net.SIX}]:5353", told
        before = t.json("stats")["counters"]["sessions-made"]
        told = json.loads(t.command("explain", "--name", "test", "--json", f"udp {net.SIX} 9 > {embed(net.FOUR)} 9").stdout)
        assert told["verdict"] == "translated" and "a session would begin" in told["steps"], told
        assert t.json("stats")["counters"]["sessions-made"] == before, "explain changed something"
        got = traced(lab, net.nat, "test", lambda: s.sendto(b"y", (embed(net.FOUR), 7777)), f"[{net.SIX}]:5353", "--count", "1")
        assert len(got) == 1 and got[0]["result"]["destination"] == f"{net.FOUR}:7777", got
        wait_until(lambda: "port block taken" in t.logged(), 30, "a block that is taken is logged")
        lines = [json.loads(line) for line in t.logged().splitlines() if "port block taken" in line]
        assert len(lines) == 1 and lines[0]["subscriber"] == "2001:db8:6::/64" and lines[0]["address"] == POOL4, t.logged()
        assert re.fullmatch(r"\d+-\d+", lines[0]["ports"]) and lines[0]["translator"] == "test", lines


def static_mappings_come_and_go():
    """bib add, list and remove; a host inside is reached by it"""
    with Lab(PRICKLE) as lab:
        net = Line(lab)
        t = net.nat64().start()
        with net.six.entered():
            server = lab.keep(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        server.bind((net.SIX, 8080))
        server.settimeout(20)
        net.six.run("ping", "-c1", "-W10", embed(net.FOUR))      # neighbours are known
        t.command("bib", "add", "--name", "test", "udp", f"{POOL4}:80", f"[{net.SIX}]:8080")
        assert [b["outside"] for b in t.json("bib", "list", "--static")] == [f"{POOL4}:80"]
        with net.four.entered():
            client = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.sendto(b"hello", (POOL4, 80))
        assert server.recv(100) == b"hello"
        again = t.command("bib", "add", "--name", "test", "udp", f"{POOL4}:80", f"[{net.SIX}]:9090", check=False)
        assert again.returncode == 1 and "in use" in again.stderr, again
        chosen = json.loads(t.command("bib", "add", "--name", "test", "--json", "tcp", f"[{net.SIX}]:22").stdout)
        assert chosen["outside"].startswith(POOL4 + ":") and not chosen["outside"].endswith(":0"), chosen
        t.command("bib", "remove", "--name", "test", "udp", f"{POOL4}:80")
        t.command("bib", "remove", "--name", "test", "tcp", f"[{net.SIX}]:22")
        assert t.json("bib", "list", "--static") == []
        gone = t.command("bib", "remove", "--name", "test", "udp", f"{POOL4}:80", check=False)
        assert gone.returncode == 4, gone


tap.run([good_and_bad_files, what_is_shown_is_a_file, a_missing_interface_is_told, a_file_of_mappings, the_reference_is_what_the_manual_has,
         packets_are_explained_by_a_file, a_file_that_is_no_capture_is_named,
         a_packet_of_a_capture_is_explained, every_reason_has_a_sentence, no_translator_is_told,
         a_stateless_translator_is_looked_at, a_trace_that_was_killed_is_told, a_stateful_translator_is_looked_at, static_mappings_come_and_go])
