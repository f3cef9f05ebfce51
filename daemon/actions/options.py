"""Options of a step: checked at load as far as they can be, rendered and checked whole for each delivery."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined
from yarl import URL

from hookline.daemon.actions.fields import Path, escaping_of, fields_by_key, is_address
from hookline.plugins import Event
from hookline.rules.event import Json
from hookline.rules.interpolation import Lookup, UnsetError, interpolate
from hookline.rules.problem import dotted
from hookline.rules.template import CompiledOptions, compile_options, has_template, leading_literal

_AUTHORITY = re.compile(r"(?P<origin>[A-Za-z][A-Za-z0-9+.-]*://[^/?#\\\s]+)(?P<rest>[/?#].*)?", re.DOTALL)
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_MOST_ERRORS = 5

#: A host that the operator wrote literally, and its port; None: any port.
Target = tuple[str, int | None]
Escaping = Callable[[str], str]


class OptionsError(ValueError):
    """Rendered options are not what the action takes. Caught by the runner: the attempt has failed for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedOptions:
    """Options of one step, laid over its destination's, compiled for rendering."""

    model: type[BaseModel]
    #: By the escaping that texts of the event get: most fields have none.
    groups: Mapping[Escaping | None, CompiledOptions]
    #: Leaves that hold a template.
    computed: frozenset[Path]
    #: What may be dialled wherever it lies.
    targets: frozenset[Target]
    #: Values of `${NAME}` and `${file:…}`, to be hidden.
    secrets: frozenset[str]
    #: The whole, once known, if nothing in it is computed.
    constant: list[BaseModel] = field(default_factory=list, compare=False)

    def fill_in(self, variables: Mapping[str, Any]) -> BaseModel:
        """Render and validate. Raises `TemplateError` and `OptionsError`."""
        if self.computed:
            return self.validate(self.render(variables))
        # The same for every event: validated once, and each attempt gets a copy of its own, if it could change it.
        if not self.constant:
            self.constant.append(self.validate(self.render(variables)))
        options = self.constant[0]
        return options if options.model_config.get("frozen") else options.model_copy()

    def render(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in the templates. Raises `TemplateError`."""
        rendered: dict[str, Any] = {}
        for escaping, compiled in self.groups.items():
            seen = variables if escaping is None else _escaped(variables, escaping)
            values = compiled.render(seen)
            assert isinstance(values, dict)  # noqa: S101 - options are a mapping, and rendering keeps shapes
            rendered |= values
        return rendered

    def validate(self, rendered: dict[str, Any]) -> BaseModel:
        """Return the options as the action's own model. Raises `OptionsError`."""
        context = {"computed": frozenset(str(path[0]) for path in self.computed)}
        try:
            return self.model.model_validate(rendered, context=context)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)
        # A template that is one whole {{ … }} keeps its type: a number becomes a text where a text is asked for.
        for problem in first:
            if problem["type"] == "string_type":
                _write_as_text(rendered, data_path(problem["loc"], rendered), self.computed)
        try:
            return self.model.model_validate(rendered, context=context)
        except ValidationError as error:
            second = error.errors(include_url=False, include_input=False)
        said = [f"{dotted(data_path(one['loc'], rendered)) or 'options'}: {message_of(one)}" for one in second]
        raise OptionsError("; ".join(dict.fromkeys(said[:_MOST_ERRORS])))


def prepare(model: type[BaseModel], options: Mapping[str, Any], lookup: Lookup) -> PreparedOptions:
    """Compile options for rendering. Raises `TemplateError` for a bad template or a `${NAME}` that is not set."""
    whole = with_templated_defaults(model, options)
    fields = fields_by_key(model)
    split: dict[Escaping | None, dict[str, Any]] = {}
    for key, value in whole.items():
        mark = escaping_of(fields[key]) if key in fields else None
        split.setdefault(mark.by if mark else None, {})[key] = value
    groups = {escaping: compile_options(part, lookup) for escaping, part in split.items()}
    return PreparedOptions(
        model=model,
        groups=groups,
        computed=frozenset(path for path, leaf in leaves(whole) if isinstance(leaf, str) and has_template(leaf)),
        targets=literal_targets(model, whole, lookup),
        secrets=frozenset().union(*(compiled.secrets for compiled in groups.values())),
    )


