//! rustls's unbuffered interface beside the buffered one that `tls::Session` uses: the server's records, opened and sealed.
//!
//! The same certificate, suite and client; decision 9 rests on the difference. Opened plaintext is copied to where a body is
//! gathered, and records are sealed into a buffer of TCP's, in both.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod allocations;
mod handshake;

use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use handshake::Ends;
use rustls::client::{ClientConnection, Resumption};
use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{AppDataRecord, ConnectionState, UnbufferedStatus};
use rustls::version;
use rustls_pki_types::ServerName;
use vpce::time::UnixTime;
use vpce::tls::{ServiceNames, Session, provider};

/// Either interface.
trait Server {
    /// Opens a record into `plaintext`; returns its length.
    fn open(&mut self, record: &mut [u8], plaintext: &mut [u8]) -> usize;
    /// Seals into `records`; returns their length.
    fn seal(&mut self, plaintext: &[u8], records: &mut [u8]) -> usize;
}

impl Server for Session {
    fn open(&mut self, record: &mut [u8], plaintext: &mut [u8]) -> usize {
        assert_eq!(self.ingest(record).taken, record.len());
        let chunk = self.chunk().expect("a whole record");
        let len = chunk.len();
        plaintext[..len].copy_from_slice(chunk);
        self.consume(len);
        len
    }

    fn seal(&mut self, plaintext: &[u8], records: &mut [u8]) -> usize {
        assert_eq!(self.write(plaintext).expect("open"), plaintext.len());
        let mut len = 0;
        self.emit(&mut |bytes| {
            records[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
            bytes.len()
        });
        len
    }
}

impl Server for UnbufferedServerConnection {
    fn open(&mut self, record: &mut [u8], plaintext: &mut [u8]) -> usize {
        let UnbufferedStatus { state, .. } = self.process_tls_records(record);
        let Ok(ConnectionState::ReadTraffic(mut traffic)) = state else { panic!("no record") };
        let mut len = 0;
        while let Some(record) = traffic.next_record() {
            let AppDataRecord { payload, .. } = record.expect("genuine");
            plaintext[len..len + payload.len()].copy_from_slice(payload);
            len += payload.len();
        }
        len
    }

    fn seal(&mut self, plaintext: &[u8], records: &mut [u8]) -> usize {
        let UnbufferedStatus { state, .. } = self.process_tls_records(&mut []);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = state else { panic!("not open") };
        traffic.encrypt(plaintext, records).expect("room")
    }
}

/// A client and an unbuffered server, after their handshake.
fn unbuffered(ends: &Ends) -> (ClientConnection, UnbufferedServerConnection) {
    let now = UnixTime::from_secs(rustls_pki_types::UnixTime::now().as_secs());
    let names = ServiceNames::new("us-east-2").subject_alternative_names();
    let (chain, key) = ends.ca.issue(names, now).expect("a certificate");
    let builder = ServerConfig::builder_with_provider(provider().into()).with_protocol_versions(&[&version::TLS13]);
    let config = builder.expect("a version").with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.expect("a server");
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    let mut server = UnbufferedServerConnection::new(Arc::new(config)).expect("a server");
    let name = ServerName::try_from("lambda.us-east-2.amazonaws.com").expect("a name");
    let client = ends.client(&version::TLS13, Resumption::disabled());
    let mut client = ClientConnection::new(client, name).expect("a client");
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    loop {
        while client.wants_write() {
            client.write_tls(&mut incoming).expect("in memory");
        }
        let is_open = answer(&mut server, &mut incoming, &mut outgoing);
        let mut rest = &outgoing[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("in memory");
            client.process_new_packets().expect("an honest server");
        }
        outgoing.clear();
        if is_open && !client.is_handshaking() && !client.wants_write() {
            return (client, server);
        }
    }
}

/// Goes on with the handshake until the client is to speak; returns whether it is over.
fn answer(server: &mut UnbufferedServerConnection, incoming: &mut Vec<u8>, outgoing: &mut Vec<u8>) -> bool {
    loop {
        let UnbufferedStatus { discard, state, .. } = server.process_tls_records(incoming);
        let done = match state.expect("an honest client") {
            ConnectionState::EncodeTlsData(mut data) => {
                let start = outgoing.len();
                outgoing.resize(start + (16 << 10), 0);
                let len = data.encode(&mut outgoing[start..]).expect("room");
                outgoing.truncate(start + len);
                None
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                None
            }
            ConnectionState::BlockedHandshake => Some(false),
            ConnectionState::WriteTraffic(_) => Some(true),
            other => panic!("{other:?}"),
        };
        incoming.drain(..discard);
        if let Some(is_open) = done {
            return is_open;
        }
    }
}

fn compare(c: &mut Criterion, name: &str, len: usize, interface: &str, ends: (ClientConnection, impl Server)) {
    let (mut client, mut server) = ends;
    let (message, mut plaintext, mut records) = (vec![b'x'; len], vec![0; len], vec![0; len + 256]);
    let mut group = c.benchmark_group("tls/interface");
    group.throughput(Throughput::Bytes(len as u64));
    let mut seal = || server.seal(black_box(&message), &mut records);
    group.bench_function(format!("{interface}/seal/{name}"), |b| b.iter(&mut seal));
    allocations::report(&format!("tls/interface/{interface}/seal/{name}"), || (), |()| seal());
    let mut next = || {
        let mut record = Vec::with_capacity(len + 64);
        client.writer().write_all(&message).expect("room");
        client.write_tls(&mut record).expect("in memory");
        record
    };
    let mut open = |record: &mut Vec<u8>| assert_eq!(server.open(record, &mut plaintext), len);
    group.bench_function(format!("{interface}/open/{name}"), |b| {
        b.iter_batched_ref(&mut next, &mut open, BatchSize::PerIteration);
    });
    allocations::report(&format!("tls/interface/{interface}/open/{name}"), &mut next, &mut open);
    group.finish();
}

fn interfaces(c: &mut Criterion) {
    let ends = Ends::new();
    for (name, len) in [("300B", 300), ("16KiB", 16 << 10)] {
        let (client, session, ..) = ends.handshake(&ends.client(&version::TLS13, Resumption::disabled()));
        compare(c, name, len, "buffered", (client, session));
        compare(c, name, len, "unbuffered", unbuffered(&ends));
    }
}

criterion_group!(benches, interfaces);
criterion_main!(benches);
