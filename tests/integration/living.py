"""A whole daemon in this process, on free ports and a real store, asked through its own listeners."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from hookline.daemon.config.load import load_settings
from hookline.daemon.service import Service

TOKEN = "an-admin-token-of-some-length"
CONFIG = """\
version: 1
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0", token: an-admin-token-of-some-length, hosts: [hookline.example.com]}
store: sqlite:hookline.db
workers: 0
sources:
  shop: {type: generic, verify: none, event: {type: $.event, id: $.id, tenant: $.tenant}}
  desk: {type: agiled, secret: a-secret-of-some-length}
destinations:
  sink: {log: {}}
  erp: {forward: {url: "http://127.0.0.1:9/erp"}, retry: {schedule: []}}
"""
RULES = """\
rules:
  - {name: orders, from: shop, on: order.paid, do: [sink]}
  - {name: large orders, from: shop, on: order.paid, when: {$.total: {gte: 1000}}, do: [erp]}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    #: By name, in lower case.
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Living:
    """A daemon that runs."""

    service: Service
    folder: Path

    @property
    def public(self) -> int:
        return self.service.addresses[0].port or 0

    @property
    def admin(self) -> int:
        return self.service.addresses[-1].port or 0

    async def send(self, payload: Any, *, source: str = "shop") -> str:
        """Send an event, and return its id."""
        body = json.dumps(payload).encode()
        answer = await exchange(self.public, "POST", f"/hooks/{source}", body=body)
        assert answer.status == 200, answer
        return str(answer.json["ids"][0])

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        token: str | None = TOKEN,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask the API through its socket; `path` stands below /api/v1, `body` is written as JSON."""
        sent = {"authorization": f"Bearer {token}"} if token is not None else {}
        data = b"" if body is None else json.dumps(body).encode()
        if data:
            sent["content-type"] = "application/json"
        return await exchange(self.admin, method, f"/api/v1{path}", body=data, headers={**sent, **(headers or {})})

    async def settled(self) -> None:
        """Wait until nothing runs or waits to run."""
        reader = self.service.store.reader()
        try:
            with anyio.fail_after(20):
                counts = await reader.counts()
                while counts.get("running", 0) or counts.get("pending", 0):
                    await anyio.sleep(0.02)
                    counts = await reader.counts()
        finally:
            await reader.close()


@asynccontextmanager
async def living(folder: Path, *, config: str = CONFIG, rules: str = RULES) -> AsyncIterator[Living]:
    """Run a daemon on this configuration until the end of the block."""
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    (folder / "rules" / "rules.yaml").write_text(rules)
    (folder / "hookline.yaml").write_text(config)
    service = Service(load_settings(folder / "hookline.yaml", environ={}), environ={})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)
        with anyio.fail_after(30):
            await service.started.wait()
        try:
            yield Living(service, folder)
        finally:
            service.stop()


async def exchange(
    port: int, method: str, target: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """Make one request, and return the answer when the connection has ended."""
    sent = {"host": f"127.0.0.1:{port}", "connection": "close", **(headers or {})}
    if body or method == "POST":
        sent = {"content-length": str(len(body)), **sent}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, said = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    if found.get("transfer-encoding") == "chunked":
        said = b"".join(_chunks(said))
    return Answer(int(first.split(" ")[1]), found, said)


def _chunks(data: bytes) -> list[bytes]:
    found = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        found.append(data[:length])
        data = data[length + 2 :]
    return found
