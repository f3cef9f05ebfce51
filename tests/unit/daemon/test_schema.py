"""The schemas say what the readers say: what loads fits them, and what is wrong by its shape does not."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from hookline.daemon.actions.local_runner import LocalRunner
from hookline.daemon.config.load import load_settings
from hookline.daemon.config.section import Section
from hookline.daemon.schema.configuration import configuration_schema
from hookline.daemon.schema.declaration import SECTIONS, WAYS
from hookline.daemon.schema.known import Known, known_in
from hookline.daemon.schema.modifiers import bounds, modifiers
from hookline.daemon.schema.rule_tests import rule_tests_schema
from hookline.daemon.schema.rules import rules_schema
from hookline.daemon.secrets import Secrets
from hookline.daemon.sources.declaration import read_declaration
from hookline.daemon.sources.options import Options
from hookline.daemon.sources.types import BUILT_IN
from hookline.daemon.sources.verification import _READERS, Surroundings
from hookline.rules import RulesError, World, load_rules
from hookline.rules.bounds import _BOUNDS, _BREAKER
from hookline.rules.document import Entries, Findings
from hookline.rules.gate_modifiers import _CHANGED, _DIGEST, _ONCE
from hookline.rules.load import FILE_KEYS
from hookline.rules.modifiers import BOUND_NAMES, MODIFIER_NAMES, parse_modifiers
from hookline.rules.parse_test import _COUNTED, _NAMES
from hookline.rules.reader import read_bytes, read_document
from hookline.rules.retry_modifier import _EXPONENTIAL, _PARTS
from hookline.rules.rule_reader import _DEFAULT_KEYS, RULE_KEYS
from hookline.rules.rule_test_reader import FACT_KEYS, TEST_FILE_KEYS, TEST_KEYS

ROOT = Path(__file__).resolve().parents[3]
INVALID = ROOT / "tests" / "data" / "invalid"
CONFIG = """\
version: 1
sources:
  agiled: {type: agiled, secret: 0123456789abcdef}
  shop: {type: generic, verify: none, path_token: 0123456789abcdef}
