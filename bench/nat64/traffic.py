"""What all measurements of the translator share: processors, processor time, and the table of results."""
import json
import os
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
sys.path.insert(0, os.path.join(ROOT, "tests/nat64"))
import lab as labs  # noqa: E402

from flows import flows4, flows6  # noqa: E402,F401

frames, kb = labs.frames, labs.kb


def alone():
    """The calling thread on one processor, before all ordinary work there: what disturbs it is not counted, and waits."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))


def ordinary():
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.sched_setaffinity(0, set(range(os.cpu_count())))


def cpu_ns(pid):
    """Processor time of all threads of a process."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def spread(values):
    """Median, 10th and 90th percentile."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]


class Rows:
    """The table that people read, and the same for --json."""

    def __init__(self):
        self.rows = []

    def add(self, name, value, unit, spread_=None, target=None, least=True, note=""):
        """target: least (or most) that is asked for; the row says whether it is met."""
        met = None if target is None else (value >= target if least else value <= target)
        text = f"{name:<58}{value:>10.3f} {unit:<6}"
        text += f"{spread_[0]:>8.3f} ..{spread_[1]:>8.3f}" if spread_ else " " * 18
        if target is not None:
            text += f"   target {'>=' if least else '<='} {target:g}: {'met' if met else 'MISSED'}"
        print(text + (f"   {note}" if note else ""), flush=True)
        self.rows.append({"name": name, "value": value, "unit": unit, "spread": spread_, "target": target, "met": met, "note": note})

    def missed(self):
        return [row["name"] for row in self.rows if row["met"] is False]

    def finish(self, path):
        """Write the rows to a file, if there is a path; the exit status: 1 when a target was missed."""
        if path:
            with open(path, "w", encoding="utf-8") as f:
                json.dump({"rows": self.rows}, f, indent=2)
        return 1 if self.missed() else 0


def progress(text):
    if sys.stderr.isatty():
        print(f"{text:<70}", end="\r", file=sys.stderr, flush=True)
