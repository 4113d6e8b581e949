//! Identities that may sign, and functions that run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::{Files, policy_texts};
use super::model::*;
use super::reader::{At, Section};

/// Bytes of source text written into a topology or read from `source_file` (Lambda's console edits up to 3 MB).
const SOURCE_BYTES: usize = 3 << 20;
/// Bytes of all environment variables of a function (Lambda quotas: 4 KB).
const ENVIRONMENT_BYTES: usize = 4_096;

pub(super) fn identities(sections: &[Section<'_>], account: &str, partition: &str, files: &Files<'_>) -> Vec<Identity> {
    let mut identities: Vec<Identity> = Vec::new();
    for section in sections {
        let name = section.parsed("name", |text| {
            // IAM: user and role names.
            let fits = !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b));
            if fits {
                Ok(text.to_owned())
            } else {
                Err(format!("is \"{text}\", not a name: A-Z a-z 0-9 + = , . @ _ -, at most 64"))
            }
        });
        if !section.has("name") {
            section.missing("name", "give the identity the name that `vpce lab exec --as` shall take");
        }
        if let Some(At { value, span }) =
            name.as_ref().filter(|at| identities.iter().any(|other| other.name == at.value))
        {
            section.fault(span, format!("an identity named \"{value}\" exists already"));
        }
        let name = name.map(|at| at.value).unwrap_or_default();
        let arn = section.parsed("arn", |text| principal_arn(text, partition));
        if let Some(At { value, span }) =
            arn.as_ref().filter(|at| identities.iter().any(|other| other.arn == at.value.0))
        {
            section.fault(span, format!("another identity has the ARN {} already", value.0));
        }
        let (arn, account) = arn
            .map(|at| at.value)
            .unwrap_or_else(|| (format!("arn:{partition}:iam::{account}:user/{name}"), account.to_owned()));
        let origin = format!("identity {name}");
        let policies = policy_texts(section, &origin, files);
        identities.push(Identity { name, arn, account, policies });
    }
    identities
}

/// A principal that can sign: a user, a role's session, or an account's root. Gives the ARN and its account.
fn principal_arn(text: &str, partition: &str) -> Result<(String, String), String> {
    let wrong =
        |why: &str| Err(format!("is \"{text}\", {why}, such as \"arn:{partition}:iam::123456789012:user/Admin\""));
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, of, service, region, account, resource] = parts[..] else {
        return wrong("not the ARN of a user, an assumed role or a root user");
    };
    if arn != "arn" || !region.is_empty() {
        return wrong("not the ARN of a user, an assumed role or a root user");
    }
    if of != partition {
        return Err(format!("is \"{text}\", but the region's partition is {partition}, not {of}"));
    }
    if !is_account(account) {
        return wrong("whose account is not twelve digits");
    }
    let name = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b));
    let fits = match (service, resource.split_once('/')) {
        ("iam", None) => resource == "root",
        ("iam", Some(("user", path))) => path.split('/').all(name),
        ("sts", Some(("assumed-role", rest))) => rest.split('/').count() == 2 && rest.split('/').all(name),
        _ => false,
    };
    if fits {
        Ok((text.to_owned(), account.to_owned()))
    } else {
        wrong("not the ARN of a user, an assumed role or a root user")
    }
}

/// Twelve digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

pub(super) fn functions(sections: &[Section<'_>], files: &Files<'_>) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    for section in sections {
        let name = section.parsed("name", |text| {
            let fits = !text.is_empty()
                && text.len() <= 64
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if fits {
                Ok(text.to_owned())
            } else {
                Err(format!("is \"{text}\", not a function's name: A-Z a-z 0-9 - _, at most 64"))
            }
        });
        if !section.has("name") {
            section.missing("name", "give the function its name");
        }
        if let Some(At { value, span }) =
            name.as_ref().filter(|at| functions.iter().any(|other| other.name == at.value))
        {
            section.fault(span, format!("a function named \"{value}\" exists already"));
        }
        let name = name.map(|at| at.value).unwrap_or_default();
        let (code, runtime) = code(section, files);
        let timeout = super::endpoint::ranged_time(section, "timeout", 1, 900).unwrap_or(Duration::from_secs(3));
        let memory_mb = section.integer("memory", 128..=10_240).map_or(128, |at| at.value);
        let concurrency = section.integer("concurrency", 0..=1_000).map_or(10, |at| at.value);
        let versions = versions(section);
        let aliases = aliases(&section.section("aliases"), &versions);
        let environment = environment(&section.section("environment"));
        let policies = policy_texts(section, &format!("function {name}"), files);
        if policies.len() > 1 {
            section.fault(&section.key_span("policy"), "a function has at most one resource policy");
        }
        let policy = policies.into_iter().next();
        functions.push(Function {
            name,
            runtime,
            code,
            timeout,
            memory_mb,
            versions,
            aliases,
            concurrency,
            environment,
            policy,
        });
    }
    functions
}

