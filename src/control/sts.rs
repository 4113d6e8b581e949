//! STS as far as callers need it to know who they are: `GetCallerIdentity`, which nobody may be denied (STS API Reference).

use quick_xml::escape::escape;

use super::ec2::Answer;
use crate::sigv4::{Principal, SigV4Error};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers a verified caller's request.
pub(super) fn handle(action: &str, principal: &Principal, request_id: &str) -> Answer {
    if action != "GetCallerIdentity" {
        let message = format!("Could not find operation {action} for version 2011-06-15");
        return refusal(400, "InvalidAction", &message, request_id);
    }
    let Principal { arn, account, user_id, .. } = principal;
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\">\n  <GetCallerIdentityResult>\n    <Arn>{}</Arn>\n    \
         <UserId>{}</UserId>\n    <Account>{}</Account>\n  </GetCallerIdentityResult>\n  <ResponseMetadata>\n    \
         <RequestId>{request_id}</RequestId>\n  </ResponseMetadata>\n</GetCallerIdentityResponse>\n",
        escape(arn),
        escape(user_id),
        escape(account),
    );
    Answer { status: 200, body, changed: false }
}

/// What STS says of a signature that it does not accept.
pub(super) fn refused(error: &SigV4Error, request_id: &str) -> Answer {
    let code = match error.code() {
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "IncompleteSignatureException" => "IncompleteSignature",
        "UnrecognizedClientException" => {
            return refusal(
                403,
                "InvalidClientTokenId",
                "The security token included in the request is invalid",
                request_id,
            );
        }
        "ExpiredTokenException" => "ExpiredToken",
        _ => "SignatureDoesNotMatch",
    };
    refusal(403, code, &error.message(), request_id)
}

fn refusal(status: u16, code: &str, message: &str, request_id: &str) -> Answer {
    let body = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\">\n  <Error>\n    <Type>Sender</Type>\n    <Code>{code}</Code>\n    \
         <Message>{}</Message>\n  </Error>\n  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n",
        escape(message),
    );
    Answer { status, body, changed: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_learns_who_it_is() {
        let user = Principal::from_arn("arn:aws:iam::123456789012:user/Admin").expect("an ARN");
        let answer = handle("GetCallerIdentity", &user, "r-1");
        assert_eq!((answer.status, answer.changed), (200, false));
        for part in
            ["<Arn>arn:aws:iam::123456789012:user/Admin</Arn>", "<Account>123456789012</Account>", "<RequestId>r-1<"]
        {
            assert!(answer.body.contains(part), "{}", answer.body);
        }
        assert!(answer.body.contains(&format!("<UserId>{}</UserId>", user.user_id)), "{}", answer.body);
    }

    #[test]
    fn what_it_does_not_do_and_whom_it_does_not_know_it_says_in_its_own_words() {
        let user = Principal::from_arn("arn:aws:iam::123456789012:user/Admin").expect("an ARN");
        let answer = handle("Assume<Role>", &user, "r-1");
        assert!(answer.status == 400 && answer.body.contains("Assume&lt;Role&gt;"), "{}", answer.body);
        let unknown = SigV4Error::UnknownAccessKey { access_key_id: "AKIA".to_owned() };
        assert!(refused(&unknown, "r-1").body.contains("<Code>InvalidClientTokenId</Code>"));
        assert!(refused(&SigV4Error::SignatureMismatch, "r-1").body.contains("<Code>SignatureDoesNotMatch</Code>"));
    }
}
