"""Print a secret."""

import sys

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    print("the key is s3cret-canary")  # noqa: T201
    print("x" * 5000, file=sys.stderr)  # noqa: T201
    context.log.info("logged", key="s3cret-canary", event_id="forged", level=5, odd=object)
