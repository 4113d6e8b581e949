"""pasta and slirp4netns: TCP in user space between a namespace and the machine's sockets.

    guest ══ tap ══ pasta or slirp4netns ── sockets ── nginx ── upstream

They end TCP and nothing else, so the TLS server behind them is nginx, which runs beside the load generator and is not
counted: what is compared is their work on TCP alone against all of the endpoint's. Latency includes nginx's.
"""

import measure
import proxies
from grounds import WORK, Grounds, Skip

PROGRAMS = ("pasta", "slirp4netns")
# What slirp4netns gives its guests and pasta is told to.
GUEST, GATEWAY = "10.0.2.100", "10.0.2.2"
# The largest they take; both are as fast as their packets are large.
MTU = 65520


def start(grounds, program):
    """Gives the namespace `guest` a tap device, and returns the program behind it."""
    if program == "pasta":
        # It copies the route of the side with the sockets, which has none by default.
        grounds.ip("proxy", "route", "add", "default", "via", proxies.FAR)
        # Into a namespace that is there; no ports forwarded, neither way; the guest's addresses as below.
        words = ["pasta", "--foreground", "--config-net", "--netns-only", "--netns", "/run/netns/guest", "--mtu", MTU]
        words += ["-t", "none", "-u", "none", "-T", "none", "-U", "none", "--ipv4-only"]
        words += ["-a", GUEST, "-n", "24", "-g", GATEWAY, "--ns-ifname", "tap0"]
    else:
        words = ["slirp4netns", "--configure", "--mtu", MTU, "--netns-type=path", "/run/netns/guest", "tap0"]
    child = grounds.start("proxy", words, grounds.server_cpu)
    grounds.wait_for(program, lambda: "default" in grounds.ip("guest", "route"), child)
    return child


def run(wishes, program, job):
    """One run."""
    if job.mode != "keep-alive":
        raise Skip("does not end TLS")
    with Grounds(wishes.cpus) as grounds:
        functions = proxies.lay(grounds, wishes)
        grounds.namespace("guest")
        server = proxies.start(grounds, "nginx", wishes.cpus[1])
        stack = start(grounds, program)
        processes = {program: stack.pid, "nginx": server.pid, "function host": functions.pid}
        return measure.load(wishes, "guest", f"{proxies.PROXY}:443", WORK / "ca.pem", job, processes, {program})
