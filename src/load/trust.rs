//! TLS of the load generator: which servers it trusts, and what it does not do twice.
//!
//! The first connection verifies the server's chain and signature like any client. Later connections must present the same
//! certificate, byte for byte, and of their handshake signatures one in [`VERIFIED`] is verified: a client costs more than
//! a server otherwise and could not load it. What the endpoint computes is the same either way.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::tickets::Tickets;
use crate::edge::{Fault, OrFault};

/// One in this many handshake signatures is verified, the first among them.
const VERIFIED: u64 = 64;

/// The version of TLS that is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum TlsVersion {
    /// RFC 8446.
    #[default]
    #[value(name = "1.3")]
    V13,
    /// RFC 5246.
    #[value(name = "1.2")]
    V12,
}

/// The cipher that is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Cipher {
    /// AES-128-GCM first, then the others.
    #[default]
    Any,
    /// AES-128-GCM alone.
    #[value(name = "aes-128")]
    Aes128,
    /// AES-256-GCM alone.
    #[value(name = "aes-256")]
    Aes256,
}

/// What every connection of a run shares. `resume`: sessions are resumed by tickets.
///
/// Offered are AES-128-GCM before AES-256-GCM, as browsers and Go do, and X25519: what the cheapest handshake needs.
///
/// # Errors
/// When the certificates in `trusted` cannot be read.
pub fn client_config(
    trusted: &Path,
    tls: TlsVersion,
    cipher: Cipher,
    resume: bool,
) -> Result<Arc<ClientConfig>, Fault> {
    let provider = Arc::new(provider(cipher));
    let mut roots = RootCertStore::empty();
    let place = || trusted.display().to_string();
    let certificates = CertificateDer::pem_file_iter(trusted).or_fault(|| "cannot read the trusted certificates");
    for certificate in certificates.map_err(|fault| fault.at(place()))? {
        let certificate = certificate.or_fault(|| "the trusted certificates are damaged");
        let certificate = certificate.map_err(|fault| fault.at(place()))?;
        roots.add(certificate).or_fault(|| "not a certificate").map_err(|fault| fault.at(place()))?;
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .or_fault(|| "no certificate to trust")
        .map_err(|fault| fault.at(place()))?;
    let versions: &[_] = match tls {
        TlsVersion::V13 => &[&version::TLS13],
        TlsVersion::V12 => &[&version::TLS12],
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .or_fault(|| "cannot set up TLS")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Remembering {
            inner,
            known: OnceLock::new(),
            seen: AtomicU64::new(0),
        }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = if resume { Resumption::store(Arc::new(Tickets::default())) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

fn provider(cipher: Cipher) -> CryptoProvider {
    use rustls::CipherSuite;
    let mut provider = aws_lc_rs::default_provider();
    let of = |suite: &rustls::SupportedCipherSuite| match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Cipher::Aes128,
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Cipher::Aes256,
        _ => Cipher::Any,
    };
    provider.cipher_suites.retain(|suite| cipher == Cipher::Any || of(suite) == cipher);
    provider.cipher_suites.sort_by_key(|suite| of(suite) != Cipher::Aes128);
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1];
    provider
}

/// Verifies once, and compares from then on.
#[derive(Debug)]
struct Remembering {
    inner: Arc<WebPkiServerVerifier>,
    known: OnceLock<Vec<u8>>,
    seen: AtomicU64,
}

impl Remembering {
    fn is_spared(&self) -> bool {
        !self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(VERIFIED)
    }
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.known.get().is_some_and(|known| known == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.inner.verify_server_cert(end_entity, intermediates, name, ocsp, now)?;
        self.known.get_or_init(|| end_entity.to_vec());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.is_spared() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.is_spared() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
