//! `vpce lab up`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use super::status;
use crate::cli::output::{self, Failure, Output};
use crate::cli::{DeviceArguments, PolicyArguments, Termination};
use crate::control::ec2::AsOf;
use crate::edge::{Fault, OrFault};
use crate::lab::up::{Running, UpError, Wishes, up_with_progress};
use crate::lab::{client, source};

/// A lab that takes longer than this shows that it starts.
const SLOW: Duration = Duration::from_millis(500);

/// Bring a lab up in the background; returns when it is ready
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vpce lab up\n  vpce lab up --path vpn\n  vpce lab up my-lab.toml --lab second\n  \
                        vpce lab up --capture story.pcapng --replace"
)]
pub(super) struct Arguments {
    /// A TOML file, or the name of a built-in topology: quickstart, blog.
    #[arg(default_value = source::DEFAULT)]
    topology: String,
    /// The tunnel's path profile: lan, vpn, dx, or the topology's own.
    #[arg(long, value_name = "NAME")]
    path: Option<String>,
    /// End a running lab of the same name first.
    #[arg(long)]
    replace: bool,
    /// Stay, and end the lab together with this command.
    #[arg(long)]
    foreground: bool,
    #[command(flatten)]
    policies: PolicyArguments,
    #[command(flatten)]
    devices: DeviceArguments,
    /// Spin instead of waiting for packets: lower latency, a whole core per worker.
    #[arg(long)]
    busy_poll: bool,
    /// Begin with what was created and changed through the API when this lab last ran, instead of the topology's own.
    #[arg(long)]
    keep: bool,
    /// Offer the service where it was offered in that month: 2020-10 is its launch, without af-south-1 and eu-south-1.
    #[arg(long, value_name = "YYYY-MM", value_parser = crate::cli::month)]
    as_of: Option<AsOf>,
    /// Write what crosses the endpoint's interfaces, and the secrets of its TLS sessions, to this pcapng file.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

impl Arguments {
    fn wishes(&self, name: Option<String>) -> Result<Wishes, Fault> {
        let onprem_arguments = self.devices.to_arguments();
        let mut endpoint_arguments = onprem_arguments.clone();
        if self.busy_poll {
            endpoint_arguments.push("--busy-poll".to_owned());
        }
        if self.keep {
            endpoint_arguments.push("--keep".to_owned());
        }
        if let Some(month) = &self.as_of {
            endpoint_arguments.extend(["--as-of".to_owned(), month.text().to_owned()]);
        }
        if let Some(file) = &self.capture {
            // For a process that stands elsewhere.
            let place = || file.display().to_string();
            let absolute = std::path::absolute(file).or_fault(|| "not a file").map_err(|fault| fault.at(place()))?;
            let path = absolute.into_os_string().into_string();
            let path = path.map_err(|_| Fault::new("the capture file's path is no UTF-8 text").at(place()))?;
            endpoint_arguments.extend(["--capture".to_owned(), path]);
        }
        Ok(Wishes {
            name,
            path: self.path.clone(),
            replace: self.replace,
            lenient: self.policies.lenient,
            endpoint_arguments,
            onprem_arguments,
            owned: self.foreground,
        })
    }
}

pub(super) fn run(wanted: &Arguments, name: Option<String>, output: Output) -> Result<ExitCode, Failure> {
    wanted.devices.check()?;
    let source = source::load(&wanted.topology, wanted.policies.lenient)?;
    let wishes = wanted.wishes(name).map_err(Failure::usage)?;
    let folders = crate::cli::folders()?;
    let signals = wanted.foreground.then(Termination::watch_with_children).transpose()?;
    // Draws only on a terminal.
    let spinner = ProgressBar::new_spinner();
    let running = up_with_progress(&source, &folders, &wishes, &mut |waited| {
        if waited >= SLOW {
            spinner.set_message(format!("starting the lab {}: {} s", source.topology.name, waited.as_secs()));
            spinner.tick();
        }
    });
    spinner.finish_and_clear();
    let running = running.map_err(|error| match error {
        UpError::Running(fault) | UpError::Wish(fault) => Failure::usage(fault),
        UpError::Missing(fault) | UpError::Failed(fault) => Failure::ours(fault),
    })?;
    match output {
        Output::Json => output::print_json(&running.status),
        Output::Text => output::print(&status::introduction(&running.status)),
    }
    match signals {
        None => Ok(ExitCode::SUCCESS),
        Some(signals) => stay(running, &signals),
    }
}

/// Stays with a lab until it is asked to end or the lab does.
fn stay(running: Running, signals: &Termination) -> Result<ExitCode, Failure> {
    while running.is_alive() {
        if signals.wait()? != libc::SIGCHLD {
            running.down()?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    Err(client::not_running(&running.directories, &running.name).into())
}
