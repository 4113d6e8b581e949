//! The ceiling of DNS: a kernel socket and one answer to every question.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

use crate::edge::Fault;

/// A header's length: RFC 1035 section 4.1.1.
const HEADER: usize = 12;
/// Largest message without EDNS: RFC 1035 section 2.3.4.
const LARGEST: usize = 512;

/// Answers until `end` can be read, which it can when its other side is closed.
///
/// # Errors
/// When the kernel refuses to wait.
pub fn serve(socket: &OwnedFd, end: &OwnedFd, address: Ipv4Addr) -> Result<(), Fault> {
    let mut buffer = [0; LARGEST];
    loop {
        let mut watched = [PollFd::new(socket, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Fault::new(format!("cannot wait for questions: {errno}"))),
        }
        if !watched[1].revents().is_empty() {
            return Ok(());
        }
        while let Ok((_, length, Some(from))) = recvfrom(socket, &mut buffer[..], RecvFlags::empty()) {
            if let Some(length) = answer(&mut buffer, length, address) {
                // What the socket does not take is lost, as datagrams are.
                _ = sendto(socket, &buffer[..length], SendFlags::empty(), &from);
            }
        }
    }
}

/// Turns a question into its answer, where it lies. `None` for what is no question.
fn answer(buffer: &mut [u8; LARGEST], length: usize, address: Ipv4Addr) -> Option<usize> {
    // A pointer to the name of the question, A, IN, 60 s, four bytes: RFC 1035 sections 4.1.3 and 4.1.4.
    const RECORD: [u8; 12] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4];
    let question = buffer.get(HEADER..length)?;
    // Behind the name's last label stand type and class.
    let end = HEADER + question.iter().position(|byte| *byte == 0)? + 5;
    let whole = end + RECORD.len() + 4;
    if end > length || whole > LARGEST || buffer[2] & 0x80 != 0 {
        return None;
    }
    // A response, recursion available; one question, one answer.
    buffer[2] |= 0x80;
    buffer[3] = 0x80;
    buffer[4..HEADER].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    buffer[end..end + RECORD.len()].copy_from_slice(&RECORD);
    buffer[end + RECORD.len()..whole].copy_from_slice(&address.octets());
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::datagrams::question;

    #[test]
    fn a_question_is_answered_with_the_address_and_other_things_are_not() {
        let message = question("lambda.us-east-2.amazonaws.com").expect("a question");
        let mut buffer = [0; LARGEST];
        buffer[..message.len()].copy_from_slice(&message);
        let length = answer(&mut buffer, message.len(), [10, 0, 1, 100].into()).expect("answered");
        let answered = hickory_proto::op::Message::from_vec(&buffer[..length]).expect("a message");
        assert_eq!(answered.answers.len(), 1);
        assert_eq!(answered.answers[0].data.to_string(), "10.0.1.100");
        assert_eq!(answer(&mut buffer, length, Ipv4Addr::LOCALHOST), None, "an answer is no question");
        assert_eq!(answer(&mut [0; LARGEST], 5, Ipv4Addr::LOCALHOST), None);
    }
}
