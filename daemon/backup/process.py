"""A backup in a process of its own, which the daemon starts: it costs the loop nothing, and ends with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from hookline.daemon.backup.archive import ArchiveError
from hookline.daemon.backup.making import Wanted, make_backup
from hookline.daemon.backup.quiet import give_way
from hookline.daemon.store.port import StoreError
from hookline.daemon.workers.confinement import confine, end_with, scrubbed


async def make_apart(wanted: Wanted, *, environ: Mapping[str, str]) -> dict[str, Any]:
    """Make a backup in another process; return what `Made.to_json` says. It is killed if the caller is cancelled.

    Call it in the main thread, with which it ends. Raises `StoreError` with the next step, and `OSError`.
    """
    order = {
        "store": str(wanted.store),
        "folder": str(wanted.folder),
        "keep": wanted.keep,
        "keep_free": wanted.keep_free,
    }
    ended = await anyio.run_process(
        [sys.executable, "-I", "-m", "hookline.daemon.backup.process", str(os.getpid())],
        input=json.dumps(order).encode(),
        check=False,
        stderr=subprocess.PIPE,
        env=scrubbed(environ),
        # Ctrl-C is for the daemon.
        start_new_session=True,
    )
    try:
        said: dict[str, Any] = json.loads(ended.stdout)
    except ValueError:
        last = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise StoreError(f"the backup's process ended with {ended.returncode}: {' '.join(last) or 'no word'}") from None
    if "why" in said:
        raise StoreError(said["why"], kind=said["kind"])
    return said


def main() -> None:
    """Be that process: the argument is the daemon's process id, the order comes on stdin."""
    end_with(int(sys.argv[1]))
    confine()
    give_way(has_own_session=True)
    order = json.load(sys.stdin)
    wanted = Wanted(
        store=Path(order["store"]), folder=Path(order["folder"]), keep=order["keep"], keep_free=order["keep_free"]
    )
    try:
        said = make_backup(wanted).to_json()
    except StoreError as error:
        said = {"why": str(error), "kind": error.kind}
    except ArchiveError as error:
        said = {"why": str(error), "kind": "other"}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
