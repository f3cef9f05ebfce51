"""What it costs to verify one request, scheme by scheme, beside what the hash alone costs."""

from __future__ import annotations

import base64
import hashlib
import json
import statistics
import time
import timeit
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from hookline.daemon.sources.port import IncomingRequest
from hookline.daemon.sources.sns import SnsVerifier, signed_text
from hookline.daemon.sources.verification import read_verification

#: Of schemes that need no public key, and need not read the body.
WANTED_MICROSECONDS: Final = 15
BODY_BYTES: Final = 1400
NOW: Final = datetime(2026, 5, 18, 12, 0, 0, tzinfo=UTC)
SECRET: Final = "bench-secret-0123456789abcdef"
#: What a proxy and an HTTP client send besides.
USUAL: Final[tuple[tuple[str, str], ...]] = (
    ("host", "hooks.example.com"),
    ("content-type", "application/json"),
    ("content-length", str(BODY_BYTES)),
    ("user-agent", "Vendor-Webhooks/1.0"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "5f0c6a3e"),
    ("x-event-type", "order.paid"),
    ("webhook-id", "msg_1"),
)
URL: Final = "https://hooks.example.com/hooks/vendor"
HMAC: Final[dict[str, Any]] = {"scheme": "hmac", "header": "X-Signature", "secret": SECRET}
WAYS: Final[dict[str, dict[str, Any]]] = {
    "hmac (github)": {**HMAC, "prefix": "sha256="},
    "hmac, base64 (shopify)": {**HMAC, "encoding": "base64"},
    "hmac, time (agiled)": {**HMAC, "signed": "{timestamp}.{body}", "timestamp": {"header": "X-Time"}},
    "hmac, time in a part (stripe)": {
        **HMAC,
        "prefix": "v1=",
        "separator": ",",
        "signed": "{timestamp}.{body}",
        "timestamp": {"header": "X-Signature", "part": "t=", "unit": "s"},
    },
    "hmac, id and time (svix)": {
        **HMAC,
        "prefix": "v1,",
        "separator": " ",
        "encoding": "base64",
        "signed": "{header.webhook-id}.{timestamp}.{body}",
        "timestamp": {"header": "X-Time", "unit": "s"},
    },
    "hmac, method, URL, time (hubspot)": {
        **HMAC,
        "encoding": "base64",
        "signed": "{method}{url|decode_reserved}{body}{timestamp}",
        "timestamp": {"header": "X-Time", "unit": "ms"},
    },
    "hmac, time in the body (linear)": {**HMAC, "timestamp": {"body": "$.at", "unit": "ms", "tolerance": "60s"}},
    "digest (hubspot v2)": {**HMAC, "scheme": "digest", "signed": "{method}{url|decode_reserved}{body}"},
    "token": {"scheme": "token", "header": "X-Token", "secret": SECRET},
    "token in the body (msgraph)": {"scheme": "token", "path": "$.items[*].token", "secret": SECRET},
    "twilio, JSON": {"scheme": "twilio", "secret": SECRET},
    "twilio, a form of 25 fields": {"scheme": "twilio", "secret": SECRET},
}


def bench_signatures(runs: int) -> None:
    """Print the median cost of `verify` for each scheme, over a body of 1.4 KB."""
    body = a_body()
    line("SHA-256 alone", lambda: hashlib.sha256(body).digest(), runs)
    for name, said in WAYS.items():
        problems: list[Any] = []
        read = read_verification(said, path=("verify",), has_public_url=True, problems=problems)
        assert read, problems
        incoming = signed(read.verifier, a_request(body, is_form="form" in name))
        wanted = "(reads the body)" if "body" in name or "form" in name else f"(wanted: under {WANTED_MICROSECONDS})"
        line(name, partial(read.verifier.verify, incoming), runs, wanted)
    for name, verify, incoming in (ed25519_way(body), sns_way()):
        line(name, partial(verify, incoming), runs)


def line(name: str, run: Callable[[], object], runs: int, wanted: str = "") -> None:
    """Print the median of short series, in microseconds."""
    run()
    number = 500
    # Our own time: what else runs on the machine is not what verifying costs.
    series = timeit.repeat(run, timer=time.process_time, number=number, repeat=max(5, 5 * runs))
    print(f"verify: {name:33} {statistics.median(series) / number * 1e6:8.1f} us   {wanted}".rstrip(), flush=True)


def a_body() -> bytes:
    """Return JSON of 1.4 KB."""
    items = [{"token": SECRET, "name": f"item {number}", "amount": number * 1.5} for number in range(14)]
    document = {"type": "order.paid", "at": int(NOW.timestamp() * 1000), "items": items, "note": ""}
    document["note"] = "x" * (BODY_BYTES - len(json.dumps(document)))
    return json.dumps(document).encode()


def a_request(body: bytes, *, is_form: bool = False) -> IncomingRequest:
    """Return a request with what most of them carry."""
    headers = USUAL
    if is_form:
        body = b"&".join(b"Parameter%d=%s" % (number, b"x" * 42) for number in range(25))
        headers = tuple(
            (name, "application/x-www-form-urlencoded" if name == "content-type" else value) for name, value in USUAL
        )
    return IncomingRequest(
        method="POST", subpath="", url=URL, headers=headers, query=(), client_ip="", body=body, received_at=NOW
    )


def signed(verifier: Any, draft: IncomingRequest) -> IncomingRequest:
    """Return the request as its sender signs it."""
    proof = verifier.prove(draft)
    url = draft.url
    if proof.query:
        url = f"{url}?" + "&".join(f"{name}={value}" for name, value in proof.query.items())
    return replace(
        draft,
        url=url,
        headers=(*draft.headers, *proof.headers.items()),
        query=tuple(proof.query.items()),
        body=proof.body or draft.body,
    )


def ed25519_way(body: bytes) -> tuple[str, Callable[[IncomingRequest], None], IncomingRequest]:
    """Return a way with a public key that nobody but the sender can sign for."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"bench").digest())
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    read = read_verification(
        {"scheme": "ed25519", "header": "X-Signature", "public_key": public},
        path=("verify",),
        has_public_url=True,
        problems=[],
    )
    assert read
    draft = a_request(body)
    signature = base64.b64encode(key.sign(body)).decode()
    return "ed25519", read.verifier.verify, replace(draft, headers=(*draft.headers, ("x-signature", signature)))


def sns_way() -> tuple[str, Callable[[IncomingRequest], None], IncomingRequest]:
    """Return a message of SNS, signed with a key of 2,048 bits."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    topic = "arn:aws:sns:us-east-2:123456789012:orders"
    url = "https://sns.us-east-2.amazonaws.com/bench.pem"
    message: dict[str, Any] = {
        "Type": "Notification",
        "MessageId": "792cda85-518f-5dd3-9163-81d851212f3a",
        "TopicArn": topic,
        "Message": "x" * (BODY_BYTES - 900),
        "Timestamp": "2026-05-18T12:00:00.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": url,
    }
    signature = key.sign(signed_text(message), padding.PKCS1v15(), hashes.SHA256())
    message["Signature"] = base64.b64encode(signature).decode()
    verifier = SnsVerifier(topics=(topic,), tolerance=timedelta(hours=1))
    verifier.add_key(url, made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return "sns (RSA)", verifier.verify, a_request(json.dumps(message).encode())
