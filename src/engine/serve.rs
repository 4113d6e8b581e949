//! A request's way to the function host and back: the Lambda API over what the engine has.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::authority::EndpointAuthority;
use super::host::TunnelHost;
use super::ready::Ready;
use crate::http::{Fields, Handler};
use crate::lambda::{ConnectionInfo, ResponseBody, Service, ServiceParts};
use crate::tcp::{Connection, Leg, TcpStage};
use crate::time::{Moment, Now, TurnClock};
use crate::verdict::{Counters, Event};

/// Bodies of answers.
pub(super) type ServiceBody = ResponseBody;
type EndpointService = Service<TunnelHost, EndpointAuthority>;

/// The service and what runs beside its requests.
pub(super) struct Serving {
    service: Rc<EndpointService>,
    clock: Rc<TurnClock>,
    /// Event invocations under way. Bounded by the event queue.
    events: FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>>,
    ready: Rc<Ready>,
    inside: IpAddr,
    host: SocketAddr,
    counters: Arc<Counters>,
    stamp: Rc<Stamp>,
}

impl Serving {
    pub(super) fn new(
        parts: ServiceParts<TunnelHost, EndpointAuthority>,
        ready: Rc<Ready>,
        inside: IpAddr,
        host: SocketAddr,
    ) -> Self {
        let (clock, counters) = (Rc::clone(&parts.clock), Arc::clone(&parts.counters));
        let stamp = Rc::new(Stamp { clock: Rc::clone(&clock), date: RefCell::default() });
        Self {
            stamp,
            service: Rc::new(Service::new(parts)),
            clock,
            events: FuturesUnordered::new(),
            ready,
            inside,
            host,
            counters,
        }
    }

    /// Tells the time of this turn.
    pub(super) fn set_time(&self, now: Now) {
        self.clock.set(now);
    }

    /// The service, to be given new snapshots.
    pub(super) fn service(&self) -> &EndpointService {
        &self.service
    }

    /// Serves the requests of one connection to the eni in this slot.
    pub(super) fn handler(&self, client: SocketAddr, endpoint: SocketAddr, eni: usize) -> Handler<ServiceBody> {
        let connection = Rc::new(ConnectionInfo { client, endpoint, eni, is_secure: true });
        let (service, counters, stamp) = (Rc::clone(&self.service), Arc::clone(&self.counters), Rc::clone(&self.stamp));
        Rc::new(move |head, body| {
            counters.count(Event::HttpRequest);
            let (service, stamp, connection) = (Rc::clone(&service), Rc::clone(&stamp), Rc::clone(&connection));
            Box::pin(async move {
                let mut response = service.handle(&connection, &head, body).await;
                stamp.put_on(&mut response.fields);
                response
            })
        })
    }

    /// Begins a connection to the function host from `port`.
    pub(super) fn connect(&self, tcp: &mut TcpStage, port: u16) -> Option<Connection> {
        tcp.connect(Leg::Tunnel, SocketAddr::new(self.inside, port), self.host)
    }

    /// Where the function host is.
    pub(super) fn host_address(&self) -> SocketAddr {
        self.host
    }

    /// Begins the Event invocations that are due.
    pub(super) fn start_due_events(&mut self) {
        let mut started = false;
        while let Some(queued) = self.service.poll_event() {
            let service = Rc::clone(&self.service);
            self.events.push(Box::pin(async move {
                // The queue has noted the outcome, and the access log has it.
                let _noted = service.deliver(queued).await;
            }));
            started = true;
        }
        if started {
            self.drive_events();
        }
    }

    /// Goes on with Event invocations under way.
    pub(super) fn drive_events(&mut self) {
        let mut cx = Context::from_waker(self.ready.waker());
        while let Poll::Ready(Some(())) = self.events.poll_next_unpin(&mut cx) {}
    }

    /// When an Event invocation is due.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        Some(self.service.next_deadline()).filter(|at| *at != Moment::NEVER)
    }
}

/// The date of every answer: SDKs set their clocks by it.
struct Stamp {
    clock: Rc<TurnClock>,
    /// A second and how it is written: most answers share it with the one before.
    date: RefCell<(u64, String)>,
}

impl Stamp {
    fn put_on(&self, fields: &mut Fields) {
        let unix = self.clock.now().unix;
        let mut date = self.date.borrow_mut();
        if date.0 != unix.secs() || date.1.is_empty() {
            *date = (unix.secs(), unix.to_http_date());
        }
        fields.push("Date", &date.1);
    }
}
