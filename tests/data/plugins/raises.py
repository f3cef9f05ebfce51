"""Raise what nobody foresaw."""

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    raise ValueError("no luck")
