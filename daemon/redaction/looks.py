"""What a text looks like, wherever it stands: e-mail addresses, tokens, telephone, card and account numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import re2

Look = Literal["email", "secret", "card", "iban", "phone"]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX: Final = re.compile(r"[0-9a-f]{32,}|[0-9A-F]{32,}")
_CARD_BEGINS: Final = re.compile(r"3[47]|4|5[1-5]|2[2-7]|6")
#: Fewer different characters are a pattern, such as a line of dashes.
_FEWEST_DIFFERENT: Final = 12
_FEWEST_IN_HEX: Final = 8


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text."""

    look: Look
    start: int
    end: int


def spans_in(text: str) -> list[Span]:
    """Return what a text holds that is nobody's business, in order; no two overlap."""
    found: list[Span] = []
    taken = bytearray(len(text))
    for look, pattern, holds in _PATTERNS:
        for match in pattern.finditer(text):
            start, end = match.span(pattern.groups)
            if not any(taken[start:end]) and holds(text[start:end]):
                found.append(Span(look, start, end))
                taken[start:end] = b"\1" * (end - start)
    return sorted(found, key=lambda span: span.start)


def passes_luhn(digits: str) -> bool:
    """Whether a card number's last digit fits the others (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def passes_mod_97(iban: str) -> bool:
    """Whether an account number's check digits fit the rest (ISO 13616)."""
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def _is_card(text: str) -> bool:
    digits = text.replace(" ", "").replace("-", "")
    return bool(_CARD_BEGINS.match(digits)) and passes_luhn(digits)


def _is_iban(text: str) -> bool:
    return passes_mod_97(text.replace(" ", ""))


def _is_random(text: str) -> bool:
    """Whether it is a token of some kind: of characters that no word and no id has together."""
    if _UUID.fullmatch(text):
        return False
    if _HEX.fullmatch(text):
        return not text.isdecimal() and len(set(text)) >= _FEWEST_IN_HEX
    kinds = any(map(str.isupper, text)) and any(map(str.islower, text)) and any(map(str.isdecimal, text))
    return kinds and len(set(text)) >= _FEWEST_DIFFERENT


def _always(_text: str) -> bool:
    return True


# RE2, as bodies are what strangers wrote: its time grows with the text and no faster. Of a pattern with a group, the
# group is what is replaced.
_READ: Final[tuple[tuple[Look, str, Callable[[str], bool]], ...]] = (
    ("secret", r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*", _always),
    (
        "secret",
        (
            r"\b(?:whsec_|sk_|pk_|rk_|sk-|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|xapp-|AKIA|ASIA|ya29\.|AIza|SG\."
            r"|shp[a-z]{2}_|npm_|pypi-|dop_v1_|hf_)[A-Za-z0-9+/=_.\-]{8,}"
        ),
        _always,
    ),
    ("secret", r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9+/=_.~\-]{8,})", _always),
    (
        "secret",
        (
            r"(?i)[?&;][^=&#\s]*(?:token|secret|passw|api_?-?key|access_key|signature|sig|auth|jwt)[^=&#\s]*="
            r"([^&#\s\"'<>]+)"
        ),
        _always,
    ),
    ("secret", r"://[^/\s:@]*:([^/\s@]+)@", _always),
    ("email", r"[^\s@<>\"'`,;:()\[\]{}|=&?/\\]+@[^\s@<>\"'`,;:()\[\]{}|=&?/\\]+\.\p{L}{2,}", _always),
    ("iban", r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", _is_iban),
    ("card", r"\b[0-9](?:[ -]?[0-9]){12,18}\b", _is_card),
    ("phone", r"\+[0-9][0-9 ().\-/]{6,18}[0-9]", _always),
    ("secret", r"[A-Za-z0-9+=_\-]{28,}", _is_random),
    ("secret", r"[A-Za-z0-9+/=]{40,}", _is_random),
)
_PATTERNS: Final = tuple((look, re2.compile(pattern), holds) for look, pattern, holds in _READ)
