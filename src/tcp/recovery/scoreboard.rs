//! What was sent and not acknowledged, segment by segment (RFC 6675 §3, without its heuristics: [`super::rack`] says what is
//! lost).
//!
//! Offsets count bytes of the stream and do not wrap; their low 32 bits are sequence numbers.

use std::collections::VecDeque;
use std::ops::Range;

use crate::time::Moment;

/// What is believed of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// On its way.
    Flying,
    /// Arrived, ahead of something that did not.
    Sacked,
    /// Lost, and not sent again yet.
    Lost,
}

/// A segment that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) start: u64,
    /// The end, one more than the data's if a FIN follows it.
    pub(super) end: u64,
    pub(super) has_fin: bool,
    pub(super) fate: Fate,
    /// Sent more than once.
    pub(super) again: bool,
    /// When it was last sent.
    pub(super) at: Moment,
    /// If it is [`Fate::Sacked`]: so many from here on are too, it is known.
    pub(super) run: u32,
}

impl Sent {
    fn len(&self) -> u64 {
        self.end - self.start
    }
}

/// Segments under way at most: enough for the bytes that may be, in segments of 1,024 bytes.
pub(super) const SEGMENTS_LIMIT: usize = 4_096;
/// Blocks of one acknowledgement (RFC 2018 §3: four fit the header).
pub(super) const BLOCKS: usize = 4;

/// The segments under way, in order and without gaps.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    segments: VecDeque<Sent>,
    sacked: u64,
    lost: u64,
    /// No lost segment starts below.
    lost_from: u64,
    /// Blocks of the last acknowledgement, whose segments are marked already.
    known: [Range<u64>; BLOCKS],
}

impl Scoreboard {
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.segments.len() >= SEGMENTS_LIMIT
    }

    pub(super) fn clear(&mut self) {
        let mut segments = std::mem::take(&mut self.segments);
        segments.clear();
        segments.shrink_to(SEGMENTS_LIMIT / 8);
        *self = Self { segments, ..Self::default() };
    }

    /// Notes a segment that begins where the last one ended.
    #[inline]
    pub(super) fn push(&mut self, sent: Sent) {
        debug_assert!(self.segments.back().is_none_or(|last| last.end == sent.start), "no gaps");
        self.segments.push_back(sent);
    }

    /// The first segment that is not acknowledged.
    pub(super) fn first(&self) -> Option<&Sent> {
        self.segments.front()
    }

    /// Bytes believed to be on their way: "pipe" in RFC 6675.
    #[inline]
    pub(super) fn flying(&self) -> u64 {
        let all = match (self.segments.front(), self.segments.back()) {
            (Some(first), Some(last)) => last.end - first.start,
            _ => 0,
        };
        all - self.sacked - self.lost
    }

    /// Bytes that are selectively acknowledged.
    pub(super) fn sacked(&self) -> u64 {
        self.sacked
    }

    /// Bytes to be sent again.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes off everything below `una`; `delivered` sees each segment that had not been known to have arrived.
    #[inline]
    pub(super) fn advance(&mut self, una: u64, mut delivered: impl FnMut(&Sent)) {
        while let Some(first) = self.segments.front_mut() {
            if first.start >= una {
                return;
            }
            let taken = Sent { end: first.end.min(una), ..*first };
            match taken.fate {
                Fate::Sacked => self.sacked -= taken.len(),
                Fate::Lost => self.lost -= taken.len(),
                Fate::Flying => {}
            }
            if taken.fate != Fate::Sacked {
                delivered(&taken);
            }
            if first.end > una {
                first.start = una;
                return;
            }
            self.segments.pop_front();
        }
    }

    /// Marks the segments that lie wholly in `blocks`; `delivered` sees each that was not marked.
    pub(super) fn sack(&mut self, blocks: &[Range<u64>], mut delivered: impl FnMut(&Sent)) {
        let known = std::mem::take(&mut self.known);
        for (slot, block) in self.known.iter_mut().zip(blocks) {
            *slot = block.clone();
        }
        for block in blocks {
            let mut from = block.start;
            // Segments may straddle the end of what is known, so begin a little before it.
            if let Some(old) = known.iter().find(|old| old.start <= from && from < old.end && old.end <= block.end) {
                from = old.end.saturating_sub(1);
            }
            let mut index = self.segments.partition_point(|sent| sent.end <= from);
            while let Some(sent) = self.segments.get_mut(index)
                && sent.end <= block.end
            {
                if sent.fate != Fate::Sacked && sent.start >= block.start {
                    delivered(sent);
                    if sent.fate == Fate::Lost {
                        self.lost -= sent.len();
                    }
                    sent.fate = Fate::Sacked;
                    self.sacked += sent.len();
                }
                index += 1;
            }
        }
    }

    /// Believes no selective acknowledgement any more: the receiver has thrown away what it had (RFC 2018 §8).
    pub(super) fn renege(&mut self) {
        self.known = Default::default();
        for sent in self.segments.iter_mut().filter(|sent| sent.fate == Fate::Sacked) {
            (sent.fate, sent.run) = (Fate::Flying, 0);
        }
        self.sacked = 0;
    }

    /// Marks flying segments lost as long as `judge` goes on; returns whether any was.
    #[inline]
    pub(super) fn mark_lost(&mut self, mut judge: impl FnMut(&Sent) -> Judgement) -> bool {
        let (before, mut index) = (self.lost, 0);
        loop {
            index = self.skip_sacked(index);
            let Some(sent) = self.segments.get_mut(index) else { break };
            index += 1;
            if sent.fate != Fate::Flying {
                continue;
            }
            match judge(sent) {
                Judgement::Lost => {
                    sent.fate = Fate::Lost;
                    self.lost_from = if self.lost == 0 { sent.start } else { self.lost_from.min(sent.start) };
                    self.lost += sent.len();
                }
                Judgement::Flying => {}
                Judgement::Enough => break,
            }
        }
        self.lost != before
    }

    /// The first segment from `index` on that is not sacked. Remembers what it went over, so that it need not go there again:
    /// with a lossy path there are few holes between many segments.
    #[inline]
    fn skip_sacked(&mut self, index: usize) -> usize {
        let mut next = index;
        while let Some(sent) = self.segments.get(next)
            && sent.fate == Fate::Sacked
        {
            next += sent.run.max(1) as usize;
        }
        if next > index
            && let Some(sent) = self.segments.get_mut(index)
        {
            sent.run = (next - index) as u32;
        }
        next
    }

    /// The first lost segment.
    pub(super) fn first_lost(&mut self) -> Option<&mut Sent> {
        if self.lost == 0 {
            return None;
        }
        let mut index = self.segments.partition_point(|sent| sent.end <= self.lost_from);
        while self.segments.get(index)?.fate != Fate::Lost {
            index = self.skip_sacked(index + 1);
        }
        let found = self.segments.get_mut(index)?;
        self.lost_from = found.start;
        Some(found)
    }

    /// The first lost segment, which is sent again now.
    pub(super) fn resend_first_lost(&mut self, now: Moment) -> Option<Sent> {
        let sent = self.first_lost()?;
        (sent.fate, sent.again, sent.at) = (Fate::Flying, true, now);
        let sent = *sent;
        self.lost -= sent.len();
        self.lost_from = sent.end;
        Some(sent)
    }

    /// The last segment that is not known to have arrived, which is sent again now.
    pub(super) fn resend_last(&mut self, now: Moment) -> Option<Sent> {
        let sent = self.segments.iter_mut().rev().find(|sent| sent.fate != Fate::Sacked)?;
        if sent.fate == Fate::Lost {
            self.lost -= sent.len();
        }
        (sent.fate, sent.again, sent.at) = (Fate::Flying, true, now);
        Some(*sent)
    }
}

