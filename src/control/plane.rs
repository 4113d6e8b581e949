//! The control plane: one state, what the API makes of it, and the data plane that has it in force.
//!
//! A change is done in this order: the API makes another state, the data plane takes what follows from it, the store saves it, the
//! caller is answered. So what was acknowledged is in force and survives the process, and what cannot be in force is not
//! acknowledged. Endpoints are `pending` and `deleting` for a while, as on AWS; what their state promises is in force before it
//! is said.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use http_body_util::Full;

use super::caller::{self, Callers};
use super::ec2::{self, Answer, Call, Ec2Error, Options};
use super::server::Apis;
use super::{State, Store, flow_logs, project, sts};
use crate::config::Topology;
use crate::edge::Fault;
use crate::edge::clock::Clock;
use crate::edge::endpoint::Handle;
use crate::sigv4::Keyring;
use crate::time::{Moment, Now};

/// What a control plane is started with.
pub struct PlanePlan {
    /// The data plane.
    pub endpoint: Handle,
    /// Who may sign.
    pub keyring: Keyring,
    /// Where the state is kept.
    pub store: Store,
    /// How the API behaves.
    pub options: Options,
}

/// The one control plane of a lab.
pub struct Plane {
    endpoint: Handle,
    keyring: Keyring,
    ec2: Callers,
    sts: Callers,
    store: Store,
    options: Options,
    /// What the state is laid over: the topology file's.
    base: Arc<Topology>,
    /// Reloads seen: one more, and a file's word is law again.
    reloads: u64,
    state: State,
    /// When what is pending settles.
    settles_at: Option<Moment>,
    clock: Clock,
}

impl Plane {
    /// Takes up the state that the store has, or begins with what the topology says.
    ///
    /// # Errors
    /// When the state cannot be read, or the data plane does not take it.
    pub fn start(plan: PlanePlan) -> Result<Self, Fault> {
        let PlanePlan { endpoint, keyring, store, options } = plan;
        let clock = Clock::start();
        let (base, reloads) = endpoint.in_force();
        let (kept, fresh) = (store.load()?, State::from_topology(&base, clock.now().unix));
        if kept.as_ref().is_some_and(|kept| !kept.is_of_same_lab(&fresh)) {
            return Err(Fault::new("what the API created is of a lab with other subnets or hosts, and cannot be kept")
                .remedy("bring the lab up without `--keep`, which begins anew"));
        }
        let is_kept = kept.is_some();
        let state = kept.unwrap_or(fresh);
        let callers = |service| Callers::new(&base, keyring.clone(), service, options.lenient);
        let (ec2, sts, settles_at) = (callers("ec2"), callers("sts"), None);
        let mut plane = Self { endpoint, ec2, sts, keyring, store, options, base, reloads, state, settles_at, clock };
        if is_kept {
            plane.endpoint.put(project(&plane.state, &plane.base))?;
            plane.endpoint.mark_ahead();
        } else {
            plane.store.save(&plane.state)?;
        }
        plane.follow_flow_logs();
        plane.schedule(plane.clock.now());
        Ok(plane)
    }

    fn answer(&mut self, head: &Parts, body: &[u8]) -> Answer {
        let now = self.clock.now();
        self.follow_reloads(now);
        // A GET has its form in the query (EC2 API Reference, "Query requests").
        let form = head.uri.query().map_or(body, |query| if body.is_empty() { query.as_bytes() } else { body });
        let request_id = uuid::Builder::from_random_bytes(random()).into_uuid().to_string();
        if caller::service(head) == Some("sts") {
            return match self.sts.verify(head, body, now.unix) {
                Ok(principal) => sts::handle(&ec2::action(form), &principal, &request_id),
                Err(error) => sts::refused(&error, &request_id),
            };
        }
        self.answer_ec2(head, body, form, now).unwrap_or_else(|error| Answer {
            status: error.status,
            body: error.to_xml(&request_id),
            changed: false,
        })
    }

