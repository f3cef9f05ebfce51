"""Read the options of `hmac`, `digest` and `ed25519`: where a signature stands, what is signed, and by which keys."""

from __future__ import annotations

import binascii
import re
from datetime import timedelta
from typing import Any, Final, cast

from hookline.daemon.sources.options import Options
from hookline.daemon.sources.places import parse_direct
from hookline.daemon.sources.schemes import Part, Scheme
from hookline.daemon.sources.stamps import UNITS, Stamp

DEFAULT_TOLERANCE: Final = timedelta(minutes=5)
#: What is wrong, and what to do, where a signature covers the URL and nobody says what that is.
URL_IS_SIGNED: Final = "the sender signs the URL, which needs `public_url`"
PUBLIC_URL_HINT: Final = "write public_url: https://… in hookline.yaml, as the sender was given it"

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def read_header(options: Options, key: str, *, default: str | None = None) -> str:
    """Read a header's name, in lower case; "" and a problem if there is none."""
    if key not in options and default is None:
        options.missing(key, "write the header's name, such as X-Signature")
    name = options.text(key, default or "")
    if name and not _HEADER_NAME.fullmatch(name):
        options.problem(key, f"{name[:60]!r} is no header's name", "letters, digits and - alone")
        return ""
    return name.lower()


def read_keys(options: Options, key: str, default_encoding: str, *, least: int) -> tuple[bytes, ...] | None:
    """Read secrets of `least` bytes and more, decoded; None, and a problem, if one is not fit to be one."""
    encoding = options.choice("secret_encoding", ("text", "base64", "hex"), default_encoding)
    prefix = options.text("secret_prefix", "")
    secrets = options.secrets(key, least=least)
    if secrets is None:
        return None
    before = len(options.problems)
    keys = []
    for number, secret in enumerate(secrets):
        try:
            decoded = _decode_key(secret.removeprefix(prefix), encoding)
        except ValueError:
            # The prefix is not shown of a secret that has it: a message with a secret's beginning would be hidden.
            has_prefix = bool(prefix) and secret.startswith(prefix)
            hint = "was it copied whole?" + (f" it should begin with {prefix}" if prefix and not has_prefix else "")
            where = " after its prefix" if has_prefix else ""
            options.problem(key, f"a secret is not {encoding}{where}", hint, item=number)
            continue
        if len(decoded) < least:
            message = f"a secret is shorter than {least} bytes, which can be guessed"
            options.problem(key, message, "was it copied whole?", item=number)
        keys.append(decoded)
    return tuple(keys) if len(options.problems) == before else None


def _decode_key(text: str, encoding: str) -> bytes:
    if encoding == "text":
        return text.encode()
    if encoding == "hex":
        return binascii.unhexlify(text)
    # Some show the secret without its padding.
    return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)


def read_scheme(options: Options, encoding: str, *, has_public_url: bool) -> Scheme | None:
    """Read where the signature stands and what it covers; `encoding` is what is meant if nothing is said."""
    before = len(options.problems)
    header = read_header(options, "header")
    chosen = options.choice("encoding", ("hex", "base64"), encoding)
    prefixes = options.texts("prefix") or ("",)
    separator = options.text("separator", "") or None
    stamp = _read_stamp(options, header, separator)
    signed = _read_signed(options, stamp, has_public_url=has_public_url)
    if len(options.problems) > before:
        return None
    return Scheme(
        header=header,
        encoding=cast("Any", chosen),
        prefixes=prefixes,
        separator=separator,
        signed=signed,
        stamp=stamp,
    )


def read_tolerance(options: Options, default: timedelta) -> timedelta | None:
    """Read `tolerance`: a duration, or None for `off`, which takes any age."""
    if options.get("tolerance") == "off":
        return None
    if "tolerance" not in options:
        return default
    tolerance = options.duration("tolerance")
    if tolerance is not None and tolerance <= timedelta():
        options.problem("tolerance", "nothing would ever be accepted", "write a time such as 5m, or off")
    return tolerance


