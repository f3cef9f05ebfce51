"""Vendors' own libraries and our verifiers agree: what one signs, the other takes, whatever the body."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.daemon.sources.port import IncomingRequest, RequestRejected
from hookline.daemon.sources.proofs import Verifier
from hookline.daemon.sources.verification import read_verification

SECRET = "a secret of a vendor's"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://hooks.example.com/hooks/vendor?x=1&y=a%20b"
TEXTS = st.text(st.characters(codec="utf-8"))
# Signatures do not care what JSON says; they care which bytes there are.
BODIES = TEXTS.map(lambda text: json.dumps({"text": text}, ensure_ascii=False))
FORMS = st.dictionaries(
    TEXTS.map(lambda text: f"n{text}"), st.lists(TEXTS, min_size=1, max_size=3), min_size=1, max_size=3
)
FORM = "application/x-www-form-urlencoded"


def verifier(**said: Any) -> Verifier:
    problems: list[Any] = []
    read = read_verification({"secret": SECRET, **said}, path=("verify",), has_public_url=True, problems=problems)
    assert read, problems
    return read.verifier


def request(body: str, headers: dict[str, str] | None = None, **parts: Any) -> IncomingRequest:
    # The libraries ask the clock themselves.
    usual: dict[str, Any] = {
        "method": "POST", "subpath": "", "url": URL, "query": (), "client_ip": "", "received_at": datetime.now(UTC),
    }  # fmt: skip
    pairs = tuple((name.lower(), value) for name, value in (headers or {}).items())
    return IncomingRequest(headers=pairs, body=body.encode(), **{**usual, **parts})


def both_ways(
    one: Verifier,
    body: str,
    *,
    theirs: Callable[[str], dict[str, str]],
    they_take: Callable[[str, dict[str, str]], bool],
    also: dict[str, str] | None = None,
) -> None:
    """Have each side take the other's signature of a body, and none of another body."""
    ours = {**(also or {}), **one.prove(request(body, also)).headers}
    assert they_take(body, ours)
    assert not they_take(body + " ", ours)
    signed = theirs(body)
    one.verify(request(body, signed))
    with pytest.raises(RequestRejected, match="does not match"):
        one.verify(request(body + " ", signed))


@given(BODIES)
@settings(max_examples=50, deadline=None)
def test_stripe(body: str) -> None:
    stripe = pytest.importorskip("stripe")

    def they_take(body: str, headers: dict[str, str]) -> bool:
        try:
            stripe.WebhookSignature.verify_header(body, headers["stripe-signature"], WHSEC, tolerance=300)
        except stripe.SignatureVerificationError:
            return False
        return True

    def theirs(body: str) -> dict[str, str]:
        stamp = int(datetime.now(UTC).timestamp())
        signature = stripe.WebhookSignature._compute_signature(f"{stamp}.{body}", WHSEC)
        return {"Stripe-Signature": f"t={stamp},v1={'0' * 64},v1={signature},v0=x"}

    one = verifier(
        scheme="hmac", header="Stripe-Signature", prefix="v1=", separator=",", signed="{timestamp}.{body}",
        timestamp={"header": "Stripe-Signature", "part": "t=", "unit": "s"}, secret=WHSEC,
    )  # fmt: skip
    both_ways(one, body, theirs=theirs, they_take=they_take)


@given(BODIES)
@settings(max_examples=50, deadline=None)
def test_slack(body: str) -> None:
    signature = pytest.importorskip("slack_sdk.signature").SignatureVerifier(SECRET)

    def theirs(body: str) -> dict[str, str]:
        stamp = str(int(datetime.now(UTC).timestamp()))
        made = signature.generate_signature(timestamp=stamp, body=body)
        return {"X-Slack-Signature": made, "X-Slack-Request-Timestamp": stamp}

    one = verifier(
        scheme="hmac", header="X-Slack-Signature", prefix="v0=", signed="v0:{timestamp}:{body}",
        timestamp={"header": "X-Slack-Request-Timestamp", "unit": "s"},
    )  # fmt: skip
    both_ways(one, body, theirs=theirs, they_take=signature.is_valid_request)


