"""Where a page may send the browser: to a page of ours, whatever a link claims."""

from __future__ import annotations

from urllib.parse import urlsplit

from hookline.daemon.web.texts import link

_MOST_CHARACTERS = 2_000


def local(path: str | None) -> str:
    """Return that path if it is one of our pages, the first page otherwise.

    `//host`, and paths with backslashes or control characters, lead elsewhere in browsers, whatever they look like.
    """
    if not path or len(path) > _MOST_CHARACTERS or not path.startswith("/") or path.startswith("//"):
        return "/"
    if "\\" in path or any(character <= " " or character == "\x7f" for character in path):
        return "/"
    return "/" if path.startswith(("/login", "/logout")) else path


def back(url: str | None) -> str:
    """Return the path and query of the page that a request came from; the first page if that is unknown."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return "/"
    return local(parts.path + (f"?{parts.query}" if parts.query else ""))


def login_url(wanted: str) -> str:
    """Return the login page's URL, which leads to the wanted page after it."""
    return link("/login", next=None if wanted == "/" else local(wanted))
