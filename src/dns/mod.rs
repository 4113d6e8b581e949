//! The resolver: what a name means in the VPC, on-premises and in public.
//!
//! Answers one query at a time from tables built out of the topology; it never asks anybody else. The lab is a world of its
//! own without the internet, so a name that it does not know does not exist (NXDOMAIN), and a name that is only the parent
//! of known ones has no data.
//!
//! | name | VPC and inbound endpoint | public |
//! | --- | --- | --- |
//! | `lambda.<region>.amazonaws.com`, private DNS on | the enis | a documentation address |
//! | the same, private DNS off | a documentation address | a documentation address |
//! | `lambda.<region>.api.aws` | as above, if the setting says that private DNS covers it | a documentation address |
//! | `vpce-<id>-<token>.lambda.<region>.vpce.amazonaws.com` | the enis | the enis |
//! | `vpce-<id>-<token>-<zone>.lambda.<region>.vpce.amazonaws.com` | that zone's eni | that zone's eni |
//! | `ip-10-0-1-10.<region>.compute.internal`, `app` | the host | does not exist |
//!
//! Over several enis the answer holds every healthy one, and starts with the next one for each query: AWS documents round
//! robin over healthy enis, but not how many addresses an answer has. When none is healthy all are given, as Route 53 does;
//! so the name of one zone always gives that zone's eni.
//! Types other than A and AAAA get no data, ANY too (RFC 8482). A and AAAA are not synthesised from one another.
//!
//! **Not done.** TCP is not served: no answer here can come near 512 bytes unless an endpoint has more than a dozen zones,
//! and then it says so by TC. No recursion, no DNSSEC, no zone transfer.
//!
//! **Limits.** One question per query (RFC 9619). [`config::Resolver::packets_per_second`](crate::config::Resolver) for each
//! source interface, [`INBOUND_PER_SECOND`] for the inbound endpoint; a source over [`SOURCES`] is dropped as over its limit.
//! Answers of at most [`PAYLOAD`] bytes (RFC 6891), or of what the client says it takes.
//!
//! Queries to the VPC's resolver pass no security group and no network ACL (VPC user guide), and appear in no flow log. The
//! inbound endpoint stands in a subnet, whose ACL the caller asks; it has no security group here.

mod rate;
mod zones;

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::config::Topology;
use crate::eni::EniHealth;
use crate::time::Moment;
use crate::verdict::{Event, Reason};

use rate::RateLimit;
use zones::{Found, Zones};

/// UDP payload that the resolver offers by EDNS, and the most it sends.
pub const PAYLOAD: u16 = 4096;
/// Queries per second to the inbound endpoint (Route 53 Resolver quotas: 10,000 for one address).
pub const INBOUND_PER_SECOND: u32 = 10_000;
/// Source interfaces whose rate is kept at the same time.
pub const SOURCES: usize = 4096;
/// Without EDNS (RFC 1035 §4.2.1).
const PAYLOAD_PLAIN: u16 = 512;
/// Header of a message, and the most additional records a query may bring: OPT and a signature.
const HEADER: usize = 12;
const ADDITIONALS: u16 = 2;

/// From where a query is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// In the VPC, of the resolver at VPC+2 or 169.254.169.253.
    Vpc,
    /// From on-premises, of the resolver's inbound endpoint.
    OnPremises,
    /// Anywhere else: public DNS.
    Public,
}

/// What became of a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Answered; `out` holds the message. The event is [`Event::DnsAnswered`] or [`Event::DnsNxdomain`].
    Sent(Event),
    /// Refused with an error that `out` holds.
    Refused(Reason),
    /// Dropped; `out` is empty.
    Dropped(Reason),
}

/// Answers queries. One per worker: limits and the turn of the enis are the worker's own.
#[derive(Debug)]
pub struct Resolver {
    vpc: (Ipv4Net, Option<Ipv6Net>),
    /// `enableDnsSupport`: without it there is no resolver in the VPC.
    serves: bool,
    inside: Zones,
    public: Zones,
    health: EniHealth,
    turn: usize,
    interfaces: RateLimit,
    inbound: RateLimit,
}

