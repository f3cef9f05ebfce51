"""Writes the effective configuration: defaults filled in, each line with its origin, secrets hidden."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from hookline.daemon.config.settings import Destination, Settings
from hookline.daemon.config.written_secrets import SECRET_KEY
from hookline.daemon.secrets import MASK
from hookline.daemon.sources.types import SourceTypes
from hookline.daemon.store.places import SqliteFile
from hookline.rules import Json, Modifiers
from hookline.rules.document import Entries, Findings, Node, Scalar
from hookline.rules.interpolation import find_references
from hookline.rules.modifiers import DEFAULT_RETRY
from hookline.rules.reader import read_document
from hookline.rules.scalars import NumberError, core_value
from hookline.rules.syntax import quoted
from hookline.rules.units import format_duration
from hookline.rules.written_modifiers import written_bounds, written_modifiers

_COMMENT_COLUMN: Final = 60
#: Where a declaration has what its sender proves itself by.
_SECRET_PLACES: Final = frozenset({"secret", "password", "is"})
_PLAIN: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./@+-]*(?::[A-Za-z0-9_./@+-]+)*")


def show_settings(settings: Settings, *, schemas: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the configuration as YAML that can be read again, but for what is hidden as `***`.

    Behind each value stands where it is from: `default`, `hookline.yaml:12`, or `$NAME`. `schemas`: of actions'
    options by action, from the runner; those built in are known without.
    """
    document = read_document(settings.text, settings.path.name, Findings())
    lines = _Show(document if isinstance(document, Entries) else None, schemas or {}).lines(settings)
    return "".join(f"{line}\n" for line in lines)


