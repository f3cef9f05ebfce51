"""The URL that a vendor shall send to: ours, public, over HTTPS."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from hookline.daemon.config.settings import Settings
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.public_url import own_url, url_below
from hookline.daemon.subscriptions.option_secret import written_options
from hookline.daemon.subscriptions.port import Hidden, VendorError
from hookline.rules.document import Scalar
from hookline.rules.interpolation import UnsetError, find_references, interpolate

# Names that no vendor can look up (RFC 6761, RFC 6762, RFC 8375, and what routers hand out).
_PRIVATE_ENDINGS: Final = (
    ".local", ".localhost", ".internal", ".intranet", ".lan", ".home.arpa", ".test", ".invalid", ".example",
)  # fmt: skip


def subscription_url(settings: Settings, source: str, lookup: Secrets, hidden: Hidden) -> str:
    """Return the source's own `public_url`, or the configuration's and the source's path.

    Raises `VendorError` if no vendor could send there.
    """
    own = own_url(settings.sources[source].options)
    if own is None and settings.public_url is None:
        raise VendorError(
            f"public_url is not in {settings.path}, so nobody can be told where to send: "
            "write it, as in public_url: https://hooks.example.com"
        )
    if own is not None and find_references(own):
        raise VendorError(f"sources.{source}.public_url: {own} is not set here, so nobody can be told where to send")
    check_public(own or settings.public_url or "", "public_url" if own is None else f"sources.{source}.public_url")
    token = _path_token(settings, source, lookup)
    if token:
        hidden.add(token)
    return own or url_below(settings.public_url or "", source, token)


def check_public(url: str, where: str = "public_url") -> None:
    """See that a vendor could reach a URL, which stands at `where`. Raises `VendorError`."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme != "https":
        raise VendorError(f"{where} is {url}, and vendors send to https: only: put TLS before it and write https:")
    try:
        is_private = not ip_address(host).is_global
    except ValueError:
        is_private = "." not in host or f".{host}".endswith(_PRIVATE_ENDINGS)
    if is_private:
        raise VendorError(
            f"{where} is {url}, and {host} cannot be reached from outside: write the host that the vendor can reach"
        )


def _path_token(settings: Settings, source: str, lookup: Secrets) -> str | None:
    node = written_options(settings, source).get("path_token")
    if node is None:
        return None
    # Checked for shape already; a list of one is as good as the one.
    written = node if isinstance(node, Scalar) else next(iter(getattr(node, "items", ())), None)
    if not isinstance(written, Scalar):
        return None
    try:
        return str(interpolate(str(written.text if not isinstance(written.value, str) else written.value), lookup))
    except UnsetError as error:
        raise VendorError(f"sources.{source}.path_token: {error.message}; {error.hint}") from error
