use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::sync::oneshot;

use super::*;
use crate::config::builtin;

const SERVICE: &str = "lambda.us-east-2.amazonaws.com.";

/// A forwarder on loopback and a client of it.
struct Lab {
    client: UdpSocket,
    counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<io::Result<()>>,
}

async fn loopback() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

impl Lab {
    async fn up(inbound_endpoint: Option<SocketAddr>, settings: Settings) -> Self {
        let topology = builtin("quickstart").unwrap().check().unwrap();
        Self::of(PublicView::fixed(&Arc::new(topology)), inbound_endpoint, settings).await
    }

    async fn of(known: PublicView, inbound_endpoint: Option<SocketAddr>, settings: Settings) -> Self {
        let (clients, upstream, client) = (loopback().await, loopback().await, loopback().await);
        client.connect(clients.local_addr().unwrap()).await.unwrap();
        let counters = Arc::new(Counters::default());
        let topology = Arc::clone(&known.topology.borrow());
        let own = Public::new(known);
        let forwarder =
            Forwarder::new(&topology, clients, upstream, inbound_endpoint, own, settings, Arc::clone(&counters));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move { forwarder.serve(async { drop(stopped.await) }).await });
        Self { client, counters, stop, served }
    }

    async fn send(&self, id: u16, name: &str) {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        self.client.send(&message.to_vec().unwrap()).await.unwrap();
    }

    async fn receive(&self) -> Message {
        let mut buffer = [0; 4096];
        let length = self.client.recv(&mut buffer).await.unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    async fn ask(&self, id: u16, name: &str) -> Message {
        self.send(id, name).await;
        self.receive().await
    }

    async fn down(self) -> Vec<(&'static str, u64)> {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.counters.nonzero().into_iter().map(|(_, code, n)| (code, n)).collect()
    }
}

/// The real resolver of the VPC behind a socket, as the inbound endpoint is.
async fn inbound_endpoint() -> SocketAddr {
    let socket = loopback().await;
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut resolver = Resolver::new(&builtin("quickstart").unwrap().check().unwrap());
        let (mut buffer, mut out) = ([0; 4096], Vec::new());
        loop {
            let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
            resolver.answer(View::OnPremises, &buffer[..length], source.ip(), Moment::default(), &mut out);
            socket.send_to(&out, source).await.unwrap();
        }
    });
    address
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

#[tokio::test]
async fn public_names_of_the_endpoint_leave_out_what_is_down() {
    let mut topology = builtin("quickstart").unwrap().check().unwrap();
    let mut second = topology.endpoints[0].enis[0].clone();
    (second.slot, second.ipv4) = (1, [10, 0, 9, 100].into());
    topology.endpoints[0].enis.push(second);
    let (known, health) = watch::channel(EniHealth::default());
    let (in_force, followed) = watch::channel(Arc::new(topology.clone()));
    let view = PublicView { topology: followed, health };
    let lab = Lab::of(view, None, Settings::default()).await;
    let name = topology.endpoint_host(&topology.endpoints[0]);
    assert_eq!(addresses(&lab.ask(1, &name).await).len(), 2);
    known.send_modify(|health| health.set(0, false));
    assert_eq!(addresses(&lab.ask(2, &name).await), ["10.0.9.100".parse::<IpAddr>().unwrap()]);
    known.send_modify(|health| health.set(0, true));
    assert_eq!(addresses(&lab.ask(3, &name).await).len(), 2);
    known.send_modify(|health| health.set(0, false));
    // One more eni appears, and the endpoint then goes away.
    in_force.send_modify(|topology| {
        let mut third = topology.endpoints[0].enis[0].clone();
        (third.slot, third.ipv4) = (2, [10, 0, 9, 101].into());
        Arc::make_mut(topology).endpoints[0].enis.push(third);
    });
    assert_eq!(addresses(&lab.ask(4, &name).await).len(), 2, "what is down is not forgotten");
    in_force.send_modify(|topology| Arc::make_mut(topology).endpoints.clear());
    assert_eq!(addresses(&lab.ask(5, &name).await).len(), 0);
}

#[tokio::test]
async fn aws_names_come_from_the_inbound_endpoint_and_others_from_here() {
    let lab = Lab::up(Some(inbound_endpoint().await), Settings::default()).await;
    for (id, name, address) in [
        (7, SERVICE, Some([10, 0, 1, 100])),
        (7, "lambda.us-east-2.api.aws.", Some([10, 0, 1, 100])),
        (8, "ip-10-0-1-10.us-east-2.compute.internal.", Some([10, 0, 1, 10])),
        (9, "onprem.", Some([192, 168, 10, 10])),
        // Known to the VPC's resolver, but not asked of it.
        (9, "app.", None),
        (10, "example.org.", None),
    ] {
        let answer = lab.ask(id, name).await;
        assert_eq!(answer.metadata.id, id, "{name}");
        let expected: Vec<_> = address.into_iter().map(IpAddr::from).collect();
        assert_eq!(addresses(&answer), expected, "{name}");
        let code = if address.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
        assert_eq!(answer.metadata.response_code, code, "{name}");
    }
    assert_eq!(lab.down().await, [("DNS_ANSWERED", 4), ("DNS_NXDOMAIN", 2)]);
}

