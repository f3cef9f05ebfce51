"""Talk to a mail server: connect, secure, log in, hand over a message, and keep the connection for the next one."""

from __future__ import annotations

import contextlib
import re
import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import aiosmtplib
import anyio

from hookline.plugins import Context, PermanentError, TransientError
from hookline.plugins.smtp_connections import Connection, connections

# Ours ends a little before the attempt's own does: it knows what had been said by then.
_SHARE_OF_LIMIT = 0.95
#: A greylisting server wants to be asked again after minutes, not seconds.
_GREYLISTED = timedelta(minutes=5)
_LEADING_PERIOD = re.compile(rb"(?m)^\.")
_LINE_END = re.compile(rb"\r\n|\r|\n")


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
    #: False: a template computed it, so every attempt dials anew, by the address rules of its own delivery; being
    #: part of what makes two servers the same, it also keeps such an attempt from a connection that another dialed.
    is_literal: bool = True

    @property
    def security(self) -> Literal["starttls", "tls", "none"]:
        """How the connection is encrypted."""
        if self.tls is not None:
            return self.tls
        return "tls" if self.port == 465 else "none" if self.host in {"localhost", "127.0.0.1", "::1"} else "starttls"


def read_server(server: str) -> tuple[str, int]:
    """Read `host:port`; 587 if no port is written. Raises `ValueError`."""
    host, colon, port = server.rpartition(":") if not server.endswith("]") else (server, "", "")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = server, "587"
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536 or set(host) & set("/@ "):
        raise ValueError("server must be written host:port, such as smtp.example.com:587")
    return host.strip("[]"), int(port)


async def send(server: Server, context: Context, *, sender: str, recipients: list[str], wire: bytes) -> str:
    """Hand the message to the server for all recipients that it takes; return a note that names the others.

    Raises `TransientError` for 4xx, for no connection and no answer (`is_unknown` once the message was on its way), and
    `PermanentError` for 5xx.
    """
    kept = await connections()
    connection: Connection | None = None
    is_reusable = False
    limit = context.seconds_left * _SHARE_OF_LIMIT
    try:
        with anyio.fail_after(limit):
            connection = await kept.take(server) or await _open(server, context)
            note = await _hand_over(connection, sender, recipients, wire)
        is_reusable = server.is_literal
    except aiosmtplib.SMTPResponseException as error:
        is_reusable = server.is_literal
        raise _refusal(error, server.host) from error
    except (PermanentError, TransientError):  # every recipient was refused
        is_reusable = server.is_literal
        raise
    except (aiosmtplib.SMTPException, OSError) as error:
        if connection is not None and connection.is_handed_over:
            raise TransientError("the message was handed over and no answer came", is_unknown=True) from error
        raise _no_session(error, server.host, limit) from error
    finally:
        if connection is not None:
            kept.give_back(server, connection, is_reusable=is_reusable)
    return note


async def _open(server: Server, context: Context) -> Connection:
    """Connect, secure and log in."""
    try:
        trust = ssl.create_default_context(cafile=server.ca_file) if server.security != "none" else None
    except (OSError, ssl.SSLError) as error:
        raise PermanentError(f"cannot read ca_file {server.ca_file}: {error}") from error
    smtp = aiosmtplib.SMTP(
        hostname=server.host,
        sock=await context.connect(server.host, server.port),
        use_tls=server.security == "tls",
        start_tls=False,
        tls_context=trust,
        timeout=None,
        local_hostname="localhost",
    )
    with contextlib.ExitStack() as undo:
        undo.callback(smtp.close)
        await smtp.connect()
        if server.security == "starttls":
            await smtp.starttls()
        if server.username is not None and server.password is not None:
            await smtp.login(server.username, server.password)
        undo.pop_all()
    return Connection(smtp)


async def _hand_over(connection: Connection, sender: str, recipients: list[str], wire: bytes) -> str:
    smtp = connection.smtp
    connection.is_handed_over = False
    await smtp.mail(sender, options=[f"size={len(wire)}"] if smtp.supports_extension("size") else [])
    refused: dict[str, aiosmtplib.SMTPRecipientRefused] = {}
    for recipient in recipients:
        try:
            await smtp.rcpt(recipient)
        except aiosmtplib.SMTPRecipientRefused as error:
            if error.code == 421:  # the server is closing: it refuses the session, not the recipient
                raise
            refused[recipient] = error
    reasons = "; ".join(f"{who}: {_answer(error)}" for who, error in refused.items())
    if len(refused) == len(recipients):
        if any(400 <= error.code < 500 for error in refused.values()):
            raise TransientError(f"no recipient was taken: {reasons}", retry_after=_GREYLISTED)
        raise PermanentError(f"no recipient was taken: {reasons}")
    answer = await _data(connection, wire)
    # Those who were taken have it: trying again for the others would send it to them twice.
    return f"accepted: {answer}; refused: {reasons}" if refused else f"accepted: {answer}"


async def _data(connection: Connection, wire: bytes) -> str:
    """Send the text. In two steps, because only after the first can the message be there without an answer."""
    smtp = connection.smtp
    protocol = smtp.protocol
    answer = await smtp.execute_command(b"DATA")
    if answer.code != 354:
        raise aiosmtplib.SMTPDataError(answer.code, answer.message)
    if protocol is None:
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    connection.is_handed_over = True
    text = _LEADING_PERIOD.sub(b"..", _LINE_END.sub(b"\r\n", wire))
    protocol.write(text + (b"" if text.endswith(b"\r\n") else b"\r\n") + b".\r\n")
    answer = await protocol.read_response()
    if answer.code != 250:
        raise aiosmtplib.SMTPDataError(answer.code, answer.message)
    return _one_line(answer.message)


def _refusal(error: aiosmtplib.SMTPResponseException, host: str) -> TransientError | PermanentError:
    if 500 <= error.code < 600:
        return PermanentError(f"{host} refused: {_answer(error)}")
    if not 400 <= error.code < 500:
        return TransientError(f"{host} does not speak SMTP: {_answer(error)}")
    later = _GREYLISTED if error.code in {450, 451} else None
    return TransientError(f"{host} asks to come back: {_answer(error)}", retry_after=later)


def _no_session(error: Exception, host: str, seconds: float) -> TransientError:
    match error:
        case ssl.SSLCertVerificationError():
            return TransientError(f"the certificate of {host} is not valid: {error.verify_message}")
        case TimeoutError():
            return TransientError(f"{host} did not answer within {seconds:.1f} s, and the message was not sent")
        case _:
            return TransientError(f"no mail session with {host}: {_one_line(str(error)) or type(error).__name__}")


def _answer(error: aiosmtplib.SMTPResponseException) -> str:
    return f"{error.code} {_one_line(error.message)}".rstrip()


def _one_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode().split())[:200]
