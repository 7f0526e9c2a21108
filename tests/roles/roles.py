#!/usr/bin/env python3
"""The processes of a node, as the kernel sees them, against the role table.

usage: roles.py PRICKLE

Starts nodes on loopback, without root and (when run by root) with it, and checks for each role:
no_new_privs, seccomp, capabilities, user, open descriptors; that what the sandbox must refuse is
refused; and that a role which is killed serves again within a second while its listeners go on
accepting. Prints TAP.
"""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from ports import free_base  # noqa: E402

PRICKLE = os.path.abspath(sys.argv[1])
UID_BASE = 62000
ORDINARY_UID = 65534

count = 0
failed = 0


def check(ok, name, why=""):
    global count, failed
    count += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {name}")
    if not ok and why:
        print("\n".join("# " + line for line in str(why).splitlines()))
    sys.stdout.flush()


def configuration(directory, base):
    listen = {"smtp": 25, "lmtp": 24, "submission": 587, "submissions": 465,
              "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}
    path = os.path.join(directory, "prickle.yaml")
    with open(path, "w", encoding="ascii") as f:
        f.write(f"hostname: localhost\nstate: {directory}/private/state\n")
        f.write(f"control:\n  socket: {directory}/control.sock\n  metrics: 127.0.0.1:{base + 90}\n")
        f.write(f"tls:\n  certificate: {directory}/private/cert.pem\n  key: {directory}/private/key.pem\n")
        f.write("front:\n  processes: 2\nmail:\n  lmtp_peers: [127.0.0.0/8]\n  listen:\n")
        for name, port in listen.items():
            f.write(f"    {name}: 127.0.0.1:{base + port}\n")
    os.chmod(path, 0o644)
    return path


def make_certificate(directory, name, uid):
    """A new pair, put in place as renewal programs do; the key is for its owner alone."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", f"{directory}/key.new", "-out", f"{directory}/cert.new", "-days", "30",
                    "-subj", f"/CN={name}"], check=True, capture_output=True)
    for what in ("key", "cert"):
        os.chmod(f"{directory}/{what}.new", 0o600)
        if os.getuid() == 0:
            os.chown(f"{directory}/{what}.new", uid, uid)
        os.rename(f"{directory}/{what}.new", f"{directory}/{what}.pem")


class Node:
    def __init__(self, as_root, start=True):
        self.uid = 0 if as_root else os.getuid() or ORDINARY_UID
        self.base = free_base()
        self.dir = tempfile.mkdtemp(prefix="prickle-roles.")
        # A private directory above the state: roles must get there without its permission.
        os.mkdir(os.path.join(self.dir, "private"), 0o700)
        make_certificate(os.path.join(self.dir, "private"), "first.example", self.uid)
        self.config = configuration(self.dir, self.base)
        if os.getuid() == 0 and not as_root:
            os.chown(self.dir, self.uid, self.uid)
            os.chown(os.path.join(self.dir, "private"), self.uid, self.uid)
        self.as_root = as_root
        self.log = open(os.path.join(self.dir, "log"), "wb")
        if start:
            self.start()

    def start(self):
        user = {} if self.as_root or os.getuid() != 0 else {"user": self.uid, "group": self.uid, "extra_groups": []}
        self.process = subprocess.Popen([PRICKLE, "serve", "--config", self.config], stdin=subprocess.DEVNULL,
                                        stderr=self.log, **user)

    def ask(self, *words):
        run = subprocess.run([PRICKLE, *words, "--json", "--socket", self.dir + "/control.sock"],
                             capture_output=True, check=False, timeout=20)
        try:
            return json.loads(run.stdout)
        except ValueError:
            return {}

    def roles(self):
        return {(r["name"], r["instance"]): r for r in self.ask("status").get("roles", [])}

    def wait_ready(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            roles = self.roles()
            if roles and all(r["ready"] for r in roles.values()):
                return roles
            time.sleep(0.02)
        return None

    def wait_other(self, key, pid):
        """Until another process of this role serves."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            now = self.roles().get(key)
            if now and now["ready"] and now["pid"] != pid:
                return
            time.sleep(0.02)

    def log_text(self):
        with open(self.log.name, "r", encoding="utf-8", errors="replace") as f:
            return f.read()[-2000:]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=14)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "no end within 14 s"


