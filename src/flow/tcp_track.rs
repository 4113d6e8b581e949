//! TCP connection tracking: a transition table, and the little sequence arithmetic that feeds it.

use crate::packet::{PacketMeta, TcpFlags};

use super::entry::Direction;

/// Where a connection stands, as seen from between its two ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TcpState {
    /// A SYN went from the originator.
    SynSent,
    /// A SYN-ACK came back.
    SynReceived,
    /// The handshake is finished.
    Established,
    /// The originator sent its FIN.
    OriginatorFin,
    /// The other side sent its FIN.
    ReplierFin,
    /// Both sent theirs; not all is acknowledged.
    BothFin,
    /// Both FINs are acknowledged: the connection is over, but the last acknowledgement may have been lost.
    TimeWait,
    /// Reset.
    Closed,
}

impl TcpState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::OriginatorFin,
        Self::ReplierFin,
        Self::BothFin,
        Self::TimeWait,
        Self::Closed,
    ];

    /// Whether the handshake is not finished.
    #[inline]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived)
    }

    /// Whether the connection is over.
    #[inline]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::TimeWait | Self::Closed)
    }
}

/// What a segment means to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TcpEvent {
    /// SYN without ACK.
    Syn,
    /// SYN with ACK.
    SynAck,
    /// An acknowledgement or data, or anything that changes nothing.
    Segment,
    /// FIN.
    Fin,
    /// After it, all that both sent is acknowledged.
    LastAck,
    /// A RST that the other end will believe.
    Rst,
}

impl TcpEvent {
    /// Every event.
    pub const ALL: [Self; 6] = [Self::Syn, Self::SynAck, Self::Segment, Self::Fin, Self::LastAck, Self::Rst];
}

/// What the table says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TcpOutcome {
    /// The segment belongs to the connection, which is now in this state.
    To(TcpState),
    /// It came after the end: AWS rejects it and logs that.
    Late,
    /// It opens a new connection in the place of one that is over.
    Reopen,
}

/// The transition table. Which rows deviate from RFC 9293 §3.3.2 and why: both ends are seen at once, and a segment that
/// changes nothing is let through for the ends to judge.
pub const fn transition(state: TcpState, direction: Direction, event: TcpEvent) -> TcpOutcome {
    use Direction::{Original, Reply};
    use TcpEvent::{Fin, LastAck, Rst, Segment, Syn, SynAck};
    use TcpOutcome::{Late, Reopen, To};
    use TcpState::{BothFin, Closed, Established, OriginatorFin, ReplierFin, SynReceived, SynSent, TimeWait};

    match (state, direction, event) {
        // Over: a SYN starts anew, everything else is late. In TIME-WAIT a retransmitted FIN asks for the acknowledgement
        // that was lost, and gets it.
        (TimeWait | Closed, Original, Syn) => Reopen,
        (TimeWait, Original, Fin) | (TimeWait, Reply, Segment | Fin | LastAck) => To(TimeWait),
        (TimeWait | Closed, _, _) => Late,

        (_, _, Rst) => To(Closed),

        (SynSent, Reply, SynAck) => To(SynReceived),
        (SynSent, _, _) => To(SynSent),

        (SynReceived, Original, Segment | LastAck) => To(Established),
        (SynReceived | Established, Original, Fin) => To(OriginatorFin),
        (SynReceived | Established, Reply, Fin) => To(ReplierFin),
        (SynReceived, _, _) => To(SynReceived),
        (Established, _, _) => To(Established),

        (OriginatorFin, Reply, Fin) | (ReplierFin, Original, Fin) => To(BothFin),
        (OriginatorFin, _, _) => To(OriginatorFin),
        (ReplierFin, _, _) => To(ReplierFin),

        (BothFin, _, LastAck) => To(TimeWait),
        (BothFin, _, _) => To(BothFin),
    }
}

/// What tracking needs of a TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TcpSegment {
    /// Control bits.
    pub flags: TcpFlags,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Bytes of payload; of all of it, for a super-segment.
    pub payload_len: u32,
}

impl TcpSegment {
    /// The segment in a TCP packet.
    #[inline]
    pub const fn of(meta: &PacketMeta) -> Self {
        Self {
            flags: meta.tcp_flags(),
            sequence: meta.tcp_sequence(),
            acknowledgement: meta.tcp_acknowledgement(),
            payload_len: meta.payload_len() as u32,
        }
    }

    /// The sequence number behind it: SYN and FIN count one each (RFC 9293 §3.4).
    const fn end(&self) -> u32 {
        let controls = self.flags.contains(TcpFlags::SYN) as u32 + self.flags.contains(TcpFlags::FIN) as u32;
        self.sequence.wrapping_add(self.payload_len).wrapping_add(controls)
    }
}

