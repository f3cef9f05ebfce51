"""The Jinja environment of templates: data and text, nothing that reaches the program, the clock, or chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from functools import partial
from typing import Any, NoReturn

from jinja2 import StrictUndefined, UndefinedError, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from hookline.rules import filters
from hookline.rules.event import Event


def names_in(text: str) -> frozenset[str]:
    """Read a list of names that is written as a line."""
    return frozenset(text.split())


#: What `event.` may be followed by.
EVENT_FIELDS = frozenset(field.name for field in fields(Event))

#: Jinja's own filters that neither grow without bound nor reach chance; the rest are ours or left out.
_JINJA_FILTERS = names_in(
    "abs capitalize count d default dictsort e escape first float int items last length list lower map max min "
    "reject rejectattr reverse select selectattr sort sum title trim truncate unique upper urlencode wordcount"
)
_OUR_FILTERS = {
    "format": filters.format_filter,
    "groupby": filters.groupby,
    "indent": filters.indent,
    "join": filters.join,
    "mask": filters.mask,
    "number": filters.number,
    "replace": filters.replace,
    "round": filters.round_number,
    "sha256": filters.sha256,
    "string": filters.text_of,
    "tojson": filters.tojson,
}
#: Put into the tree by the compiler; a template cannot name them.
_INNER_FILTERS = {"hookline_each": filters.each, "hookline_text": filters.text_of}

#: What a template may reach on a value that is no mapping. Left out: what formats, multiplies or tells the time.
_ATTRIBUTES: tuple[tuple[type, frozenset[str]], ...] = (
    (
        str,
        names_in(
            "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace "
            "istitle isupper lower lstrip partition removeprefix removesuffix replace rfind rpartition rsplit rstrip "
            "split splitlines startswith strip swapcase title upper"
        ),
    ),
    (datetime, names_in("year month day hour minute second date time isoformat strftime timestamp weekday")),
    (date, names_in("year month day isoformat strftime weekday isoweekday")),
    (time, names_in("hour minute second isoformat")),
    (timedelta, names_in("days seconds total_seconds")),
    (filters.Group, names_in("grouper list")),
    (
        LoopContext,
        names_in("changed cycle depth first index index0 last length nextitem previtem revindex revindex0"),
    ),
)

#: Methods that people know from Python, and what to write here, where `payload.items` is the key.
_INSTEAD = {
    "get": 'write payload["name"] | default("")',
    "items": "loop over `payload | items`",
    "keys": "loop over the mapping itself",
    "values": "loop over `payload | items`",
    "format": 'write "%s" | format(value)',
    "join": 'write list | join(", ")',
    "append": "templates cannot change data",
}

#: Integers beyond this many bits are not computed.
_MAX_BITS = 1024


class Missing(str):
    """The message of an error about a missing value, with what it was looked for in and by which name."""

    __slots__ = ("name", "value")

    #: What was looked into; `jinja2.runtime.missing` if nothing was.
    value: Any
    name: Any


class MissingValue(StrictUndefined):
    """Stands for a value that is not there, and says so at any use of it but `default` and `is defined`."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        message = Missing(self._undefined_hint or missing_text("it", self._undefined_obj, self._undefined_name))
        message.value = self._undefined_obj
        message.name = None if self._undefined_hint else self._undefined_name
        return message


