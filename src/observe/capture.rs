//! Captures: what crosses the endpoint's interfaces, with the secrets of its TLS sessions, in one pcapng file.
//!
//! One thread reads the kernel's copies ([`PacketSocket`]) and writes them in the order of their times. Nobody waits for
//! it: a copy that finds its buffer full is lost, counted, and told in the file (interface statistics); a larger
//! `net.core.rmem_max` makes that rarer. Without a capture none of this exists; with one, workers only put a line per TLS
//! secret into a bounded queue.
//!
//! A secret stands in the file before the packets that need it. rustls reports it before the first record that it
//! protects leaves, with one exception: in TLS 1.2 the client is the first to use the keys. So packets are kept back for a
//! quarter of a second, and each is written behind all secrets known by then. That also brings the packets of several
//! interfaces into the order of their times.
//!
//! How to read such a file:
//!
//! - Directions are the endpoint's: what the kernel sends into a TUN device is *inbound*, for the endpoint is on its other
//!   side. On the tunnel's outside link the endpoint's own packets are *outbound*.
//! - A TUN device with offloads carries super-segments of up to 64 KB, larger than any MTU, in both directions.
//! - Their checksums are partial: the sum over the pseudo-header, which a real device would complete. Wireshark checks
//!   none unless it is told to.
//! - UDP super-segments, which carry the tunnel's frames on the outside link, are written as the datagrams that they stand
//!   for, with one time and complete checksums: a reader could not tell where the next frame begins. Before Linux 6.2 the
//!   kernel cannot tell either, and they stand there whole.
//! - Packets that security groups drop are there: the copy is made before the endpoint sees them. The access and flow
//!   logs tell what became of them.
//! - Inner packets of the tunnel cross no interface of the kernel; on the outside link they are ESP in UDP.
//! - The file holds keys. It is made readable by its owner alone; share it as you would share what was said.

use std::fs::{File, Permissions};
use std::io::BufWriter;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use rustls::KeyLog;

use self::recorder::{Recorder, Source};
use super::pcapng::PcapngWriter;
use crate::edge::packet_socket::PacketSocket;
use crate::edge::{Fault, OrFault};

/// Secrets that may wait to be written. A TLS 1.3 handshake has four, and every packet lets all that wait be written.
const SECRETS_QUEUE: usize = 16_384;
/// Interfaces that may wait to be captured.
const NEWCOMERS_QUEUE: usize = 64;
/// Bytes kept back before they are written while packets keep coming.
const FILE_BUFFER: usize = 1 << 20;

/// A capture that has its file, but hears nothing yet.
#[derive(Debug)]
pub struct Capture {
    out: PcapngWriter<BufWriter<File>>,
    place: String,
    secrets: Receiver<String>,
    key_log: Arc<SecretSender>,
}

impl Capture {
    /// Makes `file`, or empties it, readable by its owner alone.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn create(file: &Path) -> Result<Self, Fault> {
        let place = file.display().to_string();
        let create = || {
            let out = File::options().write(true).create(true).truncate(true).mode(0o600).open(file)?;
            // A file that was there keeps its mode otherwise. A pipe's mode is its owner's matter.
            if out.metadata()?.is_file() {
                out.set_permissions(Permissions::from_mode(0o600))?;
            }
            PcapngWriter::new(BufWriter::with_capacity(FILE_BUFFER, out))
        };
        let out = create().or_fault(|| "cannot make the capture file").map_err(|fault| fault.at(place.clone()))?;
        let (sender, secrets) = bounded(SECRETS_QUEUE);
        let key_log = Arc::new(SecretSender { lines: sender, lost: AtomicU64::new(0) });
        Ok(Self { out, place, secrets, key_log })
    }

    /// Where TLS sessions report their secrets.
    pub fn key_log(&self) -> Arc<dyn KeyLog> {
        Arc::clone(&self.key_log) as Arc<dyn KeyLog>
    }

    /// Begins to capture the interfaces of these names, in the network namespace of the calling thread.
    ///
    /// # Errors
    /// See [`PacketSocket::open`]; or when the file or a thread cannot be made.
    pub fn start<N: AsRef<str>>(mut self, interfaces: &[N]) -> Result<CaptureHandle, Fault> {
        let mut sources = Vec::with_capacity(interfaces.len());
        for name in interfaces {
            let socket = PacketSocket::open(name.as_ref())?;
            let source = Source::new(name.as_ref(), socket, &mut self.out)
                .or_fault(|| "cannot write the capture file")
                .map_err(|fault| fault.at(self.place.clone()))?;
            sources.push(source);
        }
        // Whoever opens the file from now on finds a complete head.
        self.out.flush().or_fault(|| "cannot write the capture file").map_err(|fault| fault.at(self.place.clone()))?;
        let signal = || {
            rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
                .or_fault(|| "cannot make the capture's signals")
        };
        let signals = Arc::new(Signals { stop: signal()?, wake: signal()? });
        let counts = Arc::new(SharedCounts::default());
        let (newcomers, queue) = bounded(NEWCOMERS_QUEUE);
        let tap = Tap { newcomers, signals: Arc::clone(&signals) };
        let recorder = Recorder::new(self.out, sources, self.secrets, queue, Arc::clone(&counts), Arc::clone(&signals));
        let (place, file) = (self.place.clone(), self.place.into());
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || {
                if let Err(error) = recorder.run() {
                    tracing::error!(%error, file = place, "the capture ended: its file cannot be written");
                }
            })
            .or_fault(|| "cannot start the capture's thread")?;
        Ok(CaptureHandle {
            counter: CaptureCounter { file, counts, key_log: self.key_log },
            tap,
            signals,
            thread: Some(thread),
        })
    }
}

