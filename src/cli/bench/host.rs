//! What the machine is.

use super::result::Machine;
use crate::edge::{Fault, OrFault};
use crate::lab::client;
use crate::sigv4::BodyHash;

/// Describes the machine and the program.
pub(super) fn describe(endpoint_cpu: usize, load_cpu: usize) -> Result<Machine, Fault> {
    let program = std::fs::read("/proc/self/exe").or_fault(|| "cannot read this program")?;
    let mut hash = BodyHash::new();
    hash.update(&program);
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = |name: &str| {
        let line = cpuinfo.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    };
    let kernel = rustix::system::uname();
    Ok(Machine {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("VPCE_COMMIT"),
        program_sha256: hash.finish().iter().map(|byte| format!("{byte:02x}")).collect(),
        optimised: cfg!(not(debug_assertions)),
        kernel: kernel.release().to_string_lossy().into_owned(),
        // Other architectures than x86 name it otherwise, or not at all.
        processor: model("model name").or_else(|| model("CPU part")).unwrap_or_else(|| "unknown".to_owned()),
        processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        // New namespaces take it over.
        congestion_control: std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
            .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned()),
        endpoint_cpu,
        load_cpu,
        started: client::now(),
    })
}