destinations:
  finance: {slack: {url: https://example.com/x}}
  erp: {forward: {url: https://example.com/y}}
  mail: {email: {server: localhost:25, from: a@x.example, to: b@x.example}}
vars: {place: Leeds}
"""


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "unit" / "rules" / f"{name}.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


WORLD: World = module("rule_world").WORLD
strategies: Any = module("strategies")


def runner_of(path: Path) -> LocalRunner:
    loaded = load_settings(path, environ={}, offline=True)
    return LocalRunner(loaded, Secrets({}, folder=path.parent), is_offline=True)


def known_of(path: Path) -> Known:
    return known_in(load_settings(path, environ={}, offline=True), anyio.run(runner_of(path).inspect))


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("schema") / "hookline.yaml"
    made.write_text(CONFIG)
    return made


@pytest.fixture(scope="module")
def runner(configured: Path) -> LocalRunner:
    return runner_of(configured)


@pytest.fixture(scope="module")
def known(configured: Path) -> Known:
    return known_of(configured)


@pytest.fixture(scope="module")
def rules(known: Known) -> Draft7Validator:
    return Draft7Validator(rules_schema(known))


@pytest.fixture(scope="module")
def config(known: Known) -> Draft7Validator:
    return Draft7Validator(configuration_schema(known))


@pytest.fixture(scope="module")
def rule_tests(known: Known) -> Draft7Validator:
    return Draft7Validator(rule_tests_schema(known))


def parsed(text: str | bytes) -> Any:
    """Return the document as data; raises `ValueError` if it is wrong as YAML."""
    findings = Findings()
    node = read_bytes(text if isinstance(text, bytes) else text.encode(), "x.yaml", findings)
    if node is None or findings.has_errors:
        raise ValueError(findings.problems)
    return node.plain()


def told(schema: Draft7Validator, document: Any) -> list[str]:
    """Return what an editor would say, each with its place."""
    return [
        f"{'.'.join(map(str, error.absolute_path))}: "
        f"{error.schema.get('errorMessage', error.message) if isinstance(error.schema, Mapping) else error.message}"
        for error in schema.iter_errors(document)
    ]


def rule(text: str) -> Any:
    """Return a file with one rule, whose lines below its name are given."""
    return parsed("rules:\n  - name: a\n" + "".join(f"    {line}\n" for line in text.splitlines()))


# What fits


EXAMPLES = sorted(ROOT.glob("examples/*/hookline.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_fits(path: Path) -> None:
    there = known_of(path)
    assert told(Draft7Validator(configuration_schema(there)), parsed(path.read_text())) == []
    files = sorted((path.parent / "rules").glob("*.yaml"))
    assert files
    for file in files:
        schema = rule_tests_schema(there) if file.name.endswith(".test.yaml") else rules_schema(there)
        assert told(Draft7Validator(schema), parsed(file.read_text())) == [], file


def yaml_blocks() -> list[Any]:
    """Return what the documents show of rules, tests and configurations, whole files or the parts that they speak of."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)):
            document = parsed(block)
            keys = set(document) if isinstance(document, dict) else set()
            if keys & {"rules", "fallback"} and "version" not in keys:
                found.append(pytest.param(0, document, id=f"{path.stem}-{number}"))
            elif keys & {"version", "sources", "destinations"}:
                found.append(pytest.param(1, {"version": 1, **document}, id=f"{path.stem}-{number}"))
            elif "tests" in keys:
                found.append(pytest.param(2, document, id=f"{path.stem}-{number}"))
    return found


@pytest.fixture(scope="module")
def documents_schemas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Draft7Validator, ...]:
    """Return the schemas for a configuration that has what the documents speak of."""
    slack, forward = "slack: {url: https://a.example/x}", "forward: {url: https://a.example/y}"
    mail = "email: {server: localhost:25, from: a@x.example, to: b@x.example}"
    actions = {"erp": forward, "finance": slack, "mail": mail, "sales": slack, "archive": "log: ", "chat": slack}
    destinations = "".join(f"  {name}: {{{action}}}\n" for name, action in actions.items())
    sources = "".join(f"  {name}: {{type: {name}, verify: none}}\n" for name in BUILT_IN.names if name != "generic")
    sources += "  shop: {type: generic, verify: none}\n  tracker: {type: generic, verify: none}\n"
    path = tmp_path_factory.mktemp("documents") / "hookline.yaml"
    path.write_text(f"version: 1\nsources:\n{sources}destinations:\n{destinations}")
    there = known_of(path)
    return (
        Draft7Validator(rules_schema(there)),
        Draft7Validator(configuration_schema(there)),
        Draft7Validator(rule_tests_schema(there)),
    )


@pytest.mark.parametrize(("kind", "document"), yaml_blocks())
def test_every_block_of_the_documents_fits(
    kind: int, document: Any, documents_schemas: tuple[Draft7Validator, ...]
) -> None:
    assert told(documents_schemas[kind], document) == []


def rule_texts() -> list[str]:
    """Return every text in our tests that is a file of rules and loads without a complaint."""
    found: dict[str, None] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "name:" in node.value:
                found[node.value] = None
                found[f"rules:\n{node.value}"] = None
    return list(found)


def test_every_rule_of_our_tests_that_is_right_fits(rules: Draft7Validator, runner: LocalRunner) -> None:
    fitting = 0
    for text in rule_texts():
        try:
            loaded = load_rules({"a.yaml": text}, WORLD)
        except RulesError:
            continue
        if loaded.rules and not loaded.warnings and not anyio.run(runner.validate, loaded.steps):
            assert told(rules, parsed(text)) == [], text
            fitting += 1
    assert fitting >= 20


# What does not fit


#: What a schema cannot see, and why.
UNSEEN = {
    "admin_shares_public_address": "two places that say the same",
    "bad_port": "a number in a text",
    "bad_public_url": "what is a URL, no pattern says",
    "body_larger_than_all": "two places",
    "dedupe_too_short": "how long a duration is",
    "empty_secret": "what a reference stands for",
    "failure_budget_too_long": "how long a duration is",
    "file_missing": "what a reference stands for",
    "hold_window_without_zone": "what is a window, no pattern says",
    "malformed_reference": "the grammar of references",
    "network_with_host_bits": "what is a network, no pattern says",
    "secret_as_variable": "variables are anything",
    "unset_name": "what a reference stands for",
    "unset_variable": "what a reference stands for",
    "worker_memory_too_small": "how much a size is",
    "yaml_syntax_in_value": "what a reference stands for",
}
UNSEEN_RULES = {
    "condition_names_itself": "names that lead in a circle",
    "delay_too_long": "how long a duration is",
    "digest_by_default": "two places that do not go together",
    "duplicate_name": "names are unique across files",
    "during_of_no_day": "what is a window, no pattern says",
    "during_without_zone": "what is a window, no pattern says",
    "malformed_reference": "the grammar of references",
    "modifier_of_a_secret": "what a reference stands for",
    "modifier_of_an_unknown_variable": "what a reference stands for",
    "once_per_broken_path": "the grammar of paths",
    "path_broken": "the grammar of paths",
    "path_function": "the grammar of paths",
    "path_too_long": "the grammar of paths",
    "path_two_descendants": "the grammar of paths",
    "regex_backreference": "what RE2 takes",
    "regex_lookahead": "what RE2 takes",
    "retry_gives_up_first": "how long a duration is",
    "secret_in_variable": "variables are anything",
    "unknown_variable": "variables may stand in another file",
    "unknown_variable_in_condition": "variables may stand in another file",
    "unknown_variable_in_template": "the grammar of templates",
    "unset_secret": "what a reference stands for",
    "variable_twice": "names are unique across files",
    "unknown_condition": "names may stand in another file, or further down in this one",
    "as_alone": "what must stand beside a key",
    "as_with_where": "which operators go with `as`",
    "cidr_of_a_name": "what is a network, no pattern says",
    "cidr_with_host_bits": "what is a network, no pattern says",
    "environment_in_key": "the grammar of paths",
    "path_in_a_reference_too_long": "the grammar of paths",
    "path_name_with_dash": "the grammar of paths",
    "path_of_1000_characters": "the grammar of paths",
    "path_of_40_steps": "the grammar of paths",
    "path_operand_broken": "the grammar of paths",
    "path_parent": "the grammar of paths",
    "path_regex_filter": "the grammar of paths",
    "path_script": "the grammar of paths",
    "path_three_descendants": "the grammar of paths",
    "path_brackets_multiply": "the grammar of paths",
    "descendants_within_descendants": "the grammar of paths",
    "path_union_of_names": "the grammar of paths",
    "regex_lookbehind": "what RE2 takes",
    "regex_possessive": "what RE2 takes",
    "regex_too_large": "what RE2 takes",
    "regex_unclosed": "what RE2 takes",
    "text_read_as_number": "what can be read as what",
    "time_that_is_none": "what is a time, no pattern says",
    "window_of_no_day": "the grammar of windows",
    "window_without_zone": "the grammar of windows",
}


def is_yaml(data: bytes) -> bool:
    try:
        parsed(data)
    except ValueError:
        return False
    return True


MISTAKES = [path for path in sorted(INVALID.glob("*.yaml")) if is_yaml(path.read_bytes())]
RULE_MISTAKES = [path for path in sorted((INVALID / "rules").glob("*.yaml")) if is_yaml(path.read_bytes())]


@pytest.mark.parametrize("path", MISTAKES, ids=lambda path: path.stem)
def test_a_mistake_in_a_configuration_is_seen(path: Path, config: Draft7Validator) -> None:
    assert bool(told(config, parsed(path.read_bytes()))) != (path.stem in UNSEEN)


@pytest.mark.parametrize("path", RULE_MISTAKES, ids=lambda path: path.stem)
def test_a_mistake_in_rules_is_seen(path: Path, rules: Draft7Validator) -> None:
    is_template = path.stem.startswith("template_") and path.stem != "template_in_key"
    assert bool(told(rules, parsed(path.read_bytes()))) != (path.stem in UNSEEN_RULES or is_template)


def test_what_a_schema_cannot_see_is_there() -> None:
    assert set(UNSEEN) <= {path.stem for path in MISTAKES}
    assert set(UNSEEN_RULES) <= {path.stem for path in RULE_MISTAKES}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("do: finanse", "rules.0.do: no destination or action; there are: finance, erp, mail, "),
        ("from: agild\ndo: erp", "rules.0.from: no source of this name; there are: agiled, shop, hookline"),
        ("when: {$.a: {gt_e: 5}}\ndo: erp", "rules.0.when.$.a: unknown operator; a test has: eq, ne, in, not_in,"),
        ("when: {$.a: {}}\ndo: erp", "rules.0.when.$.a: {} should be non-empty"),
        ("when: {$.a: null}\ndo: erp", "rules.0.when.$.a: compared with nothing: write {eq: null} for a JSON null, {ex"),
        ("when: {type: null}\ndo: erp", "rules.0.when.type: compared with nothing: write {exists: false}"),
        ("when: {type: true}\ndo: erp", "rules.0.when.type: is text: put it in quotes"),
        ("when: {$.a: {in: 5}}\ndo: erp", "rules.0.when.$.a.in: takes a list, or the path of one"),
        ("when: {$.a: {exists: 1}}\ndo: erp", "rules.0.when.$.a.exists: takes true or false"),
        ("when: {$.a: {count: 1.5}}\ndo: erp", "rules.0.when.$.a.count: a count is a whole number"),
        ("when: {$.a: {count: {gt: x}}}\ndo: erp", "rules.0.when.$.a.count.gt: a count is a whole number"),
        ("when: {$.a: {is: strng}}\ndo: erp", "rules.0.when.$.a.is: JSON types are array, boolean, integer, null,"),
        ("when: {$.a: {as: text, every: {$.b: {gtt: 1}}}}\ndo: erp", "rules.0.when.$.a.every.$.b: unknown operator;"),
        ("when: {$.a: {where: {gt: [1]}}}\ndo: erp", "rules.0.when.$.a.where.gt: compares numbers, or text with text"),
        ("when: {payload.a: 1}\ndo: erp", "rules.0.when: not something a condition can look at: write a path"),
        ("when: {header.: 1}\ndo: erp", "rules.0.when: not something a condition can look at: write a path"),
        ("when: [{$.a: 1}]\ndo: erp", "rules.0.when: a condition is a mapping, such as $.data.id: 1; for a list put all"),
        ("when: {all: []}\ndo: erp", "rules.0.when.all: [] should be non-empty"),
        ("when: {not: {$.a: 1, $.b: 1}}\ndo: erp", "rules.0.when.not: several keys under not: write not: [{…}, {…}]"),
        ("from: agiled\non: invoice.payd\ndo: erp", "rules.0.on: agiled never sends this: it sends account.created,"),
        ("from: hookline\non: [delivery.ded]\ndo: erp", "rules.0.on.0: hookline never sends this: it sends delivery.dead"),
        ("do: [{erp: {}, finance: {}}]", "rules.0.do.0: one step names one destination or action: write each as an item"),
        ("do: {timeout: 5s}", "rules.0.do: the step names no destination or action; there are: finance, erp"),
        ("do: {erp: {}, timeout: 5}", "rules.0.do.timeout: not a duration: write it as in 250ms, 10s, 5m, 2h30m or 7d"),
        ("do: {erp: {}, retry: 5}", "rules.0.do.retry: write {schedule: [5s, 5m, 1h]}, or none to give up at once"),
        ("do: {erp: {}, retry: {jitter: 200%}}", "rules.0.do.retry.jitter: not a share: write 0% to 100%, as in 20%"),
        ("do: {erp: {}, order_by: payload.id}", "rules.0.do.order_by: neither a path nor a field of the event: write a"),
        ("do: {erp: {}, once: {per: tenant}}", "rules.0.do.once: 'within' is a required property"),
        ("do: {erp: {}, once: {per: [], within: 5m}}", "rules.0.do.once.per: [] should be non-empty"),
        ("do: {erp: {}, once: {per: a, within: 5}}", "rules.0.do.once.within: not a duration: write it as in 250ms, 10s"),
        ("do: {erp: {}, digest: {evry: 1h}}", "rules.0.do.digest: unknown key; digest has: every, per, max, on_stop"),
        ("do: {erp: {}, changed: {of: $.a, per: $.b, to: null}}", "rules.0.do.changed.to: compared with nothing: write"),
        ("do: {erp: {}, changed: {of: $.a, per: $.b, from: x, first: true}}", "rules.0.do.changed: first and from contr"),
        ("do: {erp: {}, retry: {on: [200]}}", "rules.0.do.retry.on.0: not a status, or a range of them: write 300 to 599"),
        ("do: {erp: {}, retry: {exponential: {first: 5s}}}", "rules.0.do.retry.exponential: 'attempts' is a required pr"),
        ("do: {erp: {}, once: {per: tenant, within: 1h}, digest: {every: 1h}}", "rules.0.do: once and digest both say"),
        ("do: {erp: {timeout: 5s}}", "rules.0.do.erp: a modifier, not an option: move it left"),
        ("do: {slack: {tex: hi}}", "rules.0.do.slack: unknown option; slack has: url, token, api, channel, text"),
        ("do: {forward: {method: GET}}", "rules.0.do.forward: 'url' is a required property"),
        ("do: {mail: {to: 5}}", "rules.0.do.mail.to: 5 is not of type 'string', 'array'"),
        ("do: {mail: {attachments: [{nam: a}]}}", "rules.0.do.mail.attachments.0: unknown option; email has: name, text"),
        ("stop: yes", "rules.0.stop: 'yes' is not of type 'boolean'"),
        ("when: {$.a: 1}", "rules.0: the rule does nothing: write what it does under do:, or stop: true"),
        ("then: erp\nstop: true", "rules.0: unknown key; a rule has: name, description, owner, from, on, when, do"),
    ],
)  # fmt: skip
def test_the_message_says_what_to_write(text: str, said: str, rules: Draft7Validator) -> None:
    found = told(rules, rule(text))
    assert [one for one in found if one.startswith(said)], found


@pytest.mark.parametrize(
    "text",
    [
        "do: {log: {level: '{{ payload.level }}', fields: '{{ payload }}'}}",
        "do: {mail: {to: '{{ payload.to }}', attachments: '{{ payload.files }}', headers: {X-A: '{{ 1 }}'}}}",
        "do: {slack: {url: '${SLACK}', blocks: ['{{ payload.block }}']}}",
        "do: [erp, {erp: }, {log: {}, dry_run: true, retry: none}, {erp: {}, retry: [5s, 1h30m]}]",
        "do: {erp: {}, delay: '${vars.wait}', order_by: [$.a, tenant, header.X-A, envelope.$.b], once: {per: $.a, within: 1h}}",
        "do: {erp: {}, digest: {every: 1h, per: [tenant], max: 2, on_stop: flush}, changed: {of: $.a, per: $.b}}",
        "do: {erp: {}, changed: {of: type, per: $.b, from: [null, 1], to: won}, during: [sat UTC, sun UTC]}",
        "do: {erp: {}, retry: {exponential: {first: 5s, factor: 1.5, attempts: 5}, on: [429, 500-599], give_up_after: 3d}}",
        "do: log",
        "from: [agiled, sh*]\non: [invoice.*, 5]\ndo: erp",
        "from: agiled\non: [invoice.paid, unreadable, ping, 'x.*']\ndo: erp",
        "stop: true",
        "when: {$.a: {in: '${vars.team}'}, $.b: {exists: '${vars.x}', count: '${vars.n}', is: '${vars.t}'}}\ndo: erp",
        "when: {$.a: {eq: null}, $.b: {ne: {a: [1]}}, $.c: [1, null, true], envelope.$.a: 1, envelope: {exists: true}}\ndo: erp",
        "when: {all: [named, {any: [{$.a: 1}], not: named}], not: [a, b], header.X: 1, query.y: [1, a]}\ndo: erp",
        "when: {\"$['a b'].c[*]\": {where: {$.x: 1}, every: {gt: 1}, count: {in: [1, 2]}}}\ndo: erp",
        "when: {$.a: {is: [text, null], contains: {a: 1}, before: -10m, after: 1779105600, during: [sat UTC, sun UTC]}}\ndo: erp",
    ],
)  # fmt: skip
def test_what_is_right_is_not_complained_of(text: str, rules: Draft7Validator) -> None:
    assert told(rules, rule(text)) == []


def test_where_the_defaults_stop_a_rule_need_do_nothing(rules: Draft7Validator) -> None:
    assert told(rules, parsed("defaults: {stop: true}\nrules: [{name: a}]\nfallback: [{when: {$.a: 1}}]")) == []
    assert told(rules, parsed("defaults: {stop: false}\nrules: [{name: a}]")) != []


def test_an_empty_file_fits(rules: Draft7Validator, rule_tests: Draft7Validator) -> None:
    assert told(rules, None) + told(rule_tests, None) + told(rules, {"rules": None, "conditions": None}) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {name: a, from: shop, event: {}, expekt: []}", "unknown key; a test has: name, from, event, sample"),
        ("- {name: a, event: {}, expect: []}", "the test names no source: write from: SOURCE"),
        ("- {name: a, from: shop, expect: []}", "the test has no event: write event: FILE"),
        ("- {name: a, from: shop, event: {}, sample: x, expect: []}", "an event or a sample, not both"),
        ("- {name: a, from: shop, event: {}}", "the test expects nothing in particular"),
        ("- {name: a, from: shp, event: {}, rules: []}", "no source of this name; there are: agiled, shop, hookline"),
        ("- {name: a, from: shop, event: 5, rules: []}", "write the name of a file, or the payload in place"),
        ("- {name: a, from: shop, event: {}, expect: finanse}", "no destination or action; there are: finance, erp"),
        ("- {name: a, from: shop, event: {}, expect: [{erp: {}, log: {}}]}", "one step names one destination"),
        ("- {from: shop, event: {}, expect: []}", "'name' is a required property"),
        ("- {name: a, from: shop, event: {}, rules: [], with: 5}", "5 is not of type 'object', 'null'"),
        ("- {name: a, from: shop, event: {}, rules: [], headers: [a]}", "['a'] is not of type 'object'"),
    ],
)
def test_the_message_about_a_test_says_what_to_write(text: str, said: str, rule_tests: Draft7Validator) -> None:
    found = told(rule_tests, parsed(f"tests:\n  {text}"))
    assert [one for one in found if said in one], found


