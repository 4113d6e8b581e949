//! What this machine offers for a lab, what is lost without it, and the command that gives it back.
//!
//! Everything is really tried, in a child process with namespaces of its own; nothing is concluded from version numbers.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::process::WaitOptions;
use serde::{Deserialize, Serialize};

use super::up::UpError;
use crate::edge::control::Answer;
use crate::edge::namespace::{self, NetworkNamespace};
use crate::edge::netlink::{self, Netlink, VethEnd};
use crate::edge::tun::{self, TunMode};
use crate::edge::{Fault, OrFault, sys};

/// One thing that a lab needs or profits from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// `user_namespaces`, `tun`, …
    pub name: String,
    /// Whether it is there.
    pub available: bool,
    /// Whether no lab can run without it.
    pub required: bool,
    /// What was found, or what went wrong.
    pub detail: String,
    /// What does not work without it. Empty when it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// The command that gives it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn there(name: &str, required: bool, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), available: true, required, detail: detail.into(), lost: None, remedy: None }
    }

    fn missing(name: &str, required: bool, fault: &Fault, lost: &str) -> Self {
        Self {
            name: name.to_owned(),
            available: false,
            required,
            detail: fault.what.clone(),
            lost: Some(lost.to_owned()),
            remedy: fault.remedy.clone(),
        }
    }

    fn from(name: &str, required: bool, tried: Result<String, Fault>, lost: &str) -> Self {
        match tried {
            Ok(detail) => Self::there(name, required, detail),
            Err(fault) => Self::missing(name, required, &fault, lost),
        }
    }
}

const NO_LAB: &str = "labs, `vpce demo` and `vpce bench`: every command that needs a network of its own";

/// Tries everything. Starts one child process, this program again, for what must happen in namespaces.
pub fn examine() -> Vec<Finding> {
    let mut findings = match examine_in_namespaces() {
        Ok(inside) => {
            let who = if rustix::process::geteuid().is_root() { "root" } else { "an ordinary user" };
            let detail = format!("user, PID, mount and network namespaces were made as {who}");
            let mut findings = vec![Finding::there("user_namespaces", true, detail)];
            findings.extend(inside);
            findings
        }
        Err(fault) => {
            let file = tun::open_device_file().map(|_| "the device file opens; more cannot be tried".to_owned());
            vec![
                Finding::missing("user_namespaces", true, &user_namespace_remedy(fault), NO_LAB),
                Finding::from("tun", true, file, NO_LAB),
            ]
        }
    };
    findings.push(cores());
    findings.push(python());
    findings
}

/// Runs [`inside`] in a process with namespaces of its own.
fn examine_in_namespaces() -> Result<Vec<Finding>, Fault> {
    let null = || File::options().read(true).write(true).open("/dev/null").or_fault(|| "cannot open /dev/null");
    let (output, writing_end) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).or_fault(|| "cannot make a pipe")?;
    let program = sys::Program {
        path: c"/proc/self/exe".to_owned(),
        arguments: [c"vpce", c"doctor", c"--inside"].map(CStr::to_owned).to_vec(),
        environment: Vec::new(),
        descriptors: vec![null()?.into(), writing_end, null()?.into()],
    };
    let gated = sys::start_in_namespaces(&program).or_fault(|| "cannot make namespaces")?;
    let pid = gated.pid();
    let run = namespace::write_id_maps(pid).and_then(|()| gated.open().or_fault(|| "cannot start in namespaces"));
    drop(program);
    let said = run.and_then(|_| io::read_to_string(File::from(output)).or_fault(|| "cannot read the findings"));
    // Reaped whatever it said; without its gate it has ended by itself.
    _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
    Answer::understand(&said?).and_then(|value| serde_json::from_value(value).or_fault(|| "cannot read the findings"))
}

/// What the child of [`examine`] does: enters a network namespace of its own and tries everything there.
///
/// # Errors
/// When the child has no capabilities in its own namespaces: some systems allow the namespace and take away its use.
pub fn inside() -> Result<Vec<Finding>, Fault> {
    namespace::make_mounts_private()?;
    NetworkNamespace::create()?;
    let mut findings = devices();
    let proc = sys::mount_proc().map(|()| "a lab has its own /proc".to_owned());
    let proc = proc
        .or_fault(|| "cannot mount /proc")
        .map_err(|fault| fault.remedy("in a container, run it with `--security-opt systempaths=unconfined`"));
    findings.push(Finding::from("proc", false, proc, "process lists (ps, top) inside `vpce lab exec`"));
    Ok(findings)
}

