#!/usr/bin/env python3
"""What people and collectors see of extensions: show, list's problems, metrics. show.py PRICKLE"""
import json
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402
import kernel_bpf as kb  # noqa: E402
from lab import Lab, tap, wait_until  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
EXTENSION = """
#include <prickle/spine.h>
SPINE_EXTENSION(.name = "%(name)s", .version = "7", .match = "%(match)s", .verdicts = SPINE_PASS | SPINE_DROP);
struct inner { __u32 lost; __s16 drift; };
typedef __u64 many;
struct counts {
	__u64 seen;
	const many by_kind[2];
	struct inner rare;
	__u32 bits : 3;
	void *not_a_number;
};
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct counts); } counters SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 50); __type(key, __u16); __type(value, __u32); } ports SEC(".maps");
SEC("xdp") int entry(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct counts *n = bpf_map_lookup_elem(&counters, &zero);
	unsigned char *p = (void *)(long)ctx->data;
	if (!n || (void *)(long)ctx->data_end < (void *)(p + 42))
		return XDP_DROP;
	n->seen++;
	*(many *)&n->by_kind[1] += 2;
	n->rare.drift--;
	__u16 port = p[37];
	bpf_map_update_elem(&ports, &port, &zero, BPF_ANY);
	return %(verdict)s;
}
struct set_limit { __u32 port; __u16 low, high[2]; };
static __always_inline int set_limit(struct set_limit *args, struct spine_message *m)
{
	return 0;
}
#define HANDLERS(H) H(3, set_limit, set_limit)
SPINE_HANDLERS(HANDLERS);
char LICENSE[] SEC("license") = "Dual MIT/GPL";
"""


class Place(Lab):
    def __enter__(self):
        super().__enter__()
        self.prickle_path = PRICKLE
        self.here = self.ns("here")
        self.a, self.b = self.veth(self.here, "eth0", self.ns("there"), "eth0", ["10.1.0.1/24"], ["10.1.0.2/24"])
        return self

    def make(self, name, match="udp", verdict="XDP_PASS"):
        path = os.path.join(self.directory(), f"{name}.bpf.c")
        with open(path, "w", encoding="ascii") as f:
            f.write(EXTENSION % {"name": name, "match": match, "verdict": verdict})
        self.prickle(None, "spine", "build", path)
        return path.replace(".bpf.c", ".o")

    def send(self, *ports):
        with self.b.raw() as raw:
            for port in ports:
                raw.send(frames.udp_frame(self.a.mac, self.b.mac, "10.1.0.2", "10.1.0.1", 1000, port, b"0123456789"))
        with self.here.socket(2, 2) as s:  # and one turn through the stack, so that the frames have arrived
            s.settimeout(2)
            s.bind(("10.1.0.1", 99))
            with self.b.ns.socket(2, 2) as t:
                t.sendto(b"", ("10.1.0.1", 99))
            s.recv(1)

    def show(self, name, *options, **more):
        return self.prickle(self.here, "spine", "show", name, "--dev", "eth0", *options, **more)


