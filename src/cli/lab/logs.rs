//! `vpce lab logs`: where a lab's logs are, and their last lines.

#![expect(clippy::disallowed_types, reason = "logs are files")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::chosen;
use crate::cli::output::{self, Failure, Output};
use crate::edge::{Fault, OrFault};
use crate::lab::Directories;

/// What is looked at of a log's end, bytes.
const TAIL: u64 = 1 << 20;

/// Show where a lab's logs are, and the last lines of one
#[derive(Debug, Args)]
#[command(
    after_help = "Logs outlive their lab. Those of its processes begin anew with each run.\n\nExamples:\n  vpce lab logs\n  \
                        vpce lab logs flow\n  vpce lab logs access --lines 100\n  tail -f \"$(vpce lab logs flow --path)\""
)]
pub(super) struct Arguments {
    /// Which one; without it, all are listed.
    log: Option<Log>,
    /// How many lines.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    lines: usize,
    /// Print the log's path alone.
    #[arg(long, requires = "log")]
    path: bool,
}

/// A lab's logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Log {
    /// What the lab's first process did: namespaces, processes.
    Supervisor,
    /// What the endpoint logged.
    Endpoint,
    /// What the customer gateway, the function host and its functions logged.
    Onprem,
    /// One JSON line per invocation.
    Access,
    /// Flow-log records, AWS's default format.
    Flow,
}

impl Log {
    fn path(self, directories: &Directories) -> PathBuf {
        match self {
            Self::Supervisor => directories.log("supervisor"),
            Self::Endpoint => directories.log("endpoint"),
            Self::Onprem => directories.log("onprem"),
            Self::Access => directories.access_log(),
            Self::Flow => directories.flow_log(),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

pub(super) fn run(wanted: &Arguments, name: Option<&str>, output: Output) -> Result<ExitCode, Failure> {
    let (lab, directories) = chosen(name)?;
    if !directories.logs().exists() {
        let fault = Fault::new(format!("the lab {lab} has no logs: it never ran"));
        return Err(fault.at(directories.logs().display().to_string()).remedy("vpce lab up").into());
    }
    match wanted.log {
        None => list(&directories, output),
        Some(log) => show(log, &log.path(&directories), wanted, output)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(directories: &Directories, output: Output) {
    let logs = Log::value_variants().iter().map(|log| {
        let path = log.path(directories);
        let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        (log.name(), path, bytes)
    });
    match output {
        Output::Json => {
            let logs = logs.map(|(name, path, bytes)| json!({ "log": name, "path": path, "bytes": bytes }));
            output::print_json(&logs.collect());
        }
        Output::Text => {
            let rows: Vec<Vec<String>> = logs
                .map(|(name, path, bytes)| vec![name, format!("{bytes} bytes"), path.display().to_string()])
                .collect();
            output::print(&output::table(0, &rows));
        }
    }
}

fn show(log: Log, path: &Path, wanted: &Arguments, output: Output) -> Result<(), Failure> {
    if wanted.path {
        output::print(&format!("{}\n", path.display()));
        return Ok(());
    }
    let lines = tail(path, wanted.lines)
        .or_fault(|| "cannot read the log")
        .map_err(|fault| fault.at(path.display().to_string()).remedy("`vpce lab up` starts the lab, and its logs"))?;
    match output {
        Output::Json => output::print_json(&json!({ "log": log.name(), "path": path, "lines": lines })),
        Output::Text => {
            output::print(&format!("{}:\n", path.display()));
            lines.iter().for_each(|line| output::print(&format!("{line}\n")));
        }
    }
    Ok(())
}

/// The last lines of a file, of what its last [`TAIL`] bytes hold.
fn tail(path: &Path, count: usize) -> io::Result<VecDeque<String>> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(skipped))?;
    let mut lines = VecDeque::new();
    for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
        let line = line?;
        // The first one was cut.
        if skipped == 0 || index != 0 {
            lines.push_back(String::from_utf8_lossy(&line).into_owned());
        }
        if lines.len() > count {
            lines.pop_front();
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_whole_lines_however_long_the_log() {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "a\nb\nc").expect("written");
        assert_eq!(tail(file.path(), 2).expect("read"), ["b", "c"]);
        assert_eq!(tail(file.path(), 9).expect("read"), ["a", "b", "c"]);
        assert!(tail(file.path(), 0).expect("read").is_empty());
        let line = "x".repeat(99) + "\n";
        std::fs::write(file.path(), line.repeat(20_000)).expect("written");
        let lines = tail(file.path(), usize::MAX).expect("read");
        assert!(lines.len() > 10_000 && lines.iter().all(|line| line.len() == 99));
    }
}
