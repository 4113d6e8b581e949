//! The server's side of TLS: handshakes and records. The client's work is done, but not timed.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod allocations;
mod handshake;

use std::hint::black_box;
use std::io::Write as _;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use handshake::Ends;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, version};
use vpce::tls::{HandshakeKind, Session, provider};

/// The suites of TLS 1.3 that a client can have its way with, by offering no other.
const SUITES: [(&str, CipherSuite); 3] = [
    ("aes128_sha256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("aes256_sha384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("chacha20_sha256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
];

/// The cryptography of a client that knows one suite.
fn only(suite: CipherSuite) -> CryptoProvider {
    let mut provider = provider();
    provider.cipher_suites.retain(|known| known.suite() == suite);
    provider
}

fn handshakes(c: &mut Criterion) {
    let ends = Ends::new();
    let mut group = c.benchmark_group("tls/handshake");
    group.throughput(Throughput::Elements(1)).sample_size(30);
    for (version_name, version) in [("tls13", &version::TLS13), ("tls12", &version::TLS12)] {
        for (kind_name, kind) in [("full", HandshakeKind::Full), ("resumed", HandshakeKind::Resumed)] {
            let resumption = match kind {
                HandshakeKind::Full => Resumption::disabled(),
                HandshakeKind::Resumed => Resumption::in_memory_sessions(8),
            };
            let config = ends.client(version, resumption);
            ends.handshake(&config);
            group.bench_function(format!("{version_name}_{kind_name}"), |b| {
                b.iter_custom(|times| {
                    let one = |_| {
                        let (_, _, ended, taken) = ends.handshake(&config);
                        assert_eq!(ended, kind);
                        taken
                    };
                    (0..times).map(one).sum()
                });
            });
            let name = format!("tls/handshake/{version_name}_{kind_name}, both ends");
            allocations::report(&name, || (), |()| ends.handshake(&config).3);
        }
    }
}

/// What the choice of a suite costs the server: its hash signs the handshake and derives the keys.
fn suites(c: &mut Criterion) {
    let ends = Ends::new();
    for (suite_name, suite) in SUITES {
        let config = ends.client_with(only(suite), &version::TLS13, Resumption::disabled());
        let mut group = c.benchmark_group("tls/suite");
        group.throughput(Throughput::Elements(1)).sample_size(30);
        group.bench_function(format!("{suite_name}/handshake"), |b| {
            b.iter_custom(|times| (0..times).map(|_| ends.handshake(&config).3).sum());
        });
        for (name, len) in [("300B", 300), ("16KiB", 16 << 10)] {
            let (mut client, mut server, ..) = ends.handshake(&config);
            assert_eq!(client.negotiated_cipher_suite().map(|agreed| agreed.suite()), Some(suite));
            group.throughput(Throughput::Bytes(len as u64));
            let plaintext = vec![b'x'; len];
            let seal = |server: &mut Session| {
                let mut sent = 0;
                assert_eq!(server.write(black_box(&plaintext)).expect("open"), len);
                server.emit(&mut |bytes| {
                    sent += black_box(bytes).len();
                    bytes.len()
                });
                sent
            };
            group.bench_function(format!("{suite_name}/seal/{name}"), |b| b.iter(|| seal(&mut server)));
            allocations::report(&format!("tls/suite/{suite_name}/seal/{name}"), || (), |()| seal(&mut server));
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
            group.bench_function(format!("{suite_name}/open/{name}"), |b| {
                b.iter_batched_ref(&mut next, &mut open, BatchSize::PerIteration);
            });
            allocations::report(&format!("tls/suite/{suite_name}/open/{name}"), &mut next, &mut open);
        }
        group.finish();
    }
}

criterion_group!(benches, handshakes, suites);
criterion_main!(benches);
