//! The flow log's file: what several workers saw of the same enis, as one log.
//!
//! Every worker logs its own flows, and says NODATA of an eni at which it saw nothing. The log says it only of one at which
//! no worker saw anything, and SKIPDATA once, however many workers had to leave records out.

pub mod created;
pub mod format;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::eni::{FlowLogRecord, LogStatus};

/// Windows that are remembered: a worker that is later than this says nothing new.
const WINDOWS: u64 = 4;

/// Writes the records of all workers.
#[derive(Debug)]
pub struct FlowLogWriter<W> {
    out: W,
    workers: usize,
    /// Seconds.
    window: u64,
    /// What was said of windows that not all workers have spoken of, by window and eni.
    said: BTreeMap<(u64, Arc<str>), Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// Workers that saw nothing.
    no_data: usize,
    skipped: bool,
}

impl<W: Write> FlowLogWriter<W> {
    /// A log of as many workers, whose windows have this length.
    pub fn new(out: W, workers: usize, window: Duration) -> Self {
        Self { out, workers, window: window.as_secs().max(1), said: BTreeMap::new() }
    }

    /// Keeps of what one worker has to say what nobody has said.
    pub fn retain_news(&mut self, records: &mut Vec<FlowLogRecord>) {
        records.retain(|record| self.is_news(record));
    }

    /// Writes records.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&mut self, records: &[FlowLogRecord]) -> io::Result<()> {
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        self.out.write_all(lines.as_bytes())
    }

    fn is_news(&mut self, record: &FlowLogRecord) -> bool {
        if record.status == LogStatus::Ok {
            return true;
        }
        let window = record.end / self.window;
        let said = self.said.entry((window, Arc::clone(&record.eni))).or_default();
        let is_news = match record.status {
            LogStatus::SkipData => !std::mem::replace(&mut said.skipped, true),
            LogStatus::NoData | LogStatus::Ok => {
                said.no_data += 1;
                said.no_data == self.workers
            }
        };
        let oldest = window.saturating_sub(WINDOWS);
        self.said.retain(|(window, _), _| *window >= oldest);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eni::{Action, LoggedFlow};
    use crate::packet::{FiveTuple, Protocol};

    fn write(log: &mut FlowLogWriter<Vec<u8>>, records: &[FlowLogRecord]) {
        let mut records = records.to_vec();
        log.retain_news(&mut records);
        log.write(&records).unwrap();
    }

    fn record(eni: &str, status: LogStatus, minute: u64) -> FlowLogRecord {
        let tuple = FiveTuple::v4(([10, 0, 1, 10].into(), 50_000), ([10, 0, 1, 100].into(), 443), Protocol::TCP);
        let flow = LoggedFlow { tuple, packets: 1, bytes: 40, action: Action::Accept, tcp_flags: 0 };
        let flow = (status == LogStatus::Ok).then_some(flow);
        FlowLogRecord {
            account: "123456789012".into(),
            eni: eni.into(),
            flow,
            start: minute * 60,
            end: minute * 60 + 59,
            status,
        }
    }

    fn statuses(log: &FlowLogWriter<Vec<u8>>) -> Vec<String> {
        let text = String::from_utf8_lossy(&log.out);
        let fields = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        fields.map(|fields| format!("{} {} {}", fields[2], fields[10], fields[13])).collect()
    }

    #[test]
    fn nodata_is_said_only_where_no_worker_saw_anything_however_late_they_speak() {
        use LogStatus::{NoData, Ok};
        let mut log = FlowLogWriter::new(Vec::new(), 2, Duration::from_secs(60));
        write(&mut log, &[record("eni-a", NoData, 1), record("eni-b", NoData, 1)]);
        write(&mut log, &[record("eni-a", NoData, 2)]);
        write(&mut log, &[record("eni-a", Ok, 1), record("eni-b", NoData, 1), record("eni-a", NoData, 2)]);
        assert_eq!(statuses(&log), ["eni-a 60 OK", "eni-b 60 NODATA", "eni-a 120 NODATA"]);
    }

    #[test]
    fn skipdata_is_said_once_per_window_and_what_is_remembered_is_bounded() {
        use LogStatus::SkipData;
        let mut log = FlowLogWriter::new(Vec::new(), 2, Duration::from_secs(60));
        for minute in 1..100 {
            for _worker in 0..2 {
                write(&mut log, &[record("eni-a", SkipData, minute)]);
            }
        }
        assert_eq!(statuses(&log).len(), 99);
        assert!(log.said.len() <= usize::try_from(WINDOWS).unwrap() + 1);
    }
}
