"""System: what runs here, the store and its backups, reloads, actions, who may ask, and what was done by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from quart import Response

from hookline.daemon.api.audit import AuditAsked, list_audit
from hookline.daemon.api.endpoint import Nothing
from hookline.daemon.api.nodes import list_nodes
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.system import FactShape
from hookline.daemon.api.system import ActionAsked, list_actions, reload, show_action, show_config, show_system
from hookline.daemon.api.tokens import list_tokens
from hookline.daemon.web.filters import moment_of, text_of
from hookline.daemon.web.site import Site
from hookline.daemon.web.texts import flow, link, segment
from hookline.daemon.web.view import View

_AUDIT_SHOWN: Final = 10
#: Characters of the configuration that a page shows.
_MOST_TEXT: Final = 200_000


def add_pages(site: Site) -> None:
    """Add the pages."""
    site.page("/system")(_system)
    site.page("/system/config")(_config)
    site.page("/system/audit")(_audit)
    site.page("/system/actions/<action>")(_action)
    site.form("/system/reload")(_reload)


async def _system(view: View) -> Response:
    shown = await show_system(view.call(Nothing()))
    actions = await list_actions(view.call(Nothing()))
    audit = await list_audit(view.call(AuditAsked(limit=_AUDIT_SHOWN)))
    nodes = await list_nodes(view.call(Nothing()))
    tokens = await list_tokens(view.call(Nothing())) if view.may("admin") else None
    return await view.render(
        "system.html",
        api="/system",
        shown=shown,
        backup=_told(shown["store"]["backup"]),
        integrity=_told(shown["store"]["integrity"]),
        paused=view.daemon.pauses.states(),
        nodes=nodes,
        actions=actions,
        audit=audit,
        tokens=tokens and tokens["tokens"],
    )


async def _config(view: View) -> Response:
    text = (await show_config(view.call(Nothing()))).body.decode()
    return await view.render(
        "system_config.html",
        api="/config",
        text=text[:_MOST_TEXT],
        is_cut=len(text) > _MOST_TEXT,
        path=view.daemon.live.current.settings.path,
    )


async def _audit(view: View) -> Response:
    asked = AuditAsked(since=moment_of(view, "since"), before=text_of(view, "before"))
    shown = await list_audit(view.call(asked))
    return await view.render(
        "system_audit.html", api=link("/audit", since=asked.since, before=asked.before), audit=shown
    )


async def _action(view: View, action: str) -> Response:
    shown = await show_action(view.call(ActionAsked(action=action)))
    schema = shown["options"] or {}
    required = {*schema.get("required", ())}
    options = [
        (name, name in required, str(one.get("description", "")), _type(one))
        for name, one in schema.get("properties", {}).items()
    ]
    return await view.render("system_action.html", api=f"/actions/{segment(action)}", one=shown, options=options)


async def _reload(view: View) -> Response:
    try:
        done = await reload(view.call(Nothing(), {}))
    except ProblemError:
        # What is wrong stands on the page, with all that came before.
        return view.go("/system#reloads", "The reload was refused; what ran goes on.")
    return view.go("/system#reloads", f"Rules {done['version'][:6]} are live.")


def _told(fact: FactShape | None) -> dict[str, object] | None:
    """Return a fact for the template: what it says, and when it was."""
    if fact is None:
        return None
    said = fact["value"]
    at = said.get("at")
    return {**said, "when": at if isinstance(at, str) and _is_moment(at) else fact["at"]}


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _type(described: dict[str, object]) -> str:
    kind = described.get("type") or described.get("anyOf") or described.get("$ref") or described.get("enum") or ""
    return kind if isinstance(kind, str) else flow(kind)