impl Resolver {
    /// A resolver for a topology, with every eni healthy.
    pub fn new(topology: &Topology) -> Self {
        Self {
            vpc: (topology.vpc.cidr, topology.vpc.cidr6),
            serves: topology.vpc.dns_support,
            inside: Zones::inside(topology),
            public: Zones::public(topology),
            health: EniHealth::default(),
            turn: 0,
            interfaces: RateLimit::new(topology.resolver.packets_per_second),
            inbound: RateLimit::new(INBOUND_PER_SECOND),
        }
    }

    /// What a DNS forwarder on-premises answers by itself under [`View::Public`]: public DNS and its own machines' names.
    pub fn on_premises(topology: &Topology) -> Self {
        Self { public: Zones::on_premises(topology), ..Self::new(topology) }
    }

    /// Notes whether an eni (index into [`crate::config::Endpoint::enis`]) is healthy; answers then leave it out or not.
    pub fn set_health(&mut self, eni: usize, healthy: bool) {
        self.health.set(eni, healthy);
    }

    /// The same for all enis at once.
    pub fn set_all_health(&mut self, health: EniHealth) {
        self.health = health;
    }

    /// Answers one query, the payload of a UDP datagram from `source`. Clears `out` and writes the answer to it, if any.
    pub fn answer(&mut self, view: View, query: &[u8], source: IpAddr, now: Moment, out: &mut Vec<u8>) -> Answer {
        out.clear();
        if !self.may_ask(view, source) {
            return Answer::Dropped(Reason::DnsRefused);
        }
        let limited = match view {
            View::Vpc => !self.interfaces.admit(source, now),
            View::OnPremises => !self.inbound.admit(source, now),
            View::Public => false,
        };
        if limited {
            return Answer::Dropped(Reason::DnsRateLimit);
        }
        let Some(header) = Header::parse(query) else { return Answer::Dropped(Reason::DnsMalformed) };
        if header.op_code != OpCode::Query {
            return refuse(&header, ResponseCode::NotImp, Reason::DnsRefused, out);
        }
        if !header.is_one_question {
            return refuse(&header, ResponseCode::FormErr, Reason::DnsMalformed, out);
        }
        let Ok(query) = Message::from_vec(query) else {
            return refuse(&header, ResponseCode::FormErr, Reason::DnsMalformed, out);
        };
        self.answer_message(view, query, out)
    }

    /// Whether this view answers that source at all: the VPC's resolver is reachable only from inside the VPC.
    fn may_ask(&self, view: View, source: IpAddr) -> bool {
        match (view, source) {
            (View::Public, _) => true,
            (View::OnPremises, _) => self.serves,
            (View::Vpc, IpAddr::V4(source)) => self.serves && self.vpc.0.contains(&source),
            (View::Vpc, IpAddr::V6(source)) => self.serves && self.vpc.1.is_some_and(|net| net.contains(&source)),
        }
    }

    fn answer_message(&mut self, view: View, mut query: Message, out: &mut Vec<u8>) -> Answer {
        let Some(question) = query.queries.pop() else { return Answer::Dropped(Reason::DnsMalformed) };
        let mut response = Message::response(query.metadata.id, OpCode::Query);
        response.metadata.recursion_desired = query.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.metadata.checking_disabled = query.metadata.checking_disabled;
        let edns = query.edns.take();
        let limit = edns.as_ref().map_or(PAYLOAD_PLAIN, |edns| edns.max_payload().clamp(PAYLOAD_PLAIN, PAYLOAD));
        if let Some(edns) = &edns {
            let mut own = Edns::new();
            own.set_max_payload(PAYLOAD).set_version(0).set_dnssec_ok(edns.flags().dnssec_ok);
            response.set_edns(own);
        }
        let (code, outcome) = if edns.is_some_and(|edns| edns.version() != 0) {
            (ResponseCode::BADVERS, Answer::Refused(Reason::DnsRefused))
        } else if question.query_class != DNSClass::IN {
            (ResponseCode::Refused, Answer::Refused(Reason::DnsRefused))
        } else {
            self.look_up(view, &question.name, question.query_type, &mut response)
        };
        response.metadata.response_code = code;
        response.add_query(question);
        emit(&mut response, limit, out);
        outcome
    }