class _Show:
    """One writing of one configuration."""

    def __init__(self, document: Entries | None, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        self._document = document
        self._schemas = schemas

    def lines(self, settings: Settings) -> Iterator[str]:
        yield self._line(0, "version", 1, ("version",))
        listen: list[Json] = [str(address) for address in settings.listen]
        yield self._line(0, "listen", listen[0] if len(listen) == 1 else listen, ("listen",))
        yield self._line(0, "public_url", settings.public_url, ("public_url",))
        yield self._line(0, "trusted_proxies", [str(net) for net in settings.trusted_proxies], ("trusted_proxies",))
        yield "admin:"
        yield self._line(2, "listen", str(settings.admin.listen), ("admin", "listen"))
        yield self._line(2, "token", settings.admin.token and MASK, ("admin", "token"), "made at the first start")
        yield self._line(2, "hosts", list(settings.admin.hosts), ("admin", "hosts"))
        yield self._line(0, "store", str(settings.store), ("store",))
        rules: list[Json] = [str(path) for path in settings.rules]
        yield self._line(0, "rules", rules[0] if len(rules) == 1 else rules, ("rules",))
        yield self._line(0, "plugins", str(settings.plugins) if settings.plugins else None, ("plugins",))
        yield self._line(0, "workers", settings.workers, ("workers",))
        yield self._line(0, "worker_memory", _size(settings.worker_memory_bytes), ("worker_memory",))
        yield self._line(0, "allow_commands", settings.allow_commands, ("allow_commands",))
        yield self._line(0, "reload", settings.reload, ("reload",))
        yield from self._bounds(settings)
        yield from self._mapping("vars", settings.vars)
        yield from self._sources(settings)
        yield from self._destinations(settings)

    def _bounds(self, settings: Settings) -> Iterator[str]:
        retention, limits = settings.retention, settings.limits
        yield "retention:"
        for key, kept in (("events", retention.events), ("dedupe", retention.dedupe), ("dead", retention.dead)):
            yield self._line(2, key, format_duration(kept), ("retention", key))
        yield "limits:"
        yield self._line(2, "body", _size(limits.body_bytes), ("limits", "body"))
        yield self._line(2, "connections", limits.connections, ("limits", "connections"))
        yield self._line(2, "in_flight", _size(limits.in_flight_bytes), ("limits", "in_flight"))
        yield self._line(2, "body_timeout", format_duration(limits.body_timeout), ("limits", "body_timeout"))
        yield self._line(2, "batch", limits.batch, ("limits", "batch"))
        if isinstance(settings.store, SqliteFile):
            yield self._line(2, "free_space", _size(limits.free_space_bytes), ("limits", "free_space"))
        if settings.backup is not None:
            yield "backup:"
            yield self._line(2, "to", str(settings.backup.to), ("backup", "to"))
            yield self._line(2, "every", format_duration(settings.backup.every), ("backup", "every"))
            yield self._line(2, "keep", settings.backup.keep, ("backup", "keep"))
        yield "log:"
        yield self._line(2, "level", settings.log.level, ("log", "level"))
        yield self._line(2, "format", settings.log.format, ("log", "format"))

    def _mapping(self, name: str, values: Mapping[str, Json]) -> Iterator[str]:
        yield f"{name}:" if values else f"{name}: {{}}"
        for key, value in values.items():
            # A dollar that was escaped in the file must be escaped to be read again.
            yield self._line(2, key, _map_texts(value, lambda text: text.replace("${", "$${")), (name, key))

    def _sources(self, settings: Settings) -> Iterator[str]:
        yield "sources:" if settings.sources else "sources: {}"
        for name, source in settings.sources.items():
            yield f"  {name}:"
            yield self._line(4, "type", source.type, ("sources", name, "type"))
            secret = _secret_options(settings.source_types, source.type)
            for key in source.options:
                # As written: what a reference stands for may be a secret under any key.
                written = self._node(("sources", name, key))
                shown = _hidden(written.plain() if written else MASK, key, secret)
                yield self._line(4, key, shown, ("sources", name, key))

    def _destinations(self, settings: Settings) -> Iterator[str]:
        yield "destinations:" if settings.destinations else "destinations: {}"
        for name, destination in settings.destinations.items():
            path = ("destinations", name)
            yield f"  {name}:"
            yield f"    {destination.action}:" if destination.options else f"    {destination.action}: {{}}"
            secret = self._secret_options(destination)
            for key, value in destination.options.items():
                shown = _hidden(value, key, secret or ())
                if secret is None and key == "url" and isinstance(shown, str):
                    shown = _only_host(shown)
                yield self._line(6, key, shown, (*path, destination.action, key))
            yield self._line(4, "concurrency", destination.concurrency, (*path, "concurrency"))
            modifiers = destination.modifiers.over(Modifiers(retry=DEFAULT_RETRY))
            for key, value in {**written_bounds(destination.bounds), **written_modifiers(modifiers)}.items():
                written = self._node((*path, key)) if key == "changed" else None
                # It holds values of any kind, so what a reference stands for may be a secret.
                shown = value if written is None else _hidden(written.plain(), key, ())
                yield self._line(4, key, shown, (*path, key))
            if destination.allow_networks:
                networks: Json = [str(network) for network in destination.allow_networks]
                yield self._line(4, "allow_networks", networks, (*path, "allow_networks"))

    def _secret_options(self, destination: Destination) -> frozenset[str] | None:
        """Return which options the action declares as secret, None if its declaration is not known."""
        schema = self._schemas.get(destination.action)
        if schema is None:
            from hookline.daemon.actions.registry import BUILT_IN  # noqa: PLC0415 - it loads pydantic

            if destination.action not in BUILT_IN:
                return None
            module = importlib.import_module(f"hookline.plugins.{destination.action}")
            schema = module.Options.model_json_schema()
        properties = schema.get("properties", {})
        return frozenset(name for name, facts in properties.items() if "writeOnly" in json.dumps(facts))

    def _line(self, indent: int, key: str, value: Json, path: tuple[str, ...], default: str = "default") -> str:
        # A null is a mistake in the file, so what is not set is shown as a comment.
        is_unset = value is None and self._node(path) is None
        text = f"{' ' * indent}{'# ' * is_unset}{_text(key)}: {_flow(value)}"
        return f"{text:<{_COMMENT_COLUMN}}  # {self._origin(path, default)}"

    def _origin(self, path: tuple[str, ...], default: str) -> str:
        node = self._node(path)
        if node is None:
            return default
        if isinstance(node, Scalar) and isinstance(node.value, str):
            prefixes = {"secret": "$", "file": "file:", "variable": "vars."}
            named = [
                prefixes[reference.kind] + reference.name
                for reference in find_references(node.value)
                if reference.kind in prefixes
            ]
            if named:
                return ", ".join(named)
        return f"{node.place.file}:{node.place.line}"

    def _node(self, path: Sequence[str]) -> Node | None:
        node: Node | None = self._document
        for step in path:
            node = node.entries.get(step) if isinstance(node, Entries) else None
        return node


def _secret_options(types: SourceTypes, name: str) -> frozenset[str]:
    """Return which options of a source type go where a secret stands, whatever they are called."""
    options = types.get(name).options if name in types else {}
    return frozenset(
        option for option, slot in options.items() if any(target[-1] in _SECRET_PLACES for target in slot.to)
    )


def _hidden(value: Json, key: str, secret: Collection[str]) -> Json:
    """Return `value` with what is or may be a secret hidden."""
    if value is None or isinstance(value, bool):
        return value
    if key in secret or SECRET_KEY.fullmatch(key):
        return MASK
    match value:
        case dict():
            return {name: _hidden(item, name, ()) for name, item in value.items()}
        case list():
            return [_hidden(item, key, ()) for item in value]
        case str():
            for found in reversed(find_references(value)):
                if found.kind in {"secret", "file"}:
                    value = value[: found.start] + MASK + value[found.end :]
            return value
        case _:
            return value


def _only_host(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{MASK}" if parts.netloc else MASK


def _size(count: int) -> str:
    for unit, bytes_each in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count % bytes_each == 0:
            return f"{count // bytes_each}{unit}"
    return str(count)


def _map_texts(value: Json, change: Callable[[str], str]) -> Json:
    match value:
        case str():
            return change(value)
        case list():
            return [_map_texts(item, change) for item in value]
        case dict():
            return {key: _map_texts(item, change) for key, item in value.items()}
        case _:
            return value


def _flow(value: Json) -> str:
    match value:
        case str():
            return _text(value)
        case list():
            return f"[{', '.join(_flow(item) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{_text(key)}: {_flow(item)}' for key, item in value.items())}}}"
        case _:
            return json.dumps(value)


def _text(text: str) -> str:
    """Write a text without quotes where it is read as that text, in quotes anywhere else."""
    try:
        is_plain = _PLAIN.fullmatch(text) is not None and isinstance(core_value(text), str)
    except NumberError:
        is_plain = False
    return text if is_plain else quoted(text)
