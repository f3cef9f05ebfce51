"""Write one line to Hookline's log."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from hookline.plugins import Context, Delivery


class Options(BaseModel):
    """What a rule may write under `log:`."""

    message: str = Field(
        default='{{ event.type ~ " from " ~ event.source if event is defined else events|length ~ " events" }}',
        description="What the line says",
    )
    level: Literal["debug", "info", "warning"] = Field(default="info", description="How loud it is")
    fields: dict[str, Any] = Field(default={}, description="What else the line holds, by name")


async def deliver(delivery: Delivery, options: Options, context: Context) -> str | None:
    """Write the line."""
    write = {"debug": context.log.debug, "info": context.log.info, "warning": context.log.warning}[options.level]
    # `fields` stays one field: its names come from a rule, and must not stand in for ours.
    write("rule.logged", message=options.message, event_id=delivery.event.id, fields=options.fields)
    return options.message
