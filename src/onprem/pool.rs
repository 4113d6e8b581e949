//! The execution environments of one function: who may run, in which process, and what becomes of it afterwards.
//!
//! An invocation is first *admitted*: at most `concurrency` are in progress at a time, more are throttled. Then it
//! *acquires* a process: the one that was used last (its caches are warm), else a new one, else it waits for one to finish.
//! A process runs one invocation at a time. Having answered, it is *settling* until it asks for the next; as that takes
//! microseconds, an invocation rather waits [`SETTLING_GRACE`] for a settling process than start another.
//!
//! Bounds: `concurrency` admissions, processes and thus waiters per function, across its versions; a number of processes
//! for all functions ([`Seats`]). An idle process of another version, then of another function, makes room for a new one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::launch::Launch;
use super::lock;
use super::process::Process;
use crate::config::Function;

/// How long an invocation waits for a process that has just answered, before it starts another.
const SETTLING_GRACE: Duration = Duration::from_millis(25);
/// What a process has, at least, to ask for the next invocation after it answered.
const SETTLING_MIN: Duration = Duration::from_secs(1);

/// The processes of all functions together.
#[derive(Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    pools: Mutex<Vec<Weak<Pool>>>,
}

/// How often things happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) invocations: AtomicU64,
    pub(super) cold_starts: AtomicU64,
    /// Answers with `X-Amz-Function-Error`.
    pub(super) errors: AtomicU64,
    pub(super) throttles: AtomicU64,
}

/// The processes of one function.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) function: Function,
    pub(super) launch: Launch,
    pub(super) tally: Tally,
    seats: Arc<Seats>,
    state: Mutex<PoolState>,
}

#[derive(Debug, Default)]
struct PoolState {
    in_flight: u32,
    /// Processes that run, start, or may be started.
    seats_taken: u32,
    settling: usize,
    /// Used last is last.
    idle: Vec<Lease>,
    waiters: VecDeque<Waiter>,
    /// For status and shutdown.
    processes: Vec<Weak<Process>>,
}

#[derive(Debug)]
struct Waiter {
    version: String,
    grant: oneshot::Sender<Grant>,
}

/// Why an invocation was turned away; the `Reason` of Lambda's 429.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Throttle {
    /// The function's concurrency is used up.
    Function,
    /// The function host's processes are.
    Host,
}

/// The right to be in progress.
#[derive(Debug)]
pub(super) struct Admission(Arc<Pool>);

/// What an invocation runs in.
#[derive(Debug)]
pub(super) enum Grant {
    Warm(Lease),
    Start(Seat),
}

/// The right to have a process.
#[derive(Debug)]
pub(super) struct Seat {
    pool: Weak<Pool>,
    /// Gone once the seat has been passed on.
    permit: Option<OwnedSemaphorePermit>,
}

/// A process in someone's hands. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) process: Arc<Process>,
    seat: Option<Seat>,
    idle_since: Instant,
}

impl Seats {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(limit)), pools: Mutex::default() })
    }

    /// Makes room by ending the process that has been idle for longest, of whichever function.
    fn evict_idle(&self) -> bool {
        let pools: Vec<_> = lock(&self.pools).iter().filter_map(Weak::upgrade).collect();
        let since = |pool: &Arc<Pool>| lock(&pool.state).idle.first().map(|lease| lease.idle_since);
        let oldest = pools.iter().filter_map(|pool| Some((since(pool)?, pool))).min_by_key(|(since, _)| *since);
        oldest.is_some_and(|(_, pool)| pool.take_oldest_idle().is_some())
    }
}

impl Pool {
    pub(super) fn new(function: Function, launch: Launch, seats: &Arc<Seats>) -> Arc<Self> {
        let (tally, state) = (Tally::default(), Mutex::default());
        let pool = Arc::new(Self { function, launch, tally, seats: seats.clone(), state });
        lock(&seats.pools).push(Arc::downgrade(&pool));
        pool
    }

