#!/usr/bin/env python3
"""The key-value cache in front of a real memcached: what it answers, and that it never answers what was overwritten.

kv.py PRICKLE
"""

import contextlib
import json
import shutil
import signal
import socket
import statistics
import struct
import sys
import threading
import time

import lab as lab_module
import tap

PORT, BUCKETS = 11211, 4096
SERVER4, SERVER6, FAKE = "10.88.0.2", "fd88::2", "10.88.0.3"


class Udp:
    """A client of memcached's UDP protocol; it gives each request a number of its own."""

    def __init__(self, ns, server=SERVER4, timeout=2.0, number=0):
        self.socket = ns.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(timeout)
        self.socket.connect((server, PORT))
        self.number = number

    def send(self, text, sequence=0, total=1):
        self.number = self.number % 65535 + 1
        self.socket.send(struct.pack("!HHHH", self.number, sequence, total, 0) + text)

    def receive(self):
        parts = {}
        while True:
            data = self.socket.recv(65536)
            number, sequence, total, _ = struct.unpack("!HHHH", data[:8])
            if number == self.number:
                parts[sequence] = data[8:]
                if len(parts) == total:
                    return b"".join(parts[i] for i in range(total))

    def ask(self, text):
        self.send(text)
        return self.receive()

    def set(self, key, value, seconds=0):
        reply = self.ask(b"set %s 0 %d %d\r\n%s\r\n" % (key, seconds, len(value), value))
        assert reply == b"STORED\r\n", reply

    def get(self, key):
        return value_of(key, self.ask(b"get %s\r\n" % key))


class Tcp:
    def __init__(self, ns, server=SERVER4):
        self.socket = ns.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(2.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect((server, PORT))

    def ask(self, text, end=b"\r\n"):
        self.socket.sendall(text)
        got = b""
        while not got.endswith(end):
            data = self.socket.recv(65536)
            assert data, got
            got += data
        return got

    def set(self, key, value):
        assert self.ask(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)) == b"STORED\r\n"


def value_of(key, reply):
    if reply == b"END\r\n":
        return None
    head, _, rest = reply.partition(b"\r\n")
    words = head.split()
    assert words[:2] == [b"VALUE", key] and rest.endswith(b"\r\nEND\r\n"), reply
    assert len(rest) == int(words[3]) + 7, reply
    return rest[:-7]


def bucket(key):
    """As kv_text.h has it."""
    h = 2166136261
    for c in key:
        h = (h ^ c) * 16777619 & 0xffffffff
    h ^= h >> 15
    h = h * 0x2c1b3c6d & 0xffffffff
    return (h ^ h >> 12) * BUCKETS >> 32


class Bench:
    def __init__(self, lab):
        if shutil.which("memcached") is None:
            raise tap.Skip("no memcached")
        self.lab, self.client, self.host = lab, lab.ns("client"), lab.ns("host")
        self.client_if, self.host_if = lab.veth(self.client, "eth0", self.host, "eth0", ["10.88.0.1/24", "fd88::1/64"],
                                                [f"{SERVER4}/24", f"{SERVER6}/64", f"{FAKE}/24"])
        lab.ready(self.host_if)
        self.memcached = self.host.start("memcached", "-u", "nobody", "-U", PORT, "-p", PORT, "-m", "64", "-t", "4",
                                         "-l", f"{SERVER4},{SERVER6},127.0.0.1")
        lab_module.wait_until(lambda: "11211" in self.host.run("ss", "-lun"), what="memcached")
        self.extension = None

    def install(self):
        self.extension = self.lab.install(self.host_if, self.lab.extension("kv"))
        self.start()

    def kv(self, *arguments, check=True):
        return self.extension.prickle("spine", "kv", *arguments, check=check)

    def start(self, *options):
        self.kv("start", SERVER4, SERVER6, FAKE, *options)

    def counts(self):
        return json.loads(self.kv("show", "--json").stdout)["counts"]

    @contextlib.contextmanager
    def stopped(self):
        """The server does nothing: what is answered, the device answers."""
        self.memcached.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.memcached.send_signal(signal.SIGCONT)

    def warm(self, client, key, value):
        client.set(key, value)
        assert client.get(key) == value


