//! A small client that times each step on its way to an endpoint: what the demo runs on the lab's hosts.
//!
//! It uses what every program on such a host uses, the resolver of /etc/resolv.conf through the C library and the kernel's
//! TCP; only TLS and the signature are this program's own libraries. Nothing of the endpoint is shared with it.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a client with a socket and a clock")]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Request};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::{Fault, OrFault};
use crate::sigv4::{self, Credential};

/// Longest answer that is read, bytes: a payload and its headers.
const ANSWER_MAX: u64 = 8 << 20;

/// What is to be called.
#[derive(Debug)]
pub struct Call<'a> {
    /// `lambda.us-east-2.amazonaws.com`.
    pub host: &'a str,
    /// `us-east-2`.
    pub region: &'a str,
    /// Path and query as on the wire.
    pub path: &'a str,
    /// The request's body.
    pub payload: &'a [u8],
    /// Who signs.
    pub credential: &'a Credential,
    /// Certificates to trust, PEM.
    pub ca_bundle: &'a Path,
    /// How long to wait for TCP's handshake, and for each piece of the answer.
    pub patience: Duration,
}

/// How far a call came, and how long each step took, in microseconds. What was not reached is `None`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What the name resolved to.
    pub address: Option<SocketAddr>,
    /// The client's end of the connection.
    pub local: Option<SocketAddr>,
    /// Resolving the name.
    pub dns_us: Option<u64>,
    /// TCP's handshake, or how long it was waited for.
    pub tcp_us: Option<u64>,
    /// How TCP's handshake failed: `timed out`, `refused`.
    pub tcp_error: Option<String>,
    /// TLS's handshake.
    pub tls_us: Option<u64>,
    /// `TLSv1_3`.
    pub tls_version: Option<String>,
    /// From the request's first byte to the answer's last.
    pub request_us: Option<u64>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The answer's headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The answer's body.
    pub body: String,
}

impl Report {
    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Makes a call. A connection that does not come about is a result, not an error.
///
/// # Errors
/// When the name does not resolve, the certificate is not trusted, or the answer breaks off.
pub fn call(call: &Call<'_>) -> Result<Report, Fault> {
    let mut report = Report::default();
    let started = Instant::now();
    let address = (call.host, 443)
        .to_socket_addrs()
        .or_fault(|| format!("{} does not resolve", call.host))?
        // IPv4 first, so that a run is like the one before.
        .min_by_key(SocketAddr::is_ipv6)
        .ok_or_else(|| Fault::new(format!("{} has no address", call.host)))?;
    report.dns_us = Some(micros(started));
    report.address = Some(address);

    let started = Instant::now();
    let connected = TcpStream::connect_timeout(&address, call.patience);
    report.tcp_us = Some(micros(started));
    let tcp = match connected {
        Ok(tcp) => tcp,
        Err(error) => {
            report.tcp_error = Some(match error.kind() {
                io::ErrorKind::TimedOut => "timed out".to_owned(),
                io::ErrorKind::ConnectionRefused => "refused".to_owned(),
                _ => error.to_string(),
            });
            return Ok(report);
        }
    };
    report.local = tcp.local_addr().ok();
    tcp.set_read_timeout(Some(call.patience)).or_fault(|| "cannot set a time-out")?;
    tcp.set_nodelay(true).or_fault(|| "cannot set TCP_NODELAY")?;

    let started = Instant::now();
    let mut tls = start_tls(call, tcp)?;
    report.tls_us = Some(micros(started));
    report.tls_version = tls.conn.protocol_version().map(|version| format!("{version:?}"));

    let request = signed(call)?;
    let started = Instant::now();
    tls.write_all(&request).or_fault(|| "the request cannot be sent")?;
    let mut answer = Vec::new();
    // `Connection: close` was asked for: the answer ends with the connection.
    tls.take(ANSWER_MAX).read_to_end(&mut answer).or_fault(|| "the answer broke off")?;
    report.request_us = Some(micros(started));
    read_answer(&answer, &mut report).ok_or_else(|| Fault::new("the answer is not HTTP/1.1"))?;
    Ok(report)
}

/// Sends one ICMP echo request and waits for its reply. Returns the round trip, `None` if none came in time.
///
/// # Errors
/// When the host may not send ICMP.
pub fn ping(address: Ipv4Addr, patience: Duration) -> Result<Option<Duration>, Fault> {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrV4, SocketType, ipproto, sockopt};
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    let failed = |what: &'static str| move |error: rustix::io::Errno| Fault::new(format!("{what}: {error}"));
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))
        .map_err(failed("cannot open an ICMP socket"))?;
    let identifier = (std::process::id() as u16).to_be_bytes();
    let mut message = [ECHO_REQUEST, 0, 0, 0, identifier[0], identifier[1], 0, 1];
    let checksum = crate::packet::checksum::Sum::new().bytes(&message).complement();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let started = Instant::now();
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrV4::new(address, 0))
        .map_err(failed("cannot send"))?;
    let mut buffer = [0; 256];
    while let Some(left) = patience.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(left)).map_err(failed("cannot wait"))?;
        let Ok((len, _)) = rustix::net::recv(&socket, &mut buffer, RecvFlags::empty()) else { break };
        let packet = &buffer[..len];
        let is_reply = crate::packet::parse(packet).is_ok_and(|view| {
            view.tuple().src() == IpAddr::V4(address)
                && view.icmp().is_some_and(|(kind, _)| kind == ECHO_REPLY)
                && view.transport().get(4..6) == Some(&identifier[..])
        });
        if is_reply {
            return Ok(Some(started.elapsed()));
        }
    }
    Ok(None)
}

