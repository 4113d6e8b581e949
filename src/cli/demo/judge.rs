//! Tells one story: acts, gathers what both ends saw hop by hop, and judges whether it came out as it should.

use serde_json::Value;

use super::stories::{Act, End, Story};
use super::watch::Lab;
use crate::edge::Fault;
use crate::edge::probe::Report;

/// Characters of an answer's body that are shown.
const BODY_SHOWN: usize = 200;

/// One step of the way.
#[derive(Debug)]
pub(super) struct Hop {
    /// `security group`.
    pub(super) name: &'static str,
    /// `allow`, `deny`, or empty for a step that decides nothing.
    pub(super) verdict: &'static str,
    /// How long it took, where it can be told apart.
    pub(super) time_us: Option<u64>,
    /// What was decided or seen.
    pub(super) text: String,
}

/// How a story went.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) hops: Vec<Hop>,
    /// What did not come out as it should.
    pub(super) fault: Option<String>,
}

impl Outcome {
    fn hop(&mut self, name: &'static str, verdict: &'static str, time_us: Option<u64>, text: impl Into<String>) {
        self.hops.push(Hop { name, verdict, time_us, text: text.into() });
    }
}

/// Tells a story in the lab.
pub(super) fn tell(lab: &Lab, story: &Story) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(fault) = act(lab, story, &mut outcome) {
        outcome.fault = Some(fault.to_string());
    }
    outcome
}

fn act(lab: &Lab, story: &Story, outcome: &mut Outcome) -> Result<(), Fault> {
    if let Some(topology) = story.reload {
        lab.reload(topology)?;
        outcome.hop(
            "control",
            "",
            None,
            format!("rules and policies of `{topology}` are in force on the running endpoint"),
        );
    }
    match &story.act {
        Act::Ping => {
            let round_trip = lab.ping(story.host)?;
            denied_packet(lab, story, outcome);
            let answered = round_trip.map_or("no answer within 1.5 s", |_| "answered");
            outcome.hop("answer", "", round_trip, answered);
            if round_trip.is_some() {
                outcome.fault = Some("the endpoint answered".to_owned());
            }
            expect_denial(lab, story, outcome);
        }
        Act::Invoke { identity, function, payload, bad_signature } => {
            let report = lab.invoke(story.host, identity, function, payload, *bad_signature)?;
            connection(lab, story, &report, outcome);
            if report.status.is_some() {
                request(lab, &report, outcome);
            }
            outcome.fault = judge(story, &report).err();
            if report.status.is_none() {
                expect_denial(lab, story, outcome);
            }
        }
    }
    Ok(())
}

/// From the name to TLS.
fn connection(lab: &Lab, story: &Story, report: &Report, outcome: &mut Outcome) {
    let Some(address) = report.address else { return };
    outcome.hop("dns", "", report.dns_us, format!("{} is {}", lab.service, address.ip()));
    let Some(local) = report.local else {
        denied_packet(lab, story, outcome);
        let error = report.tcp_error.as_deref().unwrap_or("no connection");
        outcome.hop("tcp", "", report.tcp_us, format!("{error}: no SYN-ACK, no RST"));
        return;
    };
    let rule = lab.rule(local, address).unwrap_or_else(|| "the rule is not known any more".to_owned());
    outcome.hop("security_group", "allow", None, rule);
    outcome.hop("tcp", "", report.tcp_us, format!("{local} to {address}"));
    let version = report.tls_version.as_deref().unwrap_or("TLS");
    outcome.hop("tls", "", report.tls_us, format!("{version}, the lab CA vouches for {}", lab.service));
}

/// From the signature to the function, as the endpoint's access line tells it.
fn request(lab: &Lab, report: &Report, outcome: &mut Outcome) {
    let line = report.header("x-amzn-requestid").and_then(|id| lab.access_line(id)).unwrap_or_default();
    // Stages are timed in turns of the hot loop: what began and ended in one turn took no time that could be told.
    let stage_us = |stage: &str| line["stage_us"][stage].as_u64().filter(|us| *us > 0);
    let reason = line["reason"].as_str();
    let denied_by = |prefix: &str| reason.filter(|reason| reason.starts_with(prefix));
    if let Some(code) = denied_by("SIGNATURE_") {
        outcome.hop("sigv4", "deny", None, code);
    } else {
        outcome.hop("sigv4", "allow", None, text(&line["principal"]));
        if let Some(code) = reason.filter(|reason| reason.ends_with("_POLICY_DENY")) {
            outcome.hop("policy", "deny", stage_us("authorize"), code);
        } else {
            let function = text(&line["function"]);
            outcome.hop("policy", "allow", stage_us("authorize"), format!("lambda:InvokeFunction on {function}"));
            let version = text(&line["version"]);
            outcome.hop(
                "tunnel",
                "",
                stage_us("host"),
                format!("ESP to the customer gateway; version {version} ran; ESP back"),
            );
        }
    }
    let status = report.status.unwrap_or_default();
    let error = report.header("x-amz-function-error").map_or_else(String::new, |error| format!(" {error}"));
    let ellipsis = if report.body.chars().count() > BODY_SHOWN { "…" } else { "" };
    let body: String = report.body.chars().take(BODY_SHOWN).collect();
    outcome.hop("answer", "", report.request_us, format!("{status}{error} {body}{ellipsis}"));
}

/// What the endpoint says of the packet that went no further.
fn denied_packet(lab: &Lab, story: &Story, outcome: &mut Outcome) {
    if let Some((reason, text)) = denial(lab, story) {
        outcome.hop("security_group", "deny", None, format!("{reason}: {text}"));
    }
}

fn denial(lab: &Lab, story: &Story) -> Option<(String, String)> {
    let (_, address) = lab.hosts.iter().find(|(name, _)| name == story.host)?;
    lab.denial(*address)
}

/// Silence must have the reason that the story tells of.
fn expect_denial(lab: &Lab, story: &Story, outcome: &mut Outcome) {
    let End::Silence(expected) = story.end else { return };
    let found = denial(lab, story).map(|(reason, _)| reason);
    if outcome.fault.is_none() && found.as_deref() != Some(expected.code()) {
        let found = found.unwrap_or_else(|| "nothing".to_owned());
        outcome.fault = Some(format!("the endpoint counted {found}, not {}", expected.code()));
    }
}

fn judge(story: &Story, report: &Report) -> Result<(), String> {
    let status = report.status;
    match &story.end {
        End::Returned(part) if status == Some(200) && report.header("x-amz-function-error").is_none() => {
            require(report.body.contains(part), || format!("the answer does not hold {part}"))
        }
        End::FunctionError(kind) if status == Some(200) => {
            require(report.header("x-amz-function-error") == Some(kind), || format!("no function error {kind}"))
        }
        End::Denied(code, name, reason) => {
            let named = report.header("x-amzn-errortype");
            require(status == Some(*code) && named == Some(name), || {
                format!("expected {code} {name} ({}), got {status:?} {named:?}", reason.code())
            })
        }
        End::Silence(_) => {
            let timed_out = report.tcp_error.as_deref() == Some("timed out");
            require(status.is_none() && timed_out, || format!("expected a time-out, got {:?}", report.tcp_error))
        }
        End::Returned(_) | End::FunctionError(_) => Err(format!("expected 200, got {status:?} {}", report.body)),
    }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}
