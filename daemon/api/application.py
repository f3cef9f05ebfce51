"""The admin listener's application: the API below /api/v1, health and metrics. Pages are added to it by the site."""

from __future__ import annotations

import hashlib
import inspect
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final, Protocol, cast

import anyio.to_thread
from quart import Quart, Response, g, request
from structlog.typing import FilteringBoundLogger
from werkzeug.exceptions import HTTPException, InternalServerError

from hookline.daemon.access.guard import SAFE, Admission, Asking, Guard
from hookline.daemon.api.areas import AREAS
from hookline.daemon.api.endpoint import Call, Endpoint
from hookline.daemon.api.openapi import document
from hookline.daemon.api.parameters import read_parameters
from hookline.daemon.api.problem import Content, ProblemError
from hookline.daemon.api.running import Running
from hookline.daemon.asked import AskedError
from hookline.daemon.metrics.scrape import CONTENT_TYPE as METRICS_TYPE
from hookline.daemon.sources.body import UnreadableBodyError, read_body
from hookline.daemon.store.port import StoreError
from hookline.rules import Json

#: Requests to the admin listener are small.
MAX_BODY_BYTES: Final = 1 << 20
ROOT: Final = "/api/v1"
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
#: What anybody may ask who may connect: load balancers have no token.
_OPEN: Final = frozenset({"/healthz", "/readyz"})
#: For every answer that is no page: nothing in it is to be run, framed, or kept by a browser.
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Pages(Protocol):
    """What answers the paths that people look at."""

    def owns(self, path: str) -> bool:
        """Say whether that path is a page's."""
        ...

    async def problem(self, status: int, title: str, detail: str) -> Response:
        """Return a page that says what is wrong."""
        ...


