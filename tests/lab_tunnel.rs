//! The tunnel of a real lab on its wire, and what happens when the other end is dead.
//!
//! Scapy's IPsec layer opens what was captured: see tests/tunnel_scapy.rs for the same without a lab.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::quickstart::{ENI, HOST};
use support::{Lab, Tun, client, timed, wait_for};
use vpce::tunnel::keys::{SaKeys, TunnelKeys};

in_both_modes! {
    scapy_finds_the_invocation_in_what_crosses_the_wire_and_nobody_else_does: [Clients, Curl];
    replayed_forged_and_stray_frames_are_dropped_and_counted: [Clients];
    a_dead_far_end_is_a_service_exception_in_time_and_heals_by_itself: [Clients];
    somebody_elses_function_host_is_used_while_it_is_there: [Clients];
}

const AWS_OUTSIDE: [u8; 4] = [203, 0, 113, 1];
const CUSTOMER_OUTSIDE: [u8; 4] = [198, 51, 100, 1];
const AWS_INSIDE: [u8; 4] = [169, 254, 10, 1];
const FUNCTION_HOST: [u8; 4] = [192, 168, 10, 20];
const ON_PREMISES: [u8; 4] = [192, 168, 10, 10];
const ENI_OCTETS: [u8; 4] = [10, 0, 1, 100];

