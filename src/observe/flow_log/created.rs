//! Flow logs that the API created: each a file of its own, in its format, of its interfaces, in windows of one or ten minutes.
//!
//! They are made from the same records as the lab's own log, which come a minute at a time; a log of ten minutes adds up ten of
//! them. Limits: [`LOGS_MAX`] logs, [`RECORDS_MAX`] records that wait for the end of a ten-minute window.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::Format;
use crate::config::Topology;
use crate::eni::{Action, FlowLogRecord, LogStatus};

/// Logs at the same time.
pub const LOGS_MAX: usize = 100;
/// Records of a ten-minute window.
const RECORDS_MAX: usize = 131_072;

/// Which packets a log tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrafficType {
    /// Those that were allowed.
    Accept,
    /// Those that were not.
    Reject,
    /// Both.
    All,
}

/// A flow log as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowLogSpec {
    /// `fl-…`, which names its file.
    pub id: String,
    /// `vpc-…`, `subnet-…` or `eni-…`.
    pub resource: String,
    /// What it tells of.
    pub traffic: TrafficType,
    /// Its lines.
    pub format: Format,
    /// Seconds.
    pub window: u64,
}

/// The logs that there are.
#[derive(Debug)]
pub struct CreatedLogs {
    folder: PathBuf,
    logs: Vec<CreatedLog>,
}

#[derive(Debug)]
struct CreatedLog {
    spec: FlowLogSpec,
    path: PathBuf,
    /// Whether its last lines could not be written.
    has_failed: bool,
    /// Records of the open window, by what makes two of them one.
    waiting: BTreeMap<(Arc<str>, String), FlowLogRecord>,
    window: u64,
}

impl CreatedLogs {
    /// None yet; files will stand in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), logs: Vec::new() }
    }

    /// Has these logs and no others, each with its file. What waited in one that goes is lost, as on AWS.
    pub fn set(&mut self, specs: &[FlowLogSpec]) {
        self.logs.retain(|log| specs.contains(&log.spec));
        for spec in specs.iter().take(LOGS_MAX) {
            if !self.logs.iter().any(|log| log.spec == *spec) {
                let path = self.folder.join(&spec.id).with_extension("log");
                let (spec, waiting) = (spec.clone(), BTreeMap::new());
                let mut log = CreatedLog { spec, path, has_failed: false, waiting, window: 0 };
                log.append("");
                self.logs.push(log);
            }
        }
    }

    /// Gives every log the records that are its own. That one cannot be written is no matter of the others.
    pub fn write(&mut self, records: &[FlowLogRecord], topology: &Topology) {
        for log in &mut self.logs {
            let lines = log.lines(records, topology);
            if !lines.is_empty() {
                log.append(&lines);
            }
        }
    }

    /// Those whose last lines could not be written; they are lost.
    pub fn failed(&self) -> BTreeSet<String> {
        self.logs.iter().filter(|log| log.has_failed).map(|log| log.spec.id.clone()).collect()
    }
}

impl CreatedLog {
    fn append(&mut self, lines: &str) {
        let write = || {
            self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            File::options().create(true).append(true).open(&self.path)?.write_all(lines.as_bytes())
        };
        let written = write();
        if let Err(error) = &written
            && !self.has_failed
        {
            tracing::warn!(%error, log = self.spec.id, "a flow log cannot be written");
        }
        self.has_failed = written.is_err();
    }

    /// The lines that these records make: each its own, or those of a longer window that is over.
    fn lines(&mut self, records: &[FlowLogRecord], topology: &Topology) -> String {
        let mut lines = String::new();
        let line = |format: &Format, record: &FlowLogRecord| format.line(record, topology) + "\n";
        for record in records {
            if !self.spec.covers(record, topology) {
                continue;
            }
            let window = record.end / self.spec.window;
            if self.spec.window <= record.end - record.start + 1 {
                lines.push_str(&line(&self.spec.format, record));
                continue;
            }
            if window > self.window {
                for record in self.close() {
                    lines.push_str(&line(&self.spec.format, &record));
                }
                self.window = window;
            }
            self.wait(record);
        }
        lines
    }

