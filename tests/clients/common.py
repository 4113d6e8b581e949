"""What the client programs share: a Lambda client that shows the wire, and requests that no client would send.

The programs run inside a host of a lab. Region, keys and certificates come from the environment (AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_CA_BUNDLE); AWS_ENDPOINT_URL_LAMBDA, botocore's own
variable, calls another name than the service's. Each program prints one JSON object, {case: outcome}, and exits 0 when
the calls were made, whatever came back: judging is the tests' business.

An outcome of boto3 has status and headers (names in lower case) and, from 300 on, the body as it came, with the code
and message that botocore reads in it; below, result. A case that got no answer at all has failed, with the reason.
"""

import datetime
import hashlib
import http.client
import json
import os
import ssl
import sys
import unittest.mock
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions

REGION = os.environ.get("AWS_REGION", "us-east-2")
ACCOUNT = "123456789012"
TIMEOUT = float(os.environ.get("VPCE_CLIENT_TIMEOUT", "20"))


def arn(name, region=REGION, account=ACCOUNT):
    return f"arn:aws:lambda:{region}:{account}:function:{name}"


class Lambda:
    """boto3's client, no retries, remembering the last answer before botocore parses it."""

    def __init__(self, **credentials):
        config = botocore.config.Config(
            retries={"total_max_attempts": 1}, connect_timeout=TIMEOUT, read_timeout=TIMEOUT, parameter_validation=False
        )
        self.client = boto3.client("lambda", region_name=REGION, config=config, **credentials)
        self.answer = None
        self.client.meta.events.register("before-parse.lambda.*", self._remember)

    def _remember(self, response_dict, **_):
        self.answer = response_dict

    def call(self, operation, result=lambda response: None, **parameters):
        """One call's outcome. `result` makes something of a good answer that JSON can hold."""
        self.answer = None
        try:
            response = getattr(self.client, operation)(**parameters)
            outcome = self._wire()
            outcome["result"] = result(response)
        except botocore.exceptions.ClientError as error:
            outcome = self._wire()
            body = self.answer["body"] if self.answer else b""
            outcome["body"] = body.decode("utf-8", "replace") if isinstance(body, bytes) else None
            outcome["code"] = error.response["Error"].get("Code")
            outcome["message"] = error.response["Error"].get("Message")
        except (botocore.exceptions.BotoCoreError, OSError) as error:
            outcome = failed(error)
        return outcome

    def _wire(self):
        if self.answer is None:
            return {}
        headers = {name.lower(): value for name, value in self.answer["headers"].items()}
        return {"status": self.answer["status_code"], "headers": headers}


def failed(error):
    return {"failed": f"{type(error).__name__}: {error}"}


def invocation(response):
    """What Invoke gave back."""
    import base64

    log = response.get("LogResult")
    return {
        "payload": response["Payload"].read().decode("utf-8", "replace"),
        "function_error": response.get("FunctionError"),
        "executed_version": response.get("ExecutedVersion"),
        "log": base64.b64decode(log).decode("utf-8", "replace") if log else None,
    }


def credentials():
    """The environment's keys, for signing by hand."""
    found = boto3.Session(region_name=REGION).get_credentials()
    if found is None:
        sys.exit("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run this through `lab exec`")
    return found.get_frozen_credentials()


def endpoint():
    """Where the Lambda client would send its calls."""
    return boto3.client("lambda", region_name=REGION).meta.endpoint_url


def raw(method, path, body=b"", headers=()):
    """Sends exactly these headers (and Host, Content-Length) and nothing else; `path` goes out as it is.

    The outcome has status, headers, raw_headers in order and case of the wire, and body.
    """
    url = urllib.parse.urlsplit(endpoint())
    if url.scheme == "https":
        context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
        connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=TIMEOUT)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", url.netloc)
        connection.putheader("Content-Length", str(len(body)))
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        outcome = {
            "status": response.status,
            "headers": {name.lower(): value for name, value in response.getheaders()},
            "raw_headers": [list(pair) for pair in response.getheaders()],
            "body": response.read().decode("utf-8", "replace"),
        }
        kind = outcome["headers"].get("x-amzn-errortype", "")
        outcome["code"] = kind.split(":")[0] or None
        try:
            parsed = json.loads(outcome["body"])
            outcome["message"] = parsed.get("message", parsed.get("Message"))
        except (ValueError, AttributeError):
            outcome["message"] = None
        return outcome
    except (http.client.HTTPException, OSError) as error:
        return failed(error)
    finally:
        connection.close()


def signed(method, path, body=b"", *, service="lambda", region=REGION, shift=0, keys=None, headers=()):
    """The headers that botocore's signer adds for such a request, signed `shift` seconds from now."""
    url = endpoint()
    request = botocore.awsrequest.AWSRequest(method, url + path, data=body, headers=dict(headers))
    request.headers["Host"] = urllib.parse.urlsplit(url).netloc
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + datetime.timedelta(seconds=shift)
    with unittest.mock.patch("botocore.auth.get_current_datetime", lambda *_: now):
        botocore.auth.SigV4Auth(keys or credentials(), service, region).add_auth(request)
    return [(name, value) for name, value in request.headers.items() if name.lower() != "host"]


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def report(outcomes):
    json.dump(outcomes, sys.stdout, indent=1, default=str)
    print()