@pytest.mark.parametrize(
    "text",
    [
        "tests:\n  - {name: a, from: shop, event: x.json, expect: []}",
        "defaults: {from: shop, sample: x}\ntests:\n  - {name: a, expect: [erp, {log: {message: 5}, retry: none}]}",
        "defaults: {from: agiled}\ntests:\n  - {name: a, sample: invoice.paid, at: 2026-05-18T12:00:00Z, rules: b}",
        "tests:\n  - {name: 5, from: hookline, event: [1], type: x, tenant: 42, headers: {A: [x, 1]}, rules: [b], with: }",
    ],
)
def test_tests_that_are_right_are_not_complained_of(text: str, rule_tests: Draft7Validator) -> None:
    assert told(rule_tests, parsed(text)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources: {a: {type: agild}}", "source types are: agave, agiled"),
        ("sources: {a: {type: agiled, secrt: x}}", "unknown option; a source of type agiled has: type, path_token"),
        ("sources: {a: {type: agiled}}", "a source fails closed: give secret, or write verify: none"),
        ("sources: {a: {type: agiled, verify: off}}", "'off' is not one of ['none']"),
        ("sources: {a: {type: agiled, secret: [x, 5]}}", "5 is not of type 'string'"),
        ("sources: {a: {type: agiled, secret: x, tolerance: 5}}", "not a duration: write it as in 250ms"),
        ("sources: {a: {type: agiled, secret: x, expect_every: day}}", "not a duration: write it as in 250ms"),
        ("sources: {a: {type: agiled, secret: x, rate: 50}}", "not a rate: write a number for each second"),
        ("sources: {a: {type: agave}}", "a source fails closed: give "),
        ("sources: {a: {type: generic}}", "'verify' is a required property"),
        ("sources: {a: {type: generic, verify: {scheme: hmc}}}", "ways to verify are: hmac, ed25519"),
        ("sources: {a: {type: generic, verify: nothing}}", "write {scheme: hmac, …}, or none"),
        ("sources: {a: {type: generic, verify: {scheme: token, secrt: x}}}", "unknown key; token has: scheme, header"),
        ("sources: {a: {type: generic, verify: [{scheme: basic, username: x}]}}", "'password' is a required property"),
        ("sources: {a: {type: generic, verify: none, event: {typ: $.x}}}", "unknown key; event has: type, id, key"),
        ("sources: {a: {type: generic, verify: none, methods: [GTE]}}", "there are: POST, PUT"),
        ("sources: {a: {type: generic, verify: none, handshake: {answer: {status: 500}}}}", "a status from 200 to 299"),
        ("destinations: {a: {log: {}, retry: {schedule: 5s}}}", "not a list of durations"),
        ("destinations: {a: {log: {}, concurrency: 0}}", "0 is less than the minimum of 1"),
        ("destinations: {a: {log: {}, rate: 50}}", "not a rate: write a number for each second"),
        ("destinations: {a: {log: {}, rate: 0/s}}", "not a rate: write a number for each second"),
        ("destinations: {a: {log: {}, breaker: off}}", "write {share: 50%, of: 10, within: 1m}, or none"),
        ("destinations: {a: {log: {}, hold: {during: []}}}", "[] should be non-empty"),
        ("workers: 33", "33 is greater than the maximum of 32"),
        ("destinations: {A: {log: {}}}", "not the name of a destination: use small letters"),
        ("admin: {tokn: x}", "unknown key; admin has: listen, token"),
        ("limits: {body: big}", "not a size: write bytes, or a unit"),
        ("store: hookline.db", "names no store: write sqlite: and a path"),
        ("rules: []", "[] should be non-empty"),
    ],
)
def test_the_message_about_a_configuration_says_what_to_write(text: str, said: str, config: Draft7Validator) -> None:
    found = told(config, parsed(f"version: 1\n{text}"))
    assert [one for one in found if said in one], found