def missing_text(base: str, value: Any, name: Any) -> str:
    """Say that `base`, which is `value`, has no `name`, and what it has instead."""
    if value is missing:
        return f'there is no "{name}" here'
    if isinstance(value, Mapping):
        known = [str(key) for key in value]
        text = f'{base} has no "{name}"' + (f" (it has: {_listed(known)})" if known else " (it is empty)")
        near = get_close_matches(str(name), known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else _INSTEAD.get(str(name))
    elif isinstance(value, Event):
        text = f'{base} has no "{name}" (it has: {_listed(sorted(EVENT_FIELDS), 20)})'
        near = get_close_matches(str(name), EVENT_FIELDS, n=1)
        hint = f'did you mean "{near[0]}"?' if near else None
    elif isinstance(value, list | tuple) and not isinstance(name, str):
        text, hint = f"{base} has no item {name} (it has {len(value)})", None
    else:
        text = f'{base} is {_kind(value)}, so it has no "{name}"'
        hint = _INSTEAD.get(str(name))
        if hint is None and isinstance(value, list):
            hint = f"take one item ({base}[0]) or loop over them"
    return f"{text}; {hint}" if hint else text


def _listed(names: list[str], most: int = 12) -> str:
    shown = ", ".join(name[:60] for name in names[:most])
    return f"{shown}, … {len(names) - most} more" if len(names) > most else shown


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a time" if isinstance(value, datetime) else f"a {type(value).__name__}"


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Jinja as templates get it: `payload.items` is the key, and nothing is computed that could stall us."""

    intercepted_binops = frozenset(("*", "**", "%", "+"))

    def __init__(self) -> None:
        """Keep of Jinja's globals none, of its filters a list."""
        super().__init__(
            undefined=MissingValue,
            finalize=_finalize,
            # Folding would compute `"a" * 1000000000` while the template is being compiled.
            optimized=False,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            # A text that ends in a newline keeps it: in YAML it was written with `|`.
            keep_trailing_newline=True,
            cache_size=0,
        )
        self.globals.clear()
        known = dict(self.filters)
        self.filters = {name: known[name] for name in _JINJA_FILTERS} | _OUR_FILTERS | _INNER_FILTERS

    @property
    def public_filters(self) -> list[str]:
        """The filters that a template may name."""
        return sorted(self.filters.keys() - _INNER_FILTERS.keys())

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Resolve `obj.attribute`."""
        if isinstance(obj, Mapping):
            return self._key(obj, attribute)
        if isinstance(obj, MissingValue):
            _fail(obj)
        if isinstance(obj, Event):
            return getattr(obj, attribute) if attribute in EVENT_FIELDS else self._missing(obj, attribute)
        for kind, allowed in _ATTRIBUTES:
            if isinstance(obj, kind):
                if attribute not in allowed:
                    break
                if isinstance(obj, str) and attribute == "replace":
                    return partial(filters.replace, obj)
                return getattr(obj, attribute)
        return self._missing(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Resolve `obj[argument]`."""
        if isinstance(obj, Mapping):
            return self._key(obj, argument)
        if isinstance(obj, MissingValue):
            _fail(obj)
        if isinstance(obj, str | list | tuple) and isinstance(argument, int | slice):
            try:
                return obj[argument]
            except IndexError:
                return self._missing(obj, argument)
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        return self._missing(obj, argument)

    def _key(self, obj: Mapping[Any, Any], key: Any) -> Any:
        try:
            return obj[key]
        except (KeyError, TypeError):  # TypeError: a list or mapping as key.
            return self._missing(obj, key)

    def _missing(self, obj: Any, name: Any) -> MissingValue:
        return MissingValue(obj=obj, name=name)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute, unless the result could be huge."""
        del context
        if operator == "**":
            raise SecurityError("** is not part of Hookline's templates")
        if operator == "%" and isinstance(left, str):
            return filters.format_percent(left, right)
        if operator == "*":
            for side in (left, right):
                if not isinstance(side, int | float | MissingValue):
                    raise TypeError(f"* multiplies numbers only, not {_kind(side)}")
        elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            filters.check_length(len(left) + len(right))
        result = self.binop_table[operator](left, right)
        if isinstance(result, int) and result.bit_length() > _MAX_BITS:
            raise OverflowError("the number has more than 300 digits")
        return result


@pass_context  # Jinja then leaves constants alone until a template runs, where the bounds hold.
def _finalize(context: Context, value: Any) -> str:
    del context
    return filters.text_of(value)


def _fail(value: MissingValue) -> NoReturn:
    str(value)
    raise UndefinedError  # Never reached: a missing value raises when it is written.
