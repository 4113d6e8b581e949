//! A DNS query from each view. An answer is a message that answers it, within the size it may have.
#![no_main]

use std::sync::{LazyLock, Mutex};

use hickory_proto::op::{Message, MessageType};
use libfuzzer_sys::fuzz_target;
use vpce::config::builtin;
use vpce::dns::{Answer, PAYLOAD, Resolver, View, question};
use vpce::time::Moment;

/// One resolver for all queries, as on a worker, and the virtual second.
static RESOLVER: LazyLock<Mutex<(Resolver, u64)>> = LazyLock::new(|| {
    let topology = builtin("quickstart").expect("built in").check().expect("sound");
    Mutex::new((Resolver::new(&topology), 0))
});

fuzz_target!(|query: &[u8]| {
    let _ = question(query);
    let mut out = Vec::new();
    let (resolver, second) = &mut *RESOLVER.lock().expect("a panic ends the run");
    *second += 1;
    let now = Moment::from_millis(*second * 1000);
    for (view, source) in [(View::Vpc, [10, 0, 1, 10]), (View::OnPremises, [192, 168, 10, 10]), (View::Public, [1; 4])]
    {
        match resolver.answer(view, query, source.into(), now, &mut out) {
            Answer::Dropped(_) => assert!(out.is_empty()),
            Answer::Sent(_) | Answer::Refused(_) => {
                assert!(out.len() <= usize::from(PAYLOAD));
                assert_eq!(out[..2], query[..2], "the answer has the query's id");
                let message = Message::from_vec(&out).expect("an answer is a message");
                assert_eq!(message.metadata.message_type, MessageType::Response);
            }
        }
    }
});
