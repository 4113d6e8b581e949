//! A client: TCP by a stack of its own with segmentation offload, TLS by rustls, HTTP/1.1 by hand.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use rustls::client::{ClientConfig, ClientConnection};
use rustls::{RootCertStore, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use vpce::packet::checksum::fill_partial;
use vpce::packet::{VirtioHeader, parse};
use vpce::sigv4::{Credential, Principal, sha256, sign};
use vpce::tcp::{Connection, Leg, PacketBuffer, State, TcpSetup, TcpStage};
use vpce::time::{Moment, UnixTime};
use vpce::tls::LabCa;

use super::KEYS;

/// The service's name.
pub const NAME: &str = "lambda.us-east-2.amazonaws.com";

/// What carries the bytes.
pub struct Transport {
    stage: TcpStage,
    connection: Connection,
    local: SocketAddr,
    remote: SocketAddr,
    is_far: bool,
    out: PacketBuffer,
    /// Segments of answers that could not be delivered at once.
    replies: Vec<Vec<u8>>,
}

/// A client with one connection.
pub struct Client {
    pub transport: Transport,
    pub tls: ClientConnection,
    /// Plaintext received and not yet taken.
    pub received: Vec<u8>,
    pub tls_error: Option<rustls::Error>,
    /// Stands on-premises: its packets come through the tunnel.
    pub is_far: bool,
    /// Something was written since the last poll.
    pub is_dirty: bool,
    /// Takes nothing from its TCP connection while set.
    pub is_stalled: bool,
    /// Sends nothing of TLS's own while set.
    pub is_mute: bool,
    /// Plaintext received in all, bytes.
    pub received_total: usize,
    /// The other side's `close_notify` came.
    pub peer_closed: bool,
    /// The last packet without data.
    last_bare: Option<Vec<u8>>,
    /// Bytes it may yet take from TCP.
    budget: usize,
    to_send: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(ca: &LabCa, local: SocketAddr, remote: SocketAddr, alpn: &[u8], is_far: bool) -> Self {
        let mut stage = TcpStage::new(&TcpSetup {
            offload: true,
            vpc_mtu: 9_001,
            tunnel_mtu: 1_438,
            buffer: 256 * 1024,
            limit: 8,
            seed: u64::from(local.port()),
        });
        let leg = if is_far { Leg::Tunnel } else { Leg::Vpc };
        let connection = stage.connect(leg, local, remote).unwrap();
        let out = PacketBuffer::default();
        let transport = Transport { stage, connection, local, remote, is_far, out, replies: Vec::new() };
        Self {
            transport,
            tls: tls(ca, NAME, alpn),
            received: Vec::new(),
            tls_error: None,
            is_far,
            is_dirty: true,
            is_stalled: false,
            is_mute: false,
            received_total: 0,
            peer_closed: false,
            last_bare: None,
            budget: usize::MAX,
            to_send: Vec::new(),
        }
    }

    /// Asks for another server name in its ClientHello.
    pub fn with_server_name(&mut self, ca: &LabCa, name: &str) {
        self.tls = tls(ca, name, b"http/1.1");
    }

    /// Writes plaintext.
    pub fn write(&mut self, bytes: &[u8]) {
        self.is_dirty = true;
        self.tls.set_buffer_limit(None);
        self.tls.writer().write_all(bytes).unwrap();
    }

    /// Writes bytes past TLS.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.is_dirty = true;
        self.to_send.extend_from_slice(bytes);
    }

    /// Bytes that TCP has yet to take.
    pub fn unsent(&self) -> usize {
        self.to_send.len()
    }

    /// Sends FIN and goes on receiving.
    pub fn half_close(&mut self) {
        self.is_dirty = true;
        self.transport.connection.close();
    }

    /// Sends RST.
    pub fn reset(&mut self) {
        self.is_dirty = true;
        self.transport.connection.abort();
    }

    /// The socket's ends: this side's, the eni's.
    pub fn sockets(&self) -> (SocketAddr, SocketAddr) {
        (self.transport.local, self.transport.remote)
    }

    /// Signs a request's head.
    pub fn sign(identity: &str, now: UnixTime, parts: &mut http::request::Parts, body: &[u8]) {
        let (_, id, secret) = KEYS.iter().find(|(name, ..)| *name == identity).unwrap();
        let principal = Arc::new(Principal::from_arn("arn:aws:iam::123456789012:user/X").unwrap());
        let credential = Credential::new(*id, *secret, principal);
        sign(parts, &sha256(body), &credential, "us-east-2", "lambda", now).unwrap();
    }

    /// Signs a request and writes it.
    pub fn request(&mut self, identity: &str, now: UnixTime, request: Request<&[u8]>) {
        let bytes = signed(identity, now, request);
        self.write(&bytes);
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        matches!(self.transport.connection.state(), State::Closed | State::TimeWait)
    }

    /// An acknowledgement of everything so far, as a device hands it over.
    pub fn acknowledgement(&mut self) -> Vec<u8> {
        self.last_bare.clone().expect("the connection has acknowledged something")
    }

    /// Takes so many bytes of what TCP has, whatever [`Client::is_stalled`] says.
    pub fn take_received(&mut self, limit: usize) {
        self.budget = limit;
        let stalled = std::mem::take(&mut self.is_stalled);
        self.move_records();
        (self.is_stalled, self.is_dirty, self.budget) = (stalled, true, usize::MAX);
    }

    /// Whether TCP's handshake is over.
    pub fn is_connected(&self) -> bool {
        self.transport.connection.is_established()
    }

    /// TCP's view.
    pub fn state(&self) -> State {
        self.transport.connection.state()
    }

    /// Ends the connection in good order.
    pub fn close(&mut self) {
        self.is_dirty = true;
        (self.is_stalled, self.is_mute) = (false, false);
        self.tls.send_close_notify();
        self.transport.connection.close();
    }

    /// Takes a whole answer, once it is there.
    pub fn reply(&mut self) -> Option<Reply> {
        let end = self.received.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.received[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value.trim()).unwrap());
        }
        let (body, used) = if headers.get("transfer-encoding").is_some_and(|v| v == "chunked") {
            chunks(&self.received[end..])?
        } else {
            let len = headers.get("content-length").map_or(0, |v| v.to_str().unwrap().parse().unwrap());
            let body = self.received.get(end..end + len)?;
            (body.to_vec(), len)
        };
        self.received.drain(..end + used);
        Some(Reply { status, headers, body })
    }

    /// Moves bytes and returns the packets to send, each with its virtio-net header.
    pub fn poll(&mut self, now: Moment) -> Vec<Vec<u8>> {
        self.is_dirty = false;
        let mut packets = std::mem::take(&mut self.transport.replies);
        if self.transport.connection.is_established() {
            self.move_records();
        }
        while self.transport.stage.poll_egress(&mut self.transport.connection, now, &mut self.transport.out) {
            packets.push(self.transport.framed());
        }
        let bare = |packet: &&Vec<u8>| parse(&packet[10..]).is_ok_and(|view| view.meta().payload_len() == 0);
        if let Some(packet) = packets.iter().rfind(bare) {
            self.last_bare = Some(packet.clone());
        }
        packets
    }

    pub fn receive(&mut self, buffer: &[u8], now: Moment) {
        let mut packet = buffer[10..].to_vec();
        let Transport { stage, connection, out, .. } = &mut self.transport;
        if stage.ingress(connection, &mut packet, now, out) {
            let reply = self.transport.framed();
            self.transport.replies.push(reply);
        }
    }

    pub fn deadline(&mut self, now: Moment) -> Option<Moment> {
        self.transport.stage.poll_at(&mut self.transport.connection, now)
    }

    fn move_records(&mut self) {
        let (connection, tls) = (&mut self.transport.connection, &mut self.tls);
        while connection.can_recv() && !self.is_stalled && self.budget > 0 {
            let mut records = Vec::new();
            connection.recv(|bytes| {
                let taken = bytes.len().min(self.budget);
                records.extend_from_slice(&bytes[..taken]);
                taken
            });
            if self.budget != usize::MAX {
                self.budget -= records.len();
            }
            let mut rest = &records[..];
            while !rest.is_empty() {
                if tls.read_tls(&mut rest).is_err() {
                    break;
                }
                match tls.process_new_packets() {
                    Ok(state) => self.peer_closed |= state.peer_has_closed(),
                    Err(error) => {
                        self.tls_error = Some(error);
                        return;
                    }
                }
                let mut chunk = [0; 16 * 1024];
                while let Ok(n @ 1..) = tls.reader().read(&mut chunk) {
                    self.received_total += n;
                    self.received.extend_from_slice(&chunk[..n]);
                }
            }
        }
        while tls.wants_write() && !self.is_mute {
            tls.write_tls(&mut self.to_send).unwrap();
        }
        let sent = connection.send(&self.to_send);
        self.to_send.drain(..sent);
    }
}

