"""bpf(2) from Python: maps, small programs from instructions, links, test runs. Enough for tests, no more."""

import ctypes
import os
import platform
import struct
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}.get(platform.machine(), 321)
(MAP_CREATE, LOOKUP, UPDATE, DELETE, NEXT_KEY, PROG_LOAD, OBJ_PIN, OBJ_GET, TEST_RUN,
 GET_FD_PROG, GET_FD_MAP, GET_INFO, LINK_CREATE) = (0, 1, 2, 3, 4, 5, 6, 7, 10, 13, 14, 15, 28)
TYPE_HASH, TYPE_ARRAY, TYPE_PROG_ARRAY, TYPE_PERCPU_HASH, TYPE_PERCPU_ARRAY = 1, 2, 3, 5, 6
PER_CPU = (5, 6, 10, 21)
XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)
ATTACH_XDP = 37
FLAG_SKB, FLAG_DRIVER = 1 << 1, 1 << 2
HAS_FRAGS = 1 << 5      # of a program: takes packets of several buffers, so MTUs above a page are no obstacle


def bpf(command, attr, size=None):
    """The call itself; attr is bytes or a ctypes buffer. Raises OSError."""
    buffer = attr if isinstance(attr, ctypes.Array) else ctypes.create_string_buffer(attr, max(size or 0, len(attr)))
    result = LIBC.syscall(SYS_BPF, command, buffer, ctypes.sizeof(buffer))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf command {command}: {os.strerror(error)}")
    return result


def _address(buffer):
    return ctypes.addressof(buffer)


def possible_cpus():
    with open("/sys/devices/system/cpu/possible", encoding="ascii") as f:
        return int(f.read().strip().split("-")[-1].split(",")[-1]) + 1


class Map:
    """A map by descriptor. Keys and values are bytes; numbers as keys are u32. Values of per-CPU maps are lists."""

    def __init__(self, fd):
        self.fd = fd
        info = ctypes.create_string_buffer(128)
        bpf(GET_INFO, struct.pack("=IIQ", fd, len(info), _address(info)))
        self.type, self.id, self.key_bytes, self.value_bytes, self.entries, self.flags = struct.unpack_from("=6I", info)

    @classmethod
    def create(cls, kind, key_bytes, value_bytes, entries, flags=0):
        return cls(bpf(MAP_CREATE, struct.pack("=5I", kind, key_bytes, value_bytes, entries, flags), 64))

    @classmethod
    def pinned(cls, path):
        name = ctypes.create_string_buffer(os.fsencode(path))
        return cls(bpf(OBJ_GET, struct.pack("=QII", _address(name), 0, 0)))

    @classmethod
    def by_id(cls, number):
        return cls(bpf(GET_FD_MAP, struct.pack("=III", number, 0, 0)))

    def _key(self, key):
        return ctypes.create_string_buffer(struct.pack("=I", key) if isinstance(key, int) else key, self.key_bytes)

    def _size(self):
        return (self.value_bytes + 7 & ~7) * possible_cpus() if self.type in PER_CPU else self.value_bytes

    def get(self, key):
        """None when there is no such key."""
        name, value = self._key(key), ctypes.create_string_buffer(self._size())
        try:
            bpf(LOOKUP, struct.pack("=IxxxxQQQ", self.fd, _address(name), _address(value), 0))
        except FileNotFoundError:
            return None
        if self.type not in PER_CPU:
            return value.raw
        step = self.value_bytes + 7 & ~7
        return [value.raw[at:at + self.value_bytes] for at in range(0, len(value.raw), step)]

    def u64(self, key, index=0):
        """One number of a value; of a per-CPU map the sum."""
        found = self.get(key)
        parts = found if isinstance(found, list) else [found]
        return sum(struct.unpack_from("=Q", part, 8 * index)[0] for part in parts if part is not None)

    def set(self, key, value, flags=0):
        if self.type in PER_CPU and not isinstance(value, list):
            value = [value] * possible_cpus()
        if isinstance(value, list):
            step = self.value_bytes + 7 & ~7
            value = b"".join(part.ljust(step, b"\0") for part in value)
        elif isinstance(value, int):
            value = value.to_bytes(self.value_bytes, "little")
        name, data = self._key(key), ctypes.create_string_buffer(value, self._size())
        bpf(UPDATE, struct.pack("=IxxxxQQQ", self.fd, _address(name), _address(data), flags))

    def delete(self, key):
        name = self._key(key)
        bpf(DELETE, struct.pack("=IxxxxQQQ", self.fd, _address(name), 0, 0))

    def keys(self):
        found, before, following = [], None, ctypes.create_string_buffer(self.key_bytes)
        while True:
            try:
                bpf(NEXT_KEY, struct.pack("=IxxxxQQQ", self.fd, _address(before) if before else 0, _address(following), 0))
            except FileNotFoundError:
                return found
            found.append(following.raw)
            before = ctypes.create_string_buffer(following.raw, self.key_bytes)

    def close(self):
        os.close(self.fd)


