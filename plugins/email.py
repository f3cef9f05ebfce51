"""Send an e-mail by SMTP."""

from __future__ import annotations

from datetime import UTC, datetime
from email.headerregistry import Address as Mailbox
from html import escape
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator, model_validator

from hookline.plugins import Address, Context, Delivery, Escaped, PermanentError, computed_options
from hookline.plugins.message import check_header_name, flatten, new_message, read_mailbox
from hookline.plugins.smtp import Server, hand_over, read_server, session

_MAX_RECIPIENTS = 100


class Attachment(BaseModel):
    """One attached file."""

    name: str = Field(max_length=100)
    text: str | None = Field(default=None, description="Its content; left out: the request's body as received")
    type: str = Field(default="application/octet-stream", pattern=r"^[a-z]+/[a-z0-9.+-]{1,80}$")


class Options(BaseModel):
    """What a rule may write under `email:`."""

    server: Annotated[str, Address] = Field(description="host:port; 587 if no port is written")
    tls: Annotated[Literal["starttls", "tls", "none"] | None, Address] = Field(
        default=None, description="Left out: tls on port 465, none on localhost, else starttls, which must succeed"
    )
    ca_file: Annotated[str | None, Address] = Field(
        default=None, description="Certificates to trust, if not the system's"
    )
    username: Annotated[str | None, Address] = None
    password: SecretStr | None = None
    sender: str = Field(alias="from")
    to: str | list[str]
    cc: str | list[str] = []
    bcc: str | list[str] = []
    reply_to: str | None = None
    subject: str = "{{ event.type }}"
    text: str | None = None
    html: Annotated[str | None, Escaped(escape)] = None
    headers: dict[str, str] = Field(default={}, description="X-…, List-… and a few others")
    attachments: list[Attachment] = []
    allow_recipients: Annotated[list[str], Address] = Field(
        default=[], description="Who may receive where a template computes it: addresses, or @example.com for all there"
    )

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            check_header_name(name)
        return headers

    @field_validator("server")
    @classmethod
    def _check_server(cls, server: str) -> str:
        read_server(server)
        return server

    @model_validator(mode="after")
    def _check_whole(self, info: ValidationInfo) -> Options:
        if self.text is None and self.html is None:
            raise ValueError("write text or html")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        computed = computed_options(info.context)
        if "allow_recipients" in computed:
            raise ValueError("allow_recipients must be written out: a template would let the event choose")
        for name in ("to", "cc", "bcc"):
            mailboxes = listed(getattr(self, name)) if name not in computed else ()
            for mailbox in mailboxes:
                read_mailbox(mailbox)
            if name in computed and not self.allow_recipients:
                raise ValueError(
                    f"a template computes {name}: list who may receive under allow_recipients, such as '@example.com'"
                )
        return self


async def deliver(delivery: Delivery, options: Options, context: Context) -> str | None:
    """Send it; what the server refuses with 4xx is tried again."""
    try:
        sender, mailboxes = read_mailbox(options.sender), _recipients(options)
        message = new_message(
            sender=sender,
            recipients={
                "To": mailboxes["to"],
                "Cc": mailboxes["cc"],
                "Reply-To": [read_mailbox(options.reply_to)] if options.reply_to else [],
            },
            subject=options.subject,
            # The same on every attempt, so that a mailbox which has it drops the second.
            message_id=context.idempotency_key,
            now=datetime.now(UTC),
            headers=options.headers,
        )
        if options.text is not None:
            message.set_content(_encodable(options.text))
        if options.html is not None:
            (message.set_content if options.text is None else message.add_alternative)(
                _encodable(options.html), subtype="html"
            )
        for attachment in options.attachments:
            kind, _, subtype = attachment.type.partition("/")
            content = delivery.body if attachment.text is None else attachment.text.encode("utf-8", "replace")
            message.add_attachment(content, maintype=kind, subtype=subtype, filename=_encodable(attachment.name))
        wire = flatten(message)
    except ValueError as error:
        raise PermanentError(str(error)) from error
    envelope = list(dict.fromkeys(mailbox.addr_spec for group in mailboxes.values() for mailbox in group))
    host, port = read_server(options.server)
    server = Server(
        host=host,
        port=port,
        tls=options.tls,
        ca_file=options.ca_file,
        username=options.username,
        password=options.password.get_secret_value() if options.password else None,
    )
    async with session(server, context) as smtp:
        return await hand_over(smtp, sender.addr_spec, envelope, wire)


def listed(value: str | list[str]) -> list[str]:
    """Return one or several as a list."""
    return [value] if isinstance(value, str) else value


def _recipients(options: Options) -> dict[str, list[Mailbox]]:
    groups = {name: [read_mailbox(text) for text in listed(getattr(options, name))] for name in ("to", "cc", "bcc")}
    everybody = [mailbox for group in groups.values() for mailbox in group]
    if not 1 <= len(everybody) <= _MAX_RECIPIENTS:
        raise ValueError(f"{len(everybody)} recipients; at least 1 and at most {_MAX_RECIPIENTS} can be served")
    allowed = {pattern.lower() for pattern in options.allow_recipients}
    for mailbox in everybody if allowed else ():
        if not allowed & {mailbox.addr_spec.lower(), f"@{mailbox.domain.lower()}"}:
            raise ValueError(f"{mailbox.addr_spec} is not among allow_recipients")
    return groups


def _encodable(text: str) -> str:
    """Return the text with lone surrogates replaced: they have no encoding."""
    return text.encode("utf-8", "replace").decode()
