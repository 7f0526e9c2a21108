"""Frames as bytes: builders that fill in lengths and checksums, and a parser that checks them."""

import ipaddress
import struct

ETH_IP4, ETH_ARP, ETH_VLAN, ETH_QINQ, ETH_IP6 = 0x0800, 0x0806, 0x8100, 0x88A8, 0x86DD
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def mac(text):
    """"02:00:00:00:00:01" as six bytes; bytes stay."""
    return text if isinstance(text, bytes) else bytes.fromhex(text.replace(":", ""))


def mac_text(data):
    return ":".join(f"{b:02x}" for b in data)


def address(value):
    """An address as bytes, 4 or 16."""
    return value if isinstance(value, bytes) else ipaddress.ip_address(value).packed


def sum16(data):
    """RFC 1071: the ones' complement sum, folded; 0xffff when data holds a right checksum."""
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def checksum(data):
    return ~sum16(data) & 0xffff


def pseudo(src, dst, proto, length):
    src, dst = address(src), address(dst)
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, proto, length)
    return src + dst + struct.pack("!II", length, proto)


def eth(dst, src, ethertype, payload, vlan=None):
    """vlan: a tag's TCI, or a list of them, outermost first (0x88a8 outside, 0x8100 innermost)."""
    head = mac(dst) + mac(src)
    tags = [] if vlan is None else [vlan] if isinstance(vlan, int) else list(vlan)
    for left, tci in zip(range(len(tags) - 1, -1, -1), tags):
        head += struct.pack("!HH", ETH_QINQ if left else ETH_VLAN, tci)
    return head + struct.pack("!H", ethertype) + payload


def ip4(src, dst, proto, payload, ttl=64, tos=0, ident=0, fragment=0, options=b""):
    """fragment: the 16 bits of flags and offset (0x4000: don't fragment)."""
    options += b"\0" * (-len(options) % 4)
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | size // 4, tos, size + len(payload), ident, fragment, ttl,
                       proto, 0, address(src), address(dst)) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ip6(src, dst, following, payload, hops=64, traffic_class=0, flow=0):
    return struct.pack("!IHBB", 6 << 28 | traffic_class << 20 | flow, len(payload), following, hops) + \
        address(src) + address(dst) + payload


def udp(src, dst, sport, dport, payload=b"", summed=True):
    """A datagram between two addresses (for the pseudo header). summed=False: checksum 0."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    total = checksum(pseudo(src, dst, UDP, 8 + len(payload)) + head + payload) or 0xffff if summed else 0
    return head[:6] + struct.pack("!H", total) + payload


def tcp(src, dst, sport, dport, payload=b"", flags=SYN, seq=0, ack=0, window=65535, options=b""):
    options += b"\0" * (-len(options) % 4)
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, (20 + len(options)) // 4 << 4, flags, window, 0, 0) + options
    total = checksum(pseudo(src, dst, TCP, len(head) + len(payload)) + head + payload)
    return head[:16] + struct.pack("!H", total) + head[18:] + payload


def icmp(kind, code, rest=0, payload=b""):
    """rest: the second word, as a number (echo: identifier << 16 | sequence)."""
    body = struct.pack("!BBHI", kind, code, 0, rest) + payload
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def icmp6(src, dst, kind, code, rest=0, payload=b""):
    body = struct.pack("!BBHI", kind, code, 0, rest) + payload
    total = checksum(pseudo(src, dst, ICMP6, len(body)) + body)
    return body[:2] + struct.pack("!H", total) + body[4:]


def udp_frame(dst_mac, src_mac, src, dst, sport, dport, payload=b"", ttl=64, vlan=None, summed=True):
    """The whole frame, in the addresses' family."""
    return _frame(dst_mac, src_mac, src, dst, UDP, udp(src, dst, sport, dport, payload, summed), ttl, vlan)


