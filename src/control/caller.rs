//! Who is calling one of the APIs, and whether they may: signatures and identity policies, as for Lambda.

use std::rc::Rc;

use aws_lc_rs::digest::{SHA256, digest};
use http::request::Parts;

use crate::config::Topology;
use crate::policy::{Caller, Context, ParseOptions, Policies, Policy, PolicyKind, Request, authorize};
use crate::sigv4::{Keyring, Principal, RequestHead, SigV4Error, Verifier};
use crate::time::UnixTime;

/// Callers of one service's API.
pub(super) struct Callers {
    verifier: Verifier,
    keyring: Keyring,
    full_access: Policy,
    /// ARNs of identities, and what they may do.
    policies: Vec<(String, Vec<Policy>)>,
}

impl Callers {
    /// Of the service `ec2`, say. Documents were checked when the topology was loaded.
    pub(super) fn new(topology: &Topology, keyring: Keyring, service: &str, lenient: bool) -> Self {
        let parse = |text: &str| Policy::parse_with(PolicyKind::Identity, text, ParseOptions { lenient }).ok();
        let policies = topology.identities.iter().map(|identity| {
            (identity.arn.clone(), identity.policies.iter().filter_map(|document| parse(&document.text)).collect())
        });
        Self {
            verifier: Verifier::new(&topology.region, service),
            keyring,
            full_access: Policy::full_access(),
            policies: policies.collect(),
        }
    }

    /// Verifies a request's signature.
    pub(super) fn verify(&mut self, head: &Parts, body: &[u8], now: UnixTime) -> Result<Rc<Principal>, SigV4Error> {
        let pending = self.verifier.begin(&RequestHead::from_parts(head), &self.keyring, now)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, body).as_ref());
        pending.finish(&hash)
    }

    /// Asks the caller's policies whether `action` (`ec2:CreateVpcEndpoint`) may be done. There is no endpoint on this way, and
    /// resources are not told apart: a policy has to say `*`.
    ///
    /// # Errors
    /// Which policy says no, in AWS's words.
    pub(super) fn authorize(
        &self,
        principal: &Principal,
        action: &str,
        region: &str,
        now: UnixTime,
    ) -> Result<(), String> {
        let context = Context {
            source_vpce: None,
            source_vpc: None,
            source_vpc_arn: None,
            vpce_account: None,
            vpc_source_ip: None,
            current_time: now,
            secure_transport: true,
            user_agent: None,
            requested_region: Some(region),
            function_arn: None,
            extra: &[],
        };
        let request = Request { caller: Caller::from(principal), action, resource: "*", context: &context };
        let identity = self.policies.iter().find(|(arn, _)| *arn == principal.arn).map_or(&[][..], |(_, own)| own);
        let policies = Policies { endpoint: &self.full_access, identity, resource: None };
        authorize(&policies, &request).map(drop).map_err(|denial| denial.message(&request))
    }
}

/// The service that a request is signed for, from its credential scope: `…/20261201/us-east-2/ec2/aws4_request`. It tells what is
/// asked, as names cannot where all APIs are at one port.
pub(super) fn service(head: &Parts) -> Option<&str> {
    let authorization = head.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let scope = authorization.split("Credential=").nth(1)?.split(',').next()?;
    scope.split('/').nth(3)
}
