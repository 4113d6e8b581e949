//! Which connections have something to do, and the futures' way of saying so.
//!
//! Futures run inline on the worker: a waker only puts its connection on this queue. An entry stands in the queue at most
//! once, so the queue is never longer than there are connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use crossbeam::queue::SegQueue;

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

/// The queue. Wakers must be `Send`, so it is made of atomics though one thread uses it.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadyQueue(Arc<SegQueue<Arc<TaskWaker>>>);

impl ReadyQueue {
    /// A handle that puts `task` on the queue.
    pub(super) fn waker(&self, task: Task) -> Arc<TaskWaker> {
        Arc::new(TaskWaker { task, queued: AtomicBool::new(false), queue: Arc::clone(&self.0) })
    }

    /// The next task, which may be queued again from now on.
    pub(super) fn pop(&self) -> Option<Task> {
        let waker = self.0.pop()?;
        waker.queued.store(false, Ordering::Release);
        Some(waker.task)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Puts one task on the queue.
#[derive(Debug)]
pub(super) struct TaskWaker {
    task: Task,
    queued: AtomicBool,
    queue: Arc<SegQueue<Arc<Self>>>,
}

impl TaskWaker {
    /// Puts the task on the queue unless it is there.
    pub(super) fn mark(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.push(Arc::clone(self));
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
}
