"""Who asks, and what they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

#: `read`: look at everything. `operate`: also replay, cancel, hold, release, pause, test, reload. `admin`: also delete
#: events and make tokens. Each holds the ones before it.
Scope: TypeAlias = Literal["read", "operate", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("read", "operate", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, once their token or cookie was found good."""

    #: For the audit: the token's name, with the user whom the command line names: `ci`, `admin (ada)`.
    name: str
    scope: Scope

    def may(self, scope: Scope) -> bool:
        """Whether that is within what they may."""
        return SCOPES.index(scope) <= SCOPES.index(self.scope)
