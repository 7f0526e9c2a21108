#!/usr/bin/env python3
"""
What `meson install` leaves, used as somebody would who never saw the source: install_tree.py BUILD_DIRECTORY

An extension is written, compiled, tested, signed, installed, replaced and removed with the installed program and headers
alone, and the installed example program talks to the installed example extension.
"""
import contextlib
import glob
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab, tap  # noqa: E402

BUILD = os.path.abspath(sys.argv[1])
SHARED = {}


def run(*command, code=0, **more):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False, **more)
    assert done.returncode == code, f"{command} ended with {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    return done.stdout


class Tree:
    def __init__(self, directory):
        if not shutil.which("meson"):
            raise tap.Skip("no meson")
        if not os.access(f"{BUILD}/meson-private", os.W_OK):
            raise tap.Skip("the build directory is another user's")
        run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", directory,
            env=dict(os.environ, DESTDIR=directory))
        self.directory = directory
        self.prefix = os.path.dirname(os.path.dirname(self.find("bin/prickle")))
        self.prickle = f"{self.prefix}/bin/prickle"

    def find(self, name):
        found = glob.glob(f"{self.directory}/**/{name}", recursive=True)
        assert found, f"{name} is not installed"
        return found[0]


def tree():
    if "tree" not in SHARED:
        directory = tempfile.mkdtemp(prefix="prickle-tree-")
        SHARED["directory"] = directory
        os.chmod(directory, 0o755)      # another user runs the example
        SHARED["tree"] = Tree(directory)
    return SHARED["tree"]


def need_clang():
    if not any(shutil.which(name) for name in ("clang-19", "clang")):
        raise tap.Skip("no clang")


def need_root():
    if os.geteuid() != 0:
        raise tap.Skip("needs root")


@contextlib.contextmanager
def device():
    """An interface in a namespace, and a way to run the installed program there."""
    with Lab() as lab:
        host, peer = lab.ns("host"), lab.ns("peer")
        lab.veth(host, "eth0", peer, "eth0", ["10.1.0.1/24"], ["10.1.0.2/24"])

        def spine(*words, code=0):
            done = host.done(tree().prickle, "spine", *words)
            assert done.returncode == code, f"{words} ended with {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
            return done.stdout
        yield host, peer, spine


def all_of_it():
    """program, headers, library, pkg-config file, preload library, objects, pages and examples are installed"""
    t = tree()
    for name in ("include/prickle/spine.h", "include/prickle/spine_manifest.h", "include/prickle/spine_message.h",
                 "include/prickle/spine_messages.h", "include/prickle/spine_ring.h", "include/prickle/libspine.h",
                 "libprickle-spine.so", "libprickle-spine.so.0", "libprickle-spine.a", "pkgconfig/prickle-spine.pc",
                 "prickle/libprickle-spine-exec.so", "man1/prickle-spine.1", "man1/prickle-spine-install.1",
                 "man3/libprickle-spine.3", "examples/spine/echo.bpf.c", "examples/spine/echo-client.c"):
        t.find(name)
    for name in ("fanout", "filter", "router", "balancer"):
        if any(shutil.which(clang) for clang in ("clang-19", "clang")):
            t.find(f"prickle/spine/{name}.o")


def headers_are_c_plus_plus_too():
    """the header of the library compiles by itself, as C and as C++"""
    t = tree()
    for compiler, language in (("cc", "c"), ("c++", "c++")):
        if not shutil.which(compiler):
            continue
        with tempfile.TemporaryDirectory() as d:
            with open(f"{d}/x.{language}", "w", encoding="utf-8") as f:
                f.write("#include <prickle/libspine.h>\nint main(void) { return 0; }\n")
            run(compiler, "-Wall", "-Wextra", "-Werror", f"-I{t.prefix}/include", "-fsyntax-only", f"{d}/x.{language}")


