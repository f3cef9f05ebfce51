"""Source types as files: the built-in ones are in order, a user's mistakes have places, packages bring code."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.build import build_source, check_options
from hookline.daemon.sources.port import IncomingRequest, RequestRejected, SourceSettings
from hookline.daemon.sources.samples import make_sample, sample_types
from hookline.daemon.sources.type_file import SUFFIX, read_type
from hookline.daemon.sources.types import BUILT_IN, SourceTypes, load_source_types
from hookline.rules import World, load_rules
from hookline.rules.document import Findings

NOW = datetime(2026, 5, 18, 12, tzinfo=UTC)
DOCS = Path(__file__).resolve().parents[3] / "docs" / "source-types.md"
GOOD = """\
title: Tracker
about: It signs the body.
setup: ["Give it {url}."]
options:
  secret: {to: [verify.secret], is_required: true, about: "the secret"}
declaration:
  verify: {scheme: hmac, header: X-Sig}
  event: {type: $.kind, id: $.id}
"""


def settings(kind: str, **options: Any) -> SourceSettings:
    return SourceSettings(name="here", type=kind, options=options)


def mistakes(kind: str, types: SourceTypes = BUILT_IN, **options: Any) -> list[str]:
    found = check_options(settings(kind, **options), types=types, has_public_url=True)
    return [f"{'.'.join(map(str, one.path))}: {one.message}" for one in found]


def types_of(folder: Path, **files: str) -> SourceTypes:
    for name, text in files.items():
        (folder / f"{name}{SUFFIX}").write_text(text)
    return load_source_types(folder)


def world(name: str, types: SourceTypes) -> World:
    """Return what a rule to start from may refer to: a source of the type's name, and no destination."""
    return World(
        # What a generic source is called is the user's.
        sources={"shop" if name == "generic" else name: types.event_types(name)},
        destinations={},
        actions={"forward", "email"},
        lookup=Secrets({}, folder=Path()),
        version="0",
    )


def the_mistake(folder: Path, text: str) -> str:
    types = types_of(folder, mine=text)
    assert "mine" not in types
    assert str(folder / "mine.source.yaml") in types.broken["mine"]
    return "\n".join(str(problem).removeprefix(f"{folder}/") for problem in types.problems)


# What comes with Hookline.


@pytest.mark.parametrize("name", BUILT_IN.names)
def test_a_built_in_type_is_in_order(name: str) -> None:
    file = resources.files("hookline.daemon.sources") / "builtin" / f"{name}{SUFFIX}"
    findings = Findings()
    kind = read_type(name, file.read_bytes(), file=file.name, origin="built in", findings=findings)
    assert [str(problem) for problem in findings.problems] == []
    assert kind is not None
    assert kind.about.strip()
    assert "{url}" in "".join(kind.setup) or name == "generic"
    assert BUILT_IN.get(name) is BUILT_IN.get(name)


@pytest.mark.parametrize("name", BUILT_IN.names)
def test_a_built_in_types_rule_loads(name: str) -> None:
    rules = load_rules({"rules.yaml": BUILT_IN.get(name).rule}, world(name, BUILT_IN))
    assert rules.rules
    assert rules.warnings == ()


