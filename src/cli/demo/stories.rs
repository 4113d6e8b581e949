//! The stories: who calls what from where, and how it should come out.

use crate::verdict::Reason;

/// One call and its moral.
#[derive(Debug)]
pub(super) struct Story {
    /// What happens.
    pub(super) title: &'static str,
    /// What it shows.
    pub(super) lesson: &'static str,
    /// From which host.
    pub(super) host: &'static str,
    /// What is done there.
    pub(super) act: Act,
    /// How it should come out.
    pub(super) end: End,
    /// Built-in topology whose rules and policies are put in force first.
    pub(super) reload: Option<&'static str>,
}

#[derive(Debug)]
pub(super) enum Act {
    Invoke { identity: &'static str, function: &'static str, payload: &'static str, bad_signature: bool },
    Ping,
}

#[derive(Debug)]
pub(super) enum End {
    /// 200, and the answer holds this text.
    Returned(&'static str),
    /// 200, with the function's own error.
    FunctionError(&'static str),
    /// This status and error name, denied for this reason.
    Denied(u16, &'static str, Reason),
    /// No answer at all: not even a refusal.
    Silence(Reason),
}

const fn invoke(identity: &'static str, function: &'static str, payload: &'static str) -> Act {
    Act::Invoke { identity, function, payload, bad_signature: false }
}

pub(super) const STORIES: [Story; 8] = [
    Story {
        title: "A client in the VPC invokes a function that runs on-premises",
        lesson: "no internet gateway, no NAT device, no public address took part",
        host: "app",
        act: invoke("Admin", "hello", r#"{"name":"VPC"}"#),
        end: End::Returned("Hello, VPC!"),
        reload: None,
    },
    Story {
        title: "A client on-premises invokes it through the tunnel and the same endpoint",
        lesson: "the data centre reaches Lambda's API over the VPN, at the eni's private address",
        host: "onprem",
        act: invoke("Admin", "hello", r#"{"name":"data centre"}"#),
        end: End::Returned("Hello, data centre!"),
        reload: None,
    },
    Story {
        title: "A host that the security group does not admit tries the same",
        lesson: "a security group drops silently: the client sees a time-out, never a refusal",
        host: "stranger",
        act: invoke("Admin", "hello", "{}"),
        end: End::Silence(Reason::SecurityGroupMismatch),
        reload: None,
    },
    Story {
        title: "Somebody pings the endpoint",
        lesson: "interface endpoints do not answer ping, whatever the security group says",
        host: "app",
        act: Act::Ping,
        end: End::Silence(Reason::SecurityGroupMismatch),
        reload: None,
    },
    Story {
        title: "A request is signed with the wrong secret",
        lesson: "the connection is open to everybody the security group admits; the signature is not",
        host: "app",
        act: Act::Invoke { identity: "Admin", function: "hello", payload: "{}", bad_signature: true },
        end: End::Denied(403, "InvalidSignatureException", Reason::SignatureMismatch),
        reload: None,
    },
    Story {
        title: "The function itself fails",
        lesson: "a failed function is a successful invocation: HTTP 200 with X-Amz-Function-Error",
        host: "app",
        act: invoke("Admin", "fails", "{}"),
        end: End::FunctionError("Unhandled"),
        reload: None,
    },
    Story {
        title: "With the announcement's endpoint policy, MyUser invokes my-function:1",
        lesson: "endpoint, identity and resource policy agree: the caller is of another account, so all three must",
        host: "app",
        act: invoke("MyUser", "arn:aws:lambda:us-east-2:123456789012:function:my-function:1", "{}"),
        end: End::Returned("\"1\""),
        reload: Some("blog"),
    },
    Story {
        title: "Under the same policy MyUser tries another function",
        lesson: "the endpoint policy filters what may pass, and its denial names itself",
        host: "app",
        act: invoke("MyUser", "arn:aws:lambda:us-east-2:123456789012:function:hello", "{}"),
        end: End::Denied(403, "AccessDeniedException", Reason::EndpointPolicyDeny),
        reload: None,
    },
];
