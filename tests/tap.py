"""Test cases that speak TAP: functions in order, a failure is an exception."""
import sys
import traceback


class Skip(Exception):
    """Raised by a case that cannot run here; its text says why."""


def run(cases):
    """Run each function; its docstring or name is the sentence. Exit 1 when one failed."""
    print(f"1..{len(cases)}", flush=True)
    failed = 0
    for number, case in enumerate(cases, 1):
        name = (case.__doc__ or case.__name__.replace("_", " ")).strip().split("\n")[0]
        try:
            case()
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except BaseException as why:  # a KeyboardInterrupt, too, must end as "not ok"
            failed += 1
            print(f"not ok {number} - {name}", flush=True)
            text = str(why) if isinstance(why, AssertionError) and str(why) else traceback.format_exc()
            for line in text.splitlines():
                print(f"# {line}", file=sys.stderr, flush=True)  # meson shows this when a test fails
            if isinstance(why, KeyboardInterrupt):
                break
    sys.exit(1 if failed else 0)
