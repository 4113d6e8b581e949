//! Captures of real interfaces: both directions, the order of secrets and packets, losses; Wireshark reads them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test uses sockets and threads, and fails loudly"
)]

mod namespace;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use namespace::inside_namespaces;
use rustix::fs::{Mode, OFlags};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use vpce::edge::namespace::NetworkNamespace;
use vpce::edge::netlink::{Netlink, VethEnd, Via};
use vpce::edge::tun::{self, HEADER_LEN, TunMode, TunQueue};
use vpce::edge::udp::{Sent, TunnelSocket};
use vpce::observe::capture::Capture;
use vpce::packet::{self, checksum::verify_transport};
use vpce::time::UnixTime;
use vpce::tls::{LabCa, ServerSetup, Session, provider};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const ENI: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 20);
/// The record after which TLS 1.2 encrypts.
const CHANGE_CIPHER_SPEC: [u8; 6] = [0x14, 3, 3, 0, 1, 1];
/// How a TLS record of application data begins; TLS 1.3 gives every encrypted record this type.
const APPLICATION_DATA: [u8; 3] = [0x17, 3, 3];
const NAME: &str = "lambda.us-east-2.amazonaws.com";

#[test]
fn what_crosses_a_tun_device_is_there_in_both_directions_and_in_full() {
    inside_namespaces("what_crosses_a_tun_device_is_there_in_both_directions_and_in_full", || {
        for mode in [TunMode::Offload, TunMode::Plain] {
            NetworkNamespace::create().unwrap();
            let queue = open_eni(mode);
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("c.pcapng");
            let capture = Capture::create(&file).unwrap().start(&["eni0"]).unwrap();
            let before = now();

            let client = UdpSocket::bind((HERE, 5000)).unwrap();
            client.send_to(b"question", (ENI, 53)).unwrap();
            let mut buffer = vec![0; HEADER_LEN + 65_535];
            let asked = receive(&queue, &mut buffer);
            let answer = swapped(&asked);
            queue.send(&[&[0; HEADER_LEN][..], &answer].concat()).unwrap();
            let mut received = [0; 64];
            let (len, from) = client.recv_from(&mut received).unwrap();
            assert_eq!((&received[..len], from), (&b"question"[..], SocketAddr::from((ENI, 53))));

            let counts = capture.finish();
            let capture = parse(&file);
            assert_eq!((counts.packets, counts.lost_packets), (2, 0));
            assert_eq!(capture.interfaces, [("eni0".to_owned(), 101)]);
            let told: Vec<_> = capture.packets().map(|packet| (packet.flags, packet.bytes.clone())).collect();
            assert_eq!(told, [(1, asked), (2, answer)], "inbound, then outbound, as seen by the endpoint");
            let times: Vec<_> = capture.packets().map(|packet| packet.at).collect();
            assert!(before <= times[0] && times[0] <= times[1] && times[1] <= now(), "{times:?}");
            assert_eq!(capture.statistics, [(0, 2, 0)]);
        }
    });
}

#[test]
fn a_udp_super_segment_is_written_as_its_datagrams() {
    inside_namespaces("a_udp_super_segment_is_written_as_its_datagrams", || {
        let there = NetworkNamespace::create().unwrap();
        NetworkNamespace::create().unwrap();
        connect(&there);
        wait_until_connected(&there);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.pcapng");
        let capture = Capture::create(&file).unwrap().start(&["outside"]).unwrap();
        let socket = TunnelSocket::open((HERE, 4500).into(), (THERE, 4500).into()).unwrap();
        let frames: Vec<u8> = (0..250).collect();
        assert!(matches!(socket.send(&frames, 100), Sent::Bytes(250)));
        drop(capture);
        let capture = parse(&file);
        let datagrams = capture.packets().filter_map(|packet| {
            let view = packet::parse(packet.bytes.get(14..)?).ok()?;
            (view.tuple().dst_port == 4500).then_some(view)
        });
        let payloads: Vec<&[u8]> = datagrams
            .inspect(|datagram| assert!(verify_transport(datagram.bytes(), datagram), "its checksum is complete"))
            .map(|datagram| datagram.payload())
            .collect();
        assert_eq!(payloads, [&frames[..100], &frames[100..200], &frames[200..]]);
    });
}

