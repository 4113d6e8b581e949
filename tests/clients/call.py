"""Single calls: `call.py OPERATION PARAMETERS [OPERATION PARAMETERS…]`, PARAMETERS as JSON.

    call.py invoke '{"FunctionName": "hello", "Payload": "{}"}' list_functions '{}'

Prints the list of their outcomes, in order. For tests that need a few outcomes as another identity or from another host.
"""

import json
import sys

from common import Lambda, invocation, report


def outcome(operation, text):
    parameters = json.loads(text)
    if isinstance(parameters.get("Payload"), str):
        parameters["Payload"] = parameters["Payload"].encode()

    def result(response):
        if operation == "invoke":
            return invocation(response)
        return {key: value for key, value in response.items() if key != "ResponseMetadata"}

    return aws.call(operation, result, **parameters)


if len(sys.argv) < 3 or len(sys.argv) % 2 == 0:
    sys.exit(__doc__)
aws = Lambda()
report([outcome(operation, text) for operation, text in zip(sys.argv[1::2], sys.argv[2::2])])
