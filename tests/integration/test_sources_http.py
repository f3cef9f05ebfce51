"""Every source type through the real server and the real store: published vectors, documented payloads, and rubbish."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest

import hookline.daemon.parts as parts_module
from hookline.daemon.config.load import load_settings
from hookline.daemon.service import Service
from hookline.daemon.sources import verification
from hookline.daemon.sources.build import declared_source
from hookline.daemon.sources.outside import HttpOutside
from hookline.daemon.sources.port import IncomingRequest, SourceSettings
from hookline.daemon.store.stored import EventFilter, StoredEvent

pytestmark = pytest.mark.anyio

TOKEN = "a-token-for-the-admin-listener"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request as a sender makes it."""

    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"
    #: With its question mark, as it goes over the wire.
    query: str = ""


class Site:
    """A whole daemon in this process, whose clock can be set."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self.service = service
        self.clock = clock

    @property
    def port(self) -> int:
        port = self.service.addresses[0].port
        assert port
        return port

    async def send(self, source: str, sent: Sent) -> tuple[int, dict[str, str], bytes]:
        """Send a request byte for byte; return status, headers and body."""
        lines = [f"{sent.method} /hooks/{source}{sent.query} HTTP/1.1", "host: hooks.example.com", "connection: close"]
        lines += [f"{name}: {value}" for name, value in sent.headers.items()]
        if sent.body or sent.method == "POST":
            lines.append(f"content-length: {len(sent.body)}")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + sent.body)
        await writer.drain()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        return int(first.split(" ")[1]), headers, body

    async def events(self, source: str) -> list[StoredEvent]:
        """Return what is stored of a source, oldest first."""
        reader = self.service.store.reader()
        try:
            return [*reversed(await reader.events(EventFilter(source=source), limit=1000))]
        finally:
            await reader.close()


@dataclass
class Clock:
    """The daemon's clock."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now


def _written(folder: Path, sources: Mapping[str, Any], public_url: str | None) -> Path:
    """Write a configuration with these sources; return its path."""
    config: dict[str, Any] = {
        "version": 1,
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0", "token": TOKEN},
        "sources": dict(sources),
    }
    if public_url:
        config["public_url"] = public_url
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    (folder / "rules" / "rules.yaml").write_text("rules: []\n")
    path = folder / "hookline.yaml"
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def running(
    folder: Path, sources: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, *, public_url: str | None = None
) -> AsyncIterator[Site]:
    clock = Clock()
    monkeypatch.setattr(parts_module, "utc_now", clock)
    # Vectors come with secrets such as "hush", which we take from nobody else.
    monkeypatch.setattr(verification, "MIN_SECRET_BYTES", 1)
    service = Service(load_settings(_written(folder, sources, public_url), environ={}), environ={})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)
        with anyio.fail_after(30):
            await service.started.wait()
        yield Site(service, clock)
        service.stop()


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


#: By vector: source type, how the secret is configured, the request's headers, query, and where its clock stands.
#: `{signature}`, `{timestamp}`, `{id}` are the vector's.
Maker = Callable[[Mapping[str, Any]], tuple[dict[str, Any], Sent]]


def _hubspot(version: str) -> Maker:
    def make(vector: Mapping[str, Any]) -> tuple[dict[str, Any], Sent]:
        url, mark, query = vector.get("received_url", vector.get("url", "https://x.example.com/")).partition("?")
        headers = {"content-type": "application/json"}
        if version == "v3":
            headers["x-hubspot-request-timestamp"] = vector["timestamp"]
            headers["x-hubspot-signature-v3"] = vector["signature"]
        else:
            headers["x-hubspot-signature"] = vector["signature"]
            headers["x-hubspot-signature-version"] = version
        options = {"type": "hubspot", "secret": vector["secret"], "public_url": url}
        if version != "v3":
            options["versions"] = ["v3", version]
        method = vector.get("method", "POST")
        return options, Sent(headers=headers, body=vector["body"].encode(), method=method, query=mark + query)

    return make


def _plain(kind: str, header: str, option: str = "secret", **more: Any) -> Maker:
    def make(vector: Mapping[str, Any]) -> tuple[dict[str, Any], Sent]:
        headers = {"content-type": "application/json", header: vector["signature"]}
        return {"type": kind, option: vector["secret"], **more}, Sent(headers=headers, body=vector["body"].encode())

    return make


