"""End the process."""

import os

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    os._exit(3)
