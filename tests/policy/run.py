#!/usr/bin/env python3
"""`prickle policy run`: programs of others under the floor of their domain.

run.py PRICKLE
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

PRICKLE = sys.argv[1]
SYSTEM = """
  label file programs = tree "/usr"  label file settings = tree "/etc"  label file devices = tree "/dev"
  label file processes = tree "/proc"
"""


def prickle(*words, code=0):
    done = subprocess.run([PRICKLE, "policy", *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, f"{words}: exit {done.returncode}, not {code}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def under(domain, *command, code=0):
    return prickle("run", domain, "--policy", STORE, "--", *command, code=code)


def serve(listener, count):
    for _ in range(count):
        listener.accept()[0].close()


def files():
    """cat reads what its domain may read; what it may not answers 'Permission denied'"""
    assert under("reader", "cat", f"{DATA}/open/text") == "hello\n"
    told = under("reader", "cat", f"{DATA}/secret/text", code=1)
    assert "Permission denied" in told, told
    told = under("reader", "sh", "-c", f"echo no > {DATA}/open/text", code=2)
    assert "Permission denied" in told or "cannot create" in told, told
    assert under("writer", "sh", "-c", f"echo yes > {DATA}/open/new; cat {DATA}/open/new") == "yes\n"
    assert "Permission denied" in under("writer", "rm", f"{DATA}/open/new", code=1)


def inherited():
    """what a program starts has no more than it"""
    told = under("reader", "sh", "-c", f"sh -c 'cat {DATA}/secret/text'", code=1)
    assert "Permission denied" in told, told


def ports():
    """a client reaches the port of its domain; another one, and datagrams, are refused"""
    listener = socket.create_server(("127.0.0.1", 0))
    other = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    policy(f"  label endpoint web = host any port {port}\n  allow client connect web")
    thread = threading.Thread(target=serve, args=(listener, 1))
    thread.start()
    script = ("import socket,sys\n"
              "def to(port):\n"
              "    try:\n"
              "        socket.create_connection(('127.0.0.1', port), 5).close()\n"
              "        return 'connected'\n"
              "    except OSError as e:\n"
              "        return type(e).__name__\n"
              "def udp():\n"
              "    try:\n"
              "        socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
              "        return 'made'\n"
              "    except OSError as e:\n"
              "        return type(e).__name__\n"
              f"print(to({port}), to({other.getsockname()[1]}), udp())\n")
    told = under("client", "/usr/bin/python3", "-I", "-c", script)
    thread.join()
    assert told.split() == ["connected", "PermissionError", "PermissionError"], told


def calls():
    """without fork no program is started; without thread no thread; mount, ptrace and new namespaces never"""
    script = ("import os,threading\n"
              "def tried(f):\n"
              "    try:\n"
              "        f(); return 'did'\n"
              "    except (OSError, RuntimeError) as e:\n"
              "        return type(e).__name__\n"
              "print(tried(os.fork), tried(threading.Thread(target=int).start))\n")
    told = under("lonely", "/usr/bin/python3", "-I", "-c", script)
    assert told.split() == ["PermissionError", "RuntimeError"], told
    assert "Operation not permitted" in under("reader", "unshare", "--user", "true", code=1)


def descriptors():
    """what is open already does not come along, but for standard input, output and error"""
    with open(f"{DATA}/secret/text", encoding="utf-8") as f:
        done = subprocess.run([PRICKLE, "policy", "run", "reader", "--policy", STORE, "--", "sh", "-c", f"cat <&{f.fileno()}"], pass_fds=[f.fileno()],
                              capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0 and "hello" not in done.stdout and "ad file descriptor" in done.stderr, done


def show():
    """--show tells the floor, in words and as JSON, and what the kernel cannot hold"""
    told = prickle("run", "client", "--policy", STORE, "--show")
    assert "TCP ports" in told and "datagrams\n  none" in told, told
    floor = json.loads(prickle("run", "reader", "--policy", STORE, "--show", "--json"))
    assert {"path": f"{DATA}/open", "may": ["read"]} in floor["files"], floor
    assert floor["kernel"] == ["fork"], floor


def refusals():
    """a domain that is none, a program that is another's, and no program at all are told"""
    assert "no domain 'nobody'" in under("nobody", "true", code=4)
    assert "for the program '/usr/bin/true' alone" in under("one", "false", code=5)
    under("one", "/usr/bin/true")
    assert "no program" in prickle("run", "reader", "--policy", STORE, code=2)


def policy(more=""):
    path = os.path.join(DATA, "site.policy")
    with open(path, "w", encoding="utf-8") as f:
        f.write("import default\nmodule site\n" + SYSTEM + f"""
  label file open = tree "{DATA}/open"
  domain reader = program   domain writer = program   domain client = program   domain lonely = program
  domain one = program "/usr/bin/true"
  allow reader, writer, client, lonely, one read, exec programs
  allow reader, writer, client, lonely, one read settings, devices, processes
  allow reader, writer, client, one write devices
  allow reader read open   allow writer read, write, create open
  allow reader, writer fork kernel   allow client socket kernel
{more}
""")
    prickle("apply", path, "--policy", STORE, "--yes")


if os.geteuid() != 0:
    print("1..0 # SKIP policies are applied by root")
    sys.exit(0)
DATA = os.path.realpath(tempfile.mkdtemp(prefix="prickle-run."))
STORE = os.path.join(DATA, "store")
try:
    for name in ("open", "secret"):
        os.mkdir(os.path.join(DATA, name))
        with open(os.path.join(DATA, name, "text"), "w", encoding="utf-8") as file:
            file.write("hello\n")
    policy()
    tap.run([files, inherited, descriptors, ports, calls, show, refusals])
finally:
    shutil.rmtree(DATA)
