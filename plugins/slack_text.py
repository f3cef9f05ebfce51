"""What Slack reads in a text, and how much of it."""

from __future__ import annotations

from typing import Any

#: Slack refuses longer texts (docs.slack.dev, "Truncating really long messages").
MAX_TEXT_CHARACTERS = 40_000
#: And longer messages than this (docs.slack.dev, "Blocks").
MAX_BLOCKS = 50
_MAX_SECTION_CHARACTERS = 3000
#: By a block's type, where it is not a section's limit.
_MAX_CHARACTERS = {"header": 150, "markdown": 12_000}
_MAX_FIELDS = 10
_MAX_FIELD_CHARACTERS = 2000
# What Slack takes as it is, and does not read for `&amp;`.
_PLAIN_KEYS = frozenset({"url", "image_url", "thumbnail_url", "video_url", "title_url", "value"})


def escape(text: str) -> str:
    """Escape what Slack reads as a mention, a channel or a link (`<!channel>`, `<https://evil|bank>`)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shortened(text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """Cut a text that Slack would refuse, and not within an escape such as `&amp;`."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    tail = cut.rfind("&", max(0, len(cut) - 5))
    if tail >= 0 and ";" not in cut[tail:]:
        cut = cut[:tail]
    return f"{cut}…"


def bounded_blocks(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks cut to what Slack takes, their addresses as the event has them."""
    ready = [_bounded(block) for block in blocks]
    if len(ready) <= MAX_BLOCKS:
        return ready
    rest = f"… and {len(ready) - MAX_BLOCKS + 1} blocks more"
    more = {"type": "context", "elements": [{"type": "plain_text", "text": rest}]}
    return [*ready[: MAX_BLOCKS - 1], more]


def _bounded(block: dict[str, Any]) -> dict[str, Any]:
    limit = _MAX_CHARACTERS.get(str(block.get("type")), _MAX_SECTION_CHARACTERS)
    ready = {key: _plain(value, key) for key, value in block.items()}
    if "text" in ready:
        ready["text"] = _cut(ready["text"], limit)
    if isinstance(fields := ready.get("fields"), list):
        ready["fields"] = [_cut(field, _MAX_FIELD_CHARACTERS) for field in fields[:_MAX_FIELDS]]
    return ready


def _cut(text: Any, limit: int) -> Any:
    match text:
        case str():
            return shortened(text, limit)
        case {"text": str() as inner}:
            return {**text, "text": shortened(inner, limit)}
        case _:
            return text


def _plain(value: Any, key: str) -> Any:
    match value:
        case str() if key in _PLAIN_KEYS:
            return value.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        case dict():
            return {inner: _plain(item, inner) for inner, item in value.items()}
        case list():
            return [_plain(item, key) for item in value]
        case _:
            return value
