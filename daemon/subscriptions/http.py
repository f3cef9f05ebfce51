"""A vendor's API over HTTPS: bounded, without redirects, and with every failure as a sentence that shows no secret."""

from __future__ import annotations

import json
import ssl
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from hookline.daemon.log import printable
from hookline.daemon.subscriptions.port import Call, Hidden, VendorError, VendorKind
from hookline.rules import Json

#: How long one request may take, in seconds.
TIMEOUT_SECONDS: Final = 30
#: How large an answer may be.
MAX_ANSWER_BYTES: Final = 1 << 20
# Of what a vendor says, so much is shown.
_LONGEST_SAID: Final = 300
# Where vendors put their sentence, the likeliest first.
_MESSAGE_KEYS: Final = ("message", "error_description", "detail", "title", "error", "errors", "error_info", "reason")
_DEEPEST_MESSAGE: Final = 4
_MAYBE = "It may have been made all the same: look with --list (or on the vendor's page) before trying again"


class HttpApi:
    """A vendor's API. Use it as an async context manager."""

    def __init__(
        self,
        kind: VendorKind,
        base_url: str,
        *,
        hidden: Hidden,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """Talk to what is at `base_url`."""
        self._kind = kind
        self._base_url = base_url
        self._hidden = hidden
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open."""
        self._session = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, call: Call) -> Json:
        """Return the JSON of a 2xx answer, None if it has no body. Raises `VendorError`."""
        try:
            status, headers, body = await self._exchange(call)
        except TimeoutError:
            # Not from the cause: what aiohttp says may hold the URL, and with it a key in the query.
            raise self._no_answer(call, f"did not answer within {self._seconds:g} s", was_sent=True) from None
        except aiohttp.ClientConnectorDNSError:
            message = f"{self._kind.label}'s host cannot be found: check {self._kind.base_url} and this machine's DNS"
            raise VendorError(message) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
            raise VendorError(self._tls_sentence(error)) from None
        except aiohttp.ClientConnectorError as error:
            raise self._no_answer(call, f"cannot be reached ({error.os_error.strerror})", was_sent=False) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._no_answer(call, f"broke off ({type(error).__name__})", was_sent=True) from None
        if not 200 <= status < 300:
            raise VendorError(self._refusal(call, status, headers, body), status=status)
        return self._document(call, status, body)

    async def _exchange(self, call: Call) -> tuple[int, dict[str, str], bytes]:
        if self._session is None:
            raise RuntimeError("the API is used as an async context manager")
        url = URL(self._base_url + call.path, encoded=True).with_query(dict(call.query) or None)
        data = None if call.body is None else json.dumps(call.body).encode()
        headers = {"Accept": "application/json", "User-Agent": "hookline", **call.headers}
        if data is not None:
            headers["Content-Type"] = "application/json"
        async with self._session.request(call.method, url, data=data, headers=headers, allow_redirects=False) as reply:
            body = bytearray()
            async for piece in reply.content.iter_any():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    break
            return reply.status, {name.lower(): value for name, value in reply.headers.items()}, bytes(body)

    def _document(self, call: Call, status: int, body: bytes) -> Json:
        if not body.strip():
            return None
        if len(body) > MAX_ANSWER_BYTES:
            raise self._no_answer(call, f"answered {status} with more than {MAX_ANSWER_BYTES:,} bytes", was_sent=True)
        try:
            document: Json = json.loads(body)
        except (ValueError, RecursionError):
            hint = f"answered {status} with what is no JSON: check {self._kind.base_url}"
            raise self._no_answer(call, hint, was_sent=True) from None
        return document

    def _no_answer(self, call: Call, what: str, *, was_sent: bool) -> VendorError:
        maybe = f". {_MAYBE}" if was_sent and call.changes else ""
        return VendorError(f"{self._kind.label} {what}{maybe}")

    def _tls_sentence(self, error: Exception) -> str:
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"the certificate is not valid: {cause.verify_message}"
        else:
            why = str(getattr(cause, "reason", None) or "no TLS there")
        return (
            f"no secure connection to {self._kind.label} ({self._said(why)}), so nothing was sent: "
            f"check {self._kind.base_url}, the clock, and this machine's certificates"
        )

    def _refusal(self, call: Call, status: int, headers: dict[str, str], body: bytes) -> str:
        kind = self._kind
        said = self._said(_message_of(body))
        said = f' and says "{said}"' if said else ""
        names = ", ".join((*kind.needs, *kind.one_of))
        wait = self._said(headers.get("retry-after", ""))
        known = {
            401: ("refuses the credentials", f"check {names}"),
            403: ("does not allow this", "give these credentials the right to manage webhooks"),
            404: ("finds nothing there", f"check the id, {', '.join(dict.fromkeys([names, kind.base_url]))}"),
            409: ("has that already, or something in its way", "look with --list"),
            429: ("wants fewer requests", f"wait{f' {wait} (Retry-After)' if wait else ''}, then run the same again"),
        }
        otherwise = ("does not take the request", "mend what it names, then run the same again")
        if 300 <= status < 400:
            otherwise = ("is somewhere else", f"set {kind.base_url} to its new address")
        elif status >= 500:
            otherwise = ("failed", f"try again later{f'. {_MAYBE}' if call.changes else ''}")
        what, next_step = known.get(status, otherwise)
        return f"{kind.label} {what} ({status}){said}: {next_step}"

    def _said(self, text: str) -> str:
        text = printable(self._hidden.masked(" ".join(text.split())))
        return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…"


def _message_of(body: bytes) -> str:
    try:
        return _find_message(json.loads(body), _DEEPEST_MESSAGE)
    except (ValueError, RecursionError):
        return ""


def _find_message(document: Json, depth: int) -> str:
    if depth == 0:
        return ""
    match document:
        case str():
            return document
        case list():
            return "; ".join(filter(None, (_find_message(item, depth - 1) for item in document[:5])))
        case dict():
            said = (_find_message(document[key], depth - 1) for key in _MESSAGE_KEYS if key in document)
            first = next(filter(None, said), "")
            # Validators answer {"field": ["what is wrong"]} under one of the keys above.
            return first or (
                "; ".join(
                    f"{key}: {text}"
                    for key, value in list(document.items())[:5]
                    if (text := _find_message(value, depth - 1))
                )
                if depth < _DEEPEST_MESSAGE
                else ""
            )
        case _:
            return ""
