//! Which connections have something to do, and the futures' way of saying so.
//!
//! Futures run inline on the worker: a waker only puts its connection on this queue. An entry stands in the queue at most
//! once, so the queue is never longer than there are connections.

use std::collections::VecDeque;
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

/// The queue. Wakers must be `Send`, so it is locked though one thread uses it. A ring that stays as large as it once
/// was: marking a connection allocates nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadyQueue(Arc<Ring>);

#[derive(Debug, Default)]
struct Ring(Mutex<VecDeque<Arc<TaskWaker>>>);

impl Ring {
    /// A panic elsewhere leaves the ring as good as it was.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<TaskWaker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadyQueue {
    /// A handle that puts `task` on the queue.
    pub(super) fn waker(&self, task: Task) -> Arc<TaskWaker> {
        let (queued, parked) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(TaskWaker { task, queued, parked, queue: Arc::clone(&self.0) })
    }

    /// The next task, which may be queued again from now on.
    pub(super) fn pop(&self) -> Option<Task> {
        let waker = self.0.lock().pop_front()?;
        waker.queued.store(false, Ordering::Release);
        Some(waker.task)
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Connections that wait for something else than packets or futures: each stands here once, however often it is driven.
#[derive(Debug, Default)]
pub(super) struct Parked(Vec<Arc<TaskWaker>>);

impl Parked {
    /// Has `waker` wait.
    pub(super) fn push(&mut self, waker: &Arc<TaskWaker>) {
        if !waker.parked.swap(true, Ordering::AcqRel) {
            self.0.push(Arc::clone(waker));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts all of them on the queue.
    pub(super) fn release(&mut self) {
        for waker in self.0.drain(..) {
            waker.parked.store(false, Ordering::Release);
            waker.mark();
        }
    }
}

/// Puts one task on the queue.
#[derive(Debug)]
pub(super) struct TaskWaker {
    task: Task,
    queued: AtomicBool,
    parked: AtomicBool,
    queue: Arc<Ring>,
}

impl TaskWaker {
    /// Puts the task on the queue unless it is there.
    pub(super) fn mark(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.lock().push_back(Arc::clone(self));
        }
    }

    /// For futures.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.mark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stands_in_the_queue_once_until_it_is_taken() {
        let queue = ReadyQueue::default();
        let (a, b) = (queue.waker(Task::Client(1)), queue.waker(Task::Host(2)));
        a.mark();
        a.waker().wake_by_ref();
        b.mark();
        a.mark();
        assert_eq!((queue.len(), queue.pop()), (2, Some(Task::Client(1))));
        a.mark();
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Task::Host(2)), Some(Task::Client(1)), None]);
    }

    #[test]
    fn a_parked_task_waits_once_and_can_wait_again() {
        let (queue, mut parked) = (ReadyQueue::default(), Parked::default());
        let a = queue.waker(Task::Client(1));
        for _ in 0..2 {
            (0..100).for_each(|_| parked.push(&a));
            assert_eq!((parked.0.len(), queue.len()), (1, 0));
            parked.release();
            assert_eq!((queue.pop(), queue.pop(), parked.is_empty()), (Some(Task::Client(1)), None, true));
        }
    }
}
