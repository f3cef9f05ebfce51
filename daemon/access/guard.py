"""Who may ask the admin listener: which names it answers to, whose page may write, whose token is good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final, NoReturn
from urllib.parse import parse_qsl, urlsplit

from hookline.daemon.access.brake import Brake
from hookline.daemon.access.session import Sessions
from hookline.daemon.access.tokens import Tokens
from hookline.daemon.api.caller import Caller, Scope
from hookline.daemon.api.problem import ProblemError
from hookline.daemon.asked import USER_HEADER

#: Methods that change nothing (RFC 9110, 9.2.1).
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: What people call a token in an address.
_IN_QUERY: Final = frozenset({"token", "access_token", "api_key", "apikey", "auth"})
_MOST_NAME: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What the guard looks at in a request."""

    method: str
    #: As sent: `localhost:8081`.
    host: str
    headers: Mapping[str, str]
    #: Undecoded.
    query: str
    cookies: Mapping[str, str]
    #: Of the peer; "" of a Unix socket.
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Somebody who may ask."""

    caller: Caller
    #: Whether their token or session is still good: asked again while a long answer goes on.
    is_good: Callable[[], bool]


class Guard:
    """One for all requests to the admin listener."""

    def __init__(self, *, tokens: Tokens, sessions: Sessions, brake: Brake, hosts: frozenset[str]) -> None:
        """`hosts` are the names, in lower case and without ports, that the listener may be called by."""
        self._tokens = tokens
        self._sessions = sessions
        self._brake = brake
        self._hosts = hosts

    def check_name(self, asking: Asking) -> None:
        """Refuse a page on another name that resolves to this address (DNS rebinding). Raises `ProblemError`."""
        name = host_name(asking.host)
        if name not in self._hosts:
            detail = f"this listener is not called {name[:100]!r}: behind a proxy, list the name under `admin.hosts`"
            raise ProblemError(421, "Misdirected request", detail)

    def check_origin(self, asking: Asking) -> None:
        """Refuse what another site's page would have written. Raises `ProblemError`.

        Browsers say where a request that writes comes from; programs do not, and send a token that no page has.
        """
        if asking.method in SAFE:
            return
        site = asking.headers.get("Sec-Fetch-Site")
        origin = asking.headers.get("Origin")
        if site is not None:
            is_ours = site in {"same-origin", "none"}
        else:
            # Older browsers, and plain HTTP from another machine.
            is_ours = origin is None or _host_of(origin) == asking.host.lower()
        if not is_ours:
            raise ProblemError(403, "Cross-site request", "another site's page may not write here")

    def admit(self, asking: Asking) -> Admission:
        """Return who asks the API. Raises `ProblemError`: 401 without a good token, 429 if they guess."""
        given = asking.headers.get("Authorization")
        if given is not None:
            return self._by_token(asking, given)
        if asking.method in SAFE and (found := self._by_cookie(asking)) is not None:
            return found
        if _has_token(asking.query):
            detail = "a token in the address is not taken: addresses are logged and shared. " + _HOW
            raise ProblemError(401, "Unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
        raise ProblemError(401, "Unauthorized", _HOW, headers={"WWW-Authenticate": "Bearer"})

    def check_scope(self, caller: Caller, scope: Scope) -> None:
        """Refuse what is more than they may. Raises `ProblemError`."""
        if caller.may(scope):
            return
        detail = f"this needs the scope {scope}; the token {caller.name[:_MOST_NAME]!r} has {caller.scope}"
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        raise ProblemError(403, "Not within the token's scope", detail, headers={"WWW-Authenticate": challenge})

    def _by_token(self, asking: Asking, given: str) -> Admission:
        scheme, _, token = given.partition(" ")
        # The scheme's case does not matter (RFC 9110, 11.1).
        caller = self._tokens.caller_of(token.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            self._refuse_guess(asking.address)
        name = caller.name
        user = asking.headers.get(USER_HEADER, "")[:_MOST_NAME]
        return Admission(
            caller=Caller(name=f"{name} ({user})" if user else name, scope=caller.scope),
            is_good=lambda: self._tokens.caller_of(token.strip()) is not None,
        )

    def _by_cookie(self, asking: Asking) -> Admission | None:
        cookie = asking.cookies.get(self._sessions.cookie)
        caller = self._sessions.caller_of(cookie) if cookie else None
        if cookie is None or caller is None:
            return None
        return Admission(caller=caller, is_good=lambda: self._sessions.caller_of(cookie) is not None)

    def _refuse_guess(self, address: str) -> NoReturn:
        wait = self._brake.wait(address)
        self._brake.failed(address)
        if wait is not None:
            seconds = ceil(wait.total_seconds())
            detail = f"too many wrong tokens from here: wait {seconds} s, or send a good one"
            raise ProblemError(429, "Too many wrong tokens", detail, headers={"Retry-After": str(seconds)})
        detail = "that token is not good: wrong, dropped or over. " + _HOW
        raise ProblemError(401, "Unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


_HOW: Final = "Send `Authorization: Bearer TOKEN`: the admin token, or one made by `hookline token add`"


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


def _host_of(origin: str) -> str | None:
    """Return host and port of an Origin as a Host header writes them; None for `null` and what is none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _has_token(query: str) -> bool:
    # Only to say why: what cannot be read is none.
    names = {name.lower() for name, _ in parse_qsl(query[:4096], keep_blank_values=True)}
    return not names.isdisjoint(_IN_QUERY)
