//! Customer-managed prefix lists, which the topology gives.

use super::error::Ec2Error;
use super::id::PREFIX_LIST;
use super::page::Listing;
use super::request::Request;
use super::xml::Xml;
use super::{Call, Operation};
use crate::control::{PrefixList, State};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::read(
        "DescribeManagedPrefixLists",
        &["PrefixListId", "Filter", "MaxResults", "NextToken"],
        describe_managed_prefix_lists,
    ),
    Operation::read(
        "DescribePrefixLists",
        &["PrefixListId", "Filter", "MaxResults", "NextToken"],
        describe_prefix_lists,
    ),
    Operation::read(
        "GetManagedPrefixListEntries",
        &["PrefixListId", "TargetVersion", "MaxResults", "NextToken"],
        get_managed_prefix_list_entries,
    ),
];

impl PrefixList {
    /// `IPv6` if all of its entries are; a topology's list may mix families, one of AWS's may not.
    fn address_family(&self) -> &'static str {
        let ipv6 = !self.entries.is_empty() && self.entries.iter().all(|entry| entry.cidr.addr().is_ipv6());
        if ipv6 { "IPv6" } else { "IPv4" }
    }
}

fn describe_managed_prefix_lists(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing = Listing {
        set: "prefixListSet",
        ids: Some(("PrefixListId", &PREFIX_LIST)),
        filters: &["owner-id", "prefix-list-id", "prefix-list-name"],
        least: 1,
    };
    listing.answer(
        state,
        request,
        state.prefix_lists.iter().map(|(id, list)| (id.as_str(), list)),
        |id, list, name| {
            vec![match name {
                "owner-id" => state.account.clone(),
                "prefix-list-name" => list.name.clone(),
                _ => id.to_owned(),
            }]
        },
        |xml, id, list| {
            let arn = format!("arn:{}:ec2:{}:{}:prefix-list/{id}", call.partition, call.region, state.account);
            xml.text("prefixListId", id).text("addressFamily", list.address_family()).text("state", "create-complete");
            xml.text("prefixListArn", arn).text("prefixListName", &list.name).text("maxEntries", list.max_entries);
            xml.text("version", list.version).text("ownerId", &state.account);
            state.show_tags(xml, id);
        },
    )
}

/// Lists of services that have gateway endpoints: there is none, and clients ask all the same.
fn describe_prefix_lists(state: &State, request: &Request, _: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing = Listing {
        set: "prefixListSet",
        ids: Some(("PrefixListId", &PREFIX_LIST)),
        filters: &["prefix-list-id", "prefix-list-name"],
        least: 1,
    };
    listing.answer(state, request, std::iter::empty::<(&str, ())>(), |_, _, _| Vec::new(), |_, _, _| {})
}

fn get_managed_prefix_list_entries(state: &State, request: &Request, _: &Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let list = PREFIX_LIST.find(&state.prefix_lists, fields.required("PrefixListId")?)?;
    if let Some(version) = fields.number("TargetVersion")?.filter(|version| u64::try_from(*version) != Ok(list.version))
    {
        let message = format!("The prefix list has no version {version}");
        return Err(Ec2Error::new("InvalidPrefixListVersion", message));
    }
    let entries: Vec<_> = list.entries.iter().enumerate().map(|(n, entry)| (format!("{n:04}"), entry)).collect();
    Listing { set: "entrySet", ids: None, filters: &[], least: 1 }.answer(
        state,
        request,
        entries.iter().map(|(place, entry)| (place.as_str(), *entry)),
        |_, _, _| Vec::new(),
        |xml, _, entry| {
            xml.text("cidr", entry.cidr).optional("description", entry.description.as_ref());
        },
    )
}
