"""A real PostgreSQL for tests: Debian's, in a folder and on a port of its own, started when a test first asks for it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Literal, TypeAlias

from hookline.daemon.store.places import PostgresDatabase

#: Where Debian puts the programs of each version; the newest is used.
_VERSIONS: Final = Path("/usr/lib/postgresql")
#: A folder with another server's, which may lack clients.
_OTHER: Final = "HOOKLINE_POSTGRES"
_NO_SERVER: Final = "no PostgreSQL on this machine: apt-get install postgresql"
_START_S: Final = 60.0
#: How it is told to stop; the last is as if the power went.
_STOPS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
Stop: TypeAlias = Literal["smart", "fast", "immediate"]


class NoPostgresError(Exception):
    """The machine has none."""


def programs() -> tuple[Path, ...]:
    """Return the folders of `postgres`, `initdb` and clients, the first to be looked in first. Raises `NoPostgresError`."""
    other = [Path(os.environ[_OTHER]).absolute()] if os.environ.get(_OTHER) else []
    found = sorted(_VERSIONS.glob("*/bin/postgres"), key=lambda file: int(file.parts[-3]))
    if not found:
        raise NoPostgresError(_NO_SERVER)
    return (*other, found[-1].parent)


def _runs(pid: int) -> bool:
    """Say whether there is such a process, and not only what is left until somebody asks how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


class PostgresServer:
    """One server process and its folder. Root runs it as `postgres`, which refuses to be root."""

    def __init__(self, *, copy_of: PostgresServer | None = None, **options: str) -> None:
        """Make the folder. `options` are settings of `postgresql.conf`; a `copy_of` another follows that as its standby."""
        self._programs = programs()
        # Not pytest's folder: only its owner may go in there.
        self.folder = Path(tempfile.mkdtemp(prefix="hookline-pg-"))
        self.data = self.folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._options = {"shared_buffers": "64MB", "max_connections": "100", "log_min_messages": "warning"} | options
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.chmod(0o755)
        self.data.mkdir()
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for place in (self.folder, self.data):
                os.chown(place, user.pw_uid, user.pw_gid)
        if copy_of is not None:
            # Not pg_basebackup: it refuses servers that are newer than itself.
            copy_of.stop("fast")
            subprocess.run(["cp", "-a", f"{copy_of.data}/.", str(self.data)], check=True)
            copy_of.start()
            source = f"host=127.0.0.1 port={copy_of.port} user=hookline application_name={self.name}"
            (self.data / "postgresql.auto.conf").write_text(f"primary_conninfo = '{source}'\n")
            (self.data / "standby.signal").touch()
        else:
            made = "initdb", "-U", "hookline", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
            self._run(*made, "-D", self.data)

    @property
    def name(self) -> str:
        """What a primary calls it in `synchronous_standby_names`."""
        return f"port{self.port}"

    @property
    def url(self) -> str:
        """Its database, for `store:`."""
        return f"postgresql://hookline@127.0.0.1:{self.port}/postgres"

    def place(self, schema: str, *, hosts: str = "", user: str = "hookline") -> PostgresDatabase:
        """Return its database as a store. `hosts` are others that are asked instead of it: `a:1,b:2`."""
        shown = f"postgresql://{user}@{hosts or f'127.0.0.1:{self.port}'}/postgres"
        return PostgresDatabase(url=shown, schema=schema, shown=shown)

    def sql(self, text: str) -> str:
        """Run statements as the owner of everything, and return what they answer, a row a line."""
        asked = ["-U", "hookline", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres"]
        return self._run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *asked, "-c", text).strip()

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = [f"-c{name}={value}" for name, value in self._options.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as_owner(),
                    self._program("postgres"),
                    "-D",
                    str(self.data),
                    f"-cport={self.port}",
                    "-clisten_addresses=127.0.0.1",
                    f"-cunix_socket_directories={self.folder}",
                    *options,
                ],
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START_S
        ready = [self._program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            said = (self.folder / "log").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.05)

    def stop(self, mode: Stop = "fast") -> None:
        """Stop it, and return when it has ended."""
        if self._process is None:
            return
        # Not by pg_ctl, which fails where a server that panicked ends by itself in that moment.
        self._process.send_signal(_STOPS[mode])
        self._process.wait(30)
        self._process = None

    def kill(self) -> None:
        """End it, and all of its processes, by signal 9."""
        assert self._process is not None
        # So that it begins none after they were counted.
        self._process.send_signal(signal.SIGSTOP)
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        self._process.send_signal(signal.SIGKILL)
        # They would notice by themselves, but some time later: the next start must not find them at its files.
        for child in map(int, children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait(10)
        until = time.monotonic() + 10
        while any(_runs(int(child)) for child in children):
            assert time.monotonic() < until, children
            time.sleep(0.005)
        self._process = None

    def promote(self) -> None:
        """Make a standby the primary, and return when it is."""
        self._run("pg_ctl", "promote", "-D", self.data, "-w", "-t", "30")

    def restart(self, mode: Stop = "immediate") -> None:
        """Stop and start it."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop it and remove its folder."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _program(self, name: str) -> str:
        return next(str(folder / name) for folder in self._programs if (folder / name).exists())

    def _run(self, program: str, *words: str | Path) -> str:
        command = [*self._as_owner(), self._program(program), *map(str, words)]
        # Not ours: it looks for certificates there, and whoever it runs as may not.
        environ = {**os.environ, "HOME": str(self.folder)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @staticmethod
    def _as_owner() -> list[str]:
        # setpriv: runuser and su would stand in between, and signals would go to them.
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"] if os.geteuid() == 0 else []
