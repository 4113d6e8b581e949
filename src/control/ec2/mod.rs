//! The EC2 Query API (2016-11-15) as a function: a form in, XML and a changed state out.
//!
//! One file per family of resources, each with its table of operations. Shapes are those of botocore's service model,
//! codes those of the EC2 API Reference ("Error codes"). Whoever calls [`handle`] has verified the signature.

mod endpoint;
mod endpoint_change;
mod endpoint_input;
mod error;
mod filter;
mod flow_log;
mod network_acl;
mod network_interface;
mod page;
mod permission;
mod prefix_list;
mod refusal;
mod request;
mod security_group;
mod security_group_rule;
mod service;
mod subnet;
mod tag;
mod token;
mod vpc;
mod xml;

pub(super) mod id;

use std::collections::BTreeSet;

use self::request::Request;
use self::xml::Xml;
use super::State;
use crate::time::UnixTime;

pub use error::Ec2Error;
pub use refusal::action;
pub(super) use request::BODY_LIMIT;

/// The namespace of answers.
const NAMESPACE: &str = " xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"";

/// Who calls, where, and when.
pub struct Call<'a> {
    /// The caller's account.
    pub account: &'a str,
    /// The lab's Region.
    pub region: &'a str,
    /// Its partition.
    pub partition: &'a str,
    /// The time.
    pub now: UnixTime,
    /// Fills what it is given with random bytes.
    pub random: &'a mut dyn FnMut(&mut [u8]),
    /// Flow logs that cannot be written.
    pub failed_flow_logs: &'a BTreeSet<String>,
    /// How the API behaves.
    pub options: &'a Options,
}

/// How the API behaves.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Takes the API's host name for the service's name, and a bare ARN for a principal.
    pub lenient: bool,
    /// The state of the world, where it is not today's.
    pub as_of: Option<AsOf>,
    /// Limits.
    pub quotas: Quotas,
}

/// A past state of the world. There is only one of which it is known where the service was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// October 2020, when AWS announced PrivateLink for Lambda: in all Regions but af-south-1 and eu-south-1.
    Launch,
}

impl AsOf {
    /// From `2020-10`.
    pub fn parse(text: &str) -> Option<Self> {
        (text == "2020-10").then_some(Self::Launch)
    }

    /// As it is written on a command line.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Launch => "2020-10",
        }
    }

    /// Whether the service is offered in a Region then.
    pub fn offers(self, region: &str) -> bool {
        !matches!((self, region), (Self::Launch, "af-south-1" | "eu-south-1"))
    }
}

/// Limits, with AWS's defaults (VPC and PrivateLink quotas, EC2 tag restrictions).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quotas {
    /// Interface endpoints of a VPC.
    pub endpoints_per_vpc: usize,
    /// Security groups of a Region.
    pub security_groups: usize,
    /// Groups of an interface.
    pub groups_per_interface: usize,
    /// Rules of a group, by direction and address family.
    pub rules_per_group: usize,
    /// Network ACLs of a VPC.
    pub network_acls_per_vpc: usize,
    /// Entries of an ACL, by direction and address family.
    pub entries_per_network_acl: usize,
    /// Flow logs of one resource.
    pub flow_logs_per_resource: usize,
    /// Tags of one resource.
    pub tags_per_resource: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            endpoints_per_vpc: 50,
            security_groups: 2_500,
            groups_per_interface: 5,
            rules_per_group: 60,
            network_acls_per_vpc: 200,
            entries_per_network_acl: 20,
            flow_logs_per_resource: 10,
            tags_per_resource: 50,
        }
    }
}

/// An answer, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// XML, `text/xml;charset=UTF-8`.
    pub body: String,
    /// Whether the state is another one now.
    pub changed: bool,
}