def _stamped(kind: str, signature: str, timestamp: str, identity: str = "", option: str = "secret") -> Maker:
    def make(vector: Mapping[str, Any]) -> tuple[dict[str, Any], Sent]:
        headers = {signature: vector["signature"], timestamp: vector["timestamp"]}
        if identity:
            headers[identity] = vector["id"]
        is_form = vector["body"].startswith("token=")
        headers["content-type"] = "application/x-www-form-urlencoded" if is_form else "application/json"
        secret = vector.get("public_key") or vector["secret"]
        options = {"type": kind, "public_key" if "public_key" in vector else option: secret}
        return options, Sent(headers=headers, body=vector["body"].encode())

    return make


def _twilio(vector: Mapping[str, Any]) -> tuple[dict[str, Any], Sent]:
    url, _, query = vector["url"].partition("?")
    params = vector.get("params")
    if params == "same as twilio_form":
        params = TWILIO_PARAMS
    form = {"content-type": "application/x-www-form-urlencoded"} if params else {"content-type": "application/json"}
    return (
        {"type": "twilio", "secret": vector["secret"], "public_url": url},
        Sent(
            headers={**form, "x-twilio-signature": vector["signature"]},
            body=urlencode(params).encode() if params else vector["body"].encode(),
            query=f"?{query}",
        ),
    )


TWILIO_PARAMS = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
    "Caller": "+14158675309",
}
MAKERS: dict[str, Maker] = {
    "hubspot_v1": _hubspot("v1"),
    "hubspot_v2_post": _hubspot("v2"),
    "hubspot_v2_get": _hubspot("v2"),
    "hubspot_v3_py": _hubspot("v3"),
    "hubspot_v3_rb": _hubspot("v3"),
    "hubspot_v3_query_decoded": _hubspot("v3"),
    "quickbooks": _plain("quickbooks", "intuit-signature"),
    "github": _plain("github", "x-hub-signature-256"),
    "github_octokit": _plain("github", "x-hub-signature-256"),
    "standardwebhooks_v1": _stamped("standard-webhooks", "webhook-signature", "webhook-timestamp", "webhook-id"),
    "standardwebhooks_v1a_ed25519": _stamped(
        "standard-webhooks", "webhook-signature", "webhook-timestamp", "webhook-id"
    ),
    "svix_docs": _stamped("svix", "svix-signature", "svix-timestamp", "svix-id"),
    "slack": _stamped("slack", "x-slack-signature", "x-slack-request-timestamp"),
    "twilio_form": _twilio,
    "twilio_json_body": _twilio,
    "twilio_port443": _twilio,
    "zendesk": _stamped("zendesk", "x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp"),
    "agiled_unix_seconds": _stamped("agiled", "x-agiled-webhook-signature", "x-agiled-webhook-timestamp"),
    "agiled_unix_ms": _stamped("agiled", "x-agiled-webhook-signature", "x-agiled-webhook-timestamp"),
    "agiled_iso8601": _stamped("agiled", "x-agiled-webhook-signature", "x-agiled-webhook-timestamp"),
    "stripe": _plain("stripe", "stripe-signature"),
    "shopify": _plain("shopify", "x-shopify-hmac-sha256"),
    "linear": _plain("linear", "linear-signature"),
    "typeform": _plain("typeform", "typeform-signature"),
    "intercom": _plain("intercom", "x-hub-signature"),
    "xero": _plain("xero", "x-xero-signature"),
    "asana": _plain("asana", "x-hook-signature"),
    "meta": _plain("meta", "x-hub-signature-256", verify_token="a-verify-token"),
    "gitlab_signing_token": _stamped(
        "gitlab", "webhook-signature", "webhook-timestamp", "webhook-id", option="signing_token"
    ),
}


@pytest.fixture
def vectors(shared: Path) -> dict[str, dict[str, Any]]:
    """Return the vectors by name."""
    file = shared / "sources" / "vectors.json"
    if not file.exists():
        pytest.skip(f"{file} is not here")
    return {one["name"]: one for one in json.loads(file.read_text())}