# ---- instructions ----
def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhI", code, src << 4 | dst, off, imm & 0xffffffff)


def mov(dst, imm):
    return insn(0xb7, dst, imm=imm)


def mov_reg(dst, src):
    return insn(0xbf, dst, src)


def map_value(dst, map_, offset=0):
    return insn(0x18, dst, 2, 0, map_.fd) + insn(0, imm=offset)


def call(helper):
    return insn(0x85, imm=helper)


EXIT = insn(0x95)


def load_program(code, kind=6, name="lab", attach_type=ATTACH_XDP, licence="Dual MIT/GPL", flags=0):
    """A descriptor. kind 6 is XDP. On refusal the error holds the verifier's log."""
    data = ctypes.create_string_buffer(code, len(code))
    text = ctypes.create_string_buffer(licence.encode())
    log = ctypes.create_string_buffer(1 << 16)

    def attempt(level):
        return bpf(PROG_LOAD, struct.pack("=IIQQIIQII16sII", kind, len(code) // 8, _address(data), _address(text), level,
                                          len(log) if level else 0, _address(log) if level else 0, 0, flags,
                                          name.encode(), 0, attach_type), 128)
    try:
        return attempt(0)
    except OSError:
        try:
            return attempt(1)
        except OSError as why:
            raise OSError(why.errno, f"{why.strerror}\n{log.value.decode(errors='replace')[-3000:]}") from None


def open_program(path):
    name = ctypes.create_string_buffer(os.fsencode(path))
    return bpf(OBJ_GET, struct.pack("=QII", _address(name), 0, 0))


def program_type(fd):
    info = ctypes.create_string_buffer(256)
    bpf(GET_INFO, struct.pack("=IIQ", fd, len(info), _address(info)))
    return struct.unpack_from("=I", info)[0]


def pin(fd, path):
    name = ctypes.create_string_buffer(os.fsencode(path))
    bpf(OBJ_PIN, struct.pack("=QII", _address(name), fd, 0))


def link_xdp(prog_fd, ifindex, flags=FLAG_DRIVER):
    """A link's descriptor: the program leaves when it closes. The interface is one of the thread's namespace."""
    return bpf(LINK_CREATE, struct.pack("=IIII", prog_fd, ifindex, ATTACH_XDP, flags), 64)


def test_run(prog_fd, frame, repeat=1, ifindex=None, live=False, batch=64):
    """(verdict, frame afterwards, ns a run). live: frames are really sent; then (None, None, None)."""
    data, out = ctypes.create_string_buffer(frame, len(frame)), ctypes.create_string_buffer(len(frame) + 4096)
    context = ctypes.create_string_buffer(struct.pack("=6I", 0, len(frame), 0, ifindex or 0, 0, 0))
    attr = ctypes.create_string_buffer(struct.pack(
        "=IIIIQQIIIIQQIII", prog_fd, 0, len(frame), 0 if live else len(out), _address(data), 0 if live else _address(out),
        repeat, 0, 24 if ifindex else 0, 0, _address(context) if ifindex else 0, 0, 2 if live else 0, 0,
        batch if live else 0), 80)
    bpf(TEST_RUN, attr)
    if live:
        return None, None, None
    _, verdict, _, size = struct.unpack_from("=IIII", attr)
    return verdict, out.raw[:size], struct.unpack_from("=I", attr, 36)[0]


def run_syscall(prog_fd, context):
    """Run a SYSCALL program on a bytearray, which it may change; its return value."""
    data = ctypes.create_string_buffer(bytes(context), len(context))
    attr = ctypes.create_string_buffer(struct.pack("=IIIIQQIIIIQQIII", prog_fd, 0, 0, 0, 0, 0, 0, 0, len(context), 0,
                                                   _address(data), 0, 0, 0, 0), 80)
    bpf(TEST_RUN, attr)
    context[:] = data.raw
    return struct.unpack_from("=i", attr, 4)[0]


