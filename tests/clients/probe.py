"""Looks at the network from a host of a lab. Each subcommand prints one JSON object; only Python's own library is used.

    probe.py connect ADDRESS PORT [SECONDS]        what a TCP connection attempt comes to
    probe.py syn ADDRESS PORT [MSS [LENGTH [DF]]]  what a hand-made SYN is answered, from options up to a packet of LENGTH
    probe.py ping ADDRESS                          what ICMP comes back after three echo requests
    probe.py udp ADDRESS PORT LENGTH               what comes back after a datagram in an IP packet of LENGTH bytes
    probe.py dns SERVER [NAME TYPE]…               answers of a resolver, asked over UDP one after the other
    probe.py addresses NAME                        what the host's own resolver makes of a name
    probe.py idle ADDRESS PORT SECONDS             how a connection fares that was silent for so long
    probe.py hold ADDRESS PORT FILE [SECONDS]      the same, silent until FILE, which it makes, is gone; patient for SECONDS
"""

import errno
import fcntl
import json
import os
import select
import socket
import struct
import sys
import termios
import time

PATIENCE = 1.2


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def source_toward(address):
    """The address that this host would use; nothing is sent."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return probe.getsockname()[0]


def connect(address, port, seconds="2"):
    with socket.socket(family(address), socket.SOCK_STREAM) as client:
        client.settimeout(float(seconds))
        start = time.monotonic()
        try:
            client.connect((address, int(port)))
            outcome = "connected"
        except TimeoutError:
            outcome = "timeout"
        except OSError as error:
            outcome = errno.errorcode.get(error.errno, str(error))
        return {
            "outcome": outcome,
            "seconds": time.monotonic() - start,
            "port": client.getsockname()[1],
            "mss": client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) if outcome == "connected" else None,
        }


def checksum(octets):
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp_segment(source, target, sport, dport, flags, options=b"", payload=b"", seq=1_000_000):
    offset = (20 + len(options)) // 4
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, 0, offset << 4, flags, 64_000, 0, 0) + options
    pseudo = socket.inet_pton(family(source), source) + socket.inet_pton(family(target), target)
    if ":" in source:
        pseudo += struct.pack("!IHBB", len(head) + len(payload), 0, 0, socket.IPPROTO_TCP)
    else:
        pseudo += struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head) + len(payload))
    sum_ = checksum(pseudo + head + payload)
    return head[:16] + struct.pack("!H", sum_) + head[18:] + payload


def icmp_listener(address):
    if ":" in address:
        listener = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    listener.setblocking(False)
    return listener


# Neighbour discovery, router solicitation and multicast listening are the link's business.
LINK_ICMP6 = {130, 131, 132, 133, 134, 135, 136, 143}


def read_icmp(listener, address):
    """[type, code] of what arrived. Echo requests are our own, and answers to others are theirs."""
    found = []
    while True:
        try:
            octets, peer = listener.recvfrom(65_535)
        except BlockingIOError:
            return found
        at = 0 if ":" in address else (octets[0] & 15) * 4
        kind, code = octets[at], octets[at + 1]
        if ":" in address and (kind in LINK_ICMP6 or kind == 128):
            continue
        if kind == (129 if ":" in address else 0) and peer[0] != address:
            continue
        found.append([kind, code])


def tcp_options(head):
    found, at = {}, 20
    end = (head[12] >> 4) * 4
    while at < end and head[at] != 0:
        if head[at] == 1:
            at += 1
            continue
        found[head[at]] = head[at + 2 : at + head[at + 1]]
        at += head[at + 1]
    return found


def syn(address, port, mss="8961", length="0", fragment="df"):
    """The kernel knows nothing of the connection and resets it when the answer comes, which is as well."""
    source, port, mss = source_toward(address), int(port), int(mss)
    # Bound, so that nobody else gets the port meanwhile; it does not listen.
    with socket.socket(family(address), socket.SOCK_STREAM) as placeholder:
        placeholder.bind((source, 0))
        sport = placeholder.getsockname()[1]
        listener = socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_TCP)
        icmp = icmp_listener(address)
        options = struct.pack("!BBH", 2, 4, mss) if mss else b""
        header = (40 if ":" in address else 20) + 20 + len(options)
        payload = b"x" * max(0, int(length) - header)
        segment = tcp_segment(source, address, sport, port, 0x02, options, payload)
        if ":" not in address:
            # IP_MTU_DISCOVER: IP_PMTUDISC_PROBE sets DF and ignores what is known of the path; _DONT sets none.
            listener.setsockopt(socket.IPPROTO_IP, 10, 3 if fragment == "df" else 0)
        try:
            listener.sendto(segment, (address, 0))
        except OSError as error:
            return {"failed": str(error), "answer": None, "icmp": []}
        answer, deadline = None, time.monotonic() + PATIENCE
        while answer is None and (left := deadline - time.monotonic()) > 0:
            if not select.select([listener], [], [], left)[0]:
                break
            octets, peer = listener.recvfrom(65_535)
            at = 0 if ":" in address else (octets[0] & 15) * 4
            head = octets[at:]
            if peer[0] != address or struct.unpack("!HH", head[:4]) != (port, sport):
                continue
            offered = tcp_options(head).get(2)
            answer = {
                "flags": head[13],
                "mss": struct.unpack("!H", offered)[0] if offered else None,
                "ttl": None if ":" in address else octets[8],
                "acknowledged": (struct.unpack("!I", head[8:12])[0] - 1_000_000) & 0xFFFFFFFF,
            }
        return {"answer": answer, "icmp": read_icmp(icmp, address), "port": sport, "sent": header + len(payload)}


def ping(address):
    listener = icmp_listener(address)
    kind = 128 if ":" in address else 8
    for number in range(3):
        echo = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, number) + b"are you there?"
        if ":" not in address:
            echo = echo[:2] + struct.pack("!H", checksum(echo)) + echo[4:]
        listener.sendto(echo, (address, 0))
    deadline = time.monotonic() + PATIENCE
    found = []
    while (left := deadline - time.monotonic()) > 0:
        select.select([listener], [], [], left)
        found += read_icmp(listener, address)
    return {"icmp": found}


def udp(address, port, length):
    header = 48 if ":" in address else 28
    icmp = icmp_listener(address)
    with socket.socket(family(address), socket.SOCK_DGRAM) as client:
        if ":" not in address:
            client.setsockopt(socket.IPPROTO_IP, 10, 3)
        client.settimeout(PATIENCE)
        client.connect((address, int(port)))
        client.send(b"x" * (int(length) - header))
        try:
            answer = len(client.recv(65_535))
        except TimeoutError:
            answer = None
        except OSError as error:
            answer = errno.errorcode.get(error.errno, str(error))
        return {"answer": answer, "icmp": read_icmp(icmp, address)}


TYPES = {"A": 1, "AAAA": 28, "TXT": 16, "MX": 15}
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


def skip_name(octets, at):
    while octets[at]:
        if octets[at] >= 0xC0:
            return at + 2
        at += octets[at] + 1
    return at + 1


def ask(server, name, kind):
    number = int.from_bytes(os.urandom(2), "big")
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"
    query = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + question + struct.pack("!HH", TYPES[kind], 1)
    with socket.socket(family(server), socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.connect((server, 53))
        client.send(query)
        try:
            octets = client.recv(65_535)
        except OSError as error:
            return {"failed": type(error).__name__}
    if octets[:2] != query[:2]:
        return {"failed": "an answer to something else"}
    flags, questions, answers = struct.unpack("!HHH", octets[2:8])
    at = 12
    for _ in range(questions):
        at = skip_name(octets, at) + 4
    found, ttls = [], []
    for _ in range(answers):
        at = skip_name(octets, at)
        record, _, ttl, length = struct.unpack("!HHIH", octets[at : at + 10])
        data = octets[at + 10 : at + 10 + length]
        at += 10 + length
        ttls.append(ttl)
        if record in (1, 28):
            found.append(socket.inet_ntop(socket.AF_INET if record == 1 else socket.AF_INET6, data))
        else:
            found.append([record, data.hex()])
    return {"code": CODES.get(flags & 15, flags & 15), "answers": found, "ttls": ttls}


def dns(server, *questions):
    return {"answers": [ask(server, name, kind) for name, kind in zip(questions[::2], questions[1::2])]}


def addresses(name):
    try:
        found = socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)
        return {"addresses": sorted({entry[4][0] for entry in found})}
    except socket.gaierror as error:
        return {"failed": error.errno == socket.EAI_NONAME and "no such name" or str(error)}


# A ClientHello's beginning: enough to be acknowledged, not enough to be answered.
RECORD = bytes.fromhex("1603010200010001fc0303")


def is_open(client, patience=PATIENCE):
    """Whether what we send is acknowledged, or how it is not."""
    try:
        client.send(RECORD[:2])
    except OSError as error:
        return errno.errorcode[error.errno]
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        # SIOCOUTQ: bytes that are not acknowledged.
        left = fcntl.ioctl(client, termios.TIOCOUTQ, b"\0" * 4)
        if left == b"\0" * 4:
            return "open"
        failed = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            return errno.errorcode[failed]
        time.sleep(0.01)
    return "timeout"


def silence(address, port, wait, patience=PATIENCE):
    with socket.create_connection((address, int(port)), timeout=3) as client:
        before = is_open(client)
        wait()
        return {"before": before, "after": is_open(client, patience)}


def idle(address, port, seconds):
    return silence(address, port, lambda: time.sleep(float(seconds)))


def hold(address, port, file, patience=PATIENCE):
    def wait():
        with open(file, "x"):
            pass
        while os.path.exists(file):
            time.sleep(0.02)

    return silence(address, port, wait, float(patience))


COMMANDS = {
    "connect": connect,
    "syn": syn,
    "ping": ping,
    "udp": udp,
    "dns": dns,
    "addresses": addresses,
    "idle": idle,
    "hold": hold,
}

if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
    sys.exit(__doc__)
json.dump(COMMANDS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
print()
