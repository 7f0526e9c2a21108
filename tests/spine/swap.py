#!/usr/bin/env python3
"""
Versions change and processes die under load: no packet is lost and none gets a wrong verdict. swap.py PRICKLE SWAP_LAB

	here eth0 <--- there: a generator in the kernel that numbers its frames
"""
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kernel_bpf as kb  # noqa: E402
from device import attached, extension, load_on, pair, state_of  # noqa: E402
from lab import Lab, tap, wait_until  # noqa: E402

PRICKLE, SWAP_LAB = sys.argv[1:3]
SWAPS, REPLACES, KILLS = 10000, 200, 60


class Place(Lab):
    def __enter__(self):
        super().__enter__()
        self.prickle_path = PRICKLE
        self.here, self.there = pair(self)
        return self

    def spine(self, *words, code=0):
        done = self.prickle(None, "spine", *words, "--netns", self.here.ns.name, check=False)
        assert done.returncode == code, f"spine {words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def row(self, name):
        return next(r for r in json.loads(self.spine("list", "--dev", "eth0", "--json").stdout) if r["name"] == name)


def all_counted(lab, name, sent, **verdicts):
    """Every frame that was sent is in the extension's counters, and there is no fault but a gap of this machine."""
    def told():
        row = lab.row(name)
        return row if sum(row["returned"].values()) >= sent else None
    row = wait_until(told, what=f"{sent} packets in the counters of '{name}'")
    want = {k: 0 for k in row["returned"]} | verdicts
    assert row["returned"] == want and row["packets"] == sent, (sent, want, row)
    faults = {k: v for k, v in row["faults"].items() if v and k != "stall"}
    assert not faults and row["state"] == "active" and row["skipped"] == 0, row


def counting(verdict):
    """A program that counts its frames in a map of its own and returns the verdict."""
    map_ = kb.Map.create(kb.TYPE_ARRAY, 4, 8, 1)
    code = kb.map_value(1, map_) + kb.mov(0, 1) + kb.insn(0xdb, 1, 0) + kb.mov(0, verdict) + kb.EXIT
    return kb.load_program(code, name=f"swap{verdict}"), map_


def ten_thousand_swaps():
    """10,000 swaps under load: each packet is handled by one version and gets its verdict, none is lost"""
    with Place() as lab:
        sink = lab.keep(kb.Sink([(12, b"\x08\x00"), (36, b"\x1e\x61")]))   # what the second version sends back: udp port 7777
        lab.attach(lab.there, sink.fd)
        programs, paths = [], []
        for number, verdict in enumerate((kb.XDP_DROP, kb.XDP_TX)):
            programs.append(counting(verdict))
            paths.append(os.path.join(lab.pins(), f"version{number}"))
            kb.pin(programs[-1][0], paths[-1])
        lab.spine("adopt", "--pinned", paths[0], "--match", "udp port 7777", "--name", "swapped", "--dev", "eth0", "--verdicts", "drop,tx")
        source = load_on(lab, lab.here, lab.there).start(burst=1024)
        done = subprocess.run([SWAP_LAB, lab.here.ns.name, "eth0", "swapped", str(SWAPS), *paths], capture_output=True, text=True,
                              check=False, timeout=60)
        sent = source.stop()
        assert done.returncode == 0, done.stderr
        first, second = (map_.u64(0) for _, map_ in programs)
        assert first > 0 and second > 0 and first + second == sent, (first, second, sent)
        all_counted(lab, "swapped", sent, drop=first, tx=second)
        # The way back is a cable like others: frames may be lost on it, none may be added.
        assert 0 < sink.packets <= second, (sink.packets, second)
        told = json.loads(done.stdout)
        print(f"# {told['swaps']} swaps, {sent} packets: 0 lost ({first} by one version, {second} by the other); a swap took "
              f"p50 {told['p50_us']:.0f} us, p99 {told['p99_us']:.0f} us, at most {told['max_us'] / 1000:.1f} ms", flush=True)
        assert told["swaps"] == SWAPS
        for fd, map_ in programs:
            os.close(fd)
            map_.close()
        lab.spine("remove", "swapped", "--dev", "eth0")