class Sink:
    """
    An XDP program that counts frames and drops them. match: [(offset, bytes)], all of which must be equal;
    other frames pass. Counts every processor together.
    """

    def __init__(self, match=(), verdict=XDP_DROP):
        self.map = Map.create(TYPE_ARRAY, 4, 16, 1)
        checks = [(at + i, byte) for at, data in match for i, byte in enumerate(data)]
        body = b""
        # Jumps to "pass" are filled in when the length is known.
        def jumps(total):
            code = insn(0x61, 2, 1, 0) + insn(0x61, 3, 1, 4)
            end = max((at for at, _ in checks), default=0) + 1
            code += mov_reg(4, 2) + insn(0x07, 4, imm=end)
            code += insn(0x2d, 4, 3, total - len(code) // 8 - 1)
            for at, byte in checks:
                code += insn(0x71, 5, 2, at)
                code += insn(0x55, 5, 0, total - len(code) // 8 - 1, byte)
            code += mov_reg(4, 3) + insn(0x1f, 4, 2) + map_value(1, self.map) + mov(0, 1)
            code += insn(0xdb, 1, 0, 0, 0) + insn(0xdb, 1, 4, 8, 0) + mov(0, verdict) + EXIT
            return code
        body = jumps(len(jumps(0)) // 8) + mov(0, XDP_PASS) + EXIT
        self.fd = load_program(body, name="lab_sink")

    @property
    def packets(self):
        return self.map.u64(0, 0)

    @property
    def bytes(self):
        return self.map.u64(0, 1)

    def reset(self):
        self.map.set(0, b"\0" * 16)

    def close(self):
        os.close(self.fd)
        self.map.close()


class Generator:
    """
    Frames at the speed of the driver, sent out of one interface by one processor (BPF_PROG_TEST_RUN, live
    frames; 2-4 M/s on veth). The peer of a veth must run an XDP program or GRO. Each frame is written anew, so
    that what the other side changes in its buffer does not come back; `sequence` is the offset at which a
    32-bit big-endian counter is put. Call within the namespace of the interface: see Lab.generator().
    """

    def __init__(self, namespace, ifindex, frame, sequence=None):
        self.namespace, self.ifindex, self.frame, self.sequence = namespace, ifindex, frame, sequence
        self.sent, self._thread, self._stop, self.error = 0, None, threading.Event(), None
        self.map = Map.create(TYPE_ARRAY, 4, 8, 1)
        code = mov_reg(6, 1) + insn(0x61, 2, 6, 0) + insn(0x61, 3, 6, 4)
        code += mov_reg(4, 2) + insn(0x07, 4, imm=len(frame))
        store = b""
        for at in range(0, len(frame) & ~3, 4):
            store += insn(0x62, 2, off=at, imm=struct.unpack_from("=I", frame, at)[0])
        for at in range(len(frame) & ~3, len(frame)):
            store += insn(0x72, 2, off=at, imm=frame[at])
        if sequence is not None:
            store += map_value(1, self.map) + mov(0, 1) + insn(0xdb, 1, 0, 0, 1) + insn(0xdc, 0, imm=32) \
                + insn(0x63, 2, 0, sequence)
        store += mov(1, ifindex) + mov(2, 0) + call(23) + EXIT
        code += insn(0x2d, 4, 3, len(store) // 8) + store + mov(0, XDP_DROP) + EXIT
        self.fd = load_program(code, name="lab_generator")

    def run(self, count, batch=64):
        """Send count frames, then return."""
        with self.namespace.entered():
            test_run(self.fd, self.frame, count, live=True, batch=batch)
        self.sent += count

    def start(self, burst=4096, pause_s=0.0):
        """Send until stop(); bursts with pauses between them when asked."""
        def work():
            try:
                with self.namespace.entered():
                    while not self._stop.is_set():
                        try:
                            test_run(self.fd, self.frame, burst, live=True)
                            self.sent += burst
                        except InterruptedError:
                            if self.sequence is None:   # only a numbered frame tells how many there were
                                raise
                        if pause_s:
                            self._stop.wait(pause_s)
            except OSError as why:
                self.error = why
        self._stop.clear()
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        return self

    def stop(self):
        """The number of frames sent since the beginning."""
        self._stop.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        if self.error:
            raise self.error
        if self.sequence is not None:
            self.sent = self.map.u64(0, 0)
        return self.sent

    def close(self):
        self.stop()
        os.close(self.fd)
        self.map.close()
