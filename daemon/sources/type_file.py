"""Read a source type's file, built in or a user's: strictly, every mistake with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from hookline.daemon.sources.fresh import RENEWALS, compile_header, compile_renewal
from hookline.daemon.sources.options import Options, Path, kind_of
from hookline.daemon.sources.placed import placed
from hookline.daemon.sources.places import parse_direct
from hookline.daemon.sources.port import OptionProblem
from hookline.daemon.sources.source_type import COMMON_OPTIONS, OptionSlot, SampleForm, SourceType, places, put
from hookline.rules import Json
from hookline.rules.document import Entries, Findings, Scalar
from hookline.rules.reader import read_bytes
from hookline.rules.suggestion import suggest

#: What a source type's file is called after its name.
SUFFIX: Final = ".source.yaml"
#: Larger ones hold something else.
MAX_FILE_BYTES: Final = 1 << 20
# A name with dots in it stands in quotes, as in handshake.0.when.'header.X-Origin'.
_STEP: Final = re.compile(r"'([^']+)'|([^.]+)")

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_OPTION: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_METHOD: Final = re.compile(r"[A-Z]{1,20}")


def read_type(  # noqa: PLR0913 - a file, where it is from, and where its mistakes go
    name: str, data: bytes, *, file: str, origin: str, findings: Findings, is_ours: bool = False
) -> SourceType | None:
    """Read a source type from its file's bytes; None, with findings, if something is wrong.

    `is_ours`: a test checks the declaration, so it need not be done at each start.
    """
    before = len(findings.problems)
    document = read_bytes(data, file, findings)
    if document is None:
        return None
    if not isinstance(document, Entries):
        is_empty = isinstance(document, Scalar) and document.value is None
        message = "the file is empty" if is_empty else "a source type is a mapping: key: value"
        findings.error(document, message, "begin with title:, and look at docs/source-types.md")
        return None
    problems: list[OptionProblem] = []
    if not _NAME.fullmatch(name):
        message = f'"{name[:80]}" cannot be the name of a source type'
        problems.append(OptionProblem(path=(), message=message, hint="use small letters, digits, - and _"))
    read = _read(name, cast("dict[str, Json]", document.plain()), origin, problems)
    if not problems and not is_ours:
        problems += check_declaration(read)
    findings.problems.extend(placed(problem, document) for problem in problems)
    return read if len(findings.problems) == before else None


def _read(name: str, values: Mapping[str, Json], origin: str, problems: list[OptionProblem]) -> SourceType:
    options = Options(values, (), problems)
    for key in ("title", "about", "declaration"):
        if key not in options:
            options.missing(key, "docs/source-types.md says what stands there")
    declaration = options.below("declaration", hint="write verify: and event: in it")
    slots = _read_slots(options)
    sample = options.below("sample", hint="write headers: and fresh: in it") or Options({}, ("sample",), problems)
    read = SourceType(
        name=name,
        title=options.text("title", ""),
        about=options.text("about", ""),
        setup=_texts(options, "setup", is_required=True),
        options=slots,
        one_of=_texts(options, "one_of"),
        declaration=cast("dict[str, Json]", values["declaration"]) if declaration else {},
        event_types=_texts(options, "event_types") if "event_types" in options else None,
        sample=_read_sample(sample, SampleForm()),
        samples=_mapping(options, "samples"),
        rule=options.text("rule", ""),
        origin=origin,
    )
    options.finish()
    _check_one_of(read, options)
    if declaration is not None and not problems:
        _check_targets(read, options)
    return read


def _read_slots(options: Options) -> dict[str, OptionSlot]:
    below = options.below("options", hint="write an option's name, and {to: [verify.secret], about: …}")
    if below is None:
        if "options" not in options:
            options.missing("options", "write options: {} if there are none")
        return {}
    slots = {}
    for name in cast("dict[str, Json]", options.get("options")):
        one = below.below(name, hint="write {to: [verify.secret], about: …}")
        if name in COMMON_OPTIONS or not _OPTION.fullmatch(name):
            why = "every source has it" if name in COMMON_OPTIONS else "use small letters, digits and _"
            below.problem(name, f'"{name[:60]}" cannot be the name of an option', why)
        elif one is not None:
            slots[name] = _read_slot(one)
    return slots


def _read_slot(one: Options) -> OptionSlot:
    if "about" not in one:
        one.missing("about", "say in a sentence what is to be written")
    values = _mapping(one, "values") if "values" in one else None
    slot = OptionSlot(
        to=_targets(one, "to", is_required=True),
        about=one.text("about", ""),
        is_required=_flag(one, "is_required"),
        values=values,
        is_list=_flag(one, "is_list"),
        unused=_targets(one, "unused"),
        example=one.get("example"),
    )
    if slot.is_list and values is None:
        one.problem("is_list", "it needs `values`", "without values, a list goes there as it is written")
    if slot.is_required and slot.unused:
        one.problem("unused", "the option is required, so it is always given", "take one of the two away")
    one.finish()
    return slot


def _targets(options: Options, key: str, *, is_required: bool = False) -> tuple[Path, ...]:
    return tuple(_target(text) for text in _texts(options, key, is_required=is_required))


def _target(text: str) -> Path:
    steps = _STEP.findall(text)
    return tuple(quoted or (int(bare) if bare.isdigit() else bare) for quoted, bare in steps) or (text,)


def _texts(options: Options, key: str, *, is_required: bool = False) -> tuple[str, ...]:
    if key not in options:
        if is_required:
            options.missing(key, "write a list, even of one")
        return ()
    if not isinstance(options.get(key), list):
        options.problem(key, f"expected a list of texts, saw {kind_of(options.get(key))}", "write a list, even of one")
        return ()
    found = options.texts(key) or ()
    if len(set(found)) < len(found):
        options.problem(key, "something stands twice in the list", "take one away")
    return found


def _flag(options: Options, key: str) -> bool:
    value = options.get(key)
    if key in options and not isinstance(value, bool):
        options.problem(key, f"expected true or false, saw {kind_of(value)}")
    return value is True


def _mapping(options: Options, key: str) -> dict[str, Json]:
    return cast("dict[str, Json]", options.get(key)) if options.below(key, hint="write key: value") is not None else {}


def _text_mapping(options: Options, key: str, default: Mapping[str, str]) -> Mapping[str, str]:
    if key not in options:
        return default
    found = {}
    below = options.below(key, hint="write name: text")
    for name in _mapping(options, key) if below else ():
        if below:
            found[name] = below.text(name, "")
    return found


def _read_sample(options: Options, default: SampleForm, *, is_exception: bool = False) -> SampleForm:
    headers = _text_mapping(options, "headers", default.headers)
    for name, template in headers.items():
        _try(compile_header, template, ("headers", name), options)
    fresh = _text_mapping(options, "fresh", default.fresh)
    for path, renewal in fresh.items():
        if not path.startswith("$") or not parse_direct(path):
            message = f"{path[:60]!r} is no path of names, indexes and [*]"
            options.problems.append(OptionProblem(path=(*options.path_of("fresh"), path), message=message))
        _try(compile_renewal, renewal, ("fresh", path), options)
    form = SampleForm(
        headers=headers,
        fresh=fresh,
        content_type=options.text("content_type", default.content_type),
        method=options.text("method", default.method),
    )
    if not _METHOD.fullmatch(form.method):
        options.problem("method", f"{form.method[:40]!r} is no method", "write it in capitals, such as POST")
    exceptions = {}
    below = None if is_exception else options.below("exceptions", hint="write an event type, and what is otherwise")
    for name in _mapping(options, "exceptions") if below else ():
        one = below.below(name, hint="write headers:, fresh:, content_type: or method:") if below else None
        if one is not None:
            exceptions[name] = _read_sample(one, form, is_exception=True)
    options.finish()
    return replace(form, exceptions=exceptions)


def _try(compiled: Any, text: str, path: Path, options: Options) -> None:
    try:
        compiled(text)
    except ValueError as error:
        where = (*options.path_of(str(path[0])), *path[1:])
        hint = f"there are: {', '.join(RENEWALS)}"
        options.problems.append(OptionProblem(path=where, message=str(error), hint=hint))


def _check_one_of(read: SourceType, options: Options) -> None:
    for number, name in enumerate(read.one_of):
        if name not in read.options:
            hint = suggest(name, read.options, what="options")
            problem = OptionProblem(path=("one_of", number), message=f"no option {name[:60]!r}", hint=hint)
            options.problems.append(problem)


def _check_targets(read: SourceType, options: Options) -> None:
    """Find places that are neither in the declaration nor in what an option brings."""
    shapes = list(_shapes(read))
    for name, slot in read.options.items():
        for key, targets in (("to", slot.to), ("unused", slot.unused)):
            for number, target in enumerate(targets):
                if not any(any(places(shape, target)) for shape in shapes):
                    shown = ".".join(map(str, target))
                    message = f"there is no place {shown[:80]!r} in the declaration"
                    hint = "what its last name stands in must be written in `declaration`, or be brought by `values`"
                    where = ("options", name, key, number)
                    options.problems.append(OptionProblem(path=where, message=message, hint=hint))


def _shapes(read: SourceType) -> Iterator[Json]:
    yield dict(read.declaration)
    for slot in read.options.values():
        for part in (slot.values or {}).values():
            shape: Any = _copied(read.declaration)
            for target in slot.to:
                for place in list(places(shape, target)):
                    put(shape, place, [_copied(part)] if slot.is_list else _copied(part))
            yield shape


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def check_declaration(read: SourceType) -> list[OptionProblem]:
    """Return what is wrong with the declaration however its options are filled in."""
    from hookline.daemon.sources.declaration import read_declaration  # noqa: PLC0415 - slow, and built-in ones are right

    found: list[OptionProblem] = []
    filled = _copied({name: value for name, value in read.declaration.items() if value is not None})
    read_declaration(filled, has_public_url=True, problems=found)
    targets = [target for slot in read.options.values() for target in slot.to]
    return [
        OptionProblem(path=("declaration", *problem.path), message=problem.message, hint=problem.hint)
        for problem in found
        if not any(_is_left_to(target, problem) for target in targets)
    ]


def _is_left_to(target: Path, problem: OptionProblem) -> bool:
    """Whether the problem is that an option's place is empty."""
    if problem.path == target:
        return True
    is_at = len(problem.path) == len(target) - 1 and all(
        wanted in (step, "*") for wanted, step in zip(target, problem.path, strict=False)
    )
    return is_at and problem.message.startswith(f"`{target[-1]}` is missing")
