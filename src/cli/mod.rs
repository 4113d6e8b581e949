//! The command line: one file per subcommand.
//!
//! Exit codes: 0 done, 1 our failure, 2 wrong usage or configuration, 3 a check found what it looks for. Data goes to
//! stdout, as text or JSON (`-o`); logs and errors go to stderr, and an error says what is wrong, where, and what to do.

#![expect(clippy::disallowed_methods, reason = "the environment is read here, once")]

mod bench;
mod calibrate;
mod check;
mod demo;
mod doctor;
mod endpoint;
mod fault;
mod faults;
mod folder;
mod lab;
mod load;
mod onprem;
mod output;
mod peer;
mod probe;
mod traffic;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

pub use output::{Failure, Output};

use crate::control::ec2::AsOf;
use crate::edge::Fault;
use crate::edge::tun::TunMode;
use crate::lab::source::{self, Source};
use crate::lab::{Directories, Folders};

const EXAMPLES: &str = "\
Examples:
  vpce demo                                      the whole story once
  vpce doctor                                    what this machine offers
  vpce lab up                                    the quickstart lab, in the background
  vpce lab exec app -- aws lambda invoke --function-name hello /dev/stdout
  vpce lab down

Exit codes: 0 done, 1 failure, 2 wrong usage or configuration, 3 a check found what it looks for.";

/// A Lambda interface endpoint (AWS PrivateLink) in user space.
#[derive(Debug, Parser)]
#[command(name = "vpce", version, after_help = EXAMPLES, max_term_width = 110)]
struct Arguments {
    /// How data is written to stdout.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Lab(lab::Arguments),
    Fault(fault::Arguments),
    Endpoint(endpoint::Arguments),
    Onprem(onprem::Arguments),
    Check(check::Arguments),
    Doctor(doctor::Arguments),
    Bench(bench::Arguments),
    Load(Box<load::Arguments>),
    #[command(hide = true)]
    Calibrate(calibrate::Arguments),
    #[command(hide = true)]
    Peer(peer::Arguments),
    #[command(hide = true)]
    Probe(probe::Arguments),
    #[command(hide = true)]
    Traffic(traffic::Arguments),
}

/// Runs the program with these arguments, its own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let bare = arguments.len() <= 1;
    let output = wanted_output(&arguments);
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, bare, output),
    };
    start_logging();
    let output = parsed.output;
    let result = match parsed.command {
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Lab(arguments) => lab::run(arguments, output),
        Command::Fault(arguments) => fault::run(&arguments, output),
        Command::Endpoint(arguments) => endpoint::run(&arguments),
        Command::Onprem(arguments) => onprem::run(&arguments),
        Command::Check(arguments) => check::run(&arguments, output),
        Command::Doctor(arguments) => doctor::run(&arguments, output),
        Command::Bench(arguments) => bench::run(&arguments, output),
        Command::Load(arguments) => load::run(&arguments, output),
        Command::Calibrate(arguments) => calibrate::run(&arguments),
        Command::Peer(arguments) => peer::run(&arguments),
        Command::Probe(arguments) => probe::run(&arguments),
        Command::Traffic(arguments) => traffic::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(output),
    }
}

/// How errors are to be written when the arguments are not understood, as far as they tell.
fn wanted_output(arguments: &[OsString]) -> Output {
    let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--").collect();
    let joined = words.iter().any(|word| word == "-ojson" || word == "-o=json" || word == "--output=json");
    let apart = words.windows(2).any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json");
    if joined || apart { Output::Json } else { Output::Text }
}

/// Help and version are data; a wrong word is an error. The bare program's name asks for help.
fn usage(error: &clap::Error, bare: bool, output: Output) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if bare && error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        output::print(&error.render().to_string());
        return ExitCode::SUCCESS;
    }
    if output == Output::Json && !asked {
        let text = error.render().to_string();
        let what = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").trim();
        return Failure::usage(Fault::new(what).remedy("try `--help`")).report(output);
    }
    // Nobody is left to tell if this cannot be written.
    _ = error.print();
    ExitCode::from(if asked { 0 } else { 2 })
}

/// Logs to stderr. `VPCE_LOG` chooses what, in the form of `RUST_LOG`; the default is warnings, and a life-cycle's worth
/// of information from the processes of a lab, whose stderr is a file.
fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let to_terminal = std::io::stderr().is_terminal();
    let default = if to_terminal { "warn" } else { "info" };
    let filter = std::env::var("VPCE_LOG").unwrap_or_else(|_| default.to_owned());
    let colour = to_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .try_init();
    // A second call, in a test, finds the first one's logging.
    drop(started);
}