    /// What waited for the end of its window. A minute without data is no news where there was data in another.
    fn close(&mut self) -> Vec<FlowLogRecord> {
        let waited: Vec<FlowLogRecord> = std::mem::take(&mut self.waiting).into_values().collect();
        let had_data: BTreeSet<Arc<str>> =
            waited.iter().filter(|record| record.flow.is_some()).map(|record| Arc::clone(&record.eni)).collect();
        let is_news = |record: &FlowLogRecord| record.status != LogStatus::NoData || !had_data.contains(&record.eni);
        waited.into_iter().filter(is_news).collect()
    }

    fn wait(&mut self, record: &FlowLogRecord) {
        let flow = record.flow.map_or_else(String::new, |flow| format!("{:?} {:?}", flow.tuple, flow.action));
        let key = (Arc::clone(&record.eni), flow);
        if let Some(known) = self.waiting.get_mut(&key) {
            known.end = known.end.max(record.end);
            known.start = known.start.min(record.start);
            if let (Some(sum), Some(flow)) = (&mut known.flow, &record.flow) {
                (sum.packets, sum.bytes) = (sum.packets + flow.packets, sum.bytes + flow.bytes);
                sum.tcp_flags |= flow.tcp_flags;
            }
        } else if self.waiting.len() < RECORDS_MAX {
            self.waiting.insert(key, record.clone());
        }
    }
}