def test_reading_one_type_reads_no_other() -> None:
    code = (
        "import hookline.daemon.sources.types as t; read = []; real = t.read_type\n"
        "t.read_type = lambda name, *a, **k: (read.append(name), real(name, *a, **k))[1]\n"
        "t.BUILT_IN.get('agiled'); t.BUILT_IN.get('agiled'); t.BUILT_IN.get('agave'); print(read)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "['agiled', 'agave']"


def test_help_reads_no_source_types() -> None:
    code = (
        "import sys; from hookline.daemon.commands import cli; cli(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith('hookline.daemon.sources')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_an_unknown_type_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        BUILT_IN.get("no-such-type")
    assert "no-such-type" not in BUILT_IN
    assert mistakes("agild") == ['type: unknown source type "agild"']


# How options fill a declaration in.


def test_what_a_required_secret_is_missing_for() -> None:
    assert mistakes("github") == [": `secret` is missing"]
    assert mistakes("github", verify="none") == []
    assert mistakes("github", verify="none", secret="x" * 9) == ["secret: it has no effect beside `verify`"]
    assert mistakes("github", verify={"scheme": "hmac"}) == ["verify: github knows how to verify; saw a mapping"]


def test_one_of_several_ways_is_enough() -> None:
    assert mistakes("gitlab") == [": `token` or `signing_token` is missing"]
    assert mistakes("gitlab", token="x" * 9) == []
    assert mistakes("gitlab", token="x" * 9, tolerance="1m") == ["tolerance: it has no effect beside the other options"]
    whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert mistakes("gitlab", signing_token=whsec, tolerance="1m") == []
    assert mistakes("gitlab", signing_token="whsec_!!!!") == ["signing_token: a secret is not base64 after its prefix"]
    assert mistakes("gitlab", token="x" * 9, signing_token=whsec, tolerance=5) == [
        "tolerance: expected a duration, saw a number"
    ]


def test_a_type_may_let_the_user_choose_how_to_verify() -> None:
    assert mistakes("cloudevents") == [": `token` or `verify` is missing"]
    assert mistakes("cloudevents", verify="none") == []
    assert mistakes("cloudevents", verify={"scheme": "basic", "username": "u", "password": "p" * 9}) == []
    assert mistakes("cloudevents", verify={"scheme": "basic", "username": "u", "password": "p"}) == [
        "verify.password: the secret is shorter than 8 characters, which can be guessed"
    ]
    assert mistakes("cloudevents", verify="none", token="x" * 9) == ["token: it has no effect beside `verify`"]


def test_words_that_stand_for_parts_of_a_declaration() -> None:
    secret = "x" * 9
    assert mistakes("hubspot", secret=secret, versions=["v3", "v1"]) == []
    assert mistakes("hubspot", secret=secret, versions="v2") == []
    assert mistakes("hubspot", secret=secret, versions=["v3", "v4"]) == ['versions: "v4" is not known here']
    assert mistakes("hubspot", secret=secret, versions=3) == ["versions: a number is not known here"]
    assert mistakes("hubspot", secret=secret, versions=[]) == ["versions: the list is empty"]
    # It goes into each version that was chosen, and a mistake in it is reported once.
    assert mistakes("hubspot", secret="short", versions=["v3", "v1"]) == [
        "secret: the secret is shorter than 8 characters, which can be guessed"
    ]
    assert mistakes("shopify", secret=secret, distinguish_topics=True) == []
    assert mistakes("shopify", secret=secret, distinguish_topics="false") == []
    assert mistakes("shopify", secret=secret, distinguish_topics="yes") == [
        'distinguish_topics: "yes" is not known here'
    ]


def test_what_signs_the_url_needs_a_public_url() -> None:
    for kind in ("hubspot", "twilio"):
        (problem,) = check_options(settings(kind, secret="x" * 9), has_public_url=False)
        assert "public_url" in problem.message


def test_an_option_that_is_not_given_takes_its_place_with_it() -> None:
    source: Any = build_source(settings("meta", secret="x" * 9), batch_limit=9, dedupe_window=timedelta(days=1))
    assert (source.declaration.handshakes, source.prepares) == ((), False)
    source = build_source(
        settings("meta", secret="x" * 9, verify_token="typed by hand"), batch_limit=9, dedupe_window=timedelta(days=1)
    )
    assert "GET" in source.methods
    assert mistakes("meta", secret="x" * 9, verify_token=5) != []
    assert mistakes("meta", secret="x" * 9, verify_token=5)[0].startswith("verify_token")


# A user's own.


def test_a_users_type_is_read_and_used(tmp_path: Path) -> None:
    types = types_of(tmp_path, mine=GOOD)
    assert types.problems == ()
    assert set(types.names) == {*BUILT_IN.names, "mine"}
    assert types.get("mine").origin == str(tmp_path / "mine.source.yaml")
    assert mistakes("mine", types) == [": `secret` is missing"]
    source = build_source(settings("mine", secret="x" * 9), types=types, batch_limit=9, dedupe_window=timedelta(days=1))
    assert source.name == "here"
    sample = make_sample(settings("mine", secret="x" * 9), "made", now=NOW, types=types)
    assert b'"kind": "made"' in sample.body


def test_the_docs_example_is_a_source_type_with_its_sample(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(# plugins/(\w+)\.source\.yaml\n.*?)```", DOCS.read_text(), re.DOTALL)
    assert [name for _, name in examples] == ["tracker"]
    types = types_of(tmp_path, **{name: text for text, name in examples})
    assert [str(problem) for problem in types.problems] == []
    options = settings("tracker", secret="x" * 9)
    # `issue.closed` is made of its neighbour: the vendor's file has one sample.
    assert sample_types("tracker", types) == ["issue.opened", "issue.closed"]
    source = build_source(options, types=types, batch_limit=9, dedupe_window=timedelta(days=1))
    for event_type in sample_types("tracker", types):
        sample = make_sample(options, event_type, now=NOW, types=types)
        request = IncomingRequest(
            method=sample.method,
            subpath="",
            url=None,
            headers=tuple(sample.headers.items()),
            query=(),
            client_ip="",
            body=sample.body,
            received_at=NOW,
        )
        source.verify(request)
        (event,) = source.normalize(request)
        assert (event.type, event.subject, event.occurred_at) == (event_type, "issue/7", NOW)
    rule = types.get("tracker").rule
    assert load_rules({"rules.yaml": rule}, world("tracker", types)).warnings == ()
    mistyped = load_rules({"rules.yaml": rule.replace("issue.opened", "issue.opend")}, world("tracker", types))
    assert ["issue.opened" in str(warning) for warning in mistyped.warnings] == [True]


def test_the_docs_second_example_is_in_order(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (options,) = [text for text in blocks if text.startswith("options:")]
    types = types_of(tmp_path, mine=f"title: T\nabout: A.\nsetup: ['{{url}}']\n{options}")
    assert [str(problem) for problem in types.problems] == []
    assert (
        mistakes("mine", types, secret="x" * 9, versions=["v3", "v1"], distinguish_topics=True, verify_token="y" * 9)
        == []
    )
    assert mistakes("mine", types, secret="x" * 9) == []


def test_every_key_is_in_the_docs() -> None:
    text = DOCS.read_text()
    keys: tuple[str, ...] = (
        "title",
        "about",
        "setup",
        "options",
        "one_of",
        "declaration",
        "event_types",
        "sample",
        "samples",
        "rule",
    )
    keys += (
        "to",
        "is_required",
        "values",
        "is_list",
        "unused",
        "headers",
        "fresh",
        "content_type",
        "method",
        "exceptions",
    )
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (GOOD, "", "mine.source.yaml:1:1: the file is empty"),
        (GOOD, "- a", "mine.source.yaml:1:1: a source type is a mapping: key: value"),
        (GOOD, "title: [", "mine.source.yaml:1:8: "),
        ("title: Tracker\n", "", "mine.source.yaml:1:1: `title` is missing"),
        ("title:", "titel: x\ntitle:", 'mine.source.yaml:1:1: titel: unknown key "titel"; did you mean "title"?'),
        ("title: Tracker", "title: 5", "mine.source.yaml:1:8: title: expected a text, saw a number"),
        ("[verify.secret]", "verify.secret", "options.secret.to: expected a list of texts, saw a text"),
        ("[verify.secret]", "[verify.deep.secret]", "mine.source.yaml:5:17: options.secret.to[0]: there is no place 'verify.deep.secret'"),
        ("[verify.secret]", '["verify.0.secret"]', "there is no place 'verify.0.secret' in the declaration"),
        (', about: "the secret"', "", "mine.source.yaml:5:11: options.secret: `about` is missing"),
        ("is_required: true", "is_required: yes", "options.secret.is_required: expected true or false, saw a text"),
        ("is_required: true", "required: true", 'unknown key "required"; did you mean "is_required"?'),
        ("is_required: true", "is_list: true", "options.secret.is_list: it needs `values`"),
        ("is_required: true", "is_required: true, unused: [verify]", "options.secret.unused: the option is required"),
        ("  secret: {", "  type: {", 'options.type: "type" cannot be the name of an option; every source has it'),
        ("declaration:", "one_of: [secrets]\ndeclaration:", "one_of[0]: no option 'secrets'; did you mean \"secret\"?"),
        ("scheme: hmac", "scheme: hmc", 'mine.source.yaml:7:20: declaration.verify.scheme: "hmc" is not known here; did you mean "hmac"?'),
        ("id: $.id", "id: fixed", "mine.source.yaml:8:29: declaration.event.id: 'fixed' is the same for every event"),
        ("id: $.id", "ids: $.id", 'declaration.event.ids: unknown key "ids"'),
        ("declaration:", "sample: {fresh: {$.id: uid}}\ndeclaration:", "sample.fresh.$.id: 'uid' is nothing that can be made anew; there are: id, uuid"),
        ("declaration:", "sample: {fresh: {id: id}}\ndeclaration:", "sample.fresh.id: 'id' is no path of names"),
        ("declaration:", 'sample: {headers: {X-A: "{type|frist .}"}}\ndeclaration:', "sample.headers.X-A: no filter 'frist'"),
        ("declaration:", "sample: {method: post}\ndeclaration:", "sample.method: 'post' is no method"),
        ("declaration:", "sample: {exceptions: {a.b: {exceptions: {}}}}\ndeclaration:", 'unknown key "exceptions"'),
        ("declaration:", "event_types: [a, a]\ndeclaration:", "event_types: something stands twice in the list"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_users_file_has_its_place(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    assert told in the_mistake(tmp_path, GOOD.replace(old, new))


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    told = the_mistake(tmp_path, GOOD.replace("title: Tracker", "titel: 5").replace('about: "the', 'abuot: "the'))
    assert len(told.splitlines()) == 4


def test_a_user_may_not_take_a_built_in_name(tmp_path: Path) -> None:
    types = types_of(tmp_path, github=GOOD)
    (problem,) = types.problems
    assert str(problem) == (
        f'{tmp_path}/github.source.yaml:1:1: there is a source type "github" already: built in; rename the file'
    )
    assert types.get("github").origin == "built in"


def test_names_and_files_that_cannot_be(tmp_path: Path) -> None:
    types = types_of(tmp_path, **{"My type": GOOD, ".hidden": "x", "_kept": "x"})
    assert ['"My type" cannot be the name of a source type' in str(one) for one in types.problems] == [True]
    (tmp_path / f"folder{SUFFIX}").mkdir()
    assert any("is not a regular file" in str(one) for one in load_source_types(tmp_path).problems)


def test_without_a_users_types_the_registry_is_the_built_in_one(tmp_path: Path) -> None:
    assert load_source_types(None) is BUILT_IN
    assert load_source_types(tmp_path) is BUILT_IN


# Code, from packages.

PACKAGE = '''
from datetime import timedelta
from hookline.daemon.sources.port import Answer, NormalizedEvent, OptionProblem, RequestRejected


class Telegraph:
    """A source that no declaration can say: it counts words."""

    answer, methods, prepares, public_url = Answer(), frozenset({"POST"}), False, None
    credential_headers = credential_query = frozenset()

    def __init__(self, settings, dedupe_window):
        self.name, self.dedupe_window, self._words = settings.name, dedupe_window, settings.options["words"]

    async def prepare(self, request):
        return None

    def verify(self, request):
        if len(request.body.split()) != self._words:
            raise RequestRejected("signature", 401, "not as many words as were paid for")

    def normalize(self, request):
        return (NormalizedEvent(type="telegram", sender_id=None, key="k", tenant=None, occurred_at=None,
                                payload=request.body.decode(), envelope=None, pointer=None),)


class TelegraphType:
    title = "Telegraph"
    event_types = ["telegram"]

    def check(self, settings, *, has_public_url):
        if settings.options.get("crash"):
            raise SystemExit("the line is dead")
        if "words" in settings.options:
            return []
        return [OptionProblem(path=(), message="`words` is missing", hint="how many are paid for")]

    def build(self, settings, *, batch_limit, dedupe_window, outside, learned):
        return Telegraph(settings, dedupe_window)


source_type = TelegraphType()
half = object()
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceTypes:
    (tmp_path / "telegraph_package.py").write_text(PACKAGE)
    about = tmp_path / "telegraph_package-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: telegraph-package\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(
        "[hookline.sources]\ntelegraph = telegraph_package:source_type\nhalf = telegraph_package:half\n"
        "bad = not_there_at_all\ngithub = telegraph_package:source_type\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    types = load_source_types(None)
    sys.modules.pop("telegraph_package", None)
    return types


def test_a_package_brings_a_source_type(package: SourceTypes) -> None:
    kind = package.get("telegraph")
    assert (kind.title, kind.event_types, kind.origin) == ("Telegraph", ("telegram",), "package telegraph-package 1.2")
    assert mistakes("telegraph", package) == [": `words` is missing"]
    source = build_source(settings("telegraph", words=2), types=package, batch_limit=9, dedupe_window=timedelta(days=1))
    request = IncomingRequest(
        method="POST", subpath="", url=None, headers=(), query=(), client_ip="", body=b"send money", received_at=NOW
    )
    source.verify(request)
    assert source.normalize(request)[0].payload == "send money"
    with pytest.raises(RequestRejected):
        build_source(
            settings("telegraph", words=1), types=package, batch_limit=9, dedupe_window=timedelta(days=1)
        ).verify(request)
    with pytest.raises(
        ValueError, match=r"package telegraph-package 1\.2 brings the source type telegraph, and no samples"
    ):
        make_sample(settings("telegraph", words=2), None, now=NOW, types=package)
    assert sample_types("telegraph", package) == []


def test_a_package_that_fails_is_named(package: SourceTypes) -> None:
    told = [str(problem) for problem in package.problems]
    ends = f"mend it, or remove it from this environment: {sys.executable} -m pip uninstall telegraph-package"
    assert told == [
        (
            "plugins: the source type bad of package telegraph-package 1.2: ModuleNotFoundError: "
            f"No module named 'not_there_at_all'; {ends}"
        ),
        (
            'plugins: there is a source type "github" already: built in; '
            "remove one of them; this one is of package telegraph-package 1.2"
        ),
        (
            "plugins: the source type half of package telegraph-package 1.2: TypeError: it has no `title`, `check` and "
            f"`build`: docs/source-types.md says what it must have; {ends}"
        ),
    ]
    assert set(package.broken) == {"bad", "half"}


def test_a_package_whose_code_raises_is_named(package: SourceTypes) -> None:
    assert mistakes("telegraph", package, crash=True) == [
        ": package telegraph-package 1.2 could not check the source: SystemExit: the line is dead"
    ]
    with pytest.raises(ValueError, match=r"sources\.here: package telegraph-package 1\.2 could not build it: KeyError"):
        build_source(settings("telegraph"), types=package, batch_limit=9, dedupe_window=timedelta(days=1))
