"""A demo node of its own for system tests of SMTP and POP3, and small clients for what libraries hide."""
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import tap  # noqa: E402
from ports import PORTS, free_base  # noqa: E402

PASSWORD = "correct-horse"
ANN, BOB = "ann@example.org", "bob@example.org"


class Node:
    def __init__(self, prickle):
        self.prickle = os.path.abspath(prickle)
        self.base = free_base()
        self.dir = tempfile.mkdtemp(prefix="prickle-smtp.")
        os.chmod(self.dir, 0o755)
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.process = subprocess.Popen(
            [self.prickle, "demo", "--no-lab", "--state", os.path.join(self.dir, "state"),
             "--base-port", str(self.base), "--password", PASSWORD],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log)
        if not self.ready():
            with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as f:
                print("".join("# " + line for line in f.readlines()[-20:]), file=sys.stderr)
            self.close()
            raise SystemExit("Bail out! the node did not get ready")

    def ready(self):
        end, text = time.monotonic() + 30, b""
        while time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                piece = os.read(self.process.stdout.fileno(), 4096)
                if not piece:
                    return False
                text += piece
                if b"\nready\n" in text:
                    return True
        return False

    def port(self, service):
        return self.base + PORTS[service]

    def command(self, *words, stdin=b""):
        """Run prickle against this node; it must succeed."""
        socket_path = os.path.join(self.dir, "state", "control.sock")
        done = subprocess.run([self.prickle, *words, "--socket", socket_path], capture_output=True, timeout=30,
                              input=stdin, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def role_pids(self, role):
        """The processes of a role; roles are direct children of the demo."""
        found = []
        for pid in os.listdir("/proc"):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.process.pid and words[1:3] == [b"role", role.encode()]:
                found.append(int(pid))
        assert found, f"no process of role {role}"
        return found

    def kill_role(self, role):
        for pid in self.role_pids(role):
            os.kill(pid, signal.SIGKILL)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Raw:
    """Bytes over a socket: for what no decent client sends."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data)

    def line(self):
        while b"\n" not in self.buffer:
            piece = self.sock.recv(65536)
            if not piece:
                return b""
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def reply(self):
        """One SMTP reply: its last line."""
        while True:
            line = self.line()
            if len(line) < 4 or line[3:4] != b"-":
                return line

    def expect(self, start):
        got = self.reply()
        assert got.startswith(start), f"want {start!r}, got {got!r}"
        return got

    def rest(self):
        """All that comes until the server closes."""
        out, self.buffer = self.buffer, b""
        try:
            while piece := self.sock.recv(65536):
                out += piece
        except ConnectionResetError:
            pass
        return out

    def close(self):
        self.sock.close()


def scram(password, user, send_first, send_final, binding=None):
    """SCRAM-SHA-256 (RFC 7677) with functions that carry messages; binding: bytes of tls-server-end-point."""
    import base64
    import hashlib
    import hmac
    gs2 = b"p=tls-server-end-point,," if binding is not None else b"n,,"
    nonce = base64.b64encode(os.urandom(18))
    bare = b"n=" + user.encode() + b",r=" + nonce
    first = send_first(gs2 + bare)
    fields = dict(part.split(b"=", 1) for part in first.split(b","))
    assert fields[b"r"].startswith(nonce) and len(fields[b"r"]) > len(nonce)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields[b"s"]), int(fields[b"i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    bound = base64.b64encode(gs2 + (binding or b""))
    without_proof = b"c=" + bound + b",r=" + fields[b"r"]
    message = b",".join([bare, first, without_proof])
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    final = send_final(without_proof + b",p=" + base64.b64encode(proof))
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    want = b"v=" + base64.b64encode(hmac.digest(server_key, message, "sha256"))
    assert final == want, f"server signature: {final!r}"
