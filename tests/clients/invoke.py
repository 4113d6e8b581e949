"""Invokes functions in every way that Invoke knows."""

import base64
import json

from common import Lambda, arn, invocation, report

aws = Lambda()


def invoke(**parameters):
    return aws.call("invoke", invocation, **parameters)


PAYLOAD = json.dumps({"name": "world"}).encode()
CONTEXT = base64.b64encode(json.dumps({"custom": {"caller": "invoke.py"}}).encode()).decode()

report(
    {
        "request_response": invoke(FunctionName="hello", Payload=PAYLOAD),
        "request_response_named": invoke(FunctionName="hello", InvocationType="RequestResponse", Payload=PAYLOAD),
        "no_payload": invoke(FunctionName="echo"),
        "unicode": invoke(FunctionName="echo", Payload=json.dumps({"text": "Grüße ☃ 🦀"}, ensure_ascii=False).encode()),
        "large": invoke(FunctionName="echo", Payload=json.dumps("x" * 1_000_000).encode()),
        "dry_run": invoke(FunctionName="hello", InvocationType="DryRun", Payload=PAYLOAD),
        "event": invoke(FunctionName="hello", InvocationType="Event", Payload=PAYLOAD),
        "log_tail": invoke(FunctionName="hello", LogType="Tail", Payload=PAYLOAD),
        "client_context": invoke(FunctionName="hello", ClientContext=CONTEXT, Payload=PAYLOAD),
        "function_error": invoke(FunctionName="fails", Payload=PAYLOAD),
        "function_error_log_tail": invoke(FunctionName="fails", LogType="Tail", Payload=PAYLOAD),
        "qualifier_version": invoke(FunctionName="my-function", Qualifier="1", Payload=PAYLOAD),
        "qualifier_latest": invoke(FunctionName="my-function", Qualifier="$LATEST", Payload=PAYLOAD),
        "name_with_version": invoke(FunctionName="my-function:1", Payload=PAYLOAD),
        "name_and_qualifier_agree": invoke(FunctionName="my-function:1", Qualifier="1", Payload=PAYLOAD),
        "arn": invoke(FunctionName=arn("hello"), Payload=PAYLOAD),
        "arn_version": invoke(FunctionName=arn("my-function:1"), Payload=PAYLOAD),
        "arn_latest": invoke(FunctionName=arn("my-function:$LATEST"), Payload=PAYLOAD),
        "partial_arn": invoke(FunctionName="123456789012:function:my-function", Payload=PAYLOAD),
        "partial_arn_version": invoke(FunctionName="123456789012:function:my-function:1", Payload=PAYLOAD),
        "partial_arn_region": invoke(FunctionName="us-east-2:123456789012:function:my-function", Payload=PAYLOAD),
        "function_prefix": invoke(FunctionName="function:my-function", Payload=PAYLOAD),
        "invoke_async": aws.call("invoke_async", FunctionName="hello", InvokeArgs=PAYLOAD),
    }
)