    fn look_up(&mut self, view: View, name: &Name, kind: RecordType, response: &mut Message) -> (ResponseCode, Answer) {
        let zones = match view {
            View::Vpc | View::OnPremises => &self.inside,
            View::Public => &self.public,
        };
        let found = zones.find(name);
        let record = |data| Record::from_rdata(name.clone(), zones.ttl, data);
        match (&found, kind) {
            (Found::Enis(enis), RecordType::A | RecordType::AAAA) => {
                let all_down = !enis.iter().any(|eni| self.health.is_healthy(eni.slot));
                let start = self.turn % enis.len().max(1);
                self.turn = self.turn.wrapping_add(1);
                let (first, last) = (&enis[start..], &enis[..start]);
                for eni in first.iter().chain(last).filter(|eni| all_down || self.health.is_healthy(eni.slot)) {
                    let data = match kind {
                        RecordType::A => eni.ipv4.map(|address| RData::A(address.into())),
                        _ => eni.ipv6.map(|address| RData::AAAA(address.into())),
                    };
                    response.answers.extend(data.map(record));
                }
            }
            (Found::Address(Some(address), _), RecordType::A) => {
                response.add_answer(record(RData::A((*address).into())));
            }
            (Found::Address(_, Some(address)), RecordType::AAAA) => {
                response.add_answer(record(RData::AAAA((*address).into())));
            }
            (Found::Pointer(target), RecordType::PTR) => {
                response.add_answer(record(RData::PTR(hickory_proto::rr::rdata::PTR((*target).clone()))));
            }
            _ => {}
        }
        let (apex, soa) = zones.authority(name);
        if kind == RecordType::SOA && apex == name {
            response.add_answer(Record::from_rdata(name.clone(), zones.ttl, RData::SOA(soa.clone())));
        }
        if response.answers.is_empty() {
            response.add_authority(Record::from_rdata(apex.clone(), zones.ttl, RData::SOA(soa.clone())));
        }
        match found {
            Found::Nothing => (ResponseCode::NXDomain, Answer::Sent(Event::DnsNxdomain)),
            _ => (ResponseCode::NoError, Answer::Sent(Event::DnsAnswered)),
        }
    }
}

/// The name that a query asks about, if it is one that [`Resolver::answer`] would look up.
pub fn question(query: &[u8]) -> Option<Name> {
    let header = Header::parse(query)?;
    if header.op_code != OpCode::Query || !header.is_one_question {
        return None;
    }
    let mut query = Message::from_vec(query).ok()?;
    query.queries.pop().map(|question| question.name)
}

/// What can be told of a query before it is decoded. The decoder makes room for as many questions as the header claims,
/// so the header is judged first.
struct Header {
    id: u16,
    op_code: OpCode,
    recursion_desired: bool,
    is_one_question: bool,
}

impl Header {
    /// `None` for what gets no answer: too short to have an id, or itself an answer.
    fn parse(query: &[u8]) -> Option<Self> {
        let header = query.first_chunk::<HEADER>()?;
        let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if header[2] & 0x80 != 0 {
            return None;
        }
        Some(Self {
            id: field(0),
            op_code: OpCode::from_u8((header[2] >> 3) & 0x0f),
            recursion_desired: header[2] & 1 != 0,
            is_one_question: field(4) == 1 && field(6) == 0 && field(8) == 0 && field(10) <= ADDITIONALS,
        })
    }
}

/// An error that repeats nothing of a query which may not even be readable.
fn refuse(header: &Header, code: ResponseCode, reason: Reason, out: &mut Vec<u8>) -> Answer {
    let mut response = Message::error_msg(header.id, header.op_code, code);
    response.metadata.recursion_desired = header.recursion_desired;
    emit(&mut response, PAYLOAD_PLAIN, out);
    Answer::Refused(reason)
}

/// Writes a response; one that is too large loses its records and gets TC (RFC 2181 §9), keeping question and OPT.
fn emit(response: &mut Message, limit: u16, out: &mut Vec<u8>) {
    response.metadata.message_type = MessageType::Response;
    for whole in [true, false] {
        if !whole {
            response.answers.clear();
            response.authorities.clear();
            response.metadata.truncation = true;
        }
        out.clear();
        let emitted = response.emit(&mut BinEncoder::new(out)).is_ok();
        if emitted && out.len() <= usize::from(limit) {
            return;
        }
    }
    // A name that was decoded can be encoded, and question and OPT alone stay under 512 bytes.
    out.clear();
}

#[cfg(test)]
mod tests;