@pytest.mark.parametrize(
    "text",
    [
        "listen: [127.0.0.1:1, '[::1]:2', unix:/x]\nworkers: ${vars.n}\nlimits: {body: 1024, batch: '${vars.b}'}",
        "sources: {a: {type: agiled, verify: none}, b: {type: agiled, secret: ['${A}', '${B}'], tolerance: off}}",
        "sources:\ndestinations: {a: {log: }, b: {forward: {method: '{{ x }}'}, timeout: '${T}', allow_networks: ['::1']}}",
        "version: '1'",
        "workers: 4\nworker_memory: 512MiB\nallow_commands: true",
        "destinations: {a: {log: {}, rate: 50/s, breaker: none, hold: {during: sat UTC}, failure_budget: 3d, delay: 5m}}",
        "destinations: {a: {log: {}, rate: '${vars.r}', breaker: {share: 30%, of: 5, within: 1m, pause: 1m}}}",
    ],
)
def test_configurations_that_are_right_are_not_complained_of(text: str, config: Draft7Validator) -> None:
    document = parsed(text)
    assert told(config, {"version": 1, **document}) == []


# What the readers know, the schemas know


def keys_of(schema: Mapping[str, Any]) -> set[str]:
    return set(schema["properties"])


def test_the_keys_are_those_of_the_readers(known: Known) -> None:
    whole = rules_schema(known)
    there = whole["definitions"]
    assert keys_of(whole) == set(FILE_KEYS)
    assert keys_of(there["rule"]) == set(RULE_KEYS)
    assert keys_of(there["fallback"]) == {*RULE_KEYS} - {"name"}
    assert keys_of(there["operators"]) == set(_NAMES)
    assert keys_of(there["operators"]["properties"]["count"]["then"]) == set(_COUNTED)
    of_tests = rule_tests_schema(known)
    assert keys_of(of_tests) == set(TEST_FILE_KEYS)
    assert keys_of(of_tests["definitions"]["test"]) == set(TEST_KEYS)
    assert keys_of(of_tests["definitions"]["defaults"]) == set(FACT_KEYS)