class AdminApplication(Quart):
    """Answers what the admin listener is asked."""

    def __init__(self, daemon: Running, *, guard: Guard, log: FilteringBoundLogger) -> None:
        """Add all endpoints; `guard` is asked first, whatever is called."""
        super().__init__("hookline.admin", static_folder=None, template_folder=None)
        self.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
        # A redirect to the path with one slash fewer is no answer to a program.
        self.url_map.merge_slashes = False
        self._daemon = daemon
        self._guard = guard
        self._log = log
        #: None: there are no pages.
        self.pages: Pages | None = None
        self.before_request(self._admit)
        self.after_request(self._finish)
        self._add_health()
        for area in AREAS:
            for endpoint in area.endpoints:
                self._add(endpoint)
        self.register_error_handler(ProblemError, self._problem_error)
        self.register_error_handler(AskedError, self._asked_error)
        self.register_error_handler(StoreError, self._store_error)
        self.register_error_handler(HTTPException, self._http_error)

    async def _admit(self) -> None:
        asking = asking_of_request()
        self._guard.check_name(asking)
        self._guard.check_origin(asking)
        if request.path not in _OPEN and not self._is_page(request.path):
            g.admission = self._guard.admit(asking)

    def _is_page(self, path: str) -> bool:
        return self.pages is not None and self.pages.owns(path)

    def _add_health(self) -> None:
        daemon = self._daemon

        @self.get("/healthz")
        async def healthz() -> Response:
            return _json({"status": "ok"})

        @self.get("/readyz")
        async def readyz() -> Response:
            trouble = daemon.trouble()
            if trouble is not None:
                return _json({"status": "not ready", "store": trouble}, status=503)
            if not daemon.is_ready():
                return _json({"status": "not ready"}, status=503)
            degraded = [*daemon.degraded()]
            # Ready all the same: a mistake on disk must not take a daemon that works out of a load balancer.
            return _json({"status": "ready", "degraded": degraded} if degraded else {"status": "ready"})

        @self.get("/metrics")
        async def metrics() -> Response:
            return Response(await daemon.scrape.text(), content_type=METRICS_TYPE)

        @self.get(f"{ROOT}/openapi.json")
        async def openapi() -> Response:
            # Read from the source of every shape when it is first asked for: not in the way of what is received.
            return _tagged(await anyio.to_thread.run_sync(document))

    def _add(self, endpoint: Endpoint) -> None:
        async def answer(**names: str) -> Response:
            return await self._answer(endpoint, names)

        rule = ROOT + endpoint.path.replace("{", "<").replace("}", ">")
        name = endpoint.function.__name__
        self.add_url_rule(rule, endpoint=f"api_{name}", view_func=answer, methods=[endpoint.method])

    async def _answer(self, endpoint: Endpoint, names: Mapping[str, str]) -> Response:
        admission: Admission = g.admission
        self._guard.check_scope(admission.caller, endpoint.scope)
        asked = read_parameters(endpoint, path=names, query=_query())
        body = await _body(endpoint) if endpoint.method == "POST" else None
        call = Call(
            daemon=self._daemon,
            caller=admission.caller,
            asked=asked,
            body=body,
            last_event_id=request.headers.get("Last-Event-ID"),
        )
        said = endpoint.function(call)
        if inspect.isawaitable(said):
            said = await said
        if isinstance(said, Content):
            return Response(said.body, content_type=said.content_type, headers=dict(said.headers))
        if isinstance(said, AsyncIterator):
            return await _stream(said, admission)
        return _tagged(said) if request.method in SAFE else _json(said, status=endpoint.status)

    async def _finish(self, response: Response) -> Response:
        if not self._is_page(request.path):
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    async def _problem_error(self, error: ProblemError) -> Response:
        return await self._problem(error.status, error.title, error.detail, error.headers)

    async def _asked_error(self, error: AskedError) -> Response:
        return await self._problem(422, "Cannot be done as asked", str(error))

    async def _store_error(self, error: StoreError) -> Response:
        return await self._problem(503, "The store cannot do it now", str(error), {"Retry-After": "5"})

    async def _http_error(self, error: HTTPException) -> Response:
        headers = {name: value for name, value in error.get_headers() if name == "Allow"}
        if isinstance(error, InternalServerError) and error.original_exception is not None:
            detail = f"a fault of Hookline, logged as admin.fault {g.get('fault', '')}: please report it"
            return await self._problem(500, "Fault", detail)
        if error.code == 404:
            what = "no page is called so" if self._is_page(request.path) else "nothing is called so"
            return await self._problem(404, "Not found", f"{what}: {ROOT}/openapi.json lists what the API answers")
        return await self._problem(error.code or 500, error.name, error.description or "", headers)

    async def _problem(
        self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        if self.pages is not None and self.pages.owns(request.path):
            response = await self.pages.problem(status, title, detail)
        else:
            response = _json({"status": status, "title": title, "detail": detail}, status=status)
            response.content_type = _PROBLEM
        response.headers.update(headers or {})
        return response

    def log_exception(self, exception_info: Any) -> None:
        """Log what nobody foresaw, once, with what its answer calls it. Called by Quart."""
        g.fault = secrets.token_hex(4)
        self._log.error("admin.fault", fault=g.fault, path=request.path, exc_info=exception_info)


def asking_of_request() -> Asking:
    """Return what the guard looks at in the request that is being answered."""
    return Asking(
        method=request.method,
        host=request.host,
        headers=cast(Mapping[str, str], request.headers),
        query=request.query_string.decode("utf-8", "replace"),
        cookies=request.cookies,
        address=request.remote_addr or "",
    )


def _query() -> str:
    try:
        return str(request.query_string.decode())
    except UnicodeDecodeError as error:
        raise ProblemError(400, "Cannot be asked so", "the query is not UTF-8") from error


async def _body(endpoint: Endpoint) -> Json:
    # Not Quart's own reading: bytes that are not UTF-8, and deep nesting, are a 500 there.
    body = cast(bytes, await request.get_data(as_text=False))
    is_empty = not body and not request.mimetype
    if is_empty and endpoint.brings is None:
        return None
    # A form of another site's page can send neither this type nor, without our leave, a preflight's request.
    if request.mimetype != _JSON:
        raise ProblemError(415, "Unsupported media type", f"send {_JSON}")
    try:
        return read_body(body, _JSON)
    except UnreadableBodyError as error:
        raise ProblemError(400, "Not JSON", str(error)) from error


async def _stream(chunks: AsyncIterator[str], admission: Admission) -> Response:
    """Return an answer that goes on. Raises what the first chunk raises, so that a refusal still has a status."""
    if request.method == "HEAD":
        return Response(b"", content_type="text/event-stream")
    async with AsyncExitStack() as stack:
        if inspect.isasyncgen(chunks):
            await stack.enter_async_context(aclosing(chunks))
        first = await anext(chunks, "")
        kept = stack.pop_all()
    response = Response(_while_good(first, chunks, admission, kept), content_type="text/event-stream")
    response.timeout = None
    # nginx would collect it.
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _while_good(
    first: str, chunks: AsyncIterator[str], admission: Admission, stack: AsyncExitStack
) -> AsyncIterator[bytes]:
    async with stack:
        yield first.encode()
        async for chunk in chunks:
            if not admission.is_good():
                return
            yield chunk.encode()


def _written(value: object) -> bytes:
    # ASCII: whatever a payload holds, lone surrogates too, can be written so.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _json(value: object, *, status: int = 200) -> Response:
    return Response(_written(value), status=status, content_type=_JSON)


def _tagged(value: object) -> Response:
    """Return JSON with its tag; without the JSON if who asks has it (RFC 9110, 13.1.2)."""
    body = _written(value)
    tag = hashlib.sha256(body).hexdigest()[:32]
    answer = Response(body, content_type=_JSON)
    if request.if_none_match.contains_weak(tag) or request.if_none_match.star_tag:
        answer = Response(b"", status=304)
        answer.headers.pop("Content-Type", None)
    answer.set_etag(tag)
    return answer
