"""Callers that never stop: `steady.py CALLERS FILE` invokes `waits` from that many threads until FILE is there.

Each has boto3 with its retries, impatient; a connection is made anew for every fourth invocation, so that names are asked again.
Makes FILE.started once every caller has an answer. Prints how many invocations succeeded and how often an attempt was
repeated, and every failure that a caller saw.
"""

import json
import os
import sys
import threading

import boto3
import botocore.config
import botocore.exceptions

from common import REGION, report

CONFIG = botocore.config.Config(
    retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=1, read_timeout=5
)


class Caller(threading.Thread):
    def __init__(self, stop):
        super().__init__()
        self.stop, self.done, self.retries, self.failures = stop, 0, 0, []

    def run(self):
        while not os.path.exists(self.stop):
            client = boto3.session.Session().client("lambda", region_name=REGION, config=CONFIG)
            for _ in range(4):
                self.invoke(client)

    def invoke(self, client):
        try:
            answer = client.invoke(FunctionName="waits", Payload=b"{}")
            self.retries += answer["ResponseMetadata"]["RetryAttempts"]
            if json.load(answer["Payload"]) == "done":
                self.done += 1
            else:
                self.failures.append("another answer")
        except botocore.exceptions.BotoCoreError as error:
            self.failures.append(type(error).__name__)
        except botocore.exceptions.ClientError as error:
            self.failures.append(error.response["Error"]["Code"])


def main(count, stop):
    callers = [Caller(stop) for _ in range(int(count))]
    for caller in callers:
        caller.start()
    while any(caller.done == 0 and not caller.failures for caller in callers):
        callers[0].join(0.02)
    open(stop + ".started", "x").close()
    for caller in callers:
        caller.join()
    report(
        {
            "done": sum(caller.done for caller in callers),
            "retries": sum(caller.retries for caller in callers),
            "failures": [failure for caller in callers for failure in caller.failures],
        }
    )


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
