"""Say what a worker has of its parent."""

import json
import os
import resource
from pathlib import Path

from pydantic import BaseModel


class Options(BaseModel):
    """Nothing to say."""


def deliver(delivery, options, context):
    links = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(one.readlink()))
        except OSError:
            continue
    core = resource.getrlimit(resource.RLIMIT_CORE)
    return json.dumps({"environ": dict(os.environ), "links": links, "core": core})
