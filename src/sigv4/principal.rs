//! Who is calling.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

/// The identity that a verified signature proves.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Principal {
    /// As IAM writes it: `arn:aws:iam::123456789012:user/Admin`, `arn:aws:sts::…:assumed-role/Role/Session`.
    pub arn: String,
    /// Twelve digits.
    pub account: String,
    /// The user's name without its path, `Role/Session`, or `root`.
    pub name: String,
    /// `AIDA…` for a user, `AROA…:Session` for a session, the account for its root user. AWS makes the first two up when it makes a
    /// user or role; here they follow from the ARN.
    pub user_id: String,
    /// What kind of identity it is.
    pub kind: PrincipalKind,
}

/// The kinds of identity that can sign a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PrincipalKind {
    /// An IAM user.
    User,
    /// A session of a role.
    AssumedRole {
        /// The role's own ARN, `arn:aws:iam::123456789012:role/Role`. A role's path is not in its sessions' ARNs, so it
        /// is missing here too unless whoever makes the principal knows it.
        role_arn: String,
        /// The session's name.
        session: String,
    },
    /// The account itself.
    Root,
}

impl Principal {
    /// Reads an ARN of an IAM user, an assumed-role session or an account's root user.
    ///
    /// # Errors
    /// If it is anything else, saying what is missing.
    pub fn from_arn(arn: &str) -> Result<Self, PrincipalError> {
        let fail = |problem| PrincipalError { arn: arn.chars().take(256).collect(), problem };
        let mut parts = arn.splitn(6, ':');
        let mut next = || parts.next().unwrap_or_default();
        let (scheme, partition, service, region, account, resource) = (next(), next(), next(), next(), next(), next());
        if scheme != "arn" || partition.is_empty() || !region.is_empty() {
            return Err(fail("it must begin with arn:aws:iam:: or arn:aws:sts::"));
        }
        if account.len() != 12 || !account.bytes().all(|c| c.is_ascii_digit()) {
            return Err(fail("its account must have twelve digits"));
        }
        let (kind, name) = match (service, resource) {
            ("iam", "root") => (PrincipalKind::Root, "root"),
            ("iam", _) => {
                let path = resource.strip_prefix("user/").ok_or_else(|| fail("only user/NAME and root can sign"))?;
                (PrincipalKind::User, path.rsplit('/').next().unwrap_or_default())
            }
            ("sts", _) => {
                let name =
                    resource.strip_prefix("assumed-role/").ok_or_else(|| fail("only assumed-role/ROLE/SESSION"))?;
                let (role, session) = name.split_once('/').ok_or_else(|| fail("the session's name is missing"))?;
                if role.is_empty() || session.is_empty() || session.contains('/') {
                    return Err(fail("it must end with assumed-role/ROLE/SESSION"));
                }
                let role_arn = format!("arn:{partition}:iam::{account}:role/{role}");
                (PrincipalKind::AssumedRole { role_arn, session: session.to_owned() }, name)
            }
            _ => return Err(fail("its service must be iam or sts")),
        };
        if name.is_empty() {
            return Err(fail("its name is empty"));
        }
        let user_id = match &kind {
            PrincipalKind::User => made_up_id("AIDA", arn),
            PrincipalKind::AssumedRole { role_arn, session } => format!("{}:{session}", made_up_id("AROA", role_arn)),
            PrincipalKind::Root => account.to_owned(),
        };
        Ok(Self { arn: arn.to_owned(), account: account.to_owned(), name: name.to_owned(), user_id, kind })
    }
}

/// A prefix and seventeen characters, as IAM's identifiers have them.
fn made_up_id(prefix: &str, arn: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = digest(&SHA256, arn.as_bytes());
    let made_up = hash.as_ref().iter().take(17).map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    prefix.chars().chain(made_up).collect()
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

/// An ARN that names nobody who can sign.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{arn:?} is not the ARN of somebody who can sign requests: {problem}")]
pub struct PrincipalError {
    arn: String,
    problem: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_of_users_sessions_and_root_are_read() {
        let user = Principal::from_arn("arn:aws:iam::123412341234:user/MyUser").unwrap();
        assert_eq!(
            (user.account.as_str(), user.name.as_str(), user.kind),
            ("123412341234", "MyUser", PrincipalKind::User)
        );
        let namesake = Principal::from_arn("arn:aws:iam::123456789012:user/MyUser").unwrap();
        assert_ne!(namesake.user_id, Principal::from_arn("arn:aws:iam::123412341234:user/MyUser").unwrap().user_id);
        let user = Principal::from_arn("arn:aws-cn:iam::123412341234:user/team/a/Bob").unwrap();
        assert_eq!((user.name.as_str(), user.kind), ("Bob", PrincipalKind::User));
        let session = Principal::from_arn("arn:aws:sts::123456789012:assumed-role/Role/me@example.com").unwrap();
        assert_eq!(session.name, "Role/me@example.com");
        let role_arn = "arn:aws:iam::123456789012:role/Role".to_owned();
        assert_eq!(session.kind, PrincipalKind::AssumedRole { role_arn, session: "me@example.com".to_owned() });
        assert!(session.user_id.starts_with("AROA") && session.user_id.ends_with(":me@example.com"));
        assert_eq!((&user.user_id[..4], user.user_id.len()), ("AIDA", 21));
        let root = Principal::from_arn("arn:aws:iam::123456789012:root").unwrap();
        assert_eq!(root.user_id, "123456789012");
        assert_eq!((root.name.as_str(), root.kind), ("root", PrincipalKind::Root));
    }

    #[test]
    fn arns_of_what_cannot_sign_are_refused() {
        for arn in [
            "",
            "MyUser",
            "arn:aws:iam::1234:user/MyUser",
            "arn:aws:iam::123412341234:user/",
            "arn:aws:iam::123412341234:role/Role",
            "arn:aws:iam:us-east-2:123412341234:user/MyUser",
            "arn:aws:sts::123456789012:assumed-role/Role",
            "arn:aws:sts::123456789012:assumed-role/Role/a/b",
            "arn:aws:lambda::123456789012:function:hello",
        ] {
            assert!(Principal::from_arn(arn).is_err(), "{arn}");
        }
    }
}
