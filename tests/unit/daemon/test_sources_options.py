"""A source's options: every mistake has its place and its next step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.port import SourceSettings

SECRET = "correct horse"
HMAC = {"scheme": "hmac", "header": "X-Sig", "secret": SECRET}
CLOSED = "a source fails closed"


def problems(kind: str, options: Any, *, has_public_url: bool = True) -> list[tuple[str, str, str]]:
    settings = SourceSettings(name="here", type=kind, options=options)
    found = check_options(settings, has_public_url=has_public_url)
    return [(".".join(map(str, one.path)), one.message, one.hint or "") for one in found]


@pytest.mark.parametrize(
    ("kind", "options", "place", "message", "hint"),
    [
        ("agild", {}, "type", 'unknown source type "agild"', 'did you mean "agiled"?'),
        ("generic", {}, "", f"`verify` is missing: {CLOSED}", "verify: none"),
        ("generic", {"verify": []}, "verify", f"the list is empty: {CLOSED}", "verify: none"),
        ("generic", {"verify": "hmac"}, "verify", "expected a mapping, saw a text", "scheme: hmac"),
        ("generic", {"verify": {"secret": SECRET}}, "verify", "`scheme` is missing", "hmac"),
        ("generic", {"verify": {"scheme": "hmca"}}, "verify.scheme", '"hmca" is not known here', 'did you mean "hmac"?'),
        ("generic", {"verify": {"scheme": True}}, "verify.scheme", "true or false is not known here", "there are: basic"),
        ("generic", {"verify": {"scheme": "hmac", "header": "X-Sig"}}, "verify", "`secret` is missing", CLOSED),
        ("generic", {"verify": {"scheme": "hmac", "secret": SECRET}}, "verify", "`header` is missing", "X-Signature"),
        ("generic", {"verify": {**HMAC, "header": "X Sig"}}, "verify.header", "'X Sig' is no header's name", "letters"),
        ("generic", {"verify": {**HMAC, "secret": ""}}, "verify.secret", "the secret is empty", "is the variable"),
        ("generic", {"verify": {**HMAC, "secret": [SECRET, " "]}}, "verify.secret.1", "secret 2 of 2 is empty", "is the variable"),
        ("generic", {"verify": {**HMAC, "secret": []}}, "verify.secret", "the list is empty", "at least one"),
        ("generic", {"verify": {**HMAC, "secret": 12345678}}, "verify.secret", "saw a number", "quotes"),
        ("generic", {"verify": {**HMAC, "secret": SECRET + "\n"}}, "verify.secret", "white space", "line end"),
        ("generic", {"verify": {**HMAC, "secret": "short"}}, "verify.secret", "shorter than 8 characters", "longer"),
        ("generic", {"verify": {**HMAC, "secrets": [SECRET]}}, "verify.secrets", 'unknown key "secrets"', 'did you mean "secret"?'),
        ("generic", {"verify": {**HMAC, "algorithm": "sha265"}}, "verify.algorithm", '"sha265" is not known here', '"sha256"?'),
        ("generic", {"verify": {**HMAC, "algorithm": "md5"}}, "verify.algorithm", '"md5" is not known here', "sha1, sha256"),
        ("generic", {"verify": {**HMAC, "encoding": "hexx"}}, "verify.encoding", '"hexx" is not known here', '"hex"?'),
        ("generic", {"verify": {**HMAC, "signed": "{timestamp}.{body}"}}, "verify.signed", "{timestamp} needs `timestamp`", "tolerance"),
        ("generic", {"verify": {**HMAC, "signed": "{time}.{body}"}}, "verify.signed", "{time} is not known here", "{header.NAME}"),
        ("generic", {"verify": {**HMAC, "signed": "{header.X-Id}"}}, "verify.signed", "the body is not signed", "add {body}"),
        ("generic", {"verify": {**HMAC, "timestamp": {"header": "X-T"}}}, "verify", "the timestamp is not signed", "{timestamp}.{body}"),
        ("generic", {"verify": {**HMAC, "timestamp": "X-T", "signed": "{timestamp}{body}"}}, "verify.timestamp", "saw a text", "{header:"),
        ("generic", {"verify": {**HMAC, "timestamp": {}, "signed": "{timestamp}{body}"}}, "verify.timestamp", "`header` is missing", "write"),
        (
            "generic",
            {"verify": {**HMAC, "timestamp": {"header": "X-T", "tolerance": 300}, "signed": "{timestamp}{body}"}},
            "verify.timestamp.tolerance",
            "expected a duration, saw a number",
            "write 300s",
        ),
        (
            "generic",
            {"verify": {**HMAC, "timestamp": {"header": "X-T", "tolerance": "0s"}, "signed": "{timestamp}{body}"}},
            "verify.timestamp.tolerance",
            "nothing would ever be accepted",
            "or off",
        ),
        ("generic", {"verify": [HMAC, {**HMAC, "secret": ""}]}, "verify.1.secret", "the secret is empty", "is the variable"),
        ("generic", {"verify": {"scheme": "token", "query": "a", "header": "b", "secret": SECRET}}, "verify.query", "not in both", "one"),
        ("generic", {"verify": {"scheme": "token", "secret": "pässwördchen"}}, "verify.secret", "a header cannot carry", "ASCII"),
        ("generic", {"verify": {"scheme": "basic", "password": SECRET}}, "verify", "`username` is missing", "name"),
        ("generic", {"verify": {"scheme": "basic", "username": "a:b", "password": SECRET}}, "verify.username", "no colon", "7617"),
        ("generic", {"verify": {"scheme": "none", "secret": SECRET}}, "verify.secret", 'unknown key "secret"', "scheme"),
        ("generic", {"verify": {**HMAC, "secret_encoding": "base64"}}, "verify.secret", "a secret is not base64", "copied whole"),
        ("generic", {"verify": {"scheme": "ed25519", "header": "X-Sig", "public_key": "AAAAAAAAAAAAAAAA"}}, "verify.public_key", "32 bytes", "whole"),
        ("generic", {"verify": "none", "evnt": {}}, "evnt", 'unknown key "evnt"', 'did you mean "event"?'),
        ("generic", {"verify": "none", "event": "$.type"}, "event", "expected a mapping, saw a text", "type: $.type"),
        ("generic", {"verify": "none", "event": {"typ": "$.t"}}, "event.typ", 'unknown key "typ"', 'did you mean "type"?'),
        ("generic", {"verify": "none", "event": {"id": "order_id"}}, "event.id", "is the same for every event", "write a path"),
        ("generic", {"verify": "none", "event": {"id": 5}}, "event.id", "saw a number", "quotes"),
        ("generic", {"verify": "none", "event": {"type": "{$.a|low}"}}, "event.type", "no filter 'low'", "write a path"),
        ("generic", {"verify": "none", "split": "$.events"}, "split", "end in [*]", ""),
        ("generic", {"verify": "none", "split": ["$.events[*]", 5]}, "split", "a list of texts, saw a number", "quotes"),
        ("generic", {"verify": "none", "split": []}, "split", "the list is empty", "at least one"),
        ("generic", {"verify": "none", "split": "$"}, "split", "'$' alone splits nothing", ""),
        ("generic", {"verify": "none", "split": ["$", "$[*]"]}, "split", "$ stands before $[*]: put the last resort last", ""),
        ("generic", {"verify": "none", "split": ["$.a[*]", "$.a[*].b[*]"]}, "split", "stands before $.a[*].b[*]", ""),
        ("generic", {"verify": "none", "maps": "verb"}, "maps", "expected a mapping, saw a text", "{verb:"),
        ("generic", {"verify": "none", "maps": {"verb": "x"}}, "maps.verb", "expected a mapping, saw a text", "created"),
        ("generic", {"verify": "none", "maps": {"verb": {"a": []}}}, "maps.verb.a", "expected a text, saw a list", "created"),
        ("generic", {"verify": "none", "maps": {"verb": {}}, "event": {"type": "{$.a|map vreb}"}}, "event.type", "no map 'vreb'", "write a path"),
        ("generic", {"verify": "none", "event": {"subject": "deal"}}, "event.subject", "is the same for every event", "write a path"),
        ("generic", {"verify": "none", "event": {"digest_with": 5}}, "event.digest_with", "saw a number", "quotes"),
        ("generic", {"verify": "none", "methods": "post"}, "methods", '"post" is no method that brings events', 'did you mean "POST"?'),
        ("generic", {"verify": "none", "methods": ["POST", "TRACE"]}, "methods", '"TRACE" is no method', "there are: DELETE"),
        ("generic", {"verify": "none", "methods": []}, "methods", "the list is empty", "at least one"),
        ("generic", {"verify": "none", "headers": ["a"]}, "headers", "expected a mapping, saw a list", "svix-id"),
        ("generic", {"verify": "none", "headers": {"X-Id": 5}}, "headers.X-Id", "expected a text, saw a number", "quotes"),
        ("generic", {"verify": "none", "headers": {"X-Id": "X Other"}}, "headers.X-Id", "'x other' is no header's name", "letters"),
        ("generic", {"verify": "none", "headers": {"X-Id": "x-id"}}, "headers.X-Id", "x-id cannot stand for two headers", "take one"),
        ("generic", {"verify": "none", "headers": {"a": "c", "b": "C"}}, "headers.b", "c cannot stand for two headers", "take one"),
        (
            "generic",
            {"verify": "none", "headers": {"ce-id": "x-id"}, "body": {"reader": "cloudevents"}},
            "headers.ce-id",
            "knows its headers by their own names",
            "take it away",
        ),
        ("generic", {"verify": "none", "body": "json"}, "body", "expected a mapping, saw a text", "{form_json: payload}"),
        ("generic", {"verify": "none", "body": {"form": "payload"}}, "body.form", 'unknown key "form"', '"form_json"?'),
        ("generic", {"verify": "none", "body": {"form_json": 5}}, "body.form_json", "expected a text, saw a number", "quotes"),
        ("generic", {"verify": "none", "body": {"json_at": "Message"}}, "body.json_at", "'Message' is no path of names", "$.Message"),
        ("generic", {"verify": "none", "body": {"json_at": "$..x"}}, "body.json_at", "'$..x' is no path of names", "$.Message"),
        ("generic", {"verify": "none", "body": {"reader": "cloudevent"}}, "body.reader", '"cloudevent" is not known', '"cloudevents"?'),
        ("generic", {"verify": "none", "body": {"reader": "cloudevents", "form_json": "p"}}, "body.form_json", "takes no forms", "take one"),
        ("generic", {"verify": "none", "answer": 200}, "answer", "expected a mapping, saw a number", "{status: 200"),
        ("generic", {"verify": "none", "answer": {"status": 404}}, "answer.status", "from 200 to 299, saw 404", "stored"),
        ("generic", {"verify": "none", "answer": {"status": True}}, "answer.status", "from 200 to 299, saw true or false", "stored"),
        ("generic", {"verify": "none", "answer": {"status": 204, "body": "x"}}, "answer.body", "an answer 204 has no body", "another status"),
        ("generic", {"verify": "none", "answer": {"content_type": "text/xml"}}, "answer.content_type", "there is no body", "write `body`"),
        ("generic", {"verify": "none", "answer": {"body": "x", "content_type": "a\nb"}}, "answer.content_type", "a header cannot carry", "text/xml"),
        ("generic", {"verify": "none", "answer": {"headers": {}}}, "answer.headers", 'unknown key "headers"', ""),
        ("generic", {"verify": "none", "path_token": "short"}, "path_token", "shorter than 16 characters", "longer"),
        ("generic", {"verify": "none", "path_token": "with/slash/and blank"}, "path_token", "a path cannot carry", "letters"),
        ("generic", {"verify": "none", "dedupe_window": "a day"}, "dedupe_window", "is not a duration", ""),
        ("generic", {"verify": "none", "expect_every": 7}, "expect_every", "expected a duration, saw a number", "write 7s"),
        ("generic", {"verify": "none", "rate": 50}, "rate", "expected a rate, saw a number", "as in 50/s"),
        ("generic", {"verify": "none", "rate": "50"}, "rate", '"50" is not a rate', ""),
        ("generic", {"verify": "none", "rate": "0/s"}, "rate", '"0/s" lets nothing through', "take the source away"),
        ("agiled", {}, "", "`secret` is missing", "or write `verify: none`"),
        ("agiled", {"secret": "short"}, "secret", "shorter than 8", "longer"),
        ("agiled", {"secret": SECRET, "tolerance": "2 hours"}, "tolerance", "is not a duration", ""),
        ("agiled", {"secret": SECRET, "secrt": SECRET}, "secrt", 'unknown key "secrt"', 'did you mean "secret"?'),
        ("agiled", {"secret": SECRET, "event": {}}, "event", 'unknown key "event"', ""),
        ("agiled", {"secret": SECRET, "verify": "none"}, "secret", "no effect beside `verify`", "take one"),
        ("agiled", {"verify": {"scheme": "hmac"}}, "verify", "agiled knows how to verify", "type: generic"),
        ("agiled", {"verify": HMAC}, "verify", "agiled knows how to verify", "write secret beside type: instead"),
        ("agiled", {"secret": SECRET, "options": {"tolerance": "5m"}}, "options", "unknown key", "without options:, one level higher"),
        ("agiled", {"secret": None}, "secret", "saw nothing", "behind the colon"),
        ("agiled", {"secret": {"value": SECRET}}, "secret", "saw a mapping", "write the text itself"),
        ("generic", {"verify": HMAC, "algorithm": "sha1"}, "algorithm", "unknown key", "write it under verify:"),
        ("generic", {"verify": HMAC, "tenant": "$.shop"}, "tenant", "unknown key", "write it under event:"),
        ("generic", {"verify": {**HMAC, "secret": "learned"}}, "verify.secret", "a secret that no handshake brings", "`learn`"),
        ("generic", {"verify": [HMAC, {**HMAC, "secret": "learned"}]}, "verify.1.secret", "no handshake brings", "`learn`"),
        ("twilio", {"secret": SECRET, "public_url": "hooks.example.com"}, "public_url", "is not an http or https URL", ""),
        ("sns", {"topics": ["arn:aws:sns:us-east-2:123456789012:a", "b"]}, "topics.1", "'b' is no topic", "its ARN"),
        ("svix", {"secret": "whpk_" + "A" * 43}, "secret", "a secret is not base64", "it should begin with whsec_"),
        ("agiled", {"secret": SECRET, "dedupe_window": "4h"}, "dedupe_window", "can be sent again for 4h", "more than 4h"),
        ("agave", {}, "", "`authorization` is missing", CLOSED),
        ("agave", {"authorization": ""}, "authorization", "the secret is empty", "is the variable"),
        ("standard-webhooks", {"secret": "whsec_" + "A" * 32, "public_key": "whpk_" + "A" * 43, "tolerance": "5"}, "tolerance", "no unit", ""),
        ("standard-webhooks", {}, "", "`secret` or `public_key` is missing", CLOSED),
        ("standard-webhooks", {"secret": "whsec_not base64!"}, "secret", "is not base64 after its prefix", "copied whole"),
        ("standard-webhooks", {"secret": "whsec_c2hvcnQ="}, "secret", "shorter than 8 bytes", "copied whole"),
        ("standard-webhooks", {"public_key": "whpk_c2hvcnQ="}, "public_key", "shorter than 8 bytes", "copied whole"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_at_its_place(kind: str, options: Any, place: str, message: str, hint: str) -> None:
    found = problems(kind, options)
    assert len(found) == 1, found
    assert found[0][0] == place
    assert message in found[0][1]
    assert hint in found[0][2]
    assert SECRET not in str(found)


def test_all_mistakes_are_named_at_once() -> None:
    options = {
        "verify": {**HMAC, "algorithm": "md5", "secret": "x", "foo": 1},
        "event": {"id": "x", "bar": 1},
        "split": "$",
        "baz": 1,
    }
    places = [place for place, _, _ in problems("generic", options)]
    assert sorted(places) == [
        "baz",
        "event.bar",
        "event.id",
        "split",
        "verify.algorithm",
        "verify.foo",
        "verify.secret",
    ]


def test_a_signed_url_needs_a_public_url() -> None:
    options = {"verify": {**HMAC, "signed": "{method}{url}{body}"}}
    assert problems("generic", options) == []
    assert problems("generic", options, has_public_url=False) == [
        (
            "verify.signed",
            "the sender signs the URL, which needs `public_url`",
            "write public_url: https://… in hookline.yaml, as the sender was given it",
        )
    ]
    # What is wrong is not where the user wrote nothing.
    for kind in ("hubspot", "twilio"):
        found = problems(kind, {"secret": SECRET}, has_public_url=False)
        assert [(place, message) for place, message, _ in found] == [
            ("", "the sender signs the URL, which needs `public_url`")
        ]
        assert not problems(kind, {"secret": SECRET, "public_url": "https://a.example.com/x"}, has_public_url=False)


@pytest.mark.parametrize(
    ("kind", "options", "hint"),
    [
        ("twilio", {"auth_token": SECRET}, 'did you mean "secret"?'),
        ("agave", {"secret": SECRET}, 'did you mean "authorization"?'),
        ("agave", {"secret": SECRET, "token": SECRET}, "there are: authorization"),
        ("hubspot", {"options": {"secret": SECRET}}, "write what stands in it without options:, one level higher"),
    ],
)
def test_a_senders_own_word_for_what_is_missing_is_understood(kind: str, options: Any, hint: str) -> None:
    missing, unknown, *_ = problems(kind, options)
    assert "is missing" in missing[1]
    assert "a source fails closed: give the " in missing[2]
    assert hint in unknown[2]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("agiled", {"secret": [SECRET, SECRET + "2"], "tolerance": "1h", "expect_every": "7d", "dedupe_window": "30d"}),
        ("agiled", {"secret": SECRET, "tolerance": "off", "path_token": "b7e1c2d9a4f80613"}),
        ("agiled", {"verify": "none"}),
        ("agave", {"authorization": ["Bearer one-token", "Basic another"]}),
        ("standard-webhooks", {"verify": "none"}),
        ("generic", {"verify": {"scheme": "none"}}),
    ],
)
def test_what_is_right_has_no_problems(kind: str, options: Any) -> None:
    assert problems(kind, options) == []


def test_building_what_is_wrong_says_what() -> None:
    settings = SourceSettings(name="here", type="agiled", options={})
    with pytest.raises(ValueError, match=r"sources\.here: .*`secret` is missing"):
        build_source(settings, batch_limit=1, dedupe_window=timedelta(days=1))


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["none", "hmac", "token", "$.a", "{body}", "5m", SECRET, ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "verify",
                    "scheme",
                    "header",
                    "secret",
                    "signed",
                    "timestamp",
                    "tolerance",
                    "unit",
                    "prefix",
                    "separator",
                    "event",
                    "type",
                    "id",
                    "key",
                    "split",
                    "maps",
                    "methods",
                    "headers",
                    "body",
                    "form_json",
                    "json_at",
                    "reader",
                    "answer",
                    "status",
                    "subject",
                    "digest_with",
                    "path_token",
                    "authorization",
                    "public_key",
                    "query",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(st.sampled_from(["generic", "agiled", "agave", "standard-webhooks"]), ANY)
def test_options_of_any_shape_give_problems_or_a_source(kind: str, value: Any) -> None:
    options = value if isinstance(value, dict) else {"verify": value}
    settings = SourceSettings(name="here", type=kind, options=options)
    if not check_options(settings, has_public_url=True):
        build_source(settings, batch_limit=1, dedupe_window=timedelta(days=1))