#[test]
fn packets_that_find_no_room_are_counted_in_the_file() {
    inside_namespaces("packets_that_find_no_room_are_counted_in_the_file", || {
        NetworkNamespace::create().unwrap();
        let _queue = open_eni(TunMode::Offload);
        let folder = tempfile::tempdir().unwrap();
        // A pipe that nobody reads: the writer comes to a stand once it is full.
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let held = rustix::fs::open(&pipe, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        let capture = Capture::create(&pipe).unwrap().start(&["eni0"]).unwrap();
        let client = UdpSocket::bind((HERE, 5000)).unwrap();
        let sent = 2000;
        for _ in 0..sent {
            client.send_to(&[7; 60_000], (ENI, 53)).unwrap();
        }
        rustix::fs::fcntl_setfl(&held, OFlags::empty()).unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::fs::File::from(held).read_to_end(&mut bytes).unwrap();
            parse_bytes(&bytes).expect("whole blocks")
        });
        let counts = capture.finish();
        let capture = reader.join().unwrap();
        assert!(counts.lost_packets > 0, "{counts:?}");
        assert_eq!(counts.packets + counts.lost_packets, sent);
        assert_eq!(capture.packets().count() as u64, counts.packets);
        assert_eq!(capture.statistics, [(0, sent, counts.lost_packets)]);
    });
}

#[test]
fn tls_secrets_stand_before_the_packets_that_need_them_and_decrypt_them() {
    inside_namespaces("tls_secrets_stand_before_the_packets_that_need_them_and_decrypt_them", || {
        let tls13 = [
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
            "SERVER_TRAFFIC_SECRET_0",
        ];
        for (protocol, expected) in [(&version::TLS13, &tls13[..]), (&version::TLS12, &["CLIENT_RANDOM"])] {
            let there = NetworkNamespace::create().unwrap();
            NetworkNamespace::create().unwrap();
            connect(&there);
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("c.pcapng");
            let capture = Capture::create(&file).unwrap();
            let unix = UnixTime::from_nanos(now());
            let ca = LabCa::generate(unix).unwrap();
            let setup = ServerSetup::new(&ca, "us-east-2", unix, Some(capture.key_log())).unwrap();
            let capture = capture.start(&["outside"]).unwrap();

            let listener = TcpListener::bind((HERE, 443)).unwrap();
            let client = std::thread::spawn(move || {
                there.enter().unwrap();
                request(&ca, protocol)
            });
            answer(listener.accept().unwrap().0, &setup);
            assert!(client.join().unwrap().ends_with("\r\n\r\nhello"));
            drop(capture);

            let capture = parse(&file);
            assert_eq!(capture.interfaces, [("outside".to_owned(), 1)]);
            let secrets = capture.secrets();
            let lines: Vec<Vec<&str>> = secrets.lines().map(|line| line.split(' ').collect()).collect();
            let mut labels: Vec<_> = lines.iter().map(|line| line[0]).collect();
            labels.sort_unstable();
            assert_eq!(labels, expected);
            let random = unhex(lines[0][1]);
            assert!(lines.iter().all(|line| line[1] == lines[0][1]), "one session");
            let position = |what: &dyn Fn(&Packet) -> bool| {
                capture.blocks.iter().position(|block| matches!(block, Block::Packet(packet) if what(packet)))
            };
            position(&|packet| packet.flags == 1 && contains(&packet.bytes, &random)).expect("the ClientHello");
            let secrets = capture.blocks.iter().position(|block| matches!(block, Block::Secrets(_))).unwrap();
            // In TLS 1.2 that is the client's Finished, behind its ChangeCipherSpec; TLS 1.3 calls it application data.
            let first = if expected.len() == 1 { &CHANGE_CIPHER_SPEC[..] } else { &APPLICATION_DATA[..] };
            let encrypted = position(&|packet| contains(&packet.bytes, first)).unwrap();
            assert!(secrets < encrypted, "secrets before what they decrypt: {secrets}, {encrypted}");
            assert!(!capture.packets().any(|packet| contains(&packet.bytes, b"hello-from-a-capture")), "no clear text");
            if let Some(uri) = tshark(&file) {
                assert_eq!(uri, "/hello-from-a-capture", "Wireshark decrypts it");
            }
        }
    });
}

