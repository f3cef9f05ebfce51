"""One mistake a file in tests/data/invalid, with the exact message beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookline.daemon.config.load import ConfigError, load_settings

FOLDER = Path(__file__).resolve().parents[2] / "data" / "invalid"
MISTAKES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
#: `YAML` is what would break the document if references were replaced in its text.
ENVIRON = {"SET": "a-long-enough-secret", "EMPTY": "", "YAML": "x\nworkers: [1, {{"}


def problems_of(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(Path(f"{name}.yaml"), environ=ENVIRON, actions={"email", "forward", "log", "slack"})
    return "".join(f"{problem}\n" for problem in caught.value.problems)


@pytest.mark.parametrize("name", MISTAKES)
def test_the_mistake_is_reported_in_just_these_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    assert problems_of(name) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_every_mistake_has_its_message_and_every_message_its_mistake() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == MISTAKES
    assert len(MISTAKES) >= 35


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_keeps_its_secrets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    assert ENVIRON["SET"] not in problems_of(name)