    /// Counts an invocation in, or throttles it.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Admission, Throttle> {
        let mut state = lock(&self.state);
        if state.in_flight >= self.function.concurrency {
            self.tally.throttles.fetch_add(1, Ordering::Relaxed);
            return Err(Throttle::Function);
        }
        state.in_flight += 1;
        Ok(Admission(self.clone()))
    }

    /// Finds a process for an admitted invocation, or the right to start one, by `deadline`.
    pub(super) async fn acquire(self: &Arc<Self>, version: &str, deadline: Instant) -> Result<Grant, Throttle> {
        let mut patient = true;
        loop {
            let mut ended = Vec::new();
            let step = self.next_step(version, patient, &mut ended);
            // Only now: a lease that is dropped locks the pool.
            drop(ended);
            let (mut grant, until) = match step {
                Step::Granted(grant) => return Ok(grant),
                Step::Wait(grant) => (grant, deadline),
                Step::WaitForSettling(grant) => (grant, deadline.min(Instant::now() + SETTLING_GRACE)),
                Step::HostFull if self.seats.evict_idle() => continue,
                Step::HostFull => {
                    self.tally.throttles.fetch_add(1, Ordering::Relaxed);
                    return Err(Throttle::Host);
                }
            };
            if let Ok(Ok(grant)) = tokio::time::timeout_at(until, &mut grant).await {
                return Ok(grant);
            }
            // It may have come at the last moment.
            grant.close();
            if let Ok(grant) = grant.try_recv() {
                return Ok(grant);
            }
            patient = false;
            if Instant::now() >= deadline {
                self.tally.throttles.fetch_add(1, Ordering::Relaxed);
                return Err(Throttle::Function);
            }
        }
    }

    fn next_step(self: &Arc<Self>, version: &str, patient: bool, ended: &mut Vec<Lease>) -> Step {
        let mut state = lock(&self.state);
        let state = &mut *state;
        while let Some(place) = state.idle.iter().rposition(|lease| lease.process.version == version) {
            let lease = state.idle.remove(place);
            if !lease.process.has_exited() {
                return Step::Granted(Grant::Warm(lease));
            }
            ended.push(lease);
        }
        state.waiters.retain(|waiter| !waiter.grant.is_closed());
        if patient && state.settling > state.waiters.len() {
            return Step::WaitForSettling(state.wait_in_line(version));
        }
        if state.seats_taken < self.function.concurrency {
            let Ok(permit) = self.seats.free.clone().try_acquire_owned() else { return Step::HostFull };
            state.seats_taken += 1;
            return Step::Granted(Grant::Start(Seat { pool: Arc::downgrade(self), permit: Some(permit) }));
        }
        if !state.idle.is_empty() {
            return Step::Granted(Grant::Start(state.idle.remove(0).retire()));
        }
        Step::Wait(state.wait_in_line(version))
    }

    /// Takes a process back that has answered; it has until `deadline` to ask for the next invocation.
    pub(super) fn settle(self: &Arc<Self>, lease: Lease, deadline: Instant) {
        if lease.process.slot.phase() == super::runtime_api::Phase::Waiting {
            return self.give_back(lease);
        }
        lock(&self.state).settling += 1;
        let deadline = deadline.max(Instant::now() + SETTLING_MIN);
        let pool = self.clone();
        tokio::spawn(async move {
            let settled = lease.process.watch_while(deadline, lease.process.slot.waiting()).await;
            lock(&pool.state).settling -= 1;
            match settled {
                Ok(()) => pool.give_back(lease),
                Err(fault) => tracing::debug!(function = pool.function.name, ?fault, "process lost after its answer"),
            }
        });
    }

    fn give_back(self: &Arc<Self>, mut lease: Lease) {
        let mut state = lock(&self.state);
        while let Some(waiter) = state.waiters.pop_front() {
            let grant =
                if waiter.version == lease.process.version { Grant::Warm(lease) } else { Grant::Start(lease.retire()) };
            match waiter.grant.send(grant) {
                Ok(()) => return,
                Err(Grant::Warm(returned)) => lease = returned,
                Err(Grant::Start(seat)) => {
                    // The seat looks for the next waiter by itself, once the lock is free.
                    drop(state);
                    return drop(seat);
                }
            }
        }
        lease.idle_since = Instant::now();
        state.idle.push(lease);
    }

    fn take_oldest_idle(&self) -> Option<Lease> {
        let mut state = lock(&self.state);
        (!state.idle.is_empty()).then(|| state.idle.remove(0))
    }

    /// Ends processes that have been idle since before `since`, and forgets those that have ended.
    pub(super) fn sweep(&self, since: Instant) {
        let stale: Vec<_> = {
            let mut state = lock(&self.state);
            let idle = std::mem::take(&mut state.idle);
            let (stale, kept) =
                idle.into_iter().partition(|lease| lease.idle_since < since || lease.process.has_exited());
            state.idle = kept;
            stale
        };
        drop(stale);
    }

    /// Registers a started process.
    pub(super) fn register(&self, process: &Arc<Process>) {
        let mut state = lock(&self.state);
        state.processes.retain(|process| process.upgrade().is_some_and(|process| !process.has_exited()));
        state.processes.push(Arc::downgrade(process));
    }

    fn processes(&self) -> Vec<Arc<Process>> {
        let state = lock(&self.state);
        state.processes.iter().filter_map(Weak::upgrade).filter(|process| !process.has_exited()).collect()
    }

    /// Ends all processes: SIGTERM first, SIGKILL after `grace`.
    pub(super) async fn shut_down(&self, grace: Duration) {
        let processes = self.processes();
        for process in &processes {
            process.signal(Signal::TERM);
        }
        let deadline = Instant::now() + grace;
        for process in &processes {
            if tokio::time::timeout_at(deadline, process.exited()).await.is_err() {
                process.kill();
                process.exited().await;
            }
        }
    }

    /// Kills all processes, now.
    pub(super) fn kill(&self) {
        for process in self.processes() {
            process.kill();
        }
    }

    /// For `lab status`.
    pub(super) fn status(&self) -> Value {
        let processes: Vec<_> = self
            .processes()
            .iter()
            .map(|process| {
                json!({
                    "pid": process.pid,
                    "version": process.version,
                    "state": process.slot.phase().name(),
                    "invocations": process.invocations.load(Ordering::Relaxed),
                    "max_memory_mb": process.memory_peak_mb(),
                    "age_s": process.started.elapsed().as_secs(),
                })
            })
            .collect();
        let mut status = json!({
            "name": self.function.name,
            "concurrency": self.function.concurrency,
            "in_flight": lock(&self.state).in_flight,
            "processes": processes,
        });
        self.tally.add_to(&mut status);
        status
    }
}

