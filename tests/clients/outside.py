"""The cable that carries the tunnel, from the namespace of one of its routers (`lab exec vpce`, `lab exec cgw`).

    outside.py capture FILE SIGN   writes every IP packet on it to FILE, hexadecimal, one a line, until SIGN is gone;
                                   makes SIGN once it listens
    outside.py send                sends IP packets, hexadecimal, one a line of its input, as they are

A packet that the kernel would cut into pieces further on (UDP_SEGMENT) is written as its pieces.
"""

import os
import select
import socket
import struct
import sys

INTERFACE = "outside"
SOL_PACKET, PACKET_VNET_HDR = 263, 15
VNET_HEADER = struct.Struct("=BBHHHH")
UDP_L4 = 5
ETHERNET = 14


def pieces(packet, size):
    """The packets of a UDP super-packet over IPv4; checksums are left as they are."""
    head = (packet[0] & 15) * 4 + 8
    for at in range(head, len(packet), size):
        yield packet[:head] + packet[at : at + size]


def is_link_local(packet):
    return packet[0] >> 4 == 6 and (packet[8:10] == b"\xfe\x80" or not any(packet[8:24]))


def capture(file, sign):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as tap:
        tap.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        tap.bind((INTERFACE, 3))
        with open(file, "w") as found:
            with open(sign, "x"):
                pass
            while os.path.exists(sign) or select.select([tap], [], [], 0)[0]:
                if not select.select([tap], [], [], 0.05)[0]:
                    continue
                octets, origin = tap.recvfrom(70_000)
                _, kind, _, size, _, _ = VNET_HEADER.unpack_from(octets)
                packet = octets[VNET_HEADER.size + ETHERNET :]
                # Neighbour discovery and multicast listening are the link's own.
                if origin[1] not in (0x0800, 0x86DD) or is_link_local(packet):
                    continue
                for piece in pieces(packet, size) if kind & 0x7F == UDP_L4 else [packet]:
                    found.write(piece.hex() + "\n")


def send():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        for line in sys.stdin:
            packet = bytes.fromhex(line.strip())
            sender.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))


match sys.argv[1:]:
    case ["capture", file, sign]:
        capture(file, sign)
    case ["send"]:
        send()
    case _:
        sys.exit(__doc__)
