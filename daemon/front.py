"""Where requests come in: the public and the admin listener, each with the application behind it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hookline.daemon.access.brake import Brake
from hookline.daemon.access.guard import Guard
from hookline.daemon.access.session import Sessions
from hookline.daemon.access.tokens import Tokens
from hookline.daemon.api.application import AdminApplication
from hookline.daemon.api.running import Running
from hookline.daemon.config.settings import Address
from hookline.daemon.http.listening import bind
from hookline.daemon.http.public import public_application
from hookline.daemon.http.receiver import Receiver
from hookline.daemon.http.server import Listener
from hookline.daemon.nodes.watching import NodesWatch
from hookline.daemon.parts import Parts
from hookline.daemon.rehearsal.rehearsals import PastRules, Rehearsals
from hookline.daemon.secrets import Secrets
from hookline.daemon.store.port import Reader
from hookline.daemon.systemd.sockets import address_of
from hookline.daemon.web.site import Site


class Front:
    """The listeners of one daemon."""

    def __init__(
        self, parts: Parts, *, token: str, status: Callable[[], Mapping[str, Any]], is_ready: Callable[[], bool]
    ) -> None:
        """Make the applications; nothing is bound. What is live must be so already. `token` is the admin's."""
        self._parts = parts
        self.receiver = Receiver(
            sources=lambda: parts.live.current.sources,
            intake=parts.intake.accept,
            on_rejected=parts.happenings.rejected,
            on_answered=parts.happenings.answered,
            settings=parts.live.current.receiver,
            clock=parts.clock,
            monotonic=time.monotonic,
            app=public_application(),
            log=parts.log,
        )
        parts.on_swap = lambda: self.receiver.adopt(parts.live.current.receiver)
        self.tokens = Tokens(token, store=parts.store, commit=parts.commit, clock=parts.clock, log=parts.log)
        #: For whatever is asked of the admin listener; whoever ends the daemon closes it.
        self.reader = parts.store.reader()
        running = _running(parts, reader=self.reader, tokens=self.tokens, status=status, is_ready=is_ready)
        self.admin = self._admin_application(token, running)

    def _admin_application(self, configured: str, running: Running) -> AdminApplication:
        parts, admin = self._parts, self._parts.settings.admin
        sessions = Sessions(self.tokens, configured=configured, clock=parts.clock)
        brake = Brake(monotonic=time.monotonic, log=parts.log, on_wrong=parts.metrics.wrong_token)
        hosts = frozenset({"localhost", "127.0.0.1", "::1", admin.listen.host or "", *admin.hosts})
        guard = Guard(tokens=self.tokens, sessions=sessions, brake=brake, hosts=hosts)
        app = AdminApplication(running, guard=guard, log=parts.log)
        self.site = Site(
            app,
            daemon=running,
            sessions=sessions,
            brake=brake,
            on_look=lambda: parts.live.current.runner.warm(),  # noqa: PLW0108 - asked for at each look: it is swapped
        )
        self.site.add()
        app.pages = self.site
        return app

    def listen(self) -> list[Listener]:
        """Take over the sockets that the service manager holds, and bind what it does not. Raises `ListenError`."""
        parts, settings, given = self._parts, self._parts.settings, self._parts.manager.sockets
        public = self._open("listen", settings.listen, given.public, self.receiver)
        admin = self._open("admin.listen", (settings.admin.listen,), given.admin, self.admin)
        parts.addresses = tuple(address for address, _ in (*public, *admin))
        parts.sockets = (
            *[("public", one.traffic) for _, one in public],
            *[("admin", one.traffic) for _, one in admin],
        )
        return [listener for _, listener in (*public, *admin)]

    def _open(
        self, key: str, wanted: Sequence[Address], given: Sequence[socket.socket], app: Any
    ) -> list[tuple[Address, Listener]]:
        on_refused = self._parts.happenings.unframed if app is self.receiver else None
        opened = [(address_of(one), one) for one in given]
        if given:
            self._parts.log.info(
                "listen.inherited",
                key=key,
                sockets=[str(address) for address, _ in opened],
                not_bound=[str(address) for address in wanted],
            )
        for address in () if given else wanted:
            bound = bind(address)
            opened.append((_bound(address, bound), bound))
        return [
            (
                address,
                Listener(
                    socket=one,
                    app=app,
                    connections=self._parts.connections,
                    is_inherited=bool(given),
                    on_refused=on_refused,
                ),
            )
            for address, one in opened
        ]


def _running(
    parts: Parts,
    *,
    reader: Reader,
    tokens: Tokens,
    status: Callable[[], Mapping[str, Any]],
    is_ready: Callable[[], bool],
) -> Running:
    peers = parts.storing.peers
    return Running(
        live=parts.live,
        reader=reader,
        commit=parts.commit,
        replayer=parts.replayer,
        deleter=parts.deleter,
        tester=parts.tester,
        reloading=parts.reloading,
        sources=parts.sources,
        pauses=parts.pauses,
        backups=parts.backups,
        tokens=tokens,
        traffic=parts.traffic,
        rehearsals=Rehearsals(PastRules(reader, lambda: _lookup(parts))),
        hub=parts.hub,
        scrape=parts.scrape,
        clock=parts.clock,
        destinations=parts.destinations,
        set_held=parts.set_held,
        status=status,
        is_ready=is_ready,
        trouble=parts.store_watch.to_json,
        degraded=parts.degraded,
        store_size=parts.storing.size,
        shared=lambda: None if peers is None else peers.shared,
        nodes_watch=NodesWatch() if peers is None else peers.watch,
        node=None if peers is None else peers.me,
        started_at=parts.started_at,
    )


def _bound(address: Address, listening: socket.socket) -> Address:
    """Return where the socket really listens: port 0 has become a number."""
    return address if address.unix is not None else replace(address, port=listening.getsockname()[1])


def _lookup(parts: Parts) -> Secrets:
    live = parts.live.current
    return live.secrets.with_variables(live.settings.vars)
