"""Creates security groups as fast as answers come, until there are none: `writer.py URL VPC`.

Prints the name of each group whose creation was acknowledged, at once. Ends when the other side has gone.
"""

import itertools
import sys

import boto3
import botocore.config
import botocore.exceptions

config = botocore.config.Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5)
ec2 = boto3.client("ec2", endpoint_url=sys.argv[1], region_name="us-east-2", config=config)
try:
    for number in itertools.count():
        ec2.create_security_group(GroupName=f"group-{number}", Description="written", VpcId=sys.argv[2])
        print(f"group-{number}", flush=True)
except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError):
    pass
