//! Path profiles: what the emulated line between AWS and the customer gateway does to frames.
//!
//! Three are built in. A `[path.NAME]` of the file changes a built-in one of that name or adds a new one, which starts
//! from `lan`. `[path.NAME.to_aws]` and `[path.NAME.to_customer]` set one direction apart.

use std::time::Duration;

use super::endpoint::{ranged_bytes, ranged_time};
use super::model::{PathDirection, PathProfile};
use super::reader::{At, Section};
use super::units::{bit_rate, probability};
use toml::de::DeValue;

/// Bytes that may wait for the rate: one bandwidth-delay product of the built-in `vpn`, rounded. A design choice.
const QUEUE_BYTES: usize = 2 << 20;

/// `lan`, `vpn` and `dx`. Comments grade the values: D is documented, ? a design choice (`docs/fidelity.md#path-profiles`).
pub(super) fn built_in() -> Vec<PathProfile> {
    let direction = PathDirection { queue_bytes: QUEUE_BYTES, ..PathDirection::default() };
    let both = |name: &str, mtu, direction| PathProfile {
        name: name.to_owned(),
        mtu,
        to_customer: direction,
        to_aws: direction,
    };
    vec![
        // Nothing added: what the machine can do. 9001 is a VPC's jumbo frame.
        both("lan", 9001, direction),
        // Site-to-Site VPN, standard tunnel: 1.25 Gbit/s, 140,000 packets per second, no jumbo frames [D].
        // Delay and jitter of an internet path inside one country [?].
        both(
            "vpn",
            1500,
            PathDirection {
                delay: Duration::from_millis(10),
                jitter: Duration::from_millis(1),
                rate_bps: Some(1_250_000_000),
                rate_pps: Some(140_000),
                ..direction
            },
        ),
        // Direct Connect, 1 Gbit/s port, private virtual interface with the default MTU of 1500 [D]. AWS publishes no
        // latency per path; a metropolitan line [?].
        both(
            "dx",
            1500,
            PathDirection {
                delay: Duration::from_millis(2),
                jitter: Duration::from_micros(50),
                rate_bps: Some(1_000_000_000),
                ..direction
            },
        ),
    ]
}

pub(super) fn paths(section: &Section<'_>) -> Vec<PathProfile> {
    let mut paths = built_in();
    for At { value: name, span } in section.names() {
        let own = section.section(&name);
        if name.is_empty()
            || name.len() > 32
            || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            section.fault(&span, format!("\"{name}\" is not a path's name: letters, digits, - and _, at most 32"));
        }
        let place = paths.iter().position(|path| path.name == name).unwrap_or_else(|| {
            paths.push(PathProfile { name: name.clone(), ..paths[0].clone() });
            paths.len() - 1
        });
        let profile = &mut paths[place];
        // The smallest outer MTU that still carries IPv6's 1280 bytes inside ESP in UDP, and a VPC's jumbo frame.
        if let Some(mtu) = own.integer("mtu", 1380..=9001) {
            profile.mtu = mtu.value;
        }
        profile.to_customer = direction(&own, profile.to_customer, profile.mtu);
        profile.to_aws = direction(&own, profile.to_aws, profile.mtu);
        profile.to_customer = direction(&own.section("to_customer"), profile.to_customer, profile.mtu);
        profile.to_aws = direction(&own.section("to_aws"), profile.to_aws, profile.mtu);
    }
    paths
}

fn direction(section: &Section<'_>, base: PathDirection, mtu: u16) -> PathDirection {
    let delay = ranged_time(section, "delay", 0, 10).unwrap_or(base.delay);
    let jitter = ranged_time(section, "jitter", 0, 10);
    if let Some(jitter) = jitter.filter(|jitter| *jitter > delay) {
        let message =
            format!("jitter is {jitter:?}, more than the delay, {delay:?}: a frame cannot arrive before it left");
        section.fault(&section.key_span("jitter"), message);
    }
    PathDirection {
        delay,
        // Without a jitter of its own a shortened delay brings the built-in jitter down with it.
        jitter: jitter.unwrap_or_else(|| base.jitter.min(delay)),
        loss: loss(section).unwrap_or(base.loss),
        rate_bps: section.parsed("rate", bit_rate).map(|at| at.value).or(base.rate_bps),
        rate_pps: section.integer("packets_per_second", 1..=1_000_000_000).map(|at| at.value).or(base.rate_pps),
        queue_bytes: ranged_bytes(section, "queue", u64::from(mtu), 1 << 30)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(base.queue_bytes),
    }
}

/// `0.01` or `"1%"`.
fn loss(section: &Section<'_>) -> Option<f64> {
    let found = section.value("loss")?;
    let text = match found.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        _ => String::new(),
    };
    match probability(&text) {
        Ok(value) => Some(value),
        Err(problem) => {
            section.fault(&found.span(), format!("`loss` {problem}"));
            None
        }
    }
}
