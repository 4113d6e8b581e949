//! One query, from the bytes of the datagram to the bytes of the answer.

mod allocations;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use vpce::config::builtin;
use vpce::dns::{Answer, Resolver, View};
use vpce::time::Moment;

fn query(name: &str) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().expect("a message")
}

fn answer(c: &mut Criterion) {
    let topology = builtin("quickstart").expect("built in").check().expect("sound");
    let mut group = c.benchmark_group("dns/answer");
    group.throughput(Throughput::Elements(1));
    for (case, name) in [
        ("private_name", "lambda.us-east-2.amazonaws.com."),
        ("zonal_name", "vpce-0123456789abcdef0-lj2wisx3-us-east-2a.lambda.us-east-2.vpce.amazonaws.com."),
        ("nxdomain", "sts.us-east-2.amazonaws.com."),
    ] {
        let mut resolver = Resolver::new(&topology);
        let (query, mut out) = (query(name), Vec::with_capacity(512));
        let source = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10));
        let mut millis = 0;
        let mut one = || {
            // One query a virtual millisecond stays within the limit of 1024 a second.
            millis += 1;
            let outcome = resolver.answer(View::Vpc, black_box(&query), source, Moment::from_millis(millis), &mut out);
            assert!(matches!(outcome, Answer::Sent(_)));
        };
        group.bench_function(case, |b| b.iter(&mut one));
        allocations::report(&format!("dns/answer/{case}"), || (), |()| one());
    }
    group.finish();
}

criterion_group!(benches, answer);
criterion_main!(benches);