fn script(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(line: &str) -> Vec<u8> {
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
}

/// Whatever crosses the outside cable while `work` runs.
fn captured(lab: &Lab, work: impl FnOnce()) -> Vec<Vec<u8>> {
    let (file, sign) = (lab.folder().join("outside.hex"), lab.folder().join("capturing"));
    let mut command = lab.command("Admin", "vpce", "python3");
    let mut tap = command.arg(script("outside.py")).arg("capture").arg(&file).arg(&sign).spawn().unwrap();
    wait_for("the capture listens", 10, || {
        assert!(tap.try_wait().unwrap().is_none(), "the capture ended");
        sign.exists().then_some(())
    });
    work();
    std::fs::remove_file(&sign).unwrap();
    assert!(tap.wait().unwrap().success());
    std::fs::read_to_string(&file).unwrap().lines().map(unhex).collect()
}

/// Sends IP packets from the AWS side's end of the cable.
fn send(lab: &Lab, packets: &[Vec<u8>]) {
    let mut command = lab.command("Admin", "vpce", "python3");
    let mut sender = command.arg(script("outside.py")).arg("send").stdin(Stdio::piped()).spawn().unwrap();
    let lines: String = packets.iter().map(|packet| hex(packet) + "\n").collect();
    sender.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(sender.wait().unwrap().success());
}

fn keys(lab: &Lab) -> TunnelKeys {
    TunnelKeys::from_toml(&std::fs::read_to_string(lab.runtime_file("tunnel-keys.toml")).unwrap()).unwrap()
}

/// Opens packets of one SA with Scapy.
fn opened(packets: &[Vec<u8>], keys: &SaKeys) -> Vec<Vec<u8>> {
    let keymat = hex(&[&keys.key()[..], keys.salt()].concat());
    let mut scapy = Command::new(client("python3"))
        .args([script("esp_decrypt.py").as_str(), "open", &format!("{:08x}", keys.spi()), &keymat])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = packets.iter().map(|packet| hex(packet) + "\n").collect();
    scapy.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = scapy.wait_with_output().unwrap();
    assert!(output.status.success(), "Scapy cannot open them");
    String::from_utf8(output.stdout).unwrap().lines().map(unhex).collect()
}

/// The ESP packet in an outer packet: after IPv4 and UDP.
fn esp(outer: &[u8]) -> &[u8] {
    assert_eq!((outer[0] >> 4, outer[9]), (4, 17), "IPv4 and UDP alone: {}", hex(&outer[..20]));
    let ends = [&outer[12..16], &outer[16..20]];
    let there = [&AWS_OUTSIDE[..], &CUSTOMER_OUTSIDE];
    assert!(ends == there || ends == [there[1], there[0]], "between the tunnel's ends alone: {ends:?}");
    &outer[usize::from(outer[0] & 15) * 4 + 8..]
}

fn holds(packet: &[u8], piece: &[u8]) -> bool {
    packet.windows(piece.len()).any(|window| window == piece)
}

/// Everything that was opened, in the order of the wire, by the SA's direction.
fn inner_packets(lab: &Lab, outers: &[Vec<u8>]) -> [Vec<Vec<u8>>; 2] {
    let mut by_spi: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for outer in outers {
        let spi = u32::from_be_bytes(esp(outer)[..4].try_into().unwrap());
        by_spi.entry(spi).or_default().push(outer.clone());
    }
    let mut found = [Vec::new(), Vec::new()];
    for pair in keys(lab).pairs() {
        for (direction, keys) in [&pair.to_customer, &pair.to_aws].into_iter().enumerate() {
            if let Some(packets) = by_spi.remove(&keys.spi()) {
                found[direction].extend(opened(&packets, keys));
            }
        }
    }
    assert!(by_spi.is_empty(), "no SA has these SPIs: {:?}", by_spi.keys());
    found
}

fn scapy_finds_the_invocation_in_what_crosses_the_wire_and_nobody_else_does(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let secret = "the quick brown fox crosses the tunnel 0123456789";
    let outers = captured(&lab, || {
        assert_eq!(lab.invoke("echo", json!({ "secret": secret }))["status"], 200);
        let shown = ["--ipv4", "--output", "/dev/null", "--write-out", "%{http_code}"];
        assert_eq!(lab.curl("onprem", &[&shown[..], &[&format!("https://{HOST}/")]].concat()).ok(), "403");
    });
    assert!(outers.len() > 20, "{}", outers.len());
    let clear = [
        secret.as_bytes(),
        b"POST /2015-03-31",
        HOST.as_bytes(),
        &[AWS_INSIDE, FUNCTION_HOST].concat(),
        &[FUNCTION_HOST, AWS_INSIDE].concat(),
        &[ON_PREMISES, ENI_OCTETS].concat(),
        &[ENI_OCTETS, ON_PREMISES].concat(),
    ];
    for (outer, piece) in outers.iter().flat_map(|outer| clear.iter().map(move |piece| (outer, piece))) {
        assert!(!holds(esp(outer), piece), "in clear: {}", String::from_utf8_lossy(piece));
    }

    let [to_customer, to_aws] = inner_packets(&lab, &outers);
    let request: Vec<&Vec<u8>> =
        to_customer.iter().filter(|inner| inner[12..20] == [AWS_INSIDE, FUNCTION_HOST].concat()).collect();
    for piece in [b"POST /2015-03-31/functions/echo/invocations HTTP/1.1\r\n", secret.as_bytes()] {
        assert!(request.iter().any(|inner| holds(inner, piece)), "{}", String::from_utf8_lossy(piece));
    }
    let answer =
        |inner: &&Vec<u8>| inner[12..20] == [FUNCTION_HOST, AWS_INSIDE].concat() && holds(inner, secret.as_bytes());
    assert!(to_aws.iter().any(|inner| answer(&inner)), "the echo comes back through the tunnel");
    // A client on premises: its handshake says the name, and its packets come out of the tunnel whole.
    let hello = |inner: &&Vec<u8>| inner[12..20] == [ON_PREMISES, ENI_OCTETS].concat() && holds(inner, HOST.as_bytes());
    assert!(to_aws.iter().any(|inner| hello(&inner)), "the ClientHello of a client on premises");
    for inner in to_customer.iter().chain(&to_aws) {
        assert_eq!(usize::from(u16::from_be_bytes([inner[2], inner[3]])), inner.len(), "an IP packet, whole");
    }
}

fn replayed_forged_and_stray_frames_are_dropped_and_counted(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let outers = captured(&lab, || assert_eq!(lab.invoke("echo", json!({}))["status"], 200));
    let to_customer: Vec<Vec<u8>> = outers.into_iter().filter(|outer| outer[12..16] == AWS_OUTSIDE).collect();
    let last = to_customer.last().unwrap();
    // What was captured has no finished UDP checksum, and what is forged a wrong one: without one the kernel passes it on.
    let unsummed = |mut packet: Vec<u8>| {
        packet[26..28].fill(0);
        packet
    };
    let replayed: Vec<Vec<u8>> = to_customer.iter().cloned().map(unsummed).collect();
    let changed = |at: usize, bits: u8| {
        let mut packet = unsummed(last.clone());
        packet[at] ^= bits;
        packet
    };
    // Headers are 28 bytes, then SPI and sequence number. An old number would be a replay before anything else is looked
    // at; these are far ahead, and must not move the window.
    let forged = [changed(33, 1), changed(33, 2), changed(33, 4)];
    let stray = changed(28, 0xFF);
    send(&lab, &[&replayed[..], &forged, &[stray]].concat());
    let counts =
        || ["TUNNEL_REPLAY", "TUNNEL_AUTHENTICATION", "TUNNEL_UNKNOWN_SPI"].map(|code| lab.count("onprem", code));
    let wants = [replayed.len() as u64, 3, 1];
    wait_for("all are counted", 10, || (counts().iter().sum::<u64>() >= wants.iter().sum()).then_some(()));
    assert_eq!(counts(), wants);
    // Had one of them been taken for a frame, more would have come out than went in.
    let frames = || (lab.count("endpoint", "FRAMES_TX"), lab.count("onprem", "FRAMES_RX"));
    wait_for("as many frames come out as went in", 10, || {
        let (sent, received) = frames();
        (sent == received).then_some(())
    });
    assert_eq!(lab.invoke("echo", json!({}))["status"], 200, "the tunnel goes on");
}

fn a_dead_far_end_is_a_service_exception_in_time_and_heals_by_itself(mode: Tun) {
    let lab = Lab::quickstart(mode);
    assert_eq!(lab.invoke("hello", json!({}))["status"], 200);
    let onprem = Pid::from_raw(lab.process("onprem")["pid"].as_i64().unwrap().try_into().unwrap()).unwrap();
    // Customer gateway and function host in one: nothing comes back through the tunnel any more.
    let stopped = Stopped::new(onprem);
    // With a connection to the function host that was alive, and without one.
    for attempt in ["the connection at hand", "a new connection"] {
        let (outcome, took) = timed(|| lab.invoke("hello", json!({})));
        assert_eq!(
            (&outcome["status"], &outcome["code"]),
            (&json!(500), &json!("ServiceException")),
            "{attempt}: {outcome}"
        );
        assert_eq!(outcome["headers"]["x-amzn-errortype"], "ServiceException");
        let body: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["Type"], "Service", "{attempt}: {body}");
        assert!(body["Message"].is_string(), "{attempt}: {body}");
        assert!(took.as_secs() < 15, "{attempt}: {took:?}");
    }
    // What needs no function host goes on.
    assert_eq!(lab.probe("app", &["connect", ENI, "443"])["outcome"], "connected");
    drop(stopped);
    let outcome = wait_for("it works again", 15, || {
        let outcome = lab.invoke("hello", json!({ "name": "again" }));
        (outcome["status"] == 200).then_some(outcome)
    });
    assert!(outcome["result"]["payload"].as_str().unwrap().contains("Hello, again!"));
    let reason = |row: &Value| row["reason"] == "LAMBDA_HOST_UNAVAILABLE" && row["status"] == 500;
    assert!(lab.access_log().iter().filter(|row| reason(row)).count() >= 2, "each is in the access log");
    assert!(Path::new(&format!("/proc/{}", onprem.as_raw_pid())).exists(), "without a restart");
}

