"""How a sender shows that it knows the secret by sending it: a token, a user name with password, or nothing."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Protocol

from hookline.daemon.sources.body import read_body
from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.rules import Json


class Verifier(Protocol):
    """One way to check a request. Pure; never raises anything but `RequestRejected`."""

    #: Lower-case names of headers that hold a credential, or a signature made with it.
    credential_headers: frozenset[str]
    credential_query: frozenset[str]
    #: Whether `needs` ever asks for something.
    fetches: bool

    def needs(self, request: IncomingRequest) -> str | None:
        """Return the URL of a key that must be fetched and given to `add_key` before `verify`; None in most cases.

        Its host is one that the scheme names, whatever the request says.
        """
        ...

    def add_key(self, url: str, data: bytes) -> None:
        """Keep what stands at a URL that `needs` named. Raises `RequestRejected` (503, `certificate`): it is no key."""
        ...

    def verify(self, request: IncomingRequest) -> None:
        """Raise `RequestRejected` (401; 503 if what it `needs` is not there) unless the sender is who it should be."""
        ...

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:
        """Tell whether nobody but the sender can change these; if not, no dedupe key is made of them."""
        ...

    def prove(self, request: IncomingRequest) -> Proof:
        """Return what a sender with the first secret adds to the request. Raises `CannotProveError`."""
        ...


class SelfContained:
    """A verifier that has all it needs from the configuration."""

    fetches = False

    def needs(self, request: IncomingRequest) -> str | None:  # noqa: ARG002 - the protocol's
        """Ask for nothing."""
        return None

    def add_key(self, url: str, data: bytes) -> None:
        """Take no notice: nothing was asked for."""


class Proof:
    """What a sender adds to its request."""

    def __init__(
        self, headers: Mapping[str, str], query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> None:
        """Keep them; the last of `headers` is the one that a forger would have to guess.

        `query` is appended to the query that there is, in order. `body`, if given, is sent in the place of the
        request's: the secret stands in it.
        """
        self.headers = dict(headers)
        self.query = dict(query or {})
        self.body = body


class CannotProveError(ValueError):
    """A sample that cannot be signed with what is configured (a public key). Caught by `send`, which says so."""


def only_headers(request: IncomingRequest, names: frozenset[str]) -> dict[str, str]:
    """Return the values of some headers; one that is absent is not there.

    Raises `RequestRejected` if one stands twice, for the sender's proxy and we might each read another one, and if one
    is not ASCII.
    """
    found: dict[str, str] = {}
    for name, value in request.headers:
        if name in names:
            if name in found:
                count = sum(header == name for header, _ in request.headers)
                raise unsigned(f"there are {count} headers {name}")
            if not value.isascii():
                raise unsigned(f"{name} holds characters beyond ASCII")
            found[name] = value
    return found


def only_header(request: IncomingRequest, name: str) -> str | None:
    """Return a header's value, None if it is absent. Raises as `only_headers`."""
    return only_headers(request, frozenset((name,))).get(name)


def read_document(request: IncomingRequest) -> Json:
    """Return the body as `normalize` reads it, so that both see the same. Raises `UnreadableBodyError`."""
    content_type = next((value for name, value in request.headers if name == "content-type"), "")
    return read_body(request.body, content_type)


def unsigned(detail: str) -> RequestRejected:
    """Make the refusal of a request whose sender is not known."""
    return RequestRejected("signature", 401, detail)


class TokenVerifier(SelfContained):
    """A secret text in a header or query parameter."""

    def __init__(self, *, header: str | None, query: str | None, prefix: str, secrets: tuple[bytes, ...]) -> None:
        """Just one of `header` (lower case) and `query` is given; `prefix` stands before the secret."""
        self.credential_headers = frozenset({header} if header else ())
        self.credential_query = frozenset({query} if query else ())
        self._header = header
        self._query = query
        self._prefix = prefix
        self._secrets = secrets

    def verify(self, request: IncomingRequest) -> None:
        """Compare in constant time; the length of a secret is not one."""
        given = self._given(request)
        if not given.startswith(self._prefix):
            raise unsigned(f"{self._place} does not begin with {self._prefix.strip()!r}")
        token = given[len(self._prefix) :].encode("utf-8", "surrogatepass")
        if not any(hmac.compare_digest(token, secret) for secret in self._secrets):
            raise unsigned(f"{self._place} is not the one that is configured")

    @property
    def _place(self) -> str:
        return self._header or f"query parameter {self._query}"

    def _given(self, request: IncomingRequest) -> str:
        if self._header is not None:
            value = only_header(request, self._header)
        else:
            values = [value for name, value in request.query if name == self._query]
            if len(values) > 1:
                raise unsigned(f"{self._place} stands twice")
            value = values[0] if values else None
        if not value:
            raise unsigned(f"{self._place} is missing")
        return value

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:  # noqa: ARG002 - the protocol's
        """Say yes: whoever can copy the request has the token, and needs no replay."""
        return True

    def prove(self, request: IncomingRequest) -> Proof:  # noqa: ARG002 - the protocol's
        """Send the secret."""
        value = self._prefix + self._secrets[0].decode()
        return Proof({self._header: value}) if self._header else Proof({}, {str(self._query): value})


