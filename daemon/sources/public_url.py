"""The URL that senders call: some sign it, so it is taken as it was given to them."""

from __future__ import annotations

from urllib.parse import urlsplit


def parse_public_url(text: str) -> str:
    """Read an http or https URL without query; the slash at its end is left out. Raises `ValueError` for people."""
    hint = "write https://hooks.example.com"
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
