"""A command that lists, and shows one where one is named: `hookline events EVT` is `hookline events show EVT`."""

from __future__ import annotations

from typing import Any

import click


class ListOrShow(click.Group):
    """A group with a command `show`, which is meant wherever its first word is no command's name."""

    def __init__(self, *args: Any, prefix: str = "", **kwargs: Any) -> None:
        """`prefix`: what the name of one begins with."""
        super().__init__(*args, **kwargs)
        self._prefix = prefix

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the words name."""
        if args[0] not in self.commands and args[0].startswith(self._prefix):
            args = ["show", *args]
        return super().resolve_command(ctx, args)
