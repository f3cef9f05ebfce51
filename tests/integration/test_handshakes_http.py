"""Handshakes of the built-in types through the whole daemon, what a source learns, and the record of what is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode

import aiohttp
import anyio
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from hookline.daemon.config.load import load_settings
from hookline.daemon.reload import live_sources
from hookline.daemon.service import Service
from hookline.daemon.sources.port import Reason, RequestRejected
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import EventFilter, StoredEvent, StoredRejection

pytestmark = pytest.mark.anyio

TOKEN = "a-token-for-the-admin-listener"
SECRET = "a-secret-of-ours-and-the-sender"
PATH_TOKEN = "a-part-of-the-path-that-is-secret"
ASANA_SECRET = "b537207f20cbfa02357cf448134da559"
TEXT = "text/plain; charset=utf-8"
TOPIC = "arn:aws:sns:us-west-2:123456789012:orders"
CERTIFICATE_URL = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-1.pem"
SUBSCRIBE_URL = f"https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f"


class Outside:
    """Stands where the world does."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.holds: dict[str, bytes] = {}

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if url not in self.holds:
            raise RequestRejected("certificate", 503, "it cannot be had now")
        return self.holds[url]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Outside:
    made = Outside()
    monkeypatch.setattr(live_sources, "HttpOutside", lambda _refusal: made)
    return made


class Site:
    """A whole daemon in this process, and a client."""

    def __init__(self, service: Service, client: aiohttp.ClientSession) -> None:
        self.service = service
        self.client = client

    async def ask(
        self,
        path: str,
        body: Any = b"",
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        url = f"http://{self.service.addresses[0]}/hooks/{path}{'?' + urlencode(query) if query else ''}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.client.request(method, url, data=data or None, headers=headers) as reply:
            return reply.status, reply.headers, await reply.read()

    async def admin(self, method: str, path: str) -> tuple[int, Any]:
        url = f"http://{self.service.addresses[-1]}/api/v1/{path}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        said: Any = {} if method == "POST" else None
        async with self.client.request(method, url, headers=headers, json=said) as reply:
            return reply.status, await reply.json(content_type=None)

    async def events(self) -> list[StoredEvent]:
        reader = self.service.store.reader()
        try:
            found = await reader.events(EventFilter(), limit=100)
            # What Hookline has to say of refusals is not what was received.
            return [one for one in found if one.event.source != "hookline"]
        finally:
            await reader.close()

    async def rejections(self) -> list[StoredRejection]:
        await self.service.parts.flush_rejections()
        reader = self.service.store.reader()
        try:
            return await reader.rejections()
        finally:
            await reader.close()


@asynccontextmanager
async def running(folder: Path, sources: Mapping[str, Any], **more: Any) -> AsyncIterator[Site]:
    config = {
        "version": 1,
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0", "token": TOKEN},
        "sources": dict(sources),
        **more,
    }
    (folder / "hookline.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "rules.yaml").write_text("rules: []\n")
    service = Service(load_settings(folder / "hookline.yaml", environ={}), environ={})
    async with aiohttp.ClientSession() as client, anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)
        with anyio.fail_after(30):
            await service.started.wait()
        yield Site(service, client)
        service.stop()


def slack(body: bytes, *, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    """Sign as Slack does."""
    stamp = str(int(time.time() if at is None else at))
    made = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={made}",
        "Content-Type": "application/json",
    }


def asana(body: bytes, secret: str) -> dict[str, str]:
    """Sign as Asana does."""
    return {"X-Hook-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


async def test_each_sender_is_told_what_it_wants_to_hear_and_nothing_is_stored(tmp_path: Path) -> None:
    sources = {
        "slack": {"type": "slack", "secret": SECRET},
        "meta": {"type": "meta", "secret": SECRET, "verify_token": "a-verify-token"},
        "graph": {"type": "msgraph", "secret": SECRET},
        "events": {"type": "cloudevents", "token": SECRET},
        "intercom": {"type": "intercom", "secret": SECRET},
    }
    challenge = json.dumps({"type": "url_verification", "token": "x", "challenge": "3eZbrw"}).encode()
    hub = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "a-verify-token"}
    async with running(tmp_path, sources) as site:
        with capture_logs() as lines:
            said = {
                "slack": await site.ask("slack", challenge, headers=slack(challenge)),
                "meta": await site.ask("meta", method="GET", query=hub),
                "graph": await site.ask("graph", query={"validationToken": "Validation: <b>\u2713"}),
                "events": await site.ask("events", method="OPTIONS", headers={"WebHook-Request-Origin": "a.example"}),
                "intercom": await site.ask("intercom", method="HEAD"),
            }
        assert {name: (status, body) for name, (status, _, body) in said.items()} == {
            "slack": (200, b"3eZbrw"),
            "meta": (200, b"1158201444"),
            "graph": (200, "Validation: <b>\u2713".encode()),
            "events": (200, b""),
            "intercom": (200, b""),
        }
        assert {headers["X-Content-Type-Options"] for _, headers, _ in said.values()} == {"nosniff"}
        assert {said[name][1]["Content-Type"] for name in ("slack", "meta", "graph")} == {TEXT}
        assert said["events"][1]["WebHook-Allowed-Origin"] == "a.example"
        assert [line["outcome"] for line in lines if line["event"] == "event.received"] == ["handshake"] * 5
        assert await site.events() == []
        assert await site.rejections() == []


async def test_a_handshake_that_is_wrong_is_refused_and_recorded(tmp_path: Path) -> None:
    sources = {
        "slack": {"type": "slack", "secret": SECRET},
        "meta": {"type": "meta", "secret": SECRET, "verify_token": "a-verify-token", "path_token": PATH_TOKEN},
    }
    challenge = json.dumps({"type": "url_verification", "challenge": "3eZbrw"}).encode()
    hub = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "another-token"}
    async with running(tmp_path, sources) as site:
        status, _, body = await site.ask("slack", challenge, headers=slack(challenge, secret="not-the-secret"))
        assert (status, b"3eZbrw" in body) == (401, False)
        status, _, body = await site.ask(f"meta/{PATH_TOKEN}", method="GET", query=hub)
        assert (status, json.loads(body)["error"], b"1158201444" in body) == (403, "handshake", False)
        # Without the path token there is no such source, whatever is asked of it.
        right = {**hub, "hub.verify_token": "a-verify-token"}
        (status, headers, body), nobody = [
            await site.ask(path, method="GET", query=right) for path in ("meta", "nobody")
        ]
        assert (status, headers["Allow"], body) == (405, "POST", nobody[2])
        assert {(one.source, one.reason) for one in await site.rejections()} == {
            ("slack", "signature"),
            ("meta", "handshake"),
            ("meta", "path"),
            ("", "method"),
        }


