//! Which connections have something to do, and the futures' way of saying so.
//!
//! Futures run inline on the worker: a waker only puts its connection on this queue. An entry stands in the queue at most
//! once, so the queue is never longer than there are connections.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Something the engine drives, by its slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Task {
    /// A client's connection.
    Client(usize),
    /// A connection to the function host.
    Host(usize),
    /// The event invocations in flight.
    Events,
}

/// The queue. The engine marks what it drives itself, without a lock; futures do so through wakers, which must be `Send` and
/// therefore go through a ring that is locked, though one thread uses it. Both stay as large as they once were: marking a
/// connection allocates nothing.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    own: Rc<RefCell<VecDeque<Entry>>>,
    woken: Arc<Ring>,
}

/// Who stands in the queue.
#[derive(Debug)]
enum Entry {
    Marked(Rc<Ready>),
    Woken(Arc<TaskWaker>),
}

/// Whom wakers have put on the queue.
#[derive(Debug, Default)]
struct Ring {
    wakers: Mutex<Vec<Arc<TaskWaker>>>,
    /// Whether there is any: asking costs no lock.
    is_used: AtomicBool,
}

impl Ring {
    /// A panic elsewhere leaves the ring as good as it was.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<TaskWaker>>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadyQueue {
    /// A handle that puts `task` on the queue.
    pub(super) fn handle(&self, task: Task) -> Rc<Ready> {
        let signal = Arc::new(TaskWaker { task, queued: AtomicBool::new(false), ring: Arc::clone(&self.woken) });
        let waker = Waker::from(Arc::clone(&signal));
        Rc::new(Ready { signal, waker, parked: Cell::new(false), queue: Rc::clone(&self.own) })
    }

    /// The next task, which may be queued again from now on.
    pub(super) fn pop(&self) -> Option<Task> {
        self.take_woken();
        let entry = self.own.borrow_mut().pop_front()?;
        let signal = match &entry {
            Entry::Marked(ready) => &*ready.signal,
            Entry::Woken(signal) => signal,
        };
        signal.queued.store(false, Ordering::Release);
        Some(signal.task)
    }

    pub(super) fn len(&self) -> usize {
        self.take_woken();
        self.own.borrow().len()
    }

    /// Has those that were woken stand behind those that were marked.
    fn take_woken(&self) {
        if self.woken.is_used.load(Ordering::Acquire) {
            let mut woken = self.woken.lock();
            self.woken.is_used.store(false, Ordering::Release);
            self.own.borrow_mut().extend(woken.drain(..).map(Entry::Woken));
        }
    }
}

/// Connections that wait for something else than packets or futures: each stands here once, however often it is driven.
#[derive(Debug, Default)]
pub(super) struct Parked(Vec<Rc<Ready>>);

impl Parked {
    /// Has a task wait.
    pub(super) fn push(&mut self, ready: &Rc<Ready>) {
        if !ready.parked.replace(true) {
            self.0.push(Rc::clone(ready));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts all of them on the queue.
    pub(super) fn release(&mut self) {
        for ready in self.0.drain(..) {
            ready.parked.set(false);
            ready.mark();
        }
    }
}

/// Puts one task on the queue.
#[derive(Debug)]
pub(super) struct Ready {
    signal: Arc<TaskWaker>,
    waker: Waker,
    parked: Cell<bool>,
    queue: Rc<RefCell<VecDeque<Entry>>>,
}

impl Ready {
    /// Puts the task on the queue unless it is there.
    pub(super) fn mark(self: &Rc<Self>) {
        let queued = &self.signal.queued;
        // Not one step, which would cost more than the rest: should a waker come between, the task is driven once too often.
        if !queued.load(Ordering::Acquire) {
            queued.store(true, Ordering::Release);
            self.queue.borrow_mut().push_back(Entry::Marked(Rc::clone(self)));
        }
    }

    /// For futures.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// The part of a handle that a waker has.
#[derive(Debug)]
struct TaskWaker {
    task: Task,
    queued: AtomicBool,
    ring: Arc<Ring>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ring.lock().push(Arc::clone(self));
            self.ring.is_used.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stands_in_the_queue_once_until_it_is_taken() {
        let queue = ReadyQueue::default();
        let (a, b) = (queue.handle(Task::Client(1)), queue.handle(Task::Host(2)));
        a.mark();
        a.waker().wake_by_ref();
        b.mark();
        a.mark();
        assert_eq!((queue.len(), queue.pop()), (2, Some(Task::Client(1))));
        a.mark();
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Task::Host(2)), Some(Task::Client(1)), None]);
    }

    #[test]
    fn a_task_that_a_future_woke_stands_in_the_same_queue_once() {
        let queue = ReadyQueue::default();
        let (a, b) = (queue.handle(Task::Client(1)), queue.handle(Task::Host(2)));
        a.waker().wake_by_ref();
        a.mark();
        b.mark();
        a.waker().wake_by_ref();
        b.waker().wake_by_ref();
        assert_eq!((queue.len(), queue.pop()), (2, Some(Task::Host(2))));
        b.waker().wake_by_ref();
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Task::Client(1)), Some(Task::Host(2)), None]);
    }

    #[test]
    fn a_parked_task_waits_once_and_can_wait_again() {
        let (queue, mut parked) = (ReadyQueue::default(), Parked::default());
        let a = queue.handle(Task::Client(1));
        for _ in 0..2 {
            (0..100).for_each(|_| parked.push(&a));
            assert_eq!((parked.0.len(), queue.len()), (1, 0));
            parked.release();
            assert_eq!((queue.pop(), queue.pop(), parked.is_empty()), (Some(Task::Client(1)), None, true));
        }
    }
}
