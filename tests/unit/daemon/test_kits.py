"""A kit holds what a step's texts name, and nothing else; a changed secret makes another."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest

from hookline.daemon.actions.kits import Kit, KitLookup, Kits, make_kit
from hookline.daemon.actions.options import prepare
from hookline.daemon.config.settings import Destination
from hookline.daemon.delivery.runner import ActionFacts
from hookline.plugins.log import Options
from hookline.rules import Json, Modifiers, Step

VARIABLES: dict[str, Json] = {"team": "ops", "other": 1, "deep": {"er": "x"}}
FACTS = ActionFacts(
    name="log",
    summary="",
    schema={"properties": {"message": {"default": "{{ event.type }} ${BY_DEFAULT}"}}},
    origin="built-in",
    digest="d",
)


class Everything:
    """A lookup that has all, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.values = {"SET": "set-value", "BY_DEFAULT": "by-default"}

    def secret(self, name: str) -> str | None:
        self.asked.append(name)
        if name == "LOCKED":
            raise ValueError("LOCKED can be read by others")
        return self.values.get(name)

    def file(self, path: str) -> str:
        self.asked.append(path)
        if path == "gone":
            raise ValueError("no file gone")
        return f"text of {path}"

    def variable(self, name: str) -> Json:
        return "x" if name == "deep.er" else VARIABLES[name]


def step(**options: Any) -> Step:
    return Step(
        rule="r", rule_facts={"name": "r"}, destination=None, action="log", options=options, modifiers=Modifiers(),
        vars={"own": 5},
    )  # fmt: skip


def kit_of(lookup: Everything, destination: Destination | None = None, **options: Any) -> Kit:
    return make_kit(step(**options), FACTS, destination, variables=VARIABLES, lookup=lookup)


def test_it_holds_what_texts_name_and_no_more() -> None:
    lookup = Everything()
    texts = {
        "a": ["${SET} {{ vars.team }}", "$${NOT}"],
        "b": "${file:key} ${vars.deep.er} {# ${HIDDEN} #}{{ event.id }}",
    }
    kit = kit_of(lookup, message="m", fields=texts)
    assert (kit.secrets, kit.files, kit.variables) == ({"SET": "set-value"}, {"key": "text of key"}, {"deep.er": "x"})
    assert sorted(lookup.asked) == ["SET", "key"]
    assert kit.vars == {"team": "ops", "deep": {"er": "x"}, "own": 5}
    assert kit_of(lookup, message="{{ vars }}").vars == {**VARIABLES, "own": 5}
    # What a rule leaves out is rendered too, with what its default names.
    assert kit_of(lookup).secrets == {"BY_DEFAULT": "by-default"}


def test_it_crosses_over_and_renders_as_it_would_have() -> None:
    destination = Destination(
        name="d", action="log", options={"level": "warning"}, modifiers=Modifiers(dry_run=True), concurrency=1,
        allow_networks=(ip_network("10.0.0.0/8"),),
    )  # fmt: skip
    kit = kit_of(Everything(), destination, message="${SET} ${vars.team}")
    again = Kit.from_json(json.loads(json.dumps(kit.to_json())))
    assert again == kit
    assert (again.allow_networks, again.is_dry_run) == (("10.0.0.0/8",), True)
    prepared = prepare(Options, again.options, KitLookup(again))
    assert prepared.fill_in({"vars": again.vars}).model_dump() == {
        "message": "set-value ops", "level": "warning", "fields": {},
    }  # fmt: skip


def test_what_cannot_be_read_says_so_where_it_is_used() -> None:
    kit = kit_of(Everything(), message="${LOCKED} ${file:gone} ${NONE}")
    assert kit.unreadable == {"LOCKED": "LOCKED can be read by others", "gone": "no file gone"}
    lookup = KitLookup(kit)
    assert lookup.secret("NONE") is None
    for ask, name in ((lookup.secret, "LOCKED"), (lookup.file, "gone"), (lookup.file, "never named")):
        with pytest.raises(ValueError, match=name):
            ask(name)


def test_a_kit_is_kept_until_a_secret_changes() -> None:
    lookup = Everything()
    kits = Kits(VARIABLES, lookup)
    one = step(message="${SET}")
    first = kits.kit(one, FACTS, None)
    assert kits.kit(one, FACTS, None) is first
    lookup.values["SET"] = "new"
    second = kits.kit(one, FACTS, None)
    assert second.secrets == {"SET": "new"}
    assert second.digest != first.digest
    assert "set-value" not in repr(first)


def test_what_could_not_be_read_is_tried_again() -> None:
    lookup = Everything()
    kits = Kits(VARIABLES, lookup)
    one = step(message="${LOCKED}")
    assert kits.kit(one, FACTS, None) is not kits.kit(one, FACTS, None)
