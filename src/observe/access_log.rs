//! Access lines: one JSON object per API request and per try of a queued Event invocation.
//!
//! Keys are fixed; what is not known is `null`. Durations are in microseconds, bytes are of bodies.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};

use crate::lambda::{AccessLog, AccessRecord};

/// Records that may wait for the writer.
const QUEUE: usize = 16_384;

/// A worker's end: never waits, counts what it had to leave out.
#[derive(Clone, Debug)]
pub struct AccessSender {
    records: Sender<AccessRecord>,
    lost: Arc<AtomicU64>,
}

impl AccessLog for AccessSender {
    fn record(&self, record: AccessRecord) {
        if self.records.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AccessSender {
    /// Records left out because the writer was behind.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Starts the writer of `path` on a thread of its own; it ends with the last sender.
///
/// # Errors
/// When the file or the thread cannot be made.
pub fn start(path: &Path) -> io::Result<AccessSender> {
    let file = File::options().create(true).append(true).open(path)?;
    let (tx, rx) = bounded(QUEUE);
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_all(file, &rx))?;
    Ok(AccessSender { records: tx, lost: Arc::default() })
}

fn write_all(file: File, records: &Receiver<AccessRecord>) {
    let mut out = BufWriter::new(file);
    while let Ok(record) = records.recv() {
        let mut next = Some(record);
        while let Some(record) = next {
            if let Err(error) = writeln!(out, "{}", line(&record)) {
                tracing::error!(%error, "the access log cannot be written");
                return;
            }
            next = records.try_recv().ok();
        }
        // A pause: what was written may be read.
        if let Err(error) = out.flush() {
            tracing::error!(%error, "the access log cannot be written");
            return;
        }
    }
}

/// The line of one record.
pub fn line(record: &AccessRecord) -> Value {
    let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    json!({
        "time": record.at.to_iso8601(),
        "request_id": record.request_id.to_string(),
        "client": record.client.map(|client| client.to_string()),
        "principal": record.principal,
        "operation": record.operation,
        "function": record.function_arn,
        "version": record.version,
        "invocation_type": record.invocation_type.map(|kind| kind.name()),
        "verdict": if record.reason.is_none() { "allow" } else { "deny" },
        "reason": record.reason.map(|reason| reason.code()),
        "status": record.status,
        "error": record.error_code,
        "function_error": record.is_function_error,
        "event_outcome": record.event_outcome.map(|outcome| format!("{outcome:?}")),
        "bytes_rx": record.bytes_rx,
        "bytes_tx": record.bytes_tx,
        "duration_us": micros(record.duration),
        "stage_us": {
            "body": micros(record.stages.body),
            "authorize": micros(record.stages.authorize),
            "host": micros(record.stages.host),
        },
    })
}
