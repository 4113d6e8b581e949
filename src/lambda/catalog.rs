//! The functions, as an immutable snapshot: resolving names, and describing functions as Lambda's read operations do.
//!
//! A description says what is true of this endpoint and leaves out what it does not have: no `Role` (functions run without
//! one), no `Code.Location`, no `RevisionId`. `CodeSha256` and `CodeSize` are of the code itself, not of a zip file around
//! it, and are left out where the code was not given. `LastModified` is when the snapshot was made.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Violations};
use super::name::{LATEST, NamedFunction, Scope};
use crate::config::{Code, Function, Topology};
use crate::sigv4;
use crate::time::UnixTime;

/// Functions on one page of `ListFunctions`, at most and by default (API reference).
const PAGE_MAX: usize = 50;
/// Largest `MaxItems` (service model).
const MAX_ITEMS: i64 = 10_000;

/// Digest and size of a function's code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeSummary {
    /// SHA-256.
    pub sha256: [u8; 32],
    /// Bytes.
    pub size: u64,
}

impl CodeSummary {
    /// Of these bytes.
    pub fn of(code: &[u8]) -> Self {
        Self { sha256: sigv4::sha256(code), size: code.len() as u64 }
    }
}

/// What a name and qualifier stand for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Index into `Topology::functions`.
    pub function: usize,
    /// The function's name.
    pub name: Rc<str>,
    /// The version that runs: `$LATEST` or a number, never an alias.
    pub version: Rc<str>,
    /// The ARN as invoked: unqualified if invoked so.
    pub invoked_arn: Rc<str>,
    /// How long it may run.
    pub timeout: Duration,
}

/// All functions of an endpoint.
#[derive(Clone, Debug)]
pub struct Catalog {
    scope: Scope,
    functions: Vec<Entry>,
    made_at: UnixTime,
}

#[derive(Clone, Debug)]
struct Entry {
    function: Function,
    code: Option<CodeSummary>,
}

impl Catalog {
    /// A snapshot of the topology's functions. `code` tells digest and size of the code of function `n` if the caller read
    /// it; code written into the topology is summed up here.
    pub fn new(topology: &Topology, made_at: UnixTime, code: impl Fn(usize) -> Option<CodeSummary>) -> Self {
        let scope = Scope {
            partition: topology.partition.clone(),
            region: topology.region.clone(),
            account: topology.account.clone(),
        };
        Self::from_functions(scope, &topology.functions, made_at, code)
    }

    /// A snapshot of these functions.
    pub fn from_functions(
        scope: Scope,
        functions: &[Function],
        made_at: UnixTime,
        code: impl Fn(usize) -> Option<CodeSummary>,
    ) -> Self {
        let entry = |(n, function): (usize, &Function)| {
            let inline = match &function.code {
                Code::PythonInline { source, .. } => Some(CodeSummary::of(source.as_bytes())),
                _ => None,
            };
            Entry { function: function.clone(), code: code(n).or(inline) }
        };
        Self { scope, functions: functions.iter().enumerate().map(entry).collect(), made_at }
    }

