"""How an endpoint is declared: a function, whose signature says what is asked and what is answered.

From it come the route, the parameters' parsing, and the OpenAPI document, so none of them can differ from the code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from hookline.daemon.api.caller import Caller, Scope
from hookline.daemon.api.running import Running
from hookline.rules import Json

A = TypeVar("A")
Method: TypeAlias = Literal["GET", "POST", "DELETE"]


@dataclass(frozen=True, slots=True)
class Nothing:
    """The parameters of an endpoint that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[A]):
    """One request to an endpoint."""

    daemon: Running
    caller: Caller
    #: Its parameters: of the path and of the query, one dataclass.
    asked: A
    #: What a POST brings, as JSON; None otherwise.
    body: Json = None
    #: Of a stream that is resumed: the last `id` that its reader saw.
    last_event_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One thing that can be asked."""

    method: Method
    #: Below /api/v1: `/events/{event}`. What stands in braces is a field of `asked`; its other fields are the query's.
    path: str
    scope: Scope
    #: What answers it. Its docstring is what the document says; its parameter `Call[X]` names the dataclass of what is
    #: asked, whose fields are annotated `Annotated[type, "what it means"]`; its return type is what it answers: a
    #: TypedDict, `Content`, or an async iterator of text for a stream.
    function: Callable[[Call[Any]], Awaitable[Any] | AsyncIterator[str]]
    #: What a POST brings: a TypedDict, for the document. The function reads `call.body` itself, with words of its own.
    brings: type | None = None
    status: int = 200
    #: Answers other than that one, and those that every endpoint has: what each of them means.
    also: dict[int, str] = field(default_factory=dict)


class Area:
    """Endpoints about one thing, in the order in which they are declared."""

    def __init__(self, name: str, about: str) -> None:
        """`name` is its tag in the document; `about` a sentence."""
        self.name = name
        self.about = about
        self.endpoints: list[Endpoint] = []

    def get(
        self, path: str, *, scope: Scope = "read", also: dict[int, str] | None = None
    ) -> Callable[[Function], Function]:
        """Declare what answers a GET."""
        return self._declare("GET", path, scope=scope, also=also or {})

    def post(
        self,
        path: str,
        *,
        scope: Scope = "operate",
        brings: type | None = None,
        status: int = 200,
        also: dict[int, str] | None = None,
    ) -> Callable[[Function], Function]:
        """Declare what answers a POST."""
        return self._declare("POST", path, scope=scope, brings=brings, status=status, also=also or {})

    def delete(
        self, path: str, *, scope: Scope = "admin", also: dict[int, str] | None = None
    ) -> Callable[[Function], Function]:
        """Declare what answers a DELETE."""
        return self._declare("DELETE", path, scope=scope, also=also or {})

    def _declare(self, method: Method, path: str, **facts: Any) -> Callable[[Function], Function]:
        def declare(function: Function) -> Function:
            self.endpoints.append(Endpoint(method=method, path=path, function=function, **facts))
            return function

        return declare


Function = TypeVar("Function", bound=Callable[[Call[Any]], Any])
