"""The alerts: valid, tested by promtool, each with its page in the runbook, and of metrics that some role shows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.metrics_list import METRICS
from tests.tidy import pages
from tests.tools import tool

FOLDER = pages.ROOT / "deploy" / "prometheus"
ALERTS = (
    "GuardPaidPlacementNotRecalled",
    "GuardRecallOverdue",
    "GuardContactAfterRecall",
    "GuardStreamBehind",
    "GuardStreamStopped",
    "GuardProducerSilent",
    "GuardQuarantineGrowing",
    "GuardSweepFound",
    "GuardDown",
)
PARTS_OF_A_PAGE = ["Meaning", "Is a customer being called now", "Look", "Act", "Undo"]
RUNBOOK = "docs/runbook.md"

Rule = dict[str, Any]  # `Any`: as varied as the file.


def _rules() -> list[Rule]:
    read = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


def _dashboard() -> dict[str, Any]:  # `Any`: as varied as the file.
    read: dict[str, Any] = json.loads((pages.ROOT / "deploy" / "grafana" / "dashboard.json").read_text())
    return read


def _panels() -> list[dict[str, Any]]:  # `Any`: as above.
    return [panel for panel in _dashboard()["panels"] if panel["type"] != "row"]


def _expressions() -> Iterator[str]:
    """Every query of the alerts and of the dashboard."""
    yield from (rule["expr"] for rule in _rules())
    yield from (target["expr"] for panel in _panels() for target in panel["targets"])


def _promtool(*arguments: str) -> None:
    done = subprocess.run([tool("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _series(expression: str) -> set[str]:
    return set(re.findall(r"\bguard_[a-z_]+", expression))


SHOWN = {name for one in METRICS for name in one.series}


def test_the_alerts_are_these() -> None:
    """Few, in the order in which they matter; what is drilled and paged on has these names."""
    assert tuple(rule["alert"] for rule in _rules()) == ALERTS


def test_the_rules_are_valid() -> None:
    """By Prometheus' own word; and so is the example of what is scraped."""
    _promtool("check", "rules", str(FOLDER / "alerts.yml"))
    _promtool("check", "config", str(FOLDER / "prometheus.yml"))


def test_each_alert_fires_does_not_fire_just_under_and_resolves() -> None:
    """The cases of alerts_test.yml."""
    _promtool("test", "rules", str(FOLDER / "alerts_test.yml"))


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_its_cases(alert: str) -> None:
    """One in which it fires, and some in which it does not, before and after."""
    read = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())
    cases = [
        case for test in read["tests"] for case in test.get("alert_rule_test", []) if case["alertname"] == alert
    ]
    fires = [case for case in cases if case["exp_alerts"]]

    assert (len(fires) >= 1, len(cases) - len(fires) >= 2) == (True, True)


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: str(rule["alert"]))
def test_each_alert_says_what_on_call_needs(rule: Rule) -> None:
    """How urgent it is, in words, where to look, and its page; no label of the text names a customer."""
    said = rule["annotations"]
    used = set(re.findall(r"\$labels\.(\w+)", json.dumps(said)))

    assert list(rule) == ["alert", "expr", "for", "labels", "annotations"]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert list(said) == ["summary", "look", "console", "runbook_url"]
    assert said["runbook_url"] == f"{RUNBOOK}#{rule['alert'].lower()}"
    assert used <= {"agency", "topic", "source", "role"}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_its_page(alert: str) -> None:
    """A heading of the runbook with the five things that are asked at three in the morning."""
    text = pages.section(pages.page(RUNBOOK), alert)

    assert re.findall(r"^\*\*(.+?)[.?]\*\*", text, re.MULTILINE) == PARTS_OF_A_PAGE


@pytest.mark.parametrize("expression", sorted(set(_expressions())))
def test_a_query_is_of_metrics_that_some_role_shows(expression: str) -> None:
    """And asks for no bucket by number: `le="5"` would match nothing."""
    assert _series(expression) - SHOWN == set()
    assert re.findall(r"\ble\s*=", expression) == []


@pytest.mark.parametrize("page", [*pages.pages(), "deploy/compose.yml", "deploy/prometheus/alerts_test.yml"])
def test_a_metric_that_a_page_names_is_one(page: str) -> None:
    """Whatever is written down of a metric is of one that is there; others of our names are no metrics."""
    known = SHOWN | {one.name for one in METRICS} | NO_METRICS

    assert _series(pages.page(page)) - known == set()


NO_METRICS = {"guard_outbox", "guard_reason", "guard_origin_topic", "guard_origin_partition", "guard_origin_offset",
              "guard_omitted_bytes", "guard_file", "guard_agency"}  # fmt: skip
"""A notification, and the headers of records in quarantine."""


def test_the_page_of_metrics_is_written_from_the_list() -> None:
    """`python -m infra.metrics_list > docs/metrics.md` would change nothing."""
    from infra.metrics_list import page  # noqa: PLC0415 # Beside what it is compared with.

    assert pages.page("docs/metrics.md") == page()


def test_the_dashboard_can_be_imported() -> None:
    """The fields that Grafana asks for, one data source to choose, and panels that do not lie on each other."""
    board = _dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert {"uid", "title", "schemaVersion", "panels", "templating", "time", "annotations"} <= board.keys()
    assert "id" not in board  # It is the number in somebody's own Grafana.
    assert [one["name"] for one in board["templating"]["list"] if one["type"] == "datasource"] == ["datasource"]
    assert (len(set(ids)), len(set(cells))) == (len(ids), len(cells))
    assert max(x for x, _ in cells) < 24
    assert {target["datasource"]["uid"] for panel in _panels() for target in panel["targets"]} == {"${datasource}"}
    assert [panel["title"] for panel in _panels() if not panel["description"]] == []


def test_the_dashboard_shows_every_metric() -> None:
    """Each one of the list is in some panel."""
    asked = {name for panel in _panels() for target in panel["targets"] for name in _series(target["expr"])}

    assert [one.name for one in METRICS if not asked & {one.name, *one.series}] == []


def test_every_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    """With the variables as Grafana fills them in."""
    filled = [
        target["expr"].replace("$__rate_interval", "1m").replace("$agency", ".*")
        for panel in _panels()
        for target in panel["targets"]
    ]
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(filled)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    _promtool("check", "rules", str(file))