    /// Where the endpoint stands.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Where a caller of `account` stands: a name without an account means a function of the caller's own (API reference,
    /// `FunctionName`).
    pub fn scope_of(&self, account: &str) -> Cow<'_, Scope> {
        if account == self.scope.account {
            Cow::Borrowed(&self.scope)
        } else {
            Cow::Owned(Scope { account: account.to_owned(), ..self.scope.clone() })
        }
    }

    /// What a caller of `account` sees where nothing is named: the functions of its own account, of which the lab has none
    /// unless it is this one.
    pub fn seen_by(&self, account: &str) -> Cow<'_, Self> {
        match self.scope_of(account) {
            Cow::Borrowed(_) => Cow::Borrowed(self),
            Cow::Owned(scope) => Cow::Owned(Self { scope, functions: Vec::new(), made_at: self.made_at }),
        }
    }

    /// Index of a function by name, whatever the qualifier: its resource policy counts even for a qualifier that does not
    /// exist.
    pub fn function(&self, named: &NamedFunction) -> Option<usize> {
        if named.account != self.scope.account {
            return None;
        }
        self.functions.iter().position(|entry| entry.function.name == named.name)
    }

    /// What a name stands for; `None` if there is no such function or qualifier.
    pub fn resolve(&self, named: &NamedFunction) -> Option<Target> {
        let index = self.function(named)?;
        let function = &self.functions[index].function;
        let version = match named.qualifier.as_deref() {
            None | Some(LATEST) => LATEST,
            Some(qualifier) => {
                let alias = function.aliases.iter().find(|(name, _)| name == qualifier);
                let version = alias.map_or(qualifier, |(_, version)| version);
                let exists = version == LATEST || number_of(version).is_some_and(|n| function.versions.contains(&n));
                exists.then_some(version)?
            }
        };
        Some(Target {
            function: index,
            name: function.name.as_str().into(),
            version: version.into(),
            invoked_arn: Rc::clone(&named.arn),
            timeout: function.timeout,
        })
    }

    /// `FunctionConfiguration` of a target, as `GetFunctionConfiguration` answers it.
    pub fn configuration(&self, target: &Target) -> Value {
        self.describe(target.function, &target.version, &target.invoked_arn)
    }

    /// The answer of `GetFunction`.
    pub fn function_description(&self, target: &Target) -> Value {
        let concurrency = self.functions[target.function].function.concurrency;
        json!({
            "Configuration": self.configuration(target),
            "Code": {},
            "Concurrency": { "ReservedConcurrentExecutions": concurrency },
        })
    }

    fn describe(&self, index: usize, version: &str, arn: &str) -> Value {
        let Entry { function, code } = &self.functions[index];
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("FunctionName", json!(function.name));
        put("FunctionArn", json!(arn));
        put("Runtime", json!(function.runtime));
        if let Code::Python { handler, .. } | Code::PythonInline { handler, .. } | Code::Bootstrap { handler, .. } =
            &function.code
        {
            put("Handler", json!(handler));
        }
        if let Some(code) = code {
            put("CodeSize", json!(code.size));
        }
        put("Description", json!(""));
        put("Timeout", json!(function.timeout.as_secs()));
        put("MemorySize", json!(function.memory_mb));
        put("LastModified", json!(self.made_at.to_utc().strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string()));
        if let Some(code) = code {
            put("CodeSha256", json!(STANDARD.encode(code.sha256)));
        }
        put("Version", json!(version));
        if !function.environment.is_empty() {
            let variables: Map<_, _> = function.environment.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
            put("Environment", json!({ "Variables": variables }));
        }
        put("TracingConfig", json!({ "Mode": "PassThrough" }));
        put("State", json!("Active"));
        put("LastUpdateStatus", json!("Successful"));
        put("PackageType", json!("Zip"));
        Value::Object(out)
    }

    /// One page of `ListFunctions`. A marker is the position of the next entry, in base64: good for this snapshot and for
    /// every later one in which the functions before it are the same.
    ///
    /// # Errors
    /// `ValidationException` or `InvalidParameterValueException` for parameters that are none.
    pub fn list(
        &self,
        function_version: Option<&str>,
        marker: Option<&str>,
        max_items: Option<&str>,
    ) -> Result<Value, ApiError> {
        let mut violations = Violations::default();
        if let Some(other) = function_version.filter(|v| *v != "ALL") {
            violations.not_in(other, "functionVersion", &["ALL"]);
        }
        let page = match max_items.map(str::parse::<i64>) {
            None => PAGE_MAX,
            Some(Ok(n)) => {
                let text = n.to_string();
                if n < 1 {
                    violations.below(&text, "maxItems", 1);
                } else if n > MAX_ITEMS {
                    violations.above(&text, "maxItems", MAX_ITEMS);
                }
                usize::try_from(n).unwrap_or(1).clamp(1, PAGE_MAX)
            }
            Some(Err(_)) => return Err(ApiError::invalid_parameter("MaxItems is not a number.")),
        };
        violations.check()?;
        let start = match marker {
            None => 0,
            Some(marker) => parse_marker(marker).ok_or_else(|| ApiError::invalid_parameter("Invalid marker."))?,
        };
        let entries = self.entries(function_version.is_some());
        let all = entries.len();
        let functions: Vec<_> = entries
            .into_iter()
            .skip(start)
            .take(page)
            .map(|(index, version, arn)| self.describe(index, &version, &arn))
            .collect();
        let next = start.saturating_add(functions.len());
        let next_marker = if next < all { json!(STANDARD.encode(next.to_string())) } else { Value::Null };
        Ok(json!({ "Functions": functions, "NextMarker": next_marker }))
    }

    /// Function, version and ARN of everything listed: unqualified, or every version with its qualified ARN.
    fn entries(&self, all_versions: bool) -> Vec<(usize, String, String)> {
        let mut entries = Vec::new();
        for (index, entry) in self.functions.iter().enumerate() {
            let Scope { partition, region, account } = &self.scope;
            let arn = format!("arn:{partition}:lambda:{region}:{account}:function:{}", entry.function.name);
            if !all_versions {
                entries.push((index, LATEST.to_owned(), arn));
                continue;
            }
            let numbers = entry.function.versions.iter().map(u32::to_string);
            for version in std::iter::once(LATEST.to_owned()).chain(numbers) {
                let arn = format!("{arn}:{version}");
                entries.push((index, version, arn));
            }
        }
        entries
    }

    /// The answer of `GetAccountSettings`: the functions' own limits are all there is, so none of the account's concurrency
    /// is unreserved. AWS's limits on code sizes do not hold here and are left out.
    pub fn account_settings(&self) -> Value {
        let concurrency: u64 = self.functions.iter().map(|entry| u64::from(entry.function.concurrency)).sum();
        let sizes: Option<u64> = self.functions.iter().map(|entry| entry.code.map(|code| code.size)).sum();
        let mut usage = Map::new();
        if let Some(total) = sizes {
            usage.insert("TotalCodeSize".to_owned(), json!(total));
        }
        usage.insert("FunctionCount".to_owned(), json!(self.functions.len()));
        json!({
            "AccountLimit": { "ConcurrentExecutions": concurrency, "UnreservedConcurrentExecutions": 0 },
            "AccountUsage": usage,
        })
    }
}

fn parse_marker(marker: &str) -> Option<usize> {
    String::from_utf8(STANDARD.decode(marker).ok()?).ok()?.parse().ok()
}

/// The number of a published version, written as versions are: without sign and leading zeros.
fn number_of(version: &str) -> Option<u32> {
    version.parse().ok().filter(|_| !version.starts_with(['0', '+']))
}

#[cfg(test)]
pub(crate) mod tests;
