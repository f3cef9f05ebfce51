"""An HTTPS destination at localhost:9443 with the certificate /root/tls; writes what arrives to /tmp/sink/tls."""

import ssl
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with Path("/tmp/sink/tls").open("ab") as kept:
            kept.write(body + b"\n")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


server = HTTPServer(("127.0.0.1", 9443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/tls/server.pem", "/root/tls/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