def life_of_an_extension():
    """an extension of somebody's own: written, built, tested, signed, installed, replaced with its state, removed"""
    need_clang()
    need_root()
    t = tree()
    with device() as (host, peer, spine), tempfile.TemporaryDirectory() as d:
        run(t.prickle, "spine", "new", "mine", cwd=d)
        run(t.prickle, "spine", "test", "mine", cwd=d)
        run(t.prickle, "spine", "key", "new", f"{d}/key")
        public = run(t.prickle, "spine", "key", "show", f"{d}/key").strip()
        run(t.prickle, "spine", "sign", f"{d}/mine/mine.o", "--key", f"{d}/key")
        with open(f"{d}/mine.policy", "w", encoding="utf-8") as f:
            f.write(f"""import default
                module mine
                  key me = ed25519 {public}
                  domain mine = ebpf object signed-by me
                  allow mine attach, pass, drop port
                  allow mine use helper default           allow mine use map-type default
                  allow mine use program-type xdp
                """)
        os.mkdir(f"{d}/policy")
        told = json.loads(spine("install", f"{d}/mine/mine.o", "--dev", "eth0", "--policy", f"{d}/policy", "--json"))
        assert told["tier"] == "untrusted" and public in told["notice"], told
        spine("remove", "mine", "--dev", "eth0")
        run(t.prickle, "policy", "apply", "--policy", f"{d}/policy", f"{d}/mine.policy")
        told = json.loads(spine("install", f"{d}/mine/mine.o", "--dev", "eth0", "--policy", f"{d}/policy", "--json"))
        assert told["tier"] == "vetted" and "notice" not in told, told
        with peer.entered():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                for _ in range(5):
                    s.sendto(bytes(100), ("10.1.0.1", 9))
        listed = json.loads(spine("list", "--dev", "eth0", "--json"))[0]
        assert listed["returned"]["drop"] == 5, listed
        # A version of other code and the same maps. Its signature is not one of the old object.
        with open(f"{d}/mine/mine.bpf.c", encoding="utf-8") as f:
            source = f.read().replace('.version = "1"', '.version = "2"')
        with open(f"{d}/mine/mine.bpf.c", "w", encoding="utf-8") as f:
            f.write(source)
        run(t.prickle, "spine", "build", f"{d}/mine")
        spine("replace", "mine", f"{d}/mine/mine.o", "--dev", "eth0", code=5)
        os.unlink(f"{d}/mine/mine.o.sig")
        told = json.loads(spine("replace", "mine", f"{d}/mine/mine.o", "--dev", "eth0", "--watch", "50", "--json"))
        assert told["version"] == "2" and "notice" not in told, told      # its maps go on
        spine("remove", "mine", "--dev", "eth0")
        assert json.loads(spine("list", "--dev", "eth0", "--json")) == []


def the_example_program():
    """the example program, built with pkg-config as another user's, calls the example extension"""
    need_clang()
    need_root()
    if not shutil.which("pkg-config"):
        raise tap.Skip("no pkg-config")
    t = tree()
    with device() as (host, peer, spine), tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        shutil.copy(t.find("examples/spine/echo.bpf.c"), d)
        shutil.copy(t.find("examples/spine/echo-client.c"), d)
        run(t.prickle, "spine", "build", f"{d}/echo.bpf.c")
        with open(f"{d}/echo-stubs.h", "w", encoding="utf-8") as f:
            f.write(run(t.prickle, "spine", "stubs", f"{d}/echo.o"))
        os.mkdir(f"{d}/policy")
        pc = os.path.dirname(t.find("pkgconfig/prickle-spine.pc"))
        flags = run("pkg-config", "--define-prefix", "--cflags", "--libs", "prickle-spine",
                    env=dict(os.environ, PKG_CONFIG_PATH=pc)).split()
        libdir = os.path.dirname(pc)
        run("cc", "-Wall", "-Werror", "-D_GNU_SOURCE", "-o", f"{d}/echo-client", f"{d}/echo-client.c", *flags,
            f"-Wl,-rpath,{libdir}", f"-L{libdir}", f"-I{t.prefix}/include")
        with open(f"{d}/echo.policy", "w", encoding="utf-8") as f:
            f.write("""import default
                module echo
                  domain echo = ebpf object
                  allow echo attach, pass, drop, reflect, redirect port     allow echo offer handler
                  allow echo use helper default    allow echo use map-type default, xskmap    allow echo use program-type xdp, syscall
                """)
        run(t.prickle, "policy", "apply", "--policy", f"{d}/policy", f"{d}/echo.policy")
        spine("install", f"{d}/echo.o", "--dev", "eth0", "--policy", f"{d}/policy")
        said = spine("share", "echo", "--dev", "eth0", "--user", "nobody", "--", f"{d}/echo-client", "-", "add", "40", "2")
        assert said == "42 from sender 1\n", said
        spine("remove", "echo", "--dev", "eth0")


try:
    tap.run([all_of_it, headers_are_c_plus_plus_too, life_of_an_extension, the_example_program])
finally:
    shutil.rmtree(SHARED.get("directory", "/nonexistent"), ignore_errors=True)
