#!/usr/bin/env python3
"""The JDK's own image, read and rewritten: JVMs see in it what we wrote.

images.py CONTAINER_TOOL: with the JDK whose java is in PATH.
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

TOOL = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
JAVA = shutil.which("java")
JDK = os.path.dirname(os.path.dirname(os.path.realpath(JAVA))) if JAVA else None
IMAGE = os.path.join(JDK or "", "lib", "modules")
WORK = tempfile.mkdtemp(prefix="prickle-images-")


def run(*command, ok=True):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert not ok or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout if ok else done.stdout + done.stderr


def path(*parts):
    return os.path.join(WORK, *parts)


def compile_java(out, source, *options):
    os.makedirs(path(out), exist_ok=True)
    run("javac", *options, "-d", path(out), source)


def source(name, text):
    os.makedirs(os.path.dirname(path(name)), exist_ok=True)
    with open(path(name), "w", encoding="utf-8") as f:
        f.write(text)
    return path(name)


def copied_jdk(image):
    """A JDK with this image. A JVM looks for its home where its library really is, so links will not do."""
    home = path("jdk")
    shutil.rmtree(home, ignore_errors=True)
    for part in ["bin", "conf", "lib"]:
        shutil.copytree(os.path.join(JDK, part), os.path.join(home, part), ignore=shutil.ignore_patterns("modules", "src.zip", "*.jsa"))
    shutil.copy(os.path.join(JDK, "release"), home)
    os.replace(image, os.path.join(home, "lib", "modules"))
    return home


def need_jdk():
    if not JDK or not os.path.exists(IMAGE) or not shutil.which("javac"):
        raise tap.Skip("no JDK with lib/modules")


def every_resource_is_read_as_java_reads_it():
    """every resource of the JDK's image has the bytes that Java's jrt file system gives"""
    need_jdk()
    compile_java("classes", os.path.join(HERE, "Images.java"))
    ours = sorted(run(TOOL, "image-list", IMAGE).splitlines())
    java = sorted(run("java", "-cp", path("classes"), "Images", "list").splitlines())
    assert len(java) > 5000, len(java)
    different = set(ours) ^ set(java)
    assert not different, f"{len(different)} differ: {sorted(different)[:5]}"


def without_changes_the_same_bytes():
    """an image that is written without changes is the same file"""
    need_jdk()
    run(TOOL, "image-write", IMAGE, path("same"))
    with open(IMAGE, "rb") as a, open(path("same"), "rb") as b:
        assert a.read() == b.read(), "the bytes differ"
    os.remove(path("same"))


def a_jvm_runs_with_a_changed_image():
    """a class replaced, others added and one removed: the JVM, its CDS archive, javac, jimage and jrt see the change"""
    need_jdk()
    replaced = source("patch/java/util/concurrent/TimeoutException.java", """package java.util.concurrent;
        public class TimeoutException extends Exception {
            private static final long serialVersionUID = 1900926677490660714L;
            public TimeoutException() { }
            public TimeoutException(String message) { super("replaced " + message); }
        }""")
    added = source("patch/java/util/Added.java", "package java.util; public class Added { public static String say() { return \"added\"; } }")
    far = source("patch/prickle/test/deep/Far.java", "package prickle.test.deep; public class Far { }")
    for one in [replaced, added, far]:
        compile_java("patched", one, "--patch-module", "java.base=" + path("patch"))
    out = run(TOOL, "image-write", IMAGE, path("changed"),
              "replace", "/java.base/java/util/concurrent/TimeoutException.class", path("patched/java/util/concurrent/TimeoutException.class"),
              "add", "java.base", "java/util", "Added", "class", path("patched/java/util/Added.class"),
              "add", "java.base", "prickle/test/deep", "Far", "class", path("patched/prickle/test/deep/Far.class"),
              "add", "java.logging", "java/util/logging/more", "words", "properties", far,
              "remove", "/java.base/java/util/Locale$FilteringMode.class",
              "remove", "/java.base/java/time/temporal/package-info.class" if "java/time/temporal/package-info" in run(TOOL, "image-list", IMAGE)
              else "/java.base/java/util/Locale$LanguageRange.class")
    assert "pieces" in out, out
    home = copied_jdk(path("changed"))
    java = os.path.join(home, "bin", "java")
    assert "version" in run(java, "-version", ok=False)
    want = "replaced x\nadded\n"
    assert run(java, "-Xshare:off", "-cp", path("classes"), "Images", "try") == want
    run(java, "-Xshare:dump")
    assert run(java, "-Xshare:on", "-cp", path("classes"), "Images", "try") == want
    run(os.path.join(home, "bin", "javac"), "-d", path("again"), os.path.join(HERE, "Images.java"))
    before = set(run("java", "-cp", path("classes"), "Images", "list").splitlines())
    after = set(run(java, "-cp", path("classes"), "Images", "list").splitlines())
    names = {line.split()[2] for line in after - before}
    assert names == {"/java.base/java/util/concurrent/TimeoutException.class", "/java.base/java/util/Added.class",
                     "/java.base/prickle/test/deep/Far.class", "/java.logging/java/util/logging/more/words.properties"}, names
    gone = {line.split()[2] for line in before - after} - names
    assert len(gone) == 2 and "/java.base/java/util/Locale$FilteringMode.class" in gone, gone
    assert after == set(run(TOOL, "image-list", os.path.join(home, "lib", "modules")).splitlines())
    packages = set(run(java, "-cp", path("classes"), "Images", "packages").splitlines())
    old = set(run("java", "-cp", path("classes"), "Images", "packages").splitlines())
    assert packages - old == {"prickle java.base", "prickle.test java.base", "prickle.test.deep java.base", "java.util.logging.more java.logging"}, packages - old
    assert old <= packages, old - packages
    if shutil.which("jimage"):
        assert "Far" in run(os.path.join(JDK, "bin", "jimage"), "list", os.path.join(home, "lib", "modules"))
        problems = run(os.path.join(JDK, "bin", "jimage"), "verify", os.path.join(home, "lib", "modules"), ok=False)
        assert "Error" not in problems, problems[:500]


def an_image_that_loses_a_package():
    """the last resource of a package takes its directories and its place among the packages with it"""
    need_jdk()
    one = source("one.properties", "a=b\n")
    run(TOOL, "image-write", IMAGE, path("more"), "add", "java.base", "prickle/gone/now", "one", "properties", one)
    run(TOOL, "image-write", path("more"), path("less"), "remove", "/java.base/prickle/gone/now/one.properties")
    os.remove(path("more"))
    less = run(TOOL, "image-list", path("less"))
    assert less == run(TOOL, "image-list", IMAGE)
    home = copied_jdk(path("less"))
    java = os.path.join(home, "bin", "java")
    assert run(java, "-cp", path("classes"), "Images", "packages") == run("java", "-cp", path("classes"), "Images", "packages")


try:
    tap.run([every_resource_is_read_as_java_reads_it, without_changes_the_same_bytes, a_jvm_runs_with_a_changed_image, an_image_that_loses_a_package])
finally:
    shutil.rmtree(WORK, ignore_errors=True)
