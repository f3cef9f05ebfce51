"""The pages' cookies: the session's, the message shown once, and light or dark."""

from __future__ import annotations

import secrets

from quart import Response, request

from hookline.daemon.access.session import Sessions


class Cookies:
    """Their names, and how they are written."""

    def __init__(self, sessions: Sessions) -> None:
        """Name them after the session's: two daemons on one host would share them otherwise."""
        self._sessions = sessions
        self.session = sessions.cookie
        self.said = f"{sessions.cookie}_said"
        self.theme = f"{sessions.cookie}_theme"
        #: Signs the message. Lost at a restart, as the message may be.
        self.key = secrets.token_bytes(32)

    def set(self, response: Response, name: str, value: str, *, seconds: float) -> None:
        """Write one: for our own requests only, and for no script."""
        response.set_cookie(
            name,
            value,
            max_age=int(seconds),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=self._is_secure(),
        )

    def drop(self, response: Response, name: str) -> None:
        """Have the browser forget one."""
        response.delete_cookie(name, path="/", httponly=True, samesite="Strict", secure=self._is_secure())

    def _is_secure(self) -> bool:
        name = "X-Forwarded-Proto"
        return self._sessions.is_secure({name: request.headers.get(name, "")})
