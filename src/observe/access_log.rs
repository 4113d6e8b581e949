//! Access lines: one JSON object per API request and per try of a queued Event invocation.
//!
//! Keys are fixed; what is not known is `null`. Durations are in microseconds, bytes are of bodies.
//!
//! A worker writes its lines into a buffer of its own; a thread collects all of them every [`EVERY`]. Handing each record to that
//! thread would wake it for each, which costs a worker more than writing the line does.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::http::put_decimal;
use crate::lambda::{AccessLog, AccessRecord};

/// How often lines are collected: the log is never further behind.
const EVERY: Duration = Duration::from_millis(50);
/// Bytes of lines that one worker may have waiting.
const WAITING_MAX: usize = 8 << 20;
/// A buffer that grew over this is given back.
const KEPT_MAX: usize = 4 << 20;

/// The log of an endpoint: a file, and the workers' lines on their way to it.
#[derive(Clone, Debug)]
pub struct AccessLogFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// And a buffer that changes places with a worker's.
    file: Mutex<(File, Vec<u8>)>,
    workers: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    lost: AtomicU64,
}

impl AccessLogFile {
    /// Opens the file of `path`, to be continued, and starts the thread that writes it. It ends with the last of the log.
    ///
    /// # Errors
    /// When the file or the thread cannot be made.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own, which has nothing to do in between")]
    pub fn start(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let log = Self(Arc::new(Shared {
            file: Mutex::new((file, Vec::new())),
            workers: Mutex::default(),
            lost: AtomicU64::new(0),
        }));
        let shared = Arc::downgrade(&log.0);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(EVERY);
                let Some(shared) = shared.upgrade() else { return };
                if let Err(error) = shared.collect() {
                    tracing::error!(%error, "the access log cannot be written");
                    return;
                }
            }
        })?;
        Ok(log)
    }

    /// One worker's end of it.
    pub fn worker(&self) -> AccessLines {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        lock(&self.0.workers).push(Arc::clone(&lines));
        AccessLines { lines, log: self.clone(), date: RefCell::default() }
    }

    /// Writes what the workers have.
    ///
    /// # Errors
    /// The file's.
    pub fn flush(&self) -> io::Result<()> {
        self.0.collect()
    }

    /// Records left out because the file could not keep up.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn collect(&self) -> io::Result<()> {
        let (file, taken) = &mut *lock(&self.file);
        for lines in &*lock(&self.workers) {
            // A worker goes on while its lines are written.
            std::mem::swap(taken, &mut *lock(lines));
            let written = if taken.is_empty() { Ok(()) } else { file.write_all(taken) };
            taken.clear();
            taken.shrink_to(KEPT_MAX);
            written?;
        }
        Ok(())
    }
}

/// A thread that panicked leaves whole lines behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker's end: never waits for the file, counts what it had to leave out.
#[derive(Debug)]
pub struct AccessLines {
    lines: Arc<Mutex<Vec<u8>>>,
    log: AccessLogFile,
    /// A second and how it is written: most lines share it with the one before.
    date: RefCell<(u64, String)>,
}

impl AccessLog for AccessLines {
    fn record(&self, record: &AccessRecord) {
        let mut date = self.date.borrow_mut();
        if date.0 != record.at.secs() || date.1.is_empty() {
            *date = (record.at.secs(), record.at.to_iso8601());
        }
        let mut lines = lock(&self.lines);
        if lines.len() >= WAITING_MAX {
            self.log.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        write_line(&mut lines, record, &date.1);
    }
}

/// A key that is not the first, with what stands around it.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// Appends the line of a record, by hand: this is written once per invocation.
fn write_line(lines: &mut Vec<u8>, record: &AccessRecord, date: &str) {
    lines.reserve(LINE_USUAL);
    let mut line = Line { out: lines };
    line.text("{\"time\":", Some(date));
    line.text(key!("request_id"), Some(record.request_id.hyphenated().encode_lower(&mut Uuid::encode_buffer())));
    line.address(key!("client"), record.client);
    line.text(key!("principal"), record.principal.as_ref().map(|principal| &*principal.arn));
    line.text(key!("operation"), record.operation);
    line.text(key!("function"), record.function_arn.as_deref());
    line.text(key!("version"), record.version.as_deref());
    line.text(key!("invocation_type"), record.invocation_type.map(|kind| kind.name()));
    line.text(key!("verdict"), Some(if record.reason.is_none() { "allow" } else { "deny" }));
    line.text(key!("reason"), record.reason.map(|reason| reason.code()));
    line.number(key!("status"), record.status.into());
    line.text(key!("error"), record.error_code);
    line.truth(key!("function_error"), record.is_function_error);
    line.text(key!("event_outcome"), record.event_outcome.map(|outcome| outcome.name()));
    line.number(key!("bytes_rx"), record.bytes_rx);
    line.number(key!("bytes_tx"), record.bytes_tx);
    line.micros(key!("duration_us"), record.duration);
    line.micros(concat!(key!("stage_us"), "{\"body\":"), record.stages.body);
    line.micros(key!("authorize"), record.stages.authorize);
    line.micros(key!("host"), record.stages.host);
    lines.extend_from_slice(b"}}\n");
}

/// Bytes of a usual line.
const LINE_USUAL: usize = 1024;

/// A line that is being written: a key and its value after another. A key comes with all that stands around it, so that it is
/// copied once.
struct Line<'l> {
    out: &'l mut Vec<u8>,
}

