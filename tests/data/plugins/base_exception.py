"""Raise what is no `Exception`."""

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


class Odd(BaseException):
    """Odd."""


async def deliver(delivery, options, context):
    raise Odd("odd")
