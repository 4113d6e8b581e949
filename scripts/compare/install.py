"""Puts the programs that are compared into target/compare, and nothing anywhere else.

Debian's packages are downloaded and unpacked, never installed: no maintainer script runs, no service starts, dpkg knows
nothing of them, and removing target/compare removes everything. apt works on lists and a cache of its own, so this needs no
root and leaves the machine's as they are. A package that cannot be had is a reason to skip what needs it, not a failure.
"""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "target" / "compare"
UNPACKED = HOME / "root"
BORINGTUN = "boringtun-cli"

# What ends up in PATH, and the packages it comes from; what those need and is missing comes with them.
PACKAGES = {
    "nginx": ["nginx"],
    "haproxy": ["haproxy"],
    "pasta": ["passt"],
    "slirp4netns": ["slirp4netns"],
    "wireguard-go": ["wireguard-go"],
    "wg": ["wireguard-tools"],
    "swanctl": ["strongswan-swanctl", "strongswan-charon", "libcharon-extra-plugins", "libstrongswan-standard-plugins"],
    "nft": ["nftables"],
    "openssl": ["openssl"],
}
# Services and the system's own parts, which some of these packages would like beside them and none needs to run.
UNWANTED = ("systemd", "libpam-systemd", "libnss-systemd", "udev", "libudev1", "tpm-udev", "dbus")


def run(words, **options):
    """Runs a command quietly; what it wrote to stderr is the reason if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise RuntimeError(f"{words[0]}: {lines[-1] if lines else 'exit code ' + str(done.returncode)}")
    return done.stdout


def apt(*words, **options):
    """apt-get with lists and cache of its own. dpkg's list of what is installed is only read."""
    state, cache = HOME / "apt" / "state", HOME / "apt" / "cache"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    own = [f"-oDir::State={state}", "-oDir::State::status=/var/lib/dpkg/status", f"-oDir::Cache={cache}"]
    # As root apt would become a user who may not write here.
    own += ["-oAPT::Sandbox::User=root", "-oDebug::NoLocking=1"]
    return run(["apt-get", "-q", *own, *words], **options)


def wanted_packages(packages):
    """The packages and those they depend on that this machine does not have."""
    plan = apt("install", "--simulate", "--no-install-recommends", *packages)
    lines = [line.split() for line in plan.splitlines() if line.startswith("Inst ")]
    # `Inst name [installed] (new …)` is an update of what is here already.
    names = [words[1] for words in lines if not words[2].startswith("[") or words[1] in packages]
    return [name for name in names if not name.startswith(UNWANTED)]


def unpack(archives):
    for archive in archives:
        run(["dpkg-deb", "--extract", str(archive), str(UNPACKED)])
    # Some packages still say /lib and /sbin for what is below /usr.
    for name in ("bin", "sbin", "lib"):
        folder = UNPACKED / name
        if folder.is_dir() and not folder.is_symlink():
            shutil.copytree(folder, UNPACKED / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(folder)


def debian(programs, say):
    """Unpacks what `programs` need and is missing. Returns reasons for what cannot be had, by program."""
    missing = [program for program in programs if not find(program)]
    if not missing:
        return {}
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return {program: "no apt-get and dpkg-deb here" for program in missing}
    (UNPACKED / "usr").mkdir(parents=True, exist_ok=True)
    reasons = {}
    try:
        say("reading Debian's lists of packages")
        apt("update")
    except RuntimeError as error:
        return {program: str(error) for program in missing}
    for program in missing:
        try:
            say(f"unpacking {', '.join(PACKAGES[program])}")
            downloads = HOME / "apt" / "downloads" / program
            downloads.mkdir(parents=True, exist_ok=True)
            apt("download", *wanted_packages(PACKAGES[program]), cwd=downloads)
            unpack(sorted(downloads.glob("*.deb")))
            shutil.rmtree(downloads)
            if not find(program):
                reasons[program] = f"{' '.join(PACKAGES[program])} has no {program}"
        except (RuntimeError, OSError) as error:
            reasons[program] = str(error)
    return reasons


def boringtun(say):
    """Builds boringtun-cli from crates.io. Returns the reason if that fails."""
    if find(BORINGTUN):
        return {}
    if not shutil.which("cargo"):
        return {BORINGTUN: "no cargo here"}
    say(f"building {BORINGTUN}, which takes minutes")
    try:
        where = ["--root", str(HOME), "--target-dir", str(HOME / "build")]
        run(["cargo", "install", "--quiet", "--locked", *where, BORINGTUN])
    except RuntimeError as error:
        return {BORINGTUN: str(error)}
    shutil.rmtree(HOME / "build", ignore_errors=True)
    return {}


def find(program):
    """Whether a program is there: unpacked, built, or the machine's own."""
    places = [UNPACKED / "usr" / "bin", UNPACKED / "usr" / "sbin", HOME / "bin"]
    places += [Path(folder) for folder in (*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/sbin") if folder]
    return next((place / program for place in places if (place / program).exists()), None)


def install(programs, say):
    """Makes `programs` available. Returns reasons for those that are not."""
    HOME.mkdir(parents=True, exist_ok=True)
    reasons = debian([program for program in programs if program in PACKAGES], say)
    if BORINGTUN in programs:
        reasons.update(boringtun(say))
    return reasons
