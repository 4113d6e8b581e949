//! `vpce lab`: bring a lab up, run programs on its machines, look at it, change it, bring it down.

mod logs;
mod reload;
mod status;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{self, Failure, Output};
use crate::edge::readiness::Readiness;
use crate::edge::{Fault, sys};
use crate::lab::exec::{ExecError, Job};
use crate::lab::secrets::Credentials;
use crate::lab::up::LIFELINE;
use crate::lab::{Directories, client, exec, supervisor};

pub(super) use self::status::{list, word};

/// Labs: a VPC, an endpoint, a tunnel and a data centre on this machine, without root
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vpce lab up\n  vpce lab exec app -- aws lambda list-functions\n  vpce lab status\n  \
                        vpce lab down"
)]
pub(super) struct Arguments {
    /// Name of the lab. Default: the only one that runs, else the topology's name.
    #[arg(long, global = true, value_name = "NAME")]
    lab: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Arguments),
    Exec(ExecArguments),
    Shell(ShellArguments),
    Status(StatusArguments),
    Reload(reload::Arguments),
    Logs(logs::Arguments),
    Down(DownArguments),
    #[command(hide = true)]
    Supervise(SuperviseArguments),
}

/// Run a program on a host of the lab, set up as an AWS client
#[derive(Debug, Args)]
#[command(after_help = "The program's exit code is returned; 127 if there is no such program.\n\n\
                        Examples:\n  vpce lab exec app -- aws lambda invoke --function-name hello /dev/stdout\n  \
                        vpce lab exec --as MyUser onprem -- curl -sv https://lambda.us-east-2.amazonaws.com/")]
struct ExecArguments {
    /// Identity whose keys the program gets. Default: Admin.
    #[arg(long = "as", value_name = "NAME")]
    identity: Option<String>,
    /// Name of the host, or of a router: vpce, cgw.
    host: String,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Open a shell on a host of the lab
#[derive(Debug, Args)]
#[command(after_help = "The shell is $SHELL, else /bin/sh.\n\nExamples:\n  vpce lab shell app\n  \
                        vpce lab shell --as MyUser onprem")]
struct ShellArguments {
    /// Identity whose keys the shell gets. Default: Admin.
    #[arg(long = "as", value_name = "NAME")]
    identity: Option<String>,
    /// Name of the host, or of a router: vpce, cgw.
    host: String,
}

/// Show what runs: hosts, processes, what is enforced, load, denials, counters
#[derive(Debug, Args)]
#[command(after_help = "Exits with 3 if the lab does not run.\n\nExamples:\n  vpce lab status\n  \
                        vpce lab status -o json | jq .counters")]
struct StatusArguments {}

/// End the lab and remove everything it made
#[derive(Debug, Args)]
#[command(after_help = "The lab's certificate authority and logs are kept. That a lab does not run is no failure.\n\n\
                        Examples:\n  vpce lab down\n  vpce lab down --lab second")]
struct DownArguments {}

/// What the first process of a lab does.
#[derive(Debug, Args)]
struct SuperviseArguments {
    state: PathBuf,
    runtime: PathBuf,
    #[arg(long)]
    owned: bool,
}

pub(super) fn run(arguments: Arguments, output: Output) -> Result<ExitCode, Failure> {
    let name = arguments.lab.as_deref();
    match arguments.command {
        Command::Up(wanted) => up::run(&wanted, arguments.lab, output),
        Command::Exec(wanted) => exec(name, &wanted.host, wanted.identity.as_deref(), &wanted.command, false),
        Command::Shell(wanted) => exec(name, &wanted.host, wanted.identity.as_deref(), &[shell()], true),
        Command::Status(StatusArguments {}) => status::run(name, output),
        Command::Reload(wanted) => reload::run(&wanted, name, output),
        Command::Logs(wanted) => logs::run(&wanted, name, output),
        Command::Down(DownArguments {}) => down(name, output),
        Command::Supervise(wanted) => supervise(wanted),
    }
}

fn shell() -> OsString {
    std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into())
}

fn exec(
    name: Option<&str>,
    host: &str,
    identity: Option<&str>,
    command: &[OsString],
    shell: bool,
) -> Result<ExitCode, Failure> {
    let (lab, directories) = chosen(name)?;
    if client::Supervisor::find(&directories).is_none() {
        return Err(client::not_running(&directories, &lab).into());
    }
    let credentials = Credentials::load(&directories)?;
    let identity = credentials.choose(identity).map_err(Failure::usage)?;
    let job = Job { lab: &lab, host, identity, command, shell };
    match exec::exec(&directories, &job) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(ExecError::Program { fault, code }) => Err(Failure::with_code(code, fault)),
        Err(ExecError::Host(fault)) => Err(Failure::usage(fault)),
        Err(ExecError::Lab(fault)) => Err(fault.into()),
    }
}

fn down(name: Option<&str>, output: Output) -> Result<ExitCode, Failure> {
    let (lab, directories) = chosen(name)?;
    let was_running = client::down(&directories)?;
    match output {
        Output::Json => output::print_json(&json!({ "lab": lab, "was_running": was_running })),
        Output::Text if was_running => output::print(&format!("lab {lab} is down\n")),
        Output::Text => output::print(&format!("lab {lab} was not running\n")),
    }
    Ok(ExitCode::SUCCESS)
}

fn supervise(wanted: SuperviseArguments) -> Result<ExitCode, Failure> {
    let readiness = Readiness::take()?;
    let lifeline = if wanted.owned {
        let fd = sys::inherited_fd(LIFELINE);
        Some(fd.map_err(|error| Fault::new(format!("this is started by `vpce lab up` only: {error}")))?)
    } else {
        None
    };
    let directories = Directories { state: wanted.state, runtime: wanted.runtime };
    supervisor::run(directories, readiness, lifeline)?;
    Ok(ExitCode::SUCCESS)
}

/// The lab that a command means, and its folders.
pub(super) fn chosen(name: Option<&str>) -> Result<(String, Directories), Failure> {
    let folders = super::folders()?;
    let lab = client::choose(&folders, name).map_err(Failure::usage)?;
    let directories = folders.of(&lab).map_err(Failure::usage)?;
    Ok((lab, directories))
}
