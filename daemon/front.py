"""Where requests come in: the public and the admin listener, each with the application behind it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hookline.daemon.admin_token import ensure_admin_token
from hookline.daemon.config.settings import Address
from hookline.daemon.http.admin import Operations, admin_application, public_application
from hookline.daemon.http.listening import bind
from hookline.daemon.http.receiver import Receiver
from hookline.daemon.http.server import Listener
from hookline.daemon.parts import Parts
from hookline.daemon.systemd.sockets import address_of


class Front:
    """The listeners of one daemon."""

    def __init__(self, parts: Parts, *, status: Callable[[], Mapping[str, Any]], is_ready: Callable[[], bool]) -> None:
        """Make the applications; nothing is bound. What is live must be so already."""
        self._parts = parts
        self.receiver = Receiver(
            sources=lambda: parts.live.current.sources,
            intake=parts.intake.accept,
            on_rejected=parts.rejected,
            settings=parts.live.current.receiver,
            clock=parts.clock,
            monotonic=time.monotonic,
            app=public_application(),
            log=parts.log,
        )
        parts.on_swap = lambda: self.receiver.adopt(parts.live.current.receiver)
        settings = parts.settings
        self._admin = admin_application(
            Operations(
                status=status,
                is_ready=is_ready,
                reload=parts.reloading.reload,
                replay=parts.replayer.replay,
                cancel=parts.replayer.cancel,
                destinations=parts.destinations,
                test_destination=parts.tester.send,
                set_held=parts.set_held,
                sources=parts.sources.status,
                await_secret=parts.sources.await_secret,
                forget_secrets=parts.sources.forget_secrets,
                degraded=parts.degraded,
                trouble=parts.store_watch.to_json,
                note_backup=parts.backups.noted,
                delete=parts.deleter.delete,
                deletion=parts.deleter.progress,
                note_done=parts.commit.submit,
            ),
            token=settings.admin.token or ensure_admin_token(settings.store),
            registry=parts.metrics.registry,
            hosts=frozenset({"localhost", "127.0.0.1", "::1", settings.admin.listen.host or ""}),
        )

    def listen(self) -> list[Listener]:
        """Take over the sockets that the service manager holds, and bind what it does not. Raises `ListenError`."""
        parts, settings, given = self._parts, self._parts.settings, self._parts.manager.sockets
        public = self._open("listen", settings.listen, given.public, self.receiver)
        admin = self._open("admin.listen", (settings.admin.listen,), given.admin, self._admin)
        parts.addresses = tuple(address for address, _ in (*public, *admin))
        return [listener for _, listener in (*public, *admin)]

    def _open(
        self, key: str, wanted: Sequence[Address], given: Sequence[socket.socket], app: Any
    ) -> list[tuple[Address, Listener]]:
        on_refused = self._parts.unframed if app is self.receiver else None
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


def _bound(address: Address, listening: socket.socket) -> Address:
    """Return where the socket really listens: port 0 has become a number."""
    return address if address.unix is not None else replace(address, port=listening.getsockname()[1])
