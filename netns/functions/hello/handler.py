"""Says hello: to the name in the event, or to the world. Shows which version ran and under which request id."""


def handler(event, context):
    name = event.get("name") if isinstance(event, dict) else None
    print(f"hello from {context.function_name}, {context.get_remaining_time_in_millis()} ms left")
    return {
        "message": f"Hello, {name or 'World'}!",
        "version": context.function_version,
        "requestId": context.aws_request_id,
    }
