"""Which Hookline this is."""

from importlib.metadata import version

VERSION = version("hookline")
