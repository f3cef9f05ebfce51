"""Read a source's options: every mistake is reported, with its place and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import timedelta

from hookline.daemon.sources.port import OptionProblem
from hookline.rules import Json
from hookline.rules.suggestion import did_you_mean, suggest
from hookline.rules.units import parse_duration, parse_rate

Path = tuple[str | int, ...]

_NOTHING = re.compile(r"\s*0+\s*/")

#: Shorter ones can be guessed.
MIN_SECRET_LENGTH = 8


def kind_of(value: Json) -> str:
    """Name a value's kind as people do."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "a mapping"


class Options:
    """One mapping of options; keeps what is wrong in `problems`, which all readers of a source share."""

    def __init__(self, values: Mapping[str, Json], path: Path, problems: list[OptionProblem]) -> None:
        """`path` is where the mapping stands below the source."""
        self._values = values
        self._path = path
        self._known: set[str] = set()
        self._missing: list[str] = []
        self.problems = problems

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def problem(self, key: str | None, message: str, hint: str | None = None, *, item: int | None = None) -> None:
        """Report a mistake at a key, or at the mapping; `item` is the number of the one in a key's list."""
        path = self._path if key is None else (*self._path, key)
        if item is not None and isinstance(self._values.get(key or ""), list):
            # Its own place: there a reference may stand that is not set here, or a secret that no message may show.
            path = (*path, item)
        self.problems.append(OptionProblem(path=path, message=message, hint=hint))

    def path_of(self, key: str) -> Path:
        """Return where a key stands."""
        return (*self._path, key)

    def get(self, key: str) -> Json:
        """Return a value as it is, None if it is not there."""
        self._known.add(key)
        return self._values.get(key)

    def missing(self, key: str, hint: str) -> None:
        """Report that a key must be there."""
        self._known.add(key)
        self._missing.append(key)
        self.problem(None, f"`{key}` is missing", hint)

    def text(self, key: str, default: str) -> str:
        """Read a text."""
        value = self.get(key)
        if value is None and key not in self._values:
            return default
        if not isinstance(value, str):
            self.problem(key, f"expected a text, saw {kind_of(value)}", _to_text(value))
            return default
        return value

    def choice(self, key: str, allowed: Collection[str], default: str) -> str:
        """Read one of a few words."""
        value = self.get(key)
        if value is None and key not in self._values:
            return default
        if not isinstance(value, str) or value not in allowed:
            said = f'"{value[:40]}"' if isinstance(value, str) else kind_of(value)
            hint = suggest(value, allowed, what="there are") if isinstance(value, str) else None
            self.problem(key, f"{said} is not known here", hint or f"there are: {', '.join(sorted(allowed))}")
            return default
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        """Read a text or a list of them; None if it is not there or wrong."""
        value = self.get(key)
        if key not in self._values:
            return None
        listed = value if isinstance(value, list) else [value]
        if not listed:
            self.problem(key, "the list is empty", "write at least one")
            return None
        texts = [item for item in listed if isinstance(item, str)]
        if len(texts) != len(listed):
            wrong = next(item for item in listed if not isinstance(item, str))
            self.problem(key, f"expected a text or a list of texts, saw {kind_of(wrong)}", _to_text(wrong))
            return None
        return tuple(texts)

    def secrets(self, key: str, *, least: int = MIN_SECRET_LENGTH) -> tuple[str, ...] | None:
        """Read one secret or several (rotation); None, and problems, if one of them is not fit to be one."""
        secrets = self.texts(key)
        if secrets is None:
            if key not in self._values:
                self.missing(key, "a source fails closed: give a secret, or write `verify: none` to accept anything")
            return None
        before = len(self.problems)
        for number, secret in enumerate(secrets):
            which = f"secret {number + 1} of {len(secrets)}" if len(secrets) > 1 else "the secret"
            if not secret.strip():
                hint = "is the variable that it comes from set, and to something?"
                self.problem(key, f"{which} is empty", hint, item=number)
            elif secret != secret.strip():
                hint = "take it off; was a line end copied with it?"
                self.problem(key, f"{which} begins or ends with white space", hint, item=number)
            elif len(secret) < least:
                message = f"{which} is shorter than {least} characters, which can be guessed"
                self.problem(key, message, "was it copied whole? else make a longer one", item=number)
        return secrets if len(self.problems) == before else None

    def duration(self, key: str) -> timedelta | None:
        """Read a duration such as `5m`; None if it is not there or wrong."""
        value = self.get(key)
        if key not in self._values:
            return None
        if not isinstance(value, str):
            hint = (
                f"write {value}s for seconds" if isinstance(value, int) and not isinstance(value, bool) else "as in 5m"
            )
            self.problem(key, f"expected a duration, saw {kind_of(value)}", hint)
            return None
        try:
            return parse_duration(value)
        except ValueError as error:
            self.problem(key, str(error))
            return None

    def rate(self, key: str) -> None:
        """Check a rate such as `50/s`, if it is there."""
        value = self.get(key)
        if key not in self._values:
            return
        if not isinstance(value, str):
            self.problem(key, f"expected a rate, saw {kind_of(value)}", "write how many in what time, as in 50/s")
        elif _NOTHING.match(value):
            self.problem(key, f'"{value[:40]}" lets nothing through', "take the source away if it is to take nothing")
        else:
            try:
                parse_rate(value)
            except ValueError as error:
                self.problem(key, str(error))

    def below(self, key: str, *, hint: str) -> Options | None:
        """Read a mapping; None if it is not there or wrong."""
        value = self.get(key)
        if key not in self._values:
            return None
        if not isinstance(value, dict):
            self.problem(key, f"expected a mapping, saw {kind_of(value)}", hint)
            return None
        return Options(value, self.path_of(key), self.problems)

    def finish(self, also: Collection[str] = (), inside: Mapping[str, Collection[str]] | None = None) -> None:
        """Report keys that nobody asked for; `inside` says which ones belong into a mapping that may stand here."""
        known = self._known | set(also)
        unknown = [key for key in self._values if key not in known]
        for key in unknown:
            hint = _misplaced(key, self._values[key], known, inside or {}) or did_you_mean(key, self._missing)
            if hint is None and len(unknown) == len(self._missing) == 1:
                # Senders have names of their own for it, such as auth_token.
                hint = f'did you mean "{self._missing[0]}"?'
            self.problem(key, f'unknown key "{key[:60]}"', hint or suggest(key, known, what="there are"))


def _misplaced(key: str, value: Json, known: Collection[str], inside: Mapping[str, Collection[str]]) -> str | None:
    if isinstance(value, dict) and value and set(value) <= set(known):
        return f"write what stands in it without {key[:60]}:, one level higher"
    above = next((name for name, keys in inside.items() if key in keys), None)
    return f"write it under {above}:" if above else None


def _to_text(value: Json) -> str:
    match value:
        case None:
            return "write it behind the colon, or take the key away"
        case dict() | list():
            return "write the text itself there"
        case _:
            return "put it in quotes"