#[tokio::test]
async fn without_an_inbound_endpoint_the_private_name_leads_nowhere() {
    let lab = Lab::up(None, Settings::default()).await;
    let answer = lab.ask(1, SERVICE).await;
    assert_eq!(addresses(&answer), [IpAddr::from([192, 0, 2, 1])]);
    assert_eq!(lab.down().await, [("DNS_ANSWERED", 1)]);
}

#[tokio::test]
async fn a_query_that_nobody_answers_fails_in_time_and_gives_its_place_back() {
    let silent = loopback().await;
    let settings = Settings { timeout: Duration::from_millis(20), pending_limit: 1 };
    let lab = Lab::up(Some(silent.local_addr().unwrap()), settings).await;
    for id in [3, 4] {
        let answer = lab.ask(id, SERVICE).await;
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (id, ResponseCode::ServFail));
        assert_eq!(answer.queries[0].name.to_ascii(), SERVICE);
    }
    assert_eq!(lab.down().await, [("DNS_FORWARD_TIMEOUT", 2)]);
}

#[tokio::test]
async fn more_queries_than_may_wait_fail_at_once() {
    let silent = loopback().await;
    let settings = Settings { timeout: Duration::from_secs(600), pending_limit: 1 };
    let lab = Lab::up(Some(silent.local_addr().unwrap()), settings).await;
    lab.send(1, SERVICE).await;
    let answer = lab.ask(2, SERVICE).await;
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (2, ResponseCode::ServFail));
    assert_eq!(lab.down().await, [("DNS_FORWARD_LIMIT", 1)]);
}

#[tokio::test]
async fn only_the_answer_to_the_very_question_is_taken() {
    let upstream = loopback().await;
    let settings = Settings { timeout: Duration::from_secs(600), pending_limit: 8 };
    let lab = Lab::up(Some(upstream.local_addr().unwrap()), settings).await;
    lab.send(0x0101, SERVICE).await;
    let mut buffer = [0; 512];
    let (length, forwarder) = upstream.recv_from(&mut buffer).await.unwrap();
    let query = Message::from_vec(&buffer[..length]).unwrap();
    let reply = |id: u16, name: &str, kind: MessageType, last: u8| {
        let mut message = Message::new(id, kind, OpCode::Query);
        let name = Name::from_ascii(name).unwrap();
        message.add_query(Query::query(name.clone(), RecordType::A));
        let data = hickory_proto::rr::RData::A(Ipv4Addr::new(10, 0, 1, last).into());
        message.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, data));
        message.to_vec().unwrap()
    };
    let id = query.metadata.id;
    let stranger = loopback().await;
    stranger.send_to(&reply(id, SERVICE, MessageType::Response, 1), forwarder).await.unwrap();
    for forged in [
        reply(id.wrapping_add(1), SERVICE, MessageType::Response, 2),
        reply(id, "lambda.us-east-1.amazonaws.com.", MessageType::Response, 3),
        // Same name, other case: whoever guessed the id did not see the query.
        reply(id, "LAMBDA.us-east-2.amazonaws.com.", MessageType::Response, 4),
        reply(id, SERVICE, MessageType::Query, 5),
        vec![1],
    ] {
        upstream.send_to(&forged, forwarder).await.unwrap();
    }
    upstream.send_to(&reply(id, SERVICE, MessageType::Response, 100), forwarder).await.unwrap();
    let answer = lab.receive().await;
    assert_eq!((answer.metadata.id, addresses(&answer)), (0x0101, vec![IpAddr::from([10, 0, 1, 100])]));
    assert_eq!(lab.down().await, [("DNS_ANSWERED", 1), ("DNS_MALFORMED", 6)]);
}

#[tokio::test]
async fn garbage_is_answered_or_dropped_and_the_next_query_is_served() {
    let lab = Lab::up(None, Settings::default()).await;
    for bytes in [&[][..], &[1, 2, 3], &[0xff; 40]] {
        lab.client.send(bytes).await.unwrap();
    }
    assert_eq!(addresses(&lab.ask(1, "onprem.").await).len(), 1);
    assert_eq!(lab.down().await, [("DNS_ANSWERED", 1), ("DNS_MALFORMED", 3)]);
}
