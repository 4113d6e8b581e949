//! The line for a connection to the function host: who waits, who gets the next one, and how many are wanted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::task::Waker;

use super::connection::Lease;
use super::{CONNECTION_LIMIT, PENDING_LIMIT};

#[derive(Default)]
pub(super) struct Pool {
    pub(super) idle: Vec<Lease>,
    /// Invocations in line for a connection. One that gave up leaves a dead entry until it is its turn.
    waiting: VecDeque<Weak<Ticket>>,
    /// Those in line, without the dead.
    in_line: usize,
    /// Connections that exist, in whatever state.
    pub(super) live: usize,
    /// Connections the engine has yet to begin.
    pub(super) wanted: usize,
    /// Connections wanted or begun that have not opened.
    pub(super) opening: usize,
    /// Connections begun since ever.
    pub(super) begun: u64,
    pub(super) pending: usize,
}

impl Pool {
    /// Hands a connection to the first in line. Handed over and not offered, so that nobody who comes later takes it.
    pub(super) fn give(&mut self, lease: Lease) {
        match self.next_in_line() {
            Some(ticket) => {
                ticket.lease.replace(Some(lease));
                ticket.wake();
            }
            None => self.idle.push(lease),
        }
    }

    fn next_in_line(&mut self) -> Option<Rc<Ticket>> {
        while let Some(ticket) = self.waiting.pop_front() {
            if let Some(ticket) = ticket.upgrade() {
                ticket.queued.set(false);
                self.in_line -= 1;
                return Some(ticket);
            }
        }
        None
    }

    /// Puts a ticket in line unless it stands there. Whoever was handed a dead connection keeps its place.
    pub(super) fn wait(&mut self, ticket: &Rc<Ticket>, waker: &Waker) {
        ticket.waker.borrow_mut().clone_from(waker);
        if ticket.queued.replace(true) {
            return;
        }
        if self.waiting.len() >= 2 * PENDING_LIMIT {
            self.waiting.retain(|ticket| ticket.strong_count() > 0);
        }
        self.in_line += 1;
        match ticket.had_one.get() {
            true => self.waiting.push_front(Rc::downgrade(ticket)),
            false => self.waiting.push_back(Rc::downgrade(ticket)),
        }
        self.want_enough();
    }

    /// Has as many connections begun as there are invocations in line, within the limit.
    pub(super) fn want_enough(&mut self) {
        while self.opening < self.in_line && self.live + self.wanted < CONNECTION_LIMIT {
            self.wanted += 1;
            self.opening += 1;
        }
    }

    /// Everybody in line who waited while this attempt was made gives up: the next would fail as well.
    pub(super) fn fail(&mut self, attempt: u64) {
        let mut rest = VecDeque::new();
        while let Some(ticket) = self.next_in_line() {
            if ticket.since < attempt {
                ticket.failed.set(true);
                ticket.wake();
            } else {
                ticket.queued.set(true);
                rest.push_back(Rc::downgrade(&ticket));
            }
        }
        self.in_line = rest.len();
        self.waiting = rest;
    }
}

/// An invocation's place in the line for a connection.
pub(super) struct Ticket {
    waker: RefCell<Waker>,
    queued: Cell<bool>,
    /// A connection handed over.
    lease: RefCell<Option<Lease>>,
    had_one: Cell<bool>,
    /// Connections begun before it came.
    since: u64,
    pub(super) failed: Cell<bool>,
    pool: Rc<RefCell<Pool>>,
}

impl Ticket {
    pub(super) fn new(pool: &Rc<RefCell<Pool>>) -> Rc<Self> {
        Rc::new(Self {
            waker: RefCell::new(Waker::noop().clone()),
            queued: Cell::new(false),
            lease: RefCell::default(),
            had_one: Cell::new(false),
            since: pool.borrow().begun,
            failed: Cell::new(false),
            pool: Rc::clone(pool),
        })
    }

    fn wake(&self) {
        self.waker.borrow().wake_by_ref();
    }

    /// The connection that was handed over, if one was.
    pub(super) fn take(&self) -> Option<Lease> {
        let lease = self.lease.take();
        self.had_one.set(self.had_one.get() || lease.is_some());
        lease
    }
}

impl Drop for Ticket {
    /// Whoever leaves with a connection in hand passes it on.
    fn drop(&mut self) {
        let mut pool = self.pool.borrow_mut();
        if self.queued.get() {
            pool.in_line -= 1;
        }
        if let Some(lease) = self.lease.take() {
            pool.give(lease);
        }
    }
}
