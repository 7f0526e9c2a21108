#!/usr/bin/env python3
"""
What a policy does to extensions that run: revocation acts on the next packet, with no reload. policy.py PRICKLE

	there eth0 ---> here eth0 (the extension)		here eth1 ---> far eth0, here eth2 ---> far eth1
"""
import fcntl
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
from device import build  # noqa: E402
from lab import Lab, tap, wait_until  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
HEAD = r"""
#include <prickle/spine.h>
char LICENSE[] SEC("license") = "Dual MIT/GPL";
SPINE_EXTENSION(.name = NAME, .version = "1", .match = "udp port 7", .verdicts = VERDICTS);
"""
PORTS = HEAD + r"""
SPINE_PORTS;
SEC("xdp") int entry(struct xdp_md *ctx) { return spine_redirect(TARGET); }
"""
PLAIN = HEAD + r"""
SEC("xdp") int entry(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + 44 > end)
		return XDP_DROP;
	return bpf_redirect(data[42] << 8 | data[43], 0);	/* a packet says where */
}
"""
HELPER = HEAD + r"""
SEC("xdp") int entry(struct xdp_md *ctx)
{
	struct bpf_fib_lookup way = { .family = 2, .ifindex = ctx->ingress_ifindex };
	return bpf_fib_lookup(ctx, &way, sizeof(way), 0) == -1 ? XDP_DROP : XDP_PASS;
}
"""
LATER = HEAD + r"""
SEC("xdp") int entry(struct xdp_md *ctx) { return VERDICT; }
"""
REDIRECTS = "SPINE_REDIRECT | SPINE_ABORTED"
LOOKS = "SPINE_PASS | SPINE_DROP"


class Place(Lab):
    def __init__(self):
        super().__init__(PRICKLE)
        self.here, there, far = self.ns("here"), self.ns("there"), self.ns("far")
        self.a, b = self.veth(self.here, "eth0", there, "eth0", ["10.0.0.1/24"], ["10.0.0.2/24"])
        self.out = []
        self.sinks = []
        for number in (1, 2):
            port, end = self.veth(self.here, f"eth{number}", far, f"eth{number - 1}")
            self.out.append(port)
            self.sinks.append(self.sink(end, [(12, b"\x08\x00")]))       # no neighbour discovery
        # Each says in its first bytes where it would go.
        self.sources = [self.generator(b, frames.udp_frame(self.a.mac, b.mac, "10.0.0.2", "10.0.0.1", 5, 7, port.ifindex.to_bytes(2, "big") + bytes(28),
                                                           summed=False)) for port in self.out]

    def put(self, name, source, verdicts, **more):
        path = build(name, source, NAME=f'"{name}"', VERDICTS=verdicts, TARGET=self.out[0].ifindex, **more)
        try:
            return self.install(self.a, path, name=name)
        except AssertionError as why:
            if "which this build cannot do" in str(why):
                raise tap.Skip("no checks at run time in this build") from why
            raise

    def change(self, name, without="", **rights):
        """Apply the policy with these rights of one extension, less the lines that say `without`."""
        self.policy.domains.pop(name, None)
        self.policy.allow(name, **rights)
        self.policy.apply("\n".join(line for line in self.policy.source().split("\n") if not without or without not in line))

    def row(self, name):
        return json.loads(self.prickle(self.here, "spine", "show", name, "--dev", "eth0", "--json").stdout)

    def through(self, source=0, sink=0, count=64):
        """How many of the frames sent now come out, when nothing is under way any more."""
        before = seen = self.sinks[sink].packets
        self.sources[source].run(count)
        quiet = time.monotonic() + 0.1
        while time.monotonic() < quiet and seen < before + count:
            if self.sinks[sink].packets != seen:
                seen, quiet = self.sinks[sink].packets, time.monotonic() + 0.1
        return seen - before

    def passes(self, **more):
        """All frames come out. (The first after an interface was changed may not: veth makes its queues anew.)"""
        wait_until(lambda: self.through(**more) == 64, what="frames that pass")


