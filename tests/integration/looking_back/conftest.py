"""A folder with a configuration, rules, and a store of events that were routed by the rules of their moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.commands import cli
from hookline.daemon.config.load import load_settings
from hookline.daemon.http.credentials import without_credentials
from hookline.daemon.ids import Ids
from hookline.daemon.reload.live_rules import check_rules
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.build import declared_source
from hookline.daemon.sources.port import IncomingRequest
from hookline.daemon.store.changes import Accept, NewEvent, Request
from hookline.daemon.store.sqlite.store import SqliteStore
from hookline.rules import Event, RuleSet

CONFIG = """\
version: 1
store: sqlite:hookline.db
rules: rules
sources:
  agiled: {type: agiled, secret: "${AGILED_SECRET}"}
  github: {type: github, secret: "${GITHUB_SECRET}"}
  shop:
    type: generic
    verify: none
    path_token: 0123456789abcdef
    event: {type: $.event, id: $.id, tenant: $.shop}
    split: "$.events[*]"
destinations:
  erp: {forward: {url: "https://erp.example.com/hooks", secret: "${ERP_SECRET}"}}
  crm: {forward: {url: "https://crm.example.com/hooks"}}
  finance: {slack: {url: "${SLACK_FINANCE}"}}
"""


@dataclass
class House:
    """Where events were stored, and the commands that look back at them."""

    folder: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=5))

    def rules(self, text: str, name: str = "a.yaml") -> None:
        (self.folder / "rules" / name).write_text(text)

    def receive(
        self, *bodies: Any, source: str = "agiled", is_unrouted: bool = False, headers: dict[str, str] | None = None
    ) -> list[str]:
        """Store each body's events as the daemon would have; return their ids, the first first."""
        return anyio.run(self._receive, bodies, source, is_unrouted, headers or {})

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "-c", str(self.folder / "hookline.yaml")])

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return json.loads(result.stdout)

    async def _receive(
        self, bodies: tuple[Any, ...], source: str, is_unrouted: bool, headers: dict[str, str]
    ) -> list[str]:
        settings = load_settings(self.folder / "hookline.yaml", environ={}, offline=True)
        secrets = Secrets({}, folder=self.folder)
        runner = LocalRunner(settings, secrets, is_offline=True)
        rules = (await check_rules(settings, secrets, runner, is_offline=True)).rules
        await runner.close()
        receiver = declared_source(
            settings.sources[source], batch_limit=1000, dedupe_window=timedelta(days=90), types=settings.source_types
        )
        ids = Ids(self._clock)
        store = SqliteStore(self.folder / "hookline.db", clock=self._clock, ids=ids)
        await store.open()
        try:
            await store.keep(rules.texts)
            made = [self._accept(body, receiver, rules, ids, is_unrouted, headers) for body in bodies]
            answers = await store.write(made)
        finally:
            await store.close()
        return [one.event_id for answer in answers for one in answer]  # type: ignore[union-attr]

    def _clock(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def _accept(
        self, body: Any, receiver: Any, rules: RuleSet, ids: Ids, is_unrouted: bool, headers: dict[str, str]
    ) -> Accept:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = IncomingRequest(
            method="POST",
            subpath="",
            url=None,
            headers=tuple(({"content-type": "application/json"} | headers).items()),
            query=(),
            client_ip="192.0.2.7",
            body=raw,
            received_at=self.now,
        )
        kept, query = without_credentials(request, receiver)
        events = []
        for one in receiver.normalize(request):
            event = Event(
                id=ids.event(),
                source=receiver.name,
                type=one.type,
                sender_id=one.sender_id,
                key=ids.event(),
                tenant=one.tenant,
                subject=one.subject,
                occurred_at=one.occurred_at,
                received_at=request.received_at,
                headers=kept,
                query=query,
                client_ip=request.client_ip,
                payload=one.payload,
                envelope=one.envelope,
            )
            matched = tuple(match.rule for match in rules.match(event).matches)
            events.append(
                NewEvent(
                    event=event,
                    pointer=one.pointer,
                    rules_version=rules.version,
                    matched=() if is_unrouted else matched,
                    is_unrouted=is_unrouted,
                )
            )
        return Accept(
            request=Request(
                body=raw, content_type=kept["content-type"], headers=kept, query=query, client_ip=request.client_ip
            ),
            events=tuple(events),
            dedupe_window=timedelta(days=90),
        )


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    for name in ("AGILED_SECRET", "GITHUB_SECRET", "ERP_SECRET", "SLACK_FINANCE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "hookline.yaml").write_text(CONFIG)
    (tmp_path / "rules").mkdir()
    return House(tmp_path)


@pytest.fixture
def invoice() -> Callable[..., dict[str, Any]]:
    def make(total: float = 5000, **more: Any) -> dict[str, Any]:
        return {"id": f"in_{total}", "event": "invoice.paid", "data": {"number": "INV-1042", "total": total, **more}}

    return make
