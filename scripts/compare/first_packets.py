"""Sends first packets of UDP flows: first_packets.py SOURCE TARGET FIRST-LAST COUNT CPU

Each has a pair of ports that no other has. They are made before the clock starts, so what is measured is sending: the
kernel's work in the sender's system calls, which on a way without further processes is all there is. Prints JSON.
"""

import itertools
import json
import os
import resource
import socket
import struct
import sys
import time

# Between two pauses: less than any queue on the way holds.
BURST = 200
PAUSE = 0.001


def packets(source, target, ports, count):
    """IPv4 and UDP with an empty payload. The kernel fills in the IPv4 checksum (raw(7)); UDP's may be absent."""
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    pairs = itertools.product(ports, range(1024, 65_000))
    return [head + struct.pack("!HHHH", own, port, 8, 0) for port, own in itertools.islice(pairs, count)]


def main():
    source, target, ports, count, cpu = sys.argv[1:]
    first, last = (int(port) for port in ports.split("-"))
    made = packets(source, target, range(first, last + 1), int(count))
    os.sched_setaffinity(0, {int(cpu)})
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    raw.connect((target, 0))
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    for at in range(0, len(made), BURST):
        for packet in made[at : at + BURST]:
            raw.send(packet)
        time.sleep(PAUSE)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF)
    spent = {"user_s": after.ru_utime - before.ru_utime, "system_s": after.ru_stime - before.ru_stime}
    print(json.dumps({"packets": len(made), "seconds": seconds, **spent}))


main()
