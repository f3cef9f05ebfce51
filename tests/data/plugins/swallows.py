"""Take no notice of being cancelled."""

import asyncio

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue
