"""What a page is given: who looks, what was asked, and how to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from quart import Response
from werkzeug.datastructures import MultiDict

from hookline.daemon.api.caller import Caller, Scope
from hookline.daemon.api.endpoint import Call
from hookline.daemon.api.running import Running
from hookline.daemon.web.cookies import Cookies
from hookline.daemon.web.rendering import Templates
from hookline.daemon.web.said import seal
from hookline.rules import Json

A = TypeVar("A")
HTML: Final = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One request for a page, by somebody who may see it."""

    daemon: Running
    caller: Caller
    #: The page's own path, without its query.
    path: str
    query: MultiDict[str, str]
    #: What a form brought, its CSRF token checked; empty for a GET.
    form: MultiDict[str, str]
    #: Whether htmx asks, which replaces a part of the page: what `hx-select` names.
    is_partial: bool
    #: What a form of this page carries.
    csrf: str
    #: `light`, `dark` or `auto`.
    theme: str
    #: What the page before had to say.
    said: str | None
    templates: Templates
    cookies: Cookies

    def may(self, scope: Scope) -> bool:
        """Whether who looks may do what needs that scope: buttons that would be refused are not shown."""
        return self.caller.may(scope)

    def call(self, asked: A, body: Json = None) -> Call[A]:
        """Return what an endpoint is called with, as who looks."""
        return Call(daemon=self.daemon, caller=self.caller, asked=asked, body=body)

    async def render(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page. `api`, if given, is the URL below /api/v1 that answers the same as JSON."""
        html = await self.templates.render(template, view=self, now=self.daemon.clock(), status=status, **values)
        return Response(html, status=status, content_type=HTML)

    def go(self, path: str, said: str = "") -> Response:
        """Return an answer that sends the browser to a page of ours, which shows `said` once."""
        response = Response(b"", status=303, headers={"Location": path}, content_type=HTML)
        if said:
            self.cookies.set(response, self.cookies.said, seal(said, self.cookies.key), seconds=60)
        return response

    def without(self, *names: str) -> dict[str, list[str]]:
        """Return the query without some parameters: what a filter's or a pager's link keeps."""
        return {name: values for name, values in self.query.lists() if name not in names}
