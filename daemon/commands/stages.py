"""A line on the terminal that says what a long command does, and how far it has come."""

from __future__ import annotations

import sys

import click


class Stages:
    """Shows each stage as it goes on; nothing where nobody looks."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._last = ""

    def __call__(self, what: str, share: float) -> None:
        """Say what is being done, and how far it has come: from 0 to 1."""
        text = f"{what} … {share:4.0%}" if share else f"{what} …"
        if self._is_shown and text != self._last:
            self._last = text
            click.echo(f"\r\033[K{text}", nl=False, err=True)

    def clear(self) -> None:
        """Leave the line to what is said next."""
        if self._is_shown and self._last:
            click.echo("\r\033[K", nl=False, err=True)
