//! Flow-log records in AWS's default format, version 2.
//!
//! One record per eni, direction of a five-tuple and action in each window (AWS: "aggregation interval"). Windows begin at
//! multiples of their length, so that all workers agree on them. Bytes are those of IP packets; a super-segment counts as the
//! packets it stands for. ACCEPT is what security groups and network ACLs allow, whether the endpoint answers it or not; REJECT
//! is what they do not allow, and what comes after a connection's end.
//!
//! Not logged, as on AWS: traffic with the resolver (it does not come by here). Limit: records per window; beyond it the
//! window of that eni is marked SKIPDATA.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;

use super::snapshot::EniSnapshot;
use crate::flow::{FlowHasher, FlowSeed};
use crate::packet::{FiveTuple, TcpFlags};
use crate::time::UnixTime;

/// Whether and how flows are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowLogSettings {
    /// The length of a window. AWS: 60 s or 600 s. Zero: nothing is logged.
    pub window: Duration,
    /// Records per window and worker.
    pub record_limit: usize,
}

impl FlowLogSettings {
    /// Nothing is logged.
    pub const OFF: Self = Self { window: Duration::ZERO, record_limit: 0 };
}

impl Default for FlowLogSettings {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), record_limit: 131_072 }
    }
}

/// What security groups and network ACLs said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Allowed.
    Accept,
    /// Not allowed, or after the connection's end.
    Reject,
}

/// Whether the record is about data.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LogStatus {
    /// It is.
    Ok,
    /// This worker saw nothing at the eni in the window. Where several workers log, all must say so.
    NoData,
    /// Records were left out: their limit was hit.
    SkipData,
}

/// One direction of a flow in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoggedFlow {
    /// Source and destination as in the packets.
    pub tuple: FiveTuple,
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
    /// What was decided.
    pub action: Action,
    /// TCP flags of all its packets together, as flow logs count them ([`logged_flags`]).
    pub tcp_flags: u8,
}

/// The flags of a TCP packet as flow logs count them: FIN 1, SYN 2, RST 4, SYN-ACK 18. An acknowledgement or data are nothing.
pub(super) const fn logged_flags(flags: TcpFlags) -> u8 {
    let mut logged = 0;
    if flags.contains(TcpFlags::FIN) {
        logged |= 1;
    }
    if flags.contains(TcpFlags::SYN) {
        logged |= if flags.contains(TcpFlags::ACK) { 18 } else { 2 };
    }
    if flags.contains(TcpFlags::RST) {
        logged |= 4;
    }
    logged
}

/// One line of a flow log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowLogRecord {
    /// The owner of the eni.
    pub account: Arc<str>,
    /// `eni-…`.
    pub eni: Arc<str>,
    /// The flow; `None` unless the status is [`LogStatus::Ok`].
    pub flow: Option<LoggedFlow>,
    /// The second of the first packet, or of the window's begin.
    pub start: u64,
    /// The second of the last packet, or of the window's end.
    pub end: u64,
    /// Whether it is about data.
    pub status: LogStatus,
}

/// The default format: `version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action
/// log-status`.
impl fmt::Display for FlowLogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, eni, flow, start, end, status } = self;
        let status = match status {
            LogStatus::Ok => "OK",
            LogStatus::NoData => "NODATA",
            LogStatus::SkipData => "SKIPDATA",
        };
        let Some(LoggedFlow { tuple, packets, bytes, action, .. }) = flow else {
            return write!(f, "2 {account} {eni} - - - - - - - {start} {end} - {status}");
        };
        let (src, dst, protocol) = (tuple.src(), tuple.dst(), tuple.protocol.0);
        let (src_port, dst_port) = (tuple.src_port, tuple.dst_port);
        let action = match action {
            Action::Accept => "ACCEPT",
            Action::Reject => "REJECT",
        };
        write!(
            f,
            "2 {account} {eni} {src} {dst} {src_port} {dst_port} {protocol} {packets} {bytes} {start} {end} {action} {status}"
        )
    }
}

/// Where the record of a flow's direction stands, so that it is not looked up for each packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LogHandle {
    /// The low half of the window's number: 8,000 years of minutes.
    window: u32,
    record: u32,
}

