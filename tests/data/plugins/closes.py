"""Close what belongs to others."""

import os

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    os.closerange(0, 21)