impl FlowLogSpec {
    fn covers(&self, record: &FlowLogRecord, topology: &Topology) -> bool {
        let is_of_resource = match &self.resource[..] {
            resource if resource.starts_with("eni-") => *resource == *record.eni,
            resource if resource.starts_with("subnet-") => {
                topology.enis().any(|(_, eni)| *eni.id == *record.eni && topology.subnets[eni.subnet].id == *resource)
            }
            resource => *resource == *topology.vpc.id,
        };
        let is_of_traffic = match (self.traffic, &record.flow) {
            (TrafficType::All, _) => true,
            (TrafficType::Accept, Some(flow)) => flow.action == Action::Accept,
            (TrafficType::Reject, Some(flow)) => flow.action == Action::Reject,
            (_, None) => record.status != LogStatus::Ok,
        };
        is_of_resource && is_of_traffic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::builtin;
    use crate::eni::LoggedFlow;
    use crate::observe::flow_log::format::DEFAULT_FORMAT;
    use crate::packet::{FiveTuple, Protocol};

    fn record(minute: u64, port: u16, action: Action) -> FlowLogRecord {
        let tuple = FiveTuple::v4(([10, 0, 1, 10].into(), port), ([10, 0, 1, 100].into(), 443), Protocol::TCP);
        let flow = Some(LoggedFlow { tuple, packets: 1, bytes: 40, action, tcp_flags: 2 });
        let eni = "eni-0a1b2c3d4e5f60718".into();
        let (start, end) = (minute * 60, minute * 60 + 59);
        FlowLogRecord { account: "123456789012".into(), eni, flow, start, end, status: LogStatus::Ok }
    }

    fn spec(id: &str, resource: &str, traffic: TrafficType, window: u64) -> FlowLogSpec {
        let format = Format::parse(DEFAULT_FORMAT).expect("a format");
        FlowLogSpec { id: id.to_owned(), resource: resource.to_owned(), traffic, format, window }
    }

    #[test]
    fn each_log_has_its_interfaces_and_its_traffic() {
        let topology = builtin("quickstart").expect("built in").check().expect("sound");
        let folder = tempfile::tempdir().expect("folder");
        let mut logs = CreatedLogs::new(folder.path());
        let specs = [
            spec("fl-all", "vpc-ec43eb89", TrafficType::All, 60),
            spec("fl-rejected", "subnet-abababab", TrafficType::Reject, 60),
            spec("fl-accepted", "eni-0a1b2c3d4e5f60718", TrafficType::Accept, 60),
            spec("fl-elsewhere", "subnet-cdcdcdcd", TrafficType::All, 60),
        ];
        logs.set(&specs);
        logs.write(&[record(1, 1000, Action::Accept), record(1, 1001, Action::Reject)], &topology);
        logs.set(&specs[..1]);
        logs.write(&[record(2, 1002, Action::Reject)], &topology);
        let ports = |id: &str| -> Vec<String> {
            let text = std::fs::read_to_string(folder.path().join(id).with_extension("log")).expect("a file");
            text.lines().map(|line| line.split(' ').nth(5).expect("a port").to_owned()).collect()
        };
        assert_eq!(ports("fl-all"), ["1000", "1001", "1002"]);
        assert_eq!((ports("fl-rejected"), ports("fl-accepted")), (vec!["1001".to_owned()], vec!["1000".to_owned()]));
        assert!(ports("fl-elsewhere").is_empty());
    }

    #[test]
    fn ten_minutes_are_added_up_and_told_when_they_are_over() {
        let topology = builtin("quickstart").expect("built in").check().expect("sound");
        let folder = tempfile::tempdir().expect("folder");
        let mut logs = CreatedLogs::new(folder.path());
        logs.set(&[spec("fl-1", "vpc-ec43eb89", TrafficType::All, 600)]);
        let read = || std::fs::read_to_string(folder.path().join("fl-1.log")).expect("a file");
        for minute in 10..20 {
            logs.write(&[record(minute, 1000, Action::Accept)], &topology);
            assert_eq!(read(), "");
        }
        logs.write(&[record(20, 1000, Action::Accept)], &topology);
        assert_eq!(
            read(),
            "2 123456789012 eni-0a1b2c3d4e5f60718 10.0.1.10 10.0.1.100 1000 443 6 10 400 600 1199 ACCEPT OK\n"
        );
    }

    #[test]
    fn a_minute_without_data_is_told_of_ten_minutes_only_if_there_was_none_in_any() {
        let topology = builtin("quickstart").expect("built in").check().expect("sound");
        let folder = tempfile::tempdir().expect("folder");
        let mut logs = CreatedLogs::new(folder.path());
        logs.set(&[spec("fl-1", "vpc-ec43eb89", TrafficType::All, 600)]);
        let nothing =
            |minute| FlowLogRecord { flow: None, status: LogStatus::NoData, ..record(minute, 1, Action::Accept) };
        logs.write(&[nothing(10), record(11, 1000, Action::Accept), nothing(20), nothing(21), nothing(30)], &topology);
        let text = std::fs::read_to_string(folder.path().join("fl-1.log")).expect("a file");
        let ends: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().expect("a status")).collect();
        assert_eq!(ends, ["OK", "NODATA"], "{text}");
        assert!(text.ends_with(" 1200 1319 - NODATA\n"), "{text}");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_told_and_no_matter_of_the_others() {
        let topology = builtin("quickstart").expect("built in").check().expect("sound");
        let folder = tempfile::tempdir().expect("folder");
        // A folder in the place of a file: not even root can write that.
        std::fs::create_dir(folder.path().join("fl-1.log")).expect("a folder");
        let mut logs = CreatedLogs::new(folder.path());
        logs.set(&["fl-1", "fl-2"].map(|id| spec(id, "vpc-ec43eb89", TrafficType::All, 60)));
        logs.write(&[record(1, 1000, Action::Accept)], &topology);
        assert_eq!(logs.failed().into_iter().collect::<Vec<_>>(), ["fl-1"]);
        assert!(!std::fs::read_to_string(folder.path().join("fl-2.log")).expect("a file").is_empty());
        std::fs::remove_dir(folder.path().join("fl-1.log")).expect("removed");
        logs.write(&[record(2, 1000, Action::Accept)], &topology);
        assert!(logs.failed().is_empty());
    }
}
