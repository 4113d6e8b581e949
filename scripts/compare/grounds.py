"""Where runs take place: network namespaces, the cables between them, and the programs in them.

Everything lives in user, mount, network and process namespaces of its own (`enclose`). Files go to a tmpfs, interfaces and
processes go with the namespaces: however a run ends, by failure, Ctrl-C or kill -9, the kernel removes all of it.
"""

import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import install

# Below it is a tmpfs of our own.
WORK = Path("/run/compare")
# No command takes longer, seconds: `--duration` is at most a minute.
PATIENCE = 300
# As in a lab: a VPC's jumbo frames, an on-premises Ethernet, and a line between the gateways that limits neither.
VPC_MTU, ON_PREMISES_MTU, OUTSIDE_MTU = 9001, 1500, 9100


class Skip(Exception):
    """Something cannot be run here; the message is the reason."""


def dies_with_parent():
    """In a child before it executes its program: prctl(PR_SET_PDEATHSIG, SIGKILL)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def enclose(words):
    """Runs `words` as the first process of namespaces of their own. Returns the exit code."""
    flags = ["--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    child = subprocess.Popen(["unshare", *flags, *words], preexec_fn=dies_with_parent)

    def end(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end)
    try:
        return child.wait()
    finally:
        # Its child, and with that everything in the namespaces, dies with it.
        child.kill()
        child.wait()


def prepare():
    """Inside: makes the file system such that unpacked programs find everything where Debian has it."""
    def mount(*words):
        done = subprocess.run(["mount", *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"cannot mount {words[-1]}: {done.stderr.strip()}")

    mount("-t", "tmpfs", "tmpfs", "/run")
    WORK.mkdir()
    unpacked = install.UNPACKED / "usr"
    if unpacked.is_dir():
        # The machine's own files win where both have one: its libraries belong to its other programs.
        mount("-t", "overlay", "overlay", "-o", f"lowerdir=/usr:{unpacked}", "/usr")
    folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", str(install.HOME / "bin")]
    os.environ["PATH"] = ":".join(folders + [os.environ.get("PATH", "")])
    # Labs that are brought up on the way are our own, and what is put aside goes with the rest.
    os.environ.update(TMPDIR=str(WORK), VPCE_STATE=str(WORK / "state"), XDG_RUNTIME_DIR=str(WORK / "runtime"))
    for name in ("VPCE_STATE", "XDG_RUNTIME_DIR"):
        os.makedirs(os.environ[name], mode=0o700)


def sh(*words, **options):
    """Runs a command that is to succeed, and returns what it printed."""
    words = [str(word) for word in words]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, **options)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(words)}: not done after {PATIENCE} s") from None
    if done.returncode != 0:
        said = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise RuntimeError(f"{' '.join(words)}: {said or 'exit code ' + str(done.returncode)}")
    return done.stdout


class Grounds:
    """Namespaces for one run. Leave the `with` block, and they and their programs are gone."""

    def __init__(self, cpus):
        # Of what is compared, and of the load generator and whatever stands behind.
        self.server_cpu, self.load_cpu = cpus
        self.names, self.children = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
        for child in reversed(self.children):
            try:
                child.wait(timeout=3)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for name in self.names:
            sh("ip", "netns", "delete", name)

    def namespace(self, *names):
        for name in names:
            sh("ip", "netns", "add", name)
            self.names.append(name)
            self.ip(name, "link", "set", "lo", "up")

    def ip(self, name, *words):
        return sh("ip", "-netns", name, *words)

    def sysctl(self, name, key, value):
        sh("ip", "netns", "exec", name, "sh", "-c", f"echo {value} > /proc/sys/{key.replace('.', '/')}")

    def cable(self, one, its_address, other, others_address, mtu):
        """A veth pair; each end is called as the namespace on the other side."""
        ends = ["link", "add", "name", f"to-{other}", "mtu", mtu, "type", "veth"]
        self.ip(one, *ends, "peer", "name", f"to-{one}", "mtu", mtu, "netns", other)
        for name, to, address in ((one, other, its_address), (other, one, others_address)):
            self.ip(name, "address", "add", f"{address}/30", "dev", f"to-{to}")
            self.ip(name, "link", "set", f"to-{to}", "up")

    def start(self, name, words, cpu, **options):
        """Starts a program in a namespace, on one processor. Its output is kept for when it fails."""
        program = install.find(words[0]) or Path(words[0])
        if not program.exists():
            raise Skip(f"no {words[0]}")
        log = open(WORK / f"{Path(words[0]).name}-{name}.log", "wb")

        def before():
            dies_with_parent()
            os.sched_setaffinity(0, {cpu})

        # `ip netns exec` becomes the program: the child's process id is the program's.
        child = subprocess.Popen(
            ["ip", "netns", "exec", name, *(str(word) for word in words)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, preexec_fn=before, **options,
        )
        child.log = Path(log.name)
        log.close()
        self.children.append(child)
        return child

    def wait_for(self, what, condition, child=None, seconds=20):
        """Waits until `condition` holds; fails at once if `child` ends before."""
        end = time.monotonic() + seconds
        while not condition():
            ended = child is not None and child.poll() is not None
            if ended or time.monotonic() > end:
                said = child.log.read_text(errors="replace").strip().splitlines() if child else []
                raise RuntimeError(f"{what}: {' | '.join(said[-3:]) or ('ended' if ended else 'not in time')}")
            time.sleep(0.01)


def listens(child, port):
    """Whether something listens on this TCP port in the child's network namespace (proc(5), /proc/net/tcp)."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{child.pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        if any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines):
            return True
    return False


def answers(address, port):
    """Whether a UNIX or TCP address takes connections."""
    family = socket.AF_UNIX if port is None else socket.AF_INET
    with socket.socket(family) as tried:
        return tried.connect_ex(address if port is None else (address, port)) == 0
