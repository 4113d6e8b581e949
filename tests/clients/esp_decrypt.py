"""An independent IPsec implementation (Scapy's) at the other end of the tunnel.

    esp_decrypt.py open SPI KEYMAT  < outer packets, one in hexadecimal per line  > inner packets
    esp_decrypt.py seal SPI KEYMAT  < inner packets, one in hexadecimal per line  > outer packets
    esp_decrypt.py pcap SPI KEYMAT FILE                                           > inner packets of that SPI in a capture

An outer packet is a whole IPv4 packet with UDP and ESP in it. KEYMAT is the AES-256 key and the salt, hexadecimal
(RFC 4106 section 8.1). Sealed packets are numbered from 1.
"""

import sys

from scapy.config import conf
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import bind_layers, raw
from scapy.utils import PcapReader

AWS, CUSTOMER, PORT = "203.0.113.1", "203.0.113.2", 4500


def association(spi, keymat):
    return SecurityAssociation(
        ESP,
        spi=spi,
        crypt_algo="AES-GCM",
        crypt_key=keymat,
        tunnel_header=IP(src=AWS, dst=CUSTOMER),
        nat_t_header=UDP(sport=PORT, dport=PORT, chksum=0),
    )


def inner_packet(octets):
    return (IP if octets[0] >> 4 == 4 else IPv6)(octets)


def open_packet(sa, outer):
    esp = outer[UDP].payload
    if not isinstance(esp, ESP):
        esp = ESP(raw(esp))
        outer[UDP].remove_payload()
        outer = outer / esp
    return raw(sa.decrypt(outer))


def main(mode, spi, keymat, *files):
    conf.verb = 0
    spi, keymat = int(spi, 16), bytes.fromhex(keymat)
    sa = association(spi, keymat)
    if mode == "pcap":
        for packet in PcapReader(files[0]):
            if UDP in packet and raw(packet[UDP].payload)[:4] == spi.to_bytes(4, "big"):
                print(open_packet(sa, IP(raw(packet[IP]))).hex())
        return
    for line in sys.stdin:
        octets = bytes.fromhex(line.strip())
        result = open_packet(sa, IP(octets)) if mode == "open" else raw(sa.encrypt(inner_packet(octets)))
        print(result.hex())


bind_layers(UDP, ESP, dport=PORT)
bind_layers(UDP, ESP, sport=PORT)

if __name__ == "__main__":
    main(*sys.argv[1:])
