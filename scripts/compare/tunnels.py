"""Tunnels: a host of the VPC sends to one on-premises, through two gateways with a tunnel between them.

    app ── 9001 ── gw1 ══ 9100 ══ gw2 ── 1500 ── onprem

As in a lab: the line between the gateways limits nothing, so the inner packets have the on-premises Ethernet's 1500 bytes
and none is fragmented. The first gateway runs on the processor under test, the second beside the load generator; what
both use is added. `kernel` is the same without a tunnel: two Linux routers, with conntrack and one rule of nftables each,
whose cost is charged to whoever sends.
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import install
import measure
from grounds import ON_PREMISES_MTU, OUTSIDE_MTU, VPC_MTU, WORK, Grounds, Skip, answers, sh
from lab import Lab

APP, ONPREM = "10.0.1.10", "192.168.10.10"
# Gateways: inside towards the hosts, outside towards each other.
INSIDE = {"gw1": "10.0.1.9", "gw2": "192.168.10.9"}
OUTSIDE = {"gw1": "203.0.113.1", "gw2": "203.0.113.2"}
# With the gateway's own inside address, by which strongSwan sets its routes.
BEHIND = {"gw1": "10.0.1.8/30", "gw2": "192.168.10.8/30"}
OTHER = {"gw1": "gw2", "gw2": "gw1"}
GATEWAYS = ("gw1", "gw2")
PROGRAMS = ("wireguard-go", "boringtun-cli", "strongswan", "kernel")


def lay(grounds):
    """Hosts and gateways, without a way from one gateway to what is behind the other."""
    grounds.namespace("app", "gw1", "gw2", "onprem")
    grounds.cable("app", APP, "gw1", INSIDE["gw1"], VPC_MTU)
    grounds.cable("gw1", OUTSIDE["gw1"], "gw2", OUTSIDE["gw2"], OUTSIDE_MTU)
    grounds.cable("gw2", INSIDE["gw2"], "onprem", ONPREM, ON_PREMISES_MTU)
    grounds.ip("app", "route", "add", "default", "via", INSIDE["gw1"])
    grounds.ip("onprem", "route", "add", "default", "via", INSIDE["gw2"])
    for gateway in GATEWAYS:
        grounds.sysctl(gateway, "net.ipv4.ip_forward", 1)


def kernel(grounds):
    """Routes, and connection tracking with one rule: what a Linux gateway with a firewall does for a known flow."""
    if not install.find("nft"):
        raise Skip("no nft")
    for gateway in GATEWAYS:
        grounds.ip(gateway, "route", "add", BEHIND[OTHER[gateway]], "via", OUTSIDE[OTHER[gateway]])
        rules = (Path(__file__).parent / "programs" / "router.nft").read_text()
        sh("ip", "netns", "exec", gateway, "nft", "-f", "-", input=rules)
    return {}


def wireguard(program):
    """wireguard-go or boringtun-cli: the same protocol, set up by the same tool."""

    def start(grounds):
        if not install.find("wg"):
            raise Skip("no wg")
        keys = {gateway: sh("wg", "genkey") for gateway in GATEWAYS}
        children = {}
        for gateway, cpu in zip(GATEWAYS, (grounds.server_cpu, grounds.load_cpu)):
            # Their control sockets are named after the device, in one folder.
            device = f"wg-{gateway}"
            if program == "wireguard-go":
                words, environment = ["wireguard-go", "--foreground", device], {}
            else:
                # One thread for the one processor. Connected sockets are its fast way.
                words = [program, "--foreground", "--disable-drop-privileges", "--threads", "1", device]
                environment = {"WG_LOG_LEVEL": "error"}
            # Go's runtime counts processors before it is told which it may use, were it not for GOMAXPROCS.
            environment["GOMAXPROCS"] = "1"
            child = grounds.start(gateway, words, cpu, env={**os.environ, **environment})
            socket = f"/run/wireguard/{device}.sock"
            grounds.wait_for(program, lambda: answers(socket, None), child)
            children[gateway] = child
        for gateway in GATEWAYS:
            device, other = f"wg-{gateway}", OTHER[gateway]
            own = WORK / f"{device}.key"
            own.write_text(keys[gateway])
            peer = sh("wg", "pubkey", input=keys[other]).strip()
            settings = ["listen-port", 51820, "private-key", own, "peer", peer, "allowed-ips", BEHIND[other]]
            inside = ["ip", "netns", "exec", gateway]
            sh(*inside, "wg", "set", device, *settings, "endpoint", f"{OUTSIDE[other]}:51820")
            grounds.ip(gateway, "link", "set", device, "mtu", ON_PREMISES_MTU, "up")
            grounds.ip(gateway, "route", "add", BEHIND[other], "dev", device)
        return children

    return start


def strongswan(grounds):
    """strongSwan with ESP in its own process (kernel-libipsec), AES-256-GCM as the endpoint's."""
    charon = "/usr/lib/ipsec/charon"
    if not Path(charon).exists():
        raise Skip("no charon")
    programs = Path(__file__).parent / "programs"
    text = (programs / "swanctl.conf").read_text()
    children = {}
    for gateway, cpu in zip(GATEWAYS, (grounds.server_cpu, grounds.load_cpu)):
        other, folder = OTHER[gateway], WORK / f"{gateway}-run"
        folder.mkdir(exist_ok=True)
        filled = text
        addresses = {"LOCAL": OUTSIDE[gateway], "REMOTE": OUTSIDE[other], "HERE": BEHIND[gateway], "THERE": BEHIND[other]}
        for key, value in addresses.items():
            filled = filled.replace(f"@{key}@", value)
        (folder / "swanctl.conf").write_text(filled)
        # Where its process id and control socket lie is compiled in: each gets a /run of its own.
        inside = ["sh", "-c", f"mount --bind {folder} /run && exec {charon}"]
        environment = {**os.environ, "STRONGSWAN_CONF": str(programs / "strongswan.conf")}
        child = grounds.start(gateway, inside, cpu, env=environment)
        grounds.wait_for("charon", lambda: answers(str(folder / "charon.vici"), None), child)
        children[gateway] = child
    for gateway in GATEWAYS:
        folder = WORK / f"{gateway}-run"
        uri = ["--uri", f"unix://{folder}/charon.vici"]
        environment = {**os.environ, "STRONGSWAN_CONF": str(programs / "strongswan.conf")}
        sh("swanctl", "--load-all", "--file", folder / "swanctl.conf", *uri, env=environment)
        if gateway == "gw2":
            sh("swanctl", "--initiate", "--child", "lab", "--timeout", "10", *uri, env=environment)
    for gateway in GATEWAYS:
        # Its MTU stays 1400: charon reads no longer packets from it, whatever the device says.
        grounds.ip(gateway, "route", "add", BEHIND[OTHER[gateway]], "dev", "ipsec0")
    return children


