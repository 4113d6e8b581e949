//! What an endpoint would cost on AWS, and a NAT gateway for the same traffic.
//!
//! Hours and bytes are the lab's own; prices are AWS's of 2026 for us-east-1 in US dollars (AWS PrivateLink pricing, Amazon VPC
//! pricing). Other regions' differ, and are not known here.

use serde_json::{Value, json};

use crate::config::Topology;
use crate::time::UnixTime;

/// An interface endpoint in one zone, for each hour or part of one, whatever its state.
const ENDPOINT_HOUR: f64 = 0.01;
/// Data processed by endpoints, both directions: dollars for each GB, and GB in a month and region from which on that holds.
const ENDPOINT_GB: [(f64, f64); 3] = [(0.0, 0.01), (1e6, 0.006), (5e6, 0.004)];
/// A NAT gateway, for each hour or part of one.
const NAT_HOUR: f64 = 0.045;
/// Its public IPv4 address, for each hour.
const ADDRESS_HOUR: f64 = 0.005;
/// Data processed by it, for each GB.
const NAT_GB: f64 = 0.045;
/// Hours of a month, as AWS counts in its examples.
const MONTH_HOURS: f64 = 730.0;
/// Bytes of a GB. AWS's pages do not say which kind they mean.
const GB: f64 = 1e9;

/// An eni's time: the endpoint is billed for it from its creation to its deletion.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Metered {
    slot: usize,
    endpoint: String,
    eni: String,
    zone: String,
    since: UnixTime,
    until: Option<UnixTime>,
}

/// All enis that a lab has had since it came up.
#[derive(Clone, Debug, Default)]
pub struct CostMeter(Vec<Metered>);

impl CostMeter {
    /// Notes which enis there are now.
    pub fn follow(&mut self, topology: &Topology, now: UnixTime) {
        for known in self.0.iter_mut().filter(|known| known.until.is_none()) {
            if topology.eni(known.slot).is_none() {
                known.until = Some(now);
            }
        }
        for (endpoint, eni) in topology.enis() {
            let slot = usize::from(eni.slot);
            if !self.0.iter().any(|known| known.slot == slot) {
                self.0.push(Metered {
                    slot,
                    endpoint: endpoint.id.clone(),
                    eni: eni.id.clone(),
                    zone: topology.subnets[eni.subnet].zone.clone(),
                    since: now,
                    until: None,
                });
            }
        }
    }

    /// What it comes to, with the bytes that each slot let through.
    pub fn report(&self, bytes: &[u64], now: UnixTime) -> Value {
        let mut total = Sum::default();
        let enis = self.0.iter().map(|metered| {
            let Metered { slot, endpoint, eni, zone, since, until } = metered;
            let bytes = bytes.get(*slot).copied().unwrap_or(0);
            let hours = hours(until.unwrap_or(now).secs().saturating_sub(since.secs()));
            total = Sum { hours: total.hours + hours, bytes: total.bytes + bytes };
            json!({
                "endpoint": endpoint, "eni": eni, "zone": zone, "since": since.to_iso8601(),
                "until": until.map(UnixTime::to_iso8601), "hours": hours, "bytes_processed": bytes,
            })
        });
        let enis: Vec<Value> = enis.collect();
        let month = self.0.iter().filter(|metered| metered.until.is_none()).count() as f64 * MONTH_HOURS;
        json!({
            "prices": "us-east-1, 2026, US dollars",
            "enis": enis,
            "hours": total.hours,
            "bytes_processed": total.bytes,
            "endpoint": total.endpoint(),
            "nat_gateway": total.nat(),
            "month": { "endpoint": month * ENDPOINT_HOUR, "nat_gateway": month * (NAT_HOUR + ADDRESS_HOUR), "per_gb": {
                "endpoint": ENDPOINT_GB[0].1, "nat_gateway": NAT_GB,
            } },
        })
    }
}

#[derive(Clone, Copy, Default)]
struct Sum {
    hours: u64,
    bytes: u64,
}

impl Sum {
    fn gb(self) -> f64 {
        self.bytes as f64 / GB
    }

    fn endpoint(self) -> f64 {
        self.hours as f64 * ENDPOINT_HOUR + tiered(self.gb())
    }

    /// One gateway for each zone, for as long.
    fn nat(self) -> f64 {
        self.hours as f64 * (NAT_HOUR + ADDRESS_HOUR) + self.gb() * NAT_GB
    }
}

/// Hours as they are billed: each that has begun.
const fn hours(seconds: u64) -> u64 {
    let begun = seconds.div_ceil(3_600);
    if begun == 0 { 1 } else { begun }
}

/// Dollars for this many GB in a month.
fn tiered(gb: f64) -> f64 {
    let ends = ENDPOINT_GB.iter().skip(1).map(|(from, _)| *from).chain([f64::INFINITY]);
    ENDPOINT_GB.iter().zip(ends).map(|((from, price), to)| (gb.min(to) - from).max(0.0) * price).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::builtin;

    #[test]
    fn an_hour_that_has_begun_is_an_hour_and_data_gets_cheaper_by_tiers() {
        assert_eq!([0, 1, 3_600, 3_601].map(hours), [1, 1, 1, 2]);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
        close(tiered(100.0), 1.0);
        close(tiered(1e6 + 10.0), 1e4 + 0.06);
        close(tiered(6e6), 1e4 + 4e6 * 0.006 + 1e6 * 0.004);
    }

    #[test]
    fn awss_example_of_three_zones_for_a_month() {
        let sum = Sum { hours: 3 * 730, bytes: 100 * 1_000_000_000 };
        let cents = |dollars: f64| (dollars * 100.0).round();
        assert_eq!((cents(sum.endpoint()), cents(sum.nat())), (2_290.0, 10_950.0 + 450.0));
    }

    #[test]
    fn an_eni_is_billed_from_its_creation_to_its_deletion() {
        let mut topology = builtin("quickstart").expect("built in").check().expect("sound");
        let mut meter = CostMeter::default();
        let at = UnixTime::from_secs;
        meter.follow(&topology, at(1_000));
        let mut second = topology.endpoints[0].clone();
        (second.id, second.enis[0].id, second.enis[0].slot) = ("vpce-2".into(), "eni-2".into(), 1);
        topology.endpoints.push(second);
        meter.follow(&topology, at(2_000));
        meter.follow(&topology, at(3_000));
        topology.endpoints.remove(0);
        meter.follow(&topology, at(5_000));
        let report = meter.report(&[10, 20], at(9_300));
        let column = |key: &str| {
            report["enis"].as_array().expect("a list").iter().map(|eni| eni[key].clone()).collect::<Vec<_>>()
        };
        assert_eq!(column("endpoint"), ["vpce-0123456789abcdef0", "vpce-2"]);
        assert_eq!(
            (column("hours"), column("bytes_processed")),
            (vec![json!(2), json!(3)], vec![json!(10), json!(20)])
        );
        assert_eq!((&report["hours"], &report["bytes_processed"]), (&json!(5), &json!(30)));
    }
}
