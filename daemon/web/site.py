"""The site: which function shows which page, who may see it, and what every answer carries."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import anyio.lowlevel
from quart import Quart, Response, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from hookline.daemon.access.brake import Brake
from hookline.daemon.access.session import Sessions
from hookline.daemon.api.caller import Caller, Scope
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.running import Running
from hookline.daemon.asked import AskedError
from hookline.daemon.store.port import StoreError
from hookline.daemon.web.cookies import Cookies
from hookline.daemon.web.places import back, login_url
from hookline.daemon.web.rendering import Templates
from hookline.daemon.web.said import unseal
from hookline.daemon.web.static_files import StaticFiles
from hookline.daemon.web.view import HTML, View

#: A page: it is given a `View`, and what stands in braces in its path by name.
Page: TypeAlias = Callable[..., Awaitable[Response]]
P = TypeVar("P", bound=Page)

#: The same-origin referrer, not none: without any, browsers send `Origin: null` with our own forms.
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FOREVER: Final = "public, max-age=31536000, immutable"
_NOT_OURS: Final = ("/api/", "/metrics", "/healthz", "/readyz")
_MOST_FIELDS: Final = 2_000
_THEMES: Final = frozenset({"light", "dark"})


class Site:
    """The pages of one daemon, on the admin listener's application."""

    def __init__(
        self,
        app: Quart,
        *,
        daemon: Running,
        sessions: Sessions,
        brake: Brake,
        on_look: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
    ) -> None:
        """Read the static files; nothing is added yet. `on_look` is called when somebody opens a page."""
        self._on_look = on_look
        self._app = app
        self._daemon = daemon
        self.sessions = sessions
        self.brake = brake
        self.cookies = Cookies(sessions)
        self._static = StaticFiles()
        self._templates = Templates(self._static)

    def add(self) -> None:
        """Add all pages and what they load."""
        # Here, not above: pages are declared on a Site.
        from hookline.daemon.web.pages import PAGES  # noqa: PLC0415

        self._app.add_url_rule("/static/<digest>/<name>", "static_file", self._static_file)
        for add_pages in PAGES:
            add_pages(self)

    async def warm(self) -> None:
        """Prepare all pages, beside what else goes on."""
        await self._templates.warm()

    def page(self, path: str, *, scope: Scope = "read") -> Callable[[P], P]:
        """Declare what shows a page: `async def events(view: View) -> Response`, at `/events/<event>` with `event`."""
        return self._declare("GET", path, scope)

    def form(self, path: str, *, scope: Scope = "operate") -> Callable[[P], P]:
        """Declare what takes a form, its CSRF token checked: it ends with `view.go(path, said)`."""
        return self._declare("POST", path, scope)

    def open_page(self, path: str, *, methods: tuple[str, ...] = ("GET",)) -> Callable[[P], P]:
        """Declare a page for everybody, which is given no `View`: login."""

        def declare(page: P) -> P:
            endpoint = f"page {' '.join(methods)} {path}"
            self._app.add_url_rule(path, endpoint, partial(self._open, page), methods=[*methods])
            return page

        return declare

    @staticmethod
    def owns(path: str) -> bool:
        """Say whether an error at that path is answered by a page."""
        return not path.startswith(_NOT_OURS)

    async def problem(self, status: int, title: str, detail: str) -> Response:
        """Return an error as a page with a next step."""
        caller = self.caller()
        template = "problem.html" if caller is not None else "problem_outside.html"
        values = {"status": status, "title": title, "detail": detail}
        if caller is not None:
            values["view"] = self._view(caller, MultiDict())
        html = await self._templates.render(template, now=self._daemon.clock(), theme=self._theme(), **values)
        return self.sealed(Response(html, status=status, content_type=HTML))

    async def show(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page for somebody who is not logged in."""
        html = await self._templates.render(template, theme=self._theme(), **values)
        return Response(html, status=status, content_type=HTML)

    def sealed(self, response: Response) -> Response:
        """Put on a page what each of them carries."""
        response.headers.update(HEADERS)
        response.headers["Cache-Control"] = "no-store"
        return response

    def _declare(self, method: str, path: str, scope: Scope) -> Callable[[P], P]:
        def declare(page: P) -> P:
            self._app.add_url_rule(path, f"page {method} {path}", partial(self._answer, page, scope), methods=[method])
            return page

        return declare

    async def _open(self, page: Page, **names: str) -> Response:
        return self.sealed(await page(**names))

    async def _answer(self, page: Page, scope: Scope, **names: str) -> Response:
        caller = self.caller()
        if caller is None:
            return self._to_login()
        if not caller.may(scope):
            detail = f"your token's scope is `{caller.scope}`; this needs `{scope}`: log in with a token that has it"
            return await self.problem(403, "Not with this token", detail)
        try:
            response = await self._shown(page, caller, names)
        except ProblemError as error:
            response = await self.problem(error.status, error.title, error.detail)
            response.headers.update(error.headers)
        except AskedError as error:
            response = await self.problem(422, "Cannot be done as asked", str(error))
        except StoreError as error:
            response = await self.problem(503, "The store cannot do it now", str(error))
        except HTTPException as error:
            response = await self.problem(error.code or 500, error.name, error.description or "")
        return self.sealed(response)

    async def _shown(self, page: Page, caller: Caller, names: dict[str, str]) -> Response:
        form: MultiDict[str, str] = MultiDict()
        if request.method == "POST":
            form = await read_form()
            if not hmac.compare_digest(form.get("csrf", "").encode("utf-8", "replace"), self._csrf().encode()):
                detail = "this form is of an earlier login: go back, load its page again, and send it from there"
                raise ProblemError(403, "The form is out of date", detail)
        view = self._view(caller, form)
        if not view.is_partial:
            # Who opens a page may open an event next, and what its rules send is rendered by a process of its own.
            await self._on_look()
        response = await page(view, **names)
        # Shown now: the next page does not say it again. A page that sends elsewhere may have said something new.
        if view.said is not None and response.status_code != 303:
            self.cookies.drop(response, self.cookies.said)
        return response

    def _view(self, caller: Caller, form: MultiDict[str, str]) -> View:
        said = request.cookies.get(self.cookies.said)
        return View(
            daemon=self._daemon,
            caller=caller,
            path=request.path,
            query=request.args,
            form=form,
            is_partial="HX-Request" in request.headers,
            csrf=self._csrf(),
            theme=self._theme(),
            said=None if said is None else unseal(said, self.cookies.key),
            templates=self._templates,
            cookies=self.cookies,
        )

    def caller(self) -> Caller | None:
        """Return who is logged in; None if nobody is."""
        return self.sessions.caller_of(request.cookies.get(self.cookies.session, ""))

    def _csrf(self) -> str:
        return self.sessions.csrf_of(request.cookies.get(self.cookies.session, ""))

    def _theme(self) -> str:
        chosen = request.cookies.get(self.cookies.theme, "")
        return chosen if chosen in _THEMES else "auto"

    def _to_login(self) -> Response:
        # What a form brought is lost, so it leads back to the page that it stood on.
        wanted = request.full_path.rstrip("?") if request.method == "GET" else back(request.headers.get("Referer"))
        if "HX-Request" in request.headers:
            # htmx would put the login page into a corner of the page; this has it go there.
            current = back(request.headers.get("HX-Current-URL"))
            response = Response(b"", status=401, headers={"HX-Redirect": login_url(current)}, content_type=HTML)
        else:
            response = Response(b"", status=303, headers={"Location": login_url(wanted)}, content_type=HTML)
        return self.sealed(response)

    async def _static_file(self, digest: str, name: str) -> Response:
        found = self._static.find(digest, name)
        if found is None:
            return await self.problem(404, "Not found", "this file is of another version: load the page again")
        response = Response(found.body, content_type=found.content_type)
        response.headers.update(HEADERS)
        response.headers["Cache-Control"] = _FOREVER
        return response


async def read_form() -> MultiDict[str, str]:
    """Return what the request's form brought. Raises `ProblemError` for what is no form, or a huge one."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise ProblemError(415, "Unsupported media type", "a form comes as application/x-www-form-urlencoded")
    body = await request.get_data(as_text=False)
    assert isinstance(body, bytes)  # noqa: S101 - what `as_text=False` says
    try:
        pairs = parse_qsl(
            body.decode("ascii", "replace"), keep_blank_values=True, errors="replace", max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:
        raise ProblemError(413, "Too many fields", f"a form has {_MOST_FIELDS} fields at most") from error
    return MultiDict(pairs)
