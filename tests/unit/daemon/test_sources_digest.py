"""What signatures can be besides an HMAC over the body: plain hashes, learned secrets, times in odd places, decoded URLs."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hookline.daemon.sources.port import IncomingRequest, OptionProblem, RequestRejected
from hookline.daemon.sources.proofs import CannotProveError, Verifier
from hookline.daemon.sources.verification import Verification, read_verification

NOW = datetime(2026, 5, 18, 12, 0, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
SECRET = "correct horse"
BODY = b'{"event": "order.paid"}'
URL = "https://hooks.example.com/hooks/shop"


def read(verify: Any, **more: Any) -> tuple[Verification | None, list[OptionProblem]]:
    problems: list[OptionProblem] = []
    return read_verification(verify, path=("verify",), has_public_url=True, problems=problems, **more), problems


def verifier(verify: Any, **more: Any) -> Verifier:
    made, problems = read(verify, **more)
    assert made is not None, problems
    return made.verifier


def messages(verify: Any) -> list[str]:
    made, problems = read(verify)
    assert made is None
    return [problem.message for problem in problems]


def request(*headers: tuple[str, str], **parts: Any) -> IncomingRequest:
    usual: dict[str, Any] = {
        "method": "POST", "subpath": "", "url": URL, "query": (), "client_ip": "", "received_at": NOW, "body": BODY,
    }  # fmt: skip
    return IncomingRequest(headers=headers, **{**usual, **parts})


def refusal(one: Verifier, incoming: IncomingRequest) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        one.verify(incoming)
    assert caught.value.status == 401
    return caught.value


def sign(message: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), message, "sha256").hexdigest()


DIGEST = {"scheme": "digest", "header": "X-Sig", "signed": "{method}{url}{body}", "secret": [SECRET, "the other one"]}


@pytest.mark.parametrize("secret", [SECRET, "the other one"])
def test_a_digest_is_a_hash_of_the_secret_and_what_is_signed(secret: str) -> None:
    made = hashlib.sha256(secret.encode() + b"POST" + URL.encode() + BODY).hexdigest()
    one = verifier(DIGEST)
    one.verify(request(("x-sig", made)))
    assert refusal(one, request(("x-sig", made), method="PUT")).detail == "signature does not match"
    assert refusal(one, request(("x-sig", hashlib.sha256(BODY).hexdigest()))).reason == "signature"
    assert refusal(one, request(("x-sig", sign(b"POST" + URL.encode() + BODY)))).reason == "signature"


def test_a_digest_proves_with_the_first_secret() -> None:
    one = verifier(DIGEST)
    proof = one.prove(request())
    assert proof.headers == {"x-sig": hashlib.sha256(SECRET.encode() + b"POST" + URL.encode() + BODY).hexdigest()}
    one.verify(request(*proof.headers.items()))


def test_a_digest_extended_by_who_has_one_is_no_json() -> None:
    # The padding of SHA-256 between what was signed and the tail begins with 0x80, which no UTF-8 text holds there.
    from hookline.daemon.sources.body import UnreadableBodyError, read_body

    padded = BODY + b"\x80" + b"\x00" * 24 + b',{"event":"order.refunded"}'
    with pytest.raises(UnreadableBodyError, match="not UTF-8"):
        read_body(padded, "application/json")
    with pytest.raises(UnreadableBodyError, match="not UTF-8"):
        read_body(b"a=1" + padded.removeprefix(BODY), "application/x-www-form-urlencoded")


def test_twelve_characters_of_a_url_are_decoded_and_no_more() -> None:
    one = verifier({"scheme": "hmac", "header": "X-Sig", "signed": "{url|decode_reserved}{body}", "secret": SECRET})
    received = "https://h.example.com/a%3Ab%2Fc?x=%3F%40%21%24%27%28%29%2A%2C%3B%3b&y=%20%26%3D%2B%23%25%C3%A9%253A"
    decoded = "https://h.example.com/a:b/c?x=?@!$'()*,;;&y=%20%26%3D%2B%23%25%C3%A9%253A"
    one.verify(request(("x-sig", sign(decoded.encode() + BODY)), url=received))
    one.verify(request(("x-sig", sign(decoded.encode() + BODY)), url=decoded))
    assert refusal(one, request(("x-sig", sign(received.encode() + BODY)), url=received)).reason == "signature"
    assert one.vouches_for(frozenset(), frozenset({"x"}))


STRIPE: dict[str, Any] = {
    "scheme": "hmac", "header": "Stripe-Signature", "prefix": "v1=", "separator": ",", "signed": "{timestamp}.{body}",
    "timestamp": {"header": "Stripe-Signature", "part": "t=", "unit": "s"}, "secret": SECRET,
}  # fmt: skip


def stripe(*pieces: str) -> IncomingRequest:
    return request(("stripe-signature", ",".join(pieces)))


def test_a_timestamp_that_is_a_piece_of_the_signatures_header() -> None:
    one = verifier(STRIPE)
    right = f"v1={sign(f'{STAMP}.'.encode() + BODY)}"
    one.verify(stripe(f"t={STAMP}", right))
    one.verify(stripe(f"t={STAMP}", "v1=" + "0" * 64, right, "v0=00"))
    one.verify(stripe(right, f"t={STAMP}"))
    assert refusal(one, stripe(right)).detail == "t= in stripe-signature is missing"
    assert refusal(one, stripe("t=", right)).detail == "t= in stripe-signature is missing"
    assert refusal(one, stripe(f"t={STAMP}", f"t={STAMP}", right)).detail == "t= in stripe-signature stands 2 times"
    assert "no timestamp" in refusal(one, stripe("t=soon", right)).detail
    assert "v1=" in refusal(one, stripe(f"t={STAMP}")).detail
    assert refusal(one, stripe(f"t={int(STAMP) + 1}", right)).reason == "signature"
    old = refusal(one, request(("stripe-signature", f"t={STAMP},{right}"), received_at=NOW + timedelta(minutes=6)))
    assert old.reason == "timestamp"
    assert "t= in stripe-signature is 6m old, allowed is 5m" in old.detail


def test_a_header_of_which_a_piece_is_signed_is_not_vouched_for() -> None:
    one = verifier(STRIPE)
    assert not one.vouches_for(frozenset({"stripe-signature"}), frozenset())
    assert one.vouches_for(frozenset(), frozenset())
    assert verifier(
        {
            "scheme": "hmac",
            "header": "X-Sig",
            "signed": "{timestamp}{body}",
            "timestamp": {"header": "X-T"},
            "secret": SECRET,
        }
    ).vouches_for(frozenset({"x-t"}), frozenset())


def test_a_signature_with_its_time_is_written_as_the_sender_does() -> None:
    one = verifier(STRIPE)
    proof = one.prove(request())
    assert list(proof.headers.items()) == [
        ("stripe-signature", f"t={STAMP},v1={sign(f'{STAMP}.'.encode() + BODY)}"),
    ]
    one.verify(request(*proof.headers.items()))


def test_a_timestamp_in_a_part_of_another_header() -> None:
    one = verifier({**STRIPE, "timestamp": {"header": "X-Meta", "part": "at:", "unit": "s"}})
    proof = one.prove(request())
    assert list(proof.headers) == ["x-meta", "stripe-signature"]
    assert proof.headers["x-meta"] == f"at:{STAMP}"
    one.verify(request(*proof.headers.items()))


LINEAR: dict[str, Any] = {
    "scheme": "hmac", "header": "Linear-Signature", "secret": SECRET,
    "timestamp": {"body": "$.meta.at", "unit": "ms", "tolerance": "60s"},
}  # fmt: skip


def linear(at: Any, body: bytes | None = None, **parts: Any) -> IncomingRequest:
    body = json.dumps({"meta": {"at": at}}).encode() if body is None else body
    return request(("linear-signature", sign(body)), body=body, **parts)


def test_a_timestamp_in_the_signed_body() -> None:
    one = verifier(LINEAR)
    at = int(STAMP) * 1000
    one.verify(linear(at))
    one.verify(linear(str(at)))
    one.verify(linear(at, received_at=NOW + timedelta(seconds=60)))
    assert "$.meta.at is 1m1s old" in refusal(one, linear(at, received_at=NOW + timedelta(seconds=61))).detail
    assert refusal(one, linear(at, received_at=NOW - timedelta(seconds=61))).reason == "timestamp"


@pytest.mark.parametrize(
    "at", [None, True, 1.5, -1, "", -(10**4299), 10**4299, "soon", [], {}, 10**30, f"{NOW:%Y-%m-%dT%H:%M:%SZ}"]
)
def test_a_body_without_its_timestamp_is_401(at: Any) -> None:
    assert refusal(verifier(LINEAR), linear(at)).reason == "timestamp"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"x", b"\xff", b'{"meta": {"at": 1, "at": 1}}', b'{"meta": 1}', b"[" * 99]
)
def test_a_signed_body_that_cannot_be_read_is_401(body: bytes) -> None:
    assert refusal(verifier(LINEAR), linear(None, body)).reason == "timestamp"


def test_a_body_is_not_read_before_its_signature_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    from hookline.daemon.sources import schemes

    def fail(_request: IncomingRequest) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(schemes, "read_document", fail)
    assert refusal(verifier(LINEAR), request(("linear-signature", "00" * 32))).detail == "signature does not match"


def test_a_timestamp_in_the_body_counts_for_the_replay_span() -> None:
    made, _ = read(LINEAR)
    assert made is not None
    assert made.replay_span == timedelta(minutes=2)
    assert made.verifier.prove(request()).headers == {"linear-signature": sign(BODY)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signed": "{timestamp}{body}"}, "the timestamp stands in the body, which is signed"),
        ({"timestamp": {"body": "meta.at"}}, "'meta.at' is no path of names and indexes"),
        ({"timestamp": {"body": "$.items[*].at"}}, "'$.items[*].at' is no path of names and indexes"),
        ({"timestamp": {"body": "$"}}, "'$' is no path of names and indexes"),
        ({"timestamp": {"body": 1}}, "expected a text, saw a number"),
        ({"timestamp": {"body": "$.at", "header": "X-T"}}, 'unknown key "header"'),
        ({"timestamp": {"body": "$.at", "part": "t="}}, 'unknown key "part"'),
        ({"timestamp": {"body": "$.at", "tolerance": "0s"}}, "nothing would ever be accepted"),
        ({"signed": "{url|upper}{body}"}, "{url|upper} is not known here"),
        ({"signed": "{body|decode_reserved}"}, "{body|decode_reserved} is not known here"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    assert message in messages({**LINEAR, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"separator": ""}, "a part of a header needs `separator`"),
        ({"timestamp": {"header": "Stripe-Signature"}}, "signature and timestamp stand in one header"),
        ({"signed": "{body}"}, "the timestamp is not signed, so anyone could renew it"),
        ({"secret": "learned"}, None),
        ({"secret": ["learned"]}, "the secret is shorter than 8 characters, which can be guessed"),
        ({"scheme": "digest", "secret": "learned"}, "the secret is shorter than 8 characters, which can be guessed"),
        ({"scheme": "digest", "secret": "1234567"}, "the secret is shorter than 8 characters, which can be guessed"),
    ],
)
def test_mistakes_around_parts_and_secrets(change: dict[str, Any], message: str | None) -> None:
    made, problems = read({**STRIPE, **change})
    assert (made is None) == (message is not None)
    assert [problem.message for problem in problems] == ([message] if message else [])


ASANA = {"scheme": "hmac", "header": "X-Hook-Signature", "secret": "learned"}


def test_learned_secrets_are_asked_for_at_each_request() -> None:
    known: list[str] = []
    made, _ = read(ASANA, learned=lambda: tuple(known))
    assert made is not None
    assert made.learns
    one = made.verifier
    incoming = request(("x-hook-signature", sign(BODY, "learned-secret-1")))
    assert refusal(one, incoming).detail == "no secret was learned yet"
    with pytest.raises(CannotProveError, match="no secret was learned yet"):
        one.prove(request())
    known.append("learned-secret-1")
    one.verify(incoming)
    known.insert(0, "learned-secret-2")
    one.verify(incoming)
    one.verify(request(*one.prove(request()).headers.items()))
    assert one.prove(request()).headers == {"x-hook-signature": sign(BODY, "learned-secret-2")}
    known.remove("learned-secret-1")
    assert refusal(one, incoming).detail == "signature does not match"


def test_without_learned_secrets_nothing_is_taken() -> None:
    # An empty key would be one that anybody has.
    assert refusal(verifier(ASANA), request(("x-hook-signature", sign(BODY, "")))).detail == "no secret was learned yet"
    assert not read({**ASANA, "secret": SECRET})[0].learns  # type: ignore[union-attr]
    assert read([ASANA, DIGEST])[0].learns  # type: ignore[union-attr]


def test_what_cannot_be_signed_says_why() -> None:
    one = verifier({"scheme": "hmac", "header": "X-Sig", "signed": "{url}{header.X-Id}{body}", "secret": SECRET})
    with pytest.raises(CannotProveError, match="x-id is missing"):
        one.prove(request())
    with pytest.raises(CannotProveError, match="no public_url is configured"):
        one.prove(request(("x-id", "1"), url=None))


def test_most_verifiers_need_nothing_from_outside() -> None:
    for said in (ASANA, DIGEST, {"scheme": "token", "secret": SECRET}, "none"):
        one = verifier(said)
        assert one.needs(request()) is None
        one.add_key("https://sns.us-east-2.amazonaws.com/x.pem", b"")


GRAPH = {"scheme": "token", "path": "$.value[*].clientState", "secret": [SECRET, "the other one"]}


def graph(document: Any, content_type: str = "application/json") -> IncomingRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return request(("content-type", content_type), body=body)


def test_a_token_in_the_body_stands_in_every_element() -> None:
    one = verifier(GRAPH)
    one.verify(graph({"value": [{"clientState": SECRET, "id": 1}]}))
    one.verify(graph({"value": [{"clientState": SECRET}, {"clientState": "the other one"}], "validationTokens": []}))
    assert one.vouches_for(frozenset({"x-id"}), frozenset())


@pytest.mark.parametrize(
    "document",
    [
        {}, [], "x", None, b"", b"\xff", b'{"value": 1, "value": 2}',
        {"value": None}, {"value": []}, {"value": {"clientState": SECRET}}, {"value": SECRET},
        {"value": [{}]}, {"value": [{"clientState": None}]}, {"value": [{"clientState": [SECRET]}]}, {"value": [{"clientState": ""}]},
        {"value": [{"clientState": SECRET}, {}]}, {"value": [{"clientState": SECRET}, {"clientState": "x"}]},
        {"value": [{"clientState": SECRET + "x"}]}, {"value": [{"clientState": "\ud800"}]}, {"clientState": SECRET},
    ],
)  # fmt: skip
def test_a_body_with_an_element_without_the_token_is_401(document: Any) -> None:
    rejected = refusal(verifier(GRAPH), graph(document))
    assert rejected.reason == "signature"
    assert SECRET not in rejected.detail


def test_a_token_is_written_into_a_samples_body() -> None:
    one = verifier(GRAPH)
    draft = graph({"value": [{"id": "ä"}, {"id": 2, "clientState": "x"}]})
    proof = one.prove(draft)
    assert proof.body is not None
    assert json.loads(proof.body) == {"value": [{"id": "ä", "clientState": SECRET}, {"id": 2, "clientState": SECRET}]}
    one.verify(graph(proof.body))


@pytest.mark.parametrize("document", [b"x", {}, {"value": []}, {"value": [1]}, {"value": {"0": {}}}])
def test_a_body_without_a_place_for_the_token_cannot_be_signed(document: Any) -> None:
    with pytest.raises(CannotProveError, match="the secret belongs"):
        verifier(GRAPH).prove(graph(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "value"}, "'value' is no path of names and [*]"),
        ({"path": "$"}, "'$' is no path of names and [*]"),
        ({"path": "$..clientState"}, "'$..clientState' is no path of names and [*]"),
        ({"prefix": "Bearer "}, 'unknown key "prefix"'),
        ({"header": "X-Token"}, 'unknown key "header"'),
        ({"secret": "short"}, "the secret is shorter than 8 characters, which can be guessed"),
    ],
)
def test_mistakes_around_a_token_in_the_body(change: dict[str, Any], message: str) -> None:
    assert messages({**GRAPH, **change}) == [message]
