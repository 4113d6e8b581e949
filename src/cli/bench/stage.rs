//! Where a run takes place: a lab of its own, brought up for it and taken down behind it.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::Value;

use super::interrupt::Interrupt;
use super::plan::{Variant, Work};
use crate::cli::folder::{self, Folder};
use crate::cli::output::Failure;
use crate::cli::peer::PEER;
use crate::edge::sys::{self, ChildSetup};
use crate::edge::{Fault, OrFault};
use crate::lab::Folders;
use crate::lab::source::Source;
use crate::lab::up::{Running, UpError, Wishes, up};
use crate::load::machine;

/// Name of the lab, and of its topology.
pub(super) const LAB: &str = "bench";
/// The host that the load comes from.
pub(super) const CLIENT: &str = "app";
/// The host on-premises that packets are forwarded to.
pub(super) const FAR_CLIENT: &str = "onprem";

/// What all runs have in common.
pub(super) struct Grounds<'a> {
    pub(super) source: Source,
    pub(super) folder: &'a Folder,
    pub(super) interrupt: &'a Interrupt,
    /// Of the endpoint, or the server in its place.
    pub(super) endpoint_cpu: usize,
    /// Of load generator and on-premises side.
    pub(super) load_cpu: usize,
    pub(super) busy_poll: bool,
}

impl Grounds<'_> {
    /// The endpoint's address.
    pub(super) fn eni(&self) -> Result<Ipv4Addr, Fault> {
        let eni = self.source.topology.enis().next();
        eni.map(|(_, eni)| eni.ipv4).ok_or_else(|| Fault::new("the topology has no eni"))
    }

    /// This program, with the lab's folders.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(words).envs(folder::variables(self.folder.path()));
        command
    }
}

/// A lab for one run.
pub(super) struct Stage {
    running: Option<Running>,
    /// What stands in the endpoint's place.
    peer: Option<Peer>,
    /// Where the service is.
    pub(super) service: IpAddr,
    /// Processes that are watched, `name=pid`.
    pub(super) watched: Vec<String>,
    /// Names of those whose cost is the result.
    pub(super) under_test: Vec<&'static str>,
    /// What is under test, in words.
    pub(super) server: String,
    /// How the endpoint's devices are open.
    pub(super) tun: Value,
}

impl Stage {
    /// Brings the lab of this variant up, and pins its processes.
    pub(super) fn set(grounds: &Grounds<'_>, variant: Variant, work: &Work) -> Result<Self, Failure> {
        let mode = if variant == Variant::Floor { "plain" } else { "offload" };
        let side = vec!["--tun".to_owned(), mode.to_owned()];
        let mut endpoint_arguments = side.clone();
        if grounds.busy_poll && variant == Variant::Tuned {
            endpoint_arguments.push("--busy-poll".to_owned());
        }
        let wishes = Wishes {
            name: Some(LAB.to_owned()),
            endpoint_arguments,
            onprem_arguments: side,
            owned: true,
            ..Wishes::default()
        };
        let folders = Folders::choose(|name| grounds.folder.variable(name))?;
        let running = up(&grounds.source, &folders, &wishes).map_err(|error| match error {
            UpError::Running(fault) | UpError::Wish(fault) => Failure::usage(fault),
            UpError::Missing(fault) | UpError::Failed(fault) => Failure::ours(fault),
        })?;
        let process = |name: &str| {
            let processes = running.status["processes"].as_array().into_iter().flatten();
            processes.filter(|process| process["name"] == name).find_map(|process| {
                Some((i32::try_from(process["pid"].as_i64()?).ok()?, process["status"]["tun"].clone()))
            })
        };
        let unknown = || Fault::new("the lab does not know its processes").remedy("mount /proc, and see `vpce doctor`");
        let (endpoint, tun) = process("endpoint").ok_or_else(unknown)?;
        let (onprem, _) = process("onprem").ok_or_else(unknown)?;
        machine::pin(endpoint, &[grounds.endpoint_cpu])?;
        machine::pin(onprem, &[grounds.load_cpu])?;
        Ok(Self {
            service: grounds.eni()?.into(),
            watched: vec![format!("endpoint={endpoint}"), format!("onprem={onprem}")],
            // Of a tunnel, both ends.
            under_test: if matches!(work, Work::Forward(_)) { vec!["endpoint", "onprem"] } else { vec!["endpoint"] },
            server: format!("vpce endpoint, TUN mode {mode}"),
            tun,
            running: Some(running),
            peer: None,
        })
    }

    /// Without a lab: packets stay in memory.
    pub(super) fn in_memory(variant: Variant) -> Self {
        let server = if variant == Variant::Ceiling { "parse alone" } else { "parse, flow and verdict" };
        Self {
            running: None,
            peer: None,
            service: PEER.into(),
            watched: Vec::new(),
            under_test: vec!["thread"],
            server: server.to_owned(),
            tun: Value::Null,
        }
    }

    /// Puts what the kernel does in the endpoint's place.
    pub(super) fn replace(&mut self, grounds: &Grounds<'_>, work: &Work) -> Result<(), Failure> {
        let answer = grounds.eni()?.to_string();
        let (service, server) = match work {
            Work::Load(_) => ("https", "the same TLS over kernel TCP, nothing else"),
            Work::Resolve(_) => ("dns", "one answer from a kernel socket"),
            Work::Forward(_) => {
                // Whoever sends pays for what the kernel forwards: no process is charged for it alone.
                self.under_test.clear();
                "a Linux router between the hosts, no tunnel".clone_into(&mut self.server);
                self.tun = Value::Null;
                return Ok(());
            }
            Work::Packets(_) => return Ok(()),
        };
        let cpu = grounds.endpoint_cpu.to_string();
        let words = ["peer", service, "--lab", LAB, "--host", CLIENT, "--cpu", &cpu, "--answer", &answer];
        let peer = Peer::start(grounds, &words)?;
        self.watched = vec![format!("server={}", peer.child.id())];
        self.under_test = vec!["server"];
        server.clone_into(&mut self.server);
        self.tun = Value::Null;
        self.service = PEER.into();
        self.peer = Some(peer);
        Ok(())
    }

    /// Takes everything down and waits until it has gone.
    pub(super) fn strike(mut self) -> Result<(), Failure> {
        drop(self.peer.take());
        self.running.take().map_or(Ok(()), Running::down).map_err(Failure::from)
    }
}

/// A server that runs until its standard input ends.
struct Peer {
    child: Child,
    input: Option<ChildStdin>,
}

impl Peer {
    fn start(grounds: &Grounds<'_>, words: &[&str]) -> Result<Self, Failure> {
        let mut command = grounds.command(words);
        sys::set_up_child(&mut command, ChildSetup { die_with_parent: true, ..ChildSetup::default() });
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().or_fault(|| "cannot start the ceiling's server")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let peer = Self { child, input };
        let mut line = String::new();
        let heard = output.map_or(Ok(0), |pipe| BufReader::new(pipe).read_line(&mut line));
        heard.or_fault(|| "cannot hear from the ceiling's server")?;
        grounds.interrupt.check()?;
        if line != "ready\n" {
            return Err(Fault::new("the ceiling's server did not become ready").into());
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended by itself.
        _ = self.child.wait();
    }
}