/// The folders that the environment chooses.
fn folders() -> Result<Folders, Failure> {
    Folders::choose(|name| std::env::var(name).ok()).map_err(Failure::usage)
}

/// How policy documents are read.
#[derive(Debug, Args)]
struct PolicyArguments {
    /// Accept what AWS refuses but people paste: a bare ARN as a policy's principal.
    #[arg(long)]
    lenient: bool,
}

/// Options of the two sides of the tunnel, whether a lab starts them or somebody with a network of their own.
#[derive(Debug, Args)]
struct SideArguments {
    /// A TOML file, or the name of a built-in topology: quickstart, blog.
    config: String,
    #[command(flatten)]
    policies: PolicyArguments,
    /// The tunnel's path profile, instead of the topology's.
    #[arg(long, value_name = "NAME")]
    path: Option<String>,
    /// Where the certificate authority is kept, and logs are written.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where keys, credentials and the control socket lie. Both sides need the same.
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    #[command(flatten)]
    devices: DeviceArguments,
}

/// A past month of which it is known where the service was offered.
fn month(text: &str) -> Result<AsOf, String> {
    AsOf::parse(text).ok_or_else(|| "of no month but 2020-10 is it known where the service was offered".to_owned())
}

/// How packets come and go.
#[derive(Debug, Args)]
struct DeviceArguments {
    /// How TUN devices are opened: `offload`, or `plain` for one packet per call.
    #[arg(long, value_name = "MODE", default_value = "offload")]
    tun: TunMode,
    /// Workers: one thread and one queue per device each.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    queues: u8,
}

impl DeviceArguments {
    fn check(&self) -> Result<(), Failure> {
        if self.tun == TunMode::Plain && self.queues > 1 {
            let fault = Fault::new(format!("{} queues asked for, but the plain TUN mode has one", self.queues));
            return Err(Failure::usage(fault.remedy("leave `--queues` or `--tun plain` out")));
        }
        Ok(())
    }

    /// As arguments of another command.
    fn to_arguments(&self) -> Vec<String> {
        vec!["--tun".to_owned(), self.tun.to_string(), "--queues".to_owned(), self.queues.to_string()]
    }
}

impl SideArguments {
    /// Workers of the endpoint, which is also the number of SA pairs in use.
    fn workers(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.devices.queues.into()).unwrap_or(NonZeroUsize::MIN)
    }

    /// The topology, with the options applied, and the folders, made and with keys in them.
    fn prepare(&self) -> Result<(Source, Directories), Failure> {
        self.devices.check()?;
        let mut source = source::load(&self.config, self.policies.lenient)?;
        if let Some(path) = &self.path {
            source::use_path(&mut source.topology, path).map_err(Failure::usage)?;
        }
        let mut directories = folders()?.of(&source.topology.name).map_err(Failure::usage)?;
        if let Some(state) = &self.state_dir {
            directories.state.clone_from(state);
        }
        if let Some(runtime) = &self.runtime_dir {
            directories.runtime.clone_from(runtime);
        }
        directories.create()?;
        if !directories.tunnel_keys().exists() {
            crate::lab::secrets::create(&directories, &source.topology)?;
        }
        Ok((source, directories))
    }
}

/// Waits until the process is asked to end. Blocks SIGTERM and SIGINT for this thread and those started after it, so it is
/// made before any other thread.
struct Termination(crate::edge::sys::SignalWait);

impl Termination {
    fn watch() -> Result<Self, Failure> {
        Self::watch_these(&[libc::SIGTERM, libc::SIGINT])
    }

    /// As [`Self::watch`], for a process that also has to hear when its children end. Not for one whose runtime waits for
    /// children by SIGCHLD itself.
    fn watch_with_children() -> Result<Self, Failure> {
        Self::watch_these(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD])
    }

    fn watch_these(signals: &[libc::c_int]) -> Result<Self, Failure> {
        crate::edge::sys::SignalWait::block(signals)
            .map(Self)
            .map_err(|error| Fault::new(format!("cannot watch signals: {error}")).into())
    }

    /// Waits for the next of them and says which.
    fn wait(&self) -> Result<libc::c_int, Failure> {
        let arrived = self.0.next().map_err(|error| Fault::new(format!("cannot wait for signals: {error}")))?;
        Ok(arrived.signal)
    }
}
