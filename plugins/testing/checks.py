"""The conformance suite of actions: what each promises, as checks that say what is wrong and how to mend it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, get_args

from pydantic import SecretBytes, SecretStr

from hookline.plugins.delivery import Delivery
from hookline.plugins.errors import PermanentError, TransientError
from hookline.plugins.testing import http_checks
from hookline.plugins.testing.deliveries import delivery
from hookline.plugins.testing.fake_server import Answer, FakeServer
from hookline.plugins.testing.running import Bench, Named, Ran, load, run

#: What a rule would write; of an action that speaks HTTP, made from the URL of a server that plays the other side.
Written: TypeAlias = "Mapping[str, Any] | Callable[[str], Mapping[str, Any]]"

_OK: Final = Answer()
_SECRET_NAME: Final = re.compile(r"(?:.*_)?(?:password|passphrase|secret|token|api_?key|authorization|credentials?)")
_FORESEEN: Final = (TransientError, PermanentError, TimeoutError)
#: Payloads that some sender does send.
_ODD_PAYLOADS: Final[tuple[Any, ...]] = (
    None,
    "text",
    [],
    {},
    [1, 2.5, True, None],
    {"text": "<b>&\"'{{ 7 * 7 }}\u2028\ud800\x00\r\nBcc: a@b.example"},
    {"deep": [[[[[[{"x": "y" * 5000}]]]]]]},
)


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of an action. Call it: it raises `AssertionError` if the promise is not kept."""

    name: str
    _call: Callable[[], None]

    def __call__(self) -> None:
        """Check it."""
        self._call()

    def __str__(self) -> str:
        """Return the promise: pytest shows it as the test's id."""
        return self.name


def checks(
    action: Named, options: Written | None = None, *, success: Answer = _OK, skip: tuple[str, ...] = ()
) -> list[Check]:
    """Return the suite for an action: a file, a module, or the name of one that is installed.

    `options`: complete ones; left out, it needs none. `success`: what the other side answers when all is well.
    `skip`: names of checks that are not meant to hold. Raises `ValueError` for a name that is none.
    """
    suite = _Suite(action, options or {}, success)
    found = [*suite.of_any()]
    if callable(options):
        found += [Check(name, check) for name, check in http_checks.of(action, options, success)]
    unknown = set(skip) - {check.name for check in found}
    if unknown:
        raise ValueError(f"no check is called {min(unknown)!r}; there are: {', '.join(map(str, found))}")
    return [check for check in found if check.name not in skip]


def check_action(
    action: Named, options: Written | None = None, *, success: Answer = _OK, skip: tuple[str, ...] = ()
) -> None:
    """Check all promises, as `checks`. Raises one `AssertionError` that names every one that is not kept."""
    broken = []
    for check in checks(action, options, success=success, skip=skip):
        try:
            check()
        except AssertionError as error:
            broken.append(f"{check}: {error}")
    if broken:
        raise AssertionError("\n".join(broken))


class _Suite:
    """What holds of every action."""

    def __init__(self, action: Named, options: Written, success: Answer) -> None:
        self._named = action
        self._options = options
        self._success = success

    def of_any(self) -> Iterator[Check]:
        yield Check("it loads and takes these options", self._loads)
        yield Check("it is described", self._is_described)
        yield Check("its secrets are SecretStr", self._keeps_secrets)
        yield Check("it returns a note or nothing", self._returns_a_note)
        yield Check("it prints nothing", self._prints_nothing)
        yield Check("it leaves the event as it is", self._leaves_the_event)
        yield Check("it takes any event", self._takes_any_event)

    @property
    def _bench(self) -> Bench:
        return load(self._named)

    def _run(self, one: Delivery | None = None) -> Ran:
        if not callable(self._options):
            return run(self._named, self._options, one)
        with FakeServer(self._success) as server:
            return run(self._named, self._options(server.url), one)

    def _loads(self) -> None:
        options = self._options("http://127.0.0.1:1") if callable(self._options) else self._options
        mistakes = self._bench.mistakes(options)
        _demand(not mistakes, f"hookline check refuses these options: {'; '.join(mistakes)}")

    def _is_described(self) -> None:
        module = self._bench.module
        _demand(
            (module.__doc__ or "").strip(), "begin the file with a docstring: hookline plugins shows its first line"
        )
        _demand(_own_doc(module.Options), 'Options has no docstring: """What a rule may write under …"""')
        _demand((module.deliver.__doc__ or "").strip(), "deliver has no docstring: say what it does")
        bare = [name for name, field in module.Options.model_fields.items() if not field.description]
        hint = 'write Field(description="…"): editors, the docs and hookline plugins show it'
        _demand(not bare, f"{_listed(bare)} of Options {'is' if len(bare) == 1 else 'are'} not described: {hint}")

    def _keeps_secrets(self) -> None:
        fields = self._bench.module.Options.model_fields
        named = [name for name in fields if _SECRET_NAME.fullmatch(name.lower())]
        bare = [name for name in named if not _holds_secret(fields[name].annotation)]
        hint = "declare it as SecretStr, so that it is hidden wherever an attempt is shown"
        _demand(not bare, f"{_listed(bare)} of Options may be a secret: {hint}")

    def _returns_a_note(self) -> None:
        ran = self._run()
        is_well = ran.returned is None or isinstance(ran.returned, str)
        _demand(
            is_well, f"deliver returned {type(ran.returned).__name__}: return a short text for the attempt, or nothing"
        )

    def _prints_nothing(self) -> None:
        ran = self._run()
        _demand(not ran.printed, f"it printed {ran.printed[:60]!r}: use context.log, which knows the delivery")

    def _leaves_the_event(self) -> None:
        one = delivery()
        before = copy.deepcopy(one.event)
        self._run(one)
        _demand(one.event == before, "it changed the event, which other steps share: change a copy")

    def _takes_any_event(self) -> None:
        made = [delivery(payload) for payload in _ODD_PAYLOADS]
        made.append(delivery(body=b"\xff\x00not JSON", content_type="application/octet-stream"))
        for one in [*made, delivery(events=[{"id": "1"}, {"id": "2"}])]:
            ran = self._run(one)
            unforeseen = ran.raised is not None and not isinstance(ran.raised, _FORESEEN)
            what = "a digest" if one.events else f"the payload {one.event.payload!r}"[:120]
            _demand(
                not unforeseen,
                f"with {what} it raised {type(ran.raised).__name__}: {ran.raised}; what it cannot deliver is a "
                "PermanentError that says why",
            )


def _holds_secret(annotation: Any) -> bool:
    return annotation in (SecretStr, SecretBytes) or any(map(_holds_secret, get_args(annotation)))


def _own_doc(model: type) -> str:
    return (vars(model).get("__doc__") or "").strip()


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _demand(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
