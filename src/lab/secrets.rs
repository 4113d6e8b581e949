//! What a lab keeps secret: the identities' access keys and the tunnel's keys. Fresh for every run, mode 0600.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Directories;
use crate::config::Topology;
use crate::edge::{Fault, OrFault};

/// Security associations made per lab: one pair per worker, for as many workers as a machine may have.
const WORKER_LIMIT: usize = 64;

/// The access keys of a lab's identities.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// In the topology's order.
    pub identities: Vec<AccessKey>,
}

/// One identity's access key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccessKey {
    /// Name of the identity.
    pub name: String,
    /// `AKIA` and sixteen characters.
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
}

/// Keys of the tunnel's static security associations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TunnelKeys {
    /// One pair per worker: a sequence-number space is never shared.
    pub workers: Vec<WorkerKeys>,
}

/// Both directions of one worker's tunnel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkerKeys {
    /// From the endpoint to the customer gateway.
    pub to_customer: SecurityAssociation,
    /// From the customer gateway to the endpoint.
    pub to_aws: SecurityAssociation,
}

/// One direction: AES-256-GCM as RFC 4106 §8.1 keys it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SecurityAssociation {
    /// Security parameters index, above the reserved 0 to 255 (RFC 4303 §2.1).
    pub spi: u32,
    /// Sixty-four hexadecimal digits: the key's 32 bytes.
    pub key: String,
    /// Eight hexadecimal digits: the salt's 4 bytes.
    pub salt: String,
}

impl Credentials {
    /// Fresh keys for every identity.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate(topology: &Topology) -> Result<Self, Fault> {
        let identities = topology.identities.iter().map(|identity| {
            Ok(AccessKey {
                name: identity.name.clone(),
                access_key_id: format!("AKIA{}", base32(&random::<10>()?)),
                secret_access_key: base64::engine::general_purpose::STANDARD.encode(random::<30>()?),
            })
        });
        Ok(Self { identities: identities.collect::<Result<_, Fault>>()? })
    }

    /// Those of the running lab.
    ///
    /// # Errors
    /// When it does not run.
    pub fn load(directories: &Directories) -> Result<Self, Fault> {
        load(&directories.credentials())
    }

    /// The key of the identity called `name`, or of the default one: `Admin` if there is one, else the first.
    ///
    /// # Errors
    /// When there is none.
    pub fn choose(&self, name: Option<&str>) -> Result<&AccessKey, Fault> {
        let named = |wanted: &str| self.identities.iter().find(|key| key.name == wanted);
        let chosen = match name {
            Some(name) => named(name),
            None => named("Admin").or_else(|| self.identities.first()),
        };
        chosen.ok_or_else(|| {
            let known: Vec<&str> = self.identities.iter().map(|key| key.name.as_str()).collect();
            Fault::new(format!("no identity {:?}", name.unwrap_or("Admin")))
                .remedy(format!("use one of: {}", known.join(", ")))
        })
    }
}

impl TunnelKeys {
    /// Fresh keys. All SPIs differ.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, Fault> {
        let association =
            |spi| Ok::<_, Fault>(SecurityAssociation { spi, key: hex(&random::<32>()?), salt: hex(&random::<4>()?) });
        let base = 0x1000 + (u32::from_be_bytes(random::<4>()?) & 0x7fff_0000);
        let pair = |worker: usize| {
            let spi = base + u32::try_from(worker).unwrap_or(0) * 2;
            Ok(WorkerKeys { to_customer: association(spi)?, to_aws: association(spi + 1)? })
        };
        Ok(Self { workers: (0..WORKER_LIMIT).map(pair).collect::<Result<_, Fault>>()? })
    }

    /// Those of the running lab.
    ///
    /// # Errors
    /// When it does not run.
    pub fn load(directories: &Directories) -> Result<Self, Fault> {
        load(&directories.tunnel_keys())
    }
}

/// Makes both kinds and writes them to the runtime folder.
///
/// # Errors
/// When the folder cannot be written to.
pub fn create(directories: &Directories, topology: &Topology) -> Result<(), Fault> {
    write_secret(&directories.credentials(), &Credentials::generate(topology)?)?;
    write_secret(&directories.tunnel_keys(), &TunnelKeys::generate()?)
}

fn write_secret(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value).or_fault(|| "cannot phrase a secret")?;
    let write = || {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?
            .write_all(text.as_bytes())
    };
    write().or_fault(|| "cannot write a secret").map_err(|fault| fault.at(path.display().to_string()))
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Fault> {
    std::fs::read_to_string(path)
        .or_fault(|| "cannot read the lab's secrets")
        .and_then(|text| serde_json::from_str(&text).or_fault(|| "the lab's secrets are damaged"))
        .map_err(|fault| fault.at(path.display().to_string()).remedy("vpce lab up --replace"))
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Fault::new("the system has no randomness"))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 4648 base32 of a whole number of five-byte groups: the alphabet of AWS's access key ids.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len() / 5 * 8);
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        text.extend((0..8).rev().map(|i| char::from(ALPHABET[(bits >> (5 * i) & 31) as usize])));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_rfc_4648() {
        assert_eq!(base32(b"fooba"), "MZXW6YTB");
    }

    #[test]
    fn no_two_security_associations_share_an_spi_or_a_key() {
        let keys = TunnelKeys::generate().expect("random");
        let all: Vec<_> = keys.workers.iter().flat_map(|w| [&w.to_customer, &w.to_aws]).collect();
        let spis: std::collections::BTreeSet<_> = all.iter().map(|sa| sa.spi).collect();
        let secrets: std::collections::BTreeSet<_> = all.iter().map(|sa| &sa.key).collect();
        assert_eq!((spis.len(), secrets.len()), (2 * WORKER_LIMIT, 2 * WORKER_LIMIT));
        assert!(all.iter().all(|sa| sa.spi > 255 && sa.key.len() == 64 && sa.salt.len() == 8));
    }

    #[test]
    fn the_default_identity_is_admin_and_an_unknown_one_is_named() {
        let key =
            |name: &str| AccessKey { name: name.into(), access_key_id: "AKIA".into(), secret_access_key: "s".into() };
        let credentials = Credentials { identities: vec![key("MyUser"), key("Admin")] };
        assert_eq!(credentials.choose(None).expect("default").name, "Admin");
        assert_eq!(credentials.choose(Some("MyUser")).expect("named").name, "MyUser");
        let fault = credentials.choose(Some("Nobody")).expect_err("unknown");
        assert_eq!(fault.remedy.as_deref(), Some("use one of: MyUser, Admin"));
    }
}
