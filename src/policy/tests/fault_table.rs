//! What is refused, where, and with which words.

use super::*;
use PolicyKind::{Endpoint, Identity, Resource};

/// Document, what is shown, kind, text, and each fault as `line:column` and a part of its words.
type Row = (&'static str, &'static str, PolicyKind, &'static str, &'static [(&'static str, &'static str)]);

const JSON: &str = "RFC 8259";
const GRAMMAR: &str = "reference_policies_grammar";
const ELEMENTS: &str = "reference_policies_elements";
const PRINCIPAL: &str = "reference_policies_elements_principal";
const OPERATORS: &str = "reference_policies_elements_condition_operators";
const VARIABLES: &str = "reference_policies_variables";
const CHECKS: &str = "access-analyzer-reference-policy-checks";
const PRIVATELINK: &str = "AWS PrivateLink Guide, vpc-endpoints-access";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // JSON.
    (JSON, "nothing", Endpoint, "", &[("1:1", "ends where a value is expected")]),
    (JSON, "not an object", Endpoint, "[]", &[("1:1", "a policy is an object, not an array")]),
    (JSON, "cut off", Endpoint, "{\"Statement\": [", &[("1:16", "ends where a value is expected")]),
    (JSON, "something behind it", Endpoint, "{\"Statement\":{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}} x", &[("1:77", "'x' where the end of the document")]),
    (JSON, "columns count characters", Identity, "{\"Id\": \"äöü😀\", x}", &[("1:16", "'x' where a name in quotes")]),
    (JSON, "typographic quotes all over", Identity, "{\u{201C}Version\u{201D}: \u{201C}2012-10-17\u{201D}}", &[("1:2", "U+201C (LEFT"), ("1:10", "U+201D (RIGHT"), ("1:13", "U+201C"), ("1:24", "U+201D"), ("1:1", "without a Statement")]),
    (JSON, "a closing quote of the wrong sort inside a line", Identity, "{\"Version\": \"2012-10-17\u{201D}, \"Statement\": []}", &[("1:24", "U+201D")]),
    (JSON, "single quotes", Identity, "{'Version': \"2012-10-17\"}", &[("1:2", "U+0027"), ("1:10", "U+0027"), ("1:1", "without a Statement")]),
    (JSON, "a no-break space", Identity, "{\u{A0}\"Id\": \"x\"}", &[("1:2", "U+00A0 (NO-BREAK SPACE) is not white space"), ("1:1", "without a Statement")]),
    (JSON, "a byte order mark", Identity, "\u{FEFF}{}", &[("1:1", "U+FEFF (BYTE ORDER MARK)"), ("1:2", "without a Statement")]),
    (JSON, "a trailing comma", Identity, "{\"Id\": \"x\",\n}", &[("1:11", "a comma before '}'"), ("1:1", "without a Statement")]),
    (JSON, "a missing comma", Identity, "{\"Id\": \"x\"\n \"Version\": 1}", &[("2:2", "'\"' where ',' or '}' is expected")]),
    (JSON, "an unknown escape", Identity, "{\"Id\": \"a\\x\"}", &[("1:10", "an escape that JSON does not know"), ("1:1", "without a Statement")]),
    (JSON, "a lone surrogate", Identity, "{\"Id\": \"\\ud800\"}", &[("1:9", "an escape that JSON does not know"), ("1:1", "without a Statement")]),
    (JSON, "a bare word", Identity, "{\"Id\": allow}", &[("1:8", "allow is not a JSON value")]),
    (JSON, "a number that is none", Identity, "{\"Id\": 01}", &[("1:8", "01 is not a number"), ("1:1", "without a Statement"), ("1:8", "Id is a number")]),
    (JSON, "too deep", Identity, "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]", &[("1:17", "nested more than 16 levels")]),
    (JSON, "the same name twice", Identity, "{\"Version\": \"2012-10-17\", \"Version\": \"2008-10-17\", \"Statement\":{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}}", &[("1:27", "\"Version\" stands twice")]),
    // Elements.
    (ELEMENTS, "an unknown version", Identity, r#"{"Version":"2020-01-01","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#, &[("1:12", "unknown Version")]),
    (ELEMENTS, "an unknown element of the policy", Identity, r#"{"Statements":[],"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#, &[("1:2", "\"Statements\" is not an element of a policy (help: did you mean \"Statement\"?)")]),
    (ELEMENTS, "an unknown element of a statement", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Comment":"x"}}"#, &[("1:59", "\"Comment\" is not an element of a statement (help: the elements are Sid")]),
    (ELEMENTS, "element names have case", Identity, r#"{"Statement":{"effect":"Deny","Action":"*","Resource":"*"}}"#, &[("1:14", "without Effect"), ("1:15", "did you mean \"Effect\"?")]),
    (ELEMENTS, "an empty list of statements", Identity, r#"{"Statement":[]}"#, &[("1:14", "without a statement")]),
    (ELEMENTS, "Effect has case", Identity, r#"{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}"#, &[("1:24", "unknown Effect")]),
    (ELEMENTS, "Action and NotAction", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","NotAction":"*","Resource":"*"}}"#, &[("1:44", "Action and NotAction exclude each other")]),
    (ELEMENTS, "Resource and NotResource", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","NotResource":"*"}}"#, &[("1:59", "exclude each other")]),
    (ELEMENTS, "Principal and NotPrincipal", Resource, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Principal":"*","NotPrincipal":"*"}}"#, &[("1:75", "exclude each other")]),
    (ELEMENTS, "nothing in a statement", Endpoint, r#"{"Statement":{}}"#, &[("1:14", "without Effect"), ("1:14", "an endpoint policy without Principal"), ("1:14", "without Action"), ("1:14", "without Resource")]),
    (GRAMMAR, "an empty list of actions", Identity, r#"{"Statement":{"Effect":"Deny","Action":[],"Resource":"*"}}"#, &[("1:40", "Action is an empty list")]),
    (GRAMMAR, "a list of something else", Identity, r#"{"Statement":{"Effect":"Deny","Action":["*",1],"Resource":null}}"#, &[("1:45", "Action lists a number"), ("1:59", "Resource is null")]),
    (CHECKS, "an action without service", Identity, r#"{"Statement":{"Effect":"Deny","Action":"InvokeFunction","Resource":"*"}}"#, &[("1:40", "\"InvokeFunction\" is not an action")]),
    (CHECKS, "a wildcard for the service of an action", Identity, r#"{"Statement":{"Effect":"Deny","Action":"lam*:Get","Resource":"*"}}"#, &[("1:40", "is not an action")]),
    ("reference_policies_elements_sid", "the same Sid twice", Identity, r#"{"Statement":[{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"}]}"#, &[("1:78", "the Sid \"a\" was given to an earlier statement")]),
    ("reference_policies_elements_sid", "a Sid of an identity policy with a space", Identity, r#"{"Statement":{"Sid":"a b","Effect":"Deny","Action":"*","Resource":"*"}}"#, &[("1:21", "only letters and digits")]),
    // Resources.
    (CHECKS, "a resource that is no ARN", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"my-function"}}"#, &[("1:55", "neither an ARN nor *")]),
    ("reference_policies_elements_resource", "a wildcard for the service of a resource", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:*:us-east-2:123456789012:x"}}"#, &[("1:55", "a wildcard for the service")]),
    ("reference-arns", "a wildcard for the partition", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"arn:*:lambda:us-east-2:123456789012:function:x"}}"#, &[("1:55", "names no partition")]),
    ("reference-arns", "an account of eleven digits", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:lambda:us-east-2:12345678901:function:x"}}"#, &[("1:55", "names no account")]),
    ("reference-arns", "an incomplete ARN outside identity policies", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"arn:aws:lambda"}}"#, &[("1:71", "fewer than six fields")]),
    // Principals.
    (PRINCIPAL, "a principal in an identity policy", Identity, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}"#, &[("1:31", "Principal in an identity policy")]),
    (PRINCIPAL, "no principal in a resource policy", Resource, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#, &[("1:14", "a resource policy without Principal")]),
    (PRINCIPAL, "a bare string", Resource, r#"{"Statement":{"Effect":"Deny","Principal":"123456789012","Action":"*","Resource":"*"}}"#, &[("1:43", "write \"Principal\": {\"AWS\": \"123456789012\"}")]),
    (PRINCIPAL, "a list", Resource, r#"{"Statement":{"Effect":"Deny","Principal":["*"],"Action":"*","Resource":"*"}}"#, &[("1:43", "Principal is an array")]),
    (PRINCIPAL, "an empty map", Resource, r#"{"Statement":{"Effect":"Deny","Principal":{},"Action":"*","Resource":"*"}}"#, &[("1:43", "names nobody")]),
    (PRINCIPAL, "an unknown kind", Resource, r#"{"Statement":{"Effect":"Deny","Principal":{"Aws":"*"},"Action":"*","Resource":"*"}}"#, &[("1:44", "\"Aws\" is not a kind of principal")]),
    (PRINCIPAL, "a wildcard inside a principal", Resource, r#"{"Statement":{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:user/My*"},"Action":"*","Resource":"*"}}"#, &[("1:50", "use Principal \"*\" and a Condition with ArnLike on aws:PrincipalArn")]),
    (PRINCIPAL, "a group", Resource, r#"{"Statement":{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:group/Devs"},"Action":"*","Resource":"*"}}"#, &[("1:50", "is not a principal")]),
    (PRINCIPAL, "a session without its name", Resource, r#"{"Statement":{"Effect":"Deny","Principal":{"AWS":"arn:aws:sts::123456789012:assumed-role/Deployer"},"Action":"*","Resource":"*"}}"#, &[("1:50", "is not a principal")]),
    (PRINCIPAL, "a variable", Resource, r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::123456789012:user/${aws:username}"},"Action":"*","Resource":"*"}}"#, &[("1:73", "is not a principal")]),
    (PRINCIPAL, "any service", Resource, r#"{"Statement":{"Effect":"Deny","Principal":{"Service":"*"},"Action":"*","Resource":"*"}}"#, &[("1:54", "named in full")]),
    ("reference_policies_elements_notprincipal", "NotPrincipal with Allow", Resource, r#"{"Statement":{"Effect":"Allow","NotPrincipal":{"AWS":"123456789012"},"Action":"*","Resource":"*"}}"#, &[("1:32", "NotPrincipal with Allow")]),
    // Conditions.
    (OPERATORS, "an unknown operator", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringMatches":{"aws:username":"x"}}}}"#, &[("1:72", "unknown condition operator \"StringMatches\"")]),
    (OPERATORS, "an operator in the wrong case", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"stringequals":{"aws:username":"x"}}}}"#, &[("1:72", "did you mean StringEquals?")]),
    (OPERATORS, "an unknown prefix", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"ForSomeValues:Bool":{"aws:username":"x"}}}}"#, &[("1:72", "the prefixes are")]),
    (OPERATORS, "NullIfExists", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NullIfExists":{"aws:username":"true"}}}}"#, &[("1:72", "Null takes neither")]),
    (OPERATORS, "a key without prefix", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"SecureTransport":"true"}}}}"#, &[("1:80", "\"SecureTransport\" is not a condition key")]),
    (OPERATORS, "values of the wrong type", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NumericEquals":{"a:b":"seven"},"DateEquals":{"a:b":"tomorrow"},"Bool":{"a:b":"yes"},"IpAddress":{"a:b":"10.0.0.0/33"},"BinaryEquals":{"a:b":"?"},"ArnLike":{"a:b":"x"},"Null":{"a:b":null},"StringEquals":{"a:b":[]}}}}"#,
        &[("1:95", "not a number"), ("1:124", "not a date"), ("1:150", "not true or false"), ("1:176", "not an address or a range"), ("1:213", "not base64"), ("1:235", "not an ARN of six fields"), ("1:254", "compared with null"), ("1:282", "an empty list")]),
    // Variables.
    (CHECKS, "a variable without closing brace", Identity, r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:lambda:*:*:function:${aws:username"}}"#, &[("1:78", "without its closing brace")]),
    (CHECKS, "an empty variable", Identity, r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:lambda:*:*:function:${}"}}"#, &[("1:78", "an empty policy variable")]),
    (CHECKS, "a space in a variable", Identity, r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:lambda:*:*:function:${aws: username}"}}"#, &[("1:78", "a space in the policy variable")]),
    (CHECKS, "a default value without quotes", Identity, r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:lambda:*:*:function:${aws:username, x}"}}"#, &[("1:78", "single quotes")]),
    (VARIABLES, "a variable before the fifth colon", Identity, r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"arn:aws:lambda:*:${aws:PrincipalAccount}:function:x"}}"#, &[("1:78", "a variable before its fifth colon")]),
    // Endpoint policies.
    (PRIVATELINK, "five characters beside a wildcard", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"Alice*"}}}}"#, &[("1:117", "at least six consecutive characters")]),
    (PRIVATELINK, "a lone wildcard", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringNotLike":{"aws:username":"*"}}}}"#, &[("1:120", "at least six consecutive characters")]),
    (PRIVATELINK, "two wildcards, the second alone", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"abcdef*?"}}}}"#, &[("1:117", "at least six consecutive characters")]),
    (PRIVATELINK, "a wildcard with aws:SourceVpc", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:SourceVpc":"vpc-ec43*"}}}}"#, &[("1:118", "cannot use wildcards with aws:SourceVpc")]),
    (PRIVATELINK, "a numeric operator with aws:PrincipalAccount", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"NumericEquals":{"aws:PrincipalAccount":"123456789012"}}}}"#, &[("1:128", "numeric operator")]),
    (PRIVATELINK, "an account that is part number, part wildcard", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"arn:aws:lambda:us-east-2:1234*:function:x","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::1234567890??:role/x"}}}}"#, &[("1:71", "part number, part wildcard"), ("1:158", "part number, part wildcard")]),
];

#[test]
fn what_aws_refuses_is_refused_with_its_place_and_all_at_once() {
    for &(document, shown, kind, text, expected) in ROWS {
        let Err(faults) = Policy::parse(kind, text) else { panic!("{document}: {shown}: accepted: {text}") };
        let found = list(&faults);
        assert_eq!(faults.len(), expected.len(), "{document}: {shown}:\n{found}");
        for (fault, (place, words)) in faults.iter().zip(expected) {
            assert_eq!(format!("{}:{}", fault.line, fault.column), *place, "{document}: {shown}:\n{found}");
            assert!(fault.to_string().contains(words), "{document}: {shown}: {words:?} in\n{found}");
        }
    }
}

/// What an endpoint policy forbids, or a strict reader might, and other policies or closer reading do not.
#[rustfmt::skip]
const FINE: &[(&str, PolicyKind, &str)] = &[
    ("five characters beside a wildcard, not in an endpoint policy", Identity, r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"A*"}}}}"#),
    ("six characters before the wildcard", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"abcdef*"}}}}"#),
    ("six characters behind the wildcard", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"*abcdef"}}}}"#),
    ("six characters between two wildcards", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"*abcdef?"}}}}"#),
    ("an escaped asterisk is no wildcard", Endpoint, r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"a${*}"}}}}"#),
    ("ARN operators need no company for wildcards", Endpoint, r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}}}"#),
    ("an empty Sid twice", Identity, r#"{"Statement":[{"Sid":"","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"","Effect":"Deny","Action":"*","Resource":"*"}]}"#),
    ("a Sid with punctuation on an endpoint", Endpoint, r#"{"Statement":{"Sid":"Access-to-one function","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}"#),
    ("a typographic quote inside a string", Endpoint, "{\"Statement\":{\"Sid\":\"\u{201C}quoted\u{201D}\",\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}}"),
    ("an Id", Resource, r#"{"Id":"default","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}"#),
];

#[test]
fn what_is_good_is_taken() {
    for (shown, kind, text) in FINE {
        if let Err(faults) = Policy::parse(*kind, text) {
            panic!("{shown}:\n{}", list(&faults));
        }
    }
}

/// AWS PrivateLink quotas; IAM quotas (`reference_iam-quotas`); Lambda quotas (`gettingstarted-limits`).
#[test]
fn documents_have_at_most_the_documented_size() {
    let statement = r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}"#;
    let padded = |size: usize| format!("{statement}{}", " ".repeat(size - statement.len()));
    assert!(Policy::parse(Endpoint, &padded(20_480)).is_ok());
    let faults = Policy::parse(Endpoint, &padded(20_481)).unwrap_err();
    assert!(faults[0].message.contains("at most 20480"), "{}", list(&faults));
    assert!(Policy::parse(Resource, &padded(20_481)).is_err());

    let statement = r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
    assert!(Policy::parse(Identity, &format!("{statement}{}", " ".repeat(30_000))).is_ok(), "white space is free");
    assert!(Policy::parse(Identity, &format!("{statement}{}", " ".repeat(200_000))).is_err(), "but not boundless");
    let long = statement.replace("\"*\"}", &format!("\"arn:aws:lambda:*:*:function:{}\"}}", "x".repeat(10_240)));
    assert!(Policy::parse(Identity, &long).is_err());
}

#[test]
fn the_list_of_faults_is_bounded() {
    let actions = vec!["\"x\""; 500].join(",");
    let text = format!(r#"{{"Statement":{{"Effect":"Deny","Action":[{actions}],"Resource":"*"}}}}"#);
    assert_eq!(Policy::parse(Identity, &text).unwrap_err().len(), 32);
}
