"""Credentials of a vendor's API: names that are looked up as `${NAME}` is, and never stand in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from hookline.daemon.secrets import CREDENTIALS_FOLDER, Secrets
from hookline.daemon.subscriptions.port import Hidden, VendorError, VendorKind

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def read_account(kind: VendorKind, lookup: Secrets, hidden: Hidden, *, is_dry: bool) -> dict[str, str]:
    """Return the credentials that are set; in a dry run those that are not stand as `${NAME}`.

    Raises `VendorError` naming all that are missing.
    """
    found: dict[str, str] = {}
    for name in (*kind.needs, *kind.one_of, *kind.optional, kind.base_url):
        value = _look_up(name, lookup)
        if value is not None:
            found[name] = value
            if name not in {*kind.shown, kind.base_url}:
                hidden.add(value)
    missing = [name for name in kind.needs if name not in found]
    if kind.host is None and kind.base_url not in found and kind.base_url not in missing:
        missing.append(kind.base_url)
    either = () if not kind.one_of or any(name in found for name in kind.one_of) else kind.one_of
    if is_dry:
        return {**{name: f"${{{name}}}" for name in (*missing, *either[:1])}, **found}
    if missing or either:
        parts = [*missing, *([" or ".join(either)] if either else [])]
        named = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        verb = "are" if len(missing) + bool(either) > 1 else "is"
        raise VendorError(
            f"{named} {verb} not set, which {kind.label}'s API needs: "
            f"looked in $CREDENTIALS_DIRECTORY, the environment, and {CREDENTIALS_FOLDER}/ beside hookline.yaml; "
            "docs/subscribe.md says where they are from"
        )
    return found


def _look_up(name: str, lookup: Secrets) -> str | None:
    try:
        value = lookup.secret(name)
    except ValueError as error:
        raise VendorError(str(error)) from error
    value = value.strip() if value is not None else None
    # They go into headers and paths as they are.
    if value and not (value.isascii() and value.isprintable()):
        raise VendorError(f"{name} holds line breaks or other characters that no credential has: set it anew")
    return value or None


def base_url(kind: VendorKind, account: Mapping[str, str]) -> str:
    """Return where the vendor's API is, without a slash at the end. Raises `VendorError`."""
    text = (account.get(kind.base_url) or kind.host or "").rstrip("/")
    if text == f"${{{kind.base_url}}}":
        return text
    try:
        parts = urlsplit(text)
        host = parts.hostname
        is_right = parts.scheme in {"http", "https"} and bool(host) and not (parts.query or parts.fragment)
    except ValueError:
        host, is_right = None, False
    if not is_right or "@" in text or any(character.isspace() for character in text):
        raise VendorError(f"{kind.base_url} is not the address of an API: write https://, the host, and its path")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise VendorError(f"{kind.base_url} begins with http: and would carry credentials in the clear: write https:")
    return text
