"""What an author tests an action with: a conformance suite, deliveries, a scripted server, and a run as the daemon's.

Needs no test framework. With pytest, one test a promise:

    @pytest.mark.parametrize("check", checks(PLUGIN, lambda url: {"url": url}), ids=str)
    def test_it_keeps_its_promises(check: Check) -> None:
        check()
"""

from hookline.plugins.testing.checks import Check, check_action, checks
from hookline.plugins.testing.deliveries import delivery
from hookline.plugins.testing.fake_server import Answer, FakeServer, SeenRequest
from hookline.plugins.testing.running import Ran, run

__all__ = [
    "Answer",
    "Check",
    "FakeServer",
    "Ran",
    "SeenRequest",
    "check_action",
    "checks",
    "delivery",
    "run",
]
