"""Stands in for Discord on this machine: prints what is posted to it, and answers 204 as Discord does."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer


class Channel(BaseHTTPRequestHandler):
    """One channel's webhook."""

    def do_POST(self) -> None:
        """Take a message."""
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(message["content"], flush=True)  # noqa: T201 - printing is what it is for
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", 9099), Channel).serve_forever()
