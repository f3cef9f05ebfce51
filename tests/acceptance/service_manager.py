"""What a service manager does for a process, as far as the process sees it: holds its sockets, hears how it stands."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Puts descriptors where the protocol wants them, names the process it becomes, and becomes it.
_BECOME = """
import os, sys
count = int(sys.argv[1])
for place, given in enumerate(sys.argv[2:2 + count]):
    os.dup2(int(given), 100 + place)
for place in range(count):
    os.dup2(100 + place, 3 + place)
    os.close(100 + place)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


@dataclass
class ServiceManager:
    """Stands in for systemd where that would only be in the way; tests/systemd has the real one."""

    #: Sockets to hand over, by name.
    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    #: All that was said, one message each.
    said: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ear: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # In the abstract namespace: the path of a test's folder may be too long for a socket.
        self._ear.bind(f"\0hookline-test-{os.getpid()}-{id(self)}")
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                said = self._ear.recv(4096).decode()
            except OSError:
                return
            with self._changed:
                self.said.append(said)
                self._changed.notify_all()

    def spawn(
        self, command: list[str], folder: Path, *, environ: Mapping[str, str] | None = None, log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command as a service; what was said before is forgotten."""
        self.said.clear()
        given = [str(one.fileno()) for one in self.sockets.values()]
        name = self._ear.getsockname()
        variables = {
            **os.environ,
            "NOTIFY_SOCKET": "@" + name[1:].decode(),
            "LISTEN_FDS": str(len(given)),
            "LISTEN_FDNAMES": ":".join(self.sockets),
            **(environ or {}),
        }
        with (log or folder / "log").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BECOME, str(len(given)), *given, *command],
                cwd=folder,
                env=variables,
                pass_fds=[one.fileno() for one in self.sockets.values()],
                stdout=out,
                stderr=out,
            )

    def hear(self, is_it: Callable[[str], bool], seconds: float = 60) -> str:
        """Return the first message that `is_it` accepts, said since the last start."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                found = next((one for one in self.said if is_it(one)), None)
                if found is not None:
                    return found
                left = deadline - time.monotonic()
                assert left > 0, f"never said: {self.said}"
                self._changed.wait(left)

    def hear_ready(self) -> str:
        """Wait until the service says that it is ready."""
        return self.hear(lambda said: "READY=1" in said.splitlines())

    def close(self) -> None:
        """Hear nothing more."""
        # Wakes the thread; closing alone would not.
        self._ear.shutdown(socket.SHUT_RDWR)
        self._ear.close()
