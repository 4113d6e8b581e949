"""One call: `call.py OPERATION [PARAMETERS]`, `call.py invoke '{"FunctionName": "hello", "Payload": "{}"}'`.

For tests that need one outcome as another identity or from another host.
"""

import json
import sys

from common import Lambda, invocation, report

if not 2 <= len(sys.argv) <= 3:
    sys.exit(__doc__)
operation = sys.argv[1]
parameters = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
if isinstance(parameters.get("Payload"), str):
    parameters["Payload"] = parameters["Payload"].encode()


def result(response):
    if operation == "invoke":
        return invocation(response)
    return {key: value for key, value in response.items() if key != "ResponseMetadata"}


report({operation: Lambda().call(operation, result, **parameters)})