def with_templated_defaults(model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Add defaults that hold templates, so that they are rendered as if the rule had written them."""
    whole = dict(options)
    for key, known in fields_by_key(model).items():
        default = known.get_default(call_default_factory=False)
        if key in options or default is None or default is PydanticUndefined:
            continue
        if any(isinstance(leaf, str) and has_template(leaf) for _, leaf in leaves(default)):
            whole[key] = default
    return whole


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value that holds no others, with its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def literal_targets(model: type[BaseModel], options: Mapping[str, Any], lookup: Lookup) -> frozenset[Target]:
    """Return the hosts that the operator wrote: decided on the text before rendering, up to its first template.

    Fields marked `Address` count, with their defaults; in a model without marks, whatever begins with a URL.
    """
    fields = fields_by_key(model)
    marked = {key for key, field in fields.items() if is_address(field)}
    defaults = {key: fields[key].get_default(call_default_factory=False) for key in marked if key not in options}
    found: set[Target] = set()
    for path, leaf in leaves({**defaults, **options}):
        if not isinstance(leaf, str) or (marked and path[0] not in marked):
            continue
        literal = leading_literal(leaf)
        try:
            text = interpolate(literal, lookup) if literal else None
        except UnsetError:
            continue
        if isinstance(text, str):
            target = target_of(text, is_whole=literal == leaf)
            # Inside a marked mapping stand other things as well, which name no host.
            if target is not None and ("://" in text or (marked and len(path) == 1)):
                found.add(target)
    return frozenset(found)


def target_of(text: str, *, is_whole: bool) -> Target | None:
    """Return the host and port that a literal beginning names; None if a template could still change them.

    `https://a.example` before a template may become `https://a.example.evil.example`: it must be closed by
    `/`, `?` or `#`, or be the whole text.
    """
    if "://" in text:
        found = _AUTHORITY.match(text)
        if found is None or not (found["rest"] or (is_whole and found.end() == len(text))):
            return None
        try:
            url = URL(found["origin"])
            return (url.raw_host.lower(), url.port) if url.raw_host and url.port else None
        except ValueError:
            return None
    plain = _HOST_AND_PORT.fullmatch(text) if is_whole else None
    if plain is None:
        return None
    return plain["host"].strip("[]").lower(), int(plain["port"]) if plain["port"] else None


def checkable(options: Any, lookup: Lookup, unchecked: set[Path], path: Path = ()) -> Any:
    """Resolve `${…}` where it can be; collect in `unchecked` the leaves whose value is not known before a delivery."""
    match options:
        case Mapping():
            return {key: checkable(item, lookup, unchecked, (*path, key)) for key, item in options.items()}
        case list() | tuple():
            return [checkable(item, lookup, unchecked, (*path, index)) for index, item in enumerate(options)]
        case str() if has_template(options):
            unchecked.add(path)
        case str():
            try:
                return interpolate(options, lookup)
            except UnsetError:
                unchecked.add(path)
    return options


def type_errors(model: type[BaseModel], options: Any, unchecked: set[Path]) -> list[tuple[Path, str]]:
    """Validate what is known before a delivery; errors about unchecked leaves are left out."""
    try:
        model.model_validate(options, context={"computed": frozenset(str(path[0]) for path in unchecked)})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    else:
        return []
    kept: dict[Path, str] = {}
    excused = {data_path(one["loc"], options) for one in details} & unchecked
    for one in details:
        path = data_path(one["loc"], options)
        # A union is tried branch by branch: if one branch failed only for a template inside, the others do not count.
        is_excused = path in unchecked or any(_is_inside(place, path) for place in excused)
        if not is_excused:
            kept.setdefault(path, message_of(one))
    # Of a union's branches, the one that got deepest is the one that was meant.
    return [(path, said) for path, said in kept.items() if not any(_is_inside(other, path) for other in kept)]


def _is_inside(path: Path, holder: Path) -> bool:
    return bool(holder) and len(path) > len(holder) and path[: len(holder)] == holder


def data_path(location: Sequence[str | int], data: Any) -> Path:
    """Return the part of pydantic's location that is in the data: tags of unions and validators are not."""
    path: list[str | int] = []
    rest = list(location)
    for number, step in enumerate(rest):
        is_key = isinstance(data, Mapping) and step in data
        is_index = isinstance(data, list | tuple) and isinstance(step, int) and step < len(data)
        if is_key or is_index:
            data = data[step]
            path.append(step)
        elif isinstance(data, Mapping) and number == len(rest) - 1:
            path.append(step)  # what is missing is named too
    return tuple(path)


def message_of(error: ErrorDetails) -> str:
    """Return pydantic's message in our words."""
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "string_type":
        return "should be text"
    return error["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _write_as_text(rendered: Any, path: Path, computed: frozenset[Path]) -> None:
    if path not in computed:
        return
    holder = rendered
    for step in path[:-1]:
        holder = holder[step]
    value = holder[path[-1]]
    if value is None:
        holder[path[-1]] = ""
    elif isinstance(value, bool | int | float):
        holder[path[-1]] = json.dumps(value)


def _escaped(variables: Mapping[str, Any], escaping: Escaping) -> Mapping[str, Any]:
    """Return the variables with every text of the event escaped; what the operator wrote stays."""
    escaped = dict(variables)
    if "events" in variables:
        escaped["events"] = tuple(_escape_event(event, escaping) for event in variables["events"])
    if "event" in variables:
        event = escaped["event"] = _escape_event(variables["event"], escaping)
        escaped["payload"] = event.payload
    if "previous" in variables:
        escaped["previous"] = _escape_deep(variables["previous"], escaping)
    return escaped


def _escape_event(event: Event, escaping: Escaping) -> Event:
    return replace(
        event,
        source=escaping(event.source),
        type=escaping(event.type),
        sender_id=event.sender_id and escaping(event.sender_id),
        key=escaping(event.key),
        tenant=event.tenant and escaping(event.tenant),
        subject=event.subject and escaping(event.subject),
        headers={name: escaping(value) for name, value in event.headers.items()},
        query={name: escaping(value) for name, value in event.query.items()},
        client_ip=escaping(event.client_ip),
        payload=_escape_deep(event.payload, escaping),
        envelope=_escape_deep(event.envelope, escaping),
    )


def _escape_deep(value: Json, escaping: Escaping) -> Json:
    match value:
        case str():
            return escaping(value)
        case list():
            return [_escape_deep(item, escaping) for item in value]
        case dict():
            # Keys are looked up by name, and few templates write them; those that loop over them get them escaped too.
            return {escaping(key): _escape_deep(item, escaping) for key, item in value.items()}
        case _:
            return value