def a_port_is_gone_with_the_next_packet():
    """a port that the policy takes is closed when the apply returns, under load, and the program is the same"""
    with Place() as lab:
        lab.policy.allow("ways", ports=["eth1"])
        ways = lab.put("ways", PORTS, REDIRECTS)
        program = ways.state()["id"]
        lab.passes()
        source = lab.sources[0]
        source.start(burst=64, pause_s=0.001)
        try:
            wait_until(lambda: lab.sinks[0].packets > 1000, what="frames that pass")
            lab.change("ways")                          # no ports any more
            time.sleep(0.5)                             # what the driver had in its queue
            before, sent = lab.sinks[0].packets, source.sent
            wait_until(lambda: source.sent > sent + 2000, what="frames that do not")
            assert lab.sinks[0].packets == before, (lab.sinks[0].packets, before)
        finally:
            source.stop()
        state = ways.state()
        assert state["state"] in ("active", "ejected") and state["id"] == program, state
        lab.prickle(lab.here, "spine", "enable", "ways", "--dev", "eth0")
        assert lab.through() == 0
        lab.change("ways", ports=["eth1"])
        lab.passes()
        assert ways.state()["id"] == program and ways.state()["state"] == "active"
        lab.change("ways", ports=["eth2"])
        assert lab.through() == 0 and lab.row("ways")["rights"]["ports"] == ["eth2"]


def a_verdict_is_gone_with_the_next_packet():
    """a verdict that the policy takes is a fault from the next packet on, and none when it gives it back"""
    with Place() as lab:
        drops = lab.put("drops", LATER, LOOKS, VERDICT="XDP_DROP")
        lab.sources[0].run(10)
        assert drops.state()["returned"]["drop"] == 10 and drops.state()["faults"]["verdict"] == 0
        lab.change("drops", verdicts=["pass"])
        lab.sources[0].run(10)
        assert drops.state()["faults"]["verdict"] == 10, drops.state()
        lab.change("drops")
        lab.sources[0].run(10)
        assert drops.state()["faults"]["verdict"] == 10 and drops.state()["state"] == "active", drops.state()


def a_revocable_helper_is_gone_with_the_next_packet():
    """a call that the policy takes is refused from the next packet on and recorded; the program is the same"""
    with Place() as lab:
        rights = {"uses": ["helper fib_lookup revocable"]}
        lab.policy.allow("asks", **rights)
        asks = lab.put("asks", HELPER, LOOKS)
        row = lab.row("asks")
        assert row["checks"] == 1 and row["rights"]["revocable"] == ["fib_lookup"] and row["refused"] == 0, row
        lab.sources[0].run(10)
        assert asks.state()["returned"]["pass"] == 10, asks.state()
        lab.change("asks")
        lab.sources[0].run(10)
        state = asks.state()
        assert state["returned"]["drop"] == 10 and state["state"] == "active" and state["id"] == row["id"], state
        after = lab.row("asks")
        assert after["refused"] == 10 and {r["helper"] for r in after["refusals"]} == {"fib_lookup"}, after["refusals"]
        assert not after["refusals"][0]["trial"] and after["refusals"][0]["function"] == "entry"
        text = lab.prickle(lab.here, "spine", "show", "asks", "--dev", "eth0").stdout
        assert "refused    bpf_fib_lookup() at instruction " in text and " of entry, " in text and "asks.c:" in text and "1 calls in its code, 10 refused" in text, text
        lab.change("asks", **rights)
        lab.sources[0].run(10)
        assert asks.state()["returned"]["pass"] == 20 and lab.row("asks")["refused"] == 10


