"""One measurement: what our own load generator said, the machine's mood before and after, and what it cost whom.

Every run, whatever program it is of, becomes the same record:

| key | meaning |
| --- | --- |
| `operations`, `seconds` | what was measured, verified answer by answer |
| `user_s`, `system_s` | processor time of the program that is compared, its own code and the kernel on its behalf |
| `bytes` | payload in both directions |
| `p50_us`, `p99_us` | latency, closed loop |
| `calibration_ns` | round trip of a cache line between the two processors, before and after |
| `limited_by` | whose processor was busy all the time, if any was |
"""

import json
from dataclasses import dataclass
from pathlib import Path

from grounds import sh

# As in netns/bench.toml; what is asked for is the same whoever answers.
SERVICE = "lambda.us-east-2.amazonaws.com"
LARGE = 6 * 1024 * 1024
# Nobody but the endpoint looks at signatures. The requests carry them all the same: they are to be of one size.
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}


@dataclass(frozen=True)
class Wishes:
    """What the user chose."""

    vpce: Path
    cpus: tuple
    seconds: float
    warm_up: float
    quick: bool

    def connections(self, usual):
        return min(usual, 4) if self.quick else usual

    def payload(self):
        return 65_536 if self.quick else LARGE

    def times(self):
        return ["--duration", f"{self.seconds}s", "--warm-up", f"{self.warm_up}s"]


@dataclass(frozen=True)
class Load:
    """What the load generator does: arguments of `vpce load`, and the case of `vpce bench` that does the same."""

    case: str
    bench_name: str
    connections: int
    function: str = "echo"
    exchange: str = "echo"
    mode: str = "keep-alive"
    payload: int = 128


def loads(wishes):
    """The cases that are requests, by name."""
    n = wishes.connections
    bulk = {"connections": n(8), "payload": wishes.payload()}
    return {
        "invoke-1": Load("invoke", "invoke/1", 1),
        "invoke-64": Load("invoke", f"invoke/{n(64)}", n(64)),
        "connect-full": Load("connect", "connect/full", n(64), mode="connect"),
        "connect-resumed": Load("connect", "connect/resumed", n(64), mode="resume"),
        "upload": Load("upload", f"upload/{n(8)}", function="sink", exchange="upload", **bulk),
        "download": Load("download", f"download/{n(8)}", function="source", exchange="download", **bulk),
    }


def calibrate(wishes):
    """Nanoseconds; None if there is only one processor."""
    return json.loads(sh(wishes.vpce, "calibrate", *wishes.cpus))["round_trip_ns"]


def record(measured, names, calibration, tls=None):
    """A record of what our programs reported; `names` are the processes that are compared, all of them."""
    spent = [process for process in measured["processes"] if process["name"] in names]
    seconds = measured["seconds"]
    busy = [process["name"] for process in spent if process["user_s"] + process["system_s"] >= 0.95 * seconds]
    busy += ["load generator"] if measured["load_generator_share"] >= 0.95 else []
    ours = sum(process["user_s"] + process["system_s"] for process in measured["processes"] + [measured["load_generator"]])
    return {
        "operations": measured["answers"],
        "seconds": seconds,
        "user_s": sum(process["user_s"] for process in spent),
        "system_s": sum(process["system_s"] for process in spent),
        "bytes": measured["bytes_sent"] + measured["bytes_received"],
        "p50_us": measured["latency"]["p50_us"],
        "p99_us": measured["latency"]["p99_us"],
        "calibration_ns": calibration,
        "limited_by": busy[0] if busy else None,
        # Processors' worth of time that nobody here used: other programs of the machine.
        "others": max(0.0, sum(core["busy"] for core in measured["cores"]) - ours / seconds),
        "tls": tls,
    }


def watched(processes):
    return [word for name, pid in processes.items() for word in ("--cpu-of", f"{name}={pid}")]


def load(wishes, client, target, ca, job, processes, compared):
    """`vpce load` in the namespace `client` against `target`."""
    url = f"https://{SERVICE}/2015-03-31/functions/{job.function}/invocations"
    words = [wishes.vpce, "load", url, "--connect", target, "--ca", ca, "--exchange", job.exchange, "--mode", job.mode]
    words += ["--payload", job.payload, "--connections", job.connections, "--cpu", wishes.cpus[1], *wishes.times()]
    before = calibrate(wishes)
    keys = [f"{name}={value}" for name, value in KEYS.items()]
    printed = sh("ip", "netns", "exec", client, "env", *keys, *words, *watched(processes), "--output", "json")
    report = json.loads(printed)
    return record(report, compared, [before, calibrate(wishes)], report["tls"])


def traffic(wishes, kind, in_flight, where, addresses, processes):
    """`vpce traffic` between two addresses; `where` says whose namespaces they are in. All `processes` are compared."""
    words = [wishes.vpce, "traffic", kind, *where, "--addresses", *addresses, "--in-flight", in_flight]
    words += ["--cpu", wishes.cpus[1], *wishes.times()]
    before = calibrate(wishes)
    report = json.loads(sh(*words, *watched(processes), "--output", "json"))
    return record(report, set(processes), [before, calibrate(wishes)])


def bench(wishes, case, name, compared, more=()):
    """One run of our own endpoint: a measurement of `vpce bench`, in a lab of its own."""
    words = [wishes.vpce, "bench", case, "--runs", "1", "--variants", "tuned", "--cpus", "{},{}".format(*wishes.cpus)]
    printed = sh(*words, *wishes.times(), *more, "--output", "json")
    measurements = {one["name"]: one for one in json.loads(printed)["measurements"]}
    run = measurements[name]["variants"][0]["runs"][0]
    return record(run, compared, run["calibration_ns"], run["tls"])