/// One connection's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpTrack {
    state: TcpState,
    /// Highest sequence number sent by each direction, one past its end.
    sent: [u32; 2],
    /// Highest acknowledgement sent by each direction: what it expects of the other.
    acknowledged: [u32; 2],
}

impl TcpTrack {
    /// The connection that `syn` opens.
    pub const fn open(syn: &TcpSegment) -> Self {
        Self { state: TcpState::SynSent, sent: [syn.end(), 0], acknowledged: [0, syn.sequence] }
    }

    /// Where it stands.
    #[inline]
    pub const fn state(&self) -> TcpState {
        self.state
    }

    /// Takes notice of a segment.
    #[inline]
    pub fn observe(&mut self, direction: Direction, segment: &TcpSegment) -> TcpOutcome {
        if self.observe_plain(direction, segment) {
            return TcpOutcome::To(TcpState::Established);
        }
        self.observe_any(direction, segment)
    }

    /// What nearly every segment is: data or an acknowledgement in the middle of a connection, which changes no state. Says no
    /// to all others and takes no notice of them.
    #[inline]
    pub(super) fn observe_plain(&mut self, direction: Direction, segment: &TcpSegment) -> bool {
        const OTHERS: TcpFlags = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST);
        if self.state != TcpState::Established || segment.flags.0 & OTHERS.0 != 0 {
            return false;
        }
        self.note_numbers(direction, segment, segment.sequence.wrapping_add(segment.payload_len));
        true
    }

    fn observe_any(&mut self, direction: Direction, segment: &TcpSegment) -> TcpOutcome {
        let event = self.classify(direction, segment);
        let outcome = transition(self.state, direction, event);
        if let TcpOutcome::To(state) = outcome {
            self.state = state;
        }
        outcome
    }

    fn classify(&mut self, direction: Direction, segment: &TcpSegment) -> TcpEvent {
        let flags = segment.flags;
        if flags.contains(TcpFlags::RST) {
            return if self.is_believable(direction, segment) { TcpEvent::Rst } else { TcpEvent::Segment };
        }
        let is_syn_ack = flags.contains(TcpFlags::SYN.union(TcpFlags::ACK));
        if self.state == TcpState::SynSent && direction == Direction::Reply {
            if !is_syn_ack {
                return TcpEvent::Segment;
            }
            // The other side's numbers begin here.
            self.sent[Direction::Reply as usize] = segment.end();
            self.acknowledged[Direction::Original as usize] = segment.sequence;
        }
        let (from, to) = (direction as usize, direction.reversed() as usize);
        if !self.state.is_over() {
            self.note_numbers(direction, segment, segment.end());
        }
        if flags.opens() {
            TcpEvent::Syn
        } else if is_syn_ack {
            TcpEvent::SynAck
        } else if self.state == TcpState::BothFin
            && reaches(self.acknowledged[from], self.sent[to])
            && reaches(self.acknowledged[to], self.sent[from])
        {
            TcpEvent::LastAck
        } else if flags.contains(TcpFlags::FIN) {
            TcpEvent::Fin
        } else {
            TcpEvent::Segment
        }
    }

    /// Raises what the sender sent and acknowledged. What the other side never sent cannot be acknowledged (RFC 9293 §3.10.7.4);
    /// before its SYN it sent nothing.
    #[inline]
    fn note_numbers(&mut self, direction: Direction, segment: &TcpSegment, end: u32) {
        let (from, to) = (direction as usize, direction.reversed() as usize);
        raise(&mut self.sent[from], end);
        let knows_other = self.state != TcpState::SynSent || direction == Direction::Reply;
        if segment.flags.contains(TcpFlags::ACK) && knows_other && reaches(self.sent[to], segment.acknowledgement) {
            raise(&mut self.acknowledged[from], segment.acknowledgement);
        }
    }

    /// Whether the receiver will take this RST for real. One that merely knows the five-tuple must not end the flow here
    /// while the connection lives on there: RFC 5961 §3.2 wants the exact sequence number, which lies between what the
    /// receiver acknowledged and what the sender sent. Our own stack's RSTs are no exception: it answers a stranger's
    /// segment with one that bears the stranger's numbers (RFC 9293 §3.10.7.4).
    const fn is_believable(&self, direction: Direction, segment: &TcpSegment) -> bool {
        let expected = self.acknowledged[direction.reversed() as usize];
        let sent = self.sent[direction as usize];
        segment.sequence.wrapping_sub(expected) <= sent.wrapping_sub(expected)
    }
}