    fn answer_ec2(&mut self, head: &Parts, body: &[u8], form: &[u8], now: Now) -> Result<Answer, Ec2Error> {
        let principal = self.ec2.verify(head, body, now.unix).map_err(|error| Ec2Error::refused(&error))?;
        let action = format!("ec2:{}", ec2::action(form));
        let allowed = self.ec2.authorize(&principal, &action, &self.base.region, now.unix);
        allowed.map_err(|why| Ec2Error::unauthorized(&why))?;
        let mut next = self.state.clone();
        let failed_flow_logs = self.endpoint.failed_flow_logs();
        let mut call = Call {
            failed_flow_logs: &failed_flow_logs,
            account: &self.base.account,
            region: &self.base.region,
            partition: &self.base.partition,
            now: now.unix,
            random: &mut |bytes: &mut [u8]| {
                bytes.chunks_mut(16).for_each(|chunk| chunk.copy_from_slice(&random()[..chunk.len()]))
            },
            options: &self.options,
        };
        let answer = ec2::handle(&mut next, form, &mut call);
        if answer.changed {
            self.commit(next, now)?;
        }
        Ok(answer)
    }

    /// Puts a state in force and saves it, or leaves everything as it was.
    fn commit(&mut self, next: State, now: Now) -> Result<(), Ec2Error> {
        let failed = |fault: Fault| {
            tracing::error!(%fault, "a change was not made");
            Ec2Error::internal()
        };
        let [before, after] = [&self.state, &next].map(|state| project(state, &self.base));
        let is_other = serde_json::to_value(&before).ok() != serde_json::to_value(&after).ok();
        if is_other {
            self.endpoint.put(after).map_err(failed)?;
        }
        if let Err(fault) = self.store.save(&next) {
            if is_other && let Err(fault) = self.endpoint.put(before) {
                tracing::error!(%fault, "what is in force is not what is remembered");
                std::process::abort();
            }
            return Err(failed(fault));
        }
        self.state = next;
        self.endpoint.mark_ahead();
        self.follow_flow_logs();
        self.schedule(now);
        Ok(())
    }

    fn schedule(&mut self, now: Now) {
        self.settles_at = (!self.state.is_settled()).then(|| now.mono + self.base.settings.settle_time);
    }

    fn follow_flow_logs(&self) {
        self.endpoint.set_flow_logs(flow_logs::specs(&self.state, self.base.settings.flow_log_interval));
    }

    /// What is pending becomes what it was to be: the data plane has it already.
    fn settle(&mut self, now: Now) {
        let mut next = self.state.clone();
        next.settle();
        if self.commit(next, now).is_err() {
            // Once more, later.
            self.schedule(now);
        }
    }

    /// After a reload the file's word is law: the API shows what it says.
    fn follow_reloads(&mut self, now: Now) {
        let (topology, reloads) = self.endpoint.in_force();
        if reloads == self.reloads {
            return;
        }
        self.reloads = reloads;
        let callers = |service| Callers::new(&topology, self.keyring.clone(), service, self.options.lenient);
        (self.ec2, self.sts) = (callers("ec2"), callers("sts"));
        self.state = State::from_topology(&topology, now.unix);
        self.base = topology;
        self.settles_at = None;
        self.follow_flow_logs();
        if let Err(fault) = self.store.save(&self.state) {
            tracing::error!(%fault, "a reload is not remembered");
        }
    }
}

/// Without randomness no name is safe to give.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
}

impl Apis for Plane {
    fn call(&mut self, head: &Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let Answer { status, body, .. } = self.answer(head, body);
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        let xml = HeaderValue::from_static("text/xml;charset=UTF-8");
        response.headers_mut().insert(header::CONTENT_TYPE, xml);
        response
    }

    fn poll(&mut self) -> Option<Duration> {
        let now = self.clock.now();
        self.follow_reloads(now);
        if self.settles_at.is_some_and(|at| at <= now.mono) {
            self.settle(now);
        }
        self.settles_at.map(|at| at.since(now.mono))
    }
}
