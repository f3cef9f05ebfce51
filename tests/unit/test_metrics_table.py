"""Documents, alerts and the dashboard ask for metrics that there are, with labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.daemon.told_metrics import labels_of_all, types_of_all

ROOT = Path(__file__).resolve().parents[2]
LABELS = labels_of_all()
TYPES = types_of_all()
#: The Prometheus client's, of which one is asked for; `up` is Prometheus' own.
OTHERS = {"process_resident_memory_bytes": set[str](), "up": set[str]()}
#: What Prometheus adds to each series.
ADDED = {"instance", "job"}
ROW = re.compile(r"^\| `(?P<name>[a-z_]+)` \| (?P<type>[a-z]+) \|(?P<labels>[^|]*)\| (?P<said>[^|]+) \|$")
#: Words of PromQL that are no metrics.
WORDS = {"and", "bool", "by", "group_left", "ignoring", "offset", "on", "or", "unless", "without"}
FUNCTIONS = {"histogram_quantile", "increase", "max", "min", "rate", "sum", "time", "vector"}


def dashboard() -> Any:
    return json.loads((ROOT / "examples" / "grafana" / "hookline.json").read_text())


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((ROOT / "examples" / "prometheus" / "alerts.yaml").read_text())["groups"]
    return list(group["rules"])


def expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]
    for alert in alerts():
        yield f"alert {alert['alert']}", alert["expr"]


def asked(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric that an expression names, and the labels that it selects."""
    bare = re.sub(r"\b(by|on|ignoring|without|group_left) ?\([^)]*\)", " ", expression)
    for found in re.finditer(r"\b([a-z_][a-z0-9_]*)\b(?:\{([^}]*)\})?(?!\s*\()", re.sub(r"\[[^\]]*\]", "", bare)):
        name, selected = found[1], found[2] or ""
        if name not in WORDS | FUNCTIONS:
            yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selected))


def labels_of(name: str) -> set[str]:
    """Return the labels of a metric by the name of its series. Raises `KeyError` if there is none."""
    for ending in ("_bucket", "_sum", "_count"):
        family = name.removesuffix(ending)
        if family != name and TYPES.get(family) == "histogram":
            return LABELS[family] | ({"le"} if ending == "_bucket" else set())
    if TYPES.get(name) == "histogram":
        raise KeyError(name)
    return LABELS[name] if name in LABELS else OTHERS[name]


def test_the_table_has_every_metric_with_its_type_and_labels_and_no_other() -> None:
    found = [ROW.match(line) for line in (ROOT / "docs" / "metrics.md").read_text().splitlines()]
    rows = [row for row in found if row is not None]
    assert sorted(row["name"] for row in rows) == sorted(LABELS)
    assert {row["name"]: row["type"] for row in rows} == TYPES
    assert {row["name"]: set(re.findall(r"`([a-z]+)`", row["labels"])) for row in rows} == LABELS


def test_what_other_documents_say_of_metrics_holds() -> None:
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]:
        for name, labels in re.findall(r"`(hookline_[a-z_]+)(?:\{([^}]*)\})?", path.read_text()):
            if name.startswith("hookline_plugins"):
                continue
            given = set(re.findall(r"([a-z]+)(?==|,|$)", re.sub(r'"[^"]*"', "", labels)))
            assert given <= labels_of(name) if name not in LABELS else given <= LABELS[name], f"{path.name}: {name}"


@pytest.mark.parametrize(("place", "expression"), [*expressions()])
def test_what_is_asked_for_exists(place: str, expression: str) -> None:
    named = [*asked(expression)]
    assert named, place
    for name, selected in named:
        assert selected <= labels_of(name) | ADDED, f"{place}: {name} has no such label"
    grouped = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"\b(?:by|on) ?\(([^)]*)\)", expression))))
    assert grouped <= set().union(*[labels_of(name) for name, _ in named]) | ADDED, place
    assert expression.count("(") == expression.count(")"), place


@pytest.mark.parametrize(("place", "expression"), [*expressions()])
def test_counters_are_asked_for_how_fast_they_rise_and_gauges_never(place: str, expression: str) -> None:
    for function, name in re.findall(r"(\w*)\(([a-z_]+)(?:\{[^}]*\})?\[", expression):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert function in {"rate", "increase"}, place
        assert TYPES.get(name, TYPES.get(base)) in {"counter", "histogram"}, f"{place}: {name}"
    ranged = len(re.findall(r"\[", expression))
    counted = [
        name
        for name, _ in asked(expression)
        if name.endswith("_total") or (TYPES.get(name) is None and name not in OTHERS)
    ]
    assert len(counted) == ranged, place


def test_every_metric_that_tells_of_trouble_has_an_alert_or_a_panel() -> None:
    shown = {name for _, expression in expressions() for name, _ in asked(expression)}
    shown |= {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert LABELS.keys() - shown == {"hookline_build_info"} - shown


def test_the_dashboard_can_be_imported() -> None:
    board = dashboard()
    assert board["title"] == "Hookline"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows == ["Traffic", "Latency", "Queue and destinations", "Store", "Daemon and workers"]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)", json.dumps(board["panels"])))
    assert used == variables


def test_legends_name_labels_that_the_answer_has() -> None:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", target["expr"]))))
            assert wanted <= grouped, panel["title"]


def test_alerts_say_what_is_wrong_and_how_much_it_matters() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names)) > 10
    for alert in alerts():
        assert re.fullmatch(r"Hookline[A-Z][A-Za-z]+", alert["alert"])
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["annotations"]["summary"]
        wanted = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))
        has = set().union(*[labels_of(name) for name, _ in asked(alert["expr"])]) | ADDED
        assert wanted <= has, alert["alert"]
