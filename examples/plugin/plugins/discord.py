"""Announce an event in a Discord channel."""

from pydantic import BaseModel, Field, SecretStr

from hookline.plugins import Context, Delivery, raise_for_status


class Options(BaseModel):
    """What a rule may write under `discord:`."""

    url: SecretStr = Field(description="URL of the channel's webhook")
    text: str = Field(default="{{ event.type }} from {{ event.source }}", description="What the message says")


async def deliver(delivery: Delivery, options: Options, context: Context) -> str | None:
    """Post the text; nobody can be mentioned by it."""
    message = {"content": options.text[:2000], "allowed_mentions": {"parse": []}}
    raise_for_status(await context.http.post(options.url.get_secret_value(), json=message))
    return f"announced {delivery.event.type}"
