"""Modifiers and bounds as a person writes them in YAML: to be shown, compared, and read again."""

from __future__ import annotations

from collections.abc import Sequence

from hookline.rules.event import Json
from hookline.rules.policies import Bounds, Breaker, Changed, Digest, Modifiers, Once, RetryPolicy, Selectors
from hookline.rules.units import format_duration


def written_modifiers(modifiers: Modifiers) -> dict[str, Json]:
    """Return what was said, by its name; the defaults of its parts are written out."""
    said = modifiers
    every: dict[str, Json] = {
        "retry": None if said.retry is None else _retry(said.retry),
        "timeout": None if said.timeout is None else format_duration(said.timeout),
        "dry_run": said.dry_run,
        "delay": None if said.delay is None else format_duration(said.delay),
        "order_by": None if said.order_by is None else _one_or_many(said.order_by),
        "once": None if said.once is None else _once(said.once),
        "digest": None if said.digest is None else _digest(said.digest),
        "changed": None if said.changed is None else _changed(said.changed),
        "during": None if said.during is None else _one_or_many(said.during),
    }
    return {name: value for name, value in every.items() if value is not None}


def written_bounds(bounds: Bounds) -> dict[str, Json]:
    """Return what bounds a destination, by its name; what does not bound it is left out."""
    written: dict[str, Json] = {}
    if bounds.rate is not None:
        written["rate"] = str(bounds.rate)
    if bounds.hold_during:
        written["hold"] = {"during": _one_or_many(bounds.hold_during)}
    written["breaker"] = "none" if bounds.breaker is None else _breaker(bounds.breaker)
    written["failure_budget"] = format_duration(bounds.failure_budget)
    return written


def _retry(policy: RetryPolicy) -> Json:
    written: dict[str, Json] = {
        "schedule": [format_duration(wait) for wait in policy.schedule],
        "jitter": _share(policy.jitter),
        "retry_unknown": "always" if policy.retry_unknown else "never",
    }
    if policy.on is not None:
        written["on"] = [low if low == high else f"{low}-{high}" for low, high in policy.on]
    if policy.give_up_after is not None:
        written["give_up_after"] = format_duration(policy.give_up_after)
    return written


def _once(once: Once) -> Json:
    return {"per": _one_or_many(once.per), "within": format_duration(once.within), "summary": once.summary}


def _digest(digest: Digest) -> Json:
    written: dict[str, Json] = {"every": format_duration(digest.every)}
    if digest.per:
        written["per"] = _one_or_many(digest.per)
    return {**written, "max": digest.max, "on_stop": "flush" if digest.flush_on_stop else "keep"}


def _changed(changed: Changed) -> Json:
    written: dict[str, Json] = {"of": changed.of, "per": _one_or_many(changed.per)}
    if changed.from_ is not None:
        written["from"] = list(changed.from_)
    if changed.to is not None:
        written["to"] = list(changed.to)
    return {**written, "first": changed.first}


def _breaker(breaker: Breaker) -> Json:
    return {
        "share": _share(breaker.share),
        "of": breaker.least,
        "within": format_duration(breaker.within),
        "pause": format_duration(breaker.pause),
    }


def _share(share: float) -> str:
    return f"{share:.5%}".rstrip("0%").rstrip(".") + "%" if share else "0%"


def _one_or_many(texts: Selectors | Sequence[str]) -> Json:
    return texts[0] if len(texts) == 1 else list(texts)
