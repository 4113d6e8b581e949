//! What a lab keeps secret: the identities' access keys and the tunnel's keys. Fresh for every run, mode 0600.

use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Directories;
use crate::config::Topology;
use crate::edge::{Fault, OrFault};
use crate::sigv4::{Credential, Keyring, Principal};
use crate::time::UnixTime;
use crate::tls::LabCa;
use crate::tunnel::keys::TunnelKeys;

/// Key pairs made per lab: one per worker, for as many workers as are likely on one machine.
const TUNNEL_PAIRS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// The access keys of a lab's identities.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// In the topology's order.
    pub identities: Vec<AccessKey>,
}

/// One identity's access key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Name of the identity.
    pub name: String,
    /// `AKIA` and sixteen characters.
    pub access_key_id: String,
    /// Forty characters.
    pub secret_access_key: String,
}

/// Without the secret.
impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, access_key_id, .. } = self;
        f.debug_struct("AccessKey").field("name", name).field("access_key_id", access_key_id).finish_non_exhaustive()
    }
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
        let path = directories.credentials();
        read(&path)
            .and_then(|text| serde_json::from_str(&text).or_fault(|| "the lab's credentials are damaged"))
            .map_err(|fault| fault.at(path.display().to_string()).remedy("vpce lab up --replace"))
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

/// The running lab's tunnel keys.
///
/// # Errors
/// When it does not run, or the file is damaged.
pub fn load_tunnel_keys(directories: &Directories) -> Result<TunnelKeys, Fault> {
    let path = directories.tunnel_keys();
    read(&path)
        .map(Zeroizing::new)
        .and_then(|text| TunnelKeys::from_toml(&text).or_fault(|| "damaged"))
        .map_err(|fault| fault.at(path.display().to_string()).remedy("vpce lab up --replace"))
}

/// The identities of `topology` with the running lab's keys, as the endpoint's keyring. An identity that the topology has
/// gained since the keys were made has none and cannot sign.
///
/// # Errors
/// When there are no keys, or an identity's ARN cannot sign.
pub fn keyring(directories: &Directories, topology: &Topology) -> Result<Keyring, Fault> {
    let credentials = Credentials::load(directories)?;
    let mut keys = Vec::with_capacity(topology.identities.len());
    for identity in &topology.identities {
        let Some(key) = credentials.identities.iter().find(|key| key.name == identity.name) else { continue };
        let principal = Principal::from_arn(&identity.arn)
            .or_fault(|| format!("identity {} cannot sign requests", identity.name))?;
        let secret = key.secret_access_key.as_str();
        keys.push(Credential::new(key.access_key_id.as_str(), secret, Arc::new(principal)));
    }
    Keyring::new(keys).or_fault(|| "the access keys cannot be used")
}

/// The lab's certificate authority: the kept one, or a new one that is kept from now on.
///
/// # Errors
/// When it cannot be read, made or written.
pub fn certificate_authority(directories: &Directories, now: UnixTime) -> Result<LabCa, Fault> {
    let (certificate, key) = (directories.ca_certificate(), directories.ca_key());
    let damaged = |fault: Fault| {
        let remedy = format!("rm '{}' '{}'  (a new one is then made)", certificate.display(), key.display());
        fault.at(directories.state.display().to_string()).remedy(remedy)
    };
    if certificate.exists() && key.exists() {
        let key_pem = Zeroizing::new(read(&key).map_err(damaged)?);
        let certificate_pem = read(&certificate).map_err(damaged)?;
        return LabCa::from_pem(certificate_pem, &key_pem).or_fault(|| "cannot use the lab's CA").map_err(damaged);
    }
    let ca = LabCa::generate(now).or_fault(|| "cannot make a certificate authority")?;
    write_secret(&key, &Zeroizing::new(ca.key_pem()))?;
    std::fs::write(&certificate, ca.certificate_pem())
        .or_fault(|| "cannot keep the CA's certificate")
        .map_err(|fault| fault.at(certificate.display().to_string()))?;
    Ok(ca)
}

/// Makes both kinds and writes them to the runtime folder.
///
/// # Errors
/// When the system has no randomness, or the folder cannot be written to.
pub fn create(directories: &Directories, topology: &Topology) -> Result<(), Fault> {
    let credentials = serde_json::to_string_pretty(&Credentials::generate(topology)?);
    write_secret(&directories.credentials(), &credentials.or_fault(|| "cannot phrase the credentials")?)?;
    let mut random = Ok(());
    let keys = TunnelKeys::generate(TUNNEL_PAIRS, |bytes| {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            random = Err(no_randomness());
        }
    });
    random?;
    write_secret(&directories.tunnel_keys(), &keys.to_toml())
}

fn write_secret(path: &Path, text: &str) -> Result<(), Fault> {
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(path)?.write_all(text.as_bytes())
    };
    write().or_fault(|| "cannot write a secret").map_err(|fault| fault.at(path.display().to_string()))
}

fn read(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).or_fault(|| "cannot read the lab's secrets")
}

fn no_randomness() -> Fault {
    Fault::new("the system has no randomness")
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| no_randomness())?;
    Ok(bytes)
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
    fn debug_shows_no_secret() {
        let key = AccessKey { name: "Admin".into(), access_key_id: "AKIA1".into(), secret_access_key: "hush".into() };
        let shown = format!("{:?}", Credentials { identities: vec![key] });
        assert!(shown.contains("AKIA1") && !shown.contains("hush"), "{shown}");
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
