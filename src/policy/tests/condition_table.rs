//! Conditions: does the block hold for Alice's request in the context of [`CONTEXT`]?

use super::*;

/// Document, what is shown, condition block, whether it holds.
type Row = (&'static str, &'static str, &'static str, bool);

const OPERATORS: &str = "reference_policies_elements_condition_operators";
const LOGIC: &str = "reference_policies_condition-logic-multiple-context-keys-or-values";
const SETS: &str = "reference_policies_condition-single-vs-multi-valued-context-keys";
const KEYS: &str = "reference_policies_condition-keys";
const VARIABLES: &str = "reference_policies_variables";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Strings.
    (OPERATORS, "StringEquals", r#"{"StringEquals":{"aws:SourceVpc":"vpc-ec43eb89"}}"#, true),
    (OPERATORS, "StringEquals has case", r#"{"StringEquals":{"aws:username":"alice"}}"#, false),
    (OPERATORS, "StringEquals takes no wildcard", r#"{"StringEquals":{"aws:username":"Al*"}}"#, false),
    (OPERATORS, "StringEqualsIgnoreCase", r#"{"StringEqualsIgnoreCase":{"aws:username":"aLICE"}}"#, true),
    (OPERATORS, "StringNotEqualsIgnoreCase", r#"{"StringNotEqualsIgnoreCase":{"aws:username":"aLICE"}}"#, false),
    (OPERATORS, "StringNotEquals", r#"{"StringNotEquals":{"aws:username":"Bob"}}"#, true),
    (OPERATORS, "StringLike *", r#"{"StringLike":{"aws:UserAgent":"aws-cli/*"}}"#, true),
    (OPERATORS, "StringLike ?", r#"{"StringLike":{"aws:username":"Alic?"}}"#, true),
    (OPERATORS, "StringLike has case", r#"{"StringLike":{"aws:username":"al*"}}"#, false),
    (OPERATORS, "StringLike without wildcard matches all of the value", r#"{"StringLike":{"aws:username":"Ali"}}"#, false),
    (OPERATORS, "StringNotLike", r#"{"StringNotLike":{"aws:username":"A*"}}"#, false),
    (OPERATORS, "StringLike ignores the structure of an ARN", r#"{"StringLike":{"aws:PrincipalArn":"arn:*:user/Alice"}}"#, true),
    // Several values, keys and operators.
    (LOGIC, "several values are an OR", r#"{"StringEquals":{"aws:username":["Bob","Alice"]}}"#, true),
    (LOGIC, "several values of a negated operator are a NOR", r#"{"StringNotEquals":{"aws:username":["Bob","Alice"]}}"#, false),
    (LOGIC, "NOR, none of them", r#"{"StringNotEquals":{"aws:username":["Bob","Carol"]}}"#, true),
    (LOGIC, "NOR of StringNotLike", r#"{"StringNotLike":{"aws:username":["B*","A*"]}}"#, false),
    (LOGIC, "NOR of NotIpAddress", r#"{"NotIpAddress":{"aws:VpcSourceIp":["192.168.0.0/16","10.0.0.0/16"]}}"#, false),
    (LOGIC, "NOR of NumericNotEquals", r#"{"NumericNotEquals":{"aws:PrincipalTag/level":["6","7"]}}"#, false),
    (LOGIC, "several keys are an AND", r#"{"StringEquals":{"aws:username":"Alice","aws:SourceVpc":"vpc-other"}}"#, false),
    (LOGIC, "several operators are an AND", r#"{"StringEquals":{"aws:username":"Alice"},"Bool":{"aws:SecureTransport":"false"}}"#, false),
    (LOGIC, "all of them", r#"{"StringEquals":{"aws:username":"Alice","aws:SourceVpc":"vpc-ec43eb89"},"Bool":{"aws:SecureTransport":"true"}}"#, true),
    ("reference_policies_elements_condition", "key names have no case", r#"{"StringEquals":{"AWS:sourcevpc":"vpc-ec43eb89"}}"#, true),
    // Absent keys.
    (OPERATORS, "an absent key makes it false", r#"{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#, false),
    (OPERATORS, "an absent key and a wildcard", r#"{"StringLike":{"aws:PrincipalOrgID":"*"}}"#, false),
    (OPERATORS, "an absent key makes a negated operator true", r#"{"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}}"#, true),
    (OPERATORS, "StringNotLike, absent", r#"{"StringNotLike":{"aws:PrincipalOrgID":"o-*"}}"#, true),
    (OPERATORS, "ArnNotLike, absent", r#"{"ArnNotLike":{"aws:Absent":"arn:aws:iam::*:role/x"}}"#, true),
    (OPERATORS, "Bool, absent", r#"{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#, false),
    (OPERATORS, "BoolIfExists, absent", r#"{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}"#, true),
    (OPERATORS, "IfExists, present and different", r#"{"StringEqualsIfExists":{"aws:username":"Bob"}}"#, false),
    (OPERATORS, "IfExists, present and equal", r#"{"StringEqualsIfExists":{"aws:username":"Alice"}}"#, true),
    (OPERATORS, "negated IfExists, absent", r#"{"StringNotEqualsIfExists":{"aws:PrincipalOrgID":"o-1"}}"#, true),
    (OPERATORS, "Null true, absent", r#"{"Null":{"aws:TokenIssueTime":"true"}}"#, true),
    (OPERATORS, "Null false, absent", r#"{"Null":{"aws:TokenIssueTime":"false"}}"#, false),
    (OPERATORS, "Null false, present", r#"{"Null":{"aws:username":"false"}}"#, true),
    (OPERATORS, "Null takes a JSON boolean", r#"{"Null":{"aws:username":true}}"#, false),
    (OPERATORS, "a key without values is absent", r#"{"Null":{"aws:RequestTag/none":"true"}}"#, true),
    // Through a VPC endpoint.
    (KEYS, "aws:SourceIp is absent through an endpoint", r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#, false),
    (KEYS, "so NotIpAddress aws:SourceIp holds", r#"{"NotIpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#, true),
    (KEYS, "and NotIpAddressIfExists as well", r#"{"NotIpAddressIfExists":{"aws:SourceIp":"0.0.0.0/0"}}"#, true),
    (KEYS, "aws:SourceVpce", r#"{"StringEquals":{"aws:SourceVpce":"vpce-0123456789abcdef0"}}"#, true),
    (KEYS, "aws:SourceVpcArn", r#"{"ArnLike":{"aws:SourceVpcArn":"arn:aws:ec2:*:123456789012:vpc/*"}}"#, true),
    (KEYS, "aws:VpceAccount", r#"{"StringEquals":{"aws:VpceAccount":"123456789012"}}"#, true),
    (KEYS, "aws:VpcSourceIp", r#"{"IpAddress":{"aws:VpcSourceIp":"10.0.1.0/24"}}"#, true),
    (KEYS, "aws:PrincipalAccount", r#"{"StringEquals":{"aws:PrincipalAccount":"123456789012"}}"#, true),
    (KEYS, "aws:PrincipalType", r#"{"StringEquals":{"aws:PrincipalType":"User"}}"#, true),
    (KEYS, "aws:userid", r#"{"StringEquals":{"aws:userid":"AIDAALICE"}}"#, true),
    (KEYS, "aws:RequestedRegion", r#"{"StringEquals":{"aws:RequestedRegion":["us-east-2","us-west-2"]}}"#, true),
    (KEYS, "aws:ResourceAccount", r#"{"StringEquals":{"aws:ResourceAccount":"123456789012"}}"#, true),
    (KEYS, "aws:ViaAWSService", r#"{"Bool":{"aws:ViaAWSService":"false"}}"#, true),
    ("Service Authorization Reference, AWS Lambda", "lambda:FunctionArn", r#"{"ArnLike":{"lambda:FunctionArn":"arn:aws:lambda:*:*:function:my-*"}}"#, true),
    // Numbers.
    (OPERATORS, "NumericEquals compares numbers", r#"{"NumericEquals":{"aws:PrincipalTag/level":"7.0"}}"#, true),
    (OPERATORS, "NumericEquals takes a JSON number", r#"{"NumericEquals":{"aws:PrincipalTag/level":7}}"#, true),
    (OPERATORS, "NumericLessThan", r#"{"NumericLessThan":{"aws:PrincipalTag/level":"10"}}"#, true),
    (OPERATORS, "NumericLessThan, equal", r#"{"NumericLessThan":{"aws:PrincipalTag/level":"7"}}"#, false),
    (OPERATORS, "NumericLessThanEquals", r#"{"NumericLessThanEquals":{"aws:PrincipalTag/level":"7"}}"#, true),
    (OPERATORS, "NumericGreaterThan", r#"{"NumericGreaterThan":{"aws:PrincipalTag/level":"-7"}}"#, true),
    (OPERATORS, "NumericGreaterThanEquals", r#"{"NumericGreaterThanEquals":{"aws:PrincipalTag/level":"7.01"}}"#, false),
    (OPERATORS, "a value that is no number matches none", r#"{"NumericEquals":{"aws:username":"7"}}"#, false),
    // Dates: it is 2015-08-30T12:36:00Z.
    (OPERATORS, "DateGreaterThan", r#"{"DateGreaterThan":{"aws:CurrentTime":"2015-08-30T12:35:59Z"}}"#, true),
    (OPERATORS, "DateGreaterThan, the same instant", r#"{"DateGreaterThan":{"aws:CurrentTime":"2015-08-30T12:36:00Z"}}"#, false),
    (OPERATORS, "DateGreaterThanEquals", r#"{"DateGreaterThanEquals":{"aws:CurrentTime":"2015-08-30T12:36:00Z"}}"#, true),
    (OPERATORS, "DateLessThan, a date alone", r#"{"DateLessThan":{"aws:CurrentTime":"2015-08-31"}}"#, true),
    (OPERATORS, "DateLessThanEquals, with a zone", r#"{"DateLessThanEquals":{"aws:CurrentTime":"2015-08-30T21:36:00+09:00"}}"#, true),
    (OPERATORS, "DateEquals in epoch seconds", r#"{"DateEquals":{"aws:EpochTime":"1440938160"}}"#, true),
    (OPERATORS, "DateNotEquals", r#"{"DateNotEquals":{"aws:CurrentTime":"2015-08-30T12:36:00Z"}}"#, false),
    (KEYS, "aws:EpochTime is a number too", r#"{"NumericGreaterThan":{"aws:EpochTime":1440938159}}"#, true),
    ("reference_policies_examples_aws-dates", "between two dates", r#"{"DateGreaterThan":{"aws:CurrentTime":"2015-08-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2015-08-30T23:59:59Z"}}"#, true),
    // Booleans, bytes, addresses.
    (OPERATORS, "Bool", r#"{"Bool":{"aws:SecureTransport":"true"}}"#, true),
    (OPERATORS, "Bool takes a JSON boolean", r#"{"Bool":{"aws:SecureTransport":true}}"#, true),
    (OPERATORS, "Bool, the other one", r#"{"Bool":{"aws:SecureTransport":"false"}}"#, false),
    (OPERATORS, "BinaryEquals", r#"{"BinaryEquals":{"aws:PrincipalTag/blob":"QmluYXJ5VmFsdWVJbkJhc2U2NA=="}}"#, true),
    (OPERATORS, "BinaryEquals, other bytes", r#"{"BinaryEquals":{"aws:PrincipalTag/blob":"QUJD"}}"#, false),
    (OPERATORS, "IpAddress without a prefix is one address", r#"{"IpAddress":{"aws:VpcSourceIp":"10.0.1.10"}}"#, true),
    (OPERATORS, "IpAddress outside the range", r#"{"IpAddress":{"aws:VpcSourceIp":"10.0.2.0/24"}}"#, false),
    (OPERATORS, "IpAddress of the other family", r#"{"IpAddress":{"aws:VpcSourceIp":"::/0"}}"#, false),
    (OPERATORS, "NotIpAddress", r#"{"NotIpAddress":{"aws:VpcSourceIp":"10.0.2.0/24"}}"#, true),
    // ARNs.
    (OPERATORS, "ArnEquals", r#"{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/Alice"}}"#, true),
    (OPERATORS, "ArnEquals takes wildcards, as ArnLike", r#"{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::*:user/A*"}}"#, true),
    (OPERATORS, "ArnLike", r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/?lice"}}"#, true),
    (OPERATORS, "a wildcard stays in its field", r#"{"ArnLike":{"aws:SourceArn":"arn:aws:sns:*:topic:with:colons"}}"#, false),
    (OPERATORS, "StringLike's does not", r#"{"StringLike":{"aws:SourceArn":"arn:aws:sns:*:topic:with:colons"}}"#, true),
    (OPERATORS, "a wildcard in one of the first five fields stays there", r#"{"ArnLike":{"aws:SourceArn":"arn:aws:sns:*:topic:*:*:*"}}"#, false),
    (OPERATORS, "the sixth field holds the rest, colons and all", r#"{"ArnLike":{"aws:SourceArn":"arn:aws:sns:*:*:topic*"}}"#, true),
    (OPERATORS, "ArnNotEquals", r#"{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::*:user/A*"}}"#, false),
    (OPERATORS, "ArnNotLike", r#"{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}"#, true),
    (OPERATORS, "a value that is no ARN", r#"{"ArnLike":{"aws:username":"arn:*:*:*:*:*"}}"#, false),
    // Sets.
    (SETS, "ForAnyValue, one of them", r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":["owner","project"]}}"#, true),
    (SETS, "ForAnyValue, none of them", r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":["project"]}}"#, false),
    (SETS, "ForAnyValue, absent", r#"{"ForAnyValue:StringEquals":{"aws:Absent":["project"]}}"#, false),
    (SETS, "ForAnyValue, negated: some value differs", r#"{"ForAnyValue:StringNotEquals":{"aws:TagKeys":["owner"]}}"#, true),
    (SETS, "ForAnyValue, negated: no value differs", r#"{"ForAnyValue:StringNotEquals":{"aws:TagKeys":["owner","cost"]}}"#, false),
    (SETS, "ForAllValues, all listed", r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["owner","cost","project"]}}"#, true),
    (SETS, "ForAllValues, one not listed", r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["owner"]}}"#, false),
    (SETS, "ForAllValues, absent", r#"{"ForAllValues:StringEquals":{"aws:Absent":["project"]}}"#, true),
    (SETS, "ForAllValues, empty string", r#"{"ForAllValues:StringEquals":{"aws:PrincipalTag/empty":["project"]}}"#, true),
    (SETS, "ForAllValues, negated", r#"{"ForAllValues:StringNotEquals":{"aws:TagKeys":["project"]}}"#, true),
    (SETS, "ForAllValues, negated, one listed", r#"{"ForAllValues:StringNotEquals":{"aws:TagKeys":["project","cost"]}}"#, false),
    (SETS, "ForAllValues and Null together refuse the absent key", r#"{"ForAllValues:StringEquals":{"aws:Absent":["project"]},"Null":{"aws:Absent":"false"}}"#, false),
    (SETS, "ForAnyValue with IfExists, absent", r#"{"ForAnyValue:StringLikeIfExists":{"aws:Absent":["project"]}}"#, true),
    // Variables.
    (VARIABLES, "a variable as a value", r#"{"StringEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/${aws:username}"}}"#, true),
    (VARIABLES, "a variable in StringLike", r#"{"StringLike":{"aws:PrincipalArn":"arn:aws:iam::*/${aws:username}"}}"#, true),
    (VARIABLES, "a variable in ArnLike", r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::${aws:PrincipalAccount}:user/*"}}"#, true),
    (VARIABLES, "a variable's value ignores case where the operator does", r#"{"StringEqualsIgnoreCase":{"aws:username":"${aws:username}"}}"#, true),
    (VARIABLES, "a variable without value is like nothing", r#"{"StringLike":{"aws:username":"${aws:PrincipalTag/none}*"}}"#, false),
    (VARIABLES, "an inverted operator matches against a variable without value", r#"{"StringNotEquals":{"aws:username":"${aws:PrincipalTag/none}"}}"#, true),
    (VARIABLES, "a variable's asterisk is no wildcard", r#"{"StringLike":{"aws:username":"${aws:PrincipalTag/star}"}}"#, false),
    (VARIABLES, "a default value", r#"{"StringEquals":{"aws:username":"${aws:PrincipalTag/none, 'Alice'}"}}"#, true),
];

#[test]
fn condition_blocks_hold_as_documented() {
    for &(document, shown, block, expected) in ROWS {
        let statement = format!(r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {block}}}"#);
        let outcome = allowed_by(&[identity(&statement)], &request(ALICE, INVOKE, FUNCTION));
        assert_eq!(outcome, expected, "{document}: {shown}");
    }
}

/// `reference_policies_variables`, principal key values.
#[test]
fn the_keys_of_the_caller_depend_on_what_it_is() {
    let text = |caller, key: &str| {
        let values = request(caller, INVOKE, FUNCTION).values(key);
        values.iter().map(|value| value.text().into_owned()).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(text(SESSION, "aws:PrincipalArn"), ["arn:aws:iam::123456789012:role/Deployer"]);
    assert_eq!(text(SESSION, "aws:PrincipalType"), ["AssumedRole"]);
    assert_eq!(text(SESSION, "aws:userid"), ["AROADEPLOYER:ci"]);
    assert_eq!(text(SESSION, "aws:username"), none);
    assert_eq!(text(ROOT, "aws:PrincipalType"), ["Account"]);
    assert_eq!(text(ROOT, "aws:userid"), ["123456789012"]);
    assert_eq!(text(ALICE, "AWS:USERNAME"), ["Alice"]);
    assert_eq!(text(ALICE, "aws:CurrentTime"), ["2015-08-30T12:36:00Z"]);
    assert_eq!(text(ALICE, "aws:EpochTime"), ["1440938160"]);
    assert_eq!(text(ALICE, "aws:SourceIp"), none);
    assert_eq!(text(ALICE, "aws:tagkeys"), ["cost", "owner"]);
}
