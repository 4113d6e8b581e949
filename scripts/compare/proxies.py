"""nginx and HAProxy: TLS ends, HTTP/1.1 is read, and requests go on over kept connections to the on-premises side.

    client ── 9001 ── proxy ── 1500 ── upstream

The upstream is our own `vpce onprem`: the same function host answers whoever asks. Neither proxy verifies a signature,
decides a policy or encrypts towards the upstream; the endpoint does all three.
"""

from pathlib import Path

import install
import measure
from grounds import ON_PREMISES_MTU, VPC_MTU, WORK, Grounds, Skip, listens, sh

# The endpoint's place, for a client; a range for benchmarks (RFC 2544).
PROXY, CLIENT = "198.18.0.1", "198.18.0.2"
# The function host of netns/bench.toml, and the way there.
FUNCTIONS, NEAR, FAR = "192.168.10.20", "198.18.1.1", "198.18.1.2"
FUNCTIONS_PORT = 8080
PROGRAMS = ("nginx", "haproxy")


def certificates():
    """An authority and a server's certificate, both ECDSA P-256 as in a lab. They last as long as the tmpfs."""
    if (WORK / "both.pem").exists():
        return
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"]
    sh("openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=compare", cwd=WORK)
    # Extensions as an authority issues them; the client insists on the name being there.
    name = f"subjectAltName=DNS:{measure.SERVICE}"
    extensions = [name, "basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth"]
    leaf = ["-x509", "-CA", "ca.pem", "-CAkey", "ca.key", *key, "-keyout", "server.key", "-out", "leaf.pem"]
    added = [word for extension in extensions for word in ("-addext", extension)]
    sh("openssl", "req", *leaf, "-subj", f"/CN={measure.SERVICE}", *added, cwd=WORK)
    parts = {name: (WORK / name).read_text() for name in ("leaf.pem", "ca.pem", "server.key")}
    (WORK / "server.pem").write_text(parts["leaf.pem"] + parts["ca.pem"])
    (WORK / "both.pem").write_text(parts["leaf.pem"] + parts["ca.pem"] + parts["server.key"])


def configured(name):
    """The configuration in programs/, filled in."""
    text = (Path(__file__).parent / "programs" / name).read_text()
    for key, value in {"WORK": WORK, "UPSTREAM": f"{FUNCTIONS}:{FUNCTIONS_PORT}", "SERVICE": measure.SERVICE}.items():
        text = text.replace(f"@{key}@", str(value))
    path = WORK / name
    path.write_text(text)
    return path


def lay(grounds, wishes):
    """Client, proxy and upstream with its function host. Returns the latter's process."""
    grounds.namespace("client", "proxy", "upstream")
    grounds.cable("client", CLIENT, "proxy", PROXY, VPC_MTU)
    grounds.cable("proxy", NEAR, "upstream", FAR, ON_PREMISES_MTU)
    # What the on-premises side of a lab has: function host, and DNS forwarder and tunnel, which nobody uses here.
    for address in (FUNCTIONS, "192.168.10.2", "198.51.100.1"):
        grounds.ip("upstream", "address", "add", f"{address}/32", "dev", "lo")
    grounds.ip("upstream", "route", "add", "default", "via", NEAR)
    grounds.ip("proxy", "route", "add", f"{FUNCTIONS}/32", "via", FAR)
    functions = grounds.start("upstream", [wishes.vpce, "onprem", "bench"], wishes.cpus[1])
    grounds.wait_for("the function host", lambda: listens(functions, FUNCTIONS_PORT), functions)
    return functions


def start(grounds, program, cpu):
    """Starts a proxy, on one processor."""
    certificates()
    if program == "nginx":
        # As some user other than root: root's workers would become www-data, which these namespaces do not have. The
        # ports of its own network are free for all.
        grounds.sysctl("proxy", "net.ipv4.ip_unprivileged_port_start", 0)
        user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
        words = [*user, "nginx", "-c", configured("nginx.conf"), "-p", WORK]
    else:
        words = ["haproxy", "-db", "-f", configured("haproxy.cfg")]
    if not install.find(program):
        raise Skip(f"no {program}")
    child = grounds.start("proxy", words, cpu)
    grounds.wait_for(program, lambda: listens(child, 443), child)
    return child


def run(wishes, program, job):
    """One run of a proxy."""
    with Grounds(wishes.cpus) as grounds:
        functions = lay(grounds, wishes)
        proxy = start(grounds, program, wishes.cpus[0])
        processes = {program: proxy.pid, "function host": functions.pid}
        return measure.load(wishes, "client", f"{PROXY}:443", WORK / "ca.pem", job, processes, {program})
