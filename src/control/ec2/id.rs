//! Kinds of resources: the form of their identifiers, and AWS's codes for wrong ones.

use std::collections::BTreeMap;
use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

use super::error::Ec2Error;

/// A kind of resource.
#[derive(Debug)]
pub(in crate::control) struct Kind {
    /// What identifiers begin with, before the hyphen.
    pub(in crate::control) prefix: &'static str,
    /// Code for one that does not exist.
    not_found: &'static str,
    /// Code for one that is no identifier.
    malformed: &'static str,
    /// What the message calls it.
    noun: &'static str,
    /// Its `ResourceType` in tag specifications.
    pub(super) resource_type: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $prefix:literal $type:literal, $noun:literal, $not_found:literal, $malformed:literal;)*) => {
        $(pub(in crate::control) const $name: Kind = Kind {
            prefix: $prefix,
            not_found: $not_found,
            malformed: $malformed,
            noun: $noun,
            resource_type: $type,
        };)*

        /// All kinds that have tags.
        pub(super) const KINDS: &[&Kind] = &[$(&$name),*];
    };
}

// Codes: EC2 API Reference, Error codes.
kinds! {
    VPC: "vpc" "vpc", "vpc ID", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed";
    SUBNET: "subnet" "subnet", "subnet ID", "InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed";
    ROUTE_TABLE: "rtb" "route-table", "routeTable ID", "InvalidRouteTableID.NotFound", "InvalidRouteTableId.Malformed";
    NETWORK_ACL: "acl" "network-acl", "networkAcl ID", "InvalidNetworkAclID.NotFound", "InvalidNetworkAclID.Malformed";
    PREFIX_LIST: "pl" "prefix-list", "prefix list ID", "InvalidPrefixListID.NotFound", "InvalidPrefixListID.Malformed";
    GROUP: "sg" "security-group", "security group", "InvalidGroup.NotFound", "InvalidGroupId.Malformed";
    RULE: "sgr" "security-group-rule", "security group rule ID", "InvalidSecurityGroupRuleId.NotFound",
        "InvalidSecurityGroupRuleId.Malformed";
    INTERFACE: "eni" "network-interface", "networkInterface ID", "InvalidNetworkInterfaceID.NotFound",
        "InvalidNetworkInterfaceID.Malformed";
    ENDPOINT: "vpce" "vpc-endpoint", "Vpc Endpoint Id", "InvalidVpcEndpointId.NotFound",
        "InvalidVpcEndpointId.Malformed";
    FLOW_LOG: "fl" "vpc-flow-log", "flow log ID", "InvalidFlowLogId.NotFound", "InvalidFlowLogId.Malformed";
}

/// Associations of network ACLs, which have no tags.
pub(in crate::control) const ACL_ASSOCIATION: Kind = Kind {
    prefix: "aclassoc",
    not_found: "InvalidAssociationID.NotFound",
    malformed: "InvalidAssociationID.Malformed",
    noun: "association ID",
    resource_type: "",
};

impl Kind {
    /// Whether `id` is one of this kind: the prefix, then 8 or 17 of 0-9 a-f.
    pub(super) fn is(&self, id: &str) -> bool {
        let digits = id.strip_prefix(self.prefix).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// Refuses what is no identifier of this kind.
    pub(super) fn check(&self, id: &str) -> Result<(), Ec2Error> {
        if self.is(id) {
            return Ok(());
        }
        Err(Ec2Error::new(self.malformed, format!("Invalid id: \"{id}\" (expecting \"{}-...\")", self.prefix)))
    }

    /// There is none of this identifier.
    pub(super) fn absent(&self, id: &str) -> Ec2Error {
        Ec2Error::new(self.not_found, format!("The {} '{id}' does not exist", self.noun))
    }

    /// The one of this identifier.
    pub(super) fn find<'m, T>(&self, map: &'m BTreeMap<String, T>, id: &str) -> Result<&'m T, Ec2Error> {
        self.check(id)?;
        map.get(id).ok_or_else(|| self.absent(id))
    }

    /// The same, to be changed.
    pub(super) fn find_mut<'m, T>(&self, map: &'m mut BTreeMap<String, T>, id: &str) -> Result<&'m mut T, Ec2Error> {
        self.check(id)?;
        map.get_mut(id).ok_or_else(|| self.absent(id))
    }

    /// A new identifier.
    pub(super) fn fresh(&self, random: &mut dyn FnMut(&mut [u8])) -> String {
        let mut bytes = [0; 8];
        random(&mut bytes);
        format!("{}-0{}", self.prefix, hex(&bytes))
    }

    /// An identifier that follows from what it is made of.
    pub(in crate::control) fn derived(&self, parts: &[&str]) -> String {
        format!("{}-0{}", self.prefix, &hex(&hash(self.prefix, parts))[..16])
    }
}

/// Lower-case hexadecimal.
pub(in crate::control) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// SHA-256 over what something is made of.
pub(in crate::control) fn hash(kind: &str, parts: &[&str]) -> [u8; 32] {
    let mut text = kind.to_owned();
    for part in parts {
        text.push('\0');
        text.push_str(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

/// A locally administered MAC address that goes with an interface.
pub(super) fn associated_mac(interface: &str) -> String {
    let hash = hash("mac", &[interface]);
    format!("02:{}", hash[..5].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

/// A random UUID (RFC 9562, version 4).
pub(super) fn request_id(random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut bytes = [0; 16];
    random(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// `length` characters of a-z and 0-9.
pub(super) fn token(length: usize, bytes: impl IntoIterator<Item = u8>) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    bytes.into_iter().take(length).map(|byte| char::from(ALPHABET[usize::from(byte) % 36])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_a_prefix_and_8_or_17_hexadecimal_digits() {
        for (id, right) in [
            ("vpc-ec43eb89", true),
            ("vpc-0123456789abcdef0", true),
            ("vpc-ec43eb8", false),
            ("vpc-EC43EB89", false),
            ("vpc-ec43eb8g", false),
            ("subnet-ec43eb89", false),
            ("vpc", false),
            ("", false),
        ] {
            assert_eq!(VPC.is(id), right, "{id}");
        }
        assert!(GROUP.is(&GROUP.derived(&["x"])) && GROUP.is(&GROUP.fresh(&mut |bytes| bytes.fill(7))));
    }
}
