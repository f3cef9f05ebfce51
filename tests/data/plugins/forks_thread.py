"""Make a copy of the process, from a thread."""

import os

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


def deliver(delivery, options, context):
    os.fork()
    return str(os.getpid())
