//! The lab's certificate authority: made on first use, kept by the lab, trusted through `AWS_CA_BUNDLE`.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::time::UnixTime;

/// Days that a CA certificate is valid for.
const CA_DAYS: u64 = 3_650;
/// Days that a server certificate is valid for: Apple's and browsers' limit for leaf certificates is 398.
const LEAF_DAYS: u64 = 397;
const DAY_SECS: u64 = 86_400;

/// The CA could not be made or read.
#[derive(Debug, Error)]
pub enum CaError {
    /// A key or certificate could not be made.
    #[error("the lab CA could not make a certificate")]
    Issue(#[source] rcgen::Error),
    /// The kept key is not a PKCS #8 PEM private key.
    #[error("the key is not a PKCS #8 private key in PEM")]
    Key(#[source] rcgen::Error),
    /// The kept certificate is none, or another key's.
    #[error("the certificate is not one in PEM that belongs to the key")]
    Certificate,
}

/// A certificate authority with an ECDSA P-256 key.
pub struct LabCa {
    certificate_pem: String,
    key: KeyPair,
}

impl std::fmt::Debug for LabCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LabCa").finish_non_exhaustive()
    }
}

impl LabCa {
    /// Makes a CA valid from a day before `now` (clients' clocks may lag).
    ///
    /// # Errors
    /// [`CaError::Issue`] when no key can be generated.
    pub fn generate(now: UnixTime) -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(CaError::Issue)?;
        let mut params = ca_params();
        set_validity(&mut params, now, CA_DAYS);
        let certificate = params.self_signed(&key).map_err(CaError::Issue)?;
        Ok(Self { certificate_pem: certificate.pem(), key })
    }

    /// Takes up a CA kept as PEM texts.
    ///
    /// # Errors
    /// [`CaError::Key`] when the key cannot be read, [`CaError::Certificate`] when the certificate is not its own.
    pub fn from_pem(certificate_pem: String, key_pem: &str) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(key_pem).map_err(CaError::Key)?;
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| CaError::Certificate)?;
        // A certificate holds its subject's public key word for word (RFC 5280 §4.1.2.7).
        let public_key = key.public_key_raw();
        if !certificate.windows(public_key.len()).any(|part| part == public_key) {
            return Err(CaError::Certificate);
        }
        Ok(Self { certificate_pem, key })
    }

    /// The CA certificate, for trust stores.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key. Keep it readable by its owner alone.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Issues a server certificate for `names`, with a fresh ECDSA P-256 key.
    ///
    /// # Errors
    /// [`CaError::Issue`] when a name is not a DNS name or no key can be generated.
    pub fn issue(
        &self,
        names: Vec<String>,
        now: UnixTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), CaError> {
        let key = KeyPair::generate().map_err(CaError::Issue)?;
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).map_err(CaError::Issue)?;
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, LEAF_DAYS);
        let issuer = Issuer::new(ca_params(), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(CaError::Issue)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![certificate.der().clone()], private))
    }
}

/// Everything about the CA but its key and dates; the same each time, so that a kept key finds its certificate again.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, "vpce lab CA");
    params.distinguished_name.push(DnType::OrganizationName, "vpce");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn set_validity(params: &mut CertificateParams, now: UnixTime, days: u64) {
    let date = |secs: u64| {
        let day = UnixTime::from_secs(secs).to_utc().date();
        rcgen::date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    params.not_before = date(now.secs().saturating_sub(DAY_SECS));
    params.not_after = date(now.secs() + days * DAY_SECS);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_795_000_000);

    #[test]
    fn a_kept_ca_issues_certificates_that_its_first_certificate_vouches_for() {
        let first = LabCa::generate(NOW).unwrap();
        let kept = LabCa::from_pem(first.certificate_pem().to_owned(), &first.key_pem()).unwrap();
        let (chain, _) = kept.issue(vec!["lambda.us-east-2.amazonaws.com".into()], NOW).unwrap();

        let roots = super::super::session::tests::roots(&first);
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            roots.into(),
            super::super::server::provider().into(),
        )
        .build()
        .unwrap();
        use rustls::client::danger::ServerCertVerifier;
        let name = "lambda.us-east-2.amazonaws.com".try_into().unwrap();
        let at = rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW.secs()));
        verifier.verify_server_cert(&chain[0], &[], &name, &[], at).unwrap();
        let other = "lambda.us-east-1.amazonaws.com".try_into().unwrap();
        assert!(verifier.verify_server_cert(&chain[0], &[], &other, &[], at).is_err());
    }

    #[test]
    fn a_broken_key_or_a_certificate_of_another_is_refused() {
        let (one, other) = (LabCa::generate(NOW).unwrap(), LabCa::generate(NOW).unwrap());
        let certificate = one.certificate_pem().to_owned();
        assert!(matches!(LabCa::from_pem(certificate.clone(), "not a key"), Err(CaError::Key(_))));
        assert!(matches!(LabCa::from_pem(certificate, &other.key_pem()), Err(CaError::Certificate)));
        assert!(matches!(LabCa::from_pem(String::new(), &one.key_pem()), Err(CaError::Certificate)));
    }
}