impl LogHandle {
    pub(super) const NONE: Self = Self { window: u32::MAX, record: u32::MAX };
}

/// What is logged: packets and bytes of one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    pub(super) eni: u16,
    pub(super) tuple: FiveTuple,
    pub(super) action: Action,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) tcp_flags: u8,
}

#[derive(Clone, Copy, Debug)]
struct Aggregate {
    logged: Logged,
    start: UnixTime,
    end: UnixTime,
}

/// What happened at one eni in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Seen {
    anything: bool,
    skipped: bool,
}

#[derive(Debug, Default)]
struct Window {
    /// First and last second.
    start: u64,
    end: u64,
    records: Vec<Aggregate>,
    seen: Vec<Seen>,
}

impl Window {
    fn with_capacity(records: usize) -> Self {
        Self { records: Vec::with_capacity(records), ..Self::default() }
    }
}

#[derive(Clone, Debug)]
struct LoggedEni {
    id: Arc<str>,
    is_present: bool,
}

#[derive(Debug)]
pub(super) struct FlowLog {
    settings: FlowLogSettings,
    account: Arc<str>,
    /// By slot.
    enis: Vec<Option<LoggedEni>>,
    /// Number of the open window, counted from 1970.
    number: u64,
    ends_at: UnixTime,
    open: Window,
    index: HashTable<u32>,
    hasher: FlowHasher,
    /// The last window that is over, and how much of it was polled: records, then enis.
    over: Window,
    polled: usize,
}

impl FlowLog {
    pub(super) fn new(settings: FlowLogSettings, snapshot: &EniSnapshot, seed: FlowSeed, now: UnixTime) -> Self {
        let mut log = Self {
            settings,
            account: Arc::clone(&snapshot.account),
            enis: Vec::new(),
            number: 0,
            ends_at: UnixTime::from_nanos(u64::MAX),
            open: Window::with_capacity(settings.record_limit),
            index: HashTable::with_capacity(settings.record_limit),
            hasher: FlowHasher::new(seed),
            over: Window::with_capacity(settings.record_limit),
            polled: 0,
        };
        log.update(snapshot);
        if log.is_on() {
            log.begin_window(now);
        }
        log
    }

    pub(super) fn update(&mut self, snapshot: &EniSnapshot) {
        self.account = Arc::clone(&snapshot.account);
        // Slots are not given twice: what went away keeps its name for the records that wait.
        self.enis.resize(self.enis.len().max(snapshot.slots()), None);
        for slot in 0..self.enis.len() {
            let present = snapshot.eni(slot).map(|eni| Arc::clone(&eni.id));
            match (&mut self.enis[slot], present) {
                (known, Some(id)) => *known = Some(LoggedEni { id, is_present: true }),
                (Some(known), None) => known.is_present = false,
                (None, None) => {}
            }
        }
        self.open.seen.resize(self.enis.len(), Seen::default());
    }

    /// Adds a packet without flags that count to the record that `handle` knows; `false` if it knows none in the window that is open at `now`.
    #[inline]
    pub(super) fn add(&mut self, handle: LogHandle, packets: u64, bytes: u64, now: UnixTime) -> bool {
        if now >= self.ends_at || handle.window != self.number as u32 {
            return false;
        }
        if let Some(aggregate) = self.open.records.get_mut(handle.record as usize) {
            aggregate.logged.packets += packets;
            aggregate.logged.bytes += bytes;
            aggregate.end = now;
        }
        true
    }

    /// Adds to the record of this eni, tuple and action in the open window, and lets `handle` know it.
    pub(super) fn record(&mut self, handle: &mut LogHandle, logged: Logged, now: UnixTime) {
        if !self.is_on() {
            return;
        }
        if now >= self.ends_at {
            self.end_window(now);
        }
        *handle = LogHandle { window: self.number as u32, record: self.find_or_make(&logged, now) };
        self.add(*handle, logged.packets, logged.bytes, now);
        if let Some(aggregate) = self.open.records.get_mut(handle.record as usize) {
            aggregate.logged.tcp_flags |= logged.tcp_flags;
        }
    }

