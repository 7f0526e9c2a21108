#!/usr/bin/env python3
"""Extensions on real interfaces: install, adopt, replace, remove, take over, give back. Prints TAP."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
from lab import ROOT, Lab, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1] if len(sys.argv) > 1 else None
SPINE = "/sys/fs/bpf/prickle/spine"
OBJECTS = tempfile.TemporaryDirectory(prefix="prickle-device-")

EXTENSION = r"""
#include <prickle/spine.h>
SPINE_EXTENSION(.name = NAME, .version = VERSION, .match = MATCH, .verdicts = SPINE_PASS | SPINE_DROP, .flags = FLAGS);
SEC("xdp") int entry(struct xdp_md *ctx) { return VERDICT; }
char LICENSE[] SEC("license") = "Dual MIT/GPL";
"""
STALL = r"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
static long step(__u32 i, void *sum) { *(volatile __u64 *)sum += i; return 0; }
static long outer(__u32 i, void *sum) { bpf_loop(1 << 20, step, sum, 0); return 0; }
SEC("xdp") int stall(struct xdp_md *ctx) { __u64 sum = 0; bpf_loop(16, outer, &sum, 0); return XDP_PASS + (sum == 1); }
char LICENSE[] SEC("license") = "Dual MIT/GPL";
"""


def build(file, source, **defines):
    """An object from C; Skip without clang."""
    clang = shutil.which("clang-19") or shutil.which("clang")
    if not clang:
        raise tap.Skip("no clang")
    out = os.path.join(OBJECTS.name, file + ".o")
    path = os.path.join(OBJECTS.name, file + ".c")
    with open(path, "w", encoding="ascii") as f:
        f.write(source)
    arch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=False).stdout.strip()
    subprocess.run([clang, "-target", "bpf", "-mcpu=v3", "-g", "-O2", f"-I{ROOT}/include", "-idirafter",
                    f"/usr/include/{arch}", *[f"-D{k}={v}" for k, v in defines.items()], "-c", path, "-o", out], check=True)
    return out


def extension(name="first", verdict="XDP_PASS", match="udp port 7777", version="1", flags="0"):
    return build(f"{name}-{verdict}-{version}-{flags}", EXTENSION, NAME=f'"{name}"', VERDICT=verdict, MATCH=f'"{match}"',
                 VERSION=f'"{version}"', FLAGS=flags)


def pair(lab, mtu=1500):
    return lab.veth(lab.ns("here"), "eth0", lab.ns("there"), "eth0", ["10.9.0.1/24"], ["10.9.0.2/24"], mtu=mtu)


def spine(lab, ns, *words, code=0, **more):
    done = lab.prickle(ns, "spine", *words, check=False, **more)
    assert done.returncode == code, f"spine {words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def outside(lab, ns, *words, **more):
    """From outside of the namespace, where the lab's pins can be seen."""
    return spine(lab, None, *words, "--netns", ns.name, **more)


def state_of(interface):
    """Its directory in bpffs."""
    s = interface.ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return f"{SPINE}/{int.from_bytes(s.getsockopt(socket.SOL_SOCKET, 71, 8), 'little')}/{interface.ifindex}"


def listed(lab, ns, dev="eth0"):
    return json.loads(spine(lab, ns, "list", "--dev", dev, "--json").stdout)


def one(lab, ns, name):
    return next(row for row in listed(lab, ns) if row["name"] == name)


def answers(here, there, text=b"hello"):
    """A datagram from there arrives here."""
    receiver, sender = here.ns.udp("10.9.0.1", 7777, timeout=0.3), there.ns.udp("10.9.0.2")
    try:
        sender.sendto(text, ("10.9.0.1", 7777))
        return receiver.recv(100) == text
    except TimeoutError:
        return False
    finally:
        receiver.close()
        sender.close()


def load_on(lab, here, there):
    """Frames that a program on here drops, from there."""
    frame = frames.udp_frame(here.mac, there.mac, "10.9.0.2", "10.9.0.1", 5, 7777, b"\0" * 22, summed=False)
    return lab.generator(there, frame, sequence=42)


def attached(interface):
    return interface.ns.links()[interface.name].get("xdp", {}).get("prog", {}).get("id")


