"""Send an event on by HTTP, as received or reshaped, signed if wished."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationInfo, field_validator, model_validator

from hookline.plugins import Address, Context, Delivery, PermanentError, computed_options, raise_for_status
from hookline.plugins.redaction import check_redaction_path, redact
from hookline.plugins.signing import signature_headers, signer_of

# What the connection itself needs, what has an option of its own, and what would let one sender speak as another.
_REFUSED_HEADERS = {
    **dict.fromkeys(
        ("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
         "transfer-encoding", "upgrade", "hookline-hops"),
        "Hookline sets it itself",
    ),
    **dict.fromkeys(("webhook-id", "webhook-timestamp", "webhook-signature"), "sign with secret: instead"),
    "authorization": "write it as authorization: beside headers",
    "proxy-authorization": "there is no proxy",
    "cookie": "cookies are not sent",
    "idempotency-key": "Hookline sets it itself",
}  # fmt: skip
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_WITHOUT_BODY = frozenset({"GET", "HEAD"})


class _Body(StrEnum):
    """What a `body:` of one word means; a template that computes such a word is text."""

    REQUEST = "request"
    ELEMENT = "element"
    NONE = "none"


# Frozen, so that deliveries may share them.
class Options(BaseModel, frozen=True):
    """What a rule may write under `forward:`."""

    url: Annotated[str, Address] = Field(description="Where to send it: https://… or http://…")
    method: Literal["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"] = "POST"
    headers: dict[str, str] = Field(default={}, description="Headers to add")
    pass_headers: list[str] = Field(default=[], description="Names of the event's own headers to send on")
    body: Any = Field(
        default=None,
        description="Left out: as received, of a split event the element. request: as received, whole. element: the "
        "event's payload. none: nothing. A mapping or list: sent as JSON. Other text: sent as it is",
    )
    omit: list[Annotated[str, AfterValidator(check_redaction_path)]] = Field(
        default=[], description="Paths of what to leave out of a JSON body"
    )
    mask: list[Annotated[str, AfterValidator(check_redaction_path)]] = Field(
        default=[], description="Paths of what to replace by *** in a JSON body"
    )
    secret: SecretStr | list[SecretStr] | None = Field(
        default=None, description="Signs by Standard Webhooks: whsec_… or whsk_…; a list while you rotate"
    )
    authorization: SecretStr | None = Field(default=None, description='The Authorization header, such as "Bearer …"')

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name[:50]!r} is not a header name")
            if name.lower() in _REFUSED_HEADERS:
                raise ValueError(f"{name} cannot be set here: {_REFUSED_HEADERS[name.lower()]}")
        return headers

    @field_validator("pass_headers")
    @classmethod
    def _check_pass_headers(cls, names: list[str]) -> list[str]:
        cls._check_headers(dict.fromkeys(names, ""))
        return [name.lower() for name in names]

    @field_validator("body")
    @classmethod
    def _read_body(cls, body: Any, info: ValidationInfo) -> Any:
        if isinstance(body, str) and "body" not in computed_options(info.context) and body in set(_Body):
            return _Body(body)
        return body

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | list[SecretStr] | None) -> SecretStr | list[SecretStr] | None:
        for text in _texts(secret):
            signer_of(text)
        return secret

    @model_validator(mode="after")
    def _check_redaction(self) -> Options:
        if (self.omit or self.mask) and (self.body is _Body.NONE or type(self.body) is str):
            raise ValueError("omit and mask need a JSON body; leave body out, or write body: as a mapping")
        return self


async def deliver(delivery: Delivery, options: Options, context: Context) -> str | None:
    """Send it; anything but 2xx is a failure."""
    content, content_type = _content(delivery, options)
    headers = {name: delivery.event.headers[name] for name in options.pass_headers if name in delivery.event.headers}
    # The trace goes on through us (W3C Trace Context).
    if "traceparent" in delivery.event.headers:
        headers.setdefault("traceparent", delivery.event.headers["traceparent"])
    if content_type and not any(name.lower() == "content-type" for name in options.headers):
        headers["Content-Type"] = content_type
    headers |= options.headers
    headers["Idempotency-Key"] = context.idempotency_key
    if options.authorization is not None:
        headers["Authorization"] = options.authorization.get_secret_value()
    if secrets := _texts(options.secret):
        headers |= signature_headers(secrets, context.idempotency_key, datetime.now(UTC), content or b"")
    reply = await context.http.request(options.method, options.url, headers=headers, content=content)
    raise_for_status(reply)
    return f"answered {reply.status}"


def _content(delivery: Delivery, options: Options) -> tuple[bytes | None, str]:
    body = options.body
    is_redacted = bool(options.omit or options.mask)
    if "body" not in options.model_fields_set:
        if options.method in _WITHOUT_BODY:
            return None, ""
        body = _Body.ELEMENT if delivery.is_split else _Body.REQUEST
    if body is _Body.NONE:
        return None, ""
    if body is _Body.REQUEST and not is_redacted:
        return delivery.body, delivery.content_type
    if body is _Body.REQUEST:
        document = _read_json(delivery.body)
    elif body is _Body.ELEMENT:
        document = delivery.event.payload
    elif isinstance(body, str):
        return body.encode("utf-8", "replace"), "text/plain; charset=utf-8"
    else:
        document = body
    return _write_json(redact(document, omit=options.omit, mask=options.mask)), "application/json"


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PermanentError("omit and mask need a JSON body, and this one is not") from error


def _write_json(document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # lone surrogates have no UTF-8, but JSON can write them as escapes
        return json.dumps(document, separators=(",", ":")).encode()


def _texts(secret: SecretStr | list[SecretStr] | None) -> list[str]:
    secrets = secret if isinstance(secret, list) else [] if secret is None else [secret]
    return [one.get_secret_value() for one in secrets]
