"""Invokes functions with InvokeWithResponseStream and lists the events as they come."""

import json

from common import Lambda, arn, report

aws = Lambda()


def events(response):
    found = []
    for event in response["EventStream"]:
        ((kind, fields),) = event.items()
        if kind == "PayloadChunk":
            found.append({"PayloadChunk": fields["Payload"].decode("utf-8", "replace")})
        else:
            found.append({kind: fields})
    payload = "".join(event.get("PayloadChunk", "") for event in found)
    return {
        "content_type": response.get("ResponseStreamContentType"),
        "executed_version": response.get("ExecutedVersion"),
        "payload": payload,
        "events": found,
    }


def stream(**parameters):
    return aws.call("invoke_with_response_stream", events, **parameters)


PAYLOAD = json.dumps({"name": "world"}).encode()

report(
    {
        "hello": stream(FunctionName="hello", Payload=PAYLOAD),
        "log_tail": stream(FunctionName="hello", LogType="Tail", Payload=PAYLOAD),
        "arn_version": stream(FunctionName=arn("my-function:1"), Payload=PAYLOAD),
        "qualifier": stream(FunctionName="my-function", Qualifier="1", Payload=PAYLOAD),
        "function_error": stream(FunctionName="fails", Payload=PAYLOAD),
        "large": stream(FunctionName="echo", Payload=json.dumps("x" * 1_000_000).encode()),
        "dry_run": stream(FunctionName="hello", InvocationType="DryRun", Payload=PAYLOAD),
        "not_found": stream(FunctionName="no-such-function", Payload=PAYLOAD),
    }
)
