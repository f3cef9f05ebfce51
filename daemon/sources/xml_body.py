"""Read XML as a mapping that rules can look into. Nothing that XML could fetch, define or expand is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn
from xml.parsers import expat

from hookline.rules import Json

_WHITESPACE: Final = " \t\r\n"


class XmlError(ValueError):
    """What is wrong with the XML, for people."""


def read_xml(body: bytes, *, max_depth: int, max_values: int) -> Json:
    """Return `{root: …}`. Raises `XmlError` and nothing else.

    Attributes are `@name`, text is `#text`; an element that holds only text is that text, without white space at its
    ends, and an empty one null. Children of one name are a list if there are several. Names keep their prefixes.
    Refused are: a DTD, entities but the five, encodings but UTF-8, more levels than `max_depth` once read, and more
    elements and attributes than `max_values`.
    """
    if b"\x00" in body:
        raise XmlError("not UTF-8")
    reader = _Reader(max_depth, max_values)
    # UTF-8 whatever the document says: another encoding is refused where it is declared.
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    parser.XmlDeclHandler = reader.declaration
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        said = expat.errors.messages.get(error.code, "it cannot be read")
        raise XmlError(f"not XML: {said} (line {error.lineno}, column {error.offset + 1})") from error
    return reader.document()


class _Element:
    """An element whose end has not come."""

    __slots__ = ("members", "repeated", "text")

    def __init__(self) -> None:
        self.members: dict[str, Json] = {}
        self.repeated: set[str] = set()
        self.text: list[str] = []

    def add(self, name: str, value: Json) -> None:
        if name not in self.members:
            self.members[name] = value
            return
        known = self.members[name]
        if name in self.repeated and isinstance(known, list):
            known.append(value)
        else:
            self.members[name] = [known, value]
            self.repeated.add(name)

    def value(self) -> Json:
        text = "".join(self.text).strip(_WHITESPACE)
        if not self.members:
            return text or None
        return {**self.members, "#text": text} if text else self.members


class _Reader:
    """What expat calls."""

    def __init__(self, max_depth: int, max_values: int) -> None:
        self._max_depth = max_depth
        self._max_values = max_values
        self._count = 0
        self._deepest = 0
        self._open = [_Element()]

    def start(self, _name: str, attributes: list[str]) -> None:
        self._count += 1 + len(attributes) // 2
        if self._count > self._max_values:
            raise XmlError(f"more than {self._max_values:,} values")
        # The outermost mapping, and the element's own.
        self._deepest = max(self._deepest, len(self._open) + 1)
        if len(self._open) > self._max_depth:
            self._refuse_depth()
        element = _Element()
        for at in range(0, len(attributes), 2):
            element.members[f"@{attributes[at]}"] = attributes[at + 1]
        self._open.append(element)

    def end(self, name: str) -> None:
        element = self._open.pop()
        self._open[-1].add(name, element.value())

    def text(self, text: str) -> None:
        self._open[-1].text.append(text)

    def refuse_doctype(self, *_: object) -> NoReturn:
        raise XmlError("a DTD, which is not read: send XML without <!DOCTYPE>")

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in {"utf-8", "utf8", "us-ascii"}:
            raise XmlError(f"encoding {encoding[:40]!a}: send UTF-8")

    def document(self) -> Json:
        """Return what was read. Raises `XmlError` if it is too deep with the lists that it became."""
        document = self._open[0].members
        # A list adds a level, so half as many elements cannot be too deep.
        if self._deepest * 2 > self._max_depth and _depth(document) > self._max_depth:
            self._refuse_depth()
        return document

    def _refuse_depth(self) -> NoReturn:
        raise XmlError(f"more than {self._max_depth} levels deep")


def _depth(value: Json | Mapping[str, Json]) -> int:
    # Not deep itself: `start` has refused what would be.
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
