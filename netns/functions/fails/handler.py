"""Always fails: its caller gets HTTP 200 with X-Amz-Function-Error and the exception as JSON."""


class OutOfStock(Exception):
    """A function's own exception type: its name is what the caller sees as errorType."""


def handler(event, context):
    item = event.get("item", "everything") if isinstance(event, dict) else "everything"
    print(f"looking for {item}")
    raise OutOfStock(f"{item} is out of stock")
