"""Amazon SNS: an RSA signature over fields of the body, by a certificate that is fetched from Amazon's own host.

A certificate's dates are not looked at, as Amazon's own validators do not: TLS to the host that the topic's region
names is what vouches for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from hookline.daemon.sources.body import UnreadableBodyError
from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.daemon.sources.proofs import CannotProveError, Proof, decode_base64, read_document, unsigned
from hookline.daemon.sources.stamps import Stamp
from hookline.rules import Json

#: Amazon has a few a region; more would be somebody's game.
MAX_CERTIFICATES: Final = 16

_ARN: Final = re.compile(r"arn:aws(-cn|-us-gov)?:sns:([a-z0-9-]{3,30}):[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
_CERTIFICATE_PATH: Final = re.compile(r"/(?:[A-Za-z0-9_-]{1,100}/){0,3}[A-Za-z0-9_-]{1,100}\.pem")
_CONFIRMATION: Final = re.compile(r"/\?([!$-~]{1,2000})")
_HASHES: Final = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303 - what SignatureVersion 1 means
_CONFIRMATION_FIELDS: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Final = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION_FIELDS,
    "UnsubscribeConfirmation": _CONFIRMATION_FIELDS,
}


def is_topic_arn(text: str) -> bool:
    """Tell whether it is the name of a topic, such as `arn:aws:sns:us-east-2:123456789012:orders`."""
    return _ARN.fullmatch(text) is not None


def check_sns_url(url: str, topic_arn: str) -> str | None:
    """Say why a `SubscribeURL` is not to be visited; None if it confirms just this topic, at its region's host."""
    query = _CONFIRMATION.fullmatch(_path_at(url, topic_arn) or "")
    if query is None:
        return f"SubscribeURL is not at {_host(topic_arn) or 'the host of a topic'}"
    said = parse_qs(query[1], keep_blank_values=True)
    if said.get("Action") != ["ConfirmSubscription"] or said.get("TopicArn") != [topic_arn]:
        return "SubscribeURL does not confirm the subscription to this topic"
    return None


def signed_text(message: dict[str, Json]) -> bytes:
    """Return what the signature of a message is made over. Raises `RequestRejected` if a field is not as it must be."""
    kind = message.get("Type")
    names = _SIGNED.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise unsigned(f"Type is none of {', '.join(_SIGNED)}")
    lines = []
    for name in names:
        value = message.get(name)
        if name == "Subject" and value is None:
            continue
        if not isinstance(value, str):
            raise unsigned(f"{name} is missing, or no text")
        if name != "Message" and "\n" in value:
            # With one, the end of a value could be read as the next field, and one signature fit two messages.
            raise unsigned(f"{name} holds a line break")
        lines += [name, value]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


