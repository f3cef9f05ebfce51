"""Every known signature of a vendor is taken, and no other: vectors that vendors publish, and some computed beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from hookline.daemon.sources import verification
from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.daemon.sources.proofs import Verifier
from hookline.daemon.sources.stamps import Stamp
from hookline.daemon.sources.verification import read_verification

STANDARD: dict[str, Any] = {
    "scheme": "hmac", "header": "webhook-signature", "prefix": "v1,", "encoding": "base64", "separator": " ",
    "signed": "{header.webhook-id}.{timestamp}.{body}", "timestamp": {"header": "webhook-timestamp", "unit": "s"},
    "secret_encoding": "base64", "secret_prefix": "whsec_",
}  # fmt: skip
AGILED: dict[str, Any] = {
    "scheme": "hmac", "header": "X-Agiled-Webhook-Signature", "signed": "{timestamp}.{body}",
    "timestamp": {"header": "X-Agiled-Webhook-Timestamp"},
}  # fmt: skip
HUBSPOT_V3: dict[str, Any] = {
    "scheme": "hmac", "header": "X-HubSpot-Signature-v3", "encoding": "base64",
    "signed": "{method}{url|decode_reserved}{body}{timestamp}",
    "timestamp": {"header": "X-HubSpot-Request-Timestamp", "unit": "ms"},
}  # fmt: skip
HUBSPOT_V2: dict[str, Any] = {
    "scheme": "digest", "header": "X-HubSpot-Signature", "signed": "{method}{url|decode_reserved}{body}",
}  # fmt: skip
GITHUB: dict[str, Any] = {"scheme": "hmac", "header": "X-Hub-Signature-256", "prefix": "sha256="}
BASE64: dict[str, Any] = {"scheme": "hmac", "encoding": "base64"}

#: What `verify:` says of each vendor whose vectors there are, without the secret.
SCHEMES: dict[str, dict[str, Any]] = {
    "hubspot_v1": {"scheme": "digest", "header": "X-HubSpot-Signature"},
    "hubspot_v2_post": HUBSPOT_V2,
    "hubspot_v2_get": HUBSPOT_V2,
    "hubspot_v3_py": HUBSPOT_V3,
    "hubspot_v3_rb": HUBSPOT_V3,
    "hubspot_v3_query_decoded": HUBSPOT_V3,
    "quickbooks": {**BASE64, "header": "intuit-signature"},
    "github": GITHUB,
    "github_octokit": GITHUB,
    "meta": GITHUB,
    "standardwebhooks_v1": STANDARD,
    "svix_docs": STANDARD,
    "gitlab_signing_token": STANDARD,
    "standardwebhooks_v1a_ed25519": {**STANDARD, "scheme": "ed25519", "prefix": "v1a,", "secret_prefix": "whpk_"},
    "slack": {
        "scheme": "hmac", "header": "X-Slack-Signature", "prefix": "v0=", "signed": "v0:{timestamp}:{body}",
        "timestamp": {"header": "X-Slack-Request-Timestamp", "unit": "s"},
    },
    "twilio_form": {"scheme": "twilio"},
    "twilio_json_body": {"scheme": "twilio"},
    "twilio_port443": {"scheme": "twilio"},
    "zendesk": {
        **BASE64, "header": "X-Zendesk-Webhook-Signature", "signed": "{timestamp}{body}",
        "timestamp": {"header": "X-Zendesk-Webhook-Signature-Timestamp", "unit": "iso"},
    },
    "agiled_unix_seconds": AGILED,
    "agiled_unix_ms": AGILED,
    "agiled_iso8601": AGILED,
    "stripe": {
        "scheme": "hmac", "header": "Stripe-Signature", "prefix": "v1=", "separator": ",", "signed": "{timestamp}.{body}",
        "timestamp": {"header": "Stripe-Signature", "part": "t=", "unit": "s"},
    },
    "shopify": {**BASE64, "header": "X-Shopify-Hmac-Sha256"},
    "linear": {
        "scheme": "hmac", "header": "Linear-Signature",
        "timestamp": {"body": "$.webhookTimestamp", "unit": "ms", "tolerance": "60s"},
    },
    "typeform": {**BASE64, "header": "Typeform-Signature", "prefix": "sha256="},
    "intercom": {"scheme": "hmac", "algorithm": "sha1", "header": "X-Hub-Signature", "prefix": "sha1="},
    "xero": {**BASE64, "header": "x-xero-signature"},
    "asana": {"scheme": "hmac", "header": "X-Hook-Signature"},
}  # fmt: skip
KEY = {"standardwebhooks_v1a_ed25519": "public_key"}


@pytest.fixture(autouse=True)
def vendors_secrets_may_be_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "MIN_SECRET_BYTES", 1)


@pytest.fixture(scope="module")
def vectors() -> dict[str, dict[str, Any]]:
    path = Path(__file__).resolve().parents[4] / "shared" / "sources" / "vectors.json"
    if not path.is_file():
        pytest.skip("../shared is not beside this checkout: vendors' vectors are not committed")
    return {vector["name"]: vector for vector in json.loads(path.read_text())}


def verifier(name: str, secret: str) -> Verifier:
    problems: list[Any] = []
    said = {**SCHEMES[name], KEY.get(name, "secret"): secret}
    read = read_verification(said, path=("verify",), has_public_url=True, problems=problems)
    assert read, problems
    return read.verifier


def request_of(vector: dict[str, Any], all_of_them: dict[str, Any]) -> IncomingRequest:
    """Return the request that a vector describes, received when it was signed."""
    scheme = SCHEMES[vector["name"]]
    if vector["name"].startswith("twilio"):
        scheme = {"header": "x-twilio-signature"}
    headers = {}
    stamp = scheme.get("timestamp", {})
    said = vector.get("timestamp")
    if stamp.get("header", scheme["header"]) != scheme["header"]:
        headers[stamp["header"].lower()] = said
    if "id" in vector:
        headers["webhook-id"] = vector["id"]
    headers[scheme["header"].lower()] = vector["signature"]
    body = vector.get("body", "")
    if "params" in vector:
        body = urlencode(all_of_them["twilio_form"]["params"])
        headers["content-type"] = "application/x-www-form-urlencoded"
    if "body" in stamp:
        said = str(json.loads(body)["webhookTimestamp"])
    url = vector.get("received_url", vector.get("url"))
    return IncomingRequest(
        method=vector.get("method", "POST"),
        subpath="",
        url=url,
        headers=tuple((name, str(value)) for name, value in headers.items()),
        query=tuple(parse_qsl(urlsplit(url or "").query)),
        client_ip="",
        body=body.encode(),
        received_at=(said and Stamp(header="x", tolerance=None).read(said)) or datetime(2026, 5, 18, tzinfo=UTC),
    )


def secret_of(vector: dict[str, Any]) -> str:
    return str(vector.get("public_key") or vector["secret"])


def changed(request: IncomingRequest) -> Iterator[tuple[str, IncomingRequest]]:
    """Return the request with one thing changed, for everything that its signature should cover."""
    body = request.body
    for at in {0, len(body) // 2, len(body) - 1}:
        # Of a form, a letter for a letter: a `+` for a blank, say, would be the same form.
        yield f"body {at}", replace(request, body=body[: max(at, 0)] + bytes([(body or b"?")[at] ^ 1]) + body[at + 1 :])
    yield "longer body", replace(request, body=body + b" " if body else b"x")
    for number, (name, value) in enumerate(request.headers):
        if name != "content-type":
            at = max(0, len(value) - 5)
            other = value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
            pairs = list(request.headers)
            pairs[number] = (name, other)
            yield f"header {name}", replace(request, headers=tuple(pairs))
            yield f"no {name}", replace(request, headers=tuple(pair for pair in request.headers if pair[0] != name))
            yield f"{name} twice", replace(request, headers=(*request.headers, (name, value)))


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_a_vendors_own_signature_is_taken(name: str, vectors: dict[str, dict[str, Any]]) -> None:
    verifier(name, secret_of(vectors[name])).verify(request_of(vectors[name], vectors))


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_what_was_changed_is_refused(name: str, vectors: dict[str, dict[str, Any]]) -> None:
    request = request_of(vectors[name], vectors)
    one = verifier(name, secret_of(vectors[name]))
    for what, other in changed(request):
        with pytest.raises(RequestRejected) as caught:
            one.verify(other)
        assert (caught.value.status, caught.value.reason) == (401, "signature"), what


@pytest.mark.parametrize("name", sorted(SCHEMES))
def test_another_secret_is_refused(name: str, vectors: dict[str, dict[str, Any]]) -> None:
    secret = secret_of(vectors[name])
    # The first character after any prefix, which is not part of the key.
    at = len(secret) - 6 if len(secret) > 12 else 0
    other = secret[:at] + ("b" if secret[at] == "a" else "a") + secret[at + 1 :]
    with pytest.raises(RequestRejected, match="does not match"):
        verifier(name, other).verify(request_of(vectors[name], vectors))


@pytest.mark.parametrize("name", sorted(name for name, scheme in SCHEMES.items() if "timestamp" in scheme))
def test_an_old_request_is_refused(name: str, vectors: dict[str, dict[str, Any]]) -> None:
    request = request_of(vectors[name], vectors)
    one = verifier(name, secret_of(vectors[name]))
    for seconds in (-301, 301):
        moment = datetime.fromtimestamp(request.received_at.timestamp() + seconds, tz=UTC)
        with pytest.raises(RequestRejected) as caught:
            one.verify(replace(request, received_at=moment))
        assert (caught.value.status, caught.value.reason) == (401, "timestamp")


@pytest.mark.parametrize(
    "name", sorted(name for name in SCHEMES if name.startswith(("hubspot_v2", "hubspot_v3", "twilio")))
)
def test_another_url_is_refused(name: str, vectors: dict[str, dict[str, Any]]) -> None:
    request = request_of(vectors[name], vectors)
    one = verifier(name, secret_of(vectors[name]))
    assert request.url is not None
    mark = "&" if "?" in request.url else "?"
    for url in (request.url + f"{mark}x=1", request.url.replace("https", "http"), request.url[:-1], None):
        with pytest.raises(RequestRejected) as caught:
            one.verify(replace(request, url=url))
        assert (caught.value.status, caught.value.reason) == (401, "signature")


def test_all_vectors_are_covered(vectors: dict[str, dict[str, Any]]) -> None:
    assert set(vectors) == set(SCHEMES)
