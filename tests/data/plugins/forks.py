"""Make a copy of the process, which goes on like the first."""

import asyncio
import os

from pydantic import BaseModel


class Options(BaseModel):
    """What a rule may write."""

    url: str


async def deliver(delivery, options, context):
    os.fork()
    await asyncio.sleep(0.05)
    await context.http.post(options.url)
    return "sent"
