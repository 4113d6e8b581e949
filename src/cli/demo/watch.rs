//! The demo's lab, asked from outside: programs run on its hosts, and what the endpoint says of itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::Topology;
use crate::edge::probe::Report;
use crate::edge::{Fault, OrFault, control};
use crate::lab::up::Running;

/// How long a record may take to reach the access log.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Lab {
    name: String,
    program: PathBuf,
    folder: PathBuf,
    socket: PathBuf,
    access_log: PathBuf,
    /// The service's public name.
    pub(super) service: String,
    /// The endpoint's address.
    pub(super) eni: Ipv4Addr,
    /// Addresses of the hosts, by name.
    pub(super) hosts: Vec<(String, Ipv4Addr)>,
}

impl Lab {
    pub(super) fn new(running: &Running, topology: &Topology, folder: &Path) -> Result<Self, Fault> {
        let (_, eni) = topology.enis().next().ok_or_else(|| Fault::new("the topology has no eni"))?;
        Ok(Self {
            name: running.name.clone(),
            program: std::env::current_exe().or_fault(|| "cannot find this program")?,
            folder: folder.to_owned(),
            socket: running.directories.endpoint_socket(),
            access_log: running.directories.logs().join("access.jsonl"),
            service: topology.service_host(),
            eni: eni.ipv4,
            hosts: topology.hosts.iter().map(|host| (host.name.clone(), host.ipv4)).collect(),
        })
    }

    /// Calls the service from a host.
    pub(super) fn invoke(
        &self,
        host: &str,
        identity: &str,
        function: &str,
        payload: &str,
        bad_signature: bool,
    ) -> Result<Report, Fault> {
        let mut words = vec!["invoke", &self.service, function, payload];
        if bad_signature {
            words.push("--bad-signature");
        }
        let report = self.probe(host, identity, &words)?;
        serde_json::from_value(report).or_fault(|| "the probe's report cannot be read")
    }

    /// Pings the endpoint from a host; the round trip in microseconds, if there was one.
    pub(super) fn ping(&self, host: &str) -> Result<Option<u64>, Fault> {
        let report = self.probe(host, "Admin", &["ping", &self.eni.to_string()])?;
        Ok(report["round_trip_us"].as_u64())
    }

    /// Puts the rules and policies of a built-in topology in force.
    pub(super) fn reload(&self, topology: &str) -> Result<(), Fault> {
        control::ask(&self.socket, &json!({ "do": "reload", "topology": topology })).map(drop)
    }

    /// The security-group rule that let a connection in, as "group rule".
    pub(super) fn rule(&self, client: SocketAddr, endpoint: SocketAddr) -> Option<String> {
        let question = json!({ "do": "flow", "client": client, "endpoint": endpoint });
        control::ask(&self.socket, &question).ok()?["rule"].as_str().map(str::to_owned)
    }

    /// Why the last packet from `client` was denied: reason and text.
    pub(super) fn denial(&self, client: Ipv4Addr) -> Option<(String, String)> {
        let status = control::ask(&self.socket, &json!({ "do": "status" })).ok()?;
        let source = |denial: &Value| denial["source"].as_str()?.parse::<SocketAddr>().ok();
        let denials = status["denials"].as_array()?;
        let denial = denials.iter().rev().find(|denial| source(denial).is_some_and(|s| s.ip() == client))?;
        Some((denial["reason"].as_str()?.to_owned(), denial["text"].as_str()?.to_owned()))
    }

    /// The access line of a request. The endpoint writes it when the answer's last byte is out.
    pub(super) fn access_line(&self, request_id: &str) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(&self.access_log).unwrap_or_default();
            let line = log.lines().rev().find_map(|line| {
                serde_json::from_str::<Value>(line).ok().filter(|line| line["request_id"] == request_id)
            });
            if line.is_some() || Instant::now() > deadline {
                return line;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn probe(&self, host: &str, identity: &str, words: &[&str]) -> Result<Value, Fault> {
        let run = Command::new(&self.program)
            .args(["lab", "--lab", &self.name, "exec", "--as", identity, host, "--"])
            .arg(&self.program)
            .arg("probe")
            .args(words)
            .envs(crate::cli::folder::variables(&self.folder))
            .stdin(Stdio::null())
            .output()
            .or_fault(|| "cannot run the probe")?;
        if !run.status.success() {
            let said = String::from_utf8_lossy(&run.stderr).trim().to_owned();
            return Err(Fault::new(format!("the client on {host} failed: {said}")));
        }
        serde_json::from_slice(&run.stdout).or_fault(|| "the probe's report cannot be read")
    }
}
