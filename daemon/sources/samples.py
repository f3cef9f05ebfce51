"""Samples: realistic requests, signed as their sender would, to try rules with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from hookline.daemon.sources.build import declared_source
from hookline.daemon.sources.declaration import read_declaration
from hookline.daemon.sources.declared import DeclaredSource
from hookline.daemon.sources.drafts import (
    Draft,
    bare_draft,
    changed_draft,
    draft_of,
    given_draft,
    path_of,
    with_query,
)
from hookline.daemon.sources.fresh import Moment
from hookline.daemon.sources.port import LearnedSecrets, OptionProblem, SourceSettings
from hookline.daemon.sources.proofs import CannotProveError
from hookline.daemon.sources.sample_files import sample_names
from hookline.daemon.sources.source_type import Filled, SourceType
from hookline.daemon.sources.types import BUILT_IN, SourceTypes
from hookline.rules.suggestion import suggest

#: The type of a sample where nothing says one.
ANY_TYPE: Final = "sample.created"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Only for reading a declaration: a sample is never stored.
_WHATEVER: Final = timedelta(days=1)
_MOST_EVENTS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A request, ready to be sent to the public listener."""

    method: str = "POST"
    #: With the query, if there is one.
    path: str
    headers: Mapping[str, str]
    body: bytes
    #: The header that proves the sender; "" if something else does, or nothing.
    proof: str
    #: The body without what proves the sender, if that stands in it.
    unproved: bytes | None = None
    #: Whether anything tells its sender from a stranger: a proof, or a secret path.
    is_proved: bool = True


def sample_types(type_name: str, types: SourceTypes = BUILT_IN) -> list[str]:
    """Return the event types that there are samples of; the first is what is sent if none is asked for."""
    if type_name not in types or types.get(type_name).code:
        return []
    kind = types.get(type_name)
    names = sample_names(kind)
    more = [name for name in kind.event_types or () if name not in names]
    source = _reader(kind) if names and more else None
    if source is None:
        return list(names)
    moment = Moment(identity="sample", now=_EPOCH)
    return [*names, *(name for name in more if draft_of(kind, source, name, moment) is not None)]


def make_sample(  # noqa: PLR0913 - what a sample is made of, each once
    settings: SourceSettings,
    event_type: str | None,
    *,
    now: datetime,
    body: bytes | None = None,
    changes: tuple[str, ...] = (),
    fresh_id: str | None = None,
    public_url: str | None = None,
    types: SourceTypes = BUILT_IN,
    learned: LearnedSecrets | None = None,
) -> Sample:
    """Make a request that the source accepts at `now`.

    A sample's ids and times are renewed, so that it is no duplicate of one made at another time (some senders' keys
    hold nothing finer than a second) or, where the sender gives ids, with another `fresh_id`. A `body` is sent as it
    is. `changes`, such as `data.total=5000`, are made before it is signed. `public_url` is the configuration's, which
    some senders sign. Raises `ValueError`, with a message for people, for an event type without a sample, a change
    that cannot be made, and where the configuration alone cannot sign.
    """
    kind = types.get(settings.type)
    if kind.code is not None:
        raise ValueError(f"{kind.origin} brings the source type {kind.name}, and no samples with it")
    source = declared_source(settings, types=types, batch_limit=_MOST_EVENTS, dedupe_window=_WHATEVER, learned=learned)
    moment = Moment(identity=fresh_id or f"sample-{(now - _EPOCH) // timedelta(microseconds=1)}", now=now)
    if body is not None:
        draft = given_draft(kind, source, body, event_type, moment)
    elif sample_names(kind):
        wanted = event_type or sample_names(kind)[0]
        found = draft_of(kind, source, wanted, moment)
        if found is None:
            raise ValueError(f'no sample "{wanted}"; {_next_step(wanted, kind, types)}')
        draft = found
    else:
        split = settings.options.get("split") or kind.declaration.get("split")
        draft = bare_draft(kind, source, event_type or ANY_TYPE, moment, split=split)
    if changes:
        draft = changed_draft(draft, changes)
    return _signed(replace(draft, public_url=public_url))


def _next_step(wanted: str, kind: SourceType, types: SourceTypes) -> str:
    known = sample_types(kind.name, types)
    return suggest(wanted, known, what="there are") or "`hookline send SOURCE --types` lists those that there are"


def forge(sample: Sample) -> Sample:
    """Return the sample with a wrong signature, or as a stranger would send it."""
    if sample.proof:
        right = sample.headers[sample.proof]
        # Not the last character: in base64 it may hold bits that say nothing.
        at = max(0, len(right) - 4)
        wrong = right[:at] + ("b" if right[at] == "a" else "a") + right[at + 1 :]
        return replace(sample, headers={**sample.headers, sample.proof: wrong})
    if sample.unproved is not None:
        return replace(sample, body=sample.unproved)
    path, mark, _ = sample.path.partition("?")
    return replace(sample, path=f"{path}?" if mark else f"{path.rstrip('/')}/forged")


def _signed(draft: Draft) -> Sample:
    request = draft.request()
    try:
        proof = draft.source.declaration.verification.verifier.prove(request)
    except CannotProveError as error:
        raise ValueError(f"a sample of {draft.source.name} cannot be signed: {error}") from error
    return Sample(
        method=request.method,
        path=with_query(path_of(draft.source), {**dict(request.query), **proof.query}),
        headers={**dict(request.headers), **proof.headers},
        body=draft.body if proof.body is None else proof.body,
        proof=list(proof.headers)[-1] if proof.headers else "",
        unproved=None if proof.body is None else draft.body,
        is_proved=bool(proof.headers or proof.query or proof.body is not None or draft.source.path_token),
    )


def _reader(kind: SourceType) -> DeclaredSource | None:
    """Return what reads a type's events, without a secret; None if that takes an option of the user's."""
    said = {name: value for name, value in kind.declaration.items() if name not in {"verify", "handshake", "answer"}}
    problems: list[OptionProblem] = []
    filled = Filled(kind.options, copy.deepcopy(said), set()).declaration
    declaration = read_declaration({**filled, "verify": "none"}, has_public_url=True, problems=problems)
    if declaration is None:
        return None
    return DeclaredSource(
        name=kind.name,
        declaration=declaration,
        path_token=None,
        batch_limit=_MOST_EVENTS,
        dedupe_window=_WHATEVER,
        expect_every=None,
    )
