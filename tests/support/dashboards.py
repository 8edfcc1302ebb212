"""The Grafana dashboards, written from this page: a row is a list of panels, a panel is a title, a unit and queries.

`python -m tests.support.reference` writes helm/hocket/files/dashboards; tests/repo holds them current and their queries
to the metrics that there are; bench.observed runs every query on a real Prometheus during a real run.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

FOLDER = "helm/hocket/files/dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
FAILED = 'outcome!~"completed|cancelled"'
WIDTH, HEIGHT = 24, 8


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel; each query has a legend."""

    title: str
    unit: str
    means: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard. `variables` are the label_values that it lets choose from, by name."""

    name: str
    title: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    variables: tuple[tuple[str, str], ...] = ()


def panel(title: str, unit: str, means: str, *queries: tuple[str, str], kind: str = "timeseries") -> Panel:
    """A panel, said shortly."""
    return Panel(title=title, unit=unit, means=means, queries=queries, kind=kind)


def _rate(metric: str, by: str = "", select: str = "") -> str:
    grouped = f" by ({by}) " if by else ""
    return f"sum{grouped}(rate({metric}{select}[$__rate_interval]))"


def _quantile(q: str, metric: str, by: str = "", select: str = "") -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({grouped}) (rate({metric}_bucket{select}[$__rate_interval])))"


OVERVIEW = Board(
    name="hocket-overview",
    title="Hocket / Overview",
    rows=(
        (
            "Requests",
            (
                panel(
                    "Answers per second",
                    "reqps",
                    "By status. failed or expired rising: read receipts (hocket trace).",
                    (_rate("hocket_answers_total", "status"), "{{status}}"),
                ),
                panel(
                    "Time to the answer",
                    "s",
                    "From submission. Compare with the work itself in the row below.",
                    (_quantile("0.5", "hocket_answer_seconds"), "p50"),
                    (_quantile("0.95", "hocket_answer_seconds"), "p95"),
                ),
                panel(
                    "Records that went wrong",
                    "short",
                    "Dead letters so far, and records of the join that changed nothing.",
                    ("sum by (topic, kind) (hocket_dead_letters_total)", "dead: {{topic}} {{kind}}"),
                    ("sum by (reason) (hocket_records_dropped_total)", "dropped: {{reason}}"),
                ),
            ),
        ),
        (
            "Work",
            (
                panel(
                    "Tasks per second",
                    "reqps",
                    "That ended, by specialty; planning is the planner.",
                    (_rate("hocket_tasks_completed_total", "specialty"), "{{specialty}}"),
                ),
                panel(
                    "Time of a task, p95",
                    "s",
                    "From its start to its acknowledged outcome.",
                    (_quantile("0.95", "hocket_task_seconds", "specialty"), "{{specialty}}"),
                ),
                panel(
                    "Tasks waiting and running",
                    "short",
                    "In the workers. Waiting for long: add workers.",
                    ("sum by (specialty) (hocket_tasks_queued)", "waiting: {{specialty}}"),
                    ("sum by (specialty) (hocket_tasks_in_flight)", "running: {{specialty}}"),
                ),
            ),
        ),
        (
            "Fleet",
            (
                panel(
                    "Services",
                    "short",
                    "1: it sends heartbeats. 0: nobody does this work.",
                    ("min by (service) (hocket_service_up)", "{{service}}"),
                    kind="stat",
                ),
                panel(
                    "Workers wanted",
                    "short",
                    "What the scaling signal asks for, by specialty.",
                    ("max by (specialty) (hocket_scaling_desired_workers)", "{{specialty}}"),
                ),
                panel(
                    "Rows of the join",
                    "short",
                    "Open requests and done markers (requests), accounts.",
                    ("sum by (table) (hocket_table_rows)", "{{table}}"),
                ),
            ),
        ),
    ),
)

LAG = Board(
    name="hocket-consumer-lag",
    title="Hocket / Consumer lag",
    variables=(("group", "label_values(hocket_consumer_group_lag, group)"),),
    rows=(
        (
            "Groups",
            (
                panel(
                    "Net lag",
                    "short",
                    "Records still to be worked: without what is finished ahead of the committed offset.",
                    ('sum by (group) (hocket_consumer_group_net_lag{group=~"$group"})', "{{group}}"),
                ),
                panel(
                    "Raw lag",
                    "short",
                    "As Kafka's own tool counts it. Far above the net lag: one long call holds an offset.",
                    ('sum by (group) (hocket_consumer_group_lag{group=~"$group"})', "{{group}}"),
                ),
                panel(
                    "Age of the oldest record",
                    "s",
                    "How long the oldest record still to be worked has waited.",
                    ('max by (group) (hocket_consumer_group_lag_seconds{group=~"$group"})', "{{group}}"),
                ),
            ),
        ),
        (
            "Partitions and members",
            (
                panel(
                    "Verdict",
                    "short",
                    "The worst partition: 0 ok, 1 slow, 2 stuck, 3 stopped.",
                    ('max by (group) (hocket_consumer_group_status{group=~"$group"})', "{{group}}"),
                    kind="stat",
                ),
                panel(
                    "Members, and idle ones",
                    "short",
                    "Idle: without a partition, more workers than partitions.",
                    ('max by (group) (hocket_consumer_group_members{group=~"$group"})', "{{group}}"),
                    ('max by (group) (hocket_consumer_group_idle_members{group=~"$group"})', "idle: {{group}}"),
                ),
                panel(
                    "Net lag by partition",
                    "short",
                    "One high line alone: that partition stands still.",
                    ('hocket_consumer_group_net_lag{group=~"$group"}', "{{topic}}/{{partition}}"),
                ),
            ),
        ),
        (
            "Trust",
            (
                panel(
                    "Records lost to retention",
                    "short",
                    "Not 0: work was deleted before it was read.",
                    ('sum by (group) (hocket_consumer_group_lost{group=~"$group"})', "{{group}}"),
                ),
                panel(
                    "Age of these figures",
                    "s",
                    "More than 30: the monitor cannot read from Kafka.",
                    ("max(hocket_offsets_age_seconds)", "offsets"),
                ),
                panel(
                    "Backlog that the signal counts",
                    "short",
                    "Net lag without stuck partitions, and what comes next.",
                    ("sum by (specialty) (hocket_scaling_backlog)", "{{specialty}}"),
                ),
            ),
        ),
    ),
)

MODELS = Board(
    name="hocket-models-and-cost",
    title="Hocket / Models and cost",
    rows=(
        (
            "Money",
            (
                panel(
                    "US dollars per hour",
                    "currencyUSD",
                    "At list prices, by model.",
                    (f"{_rate('hocket_model_cost_usd_total', 'engine')} * 3600", "{{engine}}"),
                ),
                panel(
                    "US dollars per answer",
                    "currencyUSD",
                    "All that models cost, over all answers.",
                    (f"{_rate('hocket_model_cost_usd_total')} / {_rate('hocket_answers_total')}", "per answer"),
                ),
                panel(
                    "Tokens per second",
                    "short",
                    "input includes what the provider read from its cache.",
                    (_rate("hocket_model_tokens_total", "engine, type"), "{{engine}} {{type}}"),
                    (_rate("hocket_model_cached_tokens_total", "engine"), "{{engine}} cached"),
                ),
                panel(
                    "Runs lost with their workers, in an hour",
                    "short",
                    "What they called may be billed, and is in none of these figures.",
                    ("sum by (specialty) (increase(hocket_lost_runs_total[1h])) > 0", "{{specialty}}"),
                ),
            ),
        ),
        (
            "Calls",
            (
                panel(
                    "Calls per second",
                    "reqps",
                    "By how they ended.",
                    (_rate("hocket_model_calls_total", "engine, outcome"), "{{engine}} {{outcome}}"),
                ),
                panel(
                    "Share of calls that fail",
                    "percentunit",
                    "Above 20 %: an alert.",
                    (
                        _rate("hocket_model_calls_total", "engine", "{" + FAILED + "}")
                        + " / "
                        + _rate("hocket_model_calls_total", "engine"),
                        "{{engine}}",
                    ),
                ),
                panel(
                    "Time of a call, p95",
                    "s",
                    "Completed calls.",
                    (_quantile("0.95", "hocket_model_call_seconds", "engine"), "{{engine}}"),
                ),
            ),
        ),
        (
            "Choice and health",
            (
                panel(
                    "Tasks by rung",
                    "short",
                    "Where the output came from. Cheap rungs falling: see escalations.",
                    ("sum by (rung) (hocket_rung_tasks_total)", "{{rung}}"),
                ),
                panel(
                    "Replies not good enough",
                    "short",
                    "By rung and reason. Rising: mend the prompt.",
                    ("sum by (rung, why) (hocket_escalations_total)", "{{rung}} {{why}}"),
                ),
                panel(
                    "Breakers",
                    "short",
                    "0 closed, 1 half open, 2 open: left alone after failures.",
                    ("max by (engine) (hocket_model_breaker)", "{{engine}}"),
                    kind="stat",
                ),
            ),
        ),
    ),
)

_OF = '{specialty="$specialty"}'
SPECIALTY = Board(
    name="hocket-specialty",
    title="Hocket / One specialty",
    variables=(("specialty", "label_values(hocket_tasks_started_total, specialty)"),),
    rows=(
        (
            "Work",
            (
                panel(
                    "Tasks per second",
                    "reqps",
                    "Taken up, completed, failed.",
                    (_rate("hocket_tasks_started_total", select=_OF), "started"),
                    (_rate("hocket_tasks_completed_total", select=_OF), "completed"),
                    (_rate("hocket_tasks_failed_total", select=_OF) + " or vector(0)", "failed"),
                ),
                panel(
                    "Time of a task",
                    "s",
                    "From its start to its acknowledged outcome.",
                    (_quantile("0.5", "hocket_task_seconds", select=_OF), "p50"),
                    (_quantile("0.95", "hocket_task_seconds", select=_OF), "p95"),
                ),
                panel(
                    "Share of tasks that fail",
                    "percentunit",
                    "Over the last minute, as the workers tell.",
                    (f"max(hocket_task_error_rate{_OF})", "failed"),
                ),
            ),
        ),
        (
            "Load",
            (
                panel(
                    "Running and waiting",
                    "short",
                    "Waiting for long: add workers.",
                    (f"sum(hocket_tasks_in_flight{_OF})", "running"),
                    (f"sum(hocket_tasks_queued{_OF})", "waiting"),
                    (f"sum(hocket_expected_backlog{_OF}) or vector(0)", "will be dispatched next"),
                ),
                panel(
                    "Net lag",
                    "short",
                    "Records of its topic that are still to be worked.",
                    ('sum(hocket_consumer_group_net_lag{group=~".*hocket-worker-$specialty"})', "net lag"),
                ),
                panel(
                    "Workers",
                    "short",
                    "Alive, and how many the scaling signal asks for.",
                    (f"sum(hocket_worker_up{_OF})", "alive"),
                    (f"max(hocket_scaling_desired_workers{_OF})", "wanted"),
                ),
            ),
        ),
        (
            "Quality",
            (
                panel(
                    "Outputs by rung",
                    "short",
                    "local, small, middle, frontier, cache.",
                    (f"sum by (rung) (hocket_rung_tasks_total{_OF})", "{{rung}}"),
                ),
                panel(
                    "Partitions held back",
                    "short",
                    "Above 0 for long: full, or degraded; see its log.",
                    (f"sum(hocket_partitions_paused{_OF})", "paused"),
                ),
                panel(
                    "Commits refused",
                    "short",
                    "Rising outside of deploys: members come and go.",
                    (f"sum(hocket_commit_failures_total{_OF}) or vector(0)", "refused"),
                ),
            ),
        ),
    ),
)

BOARDS = (OVERVIEW, LAG, MODELS, SPECIALTY)


def _variables(board: Board) -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    own = [
        {
            "name": name, "label": name, "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
            "query": {"query": query, "refId": name}, "definition": query,
            **({"multi": True, "includeAll": True, "allValue": ".+"} if name == "group" else {}),
        }
        for name, query in board.variables
    ]  # fmt: skip
    return [source, *own]


def _panel(number: int, p: Panel, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": p.kind,
        "title": p.title,
        "description": p.means,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH // 3, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": p.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + n), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for n, (expr, legend) in enumerate(p.queries)
        ],
    }


def document(board: Board) -> dict[str, Any]:
    """The dashboard as Grafana reads it: no id, and a uid that is its own name."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in board.rows:
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        for n, p in enumerate(row):
            panels.append(_panel(len(panels) + 1, p, n * WIDTH // 3, y + 1))
        y += HEIGHT + 1
    return {
        "uid": board.name,
        "title": board.title,
        "tags": ["hocket"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables(board)},
        "panels": panels,
    }


def pages() -> dict[str, str]:
    """Every dashboard by its path."""
    return {f"{FOLDER}/{b.name}.json": json.dumps(document(b), indent=1, ensure_ascii=False) + "\n" for b in BOARDS}


def queries() -> list[tuple[str, str]]:
    """(dashboard / panel, expression) of every query."""
    return [(f"{b.name} / {p.title}", expr) for b in BOARDS for _, row in b.rows for p in row for expr, _ in p.queries]


def plain(expression: str, **values: str) -> str:
    """The expression as Prometheus takes it, with Grafana's variables filled in."""
    known = {"__rate_interval": "1m", "group": ".+", **values}
    return re.sub(r"\$(\w+)", lambda m: known[m.group(1)], expression)
