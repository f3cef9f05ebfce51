"""Stand-ins on loopback for an HTTP application, Slack, and a mail server, that note what arrives."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any

from aiohttp import web


@dataclass(slots=True)
class Arrivals:
    """What arrived, in order, as short texts such as `http /erp`."""

    seen: list[str] = field(default_factory=list)
    #: Idempotency keys by arrival, to tell a repetition from another delivery.
    keys: list[str] = field(default_factory=list)
    #: What was in it, for whoever looks closer.
    contents: list[str] = field(default_factory=list)

    def note(self, what: str, *, key: str, content: str) -> None:
        """Note one arrival."""
        self.seen.append(what)
        self.keys.append(key)
        self.contents.append(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIns:
    """Where the stand-ins listen."""

    http: str
    smtp: str
    arrivals: Arrivals


@asynccontextmanager
async def stand_ins() -> AsyncIterator[StandIns]:
    """Start all three on free ports of 127.0.0.1."""
    arrivals = Arrivals()
    runner = web.AppRunner(_application(arrivals), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    mail = await _mail_server(arrivals)
    try:
        http_port = runner.addresses[0][1]
        smtp_port = mail.sockets[0].getsockname()[1]
        yield StandIns(http=f"http://127.0.0.1:{http_port}", smtp=f"127.0.0.1:{smtp_port}", arrivals=arrivals)
    finally:
        mail.close()
        await runner.cleanup()


def _application(arrivals: Arrivals) -> web.Application:
    async def erp(request: web.Request) -> web.Response:
        body = await request.read()
        arrivals.note("http /erp", key=request.headers.get("webhook-id", ""), content=body.decode("utf-8", "replace"))
        return web.Response(status=204)

    async def slack(request: web.Request) -> web.Response:
        message = await request.json()
        text = str(message.get("text", ""))
        key = request.headers.get("Idempotency-Key") or hashlib.sha256(text.encode()).hexdigest()
        arrivals.note(f"slack #{request.match_info['channel']}", key=key, content=text)
        # Slack's incoming webhooks answer so, not with JSON.
        return web.Response(text="ok")

    application = web.Application()
    application.router.add_post("/erp", erp)
    application.router.add_post("/slack/{channel}", slack)
    return application


async def _mail_server(arrivals: Arrivals) -> asyncio.Server:
    # Imported here: an installation without the extra can do everything but the demo.
    from aiosmtpd.smtp import SMTP, Envelope, Session  # noqa: PLC0415

    class Handler:
        async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - theirs
            message: Any = message_from_bytes(envelope.original_content or b"", policy=policy.default)
            for recipient in envelope.rcpt_tos:
                arrivals.note(f"mail {recipient}", key=str(message["Message-ID"]), content=str(message["Subject"]))
            return "250 OK"

    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: SMTP(Handler(), hostname="demo.invalid"), "127.0.0.1", 0)
