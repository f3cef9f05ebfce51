"""Run a program with the event on its standard input."""

from __future__ import annotations

import os
import re
import signal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from hookline.plugins import Address, Context, Delivery, PermanentError, TransientError, computed_options
from hookline.plugins.event_json import body_of, document_of
from hookline.plugins.program import Ended, run_program
from hookline.plugins.trace import child_headers

#: sysexits.h: "temporary failure; the user is invited to retry".
TEMPORARY_FAILURE = 75
#: The other codes of sysexits.h: usage, data, permission, configuration.
PERMANENT_CODES = tuple(code for code in range(64, 79) if code != TEMPORARY_FAILURE)

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# Ours ends a little before the attempt's own does: it knows that the program had been started. Between asking the
# program to end and ending it there is a second, if so much is left.
_SHARE_OF_LIMIT = 0.9
_SHARE_FOR_GRACE = 0.05
_GRACE_SECONDS = 1.0


class Options(BaseModel):
    """What a rule may write under `command:`."""

    run: Annotated[list[str], Address] = Field(
        min_length=1,
        description="The program, by its whole path or a name in PATH, and its first arguments; no templates",
    )
    args: list[str] = Field(default=[], description="More arguments; what the event says belongs here, after a --")
    env: dict[str, str] = Field(default={}, description="Variables besides PATH and HOOKLINE_…")
    cwd: Annotated[str, Address] = Field(default="/", pattern=r"^/", description="The folder that it runs in")
    input: Literal["event", "body", "none"] = Field(
        default="event", description="What it reads: the event as JSON, the request's body as received, or nothing"
    )
    max_output: int = Field(
        default=1000, ge=0, le=4000, description="How many of the last characters it prints are kept"
    )
    permanent_codes: list[Annotated[int, Field(ge=1, le=255)]] = Field(
        default=list(PERMANENT_CODES), description="Exit codes that trying again will not change"
    )

    @field_validator("run")
    @classmethod
    def _check_run(cls, run: list[str]) -> list[str]:
        if "/" in run[0] and not run[0].startswith("/"):
            raise ValueError(f"{run[0][:100]!a} depends on a folder: write the program's whole path")
        return run

    @field_validator("env")
    @classmethod
    def _check_env(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if not _ENVIRONMENT_NAME.fullmatch(name) or name.startswith("HOOKLINE_"):
                raise ValueError(
                    f"{name[:50]!a} cannot be set: write a name of letters, digits and _ without HOOKLINE_"
                )
        return env

    @model_validator(mode="before")
    @classmethod
    def _check_computed(cls, values: Any, info: ValidationInfo) -> Any:
        for name in ("run", "cwd"):
            if name in computed_options(info.context):
                raise ValueError(f"{name} must be written out: a template would let the event choose; use args")
        return values


async def deliver(delivery: Delivery, options: Options, context: Context) -> str | None:
    """Run it; its exit code says how it went."""
    arguments = [*options.run, *options.args]
    if any("\x00" in text for text in (*arguments, *options.env.values())):
        raise PermanentError("an argument or variable holds a NUL character, which no program can be given")
    given = {"event": document_of, "body": body_of}.get(options.input)
    seconds = context.seconds_left * _SHARE_OF_LIMIT
    try:
        ended = await run_program(
            arguments,
            environment=_facts(delivery) | options.env,
            folder=options.cwd,
            given=given(delivery) if given else b"",
            seconds=seconds,
            grace=min(_GRACE_SECONDS, seconds * _SHARE_FOR_GRACE),
        )
    except OSError as error:
        # Without `filename` nobody knows whether the program or its folder is meant.
        where = f" {os.fsdecode(error.filename)}" if error.filename else ""
        raise PermanentError(f"cannot be started: {error.strerror}{where}") from error
    return _judge(ended, options, seconds)


def _facts(delivery: Delivery) -> dict[str, str]:
    """Return the whole environment: nothing of ours is in it."""
    event = delivery.event
    facts = {
        "DELIVERY_ID": delivery.id,
        "EVENT_ID": event.id,
        "EVENT_TYPE": event.type,
        "SOURCE": event.source,
        "RULE": delivery.rule,
        "ATTEMPT": str(delivery.attempt),
    }
    # A type is the sender's text, and no variable can hold a NUL.
    ours = {f"HOOKLINE_{name}": value.replace("\x00", "\ufffd") for name, value in facts.items()}
    # As other programs take them from their environment; a digest belongs to no trace.
    trace = {} if delivery.events else {name.upper(): value for name, value in child_headers(event.headers).items()}
    return {"PATH": os.environ.get("PATH", _DEFAULT_PATH), **ours, **trace}


def _judge(ended: Ended, options: Options, seconds: float) -> str:
    said = _last(ended.errors or ended.output, options.max_output)
    what = f": {said}" if said else ""
    if ended.is_late:
        raise TransientError(f"did not end within {seconds:.1f} s and was ended{what}", is_unknown=True)
    if ended.status < 0:
        raise TransientError(f"was ended by {_signal_name(-ended.status)}{what}")
    if ended.status in options.permanent_codes:
        raise PermanentError(f"exit code {ended.status}{what}")
    if ended.status:
        raise TransientError(f"exit code {ended.status}{what}")
    lines = ended.output.strip().splitlines()
    return _last(lines[-1], options.max_output) if lines else "exit code 0"


def _last(text: str, limit: int) -> str:
    return _CONTROL.sub(" ", text).strip()[-limit:] if limit else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have numbers only
        return f"signal {number}"
