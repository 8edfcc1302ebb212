"""Dashboards speak of metrics and labels that exist, take their data source from a variable, and repeat nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.alerts import promtool
from tests.support.catalogue import catalogue, labels_in, named_in
from tests.support.dashboards import BOARDS, pages, plain, queries

SERIES = {name: m for m in catalogue() for name in m.series}
QUERIES = queries()


@pytest.mark.parametrize(("where", "expression"), QUERIES, ids=[f"{w}-{n}" for n, (w, _) in enumerate(QUERIES)])
def test_a_query_speaks_of_what_there_is(where: str, expression: str) -> None:
    named = named_in(expression)
    assert named, where
    assert named <= SERIES.keys(), where
    allowed = {label for name in named for label in SERIES[name].labels} | {"le"}
    assert labels_in(plain(expression, specialty="x")) <= allowed, where


@pytest.mark.parametrize("path", sorted(pages()))
def test_a_dashboard_is_tied_to_no_installation(path: str) -> None:
    found = json.loads(pages()[path])
    assert "id" not in found
    assert found["templating"]["list"][0] == {
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"
    }  # fmt: skip
    panels = [p for p in found["panels"] if p["type"] != "row"]
    assert panels
    assert all(p["datasource"]["uid"] == "${datasource}" for p in panels)
    assert all(t["datasource"]["uid"] == "${datasource}" for p in panels for t in p["targets"])
    assert all(p["description"] for p in panels), "a panel says what to make of it"
    assert len({p["id"] for p in found["panels"]}) == len(found["panels"])


def test_titles_are_unique() -> None:
    assert len({b.title for b in BOARDS}) == len(BOARDS) == 4
    assert all(len({p.title for _, row in b.rows for p in row}) == sum(len(r) for _, r in b.rows) for b in BOARDS)


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    """As recording rules, because promtool checks nothing else."""
    records = [
        {"record": f"panel_{n}", "expr": plain(expression, specialty="code")}
        for n, (_, expression) in enumerate(QUERIES)
    ]
    rules = tmp_path / "queries.yaml"
    rules.write_text(json.dumps({"groups": [{"name": "queries", "rules": records}]}), "utf-8")
    assert promtool("check", "rules", rules) == ""