def reaches():
    """Whether the hosts reach each other. That nobody listens there is an answer, too, and came through the tunnel."""
    refused = f"s.connect_ex(('{ONPREM}', 9)) != {errno.ECONNREFUSED}"
    trial = f"import socket; s = socket.socket(); s.settimeout(1); exit({refused})"
    words = ["ip", "netns", "exec", "app", sys.executable, "-c", trial]
    return subprocess.run(words, capture_output=True).returncode == 0


def run(wishes, program, kind, in_flight):
    """One run between the hosts."""
    starts = {"kernel": kernel, "strongswan": strongswan}
    with Grounds(wishes.cpus) as grounds:
        lay(grounds)
        children = starts.get(program, wireguard(program))(grounds)
        first = next(iter(children.values()), None)
        grounds.wait_for(f"a packet through {program}", reaches, first)
        where = ["--namespaces", "/run/netns/app", "/run/netns/onprem"]
        processes = {f"{program} {gateway}": child.pid for gateway, child in children.items()}
        return measure.traffic(wishes, kind, in_flight, where, (APP, ONPREM), processes)


def ours(wishes, kind, in_flight, more=()):
    """The same through endpoint and customer gateway of a lab, whose hosts have these addresses, too."""
    with Lab(wishes, "bench", more) as lab:
        where = ["--lab", "bench", "--from", "app", "--to", "onprem"]
        processes = {"endpoint": lab.endpoint, "onprem": lab.onprem}
        return measure.traffic(wishes, kind, in_flight, where, (APP, ONPREM), processes)
