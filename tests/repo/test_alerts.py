"""Alert rules: promtool accepts and tests them, each has its page, and they speak of metrics that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support import datadog
from tests.support.alerts import promtool
from tests.support.catalogue import catalogue, labels_in, named_in
from tests.support.tree import ROOT

RULES = ROOT / "helm/hocket/files/alerts/hocket.rules.yaml"
TESTS = ROOT / "tests/alerts/hocket.test.yaml"
ALERTS: list[dict[str, Any]] = [r for g in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for r in g["rules"]]
SERIES = {name: m for m in catalogue() for name in m.series}
NAMES = [a["alert"] for a in ALERTS]


def test_promtool_accepts_the_rules() -> None:
    assert promtool("check", "rules", RULES) == ""


def test_promtool_sees_each_alert_fire_and_stay_silent() -> None:
    assert promtool("test", "rules", TESTS) == ""


def test_every_alert_is_unit_tested() -> None:
    tested = {
        t["alertname"]
        for case in yaml.safe_load(TESTS.read_text("utf-8"))["tests"]
        for t in case["alert_rule_test"]
        if t["exp_alerts"]
    }
    assert tested == set(NAMES)


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_has_a_page_and_speaks_of_what_there_is(alert: dict[str, Any]) -> None:
    page = alert["annotations"]["runbook"]
    assert page == f"docs/howto/runbooks/{alert['alert']}.md"
    body = (ROOT / page).read_text("utf-8")
    assert body.startswith(f"# {alert['alert']}\n")
    assert "What to do" in body
    named = named_in(alert["expr"])
    assert named
    assert named <= SERIES.keys(), "a metric that nobody publishes"
    allowed = {label for name in named for label in SERIES[name].labels} | {"le"}
    assert labels_in(alert["expr"]) <= allowed, "a label that the metric does not have"
    assert alert["labels"]["severity"] in ("critical", "warning")


def test_orchestrator_and_workers_have_alerts_of_their_own() -> None:
    parts = {a["labels"].get("part") for a in ALERTS}
    assert {"orchestrator", "workers"} <= parts


def test_no_page_is_left_over_and_pages_name_only_metrics_that_exist() -> None:
    pages = sorted((ROOT / "docs/howto/runbooks").glob("*.md"))
    assert [p.stem for p in pages] == sorted(NAMES)
    known = SERIES.keys() | {m.name for m in catalogue()}
    for page in pages:
        strange = {n for n in named_in(page.read_text("utf-8")) if n not in known}
        assert strange == set(), page.name


def test_every_alert_is_a_datadog_monitor_over_metrics_that_exist() -> None:
    found = {m["name"]: m for m in datadog.monitors()}
    assert sorted(found) == sorted(NAMES) == sorted(datadog.QUERIES)
    names = {m.name for m in catalogue()}
    for alert in ALERTS:
        query = found[alert["alert"]]["query"]
        named = set(re.findall(r"hocket\.(hocket_[a-z0-9_]+)", query))
        assert named, query
        assert named <= names, query
        roots = {SERIES[n].name for n in named_in(alert["expr"])}
        assert named <= roots, "the same metrics as the rule"
