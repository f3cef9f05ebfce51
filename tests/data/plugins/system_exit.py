"""Ask to end."""

import sys

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    sys.exit(3)
