#!/usr/bin/env python3
"""A hardened JDK: programs run as before, each kind of operation is denied, and what gets around the guard is tried.

harden.py PRICKLE: hardens the JDK whose javac is in PATH, once, below a temporary directory.
"""
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guard")
WORK = os.path.realpath(tempfile.mkdtemp(prefix="prickle-harden-"))
JDK, STORE, AUDIT = f"{WORK}/jdk", f"{WORK}/policy", f"{WORK}/audit.jsonl"
OPEN, SECRET, START = f"{WORK}/open", f"{WORK}/secret", f"{WORK}/start"
EVERYTHING = """
  allow {0} read, write, create, delete, exec all, opened, plugin
  allow {0} connect, listen, send anywhere
  allow {0} native, define, reflect, exit, environment, property, thread, agent code
  allow {0} fork kernel
"""
PORT = None


def run(*command, code=0, timeout=60, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, cwd=START, **more)
    assert code is None or done.returncode == code, f"{command}: exit {done.returncode}, not {code}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def policy(more="", app="  allow app define, reflect, environment, property, thread code\n"):
    """bare has one tree, app rights in its machine too, free all."""
    with open(f"{WORK}/demo.policy", "w", encoding="utf-8") as out:
        out.write("import default\nmodule demo\n")
        for name in ["bare", "app", "free", "other"]:
            out.write(f'  domain {name} = jvm code "{WORK}/{name}.jar"\n')
        out.write(f'  label file all = tree "/"\n  label file opened = tree "{OPEN}"\n  label file plugin = file "{WORK}/plugin.jar"\n'
                  "  label endpoint anywhere = host any port any\n  allow bare, app read, write, create, delete opened\n  allow app read plugin\n")
        out.write(app + EVERYTHING.format("free") + more)
    return run(PRICKLE, "policy", "apply", "--yes", "--policy", STORE, f"{WORK}/demo.policy")


def settings(mode="enforce", table=None):
    """The same image with other settings: what `harden` writes at its end."""
    with open(f"{JDK}/lib/prickle.properties", encoding="utf-8") as file:
        text = re.sub(r"(?m)^mode=.*$", f"mode={mode}", file.read())
    text = re.sub(r"(?m)^table=.*$", f"table={table or STORE + '/run/table'}", text)
    with open(f"{JDK}/lib/prickle.properties", "w", encoding="utf-8") as file:
        file.write(text)


def java(*words, code=0, **more):
    return run(f"{JDK}/bin/java", *words, code=code, **more)


def probe(jar, *names, flags=(), code=0, tell="-"):
    """{name: outcome} of what Probe of this jar tries."""
    told = java(*flags, "-cp", f"{WORK}/{jar}.jar", "Probe", OPEN, SECRET, START, f"{WORK}/plugin.jar", f"{WORK}/free.jar", str(PORT), tell, *names,
                code=code)
    return dict(line.split(": ", 1) for line in told.splitlines() if re.match(r"[a-z]+[a-zA-Z.]*: ", line))


def fresh():
    """What probes may remove is there again."""
    for name in ["text", "gone", "gone2", "gone3", "gone4", "gone5"]:
        with open(f"{SECRET}/{name}", "w", encoding="utf-8") as out:
            out.write("secret\n")
    for name in ["new", "dir", "dir2", "made", "made2", "made4", "moved", "socket", "symbolic", "written"]:
        path = f"{SECRET}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.unlink(path)
    with open(f"{OPEN}/moved", "w", encoding="utf-8"):
        pass


def set_up():
    """a JDK is hardened, tested under a policy that allows nothing, and says what it is"""
    javac = shutil.which("javac")
    if not javac:
        raise tap.Skip("there is no javac: install openjdk-17-jdk-headless")
    for directory in [OPEN, SECRET, START, f"{WORK}/classes", f"{WORK}/sources"]:
        os.mkdir(directory)
    with open(f"{SOURCES}/Payload.java", encoding="utf-8") as file:
        payload = file.read()
    with open(f"{WORK}/sources/Payload2.java", "w", encoding="utf-8") as out:
        out.write(payload.replace("class Payload ", "class Payload2 "))
    run(javac, "-nowarn", "-Xlint:none", "-d", f"{WORK}/classes", *glob.glob(f"{SOURCES}/*.java"), f"{WORK}/sources/Payload2.java")
    for name in ["bare", "app", "free", "other", "plugin"]:
        run("jar", "cf", f"{WORK}/{name}.jar", "-C", f"{WORK}/classes", ".")
    shutil.copy(f"{WORK}/plugin.jar", f"{SECRET}/a.jar")
    os.symlink(SECRET, f"{OPEN}/out")
    os.symlink(f"{SECRET}/text", f"{OPEN}/outfile")
    os.symlink("x", f"{SECRET}/link")
    with open(f"{OPEN}/text", "w", encoding="utf-8") as out:
        out.write("open\n")
    fresh()
    source = os.path.dirname(os.path.dirname(os.path.realpath(javac)))
    told = run(PRICKLE, "dvm", "harden", "--jdk", source, "--out", JDK, "--mode", "enforce", "--audit", AUDIT, "--policy", STORE, timeout=120)
    assert "denied what it tried" in told, told
    policy()
    told = json.loads(run(PRICKLE, "dvm", "status", JDK, "--json"))
    assert told[0]["mode"] == "enforce" and told[0]["stale"] is False, told
    settings()


