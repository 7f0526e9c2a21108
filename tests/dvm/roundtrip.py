#!/usr/bin/env python3
"""Every class of a JDK and of Debian's jars is read and written again; what we show of a class is what javap shows.

roundtrip.py CLASS_CORPUS PRICKLE: with the JDK whose java is in PATH and the jars of ./dev's DVM_CHECKERS.
"""
import glob
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402

CORPUS, PRICKLE = sys.argv[1:3]
HERE = os.path.dirname(os.path.abspath(__file__))
JARS = ["scala-library", "scala-reflect", "scala-actors", "bcprov", "byte-buddy", "clojure", "asm-all"]
LEAST = 40000  # classes
SAMPLE = 240   # every so many-th class of the JDK is compared with javap
WORK = tempfile.mkdtemp(prefix="prickle-roundtrip-")


def jars():
    """The real files of the packages, each once: names without version are links in some packages, names with one in others."""
    found = {}
    for name in JARS:
        for path in glob.glob(f"/usr/share/java/{name}.jar") + glob.glob(f"/usr/share/java/{name}-[0-9]*.jar"):
            found.setdefault(os.path.realpath(path), name)
    return sorted(found), sorted(set(JARS) - set(found.values()))


def need_java():
    for tool in ["java", "javap", "javac"]:
        if not shutil.which(tool):
            raise tap.Skip(f"there is no {tool}: install openjdk-17-jdk-headless")


def compiled():
    """One class with one of each thing that javac can say, as bytes of Classes.java's form."""
    testdata = os.path.join(HERE, "../../src/dvm/classfile/testdata")
    subprocess.run(["javac", "--release", "17", "-g", "-parameters", "-Xjcov", "-Xlint:-options", "-d", WORK, testdata + "/Shapes.java"], check=True)
    out = b""
    for path in sorted(glob.glob(WORK + "/Shapes*.class")):
        with open(path, "rb") as f:
            body = f.read()
        out += len(path).to_bytes(4, "big") + path.encode() + len(body).to_bytes(4, "big") + body
    return out


