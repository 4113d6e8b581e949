"""Provokes every error that a client can: of the Lambda API through boto3, of signatures mostly by hand.

`errors.py [CASE…]` runs only the named cases.
"""

import sys

from botocore.credentials import Credentials

from common import Lambda, arn, credentials, raw, report, sha256, signed

INVOKE = "/2015-03-31/functions/hello/invocations"
SYNC_LIMIT = 6_291_456
EVENT_LIMIT = 1_048_576


def invoke(**parameters):
    return Lambda().call("invoke", **parameters)


def json_of(size):
    """A JSON string of exactly `size` bytes."""
    return b'"' + b"x" * (size - 2) + b'"'


def by_hand(method="POST", path=INVOKE, body=b"{}", change=lambda headers: headers, **signing):
    """A request signed by botocore's signer, its headers changed after that."""
    return raw(method, path, body, change(signed(method, path, body, **signing)))


def authorization(old, new):
    """Changes a piece of the Authorization header."""

    def change(headers):
        found = dict(headers)
        assert old in found["Authorization"], (old, found["Authorization"])
        found["Authorization"] = found["Authorization"].replace(old, new)
        return list(found.items())

    return change


def without(name):
    return lambda headers: [pair for pair in headers if pair[0].lower() != name]


def added(name, value):
    return lambda headers: [*headers, (name, value)]


def other_scope_date(headers):
    day = dict(headers)["X-Amz-Date"][:8]
    return authorization(f"/{day}/", "/20150830/")(headers)


def wrong_secret():
    keys = credentials()
    aws = Lambda(aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key[::-1], aws_session_token=keys.token)
    return aws.call("invoke", FunctionName="hello")


def unknown_key():
    aws = Lambda(aws_access_key_id="AKIAI44QH8DHBEXAMPLE", aws_secret_access_key="je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY")
    return aws.call("invoke", FunctionName="hello")


def unexpected_token():
    keys = credentials()
    aws = Lambda(aws_access_key_id=keys.access_key, aws_secret_access_key=keys.secret_key, aws_session_token="not/the+token==")
    return aws.call("invoke", FunctionName="hello")