/// Sequence numbers compare on a circle (RFC 9293 §3.4).
const fn reaches(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 >= 0
}

const fn raise(highest: &mut u32, value: u32) {
    if reaches(value, *highest) {
        *highest = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};
    use proptest::prelude::*;

    const ACK: TcpFlags = TcpFlags::ACK;
    const SYN_ACK: TcpFlags = TcpFlags::SYN.union(ACK);
    const FIN_ACK: TcpFlags = TcpFlags::FIN.union(ACK);

    fn short(outcome: TcpOutcome) -> String {
        match outcome {
            TcpOutcome::To(state) => format!("{state:?}"),
            other => format!("{other:?}!"),
        }
    }

    #[test]
    fn every_transition_is_as_written_down() {
        let mut table = String::new();
        for direction in [Original, Reply] {
            for state in TcpState::ALL {
                let row: Vec<String> =
                    TcpEvent::ALL.iter().map(|&event| short(transition(state, direction, event))).collect();
                table += &format!("{direction:?} {state:?}: {}\n", row.join(" "));
            }
        }
        // Columns: Syn SynAck Segment Fin LastAck Rst
        let expected = "\
Original SynSent: SynSent SynSent SynSent SynSent SynSent Closed
Original SynReceived: SynReceived SynReceived Established OriginatorFin Established Closed
Original Established: Established Established Established OriginatorFin Established Closed
Original OriginatorFin: OriginatorFin OriginatorFin OriginatorFin OriginatorFin OriginatorFin Closed
Original ReplierFin: ReplierFin ReplierFin ReplierFin BothFin ReplierFin Closed
Original BothFin: BothFin BothFin BothFin BothFin TimeWait Closed
Original TimeWait: Reopen! Late! Late! TimeWait Late! Late!
Original Closed: Reopen! Late! Late! Late! Late! Late!
Reply SynSent: SynSent SynReceived SynSent SynSent SynSent Closed
Reply SynReceived: SynReceived SynReceived SynReceived ReplierFin SynReceived Closed
Reply Established: Established Established Established ReplierFin Established Closed
Reply OriginatorFin: OriginatorFin OriginatorFin OriginatorFin BothFin OriginatorFin Closed
Reply ReplierFin: ReplierFin ReplierFin ReplierFin ReplierFin ReplierFin Closed
Reply BothFin: BothFin BothFin BothFin BothFin TimeWait Closed
Reply TimeWait: Late! Late! TimeWait TimeWait TimeWait Late!
Reply Closed: Late! Late! Late! Late! Late! Late!
";
        assert_eq!(table, expected, "\n{table}");
    }

    fn seg(flags: TcpFlags, sequence: u32, acknowledgement: u32, payload_len: u32) -> TcpSegment {
        TcpSegment { flags, sequence, acknowledgement, payload_len }
    }

    /// Originator at 100 sends 10 bytes, the other side at 900 answers 20.
    fn exchanged() -> TcpTrack {
        let mut track = TcpTrack::open(&seg(TcpFlags::SYN, 100, 0, 0));
        for (direction, segment, state) in [
            (Reply, seg(SYN_ACK, 900, 101, 0), TcpState::SynReceived),
            (Original, seg(ACK, 101, 901, 10), TcpState::Established),
            (Reply, seg(ACK, 901, 111, 20), TcpState::Established),
        ] {
            assert_eq!(track.observe(direction, &segment), TcpOutcome::To(state));
        }
        track
    }

    #[test]
    fn a_connection_closes_when_both_fins_are_acknowledged_and_not_before() {
        let mut track = exchanged();
        for (direction, segment, state) in [
            (Original, seg(FIN_ACK, 111, 901, 0), TcpState::OriginatorFin),
            (Reply, seg(FIN_ACK, 921, 112, 0), TcpState::BothFin),
            (Original, seg(ACK, 112, 921, 0), TcpState::BothFin), // the data, not yet the FIN
            (Original, seg(ACK, 112, 922, 0), TcpState::TimeWait),
            (Original, seg(FIN_ACK, 111, 901, 0), TcpState::TimeWait), // its acknowledgement was lost
        ] {
            assert_eq!(track.observe(direction, &segment), TcpOutcome::To(state));
        }
        assert_eq!(track.observe(Original, &seg(ACK, 112, 922, 5)), TcpOutcome::Late);
        assert_eq!(track.observe(Original, &seg(TcpFlags::SYN, 7, 0, 0)), TcpOutcome::Reopen);
    }

    #[test]
    fn a_retransmitted_fin_can_carry_the_last_acknowledgement() {
        let mut track = exchanged();
        track.observe(Original, &seg(FIN_ACK, 111, 921, 0));
        track.observe(Reply, &seg(FIN_ACK, 921, 112, 0));
        let outcome = track.observe(Original, &seg(FIN_ACK, 111, 922, 0));
        assert_eq!(outcome, TcpOutcome::To(TcpState::TimeWait));
    }

    #[test]
    fn simultaneous_fins_wait_for_both_acknowledgements() {
        let mut track = exchanged();
        track.observe(Reply, &seg(FIN_ACK, 921, 111, 0));
        assert_eq!(track.observe(Original, &seg(FIN_ACK, 111, 921, 0)), TcpOutcome::To(TcpState::BothFin));
        assert_eq!(track.observe(Original, &seg(ACK, 112, 922, 0)), TcpOutcome::To(TcpState::BothFin));
        assert_eq!(track.observe(Reply, &seg(ACK, 922, 112, 0)), TcpOutcome::To(TcpState::TimeWait));
    }

    #[test]
    fn a_rst_closes_only_where_the_receiver_would_believe_it() {
        for (sequence, closes) in [(110, false), (111, true), (112, false), (0, false), (111 + (1 << 31), false)] {
            let mut track = exchanged();
            track.observe(Original, &seg(TcpFlags::RST, sequence, 0, 0));
            assert_eq!(track.state() == TcpState::Closed, closes, "{sequence}");
        }
        // Ten bytes on their way: anything between what was acknowledged and what was sent.
        let mut track = exchanged();
        track.observe(Original, &seg(ACK, 111, 921, 10));
        track.observe(Original, &seg(TcpFlags::RST, 121, 0, 0));
        assert_eq!(track.state(), TcpState::Closed);
        let mut track = TcpTrack::open(&seg(TcpFlags::SYN, u32::MAX, 0, 0));
        track.observe(Reply, &seg(TcpFlags::RST.union(ACK), 0, 0, 0));
        assert_eq!(track.state(), TcpState::Closed);
    }

    #[test]
    fn a_stranger_cannot_have_our_own_stack_end_a_handshake() {
        let mut track = TcpTrack::open(&seg(TcpFlags::SYN, 100, 0, 0));
        // An acknowledgement of nothing that was sent is answered with a RST of the number it acknowledged.
        let stray = |track: &mut TcpTrack, acknowledgement| {
            track.observe(Original, &seg(ACK, 101, acknowledgement, 0));
            track.observe(Reply, &seg(TcpFlags::RST, acknowledgement, 0, 0));
            assert!(!track.state().is_over(), "{acknowledgement}");
        };
        stray(&mut track, 7);
        track.observe(Reply, &seg(SYN_ACK, 900, 101, 0));
        for acknowledgement in [7, 899, 902, 77_777, 900 + (1 << 31)] {
            stray(&mut track, acknowledgement);
        }
        track.observe(Reply, &seg(TcpFlags::RST, 901, 0, 0));
        assert_eq!(track.state(), TcpState::Closed);
    }

    proptest! {
        /// The short way and the long one agree on everything.
        #[test]
        fn a_plain_segment_is_noticed_as_any_other(
            state in prop::sample::select(&TcpState::ALL[..]),
            numbers: [u32; 4],
            is_reply: bool,
            flags: u8,
            (sequence, acknowledgement, payload_len) in (0u32..4, 0u32..4, 0u32..70_000),
        ) {
            // Near one another, so that both sides of each comparison occur.
            let [sent, other, acknowledged, last] = numbers.map(|n| n % 4);
            let track = TcpTrack { state, sent: [sent, other], acknowledged: [acknowledged, last] };
            let direction = if is_reply { Reply } else { Original };
            let segment = seg(TcpFlags(flags), sequence, acknowledgement, payload_len);
            let (mut short, mut long) = (track, track);
            prop_assert_eq!(short.observe(direction, &segment), long.observe_any(direction, &segment));
            prop_assert_eq!(short, long);
        }
    }

    #[test]
    fn sequence_numbers_may_wrap() {
        let mut track = TcpTrack::open(&seg(TcpFlags::SYN, u32::MAX - 1, 0, 0));
        track.observe(Reply, &seg(SYN_ACK, u32::MAX, u32::MAX, 0));
        track.observe(Original, &seg(FIN_ACK, u32::MAX, 0, 10));
        track.observe(Reply, &seg(FIN_ACK, 0, 10, 0));
        assert_eq!(track.observe(Original, &seg(ACK, 10, 1, 0)), TcpOutcome::To(TcpState::TimeWait));
    }
}
