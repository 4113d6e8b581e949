//! Taking the machine's counters at both ends of a window, and nothing between.

use std::time::{Duration, Instant};

use super::machine::{Machine, Reading, thread_time};
use super::report::{Latency, Measured};
use super::window::Window;

/// The counters at a window's beginning, and at its end once it is stopped.
#[derive(Debug)]
pub struct Meter<'a> {
    machine: &'a Machine,
    before: (Reading, Duration),
    start: Instant,
    stopped: Option<(Reading, Duration, f64)>,
}

impl<'a> Meter<'a> {
    /// Begins now.
    pub fn begin(machine: &'a Machine) -> Self {
        let before = (machine.read(), thread_time());
        Self { machine, before, start: Instant::now(), stopped: None }
    }

    /// When it began.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Ends now; what is counted later in the window costs no processor time in the result.
    pub fn stop(&mut self) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.stopped = Some((self.machine.read(), thread_time(), seconds));
    }

    /// What was measured, with what `window` counted.
    pub fn measured(mut self, window: &Window, unanswered: u64) -> Measured {
        if self.stopped.is_none() {
            self.stop();
        }
        let (after, own, seconds) = self.stopped.unwrap_or_else(|| (self.before.0.clone(), Duration::ZERO, 1.0));
        let (processes, load_generator, cores) = self.machine.between(&self.before.0, &after);
        Measured {
            seconds,
            answers: window.answers,
            per_second: window.answers as f64 / seconds,
            unanswered,
            bytes_sent: window.bytes_sent,
            bytes_received: window.bytes_received,
            handshakes: window.handshakes,
            resumptions: window.resumptions,
            reconnects: window.reconnects,
            latency: Latency::of(&window.latencies, window.is_open_loop()),
            load_generator,
            load_generator_share: own.saturating_sub(self.before.1).as_secs_f64() / seconds,
            processes,
            cores,
        }
    }
}
