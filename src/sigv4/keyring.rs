//! The access keys that are known, as an immutable snapshot.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use zeroize::Zeroizing;

use super::principal::Principal;
use crate::time::UnixTime;

/// Most access keys in one keyring.
pub const CREDENTIALS_MAX: usize = 10_000;

/// Text that is wiped from memory when dropped and never shown by `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text itself, for whoever must hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An access key and whom it belongs to.
#[derive(Clone, Debug)]
pub struct Credential {
    /// `AKIA…`, or `ASIA…` for temporary ones.
    pub access_key_id: String,
    /// The secret access key.
    pub secret: Secret,
    /// With one, requests must carry it in `X-Amz-Security-Token`; without, they must not carry any.
    pub session_token: Option<Secret>,
    /// When it stops being accepted.
    pub expires: Option<UnixTime>,
    /// Whom it belongs to.
    pub principal: Arc<Principal>,
}

impl Credential {
    /// A long-term access key.
    pub fn new(access_key_id: impl Into<String>, secret: impl Into<Secret>, principal: Arc<Principal>) -> Self {
        let (access_key_id, secret) = (access_key_id.into(), secret.into());
        Self { access_key_id, secret, session_token: None, expires: None, principal }
    }

    /// The same as temporary credentials.
    #[must_use]
    pub fn with_session(mut self, token: impl Into<Secret>, expires: UnixTime) -> Self {
        self.session_token = Some(token.into());
        self.expires = Some(expires);
        self
    }
}

/// Access keys by their id. Cheap to clone; a change is a new keyring.
#[derive(Clone, Debug)]
pub struct Keyring(Arc<Keys>);

#[derive(Debug, Default)]
struct Keys {
    by_id: HashMap<Box<str>, u32, foldhash::quality::RandomState>,
    credentials: Vec<Credential>,
}

impl Keyring {
    /// A keyring of these access keys.
    ///
    /// # Errors
    /// If an id is unusable or given twice, or there are more than [`CREDENTIALS_MAX`].
    pub fn new(credentials: impl IntoIterator<Item = Credential>) -> Result<Self, KeyringError> {
        let mut keys = Keys::default();
        for credential in credentials {
            let id = credential.access_key_id.as_str();
            // IAM allows word characters; a '/' would break the credential scope, ',' and blanks the header.
            if id.is_empty() || id.len() > 128 || !id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
                return Err(KeyringError::BadId { id: id.chars().take(128).collect() });
            }
            let index = u32::try_from(keys.credentials.len()).unwrap_or(u32::MAX);
            if keys.credentials.len() >= CREDENTIALS_MAX {
                return Err(KeyringError::TooMany);
            }
            if keys.by_id.insert(id.into(), index).is_some() {
                return Err(KeyringError::Duplicate { id: id.to_owned() });
            }
            keys.credentials.push(credential);
        }
        Ok(Self(Arc::new(keys)))
    }

    /// The access key of this id.
    pub fn find(&self, access_key_id: &str) -> Option<&Credential> {
        self.position(access_key_id).map(|(_, credential)| credential)
    }

    /// How many access keys there are.
    pub fn len(&self) -> usize {
        self.0.credentials.len()
    }

    /// Whether there are none: then every request is refused.
    pub fn is_empty(&self) -> bool {
        self.0.credentials.is_empty()
    }

    /// The access key of this id and its place, which is stable for this snapshot.
    #[inline]
    pub(super) fn position(&self, access_key_id: &str) -> Option<(u32, &Credential)> {
        let index = *self.0.by_id.get(access_key_id)?;
        self.0.credentials.get(index as usize).map(|credential| (index, credential))
    }

    /// The access key at a place of this snapshot.
    #[inline]
    pub(super) fn at(&self, place: u32) -> Option<&Credential> {
        self.0.credentials.get(place as usize)
    }

    /// Whether both are the same snapshot, not merely equal ones.
    #[inline]
    pub(super) fn is_same_snapshot(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Why these access keys make no keyring.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyringError {
    /// An id with characters that cannot stand in a credential scope.
    #[error("access key id {id:?} must be 1 to 128 letters, digits and underscores")]
    BadId {
        /// The id.
        id: String,
    },
    /// The same id twice.
    #[error("access key id {id:?} is given twice; remove one of the two")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// Over the limit.
    #[error("more than {CREDENTIALS_MAX} access keys; split them over several endpoints")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(id: &str) -> Credential {
        let principal = Principal::from_arn("arn:aws:iam::123456789012:user/Admin").unwrap();
        Credential::new(id, "topsecret", Arc::new(principal))
    }

    #[test]
    fn a_key_is_found_by_its_whole_id_only() {
        let keyring = Keyring::new([credential("AKIA1"), credential("AKIA2")]).unwrap();
        assert_eq!(keyring.find("AKIA2").unwrap().access_key_id, "AKIA2");
        for id in ["AKIA", "AKIA22", "akia2", ""] {
            assert!(keyring.find(id).is_none(), "{id}");
        }
    }

    #[test]
    fn bad_double_and_too_many_ids_are_refused() {
        for id in ["", "A/B", "A B", "A,B", "Ä", &"A".repeat(129)] {
            assert!(matches!(Keyring::new([credential(id)]), Err(KeyringError::BadId { .. })), "{id}");
        }
        let twice = Keyring::new([credential("AKIA1"), credential("AKIA1")]);
        assert_eq!(twice.unwrap_err(), KeyringError::Duplicate { id: "AKIA1".to_owned() });
        let many = (0..=CREDENTIALS_MAX).map(|n| credential(&format!("AKIA{n}")));
        assert_eq!(Keyring::new(many).unwrap_err(), KeyringError::TooMany);
    }

    #[test]
    fn debug_shows_neither_secret_nor_token() {
        let credential = credential("AKIA1").with_session("sessiontoken", UnixTime::from_secs(1));
        let shown = format!("{:?} {:?}", credential, Keyring::new([credential.clone()]).unwrap());
        assert!(!shown.contains("topsecret") && !shown.contains("sessiontoken"), "{shown}");
        assert!(shown.contains("AKIA1"), "{shown}");
    }
}
