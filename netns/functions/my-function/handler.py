"""The function of the blog's endpoint policy: tells who was invoked, as what, and with what."""


def handler(event, context):
    print(f"invoked as {context.invoked_function_arn}")
    return {
        "function": context.function_name,
        "version": context.function_version,
        "invokedFunctionArn": context.invoked_function_arn,
        "requestId": context.aws_request_id,
        "event": event,
    }