def install_then_list():
    """two commands under `ip netns exec`, and one from outside, see the same extension"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        told = json.loads(spine(lab, here.ns, "install", extension(), "--dev", "eth0", "--json").stdout)
        assert told["name"] == "first" and told["state"] == "active", told
        row = listed(lab, here.ns)[0]
        assert {"name", "id", "tier", "state", "reason", "packets"} <= set(row) and row["id"] == told["id"], row
        assert answers(here, there)
        seen = json.loads(spine(lab, None, "list", "--dev", "eth0", "--netns", here.ns.name, "--json").stdout)
        assert seen[0]["packets"] >= 1, seen
        everywhere = json.loads(spine(lab, None, "list", "--json").stdout)
        assert [r for r in everywhere if r.get("netns") == here.ns.name], everywhere
        spine(lab, here.ns, "install", extension(), "--dev", "eth0", code=2)
        spine(lab, here.ns, "remove", "other", "--dev", "eth0", code=4)
        spine(lab, here.ns, "remove", "first", "--dev", "eth0")
        assert attached(here) is None and listed(lab, here.ns) == []
        assert not os.path.exists(os.path.dirname(state_of(here)))


def replace_and_switch():
    """replace changes what runs, disable and enable switch it, counters go on"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        spine(lab, here.ns, "install", extension(), "--dev", "eth0")
        assert answers(here, there)
        spine(lab, here.ns, "replace", "first", extension(verdict="XDP_DROP", version="2"), "--dev", "eth0", "--watch", "50")
        assert not answers(here, there)
        row = one(lab, here.ns, "first")
        assert row["version"] == "2" and row["replaced"] == 1 and row["packets"] >= 2, row
        spine(lab, here.ns, "disable", "first", "--dev", "eth0")
        assert answers(here, there) and one(lab, here.ns, "first")["state"] == "disabled"
        spine(lab, here.ns, "enable", "first", "--dev", "eth0")
        assert not answers(here, there)
        # Another rule needs another dispatcher; the counters stay the extension's.
        spine(lab, here.ns, "replace", "first", extension(verdict="XDP_DROP", version="3", match="udp port 9"), "--dev", "eth0",
              "--watch", "0")
        row = one(lab, here.ns, "first")
        assert answers(here, there) and row["version"] == "3" and row["packets"] >= 3, row


def worse_version_returns():
    """a new version with faults is taken back, and the old one runs"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        spine(lab, here.ns, "install", extension(), "--dev", "eth0")
        source = load_on(lab, here, there).start(burst=256, pause_s=0.01)
        done = lab.prickle(here.ns, "spine", "replace", "first", extension(verdict="XDP_TX", version="2"), "--dev", "eth0",
                           check=False)
        source.stop()
        assert done.returncode == 1 and "old one runs again" in done.stderr, done
        row = one(lab, here.ns, "first")
        assert row["version"] == "1" and row["state"] == "active", row
        assert answers(here, there)


def takes_over_netlink():
    """a program that netlink attached becomes the first extension and returns as it was"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        sink = lab.keep(kb.Sink([(12, b"\x08\x00"), (36, b"\x1e\x62")]))     # udp port 7778
        path = os.path.join(lab.pins(), "old")
        kb.pin(sink.fd, path)
        for mode, flag in (("xdpdrv", 1), ("xdpgeneric", 2)):
            with here.ns.entered():     # not `ip -n`, which hides bpffs
                lab.ip("link", "set", "eth0", mode, "pinned", path)
            before, was = attached(here), here.ns.links()["eth0"]["xdp"]["mode"]
            assert was == flag
            spine(lab, here.ns, "install", extension(verdict="XDP_DROP"), "--dev", "eth0")
            rows = listed(lab, here.ns)
            assert [r["source"] for r in rows] == ["taken over", "installed"] and rows[0]["name"] == "lab-sink", rows
            assert attached(here) != before and here.ns.links()["eth0"]["xdp"]["mode"] == was
            count = sink.packets
            at = there.raw()
            at.send(frames.udp_frame(here.mac, there.mac, "10.9.0.2", "10.9.0.1", 5, 7778, b"for the old one"))
            wait_until(lambda count=count: sink.packets == count + 1, what="the old program's packet")
            assert not answers(here, there)
            spine(lab, here.ns, "remove", "first", "--dev", "eth0")
            assert attached(here) == before and here.ns.links()["eth0"]["xdp"]["mode"] == was
            assert answers(here, there)
            lab.ip("-n", here.ns.name, "link", "set", "eth0", mode, "off")


