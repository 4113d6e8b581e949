//! The request that policies judge: who, what, on which resource, under which circumstances.
//!
//! Condition keys are resolved to [`Key`]s once, when a policy is compiled; looking one up in a request is then a jump, and
//! hands out borrowed or small typed values. Source: IAM User Guide, `reference_policies_condition-keys`.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::sigv4::{Principal, PrincipalKind};
use crate::time::UnixTime;

/// The authenticated caller, as policies see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller<'a> {
    /// The ARN as error messages print it: `arn:aws:iam::…:user/Name`, `arn:aws:sts::…:assumed-role/Role/Session`, or
    /// `arn:aws:iam::…:root`.
    pub arn: &'a str,
    /// Its account: twelve digits.
    pub account: &'a str,
    /// `aws:userid`, such as `AIDA…` or `AROA…:session`.
    pub user_id: Option<&'a str>,
    /// `aws:username`: IAM users only.
    pub username: Option<&'a str>,
    /// For a role session, the ARN of the role, which policies may name as well as the session.
    pub role_arn: Option<&'a str>,
}

impl<'a> From<&'a Principal> for Caller<'a> {
    fn from(principal: &'a Principal) -> Self {
        let (username, role_arn) = match &principal.kind {
            PrincipalKind::User => (Some(principal.name.as_str()), None),
            PrincipalKind::AssumedRole { role_arn, .. } => (None, Some(role_arn.as_str())),
            PrincipalKind::Root => (None, None),
        };
        let user_id = Some(principal.user_id.as_str());
        Self { arn: &principal.arn, account: &principal.account, user_id, username, role_arn }
    }
}

impl<'a> Caller<'a> {
    /// Whether this is the account's root user.
    pub fn is_root(&self) -> bool {
        self.arn.splitn(6, ':').nth(5) == Some("root")
    }

    /// `aws:PrincipalArn`: for a role session the role, not the session.
    const fn principal_arn(&self) -> &'a str {
        match self.role_arn {
            Some(role) => role,
            None => self.arn,
        }
    }

    fn principal_type(&self) -> &'static str {
        match self.role_arn {
            Some(_) => "AssumedRole",
            None if self.is_root() => "Account",
            None => "User",
        }
    }

    /// The root user's id is its account's number.
    fn user_id(&self) -> Option<&'a str> {
        self.user_id.or_else(|| self.is_root().then_some(self.account))
    }
}

/// The circumstances of a request. What is `None` is absent from the request context, which is not the same as empty.
///
/// The keys that describe the caller come from [`Caller`], `aws:ResourceAccount` from the resource. `aws:SourceIp` is
/// always absent: it does not exist for a request that came through a VPC endpoint (IAM User Guide,
/// `reference_policies_condition-keys`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Context<'a> {
    /// `aws:SourceVpce`: the endpoint, `vpce-…`.
    pub source_vpce: Option<&'a str>,
    /// `aws:SourceVpc`: the endpoint's VPC, `vpc-…`.
    pub source_vpc: Option<&'a str>,
    /// `aws:SourceVpcArn`.
    pub source_vpc_arn: Option<&'a str>,
    /// `aws:VpceAccount`: the account that owns the endpoint.
    pub vpce_account: Option<&'a str>,
    /// `aws:VpcSourceIp`: the client's private address.
    pub vpc_source_ip: Option<IpAddr>,
    /// `aws:CurrentTime` and `aws:EpochTime`.
    pub current_time: UnixTime,
    /// `aws:SecureTransport`.
    pub secure_transport: bool,
    /// `aws:UserAgent`.
    pub user_agent: Option<&'a str>,
    /// `aws:RequestedRegion`.
    pub requested_region: Option<&'a str>,
    /// `lambda:FunctionArn`.
    pub function_arn: Option<&'a str>,
    /// Any other key, with all its values; a key without values is absent. Names are compared without regard to case.
    pub extra: &'a [(&'a str, &'a [&'a str])],
}

