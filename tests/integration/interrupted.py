"""Runs a restore in a process that ends, as if killed, at one of its steps on the disk: `interrupted.py N BACKUP STORE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hookline.daemon.backup.offline import locked
from hookline.daemon.backup.replacing import contents_there
from hookline.daemon.backup.restoring import restore, unpacked

_STEPS = frozenset(
    ("os.rename", "os.link", "os.remove", "os.chmod", "os.chown", "os.mkdir", "os.rmdir", "sqlite3.connect")
)


def main() -> None:
    left = int(sys.argv[1])
    backup, store = map(Path, sys.argv[2:])

    def count(event: str, _arguments: object) -> None:
        nonlocal left
        if event in _STEPS:
            left -= 1
            if left == 0:
                os._exit(9)

    sys.addaudithook(count)
    with locked(store), unpacked(backup, store) as found:
        contents_there(store)
        restore(found, store, backup=backup, who="test", hold=False)


main()