def takes_over_a_link():
    """a program that a BPF link attached is taken over in its link, and returns there"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        sink = lab.keep(kb.Sink([(12, b"\x08\x00"), (36, b"\x1e\x62")]))
        lab.attach(here, sink.fd)
        before = attached(here)
        spine(lab, here.ns, "install", extension(verdict="XDP_DROP"), "--dev", "eth0")
        assert len(listed(lab, here.ns)) == 2 and attached(here) != before
        assert not answers(here, there)
        spine(lab, here.ns, "remove", "first", "--dev", "eth0")
        assert attached(here) == before and answers(here, there)
        lab.detach(here)
        assert attached(here) is None


def adopts_with_a_mask():
    """an adopted program runs behind its rule, and a verdict outside its rights is a fault"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        fd = kb.load_program(kb.mov(0, kb.XDP_TX) + kb.EXIT, name="tx")
        path = os.path.join(lab.pins(), "tx")
        kb.pin(fd, path)
        outside(lab, here.ns, "adopt", "--pinned", path, "--match", "udp port 7777", "--name", "tx", "--dev", "eth0")
        assert answers(here, there)
        row = one(lab, here.ns, "tx")
        assert row["tier"] == "adopted" and row["faults"]["verdict"] == 1, row
        spine(lab, here.ns, "remove", "tx", "--dev", "eth0")
        outside(lab, here.ns, "adopt", "--id", row["id"], "--match", "udp port 7777", "--name", "tx", "--dev", "eth0",
              "--verdicts", "tx", "--continues", "pass")
        assert not answers(here, there) and one(lab, here.ns, "tx")["returned"]["tx"] == 1
        done = outside(lab, here.ns, "adopt", "--pinned", path, "--match", "all", "--name", "y", "--dev", "eth0", "--redirect", code=5)
        assert "redirect helper" in done.stderr, done.stderr
        outside(lab, here.ns, "adopt", "--pinned", path + "x", "--match", "all", "--name", "y", "--dev", "eth0", code=4)
        outside(lab, here.ns, "adopt", "--pinned", path, "--match", "udp prot 5", "--name", "y", "--dev", "eth0", code=2)
        os.close(fd)


def shadows_are_refused():
    """a terminal rule that hides a later one is refused, naming both"""
    with Lab(PRICKLE) as lab:
        here, _ = pair(lab)
        fd = kb.load_program(kb.mov(0, kb.XDP_PASS) + kb.EXIT, name="all")
        path = os.path.join(lab.pins(), "all")
        kb.pin(fd, path)
        spine(lab, here.ns, "install", extension(), "--dev", "eth0")
        before = attached(here)
        adopt = ["adopt", "--pinned", path, "--match", "udp", "--name", "greedy", "--dev", "eth0", "--terminal"]
        done = outside(lab, here.ns, *adopt, "--order", 5, code=5)
        assert "'greedy'" in done.stderr and "'first'" in done.stderr, done.stderr
        assert attached(here) == before and len(listed(lab, here.ns)) == 1
        outside(lab, here.ns, *adopt, "--order", 5000)
        os.close(fd)


