"""Modifiers as a step keeps them: durations in seconds, what was not said left out.

The digest of a step is made of this, and steps kept by earlier versions are read back: a key is never renamed, and a
value that stands for the default is never added.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hookline.rules.policies import Changed, Digest, Modifiers, Once, RetryPolicy


def to_kept(modifiers: Modifiers) -> dict[str, Any]:
    """Return modifiers as JSON; `from_kept` reads them back."""
    kept: dict[str, Any] = {}
    if modifiers.retry is not None:
        kept["retry"] = _retry(modifiers.retry)
    if modifiers.timeout is not None:
        kept["timeout"] = modifiers.timeout.total_seconds()
    if modifiers.dry_run is not None:
        kept["dry_run"] = modifiers.dry_run
    if modifiers.delay is not None:
        kept["delay"] = modifiers.delay.total_seconds()
    if modifiers.order_by is not None:
        kept["order_by"] = list(modifiers.order_by)
    if modifiers.once is not None:
        once = modifiers.once
        kept["once"] = {"per": list(once.per), "within": once.within.total_seconds(), "summary": once.summary}
    if modifiers.digest is not None:
        kept["digest"] = _digest(modifiers.digest)
    if modifiers.changed is not None:
        kept["changed"] = _changed(modifiers.changed)
    if modifiers.during is not None:
        kept["during"] = list(modifiers.during)
    return kept


def from_kept(kept: Mapping[str, Any]) -> Modifiers:
    """Read back what `to_kept` made."""
    return Modifiers(
        retry=_read_retry(kept["retry"]) if "retry" in kept else None,
        timeout=_seconds(kept, "timeout"),
        dry_run=kept.get("dry_run"),
        delay=_seconds(kept, "delay"),
        order_by=_tuple(kept, "order_by"),
        once=_read_once(kept["once"]) if "once" in kept else None,
        digest=_read_digest(kept["digest"]) if "digest" in kept else None,
        changed=_read_changed(kept["changed"]) if "changed" in kept else None,
        during=_tuple(kept, "during"),
    )


def _retry(policy: RetryPolicy) -> dict[str, Any]:
    kept: dict[str, Any] = {
        "schedule": [wait.total_seconds() for wait in policy.schedule],
        "jitter": policy.jitter,
        "retry_unknown": policy.retry_unknown,
    }
    if policy.on is not None:
        kept["on"] = [list(statuses) for statuses in policy.on]
    if policy.give_up_after is not None:
        kept["give_up_after"] = policy.give_up_after.total_seconds()
    return kept


def _read_retry(kept: Mapping[str, Any]) -> RetryPolicy:
    return RetryPolicy(
        schedule=tuple(timedelta(seconds=wait) for wait in kept["schedule"]),
        jitter=kept["jitter"],
        retry_unknown=kept["retry_unknown"],
        on=tuple((low, high) for low, high in kept["on"]) if "on" in kept else None,
        give_up_after=_seconds(kept, "give_up_after"),
    )


def _read_once(kept: Mapping[str, Any]) -> Once:
    return Once(per=tuple(kept["per"]), within=timedelta(seconds=kept["within"]), summary=kept["summary"])


def _digest(digest: Digest) -> dict[str, Any]:
    return {
        "every": digest.every.total_seconds(),
        "per": list(digest.per),
        "max": digest.max,
        "flush_on_stop": digest.flush_on_stop,
    }


def _read_digest(kept: Mapping[str, Any]) -> Digest:
    return Digest(
        every=timedelta(seconds=kept["every"]),
        per=tuple(kept["per"]),
        max=kept["max"],
        flush_on_stop=kept["flush_on_stop"],
    )


def _changed(changed: Changed) -> dict[str, Any]:
    kept: dict[str, Any] = {"of": changed.of, "per": list(changed.per), "first": changed.first}
    if changed.from_ is not None:
        kept["from"] = list(changed.from_)
    if changed.to is not None:
        kept["to"] = list(changed.to)
    return kept


def _read_changed(kept: Mapping[str, Any]) -> Changed:
    return Changed(
        of=kept["of"],
        per=tuple(kept["per"]),
        from_=_tuple(kept, "from"),
        to=_tuple(kept, "to"),
        first=kept["first"],
    )


def _seconds(kept: Mapping[str, Any], name: str) -> timedelta | None:
    return timedelta(seconds=kept[name]) if name in kept else None


def _tuple(kept: Mapping[str, Any], name: str) -> tuple[Any, ...] | None:
    return tuple(kept[name]) if name in kept else None
