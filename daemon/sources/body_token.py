"""A secret text that stands in the body of a request (Microsoft Graph's `clientState`)."""

from __future__ import annotations

import hmac
import json

from hookline.daemon.sources.body import UnreadableBodyError
from hookline.daemon.sources.places import follow
from hookline.daemon.sources.port import IncomingRequest
from hookline.daemon.sources.proofs import CannotProveError, Proof, SelfContained, read_document, unsigned
from hookline.rules import Json

#: Names, indexes, and None for `[*]`.
Steps = tuple[str | int | None, ...]


class BodyTokenVerifier(SelfContained):
    """A secret at every place of the body that a path selects, and at one at least.

    An element of an array without it refuses the whole request: nobody vouches for that element.
    """

    credential_headers: frozenset[str] = frozenset()
    credential_query: frozenset[str] = frozenset()

    def __init__(self, *, path: str, steps: Steps, secrets: tuple[bytes, ...]) -> None:
        """Take any of the secrets; `steps` is `path`, parsed."""
        self._path = path
        self._steps = steps
        self._secrets = secrets

    def verify(self, request: IncomingRequest) -> None:
        """Compare each in constant time; what the body holds beside them is not looked at."""
        try:
            values = self._select(read_document(request))
        except UnreadableBodyError as error:
            raise unsigned(f"the body, which should hold the secret: {error}") from error
        if not values:
            raise unsigned(f"nothing stands at {self._path}")
        for value in values:
            if not isinstance(value, str):
                raise unsigned(f"{self._path} is not everywhere a text")
            token = value.encode("utf-8", "surrogatepass")
            if not any(hmac.compare_digest(token, secret) for secret in self._secrets):
                raise unsigned(f"{self._path} is not everywhere the one that is configured")

    def _select(self, document: Json) -> list[Json]:
        values = [document]
        for step in self._steps:
            found: list[Json] = []
            for value in values:
                if step is not None:
                    found.append(follow(value, (step,)))
                elif isinstance(value, list):
                    found.extend(value)
                else:
                    raise unsigned(f"there is no array where {self._path} needs one")
            values = found
        return values

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:  # noqa: ARG002 - the protocol's
        """Say yes: whoever can copy the request has the token, and needs no replay."""
        return True

    def prove(self, request: IncomingRequest) -> Proof:
        """Write the first secret into the body: `Proof.body` is sent in the place of the request's."""
        try:
            document = read_document(request)
        except UnreadableBodyError as error:
            raise CannotProveError(f"the secret belongs into the body, and it {error}") from error
        if not _put(document, self._steps, self._secrets[0].decode()):
            raise CannotProveError(f"the secret belongs at {self._path}, and the body has no such place")
        return Proof({}, body=json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _put(at: Json, steps: Steps, secret: str) -> bool:
    """Write a text wherever the steps lead; tell whether there is such a place everywhere."""
    step, rest = steps[0], steps[1:]
    if isinstance(step, str) and isinstance(at, dict):
        if not rest:
            at[step] = secret
            return True
        return step in at and _put(at[step], rest, secret)
    if isinstance(at, list) and not isinstance(step, str):
        chosen = range(len(at)) if step is None else range(step, step + 1)
        if not chosen or chosen[-1] >= len(at):
            return False
        if rest:
            return all(_put(at[index], rest, secret) for index in chosen)
        for index in chosen:
            at[index] = secret
        return True
    return False
