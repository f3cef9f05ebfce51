"""The URLs that senders call: some sign them, so they are taken as they were given to them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from hookline.rules import Json


def parse_public_url(text: str, *, example: str = "https://hooks.example.com") -> str:
    """Read an http or https URL without query; the slash at its end is left out. Raises `ValueError` for people."""
    hint = f"write {example}"
    try:
        parts = urlsplit(text)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(f'"{text[:80]}" is not a URL ({error}): {hint}') from None
    if not is_right or any(character.isspace() for character in text):
        raise ValueError(f'"{text[:80]}" is not an http or https URL: {hint}')
    if parts.query or parts.fragment or "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError(f'"{text[:80]}" has more than scheme, host, port and path: {hint}')
    return text.rstrip("/")


def own_url(options: Mapping[str, Json]) -> str | None:
    """Return the `public_url` of a source's options: its sender's whole URL; None if the configuration's counts."""
    own = options.get("public_url")
    return own.rstrip("/") if isinstance(own, str) and own else None


def url_below(public_url: str, source: str, path_token: str | None) -> str:
    """Return the URL of a source that has none of its own."""
    return f"{public_url}/hooks/{source}" + (f"/{quote(path_token, safe='')}" if path_token else "")
