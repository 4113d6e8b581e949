//! A TLS client for benches, and how it comes to an established session of ours.

#![allow(dead_code, reason = "each bench uses a part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::{RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use vpce::time::UnixTime;
use vpce::tls::{HandshakeKind, LabCa, ServerSetup, Session, provider};

/// A server, and what its clients have to trust.
pub struct Ends {
    pub setup: ServerSetup,
    pub ca: LabCa,
    pub roots: RootCertStore,
}

impl Ends {
    pub fn new() -> Self {
        let now = UnixTime::from_secs(rustls_pki_types::UnixTime::now().as_secs());
        let ca = LabCa::generate(now).expect("a CA");
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).expect("PEM");
        roots.add(certificate).expect("a certificate");
        Self { setup: ServerSetup::new(&ca, "us-east-2", now, None).expect("a server"), ca, roots }
    }

    /// A client of one version that resumes sessions or does not.
    pub fn client(&self, version: &'static SupportedProtocolVersion, resumption: Resumption) -> Arc<ClientConfig> {
        self.client_with(provider(), version, resumption)
    }

    /// The same with other cryptography.
    pub fn client_with(
        &self,
        provider: CryptoProvider,
        version: &'static SupportedProtocolVersion,
        resumption: Resumption,
    ) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(&[version]);
        let config = config.expect("a version").with_root_certificates(self.roots.clone());
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = resumption;
        Arc::new(config)
    }

    /// Shakes hands; returns both ends, how it ended, and what the server's part took.
    pub fn handshake(&self, config: &Arc<ClientConfig>) -> (ClientConnection, Session, HandshakeKind, Duration) {
        let name = ServerName::try_from("lambda.us-east-2.amazonaws.com").expect("a name");
        let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
        let (mut server, mut kind, mut taken) = (Session::new(&self.setup), None, Duration::ZERO);
        let (mut to_server, mut to_client) = (Vec::with_capacity(4096), Vec::with_capacity(8192));
        loop {
            to_server.clear();
            to_client.clear();
            while client.wants_write() {
                client.write_tls(&mut to_server).expect("in memory");
            }
            let start = Instant::now();
            kind = server.ingest(&to_server).handshake.or(kind);
            server.emit(&mut |bytes| {
                to_client.extend_from_slice(bytes);
                bytes.len()
            });
            taken += start.elapsed();
            if to_server.is_empty() && to_client.is_empty() {
                return (client, server, kind.expect("the handshake ended"), taken);
            }
            let mut rest = &to_client[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("in memory");
                client.process_new_packets().expect("an honest server");
            }
        }
    }
}
