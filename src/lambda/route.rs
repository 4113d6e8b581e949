//! Method, path and query → operation.
//!
//! The table is Lambda's whole service model (2015-03-31 and its later path versions), so that a path which exists on AWS
//! is told apart from one that does not: the first is signed, verified and then answered "not supported", the second gets
//! the XML answer of AWS's front end. One trailing slash is ignored: older SDKs send it.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::error::ApiError;

/// What the caller asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// `Invoke`, synchronous or not.
    Invoke,
    /// `InvokeAsync`, the deprecated form of an `Event` invocation.
    InvokeAsync,
    /// `InvokeWithResponseStream`.
    InvokeWithResponseStream,
    /// `GetFunction`.
    GetFunction,
    /// `GetFunctionConfiguration`.
    GetFunctionConfiguration,
    /// `ListFunctions`.
    ListFunctions,
    /// `GetAccountSettings`.
    GetAccountSettings,
    /// An operation of Lambda's that is not supported here.
    Unsupported(&'static str),
}

impl Operation {
    /// The operation's name in the service model.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invoke => "Invoke",
            Self::InvokeAsync => "InvokeAsync",
            Self::InvokeWithResponseStream => "InvokeWithResponseStream",
            Self::GetFunction => "GetFunction",
            Self::GetFunctionConfiguration => "GetFunctionConfiguration",
            Self::ListFunctions => "ListFunctions",
            Self::GetAccountSettings => "GetAccountSettings",
            Self::Unsupported(name) => name,
        }
    }

    /// The IAM action that allows it; `None` if it is not supported. Three operations share `lambda:InvokeFunction`
    /// or have a name of their own (Service Authorization Reference, "Actions defined by AWS Lambda").
    pub const fn action(self) -> Option<&'static str> {
        match self {
            Self::Invoke | Self::InvokeWithResponseStream => Some("lambda:InvokeFunction"),
            Self::InvokeAsync => Some("lambda:InvokeAsync"),
            Self::GetFunction => Some("lambda:GetFunction"),
            Self::GetFunctionConfiguration => Some("lambda:GetFunctionConfiguration"),
            Self::ListFunctions => Some("lambda:ListFunctions"),
            Self::GetAccountSettings => Some("lambda:GetAccountSettings"),
            Self::Unsupported(_) => None,
        }
    }

    /// Whether it runs a function.
    pub const fn is_invocation(self) -> bool {
        matches!(self, Self::Invoke | Self::InvokeAsync | Self::InvokeWithResponseStream)
    }
}

/// A routed request: the operation and its path and query parameters, percent-decoded, not yet validated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route<'h> {
    /// The operation.
    pub operation: Operation,
    /// `FunctionName` of the path.
    pub function_name: Option<Cow<'h, str>>,
    /// `Qualifier` of the query.
    pub qualifier: Option<Cow<'h, str>>,
    /// `Marker` of the query.
    pub marker: Option<Cow<'h, str>>,
    /// `MaxItems` of the query.
    pub max_items: Option<Cow<'h, str>>,
    /// `FunctionVersion` of the query.
    pub function_version: Option<Cow<'h, str>>,
}

/// Routes a request by its method, raw path and raw query.
///
/// # Errors
/// The XML answer to a path or method that is no operation of Lambda's.
pub fn route<'h>(method: &Method, path: &'h str, query: Option<&'h str>) -> Result<Route<'h>, ApiError> {
    let trimmed = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path);
    let (operation, label) = TABLE
        .iter()
        .filter(|(m, ..)| *m == method.as_str())
        .find_map(|(_, template, operation)| Some((*operation, match_template(template, trimmed)?)))
        .ok_or_else(ApiError::unknown_operation)?;
    let mut route = Route {
        operation,
        function_name: label.map(decode_path),
        qualifier: None,
        marker: None,
        max_items: None,
        function_version: None,
    };
    let query = query.unwrap_or_default();
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name {
            "Qualifier" => &mut route.qualifier,
            "Marker" => &mut route.marker,
            "MaxItems" => &mut route.max_items,
            "FunctionVersion" => &mut route.function_version,
            _ => continue,
        };
        slot.get_or_insert_with(|| match value.contains('+') {
            true => decode_path(&value.replace('+', " ")).into_owned().into(),
            false => decode_path(value),
        });
    }
    Ok(route)
}

