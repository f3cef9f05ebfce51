"""Read `verify:`, and make what checks a request from it."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hookline.daemon.sources.options import Options, kind_of
from hookline.daemon.sources.port import OptionProblem
from hookline.daemon.sources.proofs import AnyVerifier, BasicVerifier, NoVerifier, TokenVerifier, Verifier
from hookline.daemon.sources.signatures import Ed25519Verifier, HmacVerifier, Part, Scheme
from hookline.daemon.sources.stamps import UNITS, Stamp
from hookline.rules import Json

DEFAULT_TOLERANCE: Final = timedelta(minutes=5)

_SCHEMES: Final = ("hmac", "ed25519", "token", "basic", "none")
_ALGORITHMS: Final = ("sha1", "sha256", "sha384", "sha512")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_OPEN: Final = "write `verify: {scheme: hmac, …}` (token, basic), or `verify: none` to accept anything from anyone"


class Verification:
    """What `verify:` says, read."""

    def __init__(self, verifier: Verifier, tolerances: tuple[timedelta, ...] = ()) -> None:
        """`tolerances` are those of its timestamps."""
        self.verifier = verifier
        #: How long a captured request could be sent again: its timestamp may lie as far ahead as behind.
        self.replay_span = max(tolerances, default=timedelta()) * 2


def read_verification(
    value: Json, *, path: tuple[str | int, ...], has_public_url: bool, problems: list[OptionProblem]
) -> Verification | None:
    """Read one way to verify, or a list of which any is enough. None, with problems, if it cannot be used."""
    if value is None:
        problems.append(OptionProblem(path=path[:-1], message="`verify` is missing: a source fails closed", hint=_OPEN))
        return None
    if value == "none":
        return Verification(NoVerifier())
    if isinstance(value, list):
        return _read_ways(value, path=path, has_public_url=has_public_url, problems=problems)
    if not isinstance(value, dict):
        problems.append(OptionProblem(path=path, message=f"expected a mapping, saw {kind_of(value)}", hint=_OPEN))
        return None
    before = len(problems)
    options = Options(value, path, problems)
    if "scheme" not in options:
        options.missing("scheme", f"there are: {', '.join(_SCHEMES)}")
    scheme = options.choice("scheme", _SCHEMES, "")
    verification = _READERS[scheme](options, has_public_url) if scheme else None
    if scheme:
        options.finish()
    return verification if len(problems) == before else None


def _read_ways(
    values: list[Json], *, path: tuple[str | int, ...], has_public_url: bool, problems: list[OptionProblem]
) -> Verification | None:
    # A built-in type leaves null where the user gave no secret for a way.
    ways = [(number, value) for number, value in enumerate(values) if value is not None]
    read = [
        read_verification(value, path=(*path, number), has_public_url=has_public_url, problems=problems)
        for number, value in ways
    ]
    if not ways:
        problems.append(OptionProblem(path=path, message="the list is empty: a source fails closed", hint=_OPEN))
    whole = [one for one in read if one is not None]
    if len(whole) != len(ways) or not whole:
        return None
    if len(whole) == 1:
        return whole[0]
    span = max(one.replay_span for one in whole)
    return Verification(AnyVerifier(tuple(one.verifier for one in whole)), (span / 2,))


def _read_none(options: Options, has_public_url: bool) -> Verification:  # noqa: ARG001, FBT001 - as the others
    return Verification(NoVerifier())


def _read_token(options: Options, has_public_url: bool) -> Verification | None:  # noqa: ARG001, FBT001 - as the others
    query = options.text("query", "")
    header = _header(options, "header", default="" if query else "Authorization")
    if query and header:
        options.problem("query", "a token stands in a header or in the query, not in both", "take one away")
    prefix = options.text("prefix", "")
    secrets = options.secrets("secret")
    if secrets is None:
        return None
    if not all(secret.isascii() and secret.isprintable() for secret in secrets):
        options.problem("secret", "a token holds characters that a header cannot carry", "use printable ASCII")
        return None
    encoded = tuple(secret.encode() for secret in secrets)
    return Verification(TokenVerifier(header=header or None, query=query or None, prefix=prefix, secrets=encoded))


def _read_basic(options: Options, has_public_url: bool) -> Verification | None:  # noqa: ARG001, FBT001 - as the others
    username = options.text("username", "")
    if not username:
        options.missing("username", "write the name that the sender uses")
    if ":" in username:
        options.problem("username", "a user name for Basic holds no colon", "RFC 7617 cuts there")
    passwords = options.secrets("password")
    return Verification(BasicVerifier(username=username, passwords=passwords)) if passwords else None


def _read_hmac(options: Options, has_public_url: bool) -> Verification | None:  # noqa: FBT001 - as the others
    algorithm = options.choice("algorithm", _ALGORITHMS, "sha256")
    scheme = _read_scheme(options, "hex", has_public_url)
    keys = _read_keys(options, "secret", "text")
    if scheme is None or keys is None:
        return None
    return _with_tolerance(HmacVerifier(scheme, algorithm=algorithm, keys=keys), scheme)


def _read_ed25519(options: Options, has_public_url: bool) -> Verification | None:  # noqa: FBT001 - as the others
    scheme = _read_scheme(options, "base64", has_public_url)
    keys = _read_keys(options, "public_key", "base64")
    if scheme is None or keys is None:
        return None
    try:
        public = tuple(Ed25519PublicKey.from_public_bytes(key) for key in keys)
    except ValueError:
        options.problem("public_key", "an ed25519 public key is 32 bytes", "was it copied whole?")
        return None
    return _with_tolerance(Ed25519Verifier(scheme, keys=public), scheme)


_READERS: Final[Mapping[str, Callable[[Options, bool], Verification | None]]] = {
    "none": _read_none,
    "token": _read_token,
    "basic": _read_basic,
    "hmac": _read_hmac,
    "ed25519": _read_ed25519,
}


def _with_tolerance(verifier: Verifier, scheme: Scheme) -> Verification:
    tolerance = scheme.stamp.tolerance if scheme.stamp else None
    return Verification(verifier, (tolerance,) if tolerance else ())


def _header(options: Options, key: str, *, default: str | None = None) -> str:
    """Read a header's name; "" and a problem if there is none."""
    if key not in options and default is None:
        options.missing(key, "write the header's name, such as X-Signature")
    name = options.text(key, default or "")
    if name and not _HEADER_NAME.fullmatch(name):
        options.problem(key, f"{name[:60]!r} is no header's name", "letters, digits and - alone")
        return ""
    return name.lower()


