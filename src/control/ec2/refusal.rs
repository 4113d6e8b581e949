//! What EC2 says to callers whom it does not know, who may not, or whom it failed.

use super::Ec2Error;
use crate::sigv4::SigV4Error;

impl Ec2Error {
    /// To a signature that Lambda would refuse in other words (EC2 API Reference, "Client errors").
    pub(in crate::control) fn refused(error: &SigV4Error) -> Self {
        let (status, code, message) = match error {
            SigV4Error::NotSigned => {
                (403, "MissingAuthenticationToken", "Request is missing Authentication Token".to_owned())
            }
            SigV4Error::Expired { .. } | SigV4Error::NotYetCurrent { .. } => {
                (400, "RequestExpired", "Request has expired.".to_owned())
            }
            SigV4Error::WrongScope(_) | SigV4Error::HeaderNotSigned { .. } => {
                (403, "SignatureDoesNotMatch", error.message())
            }
            _ if error.code() == "IncompleteSignatureException" => (400, "IncompleteSignature", error.message()),
            _ => (401, "AuthFailure", "AWS was not able to validate the provided access credentials".to_owned()),
        };
        Self { status, code: code.into(), message }
    }

    /// To a caller whose policies say no, and `why`.
    pub(in crate::control) fn unauthorized(why: &str) -> Self {
        let message = format!("You are not authorized to perform this operation. {why}");
        Self { status: 403, code: "UnauthorizedOperation".into(), message }
    }

    /// Whoever asked did nothing wrong.
    pub(in crate::control) fn internal() -> Self {
        let message = "An internal error has occurred".to_owned();
        Self { status: 500, code: "InternalError".into(), message }
    }
}

/// The operation that a request's body names, before anything else of it is looked at; empty if none.
pub fn action(body: &[u8]) -> String {
    let named = form_urlencoded::parse(body).find(|(name, _)| name == "Action");
    named.map(|(_, action)| action.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_refused_in_ec2s_words() {
        for (error, status, code) in [
            (SigV4Error::NotSigned, 403, "MissingAuthenticationToken"),
            (SigV4Error::SignatureMismatch, 401, "AuthFailure"),
            (SigV4Error::UnknownAccessKey { access_key_id: "AKIA".to_owned() }, 401, "AuthFailure"),
            (SigV4Error::HeaderNotSigned { name: "host".to_owned() }, 403, "SignatureDoesNotMatch"),
            (SigV4Error::BadExpires, 400, "IncompleteSignature"),
        ] {
            let refused = Ec2Error::refused(&error);
            assert_eq!((refused.status, &*refused.code), (status, code), "{error:?}");
        }
    }

    #[test]
    fn the_action_is_found_wherever_it_stands() {
        assert_eq!(action(b"Version=2016-11-15&Action=Describe%56pcs"), "DescribeVpcs");
        assert_eq!((action(b""), action(b"\xff=\xff&Action")), (String::new(), String::new()));
    }
}
