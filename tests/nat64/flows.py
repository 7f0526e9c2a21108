"""
Frames with many flows at the speed of the driver.

Each frame is written anew (the kernel's generator hands back the receiver's pages, with what was written there), with a
flow of its own: flow f has source port 1024 + f % 1024 and subscriber f / 1024, which is part of the source address. Their
complements are put in the payload (and in IPv4's identification), so that all checksums stay right without being computed.
"""
import os
import struct

from lab import embed, frames, kb

PAYLOAD = b"\xff\xff\xff\xff" + b"x" * 14       # the "64-byte class": 80 bytes of IPv6, 60 of IPv4 with the link header
FLOW_PORTS = 1024
LDX_W, ST_W, ST_B, STX_H, ATOMIC_DW = 0x61, 0x62, 0x72, 0x6b, 0xdb


class Flows(kb.Generator):
    """
    kernel_bpf.Generator with `flows` different flows, from flow `first` on (flows=0: none is ever repeated). sub_at: offset of the
    16 bits of the source address that name the subscriber; id_at: that of IPv4's identification, or None.
    """

    def __init__(self, namespace, ifindex, frame, flows, sub_at, sport_at, payload_at, id_at=None):
        self.counter = kb.Map.create(kb.TYPE_ARRAY, 4, 8, 1)
        super().__init__(namespace, ifindex, frame)
        os.close(self.fd)
        r = kb.insn
        store = b""
        for at in range(0, len(frame) & ~3, 4):
            store += r(ST_W, 7, off=at, imm=struct.unpack_from("=I", frame, at)[0])
        for at in range(len(frame) & ~3, len(frame)):
            store += r(ST_B, 7, off=at, imm=frame[at])
        store += kb.map_value(1, self.counter) + kb.mov(8, 1) + r(ATOMIC_DW, 1, 8, 0, 1)
        if flows:
            store += r(0x97, 8, imm=flows)                                              # r8 %= flows
        store += kb.mov_reg(1, 8) + r(0x57, 1, imm=FLOW_PORTS - 1) + r(0x07, 1, imm=1024)
        store += r(0x77, 8, imm=FLOW_PORTS.bit_length() - 1) + r(0x57, 8, imm=0xffff)
        for register, at, complements in ((1, sport_at, [payload_at]), (8, sub_at, [payload_at + 2] + ([id_at] if id_at else []))):
            store += r(0xdc, register, imm=16) + r(STX_H, 7, register, at) + r(0xa7, register, imm=0xffff)
            for place in complements:
                store += r(STX_H, 7, register, place)
        store += kb.mov(1, ifindex) + kb.mov(2, 0) + kb.call(23) + kb.EXIT
        code = kb.mov_reg(6, 1) + r(LDX_W, 7, 6, 0) + r(LDX_W, 3, 6, 4) + kb.mov_reg(4, 7) + r(0x07, 4, imm=len(frame))
        code += r(0x2d, 4, 3, len(store) // 8) + store + kb.mov(0, kb.XDP_DROP) + kb.EXIT
        self.fd = kb.load_program(code, name="bench_flows")

    def rewind(self):
        self.counter.set(0, 0)

    def close(self):
        super().close()
        self.counter.close()


def flows6(cable, flows, dst=None, tcp=False):
    """IPv6 frames (UDP, or TCP SYNs) from 2001:db8:5:<subscriber>::2, out of an interface to its peer."""
    src, dst = "2001:db8:5::2", dst or embed("203.0.113.2")
    if tcp:
        frame = frames.tcp_frame(cable.peer.mac, cable.mac, src, dst, 0, 9, PAYLOAD)
    else:
        frame = frames.udp_frame(cable.peer.mac, cable.mac, src, dst, 0, 9, PAYLOAD)
    return Flows(cable.ns, cable.ifindex, frame, flows, 14 + 8 + 6, 54, 54 + (20 if tcp else 8))


def flows4(cable, flows, src="10.64.0.0", dst="203.0.113.2", dport=9, tcp=False):
    """IPv4 frames from 10.64.<subscriber>, out of an interface to its peer."""
    segment = (frames.tcp if tcp else frames.udp)(src, dst, 0, dport, PAYLOAD)
    packet = frames.ip4(src, dst, frames.TCP if tcp else frames.UDP, segment, ident=0xffff)
    frame = frames.eth(cable.peer.mac, cable.mac, frames.ETH_IP4, packet)
    return Flows(cable.ns, cable.ifindex, frame, flows, 14 + 12 + 2, 34, 34 + (20 if tcp else 8), 18)
