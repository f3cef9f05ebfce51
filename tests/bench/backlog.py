"""Fill a queue fast: a thousand events a request."""

from __future__ import annotations

import http.client
import json

#: A source that takes batches.
BULK = """\
sources:
  bulk:
    type: generic
    verify: none
    path_token: bench-bulk-0123456789
    event: {type: $.type, id: $.id}
    split: $.events[*]
"""
_BATCH = 1000


def fill(port: int, count: int, *, kind: str, run: str) -> None:
    """Have so many events of one type accepted by the source `bulk`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for first in range(0, count, _BATCH):
        numbers = range(first, min(count, first + _BATCH))
        events = [{"id": f"{run}-{number}", "type": kind, "data": {"number": number}} for number in numbers]
        connection.request("POST", "/hooks/bulk/bench-bulk-0123456789", json.dumps({"events": events}))
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200 or json.loads(said)["accepted"] != len(events):
            raise SystemExit(f"{answer.status}: {said[:500]!r}")
    connection.close()