async def test_asana_teaches_its_secret_once_and_a_restart_remembers_it(tmp_path: Path) -> None:
    sources = {"asana": {"type": "asana"}, "agiled": {"type": "agiled", "secret": SECRET}}
    body = json.dumps({"events": []}).encode()
    with capture_logs() as lines:
        async with running(tmp_path, sources) as site:
            assert (await site.ask("asana", body, headers=asana(body, ASANA_SECRET)))[0] == 401
            status, headers, _ = await site.ask("asana", b"{}", headers={"X-Hook-Secret": ASANA_SECRET})
            assert (status, headers["X-Hook-Secret"]) == (200, ASANA_SECRET)
            assert (await site.ask("asana", body, headers=asana(body, ASANA_SECRET)))[0] == 200
            assert (await site.ask("asana", b"{}", headers={"X-Hook-Secret": "of-somebody-else"}))[0] == 403
    assert [line["event"] for line in lines].count("source.waiting") == 1
    assert [line["event"] for line in lines].count("source.learned") == 1
    assert ASANA_SECRET not in str(lines)

    with capture_logs() as lines:
        async with running(tmp_path, sources) as site:
            assert (await site.ask("asana", body, headers=asana(body, ASANA_SECRET)))[0] == 200
            _, told = await site.admin("GET", "sources")
            assert [(one["name"], one["waiting"], one["learned"]) for one in told["sources"]] == [
                ("asana", False, 1),
                ("agiled", False, None),
            ]
            assert (await site.admin("POST", "sources/asana/await"))[0] == 200
            assert (await site.ask("asana", b"{}", headers={"X-Hook-Secret": "of-a-second-hook"}))[0] == 200
            for secret in (ASANA_SECRET, "of-a-second-hook"):
                assert (await site.ask("asana", body, headers=asana(body, secret)))[0] == 200
            assert await site.admin("POST", "sources/asana/forget") == (200, {"source": "asana", "forgotten": 2})
            assert (await site.ask("asana", body, headers=asana(body, ASANA_SECRET)))[0] == 401
            assert (await site.admin("POST", "sources/agiled/await"))[0] == 409
            assert (await site.admin("POST", "sources/nobody/forget"))[0] == 404
    assert "source.waiting" not in [line["event"] for line in lines if line["log_level"] == "warning"]