impl Transport {
    /// The packet in `out`, behind a virtio-net header: offloaded in the VPC, complete through the tunnel.
    fn framed(&mut self) -> Vec<u8> {
        if self.is_far {
            return [&[0; 10], self.out.packet()].concat();
        }
        offloaded(&mut self.out)
    }
}

/// A packet as a kernel with offloads hands it to a TUN device.
fn offloaded(out: &mut PacketBuffer) -> Vec<u8> {
    let gso_size = out.gso_size();
    let meta = *parse(out.packet()).unwrap().meta();
    fill_partial(out.packet_mut(), &meta);
    let mut buffer = VirtioHeader::for_tcp(&meta, Some(gso_size)).emit().to_vec();
    buffer.extend_from_slice(out.packet());
    buffer
}

fn tls(ca: &LabCa, name: &str, alpn: &[u8]) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    let clock = Arc::new(FixedTime);
    let mut config = ClientConfig::builder_with_details(vpce::tls::provider().into(), clock)
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

#[derive(Debug)]
struct FixedTime;

impl rustls::time_provider::TimeProvider for FixedTime {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let since = std::time::Duration::from_secs(super::START.secs());
        Some(rustls_pki_types::UnixTime::since_unix_epoch(since))
    }
}

/// The bytes of a signed HTTP/1.1 request.
pub fn signed(identity: &str, now: UnixTime, request: Request<&[u8]>) -> Vec<u8> {
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("host", HeaderValue::from_static(NAME));
    Client::sign(identity, now, &mut parts, body);
    parts.headers.insert("content-length", HeaderValue::from(body.len()));
    let mut bytes = format!("{} {} HTTP/1.1\r\n", parts.method, parts.uri.path_and_query().unwrap()).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (whole, mut body) = (bytes.len(), Vec::new());
    loop {
        let line = bytes.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        let data = bytes.get(line + 2..line + 2 + size)?;
        body.extend_from_slice(data);
        bytes = bytes.get(line + 2 + size + 2..)?;
        if size == 0 {
            return Some((body, whole - bytes.len()));
        }
    }
}