def show_tells_all():
    """show has rights with their line, counters by their names, maps with what is in them, and handlers with types"""
    with Place() as lab:
        first = lab.install(lab.a, lab.make("first"), ports=[lab.a])
        lab.send(7, 7, 8)
        row = json.loads(lab.show("first", "--json").stdout)
        assert row["name"] == "first" and row["version"] == "7" and row["state"] == "active" and row["tier"] == "untrusted", row
        assert row["counters"] == {"seen": 4, "by_kind_0": 0, "by_kind_1": 8, "rare_lost": 0, "rare_drift": -4}, row["counters"]
        maps = {m["name"]: m for m in row["maps"]}
        assert maps["ports"]["type"] == "hash" and maps["ports"]["entries"] == 3 and maps["ports"]["entries_max"] == 50, maps
        assert maps["counters"]["type"] == "percpu_array" and maps["counters"]["value_bytes"] == 48, maps
        assert maps["ports"]["memory_bytes"] > 0 and row["memory_bytes"] >= sum(m["memory_bytes"] for m in maps.values()) / 2, row
        handler, = row["messages"]
        assert (handler["id"], handler["name"], handler["bytes"]) == (3, "set_limit", 12), handler
        assert [(f["type"], f["name"], f["count"]) for f in handler["fields"]] == \
            [("__u32", "port", 1), ("__u16", "low", 1), ("__u16", "high", 2)], handler
        rights = row["rights"]
        assert rights["subject"] == "lab.x-first" and "lab.policy:" in rights["from"] and rights["ports"] == ["eth0"], rights
        assert rights["directory"] == os.path.realpath(lab.policy.directory) and rights["epoch"] == 1, rights
        assert "allow x-first forward p-eth0" in [line["text"] for line in rights["lines"]], rights["lines"]
        assert rights["instructions_max"] == 100000 and 0 < row["cost"] < 1000, row
        text = lab.show("first").stdout
        for part in ("first on eth0: active", "lab.x-first (", "ports eth0", ": allow x-first forward p-eth0", "3 set_limit(__u32 port, __u16 low, __u16 high[2])",
                     "pass 4", "faults     none", "by_kind_1", "at most "):
            assert part in text, (part, text)
        done = lab.show("second", check=False)
        assert done.returncode == 4 and "no extension 'second' on eth0" in done.stderr, done
        first.remove()


def show_survives_what_is_broken():
    """a policy that is gone since then, and an adopted program, are shown as far as they go"""
    with Place() as lab:
        lab.install(lab.a, lab.make("first"))
        os.rename(lab.policy.directory, lab.policy.directory + ".gone")
        row = json.loads(lab.show("first", "--json").stdout)
        assert row["rights"] is None and lab.policy.directory in row["rights_error"], row
        assert "rights     unknown: " in lab.show("first").stdout
        pins = os.path.join(lab.pins(), "guest")
        kb.pin(kb.load_program(kb.mov(0, kb.XDP_PASS) + kb.EXIT, name="guest"), pins)
        lab.prickle(None, "spine", "adopt", "--pinned", pins, "--dev", "eth0", "--netns", lab.here.name, "--match", "arp",
                    "--name", "guest")
        row = json.loads(lab.show("guest", "--json").stdout)
        assert row["tier"] == "adopted" and row["messages"] == [] and row["maps"] == [] and row["rights"] is None, row
        assert "since      adopted 2" in lab.show("guest").stdout
        lab.prickle(lab.here, "spine", "remove", "guest", "--dev", "eth0")


def list_names_problems_first():
    """list begins with what was ejected or does not run and what to do about it; --check tells by its exit code"""
    with Place() as lab:
        lab.install(lab.a, lab.make("good"))
        bad = lab.install(lab.a, lab.make("bad", verdict="XDP_TX"))

        def listed(*options):
            return lab.prickle(lab.here, "spine", "list", "--dev", "eth0", *options, check=False)
        assert listed().stdout.startswith("interface ") and listed("--check").returncode == 0
        generator = lab.generator(lab.b, frames.udp_frame(lab.a.mac, lab.b.mac, "10.1.0.2", "10.1.0.1", 1, 7, b"x" * 20))
        generator.start(burst=512, pause_s=0.001)
        try:
            wait_until(lambda: bad.state()["state"] == "ejected", what="verdicts without a right eject")
        finally:
            generator.stop()
        done = listed()
        assert done.returncode == 0 and done.stdout.startswith("! bad on eth0 is ejected: it returned verdicts that it may not\n"
                                                               "    next: `prickle spine show bad --dev eth0` tells"), done
        assert "\n\ninterface " in done.stdout and listed("--check").returncode == 3 and listed("--check", "--json").returncode == 3
        assert "`prickle spine show bad --dev eth0`" in bad.state()["next"]
        lab.prickle(lab.here, "spine", "disable", "bad", "--dev", "eth0")
        assert listed("--check").returncode == 0 and listed().stdout.startswith("interface ")
        lab.here.ip("link", "set", "eth0", "down")
        done = listed("--check")
        assert done.returncode == 3 and done.stdout.startswith("! good on eth0 is not-running: the interface is down\n"), done


NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
SAMPLE = re.compile(rf'({NAME})\{{({NAME}="(?:[^"\\\n]|\\["\\n])*"(?:,{NAME}="(?:[^"\\\n]|\\["\\n])*")*)\}} ([0-9]+(?:\.[0-9]+)?(?:e[-+][0-9]+)?)')


def open_metrics(text):
    """{(sample name, frozenset of labels): value} of OpenMetrics 1.0 text of counters and gauges, strictly read."""
    assert text.endswith("\n# EOF\n") or text == "# EOF\n", text[-80:]
    found, families, family, kind, helped = {}, set(), None, None, True
    for line in text.split("\n")[:-2]:
        if line.startswith("# TYPE "):
            name, kind = re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge)", line).groups()
            # Once a family, all its lines together; no name that another family's suffix would make.
            assert helped and name not in families and not name.endswith(("_total", "_created", "_info", "_bucket", "_count", "_sum")), line
            families.add(name)
            family, helped = name, False
            assert not name.endswith("_bytes") or kind == "gauge", line
        elif line.startswith("# HELP "):
            assert re.fullmatch(rf"# HELP {family} [^\\\n]+", line) and not helped, line
            helped = True
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert helped and name == family + ("_total" if kind == "counter" else ""), line
            pairs = re.findall(rf'({NAME})="((?:[^"\\]|\\.)*)"', labels)
            key = name, frozenset(pairs)
            assert len(dict(pairs)) == len(pairs) and key not in found, line
            found[key] = float(value)
    return found


def metrics_are_open_metrics():
    """metrics has all that is counted of devices and extensions, in text that a strict reader of OpenMetrics takes"""
    with Place() as lab:
        lab.install(lab.a, lab.make("first", match="udp dst port 7"))
        with open(os.path.join(lab.directory(), "odd.bpf.c"), "w", encoding="ascii") as f:
            f.write((EXTENSION % {"name": "odd", "match": "udp dst port 8", "verdict": "XDP_DROP"}).replace(
                '"7"', r'"a\"b\\"'))
        lab.prickle(None, "spine", "build", os.path.join(lab.directory(), "odd.bpf.c"))
        lab.install(lab.a, os.path.join(lab.directory(), "odd.o"))
        lab.send(7, 7, 8)
        here = {("device", "eth0")}

        def all_of(done):
            return open_metrics(done.stdout)
        for rows, place in ((all_of(lab.prickle(lab.here, "spine", "metrics", "--dev", "eth0")), here),
                            (all_of(lab.prickle(None, "spine", "metrics", "--netns", lab.here.name)),
                             here | {("netns", lab.here.name)})):
            def value(name, *labels):
                return rows["prickle_spine_" + name, frozenset(place | set(labels))]
            first, odd = ("extension", "first"), ("extension", "odd")
            assert value("device_packets_total") >= 4 and value("device_running") == 1
            assert value("device_packets_total") == value("device_unmatched_packets_total") + 3
            assert value("extension_packets_total", first) == 2 and value("extension_packets_total", odd) == 1
            assert value("extension_verdicts_total", odd, ("verdict", "drop")) == 1
            assert value("extension_faults_total", odd, ("fault", "stall")) == 0
            assert value("extension_state", odd, ("state", "active")) == 1 and value("extension_state", odd, ("state", "ejected")) == 0
            assert value("extension_counts_total", first, ("counter", "by_kind_1")) == 4
            assert value("extension_memory_bytes", first) > 4096 and value("extension_cost_instructions", first) > 10
            assert not any(("counter", "rare_drift") in labels for _, labels in rows)
            odds, = [dict(labels) for name, labels in rows if name.endswith("_identity") and odd in labels]
            assert odds["version"] == r'a\"b\\' and odds["tier"] == "untrusted", odds
        assert open_metrics(lab.prickle(lab.here, "spine", "metrics", "--dev", "lo").stdout) == {}


if __name__ == "__main__":
    tap.run([show_tells_all, show_survives_what_is_broken, list_names_problems_first, metrics_are_open_metrics])
