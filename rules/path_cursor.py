"""A place in the text of a path, and the reading of what paths and filters share: blanks, names, quotes, indexes."""

from __future__ import annotations

import re
from typing import NoReturn

#: RFC 9535, 2.1: integers are those that every JSON library keeps exact.
_MAX_INTEGER = 2**53 - 1
_MAX_SHOWN = 60

_BLANK = re.compile(r"[ \t\n\r]*")
INTEGER = re.compile(r"-?[0-9]+")
_STRICT_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
# RFC 9535, 2.5.1.1, name-first and name-char; lone surrogates are no characters.
NAME = re.compile(r"[A-Za-z_\u0080-\ud7ff\ue000-\U0010ffff][0-9A-Za-z_\u0080-\ud7ff\ue000-\U0010ffff]*")
# What people write as a name and would have to quote: used for hints only.
LOOSE_NAME = re.compile(r"[^\s.\[\]()'\"]+")
_HEX = re.compile(r"[0-9A-Fa-f]{4}")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\"}


class PathError(ValueError):
    """A path that we do not accept. Caught by whoever parses rules, who reports it at its place."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Say what is wrong, and what to write instead."""
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class Cursor:
    """A place in the text of a path, and the reading of what paths and filters share."""

    def __init__(self, text: str) -> None:
        """Begin at the front."""
        self.text = text
        self.at = 0

    def fail(self, message: str, hint: str | None = None) -> NoReturn:
        """Raise a `PathError` that shows the path."""
        raise PathError(f"{shown(self.text)} is not a path: {message}", hint)

    def refuse(self, message: str, hint: str) -> NoReturn:
        """Raise a `PathError` for JSONPath that exists and that we do not take."""
        raise PathError(f"{shown(self.text)}: {message}", hint)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.text)

    def peek(self, length: int = 1) -> str:
        """Return the next characters; fewer at the end."""
        return self.text[self.at : self.at + length]

    def take(self, token: str) -> bool:
        """Step over `token` if it is next."""
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def match(self, pattern: re.Pattern[str]) -> str | None:
        """Step over what the pattern finds here."""
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def blanks(self) -> None:
        """Step over blanks, of which paths may have many."""
        self.match(_BLANK)

    def expect(self, token: str) -> None:
        """Step over `token`, or say that it is missing."""
        if not self.take(token):
            found = "it ends" if self.is_done else f"there is {shown(self.peek())}"
            self.fail(f'"{token}" is expected at character {self.at + 1}, where {found}')

    def integer(self) -> int:
        """Read an index or the part of a slice."""
        digits = self.match(INTEGER)
        if digits is None or not _STRICT_INTEGER.fullmatch(digits) or self.peek() in (".", "e", "E"):
            self.fail(f"{shown(digits or self.peek())} is not an index", "write whole numbers without leading zeros")
        # Counted before it is converted: `int` of very long text raises.
        if len(digits) > 17 or abs(int(digits)) > _MAX_INTEGER:
            self.fail(f"the index {digits[:20]} is too large")
        return int(digits)

    def name(self) -> str:
        """Read a name after a dot."""
        name = self.match(NAME)
        loose = LOOSE_NAME.match(self.text, self.at)
        if name is not None and (loose is None or loose.group()[0] not in "-@:$/"):
            return name
        start = self.at - len(name or "")
        written = self.text[start : loose.end()] if loose else ""
        if written.isdecimal():
            self.fail(f'a name cannot begin with a digit: "{shown(written)}"', f"write [{written[:20]}]")
        if written:
            self.fail(f'"{shown(written)}" must stand in quotes', f"write ['{shown(written)}'] without the dot")
        return self.fail(f"a name is expected at character {start + 1}")

    def quoted(self) -> str:
        """Read a text in quotes, with the escapes of RFC 9535, 2.3.1.1."""
        quote = self.peek()
        self.at += 1
        written: list[str] = []
        while not self.is_done:
            character = self.peek()
            self.at += 1
            if character == quote:
                return "".join(written)
            if character == "\\":
                character = self._escape(quote)
            elif character < " ":
                self.fail("control characters must be escaped in quotes", "write \\n, \\t or \\u0000")
            written.append(character)
        return self.fail(f"the quote {quote} is not closed")

    def _escape(self, quote: str) -> str:
        code = self.peek()
        self.at += 1
        if code == quote:
            return quote
        if code in _ESCAPES:
            return _ESCAPES[code]
        if code != "u":
            self.fail(f'"\\{shown(code)}" is not an escape', "write \\\\ for a backslash")
        unit = self._hex()
        if 0xD800 <= unit < 0xDC00 and self.take("\\u"):
            low = self._hex()
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= unit < 0xE000:
            self.fail("half of a surrogate pair is not a character")
        return chr(unit)

    def _hex(self) -> int:
        digits = self.match(_HEX)
        if digits is None:
            self.fail("\\u must be followed by four hexadecimal digits")
        return int(digits, 16)


def shown(text: str) -> str:
    """Write a piece of somebody's text so that it fits into a message and cannot forge a line."""
    clean = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text[:_MAX_SHOWN])
    return f"{clean}…" if len(text) > _MAX_SHOWN else clean
