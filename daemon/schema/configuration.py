"""The schema of `hookline.yaml`."""

from __future__ import annotations

from typing import Any, Final

from hookline.daemon.schema.declaration import DURATION_OR_REFERENCE
from hookline.daemon.schema.known import Known
from hookline.daemon.schema.rules import DRAFT
from hookline.daemon.schema.shapes import (
    FLAG,
    REFERENCE,
    TEXT,
    Schema,
    described,
    mapping,
    named,
    one_or_many,
    ref,
    refused,
    unless_text,
)
from hookline.daemon.schema.source import source_definitions, source_schema
from hookline.daemon.schema.step import action_definitions, destination_schema
from hookline.rules.modifiers import MODIFIER_NAMES

_ADDRESS: Final = unless_text(
    REFERENCE,
    {
        "type": "string",
        "pattern": r"^unix:.|.:[0-9]{1,5}$",
        "errorMessage": "not an address: write host:port, [v6]:port or unix:/path",
    },
)
_SIZE: Final = unless_text(
    REFERENCE,
    {
        "type": ["string", "integer"],
        "pattern": r"^[0-9]{1,15}(B|kB|KB|MB|GB|KiB|MiB|GiB)?$",
        "minimum": 1,
        "errorMessage": "not a size: write bytes, or a unit, as in 512, 64KiB, 1MiB or 10MB",
    },
)


_RELOAD: Final = unless_text(REFERENCE, named(["watch", "signal"], "there are"))


def _whole(low: int, high: int) -> Schema:
    return unless_text(REFERENCE, {"type": "integer", "minimum": low, "maximum": high})


def configuration_schema(known: Known) -> Schema:
    """Return the schema of a configuration."""
    return {
        "$schema": DRAFT,
        **mapping(_keys(known), what="hookline.yaml", required=("version",)),
        "if": {"required": ["store"], "properties": {"store": {"type": "string", "pattern": "^postgres"}}},
        "then": {
            "properties": {"backup": refused("Hookline makes no backups of a PostgreSQL database: remove the key")}
        },
        "definitions": {
            "source": source_schema(known.source_types),
            "destination": destination_schema(known),
            **source_definitions(known.source_types),
            **action_definitions(known),
        },
    }


def _keys(known: Known) -> dict[str, Schema]:
    about: dict[str, tuple[Schema, str]] = {
        "version": ({"enum": [1, "1"], "errorMessage": "write version: 1"}, "Always 1."),
        "listen": (one_or_many(_ADDRESS, least=1), "The public listener: host:port, [v6]:port, unix:/path, or a list."),
        "public_url": (TEXT, "Your address as senders call it."),
        "trusted_proxies": (one_or_many(TEXT), "Addresses or networks whose X-Forwarded-For is believed."),
        "admin": (_admin(), "The admin listener: for you alone."),
        "store": (_store(), "Where everything is kept: sqlite:PATH, or postgresql://USER@HOST/DATABASE."),
        "rules": (one_or_many(TEXT, least=1), "A folder of *.yaml, a file, or a list of them."),
        "plugins": (TEXT, "A folder of *.py, each an action, and of *.source.yaml, each a source type."),
        "reload": (_RELOAD, "watch: files are watched; signal: only SIGHUP and the API reload them."),
        "workers": (_whole(0, 32), "Processes that run actions: 1 if left out; 0 runs them in the daemon itself."),
        "worker_memory": (_SIZE, "A worker that takes more is replaced: 512MiB if left out."),
        "allow_commands": (unless_text(REFERENCE, FLAG), "true: the action command may run programs."),
        "retention": (_retention(), "How long finished things are kept. Nothing unfinished or held is ever removed."),
        "limits": (_limits(), "What one request, one sender, and all of them together may take."),
        "backup": (_backup(), "Backups of a SQLite file that the daemon makes by itself; left out: none."),
        "log": (_log(), "What is logged, and in which form."),
        "vars": ({"type": ["object", "null"]}, "Variables for rules, as ${vars.NAME}; no secrets."),
        "sources": (_by_name("source", {"hookline": "is the source of events about ourselves"}), "Who may send."),
        "destinations": (_by_name("destination", _taken(known)), "Where things go: an action each, with its limits."),
    }
    return {name: described(schema, text) for name, (schema, text) in about.items()}


