//! Frames on their way to the socket: a ring of bytes from which runs of equal-sized frames leave in one send.
//!
//! With `UDP_SEGMENT` the kernel cuts one payload into datagrams of one size, the last of which may be shorter; that is
//! worth a factor of 15 to 20 over a send per frame. So frames lie back to back in the ring, each with the moment it is
//! due, and [`TransmitQueue::poll_transmit`] takes the longest run from the front that is due, equal-sized and of one SA.
//! Frames never overtake each other. A frame is sealed where it lies and copied nowhere.
//!
//! Limits: the ring's bytes and its number of frames, both fixed when it is made; a frame that finds no room is not taken
//! and the caller counts [`crate::verdict::Reason::TunnelQueueFull`] or waits.

use std::collections::VecDeque;
use std::ops::Range;

use crate::time::Moment;

/// Largest UDP payload over IPv4: 65,535 less both headers. A longer run is refused with EMSGSIZE.
pub const PAYLOAD_LIMIT: usize = 65_507;
/// Most segments of one send (the kernel's `UDP_MAX_SEGMENTS`; 128 only since Linux 6.9).
pub const SEGMENT_LIMIT: usize = 64;

/// The frames of one received payload: equal-sized but for the last (`UDP_GRO`).
///
/// `segment_size` is the kernel's word; 0 or more than the payload stands for one frame.
#[inline]
pub fn frames(payload: &mut [u8], segment_size: usize) -> std::slice::ChunksMut<'_, u8> {
    let size = if segment_size == 0 { payload.len() } else { segment_size };
    payload.chunks_mut(size.max(1))
}

/// Where the frames of one received payload of `len` bytes lie, as [`frames`] gives them.
#[inline]
pub fn places(len: usize, segment_size: usize) -> impl Iterator<Item = Range<usize>> {
    let size = if segment_size == 0 { len } else { segment_size }.max(1);
    (0..len).step_by(size).map(move |start| start..len.min(start + size))
}

/// A frame in the ring.
#[derive(Clone, Copy, Debug)]
struct Queued {
    due: Moment,
    start: u32,
    len: u16,
    sa: u16,
}

impl Queued {
    const fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// Sealed frames that wait for their moment and for the socket.
#[derive(Debug)]
pub struct TransmitQueue {
    ring: Box<[u8]>,
    queued: VecDeque<Queued>,
    frame_limit: usize,
    /// Where the next frame goes, unless it has to wrap.
    tail: usize,
}

impl TransmitQueue {
    /// An empty queue for at most `bytes` bytes and `frame_limit` frames. Memory is touched only as it is used.
    pub fn new(bytes: usize, frame_limit: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize);
        Self {
            ring: vec![0; bytes].into_boxed_slice(),
            queued: VecDeque::with_capacity(frame_limit),
            frame_limit,
            tail: 0,
        }
    }

    /// Whether a frame of `len` bytes finds room.
    #[inline]
    pub fn has_room(&self, len: usize) -> bool {
        self.place(len).is_some()
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.queued.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// When the next frame is due; `None` if none waits.
    #[inline]
    pub fn next_due(&self) -> Option<Moment> {
        self.queued.front().map(|frame| frame.due)
    }

    /// Where a frame of `len` bytes goes: to be written there ([`Self::bytes_mut`]) and then given to [`Self::push`] before
    /// anything else is. `None` if there is no room.
    #[inline]
    pub(super) fn room(&self, len: usize) -> Option<usize> {
        self.place(len)
    }

    /// Bytes of the ring.
    #[inline]
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.ring[range]
    }

    /// Bytes of the ring, to be written.
    #[inline]
    pub(super) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.ring[range]
    }

    /// Queues the frame that was written at `start`. Moments must not go backwards.
    #[inline]
    pub(super) fn push(&mut self, start: usize, len: usize, due: Moment, sa: usize) {
        debug_assert!(self.queued.back().is_none_or(|before| before.due <= due), "frames are due in order");
        self.queued.push_back(Queued { due, start: start as u32, len: len as u16, sa: sa as u16 });
        self.tail = start + len;
    }

    /// The next run of frames that is due at `now`; it stays queued until [`Transmit::sent`].
    #[inline]
    pub fn poll_transmit(&mut self, now: Moment) -> Option<Transmit<'_>> {
        let first = *self.queued.front().filter(|first| first.due <= now)?;
        let mut run = first.range();
        for next in self.queued.range(1..).take(SEGMENT_LIMIT - 1) {
            let belongs = next.due <= now
                && next.sa == first.sa
                && next.start as usize == run.end
                && next.len <= first.len
                && run.len() + usize::from(next.len) <= PAYLOAD_LIMIT;
            if !belongs {
                break;
            }
            run.end = next.range().end;
            if next.len < first.len {
                break;
            }
        }
        Some(Transmit { queue: self, run, segment_size: first.len.into(), sa: first.sa.into() })
    }

    /// Where a frame of `len` bytes would go: behind the last, or at the beginning if the end is too short for it.
    #[inline]
    fn place(&self, len: usize) -> Option<usize> {
        if self.queued.len() >= self.frame_limit || len > usize::from(u16::MAX) {
            return None;
        }
        let Some(first) = self.queued.front() else {
            return (len <= self.ring.len()).then_some(0);
        };
        let head = first.start as usize;
        if self.tail <= head {
            // Wrapped: free is what lies between tail and head, less a byte, so that full never looks like empty.
            return (head - self.tail > len).then_some(self.tail);
        }
        if self.ring.len() - self.tail >= len {
            return Some(self.tail);
        }
        (len < head).then_some(0)
    }
}

/// Frames for one send: datagrams of [`Self::segment_size`] bytes each but for the last, which may be shorter.
#[derive(Debug)]
pub struct Transmit<'q> {
    queue: &'q mut TransmitQueue,
    run: Range<usize>,
    segment_size: usize,
    sa: usize,
}

impl Transmit<'_> {
    /// The frames, back to back.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.queue.ring[self.run.clone()]
    }

    /// Bytes of each frame but the last.
    pub const fn segment_size(&self) -> usize {
        self.segment_size
    }

    /// Which SA pair they belong to, hence which socket sends them.
    pub const fn sa(&self) -> usize {
        self.sa
    }

    /// Takes those frames off the queue that lie within the first `bytes` bytes, and returns how many they are. Without
    /// this call, or with fewer bytes than the run's, the rest comes again: that is the back-pressure.
    #[inline]
    pub fn sent(self, bytes: usize) -> usize {
        let end = self.run.start + bytes.min(self.run.len());
        let mut frames = 0;
        while self.queue.queued.front().is_some_and(|frame| {
            let range = frame.range();
            range.start >= self.run.start && range.end <= end && !range.is_empty()
        }) {
            self.queue.queued.pop_front();
            frames += 1;
        }
        frames
    }
}

#[cfg(test)]
mod tests;