class SnsVerifier:
    """Messages of some topics. Anyone with an account at Amazon can send signed ones, so topics are named."""

    credential_headers: frozenset[str] = frozenset()
    credential_query: frozenset[str] = frozenset()
    fetches = True

    def __init__(self, *, topics: tuple[str, ...], tolerance: timedelta | None) -> None:
        """`tolerance` is that of `Timestamp`; None: any age."""
        self._topics = frozenset(topics)
        self._stamp = Stamp(body=("Timestamp",), tolerance=tolerance, unit="iso")
        self._keys: dict[str, RSAPublicKey] = {}

    def needs(self, request: IncomingRequest) -> str | None:
        """Ask for the certificate of a message that could be one of ours, if it is not known yet."""
        try:
            url = self._read(request).certificate_url
        except RequestRejected:  # `verify` says why
            return None
        return None if url in self._keys else url

    def add_key(self, url: str, data: bytes) -> None:
        """Keep a certificate's key. Raises `RequestRejected` (503) if it is no PEM certificate of an RSA key."""
        try:
            key = x509.load_pem_x509_certificate(data).public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise RequestRejected("certificate", 503, "what stands at SigningCertURL is no certificate") from error
        if not isinstance(key, RSAPublicKey):
            raise RequestRejected("certificate", 503, "the certificate at SigningCertURL holds no RSA key")
        self._keys[url] = key
        while len(self._keys) > MAX_CERTIFICATES:
            self._keys.pop(next(iter(self._keys)), None)

    def verify(self, request: IncomingRequest) -> None:
        """Check topic, signature, and age; 503 if the certificate was not fetched."""
        message = self._read(request)
        key = self._keys.get(message.certificate_url)
        if key is None:
            raise RequestRejected("certificate", 503, "the certificate at SigningCertURL is not known yet")
        try:
            key.verify(message.signature, message.signed, PKCS1v15(), message.algorithm)
        except InvalidSignature as error:
            raise unsigned("signature does not match") from error
        moment = self._stamp.read(message.timestamp)
        if moment is None:
            raise RequestRejected("timestamp", 401, f"{self._stamp.place} is no timestamp as it should be")
        complaint = self._stamp.complaint(moment, request.received_at)
        if complaint:
            raise RequestRejected("timestamp", 401, complaint)

    def _read(self, request: IncomingRequest) -> _Message:
        try:
            document = read_document(request)
        except UnreadableBodyError as error:
            raise unsigned(f"the body, which should hold the signature: {error}") from error
        if not isinstance(document, dict):
            raise unsigned("the body is no SNS message: raw message delivery carries no signature")
        return _read_message(document, self._topics)

    def vouches_for(self, headers: frozenset[str], query: frozenset[str]) -> bool:
        """Tell that nothing beside the body is signed."""
        return not headers and not query

    def prove(self, request: IncomingRequest) -> Proof:  # noqa: ARG002 - the protocol's
        """Refuse: only Amazon signs."""
        raise CannotProveError(
            "only Amazon holds the private key: to try rules, send to a second source of this type with `verify: none`"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    signed: bytes
    timestamp: str
    signature: bytes
    algorithm: hashes.HashAlgorithm
    certificate_url: str


def _read_message(document: dict[str, Json], topics: frozenset[str]) -> _Message:
    topic, timestamp = document.get("TopicArn"), document.get("Timestamp")
    if not isinstance(topic, str) or topic not in topics:
        raise unsigned("TopicArn is none of the topics that are configured")
    version = document.get("SignatureVersion")
    algorithm = _HASHES.get(version) if isinstance(version, str) else None
    written = document.get("Signature")
    signature = decode_base64(written) if isinstance(written, str) else None
    if algorithm is None or not signature:
        raise unsigned("there is no Signature in base64 of SignatureVersion 1 or 2")
    url = document.get("SigningCertURL")
    if not isinstance(url, str) or not _CERTIFICATE_PATH.fullmatch(_path_at(url, topic) or ""):
        raise unsigned(f"SigningCertURL is no certificate at {_host(topic)}")
    signed = signed_text(document)
    # Signed as it may be: whoever asks for it to be visited, it must confirm this topic and do nothing else.
    if document.get("Type") == "SubscriptionConfirmation" and (
        complaint := check_sns_url(str(document.get("SubscribeURL")), topic)
    ):
        raise unsigned(complaint)
    return _Message(
        signed=signed,
        timestamp=str(timestamp),
        signature=signature,
        algorithm=algorithm,
        certificate_url=url,
    )


def _host(topic_arn: str) -> str | None:
    found = _ARN.fullmatch(topic_arn)
    return f"sns.{found[2]}.amazonaws.com{'.cn' if found[1] == '-cn' else ''}" if found else None


def _path_at(url: str, topic_arn: str) -> str | None:
    """Return path and query of an HTTPS URL at the topic's host; None if it is elsewhere, or names port or user."""
    host = _host(topic_arn)
    start = f"https://{host}"
    return url[len(start) :] if host and url.startswith(f"{start}/") else None