BENCH = None


def works_before_and_untouched():
    """the server works over UDP and TCP without the cache"""
    b = BENCH
    Udp(b.client).set(b"before", b"1")
    Tcp(b.client).set(b"before", b"2")
    assert Udp(b.client, SERVER6).get(b"before") == b"2"
    b.install()


def hits_and_misses():
    """a value that the server sent once is answered by the device, over IPv4 and IPv6; what it does not have is a miss"""
    b = BENCH
    for server in (SERVER4, SERVER6):
        u, key = Udp(b.client, server), b"hit-" + server.encode()
        before = b.counts()
        assert u.get(key) is None
        b.warm(u, key, b"value \0\r\n of it")
        assert u.get(key) == b"value \0\r\n of it"
        after = b.counts()
        assert after["hits"] == before["hits"] + 1 and after["misses"] == before["misses"] + 2, (before, after)
        for length in (0, 1, 2, 3, 50, 970):
            b.warm(u, key, b"v" * length)
            with b.stopped() if length < 100 else contextlib.nullcontext():  # veth has little room in its frames
                assert u.get(key) == b"v" * length, length


def the_device_answers():
    """hits are answered while the server is stopped; the bytes are those of the server, headers and sums are right"""
    b = BENCH
    for server in (SERVER4, SERVER6):
        u = Udp(b.client, server)
        b.warm(u, b"k" * 250, b"x" * 20)
        raw = b.client_if.raw()
        with b.stopped():
            u.send(b"get " + b"k" * 250 + b"\r\n")
            frame = raw.receive(lambda f: b"VALUE kkk" in f.raw)
            assert u.receive() == b"VALUE " + b"k" * 250 + b" 0 20\r\n" + b"x" * 20 + b"\r\nEND\r\n"
        raw.close()
        assert_sums(frame.raw)


def assert_sums(raw):
    def total(data):
        data += b"\0" * (len(data) % 2)
        n = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while n >> 16:
            n = (n & 0xffff) + (n >> 16)
        return n

    ip = raw[14:]
    if ip[0] >> 4 == 4:
        assert total(ip[:20]) == 0xffff and struct.unpack("!H", ip[2:4])[0] == len(ip)
        addresses, udp = ip[12:20], ip[20:]
    else:
        assert struct.unpack("!H", ip[4:6])[0] == len(ip) - 40
        addresses, udp = ip[8:40], ip[40:]
    assert struct.unpack("!H", udp[4:6])[0] == len(udp)
    assert udp[6:8] != b"\0\0" and total(addresses + struct.pack("!HH", 17, len(udp)) + udp) == 0xffff


def writes_are_seen():
    """each kind of write is seen by the next read, over UDP and over TCP: alone, in pieces, pipelined, without reply"""
    b, key = BENCH, b"written"
    u, writer = Udp(b.client), Tcp(b.client)
    for text in (b"append written 0 0 1\r\n!\r\n", b"prepend written 0 0 1\r\n!\r\n", b"replace written 0 0 2\r\n55\r\n",
                 b"incr written 4\r\n", b"decr written 1\r\n", b"touch written 0\r\n", b"delete written\r\n",
                 b"flush_all\r\n", b"ms written 1\r\nm\r\n", b"md written\r\n"):
        for how in ("udp", "tcp", "tcp again", "pieces", "pipelined", "noreply"):
            u.set(key, b"1")
            assert u.get(key) == b"1" and u.get(key) == b"1"
            if how == "udp":
                u.ask(text)
            elif how == "pieces":
                t = Tcp(b.client)
                t.socket.sendall(text[:9])
                time.sleep(0.002)
                t.ask(text[9:])
            elif how == "pipelined":
                Tcp(b.client).ask(b"get written\r\n" + text + b"mn\r\n", b"MN\r\n")
            elif how == "noreply":
                if text.startswith(b"m"):
                    continue
                line, _, rest = text.partition(b"\r\n")
                Tcp(b.client).ask(line + b" noreply\r\n" + rest + b"mn\r\n", b"MN\r\n")
            else:
                (writer if how == "tcp again" else Tcp(b.client)).ask(text)
            assert u.get(key) == value_of(key, Tcp(b.client).ask(b"get written\r\n", b"END\r\n")), (text, how)