def _read_keys(options: Options, key: str, default_encoding: str) -> tuple[bytes, ...] | None:
    encoding = options.choice("secret_encoding", ("text", "base64", "hex"), default_encoding)
    prefix = options.text("secret_prefix", "")
    secrets = options.secrets(key)
    if secrets is None:
        return None
    keys = []
    for secret in secrets:
        bare = secret.removeprefix(prefix)
        try:
            decoded = _decode_key(bare, encoding)
        except ValueError:
            where = f" after {prefix}" if prefix else ""
            options.problem(key, f"a secret is not {encoding}{where}", "was it copied whole?")
            return None
        if len(decoded) < 8:
            options.problem(key, "a secret is shorter than 8 bytes, which can be guessed", "was it copied whole?")
            return None
        keys.append(decoded)
    return tuple(keys)


def _decode_key(text: str, encoding: str) -> bytes:
    if encoding == "text":
        return text.encode()
    if encoding == "hex":
        return binascii.unhexlify(text)
    # Some show the secret without its padding.
    return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)


def _read_scheme(options: Options, encoding: str, has_public_url: bool) -> Scheme | None:  # noqa: FBT001 - private
    before = len(options.problems)
    header = _header(options, "header")
    chosen = options.choice("encoding", ("hex", "base64"), encoding)
    prefixes = options.texts("prefix") or ("",)
    separator = options.text("separator", "") or None
    stamp = _read_stamp(options)
    signed = _read_signed(options, has_stamp=stamp is not None or "timestamp" in options, has_public_url=has_public_url)
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


def _read_stamp(options: Options) -> Stamp | None:
    below = options.below("timestamp", hint="write {header: X-Timestamp, tolerance: 5m}")
    if below is None:
        return None
    header = _header(below, "header")
    unit = below.choice("unit", UNITS, "auto")
    tolerance: timedelta | None = DEFAULT_TOLERANCE
    if below.get("tolerance") == "off":
        tolerance = None
    elif "tolerance" in below:
        tolerance = below.duration("tolerance")
        if tolerance is not None and tolerance <= timedelta():
            below.problem("tolerance", "nothing would ever be accepted", "write a time such as 5m, or off")
    below.finish()
    return Stamp(header=header, tolerance=tolerance, unit=cast("Any", unit)) if header else None


def _read_signed(options: Options, *, has_stamp: bool, has_public_url: bool) -> tuple[str | Part, ...]:
    text = options.text("signed", "{body}")
    pieces: list[str | Part] = []
    position = 0
    for found in _PLACEHOLDER.finditer(text):
        if found.start() > position:
            pieces.append(text[position : found.start()])
        position = found.end()
        following = _PLACEHOLDER.split(text[position:], maxsplit=1)[0]
        name, _, header = found[1].strip().partition(".")
        if name in {"body", "timestamp", "method", "url"} and not header:
            pieces.append(Part(name=cast("Any", name)))
        elif name == "header" and _HEADER_NAME.fullmatch(header):
            pieces.append(Part(name="header", header=header.lower(), before=following))
        else:
            options.problem(
                "signed",
                f"{{{found[1][:40]}}} is not known here",
                "there are: {body}, {timestamp}, {method}, {url}, {header.NAME}",
            )
    if position < len(text):
        pieces.append(text[position:])
    names = {piece.name for piece in pieces if isinstance(piece, Part)}
    if "body" not in names:
        options.problem("signed", "the body is not signed, so anyone could change it", "add {body}")
    if "timestamp" in names and not has_stamp:
        options.problem(
            "signed", "{timestamp} needs `timestamp`", "write timestamp: {header: X-Timestamp, tolerance: 5m}"
        )
    if has_stamp and "timestamp" not in names:
        options.problem(
            "signed" if "signed" in options else None,
            "the timestamp is not signed, so anyone could renew it",
            'write it into `signed` as the sender does, such as "{timestamp}.{body}", or take `timestamp` away',
        )
    if "url" in names and not has_public_url:
        options.problem("signed", "{url} needs `public_url`", "write public_url: https://… in hookline.yaml")
    return tuple(pieces)
