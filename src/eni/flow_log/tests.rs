use std::net::Ipv4Addr;

use super::*;
use crate::packet::Protocol;
use crate::security_group::testing::topology;

fn flow_log(window: u64, record_limit: usize, now: u64) -> FlowLog {
    let settings = FlowLogSettings { window: Duration::from_secs(window), record_limit };
    let snapshot = EniSnapshot::compile(&topology(), 1);
    FlowLog::new(settings, &snapshot, FlowSeed([1, 2]), UnixTime::from_secs(now))
}

fn logged(port: u16, action: Action, bytes: u64) -> Logged {
    let tuple = FiveTuple::v4((Ipv4Addr::new(10, 0, 1, 10), port), (Ipv4Addr::new(10, 0, 1, 5), 443), Protocol::TCP);
    Logged { eni: 0, tuple, action, packets: 1, bytes, tcp_flags: 0 }
}

fn record(log: &mut FlowLog, handle: &mut LogHandle, logged: Logged, now: u64) {
    log.record(handle, logged, UnixTime::from_secs(now));
}

fn lines(log: &mut FlowLog, now: u64) -> Vec<String> {
    std::iter::from_fn(|| log.poll_record(UnixTime::from_secs(now))).map(|record| record.to_string()).collect()
}

/// The examples of AWS's "Flow log record examples".
#[test]
fn records_are_written_as_aws_documents_them() {
    let tuple =
        FiveTuple::v4((Ipv4Addr::new(172, 31, 16, 139), 20641), (Ipv4Addr::new(172, 31, 16, 21), 22), Protocol::TCP);
    let accepted = FlowLogRecord {
        account: "123456789010".into(),
        eni: "eni-1235b8ca123456789".into(),
        flow: Some(LoggedFlow { tuple, packets: 20, bytes: 4249, action: Action::Accept, tcp_flags: 0 }),
        start: 1_418_530_010,
        end: 1_418_530_070,
        status: LogStatus::Ok,
    };
    assert_eq!(
        accepted.to_string(),
        "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK"
    );
    let nothing =
        FlowLogRecord { flow: None, start: 1_431_280_876, end: 1_431_280_934, status: LogStatus::NoData, ..accepted };
    assert_eq!(
        nothing.to_string(),
        "2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA"
    );
}

#[test]
fn packets_of_a_window_add_up_and_the_next_window_begins_anew() {
    let mut log = flow_log(60, 8, 600);
    let mut handle = LogHandle::NONE;
    record(&mut log, &mut handle, logged(1, Action::Accept, 40), 601);
    record(&mut log, &mut handle, logged(1, Action::Accept, 60), 659);
    // Without its handle, as after its flow was replaced, the record is found again.
    record(&mut log, &mut { LogHandle::NONE }, logged(1, Action::Accept, 100), 650);
    record(&mut log, &mut { LogHandle::NONE }, logged(1, Action::Reject, 40), 640);
    assert!(lines(&mut log, 659).is_empty());
    record(&mut log, &mut handle, logged(1, Action::Accept, 70), 660);
    assert_eq!(
        lines(&mut log, 661),
        [
            "2 123456789012 eni-1 10.0.1.10 10.0.1.5 1 443 6 3 200 601 650 ACCEPT OK",
            "2 123456789012 eni-1 10.0.1.10 10.0.1.5 1 443 6 1 40 640 640 REJECT OK",
        ]
    );
    assert!(lines(&mut log, 719).is_empty());
    assert_eq!(lines(&mut log, 720), ["2 123456789012 eni-1 10.0.1.10 10.0.1.5 1 443 6 1 70 660 660 ACCEPT OK"]);
}

/// AWS: "For a short connection the client's side shows 3, the server's 19".
#[test]
fn tcp_flags_of_a_window_are_those_of_all_its_packets_but_acknowledgements() {
    let flags = |all: &[TcpFlags]| {
        let mut log = flow_log(60, 8, 600);
        let mut handle = LogHandle::NONE;
        for flags in all {
            record(
                &mut log,
                &mut handle,
                Logged { tcp_flags: logged_flags(*flags), ..logged(1, Action::Accept, 40) },
                601,
            );
        }
        log.poll_record(UnixTime::from_secs(660)).unwrap().flow.unwrap().tcp_flags
    };
    let [syn, fin, ack, rst] = [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::ACK, TcpFlags::RST];
    assert_eq!(flags(&[syn, ack, ack.union(TcpFlags::PSH), fin.union(ack)]), 3);
    assert_eq!(flags(&[syn.union(ack), ack, fin.union(ack)]), 19);
    assert_eq!((flags(&[ack]), flags(&[syn.union(TcpFlags::ECE)]), flags(&[rst.union(ack)])), (0, 2, 4));
}

#[test]
fn a_window_in_which_nothing_came_says_so() {
    let mut log = flow_log(600, 8, 1000);
    assert!(lines(&mut log, 1199).is_empty());
    assert_eq!(lines(&mut log, 1200), ["2 123456789012 eni-1 - - - - - - - 1000 1199 - NODATA"]);
    // Nobody polled for two windows: the second tells of both.
    assert_eq!(lines(&mut log, 2400), ["2 123456789012 eni-1 - - - - - - - 1200 1799 - NODATA"]);
    assert_eq!(lines(&mut log, 3000), ["2 123456789012 eni-1 - - - - - - - 1800 2999 - NODATA"]);
}

#[test]
fn what_exceeds_the_limit_is_marked_as_skipped() {
    let mut log = flow_log(60, 2, 0);
    for port in 1..=3 {
        record(&mut log, &mut { LogHandle::NONE }, logged(port, Action::Accept, 40), 1);
    }
    let lines = lines(&mut log, 60);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2], "2 123456789012 eni-1 - - - - - - - 0 59 - SKIPDATA");
}

#[test]
fn a_window_that_was_not_polled_in_time_is_marked_as_skipped() {
    let mut log = flow_log(60, 4, 0);
    record(&mut log, &mut { LogHandle::NONE }, logged(1, Action::Accept, 40), 1);
    record(&mut log, &mut { LogHandle::NONE }, logged(2, Action::Accept, 40), 61);
    record(&mut log, &mut { LogHandle::NONE }, logged(3, Action::Accept, 40), 121);
    assert_eq!(
        lines(&mut log, 122),
        [
            "2 123456789012 eni-1 10.0.1.10 10.0.1.5 2 443 6 1 40 61 61 ACCEPT OK",
            "2 123456789012 eni-1 - - - - - - - 60 119 - SKIPDATA",
        ]
    );
}

#[test]
fn nothing_is_logged_when_it_is_off() {
    let mut log = flow_log(0, 8, 0);
    let mut handle = LogHandle::NONE;
    record(&mut log, &mut handle, logged(1, Action::Accept, 40), 1);
    assert_eq!((handle, log.window_end()), (LogHandle::NONE, None));
    assert!(lines(&mut log, 1_000_000).is_empty());
}
