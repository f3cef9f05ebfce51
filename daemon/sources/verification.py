"""Read `verify:`, and make what checks a request from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hookline.daemon.sources.body_token import BodyTokenVerifier
from hookline.daemon.sources.options import Options, Path, kind_of
from hookline.daemon.sources.places import parse_direct
from hookline.daemon.sources.port import OptionProblem
from hookline.daemon.sources.proofs import AnyVerifier, BasicVerifier, NoVerifier, TokenVerifier, Verifier
from hookline.daemon.sources.schemes import Scheme
from hookline.daemon.sources.signature_options import (
    PUBLIC_URL_HINT,
    URL_IS_SIGNED,
    read_header,
    read_keys,
    read_scheme,
    read_tolerance,
)
from hookline.daemon.sources.signatures import Ed25519Verifier, digest_verifier, hmac_verifier, learned_verifier
from hookline.daemon.sources.sns import SnsVerifier, is_topic_arn
from hookline.daemon.sources.twilio import TwilioVerifier
from hookline.rules import Json

#: Shorter ones can be guessed.
MIN_SECRET_BYTES = 8
#: Of an SNS message: its retries end after an hour.
SNS_TOLERANCE: Final = timedelta(hours=1)
#: Written as the secret of `hmac`: the sender brings it in a handshake.
LEARNED: Final = "learned"

_ALGORITHMS: Final = ("sha1", "sha256", "sha384", "sha512")
_OPEN: Final = "write `verify: {scheme: hmac, …}` (token, basic), or `verify: none` to accept anything from anyone"


class Verification:
    """What `verify:` says, read."""

    def __init__(self, verifier: Verifier, tolerances: tuple[timedelta, ...] = (), *, learns: bool = False) -> None:
        """`tolerances` are those of its timestamps."""
        self.verifier = verifier
        #: How long a captured request could be sent again: its timestamp may lie as far ahead as behind.
        self.replay_span = max(tolerances, default=timedelta()) * 2
        #: Whether its secrets are those that its sender brings.
        self.learns = learns


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a way to verify may need that its options do not say."""

    has_public_url: bool
    #: Returns the secrets that the source has learned.
    learned: Callable[[], tuple[str, ...]]


def read_verification(
    value: Json,
    *,
    path: Path,
    has_public_url: bool,
    problems: list[OptionProblem],
    learned: Callable[[], tuple[str, ...]] | None = None,
) -> Verification | None:
    """Read one way to verify, or a list of which any is enough. None, with problems, if it cannot be used.

    `learned` returns the secrets of a source that says `secret: learned`, the newest first; it is asked at each
    request. Without it there are none.
    """
    return _read(value, path, Surroundings(has_public_url=has_public_url, learned=learned or tuple), problems)


def _read(value: Json, path: Path, around: Surroundings, problems: list[OptionProblem]) -> Verification | None:
    if value is None:
        problems.append(OptionProblem(path=path[:-1], message="`verify` is missing: a source fails closed", hint=_OPEN))
        return None
    if value == "none":
        return Verification(NoVerifier())
    if isinstance(value, list):
        return _read_ways(value, path, around, problems)
    if not isinstance(value, dict):
        problems.append(OptionProblem(path=path, message=f"expected a mapping, saw {kind_of(value)}", hint=_OPEN))
        return None
    before = len(problems)
    options = Options(value, path, problems)
    if "scheme" not in options:
        options.missing("scheme", f"there are: {', '.join(_READERS)}")
    scheme = options.choice("scheme", _READERS, "")
    verification = _READERS[scheme](options, around) if scheme else None
    if scheme:
        options.finish()
    return verification if len(problems) == before else None


def _read_ways(
    values: list[Json], path: Path, around: Surroundings, problems: list[OptionProblem]
) -> Verification | None:
    # A built-in type leaves null where the user gave no secret for a way.
    ways = [(number, value) for number, value in enumerate(values) if value is not None]
    read = [_read(value, (*path, number), around, problems) for number, value in ways]
    if not ways:
        problems.append(OptionProblem(path=path, message="the list is empty: a source fails closed", hint=_OPEN))
    whole = [one for one in read if one is not None]
    if len(whole) != len(ways) or not whole:
        return None
    if len(whole) == 1:
        return whole[0]
    span = max(one.replay_span for one in whole)
    verifier = AnyVerifier(tuple(one.verifier for one in whole))
    return Verification(verifier, (span / 2,), learns=any(one.learns for one in whole))


def _read_none(options: Options, around: Surroundings) -> Verification:  # noqa: ARG001 - as the others
    return Verification(NoVerifier())


def _read_token(options: Options, around: Surroundings) -> Verification | None:  # noqa: ARG001 - as the others
    if "path" in options:
        return _read_body_token(options)
    query = options.text("query", "")
    header = read_header(options, "header", default="" if query else "Authorization")
    if query and header:
        options.problem("query", "a token stands in a header or in the query, not in both", "take one away")
    prefix = options.text("prefix", "")
    secrets = options.secrets("secret", least=MIN_SECRET_BYTES)
    if secrets is None:
        return None
    if not all(secret.isascii() and secret.isprintable() for secret in secrets):
        options.problem("secret", "a token holds characters that a header cannot carry", "use printable ASCII")
        return None
    encoded = tuple(secret.encode() for secret in secrets)
    return Verification(TokenVerifier(header=header or None, query=query or None, prefix=prefix, secrets=encoded))


