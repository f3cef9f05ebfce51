"""Take a moment, and be done."""

import asyncio
import os

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    await asyncio.sleep(0.05)
    return str(os.getpid())
