"""Crash the interpreter."""

import ctypes

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


async def deliver(delivery, options, context):
    ctypes.string_at(0)
