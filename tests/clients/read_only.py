"""Reads what the Lambda API says of functions and account."""

from common import Lambda, arn, report

aws = Lambda()


def plain(response):
    return {key: value for key, value in response.items() if key != "ResponseMetadata"}


def read(operation, **parameters):
    return aws.call(operation, plain, **parameters)


def pages():
    """Every page of ListFunctions, one function on each, through boto3's paginator."""
    found = []
    try:
        paginator = aws.client.get_paginator("list_functions")
        for page in paginator.paginate(PaginationConfig={"PageSize": 1, "MaxItems": 20}):
            found.append([function["FunctionName"] for function in page["Functions"]])
    except Exception as error:  # the outcome says so
        return {"pages": found, "failed": f"{type(error).__name__}: {error}"}
    return {"pages": found}


report(
    {
        "get_function": read("get_function", FunctionName="hello"),
        "get_function_arn": read("get_function", FunctionName=arn("my-function")),
        "get_function_version": read("get_function", FunctionName="my-function", Qualifier="1"),
        "get_function_not_found": read("get_function", FunctionName="no-such-function"),
        "get_function_configuration": read("get_function_configuration", FunctionName="hello"),
        "get_function_configuration_version": read("get_function_configuration", FunctionName="my-function:1"),
        "get_function_configuration_not_found": read("get_function_configuration", FunctionName="no-such-function"),
        "list_functions": read("list_functions"),
        "list_functions_all": read("list_functions", FunctionVersion="ALL"),
        "list_functions_pages": pages(),
        "get_account_settings": read("get_account_settings"),
    }
)
