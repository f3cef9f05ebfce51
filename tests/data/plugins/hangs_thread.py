"""Wait in a thread for what never comes."""

import threading

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


def deliver(delivery, options, context):
    threading.Event().wait()
