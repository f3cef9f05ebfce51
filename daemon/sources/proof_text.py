"""Says in a few words what proves that a source type's sender is who it claims to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hookline.daemon.sources.source_type import SourceType


def proof_text(kind: SourceType, quote: Callable[[str], str] = str) -> str:
    """Return it for people; `quote` marks names of headers and places, as a page of Markdown needs."""
    said = kind.declaration.get("verify")
    ways = [way for way in (said if isinstance(said, list) else [said]) if isinstance(way, dict)]
    return ", or ".join(dict.fromkeys(_way(way, quote) for way in ways)) or "what the configuration declares"


def _way(way: Mapping[str, Any], quote: Callable[[str], str]) -> str:
    match way["scheme"]:
        case "token":
            return f"a secret {_token_place(way, quote)}"
        case "basic":
            return "user name and password (Basic)"
        case "twilio":
            return f"HMAC-SHA1 over URL and parameters in {quote('X-Twilio-Signature')}"
        case "sns":
            return "Amazon's RSA signature in the body"
        case "ed25519":
            return f"ed25519 in {quote(way['header'])}"
        case scheme:
            algorithm = str(way.get("algorithm", "sha256")).upper()
            return f"{'HMAC-' if scheme == 'hmac' else ''}{algorithm} in {quote(way['header'])}"


def _token_place(way: Mapping[str, Any], quote: Callable[[str], str]) -> str:
    if "path" in way:
        return f"at {quote(way['path'])} of the body"
    if "query" in way:
        return f"in the query parameter {quote(way['query'])}"
    return f"in {quote(way.get('header', 'Authorization'))}"
