#!/usr/bin/env python3
"""`prickle dvm verify` against a JVM: verify.py PRICKLE.

Every class of the JDK and of jars is accepted, hostile jars are refused; and of classes with one thing changed, from a seed, each is accepted or refused as that JVM does. VERIFY_MUTANTS and VERIFY_SEED change how
many and which; a disagreement that is known has a row with its reason in verify_known.txt.
"""
import glob
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

import mutants
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import tap  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
HERE = os.path.dirname(os.path.abspath(__file__))
COUNT = int(os.environ.get("VERIFY_MUTANTS", "1500"))
SEED = int(os.environ.get("VERIFY_SEED", "1"))
TEMPORARY = tempfile.TemporaryDirectory(prefix="prickle-dvm-verify-")
WORK = TEMPORARY.name
CLASSES = os.path.join(WORK, "classes")


def jdk():
    """The JDK in JAVA_HOME, or where javac is."""
    javac = shutil.which("javac")
    home = os.environ.get("JAVA_HOME") or (javac and os.path.dirname(os.path.dirname(os.path.realpath(javac))))
    if not home or not os.path.exists(os.path.join(home, "bin", "jimage")):
        raise tap.Skip("no JDK with javac and jimage was found")
    return home


def run(*args, **more):
    return subprocess.run(args, capture_output=True, text=True, errors="replace", timeout=600, **more)


def verify(*args):
    """Our verdict: the JSON, and faults by the name of the file."""
    result = run(PRICKLE, "dvm", "verify", "--json", "--jdk", jdk(), *args)
    assert result.returncode in (0, 1) and result.stdout, result.stdout + result.stderr
    verdict = json.loads(result.stdout)
    return verdict, {fault["file"]: fault for fault in verdict["faults"]}


def corpus():
    """Classes of the JDK's compiler: real code, in packages that a loader of our own may define."""
    if not os.path.exists(CLASSES):
        os.makedirs(CLASSES)
        result = run(os.path.join(jdk(), "bin", "jimage"), "extract", "--dir", CLASSES, "--include", "regex:/jdk.compiler/com/sun/tools/javac/.*",
                     os.path.join(jdk(), "lib", "modules"))
        assert result.returncode == 0, result.stderr
    folder = os.path.join(CLASSES, "jdk.compiler")
    files = sorted(os.path.join(at, name) for at, _, names in os.walk(folder) for name in names
                   if name.endswith(".class") and os.path.getsize(os.path.join(at, name)) < 30000)
    assert len(files) > 500, f"{len(files)} classes"
    return folder, files


def oracle(folder, paths):
    """A JVM's verdict on each file; it is started again behind a class that ended it."""
    where = os.path.join(WORK, "oracle")
    if not os.path.exists(where):
        result = run(os.path.join(jdk(), "bin", "javac"), "-d", where, os.path.join(HERE, "VerifyOracle.java"))
        assert result.returncode == 0, result.stderr
    verdicts, todo = {}, list(paths)
    while todo:
        result = run(os.path.join(jdk(), "bin", "java"), "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", where, "VerifyOracle", folder,
                     input="\n".join(todo) + "\n")
        rows = [line.split("\t") for line in result.stdout.splitlines()]
        rows = [row for row in rows if len(row) >= 3]
        verdicts.update({row[0]: (row[1], row[2]) for row in rows})
        if len(rows) >= len(todo):
            break
        verdicts[todo[len(rows)]] = ("crash", result.stderr[-300:])
        todo = todo[len(rows) + 1:]
    return verdicts