def _read_body_token(options: Options) -> Verification | None:
    path = options.text("path", "")
    steps = parse_direct(path) if path.startswith("$") else None
    if not steps:
        options.problem("path", f"{path[:60]!r} is no path of names and [*]", "write it as in $.value[*].clientState")
    secrets = options.secrets("secret", least=MIN_SECRET_BYTES)
    if secrets is None or not steps:
        return None
    encoded = tuple(secret.encode() for secret in secrets)
    return Verification(BodyTokenVerifier(path=path, steps=steps, secrets=encoded))


def _read_basic(options: Options, around: Surroundings) -> Verification | None:  # noqa: ARG001 - as the others
    username = options.text("username", "")
    if not username:
        options.missing("username", "write the name that the sender uses")
    if ":" in username:
        options.problem("username", "a user name for Basic holds no colon", "RFC 7617 cuts there")
    passwords = options.secrets("password", least=MIN_SECRET_BYTES)
    return Verification(BasicVerifier(username=username, passwords=passwords)) if passwords else None


def _read_hmac(options: Options, around: Surroundings) -> Verification | None:
    algorithm = options.choice("algorithm", _ALGORITHMS, "sha256")
    scheme = read_scheme(options, "hex", has_public_url=around.has_public_url)
    if options.get("secret") == LEARNED:
        learned = learned_verifier(scheme, algorithm=algorithm, secrets=around.learned) if scheme else None
        return _with_tolerance(learned, scheme, learns=True) if learned and scheme else None
    keys = read_keys(options, "secret", "text", least=MIN_SECRET_BYTES)
    if scheme is None or keys is None:
        return None
    return _with_tolerance(hmac_verifier(scheme, algorithm=algorithm, keys=keys), scheme)


def _read_digest(options: Options, around: Surroundings) -> Verification | None:
    algorithm = options.choice("algorithm", _ALGORITHMS, "sha256")
    scheme = read_scheme(options, "hex", has_public_url=around.has_public_url)
    keys = read_keys(options, "secret", "text", least=MIN_SECRET_BYTES)
    if scheme is None or keys is None:
        return None
    return _with_tolerance(digest_verifier(scheme, algorithm=algorithm, keys=keys), scheme)


def _read_ed25519(options: Options, around: Surroundings) -> Verification | None:
    scheme = read_scheme(options, "base64", has_public_url=around.has_public_url)
    keys = read_keys(options, "public_key", "base64", least=MIN_SECRET_BYTES)
    if scheme is None or keys is None:
        return None
    try:
        public = tuple(Ed25519PublicKey.from_public_bytes(key) for key in keys)
    except ValueError:
        options.problem("public_key", "an ed25519 public key is 32 bytes", "was it copied whole?")
        return None
    return _with_tolerance(Ed25519Verifier(scheme, keys=public), scheme)


def _read_twilio(options: Options, around: Surroundings) -> Verification | None:
    if not around.has_public_url:
        options.problem("scheme", URL_IS_SIGNED, PUBLIC_URL_HINT)
    keys = read_keys(options, "secret", "text", least=MIN_SECRET_BYTES)
    return Verification(TwilioVerifier(keys=keys)) if keys else None


def _read_sns(options: Options, around: Surroundings) -> Verification | None:  # noqa: ARG001 - as the others
    topics = options.texts("topics")
    if "topics" not in options:
        options.missing("topics", "name them: anyone with an account at Amazon can send messages that are signed")
    wrong = [number for number, topic in enumerate(topics or ()) if not is_topic_arn(topic)]
    for number in wrong:
        hint = "write its ARN, as in arn:aws:sns:us-east-2:123456789012:orders"
        options.problem("topics", f"{(topics or ())[number][:80]!r} is no topic", hint, item=number)
    tolerance = read_tolerance(options, SNS_TOLERANCE)
    if topics is None or wrong:
        return None
    return Verification(SnsVerifier(topics=topics, tolerance=tolerance), (tolerance,) if tolerance else ())


#: All that may be written in one way to verify, whatever its scheme.
VERIFY_KEYS: Final = frozenset(
    {"scheme", "secret", "header", "algorithm", "encoding", "prefix", "separator", "signed", "timestamp", "path",
     "secret_encoding", "secret_prefix", "public_key", "query", "username", "password", "topics", "tolerance"}
)  # fmt: skip

_READERS: Final[Mapping[str, Callable[[Options, Surroundings], Verification | None]]] = {
    "hmac": _read_hmac,
    "ed25519": _read_ed25519,
    "digest": _read_digest,
    "token": _read_token,
    "basic": _read_basic,
    "twilio": _read_twilio,
    "sns": _read_sns,
    "none": _read_none,
}


def _with_tolerance(verifier: Verifier, scheme: Scheme, *, learns: bool = False) -> Verification:
    tolerance = scheme.stamp.tolerance if scheme.stamp else None
    return Verification(verifier, (tolerance,) if tolerance else (), learns=learns)
