"""Read `handshake` of a declaration: which requests are no events, and what they are answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hookline.daemon.sources.fields import Field, as_text, compile_field
from hookline.daemon.sources.options import Options, kind_of
from hookline.daemon.sources.places import Look, compile_look
from hookline.rules import Json

#: What a handshake may come by.
METHODS: Final = ("GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_WITH_BODY: Final = frozenset({"PATCH", "POST", "PUT"})
_TEXT_TYPES: Final = ("text/plain", "text/plain; charset=utf-8")
#: Where a subscription of Amazon SNS is confirmed; `*` is one label.
_SNS_HOSTS: Final[tuple[str, ...]] = ("sns.*.amazonaws.com", "sns.*.amazonaws.com.cn")
_HOST: Final = re.compile(r"(?:(?:[a-z0-9-]{1,63}|\*)\.)*[a-z0-9-]{1,63}\.[a-z]{2,63}")
# What JSON and forms alike write as it is: whatever else may stand there escaped.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]+")
_LAST_NAME: Final = re.compile(r"\.([A-Za-z0-9_-]+)$")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
# What the server says of its own answer, and what would make a browser obey.
_OWN_HEADERS: Final = frozenset(
    {"connection", "content-length", "content-type", "date", "keep-alive", "location", "refresh", "server",
     "set-cookie", "trailer", "transfer-encoding", "upgrade", "x-content-type-options"}
)  # fmt: skip
_PLACE_HINT: Final = "write a path ($.id), header.NAME, or query.NAME"
_ENTRY_HINT: Final = 'write {when: {$.type: url_verification}, answer: {text: "$.challenge"}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must stand at one place of a request."""

    look: Look
    #: One of these; None: anything that is not empty.
    wanted: frozenset[str] | None
    #: A body without one of these bytes does not fulfill it and need not be read. Empty if the bytes say nothing.
    needles: tuple[bytes, ...]
    is_in_body: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A URL that a sender asks to be fetched, to confirm that it is wanted."""

    at: Field
    #: What its host must match, whole: nothing else is ever fetched.
    hosts: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeAnswer:
    """What to answer."""

    status: int
    #: None: an empty body.
    text: Field | None
    #: By lower-case name; one that has nothing to say is left out.
    headers: Mapping[str, Field]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """One kind of request that is no event, or asks for something before it is one."""

    method: str
    conditions: tuple[Condition, ...]
    #: Whether it must pass the source's verification as events do.
    is_verified: bool
    #: Where a secret stands, and which ones are right.
    proof: Field | None
    secrets: tuple[bytes, ...] = field(repr=False)
    #: Where a secret stands that the sender brings.
    learn: Field | None
    visit: Visit | None
    #: None: after what it asks for, the request goes on as an event.
    answer: HandshakeAnswer | None
    #: Lower-case names of the headers that it reads.
    headers: frozenset[str]
    #: Names of the query parameters that it reads.
    query: frozenset[str]


def read_handshakes(options: Options) -> tuple[Handshake, ...] | None:
    """Read `handshake` of a declaration; () if there is none, and None, with problems, if something is wrong.

    What is null, here and in it, is not used: the option that it needs was not given.
    """
    value = options.get("handshake")
    if value is None:
        return ()
    listed = value if isinstance(value, list) else [value]
    before = len(options.problems)
    found = []
    for index, entry in enumerate(listed):
        if entry is None:
            continue
        if not isinstance(entry, dict):
            options.problem("handshake", f"expected a list of mappings, saw {kind_of(entry)} in it", _ENTRY_HINT)
            continue
        path = (*options.path_of("handshake"), index) if isinstance(value, list) else options.path_of("handshake")
        found.append(_Reader(Options(entry, path, options.problems)).read())
    return tuple(found) if len(options.problems) == before else None


class _Reader:
    """Reads one handshake, and gathers which headers and query parameters it looks at."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._headers: set[str] = set()
        self._query: set[str] = set()

    def read(self) -> Handshake:
        """Return it; what is wrong is among the problems, and then it is not to be used."""
        options = self._options
        method = options.choice("method", METHODS, "POST")
        conditions = self._conditions(method)
        is_verified = self._flag("verified")
        proof, secrets = self._proof()
        learn = self._field(options, "learn") if "learn" in options else None
        visit = self._visit(is_verified=is_verified) if "visit" in options else None
        answer = self._answer() if "answer" in options else None
        if answer is None and "answer" not in options and (visit is None or learn is not None):
            options.missing("answer", "write what to answer, such as {text: $.challenge} or {status: 204}")
        options.finish()
        return Handshake(
            method=method,
            conditions=conditions,
            is_verified=is_verified,
            proof=proof,
            secrets=secrets,
            learn=learn,
            visit=visit,
            answer=answer,
            headers=frozenset(self._headers),
            query=frozenset(self._query),
        )

    def _conditions(self, method: str) -> tuple[Condition, ...]:
        when = self._options.below("when", hint="write {$.type: url_verification} or {query.validationToken: any}")
        if when is None:
            if method in _WITH_BODY and "when" not in self._options:
                self._options.missing("when", f"without it every event that comes by {method} would be a handshake")
            return ()
        found = [self._condition(when, place) for place in _names(self._options.get("when"))]
        return tuple(one for one in found if one is not None)

    def _condition(self, when: Options, place: str) -> Condition | None:
        value = when.get(place)
        try:
            look = compile_look(place, self._headers, self._query)
        except ValueError as error:
            when.problem(place, str(error), _PLACE_HINT)
            return None
        wanted = None if value == "any" else _texts(value)
        if wanted is not None and (not wanted or None in wanted):
            when.problem(place, f"expected a text, a list of texts or `any`, saw {kind_of(value)}", "as in `any`")
            return None
        is_in_body = place.startswith(("$", "envelope."))
        return Condition(
            look=look,
            wanted=None if wanted is None else frozenset(one for one in wanted if one is not None),
            needles=_needles(place, wanted) if is_in_body else (),
            is_in_body=is_in_body,
        )

    def _flag(self, key: str) -> bool:
        value = self._options.get(key)
        if key in self._options and not isinstance(value, bool):
            self._options.problem(key, f"expected true or false, saw {kind_of(value)}", "write true, without quotes")
        return value is True

    def _proof(self) -> tuple[Field | None, tuple[bytes, ...]]:
        if self._options.get("secret") is None:
            return None, ()
        secret = self._options.below("secret", hint='write {at: query.hub.verify_token, is: "${VERIFY_TOKEN}"}')
        if secret is None:
            return None, ()
        at = self._field(secret, "at")
        if "is" not in secret:
            secret.missing("is", "write the secret that the sender was given, or a list of them")
        secrets = (secret.secrets("is") if "is" in secret else None) or ()
        secret.finish()
        return at, tuple(one.encode("utf-8", "surrogatepass") for one in secrets)

    def _visit(self, *, is_verified: bool) -> Visit | None:
        options = self._options
        if not is_verified:
            options.problem("visit", "anyone could have URLs fetched", "write `verified: true` beside it")
        hosts = _SNS_HOSTS
        if isinstance(options.get("visit"), str):
            at = self._field(options, "visit")
        else:
            visit = options.below("visit", hint="write {at: $.SubscribeURL, hosts: [sns.*.amazonaws.com]}")
            if visit is None:
                return None
            at, hosts = self._field(visit, "at"), visit.texts("hosts") or ()
            wrong = next((host for host in hosts if not _HOST.fullmatch(host)), None)
            if wrong is not None:
                visit.problem(
                    "hosts", f'"{wrong[:80]}" is no host', "write example.com, or *.example.com for one label"
                )
            elif "hosts" not in visit:
                visit.missing("hosts", "name the hosts that may be visited; no other is")
            visit.finish()
        pattern = "|".join(re.escape(host).replace(r"\*", "[a-z0-9-]{1,63}") for host in hosts)
        return None if at is None else Visit(at=at, hosts=re.compile(pattern, re.ASCII))

    def _answer(self) -> HandshakeAnswer | None:
        answer = self._options.below("answer", hint="write {status: 200, text: $.challenge}")
        if answer is None:
            return None
        status = answer.get("status")
        if "status" not in answer:
            status = 200
        if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 299:
            answer.problem("status", "expected a number from 200 to 299", "leave it out for 200")
            status = 200
        text = self._field(answer, "text", allow_literal=True) if answer.get("text") not in (None, "") else None
        if text is not None and status == 204:
            answer.problem("status", "204 has no body", "write 200")
        # No choice as yet: what a stranger sent is given back as plain text alone.
        answer.choice("content_type", _TEXT_TYPES, "text/plain")
        headers = self._answer_headers(answer)
        answer.finish()
        return HandshakeAnswer(status=status, text=text, headers=headers)

    def _answer_headers(self, answer: Options) -> Mapping[str, Field]:
        options = answer.below("headers", hint="write {X-Hook-Secret: header.X-Hook-Secret}")
        found: dict[str, Field] = {}
        if options is None:
            return found
        for name in _names(answer.get("headers")):
            spec = self._field(options, name, allow_literal=True)
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
                options.problem(name, f'"{name[:60]}" cannot be set here', "the server answers that itself")
            elif spec is not None:
                found[name.lower()] = spec
        return found

    def _field(self, options: Options, key: str, *, allow_literal: bool = False) -> Field | None:
        specs = options.texts(key)
        if specs is None:
            if key not in options:
                options.missing(key, _PLACE_HINT)
            return None
        try:
            compiled = compile_field(specs, allow_literal=allow_literal)
        except ValueError as error:
            options.problem(key, str(error), getattr(error, "hint", None) or _PLACE_HINT)
            return None
        self._headers |= compiled.headers
        self._query |= compiled.query
        return compiled


def _names(value: Json) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, dict) else ()


def _texts(value: Json) -> list[str | None]:
    return [as_text(one) for one in (value if isinstance(value, list) else [value])]


def _needles(place: str, wanted: list[str | None] | None) -> tuple[bytes, ...]:
    if wanted is None:
        name = _LAST_NAME.search(place)
        return (name[1].encode(),) if name else ()
    plain = [one.encode() for one in wanted if one is not None and _PLAIN.fullmatch(one)]
    return tuple(plain) if len(plain) == len(wanted) else ()
