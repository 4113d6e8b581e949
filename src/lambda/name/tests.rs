use super::*;

const BASE: &str = "arn:aws:lambda:us-east-1:111111111111:function";

fn scope() -> Scope {
    Scope { partition: "aws".into(), region: "us-east-1".into(), account: "111111111111".into() }
}

fn resolve(name: &str, qualifier: Option<&str>) -> Result<NamedFunction, ApiError> {
    NamedFunction::resolve(name, qualifier, &scope(), Violations::default())
}

fn message(error: &ApiError) -> String {
    let body: serde_json::Value = serde_json::from_slice(&error.body).unwrap();
    body.get("message").or_else(|| body.get("Message")).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn accepted_forms_lead_to_one_arn() {
    let table: &[(&str, Option<&str>, &str)] = &[
        ("f", None, "f"),
        ("f", Some("1"), "f:1"),
        ("f:1", None, "f:1"),
        ("f:1", Some("1"), "f:1"),
        ("f:$LATEST", None, "f:$LATEST"),
        ("f", Some("$latest"), "f:$latest"),
        ("f", Some("$LATEST.PUBLISHED"), "f:$LATEST.PUBLISHED"),
        ("my.function_name-1", None, "my.function_name-1"),
        ("function:f", None, "f"),
        ("function:f:prod", None, "f:prod"),
        ("function:$LATEST", None, "function:$LATEST"),
        ("function", None, "function"),
        ("function:function:function", None, "function:function"),
        ("111111111111:function:f", None, "f"),
        ("111111111111:f", None, "f"),
        ("111111111111", None, "111111111111"),
        ("us-east-1:111111111111:function:f:2", None, "f:2"),
        ("us-east-1:f", None, "f"),
        ("us-east-1", None, "us-east-1"),
        ("arn:aws:lambda:us-east-1:111111111111:function:f", None, "f"),
        ("arn:aws:lambda:us-east-1:111111111111:function:f:$LATEST", Some("$LATEST"), "f:$LATEST"),
        ("arn::lambda:us-east-1:111111111111:function:f", None, "f"),
        // Recorded: an incomplete ARN is a function named "function".
        ("arn:aws:lambda:us-east-1:111111111111:function", None, "function"),
    ];
    for (name, qualifier, expected) in table {
        let found = resolve(name, *qualifier).unwrap_or_else(|error| panic!("{name}: {}", message(&error)));
        assert_eq!(*found.arn, format!("{BASE}:{expected}"), "{name}");
    }
    let other = resolve("arn:aws:lambda:us-east-1:222222222222:function:f", None).unwrap();
    assert_eq!((other.account.as_str(), other.qualifier), ("222222222222", None));
}

#[test]
fn names_outside_the_pattern_are_refused_with_the_pattern() {
    let table = [
        "",
        "a b",
        "f:",
        "f:$LATES",
        "f:1:2",
        ":f",
        "f\u{fffd}",
        "arn:aws:s3:us-east-1:111111111111:function:f",
        "arn:aws:lambda:111111111111:function:f",
        "arn:aws:lambda:us-east-1:function:f",
        "arn:aws:lambda:us-east-1:111111111111:function:f:1:2",
        "arn:aws:lambda:us-east-1:111111111111:function:f:$latest",
        "arn:aw:lambda:us-east-1:111111111111:function:f",
        "1111111111111:function:f:1",
    ];
    for name in table {
        let error = resolve(name, None).unwrap_err();
        assert_eq!((error.status, error.code), (400, "ValidationException"), "{name}");
        assert_eq!(
            message(&error),
            format!(
                "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must \
                 satisfy regular expression pattern: {NAME_PATTERN}"
            )
        );
    }
}

#[test]
fn what_is_wrong_with_both_is_said_in_one_answer_qualifier_first() {
    let error = resolve("f:1:2", Some("a b")).unwrap_err();
    assert_eq!(
        message(&error),
        format!(
            "2 validation errors detected: Value 'a b' at 'qualifier' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: {QUALIFIER_PATTERN}; Value 'f:1:2' at 'functionName' failed to satisfy \
             constraint: Member must satisfy regular expression pattern: {NAME_PATTERN}"
        )
    );
}

#[test]
fn lengths_are_bounded_and_the_longest_name_is_still_a_name() {
    assert!(resolve(&"n".repeat(256), Some(&"q".repeat(128))).is_ok());
    let error = resolve(&"n".repeat(257), Some(&"q".repeat(129))).unwrap_err();
    let text = message(&error);
    assert!(text.starts_with("2 validation errors detected: Value 'qqq"), "{text}");
    assert!(
        text.contains(
            "at 'qualifier' failed to satisfy constraint: Member must have length less than or equal to 128;"
        )
    );
    assert!(text.ends_with(
        "at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 256"
    ));
    assert!(
        message(&resolve("f", Some("")).unwrap_err()).contains("Member must have length greater than or equal to 1")
    );
}

#[test]
fn an_arn_of_another_region_is_not_reachable() {
    let error = resolve("arn:aws:lambda:us-west-2:111111111111:function:f", None).unwrap_err();
    assert_eq!(error, ApiError::other_region("us-west-2", "us-east-1"));
    assert_eq!(resolve("us-gov-west-1:f", None).unwrap_err(), ApiError::other_region("us-gov-west-1", "us-east-1"));
}

#[test]
fn two_qualifiers_must_agree() {
    assert_eq!(resolve("f:1", Some("2")).unwrap_err(), ApiError::qualifier_mismatch());
    assert_eq!(resolve("f:$LATEST", Some("1")).unwrap_err(), ApiError::qualifier_mismatch());
}

#[test]
fn regions_of_every_partition_are_regions() {
    for region in ["us-east-2", "us-gov-west-1", "us-iso-east-1", "us-isob-east-1", "eusc-de-east-1", "cn-north-1"] {
        assert!(is_region(region), "{region}");
    }
    for other in [
        "",
        "us",
        "us-east",
        "us-east-22",
        "us-east-x",
        "US-east-1",
        "us-isoob-east-1",
        "us-mil-east-1",
        "us--1",
        "us-gov-east-1-1",
    ] {
        assert!(!is_region(other), "{other}");
    }
}

#[test]
fn the_missing_qualifier_is_latest_in_the_arn_of_a_missing_function() {
    assert_eq!(with_qualifier(&resolve("f", None).unwrap().arn), format!("{BASE}:f:$LATEST"));
    assert_eq!(with_qualifier(&resolve("f:1", None).unwrap().arn), format!("{BASE}:f:1"));
}
