//! What all sessions share: certificate, protocols, ticket keys, and the choice by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{Accepted, ServerConfig};
use rustls::time_provider::TimeProvider;
use rustls::{KeyLog, version};
use thiserror::Error;

use super::{CaError, LabCa, ServiceNames};
use crate::time::UnixTime;

/// The TLS configuration could not be made.
#[derive(Debug, Error)]
pub enum TlsSetupError {
    /// The CA could not issue.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// rustls refused the configuration.
    #[error("TLS could not be set up")]
    Rustls(#[from] rustls::Error),
}

/// The cryptography of every session here. AES-128-GCM first: its SHA-256 transcript has hardware support where the
/// SHA-384 of AES-256-GCM has none, which halves the handshake's cost (docs/benchmarks.md).
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let rank = |suite: &rustls::SupportedCipherSuite| match suite.suite() {
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 => 0,
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384 => 1,
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => 2,
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => 3,
        _ => 4,
    };
    provider.cipher_suites.sort_by_key(rank);
    provider
}

/// Shared by every session of the endpoint.
#[derive(Clone, Debug)]
pub struct ServerSetup {
    config: Arc<ServerConfig>,
    names: Arc<ServiceNames>,
    clock: Arc<TurnTime>,
}

/// Whether the name in a ClientHello is served.
#[derive(Debug)]
pub enum Acceptance {
    /// Go on with this configuration.
    Serve(Arc<ServerConfig>),
    /// Not a name of ours.
    UnknownName,
}

impl ServerSetup {
    /// Issues the certificate and fixes protocols. `key_log` receives the secrets of every session, for captures.
    ///
    /// # Errors
    /// When the CA cannot issue or rustls refuses the certificate.
    pub fn new(
        ca: &LabCa,
        region: &str,
        now: UnixTime,
        key_log: Option<Arc<dyn KeyLog>>,
    ) -> Result<Self, TlsSetupError> {
        let names = ServiceNames::new(region);
        let (chain, key) = ca.issue(names.subject_alternative_names(), now)?;
        let clock = Arc::new(TurnTime(AtomicU64::new(now.secs())));
        let builder =
            ServerConfig::builder_with_details(Arc::new(provider()), Arc::clone(&clock) as Arc<dyn TimeProvider>);
        let mut config = builder
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        // Each ticket costs a few microseconds; clients keep one.
        config.send_tls13_tickets = 1;
        if let Some(key_log) = key_log {
            config.key_log = key_log;
        }
        Ok(Self { config: Arc::new(config), names: Arc::new(names), clock })
    }

    /// The names served.
    pub fn names(&self) -> &ServiceNames {
        &self.names
    }

    /// Tells rustls the wall-clock time, once per turn; it reads no clock of its own for sessions.
    pub fn set_time(&self, now: UnixTime) {
        self.clock.0.store(now.secs(), Ordering::Relaxed);
    }

    /// Judges a ClientHello by its server name. None is served: clients that connect by address send none.
    pub(super) fn accept(&self, accepted: &Accepted) -> Acceptance {
        match accepted.client_hello().server_name() {
            Some(name) if !self.names.serves(name) => Acceptance::UnknownName,
            _ => Acceptance::Serve(Arc::clone(&self.config)),
        }
    }
}

/// The turn's wall-clock time, for ticket ages.
#[derive(Debug)]
struct TurnTime(AtomicU64);

impl TimeProvider for TurnTime {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let secs = self.0.load(Ordering::Relaxed);
        Some(rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}