def status_fields(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def descriptors(pid):
    """Target of each descriptor, or None when we may not look."""
    try:
        return {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    except PermissionError:
        return None


def listening_inodes():
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{table}", encoding="ascii") as f:
                inodes |= {line.split()[9]: line.split()[1] for line in list(f)[1:] if line.split()[3] == "0A"}.items()
        except FileNotFoundError:
            pass
    return {inode: int(address.rsplit(":", 1)[1], 16) for inode, address in inodes}


LISTENS = {"mx": {25, 24}, "front": {587, 465, 143, 993, 110, 995}, "control": {90}}


def check_descriptors(label, node, name, pid, row):
    fds = descriptors(pid)
    if fds is None:
        return
    listening = listening_inodes()
    ports, foreign = set(), []
    for fd, target in fds.items():
        if target.startswith("socket:["):
            port = listening.get(target[8:-1])
            if port is not None:
                ports.add(port - node.base)
        elif os.path.isdir(target):
            if not row["may_open_files"]:
                foreign.append(target)
        elif target.startswith("/") and not target.startswith(("/dev/null", "/memfd:")) \
                and target != node.log.name and not row["may_open_files"]:
            foreign.append(target)
    check(not foreign, f"{label}: {name} has no file or directory open", foreign)
    check(ports == LISTENS.get(name, set()), f"{label}: {name} has its own listening sockets and no others", ports)


def check_process(label, node, role, row):
    name, pid = role["name"], role["pid"]
    s = status_fields(pid)
    check(s["Name"] == f"prickle:{role['name']}"[:15], f"{label}: {name} tells its name to ps and top", s["Name"])
    check(s["NoNewPrivs"] == "1", f"{label}: {name} has no_new_privs")
    check(s["Seccomp"] == "2", f"{label}: {name} runs under a system call filter")
    caps = [s[k].strip("0") for k in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
    check(caps == [""] * 4, f"{label}: {name} has no capabilities", caps)
    if node.uid == 0:
        check(s["CapBnd"].strip("0") == "", f"{label}: {name} can get no capability back", s["CapBnd"])
    want = UID_BASE + row["uid_offset"] if node.uid == 0 else node.uid
    check(set(s["Uid"].split()) == {str(want)} and set(s["Gid"].split()) == {str(want)},
          f"{label}: {name} runs under uid and gid {want}", s["Uid"] + " / " + s["Gid"])
    if node.uid == 0:
        check(s["Groups"].strip() == "", f"{label}: {name} has no further groups", s["Groups"])
    check(s["PPid"] == str(node.process.pid), f"{label}: {name} is a child of the supervisor")
    threads = int(s["Threads"])
    check(threads == 1 or row["may_start_threads"], f"{label}: {name} has one thread, unless it may have more", threads)
    check_descriptors(label, node, name, pid, row)


def check_kill(label, node, key):
    """Kill the role; its ports must go on accepting, and it must serve again within a second."""
    name, instance = key
    before = (node.wait_ready(10) or {}).get(key)
    check(before is not None, f"{label}: all roles serve before {name} {instance} is killed", node.log_text())
    if before is None:
        return
    os.kill(before["pid"], signal.SIGKILL)
    start = time.monotonic()
    refused = 0
    again = None
    while time.monotonic() < start + 5:
        for port in LISTENS.get(name, ()):
            try:
                socket.create_connection(("127.0.0.1", node.base + port), timeout=1).close()
            except OSError:
                refused += 1
        now = node.roles().get(key)
        if now and now["ready"] and now["pid"] != before["pid"]:
            again = time.monotonic() - start
            break
    check(again is not None and again < 1, f"{label}: {name} {instance} serves again within 1 s after kill -9",
          f"{again} s\n{node.log_text()}")
    check(refused == 0, f"{label}: no connection to {name} was refused meanwhile", refused)


def check_kill_often(label, node, key):
    """However often it is killed, it is back at once: mail is not to wait for a back-off of seconds."""
    slowest = 0
    for _ in range(7):
        before = (node.wait_ready(10) or {}).get(key, {"pid": 0})
        os.kill(before["pid"], signal.SIGKILL)
        start = time.monotonic()
        while time.monotonic() < start + 10:
            now = node.roles().get(key)
            if now and now["ready"] and now["pid"] != before["pid"]:
                break
        slowest = max(slowest, time.monotonic() - start)
    # A second is the promise; two leave room for a machine that is busy with other tests.
    check(slowest < 2, f"{label}: {key[0]} that is killed seven times in a row is back soon each time", slowest)


def check_standstill(label, node):
    """A role that stands still is told by the status, which does not wait for it for long."""
    pid = (node.wait_ready(10) or {})[("front", 1)]["pid"]
    os.kill(pid, signal.SIGSTOP)
    problems = node.ask("status").get("problems", [])
    os.kill(pid, signal.SIGCONT)
    check(any("front 1 does not answer" in p["what"] for p in problems), f"{label}: a role that hangs is a problem",
          problems)


def check_sessions(label, node):
    """What roles tell of themselves arrives in the status."""
    with socket.create_connection(("127.0.0.1", node.base + 143), timeout=5) as a, \
            socket.create_connection(("127.0.0.1", node.base + 25), timeout=5) as b:
        a.recv(100), b.recv(100)
        roles = node.roles()
        for name in ("front", "mx"):
            open_now = sum(r["status"].get("sessions", -99) for (n, _), r in roles.items() if n == name)
            check(open_now == 1, f"{label}: the status counts the sessions of {name}", open_now)


def metrics_mistakes(text):
    """What OpenMetrics 1.0 wants: families once and together, suffixes by kind, no series twice, an end."""
    suffixes = {"counter": ["_total"], "gauge": [""], "info": ["_info"], "histogram": ["_bucket", "_sum", "_count"]}
    kinds, series, family = {}, set(), ""
    if not text.endswith("\n# EOF\n"):
        return "no end"
    for line in text.splitlines()[:-1]:
        word = line.split()
        if line.startswith("# TYPE "):
            family = word[2]
            if family in kinds:
                return "family twice: " + line
            kinds[family] = word[3]
        elif line.startswith("#"):
            if word[1] not in ("HELP", "UNIT") or word[2] != family:
                return "not of this family: " + line
        else:
            found = re.fullmatch(r"([a-z0-9_]+)(\{[^{}]*\})? (-?[0-9.e+-]+)", line)
            if not found or found[1] not in [family + s for s in suffixes[kinds[family]]]:
                return "not a sample of " + family + ": " + line
            if found[1] + str(found[2]) in series:
                return "series twice: " + line
            series.add(found[1] + str(found[2]))
    return "" if len(kinds) > 10 else "too few"


def check_http(label, node):
    def get(path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{node.base + 90}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()
    status, headers, text = get("/metrics")
    wrong = metrics_mistakes(text)
    check(status == 200 and "openmetrics-text" in headers["Content-Type"] and not wrong,
          f"{label}: /metrics is OpenMetrics", wrong)
    check('prickle_role_ready{role="store",instance="0"} 1' in text, f"{label}: /metrics tells which roles serve", text)
    check([get(p)[0] for p in ("/livez", "/readyz", "/other")] == [200, 200, 404], f"{label}: /livez and /readyz say yes")
    status, headers, _ = get("/metrics", "DELETE")
    check(status == 405 and headers["Allow"] == "GET, HEAD", f"{label}: other methods are refused")


def try_serve(config):
    """Start a node that cannot start: status and what it says."""
    run = subprocess.run([PRICKLE, "serve", "--config", config], capture_output=True, text=True, check=False,
                         stdin=subprocess.DEVNULL, timeout=20)
    return run.returncode, run.stderr


def check_refusals(node):
    """A start that cannot work ends with a sentence that names the remedy."""
    other = os.path.join(node.dir, "other.yaml")
    with open(node.config, encoding="ascii") as f:
        text = f.read()

    def variant(*changes):
        changed = text
        for old, new in changes:
            changed = changed.replace(old, new)
        with open(other, "w", encoding="ascii") as f:
            f.write(changed)
        return try_serve(other)

    socket_elsewhere = (node.dir + "/control.sock", node.dir + "/control2.sock")
    code, said = variant(socket_elsewhere)
    check(code == 1 and "another node runs on the state directory" in said,
          "a second node on the same state directory is refused", said)
    code, said = variant(socket_elsewhere, (node.dir + "/private/state", node.dir + "/state2"))
    check(code == 1 and "another program listens there" in said, "a port in use is named, with what to do", said)
    os.mkdir(node.dir + "/foreign")
    with open(node.dir + "/foreign/letter.txt", "w", encoding="ascii"):
        pass
    before = os.stat(node.dir + "/foreign")
    code, said = variant(socket_elsewhere, (node.dir + "/private/state", node.dir + "/foreign"))
    after = os.stat(node.dir + "/foreign")
    check(code == 1 and "files that are not ours" in said and before.st_uid == after.st_uid
          and before.st_mode == after.st_mode, "a state directory with foreign files is refused and left alone", said)
    check(node.wait_ready(5) is not None, "the running node does not mind")


def check_never_started(directory):
    """A role that cannot start ends a node that has not served yet."""
    os.makedirs(directory + "/private/state")
    with open(directory + "/private/state/log", "w", encoding="ascii"):
        pass
    path = configuration(directory, free_base())
    make_certificate(directory + "/private", "first.example", os.getuid())
    code, said = try_serve(path)
    check(code == 1 and "cannot start, so this node ends" in said and "Not a directory" in said,
          "a node whose store cannot start ends and says why", said)


def check_reload(label, node):
    with open(node.config, "a", encoding="ascii") as f:
        f.write("nonsense: true\n")
    answer = node.ask("reload")
    check("nonsense" in str(answer.get("error")), f"{label}: a reload of a wrong file names the mistake", answer)
    with open(node.config, "r+", encoding="ascii") as f:
        text = f.read()
        f.seek(0)
        f.truncate()
        f.write(text.replace("nonsense: true\n", "log:\n  level: debug\n"))
    check(node.ask("reload").get("reloaded") is True, f"{label}: a reload of the mended file is taken")
    check(node.roles() != {}, f"{label}: the node goes on after both")
    before = {key: role["pid"] for key, role in node.roles().items()}
    check(node.ask("reload").get("reloaded") is True, f"{label}: a reload of the same file is taken, too")
    check({key: role["pid"] for key, role in node.roles().items()} == before, f"{label}: it costs no role")
    with open(node.config, "w", encoding="ascii") as f:
        f.write(text.replace("/private/state", "/private/elsewhere").replace("nonsense: true\n", ""))
    answer = node.ask("reload")
    check(answer.get("at_next_start") == "state", f"{label}: a reload tells what waits for the next start", answer)
    before = node.roles()[("store", 0)]["pid"]
    os.kill(before, signal.SIGKILL)
    node.wait_other(("store", 0), before)
    check(not os.path.exists(node.dir + "/private/elsewhere"), f"{label}: until then a store that starts again keeps it")
    with open(node.config, "w", encoding="ascii") as f:
        f.write(text.replace("nonsense: true\n", ""))


def served_certificate(node):
    try:
        return ssl.get_server_certificate(("127.0.0.1", node.base + 993), timeout=5)
    except OSError as error:
        return str(error)


def check_certificate(label, node):
    """A key that only its owner may read, below a directory that nobody else may enter."""
    def on_disk():
        with open(node.dir + "/private/cert.pem", encoding="ascii") as f:
            return f.read()
    check(served_certificate(node) == on_disk(), f"{label}: the configured certificate is served")
    make_certificate(os.path.join(node.dir, "private"), "second.example", node.uid)
    end = time.monotonic() + 15
    while time.monotonic() < end and served_certificate(node) != on_disk():
        time.sleep(0.2)
    check(served_certificate(node) == on_disk(), f"{label}: a renewed certificate is served within 15 s",
          node.log_text())


def check_policy(label, node, policy, as_root):
    """Who may read the policy may not change it; the audit is for its role and its readers alone."""
    writable = [os.path.join(d, f) for d, _, names in os.walk(policy) for f in [".", *names]
                if os.stat(os.path.join(d, f)).st_mode & 0o022]
    check(not writable, f"{label}: nobody else can write to the policy", writable)
    owner = UID_BASE + 9 if as_root else node.uid
    log, rings = os.stat(policy + "/audit"), os.listdir(policy + "/run/audit")
    check(log.st_mode & 0o777 == 0o700 and log.st_uid == owner, f"{label}: the audit's log is its role's", oct(log.st_mode))
    check(len(rings) >= 8 and not any(os.stat(f"{policy}/run/audit/{r}").st_mode & 0o007 for r in rings),
          f"{label}: every process has a ring, which others cannot read", rings)
    for (name, instance), role in sorted(node.roles().items()):
        with open(f"/proc/{role['pid']}/maps", encoding="ascii") as f:
            mapped = [(line.split()[1], line.rstrip().split("/")[-1]) for line in f if policy in line]
        check(("r--s", "table") in mapped and not any(m[1] == "table" and "w" in m[0] for m in mapped)
              and [m[0] for m in mapped if m[1].endswith(".ring")] == ["rw-s"],
              f"{label}: {name} {instance} reads the table and writes one ring", mapped)


def check_node(as_root, table):
    label = "root" if as_root else "no root"
    node = Node(as_root)
    try:
        roles = node.wait_ready(10)
        check(roles is not None, f"{label}: all roles serve within 10 s", node.log_text())
        if roles is None:
            return
        want = {r["name"] for r in table.values() if r["available"]} - {"supervisor"}
        check({name for name, _ in roles} == want, f"{label}: every role of the table runs", sorted(roles))
        check(sum(name == "front" for name, _ in roles) == (2 if "front" in want else 0),
              f"{label}: as many front processes as configured")
        for (name, instance), role in sorted(roles.items()):
            check_process(label if instance == 0 else f"{label}, {instance}", node, role, table[name])
        supervisor = status_fields(node.process.pid)
        check(supervisor["NoNewPrivs"] == "1" and supervisor["Seccomp"] == "2",
              f"{label}: the supervisor has a filter, too")
        if as_root:
            # chown, dac_override, fowner, kill, setgid, setuid, setpcap, net_bind_service
            check(int(supervisor["CapEff"], 16) == 0x5eb, f"{label}: the supervisor keeps what its row says",
                  supervisor["CapEff"])
        if os.path.exists(node.dir + "/private/state"):
            mode = os.stat(node.dir + "/private/state").st_mode & 0o777
            check(mode == (0o771 if as_root else 0o700), f"{label}: nobody else can list the state directory", oct(mode))
            policy = node.dir + "/private/state/policy"
            loose = [os.path.join(d, f) for d, _, names in os.walk(node.dir + "/private/state") for f in [".", *names]
                     if os.stat(os.path.join(d, f)).st_mode & 0o077 and d + f != node.dir + "/private/state."
                     and not d.startswith(policy)]
            check(not loose, f"{label}: nothing below it is open to others", loose)
            check_policy(label, node, policy, as_root)
        check_reload(label, node)
        if "front" in want:
            check_certificate(label, node)
            check_sessions(label, node)
        check_http(label, node)
        for key in sorted(roles):
            check_kill(label, node, key)
        if not as_root:
            check_standstill(label, node)
            check_kill_often(label, node, ("store", 0))
            check_kill_often(label, node, ("front", 1))
        if node.uid == os.getuid():
            check_refusals(node)
    finally:
        status = node.end()
        check(status == 0, f"{label}: SIGTERM ends the node with status 0", f"{status}\n{node.log_text()}")
        subprocess.run(["rm", "-rf", node.dir], check=False)


def check_narrowed(directory):
    """A policy that declares processes itself takes sockets from them, gives none, and cannot half-break the supervisor."""
    def start(text):
        node = Node(True, start=False)
        path, store = directory + "/narrow.policy", node.dir + "/private/state/policy"
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        os.makedirs(node.dir + "/private/state", mode=0o755)
        subprocess.run([PRICKLE, "policy", "apply", path, "--policy", store, "--yes"], check=True, capture_output=True)
        node.start()
        return node

    node = start('import default\nmodule site\nallow node.mx listen node.imap\nallow node.mx thread kernel\n'
                 'allow node.mx read, write node.audit-log\n')
    try:
        roles = node.wait_ready(10)
        check(roles is not None, "wider rows: all roles serve", node.log_text())
        check_process("wider rows", node, roles[("mx", 0)], {"may_open_files": False, "may_start_threads": False, "uid_offset": 1})
    finally:
        node.end()
        subprocess.run(["rm", "-rf", node.dir], check=False)
    node = start('domain front = service role "front"\nlabel endpoint mail = place "imap"\nallow front listen mail\n'
                 'role operator = principal root\nallow operator status node\n')
    try:
        roles = node.wait_ready(10)
        check(roles is not None, "fewer rows: all roles serve", node.log_text())
        fds, listening = descriptors(roles[("front", 0)]["pid"]), listening_inodes()
        ports = {listening[t[8:-1]] - node.base for t in fds.values() if t.startswith("socket:[") and t[8:-1] in listening}
        check(ports == {143}, "fewer rows: front has the one listening socket that the policy leaves it", ports)
    finally:
        node.end()
        subprocess.run(["rm", "-rf", node.dir], check=False)
    node = start('domain boss = service role "supervisor"\nallow boss socket kernel\n')
    try:
        code = node.process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        code = node.end()
    check(code == 1 and "takes 'fork' from the role 'supervisor'" in node.log_text(), "a supervisor that may start nobody does not start, and says why",
          node.log_text())
    subprocess.run(["rm", "-rf", node.dir], check=False)


def check_start():
    with tempfile.TemporaryDirectory(prefix="prickle-roles.") as directory:
        os.chmod(directory, 0o711)
        check_never_started(directory)


def check_orphans():
    """Roles die with their supervisor, even when it has no time to stop them."""
    node = Node(False)
    roles = node.wait_ready(10) or {}
    node.process.kill()
    node.process.wait()
    end = time.monotonic() + 2
    pids = [r["pid"] for r in roles.values()]
    while time.monotonic() < end and any(os.path.exists(f"/proc/{p}") for p in pids):
        time.sleep(0.02)
    left = [p for p in pids if os.path.exists(f"/proc/{p}")]
    check(pids and not left, "roles die with a supervisor that is killed", left)
    subprocess.run(["rm", "-rf", node.dir], check=False)


def check_self_tests(table):
    for name, row in table.items():
        if not row["available"]:
            continue
        run = subprocess.run([PRICKLE, "role", name, "--self-test"], capture_output=True, text=True, check=False,
                             timeout=60)
        lines = [line for line in run.stdout.splitlines() if line.startswith(("ok", "not ok"))]
        for line in lines:
            check(line.startswith("ok"), "self-test: " + line.split(" - ", 1)[1], run.stderr)
        check(run.returncode == 0, f"self-test: {name} ends with status 0", run.stdout + run.stderr)


def main():
    table = {r["name"]: r for r in json.loads(
        subprocess.run([PRICKLE, "roles", "--json"], capture_output=True, check=True).stdout)["roles"]}
    check_self_tests(table)
    check_start()
    check_node(False, table)
    if os.getuid() == 0:
        check_node(True, table)
        with tempfile.TemporaryDirectory(prefix="prickle-roles.") as directory:
            check_narrowed(directory)
    check_orphans()
    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
