"""The installed command with short leases, so that a test need not wait for a minute.

python short_leases.py LEASE_S NODE_LEASE_S WORD…
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from hookline.daemon.commands import main
from hookline.daemon.lanes.policy import Pace
from hookline.daemon.nodes.membership import NodePace


def _set(kind: Any, **values: timedelta) -> None:
    """Let it be made with other defaults."""
    defaults = kind.__init__.__kwdefaults__
    assert defaults.keys() >= values.keys()
    defaults.update(values)


if __name__ == "__main__":
    lease, node_lease = (timedelta(seconds=float(word)) for word in sys.argv[1:3])
    _set(Pace, lease=lease)
    _set(NodePace, lease=node_lease, every=node_lease / 5)
    del sys.argv[1:3]
    main()