def plain_redirects_are_checked():
    """bpf_redirect() reaches the ports that the policy allows, and no foreign one"""
    with Place() as lab:
        lab.policy.allow("plain", ports=["eth1"], uses=["helper redirect"])
        plain = lab.put("plain", PLAIN, REDIRECTS)
        assert lab.row("plain")["checks"] >= 1
        lab.passes()
        assert lab.through(source=1, sink=1) == 0
        row = lab.row("plain")
        assert row["returned"]["aborted"] == 64 and row["refused"] == 64, row
        assert {r["ifindex"] for r in row["refusals"]} == {lab.out[1].ifindex} and row["refusals"][0]["helper"] == "redirect", row["refusals"]
        lab.change("plain", uses=["helper redirect"])
        assert lab.through() == 0
        assert plain.state()["state"] != "disabled", plain.state()
        lab.prickle(lab.here, "spine", "enable", "plain", "--dev", "eth0")  # a busy machine may take it for a stall
        lab.change("plain", ports=["eth2"], uses=["helper redirect"])
        assert lab.through() == 0
        lab.passes(source=1, sink=1)


def what_it_was_linked_with_ends_it():
    """who lost a right that it was linked with is switched off with the line that it lacks, and comes back with the line"""
    with Place() as lab:
        rights = {"uses": ["helper fib_lookup"]}
        lab.policy.allow("linked", **rights)
        linked = lab.put("linked", HELPER, LOOKS)
        assert lab.row("linked")["checks"] == 0
        lab.sources[0].run(10)
        for less, word in ((None, "use helper fib_lookup"), ("attach, pass", "attach"), ("use map-type", None), ("program-type", "use program-type xdp"),
                           ("instructions", "limit x-linked instructions")):
            if less is None:
                lab.change("linked")
            elif less == "instructions":
                lab.change("linked", limits=["instructions 5"], **rights)
            else:
                lab.change("linked", without=less, **rights)
            state = linked.state()
            if word is None:                            # it uses no map: nothing is lost
                assert state["state"] == "active", state
                continue
            assert state["state"] == "disabled" and state["reason"].startswith("switched off by the policy: "), (less, state)
            assert f"{word}" in state["reason"], (less, state["reason"])
            assert "prickle policy apply" in state["next"], state
            packets = state["packets"]
            lab.sources[0].run(10)
            assert linked.state()["packets"] == packets
            done = lab.prickle(lab.here, "spine", "enable", "linked", "--dev", "eth0", check=False)
            assert done.returncode == 5 and "prickle policy apply" in done.stderr, done
            assert "! linked on eth0 is disabled" in lab.prickle(lab.here, "spine", "list", "--dev", "eth0").stdout
            lab.change("linked", **rights)
            assert linked.state()["state"] == "active", linked.state()
            lab.sources[0].run(10)
            assert linked.state()["packets"] == packets + 10
        # What a person switched off stays off.
        lab.prickle(lab.here, "spine", "disable", "linked", "--dev", "eth0")
        lab.change("linked")
        lab.change("linked", **rights)
        assert linked.state()["state"] == "disabled", linked.state()


def a_policy_that_is_refused_changes_nothing():
    """a policy with a mistake or a broken never leaves all extensions as they are"""
    with Place() as lab:
        lab.policy.allow("ways", ports=["eth1"])
        lab.put("ways", PORTS, REDIRECTS)
        done = lab.policy.apply(lab.policy.source() + "  never x-ways forward port\n", code=None)
        assert "never" in done.stderr, done
        lab.passes()
        lab.policy.apply("import default\nmodule lab allow nobody pass port\n", code=None)
        lab.passes()