fn code(section: &Section<'_>, files: &Files<'_>) -> (Code, String) {
    let builtin = section.parsed("builtin", |text| match text {
        "echo" => Ok(Code::Echo),
        "sink" => Ok(Code::Sink),
        "source" => Ok(Code::Source),
        _ => Err(format!("is \"{text}\"; the built-in functions are \"echo\", \"sink\" and \"source\"")),
    });
    let source = section.string("source").map(|at| at.map(str::to_owned));
    let source_file = section
        .string("source_file")
        .and_then(|at| files.text(section, &at).map(|text| At { value: text, span: at.span }));
    let path = section.string("path").map(|at| files.locate(Path::new(at.value)));
    let handler = section.parsed("handler", |text| {
        // The Lambda API's pattern: no white space, at most 128.
        let fits = !text.is_empty() && text.len() <= 128 && !text.contains(char::is_whitespace);
        if fits {
            Ok(text.to_owned())
        } else {
            Err(format!("is \"{text}\", not a handler such as \"handler.handler\""))
        }
    });
    let runtime = section.parsed("runtime", |text| {
        let known = text == "provided.al2" || text == "provided.al2023" || python_runtime(text);
        if known {
            Ok(text.to_owned())
        } else {
            Err(format!("is \"{text}\", neither \"python3.N\" nor \"provided.al2023\""))
        }
    });

    let given: Vec<_> =
        ["builtin", "source", "source_file", "path"].into_iter().filter(|key| section.has(key)).collect();
    match given[..] {
        [] => section.missing("source_file", "give the code by `source_file`, `source`, `path` or builtin = \"echo\""),
        [_] => {}
        [_, second, ..] => {
            section.fault(
                &section.key_span(second),
                "a function has exactly one of `builtin`, `source`, `source_file` and `path`",
            );
        }
    }
    let text = source.or(source_file);
    if let Some(At { span, .. }) = text.as_ref().filter(|at| at.value.len() > SOURCE_BYTES) {
        section.fault(
            span,
            format!("the source is larger than {SOURCE_BYTES} bytes; put it into a folder and give its `path`"),
        );
    }
    let custom = runtime.as_ref().is_some_and(|at| at.value.starts_with("provided"));
    if let Some(At { span, .. }) = runtime.as_ref().filter(|_| custom && text.is_some()) {
        section.fault_with_help(
            span,
            "source text is Python, but `runtime` is a custom one",
            "give the folder that holds `bootstrap` by `path`",
        );
    }
    if let Some(At { span, .. }) = handler.as_ref().filter(|at| !custom && builtin.is_none() && !at.value.contains('.'))
    {
        section.fault(span, "a Python handler is `module.function`");
    }
    let handler = handler.map_or_else(|| "handler.handler".to_owned(), |at| at.value);
    let default_runtime = if builtin.is_some() { "provided.al2023" } else { "python3.13" };
    let runtime = runtime.map_or_else(|| default_runtime.to_owned(), |at| at.value);
    let code = match (builtin, text, path) {
        (Some(builtin), ..) => builtin.value,
        (_, Some(text), _) => Code::PythonInline { source: text.value, handler },
        (_, _, Some(path)) if custom => Code::Bootstrap { path, handler },
        (_, _, Some(path)) => Code::Python { path, handler },
        _ => Code::Python { path: PathBuf::new(), handler },
    };
    (code, runtime)
}

fn python_runtime(text: &str) -> bool {
    text.strip_prefix("python3.")
        .is_some_and(|minor| !minor.is_empty() && minor.len() <= 2 && minor.bytes().all(|b| b.is_ascii_digit()))
}

fn versions(section: &Section<'_>) -> Vec<u32> {
    let mut versions: Vec<u32> = Vec::new();
    for item in section.items("versions") {
        let Some(At { value, span }) = section.integer_at::<u32>("a version", item, 1..=i64::from(u32::MAX)) else {
            continue;
        };
        if versions.last().is_some_and(|last| *last >= value) {
            section
                .fault(&span, format!("version {value} is not above the one before it: versions are numbered upwards"));
        }
        versions.push(value);
    }
    versions
}

fn aliases(section: &Section<'_>, versions: &[u32]) -> Vec<(String, String)> {
    let mut aliases = Vec::new();
    for At { value: name, span } in section.names() {
        let fits = !name.is_empty()
            && name.len() <= 128
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !name.bytes().all(|b| b.is_ascii_digit());
        if !fits {
            section.fault(&span, format!("\"{name}\" is not an alias: A-Z a-z 0-9 - _, not digits alone, at most 128"));
        }
        let target = section.parsed(&name, |text| {
            let exists = text == "$LATEST" || versions.iter().any(|version| version.to_string() == text);
            if exists {
                Ok(text.to_owned())
            } else {
                Err(format!("is \"{text}\", neither \"$LATEST\" nor one of `versions`"))
            }
        });
        if let Some(target) = target {
            aliases.push((name, target.value));
        }
    }
    aliases
}

fn environment(section: &Section<'_>) -> Vec<(String, String)> {
    /// Set by Lambda itself (Lambda developer guide, reserved environment variables).
    const RESERVED: [&str; 12] = [
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_RUNTIME_API",
    ];
    let mut variables = Vec::new();
    let mut size = 0;
    for At { value: name, span } in section.names() {
        let fits = name.len() >= 2
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if RESERVED.contains(&name.as_str()) || name.starts_with("AWS_LAMBDA_") {
            section.fault(&span, format!("Lambda sets {name} itself"));
        } else if !fits {
            section.fault(&span, format!("\"{name}\" is not a variable's name: a letter, then letters, digits and _"));
        }
        let value = section.parsed(&name, |text| {
            if text.contains('\0') { Err("holds a NUL character".to_owned()) } else { Ok(text.to_owned()) }
        });
        if let Some(value) = value {
            size += name.len() + value.value.len();
            variables.push((name, value.value));
        }
    }
    if size > ENVIRONMENT_BYTES {
        section.fault(&section.span, format!("the environment has {size} bytes; Lambda allows {ENVIRONMENT_BYTES}"));
    }
    variables
}