    /// The next record of a window that is over: its flows, then one for each eni with nothing or not everything in it.
    pub(super) fn poll_record(&mut self, now: UnixTime) -> Option<FlowLogRecord> {
        if now >= self.ends_at {
            self.end_window(now);
        }
        loop {
            let at = self.polled;
            let eni_at = at.checked_sub(self.over.records.len());
            if eni_at.is_some_and(|eni| eni >= self.over.seen.len()) {
                return None;
            }
            self.polled += 1;
            let (eni, flow, start, end, status) = match eni_at {
                None => {
                    let Aggregate { logged, start, end } = self.over.records[at];
                    let Logged { eni, tuple, action, packets, bytes, tcp_flags } = logged;
                    let flow = LoggedFlow { tuple, packets, bytes, action, tcp_flags };
                    (usize::from(eni), Some(flow), start.secs(), end.secs(), LogStatus::Ok)
                }
                Some(eni) => match self.over.seen[eni] {
                    Seen { skipped: true, .. } => (eni, None, self.over.start, self.over.end, LogStatus::SkipData),
                    Seen { anything: false, .. } => (eni, None, self.over.start, self.over.end, LogStatus::NoData),
                    Seen { .. } => continue,
                },
            };
            let Some(Some(known)) = self.enis.get(eni) else { continue };
            // Of an eni that went away only what it did is told.
            if status == LogStatus::NoData && !known.is_present {
                continue;
            }
            let eni = Arc::clone(&known.id);
            return Some(FlowLogRecord { account: Arc::clone(&self.account), eni, flow, start, end, status });
        }
    }

    /// Whether [`FlowLog::poll_record`] has not told everything of the window that is over.
    pub(super) fn has_records(&self) -> bool {
        self.polled < self.over.records.len() + self.over.seen.len()
    }

    /// When the open window ends; `None` if nothing is logged.
    pub(super) fn window_end(&self) -> Option<UnixTime> {
        self.is_on().then_some(self.ends_at)
    }

    const fn is_on(&self) -> bool {
        !self.settings.window.is_zero()
    }

    fn begin_window(&mut self, now: UnixTime) {
        let len = self.settings.window.as_secs().max(1);
        self.number = now.secs() / len;
        self.ends_at = UnixTime::from_secs((self.number + 1) * len);
        self.open.start = now.secs().max(self.number * len);
        self.open.end = (self.number + 1) * len - 1;
    }

    /// Makes the open window the one that is polled. What was not polled of the one before is lost, and its enis are marked.
    fn end_window(&mut self, now: UnixTime) {
        let lost = self.polled < self.over.records.len();
        std::mem::swap(&mut self.open, &mut self.over);
        if lost {
            self.over.seen.iter_mut().for_each(|seen| seen.skipped = true);
        }
        self.polled = 0;
        self.open.records.clear();
        self.open.seen.clear();
        self.open.seen.resize(self.enis.len(), Seen::default());
        self.index.clear();
        self.begin_window(now);
        // Nothing is passed over in silence: windows in which nobody polled count to the next.
        self.open.start = self.over.end + 1;
    }

    fn find_or_make(&mut self, logged: &Logged, now: UnixTime) -> u32 {
        let records = &self.open.records;
        let is_same =
            |other: &Logged| (other.eni, other.action, other.tuple) == (logged.eni, logged.action, logged.tuple);
        let hash = hash_of(&self.hasher, logged);
        if let Some(found) = self.index.find(hash, |&record| is_same(&records[record as usize].logged)) {
            return *found;
        }
        let seen = self.open.seen.get_mut(usize::from(logged.eni));
        if self.open.records.len() >= self.settings.record_limit {
            if let Some(seen) = seen {
                seen.skipped = true;
            }
            return u32::MAX;
        }
        if let Some(seen) = seen {
            seen.anything = true;
        }
        let record = self.open.records.len() as u32;
        self.open.records.push(Aggregate { logged: Logged { packets: 0, bytes: 0, ..*logged }, start: now, end: now });
        let (records, hasher) = (&self.open.records, &self.hasher);
        self.index.insert_unique(hash, record, |&other| hash_of(hasher, &records[other as usize].logged));
        record
    }
}

fn hash_of(hasher: &FlowHasher, logged: &Logged) -> u64 {
    hasher.hash_direction(&logged.tuple, u32::from(logged.eni) << 1 | u32::from(logged.action == Action::Accept))
}

#[cfg(test)]
mod tests;