/// Matches a path against a template. `Some(Some(label))` is the first `{}` of it: a segment that is not empty.
fn match_template<'p>(template: &str, path: &'p str) -> Option<Option<&'p str>> {
    // What stands before the first label is compared at once: it tells nearly all of them apart.
    let (template, bytes) = (template.as_bytes(), path.as_bytes());
    let before = template.iter().position(|&c| c == b'{').unwrap_or(template.len());
    if !bytes.starts_with(&template[..before]) {
        return None;
    }
    let (mut label, mut at, mut t) = (None, before, before);
    while let Some(&c) = template.get(t) {
        if c == b'{' {
            let len = bytes[at..].iter().take_while(|&&c| c != b'/').count();
            if len == 0 {
                return None;
            }
            label = label.or_else(|| path.get(at..at + len));
            at += len;
            t += "{}".len();
        } else if bytes.get(at) == Some(&c) {
            at += 1;
            t += 1;
        } else {
            return None;
        }
    }
    (at == bytes.len()).then_some(label)
}

/// Bytes that are not UTF-8 become U+FFFD, which no pattern of the service model admits.
fn decode_path(raw: &str) -> Cow<'_, str> {
    if !raw.as_bytes().contains(&b'%') {
        return raw.into();
    }
    percent_decode_str(raw).decode_utf8_lossy()
}

use Operation::Unsupported as No;

