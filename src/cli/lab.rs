//! `vpce lab`: bring a lab up, run programs on its machines, look at it, bring it down.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Termination;
use super::output::{self, Failure, Output, table};
use crate::edge::readiness::Readiness;
use crate::edge::tun::TunMode;
use crate::edge::{Fault, sys};
use crate::lab::exec::{ExecError, Job};
use crate::lab::secrets::Credentials;
use crate::lab::up::{LIFELINE, Running, UpError, Wishes};
use crate::lab::{Directories, client, exec, supervisor, up};

/// Labs: a VPC, an endpoint, a tunnel and a data centre on this machine, without root
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of the lab. Default: the only one that runs, else the topology's name.
    #[arg(long, global = true, value_name = "NAME")]
    lab: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(UpArguments),
    Exec(ExecArguments),
    Shell(ShellArguments),
    /// Show what runs: hosts, addresses, processes, what is enforced, counters. Exits with 3 if the lab does not run
    Status,
    /// End the lab and remove everything it made
    Down,
    #[command(hide = true)]
    Supervise(SuperviseArguments),
}

/// Bring a lab up in the background; returns when it is ready
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpce lab up\n  vpce lab up --path vpn\n  vpce lab up my-lab.toml --lab second")]
struct UpArguments {
    /// A TOML file, or the name of a built-in topology.
    #[arg(default_value = crate::lab::source::DEFAULT)]
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
    /// How TUN devices are opened: `offload`, or `plain` for one packet per call.
    #[arg(long, value_name = "MODE", default_value = "offload")]
    tun: TunMode,
    /// Workers: one thread and one queue per device each.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    queues: Option<u8>,
    /// Write what crosses the endpoint's interfaces, and the secrets of its TLS sessions, to this pcapng file.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
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
struct ShellArguments {
    /// Identity whose keys the shell gets. Default: Admin.
    #[arg(long = "as", value_name = "NAME")]
    identity: Option<String>,
    /// Name of the host, or of a router: vpce, cgw.
    host: String,
}

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
        Command::Up(wanted) => up(&wanted, arguments.lab, output),
        Command::Exec(wanted) => exec(name, &wanted.host, wanted.identity.as_deref(), &wanted.command, false),
        Command::Shell(wanted) => exec(name, &wanted.host, wanted.identity.as_deref(), &[shell()], true),
        Command::Status => status(name, output),
        Command::Down => down(name, output),
        Command::Supervise(wanted) => supervise(wanted),
    }
}

fn shell() -> OsString {
    std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into())
}