def followed_connections_flush_nothing():
    """a TCP connection that writes one value after the other voids those keys alone; one that reads voids nothing"""
    b = BENCH
    u, writer, reader = Udp(b.client), Tcp(b.client), Tcp(b.client)
    writer.set(b"first", b"1")
    b.warm(u, b"stays", b"here")
    before = b.counts()
    for i in range(20):
        writer.set(b"other%d" % i, b"x" * (200 * i))
        assert reader.ask(b"get other%d\r\n" % i, b"END\r\n")
        writer.ask(b"delete other%d\r\n" % i)
    after = b.counts()
    assert after["flushes"] == before["flushes"] and after["lost_connections"] == before["lost_connections"], after
    assert u.get(b"stays") == b"here" and b.counts()["hits"] > before["hits"]
    reader.ask(b"set now 0 0 1\r\nx\r\n")
    assert b.counts()["flushes"] > before["flushes"]


def late_replies_do_not_fill():
    """a value that the server read before a write, but sent after its acknowledgement, is not kept"""
    b = BENCH
    server = b.host.udp(FAKE, PORT)

    def reply(request, peer, text):
        server.sendto(request[:4] + b"\0\1\0\0" + text, peer)

    for write in (b"set late 0 0 3\r\nnew\r\n", b"delete late\r\n", b"flush_all\r\n", b"ma late\r\n"):
        reader, writer = Udp(b.client, FAKE), Udp(b.client, FAKE)
        reader.send(b"get late\r\n")
        read = server.recvfrom(2000)
        writer.send(write)
        wrote = server.recvfrom(2000)
        reply(*wrote, b"STORED\r\n")
        assert writer.receive() == b"STORED\r\n"
        reply(*read, b"VALUE late 0 3\r\nold\r\nEND\r\n")
        assert reader.receive()
        writer.send(b"get late\r\n")
        assert server.recvfrom(2000)[0][8:] == b"get late\r\n", f"answered after {write}"
    # The write passes, the value is read and sent before it is done: the acknowledgement must void that.
    reader, writer = Udp(b.client, FAKE), Udp(b.client, FAKE)
    writer.send(b"set late 0 0 3\r\nnew\r\n")
    wrote = server.recvfrom(2000)
    reader.send(b"get late\r\n")
    reply(*server.recvfrom(2000), b"VALUE late 0 3\r\nold\r\nEND\r\n")
    assert reader.receive()
    reply(*wrote, b"STORED\r\n")
    assert writer.receive() == b"STORED\r\n"
    reader.send(b"get late\r\n")
    assert server.recvfrom(2000)[0][8:] == b"get late\r\n", "answered after the acknowledgement"
    # One request number twice: which reply is whose?
    reader, writer = Udp(b.client, FAKE, number=7), Udp(b.client, FAKE)
    reader.send(b"get late\r\n")
    first = server.recvfrom(2000)
    reader.number -= 1
    reader.send(b"get late\r\n")
    server.recvfrom(2000)
    reply(*first, b"VALUE late 0 3\r\nold\r\nEND\r\n")
    reader.receive()
    writer.send(b"get late\r\n")
    assert server.recvfrom(2000)[0][8:] == b"get late\r\n", "filled under a number that was used twice"
    server.close()


def check(write, keys, seconds=4):
    """Readers and one writer a key: values are numbers that grow; none is older than the last that was acknowledged."""
    b, done, wrong, reads = BENCH, [0] * keys, [], [0]
    end = time.monotonic() + seconds
    lock = threading.Lock()

    def writes(k):
        put, n = write(), 0
        while time.monotonic() < end and not wrong:
            n += 1
            put(b"c%d" % k, b"%d" % n)
            done[k] = n
            time.sleep(0.001)

    def read():
        u, n = Udp(b.client), 0
        while time.monotonic() < end and not wrong:
            n += 1
            k = n % keys
            least = done[k]
            with contextlib.suppress(socket.timeout):
                value = int(u.get(b"c%d" % k) or b"0")
                if value < least:
                    wrong.append((k, least, value))
        with lock:
            reads[0] += n

    for k in range(keys):
        Udp(b.client).ask(b"delete c%d\r\n" % k)
    threads = [threading.Thread(target=writes, args=(k,)) for k in range(keys)] + [threading.Thread(target=read) for _ in range(4)]
    before = b.counts()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, f"key, acknowledged, read: {wrong[0]}"
    assert min(done) > 10 and reads[0] > 100, (done, reads)
    return reads[0], sum(done), b.counts()["hits"] - before["hits"]


