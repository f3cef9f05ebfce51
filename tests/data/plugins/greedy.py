"""Allocate 2 GB at once."""

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    return str(len(bytearray(2 << 30)))
