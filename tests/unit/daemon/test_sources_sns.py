"""SNS: real messages of Amazon's, and others signed here to see what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from hookline.daemon.sources.port import IncomingRequest, OptionProblem, RequestRejected
from hookline.daemon.sources.proofs import CannotProveError, Verifier
from hookline.daemon.sources.sns import MAX_CERTIFICATES, check_sns_url, signed_text
from hookline.daemon.sources.verification import Verification, read_verification

NOW = datetime(2026, 5, 18, 12, 0, 0, tzinfo=UTC)
TOPIC = "arn:aws:sns:us-east-2:123456789012:orders"
HOST = "https://sns.us-east-2.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-0123.pem"
MESSAGE: dict[str, Any] = {
    "Type": "Notification",
    "MessageId": "792cda85-518f-5dd3-9163-81d851212f3a",
    "TopicArn": TOPIC,
    "Subject": "an order",
    "Message": '{"type":\n"order.paid"}',
    "Timestamp": "2026-05-18T12:00:00.000Z",
    "SignatureVersion": "2",
    "SigningCertURL": CERTIFICATE,
    "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe",
}
CONFIRMATION: dict[str, Any] = {
    **{name: value for name, value in MESSAGE.items() if name != "Subject"},
    "Type": "SubscriptionConfirmation",
    "Token": "2336412f37",
    "SubscribeURL": f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37",
}


def certificate_of(key: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(NOW - timedelta(days=9)).not_valid_after(NOW - timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def certificate(key: rsa.RSAPrivateKey) -> bytes:
    return certificate_of(key)


Sign = Callable[..., dict[str, Any]]


@pytest.fixture
def sign(key: rsa.RSAPrivateKey) -> Sign:
    def signed(message: dict[str, Any], text: bytes | None = None) -> dict[str, Any]:
        algorithm = hashes.SHA1() if message.get("SignatureVersion") == "1" else hashes.SHA256()
        signature = key.sign(signed_text(message) if text is None else text, PKCS1v15(), algorithm)
        return {**message, "Signature": base64.b64encode(signature).decode()}

    return signed


def read(**options: Any) -> tuple[Verification | None, list[str]]:
    problems: list[OptionProblem] = []
    said = {"scheme": "sns", "topics": TOPIC, **options}
    made = read_verification(said, path=("verify",), has_public_url=False, problems=problems)
    return made, [problem.message for problem in problems]


def verifier(certificate: bytes | None = None, **options: Any) -> Verifier:
    made, problems = read(**options)
    assert made, problems
    if certificate is not None:
        made.verifier.add_key(CERTIFICATE, certificate)
    return made.verifier


def request(message: Any, received_at: datetime = NOW) -> IncomingRequest:
    return IncomingRequest(
        method="POST", subpath="", url=None, headers=(("content-type", "text/plain; charset=UTF-8"),), query=(),
        client_ip="", body=message if isinstance(message, bytes) else json.dumps(message).encode(), received_at=received_at,
    )  # fmt: skip


def refused(one: Verifier, message: Any, *, reason: str = "signature", status: int = 401, **more: Any) -> str:
    with pytest.raises(RequestRejected) as caught:
        one.verify(request(message, **more))
    assert (caught.value.reason, caught.value.status) == (reason, status)
    return caught.value.detail


@pytest.mark.parametrize("version", ["1", "2"])
def test_real_messages_of_amazon_are_taken(version: str, shared: Path) -> None:
    folder = shared / "sources" / "payloads" / "sns"
    body = (folder / f"notification_v{version}_signed.json").read_bytes()
    message = json.loads(body)
    one = verifier(topics=[TOPIC, message["TopicArn"]])
    then = datetime.fromisoformat(message["Timestamp"]) + timedelta(minutes=59)
    assert one.needs(request(body, then)) == message["SigningCertURL"]
    assert "not known yet" in refused(one, body, reason="certificate", status=503, received_at=then)
    one.add_key(message["SigningCertURL"], (folder / "signing_cert.pem").read_bytes())
    assert one.needs(request(body, then)) is None
    one.verify(request(body, then))
    for name in ("Message", "MessageId", "Timestamp", "Signature"):
        value = message[name]
        other = {**message, name: value[:5] + ("1" if value[5] == "0" else "0") + value[6:]}
        refused(one, other, received_at=then)
    assert "TopicArn" in refused(one, {**message, "TopicArn": message["TopicArn"] + "x"}, received_at=then)
    refused(one, {**message, "Subject": "x"}, received_at=then)
    refused(one, {**message, "SignatureVersion": "3"}, received_at=then)
    swapped = "2" if version == "1" else "1"
    assert "does not match" in refused(one, {**message, "SignatureVersion": swapped}, received_at=then)
    late = then + timedelta(minutes=2)
    assert "allowed is 1h" in refused(one, body, reason="timestamp", received_at=late)
    # What is not signed may change, and is no part of a key.
    one.verify(request({**message, "UnsubscribeURL": "x"}, then))


@pytest.mark.parametrize("message", [MESSAGE, CONFIRMATION, {**CONFIRMATION, "Type": "UnsubscribeConfirmation"}])
@pytest.mark.parametrize("version", ["1", "2"])
def test_all_kinds_are_taken_and_each_signed_field_counts(
    message: dict[str, Any], version: str, sign: Sign, certificate: bytes
) -> None:
    one = verifier(certificate)
    good = sign({**message, "SignatureVersion": version})
    one.verify(request(good))
    one.verify(request({**good, "Subject": None}) if "Subject" not in good else request(good))
    for name in {"Message", "MessageId", "Subject", "Timestamp", "Type", "SubscribeURL", "Token"} & good.keys():
        refused(one, {**good, name: good[name] + "x"})
        refused(one, {key: value for key, value in good.items() if key != name})
        refused(one, {**good, name: 1})


def test_a_message_without_a_subject_is_taken(sign: Sign, certificate: bytes) -> None:
    bare = {name: value for name, value in MESSAGE.items() if name != "Subject"}
    verifier(certificate).verify(request(sign(bare)))
    verifier(certificate).verify(request(sign({**bare, "Subject": None})))


def test_a_line_break_makes_no_second_reading_of_one_signature(sign: Sign, certificate: bytes) -> None:
    good = sign(MESSAGE)
    twin = {key: value for key, value in good.items() if key != "Subject"}
    twin["MessageId"] += "\nSubject\nan order"
    assert refused(verifier(certificate), twin) == "MessageId holds a line break"


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp"])
def test_a_message_that_was_signed_without_a_field_is_refused(name: str, sign: Sign, certificate: bytes) -> None:
    bare = {key: value for key, value in MESSAGE.items() if key != name}
    lines = [part for key in ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type") if key in bare for part in (key, bare[key])]  # fmt: skip
    detail = refused(verifier(certificate), sign(bare, ("\n".join(lines) + "\n").encode()))
    assert detail == f"{name} is missing, or no text"


def test_only_topics_that_are_named_are_taken(sign: Sign, certificate: bytes) -> None:
    one = verifier(certificate, topics=[TOPIC, TOPIC + "2"])
    one.verify(request(sign({**MESSAGE, "TopicArn": TOPIC + "2"})))
    for topic in (TOPIC + "3", TOPIC.upper(), None, [TOPIC], ""):
        assert "TopicArn" in refused(one, {**sign(MESSAGE), "TopicArn": topic})
        assert one.needs(request({**sign(MESSAGE), "TopicArn": topic})) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.us-east-2.amazonaws.com/a.pem",
        "https://sns.us-east-1.amazonaws.com/a.pem",
        "https://sns.us-east-2.amazonaws.com.cn/a.pem",
        "https://sns.us-east-2.amazonaws.com.evil.example/a.pem",
        "https://evil.example/sns.us-east-2.amazonaws.com/a.pem",
        "https://sns.us-east-2.amazonaws.com@evil.example/a.pem",
        "https://evil@sns.us-east-2.amazonaws.com/a.pem",
        "https://sns.us-east-2.amazonaws.com:8443/a.pem",
        "https://sns.us-east-2.amazonaws.com/a.pem?x=1",
        "https://sns.us-east-2.amazonaws.com/a.pem#x",
        "https://sns.us-east-2.amazonaws.com/?a=b.pem",
        "https://sns.us-east-2.amazonaws.com/../a.pem",
        "https://sns.us-east-2.amazonaws.com//evil.example/a.pem",
        "https://sns.us-east-2.amazonaws.com/a.pem\n",
        "https://sns.us-east-2.amazonaws.com/a.txt",
        "https://sns.us-east-2.amazonaws.com\\@evil.example/a.pem",
        "HTTPS://sns.us-east-2.amazonaws.com/a.pem",
        "//sns.us-east-2.amazonaws.com/a.pem",
        "",
        None,
        ["https://sns.us-east-2.amazonaws.com/a.pem"],
    ],
)
def test_certificates_are_fetched_from_the_regions_host_alone(url: Any, sign: Sign, certificate: bytes) -> None:
    one = verifier(certificate)
    message = {**sign(MESSAGE), "SigningCertURL": url}
    assert one.needs(request(message)) is None
    assert "SigningCertURL is no certificate at sns.us-east-2.amazonaws.com" in refused(one, message)


@pytest.mark.parametrize(
    ("topic", "host"),
    [
        (TOPIC, "sns.us-east-2.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:orders", "sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:orders.fifo", "sns.us-gov-west-1.amazonaws.com"),
    ],
)
def test_each_partition_has_its_hosts(topic: str, host: str, sign: Sign) -> None:
    url = f"https://{host}/SimpleNotificationService-0123.pem"
    message = sign({**MESSAGE, "TopicArn": topic, "SigningCertURL": url})
    assert verifier(topics=topic).needs(request(message)) == url
    assert check_sns_url(f"https://{host}/?Action=ConfirmSubscription&TopicArn={topic}&Token=1", topic) is None


@pytest.mark.parametrize(
    "message",
    [b"", b"x", b"[]", b'"x"', b"null", b"[" * 99, b'{"Type": "a", "Type": "b"}', b"\xff", {}, {**MESSAGE, "Type": "Other"}, {**MESSAGE, "Type": None}],
)  # fmt: skip
def test_what_is_no_message_is_401(message: Any, certificate: bytes) -> None:
    one = verifier(certificate)
    assert one.needs(request(message)) is None
    refused(one, message)


@pytest.mark.parametrize("signature", [None, "", "x", "AAAA", 1, "é", " "])
def test_a_signature_in_another_form_is_401(signature: Any, certificate: bytes) -> None:
    refused(verifier(certificate), {**MESSAGE, "Signature": signature})


def test_another_key_is_401(sign: Sign) -> None:
    other = certificate_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    assert refused(verifier(other), sign(MESSAGE)) == "signature does not match"


def test_time_and_tolerance(sign: Sign, certificate: bytes) -> None:
    good = sign(MESSAGE)
    for minutes in (-60, 60):
        verifier(certificate).verify(request(good, NOW + timedelta(minutes=minutes)))
    for minutes in (-61, 61):
        detail = refused(verifier(certificate), good, reason="timestamp", received_at=NOW + timedelta(minutes=minutes))
        assert "$.Timestamp is 1h1m" in detail
    verifier(certificate, tolerance="off").verify(request(good, NOW + timedelta(days=400)))
    refused(verifier(certificate, tolerance="5m"), good, reason="timestamp", received_at=NOW + timedelta(minutes=6))
    for odd in ("soon", "1779105600", "2026-05-18"):
        assert "no timestamp" in refused(verifier(certificate), sign({**MESSAGE, "Timestamp": odd}), reason="timestamp")
    made, _ = read(tolerance="30m")
    assert made is not None
    assert made.replay_span == timedelta(hours=1)


def test_what_is_no_certificate_of_an_rsa_key_is_503(key: rsa.RSAPrivateKey) -> None:
    one = verifier()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    other = certificate_of(ec.generate_private_key(ec.SECP256R1()))
    for data in (b"", b"<html>", public, other, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(RequestRejected) as caught:
            one.add_key(CERTIFICATE, data)
        assert (caught.value.reason, caught.value.status) == ("certificate", 503)


def test_certificates_are_kept_up_to_a_bound(sign: Sign, certificate: bytes) -> None:
    one = verifier(certificate)
    good = request(sign(MESSAGE))
    for number in range(MAX_CERTIFICATES - 1):
        one.add_key(f"{HOST}/{number}.pem", certificate)
    assert one.needs(good) is None
    one.add_key(f"{HOST}/one-more.pem", certificate)
    assert one.needs(good) == CERTIFICATE


def test_among_several_ways_the_certificate_is_asked_for(sign: Sign, certificate: bytes) -> None:
    problems: list[OptionProblem] = []
    said: Any = [{"scheme": "token", "header": "X-Key", "secret": "correct horse"}, {"scheme": "sns", "topics": TOPIC}]
    made = read_verification(said, path=("verify",), has_public_url=False, problems=problems)
    assert made, problems
    good = request(sign(MESSAGE))
    assert made.verifier.needs(good) == CERTIFICATE
    refused(made.verifier, sign(MESSAGE), reason="certificate", status=503)
    made.verifier.add_key(CERTIFICATE, certificate)
    made.verifier.verify(good)
    assert made.replay_span == timedelta(hours=2)


def test_nothing_but_the_body_is_vouched_for_and_nothing_can_be_proved() -> None:
    one = verifier()
    assert one.vouches_for(frozenset(), frozenset())
    assert not one.vouches_for(frozenset({"x-amz-sns-message-id"}), frozenset())
    assert not one.vouches_for(frozenset(), frozenset({"id"}))
    with pytest.raises(CannotProveError, match="only Amazon"):
        one.prove(request(MESSAGE))


def test_topics_are_required_and_checked() -> None:
    problems: list[OptionProblem] = []
    assert read_verification({"scheme": "sns"}, path=("verify",), has_public_url=False, problems=problems) is None
    assert [problem.message for problem in problems] == ["`topics` is missing"]
    assert read(topics=[])[1] == ["the list is empty"]
    assert read(topics="orders")[1] == ["'orders' is no topic"]
    assert read(topics=[TOPIC, "arn:aws:sqs:us-east-2:123456789012:orders"])[1][0].endswith("is no topic")
    assert read(tolerance="0s")[1] == ["nothing would ever be accepted"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (CONFIRMATION["SubscribeURL"], None),
        (CONFIRMATION["SubscribeURL"].replace("us-east-2.amazonaws", "us-east-1.amazonaws"), "is not at sns.us-east-2"),
        (CONFIRMATION["SubscribeURL"].replace("https", "http"), "is not at"),
        (CONFIRMATION["SubscribeURL"].replace(".com/", ".com:444/"), "is not at"),
        (CONFIRMATION["SubscribeURL"].replace(".com/", ".com/x/"), "is not at"),
        (CONFIRMATION["SubscribeURL"] + "#x", "is not at"),
        (CONFIRMATION["SubscribeURL"].replace("Confirm", "Delete"), "does not confirm"),
        (CONFIRMATION["SubscribeURL"].replace(":orders", ":other"), "does not confirm"),
        (CONFIRMATION["SubscribeURL"] + "&TopicArn=x", "does not confirm"),
        (CONFIRMATION["SubscribeURL"] + "\n", "is not at"),
        ("", "is not at"),
    ],
)
def test_only_the_confirmation_of_the_topic_is_visited(url: str, why: str | None) -> None:
    said = check_sns_url(url, TOPIC)
    assert said is None if why is None else why in str(said)


def test_a_confirmation_of_what_is_no_topic_is_not_visited() -> None:
    assert check_sns_url(CONFIRMATION["SubscribeURL"], "orders") == "SubscribeURL is not at the host of a topic"