/// One request, as all policies see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: Caller<'a>,
    /// The IAM action, `lambda:InvokeFunction` (not the API operation `Invoke`).
    pub action: &'a str,
    /// The resource's ARN as it was asked for: qualified if the request was. `*` for actions without a resource.
    pub resource: &'a str,
    /// The circumstances.
    pub context: &'a Context<'a>,
}

impl<'a> Request<'a> {
    /// The values of the condition key `name`, whatever its case.
    pub fn values(&self, name: &str) -> Values<'a> {
        self.lookup(&Key::new(name))
    }

    /// The account that owns the resource: the fifth field of its ARN. `None` for `*` and for ARNs without an account.
    pub fn resource_account(&self) -> Option<&'a str> {
        self.resource.split(':').nth(4).filter(|account| !account.is_empty())
    }

    pub(super) fn lookup(&self, key: &Key) -> Values<'a> {
        let (caller, context) = (&self.caller, self.context);
        let text = |value: Option<&'a str>| value.map(Value::Text);
        let one = match key {
            Key::Other(name) => {
                let found = context.extra.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                return found.map_or(Values::Absent, |(_, values)| Values::of(values));
            }
            Key::SourceVpce => text(context.source_vpce),
            Key::SourceVpc => text(context.source_vpc),
            Key::SourceVpcArn => text(context.source_vpc_arn),
            Key::VpceAccount => text(context.vpce_account),
            Key::VpcSourceIp => context.vpc_source_ip.map(Value::Address),
            Key::CurrentTime => Some(Value::Time(context.current_time)),
            Key::EpochTime => Some(Value::Epoch(context.current_time)),
            Key::SecureTransport => Some(Value::Bool(context.secure_transport)),
            Key::UserAgent => text(context.user_agent),
            Key::RequestedRegion => text(context.requested_region),
            Key::FunctionArn => text(context.function_arn),
            Key::ResourceAccount => text(self.resource_account()),
            Key::PrincipalArn => Some(Value::Text(caller.principal_arn())),
            Key::PrincipalAccount => Some(Value::Text(caller.account)),
            Key::PrincipalType => Some(Value::Text(caller.principal_type())),
            Key::PrincipalIsAwsService | Key::ViaAwsService => Some(Value::Bool(false)),
            Key::UserId => text(caller.user_id()),
            Key::Username => text(caller.username),
        };
        one.map_or(Values::Absent, Values::One)
    }
}

/// What a condition key holds in a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Values<'a> {
    /// The key is not in the request context.
    Absent,
    /// One value.
    One(Value<'a>),
    /// Several values: a multivalued key.
    Many(&'a [&'a str]),
}

impl<'a> Values<'a> {
    const fn of(values: &'a [&'a str]) -> Self {
        match values {
            [] => Self::Absent,
            [one] => Self::One(Value::Text(one)),
            many => Self::Many(many),
        }
    }

    /// The values, one by one.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let (one, many): (Option<Value<'a>>, &[&str]) = match self {
            Self::Absent => (None, &[]),
            Self::One(value) => (Some(value), &[]),
            Self::Many(values) => (None, values),
        };
        one.into_iter().chain(many.iter().map(|&text| Value::Text(text)))
    }
}

/// One value of a condition key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// An instant, ISO 8601 as text.
    Time(UnixTime),
    /// An instant, seconds since 1970 as text.
    Epoch(UnixTime),
    /// An address.
    Address(IpAddr),
}

impl<'a> Value<'a> {
    /// The value as text. Allocates only for instants and addresses.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Time(time) => Cow::Owned(time.to_iso8601()),
            Self::Epoch(time) => Cow::Owned(time.secs().to_string()),
            Self::Address(address) => Cow::Owned(address.to_string()),
        }
    }
}