impl Line<'_> {
    fn key(&mut self, key: &'static str) {
        self.out.extend_from_slice(key.as_bytes());
    }

    fn text(&mut self, key: &'static str, value: Option<&str>) {
        self.key(key);
        let Some(value) = value else { return self.out.extend_from_slice(b"null") };
        // Nearly nothing has to be escaped: quotes, backslashes and control characters (RFC 8259 §7). No early exit, so that
        // it is one look over vectors.
        let is_plain = value.bytes().fold(true, |plain, c| plain & (c >= b' ') & (c != b'"') & (c != b'\\'));
        if is_plain {
            self.out.push(b'"');
            self.out.extend_from_slice(value.as_bytes());
            self.out.push(b'"');
        } else {
            self.out.extend_from_slice(serde_json::Value::from(value).to_string().as_bytes());
        }
    }

    fn address(&mut self, key: &'static str, value: Option<SocketAddr>) {
        self.key(key);
        match value {
            Some(SocketAddr::V4(address)) => {
                let [a, b, c, d] = address.ip().octets();
                for (before, number) in [(b'"', a.into()), (b'.', b.into()), (b'.', c.into()), (b'.', d.into())] {
                    self.out.push(before);
                    put_decimal(self.out, number);
                }
                self.out.push(b':');
                put_decimal(self.out, address.port().into());
                self.out.push(b'"');
            }
            // Writing to a Vec cannot fail.
            Some(address) => write!(self.out, "\"{address}\"").unwrap_or_default(),
            None => self.out.extend_from_slice(b"null"),
        }
    }

    fn truth(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        put_decimal(self.out, value);
    }

    fn micros(&mut self, key: &'static str, value: Duration) {
        self.number(key, u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use serde_json::{Value, json};

    use super::*;
    use crate::lambda::InvocationType;
    use crate::sigv4::Principal;
    use crate::time::UnixTime;
    use crate::verdict::Reason;

    fn line(record: &AccessRecord) -> String {
        let mut lines = Vec::new();
        write_line(&mut lines, record, &record.at.to_iso8601());
        String::from_utf8(lines).unwrap()
    }

    fn record() -> AccessRecord {
        let at = UnixTime::from_secs(1_795_435_200);
        let mut record = AccessRecord::new(at, Uuid::from_u128(7), Some("10.0.1.10:40000".parse().unwrap()));
        let principal = Principal::from_arn("arn:aws:iam::123456789012:user/\"quoted\"").unwrap();
        record.principal = Some(Rc::new(principal));
        record.operation = Some("Invoke");
        record.invocation_type = Some(InvocationType::DryRun);
        record.reason = Some(Reason::SignatureMismatch);
        record.duration = Duration::from_micros(1_500);
        record
    }

    #[test]
    fn a_line_has_every_key_and_null_for_what_is_not_known() {
        let found: Value = serde_json::from_str(&line(&record())).unwrap();
        let expected = json!({
            "time": "2026-11-23T12:00:00Z", "request_id": "00000000-0000-0000-0000-000000000007",
            "client": "10.0.1.10:40000", "principal": "arn:aws:iam::123456789012:user/\"quoted\"",
            "operation": "Invoke", "function": null, "version": null, "invocation_type": "DryRun", "verdict": "deny",
            "reason": Reason::SignatureMismatch.code(), "status": 0, "error": null, "function_error": false,
            "event_outcome": null, "bytes_rx": 0, "bytes_tx": 0, "duration_us": 1500,
            "stage_us": { "body": 0, "authorize": 0, "host": 0 },
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_keys_stand_in_the_same_order_in_every_line() {
        let without = AccessRecord::new(UnixTime::default(), Uuid::nil(), None);
        let keys = |record: &AccessRecord| {
            let found: Value = serde_json::from_str(&line(record)).unwrap();
            found.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&record()), keys(&without));
        assert_eq!(keys(&record())[..2], ["time", "request_id"]);
    }

    #[test]
    fn clients_of_either_family_are_shown_with_their_port() {
        for client in ["10.0.1.255:40000", "0.0.0.0:0", "[2001:db8::1]:443"] {
            let record = AccessRecord { client: Some(client.parse().unwrap()), ..record() };
            let found: Value = serde_json::from_str(&line(&record)).unwrap();
            assert_eq!(found["client"], client);
        }
    }

    #[test]
    fn whatever_a_text_holds_the_line_is_json() {
        for odd in ["\"", "\\", "a\nb", "\u{1}", "\u{7f}", "\u{e9}\u{2028}", ""] {
            let record = AccessRecord { function_arn: Some(odd.into()), ..record() };
            let found: Value = serde_json::from_str(&line(&record)).unwrap();
            assert_eq!(found["function"], odd);
            assert_eq!(line(&record).matches('\n').count(), 1);
        }
    }

    #[test]
    fn the_lines_of_all_workers_come_to_the_file_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        let log = AccessLogFile::start(&path).unwrap();
        let workers = [log.worker(), log.worker()];
        for n in 0..100_u16 {
            for worker in &workers {
                worker.record(&AccessRecord { status: n, ..record() });
            }
        }
        log.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let statuses: Vec<_> =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].as_u64().unwrap()).collect();
        assert_eq!((statuses.len(), log.lost()), (200, 0));
        for n in 0..100 {
            assert_eq!(statuses.iter().filter(|status| **status == n).count(), 2, "{n}");
        }
    }

    #[test]
    fn a_worker_that_is_too_fast_for_the_file_counts_what_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let log = AccessLogFile::start(&folder.path().join("access.jsonl")).unwrap();
        let worker = log.worker();
        // Nobody collects while the file is held.
        let held = lock(&log.0.file);
        let len = line(&record()).len();
        let fit = WAITING_MAX.div_ceil(len);
        (0..fit + 3).for_each(|_| worker.record(&record()));
        drop(held);
        assert_eq!(log.lost(), 3);
    }
}