impl Tally {
    /// Adds the counts to a function's status.
    pub(super) fn add_to(&self, status: &mut Value) {
        status["invocations"] = self.invocations.load(Ordering::Relaxed).into();
        status["cold_starts"] = self.cold_starts.load(Ordering::Relaxed).into();
        status["errors"] = self.errors.load(Ordering::Relaxed).into();
        status["throttles"] = self.throttles.load(Ordering::Relaxed).into();
    }
}

impl PoolState {
    fn wait_in_line(&mut self, version: &str) -> oneshot::Receiver<Grant> {
        let (sender, grant) = oneshot::channel();
        self.waiters.push_back(Waiter { version: version.to_owned(), grant: sender });
        grant
    }
}

enum Step {
    Granted(Grant),
    Wait(oneshot::Receiver<Grant>),
    WaitForSettling(oneshot::Receiver<Grant>),
    HostFull,
}

impl Throttle {
    /// As in the body of Lambda's 429.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Function => "ReservedFunctionConcurrentInvocationLimitExceeded",
            Self::Host => "ConcurrentInvocationLimitExceeded",
        }
    }
}

impl Lease {
    pub(super) fn new(process: Arc<Process>, seat: Seat) -> Self {
        Self { process, seat: Some(seat), idle_since: Instant::now() }
    }

    /// Kills the process; its seat remains.
    pub(super) fn retire(mut self) -> Seat {
        self.process.kill();
        self.seat.take().unwrap_or(Seat { pool: Weak::new(), permit: None })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.process.kill();
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        lock(&self.0.state).in_flight -= 1;
    }
}

impl Drop for Seat {
    /// Passes the seat on to whoever waits, or frees it.
    fn drop(&mut self) {
        let (Some(mut permit), Some(pool)) = (self.permit.take(), self.pool.upgrade()) else { return };
        let mut state = lock(&pool.state);
        while let Some(waiter) = state.waiters.pop_front() {
            let seat = Self { pool: self.pool.clone(), permit: Some(permit) };
            let Err(Grant::Start(mut returned)) = waiter.grant.send(Grant::Start(seat)) else { return };
            let Some(again) = returned.permit.take() else { return };
            permit = again;
        }
        state.seats_taken -= 1;
    }
}
