"""What is measured, of which programs, and how far ahead the endpoint is meant to be."""

from dataclasses import dataclass, field

import measure
import proxies
import rules
import tunnels
import usertcp

OURS = "vpce"
BUSY = "vpce --busy-poll"


@dataclass(frozen=True)
class Target:
    """What a ratio, ours by theirs, is to be; with ours, what the number itself is to be."""

    # `cpu`: operations per second of processor time; `p50`, `p99`: latency.
    of: str
    # Larger is better for `cpu`, smaller for latencies.
    value: float
    ours: str = OURS

    def met(self, ratio):
        return ratio >= self.value if self.of == "cpu" else ratio <= self.value

    def __str__(self):
        return f"{self.of} {'≥' if self.of == 'cpu' else '≤'} {self.value:g}"


@dataclass(frozen=True)
class Case:
    """One comparison."""

    name: str
    what: str
    # `requests` and `packets` are counted; of `Gbit/s` it is the payload.
    unit: str
    # A function of wishes for each program; it returns a record (measure.py). Ours come first.
    programs: dict
    # By program.
    targets: dict = field(default_factory=dict)


def needs(program):
    """What has to be installed for a program, in the words of install.py."""
    behind = ["nginx", "openssl"]
    return {
        "nginx": behind,
        "haproxy": ["haproxy", "openssl"],
        "pasta": ["pasta", *behind],
        "slirp4netns": ["slirp4netns", *behind],
        "wireguard-go": ["wireguard-go", "wg"],
        "boringtun-cli": ["boringtun-cli", "wg"],
        "strongswan": ["swanctl"],
        "kernel": ["nft"],
    }.get(program, ["nft"] if program in rules.KERNEL else [])


def requests(wishes):
    """The cases of the load generator: TLS and HTTP against the proxies, TCP against those who do only that."""
    what = {
        "invoke-1": "an invocation over a kept connection",
        "invoke-64": "invocations over kept connections",
        "connect-full": "a new TLS 1.3 connection for each invocation, full handshakes",
        "connect-resumed": "a new TLS 1.3 connection for each invocation, resumed",
        "upload": f"payloads of {wishes.payload() / 1e6:.1f} MB up, {wishes.connections(8)} connections",
        "download": f"payloads of {wishes.payload() / 1e6:.1f} MB down, {wishes.connections(8)} connections",
    }
    ahead = [Target("cpu", 2.0), Target("p99", 1.0)]
    targets = {
        "invoke-1": {"nginx": [Target("p50", 1.3), Target("p50", 1.0, BUSY)]},
        "invoke-64": {"nginx": ahead},
        "connect-full": {"nginx": [Target("cpu", 2.0)]},
        "connect-resumed": {"nginx": [Target("cpu", 2.0)]},
        # Of ours alone: Gbit/s per second of processor time, the hash of the payload included.
        "upload": {OURS: [Target("cpu", 8.0)]},
        "download": {OURS: [Target("cpu", 25.0)]},
    }
    cases = []
    for name, job in measure.loads(wishes).items():
        shape = ["--connections", job.connections, "--payload", job.payload]

        def ours(wishes, job=job, shape=shape, more=()):
            return measure.bench(wishes, job.case, job.bench_name, {"endpoint"}, [*shape, *more])

        programs = {OURS: ours}
        if name == "invoke-1":
            programs[BUSY] = lambda wishes, ours=ours: ours(wishes, more=["--busy-poll"])
        for program in proxies.PROGRAMS:
            programs[program] = lambda wishes, program=program, job=job: proxies.run(wishes, program, job)
        if job.mode == "keep-alive":
            for program in usertcp.PROGRAMS:
                programs[program] = lambda wishes, program=program, job=job: usertcp.run(wishes, program, job)
        unit = "Gbit/s" if name in ("upload", "download") else "requests"
        cases.append(Case(name, what[name], unit, programs, targets.get(name, {})))
    return cases


def forwarding(wishes):
    """The cases of the tunnel."""
    several = wishes.connections(64)
    ways = [
        ("forward-bulk", "one TCP connection through the tunnel", "Gbit/s", "bulk", 1),
        ("forward-1", "a packet of 200 bytes there and back", "packets", "datagrams", 1),
        ("forward-64", f"the same, {several} at a time", "packets", "datagrams", several),
    ]
    # The best of the three counts, so each is to be left behind. `kernel` encrypts nothing and is no rival.
    ahead = dict.fromkeys(("wireguard-go", "boringtun-cli", "strongswan"), [Target("cpu", 4.0)])
    prompt = [Target("p50", 1.0), Target("p50", 1.0, BUSY)]
    targets = {"forward-bulk": ahead, "forward-1": {"boringtun-cli": prompt}}
    cases = []
    for name, what, unit, kind, in_flight in ways:

        def ours(wishes, kind=kind, in_flight=in_flight, more=()):
            return tunnels.ours(wishes, kind, in_flight, more)

        programs = {OURS: ours}
        if name == "forward-1":
            programs[BUSY] = lambda wishes, ours=ours: ours(wishes, more=["--busy-poll"])
        for program in tunnels.PROGRAMS:
            programs[program] = lambda wishes, program=program, kind=kind, in_flight=in_flight: tunnels.run(
                wishes, program, kind, in_flight
            )
        cases.append(Case(name, what, unit, programs, targets.get(name, {})))
    return cases


def all_cases(wishes):
    """Every case, in the order in which they are measured."""
    what = "first packets of new UDP flows, allowed by the last rule"
    programs = {name: (lambda wishes, name=name: rules.run(wishes, name)) for name in rules.PROGRAMS}
    # Ours with all rules costs at most twice ours with ten.
    targets = {"vpce, 10 rules": [Target("cpu", 0.5)]}
    return [*requests(wishes), *forwarding(wishes), Case("rules", what, "packets", programs, targets)]


def chosen(cases, words):
    """Those whose name is one of the words, or begins with it. All without words."""
    for word in words:
        if not any(case.name.startswith(word) for case in cases):
            raise ValueError(f"no case {word!r}; there are {', '.join(case.name for case in cases)}")
    return [case for case in cases if not words or any(case.name.startswith(word) for word in words)]