def _moment(vector: Mapping[str, Any]) -> datetime:
    """Return when the vector was signed."""
    if vector["name"] == "stripe":
        return at(1492774577)
    if vector["name"] == "linear":
        return at(1676056940.508)
    text = vector.get("timestamp")
    if text is None:
        return datetime(2026, 5, 18, 12, tzinfo=UTC)
    if not text.isdigit():
        return datetime.fromisoformat(text)
    return at(int(text) / 1000 if len(text) == 13 else int(text))


def _flipped(data: bytes, where: int) -> bytes:
    """Return the bytes with the lowest bit of one turned: it stays printable."""
    where %= len(data)
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


def mutations(sent: Sent) -> dict[str, Sent]:
    """Return the request with one byte changed: of its body, of each header that proves or dates it, of its URL."""
    changed: dict[str, Sent] = {}
    if sent.body:
        for name, where in (("first", 0), ("middle", len(sent.body) // 2), ("last", -1)):
            changed[f"{name} byte of the body"] = replace(sent, body=_flipped(sent.body, where))
        changed["a byte less"] = replace(sent, body=sent.body[:-1])
    changed["a byte more"] = replace(sent, body=sent.body + b" ")
    for name, value in sent.headers.items():
        if name in {"content-type", "x-hubspot-signature-version"}:
            continue
        # Not the last character of base64, whose lowest bits may say nothing.
        for where in (-4, len(value) // 2):
            turned = _flipped(value.encode(), where).decode()
            changed[f"{name}, byte {where}"] = replace(sent, headers={**sent.headers, name: turned})
        changed[f"without {name}"] = replace(sent, headers={k: v for k, v in sent.headers.items() if k != name})
    return changed


def _another(secret: str, *, is_encoded: bool) -> str:
    """Return a secret of the same form with one byte changed."""
    if is_encoded and secret.startswith(("whsec_", "whpk_")):
        prefix, _, digits = secret.partition("_")
        return f"{prefix}_{base64.b64encode(_flipped(base64.b64decode(digits), 3)).decode()}"
    return _flipped(secret.encode(), 2).decode()


def _is_url_signed(name: str) -> bool:
    return name.startswith(("hubspot_v2", "hubspot_v3", "twilio"))


@pytest.mark.parametrize("name", MAKERS)
async def test_a_vector_verifies_and_none_of_its_neighbours(
    name: str, vectors: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, sent = MAKERS[name](vectors[name])
    secret = next(key for key in ("secret", "public_key", "signing_token") if key in options)
    other = {**options, secret: _another(options[secret], is_encoded=options["type"] != "stripe")}
    sources = {"here": options, "there": other}
    async with running(tmp_path, sources, monkeypatch) as site:
        site.clock.now = _moment(vectors[name])
        for what, changed in mutations(sent).items():
            status, _, answer = await site.send("here", changed)
            assert (status, json.loads(answer)["error"]) in {(401, "signature"), (401, "timestamp")}, what
        assert (await site.send("there", sent))[0] == 401, "another secret"
        if _is_url_signed(name):
            mark = "&" if sent.query else "?"
            assert (await site.send("here", replace(sent, query=f"{sent.query}{mark}a=b")))[0] == 401, "another URL"
        assert await site.events("here") == []
        status, _, answer = await site.send("here", sent)
        assert status == 200, answer
        stored = len(await site.events("here"))
        assert stored == (0 if name in {"hubspot_v3_query_decoded", "xero", "asana", "meta"} else 1)
        assert (await site.send("here", sent))[0] == 200
        assert len(await site.events("here")) == stored
        if "timestamp" in sent.headers or name in {"stripe", "linear"} or vectors[name].get("timestamp"):
            site.clock.now += timedelta(hours=3)
            status, _, answer = await site.send("here", sent)
            assert (status, json.loads(answer)["error"]) == (401, "timestamp")


async def test_every_vector_is_sent(vectors: dict[str, dict[str, Any]]) -> None:
    assert set(vectors) == set(MAKERS)


SECRET = "a-secret-of-sixteen-characters"
WHSEC = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
#: How each type is configured here. SNS has a key of its own; its messages are in a test of their own.
OPTIONS: dict[str, dict[str, Any]] = {
    "agave": {"authorization": SECRET},
    "agiled": {"secret": SECRET},
    "asana": {"secret": SECRET},
    "cloudevents": {"token": SECRET},
    "github": {"secret": SECRET},
    "gitlab": {"token": SECRET},
    "hubspot": {"secret": SECRET},
    "intercom": {"secret": SECRET},
    "linear": {"secret": SECRET},
    "meta": {"secret": SECRET, "verify_token": SECRET},
    "msgraph": {"secret": SECRET},
    "pipedrive": {"username": "ada", "password": SECRET},
    "procore": {"authorization": SECRET},
    "quickbooks": {"secret": SECRET},
    "shopify": {"secret": SECRET},
    "slack": {"secret": SECRET},
    "standard-webhooks": {"secret": WHSEC},
    "stripe": {"secret": SECRET},
    "svix": {"secret": WHSEC},
    "twilio": {"secret": SECRET},
    "typeform": {"secret": SECRET},
    "xero": {"secret": SECRET},
    "zendesk": {"secret": SECRET},
}
#: Files that hold no event, by their beginning.
NO_EVENTS = (
    "_",
    "handshake",
    "options_handshake",
    "url_verification",
    "validation_request",
    "vector_form",
    "verification_request",
)
#: Paths to a batch's events; a body of one event has none.
BATCHES = {"hubspot": "", "quickbooks": "", "xero": "events", "asana": "events", "msgraph": "value", "cloudevents": ""}
PUBLIC_URL = "https://hooks.example.com"
#: Headers that a signature covers and some documented bodies come without.
STANDING = {"standard-webhooks": {"webhook-id": "msg_1"}, "svix": {"svix-id": "msg_1"}}
#: Stripe's vector is an event without a type.
TYPELESS = {("stripe", "vector.json")}


def payloads(shared: Path, kind: str) -> list[tuple[str, bytes, dict[str, str]]]:
    """Return the documented bodies of a type: name, bytes, and the headers they come with, but for the proof."""
    folder = shared / "sources" / "payloads" / kind.replace("standard-webhooks", "standardwebhooks")
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(NO_EVENTS) or path.name.endswith(".headers.json"):
            continue
        beside = path.with_name(f"{path.stem}.headers.json")
        headers = json.loads(beside.read_text()) if beside.exists() else {}
        if path.suffix == ".txt" and not headers:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
        found.append((path.name, path.read_bytes(), {name.lower(): str(value) for name, value in headers.items()}))
    return found


def signed(kind: str, body: bytes, headers: Mapping[str, str], now: datetime, *, name: str = "") -> Sent:
    """Sign a body as its sender does, with the headers that it documents, for the source called `name`."""
    settings = SourceSettings(name=name, type=kind, options=OPTIONS[kind])
    source = declared_source(settings, batch_limit=1000, dedupe_window=timedelta(days=1))
    if kind == "linear" and b"webhookTimestamp" in body:
        body = re.sub(rb'("webhookTimestamp":\s*)\d+', rb"\g<1>%d" % int(now.timestamp() * 1000), body)
    headers = {"content-type": "application/json", **STANDING.get(kind, {}), **headers}
    draft = IncomingRequest(
        method="POST",
        subpath="",
        url=f"{PUBLIC_URL}/hooks/{name}",
        headers=tuple(headers.items()),
        query=(),
        client_ip="",
        body=body,
        received_at=now,
    )
    proof = source.declaration.verification.verifier.prove(draft)
    query = f"?{urlencode(proof.query)}" if proof.query else ""
    return Sent(headers={**headers, **proof.headers}, body=proof.body or body, query=query)


@pytest.mark.parametrize("kind", OPTIONS)
async def test_documented_bodies_become_events_once(
    kind: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = payloads(shared, kind)
    # A source each: two documents of one system may show the same event.
    sources = {f"{kind}{number}": {"type": kind, **OPTIONS[kind]} for number in range(len(bodies))}
    async with running(tmp_path, sources, monkeypatch, public_url=PUBLIC_URL) as site:
        for name, (file, body, headers) in zip(sources, bodies, strict=True):
            status, _, answer = await site.send(name, signed(kind, body, headers, site.clock.now, name=name))
            assert status in {200, 202}, (file, answer)
            events = await site.events(name)
            assert len({one.event.key for one in events}) == len(events) == _count(kind, body), file
            is_unreadable = {one.event.type == "unreadable" for one in events}
            assert is_unreadable == {(kind, file) in TYPELESS} or not events, file
            site.clock.now += timedelta(seconds=1)
            again = signed(kind, body, headers, site.clock.now, name=name)
            assert (await site.send(name, again))[0] in {200, 202}
            for alone in _apart(kind, body):
                sent = signed(kind, alone, headers, site.clock.now, name=name)
                assert (await site.send(name, sent))[0] in {200, 202}
            assert len(await site.events(name)) == len(events), f"{file} again"


def _elements(kind: str, body: bytes) -> list[Any] | None:
    """Return a batch's events; None if the body is one event, or nests them."""
    if kind not in BATCHES:
        return None
    document = json.loads(body)
    found = document.get(BATCHES[kind]) if BATCHES[kind] and isinstance(document, dict) else document
    return found if isinstance(found, list) else None


def _count(kind: str, body: bytes) -> int:
    """Return how many events a body holds, counted without our reader."""
    elements = _elements(kind, body)
    if elements is not None:
        return len(elements)
    document = json.loads(body) if body.lstrip().startswith(b"{") else {}
    if kind == "quickbooks":
        return sum(len(one["dataChangeEvent"]["entities"]) for one in document["eventNotifications"])
    if kind == "meta":
        return sum(len(entry.get("changes", entry.get("changed_fields", []))) for entry in document["entry"])
    return 1


def _apart(kind: str, body: bytes) -> list[bytes]:
    """Return each event of a batch in a batch of its own."""
    elements = _elements(kind, body) or []
    around = json.loads(body) if BATCHES.get(kind) and elements else None
    return [
        json.dumps([element] if around is None else {**around, BATCHES[kind]: [element]}).encode()
        for element in elements
    ]


async def test_messages_that_amazon_signed(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared / "sources" / "payloads" / "sns"
    if not folder.exists():
        pytest.skip(f"{folder} is not here")
    fetched: list[str] = []

    async def fetch(self: HttpOutside, url: str) -> bytes:
        fetched.append(url)
        return certificate

    certificate = await anyio.Path(folder / "signing_cert.pem").read_bytes()
    bodies = [await anyio.Path(folder / f"notification_v{version}_signed.json").read_bytes() for version in (1, 2)]
    monkeypatch.setattr(HttpOutside, "fetch", fetch)
    topics = [json.loads(body)["TopicArn"] for body in bodies]
    headers = {"content-type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
    stranger = {"type": "sns", "topics": ["arn:aws:sns:us-east-2:123456789012:another"]}
    sources = {"sns": {"type": "sns", "topics": topics}, "stranger": stranger}
    async with running(tmp_path, sources, monkeypatch) as site:
        for number, body in enumerate(bodies, 1):
            message = json.loads(body)
            site.clock.now = datetime.fromisoformat(message["Timestamp"])
            for name in ("Message", "MessageId", "Timestamp", "TopicArn", "Signature", "SignatureVersion"):
                value = message[name]
                turned = value[:5] + ("a" if value[5:6] != "a" else "b") + value[6:]
                changed = json.dumps({**message, name: turned}).encode()
                assert (await site.send("sns", Sent(headers=headers, body=changed)))[0] == 401, name
            assert (await site.send("stranger", Sent(headers=headers, body=body)))[0] == 401
            for _ in range(2):
                assert (await site.send("sns", Sent(headers=headers, body=body)))[0] == 200
                assert len(await site.events("sns")) == number
            event = (await site.events("sns"))[-1].event
            assert (event.sender_id, event.occurred_at) == (message["MessageId"], site.clock.now)
            site.clock.now += timedelta(hours=3)
            status, _, answer = await site.send("sns", Sent(headers=headers, body=body))
            assert (status, json.loads(answer)["error"]) == (401, "timestamp")
    assert fetched
    assert all(re.match(r"https://sns\.us-east-2\.amazonaws\.com/.*\.pem$", url) for url in fetched)