CASES = {
    # The Lambda API: names and qualifiers.
    "function_not_found": lambda: invoke(FunctionName="no-such-function"),
    "function_not_found_arn": lambda: invoke(FunctionName=arn("no-such-function")),
    "get_function_not_found": lambda: Lambda().call("get_function", FunctionName="no-such-function"),
    "version_not_found": lambda: invoke(FunctionName="my-function", Qualifier="99"),
    "alias_not_found": lambda: invoke(FunctionName="my-function", Qualifier="no-such-alias"),
    "lower_case_latest": lambda: invoke(FunctionName="hello", Qualifier="$latest"),
    "other_region": lambda: invoke(FunctionName=arn("hello", region="us-west-2")),
    "other_account": lambda: invoke(FunctionName=arn("hello", account="210987654321")),
    "qualifier_mismatch": lambda: invoke(FunctionName="my-function:1", Qualifier="2"),
    "bad_name": lambda: invoke(FunctionName="no good name!"),
    "bad_qualifier": lambda: invoke(FunctionName="hello", Qualifier="no good qualifier!"),
    "bad_name_and_qualifier": lambda: invoke(FunctionName="no good name!", Qualifier="no good qualifier!"),
    "two_qualifiers": lambda: invoke(FunctionName=arn("my-function:1:2")),
    "misspelt_latest": lambda: invoke(FunctionName=arn("hello:$LATES")),
    "other_service_arn": lambda: invoke(FunctionName="arn:aws:s3:us-east-2:123456789012:function:hello"),
    "arn_without_name": lambda: invoke(FunctionName="arn:aws:lambda:us-east-2:123456789012:function"),
    "name_of_65_characters": lambda: invoke(FunctionName="n" * 65),
    "name_of_300_characters": lambda: invoke(FunctionName="n" * 300),
    # The Lambda API: payloads and headers.
    "bad_json": lambda: invoke(FunctionName="echo", Payload=b"{not json"),
    "control_character": lambda: invoke(FunctionName="echo", Payload=b"\x99"),
    "bad_utf8": lambda: invoke(FunctionName="echo", Payload=b'"\x87"'),
    "bad_json_event": lambda: invoke(FunctionName="echo", InvocationType="Event", Payload=b"{not json"),
    "payload_too_large": lambda: invoke(FunctionName="echo", Payload=json_of(SYNC_LIMIT + 22)),
    "payload_one_byte_too_large": lambda: invoke(FunctionName="echo", Payload=json_of(SYNC_LIMIT + 1)),
    "event_too_large": lambda: invoke(FunctionName="echo", InvocationType="Event", Payload=json_of(EVENT_LIMIT + 1)),
    "bad_invocation_type": lambda: invoke(FunctionName="echo", InvocationType="Sometimes"),
    "bad_log_type": lambda: invoke(FunctionName="echo", LogType="Head"),
    "bad_request_id": lambda: by_hand(change=added("x-amzn-RequestId", "not-a-uuid")),
    "content_type_not_json": lambda: by_hand(headers=[("Content-Type", "text/plain")]),
    # No operation.
    "unknown_path": lambda: by_hand("GET", "/no/such/path", b""),
    "unknown_path_unsigned": lambda: raw("GET", "/no/such/path"),
    "unknown_method": lambda: by_hand("PATCH", INVOKE, b"{}"),
    "root": lambda: raw("GET", "/"),
    # Signatures: none, or not readable.
    "unsigned": lambda: raw("POST", INVOKE, b"{}"),
    "unsigned_get": lambda: raw("GET", "/2015-03-31/functions/hello"),
    "bearer_alone": lambda: raw("POST", INVOKE, b"{}", [("Authorization", "Bearer")]),
    "bearer_token": lambda: raw("POST", INVOKE, b"{}", [("Authorization", "Bearer abcdef")]),
    "empty_authorization": lambda: raw("POST", INVOKE, b"{}", [("Authorization", "")]),
    "no_date": lambda: by_hand(change=without("x-amz-date")),
    "no_signature": lambda: by_hand(change=authorization(", Signature=", ", Signatur=")),
    "no_signed_headers": lambda: by_hand(change=authorization("SignedHeaders=", "Signed=")),
    "bad_date": lambda: by_hand(change=lambda headers: [*without("x-amz-date")(headers), ("X-Amz-Date", "yesterday")]),
    "sigv4a": lambda: by_hand(change=authorization("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")),
    "short_credential": lambda: by_hand(change=authorization("/aws4_request", "")),
    "host_not_signed": lambda: by_hand(change=authorization("SignedHeaders=host;", "SignedHeaders=")),
    "amz_header_not_signed": lambda: by_hand(change=added("X-Amz-Log-Type", "Tail")),
    "unsigned_payload": lambda: by_hand(headers=[("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD")]),
    # Signatures: wrong.
    "wrong_secret": wrong_secret,
    "unknown_key": unknown_key,
    "unexpected_token": unexpected_token,
    "tampered_body": lambda: raw("POST", INVOKE, b'{"a": 1}', signed("POST", INVOKE, b'{"a": 2}')),
    "tampered_path": lambda: raw("POST", INVOKE, b"{}", signed("POST", INVOKE.replace("hello", "echo"), b"{}")),
    "tampered_hash": lambda: by_hand(headers=[("X-Amz-Content-SHA256", sha256(b"other"))]),
    "expired": lambda: by_hand(shift=-600),
    "not_yet_current": lambda: by_hand(shift=600),
    "wrong_region": lambda: by_hand(region="us-west-2"),
    "wrong_service": lambda: by_hand(service="s3"),
    "wrong_terminator": lambda: by_hand(change=authorization("aws4_request", "aws5_request")),
    "wrong_scope_date": lambda: by_hand(change=other_scope_date),
    # A signature that is right, to show that the rest is not refused for another reason.
    "signed_by_hand": lambda: by_hand(),
    "signed_by_hand_slightly_late": lambda: by_hand(shift=-240),
    "signed_by_hand_other_keys": lambda: by_hand(keys=Credentials("AKIAI44QH8DHBEXAMPLE", "no secret")),
}

wanted = sys.argv[1:] or list(CASES)
unknown = [name for name in wanted if name not in CASES]
if unknown:
    sys.exit(f"no such case: {', '.join(unknown)}; there are: {', '.join(CASES)}")
report({name: CASES[name]() for name in wanted})