def a_loss_would_be_seen():
    """the count is able to fail: deleting and inserting loses packets"""
    with Place() as lab:
        lab.spine("install", extension(verdict="XDP_DROP"), "--dev", "eth0")
        slots, slot = lab.keep(kb.Map.pinned(state_of(lab.here) + "/slots")), lab.row("first")["slot"]
        fd = kb.load_program(kb.mov(0, kb.XDP_DROP) + kb.EXIT, name="again")
        source = load_on(lab, lab.here, lab.there).start(burst=1024)
        for _ in range(20):
            slots.delete(slot)
            time.sleep(0.001)
            slots.set(slot, fd.to_bytes(4, "little"))
        sent = source.stop()
        os.close(fd)
        row = lab.row("first")
        lost = sent - row["returned"]["drop"]
        assert lost > 0 and row["faults"]["not-run"] > 0, row
        lab.spine("remove", "first", "--dev", "eth0")
        print(f"# delete and insert 20 times lost {lost} of {sent} packets")


def replaces():
    """200 replaces by the command, of changing versions, lose no packet"""
    with Place() as lab:
        versions = [extension(verdict="XDP_DROP", version=str(n)) for n in range(1, 5)]
        lab.spine("install", versions[0], "--dev", "eth0")
        source = load_on(lab, lab.here, lab.there).start(burst=512, pause_s=0.001)
        begin = time.monotonic()
        for number in range(REPLACES):
            lab.spine("replace", "first", versions[(number + 1) % 4], "--dev", "eth0", "--watch", "0")
        took = time.monotonic() - begin
        sent = source.stop()
        all_counted(lab, "first", sent, drop=sent)
        assert lab.row("first")["replaced"] == REPLACES
        print(f"# {REPLACES} replaces, {sent} packets: 0 lost; {1000 * took / REPLACES:.0f} ms a command")
        lab.spine("remove", "first", "--dev", "eth0")
        assert attached(lab.here) is None


def ours():
    """Processes that run our program."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/exe") == os.path.realpath(PRICKLE):
                    found.append(int(name))
            except OSError:
                pass
    return found


def killed_under_load():
    """kill -9 of all of our processes during install, replace and remove loses no packet of the neighbour's"""
    with Place() as lab:
        neighbours = [extension("neighbour", "XDP_DROP", version=str(n)) for n in (1, 2)]
        guests = [extension("guest", match="udp port 9", version=str(n)) for n in (1, 2)]
        lab.spine("install", neighbours[0], "--dev", "eth0")
        source = load_on(lab, lab.here, lab.there).start(burst=256, pause_s=0.001)
        dice, killed, finished = random.Random(9), 0, 0
        steps = [["install", guests[0]], ["replace", "neighbour", neighbours[1], "--watch", "0"],
                 ["replace", "guest", guests[1], "--watch", "0"], ["remove", "guest"],
                 ["replace", "neighbour", neighbours[0], "--watch", "0"]]
        longest = 0.05
        for turn in range(KILLS):
            begin = time.monotonic()
            process = subprocess.Popen([PRICKLE, "spine", *steps[turn % len(steps)], "--dev", "eth0", "--netns", lab.here.ns.name],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                process.wait(dice.uniform(0.002, longest * 1.1))
                longest = max(0.03, 0.7 * longest + 0.3 * (time.monotonic() - begin))
                finished += 1
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its helpers, too
                process.wait()
                killed += 1
                longest = min(0.5, longest * 1.05)
            rows = json.loads(lab.spine("list", "--dev", "eth0", "--json").stdout)
            assert [r["state"] for r in rows] == ["active"] * len(rows) and {"neighbour"} <= {r["name"] for r in rows} <= \
                {"neighbour", "guest"}, (turn, rows)
        wait_until(lambda: not ours(), what="nothing of ours runs any more")
        # Nothing of ours runs, and traffic goes on.
        before = source.map.u64(0)
        wait_until(lambda: source.map.u64(0) > before, what="traffic goes on")
        assert not ours()
        sent = source.stop()
        all_counted(lab, "neighbour", sent, drop=sent)
        print(f"# {killed} commands killed, {finished} came to their end first; {sent} packets: 0 lost")
        assert killed >= KILLS // 4, (killed, finished)
        # The next command finds its way, and leaves nothing behind.
        for name in [r["name"] for r in json.loads(lab.spine("list", "--dev", "eth0", "--json").stdout)]:
            lab.spine("remove", name, "--dev", "eth0")
        assert attached(lab.here) is None and not os.path.exists(state_of(lab.here))


if __name__ == "__main__":
    tap.run([ten_thousand_swaps, a_loss_would_be_seen, replaces, killed_under_load])