/// Tries devices and settings in the network namespace the caller is in, which must be a new one.
fn devices() -> Vec<Finding> {
    let mut findings = vec![Finding::from("tun", true, try_tun(), NO_LAB)];
    if findings[0].available {
        findings.push(Finding::from(
            "tun_offloads",
            false,
            try_offloads(),
            "throughput: 5 to 15 times less without super-segments; the lab falls back to fewer or none",
        ));
        findings.push(Finding::from(
            "tun_multi_queue",
            false,
            try_multi_queue(),
            "more than one worker: use `--queues 1`",
        ));
        findings.push(Finding::from("tun_tap", false, try_plain(), "`--tun plain`"));
    }
    findings.push(Finding::from("veth", true, try_veth(), NO_LAB));
    findings.push(Finding::from(
        "settings",
        true,
        netlink::become_router().map(|()| "net.ipv4 and net.ipv6 settings can be written".to_owned()),
        NO_LAB,
    ));
    findings.push(Finding::from(
        "policy_routing",
        true,
        Netlink::open()
            .and_then(|netlink| netlink.silence(&[]))
            .map(|()| "the VPC router's kernel can be kept silent".to_owned()),
        NO_LAB,
    ));
    findings
}

fn try_tun() -> Result<String, Fault> {
    let fd = tun::open_device_file()?;
    let features = sys::tun_features(fd.as_fd()).map_err(|error| Fault::new(format!("TUNGETFEATURES: {error}")))?;
    tun::open("probe", TunMode::Offload, 1)?;
    let names: [(libc::c_int, &str); 5] = [
        (libc::IFF_VNET_HDR, "VNET_HDR"),
        (libc::IFF_MULTI_QUEUE, "MULTI_QUEUE"),
        (libc::IFF_NAPI, "NAPI"),
        (libc::IFF_NO_PI, "NO_PI"),
        (libc::IFF_TUN, "TUN"),
    ];
    let known: Vec<&str> =
        names.iter().filter(|(bit, _)| features & bit.unsigned_abs() != 0).map(|(_, name)| *name).collect();
    Ok(format!("an interface was made; features {features:#x}: {}", known.join(" ")))
}

fn try_offloads() -> Result<String, Fault> {
    let offloads = tun::open("probe", TunMode::Offload, 1)?.offloads();
    let all = [(offloads.checksum, "CSUM"), (offloads.tso4, "TSO4"), (offloads.tso6, "TSO6"), (offloads.uso, "USO")];
    let (there, missing): (Vec<_>, Vec<_>) = all.iter().partition(|(active, _)| *active);
    let names = |list: Vec<&(bool, &'static str)>| list.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
    if missing.is_empty() {
        Ok(names(there))
    } else {
        Err(Fault::new(format!("missing: {}", names(missing))).remedy("use Linux 6.2 or later"))
    }
}

fn try_multi_queue() -> Result<String, Fault> {
    let device = tun::open("probe", TunMode::Offload, 2)?;
    Ok(format!("{} queues on one interface", device.queues().len()))
}

fn try_plain() -> Result<String, Fault> {
    tun::open("probe", TunMode::Plain, 1).map(|_| "the plain mode's device opens".to_owned())
}

fn try_veth() -> Result<String, Fault> {
    let here = NetworkNamespace::current()?;
    let ends =
        [("probe-a", [2, 9, 0, 0, 0, 1]), ("probe-b", [2, 9, 0, 0, 0, 2])].map(|(name, mac)| VethEnd { name, mac });
    Netlink::open()?.add_veth(ends[0], ends[1], &here, 9001)?;
    Ok("a cable was made, MTU 9001".to_owned())
}

fn cores() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    if cores >= 2 {
        return Finding::there("cores", false, format!("{cores}: one worker per TUN queue, and the clients"));
    }
    let fault = Fault::new("one core").remedy("give this machine a second core");
    Finding::missing("cores", false, &fault, "meaningful benchmarks: client and endpoint share the core")
}

fn python() -> Finding {
    let script = "import sys; print(sys.executable, sys.version.split()[0])";
    let asked = std::process::Command::new("python3").args(["-c", script]).stdin(std::process::Stdio::null()).output();
    let version = asked.or_fault(|| "python3").and_then(|output| {
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(Fault::new(format!("python3 does not run: {}", output.status)))
        }
    });
    let version = version.map_err(|fault| fault.remedy("install Python 3, for example: sudo apt install python3"));
    Finding::from("python3", false, version, "functions in Python: `hello` and `my-function` of the quickstart lab")
}

/// Adds the command that switches user namespaces on, as far as this system's settings tell which.
pub fn user_namespace_remedy(fault: Fault) -> Fault {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let remedy = if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "sudo sysctl -w user.max_user_namespaces=10000"
    } else {
        "in a container, allow it user namespaces (`--security-opt seccomp=unconfined`), or run it with --privileged"
    };
    fault.at("user namespaces").remedy(remedy)
}

/// Says of a failure whether it is this machine that lacks something, so that every command says it the same way.
pub fn explain(fault: Fault) -> UpError {
    let missing = examine().into_iter().find(|finding| finding.required && !finding.available);
    match missing {
        None => UpError::Failed(fault),
        Some(finding) => {
            let mut explained = Fault::new(finding.detail).at(finding.name);
            explained.remedy = finding.remedy.or_else(|| Some("run `vpce doctor`".to_owned()));
            UpError::Missing(explained)
        }
    }
}
