"""Pools of connections, one for each policy and each set of certificates: none uses another's connections."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from hookline.daemon.outbound.addresses import AddressPolicy
from hookline.plugins import Tls, TransientError

Stamp = tuple[tuple[int, int, int], ...]
NewSession = Callable[[AddressPolicy, ssl.SSLContext | None], aiohttp.ClientSession]


@dataclass(slots=True, eq=False)
class Pool:
    """One session, and how many use it."""

    session: aiohttp.ClientSession
    #: What the certificates' files looked like when they were read.
    stamp: Stamp
    users: int
    is_retired: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nobody uses it and nobody will."""
        return self.is_retired and not self.users


class Pools:
    """Every session there is. A certificate that changes gets a new one; the old one ends with its last request."""

    def __init__(self, new_session: NewSession) -> None:
        """Open nothing yet."""
        self._new_session = new_session
        self._pools: dict[tuple[AddressPolicy, Tls | None], Pool] = {}

    def current(self, policy: AddressPolicy, tls: Tls | None) -> Pool | None:
        """Count a user in and return the pool there is; None if there is none, or its certificates have changed since.

        Raises `TransientError` if they are gone.
        """
        pool = self._pools.get((policy, tls))
        if pool is None or (tls is not None and pool.stamp != _stamp(tls)):
            return None
        pool.users += 1
        return pool

    async def renew(self, policy: AddressPolicy, tls: Tls | None) -> Pool:
        """Make a new pool, with one user. Raises `TransientError` if its certificates cannot be used."""
        stamp, trust = (_stamp(tls), new_tls_context(tls)) if tls is not None else ((), None)
        old = self._pools.get((policy, tls))
        pool = self._pools[policy, tls] = Pool(self._new_session(policy, trust), stamp, users=1)
        if old is not None:
            old.is_retired = True
            if old.is_over:
                await old.session.close()
        return pool

    async def close(self) -> None:
        """Close every connection."""
        pools = [*self._pools.values()]
        self._pools.clear()
        for pool in pools:
            await pool.session.close()


def new_tls_context(tls: Tls) -> ssl.SSLContext:
    """Read the files. Raises `TransientError` that names the file and what is wrong with it, never what is in it."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except ssl.SSLError as error:
        raise TransientError(f"tls.ca_file {tls.ca_file} holds no certificates in PEM that can be read") from error
    except OSError as error:
        raise _unreadable("ca_file", tls.ca_file, error) from error
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert_file is None:
        return context
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except ssl.SSLError as error:
        cert, key = tls.cert_file, tls.key_file
        if error.reason == "KEY_VALUES_MISMATCH":
            said = f"the key in {key or cert} is not that of the certificate in {cert}"
        elif key is None:
            said = f"{cert} does not hold a certificate and its unencrypted key"
        else:
            said = f"{cert} holds no certificate, or {key} no unencrypted key"
        raise TransientError(f"tls: {said}") from error
    except OSError as error:
        raise _unreadable("cert_file and key_file", tls.cert_file, error) from error
    return context


def _stamp(tls: Tls) -> Stamp:
    found = []
    for name in ("ca_file", "cert_file", "key_file"):
        path = getattr(tls, name)
        if path is None:
            continue
        try:
            seen = os.stat(path)  # noqa: PTH116 - asked at every request, and a Path costs more than the call
        except OSError as error:
            raise _unreadable(name, path, error) from error
        found.append((seen.st_mtime_ns, seen.st_size, seen.st_ino))
    return tuple(found)


def _unreadable(name: str, path: str | None, error: OSError) -> TransientError:
    return TransientError(f"cannot read tls.{name} {path}: {error.strerror or error}")