/// Whether a segment is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    Lost,
    Flying,
    /// Neither it nor any behind it.
    Enough,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(segments: u64) -> Scoreboard {
        let mut board = Scoreboard::default();
        for n in 0..segments {
            let (start, end) = (n * 100, n * 100 + 100);
            let at = Moment::from_millis(n);
            board.push(Sent { start, end, has_fin: false, fate: Fate::Flying, again: false, at, run: 0 });
        }
        board
    }

    fn sack(board: &mut Scoreboard, blocks: &[Range<u64>]) -> Vec<u64> {
        let mut delivered = Vec::new();
        board.sack(blocks, |sent| delivered.push(sent.start));
        delivered
    }

    #[test]
    fn blocks_mark_whole_segments_once() {
        let mut board = board(10);
        assert_eq!(sack(&mut board, &[250..550, 950..960]), [300, 400], "parts of segments count for nothing");
        assert_eq!(sack(&mut board, &[250..700, 900..1_000]), [500, 600, 900]);
        assert_eq!(sack(&mut board, &[250..700, 900..1_000]), [] as [u64; 0]);
        assert_eq!((board.sacked(), board.flying()), (500, 500));
        let mut delivered = Vec::new();
        board.advance(450, |sent| delivered.push((sent.start, sent.end)));
        assert_eq!(delivered, [(0, 100), (100, 200), (200, 300)]);
        assert_eq!((board.sacked(), board.flying()), (350, 200));
    }

    #[test]
    fn lost_segments_are_sent_again_in_order_and_counted() {
        let mut board = board(6);
        sack(&mut board, std::slice::from_ref(&(400..500)));
        let is_lost = board.mark_lost(|sent| match sent.start {
            0 | 200 => Judgement::Lost,
            300 => Judgement::Enough,
            _ => Judgement::Flying,
        });
        assert!(is_lost);
        assert_eq!((board.lost(), board.flying()), (200, 300));
        let now = Moment::from_millis(50);
        let again: Vec<_> = std::iter::from_fn(|| board.resend_first_lost(now)).map(|sent| sent.start).collect();
        assert_eq!(again, [0, 200]);
        assert_eq!((board.lost(), board.flying()), (0, 500));
        assert_eq!(board.resend_last(now).map(|sent| (sent.start, sent.again)), Some((500, true)));
        board.renege();
        assert_eq!((board.sacked(), board.flying()), (0, 600));
        assert!(board.mark_lost(|_| Judgement::Lost));
        assert_eq!(board.resend_first_lost(now).map(|sent| sent.start), Some(0));
    }
}