fn up(wanted: &UpArguments, name: Option<String>, output: Output) -> Result<ExitCode, Failure> {
    let source = super::load(&wanted.topology)?;
    let mut endpoint_arguments = Vec::new();
    if wanted.tun == TunMode::Plain {
        endpoint_arguments.extend(["--tun".to_owned(), "plain".to_owned()]);
    }
    let mut wishes = Wishes {
        name,
        path: wanted.path.clone(),
        replace: wanted.replace,
        owned: wanted.foreground,
        ..Wishes::default()
    };
    if let Some(queues) = wanted.queues {
        endpoint_arguments.extend(["--queues".to_owned(), queues.to_string()]);
    }
    wishes.onprem_arguments.clone_from(&endpoint_arguments);
    if let Some(file) = &wanted.capture {
        endpoint_arguments.extend(["--capture".to_owned(), capture_file(file)?]);
    }
    wishes.endpoint_arguments = endpoint_arguments;
    let signals = wanted.foreground.then(Termination::watch_with_children).transpose()?;
    let running = up::up(&source, &super::folders()?, &wishes).map_err(|error| match error {
        UpError::Running(fault) | UpError::Wish(fault) => Failure::usage(fault),
        UpError::Missing(fault) | UpError::Failed(fault) => Failure::ours(fault),
    })?;
    match output {
        Output::Json => output::print_json(&running.status),
        Output::Text => output::print(&introduction(&running.status)),
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

/// The file's path, for a process that stands elsewhere.
fn capture_file(file: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(file)
        .map_err(|error| Fault::new(format!("not a file: {error}")).at(file.display().to_string()));
    let text = absolute.map_err(Failure::usage)?.into_os_string().into_string();
    text.map_err(|path| {
        Failure::usage(Fault::new("the capture file's path is not UTF-8").at(path.display().to_string()))
    })
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

fn status(name: Option<&str>, output: Output) -> Result<ExitCode, Failure> {
    let (lab, directories) = chosen(name)?;
    match client::status(&directories, &lab) {
        Ok(status) => {
            match output {
                Output::Json => output::print_json(&status),
                Output::Text => output::print(&text(&status)),
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(_) if client::Supervisor::find(&directories).is_none() => {
            let last = client::LastRun::read(&directories);
            match output {
                Output::Json => output::print_json(&json!({ "lab": lab, "running": false, "last_run": last })),
                Output::Text => output::print(&format!("{}\n", client::not_running(&directories, &lab))),
            }
            Ok(ExitCode::from(3))
        }
        Err(fault) => Err(fault.into()),
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

fn chosen(name: Option<&str>) -> Result<(String, Directories), Failure> {
    let folders = super::folders()?;
    let lab = client::choose(&folders, name).map_err(Failure::usage)?;
    let directories = folders.of(&lab);
    Ok((lab, directories))
}

/// What `lab up` prints: who is where, and what to do next.
fn introduction(status: &Value) -> String {
    let mut text = overview(status);
    text.push_str(&enforcement(status));
    let lab = word(&status["lab"]);
    let option = if lab == crate::lab::source::DEFAULT { String::new() } else { format!(" --lab {lab}") };
    text.push_str(&format!(
        "\nnext:\n  vpce lab{option} exec app -- aws lambda invoke --function-name hello /dev/stdout\n  vpce lab{option} status\n  vpce lab{option} down\n"
    ));
    text
}

/// What `lab status` prints.
fn text(status: &Value) -> String {
    let mut text = overview(status);
    let mut rows = vec![row(["process", "namespace", "pid", "state"])];
    rows.push(row(["supervisor", "-", &word(&status["supervisor_pid"]), "running"]));
    for process in list(&status["processes"]) {
        let state = if process["answers"] == true { "running" } else { "does not answer" };
        rows.push(row([&word(&process["name"]), &word(&process["namespace"]), &word(&process["pid"]), state]));
    }
    text.push('\n');
    text.push_str(&table(2, &rows));
    text.push_str(&enforcement(status));
    let counters = list(&status["counters"]);
    if !counters.is_empty() {
        let mut rows = vec![row(["stage", "counter", "count", "process"])];
        let cell = |counter: &Value, key: &str| word(&counter[key]);
        rows.extend(counters.iter().map(|c| ["stage", "code", "count", "process"].map(|key| cell(c, key)).to_vec()));
        text.push('\n');
        text.push_str(&table(2, &rows));
    }
    for capture in list(&status["processes"]).iter().map(|process| &process["status"]["capture"]) {
        if !capture.is_null() {
            let [file, packets, lost] = ["file", "packets", "lost_packets"].map(|key| word(&capture[key]));
            text.push_str(&format!("\ncapture: {file}, {packets} packets, {lost} lost\n"));
        }
    }
    text.push_str(&format!("\nlogs: {}/logs\n", word(&status["state_folder"])));
    text
}

fn overview(status: &Value) -> String {
    let mut text = format!(
        "lab {} is up since {}: {} in {}, account {}, path {}\n\n",
        word(&status["lab"]),
        word(&status["started"]),
        word(&status["vpc"]["id"]),
        word(&status["region"]),
        word(&status["account"]),
        word(&status["path"]),
    );
    let mut rows = vec![row(["host", "site", "IPv4", "IPv6"])];
    let place = |name: &Value, site: &Value, at: &Value| {
        row([&word(name), &word(site), &word(&at["ipv4"]), &word(&at["ipv6"])])
    };
    rows.extend(list(&status["hosts"]).iter().map(|host| place(&host["name"], &host["site"], host)));
    rows.extend(list(&status["endpoint"]["enis"]).iter().map(|eni| place(&eni["id"], &eni["subnet"], eni)));
    text.push_str(&table(2, &rows));
    let identities = list(&status["identities"]);
    if !identities.is_empty() {
        let mut rows = vec![row(["identity", "access key", "secret key"])];
        let cells =
            |key: &Value| row([&word(&key["name"]), &word(&key["access_key_id"]), &word(&key["secret_access_key"])]);
        rows.extend(identities.iter().map(cells));
        text.push('\n');
        text.push_str(&table(2, &rows));
    }
    text
}

/// One line per stage: only what is active is claimed.
fn enforcement(status: &Value) -> String {
    let stages = list(&status["enforcement"]);
    if stages.is_empty() {
        return String::new();
    }
    let mut rows = vec![row(["stage", "enforced", ""])];
    rows.extend(stages.iter().map(|stage| {
        let enforced = stage["enforced"] == true;
        let why = if enforced { &stage["by"] } else { &stage["reason"] };
        row([&word(&stage["stage"]), if enforced { "yes" } else { "NO" }, &word(why)])
    }));
    format!("\n{}", table(2, &rows))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A JSON scalar without its quotes; a dash for nothing.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
