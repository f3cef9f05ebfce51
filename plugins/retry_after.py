"""Read a `Retry-After` header (RFC 9110, 10.2.3) without believing it blindly."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

#: No answer may put a delivery off for longer.
LONGEST_RETRY_AFTER = timedelta(hours=24)

# `int()` would also take "1_0", "-1", " 1 " and other scripts' digits.
_SECONDS = re.compile(r"[0-9]{1,7}", re.ASCII)
# IMF-fixdate, the only form that senders may generate.
_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT", re.ASCII)


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> timedelta | None:
    """Return how long to wait, clamped to 0 … 24 h; None if the value is absent or not readable.

    `now` is needed for dates only; the current time if left out.
    """
    if value is None:
        return None
    value = value.strip(" \t")
    if _SECONDS.fullmatch(value):
        return min(timedelta(seconds=int(value)), LONGEST_RETRY_AFTER)
    if not _DATE.fullmatch(value):
        return None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    wait = moment - (now or datetime.now(UTC))
    return max(timedelta(0), min(wait, LONGEST_RETRY_AFTER))
