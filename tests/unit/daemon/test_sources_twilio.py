"""Twilio's signature: URL with and without its port, forms sorted and without doubles, other bodies by their hash."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from hookline.daemon.sources.port import IncomingRequest, OptionProblem, RequestRejected
from hookline.daemon.sources.proofs import CannotProveError, Verifier
from hookline.daemon.sources.verification import read_verification

TOKEN = "a-token-of-twilio"
URL = "https://hooks.example.com/hooks/twilio?x=1"
FORM = b"To=%2B15005550006&From=%2B14158675309&Body=H%C3%A9llo+you&Empty="
SIGNED_FORM = "BodyHéllo youEmptyFrom+14158675309To+15005550006"


def verifier(*tokens: str) -> Verifier:
    problems: list[OptionProblem] = []
    said: Any = {"scheme": "twilio", "secret": list(tokens or (TOKEN,))}
    read = read_verification(said, path=("verify",), has_public_url=True, problems=problems)
    assert read, problems
    return read.verifier


def sign(message: str, token: str = TOKEN, algorithm: str = "sha1") -> str:
    return base64.b64encode(hmac.new(token.encode(), message.encode(), algorithm).digest()).decode()


def request(signature: str | None, *, url: str | None = URL, body: bytes = FORM, form: bool = True) -> IncomingRequest:
    kind = "application/x-www-form-urlencoded; charset=UTF-8" if form else "application/json"
    headers = (("content-type", kind),) + ((("x-twilio-signature", signature),) if signature is not None else ())
    return IncomingRequest(
        method="POST", subpath="", url=url, headers=headers, query=tuple(parse_qsl(urlsplit(url or "").query)),
        client_ip="", body=body, received_at=datetime(2026, 5, 18, tzinfo=UTC),
    )  # fmt: skip


def refused(incoming: IncomingRequest, one: Verifier | None = None) -> str:
    with pytest.raises(RequestRejected) as caught:
        (one or verifier()).verify(incoming)
    assert (caught.value.reason, caught.value.status) == ("signature", 401)
    assert TOKEN not in caught.value.detail
    return caught.value.detail


def test_a_form_is_signed_sorted_and_without_doubles() -> None:
    verifier().verify(request(sign(URL + SIGNED_FORM)))
    doubled = b"b=2&a=9&a=1&a=9&a="
    verifier().verify(request(sign(URL + "aa1a9b2"), body=doubled))
    assert "does not match" in refused(request(sign(URL + "aa1a9a9b2"), body=doubled))


@pytest.mark.parametrize(
    ("received", "signed"),
    [
        (URL, URL),
        (URL, URL.replace(".com/", ".com:443/")),
        (URL.replace(".com/", ".com:443/"), URL),
        (URL.replace(".com/", ".com:8443/"), URL),
        (URL.replace(".com/", ".com:8443/"), URL.replace(".com/", ".com:8443/")),
        ("http://h.example.com/x", "http://h.example.com:80/x"),
        ("https://[::1]/x", "https://[::1]:443/x"),
        ("https://h.example.com", "https://h.example.com:443"),
    ],
)
def test_the_url_is_tried_with_and_without_its_port(received: str, signed: str) -> None:
    verifier().verify(request(sign(signed + SIGNED_FORM), url=received))


@pytest.mark.parametrize("signed", [URL.replace(".com/", ".com:80/"), URL.replace(".com/", ".com:8443/"), URL[:-1], ""])
def test_another_url_is_refused(signed: str) -> None:
    assert "public_url" in refused(request(sign(signed + SIGNED_FORM)))


def test_any_token_of_a_rotation_is_taken() -> None:
    verifier("another-token", TOKEN).verify(request(sign(URL + SIGNED_FORM)))
    refused(request(sign(URL + SIGNED_FORM)), verifier("another-token"))


def test_a_shared_key_signs_with_sha256_and_no_other_hash_is_known() -> None:
    verifier("another-token", TOKEN).verify(request(sign(URL + SIGNED_FORM, algorithm="sha256")))
    refused(request(sign(URL + SIGNED_FORM + "x", algorithm="sha256")))
    for algorithm in ("md5", "sha384", "sha512"):
        refused(request(sign(URL + SIGNED_FORM, algorithm=algorithm)))


def hashed(body: bytes) -> str:
    return f"{URL}&bodySHA256={hashlib.sha256(body).hexdigest()}"


def test_a_body_that_is_no_form_is_signed_by_its_hash() -> None:
    body = b'{"a": 1}'
    url = hashed(body)
    verifier().verify(request(sign(url), url=url, body=body, form=False))
    assert "is not the hash of the body" in refused(request(sign(url), url=url, body=b'{"a": 2}', form=False))
    assert "is not the hash of the body" in refused(request(sign(url), url=url, body=FORM))
    assert "is not the hash of the body" in refused(request(sign(url), url=url, body=b""))
    doubled = f"{url}&bodySHA256={'0' * 64}"
    assert "is not the hash of the body" in refused(request(sign(doubled), url=doubled, body=body, form=False))
    assert "does not match" in refused(request(sign(URL), url=url, body=body, form=False))
    # What is called a form and is JSON is read as JSON, so it is no form here either.
    verifier().verify(request(sign(url), url=url, body=body))
    assert "is missing" in refused(request(sign(URL + '{"a": 1}'), body=body))


def test_a_captured_signature_of_no_body_signs_no_other() -> None:
    verifier().verify(request(sign(URL), body=b"", form=False))
    verifier().verify(request(sign(URL), body=b""))
    assert "bodySHA256 in the query, which is missing" in refused(request(sign(URL), body=b"{}", form=False))
    assert "does not match" in refused(request(sign(URL)))


@pytest.mark.parametrize("signature", [None, "", "x", "é", sign(URL + SIGNED_FORM)[:-1], sign(URL + SIGNED_FORM) + "=", " " + sign(URL + SIGNED_FORM)])  # fmt: skip
def test_a_signature_in_another_form_is_refused(signature: str | None) -> None:
    refused(request(signature))


@pytest.mark.parametrize("body", [b"\xff=1", b"a=%FF", b"&".join(b"a=1" for _ in range(1001))])
def test_a_form_that_cannot_be_read_is_refused(body: bytes) -> None:
    assert refused(request(sign(URL), body=body)) == "the form cannot be read"
    with pytest.raises(CannotProveError, match="the form cannot be read"):
        verifier().prove(request(None, body=body))


def test_without_a_url_nothing_is_taken_or_signed() -> None:
    assert "public_url" in refused(request(sign(URL + SIGNED_FORM), url=None))
    with pytest.raises(CannotProveError, match="public_url"):
        verifier().prove(request(None, url=None))


def test_a_form_and_json_are_proved() -> None:
    proof = verifier().prove(request(None))
    assert (proof.headers, proof.query) == ({"x-twilio-signature": sign(URL + SIGNED_FORM)}, {})
    body = b'{"a": 1}'
    for url, mark in ((URL, "&"), (URL.partition("?")[0], "?")):
        proof = verifier().prove(request(None, url=url, body=body, form=False))
        assert proof.query == {"bodySHA256": hashlib.sha256(body).hexdigest()}
        sent = f"{url}{mark}bodySHA256={proof.query['bodySHA256']}"
        verifier().verify(request(proof.headers["x-twilio-signature"], url=sent, body=body, form=False))


def test_the_query_is_vouched_for_and_no_header() -> None:
    assert verifier().vouches_for(frozenset(), frozenset({"x"}))
    assert not verifier().vouches_for(frozenset({"i-twilio-idempotency-token"}), frozenset())
    assert verifier().credential_headers == {"x-twilio-signature"}


def test_it_needs_a_public_url_and_a_secret() -> None:
    problems: list[OptionProblem] = []
    assert read_verification({"scheme": "twilio"}, path=("verify",), has_public_url=False, problems=problems) is None
    assert [problem.message for problem in problems] == [
        "the sender signs the URL, which needs `public_url`",
        "`secret` is missing",
    ]
