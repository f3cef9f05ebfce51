"""The Quart applications: the admin API behind its token, and what the public listener answers besides /hooks."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from quart import Quart, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from hookline.daemon.asked import USER_HEADER, AskedError
from hookline.daemon.config.load import ConfigError
from hookline.daemon.deleting.deleter import Progress, tally_json
from hookline.daemon.deleting.request import DeletionRequest
from hookline.daemon.destinations.states import DestinationState
from hookline.daemon.destinations.tester import DestinationTestError, SentTest
from hookline.daemon.reload.live import ReloadFaultError
from hookline.daemon.reload.live_sources import LearnsNothingError
from hookline.daemon.replaying.answer import Cancelled, Preview, Replayed
from hookline.daemon.replaying.request import CancelRequest, ReplayRequest
from hookline.daemon.sources.body import UnreadableBodyError, read_body
from hookline.daemon.store.changes import Audit
from hookline.daemon.store.port import StoreError
from hookline.daemon.store.stored import Tally
from hookline.rules import Json, RulesError

#: Requests to the admin API are small.
MAX_BODY_BYTES = 1 << 20
_MOST_NAME = 64


class ProblemError(Exception):
    """A request to the admin API that cannot be answered; becomes problem details (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        """Say what is wrong and what to do."""
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """What the admin API can ask of the daemon."""

    #: What the daemon says of itself.
    status: Callable[[], Mapping[str, Any]]
    #: Whether it can take events now.
    is_ready: Callable[[], bool]
    #: Reload everything; returns the version of the rules, raises `ConfigError`, `RulesError`, `ReloadFaultError`.
    reload: Callable[[], Awaitable[str]]
    #: Make new deliveries, or say which; raises `AskedError`.
    replay: Callable[[ReplayRequest], Awaitable[Preview | Replayed]]
    #: Cancel what waits, or say which; raises `AskedError`.
    cancel: Callable[[CancelRequest], Awaitable[Preview | Cancelled]]
    #: How each destination stands.
    destinations: Callable[[], Awaitable[Sequence[DestinationState]]]
    #: Send one test to a destination with these options; raises `KeyError` and `DestinationTestError`.
    test_destination: Callable[[str, Mapping[str, Any]], Awaitable[SentTest]]
    #: Hold (True) or release (False) a destination's lane, with the reason; raises `KeyError` for an unknown one.
    set_held: Callable[[str, bool, str], Awaitable[None]]
    #: What is known of each source, its name first.
    sources: Callable[[], Sequence[Mapping[str, Any]]]
    #: Let a source take one more secret of its sender's; raises `KeyError` and `LearnsNothingError`.
    await_secret: Callable[[str], None]
    #: Forget a source's learned secrets; returns how many there were, raises as `await_secret`.
    forget_secrets: Callable[[str], Awaitable[int]]
    #: What is the matter with the store: its kind, why, since when; None if nothing is.
    trouble: Callable[[], Mapping[str, str] | None] = lambda: None
    #: Note a backup that another process made and verified; raises `ValueError` and `StoreError`.
    note_backup: Callable[[Mapping[str, Any]], Awaitable[None]]
    #: Remove events for good, as this user asks, and return the deletion's number; or say what would be removed.
    delete: Callable[[DeletionRequest, str], Awaitable[Tally | int]]
    #: How far a deletion has come; raises `KeyError`.
    deletion: Callable[[int], Awaitable[Progress]]
    #: Note in the audit what was done.
    note_done: Callable[[Audit], Awaitable[None]]
    #: Why what runs is not what is on disk; empty if it is.
    degraded: Callable[[], Sequence[str]] = tuple


def public_application() -> Quart:
    """Return what the public listener answers besides /hooks: that it is alive, and nothing about itself."""
    app = Quart("hookline.public")
    app.config["MAX_CONTENT_LENGTH"] = 4096

    @app.get("/healthz")
    async def healthz() -> Response:
        return jsonify(status="ok")

    app.register_error_handler(HTTPException, _http_error)
    return app


def admin_application(
    operations: Operations, *, token: str, registry: CollectorRegistry, hosts: frozenset[str]
) -> Quart:
    """Return the admin listener's application.

    Every path but /healthz and /readyz needs `Authorization: Bearer <token>`. `hosts` are the names it may be called
    by: a page on another name that resolves to this address (DNS rebinding) is refused.
    """
    app = Quart("hookline.admin")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(partial(_guard, expected=f"Bearer {token}".encode(), hosts=hosts))
    _add_health(app, operations, registry)
    _add_operations(app, operations)
    _add_deletions(app, operations)
    _add_backups(app, operations)
    _add_destinations(app, operations)
    _add_sources(app, operations)
    app.register_error_handler(ProblemError, _problem_error)
    app.register_error_handler(StoreError, _store_error)
    app.register_error_handler(HTTPException, _http_error)
    return app


async def _guard(*, expected: bytes, hosts: frozenset[str]) -> None:
    name = request.host.rsplit(":", 1)[0].strip("[]").lower()
    if name not in hosts:
        raise ProblemError(421, "Misdirected request", f"this listener is not called {name!r}")
    if request.path in {"/healthz", "/readyz"}:
        return
    given = request.headers.get("Authorization", "").encode("utf-8", "replace")
    if not hmac.compare_digest(given, expected):
        raise ProblemError(401, "Unauthorized", "send the admin token as `Authorization: Bearer …`")
    if request.method == "POST" and request.mimetype != "application/json":
        raise ProblemError(415, "Unsupported media type", "send application/json")


def _add_health(app: Quart, operations: Operations, registry: CollectorRegistry) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        return jsonify(status="ok")

    @app.get("/readyz")
    async def readyz() -> tuple[Response, int]:
        trouble = operations.trouble()
        if trouble is not None:
            return jsonify(status="not ready", store=trouble), 503
        if not operations.is_ready():
            return jsonify(status="not ready"), 503
        degraded = operations.degraded()
        # Ready all the same: a mistake on disk must not take a daemon that works out of a load balancer.
        return jsonify(status="ready", degraded=[*degraded]) if degraded else jsonify(status="ready"), 200

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    @app.get("/api/v1/status")
    async def status() -> Response:
        return jsonify(operations.status())


def _add_operations(app: Quart, operations: Operations) -> None:
    @app.post("/api/v1/reload")
    async def reload() -> Response:
        try:
            return jsonify(version=await operations.reload())
        except RulesError as error:
            raise ProblemError(422, "The rules on disk are bad; the old ones stay", str(error)) from error
        except ConfigError as error:
            raise ProblemError(422, "The configuration on disk is bad; the old one stays", str(error)) from error
        except ReloadFaultError as error:
            raise ProblemError(500, "The reload failed by a fault of Hookline; nothing changed", str(error)) from error

    @app.post("/api/v1/replay")
    async def replay() -> Response:
        try:
            done = await operations.replay(ReplayRequest.from_json(await _json()))
        except AskedError as error:
            raise ProblemError(422, "Cannot be replayed", str(error)) from error
        if isinstance(done, Replayed) and done.count:
            subject = done.first if done.count == 1 else f"{done.first} to {done.last}"
            await operations.note_done(Audit(who=_who(), what="replay", subject=str(subject), count=done.count))
        return jsonify(done.to_json())

    @app.post("/api/v1/cancel")
    async def cancel() -> Response:
        try:
            asked = CancelRequest.from_json(await _json())
            done = await operations.cancel(asked)
        except AskedError as error:
            raise ProblemError(422, "Cannot be cancelled", str(error)) from error
        if isinstance(done, Cancelled) and done.count:
            subject = asked.deliveries[0] if len(asked.deliveries) == 1 else ""
            await operations.note_done(Audit(who=_who(), what="cancel", subject=subject, count=done.count))
        return jsonify(done.to_json())


def _add_deletions(app: Quart, operations: Operations) -> None:
    @app.post("/api/v1/events/delete")
    async def delete() -> tuple[Response, int]:
        try:
            said = await operations.delete(DeletionRequest.from_json(await _json()), _who())
        except AskedError as error:
            raise ProblemError(422, "Cannot be deleted", str(error)) from error
        if isinstance(said, Tally):
            return jsonify(tally_json(said)), 200
        return jsonify((await operations.deletion(said)).to_json()), 202

    @app.get("/api/v1/deletions/<int:number>")
    async def deletion(number: int) -> Response:
        with _known("deletion", str(number)):
            return jsonify((await operations.deletion(number)).to_json())


def _add_backups(app: Quart, operations: Operations) -> None:
    @app.post("/api/v1/backups")
    async def note_backup() -> Response:
        said = await _json()
        try:
            await operations.note_backup(said if isinstance(said, dict) else {})
        except ValueError as error:
            raise ProblemError(422, "No backup", str(error)) from error
        return jsonify(noted=True)


def _add_destinations(app: Quart, operations: Operations) -> None:
    @app.get("/api/v1/destinations")
    async def destinations() -> Response:
        return jsonify(destinations=[state.to_json() for state in await operations.destinations()])

    @app.post("/api/v1/destinations/<name>/<any(hold, release):verb>")
    async def set_held(name: str, verb: str) -> Response:
        said = await _json()
        reason = said.get("reason", "") if isinstance(said, dict) else ""
        with _known("destination", name):
            await operations.set_held(name, verb == "hold", str(reason)[:500])
        await operations.note_done(Audit(who=_who(), what=verb, subject=name, reason=str(reason)))
        return jsonify(destination=name, held=verb == "hold")

    @app.post("/api/v1/destinations/<name>/test")
    async def test_destination(name: str) -> Response:
        said = await _json()
        options = said.get("options", {}) if isinstance(said, dict) else None
        if not isinstance(options, dict):
            raise ProblemError(422, "Cannot be tested", 'send {"options": {…}}, or {}')
        try:
            with _known("destination", name):
                sent = await operations.test_destination(name, options)
        except DestinationTestError as error:
            raise ProblemError(422, "Its options are not whole", str(error)) from error
        return jsonify(sent.to_json())


def _add_sources(app: Quart, operations: Operations) -> None:
    @app.get("/api/v1/sources")
    async def sources() -> Response:
        return jsonify(sources=operations.sources())

    @app.post("/api/v1/sources/<name>/await")
    async def await_secret(name: str) -> Response:
        with _source_errors(name):
            operations.await_secret(name)
        return jsonify(source=name, waiting=True)

    @app.post("/api/v1/sources/<name>/forget")
    async def forget_secrets(name: str) -> Response:
        with _source_errors(name):
            return jsonify(source=name, forgotten=await operations.forget_secrets(name))


@contextmanager
def _known(what: str, name: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise ProblemError(404, "Not found", f"no {what} {name!r}") from error


@contextmanager
def _source_errors(name: str) -> Iterator[None]:
    try:
        with _known("source", name):
            yield
    except LearnsNothingError as error:
        detail = f"the sender of {name!r} brings no secret: it stands in the configuration"
        raise ProblemError(409, "The source learns no secret", detail) from error


def _who() -> str:
    """Return who asks, as the command line says it; the token is what admits, not the name."""
    return request.headers.get(USER_HEADER, "")[:_MOST_NAME] or "api"


async def _json() -> Json:
    # Not Quart's own: bytes that are not UTF-8, and deep nesting, are a 500 there.
    body = await request.get_data(as_text=False)
    assert isinstance(body, bytes)  # noqa: S101 - what `as_text=False` says
    try:
        return read_body(body, "application/json")
    except UnreadableBodyError as error:
        raise ProblemError(400, "Not JSON", str(error)) from error


async def _problem_error(error: ProblemError) -> tuple[Response, int]:
    return _problem(error.status, error.title, error.detail)


async def _store_error(error: StoreError) -> tuple[Response, int]:
    return _problem(503, "The store cannot do it now", str(error))


async def _http_error(error: HTTPException) -> tuple[Response, int]:
    return _problem(error.code or 500, error.name, error.description or "")


def _problem(status: int, title: str, detail: str) -> tuple[Response, int]:
    response = jsonify(status=status, title=title, detail=detail)
    response.content_type = "application/problem+json"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response, status
