//! Statements of an identity policy: action, resource and variables, one request each.

use super::*;

/// Document, what is shown, statement, action, resource, whether it allows.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, bool);

const ACTION: &str = "reference_policies_elements_action";
const NOT_ACTION: &str = "reference_policies_elements_notaction";
const RESOURCE: &str = "reference_policies_elements_resource";
const NOT_RESOURCE: &str = "reference_policies_elements_notresource";
const ARNS: &str = "reference-arns";
const VARIABLES: &str = "reference_policies_variables";
const LAMBDA: &str = "Lambda Developer Guide, lambda-api-permissions-ref";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (ACTION, "an exact action", r#"{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (ACTION, "another action", r#"{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"*"}"#, "lambda:GetFunction", FUNCTION, false),
    (ACTION, "prefix and name have no case", r#"{"Effect":"Allow","Action":"LAMBDA:invokefunction","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (ACTION, "no case under a wildcard either", r#"{"Effect":"Allow","Action":"lambda:INVOKE*","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (ACTION, "all actions", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (ACTION, "all actions of a service", r#"{"Effect":"Allow","Action":"lambda:*","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (ACTION, "all actions of another service", r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#, INVOKE, FUNCTION, false),
    (ACTION, "* in the middle", r#"{"Effect":"Allow","Action":"lambda:*Function","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (ACTION, "* matches nothing at all too", r#"{"Effect":"Allow","Action":"lambda:Invoke*Function","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (ACTION, "? is one character", r#"{"Effect":"Allow","Action":"lambda:Invoke?unction","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (ACTION, "? is not none", r#"{"Effect":"Allow","Action":"lambda:InvokeFunction?","Resource":"*"}"#, INVOKE, FUNCTION, false),
    (ACTION, "the whole name must match", r#"{"Effect":"Allow","Action":"lambda:Invoke","Resource":"*"}"#, INVOKE, FUNCTION, false),
    (ACTION, "one of a list", r#"{"Effect":"Allow","Action":["s3:GetObject","lambda:InvokeFunction"],"Resource":"*"}"#, INVOKE, FUNCTION, true),
    (NOT_ACTION, "every action but one", r#"{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}"#, INVOKE, FUNCTION, true),
    (NOT_ACTION, "that one", r#"{"Effect":"Allow","NotAction":"lambda:Invoke*","Resource":"*"}"#, INVOKE, FUNCTION, false),
    (NOT_ACTION, "any of a list excludes", r#"{"Effect":"Allow","NotAction":["iam:*","lambda:*"],"Resource":"*"}"#, INVOKE, FUNCTION, false),
    (RESOURCE, "an exact ARN", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my-function"}"#, INVOKE, FUNCTION, true),
    (RESOURCE, "names have case", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:My-Function"}"#, INVOKE, FUNCTION, false),
    (LAMBDA, "an unqualified ARN does not cover a version", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my-function"}"#, INVOKE, VERSION_1, false),
    (LAMBDA, "a version does not cover the unqualified ARN", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my-function:1"}"#, INVOKE, FUNCTION, false),
    (LAMBDA, ":* covers every version", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my-function:*"}"#, INVOKE, VERSION_1, true),
    (LAMBDA, ":* does not cover the unqualified ARN", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my-function:*"}"#, INVOKE, FUNCTION, false),
    (LAMBDA, "both, as the guide says to list", r#"{"Effect":"Allow","Action":"*","Resource":["arn:aws:lambda:us-east-2:123456789012:function:my-function","arn:aws:lambda:us-east-2:123456789012:function:my-function:*"]}"#, INVOKE, FUNCTION, true),
    (RESOURCE, "* at the end of a segment reaches past colons", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my*"}"#, INVOKE, VERSION_1, true),
    (RESOURCE, "* that is a segment reaches past colons", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:*:function:my-function"}"#, INVOKE, FUNCTION, true),
    (RESOURCE, "* inside a segment stays in it", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my*1"}"#, INVOKE, VERSION_1, false),
    (RESOURCE, "* inside a segment", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my*ion"}"#, INVOKE, FUNCTION, true),
    (RESOURCE, "? is not a colon", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my-function?1"}"#, INVOKE, VERSION_1, false),
    (RESOURCE, "? inside a segment", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-?:123456789012:function:my-function"}"#, INVOKE, FUNCTION, true),
    (RESOURCE, "* for region and account", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:*:*:function:hello"}"#, INVOKE, HELLO, true),
    (RESOURCE, "another region", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-1:*:function:hello"}"#, INVOKE, HELLO, false),
    (RESOURCE, "an action without a resource wants *", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:*"}"#, "lambda:ListFunctions", "*", false),
    (RESOURCE, "an action without a resource and *", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#, "lambda:ListFunctions", "*", true),
    (ARNS, "an incomplete ARN is completed with *", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda"}"#, INVOKE, VERSION_1, true),
    (ARNS, "an incomplete ARN of another region", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-1"}"#, INVOKE, VERSION_1, false),
    (NOT_RESOURCE, "every resource but one", r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:lambda:us-east-2:123456789012:function:hello"}"#, INVOKE, FUNCTION, true),
    (NOT_RESOURCE, "that one", r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:lambda:us-east-2:123456789012:function:hello"}"#, INVOKE, HELLO, false),
    (VARIABLES, "a variable in Resource", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${aws:PrincipalTag/team}"}"#, INVOKE, FUNCTION, true),
    (VARIABLES, "a variable with another value", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${aws:PrincipalTag/team}"}"#, INVOKE, HELLO, false),
    (VARIABLES, "names of variables have no case", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${AWS:principaltag/TEAM}"}"#, INVOKE, FUNCTION, true),
    (VARIABLES, "variable and wildcard together", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:*:*:function:${aws:PrincipalTag/team}:*"}"#, INVOKE, VERSION_1, true),
    (VARIABLES, "a variable without value matches nothing", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my-function${aws:PrincipalTag/none}"}"#, INVOKE, FUNCTION, false),
    (VARIABLES, "nor does one with the empty string", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my-function${aws:PrincipalTag/empty}"}"#, INVOKE, FUNCTION, false),
    (VARIABLES, "a variable without value in NotResource excludes nothing", r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:lambda:us-east-2:123456789012:function:${aws:PrincipalTag/none}"}"#, INVOKE, FUNCTION, true),
    (VARIABLES, "the value * is no wildcard", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${aws:PrincipalTag/star}"}"#, INVOKE, FUNCTION, false),
    (VARIABLES, "a default value is used where there is none", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${aws:PrincipalTag/none, 'hello'}"}"#, INVOKE, HELLO, true),
    (VARIABLES, "a default value is not used where there is one", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${aws:PrincipalTag/team, 'hello'}"}"#, INVOKE, HELLO, false),
    (VARIABLES, "a multivalued key is no variable", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${aws:TagKeys}"}"#, INVOKE, "arn:aws:lambda:us-east-2:123456789012:function:cost", false),
    (VARIABLES, "${*} is an asterisk", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${*}"}"#, INVOKE, "arn:aws:lambda:us-east-2:123456789012:function:*", true),
    (VARIABLES, "${*} is not a wildcard", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:${*}"}"#, INVOKE, HELLO, false),
    (VARIABLES, "${?} is a question mark", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:hell${?}"}"#, INVOKE, HELLO, false),
    (VARIABLES, "${$} is a dollar sign", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:hello:${$}LATEST"}"#, INVOKE, "arn:aws:lambda:us-east-2:123456789012:function:hello:$LATEST", true),
    (VARIABLES, "a plain $ is a dollar sign too", r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:lambda:us-east-2:123456789012:function:hello:$LATEST"}"#, INVOKE, "arn:aws:lambda:us-east-2:123456789012:function:hello:$LATEST", true),
    ("reference_policies_elements_effect", "a Deny alone allows nothing", r#"{"Effect":"Deny","Action":"s3:*","Resource":"*"}"#, INVOKE, FUNCTION, false),
    ("reference_policies_elements_statement", "any statement of a list may allow", r#"[{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Allow","Action":"lambda:*","Resource":"*"}]"#, INVOKE, FUNCTION, true),
    ("reference_policies_evaluation-logic", "a Deny behind an Allow wins", r#"[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"lambda:*","Resource":"*"}]"#, INVOKE, FUNCTION, false),
    ("reference_policies_evaluation-logic", "a Deny before an Allow wins", r#"[{"Effect":"Deny","Action":"lambda:*","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}]"#, INVOKE, FUNCTION, false),
    ("reference_policies_evaluation-logic", "a Deny of something else does not", r#"[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"lambda:*","Resource":"arn:aws:lambda:*:*:function:hello"}]"#, INVOKE, FUNCTION, true),
    ("reference_policies_grammar", "JSON escapes in names and values mean what they stand for", r#"{"\u0053id":"a\u0062c","Effect":"Allow","Action":"lambda\u003aInvokeFunction","Resource":"arn:aws:lambda:us-east-2:123456789012:function:my\u002dfunction"}"#, INVOKE, FUNCTION, true),
    ("reference_policies_elements_condition", "an empty Condition holds", r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{}}"#, INVOKE, FUNCTION, true),
];

#[test]
fn statements_match_actions_and_resources_as_documented() {
    for &(document, shown, statement, action, resource, expected) in ROWS {
        let outcome = allowed_by(&[identity(statement)], &request(ALICE, action, resource));
        assert_eq!(outcome, expected, "{document}: {shown}");
    }
}

#[test]
fn without_the_version_of_2012_a_variable_is_text() {
    let resource = r#"arn:aws:lambda:us-east-2:123456789012:function:${aws:username}"#;
    let statement = format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "{resource}"}}"#);
    let alices = "arn:aws:lambda:us-east-2:123456789012:function:Alice";
    for (version, variables) in
        [("", false), (r#""Version": "2008-10-17","#, false), (r#""Version": "2012-10-17","#, true)]
    {
        let text = format!(r#"{{{version} "Statement": {statement}}}"#);
        let policies = [policy(PolicyKind::Identity, &text)];
        assert_eq!(allowed_by(&policies, &request(ALICE, INVOKE, alices)), variables, "{text}");
        assert_eq!(allowed_by(&policies, &request(ALICE, INVOKE, resource)), !variables, "{text}");
    }
}

#[test]
fn the_version_counts_wherever_it_stands() {
    let text = r#"{"Statement": {"Effect": "Allow", "Action": "*",
        "Resource": "arn:aws:lambda:*:*:function:${aws:username}"}, "Version": "2012-10-17"}"#;
    let policies = [policy(PolicyKind::Identity, text)];
    let alices = "arn:aws:lambda:us-east-2:123456789012:function:Alice";
    assert!(allowed_by(&policies, &request(ALICE, INVOKE, alices)));
}