def a_terminal_one_that_may_return_anything_is_masked():
    """a tail call is for those that can be shown to return only what they may; others are masked as ever"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        done = spine(lab, here.ns, "install", extension("sure", "XDP_DROP", match="udp port 7"), "--dev", "eth0", "--terminal")
        assert one(lab, here.ns, "sure")["terminal"] and not done.stderr, done.stderr
        unsure = extension("unsure", "(ctx->rx_queue_index & 7) + XDP_TX")
        done = spine(lab, here.ns, "install", unsure, "--dev", "eth0", "--terminal")
        assert "masked" in done.stderr and not one(lab, here.ns, "unsure")["terminal"], done.stderr
        assert answers(here, there) and one(lab, here.ns, "unsure")["faults"]["verdict"] == 1


def a_stalling_one_is_ejected():
    """an extension that holds the processor is out after a packet, listed with the reason, and may come back"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        loaded = lab.load(build("stall", STALL))
        path = os.path.join(loaded.dir, loaded.programs[0])
        adopt = ["adopt", "--pinned", path, "--match", "udp port 7777", "--name", "stall", "--dev", "eth0"]
        done = outside(lab, here.ns, *adopt, code=5)
        assert "accept-unbounded" in done.stderr or "bound" in done.stderr, done.stderr
        outside(lab, here.ns, *adopt, "--accept-unbounded")
        for _ in range(3):
            answers(here, there)
        row = one(lab, here.ns, "stall")
        assert row["state"] == "ejected" and "processor" in row["reason"] and row["faults"]["stall"] >= 1, row
        assert row["cost"] == "unbounded" and answers(here, there)
        spine(lab, here.ns, "enable", "stall", "--dev", "eth0")
        assert one(lab, here.ns, "stall")["state"] == "active"


