"""Send an e-mail by SMTP."""

from __future__ import annotations

from datetime import UTC, datetime
from email.headerregistry import Address as Mailbox
from html import escape
from typing import Annotated, Literal

from pydantic import BaseModel, Field, PrivateAttr, SecretStr, ValidationInfo, field_validator, model_validator

from hookline.plugins import Address, Context, Delivery, Escaped, PermanentError, computed_options
from hookline.plugins.event_json import body_of
from hookline.plugins.message import REPLAY_HEADER, check_header_name, flatten, new_message, read_mailbox
from hookline.plugins.smtp import Server, read_server, send

_MAX_RECIPIENTS = 100


class Attachment(BaseModel):
    """One attached file."""

    name: str = Field(max_length=100, description="Its name, such as invoice.json")
    text: str | None = Field(default=None, description="Its content; left out: the request's body as received")
    type: str = Field(
        default="application/octet-stream", pattern=r"^[a-z]+/[a-z0-9.+-]{1,80}$", description="Its media type"
    )


class Options(BaseModel):
    """What a rule may write under `email:`."""

    server: Annotated[str, Address] = Field(description="host:port; 587 if no port is written")
    tls: Annotated[Literal["starttls", "tls", "none"] | None, Address] = Field(
        default=None, description="Left out: tls on port 465, none on localhost, else starttls, which must succeed"
    )
    ca_file: Annotated[str | None, Address] = Field(
        default=None, description="Certificates to trust, if not the system's"
    )
    username: Annotated[str | None, Address] = Field(default=None, description="Who logs in, with password")
    password: SecretStr | None = Field(default=None, description="Of username")
    sender: str = Field(alias="from", description="ops@example.com or Ops <ops@example.com>")
    to: str | list[str] = Field(description="One address or a list of them")
    cc: str | list[str] = Field(default=[], description="As to")
    bcc: str | list[str] = Field(default=[], description="As to; no header shows them")
    reply_to: str | None = Field(default=None, description="Where answers go")
    subject: str = Field(
        default='{{ event.type if event is defined else events|length ~ " events" }}', description="The subject"
    )
    text: str | None = Field(default=None, description="The message as plain text")
    html: Annotated[str | None, Escaped(escape)] = Field(
        default=None, description="The message as HTML; the event's texts are escaped"
    )
    headers: dict[str, str] = Field(default={}, description="X-…, List-… and a few others")
    attachments: list[Attachment] = Field(default=[], description="Files to attach")
    allow_recipients: Annotated[list[str], Address] = Field(
        default=[], description="Who may receive where a template computes it: addresses, or @example.com for all there"
    )
    _is_server_computed: bool = PrivateAttr(default=False)

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
        self._is_server_computed = "server" in computed
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

    @property
    def parsed_server(self) -> Server:
        """The server with all that it takes to speak to it."""
        host, port = read_server(self.server)
        return Server(
            host=host,
            port=port,
            tls=self.tls,
            ca_file=self.ca_file,
            username=self.username,
            password=self.password.get_secret_value() if self.password else None,
            is_literal=not self._is_server_computed,
        )


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
            # A mailbox rule can tell what somebody asked for again.
            headers={**options.headers, **({REPLAY_HEADER: "true"} if delivery.is_replay else {})},
        )
        if options.text is not None:
            message.set_content(_encodable(options.text))
        if options.html is not None:
            (message.set_content if options.text is None else message.add_alternative)(
                _encodable(options.html), subtype="html"
            )
        for attachment in options.attachments:
            kind, _, subtype = attachment.type.partition("/")
            content = body_of(delivery) if attachment.text is None else attachment.text.encode("utf-8", "replace")
            message.add_attachment(content, maintype=kind, subtype=subtype, filename=_encodable(attachment.name))
        wire = flatten(message)
    except ValueError as error:
        raise PermanentError(str(error)) from error
    envelope = list(dict.fromkeys(mailbox.addr_spec for group in mailboxes.values() for mailbox in group))
    return await send(options.parsed_server, context, sender=sender.addr_spec, recipients=envelope, wire=wire)


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
