use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::Query;
use proptest::prelude::*;

use super::*;
use crate::config::{DnsRecords, builtin, check};

const APP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 10));
const ONPREM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 2));
const SERVICE: &str = "lambda.us-east-2.amazonaws.com.";
const REGIONAL: &str = "vpce-0123456789abcdef0-lj2wisx3.lambda.us-east-2.vpce.amazonaws.com.";

fn quickstart() -> Topology {
    builtin("quickstart").unwrap().check().unwrap()
}

/// Two zones with an eni in each.
fn two_zones() -> Topology {
    let text = r#"
        [vpc]
        cidr = "10.0.0.0/16"
        [[subnet]]
        cidr = "10.0.1.0/24"
        [[subnet]]
        cidr = "10.0.2.0/24"
        zone = "us-east-2b"
        [endpoint]
        id = "vpce-0123456789abcdef0"
        dns_token = "lj2wisx3"
    "#;
    check(text, "two-zones.toml", &|_| unreachable!("it mentions no file")).unwrap()
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

struct Asked {
    outcome: Answer,
    message: Message,
    bytes: usize,
}

fn ask_message(resolver: &mut Resolver, view: View, query: &Message) -> Asked {
    let mut out = Vec::new();
    let source = if view == View::Vpc { APP } else { ONPREM };
    let outcome = resolver.answer(view, &query.to_vec().unwrap(), source, Moment::default(), &mut out);
    Asked { outcome, message: Message::from_vec(&out).unwrap(), bytes: out.len() }
}

fn ask(resolver: &mut Resolver, view: View, name: &str, kind: RecordType) -> Asked {
    ask_message(resolver, view, &query(name, kind))
}

fn addresses(resolver: &mut Resolver, view: View, name: &str, kind: RecordType) -> Vec<String> {
    let asked = ask(resolver, view, name, kind);
    asked.message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn names_mean_what_each_view_says() {
    use RecordType::{A, AAAA, PTR};
    let (eni, eni6) = (&["10.0.1.100"][..], &["2001:db8:1234:1a01::64"][..]);
    let (nowhere, nowhere6) = (&["192.0.2.1"][..], &["2001:db8:ffff::1"][..]);
    let zonal = "vpce-0123456789abcdef0-lj2wisx3-us-east-2a.lambda.us-east-2.vpce.amazonaws.com.";
    let api_aws = "lambda.us-east-2.api.aws.";
    let private_name = "ip-10-0-1-10.us-east-2.compute.internal.";
    let none = &[][..];
    for (name, kind, inside, public) in [
        (SERVICE, A, eni, nowhere),
        (SERVICE, AAAA, eni6, none),
        (api_aws, A, eni, nowhere),
        (api_aws, AAAA, eni6, nowhere6),
        (REGIONAL, A, eni, eni),
        (REGIONAL, AAAA, eni6, eni6),
        (zonal, A, eni, eni),
        ("app.", A, &["10.0.1.10"], none),
        ("app.", AAAA, &["2001:db8:1234:1a01::a"], none),
        ("stranger.us-east-2.compute.internal.", A, &["10.0.9.10"], none),
        (private_name, A, &["10.0.1.10"], none),
        ("ip-10-0-1-100.us-east-2.compute.internal.", A, eni, none),
        ("10.1.0.10.in-addr.arpa.", PTR, &[private_name], none),
        // On-premises machines are not the VPC resolver's to know.
        ("onprem.", A, none, none),
    ] {
        let mut resolver = Resolver::new(&quickstart());
        assert_eq!(addresses(&mut resolver, View::Vpc, name, kind), inside, "{name} {kind} in the VPC");
        assert_eq!(addresses(&mut resolver, View::OnPremises, name, kind), inside, "{name} {kind} on-premises");
        assert_eq!(addresses(&mut resolver, View::Public, name, kind), public, "{name} {kind} in public");
    }
}

#[test]
fn without_private_dns_the_public_name_leads_nowhere_and_the_endpoints_own_names_still_work() {
    let mut topology = quickstart();
    topology.endpoints[0].private_dns = false;
    let mut resolver = Resolver::new(&topology);
    assert_eq!(addresses(&mut resolver, View::Vpc, SERVICE, RecordType::A), ["192.0.2.1"]);
    assert_eq!(addresses(&mut resolver, View::Vpc, REGIONAL, RecordType::A), ["10.0.1.100"]);
}

#[test]
fn private_dns_leaves_api_aws_out_if_the_setting_says_so() {
    let mut topology = quickstart();
    topology.resolver.private_dns_api_aws = false;
    let mut resolver = Resolver::new(&topology);
    assert_eq!(addresses(&mut resolver, View::Vpc, "lambda.us-east-2.api.aws.", RecordType::A), ["192.0.2.1"]);
    assert_eq!(addresses(&mut resolver, View::Vpc, SERVICE, RecordType::A), ["10.0.1.100"]);
}

#[test]
fn a_name_without_data_and_a_name_that_is_not_differ() {
    use RecordType::{A, ANY, HTTPS, MX, SOA, TXT};
    for (name, kind, code, apex) in [
        (SERVICE, HTTPS, ResponseCode::NoError, SERVICE),
        (SERVICE, ANY, ResponseCode::NoError, SERVICE),
        (REGIONAL, TXT, ResponseCode::NoError, "lambda.us-east-2.vpce.amazonaws.com."),
        // Parents of known names exist (RFC 8020).
        ("us-east-2.amazonaws.com.", A, ResponseCode::NoError, "amazonaws.com."),
        ("vpce.amazonaws.com.", MX, ResponseCode::NoError, "amazonaws.com."),
        ("com.", A, ResponseCode::NoError, "."),
        (".", A, ResponseCode::NoError, "."),
        ("x.lambda.us-east-2.amazonaws.com.", A, ResponseCode::NXDomain, SERVICE),
        (
            "vpce-0123456789abcdef0-00000000.lambda.us-east-2.vpce.amazonaws.com.",
            A,
            ResponseCode::NXDomain,
            "lambda.us-east-2.vpce.amazonaws.com.",
        ),
        ("s3.us-east-2.amazonaws.com.", A, ResponseCode::NXDomain, "amazonaws.com."),
        ("ip-10-0-1-11.us-east-2.compute.internal.", A, ResponseCode::NXDomain, "us-east-2.compute.internal."),
        ("example.org.", A, ResponseCode::NXDomain, "."),
    ] {
        let mut resolver = Resolver::new(&quickstart());
        let asked = ask(&mut resolver, View::Vpc, name, kind);
        assert_eq!(asked.message.metadata.response_code, code, "{name} {kind}");
        assert!(asked.message.answers.is_empty(), "{name} {kind}");
        let authority = &asked.message.authorities[0];
        assert_eq!((authority.name.to_ascii().as_str(), authority.record_type()), (apex, SOA), "{name} {kind}");
        let event = if code == ResponseCode::NXDomain { Event::DnsNxdomain } else { Event::DnsAnswered };
        assert_eq!(asked.outcome, Answer::Sent(event), "{name} {kind}");
    }
    let mut resolver = Resolver::new(&quickstart());
    let soa = ask(&mut resolver, View::Vpc, SERVICE, SOA).message;
    assert_eq!((soa.answers.len(), soa.authorities.len()), (1, 0));
}

#[test]
fn an_ipv4_endpoint_has_no_aaaa() {
    let mut resolver = Resolver::new(&two_zones());
    let asked = ask(&mut resolver, View::Vpc, SERVICE, RecordType::AAAA);
    assert_eq!(asked.message.metadata.response_code, ResponseCode::NoError);
    assert_eq!((asked.message.answers.len(), asked.message.authorities.len()), (0, 1));
}

#[test]
fn enis_take_turns_and_unhealthy_ones_are_left_out() {
    let (a, b) = ("10.0.1.100", "10.0.2.100");
    let mut resolver = Resolver::new(&two_zones());
    assert_eq!(addresses(&mut resolver, View::Vpc, SERVICE, RecordType::A), [a, b]);
    assert_eq!(addresses(&mut resolver, View::Vpc, REGIONAL, RecordType::A), [b, a]);
    assert_eq!(addresses(&mut resolver, View::Vpc, SERVICE, RecordType::A), [a, b]);
    resolver.set_health(0, false);
    for _ in 0..2 {
        assert_eq!(addresses(&mut resolver, View::Vpc, SERVICE, RecordType::A), [b]);
    }
    resolver.set_health(1, false);
    assert_eq!(addresses(&mut resolver, View::Vpc, SERVICE, RecordType::A).len(), 2);
    resolver.set_health(0, true);
    assert_eq!(addresses(&mut resolver, View::Vpc, SERVICE, RecordType::A), [a]);
    resolver.set_all_health(EniHealth::default());
    assert_eq!(addresses(&mut resolver, View::Vpc, SERVICE, RecordType::A).len(), 2);
}

#[test]
fn a_zones_own_name_stays_with_its_eni_whatever_its_health() {
    let mut resolver = Resolver::new(&two_zones());
    resolver.set_health(1, false);
    let zonal = REGIONAL.replace(".lambda.", "-us-east-2b.lambda.");
    for view in [View::Vpc, View::OnPremises, View::Public] {
        assert_eq!(addresses(&mut resolver, view, REGIONAL, RecordType::A), ["10.0.1.100"], "{view:?}");
        assert_eq!(addresses(&mut resolver, view, &zonal, RecordType::A), ["10.0.2.100"], "{view:?}");
    }
}

#[test]
fn the_question_comes_back_as_it_was_spelled() {
    let mut resolver = Resolver::new(&quickstart());
    let mixed = "LaMbDa.uS-eAsT-2.AmAzOnAwS.cOm.";
    let message = ask(&mut resolver, View::Vpc, mixed, RecordType::A).message;
    assert_eq!(message.queries[0].name.to_ascii(), mixed);
    assert_eq!(message.answers[0].name.to_ascii(), mixed);
    assert_eq!(message.answers[0].data.to_string(), "10.0.1.100");
    assert_eq!(message.answers[0].ttl, 60);
    assert_eq!(message.metadata.id, 0x1234);
    assert!(message.metadata.recursion_desired && message.metadata.recursion_available);
}

#[test]
fn edns_is_answered_by_edns_and_only_then() {
    let mut resolver = Resolver::new(&quickstart());
    let mut with = query(SERVICE, RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_dnssec_ok(true);
    with.set_edns(edns);
    let message = ask_message(&mut resolver, View::Vpc, &with).message;
    let edns = message.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.version(), edns.flags().dnssec_ok), (PAYLOAD, 0, true));
    assert!(ask(&mut resolver, View::Vpc, SERVICE, RecordType::A).message.edns.is_none());

    let mut newer = query(SERVICE, RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    newer.set_edns(edns);
    let asked = ask_message(&mut resolver, View::Vpc, &newer);
    // BADVERS and BADSIG share the number 16 (RFC 6895 §2.3).
    assert_eq!(u16::from(asked.message.metadata.response_code), 16);
    assert_eq!(asked.outcome, Answer::Refused(Reason::DnsRefused));
}

#[test]
fn names_have_the_addresses_of_their_record_type() {
    for (records, v4, v6) in [(DnsRecords::Ipv4, 1, 0), (DnsRecords::Ipv6, 0, 1), (DnsRecords::Dualstack, 1, 1)] {
        let mut topology = quickstart();
        topology.endpoints[0].dns_records = records;
        let mut resolver = Resolver::new(&topology);
        let regional = topology.endpoint_host(&topology.endpoints[0]);
        for name in [SERVICE, &regional] {
            let mut count = |kind| ask(&mut resolver, View::Vpc, name, kind).message.answers.len();
            assert_eq!((count(RecordType::A), count(RecordType::AAAA)), (v4, v6), "{name} {records:?}");
        }
    }
}

#[test]
fn an_answer_that_is_too_large_is_cut_and_says_so() {
    let mut topology = quickstart();
    let eni = topology.endpoints[0].enis[0].clone();
    for n in 0..100_u8 {
        let mut more = eni.clone();
        (more.slot, more.ipv4) = (u16::from(n) + 1, Ipv4Addr::new(10, 0, 1, 101 + n));
        topology.endpoints[0].enis.push(more);
    }
    let mut resolver = Resolver::new(&topology);
    let plain = ask(&mut resolver, View::Vpc, SERVICE, RecordType::A);
    assert!(plain.message.metadata.truncation && plain.message.answers.is_empty());
    assert!(plain.bytes <= 512);
    let mut large = query(SERVICE, RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    large.set_edns(edns);
    let whole = ask_message(&mut resolver, View::Vpc, &large);
    assert!(!whole.message.metadata.truncation);
    assert_eq!(whole.message.answers.len(), 101);
}

#[test]
fn what_is_not_a_query_is_refused_or_dropped() {
    let mut resolver = Resolver::new(&quickstart());
    let mut out = Vec::new();
    let whole = query(SERVICE, RecordType::A).to_vec().unwrap();
    let change = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let refused = |reason| Answer::Refused(reason);
    for (what, bytes, outcome, code) in [
        ("empty", vec![], Answer::Dropped(Reason::DnsMalformed), None),
        ("half a header", whole[..11].to_vec(), Answer::Dropped(Reason::DnsMalformed), None),
        ("an answer", change(2, 0x81), Answer::Dropped(Reason::DnsMalformed), None),
        ("opcode UPDATE", change(2, 5 << 3), refused(Reason::DnsRefused), Some(ResponseCode::NotImp)),
        ("opcode 15", change(2, 15 << 3), refused(Reason::DnsRefused), Some(ResponseCode::NotImp)),
        ("no question", change(5, 0), refused(Reason::DnsMalformed), Some(ResponseCode::FormErr)),
        ("65,281 questions", change(4, 0xff), refused(Reason::DnsMalformed), Some(ResponseCode::FormErr)),
        ("an answer record", change(7, 1), refused(Reason::DnsMalformed), Some(ResponseCode::FormErr)),
        ("cut short", whole[..20].to_vec(), refused(Reason::DnsMalformed), Some(ResponseCode::FormErr)),
        ("a label that points to itself", change(12, 0xc0), refused(Reason::DnsMalformed), Some(ResponseCode::FormErr)),
        ("class CH", change(whole.len() - 1, 3), refused(Reason::DnsRefused), Some(ResponseCode::Refused)),
    ] {
        assert_eq!(resolver.answer(View::Vpc, &bytes, APP, Moment::default(), &mut out), outcome, "{what}");
        let answered = Message::from_vec(&out).ok();
        assert_eq!(answered.as_ref().map(|message| message.metadata.response_code), code, "{what}");
        assert!(answered.is_none_or(|message| message.metadata.id == 0x1234), "{what}");
    }
}

#[test]
fn the_vpcs_resolver_answers_nobody_outside_and_not_at_all_without_dns_support() {
    let mut topology = quickstart();
    let bytes = query(SERVICE, RecordType::A).to_vec().unwrap();
    let mut out = Vec::new();
    let mut resolver = Resolver::new(&topology);
    let refused = Answer::Dropped(Reason::DnsRefused);
    let inside6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x1a01, 0, 0, 0, 10));
    let now = Moment::default();
    assert_eq!(resolver.answer(View::Vpc, &bytes, ONPREM, now, &mut out), refused);
    assert_eq!(resolver.answer(View::Vpc, &bytes, inside6, now, &mut out), Answer::Sent(Event::DnsAnswered));
    topology.vpc.dns_support = false;
    let mut resolver = Resolver::new(&topology);
    assert_eq!(resolver.answer(View::Vpc, &bytes, APP, now, &mut out), refused);
    assert_eq!(resolver.answer(View::OnPremises, &bytes, ONPREM, now, &mut out), refused);
    assert!(out.is_empty());
}

#[test]
fn one_interface_gets_1024_answers_a_second() {
    let mut resolver = Resolver::new(&quickstart());
    let bytes = query(SERVICE, RecordType::A).to_vec().unwrap();
    let mut out = Vec::new();
    let mut answered = |source, now| resolver.answer(View::Vpc, &bytes, source, now, &mut out);
    for _ in 0..1024 {
        assert_eq!(answered(APP, Moment::default()), Answer::Sent(Event::DnsAnswered));
    }
    assert_eq!(answered(APP, Moment::default()), Answer::Dropped(Reason::DnsRateLimit));
    let other = IpAddr::V4(Ipv4Addr::new(10, 0, 9, 10));
    assert_eq!(answered(other, Moment::default()), Answer::Sent(Event::DnsAnswered));
    assert_eq!(answered(APP, Moment::from_millis(1_000)), Answer::Sent(Event::DnsAnswered));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_no_answer_is_too_large(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        header in any::<bool>(),
    ) {
        let mut resolver = Resolver::new(&quickstart());
        let mut query = if header { vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1] } else { Vec::new() };
        query.extend(bytes);
        let mut out = vec![1, 2, 3];
        let outcome = resolver.answer(View::OnPremises, &query, ONPREM, Moment::default(), &mut out);
        prop_assert_eq!(matches!(outcome, Answer::Dropped(_)), out.is_empty());
        prop_assert!(out.len() <= usize::from(PAYLOAD));
    }

    #[test]
    fn any_change_of_a_query_is_survived(at in 0_usize..60, byte in any::<u8>(), len in 0_usize..80) {
        let mut resolver = Resolver::new(&quickstart());
        let mut message = query(SERVICE, RecordType::A);
        message.set_edns(Edns::new());
        let mut bytes = message.to_vec().unwrap();
        if let Some(changed) = bytes.get_mut(at) {
            *changed = byte;
        }
        bytes.truncate(len);
        let mut out = Vec::new();
        let outcome = resolver.answer(View::OnPremises, &bytes, ONPREM, Moment::default(), &mut out);
        prop_assert_eq!(matches!(outcome, Answer::Dropped(_)), out.is_empty());
    }
}
