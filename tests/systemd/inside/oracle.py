"""Waits until all that was accepted has arrived and is recorded, and judges from outside: `oracle.py NAME`.

Each accepted event arrived once; or more often, then each time with the same webhook-id, and the store tells of as many
attempts, or of a process that died.
"""

import json
import sqlite3
import sys
import time
from collections import defaultdict
from pathlib import Path

NAME, LOAD = sys.argv[1], Path("/tmp/load")
accepted = set((LOAD / f"{NAME}.accepted").read_text().split())
failed = (LOAD / f"{NAME}.failed").read_text().splitlines()
store = sqlite3.connect("file:/var/lib/hookline/hookline.db?mode=ro", uri=True)
deadline = time.monotonic() + 60


def unfinished() -> int:
    (count,) = store.execute("SELECT count(*) FROM deliveries WHERE state IN (0, 1)").fetchone()
    return int(count)


while True:
    arrived = defaultdict(list)
    for line in Path("/tmp/sink/arrived").read_text().splitlines():
        event, key, _ = line.split(" ")
        arrived[event].append(key)
    if (accepted <= arrived.keys() and not unfinished()) or time.monotonic() > deadline:
        break
    time.sleep(0.2)

tries = {
    sender_id: (attempts, crashes)
    for sender_id, attempts, crashes in store.execute(
        "SELECT e.sender_id, (SELECT count(*) FROM attempts AS a WHERE a.delivery_id = d.id), d.crashes"
        " FROM deliveries AS d JOIN events AS e ON e.id = d.event_id"
    )
}
again = {event: keys for event, keys in arrived.items() if event in accepted and len(keys) > 1}
verdict = {
    "accepted": len(accepted),
    "not accepted": len(failed),
    "how": sorted({line.split(" ", 1)[1] for line in failed})[:5],
    "lost": len(accepted - arrived.keys()),
    "again": len(again),
    "again with another webhook-id": sum(len(set(keys)) > 1 for keys in again.values()),
    "again and not marked": sum(tries[event][0] < 2 and not tries[event][1] for event in again),
    "not finished": unfinished(),
    "dead": store.execute("SELECT count(*) FROM deliveries WHERE state = 3").fetchone()[0],
}
print(json.dumps(verdict))  # noqa: T201 - read by the script