def need_jdk():
    if not os.path.isdir(JDK):
        raise tap.Skip("there is no hardened JDK")


def as_before():
    """java, javac and programs from jars work where nothing is denied: learning, and enforcing with all rights"""
    need_jdk()
    with open(f"{WORK}/sources/Hello.java", "w", encoding="utf-8") as out:
        out.write("public class Hello { public static void main(String[] a) { record P(int x) { } System.out.println(\"hello \" + new P(a.length)); } }\n")
    for mode in ["learn", "enforce"]:
        settings(mode)
        assert "17" in java("-version")
        run(f"{JDK}/bin/javac", "-d", START, f"{WORK}/sources/Hello.java")
        assert "hello P[x=2]" in java("-cp", START, "Hello", "a", "b") if mode == "learn" else True  # no domain names that directory
    settings()
    fresh()
    told = probe("free", "io?", "nio?", "exec?", "native?", "define?", "environment?", "property?", "thread?", "net.listen?", "net.send?", "by.lambda?")
    assert len(told) > 60, told
    bad = {name: how for name, how in told.items() if how != "done" and name not in ["net.sendConnected"]}
    # Rights of the policy are all that is given: what the module system refuses stays refused.
    assert not bad, bad
    java("-cp", f"{WORK}/free.jar", "Probe", OPEN, SECRET, START, "-", "-", str(PORT), "-", "exit", code=9)


def kinds():
    """each kind of operation is denied to code without the right, and nothing happened"""
    need_jdk()
    fresh()
    before = sorted(os.listdir(SECRET))
    told = probe("bare", "io?", "nio?", "net?", "exec?", "native?", "define?", "reflect?", "unsafe", "environment?", "property?", "thread?", "exit", "halt")
    bad = {name: how for name, how in told.items() if how != "denied"}
    assert len(told) >= 70 and not bad, (len(told), bad)
    assert sorted(os.listdir(SECRET)) == before
    with open(f"{SECRET}/text", encoding="utf-8") as file:
        assert file.read() == "secret\n"


def bypasses():
    """reflection, handles, proxies, other threads, serialization, defined classes, loaders, links and odd paths change nothing"""
    need_jdk()
    fresh()
    before = sorted(os.listdir(SECRET))
    told = probe("app", "by?", "net?")
    others = {
        "by.finalThread": "java.lang.IllegalStateException: seen at the end",
        "by.urlLoader": "java.lang.ClassNotFoundException: Payload",
        "by.fileSubclass": f"java.io.FileNotFoundException: {OPEN}/none (No such file or directory)",
    }
    bad = {name: how for name, how in told.items() if how != others.get(name, "denied")}
    assert len(told) >= 55 and not bad, (len(told), bad)
    assert sorted(os.listdir(SECRET)) == before
    for name in ["unsafe", "native", "reflect.core"]:
        assert probe("app", name) == {name: "denied"}


