"""HTTP and TLS seen from close: large bodies, many callers, one connection used again, slow and odd clients.

`wire.py CASE [ARGUMENT…]` prints one JSON object. Cases: large, concurrent N, keep_alive, expect, chunked, slow, resume,
names.
"""

import concurrent.futures
import contextlib
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
import warnings

from common import Lambda, REGION, TIMEOUT, failed, invocation, report, sha256, signed

HOST = f"lambda.{REGION}.amazonaws.com"
ECHO = "/2015-03-31/functions/echo/invocations"
SYNC_LIMIT = 6_291_456


def context(**settings):
    made = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"])
    if settings.get("maximum_version", made.maximum_version) is ssl.TLSVersion.TLSv1_1:
        # What OpenSSL would refuse to say by itself.
        made.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore") if sys.version_info >= (3, 11) else contextlib.nullcontext():
        for name, value in settings.items():
            setattr(made, name, value)
    return made


def tls(name=HOST, **settings):
    """A TLS connection to the endpoint, whatever name it says."""
    plain = socket.create_connection((HOST, 443), timeout=TIMEOUT)
    return context(**settings).wrap_socket(plain, server_hostname=name)


def read_response(connection):
    response = http.client.HTTPResponse(connection)
    response.begin()
    return {"status": response.status, "body": response.read().decode("utf-8", "replace")}


def head_of(headers, extra=()):
    lines = [f"POST {ECHO} HTTP/1.1", f"Host: {HOST}"]
    lines += [f"{name}: {value}" for name, value in [*headers, *extra]]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def large():
    """The largest payload there is, both ways."""
    sent = json.dumps({"filler": "x" * (SYNC_LIMIT - 14)}).encode()
    outcome = Lambda().call("invoke", invocation, FunctionName="echo", Payload=sent)
    if "result" in outcome:
        got = outcome["result"].pop("payload").encode()
        outcome["result"] |= {"sent": len(sent), "got": len(got), "same": sha256(sent) == sha256(got)}
    return outcome


def concurrent_(number="64"):
    """Everybody at once, each with a payload of their own."""
    number = int(number)
    clients = [Lambda() for _ in range(number)]
    start = threading.Barrier(number)

    def one(index):
        start.wait()
        outcomes = []
        for turn in range(2):
            payload = json.dumps({"caller": index, "turn": turn, "filler": "y" * 5_000}).encode()
            outcome = clients[index].call("invoke", invocation, FunctionName="echo", Payload=payload)
            answer = outcome.get("result", {}).get("payload", "").encode()
            outcomes.append("own answer" if answer == payload else {key: str(outcome[key])[:200] for key in outcome})
        return outcomes

    with concurrent.futures.ThreadPoolExecutor(number) as pool:
        outcomes = [outcome for outcomes in pool.map(one, range(number)) for outcome in outcomes]
    wrong = [outcome for outcome in outcomes if outcome != "own answer"]
    return {"calls": len(outcomes), "wrong": wrong}


def keep_alive():
    """Three requests of one connection, the second refused; bodies come a while after their heads."""
    connection = http.client.HTTPSConnection(HOST, timeout=TIMEOUT, context=context())
    connection.auto_open = 0
    connection.connect()
    port, outcomes = connection.sock.getsockname()[1], []
    for turn in range(3):
        body = json.dumps({"turn": turn}).encode()
        headers = {} if turn == 1 else dict(signed("POST", ECHO, body))
        connection.putrequest("POST", ECHO)
        for name, value in [*headers.items(), ("Content-Length", len(body))]:
            connection.putheader(name, value)
        connection.endheaders()
        time.sleep(0.05)
        connection.send(body)
        response = connection.getresponse()
        outcome = {"status": response.status, "connection": response.getheader("Connection")}
        outcome["body"] = response.read().decode()
        outcome["same_port"] = connection.sock is not None and connection.sock.getsockname()[1] == port
        outcomes.append(outcome)
    return {"answers": outcomes}


def expect():
    """The body is only sent once the server says that it wants it."""
    body = json.dumps("z" * 100_000).encode()
    connection = tls()
    extra = [("Content-Length", len(body)), ("Expect", "100-continue")]
    connection.sendall(head_of(signed("POST", ECHO, body), extra))
    interim = b""
    while b"\r\n\r\n" not in interim and len(interim) < 1_000:
        piece = connection.recv(1)
        if not piece:
            return {"interim": interim.decode(), "failed": "closed"}
        interim += piece
    connection.sendall(body)
    outcome = read_response(connection)
    return {"interim": interim.decode(), "status": outcome["status"], "same": outcome["body"].encode() == body}


