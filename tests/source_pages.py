"""Writes docs/sources/: a page for each source type, from its declaration and its samples. `make docs`; a test compares."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hookline.daemon.sources.fragment import fragment, secret_names
from hookline.daemon.sources.proof_text import proof_text, way_text, ways_of
from hookline.daemon.sources.sample_files import sample_body, sample_names
from hookline.daemon.sources.source_type import SourceType
from hookline.daemon.sources.types import BUILT_IN

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "sources"

_INDEX = """\
# Source types

A page for each system that Hookline knows: what to paste where, what its events look like, and a rule to start from.
`hookline sources --types` lists them, `hookline send SOURCE` sends a signed sample. What is not here is declared in the
configuration ([sources.md](../sources.md)) or in [a file of its own](../source-types.md).

These pages are written by `make docs`.

| `type:` | system | what proves the sender |
|---|---|---|
"""
_PUBLIC_URL = "https://hooks.example.com"
_FIELDS = {
    "type": "event type",
    "id": "sender's id",
    "key": "dedupe key",
    "tenant": "tenant",
    "subject": "subject",
    "time": "occurred at",
}
#: Longer lists of types are folded.
_SHOWN_TYPES = 12


def pages() -> dict[str, str]:
    """Return each page's text by its name."""
    kinds = [BUILT_IN.get(name) for name in BUILT_IN.names]
    rows = [f"| [`{kind.name}`]({kind.name}.md) | {kind.title} | {proof_text(kind, _code)} |\n" for kind in kinds]
    return {"README.md": _INDEX + "".join(rows), **{f"{kind.name}.md": _page(kind) for kind in kinds}}


def _code(text: str) -> str:
    return f"`{text}`"


def _page(kind: SourceType) -> str:
    return f"# {kind.title}: `type: {kind.name}`\n\n" + "\n\n".join(_sections(kind)) + "\n"


def _sections(kind: SourceType) -> Iterator[str]:
    yield " ".join(kind.about.split())
    yield _set_up(kind)
    yield f"## Options\n\n{_options(kind)}"
    yield f"## Proof\n\n{_proof(kind)}"
    events = kind.declaration.get("event", {})
    if isinstance(events, dict) and events:
        rows = [f"| {label} | {_cell(events[key])} |\n" for key, label in _FIELDS.items() if key in events]
        yield f"## Events\n\n| | is |\n|---|---|\n{''.join(rows).rstrip()}"
        yield _keyless(events)
    if kind.event_types:
        yield _types(kind.event_types)
    names = sample_names(kind)
    if names:
        shown = next((name for name in names if name in kind.rule), names[0])
        body = json.dumps(sample_body(kind, shown), indent=2, ensure_ascii=False)
        listed = ", ".join(f"`{name}`" for name in names)
        yield f"A body with `{shown}` in it:\n\n```json\n{body}\n```"
        yield f"Samples that `hookline send {kind.name} TYPE` sends: {listed}."
    if kind.rule:
        yield f"## A rule to start from\n\n```yaml\n{kind.rule.rstrip()}\n```"
    yield "[All source types](README.md) · [Sources](../sources.md) · [Rules](../rules.md)"


def _set_up(kind: SourceType) -> str:
    # The word in the rule to start from.
    name = "shop" if kind.name == "generic" else kind.name
    piece = fragment(kind, name=name, public_url=_PUBLIC_URL)
    steps = kind.steps(name, f"`{_PUBLIC_URL}/hooks/{name}{'/…' if 'path_token' in piece else ''}`")
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))
    secrets = secret_names(piece)
    listed = " and ".join(f"`{one}`" for one in secrets)
    kinds = "variables of the environment, or files" if len(secrets) > 1 else "a variable of the environment, or a file"
    place = f"{listed}: {kinds} in `credentials/` beside hookline.yaml, mode 0600. " if secrets else ""
    seen = f"`hookline sources {name}` then shows the URL, what came, and what was refused and why."
    return f"## Set up\n\nIn `hookline.yaml`:\n\n```yaml\n{piece}```\n\n{place}{seen}\n\n{numbered}"


def _options(kind: SourceType) -> str:
    rows = []
    for name, slot in kind.options.items():
        needed = "required" if slot.is_required else "one of these" if name in kind.one_of else ""
        words = f" ({', '.join(f'`{word}`' for word in slot.values)})" if slot.values else ""
        about = " ".join(slot.about.split()).replace("|", r"\|")
        rows.append(f"| `{name}` | {about}{words} | {needed} |\n")
    return (
        f"| option | is | |\n|---|---|---|\n{''.join(rows)}\nAnd those of every source ([sources.md](../sources.md))."
    )


def _proof(kind: SourceType) -> str:
    lines = [f"- {way_text(way, _code)}{_details(way)}" for way in ways_of(kind.declaration)]
    lines += [f"- {_handshake(one)}" for one in _dicts(kind.declaration.get("handshake"))]
    answer = kind.declaration.get("answer")
    if isinstance(answer, dict):
        body = "" if "body" not in answer else f", body `{answer['body']}`" if answer["body"] else ", no body"
        lines.append(f"- Answered {answer.get('status', 200)}{body} once it is stored.")
    return "\n".join(lines) or "What the configuration declares."


def _details(way: Mapping[str, Any]) -> str:
    parts = [f"over `{way['signed']}`"] if way.get("signed") not in {None, "{body}"} else []
    if "signed" in way or way["scheme"] in {"hmac", "digest"}:
        parts.append(str(way.get("encoding", "hex")))
    stamp = way.get("timestamp")
    if isinstance(stamp, dict):
        parts.append(f"no older than {stamp.get('tolerance', '5m')}")
    elif way["scheme"] in {"hmac", "digest"}:
        parts.append("without a time: the dedupe key stops a replay")
    return f": {', '.join(parts)}." if parts else "."


def _handshake(one: Mapping[str, Any]) -> str:
    when = " and ".join(f"`{place}`" for place in one.get("when", {})) or "anything"
    if "visit" in one:
        return f"A request with {when}: `{one['visit']}` is called, which confirms the subscription."
    if "learn" in one:
        return f"A request with `{one['learn']}` brings the secret; it is kept only while the source waits for one."
    return f"{one.get('method', 'POST')} with {when} is a handshake, and answered as the sender asks."


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _keyless(events: Mapping[str, Any]) -> str:
    if "key" in events or "id" in events:
        return "Where nothing is named, or the signature does not cover it, the dedupe key is the body's digest."
    return "The dedupe key is the body's digest."


def _types(types: tuple[str, ...]) -> str:
    listed = ", ".join(f"`{name}`" for name in types)
    if len(types) <= _SHOWN_TYPES:
        return f"Event types: {listed}."
    return f"<details><summary>{len(types)} event types</summary>\n\n{listed}\n\n</details>"


def _cell(spec: Any) -> str:
    specs = spec if isinstance(spec, list) else [spec]
    return (", else " if len(specs) < 3 else "<br>else ").join(f"`{one}`" for one in specs).replace("|", r"\|")


def write() -> None:
    """Write every page, and remove those of types that are gone."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for path in FOLDER.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
