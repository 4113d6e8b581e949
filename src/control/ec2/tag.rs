//! Tags: as part of what is created, and by themselves.

use std::collections::BTreeSet;

use super::error::Ec2Error;
use super::id::{KINDS, Kind};
use super::page::Listing;
use super::request::{Fields, Request};
use super::xml::Xml;
use super::{Call, Operation, done};
use crate::control::{State, Tags};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write("CreateTags", &["ResourceId", "Tag"], create_tags),
    Operation::write("DeleteTags", &["ResourceId", "Tag"], delete_tags),
    Operation::read("DescribeTags", &["Filter", "MaxResults", "NextToken"], describe_tags),
];

/// EC2 User Guide, Tag restrictions.
const KEY_CHARACTERS: usize = 128;
const VALUE_CHARACTERS: usize = 256;

impl State {
    /// The element `tagSet` of a resource.
    pub(super) fn show_tags(&self, xml: &mut Xml, resource: &str) {
        xml.list("tagSet", self.tags_of(resource), |xml, (key, value)| {
            xml.text("key", key).text("value", value);
        });
    }

    /// Puts tags on a resource, in the place of those of the same keys.
    pub(super) fn tag(&mut self, resource: &str, tags: Tags, call: &Call<'_>) -> Result<(), Ec2Error> {
        if tags.is_empty() {
            return Ok(());
        }
        let own = self.tags.entry(resource.to_owned()).or_default();
        own.extend(tags);
        if own.len() > call.options.quotas.tags_per_resource {
            let message = format!("The maximum number of tags for '{resource}' has been reached.");
            return Err(Ec2Error::new("TagLimitExceeded", message));
        }
        Ok(())
    }
}

/// The tags that `TagSpecification.N` gives a resource that is being created.
pub(super) fn specified(fields: &Fields<'_>, kind: &Kind) -> Result<Tags, Ec2Error> {
    let mut tags = Tags::new();
    let mut seen = BTreeSet::new();
    for specification in fields.structures("TagSpecification")? {
        let resource_type = specification.required("ResourceType")?;
        if resource_type != kind.resource_type {
            let message = format!("'{resource_type}' is not a valid taggable resource type for this operation.");
            return Err(Ec2Error::value(message));
        }
        if !seen.insert(resource_type) {
            return Err(Ec2Error::value(format!("Tag specification resource type '{resource_type}' is given twice.")));
        }
        tags.append(&mut listed(&specification)?);
    }
    Ok(tags)
}

/// `Tag.N.Key` and `Tag.N.Value`.
fn listed(fields: &Fields<'_>) -> Result<Tags, Ec2Error> {
    let mut tags = Tags::new();
    for tag in fields.structures("Tag")? {
        let key = tag.required("Key")?;
        let value = tag.text("Value").unwrap_or_default();
        if key.chars().count() > KEY_CHARACTERS {
            return Err(Ec2Error::value(format!("Tag key exceeds the maximum length of {KEY_CHARACTERS} characters")));
        }
        if value.chars().count() > VALUE_CHARACTERS {
            let message = format!("Tag value exceeds the maximum length of {VALUE_CHARACTERS} characters");
            return Err(Ec2Error::value(message));
        }
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            return Err(Ec2Error::value("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Ec2Error::value(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    Ok(tags)
}

/// Finds a resource of any kind.
fn resource(state: &State, id: &str) -> Result<(), Ec2Error> {
    let invalid = || Ec2Error::new("InvalidID", format!("The ID '{id}' is not valid"));
    let kind = KINDS.iter().find(|kind| kind.is(id)).ok_or_else(invalid)?;
    let exists = match kind.prefix {
        "vpc" => state.vpcs.contains_key(id),
        "subnet" => state.subnets.contains_key(id),
        "rtb" => state.route_tables.contains_key(id),
        "acl" => state.network_acls.contains_key(id),
        "pl" => state.prefix_lists.contains_key(id),
        "sg" => state.security_groups.contains_key(id),
        "sgr" => state.security_groups.values().any(|group| group.rules.iter().any(|rule| rule.id == id)),
        "eni" => state.interfaces.contains_key(id),
        "vpce" => state.endpoints.contains_key(id),
        "fl" => state.flow_logs.contains_key(id),
        _ => false,
    };
    if exists { Ok(()) } else { Err(kind.absent(id)) }
}

fn create_tags(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let ids = fields.required_list("ResourceId")?;
    let tags = listed(&fields)?;
    if tags.is_empty() {
        return Err(Ec2Error::missing("Tag"));
    }
    for id in ids {
        resource(state, id)?;
        state.tag(id, tags.clone(), call)?;
    }
    Ok(done())
}

/// Without tags all go; a tag without a value goes whatever its value, one with a value only if it has that.
fn delete_tags(state: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let ids = fields.required_list("ResourceId")?;
    let tags = fields.structures("Tag")?;
    for id in ids {
        resource(state, id)?;
        let Some(own) = state.tags.get_mut(id) else { continue };
        if tags.is_empty() {
            own.clear();
        }
        for tag in &tags {
            let (key, value) = (tag.required("Key")?, tag.text("Value"));
            own.retain(|own, held| own != key || value.is_some_and(|value| value != held));
        }
        if own.is_empty() {
            state.tags.remove(id);
        }
    }
    Ok(done())
}

fn describe_tags(state: &State, request: &Request, _: &Call<'_>) -> Result<Xml, Ec2Error> {
    let listing =
        Listing { set: "tagSet", ids: None, filters: &["key", "resource-id", "resource-type", "value"], least: 5 };
    let all = state.tags.iter().flat_map(|(id, tags)| tags.iter().map(move |(key, value)| (id, key, value)));
    let all: Vec<_> = all.map(|(id, key, value)| (format!("{id}\0{key}"), (id, key, value))).collect();
    let resource_type = |id: &str| KINDS.iter().find(|kind| kind.is(id)).map_or("", |kind| kind.resource_type);
    listing.answer(
        state,
        request,
        all.iter().map(|(place, tag)| (place.as_str(), *tag)),
        |_, (id, key, value), name| {
            vec![match name {
                "key" => (*key).clone(),
                "resource-id" => (*id).clone(),
                "resource-type" => resource_type(id).to_owned(),
                _ => (*value).clone(),
            }]
        },
        |xml, _, (id, key, value)| {
            xml.text("key", key).text("resourceId", id);
            xml.text("resourceType", resource_type(id)).text("value", value);
        },
    )
}
