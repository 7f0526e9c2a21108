"""
Real programs and plain sockets between two hosts that speak different protocols: each function fails with what was said.
`here` and `there` are namespaces, `address` is what `here` calls `there`, `bound` what `there` calls itself.
"""
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading

from lab import tap, wait_until

UDP_SEGMENT = 103
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DONT, PMTUDISC_DO, IP_MTU, IPV6_MTU = 10, 23, 0, 2, 14, 24
BIG = os.urandom(1 << 20)


def need(program):
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise tap.Skip(f"{program} is not installed")
    return path


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def url(address, port=80):
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"


def ping(here, address, *options, count=3):
    """Replies that came, of `count`."""
    said = here.done("ping", "-n", "-c", count, "-i", "0.05", "-W", "2", *options, address)
    found = re.search(r"(\d+) received", said.stdout)
    return int(found[1]) if found else 0


def must_ping(here, address, *options, count=3):
    got = ping(here, address, *options, count=count)
    assert got == count, f"ping {' '.join(map(str, options))} {address} in {here.name}: {got} of {count} replies"


def curl(here, address, port=80):
    need("curl")
    return here.run("curl", "-sS", "-m", "8", "--noproxy", "*", url(address, port))


def netcat(here, there, address, bound, port, udp=False):
    """A line each way by nc, as ssh or any other conversation."""
    need("nc")
    options = ["-u"] if udp else []
    server = there.start("nc", "-n", *options, "-l", bound, port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with contextlib.suppress(AssertionError):       # nc says nothing when it listens
        table = there.run("ss", "-Hln" + ("u" if udp else "t"))
        wait_until(lambda: f":{port}" in table or f":{port}" in there.run("ss", "-Hln" + ("u" if udp else "t")), 30)
    client = here.start("nc", "-n", *options, address, port, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for one, other, text in ((client, server, b"to there\n"), (server, client, b"and back\n")):
            one.stdin.write(text)
            one.stdin.flush()
            assert _line(other) == text, f"nc {address} {port}: '{text}' did not arrive"
    finally:
        for process in (client, server):
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def _line(process, seconds=5):
    found = []
    reader = threading.Thread(target=lambda: found.append(process.stdout.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    return found[0] if found else None


def transfer(here, there, address, bound, data=BIG, port=7100, seconds=20):
    """Data over TCP from here to there, compared by hash. Returns the path MTU that the sender ended with."""
    server = there.socket(family(bound), socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((bound, port))
    server.listen(1)
    server.settimeout(seconds)
    got = hashlib.sha256()

    def take():
        with contextlib.suppress(OSError):
            peer, _ = server.accept()
            with peer:
                peer.settimeout(seconds)
                while True:
                    piece = peer.recv(1 << 16)
                    if not piece:
                        break
                    got.update(piece)
                peer.send(b"!")

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    client = here.socket(family(address), socket.SOCK_STREAM)
    try:
        client.settimeout(seconds)
        client.connect((address, port))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b"!", f"TCP to {address}: no end"
        taker.join(seconds)
        assert got.digest() == hashlib.sha256(data).digest(), f"TCP to {address}: other bytes arrived"
        six = family(address) == socket.AF_INET6
        return client.getsockopt(socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP, IPV6_MTU if six else IP_MTU)
    finally:
        client.close()
        server.close()


def datagrams(here, there, address, bound, sizes, port=7200, discover=None, back=True):
    """UDP datagrams of these sizes to there, and each back; they may be fragmented on the way unless discover says otherwise."""
    server, client = there.udp(bound, port, 3), here.udp("::" if ":" in address else "0.0.0.0", 0, 3)
    for one in (client, server) if discover is not None else ():
        six = one.family == socket.AF_INET6
        one.setsockopt(socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP, IPV6_MTU_DISCOVER if six else IP_MTU_DISCOVER, discover)
    try:
        for size in sizes:
            data = os.urandom(size)
            client.sendto(data, (address, port))
            try:
                got, peer = server.recvfrom(65536)
            except TimeoutError:
                raise AssertionError(f"a datagram of {size} bytes to {address} did not arrive") from None
            assert got == data, f"a datagram of {size} bytes to {address} arrived as other {len(got)} bytes"
            if back:
                server.sendto(data, peer)
                try:
                    assert client.recv(65536) == data, f"a datagram of {size} bytes from {address}: other bytes"
                except TimeoutError:
                    raise AssertionError(f"a datagram of {size} bytes from {address} did not come back") from None
    finally:
        client.close()
        server.close()


def segments(here, there, address, bound, size=1200, count=10, supers=20, port=7300):
    """What QUIC does: large UDP buffers that the kernel (or device) cuts into datagrams of `size` (UDP_SEGMENT)."""
    server, client = there.udp(bound, port, 2), here.udp("::" if ":" in address else "0.0.0.0", 0, 2)
    server.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
    client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    want, got = [], []
    for _ in range(supers):
        data = os.urandom(size * count)
        client.sendto(data, (address, port))
        want += [data[at:at + size] for at in range(0, len(data), size)]
        with contextlib.suppress(TimeoutError):
            while len(got) < len(want):
                got.append(server.recv(65536))
    client.close()
    server.close()
    assert got == want, f"{len(got)} of {len(want)} datagrams arrived, {sum(a == b for a, b in zip(got, want))} of them in order and intact"


def iperf(here, there, address, bound, *options, seconds=1):
    """Gbit/s that arrived, of iperf3."""
    need("iperf3")
    there.start("iperf3", "-s", "-1", "-B", bound, "-p", 5301)
    wait_until(lambda: ":5301" in there.run("ss", "-Hlnt"), 30, "iperf3 -s")
    said = json.loads(here.run("iperf3", "-c", address, "-p", 5301, "-t", seconds, "-J", *options, timeout=seconds + 15))
    assert "error" not in said, f"iperf3 -c {address}: {said.get('error')}"
    end = said["end"]
    found = end.get("sum_received") or end["sum"]
    return found["bits_per_second"] / 1e9, end


def hops(here, address, *options):
    """Addresses that traceroute names, in order; '*' for none."""
    said = here.run(need("traceroute"), "-n", "-q", "2", "-w", "1.5", "-m", "8", "-z", "20", *options, address, timeout=40)
    found = []
    for line in said.splitlines()[1:]:
        words = [word for word in line.split()[1:] if "." in word and not word.replace(".", "").isdigit() or ":" in word or word.count(".") == 3]
        found.append(words[0] if words else "*")
    return found


def mtr(here, address):
    """The same of mtr, with the loss of the last hop in percent."""
    rows = json.loads(here.run(need("mtr"), "-n", "-c", "3", "-i", "0.3", "-G", "1", "--json", address, timeout=40))["report"]["hubs"]
    return [row["host"] for row in rows], rows[-1]["Loss%"]