/// A TUN device that leads to the eni, and an address to ask from.
fn open_eni(mode: TunMode) -> TunQueue {
    let device = tun::open("eni0", mode, 1).unwrap();
    let netlink = Netlink::open().unwrap();
    let link = netlink.link("eni0").unwrap();
    netlink.configure_tun(link, "eni0", 65_535).unwrap();
    let loopback = netlink.link("lo").unwrap();
    netlink.up(loopback).unwrap();
    netlink.add_address(loopback, HERE.into(), 32).unwrap();
    netlink.add_route("10.0.1.0/24".parse().unwrap(), Via::Link(link)).unwrap();
    device.into_queues().pop().unwrap()
}

fn receive(queue: &TunQueue, buffer: &mut [u8]) -> Vec<u8> {
    let mut fds = [rustix::event::PollFd::new(queue, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
    let len = queue.recv(buffer).unwrap();
    buffer[HEADER_LEN..len].to_vec()
}

/// The same UDP packet on its way back: swapping addresses and ports changes no checksum; a partial one is dropped (UDP
/// over IPv4 may go without).
fn swapped(packet: &[u8]) -> Vec<u8> {
    let (header, udp) = packet.split_at(20);
    let mut answer = [&header[..12], &header[16..20], &header[12..16], &udp[2..4], &udp[..2], &udp[4..]].concat();
    answer[26..28].fill(0);
    answer
}

/// A cable from here to `there`, `outside` at both ends.
fn connect(there: &NetworkNamespace) {
    let here = NetworkNamespace::current().unwrap();
    let netlink = Netlink::open().unwrap();
    let ends = [[2, 2, 0, 0, 0, 1], [2, 2, 0, 0, 0, 2]].map(|mac| VethEnd { name: "outside", mac });
    netlink.add_veth(ends[0], ends[1], there, 1500).unwrap();
    for (namespace, own) in [(there, THERE), (&here, HERE)] {
        namespace.enter().unwrap();
        let netlink = Netlink::open().unwrap();
        let link = netlink.link("outside").unwrap();
        netlink.add_address(link, own.into(), 24).unwrap();
        netlink.up(link).unwrap();
    }
}

/// A new cable carries nothing for a moment, and neighbours must be found: TCP tries until both have happened.
fn wait_until_connected(there: &NetworkNamespace) {
    let there = there.try_clone().unwrap();
    let listener = TcpListener::bind((HERE, 80)).unwrap();
    let client = std::thread::spawn(move || {
        there.enter().unwrap();
        drop(TcpStream::connect((HERE, 80)).unwrap());
    });
    drop(listener.accept().unwrap());
    client.join().unwrap();
}

fn request(ca: &LabCa, protocol: &'static SupportedProtocolVersion) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(provider().into())
        .with_protocol_versions(&[protocol])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from(NAME).unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect((HERE, 443)).unwrap());
    let head = format!("GET /hello-from-a-capture HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Serves one request with the session that the endpoint uses.
fn answer(mut stream: TcpStream, setup: &ServerSetup) {
    let mut session = Session::new(setup);
    let (mut buffer, mut heard) = ([0; 4096], Vec::new());
    while !heard.ends_with(b"\r\n\r\n") {
        let len = stream.read(&mut buffer).unwrap();
        assert_ne!(len, 0, "the client went away");
        assert_eq!(session.ingest(&buffer[..len]).failed, None);
        while let Ok(len @ 1..) = session.read(&mut buffer) {
            heard.extend_from_slice(&buffer[..len]);
        }
        send(&mut session, &mut stream);
    }
    session.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
    session.close();
    send(&mut session, &mut stream);
}

fn send(session: &mut Session, stream: &mut TcpStream) {
    session.emit(&mut |bytes| {
        stream.write_all(bytes).unwrap();
        bytes.len()
    });
}

/// The path of the HTTP request that Wireshark finds in the file.
fn tshark(file: &Path) -> Option<String> {
    let fields = ["-Y", "http.request", "-T", "fields", "-e", "http.request.uri"];
    match Command::new("tshark").arg("-r").arg(file).args(fields).output() {
        Err(error) => {
            println!("skipped: no tshark: {error}");
            None
        }
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A pcapng file, as the draft describes it.
#[derive(Default)]
struct Parsed {
    /// Name and link type.
    interfaces: Vec<(String, u16)>,
    blocks: Vec<Block>,
    /// Interface, packets seen, packets lost.
    statistics: Vec<(u32, u64, u64)>,
}

enum Block {
    Packet(Packet),
    Secrets(String),
}

struct Packet {
    at: u64,
    flags: u32,
    bytes: Vec<u8>,
}

impl Parsed {
    fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.blocks.iter().filter_map(|block| if let Block::Packet(packet) = block { Some(packet) } else { None })
    }

    fn secrets(&self) -> String {
        self.blocks
            .iter()
            .filter_map(|block| if let Block::Secrets(lines) = block { Some(&**lines) } else { None })
            .collect()
    }
}

fn parse(file: &Path) -> Parsed {
    parse_bytes(&std::fs::read(file).unwrap()).expect("whole blocks")
}

/// `None` when the last block is cut off.
fn parse_bytes(mut rest: &[u8]) -> Option<Parsed> {
    let mut parsed = Parsed::default();
    while !rest.is_empty() {
        let (kind, len) = (u32_at(rest, 0)?, u32_at(rest, 4)? as usize);
        let body = rest.get(8..len - 4)?;
        assert_eq!(u32_at(rest, len - 4)? as usize, len, "both lengths agree");
        rest = &rest[len..];
        match kind {
            0x0a0d_0d0a => {}
            1 => {
                let name = option(&body[8..], 2).expect("a name");
                assert_eq!(option(&body[8..], 9), Some(vec![9]), "nanoseconds");
                let link = u16::from_le_bytes([body[0], body[1]]);
                parsed.interfaces.push((String::from_utf8(name).unwrap(), link));
            }
            5 => {
                let count = |code| u64::from_le_bytes(option(&body[12..], code).unwrap().try_into().unwrap());
                parsed.statistics.push((u32_at(body, 0)?, count(4), count(7)));
            }
            6 => {
                let at = u64::from(u32_at(body, 4)?) << 32 | u64::from(u32_at(body, 8)?);
                let len = u32_at(body, 12)? as usize;
                assert_eq!(u32_at(body, 16)? as usize, len, "captured in full");
                let flags = option(&body[20 + len.next_multiple_of(4)..], 2).expect("flags");
                let bytes = body[20..20 + len].to_vec();
                parsed.blocks.push(Block::Packet(Packet { at, flags: u32_at(&flags, 0)?, bytes }));
            }
            10 => {
                assert_eq!(u32_at(body, 0)?, 0x544c_534b);
                let len = u32_at(body, 4)? as usize;
                parsed.blocks.push(Block::Secrets(String::from_utf8(body[8..8 + len].to_vec()).unwrap()));
            }
            other => panic!("block type {other}"),
        }
    }
    Some(parsed)
}

fn option(mut options: &[u8], wanted: u16) -> Option<Vec<u8>> {
    loop {
        let code = u16::from_le_bytes([*options.first()?, *options.get(1)?]);
        let len = usize::from(u16::from_le_bytes([options[2], options[3]]));
        if code == wanted {
            return Some(options[4..4 + len].to_vec());
        }
        options = options.get(4 + len.next_multiple_of(4)..)?;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()))
}
