//! The server's side of TLS: handshakes and records. The client's work is done, but not timed.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod allocations;

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::{RootCertStore, SupportedProtocolVersion, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use vpce::time::UnixTime;
use vpce::tls::{HandshakeKind, LabCa, ServerSetup, Session, provider};

struct Bench {
    setup: ServerSetup,
    roots: RootCertStore,
}

impl Bench {
    fn new() -> Self {
        let now = UnixTime::from_secs(rustls_pki_types::UnixTime::now().as_secs());
        let ca = LabCa::generate(now).expect("a CA");
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).expect("PEM");
        roots.add(certificate).expect("a certificate");
        Self { setup: ServerSetup::new(&ca, "us-east-2", now, None).expect("a server"), roots }
    }

    fn client(&self, version: &'static SupportedProtocolVersion, resumption: Resumption) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider().into()).with_protocol_versions(&[version]);
        let config = config.expect("a version").with_root_certificates(self.roots.clone());
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = resumption;
        Arc::new(config)
    }

    /// Shakes hands; returns both ends, how it ended, and what the server's part took.
    fn handshake(&self, config: &Arc<ClientConfig>) -> (ClientConnection, Session, HandshakeKind, Duration) {
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

fn handshakes(c: &mut Criterion) {
    let bench = Bench::new();
    let mut group = c.benchmark_group("tls/handshake");
    group.throughput(Throughput::Elements(1)).sample_size(30);
    for (version_name, version) in [("tls13", &version::TLS13), ("tls12", &version::TLS12)] {
        for (kind_name, kind) in [("full", HandshakeKind::Full), ("resumed", HandshakeKind::Resumed)] {
            let resumption = match kind {
                HandshakeKind::Full => Resumption::disabled(),
                HandshakeKind::Resumed => Resumption::in_memory_sessions(8),
            };
            let config = bench.client(version, resumption);
            bench.handshake(&config);
            group.bench_function(format!("{version_name}_{kind_name}"), |b| {
                b.iter_custom(|times| {
                    let one = |_| {
                        let (_, _, ended, taken) = bench.handshake(&config);
                        assert_eq!(ended, kind);
                        taken
                    };
                    (0..times).map(one).sum()
                });
            });
        }
    }
}

fn records(c: &mut Criterion) {
    let bench = Bench::new();
    let config = bench.client(&version::TLS13, Resumption::disabled());
    for (name, len) in [("300B", 300), ("16KiB", 16 << 10)] {
        let plaintext = vec![b'x'; len];
        let (mut client, mut server, ..) = bench.handshake(&config);
        let mut group = c.benchmark_group("tls/record");
        group.throughput(Throughput::Bytes(len as u64));

        let seal = |server: &mut Session| {
            let mut sent = 0;
            assert_eq!(server.write(black_box(&plaintext)).expect("open"), len);
            server.emit(&mut |bytes| {
                sent += black_box(bytes).len();
                bytes.len()
            });
            sent
        };
        group.bench_function(format!("seal/{name}"), |b| b.iter(|| seal(&mut server)));
        allocations::report(&format!("tls/record/seal/{name}"), || (), |()| seal(&mut server));

        let mut next = || {
            let mut record = Vec::with_capacity(len + 64);
            client.writer().write_all(&plaintext).expect("room");
            client.write_tls(&mut record).expect("in memory");
            record
        };
        let mut buffer = vec![0; len];
        let mut open = |record: &mut Vec<u8>| {
            assert_eq!(server.ingest(record).taken, record.len());
            let mut got = 0;
            while got < len {
                got += server.read(&mut buffer).expect("a whole record");
            }
        };
        group.bench_function(format!("open/{name}"), |b| {
            b.iter_batched_ref(&mut next, &mut open, BatchSize::PerIteration);
        });
        allocations::report(&format!("tls/record/open/{name}"), &mut next, &mut open);
        group.finish();
    }
}

criterion_group!(benches, handshakes, records);
criterion_main!(benches);