def what_is_refused_at_link_time_is_explained_and_learnt():
    """an extension that is refused is in the audit: explain tells the line that it lacks, learn the lines for all of it"""
    with Place() as lab:
        lab.policy.allow("linked", verdicts=("drop",))
        lab.policy.apply()
        path = build("linked", HELPER, NAME='"linked"', VERDICTS=LOOKS)
        there = ["--policy", lab.policy.directory]
        for _ in range(2):                              # the second goes on in the same ring
            done = lab.prickle(lab.here, "spine", "install", path, "--dev", "eth0", "--name", "linked", *there, "--json", check=False)
            assert done.returncode == 5, done
        answer = json.loads(done.stdout)
        rules = [one["rule"] for one in answer["refused"]]
        assert "helper fib_lookup" in rules and "verdict pass" in rules, rules
        ring, sequence = answer["decision"].split("-")
        ids = [f"{ring}-{int(sequence, 16) + i:x}" for i in range(len(rules))]
        told = lab.prickle(None, "policy", "explain", ids[rules.index("helper fib_lookup")], *there).stdout
        assert "allow lab.x-linked use helper fib_lookup" in told and "by linked on helper fib_lookup" in told, told
        told = lab.prickle(None, "policy", "explain", ids[rules.index("verdict pass")], *there).stdout
        assert "allow lab.x-linked pass " in told and "on eth0" in told, told
        learnt = lab.prickle(None, "policy", "learn", *there).stdout
        assert learnt.count("allow lab.x-linked use helper fib_lookup\n") == 1 and "allow lab.x-linked pass " in learnt, learnt
        log = os.path.join(lab.directory(), "log")
        with open(log, "w", encoding="utf-8") as f:
            f.write(lab.prickle(None, "policy", "audit", "--json", *there).stdout)
            # A name that a hostile object chose makes no line of a policy.
            f.write(json.dumps({"result": "denied", "class": "port", "permission": "", "object": "", "subject": "lab.x-linked",
                                "what": "kfunc x\nallow lab.x-linked attach port"}) + "\n")
        assert json.loads(lab.prickle(None, "policy", "learn", log, "--json", *there).stdout)["uses"] == \
            ["allow lab.x-linked use helper fib_lookup"]
        lab.policy.allow("linked", uses=["helper fib_lookup"])
        lab.policy.apply()
        assert "fib_lookup" not in lab.prickle(None, "policy", "learn", *there).stdout
        lab.put("linked", HELPER, LOOKS)


def what_no_apply_told_them_the_next_command_does():
    """after an apply that was cut off, the next command that changes anything narrows the extensions: ports, and what they were linked with"""
    with Place() as lab:
        lab.policy.allow("ways")
        lab.policy.allow("linked")
        lab.policy.apply()
        first = os.readlink(os.path.join(lab.policy.directory, "current"))
        lab.policy.allow("ways", ports=["eth1"])
        lab.policy.allow("linked", uses=["helper fib_lookup"])
        lab.put("ways", PORTS, REDIRECTS)
        linked = lab.put("linked", HELPER, LOOKS)
        lab.passes()
        current = os.path.join(lab.policy.directory, "current")
        os.unlink(current)
        os.symlink(first, current)
        assert linked.state()["state"] == "active"
        later = build("later", LATER, NAME='"later"', VERDICTS=LOOKS, VERDICT="XDP_PASS")
        done = lab.prickle(lab.here, "spine", "install", later, "--dev", "eth0", "--name", "later", "--policy", lab.policy.directory, check=False)
        assert "1 extension cannot run" in done.stderr, done
        assert linked.state()["state"] == "disabled" and "use helper fib_lookup" in linked.state()["reason"], linked.state()
        assert lab.through() == 0 and lab.row("ways")["rights"]["ports"] == []


def other_directories_are_others():
    """extensions of another policy's directory are not touched"""
    with Place() as lab:
        lab.policy.allow("ways", ports=["eth1"])
        lab.put("ways", PORTS, REDIRECTS)
        other = os.path.join(lab.directory(), "other")
        text = os.path.join(lab.directory(), "other.policy")
        with open(text, "w", encoding="ascii") as f:
            f.write("import default\n")
        os.mkdir(other)
        lab.prickle(None, "policy", "apply", "--policy", other, text)
        lab.passes()


