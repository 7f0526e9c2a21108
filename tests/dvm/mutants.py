"""Java classes with one thing changed, from a seed: what a verifier must judge as a JVM does."""
import random
import struct


def u2(b, at):
    return b[at] << 8 | b[at + 1]


def u4(b, at):
    return struct.unpack_from(">I", b, at)[0]


class Layout:
    """Where things stand in a class file: lists of offsets by kind."""

    def __init__(self, b):
        self.b = b
        self.constants, self.utf8, self.flags, self.indices, self.lengths = [], {}, [], [], []
        self.code, self.frames, self.handlers, self.limits, self.content = [], [], [], [], []
        at = 10
        i = 1
        while i < u2(b, 8):
            self.constants.append(at)
            tag = b[at]
            if tag == 1:
                self.utf8[i] = b[at + 3:at + 3 + u2(b, at + 1)]
                at += 3 + u2(b, at + 1)
            elif tag in (3, 4, 9, 10, 11, 12, 17, 18):
                at += 5
            elif tag in (5, 6):
                at += 9
                i += 1
            elif tag == 15:
                at += 4
            else:
                at += 3
            i += 1
        self.pool_end = at
        self.flags.append(at)
        self.indices += [at + 2, at + 4]
        interfaces = u2(b, at + 6)
        at += 8
        self.indices += range(at, at + 2 * interfaces, 2)
        at += 2 * interfaces
        for _ in range(2):
            count = u2(b, at)
            at += 2
            for _ in range(count):
                self.flags.append(at)
                self.indices += [at + 2, at + 4]
                at = self.attributes(at + 6)
        self.attributes(at)

    def attributes(self, at):
        b = self.b
        count = u2(b, at)
        at += 2
        for _ in range(count):
            name, length = self.utf8.get(u2(b, at), b""), u4(b, at + 2)
            self.indices.append(at)
            self.lengths.append(at + 2)
            if name == b"Code":
                self.limits += [at + 6, at + 8]
                size = u4(b, at + 10)
                self.code.append((at + 14, size))
                table = at + 14 + size
                self.handlers += range(table + 2, table + 2 + 8 * u2(b, table), 2)
                self.attributes(table + 2 + 8 * u2(b, table))
            elif name == b"StackMapTable":
                self.frames.append((at + 6, length))
            elif length > 0:
                self.content.append((at + 6, length))
            at += 6 + length
        return at


def put2(b, at, value):
    b[at], b[at + 1] = value >> 8 & 255, value & 255


OPCODES = [0, 1, 2, 3, 4, 9, 11, 14, 16, 18, 21, 25, 26, 27, 30, 34, 38, 42, 43, 44, 45, 46, 50, 51, 54, 58, 59, 60, 63, 67, 71, 75, 76, 79, 83, 87, 88, 89, 90, 92, 95,
           96, 97, 98, 99, 116, 132, 133, 136, 147, 148, 153, 159, 165, 167, 168, 169, 172, 173, 174, 175, 176, 177, 178, 179, 180, 181, 182, 183, 184, 185, 186,
           187, 188, 189, 190, 191, 192, 193, 194, 195, 196, 197, 198, 200, 201, 202, 254]


def mutate(original, seed):
    """One change; (bytes, what was changed)."""
    r = random.Random(seed)
    b = bytearray(original)
    layout = Layout(original)
    pool = u2(original, 8)
    for _ in range(20):
        kind = r.choice(["byte", "opcode", "opcode", "opcode", "code", "code", "frame", "frame", "frame", "constant", "constant", "tag", "flags", "flags", "index",
                         "length", "handler", "limit", "limit", "version", "cut", "content", "content", "operand", "operand"])
        if kind == "byte":
            at = r.randrange(len(b))
            b[at] ^= 1 << r.randrange(8)
        elif kind in ("opcode", "code", "operand") and layout.code:
            start, size = r.choice(layout.code)
            at = start + r.randrange(size)
            if kind == "operand" and size > 2:
                at = start + r.randrange(size - 1)
                put2(b, at, r.randrange(pool))
            else:
                b[at] = r.choice(OPCODES) if kind == "opcode" else r.randrange(256)
        elif kind == "frame" and layout.frames:
            start, size = r.choice(layout.frames)
            if size == 0:
                continue
            at = start + r.randrange(size)
            b[at] = r.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 71, 128, 246, 247, 248, 250, 251, 252, 254, 255, (b[at] + 1) & 255, (b[at] - 1) & 255])
        elif kind == "constant":
            at = r.choice(layout.constants)
            if b[at] == 1:
                n = u2(original, at + 1)
                if n == 0:
                    continue
                at += 3 + r.randrange(n)
                b[at] = r.choice(b"./;[<>LI()V\x00\x80\xc0\xe0") if r.random() < 0.5 else r.randrange(256)
            else:
                at += 1
                put2(b, at, r.randrange(pool))
        elif kind == "tag":
            at = r.choice(layout.constants)
            b[at] = r.randrange(22)
        elif kind == "flags":
            at = r.choice(layout.flags)
            put2(b, at, u2(b, at) ^ 1 << r.randrange(16))
        elif kind == "index" and layout.indices:
            at = r.choice(layout.indices)
            put2(b, at, r.randrange(pool + 1))
        elif kind == "length" and layout.lengths:
            at = r.choice(layout.lengths)
            b[at + 3] = (b[at + 3] + r.choice([-2, -1, 1, 2])) & 255
        elif kind == "handler" and layout.handlers:
            at = r.choice(layout.handlers)
            put2(b, at, u2(b, at) + r.choice([-2, -1, 1, 2, 100]) & 65535)
        elif kind == "limit" and layout.limits:
            at = r.choice(layout.limits)
            put2(b, at, max(0, u2(b, at) + r.choice([-2, -1, -1, 1])))
        elif kind == "version":
            at = 6
            put2(b, 6, r.choice([44, 45, 46, 47, 48, 49, 50, 51, 52, 54, 55, 59, 60, 61]))
        elif kind == "cut":
            at = r.randrange(len(b))
            if r.random() < 0.5:
                del b[at:at + r.choice([1, 2, 8])]
            else:
                b[at:at] = bytes([r.randrange(256)])
        elif kind == "content" and layout.content:
            start, size = r.choice(layout.content)
            at = start + r.randrange(min(size, 64))
            b[at] = r.choice([0, 1, 2, 255, b[at] ^ 1])
        else:
            continue
        if bytes(b) != original:
            return bytes(b), f"{kind} at {at}"
    return None, "nothing"


def with_version(original, major):
    """As another version: what the frames said is forgotten below 50."""
    b = bytearray(original)
    put2(b, 6, major)
    return bytes(b)
