"""Rules: first packets of new UDP flows, which the last of 10 or 300 rules allows.

300 is what AWS's default quotas give an interface, five groups of 60, and so the most that a topology may have.

Ours are packets to the eni: the endpoint reads them from its TUN device, asks the security groups, and remembers the
flow. Nothing listens there, so that is all. The kernel's go to a router: conntrack, the chain `forward` of nftables, a
cable to where they end. Both get the same packets from the same sender (first_packets.py), and of both all of the
kernel's work is counted, the sender's included: on the router no other process could be charged for it.
"""

import json
import sys
import time
from pathlib import Path

import install
import measure
from grounds import VPC_MTU, WORK, Grounds, Skip, sh
from lab import Lab

FLOWS, QUICK = 100_000, 10_000
# What the last rule allows, and what all the others do not.
ALLOWED = "10.0.1.0/24"
PORTS = (4000, 4001)
CLIENT, ENI, BEYOND = "10.0.1.10", "10.0.1.100", "10.0.9.1"
PER_GROUP = 60
COUNTS = (10, 5 * PER_GROUP)
KERNEL = {f"nftables, {count} rules": count for count in COUNTS}
# As everywhere, `vpce` is what others are measured by; here with all the rules, and beside that with 10.
OURS = {"vpce": COUNTS[1], "vpce, 10 rules": COUNTS[0]}
PROGRAMS = (*OURS, *reversed(KERNEL))


def others(count):
    """Rules that do not match: single addresses and ports, none twice."""
    return [(f"172.16.{i // 250}.{i % 250 + 1}", 20_000 + i) for i in range(count - 1)]


def sent(wishes, before, target, count):
    """Sends `count` first packets; `before` leads into the sender's namespace. Returns what the sender reports."""
    script = Path(__file__).parent / "first_packets.py"
    words = [sys.executable, script, CLIENT, target, "{}-{}".format(*PORTS), count, wishes.cpus[1]]
    return json.loads(sh(*before, *words))


def processor_time(pid):
    """User and system seconds of a process: exactly together, and apart as far as ticks tell."""
    # The clock of another process: clock_getcpuclockid(3) as Linux makes it.
    exact = time.clock_gettime((~pid << 3) | 2)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return exact, int(fields[11]), int(fields[12])


def kernel(wishes, rules):
    """A router with nftables and conntrack."""
    if not install.find("nft"):
        raise Skip("no nft")
    count = QUICK if wishes.quick else FLOWS
    lines = [f"ip saddr {address} udp dport {port} accept" for address, port in others(rules)]
    lines.append(f"ip saddr {ALLOWED} udp dport {PORTS[0]}-{PORTS[1]} accept")
    chain = ["type filter hook forward priority 0; policy drop;", "ct state established,related accept", *lines]
    with Grounds(wishes.cpus) as grounds:
        grounds.namespace("app", "router")
        grounds.cable("app", CLIENT, "router", "10.0.1.9", VPC_MTU)
        grounds.ip("app", "route", "add", "default", "via", "10.0.1.9")
        grounds.sysctl("router", "net.ipv4.ip_forward", 1)
        # What arrives there is for nobody and goes no further: the cheapest end that is one.
        grounds.namespace("beyond")
        grounds.cable("router", "198.18.3.1", "beyond", "198.18.3.2", VPC_MTU)
        grounds.ip("router", "route", "add", f"{BEYOND}/32", "via", "198.18.3.2")
        ruleset = "table ip filter {\nchain forward {\n" + "\n".join(chain) + "\n}\n}\n"
        sh("ip", "netns", "exec", "router", "nft", "-f", "-", input=ruleset)
        before = measure.calibrate(wishes)
        report = sent(wishes, ["ip", "netns", "exec", "app"], BEYOND, count)
        links = json.loads(grounds.ip("router", "-json", "-statistics", "link", "show", "to-beyond"))
        # Neighbour discovery aside, these are the packets that came through.
        through = links[0]["stats64"]["tx"]["packets"]
        return record(report, through, count, [before, measure.calibrate(wishes)], (0.0, 0.0))


def topology(rules):
    """The benchmarks' topology with this many rules, and room for the flows."""
    text = (install.ROOT / "netns" / "bench.toml").read_text()
    lines = [f'    {{ protocol = "udp", port = {port}, cidr = "{address}/32" }},' for address, port in others(rules)]
    lines.append(f'    {{ protocol = "udp", port = "{PORTS[0]}-{PORTS[1]}", cidr = "{ALLOWED}" }},')
    groups = [lines[at : at + PER_GROUP] for at in range(0, rules, PER_GROUP)]
    names = [f"sg-{number:08x}" for number in range(1, len(groups) + 1)]
    # Its own group gives way to these.
    head, _, rest = text.partition("[[security_group]]")
    text = head
    for name, group in zip(names, groups):
        text += f'[[security_group]]\nid = "{name}"\ningress = [\n' + "\n".join(group) + "\n]\n\n"
    text += rest[rest.index("[endpoint]") :]
    text = text.replace('security_groups = ["sg-1a2b3c4d"]', f"security_groups = {json.dumps(names)}")
    text = text.replace("[endpoint.settings]\n", f"[endpoint.settings]\nflow_limit = {4 * FLOWS}\n")
    path = WORK / f"rules-{rules}.toml"
    path.write_text(text)
    return path


def ours(wishes, rules):
    """A lab whose security groups have the rules."""
    count = QUICK if wishes.quick else FLOWS
    with Lab(wishes, topology(rules)) as lab:
        missed, before, start = lab.counter("FLOW_MISS"), measure.calibrate(wishes), processor_time(lab.endpoint)
        report = sent(wishes, [wishes.vpce, "lab", "exec", "app", "--"], ENI, count)
        exact, user, system = (b - a for a, b in zip(start, processor_time(lab.endpoint)))
        share = user / (user + system) if user + system else 0.5
        through = lab.counter("FLOW_MISS") - missed
        denied = lab.counter("ENI_SG_RULES_MISMATCH")
        if denied:
            raise RuntimeError(f"the security groups denied {denied} packets, which the last rule allows")
        return record(report, through, count, [before, measure.calibrate(wishes)], (exact * share, exact * (1 - share)))


def record(report, through, count, calibration, spent):
    """A record like those of measure.py; nothing answers, so there are no latencies."""
    if not 0.98 * count <= through <= 1.02 * count:
        raise RuntimeError(f"of {count} packets, {through} were judged: the rest was lost on the way, or more came")
    user, system = spent
    return {
        "operations": through, "seconds": report["seconds"], "user_s": user, "system_s": system + report["system_s"],
        "bytes": 0, "p50_us": None, "p99_us": None, "calibration_ns": calibration, "limited_by": None, "tls": None,
        "sender": report,
    }


def run(wishes, program):
    """One run."""
    return ours(wishes, OURS[program]) if program in OURS else kernel(wishes, KERNEL[program])
