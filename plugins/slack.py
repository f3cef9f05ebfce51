"""Post a message to Slack, by an incoming webhook or by `chat.postMessage`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
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
from hookline.plugins.pace import Pace
from hookline.plugins.slack_text import bounded_blocks, escape, shortened
from hookline.plugins.slack_threads import Threads

# Errors of a 200 that pass by themselves; all others (channel_not_found, invalid_auth, …) need somebody's hand.
_PASSING_ERRORS = frozenset(
    {"ratelimited", "rate_limited", "message_limit_exceeded", "internal_error", "fatal_error", "service_unavailable",
     "request_timeout", "team_added_to_org", "rollup_error"}
)  # fmt: skip
# The message that began the thread is gone: the next attempt begins another.
_LOST_THREADS = frozenset({"cannot_reply_to_message", "message_not_found", "thread_not_found", "invalid_thread_ts"})
# docs.slack.dev, "Rate limits": one message a second in a channel.
_PACE = Pace(1.0)
_THREADS = Threads()
# Of an attempt's time; the rest is for the request.
_SHARE_FOR_WAITING = 0.5


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
    thread_per: str | None = Field(
        default=None, description="With a token: messages for which this is the same share a thread"
    )
    username: str | None = Field(default=None, max_length=80, description="Name to post under, if the app may")
    icon_emoji: str | None = Field(default=None, description="Its picture, such as :receipt:")
    unfurl_links: bool | None = Field(
        default=None, description="Whether Slack shows previews of links; its own default"
    )

    @model_validator(mode="after")
    def _check_whole(self) -> Options:
        if (self.url is None) == (self.token is None):
            raise ValueError("write either url (an incoming webhook) or token and channel")
        if self.token is not None and not self.channel:
            raise ValueError("a token needs a channel")
        if self.url is not None and self.channel:
            raise ValueError("an incoming webhook has its own channel; leave channel out, or use a token")
        if self.url is not None and self.thread_per:
            raise ValueError("an incoming webhook does not say which message it made; thread_per needs a token")
        if self.thread and self.thread_per:
            raise ValueError("write either thread or thread_per")
        if not self.text and not self.blocks:
            raise ValueError("write text or blocks")
        return self


async def deliver(_delivery: Delivery, options: Options, context: Context) -> str | None:
    """Post it; `ok: false` is a failure although the status says 200."""
    if options.token is None or not options.thread_per:
        return await _post(options, context, options.thread)
    key = (options.token.get_secret_value(), options.channel, options.thread_per)
    async with _THREADS.of(key) as stamp:
        return await _post(options, context, stamp, key)


async def _post(options: Options, context: Context, thread: str | None, key: Any = None) -> str:
    message: dict[str, Any] = {"text": shortened(options.text)}
    if options.blocks:
        message["blocks"] = bounded_blocks(options.blocks)
    more = {"thread_ts": thread, **options.model_dump(include={"username", "icon_emoji", "unfurl_links"})}
    message |= {name: value for name, value in more.items() if value is not None}
    if options.url is not None:
        url = options.url.get_secret_value()
        async with _paced(url, context.seconds_left):
            _raise_for_answer(await context.http.post(url, json=message), is_api=False)
        return "posted"
    assert options.token is not None  # noqa: S101 - `_check_whole` saw to it
    token = options.token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"}
    async with _paced(f"{token} {options.channel}", context.seconds_left):
        reply = await context.http.post(options.api, headers=headers, json={"channel": options.channel, **message})
        answer = _raise_for_answer(reply, is_api=True, thread=key if thread else None)
    if key is not None and thread is None and isinstance(answer.get("ts"), str):
        _THREADS.begin(key, answer["ts"])
    return f"posted as {answer.get('ts', '?')} in {answer.get('channel', '?')}"


@contextlib.asynccontextmanager
async def _paced(channel: str, seconds: float) -> AsyncIterator[None]:
    """Wait for the channel's turn as long as the attempt's time allows, and hear when Slack asks for a rest."""
    wait = _PACE.wait(channel)
    if wait > seconds * _SHARE_FOR_WAITING:
        before = f"the channel's next free second is {wait:.0f} s away: Slack takes one message a second"
        raise TransientError(before, retry_after=timedelta(seconds=wait))
    _PACE.take(channel)
    await asyncio.sleep(wait)
    try:
        yield
    except TransientError as error:
        if error.retry_after is not None:
            _PACE.rest(channel, error.retry_after.total_seconds())
        raise


def _raise_for_answer(reply: Reply, *, is_api: bool, thread: Any = None) -> dict[str, Any]:
    if not 200 <= reply.status < 300:
        _raise_with_reason(reply)
    try:
        answer = json.loads(reply.body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and answer.get("ok") is False:
        error = str(answer.get("error", "no reason given"))[:200]
        if thread is not None and error in _LOST_THREADS:
            _THREADS.forget(thread)
            raise TransientError(f"Slack says {error}: the next attempt begins a new thread")
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
