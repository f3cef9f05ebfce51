"""Says in a few words what proves that a source type's sender is who it claims to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hookline.daemon.sources.source_type import SourceType
from hookline.rules import Json


def proof_text(kind: SourceType, quote: Callable[[str], str] = str) -> str:
    """Return it for people; `quote` marks names of headers and places, as a page of Markdown needs."""
    said = dict.fromkeys(way_text(way, quote) for way in ways_of(kind.declaration))
    return ", or ".join(said) or "what the configuration declares"


def ways_of(declaration: Mapping[str, Json]) -> list[dict[str, Any]]:
    """Return the ways to verify of a declaration, or of options that hold one."""
    said = declaration.get("verify")
    return [way for way in (said if isinstance(said, list) else [said]) if isinstance(way, dict)]


def signs_url(declaration: Mapping[str, Json]) -> bool:
    """Whether a sender signs the URL that it calls."""
    return any(way.get("scheme") == "twilio" or "{url" in str(way.get("signed")) for way in ways_of(declaration))


def way_text(way: Mapping[str, Any], quote: Callable[[str], str] = str) -> str:
    """As `proof_text`, of one way."""
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
