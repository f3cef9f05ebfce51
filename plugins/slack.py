"""Post a message to Slack, by an incoming webhook or by `chat.postMessage`."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, Field, SecretStr, model_validator

from hookline.plugins import (
    Address,
    Context,
    Delivery,
    Escaped,
    PermanentError,
    Reply,
    TransientError,
    raise_for_status,
)

#: Slack refuses longer texts (docs.slack.dev, "Truncating really long messages").
MAX_TEXT_CHARACTERS = 40_000

# Errors of a 200 that pass by themselves; all others (channel_not_found, invalid_auth, …) need somebody's hand.
_PASSING_ERRORS = frozenset(
    {"ratelimited", "rate_limited", "message_limit_exceeded", "internal_error", "fatal_error", "service_unavailable",
     "request_timeout", "team_added_to_org", "rollup_error"}
)  # fmt: skip


def escape(text: str) -> str:
    """Escape what Slack reads as a mention, a channel or a link (`<!channel>`, `<https://evil|bank>`)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Options(BaseModel):
    """What a rule may write under `slack:`."""

    url: Annotated[SecretStr | None, Address] = Field(default=None, description="URL of an incoming webhook")
    token: SecretStr | None = Field(default=None, description="Bot token (xoxb-…), used with channel")
    api: Annotated[str, Address] = Field(
        default="https://slack.com/api/chat.postMessage",
        description="Where chat.postMessage is, for GovSlack and tests",
    )
    channel: str | None = Field(default=None, description="Id or name of the channel, with a token")
    text: Annotated[str, Escaped(escape)] = Field(
        default="", description="The message in mrkdwn, and what notifications show if there are blocks"
    )
    blocks: Annotated[list[dict[str, Any]], Escaped(escape)] = Field(default=[], description="Block Kit blocks")
    thread: str | None = Field(default=None, description="Time stamp (ts) of the message to answer")

    @model_validator(mode="after")
    def _check_whole(self) -> Options:
        if (self.url is None) == (self.token is None):
            raise ValueError("write either url (an incoming webhook) or token and channel")
        if self.token is not None and not self.channel:
            raise ValueError("a token needs a channel")
        if self.url is not None and self.channel:
            raise ValueError("an incoming webhook has its own channel; leave channel out, or use a token")
        if not self.text and not self.blocks:
            raise ValueError("write text or blocks")
        return self


async def deliver(_delivery: Delivery, options: Options, context: Context) -> str | None:
    """Post it; `ok: false` is a failure although the status says 200."""
    message: dict[str, Any] = {"text": _shortened(options.text)}
    if options.blocks:
        message["blocks"] = options.blocks
    if options.thread:
        message["thread_ts"] = options.thread
    if options.url is not None:
        reply = await context.http.post(options.url.get_secret_value(), json=message)
        _raise_for_answer(reply, is_api=False)
        return "posted"
    assert options.token is not None  # noqa: S101 - `_check_whole` saw to it
    headers = {"Authorization": f"Bearer {options.token.get_secret_value()}"}
    reply = await context.http.post(options.api, headers=headers, json={"channel": options.channel, **message})
    answer = _raise_for_answer(reply, is_api=True)
    return f"posted as {answer.get('ts', '?')} in {answer.get('channel', '?')}"


def _raise_for_answer(reply: Reply, *, is_api: bool) -> dict[str, Any]:
    if not 200 <= reply.status < 300:
        _raise_with_reason(reply)
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and answer.get("ok") is False:
        error = str(answer.get("error", "no reason given"))[:200]
        if error in _PASSING_ERRORS:
            raise TransientError(f"Slack says {error}", retry_after=reply.retry_after)
        raise PermanentError(f"Slack says {error}")
    if is_api and not (isinstance(answer, dict) and answer.get("ok") is True):
        raise TransientError("answered 200 with what is not Slack's: it may or may not be posted", is_unknown=True)
    return answer if isinstance(answer, dict) else {}


def _raise_with_reason(reply: Reply) -> None:
    """Incoming webhooks give their reason as a plain word beside the status: 404 channel_not_found."""
    try:
        raise_for_status(reply)
    except PermanentError as error:
        word = reply.text.strip()
        if word.isascii() and word.replace("_", "").isalnum() and len(word) < 100:
            raise PermanentError(f"{error}: Slack says {word}") from error
        raise


def _shortened(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    cut = text[: MAX_TEXT_CHARACTERS - 1]
    # No half of an escape such as `&am` at the end.
    tail = cut.rfind("&", len(cut) - 5)
    if tail >= 0 and ";" not in cut[tail:]:
        cut = cut[:tail]
    return f"{cut}…"
