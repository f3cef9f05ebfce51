"""Eight senders, half of them on kept connections, until /tmp/load/over is there: `load.py NAME [insist]`.

Writes /tmp/load/NAME.accepted (ids that were answered 200) and /tmp/load/NAME.failed (what else happened). With
`insist` each event is sent until it is answered 200, as real senders do.
"""

import http.client
import json
import sys
import threading
import time
from pathlib import Path

NAME, INSISTS = sys.argv[1], "insist" in sys.argv
FOLDER = Path("/tmp/load")
FOLDER.mkdir(exist_ok=True)
OVER = FOLDER / "over"
ACCEPTED = (FOLDER / f"{NAME}.accepted").open("a", buffering=1)
FAILED = (FOLDER / f"{NAME}.failed").open("a", buffering=1)
LOCK = threading.Lock()
HEADERS = {"Content-Type": "application/json"}


def send(number: int) -> None:
    keeps, done = number % 2 == 0, 0
    connection: http.client.HTTPConnection | None = None
    while not OVER.exists():
        done += 1
        event = f"{NAME}-{number}-{done}"
        body = json.dumps({"event": "order", "id": event, "client": number})
        while True:
            connection = connection or http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
            headers = HEADERS if keeps else {**HEADERS, "Connection": "close"}
            try:
                connection.request("POST", "/hooks/shop/an-unguessable-path-1234", body, headers)
                answer = connection.getresponse()
                answer.read()
                said = str(answer.status)
                if not keeps or answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
                if connection is not None:
                    connection.close()
                connection = None
            with LOCK:
                (ACCEPTED if said == "200" else FAILED).write(
                    f"{event}\n" if said == "200" else f"{event} {keeps} {said}\n"
                )
            if said == "200" or not INSISTS or OVER.exists():
                break
            time.sleep(0.05)
        time.sleep(0.01)


THREADS = [threading.Thread(target=send, args=(number,)) for number in range(8)]
for thread in THREADS:
    thread.start()
for thread in THREADS:
    thread.join()
