//! Regions that have a Lambda endpoint, and the partition each belongs to.

use super::reader::closest;

/// Regions of the `aws` partition with a Lambda endpoint (AWS General Reference, Lambda endpoints and quotas).
const COMMERCIAL: [&str; 34] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// The other partitions that are reachable by ordinary names.
const OTHERS: [(&str, &str); 5] = [
    ("cn-north-1", "aws-cn"),
    ("cn-northwest-1", "aws-cn"),
    ("us-gov-east-1", "aws-us-gov"),
    ("us-gov-west-1", "aws-us-gov"),
    ("eusc-de-east-1", "aws-eusc"),
];

/// The partition of a region, or the region that was probably meant.
pub(super) fn partition(region: &str) -> Result<&'static str, Option<&'static str>> {
    if COMMERCIAL.contains(&region) {
        return Ok("aws");
    }
    if let Some((_, partition)) = OTHERS.iter().find(|(name, _)| *name == region) {
        return Ok(partition);
    }
    Err(closest(region, COMMERCIAL.into_iter().chain(OTHERS.iter().map(|(name, _)| *name))))
}

/// The identifier of an availability zone, `use2-az1` for `us-east-2a`; empty if it is no zone's name. Which letter is which zone
/// differs between accounts on AWS; here they go in order (RAM User Guide, "Availability Zone IDs").
pub fn zone_id(zone: &str) -> String {
    const DIRECTIONS: [(&str, &str); 9] = [
        ("northeast", "ne"),
        ("northwest", "nw"),
        ("southeast", "se"),
        ("southwest", "sw"),
        ("north", "n"),
        ("south", "s"),
        ("east", "e"),
        ("west", "w"),
        ("central", "c"),
    ];
    let Some((at, letter)) = zone.char_indices().next_back() else { return String::new() };
    let short = zone[..at].split('-').map(|part| match DIRECTIONS.iter().find(|(word, _)| *word == part) {
        Some((_, short)) => *short,
        None if part == "gov" => "g",
        None => part,
    });
    let number = u32::from(letter).saturating_sub(u32::from('a')) + 1;
    format!("{}-az{number}", short.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_identifiers_like_awss() {
        for (zone, id) in [
            ("us-east-2a", "use2-az1"),
            ("ap-northeast-1c", "apne1-az3"),
            ("eu-central-1b", "euc1-az2"),
            ("us-gov-west-1b", "usgw1-az2"),
            ("", ""),
        ] {
            assert_eq!(zone_id(zone), id);
        }
    }
}
