"""What was refused of a source, gathered by cause, with what to do about each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from hookline.daemon.log import printable
from hookline.daemon.sources.port import Reason
from hookline.daemon.store.port import Reader
from hookline.daemon.store.stored import StoredRejection

#: Rows looked at of one source, each an hour of one cause: a month of all of them.
MOST_ROWS: Final = 5_000

#: By cause; `{name}` is the source.
NEXT_STEPS: Final[Mapping[Reason, str]] = {
    "signature": "compare the secret in the sender's settings with sources.{name}; a proxy in between must not "
    "change body or headers. To see one pass: hookline send {name}",
    "timestamp": "compare this machine's clock with a time server's (timedatectl); a request that is captured "
    "and sent again is too old",
    "certificate": "see that this machine may fetch HTTPS from the host that the detail names; the sender tries again",
    "handshake": "compare the word or token that was typed into the sender's form with sources.{name}",
    "body": "send JSON, a form or XML, uncompressed; the detail says what came instead",
    "method": "set the sender to POST; a browser that opens the URL is counted here as well",
    "path": "paste the whole URL into the sender's settings again: its last part is wrong or missing",
    "framing": "something between sender and Hookline breaks HTTP: look at the proxy, or at who probes the port",
    "limit": "raise `limits` in hookline.yaml if the sender really needs it",
    "quota": "the sender sends more than it may: wait, or raise its limit",
    "store": "see `hookline run`'s log and the store's disk or database; nothing is lost if the sender sends it again",
}

#: Where a cause has several: what the detail of the last one holds, and the step.
_STEPS_BY_DETAIL: Final[Mapping[Reason, Mapping[str, str]]] = {
    "signature": {
        "no secret was learned": "make the webhook at its sender anew: its first request brings the secret",
        "TopicArn is none": "write the topic into sources.{name}.topics if it is yours: anyone may send you theirs",
        "raw message delivery": "turn raw message delivery off in the subscription",
        " is missing": "it came unsigned: see that the sender signs, and that no proxy in between drops the header; "
        "or somebody else called the URL",
    },
    "handshake": {
        "no secret is waited for": "if that was your webhook: hookline sources {name} --await, then make it again",
    },
}
_URL_IS_SIGNED: Final = (
    "compare secret and URL in the sender's settings with sources.{name} and public_url: the URL is signed to the "
    "letter; a proxy in between must not change body or headers. To see one pass: hookline send {name}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Requests that were refused for one cause."""

    reason: str
    count: int
    #: How many of them in the last day, to the full hour.
    count_lately: int
    first_at: datetime
    last_at: datetime
    #: Of the last one, as is the address.
    detail: str
    client_ip: str

    def next_step(self, name: str, *, signs_url: bool = False) -> str:
        """Say what to do about it; `signs_url`: whether the source's sender signs the URL that it calls."""
        reason = next((one for one in NEXT_STEPS if one == self.reason), None)
        if reason is None:
            return ""
        special = _STEPS_BY_DETAIL.get(reason, {})
        step = next((special[part] for part in special if part in self.detail), None)
        if step is None:
            step = _URL_IS_SIGNED if signs_url and reason == "signature" else NEXT_STEPS[reason]
        return step.format(name=name)

    @property
    def what(self) -> str:
        """Say what was wrong with the last one, on one line."""
        # The sender is told that there is no such source, lest anybody learn which there are.
        return "not the source's whole URL" if self.reason == "path" else printable(self.detail)


async def refusals(reader: Reader, source: str, *, since: datetime, most_rows: int = MOST_ROWS) -> tuple[Refusal, ...]:
    """Return what was refused of a source, the latest cause first; `since` is where the last day begins."""
    return gathered(await reader.rejections(source=source, limit=most_rows), since=since)


def gathered(rows: Iterable[StoredRejection], *, since: datetime) -> tuple[Refusal, ...]:
    """Add up rows of hours by cause; rows and causes are the latest first."""
    found: dict[str, Refusal] = {}
    for row in rows:
        lately = row.count if row.last_at >= since else 0
        known = found.get(row.reason)
        if known is None:
            found[row.reason] = Refusal(
                reason=row.reason,
                count=row.count,
                count_lately=lately,
                first_at=row.first_at,
                last_at=row.last_at,
                detail=row.detail,
                client_ip=row.client_ip,
            )
        else:
            found[row.reason] = replace(
                known,
                count=known.count + row.count,
                count_lately=known.count_lately + lately,
                first_at=min(known.first_at, row.first_at),
            )
    return tuple(found.values())
