"""Values that stand in for others: of the same shape, never the same, and the same one wherever the value stands.

They are counted out, not computed from what they stand for: a replaced telephone number can be tried by nobody against
all that there are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Final

from hookline.daemon.redaction.keys import Kind
from hookline.daemon.redaction.looks import Look, passes_luhn, passes_mod_97, spans_in

_DOMAIN: Final = "example.com"
#: Tries to find one that is not taken, before it grows by a letter.
_TRIES: Final = 32
#: What says of which kind a token is, and is no secret itself.
_PREFIX: Final = re.compile(
    r"(?i:bearer|basic) +|(?:[a-z]{2,10}_){1,3}|gh[pousr]_|github_pat_|xox[a-z]-|glpat-|eyJ|sk-|AKIA|SG\."
)
_HEX: Final = re.compile(r"[0-9a-fA-F]{16,}")
_VOWELS: Final = "aeiou"
_CONSONANTS: Final = "bcdfghjklmnprstvwz"
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = "0123456789"
_IDEOGRAPHS: Final = "".join(map(chr, range(0x4E00, 0x4F00)))
_WORD: Final = re.compile(r"[^\W\d_]+")


class Disguise:
    """Makes stand-ins, and remembers them."""

    def __init__(self, taken: frozenset[str]) -> None:
        """`taken`: texts that no stand-in may be, as they stand in the document."""
        self._taken = set(taken)
        self._given: dict[tuple[str, str], str] = {}
        self._count = 0
        #: Whole values that have a stand-in wherever they stand.
        self.wholes: dict[str, str] = {}
        self._name_words: dict[str, str] = {}

    def whole(self, kind: Kind, text: str) -> str:
        """Return the stand-in of a value of this kind."""
        found = self.wholes.get(text)
        if found is None:
            inner = self.inside(text)
            # What looks like something keeps looking like it: an e-mail address under `contact`.
            found = inner if inner != text and kind != "secret" else self._make(kind, text)
            self.wholes[text] = found
        return found

    def inside(self, text: str) -> str:
        """Return a text with what looks like an address, a token or a number of that kind replaced in it."""
        pieces: list[str] = []
        end = 0
        for span in spans_in(text):
            pieces += [text[end : span.start], self._make(span.look, text[span.start : span.end])]
            end = span.end
        return "".join([*pieces, text[end:]])

    def without_names(self, text: str) -> str:
        """Return a text of several words with the words of names that are known by now replaced in it."""
        if not self._name_words or " " not in text:
            return text
        return _WORD.sub(lambda found: self._name_words.get(found[0], found[0]), text)

    def number(self, value: float) -> float:
        """Return a number with as many digits, none of which say anything."""
        written = repr(value)
        if "e" in written or "n" in written:
            return value
        return type(value)(self.whole("shape", written))

    def _make(self, kind: Kind | Look, text: str) -> str:
        if kind == "name":
            # Word by word: `Ada` and `Ada Lovelace` stay related.
            return _WORD.sub(lambda found: self._name_word(found[0]), text)
        given = self._given.get((kind, text))
        if given is None:
            given = self._given[kind, text] = self._free(_MAKERS[kind], text)
        return given

    def _name_word(self, word: str) -> str:
        if len(word) < 2:
            return self._initial(word)
        found = self._name_words.get(word)
        if found is None:
            found = self._name_words[word] = self._free(_pronounceable, word)
        return found

    def _initial(self, letter: str) -> str:
        """Return another letter; it is no word to look for in other texts, and may be that of another name too."""
        found = self._given.get(("initial", letter))
        if found is None:
            self._count += 1
            chance = _chance(f"{self._count}")
            made = (_like(letter, chance) for _ in range(_TRIES))
            found = self._given["initial", letter] = next((one for one in made if one != letter), letter)
        return found

    def _free(self, make: Callable[[str, Iterator[int]], str], text: str) -> str:
        """Make one that is not what it stands for, nor anything else there."""
        self._count += 1
        for attempt in range(_TRIES):
            made = make(text, _chance(f"{self._count} {attempt}"))
            if made != text and made not in self._taken:
                break
        else:
            made = f"{made}{self._count}"
        self._taken.add(made)
        return made


def _chance(seed: str) -> Iterator[int]:
    """Yield numbers below 256 without end, always the same for a seed."""
    block = 0
    while True:
        yield from hashlib.sha256(f"hookline {seed} {block}".encode()).digest()
        block += 1


def _one_of(characters: str, chance: Iterator[int]) -> str:
    return characters[(next(chance) << 8 | next(chance)) % len(characters)]


def _like(character: str, chance: Iterator[int], *, letters: str = _LETTERS) -> str:
    """Return another character of the same class; what is neither letter nor digit stays."""
    if character.isdigit():
        return _one_of(_DIGITS, chance)
    if not character.isalpha():
        return character
    if character.isupper():
        return _one_of(letters, chance).upper()
    return _one_of(letters if character.islower() else _IDEOGRAPHS, chance)


def _shaped(text: str, chance: Iterator[int]) -> str:
    made: list[str] = []
    for character in text:
        like = _like(character, chance)
        # A number keeps its length: none begins with a zero that did not.
        is_first = not (made and made[-1].isdigit())
        made.append("1" if character.isdigit() and is_first and character != "0" and like == "0" else like)
    return "".join(made)


def _pronounceable(text: str, chance: Iterator[int]) -> str:
    start = next(chance) % 2
    return "".join(
        _like(character, chance, letters=_VOWELS if (place + start) % 2 else _CONSONANTS)
        for place, character in enumerate(text)
    )


def _secret(text: str, chance: Iterator[int]) -> str:
    prefix = _PREFIX.match(text)
    kept = prefix[0] if prefix and len(prefix[0]) < len(text) else ""
    rest = text[len(kept) :]
    letters = _LETTERS[:6] if _HEX.fullmatch(rest) else _LETTERS
    return kept + "".join(_like(character, chance, letters=letters) for character in rest)


def _email(text: str, chance: Iterator[int]) -> str:
    return f"{_pronounceable(text.partition('@')[0], chance)}@{_DOMAIN}"


def _card(text: str, chance: Iterator[int]) -> str:
    """Return a card number that passes the same check."""
    made = text[0] + _shaped(text[1:-1], chance)
    digits = "".join(filter(str.isdigit, made))
    return made + next(last for last in _DIGITS if passes_luhn(digits + last))


def _iban(text: str, chance: Iterator[int]) -> str:
    """Return an account number of the same country that passes the same check."""
    rest = "".join(_like(character, chance) for character in text[4:])
    plain = rest.replace(" ", "")
    check = next(number for number in range(2, 99) if passes_mod_97(f"{text[:2]}{number:02}{plain}"))
    return f"{text[:2]}{check:02}{rest}"


_MAKERS: Final[dict[str, Callable[[str, Iterator[int]], str]]] = {
    "secret": _secret,
    "shape": _shaped,
    "phone": _shaped,
    "email": _email,
    "card": _card,
    "iban": _iban,
}