def no_stale_reads():
    """no read beside concurrent writes by UDP, by TCP and by a mixture gets what an acknowledged write replaced"""
    b = BENCH

    def mixed():
        u, t, count = Udp(b.client), Tcp(b.client), [0]

        def put(key, value):
            count[0] += 1
            (t if count[0] % 2 else u).set(key, value)
        return put

    for name, write in (("udp", lambda: Udp(b.client).set), ("tcp", lambda: Tcp(b.client).set), ("mixed", mixed)):
        reads, writes, hits = check(write, 4)
        print(f"# {name}: {writes} writes, {reads} reads, {hits} of them hits")
        assert hits > 0


def old_entries_end():
    """what is written behind the cache's back, and what expires on the server, is seen after --ttl at the latest"""
    b, u = BENCH, Udp(BENCH.client)
    b.start("--ttl", "300")
    b.warm(u, b"behind", b"old")
    Udp(b.host, "127.0.0.1").set(b"behind", b"new")
    assert u.get(b"behind") == b"old", "it was not cached"
    time.sleep(0.35)
    assert u.get(b"behind") == b"new"
    u.set(b"short", b"lived", 1)
    end = time.monotonic() + 2.6
    while time.monotonic() < end:
        u.get(b"short")
        time.sleep(0.02)
    assert u.get(b"short") is None
    b.start()


def big_values_pass():
    """values of more than a datagram or more than the cache keeps pass, and void nothing"""
    b, u = BENCH, Udp(BENCH.client)
    b.warm(u, b"small", b"here")
    Tcp(b.client).ask(b"get small\r\n", b"END\r\n")
    for length in (1024, 1200, 5000, 50000):
        Tcp(b.client).set(b"big", b"b" * length)
        for _ in range(2):
            assert u.get(b"big") == b"b" * length
    b.warm(u, b"small", b"here")
    before = b.counts()
    Tcp(b.client).set(b"big", b"b" * 1000)
    u.get(b"big")
    after = b.counts()
    assert after["flushes"] == before["flushes"] and after["fills"] == before["fills"], (before, after)


def collisions():
    """keys that share a bucket get their own values"""
    b, u = BENCH, Udp(BENCH.client)
    found = []
    for i in range(100000):
        key = b"collide%d" % i
        if bucket(key) == bucket(b"collide0"):
            found.append(key)
            if len(found) == 4:
                break
    assert len(found) == 4
    for key in found:
        u.set(key, b"of " + key)
    for _ in range(10):
        for key in found:
            assert u.get(key) == b"of " + key
            with b.stopped():
                assert u.get(key) == b"of " + key


