"""Say what there is to see."""

import json

from pydantic import BaseModel


class Options(BaseModel):
    """What a rule may write."""

    text: str = "{{ event.type }}"
    other: str = ""


async def deliver(delivery, options, context):
    return json.dumps(
        {
            "text": options.text,
            "other": options.other,
            "events": [[event.id, event.payload] for event in delivery.events],
            "previous": delivery.previous,
            "suppressed": delivery.suppressed,
            "is_replay": delivery.is_replay,
            "payload": delivery.event.payload,
        }
    )
