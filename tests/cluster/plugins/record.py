"""Tell the recording destination who delivers what, as which attempt, and when it began."""

import time
from typing import Any

from pydantic import BaseModel

from hookline.plugins import Context, Delivery, PermanentError, TransientError, raise_for_status


class Options(BaseModel):
    """What a destination may write."""

    url: str
    node: str


async def deliver(delivery: Delivery, options: Options, context: Context) -> str:
    """Return, and put into each error, what no other attempt says."""
    begun = time.monotonic_ns()
    mark = f"{options.node}@{begun}"
    payloads: list[Any] = [event.payload for event in delivery.events or (delivery.event,)]
    told = {
        "node": options.node,
        "delivery": delivery.id,
        "attempt": delivery.attempt,
        "lane": delivery.destination,
        "names": [payload["id"] for payload in payloads],
        "data": [payload["data"] for payload in payloads],
        "begun": begun,
        "suppressed": delivery.suppressed,
    }
    try:
        raise_for_status(await context.http.post(options.url, json=told))
    except TransientError as error:
        raise TransientError(f"{mark} {error}", is_unknown=error.is_unknown) from error
    except PermanentError as error:
        raise PermanentError(f"{mark} {error}") from error
    return mark
