"""Talk to a mail server: connect, secure, log in, hand over one message."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import aiosmtplib

from hookline.plugins import Context, PermanentError, TransientError

_COMMAND_SECONDS = 10.0
#: A greylisting server wants to be asked again after minutes, not seconds.
_GREYLISTED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A mail server and how to speak to it."""

    host: str
    port: int
    #: None: `tls` on port 465, `none` on localhost, else `starttls`.
    tls: Literal["starttls", "tls", "none"] | None = None
    #: Certificates to trust; None: the system's.
    ca_file: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def read_server(server: str) -> tuple[str, int]:
    """Read `host:port`; 587 if no port is written. Raises `ValueError`."""
    host, colon, port = server.rpartition(":") if not server.endswith("]") else (server, "", "")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = server, "587"
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536 or set(host) & set("/@ "):
        raise ValueError("server must be written host:port, such as smtp.example.com:587")
    return host.strip("[]"), int(port)


@asynccontextmanager
async def session(server: Server, context: Context) -> AsyncIterator[aiosmtplib.SMTP]:
    """Connect, secure, and log in; every refusal on the way ends the attempt."""
    host, port = server.host, server.port
    tls = server.tls or ("tls" if port == 465 else "none" if host in {"localhost", "127.0.0.1", "::1"} else "starttls")
    try:
        trust = ssl.create_default_context(cafile=server.ca_file) if tls != "none" else None
    except (OSError, ssl.SSLError) as error:
        raise PermanentError(f"cannot read ca_file {server.ca_file}: {error}") from error
    smtp = aiosmtplib.SMTP(
        hostname=host,
        sock=await context.connect(host, port),
        use_tls=tls == "tls",
        start_tls=False,
        tls_context=trust,
        timeout=_COMMAND_SECONDS,
        local_hostname="localhost",
    )
    try:
        await smtp.connect()
        if tls == "starttls":
            await smtp.starttls()
        if server.username is not None and server.password is not None:
            await smtp.login(server.username, server.password)
        yield smtp
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _explained(error, host) from error
    finally:
        smtp.close()


async def hand_over(smtp: aiosmtplib.SMTP, sender: str, recipients: list[str], wire: bytes) -> str:
    """Give the message to the server for all recipients that it takes; return a note that names the others."""
    await smtp.mail(sender, options=[f"size={len(wire)}"] if smtp.supports_extension("size") else [])
    refused: dict[str, aiosmtplib.SMTPRecipientRefused] = {}
    for recipient in recipients:
        try:
            await smtp.rcpt(recipient)
        except aiosmtplib.SMTPRecipientRefused as error:
            refused[recipient] = error
    reasons = "; ".join(f"{who}: {_answer(error)}" for who, error in refused.items())
    if len(refused) == len(recipients):
        if any(400 <= error.code < 500 for error in refused.values()):
            raise TransientError(f"no recipient was taken: {reasons}", retry_after=_GREYLISTED)
        raise PermanentError(f"no recipient was taken: {reasons}")
    try:
        answer = await smtp.data(wire)
    except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError) as error:
        raise TransientError("the message was handed over and no answer came", is_unknown=True) from error
    note = f"accepted: {answer.message[:200]}"
    return f"{note}; refused: {reasons}" if refused else note


def _explained(error: Exception, host: str) -> TransientError | PermanentError:
    match error:
        case aiosmtplib.SMTPResponseException() if error.code >= 500:
            return PermanentError(f"{host} refused: {_answer(error)}")
        case aiosmtplib.SMTPResponseException():
            later = _GREYLISTED if error.code in {450, 451} else None
            return TransientError(f"{host} asks to come back: {_answer(error)}", retry_after=later)
        case ssl.SSLCertVerificationError():
            return TransientError(f"the certificate of {host} is not valid: {error.verify_message}")
        case aiosmtplib.SMTPTimeoutError():
            return TransientError(f"{host} did not answer within {_COMMAND_SECONDS:g} s")
        case _:
            return TransientError(f"no mail session with {host}: {str(error)[:300]}")


def _answer(error: aiosmtplib.SMTPResponseException) -> str:
    return f"{error.code} {' '.join(error.message.split())[:200]}"
