"""Reads YAML into a document that knows its places: YAML 1.2's core, less what surprises people."""

from __future__ import annotations

import re
from typing import Final

from hookline.rules.composing import compose
from hookline.rules.document import Findings, Node
from hookline.rules.problem import Place, Problem

#: A file may be this large: ten thousand rules are about 4 MiB.
MAX_DOCUMENT_BYTES: Final = 16 << 20

# What YAML allows in a stream (1.2.2, 5.1), without the byte order mark.
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read_bytes(data: bytes, file: str, findings: Findings) -> Node | None:
    """As `read_document`, from a file's bytes, which must be UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:2]:
        findings.problems.append(
            Problem(place=Place(file, 1), path="", message="the file is UTF-16 text", hint="save it as UTF-8")
        )
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place_at(data[: error.start].decode("utf-8"), file)
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        findings.problems.append(Problem(place=place, path="", message=message, hint="save the file as UTF-8"))
        return None
    return read_document(text, file, findings)


def read_document(text: str, file: str, findings: Findings) -> Node | None:
    """Read one YAML document; every mistake goes to `findings`, and nothing is ever raised.

    None means that it could not be read; then there is an error among the findings. With milder mistakes (a duplicate
    key, an anchor) there is a document as well, so that mistakes of meaning are found in the same run. An empty file
    is a null at its first line.
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        message = f"the file is larger than {MAX_DOCUMENT_BYTES >> 20} MiB"
        findings.problems.append(Problem(place=Place(file, 1), path="", message=message, hint="split it"))
        return None
    if text.startswith("\ufeff"):
        message = "the file begins with a byte order mark"
        findings.problems.append(
            Problem(place=Place(file, 1), path="", message=message, hint="save it as UTF-8 without one (BOM)")
        )
        text = text[1:]
    unreadable = _UNREADABLE.search(text)
    if unreadable:
        code = ord(unreadable[0])
        place = _place_at(text[: unreadable.start()], file)
        hint = f'remove it, or write it as "\\u{code:04x}" in double quotes' if code < 0xD800 else "remove it"
        findings.problems.append(Problem(place=place, path="", message=f"control character U+{code:04X}", hint=hint))
        return None
    return compose(text, file, findings)


def _place_at(before: str, file: str) -> Place:
    lines = f"{before}x".splitlines()
    return Place(file, len(lines), len(lines[-1]))
