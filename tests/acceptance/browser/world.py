"""A real daemon to which something of everything has happened: delivered, dead, unmatched, refused, hostile."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import COMMAND, SECRET, Daemon, Destination, receiving

TOKEN = "t" * 24
_KEY = b"browser-secret-0123456789012345"
#: What every field of a hostile event says: it must be seen as it is, and do nothing.
HOSTILE = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)><svg onload=alert(3)>"
    "{{ 7 * 7 }}{% raw %}\u202etfel ot thgir\u202c javascript:alert(4)"
)
CONFIG = """\
store: sqlite:hookline.db
rules: rules.yaml
sources:
  agiled: {{type: agiled, secret: {secret}}}
  partner: {{type: standard-webhooks, secret: "whsec_{key}"}}
  quiet: {{type: github, secret: nothing-came-here-yet-0123456789}}
destinations:
  erp:
    forward: {{url: "{url}/erp", secret: "whsec_YWNjZXB0YW5jZS1zZWNyZXQtMDEyMzQ1Njc4OQ=="}}
  billing:
    forward: {{url: "{url}/billing"}}
    retry: {{schedule: [50ms, 100ms], jitter: 0%}}
    breaker: none
"""
RULES = """\
rules:
  - name: large invoice paid
    from: agiled
    on: invoice.paid
    when:
      $.data.currency: [USD, EUR]
      $.data.total: {gte: 5000}
    do: erp
  - name: gold customers
    from: agiled
    on: invoice.paid
    when: {$.data.customer.tier: gold}
    do: billing
  - name: dunning
    from: agiled
    on: invoice.due
    do: billing
  - name: orders
    from: partner
    on: "order.*"
    do: [erp, billing]
"""


@dataclass
class World:
    """The daemon, where it delivers, and what was sent to it."""

    daemon: Daemon
    destination: Destination
    #: While true, `billing` refuses what is due.
    is_sick: bool = True
    #: Our ids of some events, by the sender's id.
    events: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self.daemon.admin}"

    def get(self, path: str) -> Any:
        """Ask the API."""
        status, body = self.fetch("/api/v1" + path, Authorization=f"Bearer {TOKEN}")
        assert status == 200, (path, status, body[:500])
        return json.loads(body)

    def fetch(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Ask the admin listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.admin, timeout=30)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def partner(self, event: str, body: bytes) -> int:
        """Send a body as the partner signs it."""
        stamp = str(int(time.time()))
        mac = hmac.new(_KEY, f"{event}.{stamp}.".encode() + body, hashlib.sha256).digest()
        return self.post("/hooks/partner", body, {
            "webhook-id": event, "webhook-timestamp": stamp, "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
            "Content-Type": "application/json",
        })  # fmt: skip

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Send a request to the public listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=10)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def seed(self) -> None:
        """Send something of everything, and wait until all of it is delivered or dead."""
        for number in range(12):
            assert self.daemon.post(f"inv-{number}", total=4000 + 250 * number, currency="EUR") == 200
        assert self.daemon.post("inv-gold", total=90, customer={"tier": "gold", "name": "Ada"}) == 200
        assert self.daemon.post("inv-gold", total=90, customer={"tier": "gold", "name": "Ada"}) == 200
        assert self.daemon.post("contact-1", kind="contact.created") == 200
        for number in range(3):
            assert self.daemon.post(f"due-{number}", kind="invoice.due", total=120 + number) == 200
        order = {"type": "order.paid", "timestamp": "2026-05-18T12:00:00Z", "data": {"lines": [{"sku": "A1", "n": 2}]}}
        assert self.partner("order-1", json.dumps(order).encode()) == 200
        self._seed_hostile()
        assert self.post("/hooks/agiled", b"{}", {"Content-Type": "application/json"}) == 401
        assert self.post("/hooks/nobody", b"{}", {"Content-Type": "application/json"}) == 404
        self.daemon.settle()
        for one in self.get("/events?limit=100")["events"]:
            self.events.setdefault(one["sender_id"] or one["key"], one["id"])

    def _seed_hostile(self) -> None:
        data: dict[str, Any] = {"name": HOSTILE, HOSTILE: [HOSTILE, {HOSTILE: 1}]}
        assert self.daemon.post("bad-text", kind=f"x{HOSTILE}"[:200], **data) == 200
        assert self.daemon.post("bad-keys", kind="bad.keys", many={f"key-{n}": n for n in range(10_000)}) == 200
        assert self.daemon.post("bad-size", kind="bad.size", text="<b>" + "x" * 900_000) == 200
        deep: Any = HOSTILE
        for _ in range(40):
            deep = {"deeper": deep}
        assert self.daemon.post("bad-depth", kind="bad.depth", deep=deep) == 200
        # Half of a surrogate pair: `json.dumps` escapes it, as senders do.
        assert (
            self.partner("bad-half", json.dumps({"type": "bad.half", "data": {"half": "\ud800 and \u202e"}}).encode())
            == 200
        )


@contextmanager
def living(folder: Path) -> Iterator[World]:
    """Start a daemon, and have something of everything happen to it."""
    with receiving() as destination:
        key = base64.b64encode(_KEY).decode()
        config = CONFIG.format(secret=SECRET, key=key, url=destination.url)
        world = World(Daemon(folder, command=COMMAND, config=config, rules=RULES), destination)
        destination.answer = lambda event, _: 503 if world.is_sick and str(event).startswith("due-") else 204
        world.daemon.start()
        try:
            world.seed()
            yield world
        finally:
            assert world.daemon.child
            if world.daemon.child.poll() is None:
                world.daemon.terminate(30)
