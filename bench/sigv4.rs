//! From a signed request's head to its principal.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

mod allocations;

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::request::Parts;
use vpce::sigv4::{BodyHash, Credential, Keyring, Principal, RequestHead, Signer, Verifier, sha256};
use vpce::time::UnixTime;

const NOW: UnixTime = UnixTime::from_secs(1_795_448_280);
const BODY: [u8; 200] = [b'x'; 200];

/// An Invoke as boto3 sends it, signed, and who may sign.
fn request() -> (Parts, Keyring) {
    let admin = Arc::new(Principal::from_arn("arn:aws:iam::123456789012:user/Admin").expect("an ARN"));
    let credential = Credential::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", admin);
    let request = http::Request::post("/2015-03-31/functions/hello/invocations")
        .header("host", "lambda.us-east-2.amazonaws.com")
        .header("accept-encoding", "identity")
        .header("x-amz-invocation-type", "RequestResponse")
        .header("x-amz-log-type", "Tail")
        .header("user-agent", "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.12 lang/python#3.13")
        .header("content-length", BODY.len())
        .header("amz-sdk-invocation-id", "ef8a75d9-6e26-4e65-b4e1-46eceb4e9ad3")
        .header("amz-sdk-request", "attempt=1")
        .body(())
        .expect("a request");
    let (mut parts, ()) = request.into_parts();
    let mut signer = Signer::new(credential.clone(), "us-east-2", "lambda");
    signer.sign(&mut parts, &sha256(&BODY), NOW).expect("signed");
    (parts, Keyring::new([credential]).expect("one key"))
}

/// The same request with its headers as they are, and turned around.
fn in_two_orders(parts: &Parts) -> [Parts; 2] {
    let mut turned = parts.clone();
    let headers: Vec<_> = parts.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    turned.headers.clear();
    turned.headers.extend(headers.into_iter().rev());
    [parts.clone(), turned]
}

fn verify(verifier: &mut Verifier, parts: &Parts, keyring: &Keyring, body: &[u8; 32]) -> Rc<Principal> {
    let head = RequestHead::from_parts(black_box(parts));
    verifier.begin(&head, keyring, NOW).and_then(|pending| pending.finish(body)).expect("a good signature")
}

fn verification(c: &mut Criterion) {
    let (parts, keyring) = request();
    let body = sha256(&BODY);
    let mut group = c.benchmark_group("sigv4/verify");
    group.throughput(Throughput::Elements(1));
    let mut verifier = Verifier::new("us-east-2", "lambda");
    group.bench_function("cached_key", |b| b.iter(|| verify(&mut verifier, &parts, &keyring, &body)));
    // A client whose headers stand now in this order, now in that.
    let orders = in_two_orders(&parts);
    let mut turn = 0;
    group.bench_function("cached_key_two_orders", |b| {
        b.iter(|| {
            turn = (turn + 1) % orders.len();
            verify(&mut verifier, &orders[turn], &keyring, &body)
        });
    });
    let fresh = || Verifier::new("us-east-2", "lambda");
    group.bench_function("cold_key", |b| {
        b.iter_batched_ref(fresh, |verifier| verify(verifier, &parts, &keyring, &body), BatchSize::SmallInput);
    });
    group.bench_function("cached_key_and_200_byte_body", |b| {
        b.iter(|| verify(&mut verifier, &parts, &keyring, &sha256(black_box(&BODY))));
    });
    group.finish();
    allocations::report("sigv4/verify/cached_key", || (), |()| verify(&mut verifier, &parts, &keyring, &body));
    allocations::report("sigv4/verify/cold_key", fresh, |verifier| verify(verifier, &parts, &keyring, &body));
}

fn body_hash(c: &mut Criterion) {
    let mut group = c.benchmark_group("sigv4/body_hash");
    for (name, len) in [("200", 200), ("6MB", 6 << 20)] {
        let body = vec![b'x'; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |b| b.iter(|| sha256(black_box(&body))));
    }
}

/// A body of 6 MB that is opened record by record and gathered: hashed as it comes, or when it is whole. Records lie in no
/// cache, as they come from the kernel.
fn body_hash_order(c: &mut Criterion) {
    const RECORD: usize = 16 << 10;
    const RECORDS: usize = (6 << 20) / RECORD;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key"));
    let nonce = || Nonce::assume_unique_for_key([9; 12]);
    let mut record = vec![b'x'; RECORD];
    key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut record).expect("sealed");
    // Larger than the last cache.
    let mut elsewhere = vec![0_u64; 8 << 20];
    let mut body = Vec::with_capacity(RECORD * RECORDS);
    let expected = sha256(&vec![b'x'; RECORD * RECORDS]);
    let mut run = |as_it_comes: bool| {
        let mut records: Vec<Vec<u8>> = (0..RECORDS).map(|_| record.clone()).collect();
        elsewhere.iter_mut().for_each(|word| *word = word.wrapping_add(1));
        body.clear();
        let (start, mut hash) = (Instant::now(), BodyHash::new());
        for record in &mut records {
            let piece = key.open_in_place(nonce(), Aad::empty(), record).expect("genuine");
            if as_it_comes {
                hash.update(piece);
            }
            body.extend_from_slice(piece);
        }
        if !as_it_comes {
            hash.update(&body);
        }
        let hash = hash.finish();
        let taken = start.elapsed();
        assert_eq!(hash, expected);
        taken
    };
    let mut group = c.benchmark_group("sigv4/open_gather_and_hash_6MB");
    group.throughput(Throughput::Bytes((RECORD * RECORDS) as u64)).sample_size(20);
    for (name, as_it_comes) in [("as_it_comes", true), ("when_whole", false)] {
        group.bench_function(name, |b| b.iter_custom(|times| (0..times).map(|_| run(as_it_comes)).sum()));
        allocations::report(&format!("sigv4/open_gather_and_hash_6MB/{name}"), || (), |()| run(as_it_comes));
    }
    group.finish();
}

criterion_group!(benches, verification, body_hash, body_hash_order);
criterion_main!(benches);