def _read_stamp(options: Options, signature_header: str, separator: str | None) -> Stamp | None:
    below = options.below("timestamp", hint="write {header: X-Timestamp, tolerance: 5m}")
    if below is None:
        return None
    body = _read_body_place(below)
    header = "" if "body" in below else read_header(below, "header")
    part = "" if "body" in below else below.text("part", "")
    if part and separator is None:
        below.problem("part", "a part of a header needs `separator`", 'write what stands between parts, such as ","')
    if header and header == signature_header and not part:
        below.problem("header", "signature and timestamp stand in one header", 'add `part`, such as "t="')
    unit = below.choice("unit", UNITS, "auto")
    tolerance = read_tolerance(below, DEFAULT_TOLERANCE)
    below.finish()
    if not header and not body:
        return None
    return Stamp(header=header, part=part, body=body, tolerance=tolerance, unit=cast("Any", unit))


def _read_body_place(options: Options) -> tuple[str | int, ...]:
    path = options.text("body", "")
    if "body" not in options:
        return ()
    steps = parse_direct(path) if path.startswith("$") else None
    if not steps or None in steps:
        options.problem("body", f"{path[:60]!r} is no path of names and indexes", "write it as in $.sent_at")
        return ()
    return tuple(step for step in steps if step is not None)


def _read_signed(options: Options, stamp: Stamp | None, *, has_public_url: bool) -> tuple[str | Part, ...]:
    text = options.text("signed", "{body}")
    pieces: list[str | Part] = []
    position = 0
    for found in _PLACEHOLDER.finditer(text):
        if found.start() > position:
            pieces.append(text[position : found.start()])
        position = found.end()
        part = _read_part(found[1].strip(), following=_PLACEHOLDER.split(text[position:], maxsplit=1)[0])
        if part is None:
            options.problem(
                "signed",
                f"{{{found[1][:40]}}} is not known here",
                "there are: {body}, {timestamp}, {method}, {url}, {url|decode_reserved}, {header.NAME}",
            )
        else:
            pieces.append(part)
    if position < len(text):
        pieces.append(text[position:])
    names = {piece.name for piece in pieces if isinstance(piece, Part)}
    if "body" not in names:
        options.problem("signed", "the body is not signed, so anyone could change it", "add {body}")
    _check_stamp(options, stamp, is_signed="timestamp" in names)
    if "url" in names and not has_public_url:
        options.problem("signed", URL_IS_SIGNED, PUBLIC_URL_HINT)
    return tuple(pieces)


def _read_part(said: str, *, following: str) -> Part | None:
    name, _, header = said.partition(".")
    if said in {"body", "timestamp", "method", "url"}:
        return Part(name=cast("Any", said))
    if re.fullmatch(r"url ?\| ?decode_reserved", said):
        return Part(name="url", decode_reserved=True)
    if name == "header" and _HEADER_NAME.fullmatch(header):
        return Part(name="header", header=header.lower(), before=following)
    return None


def _check_stamp(options: Options, stamp: Stamp | None, *, is_signed: bool) -> None:
    """Report a timestamp that the signature does not cover, or one that is signed and stands nowhere."""
    if stamp is not None and stamp.body:
        if is_signed:
            options.problem("signed", "the timestamp stands in the body, which is signed", "take {timestamp} away")
        return
    if is_signed and stamp is None and "timestamp" not in options:
        options.problem(
            "signed", "{timestamp} needs `timestamp`", "write timestamp: {header: X-Timestamp, tolerance: 5m}"
        )
    if not is_signed and "timestamp" in options:
        options.problem(
            "signed" if "signed" in options else None,
            "the timestamp is not signed, so anyone could renew it",
            'write it into `signed` as the sender does, such as "{timestamp}.{body}", or take `timestamp` away',
        )