def sentence():
    """a denial names who, what, the rule's epoch and the decision, which is in the record"""
    need_jdk()
    told = probe("bare", "io.read", tell="tell")["io.read"]
    assert re.fullmatch(rf"denied prickle: demo.bare may not read file '{SECRET}/text' \(no rule of epoch \d+ allows it; decision (\S+): .*\)", told), told
    decision = re.search(r"decision (\S+):", told).group(1)
    with open(AUDIT, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    row = [each for each in rows if each["decision"] == decision][-1]
    assert row["result"] == "denied" and row["subject"] == "demo.bare" and row["what"] == f"{SECRET}/text" and "Probe.read" in row["method"], row
    told = run(PRICKLE, "dvm", "explain", decision, "--jdk", JDK)
    assert re.search(r"^domain +demo\.bare$", told, re.M) and "\n  allow bare read all\n" in told, told
    assert json.loads(run(PRICKLE, "dvm", "explain", decision, "--audit", AUDIT, "--json"))["decision"] == decision
    assert "no decision '1-ffff'" in run(PRICKLE, "dvm", "explain", "1-ffff", "--jdk", JDK, code=4)


def flags():
    """what the launcher can be told to open, replace or load before the guard ends the machine, with a sentence"""
    need_jdk()
    app = ["-cp", f"{WORK}/app.jar", "Probe", OPEN, SECRET, START, "-", "-", "9", "-", "io.list"]
    with open(f"{WORK}/manifest", "w", encoding="utf-8") as out:
        out.write("Premain-Class: Payload\n")
    run("jar", "cfm", f"{WORK}/agent.jar", f"{WORK}/manifest", "-C", f"{WORK}/classes", ".")
    for flag in ["--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED", f"--patch-module=java.base={WORK}/app.jar",
                 f"-Xbootclasspath/a:{WORK}/app.jar", f"-javaagent:{WORK}/agent.jar", "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n",
                 "-Djava.system.class.loader=Probe$Loader", "-Djava.security.manager=allow", "-XX:-DisableAttachMechanism"]:
        told = java(flag, *app, code=None)
        assert "would undo it" in told and "io.list" not in told, (flag, told)
    told = java("--add-opens", "java.base/java.lang=ALL-UNNAMED", *app, code=78)
    assert "would undo it" in told, told
    assert re.search(r"DisableAttachMechanism += true", java("-XX:+PrintFlagsFinal", "-version")), "nobody attaches to a machine that enforces"
    for name in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"]:
        told = java(*app, code=78, env={**os.environ, name: "--add-opens=java.base/java.lang=ALL-UNNAMED"})
        assert "would undo it" in told, told


def manifests():
    """a jar cannot open java.base, nor bring an agent"""
    need_jdk()
    for name, line in [("Add-Opens", "java.base/java.lang"), ("Launcher-Agent-Class", "Payload")]:
        with open(f"{WORK}/manifest", "w", encoding="utf-8") as out:
            out.write(f"Main-Class: Probe\n{name}: {line}\n")
        run("jar", "cfm", f"{WORK}/opening.jar", f"{WORK}/manifest", "-C", f"{WORK}/classes", ".")
        told = java("-jar", f"{WORK}/opening.jar", OPEN, SECRET, START, "-", "-", "9", "-", "io.list", code=1)
        assert "prickle: " in told and "io.list" not in told, told


def no_table():
    """in enforce a missing or damaged table ends the machine before main, in learn it runs"""
    need_jdk()
    app = ["-cp", f"{WORK}/app.jar", "Probe", OPEN, SECRET, START, "-", "-", "9", "-", "io.list"]
    with open(f"{WORK}/damaged", "wb") as out:
        out.write(b"x" * 8192)
    for table in [f"{WORK}/none", f"{WORK}/damaged"]:
        settings("enforce", table)
        told = java(*app, code=78)
        assert "prickle: " in told and "nothing runs without it" in told and "io.list" not in told, told
        settings("learn", table)
        assert "io.list: done" in java(*app)
    settings()


def modes():
    """learn records each thing once, report each time; both let it through"""
    need_jdk()
    fresh()
    for mode, count, result in [("learn", 1, "learned"), ("report", 3, "reported")]:
        settings(mode)
        os.unlink(AUDIT)
        assert probe("bare", "io.read", "io.read", "io.read", "exec") == {"io.read": "done", "exec": "done"}
        with open(AUDIT, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        assert [each["result"] for each in rows if each["what"] == f"{SECRET}/text"] == [result] * count, rows
        assert [each for each in rows if each["permission"] == "fork kernel"], rows
    settings()


def live():
    """another policy reaches a running machine"""
    need_jdk()
    policy()
    with subprocess.Popen([f"{JDK}/bin/java", "-cp", f"{WORK}/other.jar", "Asks", f"{SECRET}/text"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=START) as running:
        def ask():
            running.stdin.write("\n")
            running.stdin.flush()
            return running.stdout.readline().strip()
        said = [ask()]
        for more in ["  allow other read all\n", ""]:
            policy(more)
            said.append(ask())
        running.stdin.close()
    assert said == ["denied", "done", "denied"], said


def transfer():
    """runAs needs an edge of the policy; the domain is left with the call, also by an exception"""
    need_jdk()
    run(f"{JDK}/bin/javac", "-d", f"{WORK}/classes", f"{SOURCES}/as/Enters.java")
    run("jar", "cf", f"{WORK}/other.jar", "-C", f"{WORK}/classes", ".")
    enters = ["-cp", f"{WORK}/other.jar", "Enters", f"{SECRET}/text"]
    policy()
    assert java(*enters).split() == ["refused", "denied", "denied"], java(*enters)
    policy("  enter other -> free\n  allow other thread code\n")
    assert java(*enters).split() == ["done", "thrown", "denied"], java(*enters)
    policy()


def machines():
    """with and without the class-data archive, interpreted, and with each collector"""
    need_jdk()
    for flag in ["-Xshare:on", "-Xshare:off", "-Xint", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC", "-XX:+UseZGC"]:
        told = probe("app", "by.handleInThread", "by.lambda", "by.symlinkDotDot", flags=[flag])
        assert set(told.values()) == {"denied"} and len(told) == 3, (flag, told)


def stale():
    """status tells that the source is another now"""
    need_jdk()
    path = f"{JDK}/lib/prickle.properties"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(r"(?m)^source.sha256=.*$", "source.sha256=" + "0" * 64, text))
    told = run(PRICKLE, "dvm", "status", JDK, code=3)
    assert "harden it again" in told, told
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    run(PRICKLE, "dvm", "status", WORK, code=None)


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    PORT = listener.getsockname()[1]
    try:
        tap.run([set_up, as_before, kinds, bypasses, sentence, flags, manifests, no_table, modes, live, transfer, machines, stale])
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
