"""Posts COUNT events as fast as they are taken, numbered by sender: `fill.py COUNT`; writes /tmp/load/backlog.accepted."""

import http.client
import json
import sys
import threading
from pathlib import Path

SENDERS = 8
FOLDER = Path("/tmp/load")
FOLDER.mkdir(exist_ok=True)
LOCK = threading.Lock()
(FOLDER / "backlog.failed").touch()
ACCEPTED = (FOLDER / "backlog.accepted").open("a")


def send(number: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
    for position in range(int(sys.argv[1]) // SENDERS):
        event = f"backlog-{number}-{position}"
        body = json.dumps({"event": "order", "id": event, "client": f"c{number}"})
        connection.request("POST", "/hooks/shop/an-unguessable-path-1234", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        with LOCK:
            ACCEPTED.write(f"{event}\n")
    connection.close()


THREADS = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
for thread in THREADS:
    thread.start()
for thread in THREADS:
    thread.join()
