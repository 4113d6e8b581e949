use super::*;

pub(crate) fn scope() -> Scope {
    Scope { partition: "aws".into(), region: "us-east-2".into(), account: "123456789012".into() }
}

pub(crate) fn catalog() -> Catalog {
    let function = |name: &str, code: Code, versions: &[u32]| Function {
        name: name.into(),
        runtime: "python3.11".into(),
        code,
        timeout: Duration::from_secs(3),
        memory_mb: 128,
        versions: versions.to_vec(),
        aliases: Vec::new(),
        concurrency: 10,
        environment: Vec::new(),
        policy: None,
    };
    let inline = Code::PythonInline { source: "def handler(e, c): pass".into(), handler: "main.handler".into() };
    let mut mine = function("my-function", inline, &[1, 2]);
    mine.aliases = vec![("prod".into(), "1".into()), ("next".into(), LATEST.into()), ("gone".into(), "9".into())];
    mine.environment = vec![("STAGE".into(), "lab".into())];
    let functions = [function("echo", Code::Echo, &[]), mine];
    Catalog::from_functions(scope(), &functions, UnixTime::from_secs(1_440_938_160), |_| None)
}

fn named(name: &str, qualifier: Option<&str>) -> NamedFunction {
    NamedFunction::resolve(name, qualifier, &scope(), Violations::default()).unwrap()
}

const ARN: &str = "arn:aws:lambda:us-east-2:123456789012:function:my-function";

#[test]
fn qualifiers_lead_to_versions_and_the_arn_stays_as_invoked() {
    let catalog = catalog();
    let table = [
        (None, LATEST, ARN.to_owned()),
        (Some("$LATEST"), LATEST, format!("{ARN}:$LATEST")),
        (Some("1"), "1", format!("{ARN}:1")),
        (Some("prod"), "1", format!("{ARN}:prod")),
        (Some("next"), LATEST, format!("{ARN}:next")),
    ];
    for (qualifier, version, arn) in table {
        let target = catalog.resolve(&named("my-function", qualifier)).unwrap();
        assert_eq!((target.function, &*target.version, &*target.invoked_arn), (1, version, &*arn));
    }
}

#[test]
fn a_bare_name_means_a_function_of_the_callers_own_account() {
    let catalog = catalog();
    let stranger = catalog.scope_of("999999999999");
    let named = NamedFunction::resolve("my-function", None, &stranger, Violations::default()).unwrap();
    assert_eq!(&*named.arn, "arn:aws:lambda:us-east-2:999999999999:function:my-function");
    assert_eq!((catalog.function(&named), catalog.resolve(&named)), (None, None));
    assert_eq!(catalog.seen_by("999999999999").list(None, None, None).unwrap()["Functions"], json!([]));
    let own = catalog.seen_by("123456789012").list(None, None, None).unwrap();
    assert!(!own["Functions"].as_array().unwrap().is_empty());
}

#[test]
fn what_does_not_exist_does_not_resolve() {
    let catalog = catalog();
    for (name, qualifier) in [
        ("nope", None),
        ("my-function", Some("3")),
        ("my-function", Some("01")),
        ("my-function", Some("gone")),
        ("my-function", Some("$latest")),
        ("my-function", Some("$LATEST.PUBLISHED")),
        ("echo", Some("1")),
        ("arn:aws:lambda:us-east-2:999999999999:function:my-function", None),
    ] {
        assert_eq!(catalog.resolve(&named(name, qualifier)), None, "{name} {qualifier:?}");
    }
    assert_eq!(catalog.function(&named("my-function", Some("3"))), Some(1));
}

#[test]
fn a_description_is_true_and_leaves_out_what_is_not_known() {
    let catalog = catalog();
    let target = catalog.resolve(&named("my-function", Some("prod"))).unwrap();
    let sha = STANDARD.encode(sigv4::sha256(b"def handler(e, c): pass"));
    let expected = json!({
        "FunctionName": "my-function",
        "FunctionArn": format!("{ARN}:prod"),
        "Runtime": "python3.11",
        "Handler": "main.handler",
        "CodeSize": 23,
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "LastModified": "2015-08-30T12:36:00.000+0000",
        "CodeSha256": sha,
        "Version": "1",
        "Environment": { "Variables": { "STAGE": "lab" } },
        "TracingConfig": { "Mode": "PassThrough" },
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
    });
    assert_eq!(catalog.configuration(&target), expected);
    let whole = catalog.function_description(&target);
    assert_eq!(whole["Configuration"], expected);
    assert_eq!(whole["Concurrency"], json!({ "ReservedConcurrentExecutions": 10 }));
    let echo = catalog.configuration(&catalog.resolve(&named("echo", None)).unwrap());
    for absent in ["Handler", "CodeSize", "CodeSha256", "Environment", "Role"] {
        assert_eq!(echo.get(absent), None, "{absent}");
    }
}

#[test]
fn code_read_by_the_caller_is_described() {
    let functions: Vec<_> = catalog().functions.into_iter().map(|entry| entry.function).collect();
    let code = CodeSummary::of(b"code");
    let catalog = Catalog::from_functions(scope(), &functions, UnixTime::default(), |n| (n == 0).then_some(code));
    let echo = catalog.configuration(&catalog.resolve(&named("echo", None)).unwrap());
    assert_eq!((&echo["CodeSize"], &echo["CodeSha256"]), (&json!(4), &json!(STANDARD.encode(code.sha256))));
}

#[test]
fn pages_cover_every_function_once() {
    let catalog = catalog();
    let mut seen = Vec::new();
    let mut marker: Option<String> = None;
    loop {
        let page = catalog.list(Some("ALL"), marker.as_deref(), Some("1")).unwrap();
        let functions = page["Functions"].as_array().unwrap();
        assert_eq!(functions.len(), 1);
        seen.push(functions[0]["FunctionArn"].as_str().unwrap().split_once(":function:").unwrap().1.to_owned());
        match page["NextMarker"].as_str() {
            Some(next) => marker = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen, ["echo:$LATEST", "my-function:$LATEST", "my-function:1", "my-function:2"]);
    let page = catalog.list(None, None, None).unwrap();
    assert_eq!(page["Functions"].as_array().unwrap().len(), 2);
    assert_eq!((&page["Functions"][1]["FunctionArn"], &page["NextMarker"]), (&json!(ARN), &Value::Null));
}

#[test]
fn list_parameters_are_checked() {
    let catalog = catalog();
    let code = |version, marker, max| catalog.list(version, marker, max).unwrap_err().code;
    assert_eq!(code(Some("all"), None, None), "ValidationException");
    assert_eq!(code(None, None, Some("0")), "ValidationException");
    assert_eq!(code(None, None, Some("10001")), "ValidationException");
    assert_eq!(code(None, None, Some("many")), "InvalidParameterValueException");
    assert_eq!(code(None, Some("?"), None), "InvalidParameterValueException");
    let far = STANDARD.encode(usize::MAX.to_string());
    assert_eq!(catalog.list(None, Some(&far), None).unwrap()["Functions"], json!([]));
}

#[test]
fn account_settings_add_up_what_the_functions_have() {
    assert_eq!(
        catalog().account_settings(),
        json!({
            "AccountLimit": { "ConcurrentExecutions": 20, "UnreservedConcurrentExecutions": 0 },
            "AccountUsage": { "FunctionCount": 2 },
        })
    );
}