def odd_requests_pass():
    """requests that are not plain or not whole reach the server as they were sent"""
    b = BENCH
    server, u = b.host.udp(FAKE, PORT), Udp(b.client, FAKE)
    u.send(b"get a\r\n")
    request, peer = server.recvfrom(2000)
    server.sendto(request[:4] + b"\0\1\0\0VALUE a 0 1\r\nx\r\nEND\r\n", peer)
    assert value_of(b"a", u.receive()) == b"x"
    assert u.get(b"a") == b"x", "it was not cached"
    for text in (b"", b"g", b"get", b"get \r\n", b"get a", b"get a\n", b"get a\r", b"get  a\r\n", b" get a\r\n", b"get a \r\n",
                 b"get a a\r\n", b"gets a\r\n", b"GET a\r\n", b"get a\r\nget a\r\n", b"get a\0\r\n", b"get a\r\n\r\n", b"get\ta\r\n",
                 b"get " + b"a" * 251 + b"\r\n", b"a" * 1400, b"\r\n", b"\x80\0\0\1" + b"\0" * 20 + b"a", b"mg a v\r\n",
                 b"set a 0 0 1 noreply\r\ny\r\n", b"set a 0 0 99999999999\r\n", b"set a 0 0 -1\r\n", b"set a 0 0 1\r\n"):
        u.send(text)
        assert server.recv(2000)[8:] == text, text
    for how in ({"sequence": 1}, {"total": 2}, {"total": 0}):
        u.send(b"get a\r\n", **how)
        assert server.recv(2000)[8:] == b"get a\r\n", how
    for short in (b"", b"1234567"):
        u.socket.send(short)
        assert server.recv(2000) == short
    u.socket.sendto(b"\0\1\0\0\0\1\0\0get a\r\n" + b"z" * 5000, (FAKE, PORT))
    assert len(server.recv(9000)) == 5015, "fragments"
    server.close()


def start_and_stop():
    """stop, and remove, leave the interface as it was; so does stop after --clsact; mistakes are told"""
    b, u = BENCH, Udp(BENCH.client)

    def state():
        return b.host.run("tc", "qdisc", "show", "dev", "eth0") + b.host.run("tc", "filter", "show", "dev", "eth0", "egress"), \
            [e for row in json.loads(b.host.run("bpftool", "-j", "net", "show")) for e in row.get("tc", [])]

    assert json.loads(b.kv("show", "--json").stdout)["answers"]
    b.kv("stop")
    before = state()
    assert "clsact" not in before[0], before
    assert not json.loads(b.kv("show", "--json").stdout)["answers"]
    assert b.kv("start", "nonsense", check=False).returncode == 2
    assert b.kv("start", SERVER4, "--ttl", "0", check=False).returncode == 2
    assert "off" in b.kv("show").stdout
    for options in ([], ["--clsact"]):
        b.start(*options)
        b.start(*options)
        b.warm(u, b"again", b"here")
        with b.stopped():
            assert u.get(b"again") == b"here", options
        shown = json.loads(b.kv("show", "--json").stdout)
        assert shown["follows"] in (("clsact",) if options else ("tcx", "clsact")), shown
        assert sorted(shown["servers"]) == sorted([SERVER4, SERVER6, FAKE]), shown
        # While it is off, writes pass unseen; what was known before must not come back.
        b.kv("stop")
        b.kv("stop")
        assert state() == before, options
        Udp(b.client).set(b"again", b"changed")
        b.start(*options)
        assert u.get(b"again") == b"changed"
        b.kv("stop")
    b.start()
    b.extension.remove()
    u.set(b"again", b"without")
    assert u.get(b"again") == b"without"
    assert state()[0] == before[0]


def latency():
    """a hit costs a client less than an answer of the server (numbers in the comment)"""
    b, u = BENCH, Udp(BENCH.client)
    b.start("--ttl", "60000")

    def p50(key, rounds=1500):
        times = []
        for _ in range(rounds):
            begin = time.perf_counter_ns()
            u.get(key)
            times.append(time.perf_counter_ns() - begin)
        return statistics.median(times) / 1000

    b.warm(u, b"fast", b"x" * 100)
    device = p50(b"fast")
    b.kv("stop")
    server = p50(b"fast")
    b.start()
    print(f"# p50 of a read: {device:.1f} us from the device, {server:.1f} us from memcached ({server / device:.1f} x), "
          f"the client's own time included")


CASES = [works_before_and_untouched, hits_and_misses, the_device_answers, writes_are_seen,
         followed_connections_flush_nothing, late_replies_do_not_fill, no_stale_reads, old_entries_end, big_values_pass,
         collisions, odd_requests_pass, latency, start_and_stop]


def main():
    global BENCH
    try:
        with lab_module.Lab(sys.argv[1] if len(sys.argv) > 1 else None) as lab:
            BENCH = Bench(lab)
            tap.run(CASES)
    except tap.Skip as why:
        print(f"1..0 # SKIP {why}")


if __name__ == "__main__":
    main()
