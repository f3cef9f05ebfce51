"""Finds, reads and checks `hookline.yaml`; every mistake is reported in one go."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

from hookline.daemon.config.destinations import known_actions, read_destinations, read_sources
from hookline.daemon.config.listen import public_clash, read_addresses, read_hosts, read_networks
from hookline.daemon.config.references import References, read_variables
from hookline.daemon.config.section import Section, is_null, one_or_many, read_scalar
from hookline.daemon.config.settings import (
    DEFAULT_WORKER_MEMORY_BYTES,
    Address,
    Admin,
    Backup,
    Limits,
    Logging,
    Retention,
    Settings,
)
from hookline.daemon.config.store import check_beside_database, read_store, resolve_store
from hookline.daemon.regular_file import read_regular
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.public_url import parse_public_url
from hookline.daemon.sources.types import load_source_types
from hookline.daemon.store.places import PostgresDatabase, SqliteFile
from hookline.rules import Json, Place, Problem
from hookline.rules.document import Entries, Findings, Node, Scalar
from hookline.rules.reader import read_bytes
from hookline.rules.units import format_duration, parse_size

T = TypeVar("T")

#: Where the configuration of the machine is.
SYSTEM_CONFIG: Final = Path("/etc/hookline/hookline.yaml")
#: Where the state of the machine's services is, each in a folder of its name.
SYSTEM_STATE: Final = Path("/var/lib")
#: A configuration file may be this large.
MAX_CONFIG_BYTES: Final = 1 << 20

_DEFAULT_LISTEN: Final = Address(host="127.0.0.1", port=8080)
_DEFAULT_ADMIN: Final = Address(host="127.0.0.1", port=8081)
# Agiled's retries span 6,660 s and may reuse their timestamp: a shorter window would let one in twice.
_SHORTEST_DEDUPE: Final = timedelta(hours=2, minutes=10)
_MOST_CONNECTIONS: Final = 100_000
_MOST_BATCH: Final = 100_000
_MOST_WORKERS: Final = 32
_MOST_BACKUPS: Final = 1000
_LEVELS: Final[tuple[Literal["debug", "info", "warning"], ...]] = ("debug", "info", "warning")
_FORMATS: Final[tuple[Literal["auto", "json", "text"], ...]] = ("auto", "json", "text")
# A worker that has loaded its actions and does nothing takes a good part of it.
_LEAST_WORKER_MEMORY_BYTES: Final = 128 << 20
# Shorter ones can be guessed.
_SHORTEST_TOKEN: Final = 8


class ConfigError(Exception):
    """A configuration that cannot be used. Caught by the commands, which print it and exit 78."""

    def __init__(self, problems: Sequence[Problem], sources: Mapping[str, str]) -> None:
        """Keep every problem, warnings too, and the text of each file by its name, for excerpts."""
        self.problems = tuple(problems)
        self.sources = sources
        super().__init__("\n".join(str(problem) for problem in self.problems))


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the configuration's path: as told, `$HOOKLINE_CONFIG`, `./hookline.yaml`, or the machine's.

    Raises `ConfigError` if there is none.
    """
    if explicit is not None:
        return explicit
    if environ.get("HOOKLINE_CONFIG"):
        return Path(environ["HOOKLINE_CONFIG"])
    for path in (Path("hookline.yaml"), SYSTEM_CONFIG):
        if path.exists():
            return path
    message = f"no configuration: no -c, no $HOOKLINE_CONFIG, no ./hookline.yaml, and no {SYSTEM_CONFIG}"
    raise ConfigError([Problem(place=None, path="", message=message, hint="hookline init writes one")], {})


def load_settings(
    path: Path,
    *,
    environ: Mapping[str, str],
    actions: Collection[str] | None = None,
    offline: bool = False,
    secrets: Secrets | None = None,
) -> Settings:
    """Read the configuration. Raises `ConfigError` with everything that is wrong.

    `actions`: the names there are; None looks for them (built in, plug-ins folder, packages).
    `offline`: secrets that are not set are warnings, and stay `${NAME}`.
    `secrets`: where they are looked up, for who wants to know which files were read; None: as always.
    """
    file = str(path)
    try:
        data = read_regular(path, limit=MAX_CONFIG_BYTES)
    except ValueError as error:
        hint = None if path.exists() else "hookline init writes one"
        raise ConfigError([Problem(place=None, path="", message=str(error), hint=hint)], {}) from error
    text = data.decode("utf-8", "replace")
    findings = Findings()
    document = read_bytes(data, file, findings)
    if document is None:
        raise ConfigError(_in_order(findings.problems), {file: text})
    if not isinstance(document, Entries):
        is_empty = isinstance(document, Scalar) and document.value is None
        message = "the file is empty" if is_empty else "the configuration is a mapping: key: value"
        findings.problems.append(Problem(place=document.place, path="", message=message, hint="begin with version: 1"))
        raise ConfigError(_in_order(findings.problems), {file: text})
    secrets = secrets or Secrets(environ, folder=path.absolute().parent)
    loading = _Loading(path.absolute(), environ, findings, secrets, offline=offline)
    settings = loading.settings(document, actions)
    problems = _in_order(findings.problems)
    if findings.has_errors:
        raise ConfigError(problems, {file: text, **loading.texts})
    return replace(settings, warnings=tuple(problems), text=text, secret_files=frozenset(secrets.files))