fn start_tls(call: &Call<'_>, tcp: TcpStream) -> Result<StreamOwned<ClientConnection, TcpStream>, Fault> {
    let mut roots = RootCertStore::empty();
    let bundle = CertificateDer::pem_file_iter(call.ca_bundle)
        .or_fault(|| "cannot read the CA bundle")
        .map_err(|fault| fault.at(call.ca_bundle.display().to_string()))?;
    for certificate in bundle {
        let certificate = certificate.or_fault(|| "the CA bundle is damaged")?;
        roots.add(certificate).or_fault(|| "the CA bundle holds no certificate")?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .or_fault(|| "cannot set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(call.host.to_owned()).or_fault(|| "not a host name")?;
    let mut connection = ClientConnection::new(Arc::new(config), name).or_fault(|| "cannot set up TLS")?;
    let mut tcp = tcp;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp).or_fault(|| "the TLS handshake failed")?;
    }
    Ok(StreamOwned::new(connection, tcp))
}

fn signed(call: &Call<'_>) -> Result<Vec<u8>, Fault> {
    let request = Request::post(call.path).header("host", call.host).body(()).or_fault(|| "not a path")?;
    let (mut parts, ()) = request.into_parts();
    let now = Clock::start().now().unix;
    sigv4::sign(&mut parts, &sigv4::sha256(call.payload), call.credential, call.region, "lambda", now)
        .or_fault(|| "the request cannot be signed")?;
    parts.headers.insert("content-length", HeaderValue::from(call.payload.len()));
    parts.headers.insert("connection", HeaderValue::from_static("close"));
    let mut bytes = format!("{} {} HTTP/1.1\r\n", parts.method, call.path).into_bytes();
    for (name, value) in &parts.headers {
        write_header(&mut bytes, name, value);
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(call.payload);
    Ok(bytes)
}

fn write_header(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    bytes.extend_from_slice(name.as_str().as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// Splits an answer of which the whole is there. Invocations answer with a length, never in chunks.
fn read_answer(answer: &[u8], report: &mut Report) -> Option<()> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    report.status = Some(lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?);
    let split = |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    report.headers = lines.filter_map(split).collect();
    report.body = String::from_utf8_lossy(&answer[end + 4..]).into_owned();
    Some(())
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
