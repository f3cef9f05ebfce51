"""Block the event loop."""

import time

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    time.sleep(60)  # noqa: ASYNC251
