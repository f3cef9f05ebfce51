"""Handshakes: how a sender asks, before it sends events, whether this URL is what it was given for."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from hookline.daemon.log import get_logger
from hookline.daemon.sources.body import UnreadableBodyError, read_body
from hookline.daemon.sources.fields import Field, as_text
from hookline.daemon.sources.handshake_declaration import Condition, Handshake, HandshakeAnswer, Visit, read_handshakes
from hookline.daemon.sources.headers import content_type_of, once
from hookline.daemon.sources.places import Facts
from hookline.daemon.sources.port import IncomingRequest, LearnedSecrets, Outside, Reply, RequestRejected
from hookline.rules import Json

__all__ = ["Handshake", "greet", "read_handshakes"]

#: What is given back of what a stranger sent, and no more.
MAX_REFLECTED: Final = 1_024
# Never anything that a browser would run, whatever stands in it.
_HEADERS: Final[Mapping[str, str]] = {"x-content-type-options": "nosniff"}
_CONTENT_TYPE: Final = "text/plain; charset=utf-8"
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
_FORGET_STEP: Final = "if that was not your webhook: `hookline sources {} --forget`, and give it a path_token"


async def greet(  # noqa: PLR0913 - what a source has, each once
    handshakes: Sequence[Handshake],
    request: IncomingRequest,
    *,
    name: str,
    verify: Callable[[IncomingRequest], None],
    outside: Outside | None,
    learned: LearnedSecrets | None,
) -> Reply | None:
    """Do what the first handshake that a request is asks for; None if it is none, or an event all the same.

    `name` is the source's. Raises `RequestRejected`: 403 `handshake` for a wrong secret or one that nobody waits for,
    400 for what cannot be given back, what `verify` raises, and 503 if a URL cannot be fetched.
    """
    body = _Body(request)
    for handshake in handshakes:
        if handshake.method != request.method:
            continue
        facts = _facts(handshake, request, body)
        if facts is None:
            continue
        if handshake.is_verified:
            verify(request)
        if handshake.proof is not None:
            _prove(handshake.proof, handshake.secrets, facts)
        if handshake.learn is not None:
            await _learn(handshake.learn, facts, request, name, learned)
        if handshake.visit is not None:
            await _visit(handshake.visit, facts, outside)
        if handshake.answer is None:
            return None
        return replace(_reply(handshake.answer, facts), detail=_detail(handshake))
    return None


def _detail(handshake: Handshake) -> str:
    # Names and words of the declaration alone: what a stranger sent is not for the log.
    found = [f"header.{name}" for name in sorted(handshake.headers)]
    found += [f"query.{name}" for name in sorted(handshake.query)]
    found += [word for one in handshake.conditions if one.is_in_body for word in sorted(one.wanted or ())]
    return f" with {', '.join(found)}" if found else ""


class _Body:
    """A body that is read once, and only if a handshake has to."""

    def __init__(self, request: IncomingRequest) -> None:
        self._request = request
        self._is_read = False
        self._document: Json = None

    def has_one_of(self, needles: tuple[bytes, ...]) -> bool:
        return not needles or any(needle in self._request.body for needle in needles)

    def document(self) -> Json:
        if not self._is_read:
            self._is_read = True
            try:
                self._document = read_body(self._request.body, content_type_of(self._request))
            except UnreadableBodyError:
                # It is no handshake then. As an event it will be `unreadable`, with what is wrong with it.
                self._document = None
        return self._document


def _facts(handshake: Handshake, request: IncomingRequest, body: _Body) -> Facts | None:
    """Return what the handshake is read from; None if the request is another one."""
    outer = Facts(
        payload=None,
        envelope=None,
        pointer=None,
        headers=once(request.headers, handshake.headers),
        query=once(request.query, handshake.query),
    )
    inner = [one for one in handshake.conditions if one.is_in_body]
    if not all(_holds(one, outer) for one in handshake.conditions if not one.is_in_body):
        return None
    if not inner:
        return outer if request.method in {"GET", "HEAD", "OPTIONS"} else outer._replace(payload=body.document())
    if not all(body.has_one_of(one.needles) for one in inner):
        return None
    facts = outer._replace(payload=body.document(), envelope=body.document())
    return facts if all(_holds(one, facts) for one in inner) else None


def _holds(condition: Condition, facts: Facts) -> bool:
    found = condition.look(facts)
    if condition.wanted is None:
        return found is not None and found not in ("", [], {})
    return as_text(found) in condition.wanted


def _prove(proof: Field, secrets: tuple[bytes, ...], facts: Facts) -> None:
    given = (proof.text(facts) or "").encode("utf-8", "surrogatepass")
    # All are compared, so that the time says nothing about which one is near.
    if not sum([hmac.compare_digest(given, secret) for secret in secrets]):
        raise RequestRejected("handshake", 403, "the secret of the handshake is missing or wrong")


async def _learn(
    learn: Field, facts: Facts, request: IncomingRequest, name: str, learned: LearnedSecrets | None
) -> None:
    secret = learn.text(facts) or ""
    given = secret.encode("utf-8", "surrogatepass")
    if learned is not None and sum([hmac.compare_digest(given, one.encode()) for one in learned.known(name)]):
        # Sent again, since the answer to it was lost.
        return
    if learned is None or not learned.is_waiting(name):
        raise RequestRejected("handshake", 403, "no secret is waited for")
    await learned.learn(name, secret)
    get_logger().warning(
        "source.learned", source=name, client_ip=request.client_ip, next_step=_FORGET_STEP.format(name)
    )


async def _visit(visit: Visit, facts: Facts, outside: Outside | None) -> None:
    url = visit.at.text(facts) or ""
    if outside is None or not _is_on(url, visit.hosts):
        raise RequestRejected("handshake", 403, "the URL to confirm is not on a host that may be visited")
    await outside.fetch(url)


def _is_on(url: str, hosts: re.Pattern[str]) -> bool:
    if not url.isascii() or not url.isprintable() or len(url) > 2_048:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    # Compared as it stands in the URL, so that no user name, port or upper case makes two readers see two hosts.
    return parts.scheme == "https" and hosts.fullmatch(parts.netloc) is not None


def _reply(answer: HandshakeAnswer, facts: Facts) -> Reply:
    headers = dict(_HEADERS)
    for name, spec in answer.headers.items():
        value = spec.text(facts)
        if value is not None:
            if len(value) > MAX_REFLECTED or not _PRINTABLE.fullmatch(value):
                raise RequestRejected("handshake", 400, f"what {name} should hold is no printable ASCII, or too long")
            headers[name] = value
    if answer.text is None:
        return Reply(status=answer.status, headers=headers)
    text = answer.text.text(facts)
    if text is None:
        raise RequestRejected("handshake", 400, f"nothing to give back at {' or '.join(answer.text.specs)}")
    if len(text) > MAX_REFLECTED:
        raise RequestRejected("handshake", 400, f"more than {MAX_REFLECTED:,} characters to give back")
    headers["content-type"] = _CONTENT_TYPE
    return Reply(status=answer.status, headers=headers, body=text.encode("utf-8", "replace"))
