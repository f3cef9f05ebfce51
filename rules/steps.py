"""A step: what one entry of a rule's `do` asks for, ready to be kept, sent to a worker, and rendered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hookline.rules.event import Json
from hookline.rules.kept_modifiers import from_kept, to_kept
from hookline.rules.policies import Modifiers
from hookline.rules.problem import Place


@dataclass(frozen=True, kw_only=True)
class Step:
    """One action of one rule. Kept in the store by `digest`; holds names of secrets (`${NAME}`), never secrets."""

    #: Name of the rule; "" for a fallback.
    rule: str
    #: What templates see as `rule`: name, description, owner.
    rule_facts: Mapping[str, Json]
    #: Name of the destination; None for an action in place.
    destination: str | None
    #: Name of the action for an action in place; None for a destination, whose action is the configuration's.
    action: str | None
    #: What the rule writes for it, laid over the destination's options; leaves may hold templates and `${NAME}`.
    options: Mapping[str, Any]
    modifiers: Modifiers
    #: The variables that its templates name.
    vars: Mapping[str, Json]
    #: Where it stands; not part of its identity.
    place: Place | None = field(default=None, compare=False)

    @cached_property
    def text(self) -> str:
        """The step as canonical JSON; `Step.from_text` reads it back."""
        return json.dumps(
            {
                "rule": self.rule,
                "rule_facts": self.rule_facts,
                "destination": self.destination,
                "action": self.action,
                "options": self.options,
                "modifiers": to_kept(self.modifiers),
                "vars": self.vars,
            },
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @cached_property
    def digest(self) -> str:
        """Hash of `text`, 32 hexadecimal digits."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    @property
    def lane(self) -> str:
        """The queue it waits in: the destination's, or one of its own."""
        return self.destination if self.destination is not None else f"step:{self.digest}"

    @property
    def label(self) -> str:
        """What people call it: the destination's name, or the action's."""
        return self.destination or self.action or ""

    @classmethod
    def from_text(cls, text: str) -> Step:
        """Read back what `text` wrote."""
        kept = json.loads(text)
        return cls(
            rule=kept["rule"],
            rule_facts=kept["rule_facts"],
            destination=kept["destination"],
            action=kept["action"],
            options=kept["options"],
            modifiers=from_kept(kept["modifiers"]),
            vars=kept["vars"],
        )
