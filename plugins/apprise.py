"""Notify by Apprise, which knows more than a hundred services."""

from __future__ import annotations

import importlib.util
import logging
from contextvars import ContextVar
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator, model_validator

from hookline.plugins import Address, Context, Delivery, PermanentError, TransientError, computed_options


class Options(BaseModel):
    """What a rule may write under `apprise:`."""

    urls: Annotated[SecretStr | list[SecretStr], Address] = Field(
        description="Apprise's address of a service, such as ntfy://topic, or a list of them; no templates"
    )
    title: str = Field(default="", description="The title, where a service has one")
    body: str = Field(
        default='{{ event.type ~ " from " ~ event.source if event is defined else events|length ~ " events" }}',
        description="The message",
    )
    format: Literal["text", "markdown", "html"] = Field(default="text", description="What the body is written in")
    type: Literal["info", "success", "warning", "failure"] = Field(default="info", description="The kind of message")

    @model_validator(mode="before")
    @classmethod
    def _check_computed(cls, values: Any, info: ValidationInfo) -> Any:
        if "urls" in computed_options(info.context):
            raise ValueError("urls must be written out: Apprise dials them, not Hookline, so no address is checked")
        return values

    @field_validator("urls")
    @classmethod
    def _check_urls(cls, urls: SecretStr | list[SecretStr]) -> SecretStr | list[SecretStr]:
        for number, url in enumerate(_listed(urls), 1):
            if "://" not in url:
                raise ValueError(f"address {number} is not one of Apprise's, such as ntfy://topic")
        return urls

    @model_validator(mode="after")
    def _check_installed(self) -> Options:
        if importlib.util.find_spec("apprise") is None:
            raise ValueError('Apprise is not installed: pip install "hookline[apprise]"')
        return self


# Apprise has threads of its own, which take this with them.
_LISTENING: ContextVar[_Said] = ContextVar("_LISTENING")


class _Said(logging.Handler):
    """Keeps what Apprise logs for one delivery: it says there why a service took nothing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if _LISTENING.get(None) is self:
            self._lines.append(" ".join(record.getMessage().split())[:300])

    def __str__(self) -> str:
        return ": " + "; ".join(self._lines[:5]) if self._lines else ""


def deliver(_delivery: Delivery, options: Options, _context: Context) -> str | None:
    """Notify every service, one after the other; plain, so it runs in a thread."""
    # Here, because it takes a third of a second and few have it.
    import apprise  # noqa: PLC0415

    said, failed = _Said(), []
    _LISTENING.set(said)
    log = logging.getLogger("apprise")
    log.addHandler(said)
    urls = _listed(options.urls)
    try:
        services = []
        for number, url in enumerate(urls, 1):
            one = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Hookline", async_mode=False))
            # All of them before the first is notified: a mistake in the last shall not cost the first a repetition.
            if not one.add(url):
                raise PermanentError(f"Apprise does not take address {number}{said}")
            services.append(one)
        for number, one in enumerate(services, 1):
            if not one.notify(options.body, options.title, notify_type=options.type, body_format=options.format):
                failed.append(str(number))
    finally:
        log.removeHandler(said)
    if len(failed) == len(services):
        raise TransientError(f"no service took it{said}")
    # Trying again would notify those that took it once more.
    missed = f"; not by address {', '.join(failed)}{said}" if failed else ""
    return f"notified {len(services) - len(failed)} of {len(services)}{missed}"


def _listed(urls: SecretStr | list[SecretStr]) -> list[str]:
    return [one.get_secret_value() for one in (urls if isinstance(urls, list) else [urls])]
