//! A run: connections first, then work that is not measured, then work that is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::connection::Trouble;
use super::driver::Driver;
use super::machine::{Machine, Watched};
use super::meter::Meter;
use super::pace::Pace;
use super::report::{Idle, Measured, Report};
use super::requests::{Exchange, Signing};
use super::trust::{Cipher, TlsVersion};
use super::window::Window;
use crate::edge::Fault;

/// How long the server may be silent when something is awaited from it.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How often progress is looked at where nothing is measured.
const LOOK: Duration = Duration::from_millis(200);
/// Idle connections that are opened at the same time.
const OPENING: usize = 64;

/// What connections are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Mode {
    /// One connection for all requests of a slot.
    #[default]
    KeepAlive,
    /// A new connection for each request, with a full handshake.
    Connect,
    /// A new connection for each request, which resumes an earlier session.
    Resume,
}

impl Mode {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Connect => "connect",
            Self::Resume => "resume",
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Job {
    /// The server's address.
    pub target: SocketAddr,
    /// Its name, for TLS and HTTP.
    pub name: String,
    /// Path and query as on the wire.
    pub path: String,
    /// Certificates to trust, PEM.
    pub trusted: PathBuf,
    /// The version of TLS.
    pub tls: TlsVersion,
    /// The cipher.
    pub cipher: Cipher,
    /// What is sent and comes back.
    pub exchange: Exchange,
    /// Who signs; nobody if absent.
    pub signing: Option<Signing>,
    /// What connections are for.
    pub mode: Mode,
    /// Connections that work.
    pub connections: usize,
    /// Connections that are held open beside them.
    pub idle: usize,
    /// Requests per second; a closed loop if absent.
    pub rate: Option<f64>,
    /// Work that is not measured, before each window.
    pub warm_up: Duration,
    /// Work that is measured.
    pub duration: Duration,
    /// Processes whose processor time is wanted.
    pub watched: Vec<Watched>,
}

/// Does the job and says what was found.
///
/// # Errors
/// A server that cannot be reached, does not answer, or answers wrongly; a process that cannot be watched.
pub fn run(job: &Job) -> Result<Report, Fault> {
    let machine = Machine::watch(&job.watched)?;
    let mut driver = Driver::new(job)?;
    let run = Run { job, machine };
    run.run(&mut driver)
}

struct Run<'a> {
    job: &'a Job,
    machine: Machine,
}

impl Run<'_> {
    fn run(&self, driver: &mut Driver<'_>) -> Result<Report, Fault> {
        self.told(driver.start())?;
        if self.job.mode == Mode::KeepAlive {
            let all = self.job.connections;
            self.wait_for(driver, all, |driver| driver.established())?;
        }
        let idle = if self.job.idle > 0 {
            let before = self.measure(driver)?;
            self.open_idle(driver)?;
            Some(before)
        } else {
            None
        };
        let window = self.measure(driver)?;
        driver.end();
        self.told(driver.turn_until(Instant::now() + PATIENCE, Driver::is_quiet))?;
        if !driver.is_quiet() && self.job.rate.is_none() {
            return Err(self.fault(&Trouble::Silent(PATIENCE.as_secs())));
        }
        let idle = idle.map(|before| {
            let added = window.processes.iter().zip(&before.processes).map(|(after, before)| {
                let each = (after.rss_bytes as f64 - before.rss_bytes as f64) / self.job.idle as f64;
                (after.name.clone(), each)
            });
            Idle { connections: self.job.idle, rss_per_connection: added.collect(), before: Box::new(before) }
        });
        Ok(Report {
            target: self.job.target.to_string(),
            mode: self.job.mode.name().to_owned(),
            exchange: self.job.exchange.to_string(),
            connections: self.job.connections,
            tls: driver.agreed().to_owned(),
            open_loop: self.job.rate.is_some(),
            wanted_per_second: self.job.rate,
            window,
            idle,
        })
    }

    /// Works unmeasured, then measured.
    fn measure(&self, driver: &mut Driver<'_>) -> Result<Measured, Fault> {
        let now = Instant::now();
        driver.set_pace(self.job.rate.map(|rate| Pace::new(rate, now)));
        self.told(driver.turn_until(now + self.job.warm_up, |_| false))?;
        let mut meter = Meter::begin(&self.machine);
        let end = meter.start() + self.job.duration;
        driver.open_window(Window::new(meter.start(), self.job.duration, self.job.rate.is_some()));
        self.told(driver.turn_until(end, |_| false))?;
        meter.stop();
        let mut unanswered = 0;
        if self.job.rate.is_some() {
            // What was due and is late belongs to the window, however late it is.
            let patience = Instant::now() + PATIENCE.min(self.job.duration * 2);
            self.told(driver.turn_until(patience, Driver::is_quiet))?;
            unanswered = driver.unanswered(end);
        }
        let window = driver.close_window().ok_or_else(|| Fault::new("nothing was measured"))?;
        if window.answers == 0 {
            let fault = Fault::new(format!("not one answer within {:?}", self.job.duration)).remedy("measure longer");
            return Err(fault.at(self.place()));
        }
        Ok(meter.measured(&window, unanswered))
    }

    /// Opens the idle connections, a few at a time, while the others work.
    fn open_idle(&self, driver: &mut Driver<'_>) -> Result<(), Fault> {
        let mut opened = 0;
        while driver.settled() < self.job.idle {
            while opened < self.job.idle && opened < driver.settled() + OPENING {
                self.told(driver.open_idle(opened))?;
                opened += 1;
            }
            let wanted = (driver.settled() + OPENING / 2).min(self.job.idle);
            self.wait_for(driver, wanted, |driver| driver.settled())?;
        }
        Ok(())
    }

    /// Works until `count` has reached `wanted`, as long as it grows.
    fn wait_for(
        &self,
        driver: &mut Driver<'_>,
        wanted: usize,
        count: impl Fn(&Driver<'_>) -> usize,
    ) -> Result<(), Fault> {
        let mut last = (count(driver), Instant::now());
        while count(driver) < wanted {
            self.told(driver.turn_until(Instant::now() + LOOK, |driver| count(driver) >= wanted))?;
            if count(driver) > last.0 {
                last = (count(driver), Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                return Err(self.fault(&Trouble::Silent(PATIENCE.as_secs())));
            }
        }
        Ok(())
    }

    fn told<T>(&self, result: Result<T, Trouble>) -> Result<T, Fault> {
        result.map_err(|trouble| self.fault(&trouble))
    }

    fn fault(&self, trouble: &Trouble) -> Fault {
        Fault::new(trouble.to_string()).at(self.place())
    }

    fn place(&self) -> String {
        format!("load on {} at {}", self.job.name, self.job.target)
    }
}