class BasicVerifier(SelfContained):
    """A user name and password (RFC 7617), in UTF-8."""

    def __init__(self, *, username: str, passwords: tuple[str, ...]) -> None:
        """Any of the passwords will do."""
        self.credential_headers = frozenset({"authorization"})
        self.credential_query: frozenset[str] = frozenset()
        self._pairs = tuple(f"{username}:{password}".encode() for password in passwords)

    def verify(self, request: IncomingRequest) -> None:
        """Compare what was encoded, in constant time."""
        given = only_header(request, "authorization")
        if not given:
            raise unsigned("authorization is missing")
        scheme, _, encoded = given.partition(" ")
        pair = decode_base64(encoded.strip(" ")) if scheme.lower() == "basic" else None
        if pair is None:
            raise unsigned("authorization is not Basic and base64")
        if not any(hmac.compare_digest(pair, known) for known in self._pairs):
            raise unsigned("user name or password is not the one that is configured")

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:  # noqa: ARG002 - the protocol's
        """Say yes: whoever can copy the request has the password, and needs no replay."""
        return True

    def prove(self, request: IncomingRequest) -> Proof:  # noqa: ARG002 - the protocol's
        """Send the first password."""
        return Proof({"authorization": f"Basic {b64encode(self._pairs[0]).decode()}"})


class NoVerifier(SelfContained):
    """Anyone may send: the operator wrote `verify: none`."""

    credential_headers: frozenset[str] = frozenset()
    credential_query: frozenset[str] = frozenset()

    def verify(self, request: IncomingRequest) -> None:
        """Accept."""

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:  # noqa: ARG002 - the protocol's
        """Say yes: nothing is protected, so there is no part of a request that is less so."""
        return True

    def prove(self, request: IncomingRequest) -> Proof:  # noqa: ARG002 - the protocol's
        """Add nothing."""
        return Proof({})


class AnyVerifier:
    """Several ways, of which one is enough."""

    def __init__(self, verifiers: tuple[Verifier, ...]) -> None:
        """They are tried in order."""
        self._verifiers = verifiers
        self.credential_headers = frozenset[str]().union(*(one.credential_headers for one in verifiers))
        self.credential_query = frozenset[str]().union(*(one.credential_query for one in verifiers))
        self.fetches = any(one.fetches for one in verifiers)

    def needs(self, request: IncomingRequest) -> str | None:
        """Ask for the first key that a way needs."""
        return next((url for url in (one.needs(request) for one in self._verifiers) if url is not None), None)

    def add_key(self, url: str, data: bytes) -> None:
        """Give it to every way; those that need none take no notice."""
        for verifier in self._verifiers:
            verifier.add_key(url, data)

    def verify(self, request: IncomingRequest) -> None:
        """Raise the refusal that tells most: a good signature that is too old, else the first way's."""
        refusals = []
        for verifier in self._verifiers:
            try:
                return verifier.verify(request)
            except RequestRejected as refusal:
                refusals.append(refusal)
        raise next((one for one in refusals if one.reason != "signature"), refusals[0])

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:
        """Tell what all of them protect: an attacker picks the weakest."""
        return all(one.vouches_for(headers, query) for one in self._verifiers)

    def prove(self, request: IncomingRequest) -> Proof:
        """Prove it the first way that can."""
        for verifier in self._verifiers:
            try:
                return verifier.prove(request)
            except CannotProveError as error:
                reason = error
        raise reason


def decode_base64(text: str) -> bytes | None:
    """Decode standard base64; None for anything that its encoder would not have written just so."""
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # also binascii.Error, and what it says of text beyond ASCII
        return None
    # Strict mode still takes stray bits in the last digit: two texts, one value.
    return decoded if binascii.b2a_base64(decoded, newline=False).decode() == text else None