@pytest.mark.parametrize(("library", "prefix"), [("standardwebhooks", "webhook"), ("svix.webhooks", "svix")])
@given(body=BODIES)
@settings(max_examples=50, deadline=None)
def test_standard_webhooks_and_svix(library: str, prefix: str, body: str) -> None:
    module = pytest.importorskip(library)
    webhook = module.Webhook(WHSEC)
    identity = {f"{prefix}-id": "msg_1"}

    def they_take(body: str, headers: dict[str, str]) -> bool:
        try:
            webhook.verify(body, headers)
        except module.WebhookVerificationError:
            return False
        return True

    def theirs(body: str) -> dict[str, str]:
        now = datetime.now(UTC)
        stamp = {f"{prefix}-timestamp": str(int(now.timestamp()))}
        return {**identity, **stamp, f"{prefix}-signature": webhook.sign("msg_1", now, body)}

    one = verifier(
        scheme="hmac", header=f"{prefix}-signature", prefix="v1,", separator=" ", encoding="base64", secret=WHSEC,
        signed=f"{{header.{prefix}-id}}.{{timestamp}}.{{body}}", timestamp={"header": f"{prefix}-timestamp", "unit": "s"},
        secret_encoding="base64", secret_prefix="whsec_",
    )  # fmt: skip
    both_ways(one, body, theirs=theirs, they_take=they_take, also=identity)


HUBSPOT: dict[str, dict[str, Any]] = {
    "v1": {"scheme": "digest", "header": "X-HubSpot-Signature"},
    "v2": {"scheme": "digest", "header": "X-HubSpot-Signature", "signed": "{method}{url|decode_reserved}{body}"},
    "v3": {
        "scheme": "hmac", "header": "X-HubSpot-Signature-v3", "encoding": "base64",
        "signed": "{method}{url|decode_reserved}{body}{timestamp}",
        "timestamp": {"header": "X-HubSpot-Request-Timestamp", "unit": "ms"},
    },
}  # fmt: skip


@pytest.mark.parametrize("version", sorted(HUBSPOT))
@given(body=BODIES)
@settings(max_examples=50, deadline=None)
def test_hubspot(version: str, body: str) -> None:
    signature = pytest.importorskip("hubspot.utils.signature").Signature
    header = HUBSPOT[version]["header"]

    def they_take(body: str, headers: dict[str, str]) -> bool:
        stamp = headers.get("x-hubspot-request-timestamp")
        return bool(signature.is_valid(headers[header.lower()], SECRET, body, URL, "POST", version, stamp))

    def theirs(body: str) -> dict[str, str]:
        stamp = str(int(datetime.now(UTC).timestamp() * 1000))
        made = signature.get_signature(SECRET, body, version, URL, "POST", stamp)
        return {header: made, "X-HubSpot-Request-Timestamp": stamp}

    both_ways(verifier(**HUBSPOT[version]), body, theirs=theirs, they_take=they_take)


class Form(dict[str, list[str]]):
    """A form as the web frameworks hand it to Twilio's library."""

    def getall(self, name: str) -> list[str]:
        return self[name]


@given(FORMS, st.sampled_from(["", ":443", ":8443"]), st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]))
@settings(max_examples=50, deadline=None)
def test_twilio_forms(form: dict[str, list[str]], port: str, algorithm: str) -> None:
    validator = pytest.importorskip("twilio.request_validator").RequestValidator(SECRET)
    url = URL.replace(".com/", f".com{port}/")
    body = urlencode(form, doseq=True)
    seen = Form(parse_qs(body, keep_blank_values=True))
    one = verifier(scheme="twilio")
    plain = {"content-type": FORM}
    ours = one.prove(request(body, plain, url=url)).headers["x-twilio-signature"]
    assert validator.validate(url, seen, ours)
    assert not validator.validate(url + "x", seen, ours)
    theirs = validator.compute_signature(url, seen, algorithm)
    one.verify(request(body, {**plain, "X-Twilio-Signature": theirs}, url=url))
    with pytest.raises(RequestRejected, match="does not match"):
        one.verify(request(body + "&more=1", {**plain, "X-Twilio-Signature": theirs}, url=url))


@given(BODIES)
@settings(max_examples=50, deadline=None)
def test_twilio_other_bodies(body: str) -> None:
    validator = pytest.importorskip("twilio.request_validator").RequestValidator(SECRET)
    one = verifier(scheme="twilio")
    proof = one.prove(request(body, {"content-type": "application/json"}))
    url = f"{URL}&bodySHA256={proof.query['bodySHA256']}"
    assert proof.query["bodySHA256"] == validator.compute_hash(body)
    assert validator.validate(url, body, proof.headers["x-twilio-signature"])
    assert not validator.validate(url, body + " ", proof.headers["x-twilio-signature"])
    theirs = {"content-type": "application/json", "X-Twilio-Signature": validator.compute_signature(url, {})}
    query = tuple(proof.query.items())
    one.verify(request(body, theirs, url=url, query=query))
    with pytest.raises(RequestRejected, match="not the hash"):
        one.verify(request(body + " ", theirs, url=url, query=query))
