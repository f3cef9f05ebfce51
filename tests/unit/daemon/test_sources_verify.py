"""Verifying: RELIABILITY 2.8 and 3b, rows 41 to 64, on declared sources."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.keyed_hashes import PreparedHmac
from hookline.daemon.sources.port import IncomingRequest, RequestRejected, Source, SourceSettings

NOW = datetime(2026, 5, 18, 12, 0, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
BODY = b'{"event": "order.paid", "id": "o1"}'
SECRET = "correct horse"
VERIFY: dict[str, Any] = {
    "scheme": "hmac",
    "header": "X-Shop-Signature",
    "prefix": "sha256=",
    "signed": "{timestamp}.{body}",
    "timestamp": {"header": "X-Shop-Time", "tolerance": "5m"},
    "secret": SECRET,
}


def source(verify: Any, **options: Any) -> Source:
    settings = SourceSettings(name="shop", type="generic", options={"verify": verify, **options})
    assert check_options(settings, has_public_url=True) == []
    return build_source(settings, batch_limit=10, dedupe_window=timedelta(days=90))


def request(*headers: tuple[str, str], body: bytes = BODY, **more: Any) -> IncomingRequest:
    parts: dict[str, Any] = {
        "method": "POST",
        "subpath": "",
        "url": None,
        "query": (),
        "client_ip": "",
        "received_at": NOW,
    }
    return IncomingRequest(headers=headers, body=body, **{**parts, **more})


def sign(body: bytes = BODY, stamp: str = STAMP, secret: str = SECRET, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, algorithm).hexdigest()


def signed(signature: str | None = None, stamp: str = STAMP) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("x-shop-signature", signature or f"sha256={sign(stamp=stamp)}"), ("x-shop-time", stamp)


def refusal(one: Source, incoming: IncomingRequest) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        one.verify(incoming)
    assert SECRET not in caught.value.detail
    return caught.value


def test_a_good_signature_passes() -> None:
    source(VERIFY).verify(request(*signed()))


def test_upper_case_hex_passes() -> None:
    source(VERIFY).verify(request(*signed(f"sha256={sign().upper()}")))


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ((), "x-shop-signature is missing"),
        ((signed()[0],), "x-shop-time is missing"),
        ((signed()[1],), "x-shop-signature is missing"),
        (signed("sha256="), "holds no hex signature after 'sha256='"),
        (signed(sign()), "holds no hex signature after 'sha256='"),
        (signed(f"sha1={sign(algorithm='sha1')}"), "holds no hex signature"),
        (signed(f"sha256={sign(algorithm='sha1')}"), "does not match"),
        (signed(f"sha256={sign(secret='another one')}"), "does not match"),
        (signed(f"sha256={sign(body=BODY.replace(b' ', b''))}"), "does not match"),
        (signed(f"sha256={sign()[:-1]}"), "holds no hex"),
        (signed(f"sha256={sign()[:-2]}"), "does not match"),
        (signed(f"sha256={sign()}00"), "does not match"),
        (signed("sha256=" + " ".join(sign()[at : at + 2] for at in range(0, 64, 2))), "holds no hex"),
        (signed("sha256=é" + sign()), "beyond ASCII"),
        (signed("sha256=\u0661" + sign()), "beyond ASCII"),
        ((*signed(), signed()[0]), "2 headers x-shop-signature"),
        ((*signed(), ("x-shop-time", "1")), "2 headers x-shop-time"),
        (signed(",".join([f"sha256={sign()}"] * 2)), "holds no hex"),
    ],
)
def test_anything_else_is_401(headers: tuple[tuple[str, str], ...], detail: str) -> None:
    rejected = refusal(source(VERIFY), request(*headers))
    assert (rejected.status, rejected.reason) == (401, "signature")
    assert detail in rejected.detail


@pytest.mark.parametrize(
    "stamp",
    ["", "nan", "NaN", "inf", "1e3", "-1", "+1", "1_000", " 1", "1\n", "1.5", "\u0661\u0662\u0663", "9" * 17, str(2**63), "[1]", "0x10",
     "2026-05-18", "2026-05-18 12:00:00Z", "2026-05-18T12:00:00", "2026-13-18T12:00:00Z", "20260518T120000Z"],
)  # fmt: skip
def test_a_timestamp_in_another_form_is_401_though_it_is_signed(stamp: str) -> None:
    signature = hmac.new(SECRET.encode(), stamp.encode("utf-8") + b"." + BODY, "sha256").hexdigest()
    rejected = refusal(source(VERIFY), request(("x-shop-signature", f"sha256={signature}"), ("x-shop-time", stamp)))
    assert (rejected.status, rejected.reason) == (401, "signature")


@pytest.mark.parametrize(
    "stamp",
    [
        STAMP,
        f"{STAMP}000",
        f"{STAMP}000000",
        "2026-05-18T12:00:00Z",
        "2026-05-18T12:00:00.000Z",
        "2026-05-18T14:00:00+02:00",
    ],
)
def test_auto_reads_seconds_milliseconds_microseconds_and_iso(stamp: str) -> None:
    source(VERIFY).verify(request(*signed(stamp=stamp)))


@pytest.mark.parametrize(
    ("unit", "stamp", "is_good"), [("s", f"{STAMP}000", False), ("ms", f"{STAMP}000", True), ("iso", STAMP, False)]
)
def test_a_unit_is_kept_to(unit: str, stamp: str, is_good: bool) -> None:
    one = source({**VERIFY, "timestamp": {"header": "X-Shop-Time", "unit": unit}})
    if is_good:
        one.verify(request(*signed(stamp=stamp)))
    else:
        assert refusal(one, request(*signed(stamp=stamp))).status == 401


@pytest.mark.parametrize("seconds", [-301, -300, -299, 299, 300, 301])
def test_the_tolerance_holds_on_both_sides(seconds: int) -> None:
    incoming = request(*signed(), received_at=NOW + timedelta(seconds=seconds))
    if abs(seconds) <= 300:
        source(VERIFY).verify(incoming)
    else:
        rejected = refusal(source(VERIFY), incoming)
        assert (rejected.status, rejected.reason) == (401, "timestamp")
        assert f"x-shop-time is 5m1s {'old' if seconds > 0 else 'in the future'}, allowed is 5m" in rejected.detail


def test_tolerance_off_takes_any_age() -> None:
    one = source({**VERIFY, "timestamp": {"header": "X-Shop-Time", "tolerance": "off"}})
    one.verify(request(*signed(), received_at=NOW + timedelta(days=400)))


def test_each_secret_of_a_rotation_is_tried() -> None:
    incoming = request(*signed())
    source({**VERIFY, "secret": ["the new one", SECRET]}).verify(incoming)
    source({**VERIFY, "secret": [SECRET, "the new one"]}).verify(incoming)
    assert refusal(source({**VERIFY, "secret": ["the new one"]}), incoming).detail == "signature does not match"


LISTED = {**VERIFY, "separator": ",", "prefix": "v1="}


def test_several_signatures_are_tried_up_to_a_cap() -> None:
    wrong = [f"v1={'0' * 64}"]
    good = [f"v1={sign()}"]
    one = source(LISTED)
    one.verify(request(*signed(",".join(["v0=00", *wrong * 14, *good]))))
    one.verify(request(*signed(f" v1=00, v2=x,{good[0]}")))
    rejected = refusal(one, request(*signed(",".join([*wrong * 16, *good]))))
    assert rejected.detail == "x-shop-signature holds more than 16 signatures"
    assert refusal(one, request(*signed(",".join(wrong * 10_000)))).status == 401


def test_a_bad_signature_costs_one_hash_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[list[int]] = []
    digest = PreparedHmac.digest

    def counted(self: PreparedHmac, message: list[bytes]) -> bytes:
        hashed.append([len(piece) for piece in message])
        return digest(self, message)

    one = source({**LISTED, "secret": [SECRET, "the new one"]})
    monkeypatch.setattr(PreparedHmac, "digest", counted)
    body = b"x" * (1 << 20)
    refusal(one, request(*signed(",".join([f"v1={'0' * 64}"] * 16)), body=body))
    # In pieces: a body of 1 MiB is not copied.
    assert hashed == [[len(STAMP), 1, len(body)]] * 2


@given(
    # A block is 64 or 128 bytes; a longer key is hashed first.
    st.sampled_from([1, 63, 64, 65, 127, 128, 129, 300]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    st.lists(st.binary()),
    st.sampled_from(["sha1", "sha256", "sha384", "sha512"]),
)
def test_the_keyed_hash_is_that_of_the_standard_library(key: bytes, message: list[bytes], algorithm: str) -> None:
    prepared = PreparedHmac(key, algorithm)
    for _ in range(2):
        assert prepared.digest(message) == hmac.new(key, b"".join(message), algorithm).digest()


@pytest.mark.parametrize("change", ["=", "", "A", "\n"])
def test_base64_that_an_encoder_would_not_write_is_401(change: str) -> None:
    verify = {"scheme": "hmac", "header": "X-Sig", "encoding": "base64", "secret": SECRET}
    digest = hmac.new(SECRET.encode(), BODY, "sha256").digest()
    right = base64.b64encode(digest).decode()
    source(verify).verify(request(("x-sig", right)))
    wrong = {"=": right + "=", "": right.rstrip("="), "A": "A" + right, "\n": right[:10] + "\n" + right[10:]}[change]
    assert refusal(source(verify), request(("x-sig", wrong))).status == 401


def test_stray_bits_in_base64_are_401() -> None:
    verify = {"scheme": "hmac", "header": "X-Sig", "encoding": "base64", "secret": SECRET}
    right = base64.b64encode(hmac.new(SECRET.encode(), BODY, "sha256").digest()).decode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = right[:-2] + alphabet[alphabet.index(right[-2]) ^ 1] + "="
    assert base64.b64decode(twin, validate=True) == base64.b64decode(right)
    assert refusal(source(verify), request(("x-sig", twin))).status == 401


def test_a_signed_header_holds_no_separator_and_nothing_odd() -> None:
    verify = {"scheme": "hmac", "header": "X-Sig", "signed": "{header.X-Id}.{body}", "secret": SECRET}
    one = source(verify)

    def incoming(identity: str) -> IncomingRequest:
        message = identity.encode("latin-1", "replace") + b"." + BODY
        return request(("x-sig", hmac.new(SECRET.encode(), message, "sha256").hexdigest()), ("x-id", identity))

    one.verify(incoming("msg_1"))
    one.verify(incoming("x" * 255))
    for odd in ("msg.1", "a\nb", "a b", "", "x" * 256, "é"):
        assert refusal(one, incoming(odd)).status == 401


def test_method_and_url_can_be_signed() -> None:
    verify = {"scheme": "hmac", "header": "X-Sig", "signed": "{method}{url}{body}", "secret": SECRET}
    url = "https://hooks.example.com/hooks/shop?x=1"
    signature = hmac.new(SECRET.encode(), b"POST" + url.encode() + BODY, "sha256").hexdigest()
    source(verify).verify(request(("x-sig", signature), url=url))
    assert refusal(source(verify), request(("x-sig", signature), url=url + "&y=2")).status == 401
    assert "public_url" in refusal(source(verify), request(("x-sig", signature))).detail


def test_a_token_in_a_header() -> None:
    one = source({"scheme": "token", "prefix": "Bearer ", "secret": SECRET})
    one.verify(request(("authorization", f"Bearer {SECRET}")))
    assert one.credential_headers >= {"authorization"}
    for given_value in (None, "", SECRET, f"Bearer {SECRET} ", f"bearer {SECRET}", "Bearer ", f"Bearer {SECRET}é"):
        headers = (("authorization", given_value),) if given_value is not None else ()
        assert refusal(one, request(*headers)).reason == "signature"
    assert "2 headers" in refusal(one, request(*(("authorization", f"Bearer {SECRET}"),) * 2)).detail


def test_a_token_in_the_query() -> None:
    one = source({"scheme": "token", "query": "key", "secret": SECRET})
    one.verify(request(query=(("key", SECRET), ("other", "x"))))
    assert one.credential_query == {"key"}
    for query in ((), (("key", ""),), (("key", "wrong"),), (("key", SECRET), ("key", SECRET)), (("key", "\ud800"),)):
        assert refusal(one, request(query=query)).status == 401


def test_basic() -> None:
    one = source({"scheme": "basic", "username": "ops", "password": ["old password", SECRET]})

    def header(pair: str, scheme: str = "Basic") -> tuple[str, str]:
        return "authorization", f"{scheme} {base64.b64encode(pair.encode()).decode()}"

    one.verify(request(header(f"ops:{SECRET}")))
    one.verify(request(header("ops:old password", "basic")))
    for wrong in (
        header("ops:"),
        header(f"op:{SECRET}"),
        header(f"ops:{SECRET}", "Bearer"),
        ("authorization", "Basic"),
        ("authorization", "Basic é"),
    ):
        assert refusal(one, request(wrong)).status == 401


def test_none_accepts_anyone_but_the_path_must_fit() -> None:
    token = "b7e1c2d9a4f80613"
    one = source("none", path_token=token)
    one.verify(request(subpath=token))
    for subpath in ("", "wrong", token[:-1], token + "/", token.upper(), "é\ud800"):
        rejected = refusal(one, request(subpath=subpath))
        assert (rejected.status, rejected.reason) == (404, "path")
    assert refusal(source("none"), request(subpath=token)).status == 404


def test_of_several_ways_one_is_enough() -> None:
    one = source([VERIFY, {"scheme": "token", "header": "X-Token", "secret": "token-secret"}])
    one.verify(request(*signed()))
    one.verify(request(("x-token", "token-secret")))
    assert refusal(one, request()).detail == "x-shop-signature is missing"
    assert refusal(one, request(*signed(), received_at=NOW + timedelta(days=1))).reason == "timestamp"


NAMES = st.sampled_from(["x-shop-signature", "x-shop-time", "authorization", "x-token", "x-id", "content-type"])
TEXTS = st.text() | st.sampled_from(
    [f"sha256={sign()}", STAMP, "Basic b3Bz", "v1,", "sha256=zz", "application/x-www-form-urlencoded"]
)
ANY = [
    source(verify, event={"type": "$.event", "id": ["$.id", "header.x-id"], "time": "$.at"}, split="$.events[*]")
    for verify in (
        VERIFY,
        LISTED,
        {
            "scheme": "hmac",
            "header": "X-Shop-Signature",
            "encoding": "base64",
            "signed": "{header.x-id}.{body}",
            "secret": SECRET,
        },
        {"scheme": "token", "query": "key", "secret": SECRET},
        {"scheme": "basic", "username": "ops", "password": SECRET},
        {
            "scheme": "ed25519",
            "header": "X-Shop-Signature",
            "public_key": base64.b64encode(bytes(31) + b"\x01").decode(),
        },
        "none",
    )
]


@given(
    st.sampled_from(ANY),
    st.lists(st.tuples(NAMES, TEXTS)),
    st.lists(st.tuples(st.just("key"), TEXTS)),
    st.binary(),
    st.text(max_size=3),
)
def test_nothing_but_a_refusal_leaves_verify_and_normalize(
    one: Source, headers: list[tuple[str, str]], query: list[tuple[str, str]], body: bytes, subpath: str
) -> None:
    incoming = request(*headers, body=body, query=query, subpath=subpath)
    for call in (one.verify, one.normalize):
        try:
            call(incoming)
        except RequestRejected as rejected:
            assert rejected.status in {401, 404, 415}  # noqa: PT017 - whether it is raised is not the claim


@given(st.binary(min_size=1), st.integers(min_value=0), st.integers(0, 7))
def test_a_flipped_bit_of_any_body_is_401(body: bytes, at: int, bit: int) -> None:
    one = source({"scheme": "hmac", "header": "X-Sig", "secret": SECRET})
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    one.verify(request(("x-sig", signature), body=body))
    flipped = bytearray(body)
    flipped[at % len(body)] ^= 1 << bit
    assert refusal(one, request(("x-sig", signature), body=bytes(flipped))).status == 401
