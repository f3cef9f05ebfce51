"""Wait for what never comes."""

import asyncio

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    await asyncio.Event().wait()
