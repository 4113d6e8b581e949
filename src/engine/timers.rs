//! Deadlines of futures, in the engine's time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::time::Moment;

/// All deadlines that futures of one worker wait for. A deadline that is dropped is removed, so there are never more than
/// there are waiting futures.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: RefCell<BTreeMap<(Moment, u64), Waker>>,
    now: Cell<Moment>,
    next_id: Cell<u64>,
}

impl Timers {
    /// A future that is ready at `at`.
    pub(super) fn at(&self, at: Moment) -> Deadline {
        let id = self.0.next_id.get();
        self.0.next_id.set(id + 1);
        Deadline { key: (at, id), registered: false, timers: self.clone() }
    }

    /// Tells the time and wakes what is due.
    pub(super) fn advance(&self, now: Moment) {
        self.0.now.set(now);
        loop {
            let mut waiting = self.0.waiting.borrow_mut();
            match waiting.first_entry() {
                Some(entry) if entry.key().0 <= now => {
                    let waker = entry.remove();
                    drop(waiting);
                    waker.wake();
                }
                _ => return,
            }
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Moment> {
        self.0.waiting.borrow().first_key_value().map(|(&(at, _), _)| at)
    }

    /// This turn's time.
    pub(super) fn now(&self) -> Moment {
        self.0.now.get()
    }
}

/// Ready once its moment has come.
#[derive(Debug)]
pub(super) struct Deadline {
    key: (Moment, u64),
    registered: bool,
    timers: Timers,
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.timers.now() >= self.key.0 {
            return Poll::Ready(());
        }
        self.registered = true;
        self.timers.0.waiting.borrow_mut().insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if self.registered {
            self.timers.0.waiting.borrow_mut().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ready::{ReadyQueue, Task};

    #[test]
    fn deadlines_wake_in_time_and_vanish_when_dropped() {
        let (timers, queue) = (Timers::default(), ReadyQueue::default());
        let ready = queue.handle(Task::Events);
        let mut cx = Context::from_waker(ready.waker());
        let mut early = Box::pin(timers.at(Moment::from_millis(5)));
        let mut late = Box::pin(timers.at(Moment::from_millis(9)));
        assert!(early.as_mut().poll(&mut cx).is_pending() && late.as_mut().poll(&mut cx).is_pending());
        assert_eq!(timers.next(), Some(Moment::from_millis(5)));
        timers.advance(Moment::from_millis(5));
        assert_eq!(queue.pop(), Some(Task::Events));
        assert!(early.as_mut().poll(&mut cx).is_ready() && late.as_mut().poll(&mut cx).is_pending());
        drop(late);
        assert_eq!(timers.next(), None);
    }
}
