"""The Python runtime of vpce's function host: a client of the Lambda Runtime API, standard library only.

The host starts this file once per execution environment, with the environment variables Lambda sets. It imports the
handler, then asks for one invocation after another over a single keep-alive connection. The answer to an invocation and
the question for the next one leave in one segment, which saves a round trip and lets the host see at once that the
environment is free again. `http.client` would do too, but costs 25 ms of every cold start.
"""

import decimal
import importlib
import json
import logging
import os
import socket
import sys
import time
import traceback

API = "/2018-06-01/runtime"
NO_BREAK_SPACE = "\u00a0"  # CloudWatch trims ordinary blanks; Lambda indents tracebacks with these.


class Fault(Exception):
    """A failure that is ours to name, not an exception of the handler's."""

    def __init__(self, error_type, message, trace=()):
        super().__init__(message)
        self.error_type = error_type
        self.trace = list(trace)


class RuntimeApi:
    """One keep-alive HTTP/1.1 connection to the host, which answers every request with a Content-Length."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.address = address
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""

    def send(self, *requests):
        self.socket.sendall(b"".join(requests))

    def get(self, path):
        return f"GET {API}{path} HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode("ascii")

    def post(self, path, body, headers):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
        head = f"POST {API}{path} HTTP/1.1\r\nHost: {self.address}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        return head.encode("latin-1", "replace") + body

    def receive(self):
        """The next response: its status, its headers by lower-case name, and its body."""
        while True:
            end = self.unread.find(b"\r\n\r\n")
            if end >= 0:
                break
            self.unread += self._more()
        head, rest = self.unread[:end].decode("latin-1"), self.unread[end + 4 :]
        status, *lines = head.split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        chunks, missing = [rest], int(headers.get("content-length", 0)) - len(rest)
        while missing > 0:
            chunks.append(self._more())
            missing -= len(chunks[-1])
        body = b"".join(chunks)
        length = len(body) + missing
        self.unread = body[length:]
        return int(status.split(" ", 2)[1]), headers, body[:length]

    def _more(self):
        data = self.socket.recv(262144)
        if not data:
            raise ConnectionError("the function host closed the Runtime API connection")
        return data


class Fields:
    """Named fields out of a JSON object; those it lacks are None."""

    names = ()

    def __init__(self, values):
        for name in self.names:
            setattr(self, name, values.get(name))

    def __repr__(self):
        return f"{type(self).__name__}([{','.join(f'{name}={getattr(self, name)}' for name in self.names)}])"


class Client(Fields):
    names = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(Fields):
    names = ("custom", "env", "client")

    def __init__(self, values):
        super().__init__(values)
        if isinstance(self.client, dict):
            self.client = Client(self.client)


class CognitoIdentity(Fields):
    names = ("cognito_identity_id", "cognito_identity_pool_id")


class LambdaContext:
    """What a handler receives as its second argument."""

    def __init__(self, headers):
        environ = os.environ
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        context = parse_header(headers, "lambda-runtime-client-context", "Client Context")
        self.client_context = ClientContext(context) if isinstance(context, dict) else None
        identity = parse_header(headers, "lambda-runtime-cognito-identity", "Cognito Identity")
        identity = identity if isinstance(identity, dict) else {}
        self.identity = CognitoIdentity({
            "cognito_identity_id": identity.get("cognitoIdentityId"),
            "cognito_identity_pool_id": identity.get("cognitoIdentityPoolId"),
        })
        self._deadline_ms = int(headers.get("lambda-runtime-deadline-ms", 0))

    def get_remaining_time_in_millis(self):
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        sys.stdout.write(str(message))

    def __repr__(self):
        shown = ("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb",
                 "function_version", "invoked_function_arn", "client_context", "identity")
        return f"LambdaContext([{','.join(f'{name}={getattr(self, name)}' for name in shown)}])"


def parse_header(headers, name, title):
    text = headers.get(name)
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise Fault("Runtime.LambdaContextUnmarshalError", f"Unable to parse {title} JSON: {error}") from None


def decimal_as_number(value):
    """The one type beyond JSON's own that Lambda's Python runtime encodes."""
    if not isinstance(value, decimal.Decimal):
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    if value.is_finite() and value == value.to_integral_value():
        return int(value)
    return float("nan") if value.is_nan() else float(value)


# From its runtime python3.12 on Lambda leaves characters beyond ASCII as they are. The function's configured runtime
# decides, not the interpreter that stands in for it.
RUNTIME_MINOR = os.environ.get("AWS_EXECUTION_ENV", "").rpartition("python3.")[2]
ENCODER = json.JSONEncoder(default=decimal_as_number,
                           ensure_ascii=not (RUNTIME_MINOR.isdigit() and int(RUNTIME_MINOR) >= 12))


def encode(value, errors="strict"):
    return ENCODER.encode(value).encode("utf-8", errors)


def load_handler(handler):
    """The callable that `module.function` names."""
    module_name, dot, function_name = handler.rpartition(".")
    if not dot:
        raise Fault("Runtime.MalformedHandlerName",
                    f"Bad handler '{handler}': not enough values to unpack (expected 2, got 1)")
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from None
    except SyntaxError as error:
        where = f'  File "{error.filename}" Line {error.lineno}\n    {error.text}'
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}",
                    [where]) from None
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound",
                    f"Handler '{function_name}' missing on module '{module_name}'") from None


def describe(error, request_id):
    """An exception as the JSON object that Lambda answers with. Frames of this file are not the user's business."""
    if isinstance(error, Fault):
        error_type, trace = error.error_type, error.trace
    else:
        frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(error.__traceback__)]
        while len(frames) > 1 and frames[0][0] == __file__:
            frames.pop(0)
        error_type, trace = type(error).__name__, traceback.format_list(frames)
    return {"errorMessage": str(error), "errorType": error_type, "requestId": request_id, "stackTrace": trace}


