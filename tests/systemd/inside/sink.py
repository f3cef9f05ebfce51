"""A destination: writes down what arrives, and answers as the files in /tmp/sink tell it.

`down`: 503. `hang`: no answer until the file is gone. Lines of /tmp/sink/arrived: event id, webhook-id, path.
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOLDER = Path("/tmp/sink")
FOLDER.mkdir(exist_ok=True)
ARRIVED = (FOLDER / "arrived").open("a", buffering=1)
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_down = (FOLDER / "down").exists()
        if not is_down:
            with LOCK:
                ARRIVED.write(f"{body.get('id')} {self.headers.get('webhook-id')} {self.path}\n")
        while (FOLDER / "hang").exists():
            time.sleep(0.05)
        self.send_response(503 if is_down else 200)
        answer = b"ok"
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_: Any) -> None:
        """A daemon that ends cuts its connections."""


Server(("127.0.0.1", 9000), Handler).serve_forever()