def is_taken(name: str) -> bool:
    """Say whether one of this name may stand in a rule."""
    node = read_document(f"{name}: {{}}", "x.yaml", findings := Findings())
    assert isinstance(node, Entries)
    parse_modifiers(node.entries, findings)
    return not any("limits a destination" in problem.message for problem in findings.problems)


def test_the_modifiers_are_those_of_the_reader(known: Known) -> None:
    beside = {name for name in MODIFIER_NAMES if is_taken(name)}
    assert beside == MODIFIER_NAMES - BOUND_NAMES
    assert set(modifiers()) == beside
    assert set(bounds()) == BOUND_NAMES
    assert {"concurrency", *_BOUNDS} == BOUND_NAMES
    assert keys_of(rules_schema(known)["definitions"]["defaults"]) == {*_DEFAULT_KEYS, *beside}
    there = keys_of(configuration_schema(known)["definitions"]["destination"])
    assert there == {*known.actions, *MODIFIER_NAMES, "allow_networks"}


def test_the_parts_of_modifiers_are_those_of_their_readers() -> None:
    beside = modifiers() | bounds()
    retry = beside["retry"]["then"]
    assert keys_of(retry) == set(_PARTS)
    assert keys_of(retry["properties"]["exponential"]) == set(_EXPONENTIAL)
    assert keys_of(beside["once"]) == set(_ONCE)
    assert keys_of(beside["digest"]) == set(_DIGEST)
    assert keys_of(beside["changed"]) == set(_CHANGED)
    assert keys_of(beside["breaker"]["then"]) == set(_BREAKER)