macro_rules! keys {
    ($($variant:ident = $name:literal,)*) => {
        /// A condition key, resolved from its name.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub(super) enum Key {
            $(#[doc = $name] $variant,)*
            /// A key that is looked up by name.
            Other(Box<str>),
        }

        impl Key {
            pub(super) fn new(name: &str) -> Self {
                $(if name.eq_ignore_ascii_case($name) { return Self::$variant; })*
                Self::Other(name.into())
            }

            pub(super) fn name(&self) -> &str {
                match self { $(Self::$variant => $name,)* Self::Other(name) => name }
            }
        }
    };
}

keys! {
    SourceVpce = "aws:SourceVpce",
    SourceVpc = "aws:SourceVpc",
    SourceVpcArn = "aws:SourceVpcArn",
    VpceAccount = "aws:VpceAccount",
    VpcSourceIp = "aws:VpcSourceIp",
    CurrentTime = "aws:CurrentTime",
    EpochTime = "aws:EpochTime",
    SecureTransport = "aws:SecureTransport",
    UserAgent = "aws:UserAgent",
    RequestedRegion = "aws:RequestedRegion",
    FunctionArn = "lambda:FunctionArn",
    ResourceAccount = "aws:ResourceAccount",
    PrincipalArn = "aws:PrincipalArn",
    PrincipalAccount = "aws:PrincipalAccount",
    PrincipalType = "aws:PrincipalType",
    PrincipalIsAwsService = "aws:PrincipalIsAWSService",
    ViaAwsService = "aws:ViaAWSService",
    UserId = "aws:userid",
    Username = "aws:username",
}

/// Global keys that hold identifiers which AWS made up. An endpoint policy may use neither wildcards nor numeric operators
/// with them (AWS PrivateLink Guide, `vpc-endpoints-access`; it names the first two "for example", the rest is our reading).
const SYSTEM_IDENTIFIERS: [&str; 11] = [
    "aws:PrincipalAccount",
    "aws:SourceVpc",
    "aws:SourceVpce",
    "aws:VpceAccount",
    "aws:ResourceAccount",
    "aws:SourceAccount",
    "aws:PrincipalOrgID",
    "aws:ResourceOrgID",
    "aws:SourceOrgID",
    "aws:VpceOrgID",
    "aws:SourceOwner",
];

impl Key {
    /// Whether the key holds an identifier that AWS made up.
    pub(super) fn is_system_identifier(&self) -> bool {
        SYSTEM_IDENTIFIERS.iter().any(|name| self.name().eq_ignore_ascii_case(name))
    }

    /// What a decision that looks at this key depends on.
    pub(super) const fn dependency(&self) -> Dependencies {
        match self {
            Self::ResourceAccount
            | Self::PrincipalArn
            | Self::PrincipalAccount
            | Self::PrincipalType
            | Self::PrincipalIsAwsService
            | Self::ViaAwsService
            | Self::UserId
            | Self::Username => Dependencies::NONE,
            Self::CurrentTime | Self::EpochTime | Self::UserAgent => Dependencies::FLEETING,
            Self::Other(_) => Dependencies::EXTRA,
            Self::VpcSourceIp => Dependencies::ADDRESS,
            Self::SourceVpce
            | Self::SourceVpc
            | Self::SourceVpcArn
            | Self::VpceAccount
            | Self::SecureTransport
            | Self::RequestedRegion => Dependencies::ENDPOINT,
            Self::FunctionArn => Dependencies::FUNCTION,
        }
    }
}

/// What policies look at besides caller, action and resource: a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Dependencies(u8);

impl Dependencies {
    /// Nothing.
    pub(super) const NONE: Self = Self(0);
    /// What hardly comes twice, or changes without a request: the time, the user agent.
    pub(super) const FLEETING: Self = Self(1);
    /// Keys of [`Context::extra`].
    pub(super) const EXTRA: Self = Self(2);
    /// The client's address.
    pub(super) const ADDRESS: Self = Self(4);
    /// The endpoint and the way to it.
    pub(super) const ENDPOINT: Self = Self(8);
    /// `lambda:FunctionArn`.
    pub(super) const FUNCTION: Self = Self(16);

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}
