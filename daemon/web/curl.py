"""A stored request as a command that brings its body once more."""

from __future__ import annotations

import shlex
from typing import Final

from hookline.daemon.web.texts import visible

#: A longer body is taken from the file that the page offers.
_MOST_INLINE: Final = 4_000


def curl_command(*, event: str, url: str, content_type: str, body: bytes) -> str:
    """Return what a shell runs. A body that is long, or no plain text, is read from the file that was downloaded."""
    lines = [f"curl -X POST {shlex.quote(url)}"]
    if content_type and visible(content_type) == content_type:
        lines.append(f"-H {shlex.quote(f'Content-Type: {content_type}')}")
    text = _plain(body)
    lines.append(f"--data-binary {f'@{event}.bin' if text is None else shlex.quote(text)}")
    return " \\\n  ".join(lines)


def _plain(body: bytes) -> str | None:
    """Return the body as text that can be copied from a page as it is; None if it cannot."""
    if len(body) > _MOST_INLINE or body.startswith(b"@"):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    # A page shows line ends as they are, but a browser copies `\r\n` as `\n`.
    return text if visible(text) == text and "\r" not in text else None
