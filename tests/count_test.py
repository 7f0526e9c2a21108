#!/usr/bin/env python3
"""What count.py makes of meson's reports, of runs that ended in each way."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap  # noqa: E402

COUNT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "count.py")
CASE = '<testcase name="{name}" classname="prickle.{suite}">{how}</testcase>'


def counted(*runs):
    """count.py's exit status and lines; each run: name, meson's result, exit status, [(case, failed)], standard error."""
    with tempfile.TemporaryDirectory() as folder:
        xml, lines = "", ""
        for name, result, code, cases, text in runs:
            xml += "<testsuite>" + "".join(CASE.format(name=case, suite=name, how="<failure/>" * bad) for case, bad in cases) + "</testsuite>"
            lines += json.dumps({"name": name, "result": result, "returncode": code, "duration": 1.5, "stdout": "1..1\n", "stderr": text}) + "\n"
        for ending, text in (("junit.xml", f"<testsuites>{xml}</testsuites>"), ("json", lines)):
            with open(os.path.join(folder, f"check.{ending}"), "w", encoding="utf-8") as f:
                f.write(text)
        done = subprocess.run([sys.executable, COUNT, os.path.join(folder, "check.junit.xml")], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()


def what_passed_passes():
    assert counted(("a", "OK", 0, [("1", False), ("2", False)], "")) == (0, ["2 passed, 0 failed"])


def a_failed_case_is_told_with_the_last_words_of_its_script():
    code, lines = counted(("a", "OK", 0, [("1", False)], "quiet"),
                          ("b", "ERROR", 1, [("1", True)], "\n".join(f"line {i}" for i in range(500)) + "\nwhy"))
    assert code == 1 and lines[-1] == "1 passed, 1 failed" and lines[-2] == "failed: prickle.b 1", lines
    assert lines[-3] == "why" and len(lines) < 100 and "quiet" not in lines, lines


def a_crash_or_a_time_limit_after_cases_that_passed_is_a_failure():
    for result, code, said in (("ERROR", -11, "b: killed by signal 11"), ("ERROR", 23, "b: error, exit status 23"),
                               ("TIMEOUT", -15, "b: took too long, after 2 s")):
        status, lines = counted(("b", result, code, [("1", False)], ""))
        assert status == 1 and lines[-1] == "1 passed, 1 failed" and lines[-2] == f"failed: {said}", lines


def nothing_that_passed_is_a_failure():
    assert counted(("a", "SKIP", 77, [], ""))[0] == 1


tap.run([what_passed_passes, a_failed_case_is_told_with_the_last_words_of_its_script,
         a_crash_or_a_time_limit_after_cases_that_passed_is_a_failure, nothing_that_passed_is_a_failure])
