"""The schema of a declaration: what stands under `type: generic`, and where the options of other types go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hookline.daemon.schema.shapes import (
    DURATION,
    FLAG,
    REFERENCE,
    TEXT,
    WRITTEN,
    Schema,
    described,
    mapping,
    named,
    one_or_many,
    unless_text,
)
from hookline.daemon.sources.handshake_declaration import METHODS
from hookline.daemon.sources.stamps import UNITS

_TEXTS: Final = one_or_many(TEXT, least=1)
_PLACE: Final = described(_TEXTS, "A path ($.id), header.NAME, query.NAME, a format, or a list of these.")
_SECRETS: Final = described(_TEXTS, "A secret, or a list of them while you rotate: ${NAME}, ${file:PATH}.")


def _word(*words: str) -> Schema:
    return unless_text(REFERENCE, named(words, "there are"))


#: A duration of the configuration: a reference may stand for it.
DURATION_OR_REFERENCE: Final = unless_text(REFERENCE, DURATION)
_TOLERANCE: Final[Schema] = {
    "description": "How old it may be: a duration, or off for any age.",
    "if": {"enum": ["off"]},
    "else": DURATION_OR_REFERENCE,
    "examples": ["5m", "off"],
}
_PATH: Final = unless_text(
    REFERENCE, {"type": "string", "pattern": r"^\$", "errorMessage": "a path begins with $, as in $.events[*]"}
)
_STATUS: Final = unless_text(
    REFERENCE, {"type": "integer", "minimum": 200, "maximum": 299, "errorMessage": "a status from 200 to 299"}
)
_ALGORITHM: Final = described(_word("sha1", "sha256", "sha384", "sha512"), "sha256 if left out.")
_STAMP: Final = mapping(
    {
        "header": described(TEXT, "The header that it stands in."),
        "part": described(TEXT, 'What it begins with, of a header with several parts: "t=".'),
        "body": described(TEXT, "The path of it in the body, as in $.sent_at."),
        "unit": _word(*UNITS),
        "tolerance": _TOLERANCE,
    },
    what="timestamp",
)
_SCHEME: Final[Mapping[str, Schema]] = {
    "header": described(TEXT, "The header that the signature stands in."),
    "encoding": _word("hex", "base64"),
    "prefix": described(_TEXTS, 'What stands before the signature: "sha256=".'),
    "separator": described(TEXT, "What stands between the parts of the header."),
    "timestamp": described(_STAMP, "Where the time is that is signed."),
    "signed": described(TEXT, 'What is signed: "{timestamp}.{body}"; {body} if left out.'),
    "secret_encoding": _word("text", "base64", "hex"),
    "secret_prefix": described(TEXT, "What stands before the secret's bytes: whsec_."),
}
#: Ways to verify: what each takes beside `scheme`, and which of that must be there.
WAYS: Final[Mapping[str, tuple[Mapping[str, Schema], Sequence[str]]]] = {
    "hmac": ({"algorithm": _ALGORITHM, **_SCHEME, "secret": _SECRETS}, ("header", "secret")),
    "ed25519": ({**_SCHEME, "public_key": described(_TEXTS, "The sender's key.")}, ("header", "public_key")),
    "digest": ({"algorithm": _ALGORITHM, **_SCHEME, "secret": _SECRETS}, ("header", "secret")),
    "token": (
        {
            "header": described(TEXT, "The header that it stands in; Authorization if left out."),
            "query": described(TEXT, "The query parameter that it stands in."),
            "path": described(TEXT, "The path of it in the body, as in $.value[*].clientState."),
            "prefix": described(TEXT, 'What stands before it: "Bearer ".'),
            "secret": _SECRETS,
        },
        ("secret",),
    ),
    "basic": ({"username": TEXT, "password": _SECRETS}, ("username", "password")),
    "twilio": (
        {"secret": _SECRETS, "secret_encoding": _SCHEME["secret_encoding"], "secret_prefix": TEXT},
        ("secret",),
    ),
    "sns": ({"topics": described(_TEXTS, "ARNs of the topics."), "tolerance": _TOLERANCE}, ("topics",)),
    "none": ({}, ()),
}


def _verify() -> Schema:
    way: Schema = {
        "properties": {"scheme": named(WAYS, "ways to verify are")},
        "required": ["scheme"],
        "allOf": [
            {
                "if": {"properties": {"scheme": {"enum": [name]}}, "required": ["scheme"]},
                "then": mapping({"scheme": {}, **options}, what=name, required=required),
            }
            for name, (options, required) in WAYS.items()
        ],
    }
    open_to_all = {"enum": ["none"], "errorMessage": "write {scheme: hmac, …}, or none to accept anything from anyone"}
    one: Schema = {"if": {"type": "object"}, "then": way, "else": open_to_all}
    whole: Schema = {"if": {"type": "array"}, "then": {"type": "array", "items": one, "minItems": 1}, "else": one}
    return {**whole, "examples": ["none"], "defaultSnippets": [_SNIPPET]}


_SNIPPET: Final = {
    "label": "hmac",
    "body": {"scheme": "hmac", "header": "${1:X-Signature}", "secret": "\\${${2:SECRET}\\}"},
}
_HANDSHAKE: Final = mapping(
    {
        "method": _word(*METHODS),
        "when": {
            "description": "What must stand where: a text, a list of texts, or any.",
            "type": "object",
            "additionalProperties": one_or_many(WRITTEN, least=1),
        },
        "verified": described(FLAG, "It must pass verification as events do."),
        "secret": mapping({"at": _PLACE, "is": _SECRETS}, what="secret", required=("at", "is")),
        "learn": _PLACE,
        "visit": {
            "description": "A URL that is fetched to confirm that it is wanted.",
            "if": {"type": "object"},
            "then": mapping({"at": _PLACE, "hosts": _TEXTS}, what="visit", required=("at", "hosts")),
            "else": TEXT,
        },
        "answer": mapping(
            {
                "status": _STATUS,
                "text": _PLACE,
                "content_type": _word("text/plain", "text/plain; charset=utf-8"),
                "headers": {"type": "object", "additionalProperties": _PLACE},
            },
            what="answer",
        ),
    },
    what="a handshake",
)
_FIELDS: Final = {
    "type": "What kind of event it is.",
    "id": "What the sender calls the event.",
    "key": "What makes two requests the same event, if that is not id.",
    "tenant": "Whose event it is.",
    "time": "When it happened.",
    "subject": "What it is about.",
    "digest_with": "What is added to the body's digest where there is no id.",
}
#: The parts of a declaration.
SECTIONS: Final[Mapping[str, Schema]] = {
    "verify": _verify(),
    "event": mapping({name: described(_TEXTS, about) for name, about in _FIELDS.items()}, what="event"),
    "split": one_or_many(_PATH, least=1),
    "body": mapping(
        {
            "form_json": described(TEXT, "The field of a form that holds the document as JSON."),
            "json_at": described(_PATH, "Where a text is read as JSON."),
            "reader": _word("cloudevents"),
        },
        what="body",
    ),
    "methods": one_or_many(_word("POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS"), least=1),
    "headers": {"type": "object", "additionalProperties": TEXT},
    "maps": {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": WRITTEN}},
    "handshake": one_or_many(_HANDSHAKE),
    "answer": mapping({"status": _STATUS, "body": TEXT, "content_type": TEXT}, what="answer"),
}


def schema_at(path: Sequence[str | int]) -> Schema:
    """Return what may stand at a place of a declaration; {} where that is not known."""
    names = [step for step in path if isinstance(step, str) and step != "*"]
    found: Any = SECTIONS.get(names[0], {})
    if names[0] == "verify" and names[1:]:
        # Whichever way it is: what they have in common by name is alike.
        found = {"properties": {key: schema for options, _ in WAYS.values() for key, schema in options.items()}}
    for name in names[1:]:
        one = found.get("else", found)
        found = one.get("properties", {}).get(name) or one.get("additionalProperties", {})
    return dict(found)
