"""Change the event."""

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    payload = delivery.event.payload
    payload["n"] = payload.get("n", 0) + 1
    delivery.event.headers["x"] = "y"
    return str(payload["n"])
