"""Get an access token by OAuth 2.0 client credentials (RFC 6749, 4.4), and keep it while it is good."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from functools import lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import quote_plus, urlencode

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from hookline.plugins.delivery import Context, Reply
from hookline.plugins.errors import PermanentError, TransientError
from hookline.plugins.tls import Tls

#: How long a token is used that does not say how long it is good.
DEFAULT_SECONDS = 3600.0
#: No token is used for longer.
MAX_SECONDS = 86_400.0
#: A token is renewed so long before its end, or at half of its time if that is later.
MARGIN_SECONDS = 60.0
MAX_TOKEN_CHARACTERS = 8192

_MAX_REASON_CHARACTERS = 200


def _check_token_url(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise ValueError("token_url must begin with https:// or http://")
    return url


class ClientCredentials(BaseModel, frozen=True):
    """What to ask for a token with."""

    token_url: Annotated[str, AfterValidator(_check_token_url)] = Field(description="Where tokens are given out")
    client_id: str
    client_secret: SecretStr
    scope: str | None = Field(default=None, description="What to ask for, separated by blanks")
    audience: str | None = Field(default=None, description="For whom the token is, where the server asks for it")
    auth: Literal["basic", "body"] = Field(
        default="basic", description="Where id and secret stand: in the Authorization header, or in the body"
    )
    tls: Tls | None = Field(default=None, description="As beside forward, for token_url")


async def access_token(grant: ClientCredentials, context: Context) -> str:
    """Return a token that is good now; deliveries that need one at the same time share one request.

    Raises `TransientError` if none can be had now, `PermanentError` if the server will not give one.
    """
    return await _keeper(grant).token(context)


def forget_token(grant: ClientCredentials, token: str) -> None:
    """Do not use `token` again: it was refused."""
    _keeper(grant).forget(token)


class _Keeper:
    """The token of one grant."""

    def __init__(self, grant: ClientCredentials) -> None:
        self._grant = grant
        self._token = ""
        self._good_until = -math.inf
        self._asking = asyncio.Lock()
        self._answers = 0
        self._failure: TransientError | PermanentError | None = None

    async def token(self, context: Context) -> str:
        if time.monotonic() < self._good_until:
            return self._token
        seen = self._answers
        async with self._asking:
            if time.monotonic() < self._good_until:
                return self._token
            if self._answers != seen and self._failure is not None:
                # Whoever asked while we waited was told no: asking once more would be told the same.
                raise type(self._failure)(str(self._failure)) from self._failure
            try:
                self._token, seconds = await _ask(self._grant, context)
            except (TransientError, PermanentError) as error:
                self._answers, self._failure = self._answers + 1, error
                raise
            self._answers, self._failure = self._answers + 1, None
            self._good_until = time.monotonic() + seconds - min(MARGIN_SECONDS, seconds / 2)
            return self._token

    def forget(self, token: str) -> None:
        if token == self._token:
            self._token, self._good_until = "", -math.inf


# Few grants serve every delivery; one that is pushed out asks for its token again.
@lru_cache(maxsize=256)
def _keeper(grant: ClientCredentials) -> _Keeper:
    return _Keeper(grant)


async def _ask(grant: ClientCredentials, context: Context) -> tuple[str, float]:
    """Return a new token and for how many seconds it is good."""
    secret = grant.client_secret.get_secret_value()
    form = {"grant_type": "client_credentials", "scope": grant.scope, "audience": grant.audience}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if grant.auth == "body":
        form |= {"client_id": grant.client_id, "client_secret": secret}
    else:
        # RFC 6749, 2.3.1: each is encoded as in a form before they are joined.
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    content = urlencode({name: value for name, value in form.items() if value is not None}).encode()
    try:
        reply = await context.http.request(
            "POST", grant.token_url, headers=headers, content=content, tls=grant.tls, is_aside=True
        )
    except TransientError as error:
        # Whatever became of it, the delivery itself was not sent.
        raise TransientError(f"no token: {error}", retry_after=error.retry_after) from error
    except PermanentError as error:
        raise PermanentError(f"no token: {error}") from error
    return _read(reply)


def _read(reply: Reply) -> tuple[str, float]:
    answer = _json_object(reply.body)
    if reply.status in {400, 401}:
        # RFC 6749, 5.2. The description is not told: servers put what was sent into it.
        word = answer.get("error")
        reason = f": {word[:_MAX_REASON_CHARACTERS]!a}" if isinstance(word, str) else ""
        raise PermanentError(f"no token: token_url answered {reply.status}{reason}")
    if reply.status != 200:
        raise TransientError(f"no token: token_url answered {reply.status}", retry_after=reply.retry_after)
    token, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_CHARACTERS or not _is_printable(token):
        raise TransientError("no token: token_url answered 200 without an access_token that can be sent")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise PermanentError("no token: token_url gives tokens of another type than Bearer")
    return token, _seconds(answer.get("expires_in"))


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _is_printable(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token


def _seconds(value: Any) -> float:
    """Read `expires_in`, which some servers write as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return DEFAULT_SECONDS
    return min(float(value) if value < MAX_SECONDS else MAX_SECONDS, MAX_SECONDS)