def replaced_under_load():
    """a thousand swaps and ten replaces under load lose no packet"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        one_, two = extension(verdict="XDP_DROP"), extension(verdict="XDP_DROP", version="2")
        spine(lab, here.ns, "install", one_, "--dev", "eth0")
        slots = lab.keep(kb.Map.pinned(state_of(here) + "/slots"))
        programs = [kb.load_program(kb.mov(0, kb.XDP_DROP) + kb.EXIT, name="swap") for _ in range(2)]
        slot = one(lab, here.ns, "first")["slot"]
        source = load_on(lab, here, there).start(burst=1024)
        for i in range(10):
            spine(lab, here.ns, "replace", "first", (two, one_)[i % 2], "--dev", "eth0", "--watch", "0")
        for i in range(1000):
            slots.set(slot, programs[i % 2].to_bytes(4, "little"))
        sent = source.stop()
        row = one(lab, here.ns, "first")
        faults = {k: v for k, v in row["faults"].items() if v and k != "stall"}
        assert row["returned"]["drop"] == sent and not faults, (sent, row)
        for fd in programs:
            os.close(fd)


def killed_at_any_time():
    """commands killed at any moment under load leave the old or the new state, and no packet is lost"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        spine(lab, here.ns, "install", extension(verdict="XDP_DROP"), "--dev", "eth0")
        objects = [extension(verdict="XDP_DROP"), extension(verdict="XDP_DROP", version="2")]
        other = extension(name="other", match="tcp port 9")
        source = load_on(lab, here, there).start(burst=256, pause_s=0.002)
        dice = random.Random(5)
        for turn in range(24):
            command = [["replace", "first", objects[turn // 3 % 2], "--watch", "0"], ["install", other],
                       ["remove", "other"]][turn % 3]
            process = here.ns.start(lab.prickle_path or os.path.join(lab.build, "prickle"), "spine", *command, "--dev", "eth0")
            time.sleep(dice.uniform(0, 0.12))
            process.send_signal(signal.SIGKILL)
            process.wait()
            rows = listed(lab, here.ns)
            assert {r["state"] for r in rows} == {"active"} and rows[0]["name"] == "first" and len(rows) <= 2, rows
        sent = source.stop()
        wait_until(lambda: one(lab, here.ns, "first")["returned"]["drop"] == sent, what="every packet in the counters")
        for name in [r["name"] for r in listed(lab, here.ns)]:
            spine(lab, here.ns, "remove", name, "--dev", "eth0")
        assert attached(here) is None
        assert not os.path.exists(state_of(here))


def gone_namespaces_are_cleaned():
    """what belonged to an interface that is gone goes with the next list"""
    with Lab(PRICKLE) as lab:
        here, _ = pair(lab)
        before = set(os.listdir(SPINE)) if os.path.exists(SPINE) else set()
        spine(lab, here.ns, "install", extension(), "--dev", "eth0")
        new = set(os.listdir(SPINE)) - before
        assert len(new) == 1, new
        lab.ip("-n", here.ns.name, "link", "del", "eth0")
        wait_until(lambda: spine(lab, None, "list", "--json") and not new & set(os.listdir(SPINE)), what="clean up")


def frags_by_mtu():
    """a jumbo interface takes only extensions for packets in several buffers, and says so"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab, mtu=6000)
        done = spine(lab, here.ns, "install", extension(), "--dev", "eth0", code=5)
        assert "SPINE_FRAGS" in done.stderr, done.stderr
        assert attached(here) is None
        spine(lab, here.ns, "install", extension(flags="SPINE_FRAGS"), "--dev", "eth0")
        assert answers(here, there, b"x" * 50)
        fd = kb.load_program(kb.mov(0, kb.XDP_PASS) + kb.EXIT, name="small")
        path = os.path.join(lab.pins(), "small")
        kb.pin(fd, path)
        done = outside(lab, here.ns, "adopt", "--pinned", path, "--match", "arp", "--name", "s", "--dev", "eth0", code=5)
        assert "frags" in done.stderr, done.stderr
        os.close(fd)


def options_are_not_missed():
    """a policy that is not there, a map that is adopted, another mode: each is told"""
    with Lab(PRICKLE) as lab:
        here, _ = pair(lab)
        first = extension()
        done = spine(lab, here.ns, "install", first, "--dev", "eth0", "--policy", "/nonexistent/g", code=4)
        assert "/nonexistent/g" in done.stderr, done.stderr
        table = lab.keep(kb.Map.create(2, 4, 4, 1))     # an array
        kb.pin(table.fd, os.path.join(lab.pins(), "table"))
        done = outside(lab, here.ns, "adopt", "--pinned", os.path.join(lab.pins(), "table"), "--match", "arp", "--name", "t",
                       "--dev", "eth0", code=5)
        assert "no program" in done.stderr, done.stderr
        done = spine(lab, here.ns, "install", extension("setter", match="src set absent"), "--dev", "eth0", code=4)
        assert "spine set add absent" in done.stderr, done.stderr
        spine(lab, here.ns, "install", first, "--dev", "eth0", "--mode", "generic")
        done = spine(lab, here.ns, "install", first, "--dev", "eth0", "--mode", "native", "--name", "b")
        assert "another mode" in done.stderr, done.stderr
        # Loopback's MTU is beyond one buffer, which generic mode does not mind.
        done = spine(lab, here.ns, "install", first, "--dev", "lo", code=5)
        assert "--mode generic" in done.stderr, done.stderr
        spine(lab, here.ns, "install", first, "--dev", "lo", "--mode", "generic")


def refusals_promise_only_what_helps():
    """a refusal names a line for the policy when one would help, and none for what is never allowed"""
    source = EXTENSION.replace("return VERDICT;", "return CALL == 5 ? XDP_DROP : XDP_PASS;")
    with Lab(PRICKLE) as lab:
        here, _ = pair(lab)
        for call, helps in (("bpf_get_current_pid_tgid()", False), ("bpf_get_smp_processor_id()", None),
                            ("bpf_trace_printk(\"x\", 2)", True)):
            path = build("calls", source, NAME='"calls"', VERSION='"1"', MATCH='"arp"', FLAGS="0", CALL=call)
            done = spine(lab, here.ns, "install", path, "--dev", "eth0", code=0 if helps is None else 5)
            assert helps is None or ("would allow it" in done.stderr) == helps, done.stderr
            if helps is None:
                spine(lab, here.ns, "remove", "calls", "--dev", "eth0")
        greedy = build("greedy", EXTENSION.replace("| SPINE_DROP", "| SPINE_REDIRECT"), NAME='"greedy"', VERSION='"1"',
                       MATCH='"arp"', FLAGS="0", VERDICT="XDP_PASS")
        done = spine(lab, here.ns, "install", greedy, "--dev", "eth0", code=5)
        assert done.stderr.startswith("verdict redirect: the manifest asks"), done.stderr


def pinned_of_the_host():
    """inside `ip netns exec`, which hides bpffs, --pinned finds what the host has pinned"""
    with Lab(PRICKLE) as lab:
        here, _ = pair(lab)
        fd = kb.load_program(kb.mov(0, kb.XDP_PASS) + kb.EXIT, name="hosts")
        kb.pin(fd, os.path.join(lab.pins(), "hosts"))
        spine(lab, here.ns, "adopt", "--pinned", os.path.join(lab.pins(), "hosts"), "--match", "arp", "--name", "h", "--dev", "eth0")
        assert one(lab, here.ns, "h")["tier"] == "adopted"
        spine(lab, here.ns, "adopt", "--pinned", lab.pins() + "/nothing", "--match", "arp", "--name", "n", "--dev", "eth0", code=4)
        os.close(fd)


def sets_change_who_matches():
    """a prefix that comes into a set changes who matches, without a new dispatcher"""
    with Lab(PRICKLE) as lab:
        here, there = pair(lab)
        spine(lab, here.ns, "set", "add", "bad", "192.0.2.0/24", "fd00::/8", "--dev", "eth0")
        spine(lab, here.ns, "install", extension(verdict="XDP_DROP", match="src set bad"), "--dev", "eth0")
        runs = attached(here)
        assert answers(here, there)
        spine(lab, here.ns, "set", "add", "bad", "10.9.0.2", "--dev", "eth0")
        assert not answers(here, there) and attached(here) == runs
        shown = json.loads(spine(lab, here.ns, "set", "list", "bad", "--dev", "eth0", "--json").stdout)
        assert shown == ["10.9.0.2/32", "192.0.2.0/24", "fd00::/8"], shown
        with open(os.path.join(OBJECTS.name, "set"), "w", encoding="ascii") as f:
            f.write("# empty but for one\n198.51.100.0/24\n")
        spine(lab, here.ns, "set", "load", "bad", f.name, "--dev", "eth0")
        assert answers(here, there)
        assert spine(lab, here.ns, "set", "drop", "bad", "--dev", "eth0", code=75)
        spine(lab, here.ns, "set", "add", "bad", "10.9.0.2/8", "--dev", "eth0", code=2)
        spine(lab, here.ns, "remove", "first", "--dev", "eth0")
        spine(lab, here.ns, "set", "drop", "bad", "--dev", "eth0")


def gives_up_rights():
    """a command that looks at an object is what the role table says: three capabilities, a filter of system calls"""
    with Lab(PRICKLE) as lab:
        role = next(r for r in json.loads(lab.prickle(None, "roles", "--json").stdout)["roles"] if r["name"] == "spine")
        assert role["one_shot"] and not role["available"], role
        want = sum(1 << {"bpf": 39, "perfmon": 38, "net_admin": 12}[name] for name in role["capabilities"])
        here, _ = pair(lab)
        spine(lab, here.ns, "install", extension(), "--dev", "eth0")
        process = here.ns.start(lab.prickle_path or os.path.join(lab.build, "prickle"), "spine", "replace", "first",
                                extension(version="2"), "--dev", "eth0", "--watch", "3000")
        wait_until(lambda: one(lab, here.ns, "first")["version"] == "2", what="the replace")
        with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
            status = dict(re.findall(r"^(\w+):\s*(\S+)", f.read(), re.M))
        for key in ("CapEff", "CapPrm", "CapBnd"):
            assert int(status[key], 16) == want, (key, status[key])
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
        assert process.wait() == 0


def doctor_tells():
    """doctor tells what this kernel offers"""
    with Lab(PRICKLE) as lab:
        told = json.loads(spine(lab, None, "doctor", "--json").stdout)
        rows = {r["name"]: r for r in told["features"]}
        spine(lab, None, "list")        # cleans up what the other tests' namespaces left
        assert told["works"] and rows["slots"]["state"] == "ok" and "means" in rows["arena"], told


if __name__ == "__main__":
    tap.run([install_then_list, replace_and_switch, worse_version_returns, takes_over_netlink, takes_over_a_link,
             adopts_with_a_mask, shadows_are_refused, a_terminal_one_that_may_return_anything_is_masked,
             a_stalling_one_is_ejected, replaced_under_load, killed_at_any_time,
             gone_namespaces_are_cleaned, frags_by_mtu, sets_change_who_matches, options_are_not_missed,
             refusals_promise_only_what_helps, pinned_of_the_host, gives_up_rights, doctor_tells])