type Read = fn(&State, &Request, &Call<'_>) -> Result<Xml, Ec2Error>;
type Write = fn(&mut State, &Request, &mut Call<'_>) -> Result<Xml, Ec2Error>;

#[derive(Clone, Copy)]
enum Run {
    Read(Read),
    Write(Write),
}

/// An operation: its name, its parameters up to the first dot, and what it does.
struct Operation {
    name: &'static str,
    parameters: &'static [&'static str],
    run: Run,
}

impl Operation {
    const fn read(name: &'static str, parameters: &'static [&'static str], run: Read) -> Self {
        Self { name, parameters, run: Run::Read(run) }
    }

    const fn write(name: &'static str, parameters: &'static [&'static str], run: Write) -> Self {
        Self { name, parameters, run: Run::Write(run) }
    }
}

/// All operations.
fn operations() -> impl Iterator<Item = &'static Operation> {
    let families = [
        vpc::OPERATIONS,
        subnet::OPERATIONS,
        network_acl::OPERATIONS,
        prefix_list::OPERATIONS,
        security_group::OPERATIONS,
        security_group_rule::OPERATIONS,
        network_interface::OPERATIONS,
        endpoint::OPERATIONS,
        endpoint_change::OPERATIONS,
        service::OPERATIONS,
        flow_log::OPERATIONS,
        tag::OPERATIONS,
    ];
    families.into_iter().flatten()
}

/// Names of all operations.
pub fn operation_names() -> impl Iterator<Item = &'static str> {
    operations().map(|operation| operation.name)
}

/// The body of answers that say nothing but yes.
fn done() -> Xml {
    let mut xml = Xml::new();
    xml.text("return", true);
    xml
}

/// Items of a call that could not be served, which answers 200 all the same.
fn show_unsuccessful(xml: &mut Xml, items: &[(&str, Ec2Error)]) {
    xml.list("unsuccessful", items, |xml, (id, error)| {
        xml.text("resourceId", id).element("error", |xml| {
            xml.text("code", &error.code).text("message", &error.message);
        });
    });
}

/// A date as EC2 writes it, `2026-11-23T14:56:02.123Z`.
fn date(millis: u64) -> String {
    let second = UnixTime::from_secs(millis / 1000).to_utc();
    format!("{}.{:03}Z", second.strftime("%Y-%m-%dT%H:%M:%S"), millis % 1000)
}

/// Answers a request. `state` is another one afterwards only if the answer says so.
///
/// A caller of another account than the state's finds an empty Region, as on AWS.
pub fn handle(state: &mut State, body: &[u8], call: &mut Call<'_>) -> Answer {
    let request_id = id::request_id(call.random);
    let answer = if state.account == call.account {
        run(state, body, call)
    } else {
        let (service, zones) = (state.service.clone(), state.zones.clone());
        let mut elsewhere = State { account: call.account.to_owned(), service, zones, ..State::default() };
        run(&mut elsewhere, body, call).map(|(action, content, _)| (action, content, false))
    };
    match answer {
        Ok((action, content, changed)) => {
            let mut xml = Xml::document();
            xml.element_with(&format!("{action}Response"), NAMESPACE, |xml| {
                xml.text("requestId", &request_id).append(&content);
            });
            Answer { status: 200, body: xml.into_string(), changed }
        }
        Err(error) => Answer { status: error.status, body: error.to_xml(&request_id), changed: false },
    }
}

fn run(state: &mut State, body: &[u8], call: &mut Call<'_>) -> Result<(&'static str, Xml, bool), Ec2Error> {
    const COMMON: [&str; 3] = ["Action", "Version", "DryRun"];
    let request = Request::parse(body)?;
    let operation = operations().find(|operation| operation.name == request.action).ok_or_else(|| {
        let message = format!("The action {} is not valid for this web service.", request.action);
        Ec2Error::new("InvalidAction", message)
    })?;
    let known = |name: &&str| COMMON.contains(name) || operation.parameters.contains(name);
    if let Some(unknown) = request.names().into_iter().find(|name| !known(name)) {
        return Err(Ec2Error::unknown(unknown));
    }
    let dry_run = request.fields().flag("DryRun")?.unwrap_or(false);
    let (content, next) = match operation.run {
        Run::Read(read) => (read(state, &request, call)?, None),
        Run::Write(write) => {
            let mut next = state.clone();
            let content = write(&mut next, &request, call)?;
            (content, (next != *state).then_some(next))
        }
    };
    if dry_run {
        return Err(Ec2Error::dry_run());
    }
    let changed = next.is_some();
    if let Some(next) = next {
        *state = next;
    }
    Ok((operation.name, content, changed))
}

#[cfg(test)]
mod tests;
