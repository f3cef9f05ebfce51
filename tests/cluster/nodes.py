"""Daemon processes that share a database: started, killed, frozen, and noted in the history."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.acceptance.conftest import free_port
from tests.cluster.history import History
from tests.cluster.workload import RULES, TOKEN, config

_HERE: Final = Path(__file__).parent
_STARTS_WITHIN_S: Final = 60.0


class Node:
    """One daemon on a folder of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        store: str,
        destination: str,
        history: History,
        host: str = "127.0.0.1",
        inside: Sequence[str] = (),
        leases_s: tuple[float, float] = (6.0, 3.0),
    ) -> None:
        """`inside` is put before the command: to run it in a network of its own. `leases_s`: a claim's, a node's."""
        self.name, self.host, self.folder = name, host, folder
        self.port, self.admin = free_port(), free_port()
        self.child: subprocess.Popen[bytes] | None = None
        self._history = history
        words = [sys.executable, str(_HERE / "short_leases.py"), *map(str, leases_s), "run"]
        self._command = [*inside, *words]
        folder.mkdir()
        written = config(
            listen=f"{host}:{self.port}", admin=f"{host}:{self.admin}", store=store, destination=destination
        )
        (folder / "hookline.yaml").write_text(written)
        self.take_rules(RULES)
        shutil.copytree(_HERE / "plugins", folder / "plugins", ignore=shutil.ignore_patterns("__pycache__"))

    @property
    def is_up(self) -> bool:
        """True while its process lives."""
        return self.child is not None and self.child.poll() is None

    def take_rules(self, text: str) -> None:
        """Write its rules; it reads them when it starts or is told to."""
        (self.folder / "rules.yaml").write_text(text)

    def begin(self) -> None:
        """Start it, and do not wait."""
        with (self.folder / "log").open("ab") as log:
            self.child = subprocess.Popen(
                self._command, cwd=self.folder, stderr=log, stdout=log, env=os.environ | {"NODE": self.name},
                start_new_session=True,
            )  # fmt: skip
        self._history.note(self.name, "start")

    def wait(self) -> None:
        """Return when it takes requests."""
        until = time.monotonic() + _STARTS_WITHIN_S
        while True:
            assert self.is_up, f"{self.name} ended:\n{self.log()[-3000:]}"
            assert time.monotonic() < until, f"{self.name} does not listen:\n{self.log()[-3000:]}"
            try:
                socket.create_connection((self.host, self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return

    def start(self) -> None:
        """Start it, and return when it takes requests."""
        self.begin()
        self.wait()

    def kill(self) -> None:
        """End it, and its workers, by signal 9."""
        self._signal(signal.SIGKILL)
        assert self.child is not None
        self.child.wait()
        self._history.note(self.name, "kill")

    def stop(self) -> None:
        """Tell it to stop, and return when it has."""
        assert self.child is not None
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(40) == 0, self.log()[-3000:]
        self._history.note(self.name, "stop")

    def freeze(self) -> None:
        """Stop its processes as they are."""
        self._history.note(self.name, "freeze")
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its processes go on."""
        self._history.note(self.name, "thaw")
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """End it whatever state it is in."""
        if self.is_up:
            self._signal(signal.SIGCONT)
            self.kill()

    def log(self) -> str:
        """Return what it said."""
        return (self.folder / "log").read_text()

    def ask(self, verb: str, path: str, body: Any = None, *, timeout: float = 10) -> tuple[int, Any]:
        """Ask its admin API. Raises `OSError` if no answer comes."""
        connection = http.client.HTTPConnection(self.host, self.admin, timeout=timeout)
        try:
            asked = None if body is None else json.dumps(body)
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
            connection.request(verb, f"/api/v1{path}", asked, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def _signal(self, number: signal.Signals) -> None:
        # Its session is its own: the group is the daemon and its workers.
        assert self.child is not None
        os.killpg(self.child.pid, number)