def chunked():
    """A body of unknown length, in chunks of odd sizes, with an extension and a trailer."""
    body = json.dumps("w" * 50_000).encode()
    connection = tls()
    connection.sendall(head_of(signed("POST", ECHO, body), [("Transfer-Encoding", "chunked")]))
    at = 0
    for size in [1, 2, 3, 5_000, 7, 20_000, 1_000_000]:
        piece = body[at : at + size]
        connection.sendall(f"{len(piece):x};note=odd\r\n".encode() + piece + b"\r\n")
        at += len(piece)
    connection.sendall(b"0\r\nX-Trailer: ignored\r\n\r\n")
    outcome = read_response(connection)
    return {"status": outcome["status"], "same": outcome["body"].encode() == body}


def until_closed(connection, patience):
    """How the server ends a connection on which nothing more is sent."""
    connection.settimeout(patience)
    got = b""
    try:
        while piece := connection.recv(65_536):
            got += piece
        end = "closed"
    except TimeoutError:
        end = "still open"
    except (ConnectionResetError, ssl.SSLError, OSError) as error:
        end = "reset" if isinstance(error, ConnectionResetError) else f"{type(error).__name__}: {error}"
    return {"end": end, "got": got.decode("latin-1")}


def slow(patience="8"):
    """Clients that never finish what they began, all at the same time."""
    body = b'"slow"'

    def silent():
        return socket.create_connection((HOST, 443), timeout=TIMEOUT)

    def half_hello():
        connection = silent()
        connection.sendall(bytes.fromhex("1603010200010001fc0303"))
        return connection

    def half_head():
        connection = tls()
        connection.sendall(f"POST {ECHO} HTTP/1.1\r\nHost: ".encode())
        return connection

    def half_body():
        connection = tls()
        connection.sendall(head_of(signed("POST", ECHO, body), [("Content-Length", len(body))]) + body[:3])
        return connection

    def trickle():
        """A byte of the head every 0.2 seconds: always something, never enough."""
        connection = tls()

        def drip():
            try:
                for byte in f"POST {ECHO} HTTP/1.1\r\nX-Slow: {'s' * 1_000}".encode():
                    connection.sendall(bytes([byte]))
                    time.sleep(0.2)
            except OSError:
                pass

        threading.Thread(target=drip, daemon=True).start()
        return connection

    def idle():
        connection = tls()
        connection.sendall(head_of(signed("POST", ECHO, body), [("Content-Length", len(body))]) + body)
        assert read_response(connection)["status"] == 200
        return connection

    def one(make):
        connection = make()
        start = time.monotonic()
        outcome = until_closed(connection, float(patience))
        outcome["seconds"] = time.monotonic() - start
        return outcome

    cases = [silent, half_hello, half_head, half_body, trickle, idle]
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        return {case.__name__: outcome for case, outcome in zip(cases, pool.map(one, cases))}


def resume():
    """A second connection with the first one's session, by protocol version."""
    found = {}
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        shared = context(minimum_version=version, maximum_version=version)
        session, reused = None, []
        for _ in range(2):
            plain = socket.create_connection((HOST, 443), timeout=TIMEOUT)
            with shared.wrap_socket(plain, server_hostname=HOST, session=session) as connection:
                reused.append(connection.session_reused)
                # Tickets of TLS 1.3 come after the handshake: whoever has read an answer has them.
                connection.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                read_response(connection)
                session = connection.session
        found[version.name] = reused
    return found


def names():
    """Handshakes by the name that the client says, and by version."""
    attempts = {
        "public": {"name": HOST},
        "dualstack": {"name": f"lambda.{REGION}.api.aws"},
        "vpce": {"name": f"vpce-0123456789abcdef0-lj2wisx3.lambda.{REGION}.vpce.amazonaws.com"},
        "other_region": {"name": "lambda.us-west-2.amazonaws.com"},
        "other_service": {"name": f"s3.{REGION}.amazonaws.com"},
        "two_labels": {"name": f"a.b.lambda.{REGION}.vpce.amazonaws.com"},
        "tls_1_1": {"maximum_version": ssl.TLSVersion.TLSv1_1, "minimum_version": ssl.TLSVersion.TLSv1},
        "tls_1_2": {"maximum_version": ssl.TLSVersion.TLSv1_2},
        "tls_1_3": {"minimum_version": ssl.TLSVersion.TLSv1_3},
    }
    found = {}
    for case, attempt in attempts.items():
        try:
            with tls(**attempt) as connection:
                subject = connection.getpeercert()["subjectAltName"]
                found[case] = {"version": connection.version(), "cipher": connection.cipher()[0], "names": subject}
        except ssl.SSLError as error:
            found[case] = {"alert": error.reason}
        except OSError as error:
            found[case] = failed(error)
    return found


CASES = {
    "large": large,
    "concurrent": concurrent_,
    "keep_alive": keep_alive,
    "expect": expect,
    "chunked": chunked,
    "slow": slow,
    "resume": resume,
    "names": names,
}

if len(sys.argv) < 2 or sys.argv[1] not in CASES:
    sys.exit(__doc__)
report(CASES[sys.argv[1]](*sys.argv[2:]))