def what_jars_lack_comes_back():
    """character ranges, type annotations and annotations of parameters come back, too"""
    need_java()
    done = subprocess.run([CORPUS], input=compiled(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.decode().splitlines()[-1].split()
    kinds = dict(zip(words[1::2], map(int, words[2::2])))
    for kind in ["CharacterRangeTable", "RuntimeVisibleTypeAnnotations", "RuntimeInvisibleParameterAnnotations"]:
        assert kinds[kind] > 0, f"no {kind}"


def all_classes_come_back():
    """each class of the JDK and of the jars is walked and written again as it was"""
    need_java()
    files, missing = jars()
    if missing:
        raise tap.Skip("no jar of " + ", ".join(missing) + " in /usr/share/java: './dev check' installs their packages")
    with subprocess.Popen(["java", os.path.join(HERE, "Classes.java"), "image", "1", "jar", *files], stdout=subprocess.PIPE) as source:
        done = subprocess.run([CORPUS], stdin=source.stdout, capture_output=True, text=True, timeout=240, check=False)
        source.stdout.close()
    assert source.returncode == 0, "Classes.java failed"
    lines = done.stdout.splitlines()
    assert done.returncode == 0, "\n".join(lines[:20]) + done.stderr
    totals = dict(zip(lines[-2].split()[::2], map(int, lines[-2].split()[1::2])))
    print("# " + lines[-2])
    assert totals["classes"] >= LEAST, f"{totals['classes']} classes, expected {LEAST} at least"
    assert totals["failures"] == 0
    assert totals["methods"] > 5 * LEAST and totals["instructions"] > 100 * LEAST and totals["frames"] > 5 * LEAST, lines[-2]
    kinds = dict(zip(lines[-1].split()[1::2], map(int, lines[-1].split()[2::2])))
    for kind in ["Code", "StackMapTable", "InnerClasses", "Signature", "RuntimeVisibleAnnotations", "BootstrapMethods", "Module", "Record",
                 "PermittedSubclasses", "NestHost", "ModuleHashes", "AnnotationDefault"]:
        assert kinds[kind] > 0, f"no {kind} in the whole corpus"


# ---- javap ----

def tokens(text):
    """Operands without commas, comments and javap's own words."""
    return [t for t in re.split(r"[,\s]+", text.split("//")[0].strip()) if t]


def javap_constant(line):
    m = re.match(r"\s*#(\d+) = (\w+)(?:\s+(.*))?$", line)
    if not m:
        return None
    index, tag, rest = int(m[1]), m[2], m[3] or ""
    if tag in ("Utf8", "Integer", "Long", "Float", "Double"):
        return index, tag, rest
    return index, tag, [int(n) for n in re.findall(r"\d+", rest.split("//")[0])]


def javap_classes(text):
    """{path: constants, members and code} of what javap -v printed."""
    out = {}
    for part in re.split(r"^Classfile ", text, flags=re.M)[1:]:
        lines = part.splitlines()
        c = {"constants": {}, "flags": [], "descriptors": [], "code": [], "version": ""}
        out[lines[0].strip()] = c
        switch = None
        in_code = False
        for line in lines[1:]:
            constant = javap_constant(line)
            if constant and constant[1][0].isupper():
                c["constants"][constant[0]] = constant[1:]
                continue
            if re.match(r"\s+(minor|major) version: ", line):
                number = line.split(": ")[1]
                c["version"] = number + "." + c["version"] if "major" in line else number
            elif m := re.match(r"\s+flags: \(0x([0-9a-f]+)\)", line):
                c["flags"].append(int(m[1], 16))
            elif m := re.match(r"\s+descriptor: (.*)", line):
                c["descriptors"].append(m[1])
            elif re.match(r"\s+Code:$", line):
                in_code = True
                c["code"].append([])
            elif re.match(r"\s+(LineNumberTable|LocalVariableTable|StackMapTable|Exception table|Exceptions|RuntimeVisible\w+|LocalVariableTypeTable):", line) or line == "":
                in_code = False
            elif in_code and switch is not None:
                if line.strip() == "}":
                    switch = None
                else:
                    switch += [line.strip().split(":")[0], line.strip().split(":")[1].strip()]
            elif in_code and (m := re.match(r"\s+(\d+): (\w+)(?:\s+(.*))?$", line)):
                operands = m[3] or ""
                cases = m[2] in ("tableswitch", "lookupswitch")
                one = [int(m[1]), m[2], [] if cases else tokens(operands)]
                c["code"][-1].append(one)
                switch = one[2] if cases else None
    return out


NEWARRAY = {4: "boolean", 5: "char", 6: "float", 7: "double", 8: "byte", 9: "short", 10: "int", 11: "long"}


def our_operands(i):
    if "cases" in i:
        return [str(x) for case in i["cases"] for x in case] + ["default", str(i["default"])]
    if i["op"] == "newarray":
        return [NEWARRAY[i["value"]]]
    out = []
    if "constant" in i:
        out.append(f"#{i['constant']}")
    if "local" in i:
        out.append(str(i["local"]))
    if "value" in i:
        out.append(str(i["value"]))
    if i["op"] == "invokedynamic":
        out.append("0")
    if "target" in i:
        out.append(str(i["target"]))
    return out


def our_code(method):
    return [[i["pc"], i["op"] + ("_w" if i.get("wide") else ""), our_operands(i)] for i in method["Code"]["instructions"]]


def same_text(tag, ours, theirs):
    if tag in ("Float", "Double"):     # javap: 1.0f, 2.0d, Infinityf
        theirs = theirs.rstrip("fd").replace("Infinity", "inf").replace("NaN", "nan")
        mine = float(ours.replace("Infinity", "inf"))
        if tag == "Float":
            mine, other = (struct.unpack("f", struct.pack("f", x))[0] for x in (mine, float(theirs)))
        else:
            other = float(theirs)
        return mine == other or (mine != mine and other != other)
    if tag == "Long":
        return ours == theirs.rstrip("l")
    if tag == "Utf8" and (not theirs.isascii() or not ours.isascii() or "\\" in theirs or "\\" in ours or not theirs.isprintable() or not ours.isprintable()):
        return True                    # each writes such letters its own way
    return ours.strip() == theirs.strip()  # the column hides blanks


def compare(path, ours, theirs):
    """How many things were the same."""
    assert ours["version"] == theirs["version"], f"{path}: version {ours['version']}, javap {theirs['version']}"
    assert {k["index"] for k in ours["constants"]} == set(theirs["constants"]), f"{path}: other constants than javap's"
    for k in ours["constants"]:
        tag, rest = theirs["constants"][k["index"]]
        assert k["tag"] == tag, f"{path}: #{k['index']} is {k['tag']}, javap {tag}"
        if "operands" in k:
            assert k["operands"] == rest, f"{path}: #{k['index']} {k['operands']}, javap {rest}"
        else:
            assert same_text(tag, k.get("value", ""), rest), f"{path}: #{k['index']} {k.get('value')!r}, javap {rest!r}"
    members = ours["fields"] + ours["methods"]
    # javap writes descriptors of record components, too, behind those of the members.
    assert [m["descriptor"] for m in members] == theirs["descriptors"][:len(members)], f"{path}: other descriptors than javap's"
    flags = [ours["flags"]] + [m["flags"] for m in members]
    assert flags == theirs["flags"][:len(flags)], f"{path}: flags {flags}, javap {theirs['flags']}"
    code = [our_code(m) for m in ours["methods"] if "Code" in m]
    assert len(code) == len(theirs["code"]), f"{path}: {len(code)} methods with code, javap {len(theirs['code'])}"
    for mine, other in zip(code, theirs["code"]):
        for a, b in zip(mine, other):
            assert a == b, f"{path}: {a}, javap {b}"
        assert len(mine) == len(other), f"{path}: {len(mine)} instructions, javap {len(other)}"
    return len(ours["constants"]), len(members), sum(map(len, code))


def extract():
    """Sampled classes of the JDK as files."""
    paths = []
    data = subprocess.run(["java", os.path.join(HERE, "Classes.java"), "image", str(SAMPLE)], capture_output=True, timeout=120, check=True).stdout
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "big")
        at += 4 + length
        length = int.from_bytes(data[at:at + 4], "big")
        paths.append(os.path.join(WORK, f"{len(paths)}.class"))
        with open(paths[-1], "wb") as f:
            f.write(data[at + 4:at + 4 + length])
        at += 4 + length
    return paths


def javap_shows_the_same():
    """constants, members and instructions of a sample are those that javap shows"""
    need_java()
    compiled()
    paths = extract() + sorted(glob.glob(WORK + "/Shapes*.class"))
    assert len(paths) > 100
    shown = subprocess.run(["javap", "-v", "-p", *paths], capture_output=True, text=True, timeout=120, env=dict(os.environ, LC_ALL="C.UTF-8"), check=True)
    theirs = javap_classes(shown.stdout)
    done = subprocess.run([PRICKLE, "dvm", "inspect", "--json", "--code", "--constants", *paths], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[-500:]
    ours = json.loads(done.stdout)
    assert len(ours) == len(paths)
    same = [compare(o["file"], o["class_file"], theirs[o["file"]]) for o in ours]
    constants, members, instructions = (sum(column) for column in zip(*same))
    print(f"# {len(paths)} classes: {constants} constants, {members} members, {instructions} instructions are the same")
    assert constants > 5000 and members > 1000 and instructions > 10000


def show(*arguments, code=0):
    done = subprocess.run([PRICKLE, "dvm", "inspect", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr + done.stdout[-500:]
    return done


def image_shows_its_classes():
    """a JDK image shows its entries, and a class of it as the file alone is shown"""
    need_java()
    image = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(shutil.which("java")))), "lib", "modules")
    if not os.path.exists(image):
        raise tap.Skip("this JDK has no lib/modules")
    value, = json.loads(show("--json", image).stdout)
    assert value["kind"] == "image" and value["entry_count"] == len(value["entries"])
    names = [e["name"] for e in value["entries"]]
    assert "/java.base/java/lang/Object.class" in names and len(set(names)) == len(names)
    assert value["class_count"] == sum(n.endswith(".class") for n in names) > 5000
    value, = json.loads(show("--json", "--constants", "--code", "--class", "java.lang.Obj?ct", image).stdout)
    one, = value["classes"]
    assert one["entry"] == "/java.base/java/lang/Object.class" and one["class_file"]["class"] == "java/lang/Object"
    text = show("--class", "java/util/function/*Function", image).stdout
    assert "entry: /java.base/java/util/" in text and "\nclass: java/util/" in text
    assert "no class of it is called 'no/Such'" in show("--class", "no.Such", image, code=1).stderr
    with open(image, "rb") as f, open(WORK + "/cut.image", "wb") as g:
        g.write(f.read(200000))
    done = show("--json", WORK + "/cut.image", code=1)
    assert "error" in json.loads(done.stdout)[0]


def jar_shows_its_entries():
    """a jar shows its entries, and the classes that are asked for"""
    files, _ = jars()
    jar = next((f for f in files if "asm" in f), None)
    if jar is None:
        raise tap.Skip("no asm-all.jar")
    with zipfile.ZipFile(jar) as z:
        want = {i.filename: i.file_size for i in z.infolist()}
    value, = json.loads(show("--json", jar).stdout)
    assert value["kind"] == "jar" and {e["name"]: e["bytes"] for e in value["entries"]} == want
    assert value["class_count"] == sum(n.endswith(".class") for n in want)
    value, = json.loads(show("--json", "--class", "org.objectweb.asm.Class*", jar).stdout)
    got = sorted(c["entry"] for c in value["classes"])
    assert got == sorted(n for n in want if re.match(r"org/objectweb/asm/Class.*\.class$", n)), got
    assert all(c["class_file"]["class"] + ".class" == c["entry"] for c in value["classes"])
    with open(jar, "rb") as f, open(WORK + "/cut.jar", "wb") as g:
        g.write(f.read()[:-100])
    assert "error" in json.loads(show("--json", WORK + "/cut.jar", code=1).stdout)[0]


def what_is_broken_is_said():
    """a file that is cut, empty, no class, or not there is a sentence and an exit code, and the next file has its turn"""
    need_java()
    good = os.path.join(WORK, "Shapes.class")
    if not os.path.exists(good):
        raise tap.Skip("no class to break")
    cut, text = os.path.join(WORK, "cut.class"), os.path.join(WORK, "text.class")
    with open(good, "rb") as f, open(cut, "wb") as g:
        g.write(f.read()[:3000])
    with open(text, "w", encoding="ascii") as f:
        f.write("not a class\n")
    done = subprocess.run([PRICKLE, "dvm", "inspect", cut, good], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "ends within constant" in done.stderr and "JVMS 4.4" in done.stderr, done.stderr
    assert "class: Shapes" in done.stdout
    done = subprocess.run([PRICKLE, "dvm", "inspect", "--json", cut, text, good, WORK + "/none"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    value = json.loads(done.stdout)
    assert ["error" in v for v in value] == [True, True, False, True], value
    assert value[2]["class_file"]["class"] == "Shapes"


try:
    tap.run([all_classes_come_back, what_jars_lack_comes_back, javap_shows_the_same, image_shows_its_classes, jar_shows_its_entries, what_is_broken_is_said])
finally:
    shutil.rmtree(WORK, ignore_errors=True)
