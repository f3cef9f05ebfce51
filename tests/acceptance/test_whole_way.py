"""The seeds' payloads, byte for byte as they stand, go in and come out at real servers with their real quirks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SEEDS = sorted((Path(__file__).parents[1] / "data" / "seeds").glob("*.json"))
AGILED_SECRET = "seeds-agiled-secret-0123456789"
AGAVE = "Bearer 9tk5GuTqqcOt7P0spZ7fJZoN8eqtYx"
ERP_KEY = b"0123456789abcdef0123456789abcdef"
CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
sources:
  agiled: {{type: agiled, secret: {agiled}}}
  agave: {{type: agave, authorization: "{agave}"}}
destinations:
  erp:
    forward: {{url: "{url}/erp", secret: "whsec_{erp}"}}
  team:
    slack: {{api: "{url}/slack", token: xoxb-1, channel: C1}}
    retry: {{schedule: [100ms, 100ms, 100ms], jitter: 0%}}
  mail:
    email: {{server: "localhost:{smtp}", tls: starttls, ca_file: "{ca}", username: ops, password: sm7p-password,
            from: a@example.com, to: b@example.com}}
"""
RULES = """\
rules:
  - name: everything
    do:
      - erp
      - team: {text: "{{ event.type }} from {{ event.source }}"}
      - mail: {subject: "{{ event.type }}", text: "{{ payload | tojson }}"}
  - name: what could not be read
    on: unreadable
    do: erp
"""


class Peers:
    """An HTTP application that keeps bodies byte for byte, and a Slack that is first busy, then out of order."""

    def __init__(self) -> None:
        self.erp: list[tuple[dict[str, str], bytes]] = []
        self.slack: list[dict[str, Any]] = []
        self.slack_calls = 0
        peers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/erp":
                    peers.erp.append(({key.lower(): value for key, value in self.headers.items()}, body))
                    self.answer(204, b"")
                    return
                peers.slack_calls += 1
                if peers.slack_calls == 1:
                    self.answer(429, b'{"ok":false,"error":"ratelimited"}', {"Retry-After": "1"})
                elif peers.slack_calls == 2:
                    # Slack says no with a 200.
                    self.answer(200, b'{"ok":false,"error":"internal_error"}')
                else:
                    peers.slack.append(json.loads(body))
                    self.answer(200, b'{"ok":true,"ts":"1"}')

            def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def peers() -> Iterator[Peers]:
    made = Peers()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.slow
def test_seeds_go_in_and_come_out(make_daemon: Any, mailbox: Any, peers: Peers) -> None:
    config = CONFIG.format(
        agiled=AGILED_SECRET, agave=AGAVE, url=peers.url, erp=base64.b64encode(ERP_KEY).decode(), smtp=mailbox.port,
        ca=mailbox.certificate,
    )  # fmt: skip
    daemon = make_daemon(config=config.replace("{", "{{").replace("}", "}}"), rules=RULES)
    daemon.start()
    answers = {path.name: post(daemon.port, path) for path in SEEDS}
    daemon.settle(30)

    assert all(status == 200 for status, _ in answers.values()), answers
    assert all(answer["accepted"] == 1 for _, answer in answers.values())
    # Byte for byte, signed so that a receiver can verify it by the Standard Webhooks specification.
    assert sorted(body for _, body in peers.erp) == sorted(path.read_bytes() for path in SEEDS)
    for headers, body in peers.erp:
        assert headers["webhook-signature"] == sign(headers["webhook-id"], headers["webhook-timestamp"], body)
        assert headers["content-type"] == "application/json"
    readable = [path for path in SEEDS if "as-it-stands" not in path.name]
    expected = {
        "agiled": ["contact.created"],
        "agave": ["customer.create", "customer.update", "opportunity.create", "project.update", "vendor.create"],
    }
    texts = [f"{kind} from {source}" for source, kinds in expected.items() for kind in kinds]
    assert sorted(message["text"] for message in peers.slack) == sorted(texts)
    assert {message["channel"] for message in peers.slack} == {"C1"}
    assert peers.slack_calls == len(readable) + 2
    subjects = sorted(kind for kinds in expected.values() for kind in kinds)
    assert sorted(subject_of(envelope) for envelope in mailbox.envelopes) == subjects
    # The sample with a comment in it is no JSON: kept whole, shown, and only the rule that names it sees it.
    listed = json.loads(daemon.run("events", "--type", "unreadable", "--json").stdout)
    assert [event["matched"] for event in listed] == [["what could not be read"]]
    commented = next(path for path in SEEDS if "as-it-stands" in path.name)
    raw = daemon.run("events", "show", listed[0]["id"], "--raw").stdout
    assert raw.encode() == commented.read_bytes()


def post(port: int, path: Path) -> tuple[int, dict[str, Any]]:
    body = path.read_bytes()
    source = path.name.split(".")[0]
    headers = {"Content-Type": "application/json"}
    if source == "agiled":
        stamp = str(int(time.time()))
        mac = hmac.new(AGILED_SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers |= {"X-Agiled-Webhook-Timestamp": stamp, "X-Agiled-Webhook-Signature": mac}
    else:
        headers["Authorization"] = AGAVE
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", f"/hooks/{source}", body, headers)
    answer = connection.getresponse()
    read = json.loads(answer.read())
    connection.close()
    return answer.status, read


def sign(identity: str, stamp: str, body: bytes) -> str:
    mac = hmac.new(ERP_KEY, f"{identity}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


def subject_of(envelope: Any) -> str:
    import email
    import email.policy

    return str(email.message_from_bytes(envelope.content, policy=email.policy.default)["subject"])