def sns(key: rsa.RSAPrivateKey, **more: str) -> dict[str, str]:
    """Return a message as Amazon SNS signs it."""
    message = {
        "Type": "SubscriptionConfirmation",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f37fb687f5d51e6e2425ea7cc",
        "TopicArn": TOPIC,
        "Message": "You have chosen to subscribe.",
        "SubscribeURL": SUBSCRIBE_URL,
        "Timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000Z",
        **more,
    }
    signed = "".join(f"{name}\n{message[name]}\n" for name in sorted(message))
    made = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return {
        **message,
        "SignatureVersion": "2",
        "Signature": base64.b64encode(made).decode(),
        "SigningCertURL": CERTIFICATE_URL,
    }


def certificate_of(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def test_sns_is_confirmed_once_it_is_verified_and_stays_an_event(tmp_path: Path, outside: Outside) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    outside.holds = {CERTIFICATE_URL: certificate_of(key), SUBSCRIBE_URL: b"<ConfirmSubscriptionResponse/>"}
    sources = {
        "sns": {"type": "sns", "topics": [TOPIC], "confirm": True},
        "by-hand": {"type": "sns", "topics": [TOPIC]},
    }
    evil = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    async with running(tmp_path, sources) as site:
        assert (await site.ask("by-hand", sns(key)))[0] == 200
        assert (await site.ask("sns", sns(evil)))[0] == 401
        assert (await site.ask("sns", sns(key, SubscribeURL="https://evil.example/?Token=2336")))[0] == 401
        assert set(outside.fetched) == {CERTIFICATE_URL}
        status, _, body = await site.ask("sns", sns(key))
        assert (status, json.loads(body)["accepted"]) == (200, 1)
        assert outside.fetched.count(SUBSCRIBE_URL) == 1
        assert [one.event.source for one in await site.events()] == ["sns", "by-hand"]


async def test_every_cause_of_a_refusal_is_in_the_record(
    tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {
        "slack": {"type": "slack", "secret": SECRET},
        "meta": {"type": "meta", "secret": SECRET, "verify_token": "a-verify-token"},
        "sns": {"type": "sns", "topics": [TOPIC]},
    }
    notification = sns(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    good = b'{"type": "event_callback"}'
    async with running(tmp_path, sources, limits={"body": "10KiB"}) as site:
        asked = [
            ("signature", 401, await site.ask("slack", good)),
            ("signature", 401, await site.ask("slack", good, headers=slack(good, secret="not-the-secret"))),
            ("timestamp", 401, await site.ask("slack", good, headers=slack(good, at=time.time() - 3600))),
            ("certificate", 503, await site.ask("sns", notification)),
            ("handshake", 403, await site.ask("meta", method="GET", query={"hub.mode": "subscribe"})),
            ("body", 415, await site.ask("slack", good, headers={"Content-Encoding": "br"})),
            ("method", 405, await site.ask("slack", method="PUT")),
            ("path", 404, await site.ask("a-name-that-a-stranger-made-up", good)),
            ("limit", 413, await site.ask("slack", b" " * 20_000)),
            ("framing", 400, await _no_http(site)),
        ]
        for reason, refusal in (("quota", RequestRejected("quota", 429, "used up")), ("store", StoreError("full"))):
            failing = asyncio.get_running_loop().create_future()
            failing.set_exception(refusal)
            monkeypatch.setattr(site.service.front.receiver, "_intake", lambda *_, failing=failing: failing)
            asked.append(
                (reason, 503 if reason == "store" else 429, await site.ask("slack", good, headers=slack(good)))
            )
        for reason, status, (given, _, body) in asked:
            assert (given, json.loads(body)["error"]) == (status, reason)
        found = {one.reason: one for one in await site.rejections()}
        assert set(found) == set(get_args(Reason))
        assert all(one.detail and one.client_ip == "127.0.0.1" for one in found.values())
        assert {reason: one.count for reason, one in found.items() if one.count > 1} == {"signature": 2}
        assert {one.source for one in found.values()} == {"slack", "meta", "sns", ""}
        assert found["path"].source == ""
        status, metrics = await _metrics(site)
        assert status == 200
        for reason in found:
            assert f'reason="{reason}"' in metrics
        assert "a-name-that-a-stranger-made-up" not in metrics + str(found)
        assert await site.events() == []


async def _no_http(site: Site) -> tuple[int, dict[str, str], bytes]:
    """Send a request with two lengths, which is refused before there is a request."""
    port = site.service.addresses[0].port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /hooks/slack HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split(b" ")[1]), {}, body


async def _metrics(site: Site) -> tuple[int, str]:
    url = f"http://{site.service.addresses[-1]}/metrics"
    async with site.client.get(url, headers={"Authorization": f"Bearer {TOKEN}"}) as reply:
        return reply.status, await reply.text()