_HOST: Final = r"^([A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9a-fA-F:.]+)$"


def _admin() -> Schema:
    token = described(TEXT, "Bearer token; left out: one is made at the first start, for all nodes of a database.")
    listen = described(one_or_many(_ADDRESS, least=1), "host:port; 127.0.0.1:8081 if left out.")
    message = "is no name of a host: write it as in hooks.example.com, without https:// or port"
    name: Schema = {"type": "string", "pattern": _HOST, "errorMessage": message}
    about = "Names that a proxy in front of it is called by; localhost goes without saying."
    hosts = described(one_or_many(unless_text(REFERENCE, name)), about)
    return mapping({"listen": listen, "token": token, "hosts": hosts}, what="admin")


def _store() -> Schema:
    message = "names no store: write sqlite: and a path, as in sqlite:hookline.db, or postgresql://USER@HOST/DATABASE"
    pattern = r"^(sqlite:[^:]|postgres(ql)?://[^/?#\s]*/([^/?#@\s]+$|[^/?#@\s]*\?))"
    return unless_text(REFERENCE, {"type": "string", "pattern": pattern, "errorMessage": message})


def _retention() -> Schema:
    about = {
        "events": "30d if left out.",
        "dedupe": "Keys by which duplicates are known: 90d if left out, more than 2h10m.",
        "dead": "Deliveries that were given up: 90d if left out.",
    }
    return mapping(
        {name: described(DURATION_OR_REFERENCE, text) for name, text in about.items()},
        what="retention",
    )


def _limits() -> Schema:
    return mapping(
        {
            "body": described(_SIZE, "The body of one request: 1MiB if left out."),
            "connections": described(_whole(1, 100_000), "Open at one time: 1000 if left out."),
            "in_flight": described(_SIZE, "All bodies being received at one time: 64MiB if left out."),
            "body_timeout": described(DURATION_OR_REFERENCE, "For a whole request: 10s if left out."),
            "batch": described(_whole(1, 100_000), "Events in one request: 1000 if left out."),
            "free_space": described(
                _SIZE, "Below it, on a SQLite file's disk, nothing is accepted: 256MiB if left out."
            ),
        },
        what="limits",
    )


def _backup() -> Schema:
    return mapping(
        {
            "to": described(TEXT, "The folder: backups, beside the store, if left out."),
            "every": described(DURATION_OR_REFERENCE, "1d if left out."),
            "keep": described(_whole(1, 1000), "How many are kept: 7 if left out."),
        },
        what="backup",
    )


def _log() -> Schema:
    level = unless_text(REFERENCE, named(["debug", "info", "warning"], "there are"))
    form = unless_text(REFERENCE, named(["auto", "json", "text"], "there are"))
    return mapping(
        {
            "level": described(level, "info if left out."),
            "format": described(form, "auto: key=value on a terminal, JSON elsewhere."),
        },
        what="log",
    )


def _taken(known: Known) -> dict[str, str]:
    actions = dict.fromkeys(known.actions, "is the name of an action as well")
    return actions | dict.fromkeys(sorted(MODIFIER_NAMES), "is the name of a modifier as well")


def _by_name(kind: str, taken: dict[str, str]) -> Schema:
    """Return a mapping of names to such things; `taken` names mean something else, with why."""
    name: dict[str, Any] = {
        "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$",
        "errorMessage": f"not the name of a {kind}: use small letters, digits, - and _, at most 64",
        "allOf": [
            {
                "if": {"enum": [word for word, other in taken.items() if other == why]},
                "then": refused(f"{why}: choose another"),
            }
            for why in dict.fromkeys(taken.values())
        ],
    }
    return {"type": ["object", "null"], "additionalProperties": ref(kind), "propertyNames": name}
