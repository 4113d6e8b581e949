"""Writes the requests next to it: what boto3 sends, byte for byte as it left the socket.

    pip install boto3==1.44.5 && python3 capture.py

Each call goes to http://lambda.us-east-2.amazonaws.com, whose name is answered by a socket of this program, so that Host
and signature are those of the real endpoint. The keys are AWS's documentation examples.
"""

import json
import pathlib
import socket
import threading

import boto3
import botocore.config
import urllib3.util.connection
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

HERE = pathlib.Path(__file__).parent
HOST = "lambda.us-east-2.amazonaws.com"
KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN_KEY = "ASIAIOSFODNN7EXAMPLE"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMiJHMEUCIQ+example/token=="
ARN = "arn:aws:lambda:us-east-2:123456789012:function:my-function"

listener = socket.create_server(("127.0.0.1", 0))
captured = []


def answer():
    while True:
        connection, _ = listener.accept()
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            expect = b"100-continue" in head.lower()
            if expect:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while lengths and len(body) < int(lengths[0]):
                body += connection.recv(65536)
            captured.append(head + b"\r\n\r\n" + body)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


threading.Thread(target=answer, daemon=True).start()
urllib3.util.connection.create_connection = lambda *_args, **_kwargs: socket.create_connection(listener.getsockname())


def client(key=KEY, token=None):
    return boto3.client(
        "lambda",
        region_name="us-east-2",
        endpoint_url=f"http://{HOST}",
        aws_access_key_id=key,
        aws_secret_access_key=SECRET,
        aws_session_token=token,
        config=botocore.config.Config(retries={"total_max_attempts": 1}, user_agent="Boto3/1.44.5"),
    )


def capture(name, call):
    captured.clear()
    try:
        call()
    except Exception as error:  # the answer above is not what every call expects; what was sent is what counts
        print(f"{name}: {error}")
    assert len(captured) == 1, name
    (HERE / f"{name}.http").write_bytes(captured[0])


aws = client()
payload = json.dumps({"name": "Jürgen ☃"}, ensure_ascii=False).encode()
capture("invoke-name", lambda: aws.invoke(FunctionName="hello", Payload=payload))
capture("invoke-arn", lambda: aws.invoke(FunctionName=ARN, Payload=b"{}"))
capture("invoke-arn-version", lambda: aws.invoke(FunctionName=ARN + ":1", Payload=b"{}"))
capture("invoke-arn-latest", lambda: aws.invoke(FunctionName=ARN + ":$LATEST"))
capture("invoke-partial-arn", lambda: aws.invoke(FunctionName="123456789012:function:my-function:1"))
capture("invoke-qualifier", lambda: aws.invoke(FunctionName="my-function", Qualifier="$LATEST"))
capture(
    "invoke-tail",
    lambda: aws.invoke(FunctionName="hello", LogType="Tail", ClientContext="eyJjdXN0b20iOnt9fQ==", InvocationType="RequestResponse"),
)
capture("invoke-event", lambda: aws.invoke(FunctionName="hello", InvocationType="Event", Payload=b'{"a": 1}'))
capture("invoke-dry-run", lambda: aws.invoke(FunctionName="hello", InvocationType="DryRun"))
capture("invoke-stream", lambda: aws.invoke_with_response_stream(FunctionName=ARN, Payload=b"{}"))
capture("invoke-async", lambda: aws.invoke_async(FunctionName="hello", InvokeArgs=b"{}"))
capture("get-function", lambda: aws.get_function(FunctionName=ARN, Qualifier="1"))
capture("list-functions", lambda: aws.list_functions(MaxItems=10, FunctionVersion="ALL", MasterRegion="us-east-2"))
capture("list-functions-marker", lambda: aws.list_functions(Marker="a b+c/d=é&~"))
capture("list-tags", lambda: aws.list_tags(Resource=ARN))
capture("get-account-settings", lambda: aws.get_account_settings())
capture("invoke-session-token", lambda: client(TOKEN_KEY, TOKEN).invoke(FunctionName=ARN, Payload=b"{}"))

for name, credentials in [
    ("presigned", Credentials(KEY, SECRET)),
    ("presigned-session-token", Credentials(TOKEN_KEY, SECRET, TOKEN)),
]:
    url = f"http://{HOST}/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-2%3A123456789012%3Afunction%3Ahello/invocations?Qualifier=%24LATEST"
    request = AWSRequest("POST", url, headers={"Host": HOST})
    SigV4QueryAuth(credentials, "lambda", "us-east-2", expires=900).add_auth(request)
    target = request.url.removeprefix(f"http://{HOST}")
    head = f"POST {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"
    (HERE / f"{name}.http").write_bytes(head.encode())