def test_the_keys_of_a_configuration_are_those_of_its_reader(
    known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[tuple[str | int, ...], set[str]] = {}
    finish = Section.finish

    def remembering(section: Section) -> None:
        assert section.node
        asked[section.node.path] = set(section._known)
        finish(section)

    monkeypatch.setattr(Section, "finish", remembering)
    path = tmp_path / "hookline.yaml"
    path.write_text("version: 1\nadmin: {}\nretention: {}\nlimits: {}\nbackup: {}\nlog: {}\n")
    load_settings(path, environ={}, actions={"log"})
    schema = configuration_schema(known)
    assert asked[()] == keys_of(schema)
    assert {key for (key,) in asked.keys() - {()}} == {"admin", "retention", "limits", "backup", "log"}
    for (key,) in asked.keys() - {()}:
        assert asked[(key,)] == keys_of(schema["properties"][key])


@pytest.mark.parametrize("way", sorted(_READERS))
def test_a_way_to_verify_takes_what_its_reader_asks_for(way: str) -> None:
    asked: set[str] = set()
    for given_too in ({}, {"path": "$.a"}):
        options = Options(dict(given_too), (), [])
        _READERS[way](options, Surroundings(has_public_url=True, learned=tuple))
        asked |= options._known
    assert set(WAYS[way][0]) == asked
    assert set(WAYS) == set(_READERS)


def test_a_declaration_has_the_parts_that_its_reader_asks_for() -> None:
    known_parts = {*SECTIONS}
    problems: list[Any] = []
    read_declaration({name: {} for name in (*known_parts, "strange")}, has_public_url=True, problems=problems)
    unknown = [problem for problem in problems if "unknown key" in problem.message]
    assert [problem.path for problem in unknown] == [("strange",)]
    assert set(BUILT_IN.get("generic").options) == known_parts


@pytest.mark.parametrize("name", BUILT_IN.names)
def test_every_option_of_a_source_type_has_a_shape_and_a_word(name: str, known: Known) -> None:
    there = configuration_schema(known)["definitions"][f"source.{name}"]
    assert set(BUILT_IN.get(name).options) <= keys_of(there)
    for option in BUILT_IN.get(name).options:
        shape = there["properties"][option]
        assert shape["description"]
        assert set(shape) > {"description"}, option


# Generated


@settings(max_examples=200, deadline=None)
@given(when=strategies.WHENS)
def test_a_condition_that_loads_fits(when: dict[str, Any], rules: Draft7Validator) -> None:
    document = {"conditions": {"named": {"$.a": 1}}, "rules": [{"name": "a", "when": when, "do": "erp"}]}
    text = yaml.safe_dump(document, allow_unicode=True)
    try:
        load_rules({"a.yaml": text}, WORLD)
    except RulesError:
        return
    assert told(rules, parsed(text)) == []


@settings(max_examples=100, deadline=None)
@given(when=strategies.WHENS, data=st.data())
def test_a_misspelt_operator_anywhere_in_a_condition_does_not(
    when: dict[str, Any], data: st.DataObject, rules: Draft7Validator
) -> None:
    places = list(operators_in(when))
    if not places:
        return
    holder, key = data.draw(st.sampled_from(places))
    holder[f"{key}x"] = holder.pop(key)
    document = {"conditions": {"named": {"$.a": 1}}, "rules": [{"name": "a", "when": when, "do": "erp"}]}
    assert told(rules, document) != []


def operators_in(value: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Give every mapping of operators, with each operator in it; what an operator compares with is not looked into."""
    if isinstance(value, list):
        for item in value:
            yield from operators_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _NAMES:
                yield value, key
            if key not in _NAMES or key in {"where", "every"}:
                yield from operators_in(item)


# As editors need them


def all_in(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from all_in(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from all_in(part)


@pytest.mark.parametrize("make", [rules_schema, rule_tests_schema, configuration_schema])
def test_a_schema_is_one_that_editors_take(make: Any, known: Known) -> None:
    schema = make(known)
    Draft7Validator.check_schema(schema)
    parts = list(all_in(schema))
    # Stricter than the draft: with an empty list an editor refuses the whole schema.
    assert [part for part in parts if part.get("enum") == [] or part.get("allOf") == []] == []
    targets = {part["$ref"].removeprefix("#/definitions/") for part in parts if isinstance(part.get("$ref"), str)}
    assert targets <= set(schema["definitions"])
    # What nothing refers to would be dead weight in every editor; models inside of options may be named twice.
    assert {name for name in schema["definitions"] if name not in targets} == set()
    assert [part for part in parts if "$ref" in part and len(part) > 1] == []
    assert not any("oneOf" in part for part in parts)


def test_what_is_not_written_yet_is_complained_of_once(config: Draft7Validator) -> None:
    document = {"version": 1, "sources": {"a": None}, "destinations": {"b": None}}
    assert len(told(config, document)) == 2


def test_no_secret_of_the_configuration_is_in_a_schema(known: Known) -> None:
    for make in (rules_schema, rule_tests_schema, configuration_schema):
        assert "0123456789abcdef" not in str(make(known))
        assert "example.com/x" not in str(make(known))


def test_names_of_rules_and_conditions_are_offered_though_the_files_have_mistakes(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "hookline.yaml").write_text(CONFIG)
    (tmp_path / "rules" / "a.yaml").write_text("conditions: {live: {$.a: 1}}\nrules: [{name: one}, {nam: two}, 3]")
    (tmp_path / "rules" / "b.yaml").write_text("- not a mapping")
    there = known_of(tmp_path / "hookline.yaml")
    assert (there.conditions, there.rules) == (("live",), ("one",))
    (tmp_path / "rules" / "c.yaml").write_bytes(b"\xff")
    assert known_of(tmp_path / "hookline.yaml").rules == ()


def test_the_options_of_a_broken_plug_in_are_open(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "chat.py").write_text("import nothing_of_the_kind")
    (tmp_path / "hookline.yaml").write_text("version: 1\ndestinations: {room: {chat: {any: 1}}}\n")
    there = known_of(tmp_path / "hookline.yaml")
    schema = Draft7Validator(rules_schema(there))
    assert told(schema, rule("do: [chat, {room: {thing: 1}}, {chat: {other: [1]}}]")) == []
    assert told(schema, rule("do: [{chat: {retry: none}}]")) == []
    assert told(schema, rule("do: [chats]")) != []
