"""Build an e-mail that holds only the headers it was meant to hold."""

from __future__ import annotations

import email.errors
import email.policy
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.headerregistry import Address as Mailbox
from email.message import EmailMessage
from email.utils import format_datetime

MAX_HEADER_CHARACTERS = 200
#: Marks what an operator asked for again.
REPLAY_HEADER = "X-Hookline-Replay"

# 7bit: everything that is not ASCII is encoded, so no server needs an extension.
_POLICY = email.policy.SMTP.clone(cte_type="7bit")
_SPECIFICATION = re.compile(r"(?P<user>[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64})@(?P<domain>[^\s@<>\",;:\\]{1,253})")
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_HEADER = re.compile(rb"([A-Za-z0-9-]+): ?")
_OWN_HEADERS = frozenset(
    {"from", "to", "cc", "reply-to", "subject", "date", "message-id", "auto-submitted", "mime-version", "content-type",
     "content-transfer-encoding"}
)  # fmt: skip
_FREE_HEADERS = frozenset(
    {"in-reply-to", "references", "importance", "priority", "precedence", "organization", "keywords"}
)


def read_mailbox(text: str) -> Mailbox:
    """Read one address, `ops@example.com` or `Ops <ops@example.com>`. Raises `ValueError` for anything else.

    Written here and not left to a parser that finds two addresses in `a@x, b@y`.
    """
    named = _NAMED.fullmatch(text.strip())
    name, address = (named["name"], named["address"]) if named else ("", text.strip())
    parts = _SPECIFICATION.fullmatch(address)
    if parts is None:
        hint = "; write several as a list" if "," in text else ""
        raise ValueError(f"{text[:100]!a} is not one e-mail address{hint}")
    try:
        domain = parts["domain"] if parts["domain"].isascii() else parts["domain"].encode("idna").decode()
    except UnicodeError as error:
        raise ValueError(f"{text[:100]!a} has no domain that can be looked up") from error
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"{text[:100]!a} has no domain that can be looked up")
    return Mailbox(clean_header(name.strip().strip('"')), parts["user"], domain)


def check_header_name(name: str) -> str:
    """Return the name of a header that a rule may add. Raises `ValueError` for all others."""
    low = name.lower()
    if low == REPLAY_HEADER.lower():
        raise ValueError(f"the header {name} cannot be set here: Hookline sets it itself")
    if re.fullmatch(r"(x|list)-[a-z0-9-]{1,70}", low) or low in _FREE_HEADERS:
        return name
    free = ", ".join(sorted(_FREE_HEADERS))
    raise ValueError(f"the header {name[:50]!a} cannot be set here; X-…, List-…, {free} can")


def clean_header(text: str) -> str:
    """Return a header's text on one line, without what a decoder would take for an encoded word, bounded.

    `=?utf-8?q?a=0ABcc:_evil@x?=` becomes a line break and a header of its own in some versions of Python's
    `email` (CVE-2024-6923), however carefully line breaks were taken out before.
    """
    text = unicodedata.normalize("NFC", text[: 4 * MAX_HEADER_CHARACTERS])
    # Cc: control characters; Cs: surrogates; Cf: direction overrides; Zl and Zp: line breaks to some readers.
    text = "".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else c for c in text)
    text = " ".join(text.replace("=?", "= ?").split())
    return text if len(text) <= MAX_HEADER_CHARACTERS else f"{text[: MAX_HEADER_CHARACTERS - 1]}…"


def new_message(  # noqa: PLR0913 - the parts of a message
    *,
    sender: Mailbox,
    recipients: Mapping[str, Sequence[Mailbox]],
    subject: str,
    message_id: str,
    now: datetime,
    headers: Mapping[str, str],
) -> EmailMessage:
    """Return a message with its headers, without a body; `recipients` by header: To, Cc, Reply-To."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    for name, mailboxes in recipients.items():
        if mailboxes:
            message[name] = tuple(mailboxes)
    message["Subject"] = clean_header(subject)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}@{sender.domain}>"
    # No vacation note shall answer a machine (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    for name, value in headers.items():
        message[name] = clean_header(value)
    return message


def flatten(message: EmailMessage) -> bytes:
    """Return the message as it goes over the wire. Raises `ValueError` if a header is in it that nobody set.

    The last line of defense: it reads what is about to be sent as the server will read it.
    """
    try:
        wire = message.as_bytes()
    except email.errors.MessageError as error:  # newer versions of Python find some of them themselves
        raise ValueError(f"the message cannot be written: {error}") from error
    head, gap, _ = wire.partition(b"\r\n\r\n")
    if not gap or b"\x00" in head or b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
        raise ValueError("the message's headers hold a stray line break")
    expected = _OWN_HEADERS | {name.lower() for name in message}
    seen: set[str] = set()
    for line in head.split(b"\r\n"):
        if line[:1] in {b" ", b"\t"}:
            continue
        found = _HEADER.match(line)
        name = found[1].decode().lower() if found else ""
        known = name in _OWN_HEADERS or name in _FREE_HEADERS or name.startswith(("x-", "list-"))
        if name in seen or not known or name not in expected:
            raise ValueError(f"the message would hold a header that nobody set: {line[:60]!a}")
        seen.add(name)
    if len(seen) != len(message.keys()):
        raise ValueError("the message would not hold the headers that were set")
    return wire