/// What a capture has done so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CaptureCounts {
    /// Packets in the file, a super-segment being one.
    pub packets: u64,
    /// Packets that crossed an interface and are not in the file, because the writer was behind.
    pub lost_packets: u64,
    /// TLS secrets in the file.
    pub secrets: u64,
    /// TLS secrets that are not: their sessions cannot be decrypted.
    pub lost_secrets: u64,
}

#[derive(Debug, Default)]
struct SharedCounts {
    packets: AtomicU64,
    lost_packets: AtomicU64,
    secrets: AtomicU64,
}

/// Tells what a capture has done, also after its end.
#[derive(Clone, Debug)]
pub struct CaptureCounter {
    file: Arc<str>,
    counts: Arc<SharedCounts>,
    key_log: Arc<SecretSender>,
}

impl CaptureCounter {
    /// The file it writes.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What it has done so far. Losses are learnt whenever the writer has caught up.
    pub fn read(&self) -> CaptureCounts {
        CaptureCounts {
            packets: self.counts.packets.load(Ordering::Relaxed),
            lost_packets: self.counts.lost_packets.load(Ordering::Relaxed),
            secrets: self.counts.secrets.load(Ordering::Relaxed),
            lost_secrets: self.key_log.lost.load(Ordering::Relaxed),
        }
    }
}

/// A running capture. It ends, with everything written that came before, when this is dropped.
#[derive(Debug)]
pub struct CaptureHandle {
    counter: CaptureCounter,
    tap: Tap,
    signals: Arc<Signals>,
    thread: Option<JoinHandle<()>>,
}

impl CaptureHandle {
    /// Tells what it does.
    pub fn counter(&self) -> CaptureCounter {
        self.counter.clone()
    }

    /// Has it capture more interfaces.
    pub fn tap(&self) -> Tap {
        self.tap.clone()
    }

    /// Ends it and tells what it has done.
    pub fn finish(mut self) -> CaptureCounts {
        self.end();
        self.counter.read()
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if let Err(error) = rustix::io::write(&self.signals.stop, &1u64.to_ne_bytes()) {
            tracing::error!(%error, "the capture cannot be told to end");
            return;
        }
        if thread.join().is_err() {
            tracing::error!("the capture's thread panicked");
        }
        let counts = self.counter.read();
        if counts.lost_packets > 0 || counts.lost_secrets > 0 {
            tracing::warn!(?counts, "the capture is not complete; a larger net.core.rmem_max may help");
        }
    }
}

impl Drop for CaptureHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// What ends the capture's wait.
#[derive(Debug)]
struct Signals {
    stop: OwnedFd,
    wake: OwnedFd,
}

/// Adds interfaces to a running capture: those of enis that came to be.
#[derive(Clone, Debug)]
pub struct Tap {
    newcomers: Sender<(String, PacketSocket)>,
    signals: Arc<Signals>,
}

impl Tap {
    /// Captures the interface of this name, too, in the network namespace of the calling thread. Does nothing if the capture has
    /// ended.
    ///
    /// # Errors
    /// See [`PacketSocket::open`]; or when too many interfaces wait.
    pub fn add(&self, interface: &str) -> Result<(), Fault> {
        let newcomer = (interface.to_owned(), PacketSocket::open(interface)?);
        match self.newcomers.try_send(newcomer) {
            Ok(()) => rustix::io::write(&self.signals.wake, &1u64.to_ne_bytes())
                .map(drop)
                .or_fault(|| "the capture does not hear of an interface"),
            Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(_)) => {
                Err(Fault::new("too many interfaces wait for the capture").remedy("try again"))
            }
        }
    }
}

/// The workers' end of the queue of secrets: never waits, counts what it had to leave out.
#[derive(Debug)]
struct SecretSender {
    lines: Sender<String>,
    lost: AtomicU64,
}

impl KeyLog for SecretSender {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if self.lines.try_send(line(label, client_random, secret)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        // It protects no record.
        label != "EXPORTER_SECRET"
    }
}

/// A line of a key log file (draft-ietf-tls-keylogfile): label, client random, secret.
fn line(label: &str, client_random: &[u8], secret: &[u8]) -> String {
    let mut line = String::with_capacity(label.len() + 2 * (client_random.len() + secret.len()) + 3);
    line.push_str(label);
    for bytes in [client_random, secret] {
        line.push(' ');
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                line.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
    }
    line.push('\n');
    line
}

mod recorder;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_written_as_key_log_lines_and_counted_when_nobody_takes_them() {
        assert_eq!(line("CLIENT_RANDOM", &[0x01, 0xaf], &[0xff]), "CLIENT_RANDOM 01af ff\n");
        let (lines, rest) = bounded(1);
        let sender = SecretSender { lines, lost: AtomicU64::new(0) };
        sender.log("A", &[1], &[2]);
        sender.log("B", &[1], &[2]);
        assert_eq!(rest.try_iter().collect::<Vec<_>>(), ["A 01 02\n"]);
        assert_eq!(sender.lost.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_file_is_its_owners_alone_even_if_it_was_everybodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.pcapng");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Capture::create(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap()[..4], 0x0a0d_0d0a_u32.to_le_bytes());
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let capture = Capture::create(&folder.path().join("c.pcapng")).unwrap();
        let fault = capture.start(&["no-such-eni"]).unwrap_err();
        assert_eq!(fault.place.as_deref(), Some("interface no-such-eni"));
    }
}
