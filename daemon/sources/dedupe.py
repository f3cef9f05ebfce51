"""What makes a dedupe key of an event that has no id, or none that its sender vouches for: the digest of its body."""

from __future__ import annotations

import hashlib
from functools import cached_property

from hookline.daemon.sources.split import Pointer


class Digest:
    """The hash of a body, made once and only if a key needs it."""

    def __init__(self, body: bytes) -> None:
        """`body` is what is hashed, if anything is."""
        self.body = body

    @cached_property
    def _whole(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def key(self, pointer: Pointer | None, place: str | None = None, added: str | None = None) -> str:
        """Return the dedupe key of the body, or of an element by its place in the body (`place`, else its indexes).

        `added` is a text that makes another key of the same body.
        """
        whole = self._whole
        if added is not None:
            whole = hashlib.sha256(f"{whole}\n{added}".encode("utf-8", "surrogatepass")).hexdigest()
        if pointer is None:
            return f"body:{whole}"
        # Names are the declaration's, the same for all elements, so the indexes tell them apart.
        return f"body:{whole}{place or ''.join(f'[{step}]' for step in pointer if isinstance(step, int))}"
