"""Send an event on by HTTP, as received or reshaped, signed if wished."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationInfo, field_validator, model_validator

from hookline.plugins import Address, Context, Delivery, Tls, computed_options, raise_for_status
from hookline.plugins.forward_body import Body, content_of
from hookline.plugins.forward_headers import Basic, check_header_names
from hookline.plugins.oauth import ClientCredentials, access_token, forget_token
from hookline.plugins.redaction import check_redaction_path
from hookline.plugins.signing import signature_headers, signer_of
from hookline.plugins.trace import child_headers

_WITHOUT_BODY = frozenset({"GET", "HEAD"})
_UNAUTHORIZED = 401


# Frozen, so that deliveries may share them.
class Options(BaseModel, frozen=True):
    """What a rule may write under `forward:`."""

    url: Annotated[str, Address] = Field(description="Where to send it: https://… or http://…")
    method: Literal["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"] = Field(default="POST", description="HTTP method")
    query: dict[str, str | int | float | bool] = Field(
        default={}, description="Parameters to add to the URL; what they hold is encoded"
    )
    headers: dict[str, str] = Field(default={}, description="Headers to add")
    pass_headers: list[str] = Field(default=[], description="Names of the event's own headers to send on")
    body: Any = Field(
        default=None,
        description="Left out: as received, of a split event the element, of a digest all its payloads as events. "
        "request: as received, whole. element: the event's payload. none: nothing. A mapping or list: sent as JSON. "
        "Other text: sent as it is",
    )
    content_type: str | None = Field(default=None, description="The body's content type, if not the one it has")
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
    basic: Basic | None = Field(default=None, description="Authorization by user and password")
    oauth2: Annotated[ClientCredentials | None, Address] = Field(
        default=None, description="Authorization by a token that is asked for: OAuth 2.0 client credentials"
    )
    tls: Annotated[Tls | None, Address] = Field(default=None, description="Own certificates, in PEM files")

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        check_header_names(headers)
        return headers

    @field_validator("pass_headers")
    @classmethod
    def _check_pass_headers(cls, names: list[str]) -> list[str]:
        check_header_names(names)
        return [name.lower() for name in names]

    @field_validator("body")
    @classmethod
    def _read_body(cls, body: Any, info: ValidationInfo) -> Any:
        if isinstance(body, str) and "body" not in computed_options(info.context) and body in set(Body):
            return Body(body)
        return body

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | list[SecretStr] | None) -> SecretStr | list[SecretStr] | None:
        for text in _texts(secret):
            signer_of(text)
        return secret

    @model_validator(mode="after")
    def _check_whole(self, info: ValidationInfo) -> Options:
        if (self.omit or self.mask) and (self.body is Body.NONE or type(self.body) is str):
            raise ValueError("omit and mask need a JSON body; leave body out, or write body: as a mapping")
        if sum(one is not None for one in (self.authorization, self.basic, self.oauth2)) > 1:
            raise ValueError("authorization, basic and oauth2 are three ways to say one thing: write one of them")
        if self.content_type is not None and any(name.lower() == "content-type" for name in self.headers):
            raise ValueError("write content_type: or the header Content-Type, not both")
        for name in sorted({"oauth2", "tls"} & computed_options(info.context)):
            raise ValueError(f"{name} must be written out: a template would let the event choose whom to trust")
        if self.tls is not None and self.url.lower().startswith("http://"):
            raise ValueError("tls needs a url that begins with https://")
        return self


async def deliver(delivery: Delivery, options: Options, context: Context) -> str | None:
    """Send it; anything but 2xx is a failure."""
    content, content_type = content_of(delivery, _body_of(delivery, options), omit=options.omit, mask=options.mask)
    headers = _headers(delivery, options, options.content_type or content_type)
    headers["Idempotency-Key"] = context.idempotency_key
    if options.authorization is not None:
        headers["Authorization"] = options.authorization.get_secret_value()
    elif options.basic is not None:
        headers["Authorization"] = options.basic.header()
    if secrets := _texts(options.secret):
        headers |= signature_headers(secrets, context.idempotency_key, datetime.now(UTC), content or b"")
    url, method, grant = _url(options), options.method, options.oauth2
    if grant is None:
        reply = await context.http.request(method, url, headers=headers, content=content, tls=options.tls)
    else:
        # A token may be taken back before its time: then the answer is 401, and a new one helps, once.
        for _ in range(2):
            token = await access_token(grant, context)
            headers["Authorization"] = f"Bearer {token}"
            reply = await context.http.request(method, url, headers=headers, content=content, tls=options.tls)
            if reply.status != _UNAUTHORIZED:
                break
            forget_token(grant, token)
    raise_for_status(reply)
    return f"answered {reply.status}"


def _body_of(delivery: Delivery, options: Options) -> Any:
    if "body" in options.model_fields_set:
        return options.body
    if options.method in _WITHOUT_BODY:
        return Body.NONE
    return Body.ELEMENT if delivery.is_split else Body.REQUEST


def _headers(delivery: Delivery, options: Options, content_type: str) -> dict[str, str]:
    # A digest has no headers of its own, only its events have.
    received = {} if delivery.events else delivery.event.headers
    headers = {name: received[name] for name in options.pass_headers if name in received}
    # The trace goes on through us, but for what the rule says of it itself.
    said = {name.lower() for name in (*headers, *options.headers)}
    headers |= {name: value for name, value in child_headers(received).items() if name not in said}
    if content_type and not any(name.lower() == "content-type" for name in options.headers):
        headers["Content-Type"] = content_type
    if delivery.is_replay:
        headers["webhook-replay"] = "true"
    return headers | options.headers


def _url(options: Options) -> str:
    if not options.query:
        return options.url
    values = [(name, str(value).lower() if isinstance(value, bool) else value) for name, value in options.query.items()]
    # What follows # is not sent, and would swallow the parameters.
    url, _, _ = options.url.partition("#")
    query = urlencode(values, quote_via=quote, errors="replace")
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _texts(secret: SecretStr | list[SecretStr] | None) -> list[str]:
    secrets = secret if isinstance(secret, list) else [] if secret is None else [secret]
    return [one.get_secret_value() for one in secrets]
