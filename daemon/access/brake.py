"""A brake on guessing tokens: whoever sends wrong ones is told to wait."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import Final

from structlog.typing import FilteringBoundLogger

#: Wrong tokens that an address may send in a minute.
MOST_WRONG: Final = 10
_MINUTE_S: Final = 60.0
#: Addresses that are remembered; the one that failed longest ago goes first.
_MOST_ADDRESSES: Final = 4_096
_HOME_BITS: Final = 64


class Brake:
    """Counts wrong tokens by address.

    It stands in the way of requests that fail, never of a good token: behind a proxy or a gateway many people share an
    address, and one of them who guesses must not lock the others out. Tokens are too long to be guessed at any speed;
    what the brake protects is the log, the processor, and short tokens that somebody chose themselves.
    """

    def __init__(
        self, *, monotonic: Callable[[], float], log: FilteringBoundLogger, on_wrong: Callable[[], None] = lambda: None
    ) -> None:
        """`monotonic` returns seconds; `on_wrong` is called for each wrong token."""
        self._monotonic = monotonic
        self._log = log
        self._on_wrong = on_wrong
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()
        self._told_at: float | None = None

    def wait(self, address: str) -> timedelta | None:
        """Return how long that address has to wait before it may fail again; None: it may."""
        times = self._wrong.get(_home(address))
        if times is None or len(times) < MOST_WRONG:
            return None
        left = times[0] + _MINUTE_S - self._monotonic()
        return timedelta(seconds=left) if left > 0 else None

    def failed(self, address: str) -> None:
        """Count a wrong token."""
        self._on_wrong()
        home, now = _home(address), self._monotonic()
        times = self._wrong.setdefault(home, deque(maxlen=MOST_WRONG))
        times.append(now)
        self._wrong.move_to_end(home)
        if len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)
        if len(times) == MOST_WRONG and now - times[0] < _MINUTE_S:
            self._tell(address, now)

    def _tell(self, address: str, now: float) -> None:
        # One line a minute: who guesses must not fill the log.
        if self._told_at is not None and now - self._told_at < _MINUTE_S:
            return
        self._told_at = now
        self._log.warning(
            "admin.guessing",
            client_ip=address,
            next_step="if that is none of your programs, let the admin listener be reached from fewer places",
        )


def _home(address: str) -> str:
    """Return what counts as one address: of IPv6 the network, for one machine has as many addresses as it likes."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(int(parsed) >> _HOME_BITS) if isinstance(parsed, IPv6Address) else address