def tcp_frame(dst_mac, src_mac, src, dst, sport, dport, payload=b"", ttl=64, vlan=None, **more):
    return _frame(dst_mac, src_mac, src, dst, TCP, tcp(src, dst, sport, dport, payload, **more), ttl, vlan)


def _frame(dst_mac, src_mac, src, dst, proto, segment, ttl, vlan):
    if len(address(src)) == 4:
        return eth(dst_mac, src_mac, ETH_IP4, ip4(src, dst, proto, segment, ttl), vlan)
    return eth(dst_mac, src_mac, ETH_IP6, ip6(src, dst, proto, segment, ttl), vlan)


class Frame:
    """
    A frame taken apart. Fields that it has not are None:
    raw dst src vlan (list of TCIs) ethertype; version saddr daddr ttl proto tos fragment (IPv4 flags and
    offset) sums_right (all checksums that can be checked); sport dport flags (TCP) type code (ICMP) payload
    (behind the innermost header that was understood).
    """

    def __init__(self, raw):
        self.raw, self.vlan, self.sums_right = raw, [], True
        for name in ("version", "saddr", "daddr", "ttl", "proto", "tos", "fragment", "sport", "dport", "flags",
                     "type", "code"):
            setattr(self, name, None)
        self.dst, self.src = mac_text(raw[:6]), mac_text(raw[6:12])
        self.ethertype, at = struct.unpack_from("!H", raw, 12)[0] if len(raw) >= 14 else 0, 14
        while self.ethertype in (ETH_VLAN, ETH_QINQ) and len(raw) >= at + 4:
            tci, self.ethertype = struct.unpack_from("!HH", raw, at)
            self.vlan.append(tci)
            at += 4
        self.payload = raw[at:]
        if self.ethertype == ETH_IP4 and len(self.payload) >= 20:
            self._ip4(self.payload)
        elif self.ethertype == ETH_IP6 and len(self.payload) >= 40:
            self._ip6(self.payload)

    def _ip4(self, data):
        size = (data[0] & 15) * 4
        total, _, self.fragment = struct.unpack_from("!HHH", data, 2)
        self.version, self.tos, self.ttl, self.proto = 4, data[1], data[8], data[9]
        self.saddr, self.daddr = (str(ipaddress.IPv4Address(data[at:at + 4])) for at in (12, 16))
        self.sums_right &= sum16(data[:size]) == 0xffff
        self._segment(data[size:total], data[12:16], data[16:20], self.fragment & 0x3fff == 0)

    def _ip6(self, data):
        length, following, self.ttl = struct.unpack_from("!HBB", data, 4)
        self.version, self.proto, self.tos = 6, following, struct.unpack_from("!H", data)[0] >> 4 & 255
        self.saddr, self.daddr = (str(ipaddress.IPv6Address(data[at:at + 16])) for at in (8, 24))
        self._segment(data[40:40 + length], data[8:24], data[24:40], True)

    def _segment(self, data, src, dst, whole):
        self.payload = data
        if not whole or self.proto not in (ICMP, TCP, UDP, ICMP6) or len(data) < 8:
            return
        head = b"" if self.proto == ICMP else pseudo(src, dst, self.proto, len(data))
        if not (self.proto == UDP and data[6:8] == b"\0\0" and self.version == 4):
            self.sums_right &= sum16(head + data) == 0xffff
        if self.proto in (ICMP, ICMP6):
            self.type, self.code, self.payload = data[0], data[1], data[8:]
            return
        self.sport, self.dport = struct.unpack_from("!HH", data)
        if self.proto == TCP and len(data) >= 20:
            self.flags, self.payload = data[13], data[(data[12] >> 4) * 4:]
        else:
            self.payload = data[8:]

    def __repr__(self):
        where = f"{self.saddr}:{self.sport} > {self.daddr}:{self.dport} proto {self.proto} ttl {self.ttl} type {self.type}" \
            if self.version else f"ethertype {self.ethertype:#06x}"
        return f"<{self.src} > {self.dst} {where} {len(self.raw)} bytes>"
