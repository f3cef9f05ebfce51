"""The tokens that programs and people ask by: listed, made and dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, TypedDict

from hookline.daemon.access.tokens import TokenNameError
from hookline.daemon.api.caller import SCOPES, Scope
from hookline.daemon.api.endpoint import Area, Call, Nothing
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.api.shapes.system import NewToken, TokenShape, TokensShape
from hookline.daemon.asked import AskedError, object_of, text_of
from hookline.daemon.store.changes import Audit
from hookline.daemon.store.stored import StoredToken
from hookline.rules.units import parse_duration

TOKENS = Area("tokens", "Who may ask.")

_KEYS: Final = ("name", "scope", "expires_in")


class TokenAsked(TypedDict, total=False):
    """A token to be made."""

    #: 1 to 64 letters, digits, `.`, `_` or `-`; none has it yet.
    name: str
    #: What it may: `read`, `operate` or `admin`.
    scope: str
    #: A duration such as `90d`, after which it is over; left out: it lasts until it is dropped.
    expires_in: str


class DroppedToken(TypedDict):
    """A token that is good no more."""

    name: str
    dropped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNamed:
    """Which token."""

    name: Annotated[str, "Its name."]


@TOKENS.get("/tokens", scope="admin")
async def list_tokens(call: Call[Nothing]) -> TokensShape:
    """List the tokens that were made, by name; the configured one is not among them."""
    return {"tokens": [token_shape(one) for one in await call.daemon.tokens.list()]}


@TOKENS.post("/tokens", scope="admin", brings=TokenAsked, status=201, also={409: "There is a token of that name."})
async def make_token(call: Call[Nothing]) -> NewToken:
    """Make a token. What it is stands in this answer and nowhere else: only its hash is kept."""
    said = object_of(call.body, _KEYS, "send an object with `name` and `scope`")
    name, scope = text_of(said, "name"), _scope(said)
    if not name:
        raise AskedError("`name` says what the token is for, such as `ci`")
    try:
        made = await call.daemon.tokens.make(name, scope, expires_in=_duration(said))
    except TokenNameError as error:
        if error.is_taken:
            raise ProblemError(409, "The name is taken", str(error)) from error
        raise AskedError(str(error)) from error
    await call.daemon.commit.submit(
        Audit(who=call.caller.name, what="token.add", subject=name, count=1, reason=f"scope {scope}")
    )
    return {**token_shape(made.kept), "token": made.token}


@TOKENS.delete("/tokens/{name}")
async def drop_token(call: Call[TokenNamed]) -> DroppedToken:
    """Drop a token: whoever holds it is shut out at once, and pages and streams opened by it end."""
    name = call.asked.name
    if not await call.daemon.tokens.drop(name):
        raise ProblemError(404, "Not found", f"no token {name[:100]!r} was made: hookline token lists them")
    await call.daemon.commit.submit(Audit(who=call.caller.name, what="token.drop", subject=name, count=1))
    return {"name": name, "dropped": True}


def token_shape(one: StoredToken) -> TokenShape:
    """Return a token as the API writes it."""
    return {
        "name": one.name,
        "scope": one.scope,
        "created_at": one.created_at.isoformat(),
        "expires_at": _written(one.expires_at),
        "last_used_at": _written(one.last_used_at),
    }


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _scope(said: Mapping[str, Any]) -> Scope:
    written = text_of(said, "scope")
    for one in SCOPES:
        if one == written:
            return one
    raise AskedError(f"`scope` is one of {', '.join(SCOPES)}")


def _duration(said: Mapping[str, Any]) -> timedelta | None:
    written = text_of(said, "expires_in")
    if written is None:
        return None
    try:
        return parse_duration(written)
    except ValueError as error:
        raise AskedError(f"`expires_in`: {error}") from error