def an_apply_and_an_installation_exclude_each_other():
    """while an apply is at work nothing is installed, and the other way round: who comes second ends with 75 and what to do"""
    with Place() as lab:
        path = build("held", LATER, NAME='"held"', VERDICTS=LOOKS, VERDICT="XDP_PASS")
        lab.policy.allow("held")
        lab.policy.apply()
        install = ["spine", "install", path, "--dev", "eth0", "--name", "held", "--policy", lab.policy.directory]
        apply = ["policy", "apply", "--policy", lab.policy.directory, os.path.join(lab.directory(), "next.policy")]
        with open(apply[-1], "w", encoding="ascii") as f:
            f.write(lab.policy.source() + "  role more = principal in group \"more\"\n")
        with open(os.path.join(lab.policy.directory, "run", "lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = lab.prickle(lab.here, *install, check=False)
            assert done.returncode == 75 and "try again when it is done" in done.stderr, done
            fcntl.flock(lock, fcntl.LOCK_SH)
            done = lab.prickle(lab.here, *apply, check=False)
            assert done.returncode == 75 and "try again when it is done" in done.stderr, done
            lab.prickle(lab.here, *install)             # beside others that only need it to stay
        lab.prickle(lab.here, *apply)
        # Both at once, each holding what the other may want next: all of them end.
        both = [lab.here.start(PRICKLE, *words) for n in range(3) for words in (apply, install[:-3] + [f"held{n}"] + install[-2:])]
        ends = [one.wait(30) for one in both]
        assert set(ends) <= {0, 75}, ends
        lab.prickle(lab.here, "spine", "remove", "held", "--dev", "eth0")


def translated(path_or_id):
    """The instructions as the kernel has them, without what differs from load to load: ids and addresses."""
    done = subprocess.run(["bpftool", "prog", "dump", "xlated", *path_or_id, "opcodes"], capture_output=True, text=True, check=True)
    lines = [re.sub(r"map\[id:\d+\]", "map", line) for line in done.stdout.splitlines() if re.match(r"^\s*\d+: ", line)]
    return lines


def the_router_is_loaded_as_it_was_built():
    """the shipped router under policy has the same translated instructions as without: no check for any packet"""
    with Place() as lab:
        path = os.path.join(lab.directory(), "router.o")
        with open(lab.extension("router"), "rb") as f, open(path, "wb") as g:
            g.write(f.read())
        key = os.path.join(lab.directory(), "key")
        lab.prickle(None, "spine", "key", "new", key)
        public = lab.prickle(None, "spine", "key", "show", key).stdout.strip()
        lab.prickle(None, "spine", "sign", path, "--key", key)      # as the plain load: with the verifier's full powers
        lab.policy.more = f"  key ops = ed25519 {public}\n"
        lab.policy.allow("router", ports=["eth0", "eth1"], uses=["helper fib_lookup"], origin='ebpf object "router" signed-by ops')
        router = lab.install(lab.a, path, name="router")
        row = lab.row("router")
        assert row["tier"] == "vetted" and row["checks"] == 0, row
        plain = lab.load(path, "router")
        with_policy = translated(["id", str(row["id"])])
        without = translated(["pinned", os.path.join(plain.dir, plain.programs[0])])
        assert len(with_policy) > 100
        assert with_policy == without, [pair for pair in zip(with_policy, without) if pair[0] != pair[1]][:4]
        print(f"# {len(with_policy)} instructions, the same")
        router.remove()


if __name__ == "__main__":
    tap.run([a_port_is_gone_with_the_next_packet, a_verdict_is_gone_with_the_next_packet, a_revocable_helper_is_gone_with_the_next_packet,
             plain_redirects_are_checked, what_it_was_linked_with_ends_it, a_policy_that_is_refused_changes_nothing,
             what_is_refused_at_link_time_is_explained_and_learnt, what_no_apply_told_them_the_next_command_does, other_directories_are_others, an_apply_and_an_installation_exclude_each_other, the_router_is_loaded_as_it_was_built])