def known():
    """Rows "pattern of the JVM's message | reason"."""
    rows = []
    with open(os.path.join(HERE, "verify_known.txt"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                pattern, reason = line.split("|", 1)
                rows.append((re.compile(pattern.strip()), reason.strip()))
    return rows


# What says nothing about this class: one that it needs is broken or not there, or the loader forbids it.
NO_VERDICT = ("missing", "other", "elsewhere", "crash")


def compare(name, count, version):
    folder, files = corpus()
    out = os.path.join(WORK, name)
    os.makedirs(out)
    changed = {}
    for i in range(count):
        source = files[(i * 7919 + SEED * 31) % len(files)]
        with open(source, "rb") as f:
            original = f.read()
        if version:
            original = mutants.with_version(original, version)
        # Of old versions half stay as they are: code without frames is what inference is for.
        data, what = (original, "nothing") if version and i % 2 == 0 else mutants.mutate(original, SEED * 1000003 + i)
        if data is None:
            continue
        path = os.path.join(out, f"m{i:05d}.class")
        with open(path, "wb") as f:
            f.write(data)
        changed[path] = (os.path.relpath(source, folder), what)
    summary, ours = verify(out, "--classpath", folder)
    theirs = oracle(folder, sorted(changed))
    assert summary["classes"] == len(changed) and len(theirs) == len(changed), (summary["classes"], len(theirs), len(changed))
    excuses, wrong, compared = known(), [], {"accepted": 0, "refused": 0}
    for path, (source, what) in sorted(changed.items()):
        verdict, message = theirs[path]
        if verdict in NO_VERDICT or any(pattern.search(message) for pattern, _ in excuses):
            continue
        accepted = verdict == "accepted"
        compared["accepted" if accepted else "refused"] += 1
        if accepted == (path in ours):
            fault = ours.get(path)
            wrong.append(f"{source}, {what}: the JVM says {verdict} {message}; we say " + (f"{fault['section']} {fault['reason']}" if fault else "accepted"))
    assert not wrong, "\n".join([f"{len(wrong)} of {len(changed)}"] + wrong[:20])
    # Both kinds are there in numbers, or the test says little.
    assert compared["accepted"] > count / 20 and compared["refused"] > count / 20, compared


def every_class_of_the_jdk_is_accepted():
    verdict, faults = verify(os.path.join(jdk(), "lib", "modules"))
    assert verdict["classes"] > 20000 and not faults and not verdict["unreadable"], (verdict["classes"], list(faults.values())[:5])
    assert verdict["open"] == 0, verdict["open"]


def classes_with_one_change_are_judged_as_a_jvm_judges_them():
    compare("changed", COUNT, None)


def old_classes_are_inferred_as_a_jvm_infers_them():
    compare("old", COUNT // 2, 48)


def version_50_falls_back_where_a_jvm_does():
    compare("fifty", COUNT // 3, 50)


def a_verdict_names_section_method_and_instruction():
    bad = os.path.join(WORK, "bad")
    os.makedirs(bad)
    source = os.path.join(WORK, "Bad.java")
    with open(source, "w", encoding="utf-8") as f:
        f.write("class Bad { static int m(int x) { return x + 1; } }\n")
    assert run(os.path.join(jdk(), "bin", "javac"), "-d", bad, source).returncode == 0
    path = os.path.join(bad, "Bad.class")
    with open(path, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:
        f.write(data.replace(b"\x1a\x04\x60\xac", b"\x1a\x0b\x60\xac"))  # iconst_1 becomes fconst_0
    result = run(PRICKLE, "dvm", "verify", "--jdk", jdk(), path)
    assert result.returncode == 1 and "JVMS 4.10.1.9.iadd: Bad.m(I)I at 2: float is on the operand stack, int is expected" in result.stdout, result.stdout
    certificates = os.path.join(WORK, "certificates")
    result = run(PRICKLE, "dvm", "verify", "--jdk", jdk(), "--certificate", certificates, path)
    with open(certificates, encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    assert len(rows) == 1 and rows[0]["class"] == "Bad" and rows[0]["verdict"] == "refused" and len(rows[0]["sha256"]) == 64, rows


def a_file_that_is_no_class_is_refused():
    path = os.path.join(WORK, "nothing.class")
    for content in (b"", b"\xca\xfe\xba\xbe", os.urandom(5000)):
        with open(path, "wb") as f:
            f.write(content)
        result = run(PRICKLE, "dvm", "verify", path)
        assert result.returncode == 1 and "refused" in result.stdout, result


def jar(entries):
    """The bytes of a jar; an entry's content may be entries, which become a jar within."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in entries.items():
            z.writestr(name, jar(content) if isinstance(content, dict) else content)
    return out.getvalue()


def verify_bytes(name, content):
    path = os.path.join(WORK, name)
    with open(path, "wb") as f:
        f.write(content)
    verdict, faults = verify(path)
    return verdict, {at.removeprefix(path): fault for at, fault in faults.items()}


def compiled(**sources):
    """Class files by class, of sources that see each other."""
    with tempfile.TemporaryDirectory(dir=WORK) as at:
        for name, text in sources.items():
            with open(os.path.join(at, name + ".java"), "w", encoding="utf-8") as f:
                f.write(text)
        result = run(os.path.join(jdk(), "bin", "javac"), "-d", at, *(os.path.join(at, name + ".java") for name in sources))
        assert result.returncode == 0, result.stderr
        classes = {}
        for name in sources:
            with open(os.path.join(at, name + ".class"), "rb") as f:
                classes[name] = f.read()
        return classes


FAMILY = {"A": "class A { }", "B": "class B extends A { }", "U": "class U { static A f(B b) { return b; } }"}


def classes_see_those_of_their_jar_and_of_jars_within():
    c = compiled(**FAMILY)
    a, b, u = c["A"], c["B"], c["U"]
    bad = u.replace(b"\x2a\xb0", b"\x03\xb0")  # aload_0 becomes iconst_0
    assert bad != u
    verdict, faults = verify_bytes("alone.jar", jar({"U.class": u}))
    assert not faults and (verdict["accepted"], verdict["open"]) == (1, 1), verdict
    for name, content in (("flat.jar", {"U.class": u, "A.class": a, "B.class": b}),
                          ("boot.jar", {"BOOT-INF/classes/U.class": u, "BOOT-INF/lib/ab.jar": {"A.class": a, "B.class": b}}),
                          ("web.war", {"WEB-INF/classes/A.class": a, "WEB-INF/lib/u.jar": {"U.class": u}, "WEB-INF/lib/b.jar": {"B.class": b}})):
        verdict, faults = verify_bytes(name, jar(content))
        assert not faults and not verdict["unreadable"] and (verdict["accepted"], verdict["open"]) == (3, 0), (name, verdict)
    verdict, faults = verify_bytes("module.jmod", b"JM\1\0" + jar({"classes/U.class": u, "classes/A.class": a, "classes/B.class": b, "bin/tool": b""}))
    assert not faults and not verdict["unreadable"] and (verdict["accepted"], verdict["open"]) == (3, 0), verdict
    verdict, faults = verify_bytes("deep.war", jar({"lib/one.jar": {"lib/two.jar": {"U.class": bad, "A.class": a, "B.class": b}}}))
    assert list(faults) == ["!/lib/one.jar!/lib/two.jar!/U.class"] and verdict["accepted"] == 2, (verdict, faults)


def versions_of_a_multi_release_jar_are_judged_beside_their_own():
    c = compiled(**FAMILY)
    stranger = compiled(B="class B { }")["B"]
    entries = {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\r\nMulti-Release: true\r\n\r\n", "A.class": c["A"], "B.class": c["B"], "U.class": c["U"]}
    verdict, faults = verify_bytes("same.jar", jar({**entries, "META-INF/versions/11/U.class": c["U"], "META-INF/versions/17/B.class": stranger}))
    assert not faults and (verdict["accepted"], verdict["open"]) == (5, 0), (verdict, faults)
    # Where version 11 is run, B is no A.
    verdict, faults = verify_bytes("other.jar", jar({**entries, "META-INF/versions/11/U.class": c["U"], "META-INF/versions/9/B.class": stranger}))
    assert list(faults) == ["!/META-INF/versions/11/U.class"] and verdict["accepted"] == 4, (verdict, faults)


def jars_of_others_are_accepted():
    names = ("asm", "asm-tree", "bcprov", "byte-buddy", "clojure", "scala-library")
    jars = [at for name in names for at in glob.glob(f"/usr/share/java/{name}.jar")]
    if not jars:
        raise tap.Skip("none of libasm-java, libbcprov-java, libbyte-buddy-java, libclojure-java, scala-library is installed")
    count = 0
    for at in jars:
        with zipfile.ZipFile(at) as z:
            count += sum(name.endswith(".class") for name in z.namelist())
    verdict, faults = verify(*jars)
    assert not faults and not verdict["unreadable"] and verdict["classes"] == verdict["accepted"] == count, (verdict, count)


def hostile_jars_are_refused_with_the_reason():
    c = compiled(**FAMILY)
    a, b = c["A"], c["B"]
    good = jar({"A.class": a, "B.class": b})
    for name, content, words in (("empty.jar", b"", "refused: "), ("noise.jar", os.urandom(5000), "refused: "), ("cut.jar", good[:-30], "refused: "),
                                 ("climbs.jar", jar({"../A.class": a}), "'../A.class'"), ("absolute.jar", jar({"/A.class": a}), "'/A.class'"),
                                 ("lies.jar", good.replace(len(a).to_bytes(4, "little") * 2, (len(a) + 9).to_bytes(4, "little") * 2), "refused: "),
                                 ("manifests.jar", jar({"META-INF/MANIFEST.MF": b"", "meta-inf/manifest.mf": b"", "A.class": a}), "two manifests"),
                                 ("module.jmod", b"JM\1\0" + good[:-30], "refused: ")):
        verdict, faults = verify_bytes(name, content)
        assert verdict["classes"] == 0 and len(verdict["unreadable"]) == 1 and words in verdict["unreadable"][0], (name, verdict)
    # What can be read of a jar is judged.
    changed = good.replace(a, a[:-1] + b"\x7f", 1)
    verdict, faults = verify_bytes("changed.jar", changed)
    assert verdict["accepted"] == 1 and "cannot be read" in faults["!/A.class"]["reason"], verdict
    verdict, faults = verify_bytes("within.jar", jar({"A.class": a, "lib/\x1b[2Jx.jar": b"PK", "a.jar": {"b.jar": {"c.jar": {"B.class": b}}}}))
    reasons = "\n".join(verdict["unreadable"])
    assert verdict["accepted"] == 1 and len(verdict["unreadable"]) == 2 and "deeper than 2" in reasons and "\x1b" not in reasons, verdict


tap.run([classes_see_those_of_their_jar_and_of_jars_within, versions_of_a_multi_release_jar_are_judged_beside_their_own, jars_of_others_are_accepted,
         hostile_jars_are_refused_with_the_reason, a_verdict_names_section_method_and_instruction, a_file_that_is_no_class_is_refused, every_class_of_the_jdk_is_accepted,
         classes_with_one_change_are_judged_as_a_jvm_judges_them, old_classes_are_inferred_as_a_jvm_infers_them, version_50_falls_back_where_a_jvm_does])