def state_folder(config: Path, environ: Mapping[str, str]) -> Path:
    """Return where relative paths lie of what the daemon writes: systemd says, else it is beside the configuration.

    Of `/etc/NAME/hookline.yaml` it is `/var/lib/NAME` also where no unit says so: who types a command sees its store.
    """
    # systemd gives a list where a unit has several; the first is the unit's own.
    state = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state)
    if config.name == SYSTEM_CONFIG.name and config.parent.parent == SYSTEM_CONFIG.parent.parent:
        return SYSTEM_STATE / config.parent.name
    return config.parent


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    nowhere = Place("", 0, 0)
    # File by file; `sorted` keeps the order in which they were read.
    files = list(dict.fromkeys((problem.place or nowhere).file for problem in problems))

    def rank(problem: Problem) -> tuple[int, int, int]:
        place = problem.place or nowhere
        return files.index(place.file), place.line, place.column

    return sorted(problems, key=rank)


class _Loading:
    """One reading of one configuration."""

    def __init__(
        self, path: Path, environ: Mapping[str, str], findings: Findings, secrets: Secrets, *, offline: bool
    ) -> None:
        self._path = path
        self._folder = path.parent
        self._environ = environ
        self._findings = findings
        self._secrets = secrets
        self._offline = offline
        #: Of other files with mistakes, by name.
        self.texts: Mapping[str, str] = {}

    def settings(self, document: Entries, actions: Collection[str] | None) -> Settings:
        variables = self._variables(document)
        lookup = self._secrets.with_variables(variables)
        references = References(lookup, self._findings, is_offline=self._offline)
        top = Section(self._resolved(document, references, lookup), self._findings)
        self._check_version(top, document)
        top.has("vars")
        listen = read_addresses(top.take("listen"), self._folder, self._findings, _DEFAULT_LISTEN)
        public_url = top.read("public_url", parse_public_url, None)
        plugins = self._plugins(top)
        has_sources, has_destinations = top.has("sources"), top.has("destinations")
        known = known_actions(plugins) if actions is None else actions
        types = load_source_types(plugins if plugins is not None and plugins.is_dir() else None)
        self._findings.problems.extend(types.problems)
        self.texts = types.texts
        store = read_store(
            top, document.entries.get("store"), self._state_folder(), is_offline=self._offline, unset=references.unset
        )
        limits = top.section("limits")
        if isinstance(store, PostgresDatabase):
            check_beside_database(top, limits)
        settings = Settings(
            path=self._path,
            listen=listen,
            public_url=public_url,
            trusted_proxies=read_networks(top.take("trusted_proxies"), self._findings),
            admin=self._admin(top, listen),
            store=store,
            state=store.path.parent if isinstance(store, SqliteFile) else self._state_folder(),
            rules=self._rules(top.take("rules")),
            plugins=plugins,
            workers=top.integer("workers", 1, low=0, high=_MOST_WORKERS),
            worker_memory_bytes=top.read("worker_memory", _worker_memory, DEFAULT_WORKER_MEMORY_BYTES),
            allow_commands=top.flag("allow_commands", default=False),
            reload=top.read("reload", _reload, "watch"),
            retention=self._retention(top.section("retention")),
            limits=self._limits(limits),
            backup=self._backup(top),
            log=self._log(top.section("log")),
            vars=variables,
            sources=read_sources(
                document.entries["sources"] if has_sources else None,
                references,
                self._findings,
                types=types,
                has_public_url=public_url is not None,
            ),
            destinations=read_destinations(
                document.entries["destinations"] if has_destinations else None,
                references,
                self._findings,
                actions=known,
            ),
            source_types=types,
        )
        top.finish()
        references.settle()
        return settings

    def _variables(self, document: Entries) -> dict[str, Json]:
        node = document.entries.get("vars")
        return {} if node is None or is_null(node) else read_variables(node, self._findings)

    @staticmethod
    def _resolved(document: Entries, references: References, lookup: Secrets) -> Entries:
        """Return the document with references replaced, but where each part sees to its own."""
        apart = {"vars", "sources", "destinations", "store"}
        entries = {key: node if key in apart else references.resolve(node) for key, node in document.entries.items()}
        if "store" in entries:
            entries["store"] = resolve_store(entries["store"], references, lookup)
        return Entries(entries, document.keys, document.place, document.path)

    def _check_version(self, top: Section, document: Entries) -> None:
        node = top.take("version")
        if "version" not in document.entries:
            self._findings.error(document, "the configuration names no version", "begin with version: 1")
        elif node is not None and not (isinstance(node, Scalar) and node.text == "1"):
            self._findings.error(node, "this version of Hookline reads configurations of version 1", "write version: 1")

    def _admin(self, top: Section, public: Sequence[Address]) -> Admin:
        section = top.section("admin")
        node = section.take("listen")
        addresses = read_addresses(node, self._folder, self._findings, _DEFAULT_ADMIN)
        token = section.read("token", _token, None)
        hosts = read_hosts(section.take("hosts"), self._findings)
        section.finish()
        if len(addresses) > 1 and node is not None:
            self._findings.error(node, "the admin listener has one address", "write the one that you use")
        clash = public_clash(public, addresses[0])
        if clash is not None:
            at = node or section.node or top.node
            message = f"the admin listener ({addresses[0]}) shares its address with the public one ({clash})"
            if at is not None:
                self._findings.error(at, message, "give it a port of its own, as in 127.0.0.1:8081")
        return Admin(listen=addresses[0], token=token, hosts=hosts)

    def _state_folder(self) -> Path:
        return state_folder(self._path, self._environ)

    def _rules(self, node: Node | None) -> tuple[Path, ...]:
        paths = [read_scalar(item, _path, self._findings, None) for item in one_or_many(node)]
        if node is not None and not paths:
            self._findings.error(node, "no rules", "name a folder of *.yaml files, as in rules: rules")
        # Whether they exist is asked when they are read: a start without them runs the last good set.
        return tuple(self._folder / path for path in paths if path is not None) or (self._folder / "rules",)

    def _plugins(self, top: Section) -> Path | None:
        node = top.take("plugins")
        if node is None:
            folder = self._folder / "plugins"
            return folder if folder.is_dir() else None
        path = read_scalar(node, _path, self._findings, None)
        if path is None:
            return None
        if not (self._folder / path).is_dir():
            self._findings.error(node, f"{self._folder / path} is not a folder", "create it, or remove the key")
        return self._folder / path

    def _retention(self, section: Section) -> Retention:
        default = Retention()
        retention = Retention(
            events=section.duration("events", default.events),
            dedupe=section.duration("dedupe", default.dedupe),
            dead=section.duration("dead", default.dead),
        )
        node = section.take("dedupe")
        section.finish()
        if retention.dedupe <= _SHORTEST_DEDUPE and node is not None:
            hint = f"write more than {format_duration(_SHORTEST_DEDUPE)}: a sender's retry would be acted on again"
            self._findings.error(node, f"a dedupe window of {format_duration(retention.dedupe)} is too short", hint)
        return retention

    def _backup(self, top: Section) -> Backup | None:
        if not top.has("backup"):
            return None
        section = top.section("backup")
        to = section.read("to", _path, Path("backups"))
        every = section.duration("every", timedelta(days=1))
        keep = section.integer("keep", 7, low=1, high=_MOST_BACKUPS)
        section.finish()
        return Backup(to=self._state_folder() / to, every=every, keep=keep)

    @staticmethod
    def _log(section: Section) -> Logging:
        default = Logging()
        log = Logging(
            level=section.read("level", partial(_one_of, _LEVELS), default.level),
            format=section.read("format", partial(_one_of, _FORMATS), default.format),
        )
        section.finish()
        return log

    def _limits(self, section: Section) -> Limits:
        default = Limits()
        limits = Limits(
            body_bytes=section.size("body", default.body_bytes),
            connections=section.integer("connections", default.connections, low=1, high=_MOST_CONNECTIONS),
            in_flight_bytes=section.size("in_flight", default.in_flight_bytes),
            body_timeout=section.duration("body_timeout", default.body_timeout),
            batch=section.integer("batch", default.batch, low=1, high=_MOST_BATCH),
            free_space_bytes=section.size("free_space", default.free_space_bytes),
        )
        node = section.take("body") or section.take("in_flight")
        section.finish()
        if limits.body_bytes > limits.in_flight_bytes and node is not None:
            self._findings.error(
                node, "one body may be larger than all bodies together", "raise in_flight, or lower body"
            )
        return limits


def _token(text: str) -> str:
    if len(text) < _SHORTEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(
            f"the token must have {_SHORTEST_TOKEN} or more letters, digits and signs without blanks: "
            "write one, or remove the key to have one made"
        )
    return text


def _reload(text: str) -> Literal["watch", "signal"]:
    if text == "watch":
        return "watch"
    if text == "signal":
        return "signal"
    raise ValueError(f'"{text[:80]}" is no way to reload: write watch, or signal for SIGHUP and the API alone')


def _one_of(choices: tuple[T, ...], text: str) -> T:
    for choice in choices:
        if choice == text:
            return choice
    raise ValueError(f'"{text[:80]}" is none of {", ".join(map(str, choices))}')


def _worker_memory(text: str) -> int:
    size = parse_size(text)
    if size < _LEAST_WORKER_MEMORY_BYTES:
        raise ValueError(f'"{text[:40]}" is too little for a worker: write at least 128MiB')
    return size


def _path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ValueError("not a path: write a file or a folder")
    return Path(text)
