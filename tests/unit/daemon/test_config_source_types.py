"""A user's source types in the configuration: known by name, their mistakes told with their places."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from hookline.daemon.config.load import ConfigError, load_settings
from hookline.daemon.config.settings import Settings
from hookline.daemon.sources.types import BUILT_IN
from hookline.rules.problem import with_excerpt

TRACKER = """\
title: Tracker
about: It signs the body.
setup: ["Give it {url}."]
options:
  secret: {to: [verify.secret], is_required: true, about: "the secret"}
declaration:
  verify: {scheme: hmac, header: X-Sig}
  event: {type: $.kind, id: $.id}
event_types: [issue.opened]
"""


def load(folder: Path, config: str, files: Mapping[str, str], *, offline: bool = False) -> Settings:
    (folder / "plugins").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "plugins" / f"{name}.source.yaml").write_text(text)
    (folder / "hookline.yaml").write_text(f"version: 1\n{config}")
    return load_settings(folder / "hookline.yaml", environ={}, actions=set(), offline=offline)


def told(folder: Path, config: str, **files: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, config, files)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize("offline", [False, True])
def test_a_users_type_is_a_source_type(tmp_path: Path, offline: bool) -> None:
    settings = load(
        tmp_path, "sources: {bugs: {type: tracker, secret: long-enough}}", {"tracker": TRACKER}, offline=offline
    )
    assert settings.sources["bugs"].type == "tracker"
    assert settings.source_types.event_types("tracker") == frozenset({"issue.opened"})
    assert settings.source_types.event_types("agave") is None


def test_without_a_plugins_folder_there_are_the_built_in_types(tmp_path: Path) -> None:
    (tmp_path / "hookline.yaml").write_text("version: 1\n")
    assert load_settings(tmp_path / "hookline.yaml", environ={}, actions=set()).source_types is BUILT_IN


def test_its_options_are_checked_at_their_place(tmp_path: Path) -> None:
    config = "sources:\n  bugs: {type: tracker, secret: short}\n  more: {type: tracker}"
    assert told(tmp_path, config, tracker=TRACKER) == [
        (
            "hookline.yaml:3:33: sources.bugs.secret: the secret is shorter than 8 characters, which can be guessed; "
            "was it copied whole? else make a longer one"
        ),
        (
            "hookline.yaml:4:9: sources.more: `secret` is missing; a source fails closed: give the secret; or write "
            "`verify: none` to accept anything"
        ),
    ]


def test_a_bad_file_is_told_whether_or_not_it_is_used(tmp_path: Path) -> None:
    bad = TRACKER.replace("scheme: hmac", "scheme: hmc")
    mistake = (
        'plugins/tracker.source.yaml:7:20: declaration.verify.scheme: "hmc" is not known here; did you mean "hmac"?'
    )
    assert told(tmp_path, "", tracker=bad) == [mistake]
    assert told(tmp_path, "sources: {bugs: {type: tracker, secret: long-enough}}", tracker=bad) == [
        mistake,
        'hookline.yaml:2:24: sources.bugs.type: no source type "tracker"; mend plugins/tracker.source.yaml',
    ]


def test_a_mistake_shows_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "", {"tracker": TRACKER.replace("$.id", "fixed")})
    (problem,) = caught.value.problems
    assert "    8 |   event: {type: $.kind, id: fixed}\n" in with_excerpt(problem, caught.value.sources)


def test_files_are_told_one_after_the_other(tmp_path: Path) -> None:
    empty = dict.fromkeys(("b", "a"), "titel: x\n")
    found = told(tmp_path, "sources: {x: {type: y}}", **empty)
    assert [line.partition(":")[0] for line in dict.fromkeys(line.partition(":")[0] for line in found)] == [
        "plugins/a.source.yaml",
        "plugins/b.source.yaml",
        "hookline.yaml",
    ]


def test_a_type_that_there_is_not(tmp_path: Path) -> None:
    assert told(tmp_path, "sources: {x: {type: trackr, secret: y}}", tracker=TRACKER) == [
        'hookline.yaml:2:21: sources.x.type: no source type "trackr"; did you mean "tracker"?'
    ]
    assert told(tmp_path, "sources: {x: {type: zzz}}", tracker=TRACKER) == [
        (
            'hookline.yaml:2:21: sources.x.type: no source type "zzz"; hookline sources --types lists them; '
            "type: generic declares any"
        )
    ]