/// The tunnel lives all the while; behind it, another server than ours is missing, there, and gone.
fn somebody_elses_function_host_is_used_while_it_is_there(mode: Tun) {
    let ours = "function_host = \"192.168.10.20:8080\"";
    let theirs = "function_host = \"192.168.10.10:8080\"\nexternal_function_host = true";
    let lab = Lab::changed(&[(ours, theirs)], &["--tun", mode.name()]);
    let refused = || {
        let (outcome, took) = timed(|| lab.invoke("hello", json!({})));
        assert_eq!((&outcome["status"], &outcome["code"]), (&json!(500), &json!("ServiceException")), "{outcome}");
        assert!(took.as_secs() < 10, "{took:?}");
    };
    refused();
    let listens = lab.folder().join("listens");
    let mut server = lab
        .command("Admin", "onprem", "python3")
        .args([&script("host.py"), "192.168.10.10", "8080", listens.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the other function host listens", 10, || listens.exists().then_some(()));
    let outcome = lab.invoke("hello", json!({ "n": 1 }));
    let answer: Value = serde_json::from_str(outcome["result"]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(answer, json!({ "path": "/2015-03-31/functions/hello/invocations", "event": { "n": 1 } }));
    drop(server.stdin.take());
    server.wait().unwrap();
    refused();
}

/// A process that does nothing until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: Pid) -> Self {
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}
