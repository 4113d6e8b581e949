//! What one execution environment logged: the last 4 KB of it are `X-Amz-Log-Result` (Invoke, `LogType: Tail`).
//!
//! The lines the platform adds are written as real Lambda writes them (`docs/fidelity.md`): fields end in tabs, and a
//! status follows only when the invocation failed.

use std::time::Duration;

/// Bytes of log that an invocation may ask for. AWS: "the last 4 KB of the execution log".
pub(super) const TAIL_LIMIT: usize = 4096;

/// The end of an execution environment's log.
#[derive(Debug, Default)]
pub(super) struct LogTail {
    /// At most twice [`TAIL_LIMIT`], so that the front is cut off rarely.
    bytes: Vec<u8>,
}

/// What a REPORT line tells.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) request_id: &'a str,
    /// From handing the event over to the answer.
    pub(super) duration: Duration,
    /// Configured, MB.
    pub(super) memory_mb: u32,
    /// Peak of the environment so far, MB.
    pub(super) max_memory_mb: u64,
    /// Of a cold start.
    pub(super) init: Option<Duration>,
    /// `timeout`, or `error` with its type.
    pub(super) status: Option<(&'static str, Option<&'a str>)>,
}

impl LogTail {
    /// Forgets what came before and opens an invocation.
    pub(super) fn start(&mut self, request_id: &str, version: &str) {
        self.bytes.clear();
        self.platform(format_args!("START RequestId: {request_id} Version: {version}"));
    }

    /// What the function wrote.
    pub(super) fn write(&mut self, output: &[u8]) {
        let output = &output[output.len().saturating_sub(TAIL_LIMIT)..];
        self.bytes.extend_from_slice(output);
        if self.bytes.len() > 2 * TAIL_LIMIT {
            let surplus = self.bytes.len() - TAIL_LIMIT;
            self.bytes.drain(..surplus);
        }
    }

    /// A line of the platform's, on a line of its own.
    pub(super) fn platform(&mut self, line: std::fmt::Arguments<'_>) {
        if self.bytes.last().is_some_and(|&last| last != b'\n') {
            self.bytes.push(b'\n');
        }
        self.write(format!("{line}\n").as_bytes());
    }

    /// Closes an invocation.
    pub(super) fn end(&mut self, report: &Report<'_>) {
        self.platform(format_args!("END RequestId: {}", report.request_id));
        self.platform(format_args!("{report}"));
    }

    /// The last [`TAIL_LIMIT`] bytes.
    pub(super) fn tail(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(TAIL_LIMIT)..]
    }
}

impl std::fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whole milliseconds are billed, begun ones as full.
        let billed_ms = self.duration.as_nanos().div_ceil(1_000_000);
        write!(f, "REPORT RequestId: {}\t", self.request_id)?;
        write!(f, "Duration: {:.2} ms\tBilled Duration: {billed_ms} ms\t", millis(self.duration))?;
        write!(f, "Memory Size: {} MB\tMax Memory Used: {} MB\t", self.memory_mb, self.max_memory_mb)?;
        if let Some(init) = self.init {
            write!(f, "Init Duration: {:.2} ms\t", millis(init))?;
        }
        match self.status {
            None => Ok(()),
            Some((status, None)) => write!(f, "Status: {status}"),
            Some((status, Some(error_type))) => write!(f, "Status: {status}\tError Type: {error_type}"),
        }
    }
}

/// As Lambda writes durations.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The name of a new log stream: `2026/11/23/[$LATEST]` and 32 hexadecimal digits.
pub(super) fn stream_name(now: crate::time::UnixTime, version: &str) -> String {
    let mut name = now.to_utc().strftime("%Y/%m/%d/").to_string();
    name.push_str(&format!("[{version}]{}", uuid::Uuid::new_v4().simple()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report<'static> {
        Report {
            request_id: "8f3c",
            duration: Duration::from_micros(1_870),
            memory_mb: 128,
            max_memory_mb: 30,
            init: Some(Duration::from_micros(107_140)),
            status: None,
        }
    }

    // Recorded from real Lambda (`docs/fidelity.md#function-errors`).
    #[test]
    fn an_invocation_reads_as_lambda_writes_it() {
        let mut log = LogTail::default();
        log.write(b"of the invocation before\n");
        log.start("8f3c", "$LATEST");
        log.write(b"hello\nno newline at the end");
        log.end(&report());
        assert_eq!(
            String::from_utf8_lossy(log.tail()),
            "START RequestId: 8f3c Version: $LATEST\nhello\nno newline at the end\nEND RequestId: 8f3c\n\
             REPORT RequestId: 8f3c\tDuration: 1.87 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 30 MB\tInit Duration: 107.14 ms\t\n"
        );
    }

    #[test]
    fn a_failed_invocation_carries_its_status_and_a_warm_one_no_init_duration() {
        let warm = Report { init: None, ..report() };
        assert!(warm.to_string().ends_with("\tMax Memory Used: 30 MB\t"), "{warm}");
        let late = Report { init: None, status: Some(("timeout", None)), ..report() };
        assert!(late.to_string().ends_with("Max Memory Used: 30 MB\tStatus: timeout"), "{late}");
        let dead = Report { status: Some(("error", Some("Runtime.ExitError"))), ..report() };
        assert!(dead.to_string().ends_with("107.14 ms\tStatus: error\tError Type: Runtime.ExitError"), "{dead}");
    }

    #[test]
    fn whole_milliseconds_are_billed_as_they_are() {
        let exact = Report { duration: Duration::from_millis(3000), ..report() };
        assert!(exact.to_string().contains("Duration: 3000.00 ms\tBilled Duration: 3000 ms\t"), "{exact}");
    }

    #[test]
    fn only_the_last_four_kilobytes_are_kept_however_much_is_written() {
        let mut log = LogTail::default();
        log.start("8f3c", "1");
        for chunk in 0..1000_u32 {
            log.write(format!("{chunk:>99}\n").as_bytes());
            assert!(log.bytes.len() <= 2 * TAIL_LIMIT + 100);
        }
        log.write(&[b'x'; 10 * TAIL_LIMIT]);
        log.write(b"last");
        assert_eq!(log.tail().len(), TAIL_LIMIT);
        assert!(log.tail().ends_with(b"xxlast"));
    }

    #[test]
    fn a_log_stream_is_named_after_day_and_version() {
        let name = stream_name(crate::time::UnixTime::from_secs(1_440_938_160), "$LATEST");
        assert!(name.starts_with("2015/08/30/[$LATEST]"), "{name}");
        assert_eq!(name.len(), "2015/08/30/[$LATEST]".len() + 32);
    }
}
