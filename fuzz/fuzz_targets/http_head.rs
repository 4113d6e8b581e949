//! What a client says once TLS stands, over HTTP/1.1 or, behind its preface, HTTP/2. The connection takes it in two pieces
//! and ends or goes on; requests reach the verifier, which accepts none.
#![no_main]

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use libfuzzer_sys::fuzz_target;
use rustls::client::{ClientConfig, ClientConnection};
use rustls::{RootCertStore, version};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use vpce::http::{Activity, Connection, Fields, Limits, MinimumRate, Progress, RequestBody, RequestHead, Response};
use vpce::sigv4::{self, BodyHash, Keyring, Verifier};
use vpce::time::{Moment, UnixTime};
use vpce::tls::{Alpn, LabCa, ServerSetup, Session, provider};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    head: 64 << 10,
    head_timeout: SECOND,
    body_timeout: SECOND,
    idle_timeout: SECOND,
    rate: MinimumRate { bytes: 1_024, grace: SECOND },
};
/// Within the certificate's life, whenever this runs.
static TLS: LazyLock<(ServerSetup, Arc<ClientConfig>)> = LazyLock::new(|| {
    let now = UnixTime::from_secs(rustls_pki_types::UnixTime::now().as_secs());
    let ca = LabCa::generate(now).expect("a CA");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).expect("PEM")).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider().into()).with_protocol_versions(&[&version::TLS13]);
    let client = client.expect("TLS 1.3").with_root_certificates(roots).with_no_client_auth();
    (ServerSetup::new(&ca, "us-east-2", now, None).expect("a server"), Arc::new(client))
});

fuzz_target!(|data: &[u8]| {
    let Some((&cut, said)) = data.split_first() else { return };
    let alpn = if said.starts_with(PREFACE) { Alpn::Http2 } else { Alpn::Http1 };
    let name = ServerName::try_from("lambda.us-east-2.amazonaws.com").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&TLS.1), name).expect("a client");
    let session = Rc::new(RefCell::new(Session::new(&TLS.0)));
    while client.is_handshaking() || !session.borrow().is_established() {
        exchange(&mut client, &session);
    }
    let activity = Rc::new(Activity::new(Moment::from_millis(1), &LIMITS));
    let mut connection = Connection::new(Rc::clone(&session), alpn, Rc::clone(&activity), &LIMITS, Rc::new(handle));
    let mut cx = Context::from_waker(Waker::noop());
    let (first, second) = said.split_at(usize::from(cut) * said.len() / 256);
    for piece in [first, second] {
        std::io::Write::write_all(&mut client.writer(), piece).expect("in memory");
        // The client takes what it is answered: nothing is blocked for ever.
        for _ in 0..8 {
            exchange(&mut client, &session);
            if let Progress::Finished(_) = connection.poll(&mut cx) {
                return;
            }
        }
        assert!(activity.deadline(alpn, &LIMITS).is_some() || activity.open_requests() > 0, "silence has an end");
    }
});

/// Carries records both ways, once.
fn exchange(client: &mut ClientConnection, session: &Rc<RefCell<Session>>) {
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    while client.wants_write() {
        client.write_tls(&mut to_server).expect("in memory");
    }
    let mut session = session.borrow_mut();
    let taken = session.ingest(&to_server).taken;
    // Plaintext that nobody reads stops the session; what it did not take is lost with the connection.
    assert!(taken <= to_server.len());
    session.emit(&mut |bytes| {
        to_client.extend_from_slice(bytes);
        bytes.len()
    });
    let mut rest = &to_client[..];
    while !rest.is_empty() && client.read_tls(&mut rest).is_ok() && client.process_new_packets().is_ok() {}
}

/// Reads the request as the Lambda front does: head first, then the body's hash.
fn handle(head: RequestHead, mut body: RequestBody) -> Pin<Box<dyn Future<Output = Response<Full<Bytes>>>>> {
    Box::pin(async move {
        let keyring = Keyring::new([]).expect("none");
        let mut verifier = Verifier::new("us-east-2", "lambda");
        let now = UnixTime::from_secs(1_795_448_280);
        let error = verifier.begin(&sigv4::RequestHead::of(&head), &keyring, now).expect_err("no keys, no entry");
        let mut hash = BodyHash::new();
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(data) = frame.data_ref() {
                hash.update(data);
            }
        }
        let body = Full::new(Bytes::from(error.body()));
        Response { status: error.status(), fields: Fields::default(), body }
    })
}
