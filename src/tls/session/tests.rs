use std::sync::Arc;

use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::{RootCertStore, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::*;
use crate::time::UnixTime;
use crate::tls::{LabCa, provider};

/// Trusts one lab CA.
pub(in crate::tls) fn roots(ca: &LabCa) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap()).unwrap();
    roots
}

struct Pair {
    client: ClientConnection,
    server: Session,
}

impl Pair {
    fn new(setup: &ServerSetup, config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self { client: ClientConnection::new(Arc::clone(config), name).unwrap(), server: Session::new(setup) }
    }

    /// Carries bytes both ways, `chunk` at a time, until nothing moves; returns everything the session reported.
    fn drive(&mut self, chunk: usize) -> Vec<Ingest> {
        let mut reports = Vec::new();
        loop {
            let mut to_server = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut to_server).unwrap();
            }
            for piece in to_server.chunks(chunk) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let report = self.server.ingest(rest);
                    reports.push(report);
                    rest = &rest[report.taken..];
                    if report.taken == 0 || report.failed.is_some() {
                        break;
                    }
                }
            }
            let mut to_client = Vec::new();
            self.server.emit(&mut |bytes| {
                to_client.extend_from_slice(bytes);
                bytes.len()
            });
            if to_server.is_empty() && to_client.is_empty() {
                return reports;
            }
            let mut rest = &to_client[..];
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                if self.client.process_new_packets().is_err() {
                    return reports;
                }
            }
        }
    }
}

fn setup() -> (LabCa, ServerSetup) {
    let now = rustls_pki_types::UnixTime::now();
    let now = UnixTime::from_secs(now.as_secs());
    let ca = LabCa::generate(now).unwrap();
    let setup = ServerSetup::new(&ca, "us-east-2", now, None).unwrap();
    (ca, setup)
}

fn client(ca: &LabCa, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider().into())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(ca))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

const NAME: &str = "lambda.us-east-2.amazonaws.com";

#[test]
fn both_versions_agree_on_a_protocol_and_carry_data_whatever_the_segmentation() {
    let (ca, setup) = setup();
    for (version, alpn, agreed, chunk) in [
        (&version::TLS13, vec!["h2", "http/1.1"], Alpn::Http2, usize::MAX),
        (&version::TLS13, vec!["http/1.1"], Alpn::Http1, 1),
        (&version::TLS12, vec!["h2"], Alpn::Http2, 7),
        (&version::TLS12, vec![], Alpn::Http1, 1400),
    ] {
        let config = client(&ca, &[version], &alpn);
        let mut pair = Pair::new(&setup, &config, NAME);
        let reports = pair.drive(chunk);
        assert!(pair.server.is_established());
        let kinds: Vec<_> = reports.iter().filter_map(|r| r.handshake).collect();
        assert_eq!(kinds, [HandshakeKind::Full]);
        assert_eq!(pair.server.alpn(), agreed);

        pair.client.writer().write_all(b"ping").unwrap();
        pair.drive(chunk);
        let mut buf = [0; 16];
        assert_eq!(pair.server.read(&mut buf).unwrap(), 4);
        assert_eq!(pair.server.write(b"pong!").unwrap(), 5);
        pair.drive(chunk);
        assert_eq!(pair.client.reader().read(&mut buf).unwrap(), 5);
    }
}

#[test]
fn a_second_session_is_resumed() {
    let (ca, setup) = setup();
    for version in [&version::TLS13, &version::TLS12] {
        let config = client(&ca, &[version], &["http/1.1"]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut pair = Pair::new(&setup, &config, NAME);
            let kinds: Vec<_> = pair.drive(usize::MAX).iter().filter_map(|r| r.handshake).collect();
            assert_eq!(kinds, [expected], "{version:?}");
        }
    }
}

#[test]
fn an_unknown_name_gets_the_unrecognized_name_alert_and_nothing_else() {
    let (ca, setup) = setup();
    let config = client(&ca, &[&version::TLS13], &[]);
    let mut pair = Pair::new(&setup, &config, "lambda.eu-west-1.amazonaws.com");
    let reports = pair.drive(usize::MAX);
    assert_eq!(reports.last().unwrap().failed, Some(Reason::TlsUnknownName));
    let error = pair.client.process_new_packets().unwrap_err();
    assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::UnrecognisedName));
}

#[test]
fn garbage_fails_the_session_and_never_panics() {
    let (_, setup) = setup();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22, 3, 1, 0, 1, 0xff], &[0; 64], &[22, 3, 1, 0xff, 0xff, 1]] {
        let mut session = Session::new(&setup);
        let mut failed = None;
        for _ in 0..4 {
            let report = session.ingest(garbage);
            failed = failed.or(report.failed);
        }
        assert!(failed == Some(Reason::TlsProtocol) || !session.is_established());
    }
}

#[test]
fn unread_plaintext_stops_ingestion_and_nothing_is_lost() {
    let (ca, setup) = setup();
    let config = client(&ca, &[&version::TLS13], &["http/1.1"]);
    let mut pair = Pair::new(&setup, &config, NAME);
    pair.drive(usize::MAX);

    let sent: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
    pair.client.set_buffer_limit(None);
    pair.client.writer().write_all(&sent).unwrap();
    let mut wire = Vec::new();
    while pair.client.wants_write() {
        pair.client.write_tls(&mut wire).unwrap();
    }
    let (mut rest, mut received, mut buf) = (&wire[..], Vec::new(), [0; 5000]);
    let mut stops = 0;
    while received.len() < sent.len() {
        let report = pair.server.ingest(rest);
        assert_eq!(report.failed, None);
        rest = &rest[report.taken..];
        stops += usize::from(!rest.is_empty());
        while let Ok(n) = pair.server.read(&mut buf) {
            received.extend_from_slice(&buf[..n]);
        }
    }
    assert_eq!(received, sent);
    assert!(stops > 0, "a bounded session must stop taking more");
}

#[test]
fn emission_stops_when_tcp_takes_no_more_and_goes_on_later() {
    let (ca, setup) = setup();
    let config = client(&ca, &[&version::TLS13], &["http/1.1"]);
    let mut pair = Pair::new(&setup, &config, NAME);
    pair.drive(usize::MAX);
    let mut taken = 0;
    while let Ok(n @ 1..) = pair.server.write(&[7; 10_000]) {
        taken += n;
    }
    assert!(taken <= 2 * SEND_LIMIT, "bounded: {taken}");
    let (mut credit, mut out) = (1000, Vec::new());
    while pair.server.wants_emit() {
        pair.server.emit(&mut |bytes| {
            let n = bytes.len().min(credit);
            out.extend_from_slice(&bytes[..n]);
            credit -= n;
            n
        });
        credit = 1000;
    }
    let (mut rest, mut got, mut buf) = (&out[..], 0, [0; 4096]);
    while !rest.is_empty() {
        pair.client.read_tls(&mut rest).unwrap();
        pair.client.process_new_packets().unwrap();
        while let Ok(n @ 1..) = pair.client.reader().read(&mut buf) {
            got += n;
        }
    }
    assert_eq!(got, taken);
}
