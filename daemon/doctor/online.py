"""Destinations as they are reached from here: name, address, connection, certificate; and `public_url`.

Nothing is delivered: a connection is opened, secured, and closed.
"""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from hookline.daemon.config.settings import Destination
from hookline.daemon.doctor.bounded import Bounded, Failed
from hookline.daemon.doctor.finding import Finding, listed, ok, warn, wrong
from hookline.daemon.doctor.sight import Sight
from hookline.daemon.outbound.addresses import AddressPolicy
from hookline.daemon.secrets import Secrets
from hookline.plugins.smtp import Server, read_server
from hookline.rules.interpolation import UnsetError, interpolate
from hookline.rules.template import has_template

_CONNECT_SECONDS: Final = 5
#: All destinations together.
SECONDS: Final = 20
_ENDS_SOON: Final = timedelta(days=14)
_MOST_BYTES: Final = 4096
_Security = Literal["starttls", "tls", "none"]
_SECURITY: Final[tuple[_Security, ...]] = ("starttls", "tls", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a destination's deliveries go."""

    host: str
    port: int
    speaks: Literal["http", "https", "smtp"]
    #: Certificates to trust instead of the system's; the certificate and key to show.
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    #: Of a mail server.
    security: _Security = "none"

    @property
    def is_secured(self) -> bool:
        """Whether a certificate is to be shown."""
        return self.speaks == "https" or self.security != "none"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def begin_online(sight: Sight, bounded: Bounded) -> dict[str, Future[Any]]:
    """Begin to ask every destination and `public_url`; the results are lists of findings."""
    if isinstance(sight.settings, Failed):
        return {}
    environ = {**sight.environ, **(sight.running.environ or {})}
    secrets = Secrets(environ, folder=sight.settings.path.parent).with_variables(sight.settings.vars)
    calls: dict[str, Callable[[], list[Finding]]] = {
        f"online {name}": partial(check_destination, destination, secrets, sight.now)
        for name, destination in sight.settings.destinations.items()
    }
    if sight.settings.public_url is not None:
        calls["online public_url"] = partial(check_public_answer, sight.settings.public_url)
    return {name: bounded.begin(call) for name, call in calls.items()}


def check_destination(destination: Destination, secrets: Secrets, now: datetime) -> list[Finding]:
    """Ask the host of one destination."""
    name = f"online {destination.name}"
    try:
        target = target_of(destination, secrets)
    except (UnsetError, ValueError) as error:
        # Of a URL, which may hold a secret, nothing is shown.
        why = error.message if isinstance(error, UnsetError) else "its address cannot be read"
        return [warn(name, why, "see secrets")]
    if target is None:
        return []
    try:
        addresses = resolve(target)
    except OSError as error:
        return [wrong(name, f"{target.host} does not resolve: {_reason(error)}", f"getent ahosts {target.host}")]
    # Who wrote the host is the operator: wherever it lies, but not at a cloud's metadata.
    policy = AddressPolicy(is_literal=True)
    refused = [said for address in addresses if (said := policy.refusal(address, target.port))]
    if refused:
        return [wrong(name, f"{target}: {refused[0]}, and is never dialled", "write another address")]
    return [reach(name, target, now, said=f"{target} ({listed(addresses, most=2)})")]


def target_of(destination: Destination, lookup: Secrets) -> Target | None:
    """Return where a destination's deliveries go; None if a template computes it, or its action does not say.

    Raises `UnsetError` and `ValueError`.
    """
    options = {key: _text(value, lookup) for key, value in destination.options.items()}
    url, server = options.get("url") or options.get("api"), options.get("server")
    if destination.action == "slack" and url is None:
        url = "https://slack.com"
    if destination.action == "email" and server is not None:
        host, port = read_server(server)
        said = options.get("tls")
        mail = Server(host=host, port=port, tls=next((one for one in _SECURITY if one == said), None))
        return Target(host=host, port=port, speaks="smtp", ca_file=options.get("ca_file"), security=mail.security)
    parts = urlsplit(url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname or has_template(parts.netloc):
        return None
    tls = destination.options.get("tls")
    files = tls if isinstance(tls, Mapping) else {}
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(
        host=parts.hostname,
        port=port,
        speaks="https" if parts.scheme == "https" else "http",
        ca_file=_text(files.get("ca_file"), lookup),
        cert_file=_text(files.get("cert_file"), lookup),
        key_file=_text(files.get("key_file"), lookup),
    )


def _text(value: Any, lookup: Secrets) -> str | None:
    if not isinstance(value, str):
        return None
    found = interpolate(value, lookup)
    return found if isinstance(found, str) else None


def resolve(target: Target) -> list[str]:
    """Return the addresses of a host. Raises `OSError`."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:
        raise OSError(str(error)) from error
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def reach(name: str, target: Target, now: datetime, *, said: str) -> Finding:
    """Open a connection, greet, secure it, and close it."""
    context = ssl.create_default_context(cafile=target.ca_file) if target.is_secured else None
    try:
        if context is not None and target.cert_file:
            context.load_cert_chain(target.cert_file, target.key_file)
        ends = _greet(target, context) if target.speaks == "smtp" else _shake_hands(target, context)
    except ssl.SSLCertVerificationError as error:
        step = "renew it there, or name who signed it: ca_file"
        return wrong(name, f"{said}: certificate refused: {error.verify_message}", step)
    except (OSError, smtplib.SMTPException) as error:
        return wrong(name, f"{said}: {_reason(error)}", "see whether it runs, and whether a firewall is in between")
    if ends is None:
        return ok(name, f"{said} answers")
    left = ends - now
    if left < _ENDS_SOON:
        return warn(name, f"{said}: its certificate ends in {max(left.days, 0)} d", "have it renewed there")
    return ok(name, f"{said} answers, certificate good for {left.days} d")


def _shake_hands(target: Target, context: ssl.SSLContext | None) -> datetime | None:
    with socket.create_connection((target.host, target.port), _CONNECT_SECONDS) as plain:
        if context is None:
            return None
        with context.wrap_socket(plain, server_hostname=target.host) as secured:
            return _end_of(secured)


def _greet(target: Target, context: ssl.SSLContext | None) -> datetime | None:
    if target.security == "tls":
        mail: smtplib.SMTP = smtplib.SMTP_SSL(target.host, target.port, timeout=_CONNECT_SECONDS, context=context)
    else:
        mail = smtplib.SMTP(target.host, target.port, timeout=_CONNECT_SECONDS)
    with mail:
        mail.ehlo_or_helo_if_needed()
        if target.security == "starttls":
            mail.starttls(context=context)
        return _end_of(mail.sock) if isinstance(mail.sock, ssl.SSLSocket) else None


def _end_of(secured: ssl.SSLSocket) -> datetime | None:
    said = (secured.getpeercert() or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(said), UTC) if isinstance(said, str) else None


def check_public_answer(url: str) -> list[Finding]:
    """Ask `public_url` as a sender would, and say whether a Hookline answers there."""
    step = "see that the name leads here, and that the proxy passes /hooks/ and /healthz on"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/healthz", timeout=_CONNECT_SECONDS) as reply:
            body = reply.read(_MOST_BYTES)
    except urllib.error.HTTPError as error:
        return [wrong("online public_url", f"{url}/healthz answers {error.code}", step)]
    except (OSError, ValueError) as error:
        return [wrong("online public_url", f"{url}/healthz: {_reason(error)}", step)]
    with suppress(ValueError):
        if json.loads(body) == {"status": "ok"}:
            return [ok("online public_url", f"{url}/healthz answers")]
    return [wrong("online public_url", f"{url}/healthz is answered by something else", step)]


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_CONNECT_SECONDS} s"
    inner = getattr(error, "reason", None)
    if isinstance(inner, Exception):
        return _reason(inner)
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