/// Method, path template, operation. Supported ones first: they are nearly all of the traffic.
#[rustfmt::skip]
const TABLE: &[(&str, &str, Operation)] = &[
    ("POST", "/2015-03-31/functions/{}/invocations", Operation::Invoke),
    ("POST", "/2021-11-15/functions/{}/response-streaming-invocations", Operation::InvokeWithResponseStream),
    ("POST", "/2014-11-13/functions/{}/invoke-async", Operation::InvokeAsync),
    ("GET", "/2015-03-31/functions/{}", Operation::GetFunction),
    ("GET", "/2015-03-31/functions/{}/configuration", Operation::GetFunctionConfiguration),
    ("GET", "/2015-03-31/functions", Operation::ListFunctions),
    ("GET", "/2016-08-19/account-settings", Operation::GetAccountSettings),
    ("POST", "/2018-10-31/layers/{}/versions/{}/policy", No("AddLayerVersionPermission")),
    ("POST", "/2015-03-31/functions/{}/policy", No("AddPermission")),
    ("POST", "/2025-12-01/durable-executions/{}/checkpoint", No("CheckpointDurableExecution")),
    ("POST", "/2015-03-31/functions/{}/aliases", No("CreateAlias")),
    ("POST", "/2025-11-30/capacity-providers", No("CreateCapacityProvider")),
    ("POST", "/2020-04-22/code-signing-configs", No("CreateCodeSigningConfig")),
    ("POST", "/2015-03-31/event-source-mappings", No("CreateEventSourceMapping")),
    ("POST", "/2015-03-31/functions", No("CreateFunction")),
    ("POST", "/2021-10-31/functions/{}/url", No("CreateFunctionUrlConfig")),
    ("DELETE", "/2015-03-31/functions/{}/aliases/{}", No("DeleteAlias")),
    ("DELETE", "/2025-11-30/capacity-providers/{}", No("DeleteCapacityProvider")),
    ("DELETE", "/2020-04-22/code-signing-configs/{}", No("DeleteCodeSigningConfig")),
    ("DELETE", "/2025-12-01/durable-executions/{}", No("DeleteDurableExecution")),
    ("DELETE", "/2015-03-31/event-source-mappings/{}", No("DeleteEventSourceMapping")),
    ("DELETE", "/2015-03-31/functions/{}", No("DeleteFunction")),
    ("DELETE", "/2020-06-30/functions/{}/code-signing-config", No("DeleteFunctionCodeSigningConfig")),
    ("DELETE", "/2017-10-31/functions/{}/concurrency", No("DeleteFunctionConcurrency")),
    ("DELETE", "/2019-09-25/functions/{}/event-invoke-config", No("DeleteFunctionEventInvokeConfig")),
    ("DELETE", "/2021-10-31/functions/{}/url", No("DeleteFunctionUrlConfig")),
    ("DELETE", "/2018-10-31/layers/{}/versions/{}", No("DeleteLayerVersion")),
    ("DELETE", "/2019-09-30/functions/{}/provisioned-concurrency", No("DeleteProvisionedConcurrencyConfig")),
    ("DELETE", "/2026-07-09/resource-policy/{}", No("DeleteResourcePolicy")),
    ("GET", "/2015-03-31/functions/{}/aliases/{}", No("GetAlias")),
    ("GET", "/2025-11-30/capacity-providers/{}", No("GetCapacityProvider")),
    ("GET", "/2020-04-22/code-signing-configs/{}", No("GetCodeSigningConfig")),
    ("GET", "/2025-12-01/durable-executions/{}", No("GetDurableExecution")),
    ("GET", "/2025-12-01/durable-executions/{}/history", No("GetDurableExecutionHistory")),
    ("GET", "/2025-12-01/durable-executions/{}/state", No("GetDurableExecutionState")),
    ("GET", "/2015-03-31/event-source-mappings/{}", No("GetEventSourceMapping")),
    ("GET", "/2020-06-30/functions/{}/code-signing-config", No("GetFunctionCodeSigningConfig")),
    ("GET", "/2019-09-30/functions/{}/concurrency", No("GetFunctionConcurrency")),
    ("GET", "/2019-09-25/functions/{}/event-invoke-config", No("GetFunctionEventInvokeConfig")),
    ("GET", "/2024-08-31/functions/{}/recursion-config", No("GetFunctionRecursionConfig")),
    ("GET", "/2025-11-30/functions/{}/function-scaling-config", No("GetFunctionScalingConfig")),
    ("GET", "/2021-10-31/functions/{}/url", No("GetFunctionUrlConfig")),
    ("GET", "/2018-10-31/layers/{}/versions/{}", No("GetLayerVersion")),
    ("GET", "/2018-10-31/layers/{}/versions/{}/policy", No("GetLayerVersionPolicy")),
    ("GET", "/2015-03-31/functions/{}/policy", No("GetPolicy")),
    ("GET", "/2019-09-30/functions/{}/provisioned-concurrency", No("GetProvisionedConcurrencyConfig")),
    ("GET", "/2026-07-09/resource-policy/{}", No("GetResourcePolicy")),
    ("GET", "/2021-07-20/functions/{}/runtime-management-config", No("GetRuntimeManagementConfig")),
    ("GET", "/2015-03-31/functions/{}/aliases", No("ListAliases")),
    ("GET", "/2025-11-30/capacity-providers", No("ListCapacityProviders")),
    ("GET", "/2020-04-22/code-signing-configs", No("ListCodeSigningConfigs")),
    ("GET", "/2025-12-01/functions/{}/durable-executions", No("ListDurableExecutionsByFunction")),
    ("GET", "/2015-03-31/event-source-mappings", No("ListEventSourceMappings")),
    ("GET", "/2019-09-25/functions/{}/event-invoke-config/list", No("ListFunctionEventInvokeConfigs")),
    ("GET", "/2021-10-31/functions/{}/urls", No("ListFunctionUrlConfigs")),
    ("GET", "/2025-11-30/capacity-providers/{}/function-versions", No("ListFunctionVersionsByCapacityProvider")),
    ("GET", "/2020-04-22/code-signing-configs/{}/functions", No("ListFunctionsByCodeSigningConfig")),
    ("GET", "/2018-10-31/layers/{}/versions", No("ListLayerVersions")),
    ("GET", "/2018-10-31/layers", No("ListLayers")),
    ("GET", "/2017-03-31/tags/{}", No("ListTags")),
    ("GET", "/2015-03-31/functions/{}/versions", No("ListVersionsByFunction")),
    ("POST", "/2025-12-01/durable-executions/{}/pause", No("PauseDurableExecution")),
    ("POST", "/2018-10-31/layers/{}/versions", No("PublishLayerVersion")),
    ("POST", "/2015-03-31/functions/{}/versions", No("PublishVersion")),
    ("PUT", "/2020-06-30/functions/{}/code-signing-config", No("PutFunctionCodeSigningConfig")),
    ("PUT", "/2017-10-31/functions/{}/concurrency", No("PutFunctionConcurrency")),
    ("PUT", "/2019-09-25/functions/{}/event-invoke-config", No("PutFunctionEventInvokeConfig")),
    ("PUT", "/2024-08-31/functions/{}/recursion-config", No("PutFunctionRecursionConfig")),
    ("PUT", "/2025-11-30/functions/{}/function-scaling-config", No("PutFunctionScalingConfig")),
    ("PUT", "/2019-09-30/functions/{}/provisioned-concurrency", No("PutProvisionedConcurrencyConfig")),
    ("PUT", "/2026-07-09/resource-policy/{}", No("PutResourcePolicy")),
    ("PUT", "/2021-07-20/functions/{}/runtime-management-config", No("PutRuntimeManagementConfig")),
    ("DELETE", "/2018-10-31/layers/{}/versions/{}/policy/{}", No("RemoveLayerVersionPermission")),
    ("DELETE", "/2015-03-31/functions/{}/policy/{}", No("RemovePermission")),
    ("POST", "/2025-12-01/durable-executions/{}/resume", No("ResumeDurableExecution")),
    ("POST", "/2025-12-01/durable-execution-callbacks/{}/fail", No("SendDurableExecutionCallbackFailure")),
    ("POST", "/2025-12-01/durable-execution-callbacks/{}/heartbeat", No("SendDurableExecutionCallbackHeartbeat")),
    ("POST", "/2025-12-01/durable-execution-callbacks/{}/succeed", No("SendDurableExecutionCallbackSuccess")),
    ("POST", "/2025-12-01/durable-executions/{}/stop", No("StopDurableExecution")),
    ("POST", "/2017-03-31/tags/{}", No("TagResource")),
    ("DELETE", "/2017-03-31/tags/{}", No("UntagResource")),
    ("PUT", "/2015-03-31/functions/{}/aliases/{}", No("UpdateAlias")),
    ("PUT", "/2025-11-30/capacity-providers/{}", No("UpdateCapacityProvider")),
    ("PUT", "/2020-04-22/code-signing-configs/{}", No("UpdateCodeSigningConfig")),
    ("PUT", "/2015-03-31/event-source-mappings/{}", No("UpdateEventSourceMapping")),
    ("PUT", "/2015-03-31/functions/{}/code", No("UpdateFunctionCode")),
    ("PUT", "/2015-03-31/functions/{}/configuration", No("UpdateFunctionConfiguration")),
    ("POST", "/2019-09-25/functions/{}/event-invoke-config", No("UpdateFunctionEventInvokeConfig")),
    ("PUT", "/2021-10-31/functions/{}/url", No("UpdateFunctionUrlConfig")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(method: &str, path: &str) -> Option<Operation> {
        route(&method.parse().unwrap(), path, None).ok().map(|route| route.operation)
    }

    #[test]
    fn supported_operations_are_known_by_method_and_path() {
        let table = [
            ("POST", "/2015-03-31/functions/f/invocations", Operation::Invoke),
            ("POST", "/2014-11-13/functions/f/invoke-async", Operation::InvokeAsync),
            ("POST", "/2014-11-13/functions/f/invoke-async/", Operation::InvokeAsync),
            ("POST", "/2021-11-15/functions/f/response-streaming-invocations", Operation::InvokeWithResponseStream),
            ("GET", "/2015-03-31/functions/f", Operation::GetFunction),
            ("GET", "/2015-03-31/functions/f/configuration", Operation::GetFunctionConfiguration),
            ("GET", "/2015-03-31/functions", Operation::ListFunctions),
            ("GET", "/2015-03-31/functions/", Operation::ListFunctions),
            ("GET", "/2016-08-19/account-settings", Operation::GetAccountSettings),
            ("POST", "/2015-03-31/functions", No("CreateFunction")),
            ("DELETE", "/2015-03-31/functions/f/policy/sid", No("RemovePermission")),
            ("GET", "/2019-09-25/functions/f/event-invoke-config/list", No("ListFunctionEventInvokeConfigs")),
        ];
        for (method, path, expected) in table {
            assert_eq!(operation(method, path), Some(expected), "{method} {path}");
        }
    }

    #[test]
    fn anything_else_gets_the_xml_answer() {
        let table = [
            ("GET", "/"),
            ("POST", ""),
            ("POST", "/2015-03-31/functions//invocations"),
            ("GET", "/2015-03-31/functions/f/invocations"),
            ("POST", "/2015-03-31/functions/f/invocations/x"),
            ("POST", "/2015-03-31/functions/f/invocations//"),
            ("POST", "/2014-11-13/functions/f/invocations"),
            ("PATCH", "/2015-03-31/functions/f"),
            ("GET", "/2015-03-31/functions/../functions/f/x"),
        ];
        for (method, path) in table {
            let error = route(&method.parse().unwrap(), path, None).unwrap_err();
            assert_eq!(error, ApiError::unknown_operation(), "{method} {path}");
        }
    }

    #[test]
    fn names_and_parameters_are_percent_decoded_and_the_first_of_each_counts() {
        let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-2%3A1%3Afunction%3Af/invocations";
        let found = route(&Method::POST, path, Some("x=1&Qualifier=%24LATEST&Qualifier=2")).unwrap();
        assert_eq!(found.function_name.as_deref(), Some("arn:aws:lambda:us-east-2:1:function:f"));
        assert_eq!(found.qualifier.as_deref(), Some("$LATEST"));
        let found = route(&Method::GET, "/2015-03-31/functions", Some("MaxItems=2&Marker=a%2Bb&FunctionVersion=ALL"));
        let found = found.unwrap();
        assert_eq!((found.max_items.as_deref(), found.marker.as_deref()), (Some("2"), Some("a+b")));
        assert_eq!(found.function_version.as_deref(), Some("ALL"));
        let found = route(&Method::POST, "/2015-03-31/functions/%ff/invocations", Some("Qualifier")).unwrap();
        assert_eq!((found.function_name.as_deref(), found.qualifier.as_deref()), (Some("\u{fffd}"), Some("")));
    }

    #[test]
    fn every_operation_of_the_model_is_in_the_table_once() {
        let mut keys: Vec<_> = TABLE.iter().map(|(method, path, _)| (*method, *path)).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), TABLE.len());
        let names: std::collections::BTreeSet<_> = TABLE.iter().map(|(.., operation)| operation.name()).collect();
        // botocore 1.44 lists 91; GetLayerVersionByArn and ListProvisionedConcurrencyConfigs share another's path and
        // differ by a query parameter alone.
        assert_eq!(names.len(), 89);
    }
}