def log_error(description):
    lines = [f"[ERROR] {description['errorType']}: {description['errorMessage']}", "Traceback (most recent call last):"]
    for entry in description["stackTrace"]:
        for line in entry.splitlines():
            bare = line.lstrip(" ")
            lines.append(NO_BREAK_SPACE * (len(line) - len(bare)) + bare)
    sys.stdout.write("\n".join(lines) + "\n")


class RequestIdFilter(logging.Filter):
    """Gives every log record the request id that Lambda's format shows."""

    request_id = ""

    def filter(self, record):
        record.aws_request_id = self.request_id
        return True


class StdoutHandler(logging.Handler):
    """Writes to whatever `sys.stdout` is at the time."""

    def emit(self, record):
        sys.stdout.write(self.format(record))


def set_up_logging():
    current = RequestIdFilter()
    handler = StdoutHandler()
    formatter = logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n",
                                  "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(current)
    logging.getLogger().addHandler(handler)
    return current


def flush():
    sys.stdout.flush()
    sys.stderr.flush()


def answer(api, handler, headers, body):
    """Runs the handler once; returns the request that tells the host how it went."""
    request_id = headers["lambda-runtime-aws-request-id"]
    invocation_id = headers.get("lambda-runtime-invocation-id")
    try:
        context = LambdaContext(headers)
        try:
            event = json.loads(body)
        except ValueError as error:
            raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None
        result = handler(event, context)
        if isinstance(result, bytes):
            payload, content_type = result, "application/unknown"
        else:
            try:
                payload, content_type = encode(result), "application/json"
            except Exception as error:
                raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from None
    except Exception as error:
        description = describe(error, request_id)
        log_error(description)
        return api.post(f"/invocation/{request_id}/error", encode(description, "replace"), {
            "Content-Type": "application/json",
            "Lambda-Runtime-Function-Error-Type": description["errorType"],
            "Lambda-Runtime-Invocation-Id": invocation_id,
        })
    return api.post(f"/invocation/{request_id}/response", payload, {
        "Content-Type": content_type,
        "Lambda-Runtime-Invocation-Id": invocation_id,
    })


def main():
    # A line at a time: nothing but a started line is lost when the process is killed.
    sys.stdout.reconfigure(line_buffering=True)
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    current = set_up_logging()
    try:
        handler = load_handler(os.environ["_HANDLER"])
    except Exception as error:
        description = describe(error, "")
        log_error(description)
        flush()
        api.send(api.post("/init/error", encode(description, "replace"), {
            "Content-Type": "application/json",
            "Lambda-Runtime-Function-Error-Type": description["errorType"],
        }))
        api.receive()
        sys.exit(1)

    api.send(api.get("/invocation/next"))
    while True:
        status, headers, body = api.receive()
        if status != 200:
            raise ConnectionError(f"the Runtime API answered {status} to a request for the next invocation")
        current.request_id = headers["lambda-runtime-aws-request-id"]
        trace_id = headers.get("lambda-runtime-trace-id")
        if trace_id:
            os.environ["_X_AMZN_TRACE_ID"] = trace_id
        else:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        outcome = answer(api, handler, headers, body)
        flush()
        api.send(outcome, api.get("/invocation/next"))
        status, _, body = api.receive()
        if status != 202:
            sys.stdout.write(f"[ERROR] the Runtime API refused the answer: {status} {body.decode('utf-8', 'replace')}\n")


if __name__ == "__main__":
    main()
