"""What a plug-in author sees, and the built-in actions, which use nothing else."""

from hookline.plugins.delivery import Context, Delivery, Http, Log, Reply
from hookline.plugins.errors import PermanentError, TransientError
from hookline.rules import Event

__all__ = ["Context", "Delivery", "Event", "Http", "Log", "PermanentError", "Reply", "TransientError"]
