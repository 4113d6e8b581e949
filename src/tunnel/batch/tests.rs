use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const NOW: Moment = Moment::from_millis(1);

fn push(queue: &mut TransmitQueue, len: usize, fill: u8, due: Moment, sa: usize) -> bool {
    let Some(start) = queue.room(len) else { return false };
    queue.bytes_mut(start..start + len).fill(fill);
    queue.push(start, len, due, sa);
    true
}

/// The next send: frame size, bytes, SA. Taken off the queue.
fn take(queue: &mut TransmitQueue) -> Option<(usize, usize, usize)> {
    let transmit = queue.poll_transmit(NOW)?;
    let (segment_size, bytes, sa) = (transmit.segment_size(), transmit.bytes().len(), transmit.sa());
    transmit.sent(bytes);
    Some((segment_size, bytes, sa))
}

fn queue_of(frames: &[(usize, usize)]) -> TransmitQueue {
    let mut queue = TransmitQueue::new(1 << 20, 1 << 12);
    for &(len, sa) in frames {
        assert!(push(&mut queue, len, 0, Moment::default(), sa));
    }
    queue
}

#[test]
fn equal_frames_leave_in_one_send_and_a_shorter_one_may_end_it() {
    let mut queue = queue_of(&[(1480, 0), (1480, 0), (60, 0), (60, 0), (1480, 0)]);
    assert_eq!(take(&mut queue), Some((1480, 3020, 0)));
    assert_eq!(take(&mut queue), Some((60, 60, 0)));
    assert_eq!(take(&mut queue), Some((1480, 1480, 0)));
    assert_eq!(take(&mut queue), None);
}

#[test]
fn a_send_holds_at_most_64_frames_and_at_most_one_udp_payload() {
    let mut queue = queue_of(&[(100, 0); 130]);
    assert_eq!([(); 3].map(|()| take(&mut queue).unwrap().1), [6_400, 6_400, 200]);
    let mut queue = queue_of(&[(1480, 0); 45]);
    assert_eq!(take(&mut queue), Some((1480, 44 * 1480, 0)));
    let mut queue = queue_of(&[(PAYLOAD_LIMIT, 0), (1, 0)]);
    assert_eq!(take(&mut queue), Some((PAYLOAD_LIMIT, PAYLOAD_LIMIT, 0)));
    assert_eq!(take(&mut queue), Some((1, 1, 0)));
}

#[test]
fn frames_of_different_sas_never_share_a_send() {
    let mut queue = queue_of(&[(100, 0), (100, 1), (100, 1), (100, 0)]);
    assert_eq!(take(&mut queue), Some((100, 100, 0)));
    assert_eq!(take(&mut queue), Some((100, 200, 1)));
    assert_eq!(take(&mut queue), Some((100, 100, 0)));
}

#[test]
fn frames_wait_for_their_moment() {
    let mut queue = TransmitQueue::new(1 << 16, 16);
    assert_eq!(queue.next_due(), None);
    push(&mut queue, 100, 0, NOW, 0);
    push(&mut queue, 100, 0, Moment::from_millis(2), 0);
    assert!(queue.poll_transmit(Moment::default()).is_none());
    assert_eq!(take(&mut queue), Some((100, 100, 0)));
    assert_eq!(take(&mut queue), None);
    assert_eq!(queue.next_due(), Some(Moment::from_millis(2)));
}

#[test]
fn what_the_socket_did_not_take_comes_again() {
    let mut queue = queue_of(&[(100, 0); 5]);
    assert_eq!(queue.poll_transmit(NOW).unwrap().sent(0), 0);
    assert_eq!(queue.poll_transmit(NOW).unwrap().sent(299), 2, "a frame sent in part was not sent");
    assert_eq!(queue.len(), 3);
    assert_eq!(queue.poll_transmit(NOW).unwrap().sent(usize::MAX), 3);
    assert!(queue.is_empty());
}

#[test]
fn bytes_and_frames_are_limited_and_room_comes_back() {
    let mut queue = TransmitQueue::new(1_000, 3);
    for _ in 0..3 {
        assert!(push(&mut queue, 10, 0, NOW, 0));
    }
    assert!(!queue.has_room(10), "three frames are the limit");
    take(&mut queue);
    assert!(push(&mut queue, 1_000, 0, NOW, 0));
    assert!(!queue.has_room(1), "the ring is full");
    take(&mut queue);
    assert!(!queue.has_room(1_001));
    assert!(queue.has_room(1_000));
    assert!(!TransmitQueue::new(1 << 20, 8).has_room(65_536), "no UDP payload is so long");
}

#[test]
fn a_received_payload_is_cut_into_its_frames() {
    let mut payload = [0; 250];
    for (segment_size, expected) in
        [(100, vec![100, 100, 50]), (250, vec![250]), (0, vec![250]), (999, vec![250]), (125, vec![125, 125])]
    {
        assert_eq!(frames(&mut payload, segment_size).map(|f| f.len()).collect::<Vec<_>>(), expected);
    }
    assert_eq!(frames(&mut [], 0).count(), 0);
    assert_eq!(frames(&mut [], 100).count(), 0);
}

proptest! {
    /// Against a plain list: nothing is lost, overwritten, reordered or sent too early, however the ring wraps.
    #[test]
    fn the_ring_is_a_first_in_first_out_queue(
        ring in 1_usize..3_000,
        steps in prop::collection::vec((0_u8..3, 1_usize..700, 0_usize..2, 0_usize..2_000), 1..200),
    ) {
        let mut queue = TransmitQueue::new(ring, 40);
        let mut model: VecDeque<(usize, u8, usize)> = VecDeque::new();
        for (step, (what, len, sa, sent)) in steps.into_iter().enumerate() {
            if what < 2 {
                let fill = step as u8;
                let had_room = queue.has_room(len);
                prop_assert_eq!(push(&mut queue, len, fill, NOW, sa), had_room);
                prop_assert!(had_room || !model.is_empty() || len > ring, "an empty ring refused a frame that fits");
                if had_room {
                    model.push_back((len, fill, sa));
                }
            } else if let Some(transmit) = queue.poll_transmit(NOW) {
                let mut at = 0;
                let mut whole = 0;
                for (index, piece) in transmit.bytes().chunks(transmit.segment_size()).enumerate() {
                    let (len, fill, sa) = model[index];
                    prop_assert_eq!(piece.len(), len);
                    prop_assert!(piece.iter().all(|&byte| byte == fill));
                    prop_assert_eq!(transmit.sa(), sa);
                    at += len;
                    whole += usize::from(at <= sent);
                }
                prop_assert_eq!(transmit.sent(sent), whole);
                model.drain(..whole);
            }
            prop_assert_eq!(queue.len(), model.len());
        }
    }
}
