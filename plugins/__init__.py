"""What a plug-in author sees, and the built-in actions, which use nothing else."""

from hookline.plugins.delivery import Context, Delivery, Http, Log, Reply
from hookline.plugins.errors import PermanentError, TransientError
from hookline.plugins.options import Address, Escaped, computed_options
from hookline.plugins.status import raise_for_status
from hookline.plugins.tls import Tls
from hookline.rules import Event

__all__ = [
    "Address",
    "Context",
    "Delivery",
    "Escaped",
    "Event",
    "Http",
    "Log",
    "PermanentError",
    "Reply",
    "Tls",
    "TransientError",
    "computed_options",
    "raise_for_status",
]
