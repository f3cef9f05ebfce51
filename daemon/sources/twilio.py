"""Twilio's signature: the URL, and a form's parameters sorted, or the hash of any other body.

As its own libraries do it (twilio-python, `request_validator.py`). Nothing stands between names and values in what is
signed, so of one signed form others can be made by moving letters from a value to the next name: the scheme is weaker
than a signature of the bytes, and its requests carry no time. The path token and TLS are what keeps them to oneself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from typing import Final
from urllib.parse import parse_qsl

from hookline.daemon.sources.body import MAX_FORM_FIELDS, is_form
from hookline.daemon.sources.keyed_hashes import PreparedHmac
from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.daemon.sources.proofs import (
    CannotProveError,
    Proof,
    SelfContained,
    decode_base64,
    only_header,
    unsigned,
)

_HEADER: Final = "x-twilio-signature"
_BODY_HASH: Final = "bodySHA256"
_SHA1_BYTES: Final = 20
_SHA256_BYTES: Final = 32
_AUTHORITY: Final = re.compile(r"(https?)://(\[[^\]/?#]*\]|[^/?#:\[\]@]+)(?::([0-9]{1,5}))?(?=[/?#]|$)")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class TwilioVerifier(SelfContained):
    """A keyed hash over the URL as the sender wrote it and the parameters of a form.

    It is SHA-1 with an account's auth token, SHA-256 with a shared key.
    """

    credential_headers = frozenset({_HEADER})
    credential_query: frozenset[str] = frozenset()

    def __init__(self, *, keys: tuple[bytes, ...]) -> None:
        """Take any of the keys; the first one signs with SHA-1."""
        self._prepared = {
            _SHA1_BYTES: tuple(PreparedHmac(key, "sha1") for key in keys),
            _SHA256_BYTES: tuple(PreparedHmac(key, "sha256") for key in keys),
        }

    def verify(self, request: IncomingRequest) -> None:
        """Check the signature over the URL with and without its port: senders differ in whether they sign it."""
        written = only_header(request, _HEADER)
        if not written:
            raise unsigned(f"{_HEADER} is missing")
        given = decode_base64(written)
        if given is None:
            raise unsigned(f"{_HEADER} is no base64")
        parameters = _signed_parameters(request)
        messages = [_encode(url + parameters) for url in _urls(request)]
        # The length tells which hash it is; the header that names it is not signed.
        for prepared in self._prepared.get(len(given), ()):
            if any(hmac.compare_digest(prepared.digest([message]), given) for message in messages):
                return
        raise unsigned("signature does not match: public_url must be what stands in Twilio's settings")

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:  # noqa: ARG002 - the protocol's
        """Tell that the URL is signed, and no header."""
        return not headers

    def prove(self, request: IncomingRequest) -> Proof:
        """Sign the URL that the request is sent to; for a body that is no form, `bodySHA256` is added to its query."""
        query: dict[str, str] = {}
        url = request.url
        if url is None:
            raise CannotProveError("Twilio signs the URL: write public_url: https://… in hookline.yaml")
        if request.body and not _is_form(request):
            query = {_BODY_HASH: hashlib.sha256(request.body).hexdigest()}
            url = f"{url}{'&' if '?' in url else '?'}{_BODY_HASH}={query[_BODY_HASH]}"
        try:
            parameters = "" if query else _form_parameters(request)
        except RequestRejected as refusal:
            raise CannotProveError(refusal.detail) from refusal
        return Proof(
            {_HEADER: b64encode(self._prepared[_SHA1_BYTES][0].digest([_encode(url + parameters)])).decode()}, query
        )


def _is_form(request: IncomingRequest) -> bool:
    content_type = next((value for name, value in request.headers if name == "content-type"), "")
    # As `normalize` reads it: what is checked must be what is read.
    return is_form(request.body, content_type)


def _signed_parameters(request: IncomingRequest) -> str:
    """Return what stands behind the URL in what is signed; the body has no other way to be signed than this."""
    hashes = [value for name, value in request.query if name == _BODY_HASH]
    if hashes:
        made = hashlib.sha256(request.body).hexdigest()
        if len(hashes) > 1 or not hmac.compare_digest(made.encode(), hashes[0].encode("utf-8", "surrogatepass")):
            raise unsigned(f"{_BODY_HASH} in the query is not the hash of the body")
        return ""
    if _is_form(request):
        return _form_parameters(request)
    if request.body:
        raise unsigned(f"a body that is no form is signed by {_BODY_HASH} in the query, which is missing")
    return ""


def _form_parameters(request: IncomingRequest) -> str:
    try:
        pairs = parse_qsl(
            request.body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS
        )
    except ValueError as error:  # also UnicodeDecodeError
        raise unsigned("the form cannot be read") from error
    return "".join(name + value for name, value in sorted(set(pairs)))


def _urls(request: IncomingRequest) -> tuple[str, ...]:
    if request.url is None:
        raise unsigned("Twilio signs the URL, and no public_url is configured")
    found = _AUTHORITY.match(request.url)
    if found is None:
        return (request.url,)
    scheme, host, port = found.groups()
    rest = request.url[found.end() :]
    return f"{scheme}://{host}{rest}", f"{scheme}://{host}:{port or _DEFAULT_PORTS[scheme]}{rest}"


def _encode(message: str) -> bytes:
    return message.encode("utf-8", "surrogatepass")
