"""When the watchdog is fed, and what is said when it is not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from hookline.daemon.systemd.heartbeat import LONGEST_WITHOUT_WORKER, Heartbeat, Signs
from hookline.daemon.systemd.notify import Notify

INTERVAL = timedelta(seconds=30)
NOTHING = timedelta(0)


class Fed(Notify):
    """Counts how often the watchdog was fed."""

    count = 0

    def alive(self) -> None:
        self.count += 1


@dataclass
class Daemon:
    owes: timedelta = NOTHING
    without: timedelta = NOTHING
    has_work: bool = False

    def heart(self, fed: Fed) -> Heartbeat:
        signs = Signs(store_owes=lambda: self.owes, without_worker=lambda: self.without, has_work=lambda: self.has_work)
        return Heartbeat(INTERVAL, notify=fed, signs=signs, log=structlog.get_logger())


@pytest.mark.parametrize(
    ("daemon", "missing"),
    [
        (Daemon(), ""),
        (Daemon(owes=INTERVAL / 2), ""),
        (Daemon(owes=INTERVAL), "the store has not answered for 30 s"),
        # Nobody waits for a worker.
        (Daemon(without=LONGEST_WITHOUT_WORKER * 2), ""),
        # They are being restarted.
        (Daemon(without=LONGEST_WITHOUT_WORKER / 2, has_work=True), ""),
        (
            Daemon(without=LONGEST_WITHOUT_WORKER * 2, has_work=True),
            "deliveries wait, and no worker has come up for 200 s",
        ),
    ],
)
def test_feeds_only_while_there_is_progress(daemon: Daemon, missing: str) -> None:
    fed = Fed()
    heart = daemon.heart(fed)
    with capture_logs() as logs:
        heart.beat()
        heart.beat()
    assert heart.missing() == missing
    assert fed.count == (0 if missing else 2)
    # Once, not at each beat.
    assert [(one["event"], one["why"]) for one in logs] == ([("watchdog.starving", missing)] if missing else [])


def test_feeds_again_when_it_goes_on_and_says_it_anew_when_it_stops_again() -> None:
    fed, daemon = Fed(), Daemon(owes=INTERVAL)
    heart = daemon.heart(fed)
    with capture_logs() as logs:
        heart.beat()
        daemon.owes = NOTHING
        heart.beat()
        daemon.owes = INTERVAL
        heart.beat()
    assert (fed.count, len(logs)) == (1, 2)
