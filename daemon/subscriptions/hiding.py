"""Keeps credentials out of everything that is printed."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

from hookline.daemon.log import printable
from hookline.daemon.secrets import masked

# A secret of fewer characters is shown by its length alone.
_SHORTEST_SHOWN = 16


class HiddenTexts:
    """Texts that are never shown, in every encoding that a request or a message may hold them in."""

    def __init__(self) -> None:
        """Begin with none."""
        self._texts: set[str] = set()

    def add(self, text: str) -> None:
        """Hide a text from now on."""
        forms = {text, quote(text, safe=""), quote(text), quote_plus(text), json.dumps(text)[1:-1]}
        self._texts |= {*forms, json.dumps(text, ensure_ascii=False)[1:-1], printable(text)}

    def masked(self, text: str) -> str:
        """Return `text` with `***` in place of each hidden one."""
        return masked(text, self._texts)


def hint_of(secret: str) -> str:
    """Describe a secret by its first four characters and its length, so that two can be told apart."""
    begin = f"{secret[:4]}…, " if len(secret) >= _SHORTEST_SHOWN else ""
    return printable(f"{begin}{len(secret)} characters")
